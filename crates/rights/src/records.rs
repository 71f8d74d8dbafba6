//! `records/`: what archives carry as it is stored, so that another Habeas takes it in unchanged. JSON Lines, a file for each four MiB of a
//! kind, each line a [`Record`].
//!
//! The person and their login names have ids that only this server knows. They are written so that what is brought elsewhere is written there
//! in the same way: the person as the id of zeros, names by their place in the record.

use std::collections::HashMap;
use std::io::Write;

use habeas_core::import::{Record, RecordFile};
use habeas_core::kinds::KeyPair;
use habeas_core::node::{RawNode, Relation};
use habeas_core::{BlobRef, Bundle as _, ErrorKind, Id, Kind, Result, Timestamp, crypto, registry};

use crate::archive::{Archive, JSON_LINES};
use crate::holdings::kind_name;

/// Bytes after which a file is full.
const FULL: usize = 4 << 20;
/// Parents that are remembered.
const PARENTS: usize = 10_000;

/// The records of one kind on their way into an archive.
pub(crate) struct Records {
    person: Id,
    kind: Kind,
    is_carried: bool,
    /// Parents that were asked about: whether they are in the archive in this form, too.
    above: HashMap<Id, bool>,
    lines: Vec<u8>,
    files: u32,
}

impl Records {
    pub(crate) fn new(person: Id, kind: Kind) -> Records {
        let is_carried = registry::carried_kinds().contains(&kind);
        Records { person, kind, is_carried, above: HashMap::new(), lines: Vec::new(), files: 0 }
    }

    /// Adds a resource, if its kind is carried.
    pub(crate) fn add<W: Write>(&mut self, archive: &mut Archive<W>, node: &RawNode) -> Result<()> {
        if !self.is_carried || !self.stands_in_carried(archive, node)? {
            return Ok(());
        }
        let mut node = node.clone();
        let (mut names, mut files, mut metrics, mut is_made) = (Vec::new(), Vec::new(), None, false);
        let (mut is_theirs, mut about) = (true, Vec::new());
        let person = self.person;
        let is_carried = registry::ops(self.kind).carry(&mut node, &mut |carried| {
            for found in carried.persons {
                *found = found.filter(|id| *id == person).map(|_| Id::NIL);
            }
            if let Some(found) = carried.addressee {
                is_theirs = *found == person;
                *found = Id::NIL;
            }
            about = carried.about;
            for found in carried.login_names {
                let name = found.map(|id| archive.title(id)).transpose()?.flatten();
                *found = name.map(|name| numbered(&mut names, name));
            }
            for (path, blob) in carried.files {
                files.push(RecordFile { path, size: blob.size, sha256: String::new() });
                // Where it lies, and the key that opens it, are this server's own.
                let (size, media_type) = (blob.size, std::mem::take(&mut blob.media_type));
                *blob =
                    BlobRef { id: Id::NIL, key: crypto::SecretKey::from_bytes([0; 32]), size, media_type };
            }
            for keys in carried.keys {
                *keys = KeyPair { primary: String::new(), secondary: String::new() };
            }
            is_made = carried.is_made;
            // Of what the kind exported of it, just before.
            metrics = carried
                .metrics
                .filter(|path| archive.entries.iter().rev().take(4).any(|entry| entry.path == *path));
            Ok(())
        });
        match is_carried {
            Ok(true) => {}
            // What no other server would take is in the archive in the kind's own form only.
            Err(error) if error.kind == ErrorKind::Invalid => return Ok(()),
            other => return other.map(|_| ()),
        }
        if !is_theirs {
            return Ok(());
        }
        for id in about {
            if !self.is_carried_too(archive, id)? {
                return Ok(());
            }
        }
        let mut origins =
            |relation| if is_made { archive.targets(node.id, relation) } else { Ok(Vec::new()) };
        let made_from = origins(Relation::MadeFrom)?.into_iter().map(|(origin, _)| origin).collect();
        let source_erased = origins(Relation::SourceErased)?.first().map(|(_, since)| since.rfc3339());
        let record = Record {
            kind: kind_name(self.kind),
            id: node.id,
            parent: node.parent.filter(|parent| *parent != person).unwrap_or(Id::NIL),
            created: node.created_at.rfc3339(),
            updated: node.updated_at.rfc3339(),
            expires: node.expires_at.map(Timestamp::rfc3339),
            doc: serde_json::from_slice(&node.doc)?,
            login_names: (0..).map(nth).zip(names).collect(),
            files,
            metrics,
            made_from,
            source_erased,
        };
        serde_json::to_writer(&mut self.lines, &record)?;
        self.lines.push(b'\n');
        if self.lines.len() >= FULL { self.write(archive) } else { Ok(()) }
    }

    /// Whether a resource of the person is carried, such that what is about it can be.
    fn is_carried_too<W: Write>(&mut self, archive: &Archive<W>, id: Id) -> Result<bool> {
        let (carried, person) = (registry::carried_kinds(), self.person);
        let found = archive.runtime.block_on(archive.store.read(move |tx| tx.raw(id)))?;
        let Some(mut node) = found.filter(|node| node.holder == person && carried.contains(&node.kind))
        else {
            return Ok(false);
        };
        Ok(registry::ops(node.kind).carry(&mut node, &mut |_| Ok(())).is_ok()
            && self.stands_in_carried(archive, &node)?)
    }

    /// Whether all that it stands under is carried, up to the person, and such that a server would take it.
    fn stands_in_carried<W: Write>(&mut self, archive: &Archive<W>, node: &RawNode) -> Result<bool> {
        // An unfinished import is nobody's yet.
        let Some(parent) = node.parent.filter(|_| !is_unfinished(node)) else { return Ok(false) };
        if let Some(known) = self.above.get(&parent) {
            return Ok(*known);
        }
        let (carried, person) = (registry::carried_kinds(), self.person);
        let found = archive.runtime.block_on(archive.store.read(move |tx| {
            let mut at = parent;
            while at != person {
                let Some(mut node) = tx.raw(at)? else { return Ok(false) };
                let is_carried = !is_unfinished(&node)
                    && carried.contains(&node.kind)
                    && registry::ops(node.kind).carry(&mut node, &mut |_| Ok(())).is_ok();
                match node.parent.filter(|_| is_carried) {
                    Some(above) => at = above,
                    None => return Ok(false),
                }
            }
            Ok(true)
        }))?;
        if self.above.len() >= PARENTS {
            self.above.clear();
        }
        self.above.insert(parent, found);
        Ok(found)
    }

    /// Writes what is left.
    pub(crate) fn finish<W: Write>(mut self, archive: &mut Archive<W>) -> Result<()> {
        if self.lines.is_empty() { Ok(()) } else { self.write(archive) }
    }

    fn write<W: Write>(&mut self, archive: &mut Archive<W>) -> Result<()> {
        self.files += 1;
        let path = format!("records/{}-{}.jsonl", kind_name(self.kind), self.files);
        let lines = std::mem::take(&mut self.lines);
        archive.file(&path, JSON_LINES, &lines)
    }
}

/// A workspace or account that has an end is one that is being brought.
fn is_unfinished(node: &RawNode) -> bool {
    registry::is_carried_root(node.kind) && node.expires_at.is_some()
}

/// The id that stands for a name in its record.
fn numbered(names: &mut Vec<String>, name: String) -> Id {
    let place = names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    nth(place as u64)
}

fn nth(place: u64) -> Id {
    Id::from_bytes(u128::from(place + 1).to_be_bytes())
}
