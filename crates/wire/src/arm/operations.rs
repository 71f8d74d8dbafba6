//! Long-running operations. What this server does for them is done when it answers, but for a deletion that is finished by the worker: an
//! operation is named by what it made, or by the receipt of what it deleted, and nothing is kept of it besides.

use axum::Json;
use axum::http::header::{HeaderName, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Actor, Permission, authorise};
use habeas_core::{Error, Id, Result as CoreResult, Timestamp};
use habeas_rights::{DeletionState, deletion_state};
use habeas_store::Tx;
use serde_json::{Value, json};

use super::call::Call;
use super::errors::Result;
use crate::scope::holder;

/// What stands in the record of every cluster and compute.
pub(super) const NOTICE: &str = "a record: this server runs no machines and no containers; those named here are run by whoever made the record";

const OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

fn url(call: &Call, what: &str, operation: &str) -> Option<HeaderValue> {
    let provider = call.provider?.namespace;
    let subscription = call.part("subscription");
    let path = format!("{}/subscriptions/{subscription}/providers/{provider}/{what}/{operation}", call.base);
    HeaderValue::from_str(&format!("{path}?api-version={}", call.version)).ok()
}

/// The answer to an operation that goes on, or whose client expects it to: 202, with where to ask.
pub(super) fn accepted(call: &Call, operation: &str) -> Response {
    let mut answer = watched(call, operation, StatusCode::ACCEPTED.into_response());
    answer.headers_mut().extend(url(call, "operationResults", operation).map(|url| (LOCATION, url)));
    answer
}

/// Adds where to ask for the state of an operation. Without `Retry-After` clients wait for half a minute.
pub(super) fn watched(call: &Call, operation: &str, mut answer: Response) -> Response {
    answer.headers_mut().extend(url(call, "operationsStatus", operation).map(|url| (OPERATION, url)));
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// How far an operation is.
enum State {
    InProgress { since: Timestamp },
    Succeeded { since: Timestamp, until: Timestamp, is_deletion: bool },
}

/// A deletion is shown to whoever asked for it only: its receipt is theirs.
fn state(
    tx: &mut Tx<'_>,
    actor: &Actor,
    person: Id,
    subscription: &str,
    operation: &str,
) -> CoreResult<State> {
    let unknown = || Error::not_found("there is no such operation").code("OperationNotFound");
    let holder = holder(tx, actor, subscription, Permission::Read)?;
    let id: Id = operation.parse().map_err(|_| unknown())?;
    if let Some((_, _, held_by)) = tx.position(id)?
        && held_by == holder
    {
        authorise(tx, actor, id, Permission::Read).map_err(|_| unknown())?;
        let node = tx.raw(id)?.ok_or_else(unknown)?;
        return Ok(State::Succeeded { since: node.created_at, until: node.updated_at, is_deletion: false });
    }
    match deletion_state(tx, id, person)?.ok_or_else(unknown)? {
        DeletionState::Running { since } => Ok(State::InProgress { since }),
        DeletionState::Done { at } => Ok(State::Succeeded { since: at, until: at, is_deletion: true }),
    }
}

async fn look(call: &Call) -> Result<State> {
    let (actor, person) = (call.actor, call.person);
    let (subscription, operation) = (call.part("subscription").to_owned(), call.part("operation").to_owned());
    Ok(call.app.store().read(move |tx| state(tx, &actor, person, &subscription, &operation)).await?)
}

/// The state of an operation: in the words of the services' descriptions (`provisioningState`), and in those that pollers read (`status`).
pub(super) async fn status(call: Call) -> Result<Json<Value>> {
    let (state, since, until) = match look(&call).await? {
        State::InProgress { since } => ("InProgress", since, None),
        State::Succeeded { since, until, .. } => ("Succeeded", since, Some(until)),
    };
    let mut body = json!({
        "id": call.route,
        "name": call.part("operation"),
        "status": state,
        "provisioningState": state,
        "startTime": since.rfc3339(),
        "percentComplete": if until.is_some() { 100 } else { 0 },
    });
    if let Some(until) = until {
        body["endTime"] = json!(until.rfc3339());
    }
    Ok(Json(body))
}

/// The result of an operation: 202 while it goes on, 204 for what was deleted, 200 for anything else.
pub(super) async fn result(call: Call) -> Result<Response> {
    Ok(match look(&call).await? {
        State::InProgress { .. } => {
            let operation = call.part("operation").to_owned();
            accepted(&call, &operation)
        }
        State::Succeeded { is_deletion: true, .. } => StatusCode::NO_CONTENT.into_response(),
        State::Succeeded { is_deletion: false, .. } => StatusCode::OK.into_response(),
    })
}
