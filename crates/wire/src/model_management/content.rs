//! Where the files of a model lie: what its address, in any of the forms that clients use, means here.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Artifact, ArtifactDoc, ModelAsset, ModelVersionDoc, Run};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Kind, Node, Result as CoreResult};
use habeas_store::{Page, Tx};

use super::call::Call;
use super::errors::Result;
use super::models;
use crate::runs::{self, DATA_CONTAINER, run_in};
use crate::stream;

/// What the addresses of assets begin with.
pub(super) const ASSET: &str = "aml://asset/";
/// The origin of artifacts that belong to runs.
const ORIGIN: &str = "ExperimentRun";

/// What an address says: a file or a folder below a run or a logged model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    owner: Owner,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// A run, by its name on the wire.
    Run(String),
    /// A logged model.
    Model(Id),
}

/// A file, or a folder, that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The run or logged model.
    pub(super) owner: Id,
    /// Below it, with `/` between its parts; empty for all of it.
    pub(super) path: String,
    /// What the run is called on the wire; none of a logged model.
    run: Option<String>,
}

impl Place {
    /// The address in MLflow's registry.
    fn source(&self) -> String {
        match &self.run {
            None => format!("models:/m-{}", self.owner.to_hex()),
            Some(run) if self.path.is_empty() => format!("runs:/{run}"),
            Some(run) => format!("runs:/{run}/{}", self.path),
        }
    }

    /// The address among artifacts, `ExperimentRun/dcid.RUN/PATH`, which files of runs have.
    pub(super) fn artifact(&self) -> Option<String> {
        self.run.as_ref().map(|run| format!("{ORIGIN}/{DATA_CONTAINER}{run}/{}", self.path))
    }
}

/// What an address means by its form alone, without looking whether it is there; none for addresses of other services.
fn parse(address: &str) -> Option<Address> {
    let (scheme, rest) = address.split_once(':')?;
    let rest = rest.trim_start_matches('/').trim_end_matches('/');
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = rest.split('/').collect();
    match scheme.to_lowercase().as_str() {
        "runs" => below(run(parts.first()?)?, parts.get(1..)?),
        "models" => below(model(parts.first()?)?, parts.get(1..)?),
        "mlflow-artifacts" => of_tracking(&parts),
        // An address of this server, by either of its artifact services.
        "http" | "https" => {
            let tracking = rest.split_once("/mlflow-artifacts/artifacts/");
            let tracked = tracking.and_then(|(_, below)| of_tracking(&below.split('/').collect::<Vec<_>>()));
            tracked.or_else(|| of_artifact(rest.split_once("/content/")?.1))
        }
        // `azureml://artifacts/ExperimentRun/...`, and the longer form with the workspace before it.
        "azureml" | "aml" => of_artifact(rest.get(rest.find(ORIGIN)?..)?),
        _ => None,
    }
}

/// `ORIGIN/CONTAINER/PATH`, as artifacts are named.
fn of_artifact(name: &str) -> Option<Address> {
    let mut parts = name.trim_matches('/').splitn(3, '/');
    if !parts.next()?.eq_ignore_ascii_case(ORIGIN) {
        return None;
    }
    let container = parts.next()?;
    let path: Vec<&str> = parts.next().map(|path| path.split('/').collect()).unwrap_or_default();
    below(run(container.strip_prefix(DATA_CONTAINER).unwrap_or(container))?, &path)
}

fn of_tracking(parts: &[&str]) -> Option<Address> {
    match parts {
        [_, "models", name, "artifacts", path @ ..] => below(model(name)?, path),
        [_, name, "artifacts", path @ ..] => below(run(name)?, path),
        _ => None,
    }
}

fn run(name: &str) -> Option<Owner> {
    (!name.is_empty()).then(|| Owner::Run(name.to_owned()))
}

fn model(name: &str) -> Option<Owner> {
    Some(Owner::Model(name.strip_prefix("m-")?.parse().ok()?))
}

fn below(owner: Owner, path: &[&str]) -> Option<Address> {
    let is_plain = path.iter().all(|part| !matches!(*part, "" | "." | ".."));
    is_plain.then(|| Address { owner, path: path.join("/") })
}

/// What the address of a model says: that of an asset leads to its one artifact.
fn read(tx: &mut Tx<'_>, at: Id, address: &str) -> CoreResult<Option<Address>> {
    let Some(asset) = address.strip_prefix(ASSET) else { return Ok(parse(address)) };
    let Ok(id) = asset.trim_matches('/').parse::<Id>() else { return Ok(None) };
    let asset = tx.get::<ModelAsset>(id)?.filter(|node| node.parent == Some(at));
    Ok(asset.and_then(|node| match node.doc.artifacts.as_slice() {
        [one] => of_artifact(one.id.as_deref().or(one.prefix.as_deref())?),
        _ => None,
    }))
}

/// The place that an address means within a workspace or project, if it is there.
fn locate(tx: &mut Tx<'_>, at: Id, address: Address) -> CoreResult<Option<Place>> {
    let Address { owner, path } = address;
    Ok(match owner {
        Owner::Run(name) => {
            run_in(tx, at, &name)?.map(|node| Place { owner: node.id, path, run: Some(name) })
        }
        Owner::Model(id) => is_in(tx, at, id)?.then_some(Place { owner: id, path, run: None }),
    })
}

/// Whether a logged model stands in a workspace or project.
fn is_in(tx: &mut Tx<'_>, at: Id, model: Id) -> CoreResult<bool> {
    let Some((Kind::LoggedModel, Some(experiment), _)) = tx.position(model)? else { return Ok(false) };
    Ok(matches!(tx.position(experiment)?, Some((_, Some(parent), _)) if parent == at))
}

/// The place that an address means anywhere, if the actor may read it: hosting accounts hold models of runs that stand elsewhere.
fn locate_elsewhere(tx: &mut Tx<'_>, actor: &Actor, address: Address) -> CoreResult<Option<Place>> {
    let Address { owner, path } = address;
    let (id, run) = match owner {
        Owner::Model(id) if matches!(tx.position(id)?, Some((Kind::LoggedModel, ..))) => (id, None),
        Owner::Run(name) => match runs::parse(&name).map(|id| tx.get::<Run>(id)).transpose()?.flatten() {
            Some(node) => (node.id, Some(name)),
            None => return Ok(None),
        },
        Owner::Model(_) => return Ok(None),
    };
    match authorise(tx, actor, id, Permission::Read) {
        Ok(()) => Ok(Some(Place { owner: id, path, run })),
        // What one may not read does not exist: the address stays a text.
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the address of a model that is being registered means, if that is here and the actor may read it.
pub(super) fn find(tx: &mut Tx<'_>, actor: &Actor, at: Id, url: &str) -> CoreResult<Option<Place>> {
    let Some(address) = read(tx, at, url)? else { return Ok(None) };
    match locate(tx, at, address.clone())? {
        Some(place) => Ok(Some(place)),
        None => locate_elsewhere(tx, actor, address),
    }
}

/// Where MLflow's registry is told that the files of a model are.
pub(super) fn source(url: &str, place: Option<&Place>) -> String {
    place.map_or_else(|| url.to_owned(), Place::source)
}

/// Where the files of a registered version lie, if they lie here: in the same workspace, or below what it was made from.
pub(super) fn of_version(
    tx: &mut Tx<'_>,
    at: Id,
    version: &Node<ModelVersionDoc>,
) -> CoreResult<Option<Place>> {
    let Some(address) = read(tx, at, &version.doc.source)? else { return Ok(None) };
    if let Some(place) = locate(tx, at, address.clone())? {
        return Ok(Some(place));
    }
    let Address { owner, path } = address;
    let (id, run) = match owner {
        Owner::Model(id) => (Some(id), None),
        Owner::Run(name) => (runs::parse(&name), Some(name)),
    };
    let from = tx.targets(version.id, Relation::MadeFrom)?;
    let linked = id.filter(|id| from.iter().any(|(target, _)| target == id));
    Ok(linked.map(|owner| Place { owner, path, run }))
}

/// The files at a place, in the order of their paths.
pub(super) fn files(tx: &mut Tx<'_>, place: &Place) -> CoreResult<Vec<ArtifactDoc>> {
    if let Some(file) = tx.child_by_name::<Artifact>(place.owner, &place.path)? {
        return Ok(vec![file.doc]);
    }
    let folder = if place.path.is_empty() { String::new() } else { format!("{}/", place.path) };
    let mut files: Vec<ArtifactDoc> = tx
        .children::<Artifact>(place.owner, Page::ALL)?
        .into_iter()
        .map(|node| node.doc)
        .filter(|doc| doc.path.starts_with(&folder))
        .collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// `GET models/{id}/content`, which is ours: the file that the model is; of several, the one that `path` names.
pub(super) async fn download(call: Call) -> Result<Response> {
    let (id, path) = (call.part("id").to_owned(), call.query("path").map(str::to_owned));
    let blob: BlobRef = call
        .read(move |tx, at| {
            let (_, version) = models::find(tx, at, &id)?;
            let elsewhere = || {
                Error::not_found("the model's content is not kept here")
                    .hint("its `url` says where it was registered from")
            };
            let place = of_version(tx, at, &version)?.ok_or_else(elsewhere)?;
            let found = files(tx, &place)?;
            let names = |doc: &ArtifactDoc| {
                path.as_deref().is_none_or(|path| {
                    doc.path
                        .strip_prefix(&place.path)
                        .is_some_and(|below| below.trim_start_matches('/') == path)
                })
            };
            let mut wanted = found.iter().filter(|doc| names(doc));
            match (wanted.next(), wanted.next()) {
                (Some(one), None) => Ok(one.content.clone()),
                (None, _) if found.is_empty() => Err(elsewhere()),
                (None, _) => Err(Error::not_found("the model has no file of this path")),
                (Some(_), Some(_)) => Err(Error::invalid(format!("the model has {} files", found.len()))
                    .hint("name one by `path`, relative to the model")),
            }
        })
        .await?;
    let mut response = stream::blob(call.app.store(), &blob, &call.headers);
    // A page that somebody stored must not run as one of ours.
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Connects a version with what it was made from.
pub(super) fn connect(
    tx: &mut Tx<'_>,
    at: Id,
    version: &Node<ModelVersionDoc>,
    place: Option<&Place>,
) -> CoreResult<()> {
    let mut from: Vec<Id> = place.map(|place| place.owner).into_iter().collect();
    if let Some(name) = &version.doc.run {
        from.extend(run_in(tx, at, name)?.map(|node| node.id));
    }
    for target in from {
        tx.connect(version.id, target, Relation::MadeFrom)?;
    }
    Ok(())
}

/// The version that an asset's identifier means when no asset has it, with the prefix of its artifacts: one that MLflow registered, whose
/// files stand here.
pub(super) fn version_as_asset(
    tx: &mut Tx<'_>,
    at: Id,
    id: Id,
) -> CoreResult<Option<(Node<ModelVersionDoc>, String)>> {
    let Some((_, version)) = models::by_id(tx, at, id)? else { return Ok(None) };
    let place = of_version(tx, at, &version)?;
    Ok(place.and_then(|place| place.artifact()).map(|prefix| (version, prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_client_lead_to_the_same_place() {
        let run = "0190b3a45c6d7e8f90123456789abcde";
        let expected = Some(Address { owner: Owner::Run(run.into()), path: "outputs/m.onnx".into() });
        for address in [
            format!("runs:/{run}/outputs/m.onnx"),
            format!("mlflow-artifacts:/0/{run}/artifacts/outputs/m.onnx"),
            format!(
                "https://habeas.example/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/outputs/m.onnx"
            ),
            format!(
                "https://habeas.example/artifact/v1.0/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/artifacts/content/ExperimentRun/dcid.{run}/outputs/m.onnx"
            ),
            format!("azureml://artifacts/ExperimentRun/dcid.{run}/outputs/m.onnx"),
        ] {
            assert_eq!(parse(&address), expected, "{address}");
        }
        assert_eq!(of_artifact(&format!("ExperimentRun/dcid.{run}/outputs/m.onnx")), expected);
        let owner = Owner::Model(run.parse().unwrap());
        let logged = Some(Address { owner, path: String::new() });
        assert_eq!(parse(&format!("models:/m-{run}")), logged);
        assert_eq!(parse(&format!("mlflow-artifacts:/0/models/m-{run}/artifacts")), logged);
        for foreign in [
            "",
            "x",
            "runs:/",
            "s3://bucket/model",
            "https://account.blob.core.windows.net/models/m?sig=1",
            "models:/trees/1",
            "azureml://datastores/d/paths/p",
            "runs:/run/../x",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
