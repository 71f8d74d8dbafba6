//! Answers in MLflow's shapes: fields that were never set and empty lists are left out.

use std::collections::HashMap;

use axum::extract::Request;
use axum::http::header::USER_AGENT;
use habeas_core::kinds::{
    DatasetInput, DatasetInputDoc, ExperimentDoc, LoggedModelDoc, LoggedModelStatus, ModelVersionDoc,
    RegisteredModelDoc, RunDoc,
};
use habeas_core::metric::{MetricPoint, ModelMetric};
use habeas_core::{Id, Node, Result};
use habeas_store::{LatestMetric, Page, Tx};
use serde_json::{Map, Value, json};

use super::workspace::experiment_name;
pub(super) use crate::runs::{USER_TAG, client_name, milliseconds, number, run_name};
use crate::scope::Scope;

/// An object without its empty fields.
pub(super) fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| match value {
                    Value::Null => false,
                    Value::Array(values) => !values.is_empty(),
                    _ => true,
                })
                .collect(),
        ),
        other => other,
    }
}

/// Tags or parameters as a list of key and value.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Value> {
    pairs.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// A point of a metric.
pub(super) fn metric(name: &str, point: &MetricPoint) -> Value {
    json!({ "key": name, "value": number(point.value), "timestamp": point.time, "step": point.step })
}

pub(super) fn experiment(workspace: Id, node: &Node<ExperimentDoc>) -> Value {
    let id = experiment_name(workspace, node.id);
    compact(json!({
        "experiment_id": id,
        "name": node.doc.name,
        "artifact_location": artifact_location(&id, &node.doc),
        "lifecycle_stage": node.doc.stage.name(),
        "creation_time": milliseconds(node.created_at),
        "last_update_time": milliseconds(node.updated_at),
        "tags": pairs(&node.doc.tags),
    }))
}

fn artifact_location(id: &str, doc: &ExperimentDoc) -> String {
    doc.artifact_location.clone().unwrap_or_else(|| format!("mlflow-artifacts:/{id}"))
}

/// Where the artifacts of a run or model of this experiment are.
pub(super) fn artifact_uri(workspace: Id, experiment: &Node<ExperimentDoc>, below: &str) -> String {
    let id = experiment_name(workspace, experiment.id);
    format!("{}/{below}/artifacts", artifact_location(&id, &experiment.doc).trim_end_matches('/'))
}

/// Where a client looks for the files of runs and logged models.
#[derive(Clone, Debug, Default)]
pub(super) enum Files {
    /// At this protocol's own addresses.
    #[default]
    Here,
    /// At run history's, below this address: `azureml-mlflow` knows no other.
    AzureMl(String),
}

impl Files {
    /// What the client that sent this request, below a workspace of Azure's, understands.
    pub(super) fn of(request: &Request, base: &str, scope: &Scope) -> Files {
        let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
        if !agent.is_some_and(|agent| agent.contains("azureml-mlflow/")) {
            return Files::Here;
        }
        let host = base.split_once("://").map_or(base, |(_, host)| host);
        Files::AzureMl(format!("azureml://{host}/mlflow/v2.0{}", scope.path()))
    }

    /// Where the files of a logged model of this experiment are.
    pub(super) fn of_model(&self, workspace: Id, experiment: &Node<ExperimentDoc>, model: &str) -> String {
        match (self, &experiment.doc.artifact_location) {
            // Its addresses are of runs: a logged model stands there like one.
            (Files::AzureMl(base), None) => {
                let id = experiment_name(workspace, experiment.id);
                format!("{base}/experiments/{id}/runs/{model}/artifacts")
            }
            _ => artifact_uri(workspace, experiment, &format!("models/{model}")),
        }
    }

    /// The experiment with the place of its files, unless it was given another.
    pub(super) fn place(&self, workspace: Id, mut experiment: Node<ExperimentDoc>) -> Node<ExperimentDoc> {
        if let (Files::AzureMl(base), None) = (self, &experiment.doc.artifact_location) {
            let id = experiment_name(workspace, experiment.id);
            experiment.doc.artifact_location = Some(format!("{base}/experiments/{id}/runs"));
        }
        experiment
    }
}

/// What of a run stands outside its document.
#[derive(Debug, Default)]
pub(super) struct RunParts {
    pub(super) user: Option<String>,
    pub(super) user_tag: Option<String>,
    pub(super) metrics: Vec<LatestMetric>,
    pub(super) datasets: Vec<Node<DatasetInputDoc>>,
}

impl RunParts {
    pub(super) fn of(tx: &mut Tx<'_>, run: &Node<RunDoc>, names: &mut ClientNames) -> Result<RunParts> {
        let metrics = tx.latest_metrics(run.id)?;
        RunParts::with(metrics, tx, run, names)
    }

    /// The same where its metrics were read already.
    pub(super) fn with(
        metrics: Vec<LatestMetric>,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        names: &mut ClientNames,
    ) -> Result<RunParts> {
        Ok(RunParts {
            user: names.get(tx, run.doc.user)?,
            user_tag: names.get(tx, run.doc.user_tag)?,
            metrics,
            datasets: if run.doc.datasets > 0 { datasets(tx, run.id, names)? } else { Vec::new() },
        })
    }
}

/// Login names that were looked up: nearly all runs of a search have the same one.
#[derive(Debug, Default)]
pub(super) struct ClientNames(HashMap<Id, Option<String>>);

impl ClientNames {
    pub(super) fn get(&mut self, tx: &mut Tx<'_>, id: Option<Id>) -> Result<Option<String>> {
        let Some(id) = id else { return Ok(None) };
        if let Some(known) = self.0.get(&id) {
            return Ok(known.clone());
        }
        let name = client_name(tx, Some(id))?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// The datasets of a run, with the login names in their sources.
fn datasets(tx: &mut Tx<'_>, run: Id, names: &mut ClientNames) -> Result<Vec<Node<DatasetInputDoc>>> {
    let mut nodes = tx.children::<DatasetInput>(run, Page::ALL)?;
    for node in &mut nodes {
        let name = names.get(tx, node.doc.user_tag)?;
        node.doc.source = node.doc.source_with(name.as_deref())?;
    }
    Ok(nodes)
}

/// What of a logged model stands outside its document.
#[derive(Debug)]
pub(super) struct ModelParts {
    pub(super) user_tag: Option<String>,
    /// The newest point of each metric by each run on each dataset.
    pub(super) metrics: Vec<(ModelMetric, MetricPoint)>,
}

impl ModelParts {
    pub(super) fn of(tx: &mut Tx<'_>, model: &Node<LoggedModelDoc>) -> Result<ModelParts> {
        let metrics = tx.latest_metrics(model.id)?.into_iter().map(|latest| {
            let mut metric = ModelMetric::of_series(&latest.name);
            metric.run_id = metric.run_id.or_else(|| model.doc.source_run.clone());
            (metric, latest.point)
        });
        let metrics = metrics.collect();
        Ok(ModelParts { user_tag: client_name(tx, model.doc.user_tag)?, metrics })
    }
}

/// How a logged model is called on the wire.
pub(super) fn model_name(id: Id) -> String {
    format!("m-{}", id.to_hex())
}

pub(super) fn logged_model(
    workspace: Id,
    files: &Files,
    experiment: &Node<ExperimentDoc>,
    node: &Node<LoggedModelDoc>,
    parts: &ModelParts,
) -> Value {
    let doc = &node.doc;
    let mut tags = pairs(&doc.tags);
    tags.extend(parts.user_tag.iter().map(|user| json!({ "key": USER_TAG, "value": user })));
    let status = match doc.status {
        LoggedModelStatus::Pending => "LOGGED_MODEL_PENDING",
        LoggedModelStatus::Ready => "LOGGED_MODEL_READY",
        LoggedModelStatus::UploadFailed => "LOGGED_MODEL_UPLOAD_FAILED",
    };
    let id = model_name(node.id);
    let metrics: Vec<Value> = parts
        .metrics
        .iter()
        .map(|(of, point)| {
            let mut value = metric(&of.name, point);
            value["run_id"] = json!(of.run_id);
            value["model_id"] = json!(id);
            value["dataset_name"] = json!(of.dataset_name);
            value["dataset_digest"] = json!(of.dataset_digest);
            compact(value)
        })
        .collect();
    json!({
        "info": compact(json!({
            "model_id": id,
            "experiment_id": experiment_name(workspace, experiment.id),
            "name": doc.name,
            "creation_timestamp_ms": milliseconds(node.created_at),
            "last_updated_timestamp_ms": milliseconds(node.updated_at),
            "artifact_uri": files.of_model(workspace, experiment, &id),
            "status": status,
            "model_type": doc.model_type,
            "source_run_id": doc.source_run,
            "tags": tags,
        })),
        "data": compact(json!({ "params": pairs(&doc.params), "metrics": metrics })),
    })
}

pub(super) fn model_version(model: &Node<RegisteredModelDoc>, node: &Node<ModelVersionDoc>) -> Value {
    let doc = &node.doc;
    let aliases: Vec<&String> = model
        .doc
        .aliases
        .iter()
        .filter(|(_, version)| **version == doc.number)
        .map(|(alias, _)| alias)
        .collect();
    compact(json!({
        "name": model.doc.name,
        // A number, as text.
        "version": doc.name,
        "creation_timestamp": milliseconds(node.created_at),
        "last_updated_timestamp": milliseconds(node.updated_at),
        "current_stage": doc.stage.name(),
        "description": doc.description.as_deref().unwrap_or_default(),
        "source": doc.source,
        "run_id": doc.run.as_deref().unwrap_or_default(),
        "run_link": doc.run_link,
        "model_id": doc.model_id,
        "status": "READY",
        "tags": pairs(&doc.tags),
        "aliases": aliases,
    }))
}

pub(super) fn registered_model(node: &Node<RegisteredModelDoc>, latest: &[Node<ModelVersionDoc>]) -> Value {
    let doc = &node.doc;
    compact(json!({
        "name": doc.name,
        "creation_timestamp": milliseconds(node.created_at),
        "last_updated_timestamp": milliseconds(node.updated_at),
        "description": doc.description.as_deref().unwrap_or_default(),
        "latest_versions": latest.iter().map(|version| model_version(node, version)).collect::<Vec<_>>(),
        "tags": pairs(&doc.tags),
        "aliases": doc
            .aliases
            .iter()
            .map(|(alias, version)| json!({ "alias": alias, "version": version.to_string() }))
            .collect::<Vec<_>>(),
    }))
}

/// A list with the token of its next page.
pub(super) fn page(name: &str, values: Vec<Value>, next: Option<String>) -> Value {
    let mut fields = Map::new();
    fields.insert(name.to_owned(), Value::Array(values));
    if let Some(next) = next {
        fields.insert("next_page_token".to_owned(), json!(next));
    }
    compact(Value::Object(fields))
}
