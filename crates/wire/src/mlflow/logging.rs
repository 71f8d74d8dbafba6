//! What a run logs: metrics, parameters, tags, datasets and models.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use habeas_core::kinds::{
    DatasetInput, DatasetInputDoc, LoggedModel, ModelOutput, Run, RunDoc, take_login_name,
};
use habeas_core::metric::{MetricPoint, ModelMetric};
use habeas_core::{Error, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::arguments::{Fields, missing};
use super::call::Call;
use super::errors::Result;
use super::validation::{
    self, BATCH_METRICS, BATCH_PARAMS, BATCH_TAGS, BATCH_TOTAL, DATASET_DIGEST, DATASET_NAME, PARAM_VALUE,
    TAG_VALUE,
};
use super::workspace::{find_active_run, parse, shortened};
use crate::provenance::{connect_dataset, logged_model_in, made_from};
use crate::runs::{put_tag, remember_client_name, remove_tag, run_name};

/// A value of a metric, with the logged model that it is of and the dataset that this was measured on.
#[derive(Clone, Debug)]
struct Logged {
    name: String,
    point: MetricPoint,
    model: Option<String>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl Logged {
    fn of_model(&self, run_id: Option<String>) -> ModelMetric {
        ModelMetric {
            name: self.name.clone(),
            run_id,
            dataset_name: self.dataset_name.clone(),
            dataset_digest: self.dataset_digest.clone(),
        }
    }
}

fn metric_of(fields: &Fields<'_>, place: &str) -> CoreResult<Logged> {
    let name = validation::key(&format!("{place}name"), fields.required("key")?)?;
    let value = fields.number("value")?.ok_or_else(|| missing(&format!("{place}value")))?;
    let time = fields.integer("timestamp")?.ok_or_else(|| missing(&format!("{place}timestamp")))?;
    if time < 0 {
        return Err(Error::invalid(format!(
            "Invalid value {time} for parameter '{place}timestamp' supplied: Timestamp must be a nonnegative long (64-bit integer)."
        )));
    }
    let optional = |name: &str| -> CoreResult<Option<String>> {
        Ok(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let (dataset_name, dataset_digest) = (optional("dataset_name")?, optional("dataset_digest")?);
    for (name, text, most) in
        [("dataset_name", &dataset_name, DATASET_NAME), ("dataset_digest", &dataset_digest, DATASET_DIGEST)]
    {
        validation::within(&format!("{place}{name}"), text.as_deref().unwrap_or_default(), most)?;
    }
    Ok(Logged {
        name: name.to_owned(),
        point: MetricPoint { time, step: fields.integer("step")?.unwrap_or(0), value },
        model: optional("model_id")?,
        dataset_name,
        dataset_digest,
    })
}

fn log(tx: &mut Tx<'_>, run: &Node<RunDoc>, metrics: &[Logged]) -> CoreResult<()> {
    let points: Vec<(&str, MetricPoint)> =
        metrics.iter().map(|metric| (metric.name.as_str(), metric.point)).collect();
    tx.log_metrics(run.id, &points)?;
    let models: BTreeSet<&str> = metrics.iter().filter_map(|metric| metric.model.as_deref()).collect();
    for model in models {
        let Some(id) = model.strip_prefix("m-").and_then(parse) else { continue };
        // A model of another experiment has no say here.
        let Some(node) = tx.get::<LoggedModel>(id)?.filter(|node| node.container == run.container) else {
            continue;
        };
        let name = run_name(run);
        let run_id = (node.doc.source_run.as_ref() != Some(&name)).then_some(name);
        let points = metrics
            .iter()
            .filter(|metric| metric.model.as_deref() == Some(model))
            .map(|metric| Ok((metric.of_model(run_id.clone()).series()?, metric.point)))
            .collect::<CoreResult<Vec<(String, MetricPoint)>>>()?;
        let points: Vec<(&str, MetricPoint)> =
            points.iter().map(|(series, point)| (series.as_str(), *point)).collect();
        tx.log_metrics(id, &points)?;
    }
    Ok(())
}

/// `logMetric`.
pub(super) async fn metric(call: Call) -> Result<Json<Value>> {
    let metric = metric_of(&call.arguments.fields(), "")?;
    change(&call, false, move |tx, node, _| log(tx, node, std::slice::from_ref(&metric))).await
}

/// `logParam`.
pub(super) async fn param(call: Call) -> Result<Json<Value>> {
    let key = validation::key("key", call.arguments.required("key")?)?.to_owned();
    let value = validation::cut(call.arguments.text("value")?.unwrap_or_default(), PARAM_VALUE);
    change(&call, true, move |_, node, text| match node.doc.params.insert(key.clone(), value.clone()) {
        Some(old) if old != value => Err(Error::invalid(format!(
            "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run ID='{text}'. \
             Attempted logging new value '{value}'."
        ))),
        _ => Ok(()),
    })
    .await
}

/// `setTag`.
pub(super) async fn set_tag(call: Call) -> Result<Json<Value>> {
    let key = validation::key("key", call.arguments.required("key")?)?.to_owned();
    let value = validation::cut(call.arguments.text("value")?.unwrap_or_default(), TAG_VALUE);
    let person = call.person;
    change(&call, true, move |tx, node, _| put_tag(tx, &mut node.doc, person, &key, &value)).await
}

/// `deleteTag`.
pub(super) async fn delete_tag(call: Call) -> Result<Json<Value>> {
    let key = call.arguments.required("key")?.to_owned();
    change(&call, true, move |_, node, text| {
        if remove_tag(&mut node.doc, &key) {
            Ok(())
        } else {
            Err(Error::not_found(format!("No tag with name: {} in run with id {text}", shortened(&key))))
        }
    })
    .await
}

/// `logBatch`.
pub(super) async fn batch(call: Call) -> Result<Json<Value>> {
    let arguments = &call.arguments;
    let (metrics, params, tags) =
        (arguments.objects("metrics")?, arguments.objects("params")?, arguments.objects("tags")?);
    for (what, count, most) in [
        ("metrics", metrics.len(), BATCH_METRICS),
        ("params", params.len(), BATCH_PARAMS),
        ("tags", tags.len(), BATCH_TAGS),
    ] {
        if count > most {
            return Err(Error::invalid(format!(
                "A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what} across \
                 multiple requests and try again."
            ))
            .into());
        }
    }
    let total = metrics.len() + params.len() + tags.len();
    if total > BATCH_TOTAL {
        return Err(Error::invalid(format!(
            "A batch logging request can contain at most {BATCH_TOTAL} metrics, params, and tags. Got {total} metrics, params, and \
             tags. Please split up metrics, params, and tags across multiple requests and try again."
        ))
        .into());
    }
    let metrics = metrics
        .iter()
        .enumerate()
        .map(|(index, fields)| metric_of(fields, &format!("metrics[{index}].")))
        .collect::<CoreResult<Vec<_>>>()?;
    let params = pairs_of("params", &params, PARAM_VALUE)?;
    let tags = pairs_of("tags", &tags, TAG_VALUE)?;
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> =
        params.iter().map(|(key, _)| key.as_str()).filter(|key| !seen.insert(*key)).collect();
    if !twice.is_empty() {
        return Err(Error::invalid(format!(
            "Duplicate parameter keys have been submitted: ['{}']. Please ensure the request contains only one param value per param \
             key.",
            twice.join("', '")
        ))
        .into());
    }
    let person = call.person;
    let changes_document = !params.is_empty() || !tags.is_empty();
    change(&call, changes_document, move |tx, node, text| {
        let mut changed = Vec::new();
        for (key, value) in &params {
            match node.doc.params.insert(key.clone(), value.clone()) {
                Some(old) if old != *value => {
                    changed.push(format!("{{'key': '{key}', 'old_value': '{old}', 'new_value': '{value}'}}"));
                }
                _ => {}
            }
        }
        if !changed.is_empty() {
            return Err(Error::invalid(format!(
                "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{text}'.",
                changed.join(", ")
            )));
        }
        for (key, value) in &tags {
            put_tag(tx, &mut node.doc, person, key, value)?;
        }
        log(tx, node, &metrics)
    })
    .await
}

fn pairs_of(name: &str, objects: &[Fields<'_>], most: usize) -> CoreResult<Vec<(String, String)>> {
    objects
        .iter()
        .enumerate()
        .map(|(index, fields)| {
            let key = validation::key(&format!("{name}[{index}].key"), fields.required("key")?)?;
            Ok((key.to_owned(), validation::cut(fields.text("value")?.unwrap_or_default(), most)))
        })
        .collect()
}

/// `logInputs`: datasets that a run learned from, and models that it read.
pub(super) async fn inputs(call: Call) -> Result<Json<Value>> {
    let mut datasets = Vec::new();
    for input in call.arguments.objects("datasets")? {
        let dataset = input.object("dataset")?.ok_or_else(|| missing("datasets[].dataset"))?;
        let text = |name: &str, most: usize| -> CoreResult<String> {
            let text = dataset.required(name)?;
            validation::within(name, text, most)?;
            Ok(text.to_owned())
        };
        let optional = |name: &str, most: usize| -> CoreResult<Option<String>> {
            let text = dataset.text(name)?;
            text.map_or(Ok(()), |text| validation::within(name, text, most))?;
            Ok(text.map(str::to_owned))
        };
        let mut tags = BTreeMap::new();
        for tag in input.objects("tags")? {
            let (key, value) = (tag.required("key")?, tag.required("value")?);
            validation::within("key", key, 255)?;
            validation::within("value", value, 500)?;
            tags.insert(key.to_owned(), value.to_owned());
        }
        datasets.push(DatasetInputDoc {
            name: text("name", DATASET_NAME)?,
            digest: text("digest", DATASET_DIGEST)?,
            source_type: text("source_type", 500)?,
            source: text("source", 65_535)?,
            schema: optional("schema", 1_048_575)?,
            profile: optional("profile", 16_777_215)?,
            tags,
            user_tag: None,
        });
    }
    let mut models = Vec::new();
    for input in call.arguments.objects("models")? {
        models.push(input.required("model_id")?.to_owned());
    }
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    change(&call, true, move |tx, node, _| {
        let known = tx.children::<DatasetInput>(node.id, Page::ALL)?;
        for dataset in &datasets {
            connect_dataset(tx, &actor, workspace, node.id, &dataset.source)?;
            // A client repeats what it does not know the end of.
            if !known.iter().any(|known| known.doc.name == dataset.name && known.doc.digest == dataset.digest)
            {
                let mut doc = dataset.clone();
                let login_name = take_login_name(&mut doc.source);
                doc.user_tag = remember_client_name(tx, person, login_name.as_deref())?;
                let id = tx.new_id();
                tx.create::<DatasetInput>(New::under(node.id, id, doc))?;
                node.doc.datasets += 1;
            }
        }
        for model in &models {
            if let Some(id) = logged_model_in(tx, workspace, model)? {
                made_from(tx, node.id, [id])?;
            }
            if !node.doc.model_inputs.contains(model) {
                node.doc.model_inputs.push(model.clone());
            }
        }
        Ok(())
    })
    .await
}

/// `logOutputs`: models that a run made.
pub(super) async fn outputs(call: Call) -> Result<Json<Value>> {
    let mut models = Vec::new();
    for output in call.arguments.objects("models")? {
        models.push(ModelOutput {
            model_id: output.required("model_id")?.to_owned(),
            step: output.integer("step")?.unwrap_or(0),
        });
    }
    let workspace = call.workspace;
    change(&call, true, move |tx, node, _| {
        for model in &models {
            if let Some(id) = logged_model_in(tx, workspace, &model.model_id)? {
                made_from(tx, id, [node.id])?;
            }
            if !node.doc.model_outputs.contains(model) {
                node.doc.model_outputs.push(model.clone());
            }
        }
        Ok(())
    })
    .await
}

/// `logModel`, of clients before 3.0: what they say of a model goes into a tag, as upstream does.
pub(super) async fn model(call: Call) -> Result<Json<Value>> {
    const TAG: &str = "mlflow.log-model.history";
    let text = call.arguments.required("model_json")?;
    let model: Value = serde_json::from_str(text)
        .map_err(|_| Error::invalid("Malformed model info. \n Value of 'model_json' is not JSON."))?;
    for field in ["artifact_path", "flavors", "utc_time_created", "run_id"] {
        if model.get(field).is_none() {
            return Err(Error::invalid(format!("Model json is missing mandatory fields: ['{field}']")).into());
        }
    }
    change(&call, true, move |_, node, _| {
        let known = node.doc.tags.get(TAG).and_then(|text| serde_json::from_str(text).ok());
        let mut history: Vec<Value> = known.unwrap_or_default();
        history.push(model.clone());
        node.doc.tags.insert(TAG.to_owned(), serde_json::to_string(&history)?);
        Ok(())
    })
    .await
}

/// Changes a run that is in use; `change` gets what it is called on the wire. Its document is written when `document` says so.
async fn change(
    call: &Call,
    document: bool,
    change: impl Fn(&mut Tx<'_>, &mut Node<RunDoc>, &str) -> CoreResult<()> + Clone + Send + 'static,
) -> Result<Json<Value>> {
    let text = call.arguments.run_id()?.to_owned();
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    call.write(move |tx| {
        let mut node = find_active_run(tx, &actor, workspace, &text)?;
        change(tx, &mut node, &text)?;
        if document { tx.update_by::<Run>(&node, person).map(|_| ()) } else { Ok(()) }
    })
    .await?;
    Ok(Json(json!({})))
}
