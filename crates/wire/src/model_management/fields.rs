//! Reading the members of a request: each has a name and a shape, and what has another shape is refused by its place.

use std::collections::BTreeMap;

use habeas_core::kinds::Settings;
use habeas_core::{Error, Result};
use serde_json::{Map, Value};

/// The longest text, in characters, other than [`Shape::Long`].
const TEXT: usize = 2_000;
/// The longest of what holds a program or a sample, in bytes.
const LONG: usize = 256 * 1024;
/// The most entries of a list or map.
const ENTRIES: usize = 200;

/// What a member may be. Null counts as left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A text of at most 2,000 characters.
    Text,
    /// An integer in this range.
    Whole(i64, i64),
    /// A number that is not negative.
    Number,
    /// True or false.
    Flag,
    /// A list of texts.
    Texts,
    /// A text for each name.
    Map,
    /// An object with these members.
    Object(&'static [Field]),
    /// A list of objects with these members.
    Objects(&'static [Field]),
    /// An object with these members for each name.
    Named(&'static [Field]),
    /// Anything of at most 256 KiB.
    Long,
}

/// A member of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: &'static str,
    shape: Shape,
    is_required: bool,
}

/// A member that may be left out.
pub(super) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, is_required: false }
}

/// A member that must be there.
pub(super) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, is_required: true }
}

/// The members that are known, by name; others are ignored, as Azure does.
pub(super) fn read(body: &Value, fields: &[Field]) -> Result<Settings> {
    let Value::Object(body) = body else {
        return Err(Error::invalid("the body is not a JSON object"));
    };
    members(body, fields, "")
}

/// Refuses a member that is not among these.
pub(super) fn require_known(name: &str, fields: &[Field]) -> Result<()> {
    if fields.iter().any(|field| field.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    Err(Error::invalid("the patch changes what cannot be changed")
        .hint(format!("what can be changed is {}", names.join(", "))))
}

fn members(body: &Map<String, Value>, fields: &[Field], below: &str) -> Result<Settings> {
    let mut read = Settings::new();
    for field in fields {
        let place = if below.is_empty() { field.name.to_owned() } else { format!("{below}.{}", field.name) };
        match body.get(field.name).filter(|value| !value.is_null()) {
            Some(value) => {
                read.insert(field.name.to_owned(), shaped(value, field.shape, &place)?);
            }
            None if field.is_required => return Err(Error::invalid(format!("`{place}` is missing"))),
            None => {}
        }
    }
    Ok(read)
}

fn shaped(value: &Value, shape: Shape, place: &str) -> Result<Value> {
    let wrong = |expected: &str| Err(Error::invalid(format!("`{place}` is not {expected}")));
    let too_many = || Err(Error::limit(format!("`{place}` has more than {ENTRIES} entries")));
    match (shape, value) {
        (Shape::Text, Value::String(text)) if text.chars().count() > TEXT => {
            Err(Error::limit(format!("`{place}` is longer than {TEXT} characters")))
        }
        (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => Ok(value.clone()),
        (Shape::Text, _) => wrong("a text"),
        (Shape::Flag, _) => wrong("true or false"),
        (Shape::Whole(least, most), _) => match value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(value.clone()),
            _ => wrong(&format!("an integer from {least} to {most}")),
        },
        (Shape::Number, _) => match value.as_f64() {
            Some(number) if number >= 0.0 => Ok(value.clone()),
            _ => wrong("a number of at least 0"),
        },
        (Shape::Texts | Shape::Objects(_), Value::Array(values)) if values.len() > ENTRIES => too_many(),
        (Shape::Map | Shape::Named(_), Value::Object(values)) if values.len() > ENTRIES => too_many(),
        (Shape::Texts, Value::Array(values)) => {
            let values = values.iter().map(|value| shaped(value, Shape::Text, place));
            Ok(Value::Array(values.collect::<Result<_>>()?))
        }
        (Shape::Texts, _) => wrong("a list of texts"),
        (Shape::Map, Value::Object(values)) => {
            let mut map = Map::new();
            for (name, value) in values {
                // Some clients send numbers and flags among the texts of tags.
                let text = match value {
                    Value::Number(_) | Value::Bool(_) => Value::String(value.to_string()),
                    Value::Null => Value::String(String::new()),
                    _ => shaped(value, Shape::Text, place)?,
                };
                shaped(&Value::String(name.clone()), Shape::Text, place)?;
                map.insert(name.clone(), text);
            }
            Ok(Value::Object(map))
        }
        (Shape::Map, _) => wrong("an object of texts"),
        (Shape::Object(fields), Value::Object(values)) => {
            Ok(Value::Object(members(values, fields, place)?.into_iter().collect()))
        }
        (Shape::Object(_), _) => wrong("an object"),
        (Shape::Objects(fields), Value::Array(values)) => {
            let one = |value: &Value| shaped(value, Shape::Object(fields), place);
            Ok(Value::Array(values.iter().map(one).collect::<Result<_>>()?))
        }
        (Shape::Objects(_), _) => wrong("a list of objects"),
        (Shape::Named(fields), Value::Object(values)) => {
            let mut named = Map::new();
            for (key, value) in values {
                // Null counts as left out; names are not quoted.
                if !value.is_null() {
                    named.insert(name(key)?, shaped(value, Shape::Object(fields), &format!("{place}.*"))?);
                }
            }
            Ok(Value::Object(named))
        }
        (Shape::Named(_), _) => wrong("an object of objects"),
        (Shape::Long, value) if value.to_string().len() > LONG => {
            Err(Error::limit(format!("`{place}` is larger than {LONG} bytes")))
        }
        (Shape::Long, value) => Ok(value.clone()),
    }
}

/// Takes a text out of what was read.
pub(super) fn take_text(read: &mut Settings, name: &str) -> Option<String> {
    match read.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Takes a list of texts out of what was read.
pub(super) fn take_texts(read: &mut Settings, name: &str) -> Vec<String> {
    match read.remove(name) {
        Some(Value::Array(values)) => {
            values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

/// Takes an object of texts out of what was read.
pub(super) fn take_map(read: &mut Settings, name: &str) -> BTreeMap<String, String> {
    match read.remove(name) {
        Some(Value::Object(values)) => {
            values.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// Takes the tags: an object (`kvTags`), or the list of names of the older form.
pub(super) fn take_tags(read: &mut Settings) -> BTreeMap<String, String> {
    let mut tags = take_map(read, "kvTags");
    for name in take_texts(read, "tags") {
        tags.entry(name).or_default();
    }
    tags
}

/// Writes the tags that were said over those that were there. What the list of names of the older form names keeps the value it had: that
/// form knows no values.
pub(super) fn change_tags(tags: &mut BTreeMap<String, String>, read: &mut Settings) {
    let before = std::mem::replace(tags, take_map(read, "kvTags"));
    for name in take_texts(read, "tags") {
        let value = before.get(&name).cloned().unwrap_or_default();
        tags.entry(name).or_insert(value);
    }
}

/// The longest name of a model, image or service, in characters.
const NAME: usize = 255;

/// A name: it is a part of addresses, and `:` stands between it and a version.
pub(super) fn name(text: &str) -> Result<String> {
    let is_fine =
        |character: char| !character.is_control() && !matches!(character, '/' | '\\' | ':' | '?' | '#');
    if !text.trim().is_empty() && text.chars().count() <= NAME && text.chars().all(is_fine) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(
        "`name` is not a name: it has 1 to 255 characters without `/`, `\\`, `:`, `?` and `#`",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INNER: &[Field] = &[required("cpu", Shape::Number)];
    const FIELDS: &[Field] = &[
        required("name", Shape::Text),
        optional("replicas", Shape::Whole(1, 100)),
        optional("tags", Shape::Texts),
        optional("kvTags", Shape::Map),
        optional("is", Shape::Flag),
        optional("resources", Shape::Object(INNER)),
        optional("files", Shape::Objects(INNER)),
        optional("versions", Shape::Named(INNER)),
    ];

    #[test]
    fn members_are_read_by_their_shape_and_refused_by_their_place() {
        let body = json!({ "name": "n", "replicas": 2, "kvTags": { "a": 1, "b": null }, "is": null,
            "resources": { "cpu": 0.5, "other": 1 }, "unknown": [],
            "versions": { "a": { "cpu": 1, "other": 1 }, "b": null } });
        let mut read = super::read(&body, FIELDS).unwrap();
        assert_eq!(
            take_tags(&mut read),
            BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())])
        );
        assert_eq!(read.remove("versions"), Some(json!({ "a": { "cpu": 1 } })));
        assert_eq!(read.len(), 3);
        assert_eq!(read["resources"], json!({ "cpu": 0.5 }));
        for (body, place) in [
            (json!([]), "body"),
            (json!({}), "`name`"),
            (json!({ "name": 1 }), "`name`"),
            (json!({ "name": "n", "replicas": 0 }), "`replicas`"),
            (json!({ "name": "n", "tags": [1] }), "`tags`"),
            (json!({ "name": "n", "is": "yes" }), "`is`"),
            (json!({ "name": "n", "resources": {} }), "`resources.cpu`"),
            (json!({ "name": "n", "files": [{ "cpu": -1 }] }), "`files.cpu`"),
            (json!({ "name": "n", "versions": { "secret": {} } }), "`versions.*.cpu`"),
            (json!({ "name": "n", "versions": { "a/b": { "cpu": 1 } } }), "not a name"),
            (json!({ "name": "n".repeat(2_001) }), "`name`"),
        ] {
            assert!(super::read(&body, FIELDS).unwrap_err().what.contains(place), "{body}");
        }
    }
}
