//! Who calls, and with what.

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};
use habeas_access::Actor;
use habeas_core::{Error, Id};
use serde_json::Value;

use super::errors::{Failure, PRECONDITION_FAILED, Result};
use super::providers::{Provider, version};
use crate::App;
use crate::caller::base_address;

/// Everything a handler knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    /// The address under which the client reached the server.
    pub(super) base: String,
    /// Whose resources it is about; none for subscriptions and groups.
    pub(super) provider: Option<&'static Provider>,
    /// The version of the API that is asked for.
    pub(super) version: &'static str,
    /// The path, as it is routed.
    pub(super) route: String,
    /// For which version of the resource it holds.
    pub(super) precondition: Precondition,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    pub(super) body: Value,
}

/// For which version of a resource a request holds (RFC 9110, section 13).
#[derive(Clone, Debug, Default)]
pub(super) struct Precondition {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl Precondition {
    fn of(headers: &HeaderMap) -> Precondition {
        let header = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
        Precondition { if_match: header(IF_MATCH), if_none_match: header(IF_NONE_MATCH) }
    }

    /// Refuses to change a resource that is not in the version that the client knows; no version is one that is not there.
    pub(super) fn check(&self, version: Option<i64>) -> habeas_core::Result<()> {
        let etag = version.map(etag);
        let is = |value: &str| match &etag {
            None => false,
            Some(etag) => value.trim() == "*" || value.split(',').any(|one| one.trim() == etag),
        };
        if self.if_match.as_deref().is_some_and(|value| !is(value))
            || self.if_none_match.as_deref().is_some_and(is)
        {
            return Err(Error::conflict("the resource is not in the version that the request asks for")
                .hint("read it again and repeat the change with its new ETag")
                .code(PRECONDITION_FAILED));
        }
        Ok(())
    }
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

    /// The parts of the path.
    pub(super) fn parts(&self) -> &HashMap<String, String> {
        &self.path
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
        let route = request.uri().path().to_owned();
        let provider = Provider::of(&route);
        let version = version(provider, &route, query.get("api-version").map(String::as_str))?;
        let precondition = Precondition::of(request.headers());
        let base = base_address(request.headers(), app.public_address.as_deref(), app.tls);
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
        Ok(Call {
            app: app.clone(),
            actor,
            person,
            base,
            provider,
            version,
            route,
            precondition,
            path,
            query,
            body,
        })
    }
}
