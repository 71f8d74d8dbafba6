//! The receipts' log: the Merkle tree over the receipts in the ledger, in their order.
//!
//! It has no file of its own. The ledger's records are its entries, so one append and one flush make a receipt durable and its place
//! in the log with it, and the two cannot disagree. Only the last checkpoint that was handed out is kept beside the ledger: a ledger
//! that no longer has what was signed there is refused.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use habeas_core::checkpoint::Checkpoint;
use habeas_core::merkle::{self, Hash, Tree};
use habeas_core::{Error, Id, Result, fault, receipt};
use serde::Deserialize;

use super::{Ledger, Record, failed, replay};

/// Name of the file with the last checkpoint that was handed out.
const CHECKPOINT: &str = "checkpoint";

/// A key that took the place of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How many keys there were before it.
    pub number: u32,
    /// The public half, in hexadecimal.
    pub public: String,
    /// The receipt that announces it.
    pub receipt: String,
}

/// The proof that an entry is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// Which entry, from 0.
    pub index: u64,
    /// Entries of the log that the proof is for.
    pub size: u64,
    /// From the leaf up.
    pub hashes: Vec<Hash>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    tree: Tree,
    /// What was signed, an entry each.
    entries: Vec<Hash>,
    receipts: HashMap<Id, u64>,
    rotations: Vec<Rotation>,
}

/// The entry of the log that a record stands for, if it is one.
pub(super) fn leaf(record: &Record) -> Result<Option<Hash>> {
    #[derive(Deserialize)]
    struct Signed {
        signature: String,
    }
    let (Record::ReceiptIssued { body, .. } | Record::SigningKeyRotated { body, .. }) = record else {
        return Ok(None);
    };
    let signed: Signed = serde_json::from_str(body)
        .map_err(|_| Error::damaged("the ledger holds a receipt without a signature"))?;
    Ok(Some(receipt::entry(&signed.signature)))
}

impl Log {
    /// Adds what a record stands for. A receipt that is known is not added again.
    pub(super) fn note(&mut self, record: &Record) -> Result<()> {
        let Some(entry) = leaf(record)? else { return Ok(()) };
        match record {
            Record::ReceiptIssued { receipt, .. } => {
                if self.receipts.contains_key(receipt) {
                    return Ok(());
                }
                self.receipts.insert(*receipt, self.tree.size());
            }
            Record::SigningKeyRotated { number, public, body } => {
                if self.rotations.iter().any(|rotation| rotation.number == *number) {
                    return Ok(());
                }
                self.rotations.push(Rotation {
                    number: *number,
                    public: public.clone(),
                    receipt: body.clone(),
                });
            }
            _ => return Ok(()),
        }
        self.tree.push(merkle::leaf(&entry));
        self.entries.push(entry);
        Ok(())
    }
}

impl Ledger {
    fn with_log<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends a receipt, durably when this returns; the receipt that is kept under this id, which is an earlier one if there is one.
    pub fn issue(&self, receipt: Id, body: String) -> Result<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.with_log(|log| log.receipts.contains_key(&receipt)) {
            let kept = replay(&state, 0)?.into_iter().find_map(|record| match record {
                Record::ReceiptIssued { receipt: id, body } if id == receipt => Some(body),
                _ => None,
            });
            return kept.ok_or_else(|| Error::damaged("the ledger lost a receipt"));
        }
        self.append_to(&mut state, &[Record::ReceiptIssued { receipt, body: body.clone() }])?;
        Ok(body)
    }

    /// The keys that took the place of others, oldest first.
    pub fn rotations(&self) -> Vec<Rotation> {
        self.with_log(|log| log.rotations.clone())
    }

    /// Entries in the log.
    pub fn log_size(&self) -> u64 {
        self.with_log(|log| log.tree.size())
    }

    /// The entries from `from` on, `count` at most.
    pub fn log_entries(&self, from: u64, count: usize) -> Vec<Hash> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.with_log(|log| log.entries.iter().skip(from).take(count).copied().collect())
    }

    /// The proof that a receipt is in the log of `size` entries, or in today's.
    pub fn inclusion(&self, receipt: Id, size: Option<u64>) -> Result<Inclusion> {
        self.with_log(|log| {
            let index = *log
                .receipts
                .get(&receipt)
                .ok_or_else(|| Error::not_found("there is no such receipt in the log"))?;
            let size = size.unwrap_or(log.tree.size());
            Ok(Inclusion { index, size, hashes: log.tree.inclusion(index, size)? })
        })
    }

    /// The proof that the log of `to` entries begins with that of `from`.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>> {
        self.with_log(|log| log.tree.consistency(from, to))
    }

    /// A checkpoint of today's log, signed by `sign`. What it says is kept, durably, before it is handed out.
    pub fn checkpoint(&self, sign: impl FnOnce(u64, Hash) -> String) -> Result<String> {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let (size, root) = self.with_log(|log| {
            let size = log.tree.size();
            log.tree.root(size).map(|root| (size, root))
        })?;
        let note = sign(size, root);
        if *published != Some((size, root)) {
            for folder in &self.folders {
                write(folder, &note).map_err(|error| failed(&folder.join(CHECKPOINT), &error))?;
            }
            *published = Some((size, root));
        }
        Ok(note)
    }
}

fn write(folder: &Path, note: &str) -> std::io::Result<()> {
    let new = folder.join("checkpoint.new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fault::point("checkpoint.written");
    std::fs::rename(&new, folder.join(CHECKPOINT))?;
    File::open(folder)?.sync_all()
}

/// The last checkpoint that was handed out; an error if the log does not have it.
pub(super) fn published(folders: &[PathBuf], log: &Log) -> Result<Option<(u64, Hash)>> {
    let mut last = None;
    for folder in folders {
        let path = folder.join(CHECKPOINT);
        let note = match std::fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path, &error)),
        };
        let damaged = |what: &str| Error::damaged(what).at(&path);
        let checkpoint = Checkpoint::parse(&note)
            .map_err(|_| damaged("the last checkpoint of the receipts' log cannot be read"))?;
        if log.tree.root(checkpoint.size).ok() != Some(checkpoint.root) {
            return Err(damaged(
                "the ledger lacks receipts that a checkpoint has signed, or has others in their place",
            )
            .hint("nothing was changed; put an intact copy of the ledger from a mirror in its place"));
        }
        last = last.max(Some((checkpoint.size, checkpoint.root)));
    }
    Ok(last)
}
