//! Reading a request's body: what it says, with the place of what is wrong in it.

use std::collections::BTreeMap;

use habeas_core::{Error, Result};
use serde_json::{Map, Value};

/// The longest text, in characters.
const TEXT: usize = 1_000;
/// The longest certificate or key, in characters.
const LONG_TEXT: usize = 20_000;
/// The most tags, as in Azure.
const TAGS: usize = 50;

/// An object of a body, at its place.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The body itself.
    pub(super) fn of(body: &'a Value) -> Result<Fields<'a>> {
        match body {
            Value::Object(map) => Ok(Fields { map: Some(map), path: String::new() }),
            _ => Err(Error::invalid("the body is not a JSON object")),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        Error::invalid(format!("`{}{name}` {what}", self.path))
    }

    /// Whether the object was there.
    pub(super) fn is_there(&self) -> bool {
        self.map.is_some()
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    /// The value of this name as it was sent.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.get(name)
    }

    /// The object of this name; one that is not there has no fields.
    pub(super) fn object(&self, name: &str) -> Result<Fields<'a>> {
        let map = match self.get(name) {
            None => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => return Err(self.wrong(name, "is not a JSON object")),
        };
        Ok(Fields { map, path: format!("{}{name}.", self.path) })
    }

    /// The list of this name; empty when it is not there.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(name, "is not a list")),
        }
    }

    fn text_up_to(&self, name: &str, limit: usize) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= limit => Ok(Some(text.clone())),
            Some(Value::String(_)) => Err(self.wrong(name, &format!("is longer than {limit} characters"))),
            Some(_) => Err(self.wrong(name, "is not a text")),
        }
    }

    /// The text of this name.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.text_up_to(name, TEXT)
    }

    /// The certificate, key or secret of this name.
    pub(super) fn long_text(&self, name: &str) -> Result<Option<String>> {
        self.text_up_to(name, LONG_TEXT)
    }

    /// The text of this name, which must be there.
    pub(super) fn required(&self, name: &str) -> Result<String> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// The text of this name, one of a few.
    pub(super) fn one_of(&self, name: &str, known: &[&str]) -> Result<Option<String>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match known.iter().find(|one| one.eq_ignore_ascii_case(&text)) {
            Some(one) => Ok(Some((*one).to_owned())),
            None => Err(self
                .wrong(name, "is not one that is served")
                .hint(format!("send one of {}", known.join(", ")))),
        }
    }

    /// The whole number of this name.
    pub(super) fn whole(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|number| range.contains(number)) {
                Some(number) => Ok(Some(number)),
                None => {
                    let what = format!("is not a whole number from {} to {}", range.start(), range.end());
                    Err(self.wrong(name, &what))
                }
            },
        }
    }

    /// The yes or no of this name.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_bool().map(Some).ok_or_else(|| self.wrong(name, "is neither true nor false"))
            }
        }
    }

    /// The number of this name.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "is not a number")),
        }
    }

    /// The `tags`.
    pub(super) fn tags(&self) -> Result<Option<BTreeMap<String, String>>> {
        let tags = self.object("tags")?;
        let Some(map) = tags.map else { return Ok(None) };
        if map.len() > TAGS {
            return Err(self.wrong("tags", &format!("has more than {TAGS} texts")));
        }
        map.keys()
            .map(|name| {
                if name.chars().count() > TEXT {
                    return Err(self.wrong("tags", &format!("has a name longer than {TEXT} characters")));
                }
                Ok((name.clone(), tags.text(name)?.unwrap_or_default()))
            })
            .collect::<Result<_>>()
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let body = json!({ "tags": { "a": 1 }, "properties": { "inner": { "count": 101, "kind": "x", "text": [] }, "list": {} } });
        let fields = Fields::of(&body).unwrap();
        let inner = fields.object("properties").unwrap().object("inner").unwrap();
        for (error, expected) in [
            (fields.tags().map(|_| ()), "`tags.a` is not a text"),
            (
                inner.whole("count", 1..=100).map(|_| ()),
                "`properties.inner.count` is not a whole number from 1 to 100",
            ),
            (inner.one_of("kind", &["ACS"]).map(|_| ()), "`properties.inner.kind` is not one that is served"),
            (inner.text("text").map(|_| ()), "`properties.inner.text` is not a text"),
            (inner.required("none").map(|_| ()), "`properties.inner.none` is missing"),
            (
                fields.object("properties").unwrap().list("list").map(|_| ()),
                "`properties.list` is not a list",
            ),
            (Fields::of(&json!([])).map(|_| ()), "the body is not a JSON object"),
        ] {
            assert_eq!(error.unwrap_err().what, expected);
        }
        let none = fields.object("none").unwrap();
        assert!(!none.is_there() && none.text("x").unwrap().is_none() && none.list("x").unwrap().is_empty());
    }
}
