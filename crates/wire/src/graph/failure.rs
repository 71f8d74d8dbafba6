//! Errors in the envelope of Microsoft Graph.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde_json::json;

use crate::caller::METHOD_NOT_ALLOWED;

/// An error on its way to the client.
#[derive(Debug)]
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, code) = match error.kind {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "Request_BadRequest"),
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request_EntityTooLarge"),
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken"),
            ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Authorization_RequestDenied"),
            ErrorKind::NotFound | ErrorKind::Gone => (StatusCode::NOT_FOUND, "Request_ResourceNotFound"),
            ErrorKind::Conflict | ErrorKind::Frozen => {
                (StatusCode::CONFLICT, "Request_MultipleObjectsWithSameKeyValue")
            }
            ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
            ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            ErrorKind::Damaged | ErrorKind::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
            }
        };
        // Graph has no code of its own for it.
        let status = match error.code {
            Some(METHOD_NOT_ALLOWED) => StatusCode::METHOD_NOT_ALLOWED,
            _ => status,
        };
        if status.is_server_error() {
            tracing::error!(error = format_args!("{error:#}"), "a request failed");
        }
        let message = match error.hint {
            Some(hint) => format!("{}: {hint}", error.what),
            None => error.what,
        };
        // The client reads all three of the inner error; the request's id stands in a header too.
        let body = json!({ "error": { "code": code, "message": message, "innerError": {} } });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
