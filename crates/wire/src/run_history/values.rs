//! What a run logs as a metric, read from the shapes of 2018 (`MetricDto`) and of 1.61 (`MetricV2Dto`), and stored: numbers as points of
//! the series that MLflow's clients see, everything else as it was sent.

use std::collections::BTreeMap;

use habeas_core::kinds::{Run, RunDoc, RunMetric, RunMetricDoc, RunMetricValue};
use habeas_core::metric::MetricPoint;
use habeas_core::{Ambient, Error, Id, Node, Result, Timestamp};
use habeas_store::{New, Tx};
use serde_json::{Map, Value};

use super::answers::SCALAR;
use super::call::read_time;
use super::optional_text;
use crate::runs::milliseconds;

/// The longest name of a metric, in bytes.
const NAME: usize = 500;
/// The most values of one metric in one call.
const VALUES: usize = 100_000;

/// What one call logs under one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Logged(RunMetricDoc);

fn name_of(body: &Value) -> Result<String> {
    let name = optional_text(body, "name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::invalid("a metric has no `name`"))?;
    if name.len() > NAME {
        return Err(Error::invalid(format!("a metric's `name` is longer than {NAME} bytes")));
    }
    Ok(name)
}

fn time_of(body: &Value, now: Timestamp) -> Result<i64> {
    match optional_text(body, "createdUtc")? {
        None => Ok(now.0),
        Some(text) => read_time(&text).map(|time| time.0).ok_or_else(|| {
            Error::invalid("`createdUtc` is not a time").hint("write it like 2026-11-24T08:30:00Z")
        }),
    }
}

fn cells_of(value: Option<&Value>) -> Result<Map<String, Value>> {
    match value {
        Some(Value::Object(cells)) => Ok(cells.clone()),
        _ => Err(Error::invalid("a metric's value is not a JSON object by the names of its columns")),
    }
}

fn list_of<'a>(body: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let list = body.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    let list =
        list.ok_or_else(|| Error::invalid(format!("a metric's `{name}` is no list, or has nothing in it")))?;
    if list.len() > VALUES {
        return Err(Error::invalid(format!("a metric has more than {VALUES} values in one call"))
            .hint("send them in several"));
    }
    Ok(list)
}

impl Logged {
    /// Reads `MetricV2Dto`.
    pub(super) fn read(body: &Value, ambient: &Ambient) -> Result<Logged> {
        let name = name_of(body)?;
        let mut columns = BTreeMap::new();
        if let Some(Value::Object(sent)) = body.get("columns") {
            for (column, sort) in sent {
                columns.insert(column.clone(), sort.as_str().unwrap_or_default().to_owned());
            }
        }
        let mut values = Vec::new();
        for value in list_of(body, "value")? {
            let data = cells_of(value.get("data"))?;
            let step = match value.get("step") {
                None | Some(Value::Null) => None,
                Some(step) => {
                    Some(step.as_i64().ok_or_else(|| Error::invalid("`step` is not a whole number"))?)
                }
            };
            values.push(RunMetricValue {
                id: id_of(value, ambient)?,
                time: time_of(value, ambient.now())?,
                step,
                data,
            });
        }
        let sort = body.get("properties").map(|properties| optional_text(properties, "uxMetricType"));
        let metric_type = sort.transpose()?.flatten().unwrap_or_else(|| SCALAR.to_owned());
        Ok(Logged(RunMetricDoc { name, metric_type, columns, description: None, label: None, values }))
    }

    /// Reads `MetricDto` and `RunMetricDto`.
    pub(super) fn read_cells(body: &Value, ambient: &Ambient) -> Result<Logged> {
        let name = name_of(body)?;
        let (id, time) = (id_of(body, ambient)?, time_of(body, ambient.now())?);
        let place = optional_text(body, "dataLocation")?;
        let mut columns = BTreeMap::new();
        let properties = body.get("schema").and_then(|schema| schema.get("properties")?.as_array());
        for property in properties.into_iter().flatten() {
            let column = optional_text(property, "propertyId")?.or(optional_text(property, "name")?);
            let sort = optional_text(property, "type")?.unwrap_or_default();
            columns.extend(column.map(|column| (column, sort)));
        }
        let mut values = Vec::new();
        for (index, cell) in list_of(body, "cells")?.iter().enumerate() {
            let mut data = cells_of(Some(cell))?;
            if let Some(place) = &place {
                data.insert(name.clone(), Value::String(place.clone()));
                columns.insert(name.clone(), "Artifact".to_owned());
            }
            let id = if index == 0 { id.clone() } else { format!("{id}:{index}") };
            values.push(RunMetricValue { id, time, step: None, data });
        }
        Ok(Logged(RunMetricDoc {
            name,
            metric_type: optional_text(body, "metricType")?.unwrap_or_else(|| SCALAR.to_owned()),
            columns,
            description: optional_text(body, "description")?.filter(|text| !text.is_empty()),
            label: optional_text(body, "label")?.filter(|text| !text.is_empty()),
            values,
        }))
    }

    /// The values as numbers, if that is all they are.
    fn numbers(&self) -> Option<Vec<f64>> {
        let doc = &self.0;
        if doc.metric_type != SCALAR {
            return None;
        }
        // A text is a number only where its column says so: `NaN`, and numbers too long for JSON.
        let is_text = doc.columns.get(&doc.name).is_some_and(|sort| {
            let sort = sort.to_lowercase();
            !matches!(sort.as_str(), "int" | "integer" | "long" | "float" | "double" | "number")
        });
        doc.values
            .iter()
            .map(|value| match value.data.get(&doc.name) {
                Some(Value::Number(number)) if value.data.len() == 1 => number.as_f64(),
                Some(Value::String(text)) if value.data.len() == 1 && !is_text => text.parse().ok(),
                _ => None,
            })
            .collect()
    }
}

fn id_of(body: &Value, ambient: &Ambient) -> Result<String> {
    let id = optional_text(body, "metricId")?.filter(|id| !id.is_empty() && id.len() <= NAME);
    Ok(id.unwrap_or_else(|| ambient.new_id().to_string()))
}

/// Stores what a run logs in one call of `person`. A call that is repeated adds nothing.
pub(super) fn store(tx: &mut Tx<'_>, person: Id, run: &Node<RunDoc>, logged: &[Logged]) -> Result<()> {
    let mut counted: Vec<(&str, MetricPoint)> = Vec::new();
    let mut uncounted: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
    let mut others: Vec<RunMetricDoc> = Vec::new();
    for one in logged {
        let doc = &one.0;
        let Some(numbers) = one.numbers() else {
            join(&mut others, doc);
            continue;
        };
        for (value, number) in doc.values.iter().zip(numbers) {
            let time = milliseconds(Timestamp(value.time));
            match value.step {
                Some(step) => counted.push((&doc.name, MetricPoint { time, step, value: number })),
                None => uncounted.entry(&doc.name).or_default().push((time, number)),
            }
        }
    }
    tx.log_metrics(run.id, &counted)?;
    for (name, values) in uncounted {
        tx.log_uncounted(run.id, name, &values)?;
    }
    if !others.is_empty() {
        tx.mention_editor::<Run>(run, person)?;
    }
    for doc in others {
        let first = doc.values.first().map(|value| value.id.clone()).unwrap_or_default();
        if tx.child_by_name::<RunMetric>(run.id, &first)?.is_none() {
            let id = tx.new_id();
            tx.create::<RunMetric>(New::under(run.id, id, doc))?;
        }
    }
    Ok(())
}

/// Rows of one table that come one by one in a call are stored together.
fn join(others: &mut Vec<RunMetricDoc>, doc: &RunMetricDoc) {
    let same = others.iter_mut().find(|other| {
        other.name == doc.name
            && other.metric_type == doc.metric_type
            && other.label == doc.label
            && other.description == doc.description
    });
    match same {
        Some(other) => {
            other.columns.extend(doc.columns.clone());
            other.values.extend(doc.values.iter().cloned());
        }
        None => others.push(doc.clone()),
    }
}
