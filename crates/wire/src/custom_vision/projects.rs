//! Domains and projects.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Account, Image, Iteration, Project, ProjectDoc, ProjectStatus};
use habeas_core::{Error, Id, Kind, Node};
use habeas_store::{New, Order, Page, Tx};
use serde_json::{Value, json};

use super::addresses::{Copy, Signer};
use super::caller::{Call, find_project};
use super::domains::{DEFAULT, DOMAINS, PLATFORMS, find};
use super::errors::Result;
use super::limits::Limits;
use super::projection::Shape;
use super::query::guid;
use super::upload::small_json;

/// `GetDomains`.
pub(super) async fn domains(call: Call) -> Result<Json<Value>> {
    Ok(call.answer(DOMAINS.iter().map(super::domains::Domain::json).collect(), Shape::Domain))
}

/// `GetDomain`.
pub(super) async fn domain(call: Call) -> Result<Json<Value>> {
    let domain = call
        .item
        .as_deref()
        .and_then(|text| text.parse().ok())
        .and_then(find)
        .ok_or_else(|| Error::not_found("there is no such domain").code("NotFoundDomain"))?;
    Ok(call.answer(domain.json(), Shape::Domain))
}

/// `GetProjects`, newest first: those of the key's account; to a person, those of every account that they may see.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (actor, account) = (call.actor, call.account);
    let signer = Signer::new(&call.app, &call.base)?;
    let projects = call
        .app
        .store()
        .read(move |tx| {
            let mut projects = Vec::new();
            for account in visible_accounts(tx, &actor, account)? {
                projects.extend(tx.children::<Project>(account, Page::ALL)?);
            }
            projects.sort_by_key(|node| Reverse((node.created_at, node.id)));
            projects.iter().map(|node| shape(tx, node, &signer)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(call.answer(Value::Array(projects), Shape::Project))
}

/// The accounts whose projects an actor is shown: a person has their own, and those of organisations, whose members may all read.
fn visible_accounts(tx: &mut Tx<'_>, actor: &Actor, account: Id) -> habeas_core::Result<Vec<Id>> {
    let Actor::Person { id: person, .. } = actor else { return Ok(vec![account]) };
    let organisations =
        tx.mentions_of(*person)?.into_iter().filter(|mention| mention.kind == Kind::Organisation);
    let holders: BTreeSet<Id> = organisations.map(|mention| mention.resource).chain([*person]).collect();
    let mut accounts = Vec::new();
    for holder in holders {
        accounts.extend(tx.children::<Account>(holder, Page::ALL)?.iter().map(|node| node.id));
    }
    Ok(accounts)
}

/// `GetProject`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (actor, id) = (call.actor, call.project()?);
    let signer = Signer::new(&call.app, &call.base)?;
    let project = call
        .app
        .store()
        .read(move |tx| {
            let node = find_project(tx, &actor, id, Permission::Read)?;
            shape(tx, &node, &signer)
        })
        .await?;
    Ok(call.answer(project, Shape::Project))
}

/// `CreateProject`. Options come as a JSON body from the clients, as query parameters from the curl examples.
pub(super) async fn create(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let limits = &call.app.limits;
    let option = |name: &str| {
        body[name]
            .as_str()
            .or_else(|| call.query.text(name))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let name = checked_name(call.query.required("name")?, limits)?;
    let description = checked_description(call.query.text("description").unwrap_or_default(), limits)?;
    let domain_id = guid(call.query.text("domainId").unwrap_or(DEFAULT), "domainId")?;
    let domain = find(domain_id)
        .filter(|domain| domain.enabled)
        .ok_or_else(|| Error::invalid("there is no such domain").code("BadRequestProjectUnknownDomain"))?;
    let classification_type = match (domain.detection, call.query.text("classificationType")) {
        (true, _) => None,
        (false, given) => Some(checked_classification(given.unwrap_or("Multilabel"))?),
    };
    let platforms =
        call.query.list("targetExportPlatforms").into_iter().map(str::to_owned).collect::<Vec<_>>();
    let doc = ProjectDoc {
        name,
        description,
        domain: domain_id,
        classification_type,
        target_export_platforms: checked_platforms(platforms)?,
        augmentation_methods: BTreeMap::new(),
        export_model_container_uri: option("exportModelContainerUri"),
        notification_queue_uri: option("notificationQueueUri"),
        notified_since: None,
        created_by: call.maker(),
        status: ProjectStatus::Succeeded,
        import_error: None,
    };
    let (actor, account, quota) = (call.actor, call.account, limits.projects_per_account);
    let id = call.app.store().ambient().new_id();
    let signer = Signer::new(&call.app, &call.base)?;
    let project = call
        .app
        .store()
        .write_with_keys(vec![id], Vec::new(), move |tx| {
            authorise(tx, &actor, account, Permission::Manage)?;
            require_room(tx, account, quota)?;
            let node = tx.create::<Project>(New::under(account, id, doc.clone()))?;
            habeas_models::notifying::connection_test(tx, &node)?;
            shape(tx, &node, &signer)
        })
        .await?;
    call.app.models().wake();
    Ok(call.answer(project, Shape::Project))
}

/// Refuses another project of an account that has as many as it may.
pub(super) fn require_room(tx: &mut Tx<'_>, account: Id, quota: Option<u64>) -> habeas_core::Result<()> {
    match quota {
        Some(quota) if tx.count_children(account, habeas_core::Kind::Project)? >= quota => {
            Err(Error::limit(format!("the account has {quota} projects, the most it may have"))
                .code("BadRequestExceedProjectLimit"))
        }
        _ => Ok(()),
    }
}

/// `UpdateProject`: what is present is merged; the JavaScript client sends an explicit null for a description it has none of.
pub(super) async fn update(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let (actor, id, limits) = (call.actor, call.project()?, call.app.limits.clone());
    let signer = Signer::new(&call.app, &call.base)?;
    let project = call
        .app
        .store()
        .write(move |tx| {
            let mut node = find_project(tx, &actor, id, Permission::Write)?;
            merge(&mut node.doc, &body, &limits)?;
            let node = tx.update_by::<Project>(&node, actor.person())?;
            shape(tx, &node, &signer)
        })
        .await?;
    Ok(call.answer(project, Shape::Project))
}

fn merge(doc: &mut ProjectDoc, body: &Value, limits: &Limits) -> habeas_core::Result<()> {
    if let Some(name) = body["name"].as_str() {
        doc.name = checked_name(name, limits)?;
    }
    match &body["description"] {
        Value::String(text) => doc.description = checked_description(text, limits)?,
        Value::Null if body.get("description").is_some() => doc.description = String::new(),
        _ => {}
    }
    let settings = &body["settings"];
    if let Some(domain) = settings["domainId"].as_str() {
        let id = guid(domain, "domainId")?;
        let new = find(id).ok_or_else(|| {
            Error::invalid("there is no such domain").code("BadRequestProjectUnknownDomain")
        })?;
        if find(doc.domain).is_some_and(|old| old.detection != new.detection) {
            return Err(Error::invalid(
                "a project cannot change between classification and object detection",
            )
            .code("BadRequestProjectUnsupportedDomainTypeChange"));
        }
        doc.domain = id;
    }
    if let Some(kind) = settings["classificationType"].as_str()
        && doc.classification_type.is_some()
    {
        doc.classification_type = Some(checked_classification(kind)?);
    }
    if let Some(platforms) = settings["targetExportPlatforms"].as_array() {
        let names = platforms.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        doc.target_export_platforms = checked_platforms(names)?;
    }
    if let Some(methods) = settings["imageProcessingSettings"]["augmentationMethods"].as_object() {
        doc.augmentation_methods =
            methods.iter().filter_map(|(name, on)| Some((name.clone(), on.as_bool()?))).collect();
    }
    Ok(())
}

/// `DeleteProject`: with everything in it; its key is destroyed before the answer. Refused while an iteration is published: programs may
/// be asking it.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    let (actor, id) = (call.actor, call.project()?);
    let removed = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, id, Permission::Manage)?;
            let published =
                tx.children::<Iteration>(id, Page::ALL)?.iter().any(|node| node.doc.publish_name.is_some());
            if published {
                return Err(Error::invalid("the project has a published iteration")
                    .hint("unpublish it first")
                    .code("BadRequestIterationIsPublished"));
            }
            tx.remove(id)
        })
        .await?;
    call.app.store().finish(&removed).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A project in the newest shape. `description` is never null: the Python client refuses to send back an object without it.
pub(super) fn shape(tx: &mut Tx<'_>, node: &Node<ProjectDoc>, signer: &Signer) -> habeas_core::Result<Value> {
    let first = tx.children::<Image>(node.id, Page { order: Order::Oldest, skip: 0, take: 1 })?;
    let thumbnail = first.first().map(|image| signer.address(node.id, image.id, Copy::Thumbnail));
    let doc = &node.doc;
    Ok(json!({
        "id": node.id,
        "name": doc.name,
        "description": doc.description,
        "settings": {
            "domainId": doc.domain,
            "classificationType": doc.classification_type,
            "targetExportPlatforms": doc.target_export_platforms,
            "useNegativeSet": true,
            "detectionParameters": null,
            "imageProcessingSettings": { "augmentationMethods": doc.augmentation_methods },
            "exportModelContainerUri": doc.export_model_container_uri,
            "notificationQueueUri": doc.notification_queue_uri,
        },
        "created": node.created_at.rfc3339(),
        "lastModified": node.updated_at.rfc3339(),
        "thumbnailUri": thumbnail,
        "drModeEnabled": false,
        "status": doc.status.name(),
        "importErrorDetails": doc.import_error,
    }))
}

pub(super) fn checked_name(name: &str, limits: &Limits) -> habeas_core::Result<String> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > limits.name {
        return Err(Error::invalid(format!("a project name has 1 to {} characters", limits.name))
            .code("BadRequestProjectName"));
    }
    Ok(name.to_owned())
}

fn checked_description(text: &str, limits: &Limits) -> habeas_core::Result<String> {
    if text.chars().count() > limits.description {
        return Err(Error::invalid(format!("a description has at most {} characters", limits.description))
            .code("BadRequestProjectDescription"));
    }
    Ok(text.to_owned())
}

fn checked_classification(kind: &str) -> habeas_core::Result<String> {
    ["Multiclass", "Multilabel"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind))
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::invalid("classificationType is `Multiclass` or `Multilabel`")
                .code("BadRequestProjectUnknownClassification")
        })
}

fn checked_platforms(names: Vec<String>) -> habeas_core::Result<Vec<String>> {
    for name in &names {
        if !PLATFORMS.contains(&name.as_str()) {
            return Err(Error::invalid(format!("targetExportPlatforms are among {}", PLATFORMS.join(", ")))
                .code("BadRequestProjectUnsupportedExportPlatform"));
        }
    }
    Ok(names)
}

/// The project's domain.
pub(super) fn is_detection(domain: Id) -> bool {
    find(domain).is_some_and(|domain| domain.detection)
}
