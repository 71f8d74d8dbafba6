//! Artifacts: described, listed, sent, fetched and deleted, by origin, container and path.

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Artifact, ArtifactDoc};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Kind, Node, Result as CoreResult};
use habeas_rights::Selection;
use habeas_store::{Removed, Tx};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{Call, parameters};
use super::datastores;
use super::places::Place;
use crate::artifact_files::{self, Expected, check_path, media_type};
use crate::data_services::{Result, envelope};
use crate::deletion::{self, refuse_dry_run};
use crate::file_address::Access;
use crate::{App, stream};

/// Files in one page of a list.
const PAGE: usize = 1_000;
/// Files that one request may announce.
const MOST_PATHS: usize = 10_000;

/// The place that the path of a request names: a run of run history, or origin and container.
pub(super) fn place(call: &Call) -> CoreResult<Place> {
    match call.part("run") {
        "" => Place::new(call.part("origin"), call.part("container")),
        run => Place::of_run(run),
    }
}

/// The path within it, in the address or as a parameter of the query; none named is the empty one.
fn path(call: &Call) -> String {
    plain(match call.part("path") {
        // As `azureml-mlflow` and, by the name of 2018, `artifacturi` have it.
        "" => call.query("path").or_else(|| call.query("name")).unwrap_or_default(),
        path => path,
    })
}

/// A path without the parts that lead nowhere. `azureml-core` names files by the paths that a script has for them (`/tmp/a.png`, `./a.png`),
/// joins folders by hand (`folder//a.png`), and puts slashes after what it lists.
fn plain(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// The path of one file.
fn file_path(call: &Call) -> CoreResult<String> {
    let path = path(call);
    if path.is_empty() {
        return Err(Error::invalid("no file is named").hint("name its path in the address, or as `path`"));
    }
    check_path(&path)?;
    Ok(path)
}

/// Where a list goes on: after a path.
pub(super) fn after(call: &Call) -> CoreResult<Option<String>> {
    let Some(token) = call.query("continuationtoken").filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let path = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    path.map(Some).ok_or_else(|| Error::invalid("`continuationToken` is not one of this list's"))
}

/// A page of a list that is in the order of `key`; with the token of the next page, if there is one.
pub(super) fn page<T>(
    mut items: Vec<T>,
    after: Option<&str>,
    key: impl Fn(&T) -> &str,
    show: impl Fn(&T) -> Value,
) -> Value {
    if let Some(after) = after {
        items.retain(|item| key(item) > after);
    }
    let more = items.len() > PAGE;
    items.truncate(PAGE);
    let token = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
    let mut page = json!({ "value": items.iter().map(&show).collect::<Vec<_>>() });
    if let Some(token) = token {
        page["continuationToken"] = json!(token);
    }
    page
}

fn stored_path(node: &Node<ArtifactDoc>) -> &str {
    &node.doc.path
}

/// The files at or below the path that is asked for, and what they stand under.
async fn found(call: &Call) -> CoreResult<(Place, Id, Vec<Node<ArtifactDoc>>)> {
    let (place, path, actor) = (place(call)?, path(call), call.actor);
    let wanted = place.clone();
    let (owner, nodes) = call
        .read(Permission::Read, move |tx, scope| {
            let owner = wanted.owner(tx, &actor, scope, Permission::Read)?;
            Ok((owner, wanted.below(tx, owner, &path)?))
        })
        .await?;
    Ok((place, owner, nodes))
}

/// One file, and what it stands under.
async fn one(call: &Call, path: &str) -> CoreResult<(Place, Id, Node<ArtifactDoc>)> {
    let (place, path, actor) = (place(call)?, path.to_owned(), call.actor);
    let wanted = place.clone();
    let (owner, node) = call
        .read(Permission::Read, move |tx, scope| {
            let owner = wanted.owner(tx, &actor, scope, Permission::Read)?;
            Ok((owner, wanted.find(tx, owner, &path)?))
        })
        .await?;
    Ok((place, owner, node))
}

/// `list_in_container` and `list_in_path`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let after = after(&call)?;
    let (place, _, nodes) = found(&call).await?;
    Ok(Json(page(nodes, after.as_deref(), stored_path, |node| place.show(node))))
}

/// `list_sas_by_prefix`.
pub(super) async fn contents(call: Call) -> Result<Json<Value>> {
    let after = after(&call)?;
    let signer = call.signer()?;
    let (place, owner, nodes) = found(&call).await?;
    Ok(Json(page(nodes, after.as_deref(), stored_path, |node| place.content_of(&signer, owner, node))))
}

/// `get`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (place, _, node) = one(&call, &file_path(&call)?).await?;
    Ok(Json(place.show(&node)))
}

/// `get_content_information`.
pub(super) async fn content(call: Call) -> Result<Json<Value>> {
    let signer = call.signer()?;
    let (place, owner, node) = one(&call, &file_path(&call)?).await?;
    Ok(Json(place.content_of(&signer, owner, &node)))
}

/// The address alone: `get_sas_uri`, and `artifacturi?name=PATH` of 2018.
pub(super) async fn address(call: Call) -> Result<Json<Value>> {
    let signer = call.signer()?;
    let (place, owner, node) = one(&call, &file_path(&call)?).await?;
    let content = place.content_of(&signer, owner, &node);
    Ok(Json(content["contentUri"].clone()))
}

/// `get_write_sas`: the address at which a file is sent.
pub(super) async fn write_address(call: Call) -> Result<Json<Value>> {
    let (place, path, actor) = (place(&call)?, file_path(&call)?, call.actor);
    let signer = call.signer()?;
    let content = call
        .read(Permission::Read, move |tx, scope| {
            let owner = place.owner(tx, &actor, scope, Permission::Write)?;
            Ok(place.content(&signer, owner, &path, Access::Write))
        })
        .await?;
    Ok(Json(content))
}

/// What is said of a path that has a file: nothing is overwritten unasked.
pub(super) fn taken() -> Error {
    Error::conflict("Resource Conflict: this artifact already exists")
        .hint("delete it first, or choose another name")
}

#[derive(Deserialize)]
struct Announced {
    paths: Vec<AnnouncedPath>,
}

#[derive(Clone, Deserialize)]
struct AnnouncedPath {
    path: String,
}

/// `batch_create_empty_artifacts`: addresses at which files are sent. Nothing is visible before they are whole. A path that is taken is an
/// error of its own, as in Azure: nothing is overwritten unasked. The answer has the paths as they were sent, by which `azureml-core` finds
/// its own files again.
pub(super) async fn announce(call: Call) -> Result<Json<Value>> {
    let Announced { paths } = call.body()?;
    if paths.len() > MOST_PATHS {
        return Err(Error::invalid(format!("more than {MOST_PATHS} paths in one request"))
            .hint("announce them in several")
            .into());
    }
    if call.query("datastorename").is_some_and(|name| !name.is_empty() && name != datastores::OWN) {
        return Err(Error::invalid("files are kept in no datastore but this server's own")
            .hint(format!("leave `datastoreName` out, or send {}", datastores::OWN))
            .into());
    }
    let (place, actor, signer) = (place(&call)?, call.actor, call.signer()?);
    let answer = call
        .read(Permission::Read, move |tx, scope| {
            let owner = place.owner(tx, &actor, scope, Permission::Write)?;
            let now = tx.now().rfc3339();
            let [mut artifacts, mut contents, mut errors] = [Map::new(), Map::new(), Map::new()];
            for AnnouncedPath { path } in &paths {
                let name = plain(path);
                let taken = check_path(&name).and_then(|()| {
                    match tx.child_by_name::<Artifact>(owner, &place.stored(&name))? {
                        Some(_) => Err(taken()),
                        None => Ok(()),
                    }
                });
                match taken {
                    Ok(()) => {
                        let mut artifact = place.announce(&name, &now);
                        let mut content = place.content(&signer, owner, &name, Access::Write);
                        artifact["path"] = json!(path);
                        content["path"] = json!(path);
                        artifacts.insert(path.clone(), artifact);
                        contents.insert(path.clone(), content);
                    }
                    Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict) => {
                        errors.insert(path.clone(), envelope(&error));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(json!({ "artifacts": artifacts, "artifactContentInformation": contents, "errors": errors }))
        })
        .await?;
    Ok(Json(answer))
}

/// `create`: an empty file, unless there is one already.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    #[derive(Deserialize)]
    struct Described {
        origin: String,
        container: String,
        path: String,
    }
    let described: Described = call.body()?;
    let place = Place::new(&described.origin, &described.container)?;
    let path = plain(&described.path);
    check_path(&path)?;
    let (actor, wanted, name) = (call.actor, place.clone(), path.clone());
    let there = call
        .read(Permission::Read, move |tx, scope| {
            let owner = wanted.owner(tx, &actor, scope, Permission::Write)?;
            tx.child_by_name::<Artifact>(owner, &wanted.stored(&name))
        })
        .await?;
    let node = match there {
        Some(node) => node,
        None => store(&call, &place, &path, Body::empty()).await?,
    };
    Ok(Json(place.show(&node)))
}

/// `upload`: the bytes in the request itself. With `append`, or an `index` other than 0, they follow what is there already: so
/// `azureml-core` sends logs piece by piece. A piece that has the `index` and the bytes of the last one is that one again, whose client did
/// not hear that it had arrived.
pub(super) async fn upload(State(app): State<App>, mut request: Request) -> Result<Json<Value>> {
    let call = Call::of_parts(&app, &mut request).await?;
    let (place, path) = (place(&call)?, file_path(&call)?);
    let body = request.into_body();
    let index = index(&call)?;
    let appends = call.flag("append") || index.is_some_and(|index| index != 0);
    let node = if appends {
        append(&call, &place, &path, body, index).await?
    } else {
        store(&call, &place, &path, body).await?
    };
    Ok(Json(place.show(&node)))
}

/// The number of a piece, if its client numbers them.
fn index(call: &Call) -> CoreResult<Option<u64>> {
    let text = call.query("index").filter(|text| !text.is_empty());
    let number = text.map(str::parse).transpose();
    number.map_err(|_| Error::invalid("`index` is not a whole number").hint("number the pieces from 0"))
}

async fn receive(call: &Call, place: &Place, path: &str, body: Body) -> CoreResult<BlobRef> {
    let owner = owner(call, place);
    artifact_files::receive(&call.app, owner, media_type(path), body, Expected::default()).await
}

/// What finds the owner for a change.
pub(super) fn owner(
    call: &Call,
    place: &Place,
) -> impl Fn(&mut Tx<'_>) -> CoreResult<Id> + Clone + Send + use<> {
    let (actor, scope, place) = (call.actor, call.scope.clone(), place.clone());
    move |tx| {
        let scope = scope.find(tx, &actor, Permission::Read)?;
        place.owner(tx, &actor, scope, Permission::Write)
    }
}

async fn store(call: &Call, place: &Place, path: &str, body: Body) -> CoreResult<Node<ArtifactDoc>> {
    let blob = receive(call, place, path, body).await?;
    keep(call, place, path, (blob, None)).await
}

async fn append(
    call: &Call,
    place: &Place,
    path: &str,
    body: Body,
    index: Option<u64>,
) -> CoreResult<Node<ArtifactDoc>> {
    let piece = receive(call, place, path, body).await?;
    let (find, stored) = (owner(call, place), place.stored(path));
    let before = call
        .app
        .store()
        .read(move |tx| {
            let owner = find(tx)?;
            tx.child_by_name::<Artifact>(owner, &stored)
        })
        .await?;
    let Some(before) = before else { return keep(call, place, path, (piece, index)).await };
    if index.is_some()
        && before.doc.piece == index
        && artifact_files::ends_with(&call.app, &before.doc.content, &piece).await?
    {
        artifact_files::give_up(&call.app, &[piece.id]).await;
        return Ok(before);
    }
    let find = owner(call, place);
    let appended = artifact_files::append(&call.app, find, before, (&piece, index), call.person).await;
    artifact_files::give_up(&call.app, &[piece.id]).await;
    appended
}

/// Makes a blob, whose piece may have a number, the content of a file.
async fn keep(
    call: &Call,
    place: &Place,
    path: &str,
    (blob, piece): (BlobRef, Option<u64>),
) -> CoreResult<Node<ArtifactDoc>> {
    let (actor, person) = (call.actor, call.person);
    let (place, stored, id) = (place.clone(), place.stored(path), blob.id);
    let kept = call.write(Permission::Read, move |tx, scope| {
        let owner = place.owner(tx, &actor, scope, Permission::Write)?;
        if let Some(node) = tx.child_by_name::<Artifact>(owner, &stored)? {
            // Its bytes go.
            tx.require_removable(node.id)?;
        }
        artifact_files::keep_grown(tx, owner, &stored, (&blob, piece), Some(person))
    });
    artifact_files::or_give_up(&call.app, id, kept.await).await
}

/// `download`.
pub(super) async fn download(State(app): State<App>, mut request: Request) -> Result<Response> {
    let call = Call::of_parts(&app, &mut request).await?;
    let (_, _, node) = one(&call, &file_path(&call)?).await?;
    let mut response = stream::blob(app.store(), &node.doc.content, request.headers());
    // A page that somebody stored must not run as one of ours.
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `delete_meta_data`: the file with its bytes, for good, with or without `hardDelete`.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    call.refuse_dry_run()?;
    let path = file_path(&call)?;
    let (place, actor) = (place(&call)?, call.actor);
    let removed = call
        .write(Permission::Read, move |tx, scope| {
            let owner = place.owner(tx, &actor, scope, Permission::Write)?;
            match tx.child_by_name::<Artifact>(owner, &place.stored(&path))? {
                Some(node) => Ok(vec![tx.remove(node.id)?]),
                None => Ok(Vec::new()),
            }
        })
        .await?;
    Ok(finish(&call, &removed).await)
}

/// `delete_meta_data_in_container`: all files of a container. With `dryRun=true`, which is ours, only counts them.
pub(super) async fn delete_container(call: Call) -> Result<Response> {
    let (place, actor) = (place(&call)?, call.actor);
    let (find, wanted) = (owner(&call, &place), place.clone());
    let plan = deletion::plan_of_many(&call.app, call.query("dryrun"), move |tx| {
        let within = find(tx)?;
        let files = wanted.below(tx, within, "")?;
        let resources = files.into_iter().map(|node| node.id).collect();
        Ok(Selection { within, resources, also: Vec::new() })
    });
    if let Some(plan) = plan.await? {
        return Ok(plan);
    }
    let removed = call
        .write(Permission::Read, move |tx, scope| {
            let owner = place.owner(tx, &actor, scope, Permission::Write)?;
            let nodes = place.below(tx, owner, "")?;
            nodes.iter().map(|node| tx.remove(node.id)).collect::<CoreResult<Vec<_>>>()
        })
        .await?;
    Ok(finish(&call, &removed).await.into_response())
}

/// Deletes the bytes of what was removed; 200, or 204 when nothing was there.
pub(super) async fn finish(call: &Call, removed: &[Removed]) -> StatusCode {
    for removal in removed {
        call.app.store().finish(removal).await;
    }
    if removed.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK }
}

/// Files removed in one transaction.
const BATCH: usize = 500;

/// `delete_all_in_workspace`: the files of all its runs and models, and its own; snapshots keep theirs.
pub(super) async fn delete_workspace(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(workspace): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    refuse_dry_run(parameters(query.as_deref()).get("dryrun").map(String::as_str))?;
    let missing = || Error::not_found("there is no such workspace");
    let workspace: Id = workspace.parse().map_err(|_| missing())?;
    let files = app
        .store()
        .read(move |tx| {
            if !matches!(
                tx.position(workspace)?,
                Some((Kind::Workspace | Kind::ExperimentationWorkspace, ..))
            ) {
                return Err(missing());
            }
            authorise(tx, &actor, workspace, Permission::Manage)?;
            let mut files = Vec::new();
            for (id, parent) in tx.ids_below(workspace, Kind::Artifact)? {
                if !matches!(tx.position(parent)?, Some((Kind::Snapshot, ..))) {
                    files.push(id);
                }
            }
            Ok(files)
        })
        .await?;
    for batch in files.chunks(BATCH) {
        let batch = batch.to_vec();
        let removed = app
            .store()
            .write(move |tx| {
                authorise(tx, &actor, workspace, Permission::Manage)?;
                batch.iter().map(|id| tx.remove(*id)).collect::<CoreResult<Vec<_>>>()
            })
            .await?;
        for removal in &removed {
            app.store().finish(removal).await;
        }
    }
    Ok(if files.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK })
}
