//! What `metrics:query` makes of several values of one name: `mergestrategytype` and its companions, which `azureml-core` 1.61 sends.
//!
//! Source: `RunMetrics_GetByQuery` in Azure's specification (`azure-rest-api-specs`, machinelearningservices, `runHistory.json`): with `None`
//! "all logged values are returned as individual metrics", `MergeToVector` "merges multiple values into a vector of values", and with `Default`
//! "the system determines the behavior". It does not say what else the parameters beside the type change, so what they could ask for beyond
//! that is refused.

use std::collections::HashMap;

use habeas_core::{Error, Result};
use serde_json::{Value, json};

use super::call::Call;

/// The most values in one answer that merges them; what is left is on the next page.
pub(super) const MOST_MERGED: usize = 50_000;

/// What is made of several values of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merging {
    /// Each is a metric.
    Apart,
    /// Those of a run of one name, type, label and schema are one metric.
    ToVector,
}

impl Merging {
    /// What the query asks for.
    pub(super) fn read(call: &Call) -> Result<Merging> {
        let merging = match call.query("mergestrategytype").map(str::to_lowercase).as_deref() {
            None | Some("default" | "none") => Merging::Apart,
            Some("mergetovector") => Merging::ToVector,
            Some(_) => {
                return Err(Error::invalid("there is no such `mergestrategytype`")
                    .hint("send Default, None or MergeToVector"));
            }
        };
        for (name, served) in
            [("mergestrategyoptions", "None"), ("mergestrategysettings.selectmetrics", "SelectAll")]
        {
            if call.query(name).is_some_and(|value| !value.eq_ignore_ascii_case(served)) {
                return Err(Error::invalid(format!("this `{name}` is not served"))
                    .hint(format!("leave it out, or send {served}")));
            }
        }
        if call.query("mergestrategysettings.version").is_some() {
            return Err(Error::invalid("no `mergestrategysettings.version` is served").hint("leave it out"));
        }
        Ok(merging)
    }
}

/// Adds the cells of a metric to those of another one.
pub(super) fn extend(to: &mut Value, mut metric: Value) {
    if let (Some(cells), Value::Array(more)) = (to["cells"].as_array_mut(), metric["cells"].take()) {
        cells.extend(more);
        to["numCells"] = json!(cells.len());
    }
}

/// The metrics of one run, those that can be merged in the place of the first of them. What lies in a file is no value that could be put
/// beside others.
pub(super) fn merged(metrics: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for metric in metrics {
        if metric.get("dataLocation").is_none() {
            let key =
                json!([metric["name"], metric["metricType"], metric["label"], metric["schema"]]).to_string();
            match places.get(&key) {
                Some(place) => {
                    extend(&mut merged[*place], metric);
                    continue;
                }
                None => places.insert(key, merged.len()),
            };
        }
        merged.push(metric);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, schema: &str, cell: i64) -> Value {
        json!({ "runId": "r", "name": name, "metricType": "azureml.v1.list", "schema": schema, "numCells": 1,
            "cells": [{ name: cell }] })
    }

    #[test]
    fn values_of_one_name_and_schema_become_one_metric() {
        let mut image = metric("a", "int", 9);
        image["dataLocation"] = json!("somewhere");
        let metrics = [
            metric("a", "int", 1),
            metric("b", "int", 2),
            metric("a", "int", 3),
            metric("a", "text", 4),
            image.clone(),
            metric("a", "text", 5),
        ];
        let found = merged(metrics.into_iter());
        let cells: Vec<&Value> = found.iter().map(|metric| &metric["cells"]).collect();
        assert_eq!(
            cells,
            [
                &json!([{ "a": 1 }, { "a": 3 }]),
                &json!([{ "b": 2 }]),
                &json!([{ "a": 4 }, { "a": 5 }]),
                &image["cells"]
            ]
        );
        assert_eq!((&found[0]["numCells"], &found[1]["numCells"]), (&json!(2), &json!(1)));
    }
}
