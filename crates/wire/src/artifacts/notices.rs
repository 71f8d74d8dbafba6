//! Notifications of a workspace or project: that runs have ended. Neither a client nor a schema of this service was ever public; the shape
//! is that of its siblings.

use axum::Json;
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::kinds::{Notification, NotificationDoc, Run};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{Order, Page, Tx};
use serde_json::{Value, json};

use super::call::Call;
use super::files::finish;
use crate::data_services::Result;
use crate::runs::run_name;

/// Notifications in one page of a list.
const PAGE: usize = 1_000;

fn missing() -> Error {
    Error::not_found("there is no such notification")
}

/// A notification with its run, unless that was deleted.
struct Shown {
    node: Node<NotificationDoc>,
    run: Option<(String, String)>,
}

impl Shown {
    fn of(tx: &mut Tx<'_>, node: Node<NotificationDoc>) -> CoreResult<Shown> {
        let run = tx.get::<Run>(node.doc.run)?.map(|run| (run_name(&run), run.doc.name));
        Ok(Shown { node, run })
    }

    fn show(&self, call: &Call, scope: Id) -> Value {
        let doc = &self.node.doc;
        let (run, name) = self.run.as_ref().map(|(run, name)| (run.as_str(), name.as_str())).unzip();
        let ended = self.node.created_at.rfc3339();
        json!({
            "jobId": self.node.id,
            "runId": run,
            "experimentId": doc.experiment,
            "projectId": scope,
            "userObjectId": doc.person,
            "name": name,
            "type": "RunEnded",
            "status": doc.status,
            "createdUtc": ended,
            "lastModifiedUtc": ended,
            // There is no operation that marks one as read.
            "isRead": false,
            "message": format!("The run has ended: {}", doc.status),
            "link": run.map(|run| format!("{}/history/v1.0{}/runs/{run}", call.base, call.scope.path())),
        })
    }
}

/// The person whose notifications are asked for. Others' are for whoever owns the workspace only.
fn addressee(call: &Call) -> CoreResult<(Id, Permission)> {
    match call.part("user") {
        "" => Ok((call.person, Permission::Read)),
        user => {
            let person = user.parse().map_err(|_| missing())?;
            Ok((person, if person == call.person { Permission::Read } else { Permission::Own }))
        }
    }
}

/// `GET .../users/{objectId}/jobs` and `.../tasks`: newest first.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (person, permission) = addressee(&call)?;
    let before = call
        .query("continuationtoken")
        .filter(|token| !token.is_empty())
        .map(|token| {
            token.parse::<Id>().map_err(|_| Error::invalid("`continuationToken` is not one of this list's"))
        })
        .transpose()?;
    let (scope, shown, token) = call
        .read(permission, move |tx, scope| {
            let newest = Page { order: Order::Newest, ..Page::ALL };
            let mut nodes = tx.children::<Notification>(scope, newest)?;
            nodes.retain(|node| node.doc.person == person);
            if let Some(before) = before {
                let at = nodes.iter().position(|node| node.id == before).map_or(nodes.len(), |at| at + 1);
                nodes.drain(..at);
            }
            let more = nodes.len() > PAGE;
            nodes.truncate(PAGE);
            let token = nodes.last().filter(|_| more).map(|node| node.id);
            let shown = nodes.into_iter().map(|node| Shown::of(tx, node)).collect::<CoreResult<Vec<_>>>()?;
            Ok((scope, shown, token))
        })
        .await
        .map_err(|error| error.conceal(missing))?;
    let mut answer = json!({ "value": shown.iter().map(|one| one.show(&call, scope)).collect::<Vec<_>>() });
    if let Some(token) = token {
        answer["continuationToken"] = json!(token);
    }
    Ok(Json(answer))
}

/// The notification with this id, if there is one and it is for this person.
fn find(tx: &mut Tx<'_>, scope: Id, person: Id, id: &str) -> CoreResult<Option<Node<NotificationDoc>>> {
    let Ok(id) = id.parse() else { return Ok(None) };
    let node = tx.get::<Notification>(id)?;
    Ok(node.filter(|node| node.parent == Some(scope) && node.doc.person == person))
}

/// `GET .../tasks/{taskId}`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (person, id) = (call.person, call.part("job").to_owned());
    let (scope, shown) = call
        .read(Permission::Read, move |tx, scope| {
            let node = find(tx, scope, person, &id)?.ok_or_else(missing)?;
            Ok((scope, Shown::of(tx, node)?))
        })
        .await?;
    Ok(Json(shown.show(&call, scope)))
}

/// `DELETE .../users/{objectId}/jobs[/{jobId}]` and `.../tasks[/{taskId}]`: a person's own, or whose the workspace's owner names.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    call.refuse_dry_run()?;
    let (person, permission) = addressee(&call)?;
    let id = call.part("job").to_owned();
    let removed = call
        .write(permission, move |tx, scope| {
            let nodes = if id.is_empty() {
                let mut nodes = tx.children::<Notification>(scope, Page::ALL)?;
                nodes.retain(|node| node.doc.person == person);
                nodes
            } else {
                find(tx, scope, person, &id)?.into_iter().collect()
            };
            nodes.iter().map(|node| tx.remove(node.id)).collect::<CoreResult<Vec<_>>>()
        })
        .await
        .map_err(|error| error.conceal(missing))?;
    Ok(finish(&call, &removed).await)
}
