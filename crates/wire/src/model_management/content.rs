//! Where the files of a model lie: what its address, in any of the forms that clients use, means here.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{
    Artifact, ArtifactDoc, AssetArtifact, LoggedModel, ModelAsset, ModelVersion, ModelVersionDoc, Run,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Kind, Node, Result as CoreResult};
use habeas_store::{Page, Tx};

use super::call::Call;
use super::errors::Result;
use super::models;
use crate::stream;

/// What the addresses of assets begin with.
pub(super) const ASSET: &str = "aml://asset/";
/// What the container of a run's artifacts is called: this and the run's identifier.
const CONTAINER: &str = "dcid.";
/// The origin of artifacts that belong to runs.
const ORIGIN: &str = "ExperimentRun";

/// A file, or a folder, below a run or a logged model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) owner: Id,
    pub(super) path: String,
}

impl Place {
    /// The address in MLflow's registry: `runs:/RUN/PATH`, or `models:/m-MODEL` (whose client expects no path).
    pub(super) fn source(&self, kind: Kind) -> String {
        match kind {
            Kind::LoggedModel => format!("models:/m-{}", self.owner.to_hex()),
            _ if self.path.is_empty() => format!("runs:/{}", self.owner.to_hex()),
            _ => format!("runs:/{}/{}", self.owner.to_hex(), self.path),
        }
    }

    /// The address among artifacts, `ExperimentRun/dcid.RUN/PATH`.
    pub(super) fn artifact(&self) -> String {
        format!("{ORIGIN}/{CONTAINER}{}/{}", self.owner, self.path)
    }
}

/// What an address means by its form alone, without looking whether it is there; none for addresses of other services.
pub(super) fn parse(address: &str) -> Option<Place> {
    let (scheme, rest) = address.split_once(':')?;
    let rest = rest.trim_start_matches('/').trim_end_matches('/');
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = rest.split('/').collect();
    match scheme.to_lowercase().as_str() {
        "runs" => below(parts.first()?, parts.get(1..)?),
        "models" => below(parts.first()?.strip_prefix("m-")?, parts.get(1..)?),
        "mlflow-artifacts" => of_tracking(&parts),
        // An address of this server, by either of its artifact services.
        "http" | "https" => {
            let tracking = rest.split_once("/mlflow-artifacts/artifacts/");
            let of_tracking =
                tracking.and_then(|(_, below)| of_tracking(&below.split('/').collect::<Vec<_>>()));
            of_tracking.or_else(|| of_artifact(rest.split_once("/content/")?.1))
        }
        // The form of azureml-core's datastores and of Azure ML today: `azureml://artifacts/ExperimentRun/...`.
        "azureml" | "aml" => of_artifact(&rest[rest.find(ORIGIN)?..]),
        _ => None,
    }
}

/// `ORIGIN/CONTAINER/PATH`, as artifacts are named.
pub(super) fn of_artifact(name: &str) -> Option<Place> {
    let mut parts = name.trim_matches('/').splitn(3, '/');
    if !parts.next()?.eq_ignore_ascii_case(ORIGIN) {
        return None;
    }
    let container = parts.next()?;
    let path: Vec<&str> = parts.next().map(|path| path.split('/').collect()).unwrap_or_default();
    below(container.strip_prefix(CONTAINER).unwrap_or(container), &path)
}

fn of_tracking(parts: &[&str]) -> Option<Place> {
    match parts {
        [_, "models", model, "artifacts", path @ ..] => below(model.strip_prefix("m-")?, path),
        [_, run, "artifacts", path @ ..] => below(run, path),
        _ => None,
    }
}

fn below(owner: &str, path: &[&str]) -> Option<Place> {
    let is_plain = path.iter().all(|part| !matches!(*part, "" | "." | ".."));
    Some(Place { owner: owner.parse().ok()?, path: path.join("/") }).filter(|_| is_plain || path.is_empty())
}

/// The place that an artifact of an asset names; none when it is not here, or the asset has several.
pub(super) fn of_asset(artifacts: &[AssetArtifact]) -> Option<Place> {
    match artifacts {
        [one] => of_artifact(one.id.as_deref().or(one.prefix.as_deref())?),
        _ => None,
    }
}

/// What the address of a model that is being registered means, if that is here and the actor may read it.
pub(super) fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    at: Id,
    address: &str,
) -> CoreResult<Option<(Place, Kind)>> {
    let place = match address.strip_prefix(ASSET) {
        Some(asset) => {
            let asset: Option<Id> = asset.trim_matches('/').parse().ok();
            let asset = match asset {
                Some(id) => tx.get::<ModelAsset>(id)?.filter(|node| node.parent == Some(at)),
                None => None,
            };
            let asset = asset.ok_or_else(|| {
                Error::invalid("`url` names an asset that is not there").hint("make the asset first")
            })?;
            of_asset(&asset.doc.artifacts)
        }
        None => parse(address),
    };
    let Some(place) = place else { return Ok(None) };
    let kind = match tx.position(place.owner)? {
        Some((kind @ (Kind::Run | Kind::LoggedModel), ..)) => kind,
        _ => return Ok(None),
    };
    // What one may not read does not exist: the address stays a text.
    match authorise(tx, actor, place.owner, Permission::Read) {
        Ok(()) => Ok(Some((place, kind))),
        Err(error) if error.kind == habeas_core::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the files of a registered version lie, if they lie here: below what it was made from, or in the same workspace.
pub(super) fn of_version(
    tx: &mut Tx<'_>,
    at: Id,
    version: &Node<ModelVersionDoc>,
) -> CoreResult<Option<Place>> {
    let place = match version.doc.source.strip_prefix(ASSET) {
        Some(asset) => match asset.trim_matches('/').parse::<Id>() {
            Ok(id) => tx
                .get::<ModelAsset>(id)?
                .filter(|node| node.parent == Some(at))
                .and_then(|node| of_asset(&node.doc.artifacts)),
            Err(_) => None,
        },
        None => parse(&version.doc.source),
    };
    let Some(place) = place else { return Ok(None) };
    let is_linked =
        tx.targets(version.id, Relation::MadeFrom)?.iter().any(|(target, _)| *target == place.owner);
    if is_linked || is_in(tx, at, place.owner)? { Ok(Some(place)) } else { Ok(None) }
}

/// Whether a run or logged model stands in a workspace or project.
fn is_in(tx: &mut Tx<'_>, at: Id, owner: Id) -> CoreResult<bool> {
    let Some((Kind::Run | Kind::LoggedModel, Some(experiment), _)) = tx.position(owner)? else {
        return Ok(false);
    };
    Ok(matches!(tx.position(experiment)?, Some((_, Some(parent), _)) if parent == at))
}

/// The run that a text of the wire names, if it stands here.
pub(super) fn run(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Option<Id>> {
    let Ok(id) = text.strip_prefix(CONTAINER).unwrap_or(text).parse::<Id>() else { return Ok(None) };
    let is_run = tx.get::<Run>(id)?.is_some();
    Ok(if is_run && is_in(tx, at, id)? { Some(id) } else { None })
}

/// The logged model that a text of MLflow's wire names, if it stands here.
pub(super) fn logged_model(tx: &mut Tx<'_>, at: Id, text: &str) -> CoreResult<Option<Id>> {
    let Some(Ok(id)) = text.strip_prefix("m-").map(str::parse::<Id>) else { return Ok(None) };
    let is_model = tx.get::<LoggedModel>(id)?.is_some();
    Ok(if is_model && is_in(tx, at, id)? { Some(id) } else { None })
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
                path.as_deref().is_none_or(|path| doc.path.strip_prefix(&place.path).is_some_and(|below| below.trim_start_matches('/') == path))
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
    if let Some(text) = &version.doc.run {
        from.extend(run(tx, at, text)?);
    }
    if let Some(text) = &version.doc.model_id {
        from.extend(logged_model(tx, at, text)?);
    }
    for target in from {
        tx.connect(version.id, target, Relation::MadeFrom)?;
    }
    Ok(())
}

/// The version that an asset's identifier means when no asset has it: one that MLflow registered, whose files stand here.
pub(super) fn version_as_asset(
    tx: &mut Tx<'_>,
    at: Id,
    id: Id,
) -> CoreResult<Option<(Node<ModelVersionDoc>, Place)>> {
    let Some(version) = tx.get::<ModelVersion>(id)? else { return Ok(None) };
    let model = version.parent.unwrap_or(Id::NIL);
    if !matches!(tx.position(model)?, Some((_, Some(parent), _)) if parent == at) {
        return Ok(None);
    }
    Ok(of_version(tx, at, &version)?.map(|place| (version, place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_client_lead_to_the_same_place() {
        let run = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
        let hex = "0190b3a45c6d7e8f90123456789abcde";
        let expected = Some(Place { owner: run.parse().unwrap(), path: "outputs/m.onnx".into() });
        for address in [
            format!("runs:/{hex}/outputs/m.onnx"),
            format!("mlflow-artifacts:/0/{hex}/artifacts/outputs/m.onnx"),
            format!("https://habeas.example/api/2.0/mlflow-artifacts/artifacts/0/{hex}/artifacts/outputs/m.onnx"),
            format!("https://habeas.example/artifact/v1.0/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/artifacts/content/ExperimentRun/dcid.{run}/outputs/m.onnx"),
            format!("azureml://artifacts/ExperimentRun/dcid.{run}/outputs/m.onnx"),
        ] {
            assert_eq!(parse(&address), expected, "{address}");
        }
        assert_eq!(of_artifact(&format!("ExperimentRun/dcid.{run}/outputs/m.onnx")), expected);
        let logged = Place { owner: run.parse().unwrap(), path: String::new() };
        assert_eq!(parse(&format!("models:/m-{hex}")), Some(logged.clone()));
        assert_eq!(parse(&format!("mlflow-artifacts:/0/models/m-{hex}/artifacts")), Some(logged.clone()));
        assert_eq!(logged.source(Kind::LoggedModel), format!("models:/m-{hex}"));
        assert_eq!(logged.artifact(), format!("ExperimentRun/dcid.{run}/"));
        for foreign in [
            "",
            "x",
            "s3://bucket/model",
            "https://account.blob.core.windows.net/models/m?sig=1",
            "models:/trees/1",
            "runs:/x/y",
            "azureml://datastores/d/paths/p",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
        assert_eq!(parse(&format!("runs:/{hex}/../x")), None);
    }
}
