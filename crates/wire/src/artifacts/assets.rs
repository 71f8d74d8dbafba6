//! Assets of the artifact service: names for files, with versions. (Those of model management are kinds of their own.)

use std::collections::BTreeMap;

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{Artifact, Asset, AssetDoc, AssetFile, AssetVersion};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Page, Tx};
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::files::{after, page};
use super::places::Place;
use crate::data_services::Result;
use crate::file_address::{Access, Signer};
use crate::runs::shortened;

/// Versions of one asset.
const MOST_VERSIONS: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: Option<String>,
    current_version: Option<DescribedVersion>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DescribedVersion {
    version: Option<String>,
    #[serde(rename = "type")]
    sort: Option<String>,
    file_or_folder: Option<String>,
    folder: Option<Vec<DescribedFile>>,
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribedFile {
    path: Option<String>,
    artifact_id: Option<String>,
}

fn missing() -> Error {
    Error::not_found("there is no such asset")
}

/// What an asset's answers need besides itself: where its files are, so that they have addresses.
struct Shown {
    node: Node<AssetDoc>,
    /// The owners of its files, by artifact; those that are gone are not in it.
    owners: BTreeMap<String, (Id, String)>,
}

impl Shown {
    fn of(
        tx: &mut Tx<'_>,
        actor: &habeas_access::Actor,
        scope: Id,
        node: Node<AssetDoc>,
    ) -> CoreResult<Shown> {
        let mut owners = BTreeMap::new();
        for file in node.doc.versions.iter().flat_map(|version| &version.files) {
            let (place, path) = Place::of_artifact(&file.artifact)?;
            let owner = place.owner(tx, actor, scope, Permission::Read);
            let stored = place.stored(&path);
            if let Ok(owner) = owner
                && tx.child_by_name::<Artifact>(owner, &stored)?.is_some()
            {
                owners.insert(file.artifact.clone(), (owner, stored));
            }
        }
        Ok(Shown { node, owners })
    }

    fn version(&self, signer: &Signer, version: &AssetVersion) -> Value {
        let file = |file: &AssetFile| {
            let uri = self
                .owners
                .get(&file.artifact)
                .map(|(owner, path)| signer.address(*owner, path, Access::Read));
            json!({ "path": file.path, "artifactId": file.artifact, "uri": uri })
        };
        let current = self.node.doc.versions.last().is_some_and(|last| last.version == version.version);
        json!({
            "version": version.version,
            "type": version.sort,
            "fileOrFolder": if version.folder { "folder" } else { "file" },
            "isCurrent": current,
            "file": version.files.first().filter(|_| !version.folder).map(file),
            "folder": version.folder.then(|| version.files.iter().map(file).collect::<Vec<_>>()),
            "properties": version.properties,
        })
    }

    fn asset(&self, signer: &Signer) -> Value {
        json!({
            "assetId": self.node.id,
            "name": self.node.doc.name,
            "currentVersion": self.node.doc.versions.last().map(|version| self.version(signer, version)),
        })
    }
}

/// The asset that the path names, by name or by id.
fn find(tx: &mut Tx<'_>, scope: Id, name: &str, id: &str) -> CoreResult<Node<AssetDoc>> {
    let node = match id.parse::<Id>() {
        Ok(id) => tx.get::<Asset>(id)?.filter(|node| node.parent == Some(scope)),
        Err(_) if name.is_empty() => None,
        Err(_) => tx.child_by_name::<Asset>(scope, name)?,
    };
    node.ok_or_else(missing)
}

async fn found(call: &Call) -> CoreResult<Shown> {
    let (name, id, actor) = (call.part("name").to_owned(), call.part("id").to_owned(), call.actor);
    call.read(Permission::Read, move |tx, scope| {
        let node = find(tx, scope, &name, &id)?;
        Shown::of(tx, &actor, scope, node)
    })
    .await
}

/// `get_assets`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (after, actor, signer) = (after(&call)?, call.actor, call.signer()?);
    let assets = call
        .read(Permission::Read, move |tx, scope| {
            let nodes = tx.children::<Asset>(scope, Page::ALL)?;
            let mut assets = nodes
                .into_iter()
                .map(|node| Shown::of(tx, &actor, scope, node))
                .collect::<CoreResult<Vec<_>>>()?;
            assets.sort_unstable_by(|left, right| left.node.doc.name.cmp(&right.node.doc.name));
            Ok(assets)
        })
        .await?;
    Ok(Json(page(assets, after.as_deref(), |asset| &asset.node.doc.name, |asset| asset.asset(&signer))))
}

/// `get_asset_by_name` and `get_asset_by_id`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    Ok(Json(found(&call).await?.asset(&call.signer()?)))
}

/// `get_asset_versions_by_asset_name` and `get_asset_versions_by_asset_id`.
pub(super) async fn versions(call: Call) -> Result<Json<Value>> {
    let (asset, signer) = (found(&call).await?, call.signer()?);
    let versions: Vec<Value> =
        asset.node.doc.versions.iter().map(|version| asset.version(&signer, version)).collect();
    Ok(Json(json!({ "value": versions })))
}

/// `get_single_asset_version_by_asset_name` and `get_single_asset_version_by_asset_id`.
pub(super) async fn version(call: Call) -> Result<Json<Value>> {
    let (asset, signer) = (found(&call).await?, call.signer()?);
    let wanted = call.part("version");
    let version = asset.node.doc.versions.iter().find(|version| version.version == wanted);
    Ok(Json(
        asset.version(&signer, version.ok_or_else(|| Error::not_found("the asset has no such version"))?),
    ))
}

/// `create_new_asset`: refused when there is one of this name.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    put(&call, false).await
}

/// `upsert_asset`: one that is there gets another version.
pub(super) async fn upsert(call: Call) -> Result<Json<Value>> {
    put(&call, true).await
}

async fn put(call: &Call, known: bool) -> Result<Json<Value>> {
    let described: Described = call.body()?;
    let place = Place::new(call.part("origin"), call.part("container"))?;
    let path = call.part("path").trim_end_matches('/').to_owned();
    crate::artifact_files::check_path(&path)?;
    let name = described.name.filter(|name| !name.is_empty()).unwrap_or_else(|| path.clone());
    let version = described.current_version.unwrap_or_default();
    let (actor, person) = (call.actor, call.person);
    let made = AssetVersion {
        version: version.version.unwrap_or_default(),
        sort: version.sort,
        folder: version.folder.is_some()
            || version.file_or_folder.is_some_and(|sort| sort.eq_ignore_ascii_case("folder")),
        files: files(version.folder, &place.artifact(&path))?,
        properties: version.properties.unwrap_or_default(),
    };
    let shown = call
        .write(Permission::Write, move |tx, scope| {
            place.owner(tx, &actor, scope, Permission::Read)?;
            require_files(tx, &actor, scope, &made)?;
            let node = match tx.child_by_name::<Asset>(scope, &name)? {
                Some(_) if !known => {
                    return Err(Error::conflict(format!("there is an asset `{}` already", shortened(&name)))
                        .hint("PUT adds a version to it"));
                }
                Some(mut node) => {
                    add(&mut node.doc, made.clone())?;
                    tx.update_by::<Asset>(&node, person)?
                }
                None => {
                    let mut doc =
                        AssetDoc { name: name.clone(), versions: Vec::new(), created_by: Some(person) };
                    add(&mut doc, made.clone())?;
                    let id = tx.new_id();
                    tx.create::<Asset>(New::under(scope, id, doc))?
                }
            };
            Shown::of(tx, &actor, scope, node)
        })
        .await?;
    Ok(Json(shown.asset(&call.signer()?)))
}

/// The files of a version: those of its folder, or the one that the path names.
fn files(folder: Option<Vec<DescribedFile>>, file: &str) -> CoreResult<Vec<AssetFile>> {
    let Some(folder) = folder else { return Ok(vec![AssetFile { path: None, artifact: file.to_owned() }]) };
    folder
        .into_iter()
        .map(|described| {
            let artifact = described.artifact_id.ok_or_else(|| {
                Error::invalid("a file of the folder has no `artifactId`")
                    .hint("name it ORIGIN/CONTAINER/PATH")
            })?;
            Place::of_artifact(&artifact)?;
            Ok(AssetFile { path: described.path, artifact })
        })
        .collect()
}

/// Refuses a version of files that are not there, or that the caller may not read. A folder may be named by its path alone.
fn require_files(
    tx: &mut Tx<'_>,
    actor: &habeas_access::Actor,
    scope: Id,
    version: &AssetVersion,
) -> CoreResult<()> {
    for file in &version.files {
        let missing = || {
            Error::invalid(format!("there is no artifact `{}`", shortened(&file.artifact)))
                .hint("send its bytes before it is named")
        };
        let (place, path) = Place::of_artifact(&file.artifact)?;
        let owner = place.owner(tx, actor, scope, Permission::Read);
        let owner = owner.map_err(|error| error.conceal(missing))?;
        let is_file = tx.child_by_name::<Artifact>(owner, &place.stored(&path))?.is_some();
        let may_be_folder = version.folder && version.files.len() == 1;
        if !is_file && (!may_be_folder || place.below(tx, owner, &path)?.is_empty()) {
            return Err(missing());
        }
    }
    Ok(())
}

/// Adds a version; one that its client did not name is numbered.
fn add(doc: &mut AssetDoc, mut version: AssetVersion) -> CoreResult<()> {
    if version.version.is_empty() {
        version.version = (doc.versions.len() + 1).to_string();
    }
    if doc.versions.iter().any(|other| other.version == version.version) {
        return Err(Error::conflict("the asset has a version of this name already"));
    }
    if doc.versions.len() >= MOST_VERSIONS {
        return Err(Error::invalid(format!("an asset has at most {MOST_VERSIONS} versions")));
    }
    doc.versions.push(version);
    Ok(())
}
