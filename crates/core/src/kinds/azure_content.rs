//! What stands beside runs in Azure Machine Learning: assets, snapshots of source folders, datastores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::custom_vision::BASIS;
use super::tracking::{RECIPIENTS, SERVICE};
use crate::{
    About, Attrs, Bundle, Carried, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, View,
};

/// Where all of these stand.
const PARENTS: &[Kind] = &[Kind::Workspace, Kind::ExperimentationProject];

/// A file that an asset consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetFile {
    /// Its path within the asset; none when the asset is that file.
    pub path: Option<String>,
    /// The artifact, `ORIGIN/CONTAINER/PATH`.
    pub artifact: String,
}

/// What an asset was at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetVersion {
    /// Its name among the versions.
    pub version: String,
    /// What sort of thing its maker says it is.
    pub sort: Option<String>,
    /// Whether it is a folder of files, not one file.
    pub folder: bool,
    /// The files.
    pub files: Vec<AssetFile>,
    /// What its maker noted.
    pub properties: BTreeMap<String, String>,
}

/// An asset: a name for files, with versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetDoc {
    /// Its name, unique in the workspace or project.
    pub name: String,
    /// Its versions, oldest first; the last is current.
    pub versions: Vec<AssetVersion>,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::Asset`].
#[derive(Debug)]
pub struct Asset;

impl DataKind for Asset {
    const KIND: Kind = Kind::Asset;
    const PARENTS: &'static [Kind] = PARENTS;
    const ABOUT: About = About {
        service: SERVICE,
        title: "Assets",
        purpose: "to find files again by a name and a version",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = AssetDoc;

    fn example() -> AssetDoc {
        AssetDoc {
            name: "leaves".into(),
            versions: vec![AssetVersion {
                version: "1".into(),
                sort: Some("model".into()),
                folder: false,
                files: vec![AssetFile {
                    path: Some("leaves.onnx".into()),
                    artifact: "ExperimentRun/dcid.run/outputs/leaves.onnx".into(),
                }],
                properties: BTreeMap::from([("team".to_owned(), "forest".to_owned())]),
            }],
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &AssetDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &AssetDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &AssetDoc, _out: &mut Attrs) {}

    fn classify(doc: &AssetDoc, map: &mut DataMap) {
        let AssetDoc { name, versions, created_by } = doc;
        map.field(name, "name", FieldClass::Content, "to find it again");
        map.field(
            versions,
            "versions",
            FieldClass::Personal,
            "paths of its files, and what its maker noted; may name a person",
        );
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<AssetDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Versions", node.doc.versions.len())
            .fact("Made", node.created_at)
    }

    fn export(node: &Node<AssetDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("tracking/assets/{}.json", node.id),
            &json!({
                "assetId": node.id,
                "name": node.doc.name,
                "versions": node.doc.versions,
                "created": node.created_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<AssetDoc>, _why: Erasure) -> Fate<AssetDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<AssetDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// A snapshot of a source folder. Its files stand under it as artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDoc {
    /// The id that its client gave it; that of the resource while files are still being uploaded.
    pub name: String,
    /// Whether it is finished; what is not goes after a day.
    pub complete: bool,
    /// The tree of folders and files with names, times and hashes, as its client sent it.
    pub tree: Value,
    /// The snapshot before it, by the id that its client gave it.
    pub parent: Option<String>,
    /// The repository it was said to come from.
    pub source: Option<String>,
    /// What its client noted, such as the commit and the author's repository.
    pub properties: BTreeMap<String, String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::Snapshot`].
#[derive(Debug)]
pub struct Snapshot;

impl DataKind for Snapshot {
    const KIND: Kind = Kind::Snapshot;
    const PARENTS: &'static [Kind] = PARENTS;
    const ABOUT: About = About {
        service: SERVICE,
        title: "Snapshots of source folders",
        purpose: "to tell with which code a run was made",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = SnapshotDoc;

    fn example() -> SnapshotDoc {
        SnapshotDoc {
            name: "aa10612b-db7f-44e1-8933-79c4bc76cda8".into(),
            complete: true,
            tree: json!({ "name": "", "type": "Directory", "children": {} }),
            parent: Some("00000000-0000-0000-0000-000000000000".into()),
            source: Some("https://example.org/leaves.git".into()),
            properties: BTreeMap::from([("azureml.git.branch".to_owned(), "main".to_owned())]),
            tags: BTreeMap::from([("stage".to_owned(), "draft".to_owned())]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &SnapshotDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &SnapshotDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &SnapshotDoc, _out: &mut Attrs) {}

    fn classify(doc: &SnapshotDoc, map: &mut DataMap) {
        let SnapshotDoc { name, complete, tree, parent, source, properties, tags, created_by } = doc;
        map.field(name, "name", FieldClass::Technical, "random id that its client gave it");
        map.field(complete, "complete", FieldClass::Technical, "whether it is finished");
        map.field(
            tree,
            "tree",
            FieldClass::Personal,
            "names, times and hashes of its files; a path may name a person",
        );
        map.field(parent, "parent", FieldClass::Technical, "id of the snapshot before it");
        map.field(source, "source", FieldClass::Personal, "its repository; an address may name a person");
        map.field(
            properties,
            "properties",
            FieldClass::Personal,
            "what its client noted, such as commit and repository; may name a person",
        );
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<SnapshotDoc>) -> View {
        View::new(format!("Snapshot {}", node.doc.name))
            .optional("Repository", node.doc.source.as_ref())
            .fact("State", if node.doc.complete { "finished" } else { "being uploaded" })
            .fact("Made", node.created_at)
    }

    fn export(node: &Node<SnapshotDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("tracking/snapshots/{}.json", node.id),
            &json!({
                "id": doc.name,
                "complete": doc.complete,
                "root": doc.tree,
                "parentSnapshotId": doc.parent,
                "source": doc.source,
                "properties": doc.properties,
                "tags": doc.tags,
                "created": node.created_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<SnapshotDoc>, _why: Erasure) -> Fate<SnapshotDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<SnapshotDoc>) -> Result<Option<Carried<'_>>> {
        Ok(Some(Carried { persons: vec![&mut node.doc.created_by], ..Carried::default() }))
    }
}

/// A datastore: a note of where a team keeps data. Nothing of it is read or written by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatastoreDoc {
    /// Its name, unique in the workspace or project.
    pub name: String,
    /// What sort of store it is, such as `AzureBlob`.
    pub sort: String,
    /// Whether it is the one that is used where none is named.
    pub is_default: bool,
    /// Account, container and the like, as the client sent them, without secrets.
    pub settings: Map<String, Value>,
    /// Keys and passwords by their places among the settings, such as `azureStorageSection/accountKey`. They are never given back.
    pub secrets: BTreeMap<String, String>,
    /// What its users noted.
    pub tags: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: Option<Id>,
}

/// [`Kind::Datastore`].
#[derive(Debug)]
pub struct Datastore;

impl DataKind for Datastore {
    const KIND: Kind = Kind::Datastore;
    const PARENTS: &'static [Kind] = PARENTS;
    const ABOUT: About = About {
        service: SERVICE,
        title: "Datastores",
        purpose: "to tell where a team keeps its data",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: RECIPIENTS,
    };
    type Doc = DatastoreDoc;

    fn example() -> DatastoreDoc {
        let section = json!({ "accountName": "leaves", "containerName": "images" });
        DatastoreDoc {
            name: "images".into(),
            sort: "AzureBlob".into(),
            is_default: true,
            settings: Map::from_iter([("azureStorageSection".to_owned(), section)]),
            secrets: BTreeMap::from([("azureStorageSection/accountKey".to_owned(), "key".to_owned())]),
            tags: BTreeMap::from([("team".to_owned(), "forest".to_owned())]),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &DatastoreDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn maker(doc: &DatastoreDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &DatastoreDoc, _out: &mut Attrs) {}

    fn classify(doc: &DatastoreDoc, map: &mut DataMap) {
        let DatastoreDoc { name, sort, is_default, settings, secrets, tags, created_by } = doc;
        map.field(name, "name", FieldClass::Content, "to find it again");
        map.field(sort, "sort", FieldClass::Technical, "what sort of store it is");
        map.field(is_default, "is_default", FieldClass::Technical, "whether it is used where none is named");
        map.field(
            settings,
            "settings",
            FieldClass::Personal,
            "account, container and address; may name a person",
        );
        map.field(secrets, "secrets", FieldClass::Secret, "what opens the store elsewhere; never given back");
        map.field(tags, "tags", FieldClass::Personal, "what its users noted; may name a person");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<DatastoreDoc>) -> View {
        View::new(node.doc.name.clone())
            .fact("Sort", &node.doc.sort)
            .fact("Secrets kept", node.doc.secrets.len())
            .fact("Made", node.created_at)
    }

    fn export(node: &Node<DatastoreDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("tracking/datastores/{}.json", node.id),
            &json!({
                "name": doc.name,
                "dataStoreType": doc.sort,
                "default": doc.is_default,
                "settings": doc.settings,
                "secrets": doc.secrets.keys().collect::<Vec<_>>(),
                "tags": doc.tags,
                "created": node.created_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<DatastoreDoc>, _why: Erasure) -> Fate<DatastoreDoc> {
        Fate::Delete
    }

    fn carry(node: &mut Node<DatastoreDoc>) -> Result<Option<Carried<'_>>> {
        let DatastoreDoc { secrets, created_by, .. } = &mut node.doc;
        secrets.clear();
        Ok(Some(Carried { persons: vec![created_by], ..Carried::default() }))
    }
}
