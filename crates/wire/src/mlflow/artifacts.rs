//! Artifacts: files of runs and logged models, at the addresses that their `artifact_uri` names:
//! `EXPERIMENT/RUN/artifacts/PATH` and `EXPERIMENT/models/MODEL/artifacts/PATH`. Those of a registered version, wherever they stand, are read at
//! `registered/versions/VERSION/artifacts/PATH`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Artifact, ArtifactDoc};
use habeas_core::{BlobRef, Error, Id, Result as CoreResult};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::call::Call;
use super::errors::{Failure, Result};
use super::workspace::{find_active_run, find_run, parse, shortened};
use super::{answers, logged_models, model_versions, registered_models};
use crate::artifact_files::{self, Expected, below, check_path, is_below};
use crate::runs::experiment_of;
use crate::{App, stream};

/// What an address names: the run, model or version, and the path below it (empty for its root).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    owner: Owner,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Run(String),
    Model(String),
    /// A version of a registered model, by its identifier.
    Version(String),
    /// The same by name and number.
    Named(String, String),
}

/// Whether an experiment's files can stand at this location: below one part of a path of this protocol's.
pub(super) fn is_location(text: &str) -> bool {
    text.strip_prefix("mlflow-artifacts:/").is_some_and(|rest| {
        let part = rest.trim_end_matches('/');
        // In a URL these would end the path, or change it.
        check_path(part).is_ok() && !part.contains(['/', '?', '%'])
    })
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
            [_, "versions", version, "artifacts", ref rest @ ..] if parse(version).is_some() => {
                Ok(Address { owner: Owner::Version(version.to_owned()), path: rest.join("/") })
            }
            [_, run, "artifacts", ref rest @ ..] => {
                Ok(Address { owner: Owner::Run(run.to_owned()), path: rest.join("/") })
            }
            _ => Err(Error::invalid("Invalid path").hint(
                "artifacts belong to a run or a logged model: EXPERIMENT/RUN/artifacts/PATH or EXPERIMENT/models/MODEL/artifacts/PATH",
            )),
        }
    }

    /// A file below what is meant.
    fn of_file(owner: Owner, path: &str) -> CoreResult<Address> {
        check_path(path)?;
        Ok(Address { owner, path: path.to_owned() })
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
            (Owner::Version(_) | Owner::Named(..), _) => Err(Error::invalid("Invalid path")
                .hint("the files of a registered version are only read here: register another version")),
        }
    }

    /// The files of what is meant, by their paths below it, if the actor may read them.
    fn files(&self, tx: &mut Tx<'_>, actor: &Actor, workspace: Id) -> CoreResult<Vec<ArtifactDoc>> {
        let version = match &self.owner {
            Owner::Run(_) | Owner::Model(_) => {
                let owner = self.owner(tx, actor, workspace, Permission::Read)?;
                return all(tx, owner);
            }
            Owner::Version(version) => model_versions::find_by_id(tx, actor, workspace, version)?,
            Owner::Named(name, version) => {
                let model = registered_models::find(tx, actor, workspace, name, Permission::Read)?;
                model_versions::find_version(tx, &model, version)?
            }
        };
        model_versions::files(tx, workspace, &version)
    }

    /// The content of the file that is meant, as the client said it, if the actor may read it.
    fn content(&self, tx: &mut Tx<'_>, actor: &Actor, workspace: Id, said: &str) -> CoreResult<BlobRef> {
        if let Owner::Run(_) | Owner::Model(_) = &self.owner {
            let owner = self.owner(tx, actor, workspace, Permission::Read)?;
            if let Some(node) = tx.child_by_name::<Artifact>(owner, &self.path)? {
                return Ok(node.doc.content);
            }
        }
        let files = self.files(tx, actor, workspace)?;
        match files.iter().find(|file| file.path == self.path) {
            Some(file) => Ok(file.content.clone()),
            None if files.iter().any(|file| is_below(&file.path, &self.path)) => Err(Error::invalid(
                format!("Artifact path refers to a directory, not a file: '{}'", shortened(said)),
            )),
            None => Err(no_artifact(said)),
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
pub(super) async fn download(State(app): State<App>, request: Request) -> Result<Response> {
    send(&app, request, |arguments| Address::parse(arguments.required("path")?)).await
}

/// `/get-artifact`, where upstream's pages fetch a file of a run.
pub(super) async fn download_of_run(State(app): State<App>, request: Request) -> Result<Response> {
    send(&app, request, |arguments| {
        Address::of_file(Owner::Run(arguments.run_id()?.to_owned()), arguments.required("path")?)
    })
    .await
}

/// `/model-versions/get-artifact`, where upstream's pages fetch a file of a registered version.
pub(super) async fn download_of_version(State(app): State<App>, request: Request) -> Result<Response> {
    send(&app, request, |arguments| {
        let (name, version) = (arguments.required("name")?, arguments.required("version")?);
        Address::of_file(Owner::Named(name.to_owned(), version.to_owned()), arguments.required("path")?)
    })
    .await
}

/// `logged-models/MODEL/artifacts/files`, where upstream's pages fetch a file of a logged model.
pub(super) async fn download_of_model(State(app): State<App>, request: Request) -> Result<Response> {
    send(&app, request, |arguments| {
        let model = arguments.required("model_id")?.to_owned();
        Address::of_file(Owner::Model(model), arguments.required("artifact_file_path")?)
    })
    .await
}

/// Sends the file that the arguments of a request name.
async fn send(
    app: &App,
    mut request: Request,
    read: fn(&Arguments) -> CoreResult<Address>,
) -> Result<Response> {
    let call = Call::of_parts(app, &mut request).await?;
    let address = read(&call.arguments)?;
    let said = call.arguments.text("path")?.unwrap_or(&address.path).to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let blob = app.store().read(move |tx| address.content(tx, &actor, workspace, &said)).await?;
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
            for node in below(tx, owner, &address.path)? {
                removed.push(tx.remove(node.id)?);
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
        .read(move |tx| Ok(entries(&address.files(tx, &actor, workspace)?, &address.path, "")))
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
    let (actor, workspace, place) = (call.actor, call.workspace, call.files.clone());
    let (root, files) = call
        .app
        .store()
        .read(move |tx| {
            let (node, experiment) = logged_models::find(tx, &actor, workspace, &text, Permission::Read)?;
            let files = entries(&all(tx, node.id)?, &path, &path);
            Ok((place.of_model(workspace, &experiment, &answers::model_name(node.id)), files))
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

fn all(tx: &mut Tx<'_>, owner: Id) -> CoreResult<Vec<ArtifactDoc>> {
    Ok(tx.children::<Artifact>(owner, Page::ALL)?.into_iter().map(|node| node.doc).collect())
}

/// Where MLflow's client reads the files of a registered version that have no other address of this protocol's.
pub(super) fn uri_of_version(version: Id) -> String {
    format!("mlflow-artifacts:/registered/versions/{}/artifacts", version.to_hex())
}

/// What lies directly in a directory, in the order of names; paths get `prefix` before them.
fn entries(files: &[ArtifactDoc], directory: &str, prefix: &str) -> Vec<Value> {
    let mut found: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    for file in files {
        let rest = if directory.is_empty() {
            Some(file.path.as_str())
        } else {
            file.path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'))
        };
        match rest.map(|rest| rest.split_once('/')) {
            Some(Some((folder, _))) => {
                found.insert(folder, None);
            }
            Some(None) => {
                found.insert(rest.unwrap_or_default(), Some(file.content.size));
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
    fn locations() {
        for good in [
            "mlflow-artifacts:/team",
            "mlflow-artifacts:/team/",
            "mlflow-artifacts:/a b",
            "mlflow-artifacts:/models",
        ] {
            assert!(is_location(good), "{good}");
        }
        for bad in [
            "",
            "team",
            "mlflow-artifacts:/",
            "mlflow-artifacts:/team/e",
            "mlflow-artifacts://host/team",
            "mlflow-artifacts:/..",
            "mlflow-artifacts:/%2e%2e",
            "mlflow-artifacts:/a?b",
            "s3://bucket/team",
            "file:///home/ada/mlruns",
            "/home/ada/mlruns",
        ] {
            assert!(!is_location(bad), "{bad}");
        }
    }

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
        let version = "0".repeat(32);
        assert_eq!(
            read(&format!("registered/versions/{version}/artifacts/a/b")),
            Address { owner: Owner::Version(version), path: "a/b".into() }
        );
        for bad in ["0/1/files/a", "a", "0/1/artifacts/../../2/artifacts/x", "0/1/artifacts/%2e%2e/x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
