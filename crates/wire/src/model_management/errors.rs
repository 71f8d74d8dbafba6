//! Errors in model management's envelope, flat: `{"code", "statusCode", "message", "details": [{"code", "message"}]}`.
//!
//! `azureml-core` 1.61 decides by the member `statusCode` whether a model is missing.

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// An error on its way to a client of model management.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    /// Code and message of each thing that stands in the way.
    details: Vec<(&'static str, String)>,
}

/// The code of an address that does not take the method of the request.
pub(super) const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";

/// The result of a handler.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error with what stands in the way.
    pub(super) fn with_details(error: Error, details: Vec<(&'static str, String)>) -> Failure {
        Failure { error, details }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, details: Vec::new() }
    }
}

/// The status and the code of an error.
pub(super) fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    let (status, code) = match error.kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "BadArgument"),
        ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "LimitExceeded"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
        ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "NotFound"),
        ErrorKind::Conflict | ErrorKind::Frozen => (StatusCode::CONFLICT, "Conflict"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        ErrorKind::Damaged | ErrorKind::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
        }
    };
    // One of the codes has a status of its own.
    let status = match error.code {
        Some(METHOD_NOT_ALLOWED) => StatusCode::METHOD_NOT_ALLOWED,
        _ => status,
    };
    (status, error.code.unwrap_or(code))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = status_and_code(&self.error);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.error), "a request failed");
        }
        let details: Vec<Value> =
            self.details.iter().map(|(code, message)| json!({ "code": code, "message": message })).collect();
        let body = json!({
            "code": code,
            "statusCode": status.as_u16(),
            "message": self.error.to_string(),
            "details": details,
        });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
