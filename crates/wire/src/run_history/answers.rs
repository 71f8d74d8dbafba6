//! Answers in run history's shapes.

use std::collections::{BTreeMap, HashMap};

use habeas_core::kinds::{
    ExperimentDoc, LifecycleStage, Person, RunDoc, RunEventDoc, RunMetricDoc, RunMetricValue,
};
use habeas_core::metric::{MetricPoint, ordered};
use habeas_core::{Id, Node, Result, Timestamp};
use habeas_store::Tx;
use serde_json::{Map, Value, json};

use super::datasets::{self, INPUTS, OUTPUTS};
use crate::runs::{
    DATA_CONTAINER, NAME_TAG, NOTE_TAG, PARENT_TAG, SCRIPT_TAG, USER_TAG, client_name, look_up_run, number,
    run_name,
};

/// Tags that stand in fields of their own.
const FIELDS: [&str; 4] = [NAME_TAG, NOTE_TAG, PARENT_TAG, SCRIPT_TAG];
/// The longest chain of runs above a run that is followed.
const GENERATIONS: usize = 64;

/// The type of a metric that is a number.
pub(super) const SCALAR: &str = "azureml.v1.scalar";

/// A time in milliseconds.
pub(super) fn time(milliseconds: i64) -> String {
    Timestamp(milliseconds.saturating_mul(1_000)).rfc3339()
}

/// Where the chain of runs above a run begins.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// How it is called.
    pub(super) name: String,
    /// Its own id, if it is there.
    id: Option<Id>,
}

/// Makes answers about runs, and remembers what many of them share.
#[derive(Debug)]
pub(super) struct Answers {
    scope: Id,
    people: HashMap<Id, Option<String>>,
    roots: HashMap<String, Root>,
}

impl Answers {
    /// For the runs below `scope`.
    pub(super) fn new(scope: Id) -> Answers {
        Answers { scope, people: HashMap::new(), roots: HashMap::new() }
    }

    /// The name of a person, who may be gone.
    fn person(&mut self, tx: &mut Tx<'_>, id: Id) -> Result<Option<String>> {
        if let Some(known) = self.people.get(&id) {
            return Ok(known.clone());
        }
        let name = tx.get::<Person>(id)?.map(|node| node.doc.name);
        self.people.insert(id, name.clone());
        Ok(name)
    }

    /// The run at the top of those that `run` is a part of.
    pub(super) fn root(&mut self, tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<Root> {
        let Some(above) = run.doc.tags.get(PARENT_TAG) else {
            return Ok(Root { name: run_name(run), id: Some(run.id) });
        };
        if let Some(known) = self.roots.get(above) {
            return Ok(known.clone());
        }
        let mut root = Root { name: above.clone(), id: None };
        for _ in 0..GENERATIONS {
            let Some(found) = look_up_run(tx, self.scope, &root.name)? else { break };
            root.id = Some(found.id);
            match found.doc.tags.get(PARENT_TAG) {
                Some(next) => root = Root { name: next.clone(), id: None },
                None => break,
            }
        }
        self.roots.insert(above.clone(), root.clone());
        Ok(root)
    }

    /// `RunDto`, as it is in lists and in answers to changes: without what MLflow's clients logged as the run's inputs.
    pub(super) fn run(&mut self, tx: &mut Tx<'_>, node: &Node<RunDoc>) -> Result<Value> {
        let (doc, id) = (&node.doc, run_name(node));
        let root = self.root(tx, node)?;
        let mut fields = common(doc, &id);
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        };
        // `azureml-core` cannot open a run that has none, as those that MLflow made.
        put("runNumber", json!(doc.details.number.unwrap_or(0)));
        put("rootRunId", json!(root.name));
        put("experimentId", json!(node.parent));
        put("createdUtc", json!(node.created_at.rfc3339()));
        put("name", json!(doc.details.name.as_ref().unwrap_or(&doc.name)));
        put("displayName", json!(doc.name));
        put("description", json!(doc.tags.get(NOTE_TAG)));
        put("scriptName", json!(doc.tags.get(SCRIPT_TAG)));
        put("runUuid", json!(node.id));
        put("rootRunUuid", json!(root.id));
        put("dataContainerId", json!(format!("{DATA_CONTAINER}{id}")));
        if let Some(parent) = doc.tags.get(PARENT_TAG) {
            put("parentRunId", json!(parent));
            put("parentRunUuid", json!(look_up_run(tx, self.scope, parent)?.map(|node| node.id)));
        }
        put("tags", self.tags(tx, doc)?);
        if let Some(person) = doc.created_by
            && let Some(name) = self.person(tx, person)?
        {
            put("userId", json!(person));
            let person = json!({ "userObjectId": person, "userTenantId": Id::NIL, "userName": name });
            put("createdBy", person);
        }
        fields.entry("hidden").or_insert(json!(false));
        Ok(Value::Object(fields))
    }

    fn tags(&self, tx: &mut Tx<'_>, doc: &RunDoc) -> Result<Value> {
        let mut tags: BTreeMap<&str, String> = doc
            .tags
            .iter()
            .filter(|(name, _)| !FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        tags.extend(client_name(tx, doc.user_tag)?.map(|user| (USER_TAG, user)));
        Ok(json!(tags))
    }
}

/// What `RunDto` and `RunDetailsDto` share.
fn common(doc: &RunDoc, id: &str) -> Map<String, Value> {
    let mut fields = doc.details.fields.clone();
    fields.insert("runId".to_owned(), json!(id));
    fields.insert("status".to_owned(), json!(doc.status.history_name()));
    // What MLflow calls parameters.
    fields.insert("properties".to_owned(), json!(doc.params));
    if doc.status.has_begun() {
        fields.insert("startTimeUtc".to_owned(), json!(time(doc.start_time)));
    }
    if let Some(end) = doc.end_time {
        fields.insert("endTimeUtc".to_owned(), json!(time(end)));
    }
    fields
}

/// `RunDetailsDto`. `logs` are the addresses of what the run wrote into its log files.
pub(super) fn details(
    tx: &mut Tx<'_>,
    node: &Node<RunDoc>,
    logs: &BTreeMap<String, String>,
) -> Result<Value> {
    const SHOWN: [&str; 12] = [
        "runId",
        "target",
        "status",
        "startTimeUtc",
        "endTimeUtc",
        "services",
        "error",
        "warnings",
        "properties",
        INPUTS,
        OUTPUTS,
        "runDefinition",
    ];
    let mut fields = common(&node.doc, &run_name(node));
    fields.retain(|name, _| SHOWN.contains(&name.as_str()));
    fields.extend(datasets::inputs(tx, node)?.map(|inputs| (INPUTS.to_owned(), inputs)));
    for name in [INPUTS, OUTPUTS] {
        fields.entry(name).or_insert(json!([]));
    }
    fields.insert("logFiles".to_owned(), json!(logs));
    Ok(Value::Object(fields))
}

/// `ExperimentDto`.
pub(super) fn experiment(node: &Node<ExperimentDoc>) -> Value {
    let doc = &node.doc;
    let tags: BTreeMap<&String, &String> = doc.tags.iter().filter(|(name, _)| *name != NOTE_TAG).collect();
    let mut answer = json!({
        "experimentId": node.id,
        "name": doc.name,
        "createdUtc": node.created_at.rfc3339(),
        "archivedTime": null,
        "tags": tags,
    });
    if let Some(note) = doc.tags.get(NOTE_TAG) {
        answer["description"] = json!(note);
    }
    if let Some(archived) = archived(node) {
        answer["archivedTime"] = json!(archived.rfc3339());
    }
    answer
}

/// When an experiment was archived, while it is.
pub(super) fn archived(node: &Node<ExperimentDoc>) -> Option<Timestamp> {
    let is_archived = node.doc.stage == LifecycleStage::Deleted;
    is_archived.then(|| node.doc.archived_at.unwrap_or(node.updated_at))
}

/// `BaseEvent` of a run in the workspace or project `scope`.
pub(super) fn event(node: &Node<RunEventDoc>, run: &Node<RunDoc>, scope: Id) -> Value {
    json!({
        "timestamp": Timestamp(node.doc.time).rfc3339(),
        "name": node.doc.name,
        "projectId": scope,
        "experimentId": run.parent,
        "containerName": format!("{DATA_CONTAINER}{}", run_name(run)),
        "data": node.doc.data,
    })
}

/// `MetricV2Value`.
pub(super) fn value(value: &RunMetricValue) -> Value {
    let mut answer = json!({
        "metricId": value.id,
        "createdUtc": Timestamp(value.time).rfc3339(),
        "data": value.data,
    });
    if let Some(step) = value.step {
        answer["step"] = json!(step);
    }
    answer
}

/// `RunMetricDto` of what one call logged.
pub(super) fn metric(run: &str, doc: &RunMetricDoc) -> Value {
    let first = doc.values.first();
    // Of what lies in a file, the cell is empty and the address stands beside it.
    let in_file: Vec<&String> =
        doc.columns.iter().filter(|(_, sort)| *sort == "Artifact").map(|(name, _)| name).collect();
    let cells: Vec<Map<String, Value>> = doc
        .values
        .iter()
        .map(|value| {
            let mut cell = value.data.clone();
            for name in &in_file {
                cell.insert((*name).clone(), Value::Null);
            }
            cell
        })
        .collect();
    let properties: Vec<Value> = doc
        .columns
        .iter()
        .map(|(name, sort)| json!({ "propertyId": name, "name": doc.name, "type": sort }))
        .collect();
    let mut answer = json!({
        "runId": run,
        "metricId": first.map(|value| &value.id),
        "metricType": doc.metric_type,
        "createdUtc": Timestamp(first.map_or(0, |value| value.time)).rfc3339(),
        "name": doc.name,
        "description": doc.description.as_deref().unwrap_or_default(),
        "numCells": cells.len(),
        "cells": cells,
        "schema": { "numProperties": properties.len(), "properties": properties },
    });
    if let Some(label) = &doc.label {
        answer["label"] = json!(label);
    }
    if let Some(place) = in_file.first().and_then(|name| first?.data.get(*name)) {
        answer["dataLocation"] = place.clone();
    }
    answer
}

/// `RunMetricDto` of one number.
pub(super) fn scalar(run: &str, id: &str, name: &str, point: &MetricPoint) -> Value {
    json!({
        "runId": run,
        "metricId": id,
        "metricType": SCALAR,
        "createdUtc": time(point.time),
        "name": name,
        "description": "",
        "numCells": 1,
        "cells": [{ name: number(point.value) }],
        "schema": { "numProperties": 1, "properties": [{ "propertyId": name, "name": name, "type": "double" }] },
    })
}

/// The id of a number: where it stands.
pub(super) fn scalar_id(run: Id, series: i64, point: &MetricPoint) -> String {
    format!("{}-{series:x}-{:x}-{:x}-{:x}", run.to_hex(), point.time, point.step, ordered(point.value))
}
