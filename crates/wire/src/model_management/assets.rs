//! Assets: artifacts under one name, from which `azureml-core` registers its models.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{AssetArtifact, ModelAsset, ModelAssetDoc, Settings};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Removed, Tx};
use serde_json::{Value, json};

use super::call::{Call, Form};
use super::errors::{Failure, Result};
use super::fields::{self, Field, Shape, optional, required};
use super::listing::{self, Listing};
use super::{content, models, patch, shapes};
use crate::deletion::refuse_dry_run;

const ARTIFACT: &[Field] = &[optional("id", Shape::Text), optional("prefix", Shape::Text)];

const FIELDS: &[Field] = &[
    required("name", Shape::Text),
    optional("type", Shape::Text),
    optional("description", Shape::Text),
    optional("artifacts", Shape::Objects(ARTIFACT)),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
    optional("runid", Shape::Text),
    optional("projectid", Shape::Text),
    optional("meta", Shape::Map),
];

const CHANGEABLE: &[Field] = &[
    optional("description", Shape::Text),
    optional("artifacts", Shape::Objects(ARTIFACT)),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
    optional("meta", Shape::Map),
];

fn take_artifacts(said: &mut Settings) -> Vec<AssetArtifact> {
    let Some(Value::Array(artifacts)) = said.remove("artifacts") else { return Vec::new() };
    let text = |artifact: &Value, name: &str| artifact[name].as_str().map(str::to_owned);
    artifacts
        .iter()
        .map(|artifact| AssetArtifact { id: text(artifact, "id"), prefix: text(artifact, "prefix") })
        .collect()
}

fn shape(form: Form, node: &Node<ModelAssetDoc>) -> Value {
    let doc = &node.doc;
    let artifacts: Vec<Value> = doc
        .artifacts
        .iter()
        .map(|artifact| shapes::without_nulls(json!({ "id": artifact.id, "prefix": artifact.prefix })))
        .collect();
    let (tags, kv_tags) = match form {
        Form::V1 => (Value::Null, json!(doc.tags)),
        Form::Hosting | Form::Preview => (shapes::names(&doc.tags), Value::Null),
    };
    shapes::without_nulls(json!({
        "id": node.id,
        "version": if form == Form::V1 { json!(1) } else { Value::Null },
        "name": doc.name,
        "type": doc.sort,
        "description": doc.description,
        "artifacts": artifacts,
        "tags": tags,
        "kvTags": kv_tags,
        "properties": if form == Form::V1 { json!(doc.properties) } else { Value::Null },
        "runid": doc.run,
        "projectid": doc.project,
        "meta": doc.meta,
        "createdTime": shapes::time(node.created_at),
    }))
}

fn unknown() -> Error {
    Error::not_found("there is no such asset").code("AssetNotFound")
}

fn find(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Node<ModelAssetDoc>> {
    let id: Id = text.parse().map_err(|_| unknown())?;
    tx.get::<ModelAsset>(id)?.filter(|node| node.parent == Some(at)).ok_or_else(unknown)
}

/// `POST assets`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let mut said = fields::read(&call.body, FIELDS)?;
    let doc = ModelAssetDoc {
        name: fields::take_text(&mut said, "name").unwrap_or_default(),
        sort: fields::take_text(&mut said, "type"),
        description: fields::take_text(&mut said, "description"),
        artifacts: take_artifacts(&mut said),
        tags: fields::take_tags(&mut said),
        properties: fields::take_map(&mut said, "properties"),
        run: fields::take_text(&mut said, "runid"),
        project: fields::take_text(&mut said, "projectid"),
        meta: fields::take_map(&mut said, "meta"),
        created_by: Some(call.person),
    };
    let (form, id) = (call.form, call.app.store().ambient().new_id());
    let node = call
        .write(Permission::Write, move |tx, at| tx.create::<ModelAsset>(New::under(at, id, doc.clone())))
        .await?;
    Ok(Json(shape(form, &node)))
}

/// `GET assets`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of(&call)?;
    let form = call.form;
    let (value, next) = call
        .read(move |tx, at| {
            let mut found = tx.children::<ModelAsset>(at, Page::ALL)?;
            found.retain(|node| {
                let doc = &node.doc;
                listing.has(&doc.tags, &doc.properties)
                    && listing.is("name", Some(&doc.name))
                    && listing.is("runid", doc.run.as_deref())
                    && listing.is("projectid", doc.project.as_deref())
                    && listing.is("type", doc.sort.as_deref())
            });
            let (page, next) = listing.page(found, |node| (node, 0));
            Ok((page.iter().map(|node| shape(form, node)).collect(), next))
        })
        .await?;
    Ok(Json(listing::answer(&call, value, next)))
}

/// `GET assets/{id}`. The identifier of a model that MLflow registered is an asset too: `azureml-core` downloads models by their assets.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (id, form) = (call.part("id").to_owned(), call.form);
    let answer = call
        .read(move |tx, at| {
            let version: Id = id.parse().map_err(|_| unknown())?;
            let Some((version, prefix)) = content::version_as_asset(tx, at, version)? else {
                return find(tx, at, &id).map(|node| shape(form, &node));
            };
            let (model, version) = models::by_id(tx, at, version.id)?.ok_or_else(unknown)?;
            Ok(json!({
                "id": version.id,
                "name": model.doc.name,
                "artifacts": [{ "prefix": prefix }],
                "runid": version.doc.run,
                "createdTime": shapes::time(version.created_at),
            }))
        })
        .await?;
    Ok(Json(answer))
}

/// `PATCH assets/{id}`.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let (id, person, form, body) = (call.part("id").to_owned(), call.person, call.form, call.body.clone());
    let node = call
        .write(Permission::Write, move |tx, at| {
            let mut node = find(tx, at, &id)?;
            let doc = &mut node.doc;
            let mut members = json!({
                "description": doc.description,
                "artifacts": doc.artifacts,
                "properties": doc.properties,
                "meta": doc.meta,
            });
            match form {
                Form::V1 => members["kvTags"] = json!(doc.tags),
                Form::Hosting | Form::Preview => members["tags"] = shapes::names(&doc.tags),
            }
            let mut said = patch::edit(members, &body, CHANGEABLE)?;
            doc.description = fields::take_text(&mut said, "description");
            doc.artifacts = take_artifacts(&mut said);
            doc.properties = fields::take_map(&mut said, "properties");
            doc.meta = fields::take_map(&mut said, "meta");
            fields::change_tags(&mut doc.tags, &mut said);
            tx.update_by::<ModelAsset>(&node, person)
        })
        .await?;
    Ok(Json(shape(form, &node)))
}

/// What becomes of a deletion.
enum Found {
    Missing,
    /// Models are registered from it, of which these are the identifiers.
    InUse(Vec<Id>),
    Gone(Removed),
}

/// `DELETE assets/{id}`. Models that were registered from it stand in the way: clients download them by it, and of files that no run has,
/// nothing else says where they lie.
pub(super) async fn delete(call: Call) -> Result<Response> {
    refuse_dry_run(call.dry_run())?;
    let id = call.part("id").to_owned();
    let found = call
        .write(Permission::Write, move |tx, at| {
            let asset = match find(tx, at, &id) {
                Err(error) if error.kind == habeas_core::ErrorKind::NotFound => return Ok(Found::Missing),
                found => found?.id,
            };
            let models = models::of_asset(tx, at, asset)?;
            if models.is_empty() { tx.remove(asset).map(Found::Gone) } else { Ok(Found::InUse(models)) }
        })
        .await?;
    match found {
        Found::Missing => Ok(StatusCode::NO_CONTENT.into_response()),
        Found::InUse(models) => Err(Failure::with_details(
            Error::conflict(format!("{} models are registered from it", models.len()))
                .hint("delete them first; `details` lists them")
                .code("InUse"),
            models.iter().map(|id| ("Model", id.to_string())).collect(),
        )),
        Found::Gone(removed) => {
            call.app.store().finish(&removed).await;
            Ok(StatusCode::OK.into_response())
        }
    }
}
