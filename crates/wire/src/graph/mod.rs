//! `/v1.0`: what of Microsoft Graph exports a user (`exportPersonalData`, `dataPolicyOperations`), and the user's own profile.
//!
//! Shapes: Microsoft Graph v1.0, `user` and `dataPolicyOperation`. An operation is a request for access whose archive is sent somewhere; it has the
//! request's id.

mod failure;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use habeas_access::Actor;
use habeas_core::kinds::{Decisions, PersonDoc};
use habeas_core::report::{ExportReport, RequestReport};
use habeas_core::requests::{Channel, IdentityCheck, RequestType};
use habeas_core::{Error, Id, Node};
use habeas_rights::NewRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::caller::{base_address, recognise, refuse_method, require_text};

pub use failure::Failure;

/// Seconds after which a client asks again.
const RETRY: HeaderValue = HeaderValue::from_static("5");

/// The protocol's routes.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1.0/me", get(me))
        .route("/v1.0/users/{user}", get(user))
        .route("/v1.0/users/{user}/exportPersonalData", post(export))
        .route("/v1.0/dataPolicyOperations/{operation}", get(operation))
        .route("/v1.0/{*rest}", axum::routing::any(unknown))
        .method_not_allowed_fallback(refuse_method::<Failure>)
        .layer(from_fn(require_text::<Failure>))
}

/// Who calls, recognised, in this protocol's envelope.
struct Caller(Actor);

impl axum::extract::FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Failure> {
        Ok(Caller(recognise(parts, app).await?))
    }
}

fn no_user() -> Error {
    Error::not_found("Resource does not exist, or you may not see it.")
}

/// The person in a path, by object id or principal name, once the caller may exercise their rights.
async fn person(app: &App, caller: &Actor, text: &str, operation: &'static str) -> Result<Id, Failure> {
    let id = match text.parse::<Id>() {
        Ok(id) => id,
        // Whom a name belongs to is for the staff to learn, and for the person themselves.
        Err(_) => app.access().find_person(text).map_err(|error| error.conceal(no_user))?,
    };
    app.rights.authorise(caller, id, operation).await.map_err(|error| error.conceal(no_user))?;
    Ok(id)
}

fn user_json(base: &str, node: &Node<PersonDoc>) -> Value {
    json!({
        "@odata.context": format!("{base}/v1.0/$metadata#users/$entity"),
        "id": node.id,
        "displayName": node.doc.name,
        "mail": node.doc.email,
        "userPrincipalName": node.doc.email,
    })
}

fn base(app: &App, headers: &HeaderMap) -> String {
    base_address(headers, app.public_address.as_deref(), app.tls)
}

/// `GET /v1.0/me`.
async fn me(
    State(app): State<App>,
    Caller(caller): Caller,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let id = caller.person().ok_or_else(no_user)?;
    app.rights.authorise(&caller, id, "GraphGetUser").await.map_err(|error| error.conceal(no_user))?;
    Ok(Json(user_json(&base(&app, &headers), &app.access().person(id).await?)))
}

/// `GET /v1.0/users/{id or principal name}`.
async fn user(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let id = person(&app, &caller, &text, "GraphGetUser").await?;
    Ok(Json(user_json(&base(&app, &headers), &app.access().person(id).await?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportPersonalData {
    storage_location: Option<String>,
}

/// `POST /v1.0/users/{id}/exportPersonalData`.
async fn export(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let id = person(&app, &caller, &text, "GraphExportPersonalData").await?;
    let wrong = || Error::invalid("The body is a JSON object with the member storageLocation.");
    let body: ExportPersonalData = serde_json::from_slice(&body).map_err(|_| wrong())?;
    let location = body.storage_location.filter(|location| !location.is_empty()).ok_or_else(wrong)?;
    let new = NewRequest {
        id: None,
        asked: RequestType::Access,
        formats: Vec::new(),
        person: id,
        regime: None,
        channel: Channel::Protocol,
        received_at: None,
        identity: Some(IdentityCheck::Protocol),
        confirm: None,
        decisions: Decisions::default(),
        callbacks: Vec::new(),
        destination: Some(location),
    };
    let request = app.rights.create_request(&caller, new).await?;
    let mut response = StatusCode::ACCEPTED.into_response();
    let address = format!("{}/v1.0/dataPolicyOperations/{}", base(&app, &headers), request.id);
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response.headers_mut().insert(RETRY_AFTER, RETRY);
    Ok(response)
}

/// `GET /v1.0/dataPolicyOperations/{id}`.
async fn operation(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = async |text: &str| -> Result<RequestReport, Failure> {
        let id: Id = text.parse().map_err(|_| no_user())?;
        Ok(app.rights.request(&caller, id).await.map_err(|error| error.conceal(no_user))?)
    };
    let mut request = found(&text).await?;
    // The same was asked for already; it is the same archive.
    if let Some(twin) = &request.duplicate_of {
        let first = found(twin).await?;
        request = RequestReport { id: request.id, received: request.received, ..first };
    }
    // The archive itself may have expired.
    let archive = match request.archive.as_deref().and_then(|id| id.parse().ok()) {
        Some(id) => app.rights.export(id).await.ok().map(|(_, report)| report),
        None => None,
    };
    let mut response =
        Json(operation_json(&base(&app, &headers), &request, archive.as_ref())?).into_response();
    response.headers_mut().insert(RETRY_AFTER, RETRY);
    Ok(response)
}

fn operation_json(
    base: &str,
    request: &RequestReport,
    archive: Option<&ExportReport>,
) -> Result<Value, Failure> {
    // A request that is no such operation, and one whose person is erased.
    let destination = request.destination.as_ref().ok_or_else(no_user)?;
    let (done, total) = archive.map_or((0, 0), |archive| (archive.done, archive.total));
    let status = match (request.state.as_str(), destination.state.as_str()) {
        (_, "delivered") => "complete",
        ("denied" | "cancelled" | "expired", _) | (_, "failed") => "failed",
        ("completed" | "failed", _) => "running",
        _ if done > 0 => "running",
        _ => "notStarted",
    };
    let written = if total == 0 { 0.0 } else { done as f64 / total as f64 };
    let progress = if status == "complete" { 100.0 } else { (written * 90.0).round() };
    Ok(json!({
        "@odata.context": format!("{base}/v1.0/$metadata#dataPolicyOperations/$entity"),
        "id": request.id,
        "status": status,
        "progress": progress,
        "storageLocation": destination.location,
        "userId": request.subject,
        "submittedDateTime": request.received,
        "completedDateTime": destination.ended.as_ref().filter(|_| status == "complete"),
    }))
}

async fn unknown() -> Failure {
    Failure(Error::not_found("Resource not found for the segment."))
}
