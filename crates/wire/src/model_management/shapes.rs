//! Answers: what several of them have in common.

use std::collections::BTreeMap;

use habeas_core::kinds::{ModelVersionDoc, Person, RegisteredModelDoc};
use habeas_core::{Id, Node, Result, Timestamp};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::call::Form;
use crate::provenance::{ASSET, of_version};

/// Who made something, by their own profile: nobody any more when they were erased.
pub(super) fn creator(tx: &mut Tx<'_>, person: Option<Id>) -> Result<Value> {
    let Some(person) = person else { return Ok(Value::Null) };
    Ok(match tx.get::<Person>(person)? {
        Some(node) => json!({ "userObjectId": person, "userName": node.doc.name }),
        None => Value::Null,
    })
}

/// A time.
pub(super) fn time(time: Timestamp) -> Value {
    json!(time.rfc3339())
}

/// Notes in an answer since when something that the resource was made from is gone. Clients pass over what they do not know.
pub(super) fn mark(tx: &mut Tx<'_>, id: Id, mut answer: Value) -> Result<Value> {
    if let (Value::Object(members), Some(since)) = (&mut answer, tx.source_erased(id)?) {
        members.insert("sourceErasedAt".into(), time(since));
    }
    Ok(answer)
}

/// The names of tags, as the older forms have them.
pub(super) fn names(tags: &BTreeMap<String, String>) -> Value {
    tags.keys().map(|name| json!(name)).collect()
}

/// An object without members that are null. The forms before 1.0 leave out what was not said; `azureml-core` 1 insists on seeing it.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// How a version of a model is called on the wire: `NAME:VERSION` by `azureml-core` 1, by its identifier before.
pub(super) fn model_id(
    form: Form,
    model: &Node<RegisteredModelDoc>,
    version: &Node<ModelVersionDoc>,
) -> String {
    match form {
        Form::V1 => format!("{}:{}", model.doc.name, version.doc.number),
        Form::Hosting | Form::Preview => version.id.to_string(),
    }
}

/// Resources with the members that `azureml-core` 1 insists on seeing.
fn resources(mut said: Value) -> Value {
    if let Value::Object(members) = &mut said {
        for name in ["cpu", "memoryInGB", "gpu"] {
            members.entry(name).or_insert(Value::Null);
        }
    }
    said
}

/// A version of a model.
pub(super) fn model(
    tx: &mut Tx<'_>,
    form: Form,
    at: Id,
    model: &Node<RegisteredModelDoc>,
    version: &Node<ModelVersionDoc>,
) -> Result<Value> {
    let doc = &version.doc;
    let said = |name: &str| doc.azure.get(name).cloned().unwrap_or(Value::Null);
    let url = match said("url") {
        Value::Null => match of_version(tx, at, version)?.and_then(|place| place.artifact()) {
            Some(_) => json!(format!("{ASSET}{}", version.id)),
            None => json!(doc.address()),
        },
        url => url,
    };
    let mime_type = match said("mimeType") {
        Value::Null => json!("application/json"),
        mime_type => mime_type,
    };
    let unpack = said("unpack").as_bool().unwrap_or(false);
    if form != Form::V1 {
        let answer = without_nulls(json!({
            "id": version.id,
            "name": model.doc.name,
            "version": doc.number,
            "tags": names(&doc.tags),
            "url": url,
            "mimeType": mime_type,
            "description": doc.description,
            "unpack": unpack,
            "createdAt": time(version.created_at),
            // What azureml-core 0.1 calls it.
            "createdTime": if form == Form::Preview { time(version.created_at) } else { Value::Null },
        }));
        return mark(tx, version.id, answer);
    }
    let map = |name: &str| match said(name) {
        Value::Null => json!({}),
        map => map,
    };
    let datasets = match said("datasets") {
        Value::Null => json!([]),
        datasets => datasets,
    };
    let answer = json!({
        "id": model_id(form, model, version),
        "name": model.doc.name,
        "version": doc.number,
        "framework": said("framework"),
        "frameworkVersion": said("frameworkVersion"),
        "datasets": datasets,
        "url": url,
        "mimeType": mime_type,
        "description": doc.description,
        "createdTime": time(version.created_at),
        "modifiedTime": time(version.updated_at),
        "unpack": unpack,
        "parentModelId": said("parentModelId"),
        "runId": doc.run,
        "experimentName": said("experimentName"),
        "kvTags": doc.tags,
        "properties": map("properties"),
        "derivedModelIds": [],
        "sampleInputData": said("sampleInputData"),
        "sampleOutputData": said("sampleOutputData"),
        "resourceRequirements": resources(said("resourceRequirements")),
        "createdBy": creator(tx, doc.created_by)?,
    });
    mark(tx, version.id, answer)
}
