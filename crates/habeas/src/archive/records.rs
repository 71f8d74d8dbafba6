//! `records/`: what an archive carries as it was stored: workspaces, accounts and clusters, the roots, with all that stands in them.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use anyhow::Context as _;
use bytes::Bytes;
use habeas_core::import::{self, Origin, Point, Record};
use habeas_core::{Id, Kind, registry};
use tokio::sync::mpsc;

use super::bring::{DERIVED, Import, TOUCH_AFTER, derived};
use super::check::{Checked, Refused, refused};

const FOLDER: &str = "records/";

/// Ids that are asked about at once.
const ASKED: usize = 5_000;
/// Points of metrics that are sent at once.
const POINTS: usize = 5_000;
/// Bytes of a file that are read at once, and how many such pieces may wait.
const PIECE: usize = 1 << 20;
const PIECES: usize = 2;

/// Where a carried resource stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    kind: Kind,
    root: Id,
}

/// The carried resources of an archive.
#[derive(Debug, Default)]
pub(super) struct Records {
    places: HashMap<Id, Place>,
    /// The roots themselves.
    roots: Vec<Record>,
    /// The files that hold the others, in the order in which they are to be brought.
    files: Vec<String>,
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    pub(super) fn roots(&self) -> u64 {
        self.roots.len() as u64
    }

    /// How many there are, roots and all.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl Checked {
    /// Reads every record as it will be brought: each is of a kind that is carried, stands where it may, says where its files are, and no id
    /// is there twice.
    pub(super) fn check_records(&mut self) -> Result<(), Refused> {
        let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let paths: Vec<String> = self.starting(FOLDER).cloned().collect();
        for path in &paths {
            let kind = path[FOLDER.len()..].rsplit_once('-').map_or("", |(kind, _)| kind);
            by_kind.entry(kind).or_default().push(path.clone());
        }
        let kinds = registry::carried_kinds();
        let is_known = |name: &&str| kinds.iter().any(|kind| format!("{kind:?}") == **name);
        if let Some(unknown) = by_kind.keys().find(|name| !is_known(name)) {
            return Err(Refused(format!("{FOLDER}{unknown} is of a kind that this version does not know")));
        }
        let mut records = Records::default();
        for &kind in kinds {
            for path in by_kind.remove(format!("{kind:?}").as_str()).unwrap_or_default() {
                for (number, line) in self.lines(&path)?.lines().enumerate() {
                    self.check_record(&mut records, kind, line)
                        .map_err(|error| Refused(format!("{path}, line {}: {}", number + 1, error.0)))?;
                }
                if !registry::is_carried_root(kind) {
                    records.files.push(path);
                }
            }
        }
        self.records = records;
        Ok(())
    }

    fn check_record(&self, records: &mut Records, kind: Kind, line: &str) -> Result<(), Refused> {
        let record: Record =
            serde_json::from_str(line).map_err(|_| Refused("it is not what a Habeas writes there".into()))?;
        let mut node = record.node(Id::NIL).map_err(|error| refused(&error))?;
        if node.kind != kind || self.ids.contains(&record.id) {
            return Err(Refused("it is of another kind than its file, or its id is there twice".into()));
        }
        let root = match records.places.get(&record.parent) {
            _ if registry::is_carried_root(kind) => record.id,
            Some(above) if registry::ops(kind).parents().contains(&above.kind) => above.root,
            _ => return Err(Refused("what it stands under is not there".into())),
        };
        let mut is_whole = true;
        let mut about = Vec::new();
        registry::ops(kind)
            .carry(&mut node, &mut |carried| {
                about = carried.about;
                is_whole &= carried.files.len() == record.files.len();
                for ((path, blob), file) in carried.files.iter().zip(&record.files) {
                    is_whole &= *path == file.path
                        && blob.size == file.size
                        && self.sizes.get(path) == Some(&file.size);
                }
                is_whole &= record.metrics.is_none() || record.metrics == carried.metrics;
                Ok(())
            })
            .map_err(|error| refused(&error))?;
        if !is_whole || record.metrics.iter().any(|path| !self.digests.contains_key(path)) {
            return Err(Refused("a file that belongs to it is missing, or is another one".into()));
        }
        if record.source_erased.as_deref().is_some_and(|since| import::time(since).is_err()) {
            return Err(Refused("it says no time since when its source is erased".into()));
        }
        // What it is about was deleted, or made, while the archive was written: without that it says nothing.
        let is_there = |id: &Id| records.places.get(id).is_some_and(|place| place.root == root);
        if !about.iter().all(is_there) {
            return Ok(());
        }
        if records.places.insert(record.id, Place { kind, root }).is_some() {
            return Err(Refused("its id is there twice".into()));
        }
        if registry::is_carried_root(kind) {
            records.roots.push(record);
        }
        Ok(())
    }

    fn lines(&mut self, path: &str) -> Result<String, Refused> {
        String::from_utf8(self.content(path)?).map_err(|_| Refused(format!("{path} is not text")))
    }
}

impl Import<'_> {
    /// Brings the roots, unfinished, with all that stands in them.
    pub(super) async fn roots(&mut self) -> anyhow::Result<()> {
        let (client, person) = (self.target.client, self.target.person);
        for record in self.checked.records.roots.clone() {
            let mut record = Record { parent: person, ..record };
            let id = record.id;
            let here = self
                .put(id, async |id| {
                    record.id = id;
                    client.bring_workspace(&record).await
                })
                .await?;
            self.begin_with(id, here);
            self.unfinished_roots.push(record);
        }
        // Those that others are found by come first.
        self.choose_ids(Kind::is_container).await?;
        self.choose_ids(|kind| !kind.is_container()).await?;
        let mut brought = 0;
        let mut origins: HashMap<Id, Vec<Origin>> = HashMap::new();
        for path in self.checked.records.files.clone() {
            for line in self.checked.lines(&path)?.lines() {
                let Some((root, origin)) = self.record(line).await.with_context(|| path.clone())? else {
                    continue;
                };
                if !origin.made_from.is_empty() || origin.source_erased.is_some() {
                    origins.entry(root).or_default().push(origin);
                }
                brought += 1;
                if brought % TOUCH_AFTER == 0 {
                    for record in &self.unfinished_roots {
                        client.bring_workspace(record).await?;
                    }
                }
            }
        }
        // Only now: what something was made from may stand anywhere.
        for (root, origins) in origins {
            for some in pieces(&origins) {
                client.bring_origins(root, some).await?;
            }
        }
        Ok(())
    }

    /// The experiment that a workspace or project begins with is found by the id of that.
    fn begin_with(&mut self, id: Id, here: Id) {
        if here != id {
            self.ids.insert(turned(id), turned(here));
        }
    }

    /// Decides about all ids before anything refers to them: what is taken here is derived from the old id, the same in every run.
    async fn choose_ids(&mut self, is_meant: impl Fn(Kind) -> bool) -> anyhow::Result<()> {
        let mut waiting: HashMap<Id, Vec<(Id, Id)>> = HashMap::new();
        for (id, place) in &self.checked.records.places {
            if !registry::is_carried_root(place.kind) && is_meant(place.kind) {
                waiting.entry(self.here(place.root)).or_default().push((*id, self.here(*id)));
            }
        }
        for (workspace, mut ids) in waiting {
            for number in 0..=DERIVED {
                let mut taken = Vec::new();
                for some in ids.chunks(ASKED) {
                    let asked = some.iter().map(|(_, here)| *here).collect();
                    let found: std::collections::HashSet<Id> =
                        self.target.client.taken_ids(workspace, asked).await?.into_iter().collect();
                    taken.extend(some.iter().filter(|(_, here)| found.contains(here)).map(|(id, _)| *id));
                }
                if taken.is_empty() {
                    break;
                }
                if number == DERIVED {
                    return Err(Refused(format!(
                        "the id {} is taken here, and so is every one derived from it",
                        taken[0]
                    ))
                    .into());
                }
                ids = taken.iter().map(|id| (*id, derived(self.target.account, *id, number))).collect();
                self.ids.extend(ids.iter().copied());
            }
        }
        let places = &self.checked.records.places;
        let renamed: Vec<(Id, Id)> = self
            .ids
            .iter()
            .filter(|(old, _)| {
                let place = places.get(old);
                place.is_some_and(|place| !registry::is_carried_root(place.kind) && is_meant(place.kind))
            })
            .map(|(old, new)| (*old, *new))
            .collect();
        for &(old, new) in &renamed {
            self.begin_with(old, new);
        }
        self.report.remapped.extend(renamed);
        Ok(())
    }

    /// Brings a resource; its root here, and what it was made from. Nothing of one that says nothing without what is not there.
    async fn record(&mut self, line: &str) -> anyhow::Result<Option<(Id, Origin)>> {
        let original: Record = serde_json::from_str(line)?;
        let Some(place) = self.checked.records.places.get(&original.id) else { return Ok(None) };
        let root = self.here(place.root);
        let mut record: Record = serde_json::from_str(&renamed(line, &self.ids))?;
        let (made_from, source_erased) = (std::mem::take(&mut record.made_from), record.source_erased.take());
        let origin = Origin { id: record.id, made_from, source_erased };
        for (file, original) in record.files.iter_mut().zip(&original.files) {
            file.sha256 = self.checked.digests.get(&original.path).cloned().unwrap_or_default();
        }
        let (pieces, body) = mpsc::channel(PIECES);
        let archive = &mut self.checked.archive;
        let feed = async {
            for file in &original.files {
                let mut entry = archive.entry(&file.path).map_err(|error| refused(&error))?;
                loop {
                    let mut piece = Vec::new();
                    entry.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
                    // Whoever refuses a record does not read its files.
                    if piece.is_empty() || pieces.send(Bytes::from(piece)).await.is_err() {
                        break;
                    }
                }
            }
            drop(pieces);
            anyhow::Ok(())
        };
        let (fed, brought) = tokio::join!(feed, self.target.client.bring_record(root, &record, body));
        let brought = brought?;
        fed?;
        self.count(brought);
        if let Some(path) = &original.metrics {
            self.metrics(root, record.id, path).await?;
        }
        Ok(Some((root, origin)))
    }

    /// All points of the metrics of a run or model.
    async fn metrics(&mut self, root: Id, id: Id, path: &str) -> anyhow::Result<()> {
        let entry = self.checked.archive.entry(path).map_err(|error| refused(&error))?;
        let mut table = csv::Reader::from_reader(entry);
        let mut rows = table.records();
        loop {
            let points = rows
                .by_ref()
                .take(POINTS)
                .map(|row| row.ok().as_ref().and_then(|row| point(row, &self.ids)))
                .collect::<Option<Vec<Point>>>()
                .ok_or_else(|| Refused(format!("{path} is not a table of metrics")))?;
            if points.is_empty() {
                return Ok(());
            }
            self.target.client.bring_metrics(root, id, &points).await?;
        }
    }
}

/// A point; the name of a logged model's metric may say which run logged it.
fn point(row: &csv::StringRecord, ids: &HashMap<Id, Id>) -> Option<Point> {
    let [metric, timestamp, step, value] = [0, 1, 2, 3].map(|column| row.get(column));
    Some(Point {
        metric: renamed(metric?, ids),
        timestamp: timestamp?.parse().ok()?,
        step: step?.parse().ok()?,
        value: value?.to_owned(),
    })
}

/// Origins in pieces, each of which a server takes at once.
fn pieces(origins: &[Origin]) -> impl Iterator<Item = &[Origin]> {
    let mut ids = 0;
    let mut number = 0;
    origins.chunk_by(move |_, next| {
        number += 1;
        ids += 1 + next.made_from.len();
        let fits = ids < ASKED && number < ASKED;
        if !fits {
            (ids, number) = (0, 0);
        }
        fits
    })
}

/// The id with every bit turned.
fn turned(id: Id) -> Id {
    Id::from_bytes(id.as_bytes().map(|byte| !byte))
}

/// A text in which ids that have other ones here are renamed, in the two forms in which they are written: with hyphens, and as 32 digits.
pub(super) fn renamed(text: &str, ids: &HashMap<Id, Id>) -> String {
    if ids.is_empty() {
        return text.to_owned();
    }
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let found = [36, 32].into_iter().find_map(|length| {
            let candidate = text.get(at..at + length)?;
            let ends = !bytes.get(at + length).is_some_and(u8::is_ascii_hexdigit);
            let begins = at == 0 || !bytes[at - 1].is_ascii_hexdigit();
            let hyphens = candidate.contains('-') == (length == 36);
            let id = (begins && ends && hyphens && candidate.bytes().all(is_part))
                .then(|| candidate.parse::<Id>().ok())??;
            let new = ids.get(&id)?;
            Some((length, if length == 36 { new.to_string() } else { new.to_hex() }))
        });
        match found {
            Some((length, new)) => {
                out.push_str(&new);
                at += length;
            }
            None => {
                let letter = text[at..].chars().next().map_or(1, char::len_utf8);
                out.push_str(&text[at..at + letter]);
                at += letter;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_renamed_wherever_they_stand_and_nothing_else_is() {
        let (old, new): (Id, Id) = ("0198a7b0-0000-7000-8000-00000000000a".parse().unwrap(), Id::NIL);
        let ids = HashMap::from([(old, new)]);
        let text =
            format!("{{\"ä{old}\": \"m-{}/x {old}-{}0 a{}\"}}", old.to_hex(), old.to_hex(), old.to_hex());
        let expected =
            format!("{{\"ä{new}\": \"m-{}/x {new}-{}0 a{}\"}}", new.to_hex(), old.to_hex(), old.to_hex());
        assert_eq!(renamed(&text, &ids), expected);
        assert_eq!(renamed(&text, &HashMap::new()), text);
    }
}
