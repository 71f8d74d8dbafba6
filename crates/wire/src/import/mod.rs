//! `/api/import/v1`: brings whole projects of another Custom Vision service, and workspaces of another Habeas, into an account, with their ids.
//!
//! For the operator, and for whoever owns the account. Every PUT is idempotent by id: what is there already stays as it is, and an id that
//! something else has is a conflict. A PUT is committed whole or not at all. Bodies and answers are those of [`habeas_core::import`]; errors
//! are problem details, as in the privacy API.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /persons/{person}/accounts` | the person's accounts, oldest first |
//! | `PUT /accounts/{account}/projects/{project}?unfinished=` | a project |
//! | `PUT /persons/{person}/workspaces/{workspace}` | a workspace, or an account or cluster of Azure ML, unfinished |
//! | `POST /workspaces/{workspace}/taken` | which of some ids cannot be brought into it |
//! | `PUT /workspaces/{workspace}/records/{record}` | what stands in it: the record on a line, after it the bytes of its files |
//! | `POST /workspaces/{workspace}/records/{record}/metrics` | points of its metrics |
//! | `POST /workspaces/{workspace}/origins` | what its resources were made from, once all of them are there |
//! | `DELETE /workspaces/{workspace}` | removes an unfinished workspace |
//! | `POST /accounts/{account}/finish` | the unfinished projects and workspaces of an import are whole: all of them from one moment on |
//! | `DELETE /projects/{project}` | removes an unfinished project |
//! | `GET /projects/{project}` | what is there of it, with hashes |
//! | `PUT /projects/{project}/tags/{tag}` | a tag |
//! | `PUT /projects/{project}/images/{image}` | an image with tags, regions and metadata |
//! | `PUT /projects/{project}/iterations/{iteration}` | an iteration with snapshot and measured performance |
//! | `PUT /projects/{project}/iterations/{iteration}/exports/{platform}?id=&flavor=&sha256=&digest=&created=` | the archive of an exported model, raw |
//! | `PUT /projects/{project}/predictions/{prediction}` | a stored prediction with its image |
//! | `PUT /projects/{project}/suggestions/{suggestion}` | what a model suggested for an image |
//!
//! Records are what archives carry as it is stored ([`habeas_core::DataKind::carry`]). An unfinished workspace is found by no client, and goes by
//! itself like a project. When it is finished, a workspace of the same name in which there is nothing yet makes way for it.
//!
//! A project that was brought with `unfinished=true` is `Importing` on the wire, cannot be trained, and goes by itself 24 hours after it was
//! last brought, unless it is finished: an import that dies leaves nothing half.
//!
//! The model of an iteration that a Habeas trained is computed again once its project is whole; until then its weights are `awaited` in the
//! project's contents.
//!
//! PUT answers 201 when it made something, 200 when it was there, and 410 when it was removed here before: nothing erased comes back.

mod images;
mod iterations;
mod projects;
mod records;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{delete, get, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Project, ProjectDoc, TagType};
use habeas_core::{Error, Id, Kind, Node, Result, crypto};
use habeas_models::is_being_recorded;
use habeas_store::Tx;

use crate::App;
use crate::privacy::Problem;

/// Where the API lies.
pub const BASE: &str = "/api/import/v1";
/// The largest document: the snapshot of an iteration with a hundred thousand images.
const LARGEST_DOCUMENT: usize = 128 * 1024 * 1024;

/// The routes.
pub fn router() -> Router<App> {
    let routes = Router::new()
        .route("/persons/{person}/accounts", get(projects::accounts))
        .route("/accounts/{account}/projects/{project}", put(projects::put))
        .route("/accounts/{account}/finish", post(projects::finish))
        .route("/persons/{person}/workspaces/{workspace}", put(records::put_root))
        .route("/workspaces/{workspace}", delete(records::discard))
        .route("/workspaces/{workspace}/taken", post(records::taken_ids))
        .route("/workspaces/{workspace}/records/{record}", put(records::put))
        .route("/workspaces/{workspace}/records/{record}/metrics", post(records::put_metrics))
        .route("/workspaces/{workspace}/origins", post(records::put_origins))
        .route("/projects/{project}", get(projects::contents).delete(projects::discard))
        .route("/projects/{project}/tags/{tag}", put(projects::put_tag))
        .route("/projects/{project}/images/{image}", put(images::put))
        .route("/projects/{project}/predictions/{prediction}", put(images::put_prediction))
        .route("/projects/{project}/suggestions/{suggestion}", put(images::put_suggestion))
        .route("/projects/{project}/iterations/{iteration}", put(iterations::put))
        .route("/projects/{project}/iterations/{iteration}/exports/{platform}", put(iterations::put_export))
        .layer(DefaultBodyLimit::max(LARGEST_DOCUMENT));
    Router::new().nest(BASE, routes)
}

/// A JSON body whose faults are told as problem details, without quoting it.
pub(crate) struct Document<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> std::result::Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem(Error::too_large("the body is too large or was cut off")))?;
        serde_json::from_slice(&bytes).map(Document).map_err(|error| {
            Problem(
                Error::invalid(format!(
                    "the body is not the JSON that this operation needs (line {}, column {})",
                    error.line(),
                    error.column()
                ))
                .hint("see docs/RESCUE.md"),
            )
        })
    }
}

/// What the path names. What is no GUID names nothing.
pub(crate) struct Ids<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> std::result::Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state)
            .await
            .map(|path| Ids(path.0))
            .map_err(|_| Problem(Error::not_found("there is no such resource")))
    }
}

/// What a PUT answers.
fn made(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}

/// The project, for those who own it.
fn owned(tx: &mut Tx<'_>, actor: &Actor, project: Id) -> Result<Node<ProjectDoc>> {
    let node = tx.get::<Project>(project)?.ok_or_else(no_project)?;
    authorise(tx, actor, project, Permission::Own)?;
    // Not while the holder's data is restricted.
    authorise(tx, actor, project, Permission::Write)?;
    Ok(node)
}

fn no_project() -> Error {
    Error::not_found("there is no such project")
}

/// Whether an item of one of `kinds` with this id is in the project already. A conflict when the id is something else's.
fn is_there(tx: &mut Tx<'_>, project: Id, id: Id, kinds: &[Kind]) -> Result<bool> {
    match tx.position(id)? {
        None => Ok(false),
        Some((kind, Some(parent), _)) if parent == project && kinds.contains(&kind) => Ok(true),
        Some(_) => Err(taken(id)),
    }
}

fn taken(id: Id) -> Error {
    Error::conflict(format!("the id {id} is taken on this server by something else"))
        .hint("it was brought into another account or project before; erase it there first, or import there")
}

/// Refuses to bring back what was deleted or erased from the project here. What is removed from now on, [`refuse_recorded`] sees.
async fn refuse_removed(app: &App, project: Id, id: Id) -> Result<()> {
    if app.models().removed_from(project).await?.contains(&id) { Err(removed(id)) } else { Ok(()) }
}

/// The same for a removal that the ledger may not have yet.
fn refuse_recorded(tx: &mut Tx<'_>, id: Id) -> Result<()> {
    if is_being_recorded(tx, id)? { Err(removed(id)) } else { Ok(()) }
}

fn removed(id: Id) -> Error {
    Error::gone(format!("the item {id} was removed on this server: it is not brought back under its id"))
}

/// The ids in path and body of a document are the same.
fn same(path: Id, body: Id) -> Result<()> {
    if path == body { Ok(()) } else { Err(Error::invalid("the id in the body is not the one in the path")) }
}

fn tag_type(name: Option<&str>) -> Result<TagType> {
    [TagType::Regular, TagType::Negative, TagType::GeneralProduct]
        .into_iter()
        .find(|known| known.name() == name.unwrap_or("Regular"))
        .ok_or_else(|| Error::invalid("a tag's type is `Regular`, `Negative` or `GeneralProduct`"))
}

/// The bytes of an upload, once their digest was found right.
fn contents(base64: &str, sha256: &str, most: u64) -> Result<Vec<u8>> {
    let bytes = STANDARD.decode(base64).map_err(|_| Error::invalid("`contents` is not base64"))?;
    if bytes.len() as u64 > most {
        return Err(Error::too_large(format!("an image is larger than {most} bytes"))
            .hint("raise `image_bytes` in the settings"));
    }
    if hex::encode(crypto::sha256(&bytes)) != sha256.to_lowercase() {
        return Err(Error::invalid(
            "`contents` does not have the digest in `sha256`: it was damaged on its way",
        ));
    }
    Ok(bytes)
}
