//! Files sent in blocks: each block is a sealed blob of its own until the list of blocks makes one file of them.
//!
//! Which blocks there are, and their keys, is known in memory only: a file that is sent in blocks is there when its list is committed, or not
//! at all. After a restart its client begins again, and the blocks of before are collected with other abandoned uploads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use habeas_access::Permission;
use habeas_core::kinds::ArtifactDoc;
use habeas_core::{BlobRef, Error, Id, Node, Result, Timestamp, fault, time};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::blobs::{Checked, Said};
use crate::artifact_files::{self, Expected};

/// Blocks of one file, as Azure's storage has it.
const MOST_BLOCKS: usize = 50_000;
/// Blocks that wait altogether: what they take of memory is some 300 bytes each.
const MOST_WAITING: usize = 200_000;
/// Bytes of a block's name.
const LONGEST_NAME: usize = 96;
/// How long blocks wait for their list: abandoned uploads are collected after this, too.
const WAIT: i64 = time::DAY;

/// What a file in the making is: its owner, its path, and who sends it.
type Key = (Id, String, Id);

/// The files that are being sent in blocks.
#[derive(Debug, Default)]
pub struct Blocks(Mutex<HashMap<Key, Upload>>);

#[derive(Debug)]
struct Upload {
    blocks: HashMap<String, BlobRef>,
    touched: Timestamp,
}

impl Blocks {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, Upload>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a block; the blobs that are of no more use: the block of the same name before it, and those nobody asked for within a day.
    fn add(&self, key: Key, name: &str, blob: BlobRef, now: Timestamp) -> Result<Vec<Id>> {
        self.with(|uploads| {
            let mut useless = Vec::new();
            uploads.retain(|_, upload| {
                let keep = now.0 - upload.touched.0 < WAIT;
                if !keep {
                    useless.extend(upload.blocks.values().map(|blob| blob.id));
                }
                keep
            });
            let waiting: usize = uploads.values().map(|upload| upload.blocks.len()).sum();
            if waiting >= MOST_WAITING {
                return Err(Error::busy("too many blocks wait for their lists").hint("try again later"));
            }
            let upload =
                uploads.entry(key).or_insert_with(|| Upload { blocks: HashMap::new(), touched: now });
            upload.touched = now;
            if upload.blocks.len() >= MOST_BLOCKS && !upload.blocks.contains_key(name) {
                return Err(Error::invalid(format!("a file has at most {MOST_BLOCKS} blocks"))
                    .hint("send larger ones")
                    .code("BlockCountExceedsLimit"));
            }
            useless.extend(upload.blocks.insert(name.to_owned(), blob).map(|old| old.id));
            Ok(useless)
        })
    }

    /// The blobs of a list of blocks, in its order; none when one is not there.
    fn listed(&self, key: &Key, names: &[String]) -> Option<Vec<BlobRef>> {
        self.with(|uploads| {
            let blocks = &uploads.get(key)?.blocks;
            names.iter().map(|name| blocks.get(name).cloned()).collect()
        })
    }

    /// Forgets a file in the making; the blobs of its blocks.
    fn remove(&self, key: &Key) -> Vec<Id> {
        self.with(|uploads| uploads.remove(key))
            .map(|upload| upload.blocks.values().map(|blob| blob.id).collect())
            .unwrap_or_default()
    }
}

fn key(checked: &Checked) -> Key {
    (checked.grant.owner, checked.grant.path.clone(), checked.grant.person)
}

/// `Put Block`.
pub(super) async fn put(checked: &Checked, name: &str, body: Body, expected: Expected) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Error::invalid("`blockid` is missing or too long").code("InvalidQueryParameterValue"));
    }
    let app = &checked.app;
    let owner = checked.owner(Permission::Write)?;
    let blob = artifact_files::receive(app, owner, "application/octet-stream", body, expected).await?;
    let id = blob.id;
    let added = app.blocks.add(key(checked), name, blob, app.store().ambient().now());
    let useless = match &added {
        Ok(useless) => useless.clone(),
        Err(_) => vec![id],
    };
    if !useless.is_empty() {
        artifact_files::give_up(app, &useless).await;
    }
    added.map(|_| ())
}

/// `Put Block List`: makes a file of the blocks it names, and forgets all others.
pub(super) async fn commit(checked: &Checked, list: &[u8], said: &Said) -> Result<Node<ArtifactDoc>> {
    let app = &checked.app;
    let names = parse(list)?;
    let key = key(checked);
    let blocks = app.blocks.listed(&key, &names).or_else(|| names.is_empty().then(Vec::new));
    let blocks = blocks.ok_or_else(|| {
        Error::invalid("the list names a block that was not sent, or was given up")
            .hint("send the blocks again; they do not outlive a restart of the server")
            .code("InvalidBlockList")
    })?;
    let owner = checked.owner(Permission::Write)?;
    let blob = artifact_files::join(app, owner, &said.media_type, &blocks, said.expected).await?;
    fault::point("artifact.blocks.joined");
    let node = checked.keep(blob).await?;
    fault::point("artifact.blocks.committed");
    artifact_files::give_up(app, &app.blocks.remove(&key)).await;
    Ok(node)
}

/// The names in a block list. All blocks are uncommitted ones here, since a file is never changed in part.
fn parse(list: &[u8]) -> Result<Vec<String>> {
    let wrong = || {
        Error::invalid(
            "the block list is not XML of the form <BlockList><Latest>NAME</Latest>...</BlockList>",
        )
        .code("InvalidXmlDocument")
    };
    let mut reader = Reader::from_reader(list);
    let (mut names, mut depth, mut name, mut seen) = (Vec::new(), 0_u32, String::new(), false);
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(|_| wrong())? {
            Event::Start(start) => {
                depth += 1;
                let known: &[&[u8]] = if depth == 1 { &[b"BlockList"] } else { &[b"Latest", b"Uncommitted"] };
                if depth > 2 || !known.contains(&start.local_name().as_ref()) {
                    return Err(wrong());
                }
                seen = true;
                name.clear();
            }
            Event::Text(text) => name.push_str(&text.decode().map_err(|_| wrong())?),
            Event::End(_) => {
                if depth == 2 {
                    names.push(name.trim().to_owned());
                }
                depth = depth.checked_sub(1).ok_or_else(wrong)?;
            }
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Empty(element) if depth == 0 && element.local_name().as_ref() == b"BlockList" => {
                seen = true;
            }
            _ => return Err(wrong()),
        }
        buffer.clear();
    }
    if names.len() > MOST_BLOCKS || names.iter().any(String::is_empty) || depth != 0 || !seen {
        return Err(wrong());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_lists_as_clients_write_them() {
        let list = b"<?xml version='1.0' encoding='utf-8'?>\n<BlockList><Latest>MDAw</Latest>\n <Uncommitted>MDAx</Uncommitted></BlockList>";
        assert_eq!(parse(list).unwrap(), ["MDAw", "MDAx"]);
        assert_eq!(parse(b"<BlockList />").unwrap(), Vec::<String>::new());
        for bad in [
            "",
            "x",
            "<Other/>",
            "<BlockList><Latest>a</BlockList>",
            "<BlockList><Committed>a</Committed></BlockList>",
            "<BlockList><Latest><b/></Latest></BlockList>",
            "<BlockList><Latest></Latest></BlockList>",
            "<BlockList><Latest>a</Latest>",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
