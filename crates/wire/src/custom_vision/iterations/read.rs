//! Listing, showing, renaming and deleting iterations.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{Iteration, IterationDoc, ProjectDoc};
use habeas_core::{Error, Node, Result as CoreResult};
use habeas_models::{make_default, next_name};
use habeas_store::{Order, Page, Tx};
use serde_json::{Value, json};

use super::super::caller::{Call, find_project};
use super::super::domains::{self, Domain};
use super::super::errors::Result;
use super::super::projection::Shape;
use super::super::upload::small_json;
use super::super::version::Version;
use super::{find, is_workspace, iteration_id};

/// `GetIterations`, newest first; in 1.x the workspace comes before them as one with status `New`.
pub(in crate::custom_vision) async fn list(call: Call) -> Result<Json<Value>> {
    let (actor, project, version) = (call.actor, call.project()?, call.version);
    let iterations = call
        .app
        .store()
        .read(move |tx| {
            let node = find_project(tx, &actor, project, Permission::Read)?;
            let nodes = newest_first(tx, &node)?;
            let mut shapes: Vec<Value> = nodes.iter().map(shape).collect();
            if version <= Version::V1_2 {
                shapes.insert(0, workspace(&node, &nodes));
            }
            Ok(shapes)
        })
        .await?;
    Ok(call.answer(Value::Array(iterations), Shape::Iteration))
}

fn newest_first(tx: &mut Tx<'_>, project: &Node<ProjectDoc>) -> CoreResult<Vec<Node<IterationDoc>>> {
    tx.children::<Iteration>(project.id, Page { order: Order::Newest, ..Page::ALL })
}

/// `GetIteration`.
pub(in crate::custom_vision) async fn show(call: Call) -> Result<Json<Value>> {
    let (actor, project, id, version) = (call.actor, call.project()?, iteration_id(&call)?, call.version);
    let iteration = call
        .app
        .store()
        .read(move |tx| {
            if is_workspace(version, project, id) {
                let node = find_project(tx, &actor, project, Permission::Read)?;
                let nodes = newest_first(tx, &node)?;
                return Ok(workspace(&node, &nodes));
            }
            find(tx, &actor, project, id, Permission::Read).map(|node| shape(&node))
        })
        .await?;
    Ok(call.answer(iteration, Shape::Iteration))
}

/// `UpdateIteration`: the name; up to 2.2 also whether it is the one that predictions ask by default. What is present is merged.
pub(in crate::custom_vision) async fn update(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let (actor, project, id, version) = (call.actor, call.project()?, iteration_id(&call)?, call.version);
    let most = call.app.limits.name;
    let iteration = call
        .app
        .store()
        .write(move |tx| {
            if is_workspace(version, project, id) {
                find_project(tx, &actor, project, Permission::Write)?;
                return Err(Error::invalid("the workspace has no name and is never the default")
                    .code("BadRequestWorkspaceCannotBeModified"));
            }
            let mut node = find(tx, &actor, project, id, Permission::Write)?;
            if let Some(name) = body["name"].as_str() {
                if name.trim().is_empty() || name.chars().count() > most {
                    return Err(Error::invalid(format!("an iteration name has 1 to {most} characters"))
                        .code("BadRequestIterationName"));
                }
                name.clone_into(&mut node.doc.name);
            }
            let is_default = body["isDefault"].as_bool().filter(|_| version < Version::V3_0);
            let node = if is_default == Some(true) {
                make_default(tx, &node)?
            } else {
                node.doc.is_default &= is_default != Some(false);
                tx.update::<Iteration>(&node)?
            };
            Ok(shape(&node))
        })
        .await?;
    Ok(call.answer(iteration, Shape::Iteration))
}

/// `DeleteIteration`: with its exports and the images that only it has kept; cancels a training.
pub(in crate::custom_vision) async fn delete(call: Call) -> Result<StatusCode> {
    let (actor, project, id, version) = (call.actor, call.project()?, iteration_id(&call)?, call.version);
    let removed = call
        .app
        .store()
        .write(move |tx| {
            if is_workspace(version, project, id) {
                find_project(tx, &actor, project, Permission::Write)?;
                return Err(Error::invalid("the workspace cannot be deleted")
                    .hint("delete its images and tags, or the project")
                    .code("BadRequestWorkspaceNotDeletable"));
            }
            let node = find(tx, &actor, project, id, Permission::Write)?;
            habeas_models::delete(tx, &node)
        })
        .await?;
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An iteration in the newest shape, and `isDefault` of the older ones.
pub(super) fn shape(node: &Node<IterationDoc>) -> Value {
    let doc = &node.doc;
    let platforms = domains::find(doc.domain).map_or(&[][..], Domain::platforms);
    json!({
        "id": node.id,
        "name": doc.name,
        "isDefault": doc.is_default,
        "status": doc.status.name(),
        "created": node.created_at.rfc3339(),
        "lastModified": node.updated_at.rfc3339(),
        "trainedAt": doc.trained_at.map(habeas_core::Timestamp::rfc3339),
        "projectId": node.parent,
        "exportable": !platforms.is_empty(),
        "exportableTo": platforms,
        "domainId": doc.domain,
        "classificationType": doc.classification_type,
        "trainingType": doc.training_type.name(),
        "reservedBudgetInHours": doc.reserved_budget_in_hours,
        "trainingTimeInMinutes": doc.training_minutes,
        "publishName": doc.publish_name,
        "originalPublishResourceId": doc.publish_resource,
        "customBaseModelInfo": doc.base.map(|base| json!({
            "projectId": base.project,
            "iterationId": base.iteration,
        })),
        "trainingErrorDetails": doc.error,
    })
}

/// The workspace as 1.x lists it: under the name that its training would get, and with the project's id. At Microsoft a training takes that
/// id over; here the workspace keeps it, and the iteration gets one of its own.
fn workspace(project: &Node<ProjectDoc>, iterations: &[Node<IterationDoc>]) -> Value {
    let platforms = domains::find(project.doc.domain).map_or(&[][..], Domain::platforms);
    json!({
        "id": project.id,
        "name": next_name(iterations),
        "isDefault": false,
        "status": "New",
        "created": project.created_at.rfc3339(),
        "lastModified": project.updated_at.rfc3339(),
        "trainedAt": null,
        "projectId": project.id,
        "exportable": !platforms.is_empty(),
        "domainId": null,
    })
}
