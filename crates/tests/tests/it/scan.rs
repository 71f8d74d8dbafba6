//! Looking for markers: in every file, raw and encoded, and in everything that today's keyring opens.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use habeas_core::kind::HolderKind;
use habeas_core::{BlobRef, Id, Kind};
use habeas_store::Store;

/// The forms in which a marker could lie somewhere.
fn forms(marker: &str) -> Vec<Vec<u8>> {
    let bytes = marker.as_bytes();
    let mut forms = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        marker.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        marker.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        marker.to_uppercase().into_bytes(),
    ];
    for offset in 0..3 {
        // In base64 a text looks different at each offset; the first and last characters depend on the neighbours.
        let mut padded = vec![0; offset];
        padded.extend_from_slice(bytes);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            forms.push(text.as_bytes()[offset + 1..text.len() - 2].to_vec());
        }
    }
    forms
}

/// Which markers are in these bytes. One pass for all of them: a table of first byte pairs says where it is worth looking.
pub(crate) fn found<'a>(bytes: &[u8], markers: &'a [String]) -> Vec<&'a str> {
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let forms: Vec<(usize, Vec<u8>)> = markers
        .iter()
        .enumerate()
        .flat_map(|(number, marker)| forms(marker).into_iter().map(move |form| (number, form)))
        .collect();
    let mut worth = vec![false; 1 << 16];
    for (_, form) in &forms {
        worth[pair(form)] = true;
    }
    let mut hit = vec![false; markers.len()];
    for at in 0..bytes.len().saturating_sub(1) {
        if worth[pair(&bytes[at..])] {
            for (number, form) in &forms {
                hit[*number] |= bytes[at..].starts_with(form);
            }
        }
    }
    markers.iter().zip(hit).filter(|(_, hit)| *hit).map(|(marker, _)| marker.as_str()).collect()
}

/// Which markers are in the files below `folder`, as they lie on disk, and in their names.
pub(crate) fn on_disk(folder: &Path, markers: &[String]) -> Vec<String> {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        hits.extend(
            found(name.as_bytes(), markers).into_iter().map(|marker| format!("{marker} in the name {name}")),
        );
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            hits.extend(on_disk(&path, markers));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            hits.extend(
                found(&bytes, markers).into_iter().map(|marker| format!("{marker} in {}", path.display())),
            );
        }
    }
    hits
}

/// Which markers are in the documents and files that the keyring opens.
pub(crate) async fn opened(store: &Store, markers: &[String]) -> Vec<String> {
    let mut hits = Vec::new();
    let mut holders = vec![Id::NIL];
    for sort in [HolderKind::Person, HolderKind::Organisation] {
        holders.extend(
            store
                .read(move |tx| tx.holders(sort, Id::NIL, 10_000))
                .await
                .unwrap()
                .into_iter()
                .map(|(id, _)| id),
        );
    }
    for holder in holders {
        for &kind in Kind::ALL {
            for node in store.read(move |tx| tx.held(holder, kind, Id::NIL, 10_000)).await.unwrap() {
                hits.extend(
                    found(&node.doc, markers).into_iter().map(|marker| format!("{marker} in {kind:?}")),
                );
                let run = node.id;
                for metric in store.read(move |tx| tx.latest_metrics(run)).await.unwrap() {
                    hits.extend(
                        found(metric.name.as_bytes(), markers)
                            .into_iter()
                            .map(|marker| format!("{marker} in a metric of {kind:?}")),
                    );
                }
                for blob in blobs(&serde_json::from_slice(&node.doc).unwrap()) {
                    let bytes = store.blobs().get(&blob).await.unwrap();
                    hits.extend(
                        found(&bytes, markers)
                            .into_iter()
                            .map(|marker| format!("{marker} in a file of {kind:?}")),
                    );
                }
            }
        }
    }
    hits
}

/// The references to files in a document.
pub(crate) fn blobs(value: &serde_json::Value) -> Vec<BlobRef> {
    match value {
        serde_json::Value::Array(items) => items.iter().flat_map(blobs).collect(),
        serde_json::Value::Object(members) => match serde_json::from_value(value.clone()) {
            Ok(blob) => vec![blob],
            Err(_) => members.values().flat_map(blobs).collect(),
        },
        _ => Vec::new(),
    }
}
