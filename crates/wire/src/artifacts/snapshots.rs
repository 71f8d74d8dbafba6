//! Snapshots of source folders, which `azureml-core` makes when a run begins.
//!
//! Its client compares the folder with the latest snapshot, asks for addresses of the files that differ (`getblob`), puts them there, and makes
//! the snapshot of a tree that names all files. Each snapshot has files of its own here, those that did not change too: so one can be
//! erased without another losing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{Artifact, ArtifactDoc, Snapshot, SnapshotDoc};
use habeas_core::{BlobRef, Error, Id, Node, Result as CoreResult, Timestamp, time};
use habeas_rights::pieces;
use habeas_store::{New, Order, Page, Store, Tx};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::blobs::{self, Checked};
use super::call::Call;
use super::files::finish;
use super::{LARGEST_BODY, flat_snapshots};
use crate::App;
use crate::archive::BlobFile;
use crate::artifact_files::{self, Expected, check_path};
use crate::data_services::Result;
use crate::file_address::{Access, Signer};
use crate::runs::shortened;

/// The id of no snapshot, as clients have it.
pub(super) const NONE: &str = "00000000-0000-0000-0000-000000000000";
/// Files of one snapshot; `azureml-core` refuses more than 2,000 unless it is told otherwise.
pub(super) const MOST_FILES: usize = 50_000;
/// Snapshots looked at together when the latest is sought.
const STEP: u64 = 10;
/// How long files may be uploaded before the snapshot is made.
const UPLOAD: i64 = time::DAY;

pub(super) fn missing() -> Error {
    Error::not_found("there is no such snapshot")
}

/// A path as the tree has it: clients on Windows put `\` between its parts.
pub(super) fn plain(path: &str) -> CoreResult<String> {
    let path = path.replace('\\', "/");
    check_path(&path)?;
    Ok(path)
}

pub(super) fn check_id(id: &str) -> CoreResult<()> {
    let is_id = (1..=100).contains(&id.len())
        && id != NONE
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id {
        return Ok(());
    }
    Err(Error::invalid("a snapshot's id has letters, digits and hyphens, as a UUID has"))
}

/// Refuses an id that a snapshot has.
pub(super) fn check_free(tx: &mut Tx<'_>, scope: Id, id: &str) -> CoreResult<()> {
    match tx.child_by_name::<Snapshot>(scope, id)? {
        Some(_) => Err(Error::conflict("there is a snapshot of this id already")),
        None => Ok(()),
    }
}

/// The finished snapshot that the path names.
pub(super) fn find(tx: &mut Tx<'_>, scope: Id, id: &str) -> CoreResult<Node<SnapshotDoc>> {
    tx.child_by_name::<Snapshot>(scope, id)?.filter(|node| node.doc.complete).ok_or_else(missing)
}

async fn found(call: &Call) -> CoreResult<Node<SnapshotDoc>> {
    let id = call.part("snapshot").to_owned();
    call.read(Permission::Read, move |tx, scope| find(tx, scope, &id)).await
}

fn show(id: &str, root: &Value) -> Json<Value> {
    Json(json!({ "id": id, "root": root }))
}

/// `get_latest_snapshot`: the caller's own, to which the next one is likely to be alike. An empty one when there is none yet: with a 404,
/// `azureml-core` gives up.
pub(super) async fn latest(call: Call) -> Result<Json<Value>> {
    let person = call.person;
    let latest = call
        .read(Permission::Read, move |tx, scope| {
            let mut page = Page { order: Order::Newest, skip: 0, take: STEP };
            loop {
                let nodes = tx.children::<Snapshot>(scope, page)?;
                let last = (nodes.len() as u64) < STEP;
                let own = |node: &Node<SnapshotDoc>| node.doc.complete && node.doc.created_by == Some(person);
                match nodes.into_iter().find(own) {
                    Some(node) => return Ok(Some(node)),
                    None if last => return Ok(None),
                    None => page.skip += STEP,
                }
            }
        })
        .await?;
    Ok(match latest {
        Some(node) => show(&node.doc.name, &node.doc.tree),
        None => show(NONE, &empty(call.app.store().ambient().now())),
    })
}

fn empty(now: Timestamp) -> Value {
    json!({ "name": "", "hash": "", "type": "Directory", "timestamp": now.rfc3339(), "sizeBytes": 0, "children": {} })
}

/// `get_snapshot_metadata`.
pub(super) async fn metadata(call: Call) -> Result<Json<Value>> {
    let node = found(&call).await?;
    Ok(show(&node.doc.name, &node.doc.tree))
}

/// Makes an unfinished snapshot, to which files can be uploaded for a day.
pub(super) fn open_one(tx: &mut Tx<'_>, scope: Id, person: Id) -> CoreResult<Node<SnapshotDoc>> {
    let id = tx.new_id();
    let expires_at = Some(Timestamp(tx.now().0 + UPLOAD));
    let doc = SnapshotDoc {
        name: id.to_hex(),
        complete: false,
        tree: Value::Null,
        parent: None,
        source: None,
        properties: BTreeMap::new(),
        tags: BTreeMap::new(),
        created_by: Some(person),
    };
    tx.create::<Snapshot>(New { id, parent: Some(scope), expires_at, doc })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    file_names: Vec<String>,
}

/// `getblob`: addresses at which the files of a snapshot are put. What is put there goes after a day unless a snapshot is made of it.
pub(super) async fn announce(call: Call) -> Result<Json<Value>> {
    let Wanted { file_names } = call.body()?;
    if file_names.len() > MOST_FILES {
        return Err(Error::invalid(format!("a snapshot has at most {MOST_FILES} files")).into());
    }
    let paths = file_names.iter().map(|name| plain(name)).collect::<CoreResult<Vec<_>>>()?;
    let person = call.person;
    let id = call.write(Permission::Write, move |tx, scope| Ok(open_one(tx, scope, person)?.id)).await?;
    let signer = call.signer()?;
    let nodes: Vec<Value> = file_names
        .iter()
        .zip(&paths)
        .map(|(name, path)| {
            json!({
                "name": path.rsplit('/').next(),
                "resourceId": "0",
                "hash": "",
                "fullName": name,
                "blobUri": signer.address(id, path, Access::Write),
            })
        })
        .collect();
    Ok(Json(json!({ "fileNodes": nodes })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    parent_snapshot_id: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    properties: Option<BTreeMap<String, String>>,
    dir_tree_node: Value,
    file_revision_list: Option<Revisions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Revisions {
    file_nodes: Vec<Revision>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Revision {
    blob_uri: String,
}

/// The unfinished snapshot to which files were uploaded, by their addresses: the second part of the path.
fn uploaded_to(revisions: Option<&Revisions>) -> CoreResult<Option<Id>> {
    let wrong = || {
        Error::invalid("`FileRevisionList` names an address that `getblob` did not give for this snapshot")
            .hint("ask for addresses once, and put all files of the snapshot there")
    };
    let mut owners = BTreeSet::new();
    for revision in revisions.map(|revisions| revisions.file_nodes.as_slice()).unwrap_or_default() {
        let owner = revision.blob_uri.split_once("://").and_then(|(_, rest)| rest.split('/').nth(2));
        owners.insert(owner.and_then(|owner| owner.parse::<Id>().ok()).ok_or_else(wrong)?);
    }
    match owners.len() {
        0 | 1 => Ok(owners.first().copied()),
        _ => Err(wrong()),
    }
}

/// The paths of the files in a tree, as `children` are nested in it.
fn files(tree: &Value) -> CoreResult<BTreeSet<String>> {
    let paths = hashes(tree).keys().map(|path| plain(path)).collect::<CoreResult<BTreeSet<_>>>()?;
    if paths.len() > MOST_FILES {
        return Err(Error::invalid(format!("a snapshot has at most {MOST_FILES} files")));
    }
    Ok(paths)
}

/// `create_snapshot`: of a tree and of files that were put elsewhere, as `azureml-core` has it, or as one form with files and all.
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Json<Value>> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|text| text.to_lowercase().starts_with("multipart/form-data")) {
        return flat_snapshots::create(&app, request).await;
    }
    let (parts, body) = request.into_parts();
    // The route takes forms of any length.
    let body = to_bytes(body, LARGEST_BODY).await.map_err(|_| {
        Error::too_large(format!("the request is larger than {LARGEST_BODY} bytes, or broke off"))
    })?;
    create_of_tree(Call::from_request(Request::from_parts(parts, Body::from(body)), &app).await?).await
}

/// Makes a snapshot of the files that were put there, and of those that its parent has.
async fn create_of_tree(call: Call) -> Result<Json<Value>> {
    let made: Made = call.body()?;
    let name = call.part("snapshot").to_owned();
    check_id(&name)?;
    let (paths, uploaded) = (files(&made.dir_tree_node)?, uploaded_to(made.file_revision_list.as_ref())?);
    let parent = made.parent_snapshot_id.filter(|parent| parent != NONE);
    let (open, copied) = prepare(&call, &name, uploaded, parent.clone(), paths).await?;
    for (path, blob) in copied {
        copy(&call, open, &path, blob).await?;
    }
    let doc = SnapshotDoc {
        name: name.clone(),
        complete: true,
        tree: made.dir_tree_node,
        parent,
        source: None,
        properties: made.properties.unwrap_or_default(),
        tags: made.tags.unwrap_or_default(),
        created_by: Some(call.person),
    };
    complete(&call, open, doc).await?;
    Ok(Json(json!({ "snapshotType": "LocalFiles", "id": name })))
}

/// Makes an unfinished snapshot, with the files that it has, the one that is described.
pub(super) async fn complete(call: &Call, open: Id, doc: SnapshotDoc) -> CoreResult<()> {
    call.write(Permission::Write, move |tx, _| {
        let mut node = tx.get::<Snapshot>(open)?.filter(|node| !node.doc.complete).ok_or_else(missing)?;
        node.doc = doc.clone();
        node.expires_at = None;
        tx.update::<Snapshot>(&node).map(|_| ())
    })
    .await
}

/// The unfinished snapshot, made if no file was uploaded; and the files that the parent lends it. An error when a file is nowhere.
async fn prepare(
    call: &Call,
    name: &str,
    uploaded: Option<Id>,
    parent: Option<String>,
    paths: BTreeSet<String>,
) -> CoreResult<(Id, Vec<(String, BlobRef)>)> {
    let (name, person) = (name.to_owned(), call.person);
    call.write(Permission::Write, move |tx, scope| {
        check_free(tx, scope, &name)?;
        let open = match uploaded {
            Some(id) => tx
                .get::<Snapshot>(id)?
                .filter(|node| {
                    node.parent == Some(scope) && !node.doc.complete && node.doc.created_by == Some(person)
                })
                .ok_or_else(|| {
                    Error::invalid(
                        "the addresses of the files were not given for this snapshot, or have expired",
                    )
                    .hint("ask `getblob` for new ones, and put the files there")
                })?,
            None => open_one(tx, scope, person)?,
        };
        let there = by_path(tx, open.id)?;
        let lent = match &parent {
            Some(parent) => {
                let parent = find(tx, scope, parent)?.id;
                by_path(tx, parent)?
            }
            None => BTreeMap::new(),
        };
        let mut copied = Vec::new();
        for path in paths.iter().filter(|path| !there.contains_key(*path)) {
            let blob = lent.get(path).ok_or_else(|| {
                Error::invalid(format!(
                    "the file `{}` was not put anywhere, and the parent has none",
                    shortened(path)
                ))
                .hint("send the whole folder again")
            })?;
            copied.push((path.clone(), blob.clone()));
        }
        Ok((open.id, copied))
    })
    .await
}

pub(super) fn by_path(tx: &mut Tx<'_>, owner: Id) -> CoreResult<BTreeMap<String, BlobRef>> {
    let nodes = tx.children::<Artifact>(owner, Page::ALL)?;
    Ok(nodes.into_iter().map(|node| (node.doc.path, node.doc.content)).collect())
}

pub(super) async fn copy(call: &Call, open: Id, path: &str, blob: BlobRef) -> CoreResult<()> {
    let owner = move |_: &mut Tx<'_>| Ok(open);
    let media_type = blob.media_type.clone();
    let copied = artifact_files::join(&call.app, owner, &media_type, &[blob], Expected::default()).await?;
    let (path, person) = (path.to_owned(), call.person);
    call.write(Permission::Write, move |tx, _| {
        artifact_files::keep(tx, open, &path, &copied, Some(person)).map(|_| ())
    })
    .await
}

/// A snapshot of a repository: only its address is noted, and nothing is fetched from it.
pub(super) async fn create_from_repository(call: Call) -> Result<Json<Value>> {
    #[derive(Deserialize)]
    struct Repository {
        uri: String,
    }
    let Repository { uri } = call.body()?;
    let name = call.part("snapshot").to_owned();
    check_id(&name)?;
    let (person, tree) = (call.person, empty(call.app.store().ambient().now()));
    let doc = SnapshotDoc {
        name: name.clone(),
        complete: true,
        tree,
        parent: None,
        source: Some(uri),
        properties: BTreeMap::new(),
        tags: BTreeMap::new(),
        created_by: Some(person),
    };
    call.write(Permission::Write, move |tx, scope| {
        check_free(tx, scope, &doc.name)?;
        let id = tx.new_id();
        tx.create::<Snapshot>(New::under(scope, id, doc.clone())).map(|_| ())
    })
    .await?;
    Ok(Json(json!({ "snapshotType": "Git", "id": name })))
}

/// `delete_snapshot_and_lastest_pointer`: with its files.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    call.refuse_dry_run()?;
    let id = call.part("snapshot").to_owned();
    let removed = call
        .write(Permission::Write, move |tx, scope| match tx.child_by_name::<Snapshot>(scope, &id)? {
            Some(node) => Ok(vec![tx.remove(node.id)?]),
            None => Ok(Vec::new()),
        })
        .await?;
    Ok(finish(&call, &removed).await)
}

/// `get_sas_urls` and `get_storage_urls`: the tree with an address for each file.
pub(super) async fn addresses(call: Call) -> Result<Json<Value>> {
    fn put(node: &mut Value, folder: &str, snapshot: Id, signer: &Signer) {
        let Some(children) = node["children"].as_object_mut() else { return };
        for (name, child) in children {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if child["type"] == "File" {
                child["sasUrl"] = json!(signer.address(snapshot, &path, Access::Read));
            } else {
                put(child, &path, snapshot, signer);
            }
        }
    }
    let (node, signer) = (found(&call).await?, call.signer()?);
    let mut tree = node.doc.tree;
    put(&mut tree, "", node.id, &signer);
    Ok(Json(tree))
}

/// `get_snapshot_files_zip_sas` and `get_snapshot_files_zip_location`: the address of an archive of its files.
pub(super) async fn archive(call: Call) -> Result<Json<Value>> {
    let node = found(&call).await?;
    Ok(Json(json!(call.signer()?.archive_address(node.id))))
}

/// The same as `azureml-core` 1.61 asks for it. The archive is made when it is fetched: nobody has to wait for it here.
pub(super) async fn build_archive(call: Call) -> Result<Json<Value>> {
    let node = found(&call).await?;
    Ok(Json(json!({ "zipSasUri": call.signer()?.archive_address(node.id) })))
}

/// Serves the archive of a snapshot at its signed address.
pub(super) async fn download(
    State(app): State<App>,
    Path(snapshot): Path<String>,
    request: Request,
) -> blobs::Result<Response> {
    let checked = Checked::new(app, &snapshot, "", &request)?;
    checked.refuse_operations()?;
    let owner = checked.owner(Permission::Read)?;
    let store = checked.app.store().clone();
    let files = store
        .read(move |tx| {
            let owner = owner(tx)?;
            tx.children::<Artifact>(owner, Page::ALL)
        })
        .await?;
    let runtime = Handle::current();
    let body = pieces::stream(move |out| write_archive(out, &store, &runtime, files));
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"snapshot.zip\""));
    Ok(response)
}

fn write_archive(
    out: pieces::Pieces,
    store: &Store,
    runtime: &Handle,
    files: Vec<Node<ArtifactDoc>>,
) -> CoreResult<()> {
    let stopped = |_| Error::unavailable("the archive could not be written to its end");
    let mut zip = ZipWriter::new_stream(out);
    for file in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(file.doc.content.size >= u64::from(u32::MAX));
        zip.start_file(&file.doc.path, options).map_err(|error| stopped(io::Error::other(error)))?;
        let mut content = BlobFile::new(store.blobs().clone(), runtime.clone(), file.doc.content);
        io::copy(&mut content, &mut zip).map_err(stopped)?;
    }
    let mut out = zip.finish().map_err(|error| stopped(io::Error::other(error)))?.into_inner();
    out.flush().and_then(|()| out.hand_over()).map_err(stopped)
}

/// `get_snapshot_diff`: what the second snapshot has otherwise than the first.
pub(super) async fn difference(call: Call) -> Result<Json<Value>> {
    let id = |name: &str| {
        call.query(name).map(str::to_owned).ok_or_else(|| {
            Error::invalid(format!("the query parameter `{name}` is missing"))
                .hint("name two snapshots, snapshotId1 and snapshotId2")
        })
    };
    let (first, second) = (id("snapshotid1")?, id("snapshotid2")?);
    let (old, new) = call
        .read(Permission::Read, move |tx, scope| {
            Ok((find(tx, scope, &first)?.doc.tree, find(tx, scope, &second)?.doc.tree))
        })
        .await?;
    Ok(Json(Value::Array(compare(&hashes(&old), &hashes(&new)))))
}

/// What is otherwise in the second of two lists of hashes by paths (`MerkleDiffEntry`).
pub(super) fn compare(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Value> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let entry = |path: &String, what: &str| {
        json!({
            "operationType": what,
            "filePath": path,
            "isFile": true,
            "oldFileStoreId": old.get(path),
            "newFileStoreId": new.get(path),
        })
    };
    paths
        .into_iter()
        .filter_map(|path| match (old.get(path), new.get(path)) {
            (None, _) => Some(entry(path, "added")),
            (_, None) => Some(entry(path, "removed")),
            (Some(before), Some(after)) if before != after => Some(entry(path, "modified")),
            _ => None,
        })
        .collect()
}

/// The hashes of the files in a tree, by their paths.
pub(super) fn hashes(tree: &Value) -> Map<String, Value> {
    fn walk(node: &Value, folder: &str, hashes: &mut Map<String, Value>) {
        for (name, child) in node["children"].as_object().into_iter().flatten() {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if child["type"] == "File" {
                hashes.insert(path, child["hash"].clone());
            } else {
                walk(child, &path, hashes);
            }
        }
    }
    let mut found = Map::new();
    walk(tree, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Value {
        json!({ "name": "", "type": "Directory", "children": {
            "a.py": { "name": "a.py", "type": "File", "hash": "1", "children": {} },
            "sub": { "name": "sub", "type": "Directory", "children": {
                "b.py": { "name": "b.py", "type": "File", "hash": "2", "children": {} } } } } })
    }

    #[test]
    fn files_of_a_tree() {
        assert_eq!(files(&tree()).unwrap().into_iter().collect::<Vec<_>>(), ["a.py", "sub/b.py"]);
        let escape = json!({ "children": { "..": { "type": "File" } } });
        assert!(files(&escape).is_err());
        assert_eq!(plain("sub\\b.py").unwrap(), "sub/b.py");
    }

    #[test]
    fn differences() {
        let mut other = tree();
        other["children"]["a.py"]["hash"] = json!("3");
        other["children"]["sub"]["children"] = json!({ "c.py": { "type": "File", "hash": "4" } });
        let found: Vec<_> = compare(&hashes(&tree()), &hashes(&other))
            .iter()
            .map(|entry| format!("{} {}", entry["operationType"], entry["filePath"]))
            .collect();
        assert_eq!(found, ["\"modified\" \"a.py\"", "\"removed\" \"sub/b.py\"", "\"added\" \"sub/c.py\""]);
    }

    #[test]
    fn the_snapshot_that_files_were_put_to_is_read_from_their_addresses() {
        let revision =
            |owner: &str| Revision { blob_uri: format!("https://a.blob.b/azureml/{owner}/x.py?sig=1") };
        let (one, two) = (Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        let list = |owners: &[String]| Revisions {
            file_nodes: owners.iter().map(|owner| revision(owner)).collect(),
        };
        assert_eq!(uploaded_to(None).unwrap(), None);
        assert_eq!(uploaded_to(Some(&list(&[one.to_hex(), one.to_hex()]))).unwrap(), Some(one));
        assert!(uploaded_to(Some(&list(&[one.to_hex(), two.to_hex()]))).is_err());
        assert!(uploaded_to(Some(&list(&["x".to_owned()]))).is_err());
    }
}
