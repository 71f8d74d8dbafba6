//! The model registry: names, and what stands for a version of them.

use std::collections::BTreeMap;

use axum::Json;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{ModelVersion, ModelVersionDoc, RegisteredModel, RegisteredModelDoc};
use habeas_core::{Error, Id, Kind, Node, Result as CoreResult};
use habeas_store::{New, Order, Page, Tx};
use serde_json::{Value, json};

use super::answers;
use super::call::Call;
use super::errors::{ALREADY_EXISTS, Result};
use super::filter::{Entity, Fact};
use super::model_versions::{find_version, newest_by_stage};
use super::search::{Listing, REGISTERED_MODELS, registry_tag};
use super::validation::{self, REGISTRY_TAG_VALUE};
use super::workspace::shortened;
use crate::model_management::require_no_dependents;

/// The most models one search answers, and how many without being told.
const MOST: u32 = 1_000;
const USUAL: u32 = 100;

fn taken(name: &str) -> Error {
    Error::conflict(format!("Registered Model (name={}) already exists.", shortened(name)))
        .code(ALREADY_EXISTS)
}

/// The model of this name, if the actor may do this with it.
pub(super) fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    name: &str,
    permission: Permission,
) -> CoreResult<Node<RegisteredModelDoc>> {
    let node = tx.child_by_name::<RegisteredModel>(workspace, name)?.ok_or_else(|| {
        Error::not_found(format!("Registered Model with name={} not found", shortened(name)))
    })?;
    authorise(tx, actor, node.id, permission)?;
    Ok(node)
}

/// `createRegisteredModel`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let name = validation::model_name(call.arguments.required("name")?)?.to_owned();
    let mut tags = BTreeMap::new();
    for tag in call.arguments.objects("tags")? {
        let key = validation::key("key", tag.required("key")?)?;
        let value = tag.text("value")?.unwrap_or_default();
        validation::within("value", value, REGISTRY_TAG_VALUE)?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    let doc = RegisteredModelDoc {
        name: name.clone(),
        description: call.arguments.text("description")?.map(str::to_owned),
        tags,
        aliases: BTreeMap::new(),
        newest: 0,
        created_by: Some(call.person),
    };
    let (actor, workspace) = (call.actor, call.workspace);
    let id = call.app.store().ambient().new_id();
    let node = call
        .write(move |tx| {
            authorise(tx, &actor, workspace, Permission::Write)?;
            if tx.child_by_name::<RegisteredModel>(workspace, &name)?.is_some() {
                return Err(taken(&name));
            }
            tx.create::<RegisteredModel>(New::under(workspace, id, doc.clone()))
        })
        .await?;
    Ok(Json(json!({ "registered_model": answers::registered_model(&node, &[]) })))
}

/// `getRegisteredModel`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let name = call.arguments.required("name")?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let node = find(tx, &actor, workspace, &name, Permission::Read)?;
            shape(tx, &node)
        })
        .await?;
    Ok(Json(json!({ "registered_model": answer })))
}

fn shape(tx: &mut Tx<'_>, node: &Node<RegisteredModelDoc>) -> CoreResult<Value> {
    let versions = tx.children::<ModelVersion>(node.id, Page { order: Order::Newest, ..Page::ALL })?;
    Ok(answers::registered_model(node, &newest_by_stage(versions)))
}

/// `searchRegisteredModels`.
pub(super) async fn search(call: Call) -> Result<Json<Value>> {
    let listing = Listing::read(&call.arguments, &REGISTERED_MODELS, USUAL, MOST)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let (found, next) = call
        .app
        .store()
        .read(move |tx| {
            authorise(tx, &actor, workspace, Permission::Read)?;
            let nodes = tx.children::<RegisteredModel>(workspace, Page::ALL)?;
            let (found, next) = listing.select(nodes, |node, key| match (key.entity, key.name.as_str()) {
                (Entity::Tag, name) => registry_tag(&node.doc.tags, name),
                (_, "name") => Some(Fact::Text(node.doc.name.clone())),
                (_, "creation_timestamp") => Some(Fact::integer(answers::milliseconds(node.created_at))),
                _ => Some(Fact::integer(answers::milliseconds(node.updated_at))),
            })?;
            let found = found.iter().map(|node| shape(tx, node)).collect::<CoreResult<Vec<_>>>()?;
            Ok((found, next))
        })
        .await?;
    Ok(Json(answers::page("registered_models", found, next)))
}

/// `renameRegisteredModel`.
pub(super) async fn rename(call: Call) -> Result<Json<Value>> {
    let new_name = validation::model_name(call.arguments.required("new_name")?)?.to_owned();
    let workspace = call.workspace;
    let answer = change(&call, move |tx, node| {
        if tx.child_by_name::<RegisteredModel>(workspace, &new_name)?.is_some_and(|other| other.id != node.id)
        {
            return Err(taken(&new_name));
        }
        node.doc.name.clone_from(&new_name);
        Ok(())
    })
    .await?;
    Ok(Json(json!({ "registered_model": answer })))
}

/// `updateRegisteredModel`: the description.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let description = call.arguments.text("description")?.map(str::to_owned);
    let answer = change(&call, move |_, node| {
        if description.is_some() {
            node.doc.description.clone_from(&description);
        }
        Ok(())
    })
    .await?;
    Ok(Json(json!({ "registered_model": answer })))
}

/// `deleteRegisteredModel`: with its versions, for good. What Azure's clients made from these stands in the way.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    let name = call.arguments.required("name")?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let removed = call
        .write(move |tx| {
            let node = find(tx, &actor, workspace, &name, Permission::Write)?;
            let versions = tx.children_ids(node.id, Kind::ModelVersion)?;
            let versions: Vec<Id> = versions.into_iter().map(|(_, id)| id).collect();
            require_no_dependents(tx, &versions)?;
            tx.remove(node.id)
        })
        .await?;
    call.app.store().finish(&removed).await;
    Ok(Json(json!({})))
}

/// `setRegisteredModelTag`.
pub(super) async fn set_tag(call: Call) -> Result<Json<Value>> {
    let key = validation::key("key", call.arguments.required("key")?)?.to_owned();
    let value = call.arguments.text("value")?.unwrap_or_default().to_owned();
    validation::within("value", &value, REGISTRY_TAG_VALUE)?;
    change(&call, move |_, node| {
        node.doc.tags.insert(key.clone(), value.clone());
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `deleteRegisteredModelTag`: nothing happens when it is not there, as upstream.
pub(super) async fn delete_tag(call: Call) -> Result<Json<Value>> {
    let key = call.arguments.required("key")?.to_owned();
    change(&call, move |_, node| {
        node.doc.tags.remove(&key);
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `setRegisteredModelAlias`.
pub(super) async fn set_alias(call: Call) -> Result<Json<Value>> {
    let alias = validation::alias(call.arguments.required("alias")?)?.to_owned();
    let version = call.arguments.required("version")?.to_owned();
    change(&call, move |tx, node| {
        let version = find_version(tx, node, &version)?;
        node.doc.aliases.insert(alias.clone(), version.doc.number);
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `deleteRegisteredModelAlias`.
pub(super) async fn delete_alias(call: Call) -> Result<Json<Value>> {
    let alias = call.arguments.required("alias")?.to_owned();
    change(&call, move |_, node| {
        node.doc.aliases.remove(&alias);
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `getModelVersionByAlias`: an alias that is not there is a wrong parameter, as upstream has it.
pub(super) async fn by_alias(call: Call) -> Result<Json<Value>> {
    let (name, alias) =
        (call.arguments.required("name")?.to_owned(), call.arguments.required("alias")?.to_owned());
    let (actor, workspace) = (call.actor, call.workspace);
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let node = find(tx, &actor, workspace, &name, Permission::Read)?;
            let version = aliased(tx, &node, &alias)?;
            Ok(answers::model_version(&node, &version))
        })
        .await?;
    Ok(Json(json!({ "model_version": answer })))
}

/// The version that an alias stands for.
pub(super) fn aliased(
    tx: &mut Tx<'_>,
    model: &Node<RegisteredModelDoc>,
    alias: &str,
) -> CoreResult<Node<ModelVersionDoc>> {
    if alias.eq_ignore_ascii_case("latest") {
        return newest(tx, model);
    }
    let number =
        model.doc.aliases.get(alias).ok_or_else(|| {
            Error::invalid(format!("Registered model alias {} not found.", shortened(alias)))
        })?;
    find_version(tx, model, &number.to_string())
}

/// The version with the highest number of those that are left.
pub(super) fn newest(tx: &mut Tx<'_>, model: &Node<RegisteredModelDoc>) -> CoreResult<Node<ModelVersionDoc>> {
    // They are made in the order of their numbers.
    let newest = Page { order: Order::Newest, skip: 0, take: 1 };
    tx.children::<ModelVersion>(model.id, newest)?.into_iter().next().ok_or_else(|| {
        Error::not_found(format!("Latest version not found for model {}.", shortened(&model.doc.name)))
    })
}

/// Changes the model that is meant; its new shape.
async fn change(
    call: &Call,
    change: impl Fn(&mut Tx<'_>, &mut Node<RegisteredModelDoc>) -> CoreResult<()> + Clone + Send + 'static,
) -> Result<Value> {
    let name = call.arguments.required("name")?.to_owned();
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    Ok(call
        .write(move |tx| {
            let mut node = find(tx, &actor, workspace, &name, Permission::Write)?;
            change(tx, &mut node)?;
            let node = tx.update_by::<RegisteredModel>(&node, person)?;
            shape(tx, &node)
        })
        .await?)
}
