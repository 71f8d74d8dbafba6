//! Logged models: what a script made, before anybody registered it.

use std::collections::BTreeMap;

use axum::Json;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{
    Experiment, ExperimentDoc, LifecycleStage, LoggedModel, LoggedModelDoc, LoggedModelStatus,
};
use habeas_core::metric::ModelMetric;
use habeas_core::{Error, ErrorKind, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::answers::{self, ModelParts, USER_TAG};
use super::arguments::{Arguments, Fields, wrong_type};
use super::call::Call;
use super::errors::Result;
use super::search::{Entity, Fact, Key, LOGGED_MODELS, Listing, Measured};
use super::validation::{self, PARAM_VALUE, TAG_VALUE};
use super::workspace::{find_experiment, parse, require_active_experiment, shortened};
use crate::provenance::made_from;
use crate::runs::{look_up_run, remember_client_name};

/// The most models one search answers, and how many without being told.
const MOST: u32 = 50_000;
const USUAL: u32 = 50;

/// The model and its experiment, if the actor may do this with it.
pub(super) fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    text: &str,
    permission: Permission,
) -> CoreResult<(Node<LoggedModelDoc>, Node<ExperimentDoc>)> {
    let not_found = || Error::not_found(format!("Logged model with ID '{}' not found.", shortened(text)));
    let id = text.strip_prefix("m-").and_then(parse).ok_or_else(not_found)?;
    let node = tx.get::<LoggedModel>(id)?.ok_or_else(not_found)?;
    let experiment = tx.get::<Experiment>(node.parent.unwrap_or(Id::NIL))?.ok_or_else(not_found)?;
    if experiment.parent != Some(workspace) || node.doc.stage == LifecycleStage::Deleted {
        return Err(not_found());
    }
    authorise(tx, actor, id, permission)?;
    Ok((node, experiment))
}

fn pairs(objects: &[Fields<'_>], most: usize) -> CoreResult<Vec<(String, String)>> {
    objects
        .iter()
        .map(|fields| {
            let key = validation::key("key", fields.required("key")?)?;
            Ok((key.to_owned(), validation::cut(fields.text("value")?.unwrap_or_default(), most)))
        })
        .collect()
}

/// Sets tags, of which the login name stands with the person who sent it: MLflow's client sends it for every model that it logs.
fn put_tags(
    tx: &mut Tx<'_>,
    doc: &mut LoggedModelDoc,
    person: Id,
    tags: &[(String, String)],
) -> CoreResult<()> {
    for (key, value) in tags {
        if key == USER_TAG {
            // Models that were logged before this was kept apart have it among their tags.
            doc.tags.remove(USER_TAG);
            doc.user_tag = remember_client_name(tx, person, Some(value))?;
        } else {
            doc.tags.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

/// `createLoggedModel`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let arguments = &call.arguments;
    let experiment = arguments.required("experiment_id")?.to_owned();
    let name = match arguments.text("name")?.filter(|name| !name.is_empty()) {
        Some(name) => validation::model_name(name)?.to_owned(),
        None => format!("model-{}", hex::encode(call.app.store().ambient().bytes::<4>())),
    };
    let optional = |name: &str| -> CoreResult<Option<String>> {
        Ok(arguments.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let doc = LoggedModelDoc {
        name,
        model_type: optional("model_type")?,
        source_run: optional("source_run_id")?,
        status: LoggedModelStatus::Pending,
        stage: LifecycleStage::Active,
        tags: BTreeMap::new(),
        params: pairs(&arguments.objects("params")?, PARAM_VALUE)?.into_iter().collect(),
        created_by: Some(call.person),
        user_tag: None,
    };
    let tags = pairs(&arguments.objects("tags")?, TAG_VALUE)?;
    let (actor, workspace, person, files) = (call.actor, call.workspace, call.person, call.files.clone());
    let id = call.app.store().ambient().new_id();
    let answer = call
        .write(move |tx| {
            let experiment_node = find_experiment(tx, &actor, workspace, &experiment, Permission::Write)?;
            require_active_experiment(&experiment, &experiment_node)?;
            let mut doc = doc.clone();
            put_tags(tx, &mut doc, person, &tags)?;
            let node = tx.create::<LoggedModel>(New::under(experiment_node.id, id, doc))?;
            if let Some(run) = &node.doc.source_run
                && let Some(run) = look_up_run(tx, workspace, run)?
            {
                made_from(tx, id, [run.id])?;
            }
            let parts = ModelParts::of(tx, &node)?;
            Ok(answers::logged_model(workspace, &files, &experiment_node, &node, &parts))
        })
        .await?;
    Ok(Json(json!({ "model": answer })))
}

/// `getLoggedModel`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.required("model_id")?.to_owned();
    let (actor, workspace, files) = (call.actor, call.workspace, call.files.clone());
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let (node, experiment) = find(tx, &actor, workspace, &text, Permission::Read)?;
            let parts = ModelParts::of(tx, &node)?;
            Ok(answers::logged_model(workspace, &files, &experiment, &node, &parts))
        })
        .await?;
    Ok(Json(json!({ "model": answer })))
}

fn status(arguments: &Arguments) -> CoreResult<LoggedModelStatus> {
    let value = arguments.get("status").ok_or_else(|| super::arguments::missing("status"))?;
    match (value.as_str(), value.as_i64()) {
        (Some("LOGGED_MODEL_PENDING"), _) | (_, Some(1)) => Ok(LoggedModelStatus::Pending),
        (Some("LOGGED_MODEL_READY"), _) | (_, Some(2)) => Ok(LoggedModelStatus::Ready),
        (Some("LOGGED_MODEL_UPLOAD_FAILED"), _) | (_, Some(3)) => Ok(LoggedModelStatus::UploadFailed),
        _ => Err(wrong_type("status", value)),
    }
}

/// `finalizeLoggedModel`.
pub(super) async fn finalise(call: Call) -> Result<Json<Value>> {
    let status = status(&call.arguments)?;
    change(&call, move |_, node| {
        node.doc.status = status;
        Ok(())
    })
    .await
    .map(Json)
}

/// `deleteLoggedModel`: puts it aside. An erasure does it for good.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    change(&call, |_, node| {
        node.doc.stage = LifecycleStage::Deleted;
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `logLoggedModelParams`.
pub(super) async fn params(call: Call) -> Result<Json<Value>> {
    let params = pairs(&call.arguments.objects("params")?, PARAM_VALUE)?;
    change(&call, move |_, node| {
        node.doc.params.extend(params.iter().cloned());
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `setLoggedModelTags`.
pub(super) async fn set_tags(call: Call) -> Result<Json<Value>> {
    let tags = pairs(&call.arguments.objects("tags")?, TAG_VALUE)?;
    let person = call.person;
    change(&call, move |tx, node| put_tags(tx, &mut node.doc, person, &tags)).await.map(Json)
}

/// `deleteLoggedModelTag`.
pub(super) async fn delete_tag(call: Call) -> Result<Json<Value>> {
    let key = call.arguments.required("tag_key")?.to_owned();
    change(&call, move |_, node| {
        let is_user = key == USER_TAG && node.doc.user_tag.take().is_some();
        if node.doc.tags.remove(&key).is_some() || is_user {
            return Ok(());
        }
        Err(Error::not_found(format!("No tag with key {} found for this model.", shortened(&key))))
    })
    .await?;
    Ok(Json(json!({})))
}

/// Notes with a logged model, if it is here, that it was registered: in a tag, as upstream has it.
pub(super) fn note_version(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    model: &str,
    name: &str,
    number: u32,
) -> CoreResult<()> {
    const TAG: &str = "mlflow.modelVersions";
    let mut node = match find(tx, actor, workspace, model, Permission::Write) {
        Ok((node, _)) => node,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let known = node.doc.tags.get(TAG).and_then(|text| serde_json::from_str(text).ok());
    let mut versions: Vec<Value> = known.unwrap_or_default();
    versions.push(json!({ "name": name, "version": number }));
    let mut text = serde_json::to_string(&versions)?;
    // As long as a tag may be, which the client writes back whole: the oldest go.
    while text.len() > TAG_VALUE && versions.len() > 1 {
        versions.remove(0);
        text = serde_json::to_string(&versions)?;
    }
    node.doc.tags.insert(TAG.to_owned(), text);
    tx.update::<LoggedModel>(&node).map(|_| ())
}

async fn change(
    call: &Call,
    change: impl Fn(&mut Tx<'_>, &mut Node<LoggedModelDoc>) -> CoreResult<()> + Clone + Send + 'static,
) -> Result<Value> {
    let text = call.arguments.required("model_id")?.to_owned();
    let (actor, workspace, person, files) = (call.actor, call.workspace, call.person, call.files.clone());
    let answer = call
        .write(move |tx| {
            let (mut node, experiment) = find(tx, &actor, workspace, &text, Permission::Write)?;
            change(tx, &mut node)?;
            let node = tx.update_by::<LoggedModel>(&node, person)?;
            let parts = ModelParts::of(tx, &node)?;
            Ok(answers::logged_model(workspace, &files, &experiment, &node, &parts))
        })
        .await?;
    Ok(json!({ "model": answer }))
}

/// A model with what stands outside its document, and its experiment.
type Found = (Node<LoggedModelDoc>, ModelParts, Id);

/// `searchLoggedModels`. Its order is a list of objects, unlike every other search's. The metrics of its filter are those on the datasets that
/// are named, those of its order on the one that this names.
pub(super) async fn search(call: Call) -> Result<Json<Value>> {
    let mut order = Vec::new();
    for field in call.arguments.objects("order_by")? {
        let (mut key, _) = LOGGED_MODELS.order_by(field.required("field_name")?)?;
        let (name, digest) = dataset(&field)?;
        if key.entity == Entity::Metric && (name.is_some() || digest.is_some()) {
            key.dataset = Some(Measured { name, digest });
        }
        order.push((key, !field.flag("ascending", true)?));
    }
    let mut datasets = Vec::new();
    for field in call.arguments.objects("datasets")? {
        let (name, digest) = dataset(&field)?;
        if name.is_none() {
            return Err(Error::invalid("`dataset_name` in the `datasets` clause must be specified.").into());
        }
        datasets.push(Measured { name, digest });
    }
    let listing = Listing::new(&call.arguments, &LOGGED_MODELS, order, USUAL, MOST)?;
    let experiments: Vec<String> =
        call.arguments.texts("experiment_ids")?.into_iter().map(str::to_owned).collect();
    let (actor, workspace, files) = (call.actor, call.workspace, call.files.clone());
    let (found, next) = call
        .app
        .store()
        .read(move |tx| {
            let mut found: Vec<(Vec<Option<Fact>>, Found)> = Vec::new();
            let mut known = BTreeMap::new();
            for text in &experiments {
                let experiment = match find_experiment(tx, &actor, workspace, text, Permission::Read) {
                    Ok(node) => node,
                    Err(error) if error.kind == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                for node in tx.children::<LoggedModel>(experiment.id, Page::ALL)? {
                    if node.doc.stage != LifecycleStage::Active {
                        continue;
                    }
                    let parts = ModelParts::of(tx, &node)?;
                    if is_asked_for(&listing, &datasets, &node, &parts) {
                        let place = listing.in_order(|key| fact(&node, &parts, key));
                        found.push((place, (node, parts, experiment.id)));
                    }
                }
                known.insert(experiment.id, experiment);
            }
            let (found, next) = listing.page(listing.sorted(found));
            let found: Vec<Value> = found
                .iter()
                .filter_map(|(_, (node, parts, experiment))| {
                    Some(answers::logged_model(workspace, &files, known.get(experiment)?, node, parts))
                })
                .collect();
            Ok((found, next))
        })
        .await?;
    Ok(Json(answers::page("models", found, next)))
}

/// Name and digest of the dataset that is meant.
fn dataset(fields: &Fields<'_>) -> CoreResult<(Option<String>, Option<String>)> {
    let text = |name: &str| -> CoreResult<Option<String>> {
        Ok(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    Ok((text("dataset_name")?, text("dataset_digest")?))
}

fn is_on(metric: &ModelMetric, dataset: &Measured) -> bool {
    let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    is(&dataset.name, &metric.dataset_name) && is(&dataset.digest, &metric.dataset_digest)
}

/// Whether the filter lets a model through. Of a filter without metrics, models are meant that have any on the datasets.
fn is_asked_for(
    listing: &Listing,
    datasets: &[Measured],
    node: &Node<LoggedModelDoc>,
    parts: &ModelParts,
) -> bool {
    let is_meant =
        |metric: &ModelMetric| datasets.is_empty() || datasets.iter().any(|dataset| is_on(metric, dataset));
    let names_metrics = listing.filter.iter().any(|comparison| comparison.key.entity == Entity::Metric);
    let is_measured =
        names_metrics || datasets.is_empty() || parts.metrics.iter().any(|(metric, _)| is_meant(metric));
    is_measured
        && listing.lets_through(|key| match key.entity {
            Entity::Metric => parts
                .metrics
                .iter()
                .filter(|(metric, _)| metric.name == key.name && is_meant(metric))
                .map(|(_, point)| Fact::Number(point.value))
                .collect(),
            _ => fact(node, parts, key).into_iter().collect(),
        })
}

/// What a model is sorted by.
fn fact(node: &Node<LoggedModelDoc>, parts: &ModelParts, key: &Key) -> Option<Fact> {
    let doc = &node.doc;
    match (key.entity, key.name.as_str()) {
        (Entity::Metric, name) => {
            let is_meant = |metric: &ModelMetric| {
                metric.name == name && key.dataset.as_ref().is_none_or(|dataset| is_on(metric, dataset))
            };
            let found = parts.metrics.iter().filter(|(metric, _)| is_meant(metric));
            // As upstream: the newest, of several the one of the run whose id comes first.
            let newest = found.max_by(|(a, at), (b, other)| {
                (at.time, at.step, &b.run_id).cmp(&(other.time, other.step, &a.run_id))
            });
            newest.map(|(_, point)| Fact::Number(point.value))
        }
        (Entity::Tag, USER_TAG) if parts.user_tag.is_some() => parts.user_tag.clone().map(Fact::Text),
        (Entity::Param, name) => doc.params.get(name).cloned().map(Fact::Text),
        (Entity::Tag, name) => doc.tags.get(name).cloned().map(Fact::Text),
        (_, "name") => Some(Fact::Text(doc.name.clone())),
        (_, "model_id") => Some(Fact::Text(answers::model_name(node.id))),
        (_, "model_type") => doc.model_type.clone().map(Fact::Text),
        (_, "source_run_id") => doc.source_run.clone().map(Fact::Text),
        (_, "status") => Some(Fact::Text(
            match doc.status {
                LoggedModelStatus::Pending => "PENDING",
                LoggedModelStatus::Ready => "READY",
                LoggedModelStatus::UploadFailed => "FAILED",
            }
            .to_owned(),
        )),
        (_, "last_updated_timestamp") => Some(Fact::integer(answers::milliseconds(node.updated_at))),
        _ => Some(Fact::integer(answers::milliseconds(node.created_at))),
    }
}
