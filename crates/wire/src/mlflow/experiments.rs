//! Experiments.

use std::collections::BTreeMap;

use axum::Json;
use habeas_access::{Permission, authorise};
use habeas_core::kinds::{Experiment, ExperimentDoc, LifecycleStage, Run};
use habeas_core::{Error, Id, Node};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::answers;
use super::artifacts;
use super::call::Call;
use super::errors::{ALREADY_EXISTS, Result};
use super::search::{self, Listing};
use super::validation::{self, EXPERIMENT_TAG_VALUE};
use super::workspace::{experiment_name, find_experiment, require_active_experiment, shortened};

/// The most experiments one search answers, and how many without being told.
const MOST: u32 = 50_000;
const USUAL: u32 = 1_000;

fn name_taken(name: &str) -> Error {
    Error::conflict(format!("Experiment(name={}) already exists.", shortened(name))).code(ALREADY_EXISTS)
}

/// `createExperiment`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let name = validation::experiment_name(call.arguments.required("name")?)?.to_owned();
    let mut tags = BTreeMap::new();
    for tag in call.arguments.objects("tags")? {
        let key = validation::key("key", tag.required("key")?)?;
        let value = tag.text("value")?.unwrap_or_default();
        validation::within("value", value, EXPERIMENT_TAG_VALUE)?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    // Anywhere else the client would write past this server, and no export or erasure would know of it.
    let location = call.arguments.text("artifact_location")?.filter(|text| artifacts::is_location(text));
    let doc = ExperimentDoc {
        artifact_location: location.map(str::to_owned),
        tags,
        ..ExperimentDoc::new(name.clone(), call.person)
    };
    let (actor, workspace) = (call.actor, call.workspace);
    let id = call.app.store().ambient().new_id();
    call.write(move |tx| {
        authorise(tx, &actor, workspace, Permission::Write)?;
        if tx.child_by_name::<Experiment>(workspace, &name)?.is_some() {
            return Err(name_taken(&name));
        }
        tx.create::<Experiment>(New::under(workspace, id, doc.clone()))
    })
    .await?;
    Ok(Json(json!({ "experiment_id": experiment_name(workspace, id) })))
}

/// `getExperiment`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.required("experiment_id")?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let node = call
        .app
        .store()
        .read(move |tx| find_experiment(tx, &actor, workspace, &text, Permission::Read))
        .await?;
    Ok(Json(json!({ "experiment": answers::experiment(workspace, &node) })))
}

/// `getExperimentByName`: the client makes the experiment when it is told that there is none.
pub(super) async fn by_name(call: Call) -> Result<Json<Value>> {
    let name = call.arguments.required("experiment_name")?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let node = call
        .app
        .store()
        .read(move |tx| {
            authorise(tx, &actor, workspace, Permission::Read)?;
            tx.child_by_name::<Experiment>(workspace, &name)?.ok_or_else(|| {
                Error::not_found(format!("Could not find experiment with name '{}'", shortened(&name)))
            })
        })
        .await?;
    Ok(Json(json!({ "experiment": answers::experiment(workspace, &node) })))
}

/// `searchExperiments`.
pub(super) async fn search(call: Call) -> Result<Json<Value>> {
    let listing = Listing::read(&call.arguments, &search::EXPERIMENTS, USUAL, MOST)?;
    let view = search::view_type(&call.arguments, "view_type")?;
    let (actor, workspace) = (call.actor, call.workspace);
    let (found, next) = call
        .app
        .store()
        .read(move |tx| {
            authorise(tx, &actor, workspace, Permission::Read)?;
            let nodes = tx
                .children::<Experiment>(workspace, Page::ALL)?
                .into_iter()
                .filter(|node| view.shows(node.doc.stage))
                .collect();
            listing.select(nodes, |node, key| facts(workspace, node, key))
        })
        .await?;
    let found = found.iter().map(|node| answers::experiment(workspace, node)).collect();
    Ok(Json(answers::page("experiments", found, next)))
}

fn facts(workspace: Id, node: &Node<ExperimentDoc>, key: &search::Key) -> Option<search::Fact> {
    use search::{Entity, Fact};
    match (key.entity, key.name.as_str()) {
        (Entity::Tag, name) => node.doc.tags.get(name).cloned().map(Fact::Text),
        (_, "name") => Some(Fact::Text(node.doc.name.clone())),
        (_, "experiment_id") => Some(Fact::Text(experiment_name(workspace, node.id))),
        (_, "creation_time") => Some(Fact::integer(answers::milliseconds(node.created_at))),
        (_, "last_update_time") => Some(Fact::integer(answers::milliseconds(node.updated_at))),
        _ => None,
    }
}

/// `updateExperiment`: a new name.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let new_name = call.arguments.text("new_name")?.filter(|name| !name.is_empty());
    let new_name = new_name.map(validation::experiment_name).transpose()?.map(str::to_owned);
    change(&call, move |tx, node, text| {
        require_active_experiment(text, node)?;
        let Some(name) = &new_name else { return Ok(()) };
        let workspace = node.parent.unwrap_or(Id::NIL);
        if tx.child_by_name::<Experiment>(workspace, name)?.is_some_and(|other| other.id != node.id) {
            return Err(name_taken(name));
        }
        node.doc.name.clone_from(name);
        Ok(())
    })
    .await
}

/// `deleteExperiment`: puts it aside with its runs; it can be restored. An erasure does it for good.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    set_stage(&call, LifecycleStage::Deleted).await
}

/// `restoreExperiment`.
pub(super) async fn restore(call: Call) -> Result<Json<Value>> {
    set_stage(&call, LifecycleStage::Active).await
}

async fn set_stage(call: &Call, stage: LifecycleStage) -> Result<Json<Value>> {
    change(call, move |tx, node, text| {
        if node.doc.stage == stage {
            return Err(Error::invalid(format!(
                "The experiment {text} must be in the '{}' state. Current state is {}.",
                if stage == LifecycleStage::Active { "deleted" } else { "active" },
                stage.name()
            )));
        }
        node.doc.set_stage(stage, tx.now());
        for mut run in tx.children::<Run>(node.id, Page::ALL)? {
            if run.doc.stage != stage {
                run.doc.stage = stage;
                tx.update::<Run>(&run)?;
            }
        }
        Ok(())
    })
    .await
}

/// `setExperimentTag`.
pub(super) async fn set_tag(call: Call) -> Result<Json<Value>> {
    let key = validation::key("key", call.arguments.required("key")?)?.to_owned();
    let value = call.arguments.text("value")?.unwrap_or_default().to_owned();
    validation::within("value", &value, EXPERIMENT_TAG_VALUE)?;
    change(&call, move |_, node, text| {
        require_active_experiment(text, node)?;
        node.doc.tags.insert(key.clone(), value.clone());
        Ok(())
    })
    .await
}

/// `deleteExperimentTag`.
pub(super) async fn delete_tag(call: Call) -> Result<Json<Value>> {
    let key = call.arguments.required("key")?.to_owned();
    change(&call, move |_, node, text| {
        require_active_experiment(text, node)?;
        node.doc.tags.remove(&key).map(|_| ()).ok_or_else(|| {
            Error::not_found(format!("No tag with name: {} in experiment with id {text}", shortened(&key)))
        })
    })
    .await
}

/// Changes the experiment that is meant; `change` gets what it is called on the wire.
async fn change(
    call: &Call,
    change: impl Fn(&mut Tx<'_>, &mut Node<ExperimentDoc>, &str) -> habeas_core::Result<()>
    + Clone
    + Send
    + 'static,
) -> Result<Json<Value>> {
    let text = call.arguments.required("experiment_id")?.to_owned();
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    call.write(move |tx| {
        let mut node = find_experiment(tx, &actor, workspace, &text, Permission::Write)?;
        change(tx, &mut node, &text)?;
        tx.update_by::<Experiment>(&node, person)
    })
    .await?;
    Ok(Json(json!({})))
}
