//! Services: a model that programs may ask, with the keys they show.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Permission, new_key};
use habeas_core::kinds::{ContainerImage, KeyPair, Service, ServiceDoc, ServiceVersion, Settings};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde_json::{Map, Value, json};

use super::call::{Call, Form};
use super::dependents::{self, Done};
use super::errors::{Result, status_and_code};
use super::fields;
use super::listing::{self, Listing};
use super::manifests::wanted_model;
use super::operations::{self, Verb};
use super::service_fields::{CHANGEABLE, DROPPED, ONCE};
use super::{endpoints, images, models, patch, served, shapes, tokens};
use crate::provenance::made_from;

/// The version whose documentation demands an image and a compute resource.
const FIRST_VERSION: &str = "2017-09-01-preview";

/// The fewest characters of a key that a client chooses, and the most.
const KEY: std::ops::RangeInclusive<usize> = 32..=256;

/// How a service is called on the wire.
pub(super) fn wire_id(form: Form, node: &Node<ServiceDoc>) -> String {
    match form {
        Form::V1 => node.doc.name.clone(),
        Form::Hosting | Form::Preview => node.id.to_string(),
    }
}

/// A service; with image and models when `expands`, which hosting accounts always do.
fn shape(
    tx: &mut Tx<'_>,
    form: Form,
    base: &str,
    at: Id,
    node: &Node<ServiceDoc>,
    expands: bool,
) -> CoreResult<Value> {
    let doc = &node.doc;
    let refusal = refusal(tx, node)?;
    let error = refusal.as_ref().map(told);
    let image = match doc.image {
        Some(id) => tx.get::<ContainerImage>(id)?,
        None => None,
    };
    let ids = served::models_of(tx, doc)?;
    let scoring = format!("{base}/api/v1/service/{}", node.id);
    let compute = doc.settings.get("computeType").and_then(Value::as_str).unwrap_or_default();
    let mut members = if form == Form::V1 { defaults(compute) } else { Map::new() };
    for (name, value) in &doc.settings {
        overlay(members.entry(name.clone()).or_insert(Value::Null), value);
    }
    let by_token = tokens::are_asked_for(doc);
    if endpoints::is_one(&doc.settings) {
        let mut versions = Map::new();
        for (name, version) in &doc.versions {
            let mut shown = version_shape(tx, form, node, version, expands)?;
            shown.insert("id".into(), json!(name));
            shown.insert("name".into(), json!(name));
            shown.insert("scoringUri".into(), json!(format!("{scoring}/score")));
            shown.insert("swaggerUri".into(), json!(format!("{scoring}/swagger.json")));
            shown.insert("authEnabled".into(), json!(!by_token));
            shown.insert(tokens::SETTING.into(), json!(by_token));
            versions.insert(name.clone(), Value::Object(shown));
        }
        members.insert("versions".into(), Value::Object(versions));
    }
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    put("id", json!(wire_id(form, node)));
    put("name", json!(doc.name));
    put("description", json!(doc.description));
    put("scoringUri", json!(format!("{scoring}/score")));
    put("error", error.unwrap_or(Value::Null));
    match form {
        Form::Hosting => {
            // amlrealtimeai waits for this word; what is not answered from says so in `error`.
            put("state", json!("Succeeded"));
            put("createdAt", shapes::time(node.created_at));
            put("updatedAt", shapes::time(node.updated_at));
            let (mut shown, mut manifest) = (Value::Null, Value::Null);
            if let Some(image) = &image {
                shown = images::shape(tx, form, at, image, false)?;
                manifest = shown.get("manifest").cloned().unwrap_or(Value::Null);
            }
            put("image", shown);
            put("manifest", manifest);
            put("models", json!(models::shown(tx, form, at, &ids)?));
        }
        Form::V1 | Form::Preview => {
            put("state", state(refusal.as_ref()));
            put("createdTime", shapes::time(node.created_at));
            put("updatedTime", shapes::time(node.updated_at));
            put("kvTags", json!(doc.tags));
            put("properties", json!(doc.properties));
            put("swaggerUri", json!(format!("{scoring}/swagger.json")));
            put("createdBy", shapes::creator(tx, doc.created_by)?);
            put("imageId", json!(image.as_ref().map(|image| images::wire_id(form, image))));
            if let (Some(image), true) = (&image, expands) {
                put("imageDetails", images::shape(tx, form, at, image, true)?);
            }
            put("models", json!(models::shown(tx, form, at, if expands { &ids } else { &[] })?));
            // The SDK then fetches the keys, or a token, and shows one.
            put("authEnabled", json!(!by_token));
            put(tokens::SETTING, json!(by_token));
        }
    }
    let answer = Value::Object(members);
    let answer = if form == Form::V1 { answer } else { shapes::without_nulls(answer) };
    shapes::mark(tx, node.id, answer)
}

/// Why a service is a record only, if it is; of an endpoint, the first of the versions that are asked which is one.
fn refusal(tx: &mut Tx<'_>, node: &Node<ServiceDoc>) -> CoreResult<Option<Error>> {
    if node.doc.versions.is_empty() {
        return reason(served::graph(tx, node, None));
    }
    for version in endpoints::asked(&node.doc) {
        let found = reason(served::graph(tx, node, Some(version)))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn reason<T>(found: CoreResult<T>) -> CoreResult<Option<Error>> {
    match found {
        Ok(_) => Ok(None),
        Err(error) if error.code == Some("NotServed") => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// An error as it stands in the answer about what has it.
fn told(error: &Error) -> Value {
    let (status, code) = status_and_code(error);
    json!({ "code": code, "statusCode": status.as_u16(), "message": error.to_string(), "details": [] })
}

fn state(refusal: Option<&Error>) -> Value {
    json!(if refusal.is_none() { "Healthy" } else { "Unhealthy" })
}

/// What an endpoint's answer says of one of its versions, but for what follows from the endpoint.
fn version_shape(
    tx: &mut Tx<'_>,
    form: Form,
    node: &Node<ServiceDoc>,
    version: &ServiceVersion,
    expands: bool,
) -> CoreResult<Map<String, Value>> {
    let at = node.parent.unwrap_or(Id::NIL);
    let refusal = reason(served::graph(tx, node, Some(version)))?;
    let image = match version.image {
        Some(id) => tx.get::<ContainerImage>(id)?,
        None => None,
    };
    let ids = served::models_from(tx, version.image, &version.models)?;
    let mut members = defaults("AKS");
    for (name, value) in &version.settings {
        overlay(members.entry(name.clone()).or_insert(Value::Null), value);
    }
    for (name, value) in [
        ("computeType", json!("AKS")),
        ("description", json!(version.description)),
        ("kvTags", json!(version.tags)),
        ("properties", json!(version.properties)),
        ("createdTime", shapes::time(version.created_at)),
        ("updatedTime", shapes::time(version.updated_at)),
        ("state", state(refusal.as_ref())),
        ("error", refusal.as_ref().map_or(Value::Null, told)),
        ("imageId", json!(image.as_ref().map(|image| images::wire_id(form, image)))),
        ("models", json!(models::shown(tx, form, at, if expands { &ids } else { &[] })?)),
    ] {
        members.insert(name.into(), value);
    }
    Ok(members)
}

/// What `azureml-core` 1 insists on seeing of a service of this `computeType`, whether it was said or not.
fn defaults(compute: &str) -> Map<String, Value> {
    if compute == endpoints::COMPUTE_TYPE {
        let names = ["computeName", "namespace"].map(|name| (name.to_owned(), Value::Null));
        return names.into_iter().chain([("appInsightsEnabled".to_owned(), json!(false))]).collect();
    }
    let mut defaults = json!({
        "computeType": "ACI",
        "appInsightsEnabled": false,
        "containerResourceRequirements": { "cpu": 0.1, "memoryInGB": 0.5 },
        "location": null,
        "cname": null,
        "publicIp": null,
        "sslEnabled": false,
        "sslCertificate": null,
        "sslKey": null,
    });
    if compute == "AKS" {
        let more = json!({
            "computeName": null,
            "numReplicas": null,
            "maxConcurrentRequestsPerContainer": 1,
            "maxQueueWaitMs": null,
            "scoringTimeoutMs": null,
            "namespace": null,
            "autoScaler": { "autoscaleEnabled": null, "minReplicas": null, "maxReplicas": null, "refreshPeriodInSeconds": null,
                "targetUtilization": null },
            "dataCollection": { "storageEnabled": false, "eventHubEnabled": false },
            "containerResourceRequirements": { "cpu": 0.1, "cpuLimit": null, "memoryInGB": 0.5, "memoryInGBLimit": null, "gpu": null },
            "livenessProbeRequirements": { "periodSeconds": 10, "initialDelaySeconds": 310, "timeoutSeconds": 2, "successThreshold": 1,
                "failureThreshold": 3 },
        });
        if let (Value::Object(defaults), Value::Object(more)) = (&mut defaults, more) {
            defaults.extend(more);
        }
    }
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

/// Writes a value over another one, member by member.
fn overlay(under: &mut Value, value: &Value) {
    match (under, value) {
        (Value::Object(under), Value::Object(value)) => {
            for (name, value) in value {
                overlay(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (under, value) => *under = value.clone(),
    }
}

/// The service of this name on the wire: its identifier, or its name.
pub(super) fn find(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Node<ServiceDoc>> {
    if let Ok(id) = text.parse::<Id>()
        && let Some(node) = tx.get::<Service>(id)?.filter(|node| node.parent == Some(at))
    {
        return Ok(node);
    }
    tx.child_by_name::<Service>(at, text)?
        .ok_or_else(|| Error::not_found("there is no such service").code("ServiceNotFound"))
}

/// What a request says a service is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    image: Option<String>,
    models: Vec<String>,
    /// Whether models were named at all.
    names_models: bool,
}

impl Parts {
    pub(super) fn take(said: &mut Settings) -> Parts {
        let mut models: Vec<String> = fields::take_text(said, "modelId").into_iter().collect();
        let mut names_models = !models.is_empty();
        if let Some(request) = said.get_mut("environmentImageRequest").and_then(Value::as_object_mut) {
            if let Some(ids) = request.remove("modelIds") {
                models.extend(texts(&ids));
                names_models = true;
            }
            if let Some(Value::Array(given)) = request.remove("models") {
                let ids = given.iter().filter_map(|model| model["id"].as_str().map(str::to_owned));
                models.extend(ids.collect::<Vec<_>>());
                names_models = true;
            }
        }
        Parts { image: fields::take_text(said, "imageId"), models, names_models }
    }

    /// Finds what was named, in the place of what was there.
    pub(super) fn find(
        &self,
        tx: &mut Tx<'_>,
        at: Id,
        image: &mut Option<Id>,
        models: &mut Vec<Id>,
    ) -> CoreResult<()> {
        if let Some(named) = &self.image {
            let found = images::find(tx, at, named).map_err(|error| {
                error.conceal(|| {
                    Error::invalid("`imageId` names an image that is not there").code("ImageNotFound")
                })
            })?;
            *image = Some(found.id);
            models.clear();
        }
        if self.names_models {
            *models = models::find_all(tx, at, &self.models)?;
            if self.image.is_none() {
                *image = None;
            }
        }
        Ok(())
    }
}

/// Connects a service with what it and its versions are made from now, and with nothing else.
fn connect(tx: &mut Tx<'_>, id: Id, doc: &ServiceDoc) -> CoreResult<()> {
    for (target, _) in tx.targets(id, Relation::MadeFrom)? {
        tx.disconnect(id, target, Relation::MadeFrom)?;
    }
    let mut parts: BTreeSet<Id> = doc.models.iter().copied().chain(doc.image).collect();
    for version in doc.versions.values() {
        parts.extend(version.models.iter().copied().chain(version.image));
    }
    let mut is_whole = true;
    for part in &parts {
        is_whole &= tx.position(*part)?.is_some();
    }
    // Of a service that still stands on something that is gone, this stays said.
    if is_whole {
        tx.disconnect(id, id, Relation::SourceErased)?;
    }
    made_from(tx, id, parts)
}

fn texts(value: &Value) -> Vec<String> {
    let Value::Array(values) = value else { return Vec::new() };
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Takes the keys that a client chose.
fn take_keys(said: &mut Settings) -> CoreResult<(Option<String>, Option<String>)> {
    let Some(mut keys) = said.remove("keys") else { return Ok((None, None)) };
    let mut take = |name: &str| match keys[name].take() {
        Value::String(key) => chosen_key(key).map(Some),
        _ => Ok(None),
    };
    Ok((take("primaryKey")?, take("secondaryKey")?))
}

fn chosen_key(key: String) -> CoreResult<String> {
    if KEY.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(Error::invalid("a key has 32 to 256 characters of ASCII without spaces")
        .hint("leave it out, and the server makes one"))
}

/// `POST services`, and `PUT services`, which replaces one of the same name.
pub(super) async fn create(call: Call) -> Result<Response> {
    deploy(call, false).await
}

/// `PUT services`.
pub(super) async fn replace(call: Call) -> Result<Response> {
    deploy(call, true).await
}

async fn deploy(call: Call, replaces: bool) -> Result<Response> {
    let mut said = fields::read(&call.body, ONCE)?;
    said.extend(fields::read(&call.body, CHANGEABLE)?);
    let name = fields::name(&fields::take_text(&mut said, "name").unwrap_or_default())?;
    let is_first = call.form == Form::Hosting && call.query("api-version") == Some(FIRST_VERSION);
    for name in ["imageId", "computeResource"] {
        if is_first && !said.contains_key(name) {
            return Err(Error::invalid(format!("`{name}` is missing")).into());
        }
    }
    let replaces = replaces || said.remove("overwrite") == Some(Value::Bool(true));
    let is_endpoint = endpoints::is_one(&said);
    endpoints::settle(&mut said, is_endpoint, is_endpoint)?;
    settle_authentication(&mut said, &Settings::new())?;
    said.retain(|name, _| !DROPPED.contains(&name.as_str()));
    let parts = Parts::take(&mut said);
    let (primary, secondary) = take_keys(&mut said)?;
    let ambient = call.app.store().ambient();
    let mut doc = ServiceDoc {
        name: name.clone(),
        description: fields::take_text(&mut said, "description"),
        tags: fields::take_tags(&mut said),
        properties: fields::take_map(&mut said, "properties"),
        image: None,
        models: Vec::new(),
        settings: Settings::new(),
        keys: KeyPair {
            primary: primary.unwrap_or_else(|| new_key(ambient)),
            secondary: secondary.unwrap_or_else(|| new_key(ambient)),
        },
        created_by: Some(call.person),
        versions: BTreeMap::new(),
    };
    let versions = said.remove("versions");
    doc.settings = said;
    let id = ambient.new_id();
    let (verb, id) = call
        .write(Permission::Deploy, move |tx, at| {
            let mut doc = doc.clone();
            let there = tx.child_by_name::<Service>(at, &name)?;
            if there.is_some() && !replaces {
                return Err(taken());
            }
            parts.find(tx, at, &mut doc.image, &mut doc.models)?;
            if let Some(versions) = &versions {
                endpoints::change(tx, at, &mut doc, versions.clone())?;
            }
            match there {
                None => {
                    // Edges need the resource to be there.
                    tx.create::<Service>(New::under(at, id, doc.clone()))?;
                    connect(tx, id, &doc)?;
                    Ok((Verb::CreateService, id))
                }
                Some(mut node) => {
                    // Programs that know the old keys go on.
                    doc.keys = node.doc.keys;
                    connect(tx, node.id, &doc)?;
                    tx.change_maker(node.id, node.holder, node.doc.created_by, doc.created_by)?;
                    node.doc = doc;
                    tx.update::<Service>(&node)?;
                    Ok((Verb::UpdateService, node.id))
                }
            }
        })
        .await?;
    operations::accepted(&call, verb, id)
}

/// What is said of how a service is asked: by its keys, or with `aadAuthEnabled` by tokens. A service that nobody has to show anything to
/// is not had here: `authEnabled` alone changes nothing.
fn settle_authentication(said: &mut Settings, kept: &Settings) -> CoreResult<()> {
    let by_keys = said.remove("authEnabled") == Some(Value::Bool(true));
    let by_tokens =
        said.get(tokens::SETTING).or_else(|| kept.get(tokens::SETTING)) == Some(&Value::Bool(true));
    if by_keys && by_tokens {
        return Err(Error::invalid("`authEnabled` and `aadAuthEnabled` are both true")
            .hint("a service is asked by its keys or by tokens: set one of them to false"));
    }
    Ok(())
}

fn taken() -> Error {
    Error::conflict("there is a service of this name already")
        .hint("choose another name, or send `overwrite`")
        .code("ServiceExists")
}

/// `GET services`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of(&call)?;
    let (value, next) = found(&call, listing).await?;
    Ok(Json(listing::answer(&call, value, next)))
}

/// `POST services/list`.
pub(super) async fn list_by_body(call: Call) -> Result<Json<Value>> {
    let listing = Listing::of_body(&call)?;
    let (value, next) = found(&call, listing).await?;
    Ok(Json(listing::answer_of_body(&call, value, next)))
}

async fn found(call: &Call, listing: Listing) -> CoreResult<(Vec<Value>, Option<String>)> {
    let (form, base) = (call.form, call.base.clone());
    call.read(move |tx, at| {
        let expands = listing.filter("expand").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut found = Vec::new();
        for node in tx.children::<Service>(at, Page::ALL)? {
            if is_asked_for(tx, at, &listing, &node)? {
                found.push(node);
            }
        }
        let (page, next) = listing.page(found, |node| (node, 0));
        let value =
            page.iter().map(|node| shape(tx, form, &base, at, node, expands)).collect::<CoreResult<_>>()?;
        Ok((value, next))
    })
    .await
}

fn is_asked_for(tx: &mut Tx<'_>, at: Id, listing: &Listing, node: &Node<ServiceDoc>) -> CoreResult<bool> {
    let doc = &node.doc;
    let text = |name: &str| doc.settings.get(name).and_then(Value::as_str);
    let compute = doc.settings.get("computeResource").and_then(|compute| compute["id"].as_str());
    let is_plainly = listing.has(&doc.tags, &doc.properties)
        && listing.is("name", Some(&doc.name))
        && listing.is("servicename", Some(&doc.name))
        && listing.is("computeresourceid", compute)
        && listing.is("computetype", text("computeType"))
        // Images have no digest: none was built.
        && listing.is("imagedigest", None);
    if !is_plainly {
        return Ok(false);
    }
    let of_versions = doc.versions.values().filter_map(|version| version.image);
    let image_ids: Vec<Id> = doc.image.into_iter().chain(of_versions).collect();
    if !images::is_of_image(tx, listing, &image_ids)? {
        return Ok(false);
    }
    let ids = served::models_of(tx, doc)?;
    let model = wanted_model(tx, at, listing)?;
    if model.is_some_and(|model| !ids.contains(&model)) {
        return Ok(false);
    }
    if let Some(run) = listing.filter("runid") {
        let mut is_of_run = false;
        for id in &ids {
            if let Some((_, version)) = models::by_id(tx, at, *id)? {
                is_of_run |= version.doc.run.as_deref() == Some(run);
            }
        }
        if !is_of_run {
            return Ok(false);
        }
    }
    images::is_of_model(tx, at, listing, &ids)
}

/// `GET services/{id}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (id, form, base, expands) =
        (call.part("id").to_owned(), call.form, call.base.clone(), call.flag("expand"));
    let answer = call
        .read(move |tx, at| {
            let node = find(tx, at, &id)?;
            shape(tx, form, &base, at, &node, expands)
        })
        .await?;
    Ok(Json(answer))
}

/// Writes what was said over a service, which is an endpoint or is not.
fn change(
    tx: &mut Tx<'_>,
    at: Id,
    node: &mut Node<ServiceDoc>,
    mut said: Settings,
    is_endpoint: bool,
) -> CoreResult<()> {
    endpoints::settle(&mut said, is_endpoint, !node.doc.versions.is_empty())?;
    settle_authentication(&mut said, &node.doc.settings)?;
    said.retain(|name, _| !DROPPED.contains(&name.as_str()));
    let parts = Parts::take(&mut said);
    let (primary, secondary) = take_keys(&mut said)?;
    let doc = &mut node.doc;
    doc.keys.primary = primary.unwrap_or(std::mem::take(&mut doc.keys.primary));
    doc.keys.secondary = secondary.unwrap_or(std::mem::take(&mut doc.keys.secondary));
    if said.contains_key("description") {
        doc.description = fields::take_text(&mut said, "description");
    }
    if said.contains_key("kvTags") || said.contains_key("tags") {
        fields::change_tags(&mut doc.tags, &mut said);
    }
    if said.contains_key("properties") {
        doc.properties = fields::take_map(&mut said, "properties");
    }
    parts.find(tx, at, &mut doc.image, &mut doc.models)?;
    if let Some(versions) = said.remove("versions") {
        endpoints::change(tx, at, doc, versions)?;
    }
    doc.settings.extend(said);
    connect(tx, node.id, &node.doc)
}

/// `PUT services/{id}`: what is said takes the place of what was, the rest stays.
pub(super) async fn put(call: Call) -> Result<Response> {
    let said = fields::read(&call.body, CHANGEABLE)?;
    let (id, person) = (call.part("id").to_owned(), call.person);
    let id = call
        .write(Permission::Deploy, move |tx, at| {
            let mut node = find(tx, at, &id)?;
            let is_endpoint = endpoints::is_one(&node.doc.settings);
            change(tx, at, &mut node, said.clone(), is_endpoint)?;
            tx.update_by::<Service>(&node, person).map(|node| node.id)
        })
        .await?;
    operations::accepted(&call, Verb::UpdateService, id)
}

/// `PATCH services/{id}`.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let (id, person, form, base, body) =
        (call.part("id").to_owned(), call.person, call.form, call.base.clone(), call.body.clone());
    let answer = call
        .write(Permission::Deploy, move |tx, at| {
            let mut node = find(tx, at, &id)?;
            let doc = &mut node.doc;
            let is_endpoint = endpoints::is_one(&doc.settings);
            let mut members = json!({
                "description": doc.description,
                "kvTags": doc.tags,
                "properties": doc.properties,
            });
            let is_changeable = |name: &str| fields::require_known(name, CHANGEABLE).is_ok();
            let (changeable, kept): (Settings, Settings) =
                std::mem::take(&mut doc.settings).into_iter().partition(|(name, _)| is_changeable(name));
            if let Value::Object(members) = &mut members {
                members.extend(changeable);
                if !doc.versions.is_empty() {
                    members.insert("versions".into(), endpoints::members(&doc.versions));
                }
            }
            let said = patch::edit(members, &body, CHANGEABLE)?;
            doc.settings = kept;
            for name in ["description", "kvTags", "properties", "versions"] {
                if !said.contains_key(name) {
                    match name {
                        "description" => doc.description = None,
                        "kvTags" => doc.tags.clear(),
                        "properties" => doc.properties.clear(),
                        _ => doc.versions.clear(),
                    }
                }
            }
            change(tx, at, &mut node, said, is_endpoint)?;
            let node = tx.update_by::<Service>(&node, person)?;
            shape(tx, form, &base, at, &node, true)
        })
        .await?;
    Ok(Json(answer))
}

/// `DELETE services/{id}`. At once in any case; from 2018 on, hosting accounts name an operation that has ended.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let id = call.part("id").to_owned();
    let known = {
        let id = id.clone();
        call.read(move |tx, at| match find(tx, at, &id) {
            Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
            found => found.map(|node| Some(node.id)),
        })
        .await?
    };
    let done = dependents::remove(&call, Permission::Deploy, move |tx, at| match find(tx, at, &id) {
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
        found => found.map(|node| Some((node.id, node.id))),
    })
    .await?;
    match (known, done) {
        (Some(id), Done::Removed) if call.waits_for_deletions() => {
            operations::accepted(&call, Verb::DeleteService, id)
        }
        (_, done) => Ok(dependents::answer(done)),
    }
}

fn keys_shape(keys: &KeyPair) -> Value {
    json!({ "primaryKey": keys.primary, "secondaryKey": keys.secondary })
}

/// `GET services/{id}/keys` and `POST services/{id}/listkeys`.
pub(super) async fn keys(call: Call) -> Result<Json<Value>> {
    let (id, scope, actor) = (call.part("id").to_owned(), call.scope.clone(), call.actor);
    let node = call
        .app
        .store()
        .read(move |tx| {
            let at = scope.find(tx, &actor, Permission::Deploy)?;
            find(tx, at, &id)
        })
        .await?;
    Ok(Json(keys_shape(&node.doc.keys)))
}

/// `POST services/{id}/regenerateKeys`: the old key is dead at once. Of hosting accounts the answer has both keys; `azureml-core` 1 waits
/// for an operation.
pub(super) async fn renew_keys(call: Call) -> Result<Response> {
    let member = |name: &str| call.body.get(name).filter(|value| !value.is_null());
    // amlrealtimeai sends no type when it wants both; azureml-core 1 sends the name, or its number.
    let (primary, secondary) = match member("keyType") {
        None => (true, true),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("primary") => (true, false),
        Some(Value::String(name)) if name.eq_ignore_ascii_case("secondary") => (false, true),
        Some(Value::Number(number)) if number.as_i64() == Some(0) => (true, false),
        Some(Value::Number(number)) if number.as_i64() == Some(1) => (false, true),
        Some(_) => return Err(Error::invalid("`keyType` is neither Primary nor Secondary").into()),
    };
    let ambient = call.app.store().ambient();
    let chosen = match member("keyValue") {
        None => None,
        Some(Value::String(key)) => Some(chosen_key(key.clone())?),
        Some(_) => return Err(Error::invalid("`keyValue` is not a text").into()),
    };
    let fresh = chosen.unwrap_or_else(|| new_key(ambient));
    let other = new_key(ambient);
    let id = call.part("id").to_owned();
    let node = call
        .write(Permission::Deploy, move |tx, at| {
            let mut node = find(tx, at, &id)?;
            if primary {
                node.doc.keys.primary.clone_from(&fresh);
            }
            if secondary {
                node.doc.keys.secondary.clone_from(if primary { &other } else { &fresh });
            }
            tx.update::<Service>(&node)
        })
        .await?;
    match call.form {
        Form::V1 => operations::accepted(&call, Verb::RenewKeys, node.id),
        Form::Hosting | Form::Preview => Ok(Json(keys_shape(&node.doc.keys)).into_response()),
    }
}

/// `POST services/{id}/token`: for whoever may ask the service, where that is asked by tokens.
pub(super) async fn token(call: Call) -> Result<Response> {
    let (id, scope, actor) = (call.part("id").to_owned(), call.scope.clone(), call.actor);
    let node = call
        .app
        .store()
        .read(move |tx| {
            let at = scope.find(tx, &actor, Permission::Predict)?;
            find(tx, at, &id)
        })
        .await?;
    if !tokens::are_asked_for(&node.doc) {
        return Err(Error::conflict("the service is asked by its keys, not by tokens")
            .hint(
                "deploy or update it with `authEnabled` false and `aadAuthEnabled` true (token_auth_enabled)",
            )
            .code("TokenAuthDisabled")
            .into());
    }
    let now = call.app.store().ambient().now();
    let token = tokens::issue(&tokens::key(&call.app)?, &node, call.person, now);
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(token)).into_response())
}

/// `GET services/{id}/logs`: there is no container that writes any.
pub(super) async fn logs(call: Call) -> Result<Json<Value>> {
    let id = call.part("id").to_owned();
    let refusal = call
        .read(move |tx, at| {
            let node = find(tx, at, &id)?;
            refusal(tx, &node)
        })
        .await?;
    let rest = match refusal {
        None => {
            "the server answers from the graph of its model itself, and runs no driver program".to_owned()
        }
        Some(error) => error.to_string(),
    };
    Ok(Json(json!({ "content": format!("No container runs for this service: {rest}.\n") })))
}

/// `GET deployments`: a bare array, of each service its present one.
pub(super) async fn deployments(call: Call) -> Result<Json<Value>> {
    let wanted = call.query("serviceid").map(str::to_owned);
    let answer = call
        .read(move |tx, at| {
            let found = tx.children::<Service>(at, Page::ALL)?;
            let is_wanted = |node: &Node<ServiceDoc>| {
                wanted.as_deref().is_none_or(|id| id == node.id.to_string() || id == node.doc.name)
            };
            Ok(found.iter().filter(|node| is_wanted(node)).map(deployment).collect::<Vec<_>>())
        })
        .await?;
    Ok(Json(json!(answer)))
}

/// `GET deployments/{id}`: a deployment is called like its service.
pub(super) async fn show_deployment(call: Call) -> Result<Json<Value>> {
    let id = call.part("id").to_owned();
    let node = call.read(move |tx, at| find(tx, at, &id)).await?;
    Ok(Json(deployment(&node)))
}

fn deployment(node: &Node<ServiceDoc>) -> Value {
    shapes::without_nulls(json!({
        "id": node.id,
        "serviceName": node.doc.name,
        "imageId": node.doc.image,
        "status": "Succeeded",
        "createdAt": shapes::time(node.updated_at),
    }))
}
