//! Errors in the protocol's own envelope.
//!
//! Microsoft's service answers `{"code","message"}`, the gateway before it `{"error":{"code","message"}}`. Both forms are sent at
//! once: the Python client (3.1.1) reads the outer one, the JavaScript client (5.2.0) either; both read the doubled form.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::json;

/// An error on its way to a Custom Vision client.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

/// The gateway's words to a wrong key: programs match on them.
pub const ACCESS_DENIED: &str = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.";

fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    let (status, code) = match error.kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "BadRequest"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "401"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenUserInsufficientCapability"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
        ErrorKind::Gone => (StatusCode::GONE, "NotFound"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "Conflict"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "BadRequestImageSizeBytes"),
        ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "BadRequestExceededQuota"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "BadRequestOperationNotSupported"),
        ErrorKind::Frozen => (StatusCode::CONFLICT, "BadRequestWorkspaceCannotBeModified"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "429"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ErrorServerTimeOut"),
        ErrorKind::Damaged | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "ErrorUnknown"),
    };
    // Codes of the protocol begin with a capital letter; those of the store are its own affair.
    let own = error.code.filter(|code| code.starts_with(|first: char| first.is_ascii_uppercase()));
    (status, own.unwrap_or(code))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = status_and_code(&self.0);
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let message = match status {
            StatusCode::UNAUTHORIZED => ACCESS_DENIED.to_owned(),
            _ => self.0.to_string(),
        };
        let body = json!({ "code": code, "message": message, "error": { "code": code, "message": message } });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            // The Python client retries 429 only when it is told when.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// `NotFoundProject`.
pub(super) fn no_project() -> Error {
    Error::not_found("there is no such project").code("NotFoundProject")
}

/// `NotFoundTag`.
pub(super) fn no_tag() -> Error {
    Error::not_found("there is no such tag in this project").code("NotFoundTag")
}

/// `NotFoundImage`.
pub(super) fn no_image() -> Error {
    Error::not_found("there is no such image in this project").code("NotFoundImage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_forms_of_the_envelope_are_sent_at_once() {
        let response = Failure(no_project()).into_response();
        assert_eq!(response.status(), 404);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"code":"NotFoundProject","error":{"code":"NotFoundProject","message":"there is no such project"},"message":"there is no such project"}"#);
    }
}
