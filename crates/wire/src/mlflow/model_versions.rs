//! Versions of registered models.

use std::collections::BTreeMap;

use axum::Json;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{
    ArtifactDoc, ModelStage, ModelVersion, ModelVersionDoc, RegisteredModel, RegisteredModelDoc,
};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Order, Page, Tx};
use serde_json::{Value, json};

use super::answers::{self, Files};
use super::artifacts;
use super::call::Call;
use super::errors::Result;
use super::filter::{Entity, Fact};
use super::logged_models;
use super::origins::{self, Origin, Resolved};
use super::registered_models::find;
use super::search::{Listing, MODEL_VERSIONS, registry_tag};
use super::validation::{self, REGISTRY_TAG_VALUE};
use super::workspace::{parse, shortened};
use crate::model_management::{files_at, require_no_dependents};
use crate::provenance::{self, of_version};

/// The most versions one search answers, and how many without being told.
const MOST: u32 = 200_000;
const USUAL: u32 = 10_000;

/// The tag of a version that was made from something that is gone: since when.
const SOURCE_ERASED: &str = "habeas.sourceErasedAt";

/// A version by its number.
pub(super) fn find_version(
    tx: &mut Tx<'_>,
    model: &Node<RegisteredModelDoc>,
    number: &str,
) -> CoreResult<Node<ModelVersionDoc>> {
    tx.child_by_name::<ModelVersion>(model.id, number)?.ok_or_else(|| {
        Error::not_found(format!(
            "Model Version (name={}, version={}) not found",
            shortened(&model.doc.name),
            shortened(number)
        ))
    })
}

/// Of versions, newest first, the newest of each stage.
pub(super) fn newest_by_stage(versions: Vec<Node<ModelVersionDoc>>) -> Vec<Node<ModelVersionDoc>> {
    let mut newest: Vec<Node<ModelVersionDoc>> = Vec::new();
    for version in versions {
        if !newest.iter().any(|known| known.doc.stage == version.doc.stage) {
            newest.push(version);
        }
    }
    newest
}

/// A stage by its name, in any case.
pub(super) fn stage(text: &str) -> CoreResult<ModelStage> {
    ModelStage::ALL.into_iter().find(|stage| stage.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        Error::invalid(format!(
            "Invalid Model Version stage: {}. Value must be one of None, Staging, Production, Archived.",
            shortened(text)
        ))
    })
}

/// `createModelVersion`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let arguments = &call.arguments;
    let name = arguments.required("name")?.to_owned();
    let mut tags = BTreeMap::new();
    for tag in arguments.objects("tags")? {
        let key = validation::key("key", tag.required("key")?)?;
        let value = tag.text("value")?.unwrap_or_default();
        validation::within("value", value, REGISTRY_TAG_VALUE)?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    let optional = |name: &str| -> CoreResult<Option<String>> {
        Ok(arguments.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let (origin, is_prompt) = (Origin::read(arguments, &tags)?, origins::is_prompt(&tags));
    let doc = ModelVersionDoc {
        number: 0,
        name: String::new(),
        source: String::new(),
        storage: None,
        run: None,
        run_link: optional("run_link")?,
        model_id: None,
        stage: ModelStage::None,
        description: optional("description")?,
        tags,
        created_by: Some(call.person),
        azure: BTreeMap::new(),
    };
    let (actor, workspace) = (call.actor, call.workspace);
    let id = call.app.store().ambient().new_id();
    let answer = call
        .write(move |tx| {
            let mut model = find(tx, &actor, workspace, &name, Permission::Write)?;
            let Resolved { source, storage, run, model_id, copied } =
                origin.resolve(tx, &actor, workspace)?;
            model.doc.newest += 1;
            let model = tx.update::<RegisteredModel>(&model)?;
            let number = model.doc.newest;
            let doc = ModelVersionDoc {
                number,
                name: number.to_string(),
                source,
                storage,
                run,
                model_id,
                ..doc.clone()
            };
            let node = tx.create::<ModelVersion>(New::under(model.id, id, doc))?;
            if let Some(logged) = &node.doc.model_id
                && !is_prompt
            {
                logged_models::note_version(tx, &actor, workspace, logged, &model.doc.name, number)?;
            }
            let place = match copied {
                Some(version) => {
                    provenance::connect_copy(tx, node.id, version)?;
                    of_version(tx, workspace, &node)?
                }
                None => provenance::find(tx, &actor, workspace, &node.doc.source)?,
            };
            provenance::connect_version(tx, workspace, &node, place.as_ref())?;
            Ok(answers::model_version(&model, &node))
        })
        .await?;
    Ok(Json(json!({ "model_version": answer })))
}

/// `getModelVersion`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (model, node) = read(&call).await?;
    let mut answer = answers::model_version(&model, &node);
    let id = node.id;
    if let Some(since) = call.app.store().read(move |tx| tx.source_erased(id)).await? {
        // MLflow has no word for it; its pages and clients show tags.
        let tag = json!({ "key": SOURCE_ERASED, "value": since.rfc3339() });
        match answer["tags"].as_array_mut() {
            Some(tags) => tags.push(tag),
            None => answer["tags"] = json!([tag]),
        }
    }
    Ok(Json(json!({ "model_version": answer })))
}

/// `getModelVersionDownloadUri`.
pub(super) async fn download_uri(call: Call) -> Result<Json<Value>> {
    let (_, node) = read(&call).await?;
    let (workspace, files) = (call.workspace, call.files.clone());
    let uri = call.app.store().read(move |tx| {
        // MLflow's own client reads neither what `azureml-core` names by an asset nor what `azureml-mlflow` was told.
        let address = node.doc.address();
        let is_azures = ["aml:", "azureml:"].iter().any(|scheme| address.starts_with(scheme));
        if matches!(files, Files::Here) && is_azures && of_version(tx, workspace, &node)?.is_some() {
            return Ok(artifacts::uri_of_version(node.id));
        }
        Ok(address.to_owned())
    });
    Ok(Json(json!({ "artifact_uri": uri.await? })))
}

/// The version with this identifier, if the actor may read it.
pub(super) fn find_by_id(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    id: &str,
) -> CoreResult<Node<ModelVersionDoc>> {
    let not_found = || Error::not_found("there is no such version of a registered model");
    let node = tx.get::<ModelVersion>(parse(id).ok_or_else(not_found)?)?.ok_or_else(not_found)?;
    let model = tx.get::<RegisteredModel>(node.parent.unwrap_or(Id::NIL))?;
    if model.is_none_or(|model| model.parent != Some(workspace)) {
        return Err(not_found());
    }
    authorise(tx, actor, node.id, Permission::Read)?;
    Ok(node)
}

/// The files of a version, by their paths below it.
pub(super) fn files(
    tx: &mut Tx<'_>,
    workspace: Id,
    version: &Node<ModelVersionDoc>,
) -> CoreResult<Vec<ArtifactDoc>> {
    let place = of_version(tx, workspace, version)?.ok_or_else(|| {
        Error::not_found("the files of this version are not kept here")
            .hint("its `source` says where it was registered from")
    })?;
    let mut files = files_at(tx, &place)?;
    for file in &mut files {
        let below = file.path.strip_prefix(&place.path).unwrap_or_default().trim_start_matches('/');
        // A version that is one file has it by its name.
        let name = if below.is_empty() { file.path.rsplit('/').next().unwrap_or_default() } else { below };
        file.path = name.to_owned();
    }
    Ok(files)
}

async fn read(call: &Call) -> Result<(Node<RegisteredModelDoc>, Node<ModelVersionDoc>)> {
    let (name, version) =
        (call.arguments.required("name")?.to_owned(), call.arguments.required("version")?.to_owned());
    let (actor, workspace) = (call.actor, call.workspace);
    Ok(call
        .app
        .store()
        .read(move |tx| {
            let model = find(tx, &actor, workspace, &name, Permission::Read)?;
            let node = find_version(tx, &model, &version)?;
            Ok((model, node))
        })
        .await?)
}

/// `searchModelVersions`.
pub(super) async fn search(call: Call) -> Result<Json<Value>> {
    let listing = Listing::read(&call.arguments, &MODEL_VERSIONS, USUAL, MOST)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let (found, next) = call
        .app
        .store()
        .read(move |tx| {
            authorise(tx, &actor, workspace, Permission::Read)?;
            let mut nodes = Vec::new();
            for model in tx.children::<RegisteredModel>(workspace, Page::ALL)? {
                for version in tx.children::<ModelVersion>(model.id, Page::ALL)? {
                    nodes.push((model.clone(), version));
                }
            }
            listing.select(nodes, |(model, node), key| match (key.entity, key.name.as_str()) {
                (Entity::Tag, name) => registry_tag(&node.doc.tags, name),
                (_, "name") => Some(Fact::Text(model.doc.name.clone())),
                // Of what no run made it is empty, as it is shown.
                (_, "run_id") => Some(Fact::Text(node.doc.run.clone().unwrap_or_default())),
                (_, "source_path") => Some(Fact::Text(node.doc.source.clone())),
                (_, "version_number") => Some(Fact::integer(i64::from(node.doc.number))),
                (_, "creation_timestamp") => Some(Fact::integer(answers::milliseconds(node.created_at))),
                _ => Some(Fact::integer(answers::milliseconds(node.updated_at))),
            })
        })
        .await?;
    let found = found.iter().map(|(model, node)| answers::model_version(model, node)).collect();
    Ok(Json(answers::page("model_versions", found, next)))
}

/// `getLatestVersions`: the newest version of each stage asked for, of every one when none is.
pub(super) async fn latest(call: Call) -> Result<Json<Value>> {
    let name = call.arguments.required("name")?.to_owned();
    let stages = call.arguments.texts("stages")?.into_iter().map(stage).collect::<CoreResult<Vec<_>>>()?;
    let (actor, workspace) = (call.actor, call.workspace);
    let versions = call
        .app
        .store()
        .read(move |tx| {
            let model = find(tx, &actor, workspace, &name, Permission::Read)?;
            let all = tx.children::<ModelVersion>(model.id, Page { order: Order::Newest, ..Page::ALL })?;
            Ok(newest_by_stage(all)
                .iter()
                .filter(|node| stages.is_empty() || stages.contains(&node.doc.stage))
                .map(|node| answers::model_version(&model, node))
                .collect::<Vec<_>>())
        })
        .await?;
    Ok(Json(answers::page("model_versions", versions, None)))
}

/// `updateModelVersion`: the description.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let description = call.arguments.text("description")?.map(str::to_owned);
    let answer = change(&call, move |_, _, node| {
        if description.is_some() {
            node.doc.description.clone_from(&description);
        }
        Ok(())
    })
    .await?;
    Ok(Json(json!({ "model_version": answer })))
}

/// `transitionModelVersionStage`.
pub(super) async fn transition(call: Call) -> Result<Json<Value>> {
    let to = stage(call.arguments.required("stage")?)?;
    let archive = call.arguments.flag("archive_existing_versions")?;
    if archive && !matches!(to, ModelStage::Staging | ModelStage::Production) {
        return Err(Error::invalid(format!(
            "Model version transition cannot archive existing model versions because '{}' is not an Active stage. Valid stages are \
             Staging, Production",
            to.name()
        ))
        .into());
    }
    let answer = change(&call, move |tx, model, node| {
        if archive {
            for mut other in tx.children::<ModelVersion>(model.id, Page::ALL)? {
                if other.id != node.id && other.doc.stage == to {
                    other.doc.stage = ModelStage::Archived;
                    tx.update::<ModelVersion>(&other)?;
                }
            }
        }
        node.doc.stage = to;
        Ok(())
    })
    .await?;
    Ok(Json(json!({ "model_version": answer })))
}

/// `setModelVersionTag`.
pub(super) async fn set_tag(call: Call) -> Result<Json<Value>> {
    let key = validation::key("key", call.arguments.required("key")?)?.to_owned();
    let value = call.arguments.text("value")?.unwrap_or_default().to_owned();
    validation::within("value", &value, REGISTRY_TAG_VALUE)?;
    change(&call, move |_, _, node| {
        node.doc.tags.insert(key.clone(), value.clone());
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `deleteModelVersionTag`: nothing happens when it is not there, as upstream.
pub(super) async fn delete_tag(call: Call) -> Result<Json<Value>> {
    let key = call.arguments.required("key")?.to_owned();
    change(&call, move |_, _, node| {
        node.doc.tags.remove(&key);
        Ok(())
    })
    .await?;
    Ok(Json(json!({})))
}

/// `deleteModelVersion`: for good, with the aliases that stood for it. What Azure's clients made from it stands in the way.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    let (name, version) =
        (call.arguments.required("name")?.to_owned(), call.arguments.required("version")?.to_owned());
    let (actor, workspace) = (call.actor, call.workspace);
    let removed = call
        .write(move |tx| {
            let mut model = find(tx, &actor, workspace, &name, Permission::Write)?;
            let node = find_version(tx, &model, &version)?;
            require_no_dependents(tx, &[node.id])?;
            model.doc.aliases.retain(|_, number| *number != node.doc.number);
            tx.update::<RegisteredModel>(&model)?;
            tx.remove(node.id)
        })
        .await?;
    call.app.store().finish(&removed).await;
    Ok(Json(json!({})))
}

/// Changes the version that is meant; its new shape.
async fn change(
    call: &Call,
    change: impl Fn(&mut Tx<'_>, &Node<RegisteredModelDoc>, &mut Node<ModelVersionDoc>) -> CoreResult<()>
    + Clone
    + Send
    + 'static,
) -> Result<Value> {
    let (name, version) =
        (call.arguments.required("name")?.to_owned(), call.arguments.required("version")?.to_owned());
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    Ok(call
        .write(move |tx| {
            let model = find(tx, &actor, workspace, &name, Permission::Write)?;
            let mut node = find_version(tx, &model, &version)?;
            change(tx, &model, &mut node)?;
            let node = tx.update_by::<ModelVersion>(&node, person)?;
            Ok(answers::model_version(&model, &node))
        })
        .await?)
}
