//! `/opendsr`: OpenDSR 2.0, by which a controller passes the requests of its data subjects on, and its 1.x names (OpenGDPR).
//!
//! Specification: github.com/opengdpr/OpenDSR, version 2.0. Callers are the staff, by bearer token; the controller is whoever the token
//! belongs to. A request has the controller's `subject_request_id` as its own. Every answer is signed in its headers.

mod callback;
mod identity;
mod intake;
mod processor;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use habeas_access::Actor;
use habeas_core::kinds::RequestDoc;
use habeas_core::requests::RequestState;
use habeas_core::{Error, ErrorKind, Id, Node};
use serde_json::{Value, json};

use crate::App;
use crate::caller::{METHOD_NOT_ALLOWED, base_address, recognise, refuse_method, require_text};

pub(crate) use callback::tell;
pub use processor::{Processor, ProcessorSource};

/// The version that is served.
const API_VERSION: &str = "2.0";

/// The protocol's routes.
pub fn router() -> Router<App> {
    let mut router = Router::new().route("/opendsr/certificate.pem", get(certificate));
    for (version, requests) in [("v2", "requests"), ("v1", "opengdpr_requests")] {
        router = router
            .route(&format!("/opendsr/{version}/discovery"), get(discovery))
            .route(&format!("/opendsr/{version}/{requests}"), post(create))
            .route(&format!("/opendsr/{version}/{requests}/{{request}}"), get(show).delete(cancel));
    }
    router
        .route("/opendsr/{*rest}", any(unknown))
        .method_not_allowed_fallback(refuse_method::<Failure>)
        .layer(from_fn(require_text::<Failure>))
}

async fn unknown() -> Failure {
    Error::not_found("there is no such endpoint").hint("see /opendsr/v2/discovery").into()
}

/// The names of the two headers, as the version in the path has them.
fn header_names(old: bool) -> [HeaderName; 2] {
    if old {
        [
            HeaderName::from_static("x-opengdpr-processor-domain"),
            HeaderName::from_static("x-opengdpr-signature"),
        ]
    } else {
        [
            HeaderName::from_static("x-opendsr-processor-domain"),
            HeaderName::from_static("x-opendsr-signature"),
        ]
    }
}

/// Whether a path is one of version 1.
fn is_old(uri: &Uri) -> bool {
    uri.path().starts_with("/opendsr/v1/")
}

/// A signed answer.
fn answer(app: &App, uri: &Uri, status: StatusCode, body: &Value) -> Result<Response, Failure> {
    let processor = app.processor.get()?;
    let bytes = Bytes::from(body.to_string());
    let [domain, signature] = header_names(is_old(uri));
    let mut response = (status, bytes.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [(domain, processor.domain.clone()), (signature, processor.sign(&bytes)?)] {
        let value =
            HeaderValue::from_str(&value).map_err(|_| Error::internal("a header cannot be written"))?;
        headers.insert(name, value);
    }
    Ok(response)
}

/// An error in the protocol's envelope; what was wrong with single members stands in `errors`.
#[derive(Debug)]
pub struct Failure(Error, Vec<Value>);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error, Vec::new())
    }
}

impl Failure {
    /// What the specification answers a request with that cannot be taken in, or called off: status 400, whatever is wrong with it. The
    /// reason still says what.
    fn of_request(self) -> Failure {
        let Failure(mut error, mut errors) = self;
        if errors.is_empty() {
            errors.push(detail(status(error.kind).1, &error.what));
        }
        if matches!(
            error.kind,
            ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::TooLarge | ErrorKind::Frozen
        ) {
            error.kind = ErrorKind::Invalid;
        }
        Failure(error, errors)
    }
}

/// Status, and reason, of an error.
fn status(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "limit_exceeded"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::Conflict | ErrorKind::Frozen => (StatusCode::CONFLICT, "conflict"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Damaged | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn detail(reason: &str, message: &str) -> Value {
    json!({ "domain": "habeas", "reason": reason, "message": message })
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(error, mut errors) = self;
        let (status, reason) = match error.code {
            Some(METHOD_NOT_ALLOWED) => (StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED),
            _ => status(error.kind),
        };
        if status.is_server_error() {
            tracing::error!(error = format_args!("{error:#}"), "a request failed");
        }
        if errors.is_empty() {
            errors.push(detail(reason, &error.what));
        }
        let message = match error.hint {
            Some(hint) => format!("{}: {hint}", error.what),
            None => error.what,
        };
        let body = json!({ "error": { "code": status.as_u16(), "message": message, "errors": errors } });
        let mut response = (status, axum::Json(body)).into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

/// A controller: somebody of the staff.
struct Controller(Actor);

impl axum::extract::FromRequestParts<App> for Controller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Controller, Failure> {
        let actor = recognise(parts, app).await?;
        app.rights.require_staff(&actor).await?;
        Ok(Controller(actor))
    }
}

fn base(app: &App, headers: &HeaderMap) -> String {
    base_address(headers, app.public_address.as_deref(), app.tls)
}

/// `GET /discovery`. Public.
async fn discovery(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    let identities: Vec<Value> = identity::SUPPORTED
        .iter()
        .map(|(name, _)| json!({ "identity_type": name, "identity_format": "raw" }))
        .collect();
    let body = json!({
        "api_version": API_VERSION,
        "supported_identities": identities,
        "supported_subject_request_types": intake::TYPES.map(|(name, _)| name),
        "processor_certificate": format!("{}/opendsr/certificate.pem", base(&app, &headers)),
    });
    answer(&app, &uri, StatusCode::OK, &body)
}

/// `GET /opendsr/certificate.pem`: against which the signatures are verified. Public.
async fn certificate(State(app): State<App>) -> Result<Response, Failure> {
    let processor = app.processor.get()?;
    let mut response = processor.certificate.clone().into_response();
    let media_type = HeaderValue::from_static("application/x-pem-file");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// `POST /requests`.
async fn create(
    State(app): State<App>,
    Controller(caller): Controller,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Failure> {
    let taken = intake::take_in(&app, &caller, &body, is_old(&uri)).await;
    let (report, body) = taken.map_err(Failure::of_request)?;
    let answered = json!({
        "controller_id": report.requester,
        "expected_completion_time": report.due,
        "received_time": report.received,
        "encoded_request": body,
        "subject_request_id": report.id,
        "api_version": API_VERSION,
    });
    answer(&app, &uri, StatusCode::CREATED, &answered)
}

fn id_of(text: &str) -> Result<Id, Failure> {
    text.parse().map_err(|_| Failure::from(Error::not_found("there is no such request")))
}

/// `GET /requests/{id}`.
async fn show(
    State(app): State<App>,
    Controller(caller): Controller,
    Path(text): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let record = app.rights.authorise_request(&caller, id_of(&text)?, "OpenDsrGetRequest").await?;
    let mut body = status_json(&record);
    if let (Some(archive), RequestState::Completed) = (record.doc.archive, record.doc.state) {
        body["results_url"] =
            format!("{}/api/privacy/v1/exports/{archive}/content", base(&app, &headers)).into();
        body["results_count"] = 1.into();
    }
    answer(&app, &uri, StatusCode::OK, &body)
}

/// `DELETE /requests/{id}`: while nothing is destroyed yet.
async fn cancel(
    State(app): State<App>,
    Controller(caller): Controller,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let id = id_of(&text)?;
    let record = app.rights.authorise_request(&caller, id, "OpenDsrCancelRequest").await?;
    // Sent again, it is as good as the first time.
    if record.doc.state != RequestState::Cancelled {
        let called_off = app.rights.cancel_request(&caller, id).await;
        called_off.map_err(|error| Failure::from(error).of_request())?;
    }
    let body = json!({
        "controller_id": record.doc.requester,
        "subject_request_id": id,
        "received_time": app.store().ambient().now().rfc3339(),
        "api_version": API_VERSION,
    });
    answer(&app, &uri, StatusCode::ACCEPTED, &body)
}

/// The protocol's four statuses. What ended without being done is `cancelled`; `reason` (ours) says why.
fn status_of(state: RequestState) -> &'static str {
    match state {
        RequestState::Received
        | RequestState::Verifying
        | RequestState::UndoWindow
        | RequestState::AwaitingApproval
        | RequestState::Planned => "pending",
        RequestState::Running
        | RequestState::RunningIrrevocably
        | RequestState::Failed
        | RequestState::FailedIrrevocably => "in_progress",
        RequestState::Completed | RequestState::CompletedWithHolds => "completed",
        RequestState::Denied | RequestState::Cancelled | RequestState::Expired | RequestState::Duplicate => {
            "cancelled"
        }
    }
}

fn status_json(record: &Node<RequestDoc>) -> Value {
    let doc = &record.doc;
    let mut body = json!({
        "controller_id": doc.requester,
        "expected_completion_time": doc.due_at.rfc3339(),
        "subject_request_id": record.id,
        "request_status": status_of(doc.state),
        "api_version": API_VERSION,
    });
    let reason = match (doc.denial, doc.state) {
        (Some(denial), _) => Some(denial.name()),
        (None, RequestState::Expired | RequestState::Duplicate | RequestState::CompletedWithHolds) => {
            Some(doc.state.name())
        }
        _ => None,
    };
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    body
}
