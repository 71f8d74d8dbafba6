//! JSON Patch (RFC 6902), on the members of a resource that may be changed.
//!
//! Clients send `[{"op", "path", "value", "from"}]`. `replace` of what is not there adds it, and `add` of a whole member replaces it:
//! `azureml-core` uses either for either.

use habeas_core::kinds::Settings;
use habeas_core::{Error, Result};
use serde_json::Value;

use super::fields::{self, Field};

/// The most operations of one patch.
const OPERATIONS: usize = 100;
/// The largest result, in bytes.
const LARGEST: usize = 1024 * 1024;

/// What a resource says after a patch of the members that may be changed.
pub(super) fn edit(mut members: Value, patch: &Value, changeable: &[Field]) -> Result<Settings> {
    apply(&mut members, patch)?;
    if let Value::Object(members) = &members {
        for name in members.keys() {
            fields::require_known(name, changeable)?;
        }
    }
    fields::read(&members, changeable)
}

fn wrong(number: usize, what: &str) -> Error {
    Error::invalid(format!("operation {number} of the patch {what}"))
        .hint("a patch is a list of `{\"op\", \"path\", \"value\"}` (RFC 6902)")
}

/// Applies a patch; the document is an object.
fn apply(document: &mut Value, patch: &Value) -> Result<()> {
    let Value::Array(operations) = patch else {
        return Err(Error::invalid("the body is not a list of patch operations"));
    };
    if operations.len() > OPERATIONS {
        return Err(Error::limit(format!("a patch has at most {OPERATIONS} operations")));
    }
    for (index, operation) in operations.iter().enumerate() {
        let number = index + 1;
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        let path = pointer(text("path").ok_or_else(|| wrong(number, "has no `path`"))?, number)?;
        let value = || operation.get("value").cloned().unwrap_or(Value::Null);
        match text("op").unwrap_or_default().to_lowercase().as_str() {
            "add" => put(document, &path, value(), true, number)?,
            "replace" => put(document, &path, value(), false, number)?,
            "remove" => {
                take(document, &path, number)?;
            }
            "test" => {
                if get(document, &path) != Some(&value()) {
                    return Err(Error::conflict(format!(
                        "operation {number} of the patch tests for another value than is there"
                    )));
                }
            }
            op @ ("move" | "copy") => {
                let from = text("from").ok_or_else(|| wrong(number, "has no `from`"))?;
                let from = pointer(from, number)?;
                let value = if op == "move" {
                    take(document, &from, number)?
                } else {
                    get(document, &from)
                        .cloned()
                        .ok_or_else(|| wrong(number, "copies from what is not there"))?
                };
                put(document, &path, value, true, number)?;
                // Copies of copies double with each operation.
                if document.to_string().len() > LARGEST {
                    return Err(Error::limit(format!("a patch makes no more than {LARGEST} bytes")));
                }
            }
            _ => return Err(wrong(number, "has an unknown `op`")),
        }
    }
    Ok(())
}

/// The parts of a JSON Pointer (RFC 6901); at least one.
fn pointer(text: &str, number: usize) -> Result<Vec<String>> {
    let parts =
        text.strip_prefix('/').ok_or_else(|| wrong(number, "has a path that does not begin with `/`"))?;
    Ok(parts.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn step<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

fn get<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, part| step(value, part))
}

/// What the last part of a path is to be found in; members on the way are made.
fn parent<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    let (_, above) = path.split_last()?;
    let mut value = document;
    for part in above {
        if value.is_null() {
            *value = Value::Object(serde_json::Map::new());
        }
        value = match value {
            Value::Object(members) => members.entry(part.clone()).or_insert(Value::Null),
            Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    if value.is_null() {
        *value = Value::Object(serde_json::Map::new());
    }
    Some(value)
}

fn put(document: &mut Value, path: &[String], value: Value, inserts: bool, number: usize) -> Result<()> {
    let nowhere = || wrong(number, "has a path that leads nowhere");
    let last = path.last().ok_or_else(nowhere)?;
    match parent(document, path).ok_or_else(nowhere)? {
        Value::Object(members) => {
            members.insert(last.clone(), value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at: usize = last.parse().map_err(|_| nowhere())?;
            if inserts && at <= items.len() {
                items.insert(at, value);
            } else if let Some(item) = items.get_mut(at) {
                *item = value;
            } else {
                return Err(nowhere());
            }
        }
        _ => return Err(nowhere()),
    }
    Ok(())
}

fn take(document: &mut Value, path: &[String], number: usize) -> Result<Value> {
    let missing = || wrong(number, "removes what is not there");
    let last = path.last().ok_or_else(missing)?;
    match parent(document, path).ok_or_else(missing)? {
        Value::Object(members) => members.remove(last).ok_or_else(missing),
        Value::Array(items) => {
            let at: usize = last.parse().map_err(|_| missing())?;
            if at < items.len() { Ok(items.remove(at)) } else { Err(missing()) }
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_of_the_standard_and_of_the_clients() {
        let mut document = json!({ "description": "a", "kvTags": { "x": "1" }, "list": [1, 2] });
        let patch = json!([
            { "op": "replace", "path": "/kvTags", "value": { "y": "2" } },
            { "op": "add", "path": "/properties/a~1b", "value": "c" },
            { "op": "test", "path": "/description", "value": "a" },
            { "op": "remove", "path": "/description" },
            { "op": "add", "path": "/list/0", "value": 0 },
            { "op": "add", "path": "/list/-", "value": 3 },
            { "op": "replace", "path": "/list/1", "value": 9 },
            { "op": "copy", "from": "/list/0", "path": "/first" },
            { "op": "move", "from": "/first", "path": "/kvTags/z" },
        ]);
        apply(&mut document, &patch).unwrap();
        assert_eq!(
            document,
            json!({ "kvTags": { "y": "2", "z": 0 }, "properties": { "a/b": "c" }, "list": [0, 9, 2, 3] })
        );
        for bad in [
            json!({}),
            json!([{}]),
            json!([{ "op": "spoil", "path": "/a" }]),
            json!([{ "op": "add", "path": "a", "value": 1 }]),
            json!([{ "op": "remove", "path": "/none" }]),
            json!([{ "op": "remove", "path": "/list/7" }]),
            json!([{ "op": "add", "path": "/list/9", "value": 1 }]),
            json!([{ "op": "add", "path": "/list/0/deep", "value": 1 }]),
            json!([{ "op": "copy", "path": "/a" }]),
            json!([{ "op": "test", "path": "/list/0", "value": 7 }]),
        ] {
            assert!(apply(&mut document.clone(), &bad).is_err(), "{bad}");
        }
        let doubling = json!({ "op": "copy", "from": "", "path": "/kvTags/x" });
        assert!(apply(&mut document, &json!([doubling])).is_err());
        let doubling = json!([
            { "op": "copy", "from": "/kvTags", "path": "/kvTags/x" },
            { "op": "copy", "from": "/kvTags", "path": "/kvTags/y" },
        ]);
        for _ in 0..100 {
            if apply(&mut document, &doubling).is_err() {
                return;
            }
        }
        panic!("a patch grows without end");
    }

    proptest::proptest! {
        #[test]
        fn no_patch_panics(op in "add|remove|replace|move|copy|test|x", path in "(/[a-c0-3~-]{0,2}){0,3}", from in "(/[a-c0-3]{0,2}){0,3}") {
            let mut document = json!({ "a": [1, { "b": 2 }], "c": null });
            let _ = apply(&mut document, &json!([{ "op": op, "path": path, "from": from, "value": 1 }]));
        }
    }
}
