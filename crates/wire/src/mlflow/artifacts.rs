//! Artifacts: files of runs and logged models, at the addresses that their `artifact_uri` names:
//! `EXPERIMENT/RUN/artifacts/PATH` and `EXPERIMENT/models/MODEL/artifacts/PATH`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Artifact, ArtifactDoc};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::answers;
use super::call::Call;
use super::errors::{Failure, Result};
use super::logged_models;
use super::workspace::{find_active_run, find_run, shortened};
use crate::artifact_files::{self, Expected, check_path, is_below};
use crate::runs::experiment_of;
use crate::{App, stream};

/// What an address names: the run or model, and the path below it (empty for its root).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    owner: Owner,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Run(String),
    Model(String),
}

fn no_artifact(path: &str) -> Error {
    Error::not_found(format!("No such artifact: '{}'", shortened(path)))
}

impl Address {
    fn parse(text: &str) -> CoreResult<Address> {
        let text = text.trim_end_matches('/');
        check_path(text)?;
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [_, "models", model, "artifacts", ref rest @ ..] => {
                Ok(Address { owner: Owner::Model(model.to_owned()), path: rest.join("/") })
            }
            [_, run, "artifacts", ref rest @ ..] => {
                Ok(Address { owner: Owner::Run(run.to_owned()), path: rest.join("/") })
            }
            _ => Err(Error::invalid("Invalid path").hint(
                "artifacts belong to a run or a logged model: EXPERIMENT/RUN/artifacts/PATH or EXPERIMENT/models/MODEL/artifacts/PATH",
            )),
        }
    }

    /// The run or model, if the actor may do this with it.
    fn owner(&self, tx: &mut Tx<'_>, actor: &Actor, workspace: Id, permission: Permission) -> CoreResult<Id> {
        match (&self.owner, permission) {
            (Owner::Run(run), Permission::Read) => {
                find_run(tx, actor, workspace, run, permission).map(|node| node.id)
            }
            (Owner::Run(run), _) => find_active_run(tx, actor, workspace, run).map(|node| node.id),
            (Owner::Model(model), _) => {
                logged_models::find(tx, actor, workspace, model, permission).map(|(node, _)| node.id)
            }
        }
    }
}

/// `uploadArtifact`: streamed; nothing is visible before it is whole.
pub(super) async fn upload(State(app): State<App>, mut request: Request) -> Result<Json<Value>> {
    let call = Call::of_parts(&app, &mut request).await?;
    let address = Address::parse(call.arguments.required("path")?)?;
    if address.path.is_empty() {
        return Err(Error::invalid("Invalid path").hint("name a file below the run's artifacts").into());
    }
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    let wanted = address.clone();
    let owner = move |tx: &mut Tx<'_>| wanted.owner(tx, &actor, workspace, Permission::Write);
    let media_type = artifact_files::media_type(&address.path);
    let body = request.into_body();
    let blob = artifact_files::receive(&app, owner.clone(), media_type, body, Expected::default()).await?;
    call.write(move |tx| {
        let owner = owner(tx)?;
        artifact_files::keep(tx, owner, &address.path, &blob, Some(person))
    })
    .await?;
    Ok(Json(json!({})))
}

/// `downloadArtifact`.
pub(super) async fn download(State(app): State<App>, mut request: Request) -> Result<Response> {
    let call = Call::of_parts(&app, &mut request).await?;
    let text = call.arguments.required("path")?.to_owned();
    let address = Address::parse(&text)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let blob = app
        .store()
        .read(move |tx| {
            let owner = address.owner(tx, &actor, workspace, Permission::Read)?;
            match tx.child_by_name::<Artifact>(owner, &address.path)? {
                Some(node) => Ok(node.doc.content),
                None if has_below(&all(tx, owner)?, &address.path) => Err(Error::invalid(format!(
                    "Artifact path refers to a directory, not a file: '{}'",
                    shortened(&text)
                ))),
                None => Err(no_artifact(&text)),
            }
        })
        .await?;
    let mut response = stream::blob(app.store(), &blob, request.headers());
    // A page that somebody stored must not run as one of ours.
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `deleteArtifact`: a file, or all below a directory.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.required("path")?.to_owned();
    let address = Address::parse(&text)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let removed = call
        .write(move |tx| {
            let owner = address.owner(tx, &actor, workspace, Permission::Write)?;
            let mut removed = Vec::new();
            for node in all(tx, owner)? {
                if node.doc.path == address.path || is_below(&node.doc.path, &address.path) {
                    removed.push(tx.remove(node.id)?);
                }
            }
            if removed.is_empty() { Err(no_artifact(&text)) } else { Ok(removed) }
        })
        .await?;
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    Ok(Json(json!({})))
}

/// `listArtifacts` of the artifact service: paths are relative to the directory asked for.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let Some(text) = call.arguments.text("path")?.filter(|text| !text.is_empty()) else {
        return Ok(Json(json!({})));
    };
    let address = Address::parse(text)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let files = call
        .app
        .store()
        .read(move |tx| {
            let owner = address.owner(tx, &actor, workspace, Permission::Read)?;
            Ok(entries(&all(tx, owner)?, &address.path, ""))
        })
        .await?;
    Ok(Json(answers::page("files", files, None)))
}

/// `listArtifacts` of the tracking service: paths are relative to the run's artifacts.
pub(super) async fn of_run(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.run_id()?.to_owned();
    let path = directory(call.arguments.text("path")?)?;
    let (actor, workspace, place) = (call.actor, call.workspace, call.files.clone());
    let (root, files) = call
        .app
        .store()
        .read(move |tx| {
            let node = find_run(tx, &actor, workspace, &text, Permission::Read)?;
            let experiment = place.place(workspace, experiment_of(tx, &node)?);
            let files = entries(&all(tx, node.id)?, &path, &path);
            Ok((answers::artifact_uri(workspace, &experiment, &answers::run_name(&node)), files))
        })
        .await?;
    Ok(Json(answers::compact(json!({ "root_uri": root, "files": files }))))
}

/// `listLoggedModelArtifacts`.
pub(super) async fn of_model(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.required("model_id")?.to_owned();
    let path = directory(call.arguments.text("artifact_directory_path")?)?;
    let (actor, workspace) = (call.actor, call.workspace);
    let (root, files) = call
        .app
        .store()
        .read(move |tx| {
            let (node, experiment) = logged_models::find(tx, &actor, workspace, &text, Permission::Read)?;
            let files = entries(&all(tx, node.id)?, &path, &path);
            let below = format!("models/{}", answers::model_name(node.id));
            Ok((answers::artifact_uri(workspace, &experiment, &below), files))
        })
        .await?;
    Ok(Json(answers::compact(json!({ "root_uri": root, "files": files }))))
}

fn directory(path: Option<&str>) -> CoreResult<String> {
    match path.map(|path| path.trim_end_matches('/')) {
        None | Some("") => Ok(String::new()),
        Some(path) => check_path(path).map(|()| path.to_owned()),
    }
}

fn all(tx: &mut Tx<'_>, owner: Id) -> CoreResult<Vec<Node<ArtifactDoc>>> {
    tx.children::<Artifact>(owner, Page::ALL)
}

fn has_below(nodes: &[Node<ArtifactDoc>], directory: &str) -> bool {
    nodes.iter().any(|node| is_below(&node.doc.path, directory))
}

/// What lies directly in a directory, in the order of names; paths get `prefix` before them.
fn entries(nodes: &[Node<ArtifactDoc>], directory: &str, prefix: &str) -> Vec<Value> {
    let mut found: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    for node in nodes {
        let rest = if directory.is_empty() {
            Some(node.doc.path.as_str())
        } else {
            node.doc.path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'))
        };
        match rest.map(|rest| rest.split_once('/')) {
            Some(Some((folder, _))) => {
                found.insert(folder, None);
            }
            Some(None) => {
                found.insert(rest.unwrap_or_default(), Some(node.doc.content.size));
            }
            None => {}
        }
    }
    found
        .into_iter()
        .map(|(name, size)| {
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            match size {
                Some(size) => json!({ "path": path, "is_dir": false, "file_size": size }),
                None => json!({ "path": path, "is_dir": true }),
            }
        })
        .collect()
}

/// Uploads in parts: clients fall back on one when they are told this, and ask only when the server says that it can.
pub(super) async fn multipart() -> Failure {
    Failure(Error::not_implemented("Multipart upload is not supported for the current artifact repository"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let read = |text: &str| Address::parse(text).unwrap();
        assert_eq!(
            read("0/00ff/artifacts/model/MLmodel"),
            Address { owner: Owner::Run("00ff".into()), path: "model/MLmodel".into() }
        );
        assert_eq!(
            read("0/models/m-1/artifacts/"),
            Address { owner: Owner::Model("m-1".into()), path: String::new() }
        );
        for bad in ["0/1/files/a", "a", "0/1/artifacts/../../2/artifacts/x", "0/1/artifacts/%2e%2e/x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
