//! Where the files of models and datasets lie: what an address, in any of the forms that clients use, means on this server; and what was made
//! from what ([`Relation::MadeFrom`]), so that an erasure knows which models learned from what goes.

use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Artifact, ModelAsset, ModelVersionDoc, Run};
use habeas_core::node::Relation;
use habeas_core::{ErrorKind, Id, Kind, Node, Result};
use habeas_store::Tx;

use crate::runs::{self, DATA_CONTAINER, look_up_run};

/// What the addresses of assets begin with.
pub(crate) const ASSET: &str = "aml://asset/";
/// The origin of artifacts that belong to runs.
const ORIGIN: &str = "ExperimentRun";

/// What an address says: a file or a folder below a run or a logged model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    owner: Owner,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// A run, by its name on the wire.
    Run(String),
    /// A logged model.
    Model(Id),
    /// The workspace or project itself, which holds what was uploaded without a run, under the whole name.
    Scope,
}

/// A file, or a folder, that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The run or logged model.
    pub(crate) owner: Id,
    /// Below it, with `/` between its parts; empty for all of it.
    pub(crate) path: String,
    /// What it lies below, by its name on the wire.
    below: Owner,
}

impl Place {
    /// The address in MLflow's registry; none of what it cannot address.
    fn source(&self) -> Option<String> {
        match &self.below {
            Owner::Model(id) => Some(format!("models:/m-{}", id.to_hex())),
            Owner::Run(run) if self.path.is_empty() => Some(format!("runs:/{run}")),
            Owner::Run(run) => Some(format!("runs:/{run}/{}", self.path)),
            Owner::Scope => None,
        }
    }

    /// The address among artifacts, `ORIGIN/CONTAINER/PATH`, which files of logged models have none of.
    pub(crate) fn artifact(&self) -> Option<String> {
        match &self.below {
            Owner::Run(run) => Some(format!("{ORIGIN}/{DATA_CONTAINER}{run}/{}", self.path)),
            Owner::Scope => Some(self.path.clone()),
            Owner::Model(_) => None,
        }
    }

    /// What was made from this place is connected with: what holds it, unless that is `at`, the workspace or project itself; and the file,
    /// where the place is one, so that its deletion alone is seen too.
    fn origins(&self, tx: &mut Tx<'_>, at: Id) -> Result<Vec<Id>> {
        let file = tx.child_by_name::<Artifact>(self.owner, &self.path)?;
        let holder = (self.owner != at).then_some(self.owner);
        Ok(holder.into_iter().chain(file.map(|node| node.id)).collect())
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
            tracked.or_else(|| of_run_artifact(rest.split_once("/content/")?.1))
        }
        // `azureml://artifacts/ExperimentRun/...`, the longer form with the workspace before it, and what `azureml-mlflow` is told.
        "azureml" | "aml" => match rest.find(ORIGIN) {
            Some(at) => of_run_artifact(&rest[at..]),
            None => of_run_history(&rest.split_once("/experiments/")?.1.split('/').collect::<Vec<_>>()),
        },
        _ => None,
    }
}

/// `ORIGIN/CONTAINER/PATH`, as artifacts are named.
fn of_artifact(name: &str) -> Option<Address> {
    let name = name.trim_matches('/');
    of_run_artifact(name).or_else(|| below(Owner::Scope, &name.split('/').collect::<Vec<_>>()))
}

fn of_run_artifact(name: &str) -> Option<Address> {
    let mut parts = name.trim_matches('/').splitn(3, '/');
    if !parts.next()?.eq_ignore_ascii_case(ORIGIN) {
        return None;
    }
    let container = parts.next()?;
    let path: Vec<&str> = parts.next().map(|path| path.split('/').collect()).unwrap_or_default();
    below(run(runs::run_id(container))?, &path)
}

/// `EXPERIMENT/runs/NAME/artifacts/PATH`, where a logged model is called like a run.
fn of_run_history(parts: &[&str]) -> Option<Address> {
    match parts {
        [_, "runs", name, "artifacts", path @ ..] => below(model(name).or_else(|| run(name))?, path),
        _ => None,
    }
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

/// The asset that the address of a model names, whether it is there or not.
pub(crate) fn asset(address: &str) -> Option<Id> {
    address.strip_prefix(ASSET)?.trim_matches('/').parse().ok()
}

/// What the address of a model says: that of an asset leads to its one artifact.
fn read(tx: &mut Tx<'_>, at: Id, address: &str) -> Result<Option<Address>> {
    if !address.starts_with(ASSET) {
        return Ok(parse(address));
    }
    let Some(id) = asset(address) else { return Ok(None) };
    let asset = tx.get::<ModelAsset>(id)?.filter(|node| node.parent == Some(at));
    Ok(asset.and_then(|node| match node.doc.artifacts.as_slice() {
        [one] => of_artifact(one.id.as_deref().or(one.prefix.as_deref())?),
        _ => None,
    }))
}

/// The place that an address means within a workspace or project, if it is there.
fn locate(tx: &mut Tx<'_>, at: Id, address: Address) -> Result<Option<Place>> {
    let Address { owner, path } = address;
    let found = match &owner {
        Owner::Run(name) => look_up_run(tx, at, name)?.map(|node| node.id),
        Owner::Model(id) => is_in(tx, at, *id)?.then_some(*id),
        Owner::Scope => Some(at),
    };
    Ok(found.map(|id| Place { owner: id, path, below: owner }))
}

/// Whether a logged model stands in a workspace or project.
fn is_in(tx: &mut Tx<'_>, at: Id, model: Id) -> Result<bool> {
    let Some((Kind::LoggedModel, Some(experiment), _)) = tx.position(model)? else { return Ok(false) };
    Ok(matches!(tx.position(experiment)?, Some((_, Some(parent), _)) if parent == at))
}

/// The place that an address means anywhere, if the actor may read it: hosting accounts hold models of runs that stand elsewhere.
fn locate_elsewhere(tx: &mut Tx<'_>, actor: &Actor, address: Address) -> Result<Option<Place>> {
    let Address { owner, path } = address;
    let found = match &owner {
        Owner::Model(id) => tx.position(*id)?.filter(|(kind, ..)| *kind == Kind::LoggedModel).map(|_| *id),
        Owner::Run(name) => match runs::parse(name) {
            Some(id) => tx.get::<Run>(id)?.map(|node| node.id),
            None => None,
        },
        Owner::Scope => None,
    };
    let Some(id) = found else { return Ok(None) };
    match authorise(tx, actor, id, Permission::Read) {
        Ok(()) => Ok(Some(Place { owner: id, path, below: owner })),
        // What one may not read does not exist: the address stays a text.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the address of a model that is being registered means, if that is here and the actor may read it.
pub(crate) fn find(tx: &mut Tx<'_>, actor: &Actor, at: Id, url: &str) -> Result<Option<Place>> {
    let Some(address) = read(tx, at, url)? else { return Ok(None) };
    match locate(tx, at, address.clone())? {
        Some(place) => Ok(Some(place)),
        None => locate_elsewhere(tx, actor, address),
    }
}

/// Where MLflow's registry is told that the files of a model are.
pub(crate) fn source(url: &str, place: Option<&Place>) -> String {
    place.and_then(Place::source).unwrap_or_else(|| url.to_owned())
}

/// Where the files of a registered version lie, if they lie here: in the same workspace, or below what it was made from.
pub(crate) fn of_version(tx: &mut Tx<'_>, at: Id, version: &Node<ModelVersionDoc>) -> Result<Option<Place>> {
    let Some(address) = read(tx, at, version.doc.address())? else { return Ok(None) };
    if let Some(place) = locate(tx, at, address.clone())? {
        return Ok(Some(place));
    }
    let Address { owner, path } = address;
    let id = match &owner {
        Owner::Model(id) => Some(*id),
        Owner::Run(name) => runs::parse(name),
        Owner::Scope => None,
    };
    let from = tx.targets(version.id, Relation::MadeFrom)?;
    let linked = id.filter(|id| from.iter().any(|(target, _)| target == id));
    Ok(linked.map(|id| Place { owner: id, path, below: owner }))
}

/// Connects what was made with what it was made from, and marks it when something that this was made from is gone. What is gone itself is left
/// out: it was marked when that went.
pub(crate) fn made_from(tx: &mut Tx<'_>, made: Id, from: impl IntoIterator<Item = Id>) -> Result<()> {
    for target in from {
        if tx.position(target)?.is_none() {
            continue;
        }
        tx.connect(made, target, Relation::MadeFrom)?;
        if let Some(since) = tx.source_erased(target)? {
            tx.connect_since(made, made, Relation::SourceErased, since)?;
        }
    }
    Ok(())
}

/// Connects a version with the one that it is a copy of, and with what that was made from, so that this is known when that is gone.
pub(crate) fn connect_copy(tx: &mut Tx<'_>, copy: Id, version: Id) -> Result<()> {
    let origins = tx.targets(version, Relation::MadeFrom)?.into_iter().map(|(origin, _)| origin);
    made_from(tx, copy, [version].into_iter().chain(origins))
}

/// Connects a version with what it was made from: its file and what holds its files, its run and its logged model.
pub(crate) fn connect_version(
    tx: &mut Tx<'_>,
    at: Id,
    version: &Node<ModelVersionDoc>,
    place: Option<&Place>,
) -> Result<()> {
    let mut from = match place {
        Some(place) => place.origins(tx, at)?,
        None => Vec::new(),
    };
    if let Some(name) = &version.doc.run {
        from.extend(look_up_run(tx, at, name)?.map(|node| node.id));
    }
    if let Some(name) = &version.doc.model_id {
        from.extend(logged_model_in(tx, at, name)?);
    }
    made_from(tx, version.id, from)
}

/// The logged model of this name on the wire, `m-` and its identifier, below a workspace or project.
pub(crate) fn logged_model_in(tx: &mut Tx<'_>, at: Id, name: &str) -> Result<Option<Id>> {
    match model(name) {
        Some(Owner::Model(id)) if is_in(tx, at, id)? => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// Connects a run with the place on this server that its dataset comes from, if it does. Clients write the source of a dataset as JSON, the
/// address under `uri`, `url` or `path`.
pub(crate) fn connect_dataset(tx: &mut Tx<'_>, actor: &Actor, at: Id, run: Id, source: &str) -> Result<()> {
    let source: serde_json::Value = serde_json::from_str(source).unwrap_or_default();
    for name in ["uri", "url", "path"] {
        if let Some(address) = source.get(name).and_then(serde_json::Value::as_str) {
            connect_address(tx, actor, at, run, address)?;
        }
    }
    Ok(())
}

/// Connects a run with the file, and with the run or logged model, that an address means, if it means one here other than the run itself.
pub(crate) fn connect_address(tx: &mut Tx<'_>, actor: &Actor, at: Id, run: Id, address: &str) -> Result<()> {
    match find(tx, actor, at, address)? {
        Some(place) if place.owner != run => {
            let from = place.origins(tx, at)?;
            made_from(tx, run, from)
        }
        _ => Ok(()),
    }
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
            format!(
                "azureml://habeas.example/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/experiments/0/runs/{run}/artifacts/outputs/m.onnx"
            ),
        ] {
            assert_eq!(parse(&address), expected, "{address}");
        }
        assert_eq!(of_artifact(&format!("ExperimentRun/dcid.{run}/outputs/m.onnx")), expected);
        let uploaded = Some(Address { owner: Owner::Scope, path: "LocalUpload/1/m.onnx".into() });
        assert_eq!(of_artifact("LocalUpload/1/m.onnx"), uploaded);
        let owner = Owner::Model(run.parse().unwrap());
        let logged = Some(Address { owner, path: String::new() });
        assert_eq!(parse(&format!("models:/m-{run}")), logged);
        assert_eq!(parse(&format!("mlflow-artifacts:/0/models/m-{run}/artifacts")), logged);
        let by_run_history =
            format!("azureml://habeas.example/mlflow/v2.0/w/experiments/0/runs/m-{run}/artifacts");
        assert_eq!(parse(&by_run_history), logged);
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
