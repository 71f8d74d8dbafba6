//! Documents as every version has written them: `fixtures/documents/KIND.VERSION.json`, added to and never changed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use habeas_core::node::{RawNode, Relation};
use habeas_core::{BlobRef, Bundle, Erasure, Id, Kind, Result, Timestamp, registry};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/documents")
}

/// The documents of each kind by version.
fn documents() -> BTreeMap<String, BTreeMap<u32, Vec<u8>>> {
    let mut documents: BTreeMap<String, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    for file in std::fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let [kind, version, "json"] = name.split('.').collect::<Vec<_>>()[..] else {
            panic!("{name} is not called KIND.VERSION.json");
        };
        let bytes = std::fs::read(&path).unwrap();
        documents.entry(kind.to_owned()).or_default().insert(version.parse().unwrap(), bytes);
    }
    documents
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Bundle for Nowhere {
    fn json(&mut self, _: &str, _: &Value) -> Result<()> {
        Ok(())
    }

    fn row(&mut self, _: &str, columns: &[&str], values: &[String]) -> Result<()> {
        assert_eq!(columns.len(), values.len());
        Ok(())
    }

    fn blob(&mut self, _: &str, _: &BlobRef) -> Result<()> {
        Ok(())
    }

    fn metrics(&mut self, _: &str, _: Id) -> Result<()> {
        Ok(())
    }

    fn targets(&mut self, _: Id, _: Relation) -> Result<Vec<(Id, Timestamp)>> {
        Ok(Vec::new())
    }

    fn title(&mut self, _: Id) -> Result<Option<String>> {
        Ok(None)
    }
}

#[test]
fn a_document_of_any_version_is_seen_searched_exported_and_erased() {
    for (name, versions) in documents() {
        let kind = Kind::ALL.iter().copied().find(|kind| format!("{kind:?}") == name).unwrap();
        let ops = registry::ops(kind);
        for (version, doc) in versions {
            let node = RawNode {
                id: Id::from_bytes([1; 16]),
                kind,
                parent: None,
                holder: Id::from_bytes([2; 16]),
                container: Id::from_bytes([2; 16]),
                version: 1,
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
                expires_at: None,
                doc,
            };
            let open = || -> Result<()> {
                ops.view(&node)?;
                ops.attrs(&node.doc)?;
                ops.unique_name(&node.doc)?;
                ops.export(&node, &mut Nowhere)?;
                ops.erase(&node, Erasure::Holder)?;
                Ok(())
            };
            if let Err(error) = open() {
                panic!(
                    "a document of {name} as version {version} wrote it cannot be opened: {error}; has a new field no `#[serde(default)]`?"
                );
            }
        }
    }
}

/// Who changes a document leaves one of the new form here for those who change it next.
#[test]
fn the_newest_document_of_every_kind_is_what_is_written_today() {
    let documents = documents();
    for &kind in Kind::ALL {
        let today = registry::ops(kind).example_json();
        let newest = documents.get(&format!("{kind:?}")).and_then(BTreeMap::last_key_value);
        let known = newest.map(|(_, doc)| serde_json::from_slice::<Value>(doc).unwrap());
        let next = newest.map_or(1, |(version, _)| version + 1);
        let path = folder().join(format!("{kind:?}.{next}.json"));
        assert!(
            known.as_ref() == Some(&today),
            "write this to {}, and leave the others: {today}",
            path.display()
        );
    }
}
