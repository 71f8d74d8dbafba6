//! Errors in the envelope of Azure ML's data services, `{"error": {"code", "message", "innerError"}, "correlation", ...}`.
//!
//! `azureml-core` tries again for minutes when it gets 408, 429 or most of 5xx, so none of these is sent for what will not change.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// An error on its way to a client of Azure ML's data services.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

/// The status, and what went wrong in one word.
pub(super) fn status(error: &Error) -> (StatusCode, &'static str) {
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
    (status, error.code.unwrap_or(reason))
}

/// The error as it stands in answers.
pub(super) fn envelope(error: &Error) -> Value {
    let (status, reason) = status(error);
    let code = if status.is_server_error() { "ServiceError" } else { "UserError" };
    json!({
        "error": {
            "code": code,
            "message": error.to_string(),
            "details": [],
            "innerError": { "code": reason, "innerError": null },
        },
        "correlation": {},
        "componentName": "habeas",
    })
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, _) = status(&self.0);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        (status, Json(envelope(&self.0))).into_response()
    }
}
