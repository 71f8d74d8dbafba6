//! The ledger: what was erased, revoked and receipted, appended and never changed. Random ids only.
//!
//! It lies beside the keyring and is, like it, never part of a data backup: a restored backup is brought up to date from it.
//!
//! A record at the very end that a crash cut off is what is left of an append that nobody was told of, and is removed; anything else that
//! does not match is damage, and the ledger refuses to open. How a record tells one from the other stands in `frame`.
//!
//! The receipts among the records are the log that others can verify: see `log`.

mod frame;
mod log;
#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use habeas_core::merkle::Hash;
use habeas_core::{Error, Id, Result, Timestamp, fault};
use serde::{Deserialize, Serialize};

use frame::Next;
use log::Log;

pub use log::{Inclusion, Rotation};

const NAME: &str = "ledger";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A container was erased; its keys are destroyed.
    ContainerErased {
        /// The container.
        container: Id,
    },
    /// A person, or an organisation, was erased with all containers.
    PersonErased {
        /// The holder.
        person: Id,
        /// Their containers.
        containers: Vec<Id>,
        /// The request that the erasure carries out: a backup from before may bring it back open. None for an organisation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Id>,
        /// The erasure, whose receipt has its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        erasure: Option<Id>,
        /// What legal holds keep of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held: Vec<KeptByHold>,
        /// Images in projects of others that go when those holds have ended: a backup brings them back without what ties them to the person.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held_copies: Vec<Id>,
        /// The receipt that is issued then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_receipt: Option<Id>,
        /// The recipients that are told of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recipients: Vec<Id>,
    },
    /// Items were erased from a container that stays.
    ItemErased {
        /// The items.
        items: Vec<Id>,
        /// The container they were in.
        container: Id,
    },
    /// An old key of a container was destroyed.
    GenerationDestroyed {
        /// The container.
        container: Id,
        /// The number of the key.
        generation: u32,
    },
    /// Exported models were revoked: what they were made from was erased.
    ModelsRevoked {
        /// SHA-256 of the model files, in hexadecimal.
        digests: Vec<String>,
    },
    /// A legal hold was placed, or its day was moved: the last record of it counts.
    HoldPlaced {
        /// The hold.
        hold: Id,
        /// What it keeps.
        target: Id,
        /// When it ends by itself.
        until: Option<Timestamp>,
        /// Its document, sealed under a key derived from its own, in Base64: unreadable once the hold has ended.
        sealed: String,
    },
    /// A legal hold ended.
    HoldReleased {
        /// The hold.
        hold: Id,
    },
    /// The profile of a person or organisation was sealed under a new key, since something in it was corrected: what older backups have of
    /// it cannot be read.
    ProfileResealed {
        /// The person or organisation.
        holder: Id,
        /// The number of the new key.
        generation: u32,
        /// The profile, sealed under a key derived from the new one, in Base64.
        sealed: String,
    },
    /// The processing of a person's data was restricted (GDPR Article 18), or no longer is.
    Restricted {
        /// The person.
        person: Id,
        /// Whether it is.
        restricted: bool,
    },
    /// A project or account was handed over to another holder.
    Transferred {
        /// The project or account.
        resource: Id,
        /// What it stands under now.
        parent: Id,
    },
    /// A receipt was issued.
    ReceiptIssued {
        /// The receipt.
        receipt: Id,
        /// The receipt as it is kept, without salt.
        body: String,
    },
    /// Another key signs receipts from now on.
    SigningKeyRotated {
        /// How many keys there were before it.
        number: u32,
        /// The public half, in hexadecimal.
        public: String,
        /// The receipt that announces it, signed by the key before.
        body: String,
    },
}

/// What one hold keeps of an erased person: random ids and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptByHold {
    /// The hold.
    pub hold: Id,
    /// What it keeps of the person's own; none for an image in a project of somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Id>,
    /// How many resources.
    pub resources: u64,
    /// When it ends by itself, as it was when the erasure began.
    pub until: Option<String>,
}

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    state: Mutex<State>,
    /// Apart from the state, which is locked while an append is flushed: proofs do not wait for that.
    log: Mutex<Log>,
    /// Where the ledger and its copies lie.
    folders: Vec<PathBuf>,
    /// Size and root of the log in the last checkpoint that was handed out; locked while one is written.
    published: Mutex<Option<(u64, Hash)>>,
}

#[derive(Debug)]
struct State {
    files: Vec<(PathBuf, File, u64)>,
    next: u64,
    known: Known,
    /// A write failed: the files must be read again before anything is appended.
    broken: bool,
}

/// What the records say taken together.
#[derive(Debug, Default)]
struct Known {
    erased: HashSet<Id>,
    /// Digests of revoked models, oldest first.
    revoked: Vec<String>,
    /// Holds that were placed; none for those that have ended.
    holds: BTreeMap<Id, Option<PlacedHold>>,
    restricted: BTreeSet<Id>,
    /// The last resealed profile of each holder: generation and sealed document.
    profiles: BTreeMap<Id, (u32, String)>,
}

/// A legal hold as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedHold {
    /// What it keeps.
    pub target: Id,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Its sealed document in Base64.
    pub sealed: String,
}

impl Ledger {
    /// Opens the ledger in `directory` and its copies in `mirrors`, making them if they are not there. Copies that are behind are
    /// brought up to date; copies that contradict each other are refused.
    pub fn open(directory: &Path, mirrors: &[PathBuf]) -> Result<Ledger> {
        let mut contents = Vec::new();
        let folders: Vec<PathBuf> =
            std::iter::once(directory.to_owned()).chain(mirrors.iter().cloned()).collect();
        for folder in &folders {
            let path = folder.join(NAME);
            let (file, bytes) = read(&path)?;
            let (records, length) = parse(&path, &bytes)?;
            if (length as usize) < bytes.len() {
                tracing::warn!(
                    bytes = bytes.len() as u64 - length,
                    "the ledger ended in a record that a crash cut off"
                );
                file.set_len(length).and_then(|()| file.sync_all()).map_err(|error| failed(&path, &error))?;
            }
            contents.push((path, file, bytes, records, length));
        }
        let longest = contents.iter().map(|(_, _, _, _, length)| *length).max().unwrap_or_default();
        let whole: Vec<u8> = contents
            .iter()
            .find(|(_, _, _, _, length)| *length == longest)
            .map(|(_, _, bytes, _, length)| bytes[..*length as usize].to_vec())
            .unwrap_or_default();
        let mut known = Known::default();
        let mut log = Log::default();
        let mut next = 0;
        for (path, file, bytes, records, length) in &mut contents {
            if bytes[..*length as usize] != whole[..*length as usize] {
                return Err(Error::damaged("a copy of the ledger contradicts another").at(path));
            }
            if *length < longest {
                file.write_all(&whole[*length as usize..])
                    .and_then(|()| file.sync_all())
                    .map_err(|error| failed(path, &error))?;
                *length = longest;
            } else {
                next = records.len() as u64;
                // Once, whatever many copies there are: an entry that is known is passed over.
                for record in records.iter() {
                    known.note(record);
                    log.note(record).map_err(|error| error.at(&*path))?;
                }
            }
        }
        let published = log::published(&folders, &log)?;
        let files = contents.into_iter().map(|(path, file, _, _, length)| (path, file, length)).collect();
        Ok(Ledger {
            state: Mutex::new(State { files, next, known, broken: false }),
            log: Mutex::new(log),
            folders,
            published: Mutex::new(published),
        })
    }

    /// Appends records, durably in every copy when this returns; the position after them.
    pub fn append(&self, records: &[Record]) -> Result<u64> {
        self.append_to(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), records)
    }

    fn append_to(&self, state: &mut State, records: &[Record]) -> Result<u64> {
        for record in records {
            log::leaf(record)?;
        }
        if state.broken {
            return Err(
                Error::unavailable("the ledger could not be written before").hint("start the server again")
            );
        }
        let mut bytes = Vec::new();
        for (number, record) in records.iter().enumerate() {
            bytes.extend_from_slice(&frame::encode(state.next + number as u64, &serde_json::to_vec(record)?));
        }
        for (path, file, length) in &mut state.files {
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            if let Err(error) = written {
                // Take back what was written of it, so that the end is clean again.
                let restored = file.set_len(*length).and_then(|()| file.sync_all());
                let error = failed(path, &error);
                state.broken = restored.is_err();
                return Err(error);
            }
            *length += bytes.len() as u64;
        }
        fault::point("ledger.appended");
        state.next += records.len() as u64;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            state.known.note(record);
            log.note(record)?;
        }
        Ok(state.next)
    }

    /// How many records there are.
    pub fn position(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Whether this container or person was erased.
    pub fn is_erased(&self, id: Id) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.erased.contains(&id)
    }

    /// Holds that were ever placed, each with what is known of it; none of those that have ended.
    pub fn holds(&self) -> BTreeMap<Id, Option<PlacedHold>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.holds.clone()
    }

    /// What is known of a hold; none when it has ended or never was.
    pub fn hold(&self, hold: Id) -> Option<PlacedHold> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.holds.get(&hold).cloned().flatten()
    }

    /// Moves the day on which a hold ends by itself. False, and nothing is appended, when there is no such hold any more.
    pub fn extend_hold(&self, hold: Id, until: Option<Timestamp>) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Some(placed)) = state.known.holds.get(&hold) else { return Ok(false) };
        let record = Record::HoldPlaced { hold, target: placed.target, until, sealed: placed.sealed.clone() };
        self.append_to(&mut state, &[record]).map(|_| true)
    }

    /// Notes that a hold has ended, once; with `now` only if its day has come. False when that has not.
    pub fn end_hold(&self, hold: Id, now: Option<Timestamp>) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.known.holds.get(&hold), now) {
            (Some(None), _) => Ok(true),
            (Some(Some(placed)), Some(now)) if placed.until.is_none_or(|until| until > now) => Ok(false),
            _ => self.append_to(&mut state, &[Record::HoldReleased { hold }]).map(|_| true),
        }
    }

    /// The last resealed profile of each holder: the number of its key, and the sealed document in Base64.
    pub fn profiles(&self) -> BTreeMap<Id, (u32, String)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.profiles.clone()
    }

    /// Persons whose data must not be processed, only kept.
    pub fn restricted(&self) -> BTreeSet<Id> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.restricted.clone()
    }

    /// Digests of the exported models that were revoked, oldest first.
    pub fn revoked_models(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.revoked.clone()
    }

    /// The records from `position` on, read from disk.
    pub fn replay(&self, position: u64) -> Result<Vec<Record>> {
        replay(&self.state.lock().unwrap_or_else(PoisonError::into_inner), position)
    }
}

fn replay(state: &State, position: u64) -> Result<Vec<Record>> {
    let Some((path, _, _)) = state.files.first() else { return Ok(Vec::new()) };
    let (_, bytes) = read(path)?;
    let (records, _) = parse(path, &bytes)?;
    Ok(records.into_iter().skip(usize::try_from(position).unwrap_or(usize::MAX)).collect())
}

impl Known {
    fn note(&mut self, record: &Record) {
        match record {
            Record::ContainerErased { container } => {
                self.erased.insert(*container);
            }
            Record::PersonErased { person, containers, .. } => {
                self.erased.insert(*person);
                self.erased.extend(containers);
                self.restricted.remove(person);
                self.profiles.remove(person);
            }
            Record::ModelsRevoked { digests } => {
                for digest in digests {
                    if !self.revoked.contains(digest) {
                        self.revoked.push(digest.clone());
                    }
                }
            }
            Record::HoldPlaced { hold, target, until, sealed } => {
                let placed = PlacedHold { target: *target, until: *until, sealed: sealed.clone() };
                self.holds.insert(*hold, Some(placed));
            }
            Record::HoldReleased { hold } => {
                self.holds.insert(*hold, None);
            }
            Record::ProfileResealed { holder, generation, sealed } => {
                self.profiles.insert(*holder, (*generation, sealed.clone()));
            }
            Record::Restricted { person, restricted: true } => {
                self.restricted.insert(*person);
            }
            Record::Restricted { person, restricted: false } => {
                self.restricted.remove(person);
            }
            Record::ItemErased { .. }
            | Record::GenerationDestroyed { .. }
            | Record::Transferred { .. }
            | Record::ReceiptIssued { .. }
            | Record::SigningKeyRotated { .. } => {}
        }
    }
}

/// The records and where the last whole one ends.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, u64)> {
    let damaged = |at: usize| {
        Error::damaged(format!("the ledger is damaged at byte {at}"))
            .at(path)
            .hint("nothing was changed; put an intact copy from a mirror in its place")
    };
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match frame::next(bytes, at, records.len() as u64) {
            Next::Whole { json, end } => {
                records.push(serde_json::from_slice(json).map_err(|_| damaged(at))?);
                at = end;
            }
            Next::CutOff => break,
            Next::Damaged => return Err(damaged(at)),
        }
    }
    Ok((records, at as u64))
}

fn read(path: &Path) -> Result<(File, Vec<u8>)> {
    let read = || -> std::io::Result<(File, Vec<u8>)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file, bytes))
    };
    read().map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::unavailable(format!("the ledger cannot be read or written: {}", error.kind()))
        .at(path)
        .hint("check the disk, the owner and the permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 16])
    }

    #[test]
    fn records_survive_and_a_torn_end_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = tempfile::tempdir().unwrap();
        let mirrors = vec![mirror.path().to_owned()];
        let ledger = Ledger::open(folder.path(), &mirrors).unwrap();
        ledger.append(&[Record::ContainerErased { container: id(1) }]).unwrap();
        let records = vec![
            Record::PersonErased {
                person: id(2),
                containers: vec![id(3)],
                request: Some(id(6)),
                erasure: Some(id(7)),
                held: vec![KeptByHold { hold: id(8), target: None, resources: 1, until: None }],
                held_copies: vec![id(9)],
                last_receipt: Some(id(10)),
                recipients: vec![id(11)],
            },
            Record::ItemErased { items: vec![id(4)], container: id(5) },
        ];
        assert_eq!(ledger.append(&records).unwrap(), 3);
        assert!(ledger.is_erased(id(1)) && ledger.is_erased(id(3)) && !ledger.is_erased(id(4)));
        drop(ledger);
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            // The mirror still has it all: the shorter copy is brought up to date.
            let ledger = Ledger::open(folder.path(), &mirrors).unwrap();
            assert_eq!(ledger.replay(1).unwrap(), records);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let alone = Ledger::open(folder.path(), &[]).unwrap();
        assert_eq!(alone.position(), 2);
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), &[]).unwrap();
        for number in 0..3 {
            ledger.append(&[Record::ContainerErased { container: id(number) }]).unwrap();
        }
        drop(ledger);
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Ledger::open(folder.path(), &[]).unwrap_err().kind, habeas_core::ErrorKind::Damaged);
    }

    /// What the first version wrote: `length | sequence | JSON | checksum`.
    #[test]
    fn records_of_the_first_version_are_read_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let records =
            [Record::ContainerErased { container: id(1) }, Record::ContainerErased { container: id(2) }];
        let mut bytes = Vec::new();
        for (sequence, record) in records.iter().enumerate() {
            let json = serde_json::to_vec(record).unwrap();
            let begin = bytes.len();
            bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(sequence as u64).to_le_bytes());
            bytes.extend_from_slice(&json);
            let checksum = habeas_core::crypto::sha256(&bytes[begin..]);
            bytes.extend_from_slice(&checksum[..16]);
        }
        std::fs::write(&path, &bytes).unwrap();
        let more = Record::ContainerErased { container: id(3) };
        Ledger::open(folder.path(), &[]).unwrap().append(std::slice::from_ref(&more)).unwrap();
        let ledger = Ledger::open(folder.path(), &[]).unwrap();
        assert_eq!(ledger.replay(0).unwrap(), [&records[..], &[more]].concat());
        drop(ledger);
        // A changed length in its middle is damage, its cut-off end is not.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(Ledger::open(folder.path(), &[]).unwrap().position(), 1);
        let mut changed = whole;
        changed[1] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(Ledger::open(folder.path(), &[]).unwrap_err().kind, habeas_core::ErrorKind::Damaged);
    }
}
