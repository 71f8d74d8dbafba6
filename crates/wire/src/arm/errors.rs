//! Errors in the control plane's envelope, `{"error": {"code", "message"}}`.

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::json;

/// An error on its way to a client of the control plane.
#[derive(Debug)]
pub struct Failure(pub Error);

/// The result of a handler.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match self.0.kind {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => {
                (StatusCode::BAD_REQUEST, "InvalidRequestContent")
            }
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge"),
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "AuthenticationFailed"),
            ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "AuthorizationFailed"),
            ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "ResourceNotFound"),
            ErrorKind::Conflict | ErrorKind::Frozen => (StatusCode::CONFLICT, "Conflict"),
            ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServerUnavailable"),
            ErrorKind::Damaged | ErrorKind::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
            }
        };
        // Two of the codes have a status of their own.
        let status = match self.0.code {
            Some(PRECONDITION_FAILED) => StatusCode::PRECONDITION_FAILED,
            Some(METHOD_NOT_ALLOWED) => StatusCode::METHOD_NOT_ALLOWED,
            _ => status,
        };
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let code = self.0.code.unwrap_or(code);
        let body = json!({ "error": { "code": code, "message": self.0.to_string() } });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The code of a resource that is not in the version that `If-Match` or `If-None-Match` names.
pub(super) const PRECONDITION_FAILED: &str = "PreconditionFailed";

/// The code of an address that does not take the method of the request.
pub(super) const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
