//! Errors as problem details (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use habeas_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::METHOD_NOT_ALLOWED;

/// What an error answer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// The sort of failure, as a stable word.
    pub code: String,
    /// The status, again.
    pub status: u16,
    /// What was wrong, and where.
    pub title: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An error on its way to the client.
#[derive(Debug)]
pub struct Problem(pub Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem(error)
    }
}

/// Status and stable word of an error.
pub(crate) fn status(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
        ErrorKind::Gone => (StatusCode::GONE, "gone"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ErrorKind::LimitExceeded => (StatusCode::BAD_REQUEST, "limit_exceeded"),
        ErrorKind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        ErrorKind::Frozen => (StatusCode::CONFLICT, "frozen"),
        ErrorKind::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Damaged => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = match self.0.code {
            Some(METHOD_NOT_ALLOWED) => (StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED),
            _ => status(self.0.kind),
        };
        if status.is_server_error() {
            tracing::error!(error = format_args!("{:#}", self.0), "a request failed");
        }
        let body = ProblemBody {
            code: code.to_owned(),
            status: status.as_u16(),
            title: self.0.what,
            detail: self.0.hint,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, self.0.retry_after.unwrap_or(5).into());
            }
            _ => {}
        }
        response
    }
}

/// A JSON body whose faults are told as problem details. The parser's words are kept out: they can quote the value.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        parse(&whole(request, state).await?).map(JsonBody)
    }
}

async fn whole<S: Send + Sync>(
    request: axum::extract::Request,
    state: &S,
) -> Result<axum::body::Bytes, Problem> {
    use axum::extract::FromRequest as _;
    axum::body::Bytes::from_request(request, state)
        .await
        .map_err(|_| Problem(Error::too_large("the body is too large or was cut off")))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                "the JSON body does not have the members that this operation needs"
            }
            _ => "the body is not JSON",
        };
        Problem(
            Error::invalid(format!("{what} (line {}, column {})", error.line(), error.column()))
                .hint("see /api/privacy/v1/openapi.json"),
        )
    })
}

/// A JSON body that may be left out.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Default> axum::extract::FromRequest<S>
    for OptionalBody<T>
{
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let bytes = whole(request, state).await?;
        if bytes.is_empty() { Ok(OptionalBody(T::default())) } else { parse(&bytes).map(OptionalBody) }
    }
}

/// A query string whose faults are told as problem details.
pub(crate) struct QueryString<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequestParts<S> for QueryString<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        // The parser would take `limit=` for no limit.
        let mut pairs = parts.uri.query().unwrap_or_default().split('&');
        if pairs.any(|pair| pair.split_once('=').is_some_and(|(_, value)| value.is_empty())) {
            return Err(Problem(
                Error::invalid("a parameter of the query has no value")
                    .hint("leave it out, or see /api/privacy/v1/openapi.json for what it takes"),
            ));
        }
        axum_extra::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|query| QueryString(query.0))
            .map_err(|_| {
                Problem(
                    Error::invalid("the query string cannot be read")
                        .hint("see /api/privacy/v1/openapi.json"),
                )
            })
    }
}

/// A GUID in the path; what is not one does not exist.
pub(crate) fn guid(text: &str) -> Result<habeas_core::Id, Problem> {
    text.parse().map_err(|_| Problem(Error::not_found("there is no such resource")))
}
