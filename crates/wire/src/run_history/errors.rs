//! Errors in run history's envelope, `{"error": {"code", "message", ...}, "correlation", ...}`.
//!
//! `azureml-core` tries 408, 429 and 5xx again for minutes, so none of these is sent for what will not change.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// An error on its way to a client of run history.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    match error.kind {
        ErrorKind::Invalid | ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "BadArgument"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Authentication"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Authorization"),
        ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "NotFound"),
        ErrorKind::Conflict | ErrorKind::Frozen => (StatusCode::CONFLICT, "Conflict"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        ErrorKind::Damaged | ErrorKind::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
        }
    }
}

/// The envelope of an error, as it also stands within the answers to batches.
pub(super) fn envelope(error: &Error) -> Value {
    let (status, code) = status_and_code(error);
    let side = if status.is_server_error() { "ServiceError" } else { "UserError" };
    json!({
        "error": {
            "code": side,
            "message": error.to_string(),
            "details": [],
            "innerError": { "code": error.code.unwrap_or(code) },
        },
        "componentName": "run-history",
    })
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, _) = status_and_code(&self.0);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        (status, Json(envelope(&self.0))).into_response()
    }
}
