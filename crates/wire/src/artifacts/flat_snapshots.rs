//! Snapshots by flat lists: a folder as nodes, each with the one that it stands in (`FlatDirTreeNodeListDto`), compared with a snapshot, and
//! sent with the files that differ as one form.
//!
//! Sources: the operations of `azureml-core` 1.61; `content.json` of Azure's specification (2019-12-01), which has the parts `files` and
//! `dirTree`; and Microsoft's .NET client of the same service, which compares first, sends 200 files a form, and lists the whole folder in each,
//! so that all but its last form list files that are still to come. The first node is the folder itself: its name is no part of a path.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::extract::Request;
use axum::extract::multipart::Field;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::Permission;
use habeas_core::kinds::{Snapshot, SnapshotDoc};
use habeas_core::{BlobRef, Error, Id, Result as CoreResult, Timestamp};
use habeas_store::{Removed, Tx};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::LARGEST_BODY;
use super::call::Call;
use super::forms::{Form, broken};
use super::snapshots::{
    MOST_FILES, NONE, by_path, check_free, check_id, compare, complete, copy, find, hashes, open_one, plain,
};
use crate::App;
use crate::artifact_files::{self, Expected, media_type};
use crate::data_services::Result;
use crate::runs::shortened;

/// The most folders within each other.
const DEPTH: usize = 128;

/// `FlatDirTreeNodeListDto`.
#[derive(Debug, Deserialize)]
struct List {
    files: Vec<FlatNode>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlatNode {
    name: String,
    hash: Option<String>,
    is_file: bool,
    id: String,
    parent_id: Option<String>,
}

impl List {
    /// The hashes of the files by their paths, which are all different, since no two nodes of one folder have one name.
    fn hashes(&self) -> CoreResult<Map<String, Value>> {
        let mut nodes: HashMap<&str, &FlatNode> = HashMap::new();
        for node in &self.files {
            if nodes.insert(&node.id, node).is_some() {
                return Err(Error::invalid("two nodes of the list have the same `id`"));
            }
        }
        let (mut hashes, mut names) = (Map::new(), HashSet::new());
        for node in &self.files {
            // What stands in the folder itself stands in no other one: its node is not a part of a path.
            let folder = node
                .parent_id
                .as_deref()
                .filter(|id| nodes.get(id).is_some_and(|node| node.parent_id.is_some()));
            let is_folder_itself = node.parent_id.is_none() && !node.is_file;
            if !is_folder_itself && !names.insert((folder, node.name.as_str())) {
                return Err(Error::invalid(format!(
                    "two files or folders called `{}` stand in the same folder",
                    shortened(&node.name)
                )));
            }
            if !node.is_file {
                continue;
            }
            let path = path_of(node, &nodes)?;
            // Without one, it would be taken for unchanged whatever it has.
            let hash = node.hash.as_deref().filter(|hash| !hash.is_empty()).ok_or_else(|| {
                Error::invalid(format!("the file `{}` of the list has no `hash`", shortened(&path)))
                    .hint("send a hash of the content of each file, always of one sort")
            })?;
            hashes.insert(path, json!(hash));
            if hashes.len() > MOST_FILES {
                return Err(Error::invalid(format!("a snapshot has at most {MOST_FILES} files")));
            }
        }
        Ok(hashes)
    }
}

fn path_of(node: &FlatNode, nodes: &HashMap<&str, &FlatNode>) -> CoreResult<String> {
    let mut parts = vec![node.name.as_str()];
    let mut above = node.parent_id.as_deref();
    while let Some(id) = above {
        let folder = nodes.get(id).filter(|folder| !folder.is_file).ok_or_else(|| {
            Error::invalid(format!("the `parentId` of `{}` is no folder of the list", shortened(&node.name)))
        })?;
        above = folder.parent_id.as_deref();
        if above.is_some() {
            parts.push(&folder.name);
        }
        if parts.len() > DEPTH {
            return Err(Error::invalid(format!("folders are more than {DEPTH} deep, or within themselves")));
        }
    }
    if parts.iter().any(|name| name.contains(['/', '\\'])) {
        return Err(Error::invalid("a node's `name` is one part of a path"));
    }
    parts.reverse();
    plain(&parts.join("/"))
}

/// The snapshot that is named as the parent.
fn parent(call: &Call) -> Option<String> {
    call.query("parentsnapshotid").filter(|parent| !parent.is_empty() && *parent != NONE).map(str::to_owned)
}

/// `snapshot_diff_construction`: what a folder has otherwise than the snapshot that is named as its parent; without one, all of it.
pub(super) async fn difference(call: Call) -> Result<Json<Value>> {
    let new = call.body::<List>()?.hashes()?;
    let parent = parent(&call);
    let old = call
        .read(Permission::Read, move |tx, scope| match &parent {
            Some(parent) => Ok(hashes(&find(tx, scope, parent)?.doc.tree)),
            None => Ok(Map::new()),
        })
        .await?;
    Ok(Json(Value::Array(compare(&old, &new))))
}

/// What a form says beside its files.
#[derive(Debug, Default)]
struct Said {
    list: Option<List>,
    tags: BTreeMap<String, String>,
    properties: BTreeMap<String, String>,
}

/// `create_snapshot` as one form: of the files in it, and of those that its parent has with the same hash. What is listed and is in neither
/// is left out, and counted in the answer: the client's next form brings it.
pub(super) async fn create(app: &App, mut request: Request) -> Result<Json<Value>> {
    let call = Call::of_parts(app, &mut request).await?;
    let name = call.part("snapshot").to_owned();
    check_id(&name)?;
    let form = Form::of(request).await?;
    let (person, wanted) = (call.person, name.clone());
    let opened = call.write(Permission::Write, move |tx, scope| {
        check_free(tx, scope, &wanted)?;
        Ok(open_one(tx, scope, person)?.id)
    });
    let open = opened.await?;
    match fill(&call, &name, open, form).await {
        Ok(answer) => Ok(Json(answer)),
        Err(error) => {
            discard(&call, open).await;
            Err(error.into())
        }
    }
}

/// Makes the unfinished snapshot the one that the form describes.
async fn fill(call: &Call, name: &str, open: Id, form: Form) -> CoreResult<Value> {
    let said = receive(call, open, form).await?;
    let list = said.list.ok_or_else(|| Error::invalid("the form has no part `dirTree`"))?;
    let (listed, parent) = (list.hashes()?, parent(call));
    for (path, blob) in lent(call, open, parent.clone(), listed.clone()).await? {
        copy(call, open, &path, blob).await?;
    }
    let there = call.read(Permission::Write, move |tx, _| by_path(tx, open)).await?;
    let sizes: BTreeMap<String, u64> = there.into_iter().map(|(path, blob)| (path, blob.size)).collect();
    let missing = listed.len().saturating_sub(sizes.len());
    let doc = SnapshotDoc {
        name: name.to_owned(),
        complete: true,
        tree: tree(&listed, &sizes, call.app.store().ambient().now()),
        parent,
        source: None,
        properties: said.properties,
        tags: said.tags,
        created_by: Some(call.person),
    };
    complete(call, open, doc).await?;
    let mut answer = json!({ "snapshotType": "LocalFiles", "id": name });
    if missing > 0 {
        answer["filesMissing"] = json!(missing);
    }
    Ok(answer)
}

/// Removes an unfinished snapshot with what was sent to it. What cannot be removed now goes after a day, as what is uploaded and never used.
async fn discard(call: &Call, open: Id) {
    let removed = call.write(Permission::Write, move |tx, _| {
        let is_open = tx.get::<Snapshot>(open)?.is_some_and(|node| !node.doc.complete);
        if is_open { tx.remove(open) } else { Ok(Removed::default()) }
    });
    match removed.await {
        Ok(removed) => call.app.store().finish(&removed).await,
        Err(error) => tracing::warn!(
            error = format_args!("{error:#}"),
            "what was sent to a snapshot that was not made is left to the sweep"
        ),
    }
}

/// Reads the parts of a form, in whatever order; files go to the unfinished snapshot.
async fn receive(call: &Call, open: Id, mut form: Form) -> CoreResult<Said> {
    let (mut said, mut count) = (Said::default(), 0);
    while let Some(mut part) = form.next().await? {
        match part.name().unwrap_or_default() {
            "dirTree" => said.list = Some(small(part, "dirTree").await?),
            "tags" => said.tags = small::<Option<_>>(part, "tags").await?.unwrap_or_default(),
            "properties" => {
                said.properties = small::<Option<_>>(part, "properties").await?.unwrap_or_default();
            }
            "files" => {
                count += 1;
                if count > MOST_FILES {
                    return Err(Error::invalid(format!("a snapshot has at most {MOST_FILES} files")));
                }
                keep(call, open, part).await?;
            }
            _ => while part.chunk().await.map_err(|_| broken())?.is_some() {},
        }
    }
    Ok(said)
}

/// A part that is JSON.
async fn small<T: DeserializeOwned>(mut part: Field<'_>, name: &str) -> CoreResult<T> {
    let mut text = Vec::new();
    while let Some(piece) = part.chunk().await.map_err(|_| broken())? {
        text.extend_from_slice(&piece);
        if text.len() > LARGEST_BODY {
            return Err(Error::too_large(format!("the part `{name}` is larger than {LARGEST_BODY} bytes")));
        }
    }
    // The parser's own words can quote the value that it failed on.
    serde_json::from_slice(&text)
        .map_err(|_| Error::invalid(format!("the part `{name}` does not have the shape of this operation")))
}

async fn keep(call: &Call, open: Id, part: Field<'_>) -> CoreResult<()> {
    let path = part.file_name().map(decoded).filter(|path| !path.is_empty());
    let path = plain(&path.ok_or_else(|| {
        Error::invalid("a part `files` has no file name").hint("name the file's path within the folder")
    })?)?;
    let owner = move |_: &mut Tx<'_>| Ok(open);
    let blob = artifact_files::receive_pieces(&call.app, owner, media_type(&path), part, Expected::default())
        .await?;
    let (id, person) = (blob.id, call.person);
    let kept = call.write(Permission::Write, move |tx, _| {
        artifact_files::keep(tx, open, &path, &blob, Some(person)).map(|_| ())
    });
    artifact_files::or_give_up(&call.app, id, kept.await).await
}

/// A file name as .NET sends those that are not ASCII: `=?utf-8?B?BASE64?=` (RFC 2047).
fn decoded(name: &str) -> String {
    let encoded = name
        .get(..10)
        .filter(|start| start.eq_ignore_ascii_case("=?utf-8?b?"))
        .and_then(|_| name[10..].strip_suffix("?="));
    let bytes = encoded.and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| name.to_owned())
}

/// The files that the parent lends the unfinished snapshot. An error when the form had one that is not listed.
async fn lent(
    call: &Call,
    open: Id,
    parent: Option<String>,
    listed: Map<String, Value>,
) -> CoreResult<Vec<(String, BlobRef)>> {
    call.read(Permission::Write, move |tx, scope| {
        let sent = by_path(tx, open)?;
        if let Some(path) = sent.keys().find(|path| !listed.contains_key(*path)) {
            return Err(Error::invalid(format!("`dirTree` does not list the file `{}`", shortened(path))));
        }
        let Some(parent) = &parent else { return Ok(Vec::new()) };
        let parent = find(tx, scope, parent)?;
        let known = hashes(&parent.doc.tree);
        let lent = by_path(tx, parent.id)?;
        let unchanged = |path: &String| !sent.contains_key(path) && known.get(path) == listed.get(path);
        Ok(lent.into_iter().filter(|(path, _)| listed.contains_key(path) && unchanged(path)).collect())
    })
    .await
}

/// The files that are there, by their sizes, as `DirTreeNode`.
fn tree(listed: &Map<String, Value>, there: &BTreeMap<String, u64>, now: Timestamp) -> Value {
    let now = now.rfc3339();
    let node = |name: &str, sort: &str, hash: &Value, size: u64| json!({ "name": name, "hash": hash, "type": sort, "timestamp": now, "sizeBytes": size, "children": {} });
    let mut root = node("", "Directory", &json!(""), 0);
    for (path, size) in there {
        let mut at = &mut root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let child = match parts.peek() {
                Some(_) => node(part, "Directory", &json!(""), 0),
                None => node(part, "File", &listed[path], *size),
            };
            let children = &mut at["children"];
            if children.get(part).is_none() {
                children[part] = child;
            }
            at = &mut children[part];
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(nodes: &[(&str, Option<&str>, &str, bool)]) -> CoreResult<Map<String, Value>> {
        let files: Vec<Value> = nodes
            .iter()
            .map(|(id, parent, name, is_file)| {
                json!({ "id": id, "parentId": parent, "name": name, "isFile": is_file, "hash": is_file.then_some("h") })
            })
            .collect();
        serde_json::from_value::<List>(json!({ "files": files })).unwrap().hashes()
    }

    #[test]
    fn paths_of_a_flat_list() {
        let found = list(&[
            ("0", None, "folder", false),
            ("1", Some("0"), "a.py", true),
            ("2", Some("0"), "sub", false),
            ("3", Some("2"), "b.py", true),
        ]);
        let found = found.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.py", "sub/b.py"]);
        for wrong in [
            &[("0", Some("1"), "a", false), ("1", Some("0"), "b", false), ("2", Some("1"), "c", true)][..],
            &[("0", None, "f", false), ("0", Some("0"), "c", true)],
            &[("0", None, "f", false), ("1", Some("0"), "..", true)],
            &[("0", None, "f", false), ("1", Some("0"), "a/b", true)],
            &[("0", None, "f", false), ("1", Some("9"), "a", true)],
            &[("0", None, "f", false), ("1", Some("0"), "a", true), ("2", Some("0"), "a", true)],
            &[("0", None, "f", false), ("1", Some("0"), "a", true), ("2", Some("0"), "a", false)],
            &[("0", None, "f", false), ("1", None, "a", true), ("2", Some("0"), "a", false)],
            &[("0", None, "f", true), ("1", Some("0"), "a", true)],
        ] {
            assert!(list(wrong).is_err(), "{wrong:?}");
        }
        let same_name = [("0", None, "a", false), ("1", Some("0"), "a", false), ("2", Some("1"), "a", true)];
        assert!(list(&same_name).unwrap().contains_key("a/a"));
        for hash in [Value::Null, json!("")] {
            let file = json!({ "id": "1", "parentId": null, "name": "a", "isFile": true, "hash": hash });
            assert!(serde_json::from_value::<List>(json!({ "files": [file] })).unwrap().hashes().is_err());
        }
    }

    #[test]
    fn names_that_are_not_ascii() {
        assert_eq!(decoded("=?utf-8?B?w6QucHk=?="), "ä.py");
        for plain in ["a.py", "=?utf-8?B?%%?=", "=?x", "ä.py"] {
            assert_eq!(decoded(plain), plain);
        }
    }

    #[test]
    fn the_tree_has_what_is_there() {
        let listed = Map::from_iter([("a.py".to_owned(), json!("1")), ("s/b.py".to_owned(), json!("2"))]);
        let there = BTreeMap::from([("a.py".to_owned(), 3), ("s/b.py".to_owned(), 4)]);
        let found = tree(&listed, &there, Timestamp(0));
        assert_eq!(hashes(&found), listed);
        assert_eq!(found["children"]["s"]["children"]["b.py"]["sizeBytes"], 4);
    }
}
