//! Who calls, and with what.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, RequestExt as _};
use habeas_access::{Actor, Permission};
use habeas_core::{Error, Id, Timestamp};
use habeas_rights::Selection;
use habeas_store::{Tx, UNIQUE_VIOLATION};
use serde_json::Value;

use crate::App;
use crate::blob_host::BlobHost;
use crate::caller::bearer;
use crate::data_services::{Failure, Result};
use crate::deletion::Deletion;
use crate::file_address::Signer;
use crate::runs::run_id;
use crate::scope::Scope;

/// Everything a handler knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    /// What the address names.
    pub(super) scope: Scope,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    /// The bearer token that was presented; none through the operator's socket.
    pub(super) bearer: Option<String>,
    /// The host for files.
    host: BlobHost,
    pub(super) body: Value,
}

impl Call {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether the path has such a part.
    pub(super) fn has_part(&self, name: &str) -> bool {
        self.path.contains_key(name)
    }

    /// A parameter of the query, by its name in lower case and without `$`; clients write `$continuationtoken` in three ways.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Writes; once more when somebody else made the same thing at the same time, which is then found.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Tx<'_>) -> habeas_core::Result<T> + Clone + Send + 'static,
    ) -> habeas_core::Result<T> {
        match self.app.store().write(work.clone()).await {
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => self.app.store().write(work).await,
            result => result,
        }
    }

    /// Deletes what `find` selects, with all that stands under it, for good; the answer names the receipt. With `dryRun=true` only plans it.
    pub(super) async fn delete(
        &self,
        find: impl Fn(&mut Tx<'_>) -> habeas_core::Result<Selection> + Send + Sync + 'static,
    ) -> Result<Response> {
        let deletion = Deletion::of_many(&self.app, &self.actor, self.dry_run(), find).await?;
        Ok(deletion.answer(|_| Json(serde_json::json!({})).into_response())?)
    }

    /// What the query says of `dryRun`.
    pub(super) fn dry_run(&self) -> Option<&str> {
        self.query.get("dryrun").map(String::as_str)
    }

    /// What makes addresses of files for this caller.
    pub(super) fn signer(&self) -> habeas_core::Result<Signer> {
        Signer::new(&self.app, &self.host, self.person)
    }

    /// What is needed within a transaction.
    pub(super) fn place(&self) -> Place {
        Place { actor: self.actor, person: self.person, scope: self.scope.clone() }
    }
}

/// Who calls, and where.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) actor: Actor,
    pub(super) person: Id,
    scope: Scope,
}

impl Place {
    /// What the experiments of the address stand under, if the caller may do this with it.
    pub(super) fn find(&self, tx: &mut Tx<'_>, permission: Permission) -> habeas_core::Result<Id> {
        self.scope.find(tx, &self.actor, permission)
    }
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Call> {
        let mut path = request
            .extract_parts::<Path<HashMap<String, String>>>()
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        if let Some(run) = path.get_mut("run_id") {
            *run = run_id(run).to_owned();
        }
        let actor = request.extensions().get::<Actor>().copied();
        let actor = actor.ok_or_else(|| Error::internal("an operation was not registered by its name"))?;
        let person = actor.person().ok_or_else(|| {
            Error::forbidden("runs are a person's or an organisation's")
                .hint("call with the bearer token of a person")
        })?;
        let scope = Scope::of(&path).ok_or_else(|| Error::internal("a route without a scope"))?;
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| {
                let name = crate::percent::decode(name).to_lowercase();
                (name.trim_start_matches('$').to_owned(), crate::percent::decode(value))
            })
            .collect();
        let (parts, body) = request.into_parts();
        let bearer = bearer(&parts).map(str::to_owned);
        let host = BlobHost::of(app, &parts.headers);
        let bytes = Bytes::from_request(Request::from_parts(parts, body), app)
            .await
            .map_err(|_| Error::too_large("the request is too large, or broke off"))?;
        Ok(Call {
            app: app.clone(),
            actor,
            person,
            scope,
            path,
            query,
            bearer,
            host,
            body: read_json(&bytes)?,
        })
    }
}

/// The JSON of a body; null for none. Python's clients write numbers that JSON has none for, such as a diverged loss, as `NaN` and
/// `Infinity`: they are read as texts.
pub(super) fn read_json(bytes: &[u8]) -> habeas_core::Result<Value> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match quoted_numbers(bytes).map(|bytes| serde_json::from_slice(&bytes)) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Error::invalid(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// The same text with `NaN`, `Infinity` and `-Infinity` in quotes; none when it has none of them.
fn quoted_numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word = [b"-Infinity".as_slice(), b"Infinity", b"NaN"]
            .into_iter()
            .find(|word| !in_text && rest.starts_with(word));
        if let Some(word) = word {
            found = true;
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            at += word.len();
            continue;
        }
        match rest[0] {
            b'\\' if in_text => {
                out.extend_from_slice(&rest[..rest.len().min(2)]);
                at += 2;
                continue;
            }
            b'"' => in_text = !in_text,
            _ => {}
        }
        out.push(rest[0]);
        at += 1;
    }
    found.then_some(out)
}

/// A time as clients write it: RFC 3339, without an offset in UTC, and with a space for the `T`.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse(text).ok().or_else(|| {
        let with_t = text.replacen(' ', "T", 1);
        Timestamp::parse(&with_t).or_else(|_| Timestamp::parse(&format!("{with_t}Z"))).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_json_has_not_are_read_as_texts() {
        let read = |text: &str| read_json(text.as_bytes());
        assert_eq!(
            read(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "a \" NaN", "NaN": 1}"#).unwrap(),
            json!({ "a": "NaN", "b": ["-Infinity", "Infinity"], "c": "a \" NaN", "NaN": 1 })
        );
        assert_eq!(read(" ").unwrap(), Value::Null);
        assert!(read("{NaN").is_err());
        assert!(read("{").is_err());
    }

    #[test]
    fn times_as_clients_write_them() {
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00",
            "2026-01-01T00:00:00",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01 01:00:00+01:00",
        ] {
            assert_eq!(read_time(text), Some(Timestamp(1_767_225_600_000_000)), "{text}");
        }
        assert_eq!(read_time("soon"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_json(&bytes);
        }

        #[test]
        fn plain_json_is_read_as_it_is(text in "\\PC{0,40}") {
            let value = json!({ "text": text });
            prop_assert_eq!(read_json(value.to_string().as_bytes()).unwrap(), value);
        }
    }
}
