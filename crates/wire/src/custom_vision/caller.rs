//! Who calls, in which version, and which account is meant.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use habeas_access::{Actor, KeyUse, Permission, authorise};
use habeas_core::kinds::{Project, ProjectDoc};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;
use serde_json::Value;

use super::errors::{Failure, no_project};
use super::operation::Recognised;
use super::projection::{Shape, project};
use super::query::Query;
use super::version::Version;
use crate::App;
use crate::caller::base_address;

/// Everything a handler knows of its request before the body.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// The account whose key was sent, or the first one of the person whose token was.
    pub(super) account: Id,
    pub(super) version: Version,
    pub(super) query: Query,
    /// The project in the path, if it names one.
    pub(super) project: Option<Id>,
    /// What else the path names: a tag, a domain, an iteration by id or by published name, an image.
    pub(super) item: Option<String>,
    /// Under which address the client reached the server.
    pub(super) base: String,
}

impl FromRequestParts<App> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Call, Failure> {
        let Recognised { actor, account } = *parts
            .extensions
            .get::<Recognised>()
            .ok_or_else(|| Error::internal("an operation was not registered by its name"))?;
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::invalid("the path is not valid UTF-8"))?
            .0;
        let part = |name: &str| path.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let version = part("version").unwrap_or_default().parse()?;
        // What is not a GUID is no project of anybody.
        let project = part("project").map(|text| text.parse().map_err(|_| no_project())).transpose()?;
        Ok(Call {
            app: app.clone(),
            actor,
            account,
            version,
            query: Query::parse(parts.uri.query()),
            project,
            item: ["tag", "domain", "iteration", "name", "image"].into_iter().find_map(part),
            base: base_address(&parts.headers, app.public_address.as_deref(), app.tls),
        })
    }
}

impl Call {
    /// The project in the path.
    pub(super) fn project(&self) -> Result<Id> {
        self.project.ok_or_else(no_project)
    }

    /// The answer in the version's shape.
    pub(super) fn answer(&self, value: Value, shape: Shape) -> axum::Json<Value> {
        axum::Json(project(value, shape, self.version))
    }

    /// Who is noted as the maker of something.
    pub(super) fn maker(&self) -> Option<Id> {
        self.actor.person()
    }
}

/// The project, if the actor may do this with it. What they may not see does not exist.
pub(super) fn find_project(
    tx: &mut Tx<'_>,
    actor: &Actor,
    id: Id,
    permission: Permission,
) -> Result<Node<ProjectDoc>> {
    let node = tx.get::<Project>(id)?.ok_or_else(no_project)?;
    authorise(tx, actor, id, permission).map_err(|error| match error.kind {
        habeas_core::ErrorKind::NotFound => no_project(),
        _ => error,
    })?;
    Ok(node)
}

/// Refuses a prediction key on the training API, in the gateway's words.
pub(super) fn require_training(actor: &Actor) -> Result<()> {
    match actor {
        Actor::Key { key: KeyUse::Prediction, .. } => {
            Err(Error::unauthenticated("a prediction key on the training API"))
        }
        _ => Ok(()),
    }
}
