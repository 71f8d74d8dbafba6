//! Runs in MLflow's shape, written as text at once: a page has a hundred of them and more, each with dozens of pairs.

use std::collections::BTreeMap;

use habeas_core::kinds::{DatasetInputDoc, ExperimentDoc, RunDoc};
use habeas_core::{Id, Node, Result};
use habeas_store::LatestMetric;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::answers::{RunParts, USER_TAG, artifact_uri, compact, pairs, run_name};
use super::workspace::experiment_name;
use crate::runs::number;

/// What a run is called, and how far it is.
#[derive(Debug, Serialize)]
pub(super) struct RunInfo {
    run_id: String,
    /// The name before 1.0, which older clients read.
    run_uuid: String,
    run_name: String,
    experiment_id: String,
    user_id: String,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: String,
    lifecycle_stage: &'static str,
}

impl RunInfo {
    pub(super) fn of(
        workspace: Id,
        experiment: &Node<ExperimentDoc>,
        run: &Node<RunDoc>,
        user: Option<&str>,
    ) -> RunInfo {
        let id = run_name(run);
        RunInfo {
            run_uuid: id.clone(),
            run_name: run.doc.name.clone(),
            experiment_id: experiment_name(workspace, experiment.id),
            user_id: user.unwrap_or_default().to_owned(),
            status: run.doc.status.name(),
            start_time: run.doc.start_time,
            end_time: run.doc.end_time,
            artifact_uri: artifact_uri(workspace, experiment, &id),
            lifecycle_stage: run.doc.stage.name(),
            run_id: id,
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    info: RunInfo,
    data: Data<'a>,
    inputs: Value,
    outputs: Value,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "metrics")]
    metrics: &'a [LatestMetric],
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "params")]
    params: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Metric<'a> {
    key: &'a str,
    value: Value,
    timestamp: i64,
    step: i64,
}

fn metrics<S: Serializer>(metrics: &[LatestMetric], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(metrics.iter().map(|latest| Metric {
        key: &latest.name,
        value: number(latest.point.value),
        timestamp: latest.point.time,
        step: latest.point.step,
    }))
}

fn params<S: Serializer>(
    params: &BTreeMap<String, String>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(params.iter().map(|(key, value)| Pair { key, value }))
}

/// A run with all that belongs to it.
pub(super) fn run(
    workspace: Id,
    experiment: &Node<ExperimentDoc>,
    node: &Node<RunDoc>,
    parts: &RunParts,
) -> Result<Box<RawValue>> {
    let doc = &node.doc;
    let tags = doc.tags.iter().map(|(key, value)| Pair { key, value });
    let user = parts.user_tag.iter().map(|user| Pair { key: USER_TAG, value: user });
    Ok(to_raw_value(&Answer {
        info: RunInfo::of(workspace, experiment, node, parts.user.as_deref()),
        data: Data { metrics: &parts.metrics, params: &doc.params, tags: tags.chain(user).collect() },
        inputs: compact(json!({
            "dataset_inputs": parts.datasets.iter().map(dataset_input).collect::<Vec<_>>(),
            "model_inputs": doc.model_inputs.iter().map(|id| json!({ "model_id": id })).collect::<Vec<_>>(),
        })),
        outputs: compact(json!({
            "model_outputs": doc
                .model_outputs
                .iter()
                .map(|output| json!({ "model_id": output.model_id, "step": output.step }))
                .collect::<Vec<_>>(),
        })),
    })?)
}

fn dataset_input(node: &Node<DatasetInputDoc>) -> Value {
    let doc = &node.doc;
    compact(json!({
        "tags": pairs(&doc.tags),
        "dataset": compact(json!({
            "name": doc.name,
            "digest": doc.digest,
            "source_type": doc.source_type,
            "source": doc.source,
            "schema": doc.schema,
            "profile": doc.profile,
        })),
    }))
}
