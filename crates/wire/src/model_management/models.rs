//! Models: each is a version of a registered model, the same that MLflow's registry shows.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{
    ModelStage, ModelVersion, ModelVersionDoc, RegisteredModel, RegisteredModelDoc, Settings,
};
use habeas_core::{Error, Id, Kind, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::call::{Call, Form};
use super::errors::Result;
use super::fields::{self, Field, Shape, optional, required};
use super::listing::{self, Listing};
use super::{dependents, patch, shapes};
use crate::provenance;

const RESOURCES: &[Field] = &[
    optional("cpu", Shape::Number),
    optional("cpuLimit", Shape::Number),
    optional("memoryInGB", Shape::Number),
    optional("memoryInGBLimit", Shape::Number),
    optional("gpu", Shape::Number),
    optional("fpga", Shape::Number),
];

const DATASET: &[Field] = &[optional("name", Shape::Text), optional("id", Shape::Text)];

const FIELDS: &[Field] = &[
    required("name", Shape::Text),
    required("url", Shape::Text),
    required("mimeType", Shape::Text),
    optional("description", Shape::Text),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("unpack", Shape::Flag),
    optional("framework", Shape::Text),
    optional("frameworkVersion", Shape::Text),
    optional("datasets", Shape::Objects(DATASET)),
    optional("parentModelId", Shape::Text),
    optional("runId", Shape::Text),
    optional("experimentName", Shape::Text),
    optional("properties", Shape::Map),
    optional("sampleInputData", Shape::Text),
    optional("sampleOutputData", Shape::Text),
    optional("resourceRequirements", Shape::Object(RESOURCES)),
];

/// What of a version can be changed, in the document's own order; the rest is what it is.
const CHANGEABLE: &[Field] = &[
    optional("description", Shape::Text),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
    optional("framework", Shape::Text),
    optional("frameworkVersion", Shape::Text),
    optional("datasets", Shape::Objects(DATASET)),
    optional("sampleInputData", Shape::Text),
    optional("sampleOutputData", Shape::Text),
    optional("resourceRequirements", Shape::Object(RESOURCES)),
];

/// A version with its registered model.
pub(super) type Model = (Node<RegisteredModelDoc>, Node<ModelVersionDoc>);

/// The model of this name on the wire: `NAME:VERSION`, or the identifier of a version.
pub(super) fn find(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Model> {
    let unknown = || Error::not_found("there is no such model").code("ModelNotFound");
    if let Ok(id) = text.parse::<Id>() {
        return by_id(tx, at, id)?.ok_or_else(unknown);
    }
    let (name, version) = text.rsplit_once(':').ok_or_else(unknown)?;
    let model = tx.child_by_name::<RegisteredModel>(at, name)?.ok_or_else(unknown)?;
    let version = tx.child_by_name::<ModelVersion>(model.id, version)?.ok_or_else(unknown)?;
    Ok((model, version))
}

/// The model with this identifier, if it is registered here.
pub(super) fn by_id(tx: &mut Tx<'_>, at: Id, id: Id) -> CoreResult<Option<Model>> {
    let Some(version) = tx.get::<ModelVersion>(id)? else { return Ok(None) };
    let model = match version.parent {
        Some(parent) => tx.get::<RegisteredModel>(parent)?,
        None => None,
    };
    Ok(model.filter(|model| model.parent == Some(at)).map(|model| (model, version)))
}

/// The models that a request names, each once.
pub(super) fn find_all(tx: &mut Tx<'_>, at: Id, texts: &[String]) -> CoreResult<Vec<Id>> {
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let (_, version) = find(tx, at, text).map_err(|error| {
            error.conceal(|| {
                Error::invalid(format!("model number {} of `modelIds` is not registered here", index + 1))
                    .code("ModelNotFound")
            })
        })?;
        if !found.contains(&version.id) {
            found.push(version.id);
        }
    }
    Ok(found)
}

/// Models by their identifiers, as they are shown; those that are gone are left out.
pub(super) fn shown(tx: &mut Tx<'_>, form: Form, at: Id, ids: &[Id]) -> CoreResult<Vec<Value>> {
    let mut shown = Vec::new();
    for id in ids {
        if let Some((model, version)) = by_id(tx, at, *id)? {
            shown.push(shapes::model(tx, form, at, &model, &version)?);
        }
    }
    Ok(shown)
}

/// How models are called on the wire; those that are gone are left out.
pub(super) fn ids(tx: &mut Tx<'_>, form: Form, at: Id, ids: &[Id]) -> CoreResult<Vec<String>> {
    let mut named = Vec::new();
    for id in ids {
        if let Some((model, version)) = by_id(tx, at, *id)? {
            named.push(shapes::model_id(form, &model, &version));
        }
    }
    Ok(named)
}

/// `POST models`: a version of this name, the first or the next one.
pub(super) async fn register(call: Call) -> Result<Json<Value>> {
    let mut said = fields::read(&call.body, FIELDS)?;
    let name = fields::name(&fields::take_text(&mut said, "name").unwrap_or_default())?;
    let url = said.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    let doc = ModelVersionDoc {
        number: 0,
        name: String::new(),
        source: String::new(),
        storage: None,
        run: fields::take_text(&mut said, "runId"),
        run_link: None,
        model_id: None,
        stage: ModelStage::None,
        description: fields::take_text(&mut said, "description"),
        tags: fields::take_tags(&mut said),
        created_by: Some(call.person),
        azure: said,
    };
    let (actor, person, form) = (call.actor, call.person, call.form);
    let ids = [call.app.store().ambient().new_id(), call.app.store().ambient().new_id()];
    let answer = call
        .write(Permission::Write, move |tx, at| {
            let place = provenance::find(tx, &actor, at, &url)?;
            let mut model = match tx.child_by_name::<RegisteredModel>(at, &name)? {
                Some(model) => model,
                None => {
                    let doc = RegisteredModelDoc {
                        name: name.clone(),
                        description: None,
                        tags: BTreeMap::new(),
                        aliases: BTreeMap::new(),
                        newest: 0,
                        created_by: Some(person),
                    };
                    tx.create::<RegisteredModel>(New::under(at, ids[0], doc))?
                }
            };
            model.doc.newest += 1;
            let model = tx.update::<RegisteredModel>(&model)?;
            let number = model.doc.newest;
            let source = provenance::source(&url, place.as_ref());
            let doc = ModelVersionDoc { number, name: number.to_string(), source, ..doc.clone() };
            let version = tx.create::<ModelVersion>(New::under(model.id, ids[1], doc))?;
            provenance::connect_version(tx, at, &version, place.as_ref())?;
            shapes::model(tx, form, at, &model, &version)
        })
        .await?;
    Ok(Json(answer))
}

/// `GET models`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of(&call)?;
    let (value, next) = found(&call, listing).await?;
    Ok(Json(listing::answer(&call, value, next)))
}

/// `POST models/list`.
pub(super) async fn list_by_body(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of_body(&call)?;
    let (value, next) = found(&call, listing).await?;
    Ok(Json(listing::answer_of_body(&call, value, next)))
}

async fn found(call: &Call, listing: Listing) -> CoreResult<(Vec<Value>, Option<String>)> {
    let form = call.form;
    call.read(move |tx, at| {
        let models = match listing.filter("name") {
            Some(name) => tx.child_by_name::<RegisteredModel>(at, name)?.into_iter().collect(),
            None => tx.children::<RegisteredModel>(at, Page::ALL)?,
        };
        let latest_only =
            listing.is("latestversiononly", Some("true")) && listing.filter("latestversiononly").is_some();
        let mut found = Vec::new();
        for model in models {
            let mut versions = if latest_only {
                newest(tx, &model)?.into_iter().collect()
            } else {
                tx.children::<ModelVersion>(model.id, Page::ALL)?
            };
            versions.retain(|version| is_asked_for(&listing, &version.doc));
            found.extend(versions.into_iter().map(|version| (model.clone(), version)));
        }
        let (page, next) = listing.page(found, |(_, version)| (version, version.doc.number));
        let value = page
            .iter()
            .map(|(model, version)| shapes::model(tx, form, at, model, version))
            .collect::<CoreResult<_>>()?;
        Ok((value, next))
    })
    .await
}

/// The newest version of a model that is there.
fn newest(tx: &mut Tx<'_>, model: &Node<RegisteredModelDoc>) -> CoreResult<Option<Node<ModelVersionDoc>>> {
    let newest = tx.child_by_name::<ModelVersion>(model.id, &model.doc.newest.to_string())?;
    if newest.is_some() {
        return Ok(newest);
    }
    // The newest that was ever made is gone.
    let versions = tx.children::<ModelVersion>(model.id, Page::ALL)?;
    Ok(versions.into_iter().max_by_key(|version| version.doc.number))
}

fn is_asked_for(listing: &Listing, doc: &ModelVersionDoc) -> bool {
    let text = |name: &str| doc.azure.get(name).and_then(Value::as_str);
    let properties = fields::take_map(&mut doc.azure.clone(), "properties");
    let datasets: Vec<String> = match doc.azure.get("datasets") {
        Some(Value::Array(datasets)) => {
            datasets.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    listing.has(&doc.tags, &properties)
        && listing.is("version", Some(&doc.name))
        && listing.is("framework", text("framework"))
        && listing.is("description", doc.description.as_deref())
        && listing.is("runid", doc.run.as_deref())
        && listing.is_one_of("datasetid", &datasets)
}

/// `GET models/{id}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (id, form) = (call.part("id").to_owned(), call.form);
    let answer = call
        .read(move |tx, at| {
            let (model, version) = find(tx, at, &id)?;
            shapes::model(tx, form, at, &model, &version)
        })
        .await?;
    Ok(Json(answer))
}

/// `PATCH models/{id}`.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let (id, person, form, body) = (call.part("id").to_owned(), call.person, call.form, call.body.clone());
    let answer = call
        .write(Permission::Write, move |tx, at| {
            let (model, mut version) = find(tx, at, &id)?;
            let doc = &mut version.doc;
            let mut members = json!({ "description": doc.description });
            match form {
                Form::V1 => members["kvTags"] = json!(doc.tags),
                Form::Hosting | Form::Preview => members["tags"] = shapes::names(&doc.tags),
            }
            let is_changeable = |name: &str| fields::require_known(name, CHANGEABLE).is_ok();
            let (changeable, kept): (Settings, Settings) =
                std::mem::take(&mut doc.azure).into_iter().partition(|(name, _)| is_changeable(name));
            if let Value::Object(members) = &mut members {
                members.extend(changeable);
            }
            let mut said = patch::edit(members, &body, CHANGEABLE)?;
            doc.description = fields::take_text(&mut said, "description");
            fields::change_tags(&mut doc.tags, &mut said);
            doc.azure = kept;
            doc.azure.extend(said);
            let version = tx.update_by::<ModelVersion>(&version, person)?;
            shapes::model(tx, form, at, &model, &version)
        })
        .await?;
    Ok(Json(answer))
}

/// The versions registered here of which the address, now or as it was sent, names an asset.
pub(super) fn of_asset(tx: &mut Tx<'_>, at: Id, asset: Id) -> CoreResult<Vec<Id>> {
    let mut found = Vec::new();
    for model in tx.children::<RegisteredModel>(at, Page::ALL)? {
        for version in tx.children::<ModelVersion>(model.id, Page::ALL)? {
            let url = version.doc.azure.get("url").and_then(Value::as_str);
            let mut addresses = [Some(version.doc.address()), url].into_iter().flatten();
            if addresses.any(|address| provenance::asset(address) == Some(asset)) {
                found.push(version.id);
            }
        }
    }
    Ok(found)
}

/// Takes the aliases of a version that is about to go from its name; nothing of what is no version.
pub(super) fn drop_aliases(tx: &mut Tx<'_>, version: Id) -> CoreResult<()> {
    let Some(version) = tx.get::<ModelVersion>(version)? else { return Ok(()) };
    if let Some(mut model) = tx.get::<RegisteredModel>(version.parent.unwrap_or(Id::NIL))? {
        model.doc.aliases.retain(|_, number| *number != version.doc.number);
        tx.update::<RegisteredModel>(&model)?;
    }
    Ok(())
}

/// `DELETE models/{id}`: with the name, when nothing else stands under it. What was made from the model stands in the way, or goes too.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let id = call.part("id").to_owned();
    let done = dependents::remove(&call, Permission::Write, move |tx, at| {
        let (model, version) = match find(tx, at, &id) {
            Err(error) if error.kind == habeas_core::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let is_last = tx.count_children(model.id, Kind::ModelVersion)? <= 1;
        Ok(Some((version.id, if is_last { model.id } else { version.id })))
    })
    .await?;
    Ok(dependents::answer(done))
}
