//! Who calls, and with what.

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use habeas_access::Actor;
use habeas_core::{Error, Id};
use serde_json::Value;

use super::errors::{Failure, PRECONDITION_FAILED, Result};
use crate::App;
use crate::caller::{base_address, recognise};

/// The versions of the control plane whose shapes are answered: those that clients of workspaces send.
const VERSIONS: [&str; 12] = [
    "2018-03-01-preview",
    "2018-11-19",
    "2019-05-01",
    "2019-06-01",
    "2019-11-01",
    "2020-01-01",
    "2020-03-01",
    "2020-04-01",
    "2020-06-01",
    "2020-08-01",
    "2022-05-01",
    "2022-12-01",
];

/// Everything a handler knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    /// The address under which the client reached the server.
    pub(super) base: String,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    headers: HeaderMap,
    pub(super) body: Value,
}

/// Registers `route` as the operation `name`, which stands in the caller's telemetry.
pub(super) fn named(app: &App, name: &'static str, route: MethodRouter<App>) -> MethodRouter<App> {
    route.layer(from_fn_with_state((app.clone(), name), observe))
}

async fn observe(State((app, name)): State<(App, &'static str)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let actor = match recognise(&parts, &app).await {
        Ok(actor) => actor,
        Err(error) => return Failure(error).into_response(),
    };
    parts.extensions.insert(actor);
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Some(person) = actor.person() {
        app.access().telemetry().note(person, name, response.status().as_u16());
    }
    response
}

/// Repeats the name that a client gave its request, by which Azure's clients find it again.
pub(super) async fn label(request: Request, next: Next) -> Response {
    const NAME: HeaderName = HeaderName::from_static("x-ms-client-request-id");
    let given = request.headers().get(NAME).cloned();
    let mut response = next.run(request).await;
    response.headers_mut().extend(given.map(|name| (NAME, name)));
    response
}

impl Call {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter of the query, by its name in lower case.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether the request holds for one version of the resource only.
    pub(super) fn is_conditional(&self) -> bool {
        self.headers.contains_key(IF_MATCH)
    }

    /// Refuses to change a resource that is not in the version that the client knows; no version is one that is not there.
    pub(super) fn check_version(&self, version: Option<i64>) -> habeas_core::Result<()> {
        let header = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let etag = version.map(etag);
        let is = |value: &str| match &etag {
            None => false,
            Some(etag) => value.trim() == "*" || value.split(',').any(|one| one.trim() == etag),
        };
        if header(IF_MATCH).is_some_and(|value| !is(value)) || header(IF_NONE_MATCH).is_some_and(is) {
            return Err(Error::conflict("the resource is not in the version that the request asks for")
                .hint("read it again and repeat the change with its new ETag")
                .code(PRECONDITION_FAILED));
        }
        Ok(())
    }
}

/// The entity tag of a version.
pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Call> {
        let actor = request.extensions().get::<Actor>().copied();
        let actor = actor.ok_or_else(|| Error::internal("an operation was not registered by its name"))?;
        let person = actor.person().ok_or_else(|| {
            Error::forbidden("workspaces are a person's or an organisation's")
                .hint("call with the bearer token of a person")
        })?;
        let path = request
            .extract_parts::<Path<HashMap<String, String>>>()
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (crate::percent::decode(name).to_lowercase(), crate::percent::decode(value)))
            .collect();
        match query.get("api-version") {
            None => {
                return Err(Error::invalid("the query parameter `api-version` is missing")
                    .hint(format!("send one of {}", VERSIONS.join(", ")))
                    .code("MissingApiVersionParameter")
                    .into());
            }
            Some(version) if !VERSIONS.contains(&version.to_lowercase().as_str()) => {
                return Err(Error::invalid("this `api-version` is not served")
                    .hint(format!("send one of {}", VERSIONS.join(", ")))
                    .code("InvalidApiVersionParameter")
                    .into());
            }
            Some(_) => {}
        }
        let headers = request.headers().clone();
        let base = base_address(&headers, app.public_address.as_deref(), app.tls);
        let bytes = Bytes::from_request(request, app)
            .await
            .map_err(|_| Error::too_large("the request is too large, or broke off"))?;
        let body = if bytes.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|error| {
                Error::invalid(format!(
                    "the body is not JSON: line {}, column {}",
                    error.line(),
                    error.column()
                ))
            })?
        };
        Ok(Call { app: app.clone(), actor, person, base, path, query, headers, body })
    }
}
