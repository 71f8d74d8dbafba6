//! Who calls, and with what.

use std::collections::HashMap;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use habeas_access::{Actor, Permission};
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_store::{Tx, UNIQUE_VIOLATION};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::App;
use crate::blob_host::BlobHost;
use crate::caller::base_address;
use crate::data_services::{Failure, Result};
use crate::deletion::refuse_dry_run;
use crate::file_address::Signer;
use crate::scope::Scope;

/// Everything a handler knows of its request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Who calls, as the maker of what is made.
    pub(super) person: Id,
    /// The address under which the client reached the server, for addresses in answers.
    pub(super) base: String,
    /// The host for files.
    pub(super) host: BlobHost,
    pub(super) scope: Scope,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    pub(super) body: Value,
}

/// The parameters of a query, by their names in lower case and without the `$` that some clients put before them.
pub(super) fn parameters(query: Option<&str>) -> HashMap<String, String> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| {
            let name = crate::percent::decode(name).to_lowercase();
            (name.trim_start_matches('$').to_owned(), crate::percent::decode(value))
        })
        .collect()
}

impl Call {
    /// The call without its body, for handlers that read it themselves.
    pub(super) async fn of_parts(app: &App, request: &mut Request) -> Result<Call> {
        let actor = request.extensions().get::<Actor>().copied();
        let actor = actor.ok_or_else(|| Error::internal("an operation was not registered by its name"))?;
        let person = actor.person().ok_or_else(|| {
            Error::forbidden("runs and their files are a person's or an organisation's")
                .hint("call with the bearer token of a person")
        })?;
        let path = request
            .extract_parts::<Path<HashMap<String, String>>>()
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        let scope = Scope::of(&path).ok_or_else(|| Error::internal("a route names no workspace"))?;
        let headers = request.headers();
        Ok(Call {
            actor,
            person,
            base: base_address(headers, app.public_address.as_deref(), app.tls),
            host: BlobHost::of(app, headers),
            scope,
            path,
            query: parameters(request.uri().query()),
            body: Value::Null,
            app: app.clone(),
        })
    }

    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A parameter of the query, by its name in lower case.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether a parameter says yes, as Python and JavaScript write it.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Refuses a request to plan what is only carried out: see [`refuse_dry_run`].
    pub(super) fn refuse_dry_run(&self) -> CoreResult<()> {
        refuse_dry_run(self.query("dryrun"))
    }

    /// The body in its shape.
    pub(super) fn body<T: DeserializeOwned>(&self) -> CoreResult<T> {
        // The parser's own words can quote the value that it failed on.
        T::deserialize(&self.body).map_err(|_| {
            Error::invalid("the body does not have the shape of this operation")
                .hint("see docs/PROTOCOLS.md for the operations that are served")
        })
    }

    /// What makes addresses of files for this caller.
    pub(super) fn signer(&self) -> CoreResult<Signer> {
        Signer::new(&self.app, &self.host, self.person)
    }

    /// Reads in what the scope names, if the caller may do this with it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        permission: Permission,
        work: impl Fn(&mut Tx<'_>, Id) -> CoreResult<T> + Send + Sync + 'static,
    ) -> CoreResult<T> {
        let (actor, scope) = (self.actor, self.scope.clone());
        self.app
            .store()
            .read(move |tx| {
                let id = scope.find(tx, &actor, permission)?;
                work(tx, id)
            })
            .await
    }

    /// Writes in what the scope names; once more when somebody else made the same thing at the same time, which is then found.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        permission: Permission,
        work: impl Fn(&mut Tx<'_>, Id) -> CoreResult<T> + Clone + Send + 'static,
    ) -> CoreResult<T> {
        let (actor, scope) = (self.actor, self.scope.clone());
        let work = move |tx: &mut Tx<'_>| {
            let id = scope.find(tx, &actor, permission)?;
            work(tx, id)
        };
        match self.app.store().write(work.clone()).await {
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => self.app.store().write(work).await,
            result => result,
        }
    }
}

impl FromRequest<App> for Call {
    type Rejection = Failure;

    async fn from_request(mut request: Request, app: &App) -> Result<Call> {
        let mut call = Call::of_parts(app, &mut request).await?;
        let bytes = Bytes::from_request(request, app)
            .await
            .map_err(|_| Error::too_large("the request is too large, or broke off"))?;
        // Whatever the content type says: `azureml-core` sends plain objects as `application/json-patch+json`.
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            call.body = serde_json::from_slice(&bytes).map_err(|error| {
                Error::invalid(format!(
                    "the body is not JSON: line {}, column {}",
                    error.line(),
                    error.column()
                ))
            })?;
        }
        Ok(call)
    }
}
