//! Who calls, in which form of the protocol, and with what.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use habeas_access::{Actor, Permission};
use habeas_core::{Error, Id};
use habeas_store::{Tx, UNIQUE_VIOLATION};
use serde_json::Value;

use super::errors::{Failure, Result};
use crate::App;
use crate::caller::base_address;
use crate::scope::Scope;

/// The versions of `/api` whose shapes are answered.
const VERSIONS: [&str; 5] =
    ["2017-09-01-preview", "2018-03-01-preview", "2018-04-01-preview", "2018-11-19", "2019-05-01"];

/// From the versions of this year on, the services of hosting accounts are deleted by an operation that is waited for. Versions are called
/// by their dates, which come in the order of their texts.
const OPERATIONS_FOR_DELETIONS: &str = "2018";

/// The forms in which the protocol has been spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/api/.../accounts/ACCOUNT`: hosting accounts, 2017 and early 2018.
    Hosting,
    /// `/api/.../workspaces/NAME`: `azureml-core` 0.1.
    Preview,
    /// `/modelmanagement/v1.0/.../workspaces/NAME`: `azureml-core` 1.
    V1,
}

/// Everything a handler knows of its request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    pub(super) form: Form,
    pub(super) scope: Scope,
    /// The address under which the client reached the server.
    pub(super) base: String,
    /// Path and query of the request.
    pub(super) address: String,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// Path and query of a request as a whole: the router takes the scope off for what stands below it.
#[derive(Clone, Debug)]
struct Address(String);

/// Gives every answer the name of its request: the client's own, or a fresh one. `amlrealtimeai` reads it whether it sent one or not.
pub(super) async fn label(State(app): State<App>, mut request: Request, next: Next) -> Response {
    const NAME: HeaderName = HeaderName::from_static("x-ms-client-request-id");
    let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    request.extensions_mut().insert(Address(address));
    let given = request.headers().get(NAME).cloned();
    let mut response = next.run(request).await;
    let name = given.or_else(|| HeaderValue::from_str(&app.store().ambient().new_id().to_string()).ok());
    response.headers_mut().extend(name.map(|name| (NAME, name)));
    response
}

impl Call {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter of the query by its name in lower case; none when it is empty.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All parameters of the query, by their names in lower case.
    pub(super) fn queries(&self) -> &HashMap<String, String> {
        &self.query
    }

    /// A yes or no of the query.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// What the query says of `dryRun`.
    pub(super) fn dry_run(&self) -> Option<&str> {
        self.query.get("dryrun").map(String::as_str)
    }

    /// Whether this version of the protocol deletes services by an operation that is waited for.
    pub(super) fn waits_for_deletions(&self) -> bool {
        self.form == Form::Hosting
            && self.query("api-version").is_some_and(|version| version >= OPERATIONS_FOR_DELETIONS)
    }

    /// The address of the scope in this form, without the host.
    pub(super) fn scope_path(&self) -> String {
        let prefix = match self.form {
            Form::Hosting | Form::Preview => "/api",
            Form::V1 => "/modelmanagement/v1.0",
        };
        format!("{prefix}{}", self.scope.path())
    }

    /// Reads below the scope, if the actor may read there; hands over what the scope's resources stand under.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Tx<'_>, Id) -> habeas_core::Result<T> + Send + Sync + 'static,
    ) -> habeas_core::Result<T> {
        let (scope, actor) = (self.scope.clone(), self.actor);
        self.app
            .store()
            .read(move |tx| {
                let at = scope.find(tx, &actor, Permission::Read)?;
                work(tx, at)
            })
            .await
    }

    /// The same for a change, if the actor may do this with the scope; once more when somebody else made the same thing at the same time,
    /// which is then found.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        permission: Permission,
        work: impl Fn(&mut Tx<'_>, Id) -> habeas_core::Result<T> + Send + Sync + 'static,
    ) -> habeas_core::Result<T> {
        let (scope, actor, work) = (self.scope.clone(), self.actor, Arc::new(work));
        let change = move |tx: &mut Tx<'_>| {
            let at = scope.find(tx, &actor, permission)?;
            work(tx, at)
        };
        match self.app.store().write(change.clone()).await {
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => self.app.store().write(change).await,
            result => result,
        }
    }
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Call> {
        let registered = || Error::internal("an operation was not registered by its name");
        let actor = request.extensions().get::<Actor>().copied().ok_or_else(registered)?;
        let form = request.extensions().get::<Form>().copied().ok_or_else(registered)?;
        let person = actor.person().ok_or_else(|| {
            Error::forbidden("models are a person's or an organisation's")
                .hint("call with the bearer token of a person")
        })?;
        let path = request
            .extract_parts::<Path<HashMap<String, String>>>()
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        let scope = Scope::of(&path).ok_or_else(|| Error::internal("a route without a scope"))?;
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (crate::percent::decode(name).to_lowercase(), crate::percent::decode(value)))
            .collect();
        require_version(form, query.get("api-version").map(String::as_str))?;
        let headers = request.headers().clone();
        let base = base_address(&headers, app.public_address.as_deref(), app.tls);
        let address =
            request.extensions().get::<Address>().map(|address| address.0.clone()).unwrap_or_default();
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
        Ok(Call { app: app.clone(), actor, person, form, scope, base, address, path, query, headers, body })
    }
}

/// `azureml-core` 1 sends no version; everybody else must.
fn require_version(form: Form, version: Option<&str>) -> habeas_core::Result<()> {
    let hint = || format!("send one of {}", VERSIONS.join(", "));
    match version {
        _ if form == Form::V1 => Ok(()),
        None | Some("") => Err(Error::invalid("the query parameter `api-version` is missing")
            .hint(hint())
            .code("MissingApiVersionParameter")),
        Some(version) if !VERSIONS.contains(&version.to_lowercase().as_str()) => {
            Err(Error::invalid("this `api-version` is not served")
                .hint(hint())
                .code("InvalidApiVersionParameter"))
        }
        Some(_) => Ok(()),
    }
}
