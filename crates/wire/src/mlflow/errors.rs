//! Errors in MLflow's envelope, `{"error_code","message"}`.
//!
//! The client tries again for minutes when it gets 408, 429 or 5xx, so none of these is sent for what will not change.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::json;

use crate::caller::METHOD_NOT_ALLOWED;

/// An error on its way to an MLflow client.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

/// The code of a name that is taken: clients match on it, and upstream sends it with 400.
pub(super) const ALREADY_EXISTS: &str = "RESOURCE_ALREADY_EXISTS";

/// The code of an operation that is not here: clients try another spelling of it.
pub(super) const NO_OPERATION: &str = "ENDPOINT_NOT_FOUND";

fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    let (status, code) = match error.kind {
        _ if error.code == Some(METHOD_NOT_ALLOWED) => (StatusCode::METHOD_NOT_ALLOWED, NO_OPERATION),
        ErrorKind::Invalid | ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE"),
        // The client shows the body of a 413 as it is.
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_PARAMETER_VALUE"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST"),
        ErrorKind::Conflict if error.code == Some(ALREADY_EXISTS) => {
            (StatusCode::BAD_REQUEST, ALREADY_EXISTS)
        }
        ErrorKind::Conflict => (StatusCode::CONFLICT, "RESOURCE_CONFLICT"),
        ErrorKind::Frozen => (StatusCode::CONFLICT, "ABORTED"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "REQUEST_LIMIT_EXCEEDED"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"),
        ErrorKind::Damaged => (StatusCode::INTERNAL_SERVER_ERROR, "DATA_LOSS"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
    };
    // Other codes are for the program itself.
    let told = error.code.filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    (status, told.unwrap_or(code))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = status_and_code(&self.0);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let body = Json(json!({ "error_code": code, "message": self.0.to_string() }));
        let mut response = (status, body).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, self.0.retry_after.unwrap_or(1).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"habeas\""));
        }
        response
    }
}
