//! Images: records of what a service is deployed from. No container is built; an image is there as soon as it is asked for, and its
//! `imageLocation` says so by its scheme.

use axum::Json;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{ContainerImage, ContainerImageDoc, Manifest};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Map, Value, json};

use super::call::{Call, Form};
use super::errors::Result;
use super::fields::{self, Field, Shape, optional, required};
use super::listing::{self, Listing};
use super::manifests::{self, FILE, RUNTIME, wanted_model};
use super::operations::{self, Verb};
use super::{dependents, models, patch, shapes};
use crate::provenance::made_from;

/// The form of hosting accounts. `computeResourceId` is required by the documentation only: the later versions have none.
const HOSTING: &[Field] = &[
    required("name", Shape::Text),
    optional("description", Shape::Text),
    required("manifestId", Shape::Text),
    optional("computeResourceId", Shape::Text),
    required("imageType", Shape::Text),
];

const WORKSPACE: &[Field] = &[
    required("name", Shape::Text),
    optional("description", Shape::Text),
    required("driverProgram", Shape::Text),
    optional("imageType", Shape::Text),
    optional("imageFlavor", Shape::Text),
    optional("modelIds", Shape::Texts),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
    optional("assets", Shape::Objects(FILE)),
    required("targetRuntime", Shape::Object(RUNTIME)),
    optional("imageRequestTypeDiscriminator", Shape::Text),
    optional("dockerFileUri", Shape::Text),
];

const CHANGEABLE: &[Field] = &[
    optional("description", Shape::Text),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
];

/// How an image is called on the wire.
pub(super) fn wire_id(form: Form, node: &Node<ContainerImageDoc>) -> String {
    match form {
        Form::V1 => node.doc.key.clone(),
        Form::Hosting | Form::Preview => node.id.to_string(),
    }
}

/// An image; with the models themselves when `expands`.
pub(super) fn shape(
    tx: &mut Tx<'_>,
    form: Form,
    at: Id,
    node: &Node<ContainerImageDoc>,
    expands: bool,
) -> CoreResult<Value> {
    let doc = &node.doc;
    let said = |name: &str| doc.settings.get(name).cloned().unwrap_or(Value::Null);
    let mut answer = json!({
        "id": wire_id(form, node),
        "name": doc.name,
        "version": doc.version,
        "description": doc.description,
        "createdTime": shapes::time(node.created_at),
        "creationState": "Succeeded",
        "imageType": match said("imageType") {
            Value::Null => json!("Docker"),
            sort => sort,
        },
        "imageLocation": format!("habeas://images/{}", node.id),
    });
    let Value::Object(members) = &mut answer else { return Ok(answer) };
    if form == Form::Hosting {
        members.insert("computeResourceId".into(), said("computeResourceId"));
        let manifest = match doc.manifest {
            Some(id) => tx.get::<Manifest>(id)?,
            None => None,
        };
        if let Some(manifest) = manifest {
            members.insert("manifest".into(), manifests::shape(tx, at, &manifest)?);
        }
        return shapes::mark(tx, node.id, shapes::without_nulls(answer));
    }
    let more: Map<String, Value> = doc.settings.clone().into_iter().collect();
    members.extend(more);
    members.insert("modelIds".into(), json!(models::ids(tx, form, at, &doc.models)?));
    if expands {
        members.insert("modelDetails".into(), json!(models::shown(tx, form, at, &doc.models)?));
    }
    match form {
        Form::V1 => {
            members.insert("kvTags".into(), json!(doc.tags));
            members.insert("properties".into(), json!(doc.properties));
            members.insert("createdBy".into(), shapes::creator(tx, doc.created_by)?);
        }
        Form::Hosting | Form::Preview => {
            members.insert("tags".into(), shapes::names(&doc.tags));
        }
    }
    if !members.contains_key("imageRequestTypeDiscriminator") {
        members.insert("imageRequestTypeDiscriminator".into(), json!("DockerImage"));
    }
    let answer = if form == Form::V1 { answer } else { shapes::without_nulls(answer) };
    shapes::mark(tx, node.id, answer)
}

/// The image of this name on the wire: `NAME:VERSION`, or its identifier.
pub(super) fn find(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Node<ContainerImageDoc>> {
    let found = match text.parse::<Id>() {
        Ok(id) => tx.get::<ContainerImage>(id)?.filter(|node| node.parent == Some(at)),
        Err(_) => tx.child_by_name::<ContainerImage>(at, text)?,
    };
    found.ok_or_else(|| Error::not_found("there is no such image").code("ImageNotFound"))
}

/// `POST images`: 202 with the operation, which has ended when it is asked for.
pub(super) async fn create(call: Call) -> Result<Response> {
    let is_hosting = call.form == Form::Hosting;
    let mut said = fields::read(&call.body, if is_hosting { HOSTING } else { WORKSPACE })?;
    let name = fields::name(&fields::take_text(&mut said, "name").unwrap_or_default())?;
    let manifest = fields::take_text(&mut said, "manifestId");
    let model_ids = fields::take_texts(&mut said, "modelIds");
    let doc = ContainerImageDoc {
        key: String::new(),
        name: name.clone(),
        version: 0,
        description: fields::take_text(&mut said, "description"),
        tags: fields::take_tags(&mut said),
        properties: fields::take_map(&mut said, "properties"),
        manifest: None,
        models: Vec::new(),
        settings: said,
        created_by: Some(call.person),
    };
    let id = call.app.store().ambient().new_id();
    call.write(Permission::Deploy, move |tx, at| {
        let manifest = manifest.as_deref().map(|text| {
            manifests::find(tx, at, text).map_err(|error| {
                error.conceal(|| {
                    Error::invalid("`manifestId` names a manifest that is not there").code("ManifestNotFound")
                })
            })
        });
        let manifest = manifest.transpose()?;
        let models = match &manifest {
            Some(manifest) => manifest.doc.models.clone(),
            None => models::find_all(tx, at, &model_ids)?,
        };
        let others = tx.children::<ContainerImage>(at, Page::ALL)?;
        let newest = others.iter().filter(|node| node.doc.name == name).map(|node| node.doc.version).max();
        let version = newest.unwrap_or(0) + 1;
        let doc = ContainerImageDoc {
            key: format!("{name}:{version}"),
            version,
            manifest: manifest.as_ref().map(|manifest| manifest.id),
            models,
            ..doc.clone()
        };
        let node = tx.create::<ContainerImage>(New::under(at, id, doc))?;
        made_from(tx, id, node.doc.models.iter().copied().chain(node.doc.manifest))
    })
    .await?;
    operations::accepted(&call, Verb::CreateImage, id)
}

/// `GET images`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of(&call)?;
    let (form, expands) = (call.form, call.flag("expand"));
    let (value, next) = call
        .read(move |tx, at| {
            let model = wanted_model(tx, at, &listing)?;
            let mut found = Vec::new();
            for node in tx.children::<ContainerImage>(at, Page::ALL)? {
                let doc = &node.doc;
                let manifest = doc.manifest.map(|id| id.to_string());
                if listing.has(&doc.tags, &doc.properties)
                    && listing.is("name", Some(&doc.name))
                    && listing.is("version", Some(&doc.version.to_string()))
                    && listing.is("description", doc.description.as_deref())
                    && listing.is("manifestid", manifest.as_deref())
                    && model.is_none_or(|model| doc.models.contains(&model))
                    && is_of_manifest(tx, &listing, doc.manifest)?
                    && is_of_model(tx, at, &listing, &doc.models)?
                {
                    found.push(node);
                }
            }
            let (page, next) = listing.page(found, |node| (node, node.doc.version));
            let value =
                page.iter().map(|node| shape(tx, form, at, node, expands)).collect::<CoreResult<_>>()?;
            Ok((value, next))
        })
        .await?;
    Ok(Json(listing::answer(&call, value, next)))
}

/// Whether no manifest's name is asked for, or this one's.
fn is_of_manifest(tx: &mut Tx<'_>, listing: &Listing, manifest: Option<Id>) -> CoreResult<bool> {
    if listing.filter("manifestname").is_none() {
        return Ok(true);
    }
    let Some(id) = manifest else { return Ok(false) };
    let node = tx.get::<Manifest>(id)?;
    Ok(node.is_some_and(|node| listing.is("manifestname", Some(&node.doc.name))))
}

/// Whether no image is asked for, nor a manifest, or one of these images is as it is asked for.
pub(super) fn is_of_image(tx: &mut Tx<'_>, listing: &Listing, ids: &[Id]) -> CoreResult<bool> {
    const FILTERS: [&str; 4] = ["imageid", "imagename", "manifestid", "manifestname"];
    if FILTERS.iter().all(|name| listing.filter(name).is_none()) {
        return Ok(true);
    }
    for id in ids {
        let Some(image) = tx.get::<ContainerImage>(*id)? else { continue };
        let manifest = image.doc.manifest;
        if listing.is_one_of("imageid", &[image.id.to_string(), image.doc.key.clone()])
            && listing.is("imagename", Some(&image.doc.name))
            && listing.is("manifestid", manifest.map(|id| id.to_string()).as_deref())
            && is_of_manifest(tx, listing, manifest)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether no model's name is asked for, or one of these has it.
pub(super) fn is_of_model(tx: &mut Tx<'_>, at: Id, listing: &Listing, ids: &[Id]) -> CoreResult<bool> {
    if listing.filter("modelname").is_none() {
        return Ok(true);
    }
    for id in ids {
        if let Some((model, _)) = models::by_id(tx, at, *id)?
            && listing.is("modelname", Some(&model.doc.name))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `GET images/{id}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (id, form, expands) = (call.part("id").to_owned(), call.form, call.flag("expand"));
    let answer = call
        .read(move |tx, at| {
            let node = find(tx, at, &id)?;
            shape(tx, form, at, &node, expands)
        })
        .await?;
    Ok(Json(answer))
}

/// `PATCH images/{id}`.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let (id, person, form, body) = (call.part("id").to_owned(), call.person, call.form, call.body.clone());
    let answer = call
        .write(Permission::Deploy, move |tx, at| {
            let mut node = find(tx, at, &id)?;
            let doc = &mut node.doc;
            let mut members = json!({ "description": doc.description, "properties": doc.properties });
            match form {
                Form::V1 => members["kvTags"] = json!(doc.tags),
                Form::Hosting | Form::Preview => members["tags"] = shapes::names(&doc.tags),
            }
            let mut said = patch::edit(members, &body, CHANGEABLE)?;
            doc.description = fields::take_text(&mut said, "description");
            doc.properties = fields::take_map(&mut said, "properties");
            fields::change_tags(&mut doc.tags, &mut said);
            let node = tx.update_by::<ContainerImage>(&node, person)?;
            shape(tx, form, at, &node, false)
        })
        .await?;
    Ok(Json(answer))
}

/// `DELETE images/{id}`.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let id = call.part("id").to_owned();
    let done = dependents::remove(&call, Permission::Deploy, move |tx, at| match find(tx, at, &id) {
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
        found => found.map(|node| Some((node.id, node.id))),
    })
    .await?;
    Ok(dependents::answer(done))
}
