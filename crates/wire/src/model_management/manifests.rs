//! Manifests of hosting accounts: models, and the program around them.

use axum::Json;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{Manifest, ManifestDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::call::{Call, Form};
use super::errors::Result;
use super::fields::{self, Field, Shape, optional, required};
use super::listing::{self, Listing};
use super::{dependents, models, shapes};
use crate::provenance::made_from;

/// A file beside the program.
pub(super) const FILE: &[Field] = &[
    optional("id", Shape::Text),
    optional("mimeType", Shape::Text),
    optional("url", Shape::Text),
    optional("unpack", Shape::Flag),
];

/// What the program runs in.
pub(super) const RUNTIME: &[Field] = &[
    required("runtimeType", Shape::Text),
    optional("properties", Shape::Map),
    optional("targetArchitecture", Shape::Text),
    optional("osType", Shape::Text),
];

const FIELDS: &[Field] = &[
    required("name", Shape::Text),
    optional("description", Shape::Text),
    optional("modelIds", Shape::Texts),
    optional("modelType", Shape::Text),
    required("driverProgram", Shape::Text),
    optional("assets", Shape::Objects(FILE)),
    required("targetRuntime", Shape::Object(RUNTIME)),
    optional("webserviceType", Shape::Text),
];

/// A manifest.
pub(super) fn shape(tx: &mut Tx<'_>, at: Id, node: &Node<ManifestDoc>) -> CoreResult<Value> {
    let doc = &node.doc;
    let said = |name: &str| doc.settings.get(name).cloned();
    Ok(shapes::without_nulls(json!({
        "id": node.id,
        "name": doc.name,
        "version": doc.version,
        "description": doc.description,
        "createdTime": shapes::time(node.created_at),
        "modelIds": models::ids(tx, Form::Hosting, at, &doc.models)?,
        "modelType": said("modelType").unwrap_or_else(|| json!("Registered")),
        "driverProgram": said("driverProgram"),
        "assets": said("assets").unwrap_or_else(|| json!([])),
        "targetRuntime": said("targetRuntime"),
        "webserviceType": said("webserviceType").unwrap_or_else(|| json!("Realtime")),
    })))
}

/// The manifest with this identifier.
pub(super) fn find(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Node<ManifestDoc>> {
    let unknown = || Error::not_found("there is no such manifest").code("ManifestNotFound");
    let id: Id = text.parse().map_err(|_| unknown())?;
    tx.get::<Manifest>(id)?.filter(|node| node.parent == Some(at)).ok_or_else(unknown)
}

/// `POST manifests`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let mut said = fields::read(&call.body, FIELDS)?;
    let name = fields::name(&fields::take_text(&mut said, "name").unwrap_or_default())?;
    let model_ids = fields::take_texts(&mut said, "modelIds");
    let doc = ManifestDoc {
        key: String::new(),
        name: name.clone(),
        version: 0,
        description: fields::take_text(&mut said, "description"),
        models: Vec::new(),
        settings: said,
        created_by: Some(call.person),
    };
    let id = call.app.store().ambient().new_id();
    let answer = call
        .write(Permission::Deploy, move |tx, at| {
            let models = models::find_all(tx, at, &model_ids)?;
            let others = tx.children::<Manifest>(at, Page::ALL)?;
            let newest =
                others.iter().filter(|node| node.doc.name == name).map(|node| node.doc.version).max();
            let version = newest.unwrap_or(0) + 1;
            let doc = ManifestDoc { key: format!("{name}:{version}"), version, models, ..doc.clone() };
            let node = tx.create::<Manifest>(New::under(at, id, doc))?;
            made_from(tx, id, node.doc.models.iter().copied())?;
            shape(tx, at, &node)
        })
        .await?;
    Ok(Json(answer))
}

/// `GET manifests`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of(&call)?;
    let (value, next) = call
        .read(move |tx, at| {
            let model = wanted_model(tx, at, &listing)?;
            let mut found = tx.children::<Manifest>(at, Page::ALL)?;
            found.retain(|node| {
                listing.is("manifestname", Some(&node.doc.name))
                    && model.is_none_or(|model| node.doc.models.contains(&model))
            });
            let (page, next) = listing.page(found, |node| (node, node.doc.version));
            let value = page.iter().map(|node| shape(tx, at, node)).collect::<CoreResult<_>>()?;
            Ok((value, next))
        })
        .await?;
    Ok(Json(listing::answer(&call, value, next)))
}

/// The model that a list asks for by `modelId`; one that is not there is in nothing.
pub(super) fn wanted_model(tx: &mut Tx<'_>, at: Id, listing: &Listing) -> CoreResult<Option<Id>> {
    let Some(text) = listing.filter("modelid") else { return Ok(None) };
    match models::find(tx, at, text) {
        Ok((_, version)) => Ok(Some(version.id)),
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(Some(Id::NIL)),
        Err(error) => Err(error),
    }
}

/// `GET manifests/{id}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let id = call.part("id").to_owned();
    let answer = call
        .read(move |tx, at| {
            let node = find(tx, at, &id)?;
            shape(tx, at, &node)
        })
        .await?;
    Ok(Json(answer))
}

/// `DELETE manifests/{id}`.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let id = call.part("id").to_owned();
    let done = dependents::remove(&call, Permission::Deploy, move |tx, at| match find(tx, at, &id) {
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
        found => found.map(|node| Some((node.id, node.id))),
    })
    .await?;
    Ok(dependents::answer(done))
}
