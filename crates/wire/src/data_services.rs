//! Errors in the envelope that Azure ML's services beside its control plane share: `{"error": {"code", "message", "innerError"}, ...}`.
//!
//! `azureml-core` tries again for minutes when it gets 408, 429 or most of 5xx, so none of these is sent for what will not change.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::App;
use crate::caller::{CLIENT_REQUEST_ID, RequestId, label};

/// The region and the environment that errors name: this server is in none of Azure's.
const PLACE: &str = "habeas";

/// An error on its way to a client of Azure ML's data services.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

/// The status, and what went wrong in one word.
pub(crate) fn status(error: &Error) -> (StatusCode, &'static str) {
    let (status, reason) = match error.kind {
        ErrorKind::Invalid | ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "BadArgument"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Authentication"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Authorization"),
        ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "NotFound"),
        ErrorKind::Conflict | ErrorKind::Frozen => (StatusCode::CONFLICT, "Conflict"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotSupported"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "TransientError"),
        ErrorKind::Damaged | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceError"),
    };
    // One of the codes has a status of its own.
    let status = match error.code {
        Some(METHOD_NOT_ALLOWED) => StatusCode::METHOD_NOT_ALLOWED,
        _ => status,
    };
    (status, error.code.unwrap_or(reason))
}

/// The code of an address that does not take the method of the request.
const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";

/// The answer at addresses below a service that are none of its operations.
pub(crate) async fn unknown() -> Failure {
    Failure(
        Error::not_found("there is no such operation")
            .hint("see docs/PROTOCOLS.md for the operations that are served"),
    )
}

/// The answer to a method that an address does not take.
pub(crate) async fn refused() -> Failure {
    Failure(Error::invalid("this address does not take this method").code(METHOD_NOT_ALLOWED))
}

/// The error as it stands in answers.
pub(crate) fn envelope(error: &Error) -> Value {
    let (status, reason) = status(error);
    let code = if status.is_server_error() { "ServiceError" } else { "UserError" };
    json!({
        "error": {
            "code": code,
            "message": error.to_string(),
            "target": null,
            "details": [],
            "innerError": { "code": reason },
        },
        "componentName": "habeas",
    })
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, _) = status(&self.0);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let told = envelope(&self.0);
        let mut response = (status, Json(&told)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Told(told));
        response
    }
}

/// The envelope in an answer, for [`correlate`].
#[derive(Clone, Debug)]
struct Told(Value);

/// Says in an error which request it answers, where and when, and does what [`label`] does.
pub(crate) async fn correlate(State(app): State<App>, request: Request, next: Next) -> Response {
    let given = request.headers().get(CLIENT_REQUEST_ID).and_then(|name| name.to_str().ok());
    let given = given.map(str::to_owned);
    let id = request.extensions().get::<RequestId>().map(|id| id.0.to_string());
    let mut response = label(request, next).await;
    let Some(Told(mut told)) = response.extensions_mut().remove() else { return response };
    // One operation of a client may take several requests, which it then gives one name.
    told["correlation"] = json!({ "operation": given.as_ref().or(id.as_ref()), "request": id });
    told["environment"] = json!(PLACE);
    told["location"] = json!(PLACE);
    told["time"] = json!(app.store().ambient().now().rfc3339());
    *response.body_mut() = Body::from(told.to_string());
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}
