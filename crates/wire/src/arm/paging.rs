//! Lists in pages: `nextLink` is absolute, and left out at the end (`azure-cli-ml` stumbles over a null).

use habeas_core::{Error, Id, Result, Timestamp};
use serde_json::{Map, Value, json};

use super::call::Call;
use crate::percent::encode_path;

/// The most on a page.
const PAGE: usize = 100;

/// The page of `items`, oldest first, that the call asks for; `place` says when one was made, and its id.
pub(super) fn page<T>(
    call: &Call,
    items: &[T],
    place: impl Fn(&T) -> (Timestamp, Id),
    shape: impl Fn(&T) -> Option<Value>,
) -> Result<Value> {
    let token = |item: &T| {
        let (made, id) = place(item);
        Token(made, id)
    };
    let after = call.query("$skiptoken").filter(|token| !token.is_empty()).map(Token::parse).transpose()?;
    let size = match call.query("$top").map(str::parse) {
        None => PAGE,
        Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
        Some(_) => return Err(Error::invalid(format!("`$top` is not a whole number from 1 to {PAGE}"))),
    };
    let rest: Vec<&T> = items.iter().filter(|item| after.is_none_or(|after| token(item) > after)).collect();
    let mut out = Map::new();
    let page = rest.get(..size.min(rest.len())).unwrap_or_default();
    out.insert("value".into(), page.iter().filter_map(|item| shape(item)).collect());
    if let Some(last) = page.last().filter(|_| rest.len() > size) {
        let mut link = format!("{}{}?api-version={}", call.base, call.route, call.version);
        if size != PAGE {
            link.push_str(&format!("&$top={size}"));
        }
        if let Some(filter) = call.query("$filter") {
            link.push_str(&format!("&$filter={}", encode_path(filter)));
        }
        link.push_str(&format!("&$skiptoken={}", token(last).write()));
        out.insert("nextLink".into(), json!(link));
    }
    Ok(Value::Object(out))
}

/// The last of a page: its place in the order, which holds when it is deleted before the next page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Token(Timestamp, Id);

impl Token {
    fn write(self) -> String {
        format!("{:016x}{}", self.0.0, self.1.to_hex())
    }

    fn parse(text: &str) -> Result<Token> {
        let read = || {
            let (time, id) = text.split_at_checked(16)?;
            Some(Token(Timestamp(i64::from_str_radix(time, 16).ok()?), id.parse().ok()?))
        };
        read().ok_or_else(|| {
            Error::invalid("`$skiptoken` is not one that was given out").hint("follow `nextLink` as it is")
        })
    }
}
