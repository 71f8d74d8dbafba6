//! Retention: each kind's own rule, run by one sweep, with one receipt for what a sweep deleted.
//!
//! What has a period carries its end as `expires_at`. A sweep is a task: it goes through what is due in the order of ends, deletes it as
//! anybody would who may, notes in the same transaction how much of each kind went, and ends with a receipt. Guests are erased by a plan of
//! their own, as if they had asked; legal holds whose date has come are released. What a restricted person holds waits until that is lifted.

use std::collections::BTreeMap;
use std::sync::Arc;

use habeas_core::kind::HolderKind;
use habeas_core::report::{RetentionReport, RetentionRule};
use habeas_core::{Error, ErrorKind, Id, Kind, Result, Timestamp, fault, receipt, registry};
use habeas_store::{HolderState, Removed, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Rights;
use crate::holdings::kind_name;
use crate::requests::start_unasked_erasure;

/// Resources removed in one transaction.
const BATCH: u32 = 100;
/// Before everything that is due.
const BEGINNING: (Timestamp, Id) = (Timestamp(0), Id::NIL);

/// A sweep as its task keeps it: counts and random ids.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sweep {
    /// Deleted so far, by the number of the kind.
    deleted: BTreeMap<i16, u64>,
    files: u64,
    /// Guests whose erasure was started, each with a receipt of its own.
    guests: u64,
    /// Legal holds that have ended.
    #[serde(default)]
    holds: u64,
    /// Passed over: held, or of somebody who is restricted or being erased.
    kept: u64,
    /// Where it goes on; none at the beginning.
    after: Option<(Timestamp, Id)>,
}

impl Rights {
    /// The rules, and what is due now. Changes nothing.
    pub async fn plan_retention(&self) -> Result<RetentionReport> {
        self.store
            .read(|tx| {
                let mut due: BTreeMap<Kind, u64> = BTreeMap::new();
                let mut kept = 0;
                let mut after = BEGINNING;
                loop {
                    let page = tx.expired(after, BATCH)?;
                    for (id, kind, end) in &page {
                        after = (*end, *id);
                        if is_kept(tx, *id, *kind)? {
                            kept += 1;
                        } else {
                            *due.entry(*kind).or_default() += 1;
                        }
                    }
                    if (page.len() as u32) < BATCH {
                        break;
                    }
                }
                Ok(RetentionReport { at: tx.now().rfc3339(), rules: rules(&due), kept, receipt: None })
            })
            .await
    }

    /// Deletes what is due now; the report tells what went, and names the receipt.
    pub async fn run_retention(&self) -> Result<RetentionReport> {
        let task = self
            .store
            .write(|tx| {
                if tx.expired(BEGINNING, 1)?.is_empty() {
                    return Ok(None);
                }
                let now = tx.now();
                let id =
                    tx.enqueue(TaskKind::Retention, None, &serde_json::to_value(Sweep::default())?, now)?;
                tx.claim(id)
            })
            .await?;
        let (sweep, receipt) = match task {
            Some(task) => self.sweep_expired(&task).await?,
            None => (Sweep::default(), None),
        };
        let mut deleted = sweep
            .deleted
            .iter()
            .map(|(kind, count)| Ok((Kind::from_number(i64::from(*kind))?, *count)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        deleted.extend([(Kind::Person, sweep.guests), (Kind::Hold, sweep.holds)]);
        Ok(RetentionReport {
            at: self.store.ambient().now().rfc3339(),
            rules: rules(&deleted),
            kept: sweep.kept,
            receipt: receipt.map(|id| id.to_string()),
        })
    }

    /// Runs or resumes a sweep that was claimed; its receipt, if it deleted something.
    async fn sweep_expired(&self, task: &TaskRow) -> Result<(Sweep, Option<Id>)> {
        let id = task.id;
        let mut sweep: Sweep = serde_json::from_value(task.payload.clone())?;
        loop {
            let now = sweep.clone();
            let (next, removed, others, last) =
                self.store.write(move |tx| remove_batch(tx, id, now.clone())).await?;
            fault::point("retention.batch");
            for removal in &removed {
                self.store.finish(removal).await;
            }
            sweep = next;
            for (id, kind) in others {
                match kind {
                    Kind::Hold => sweep.holds += u64::from(self.end_due_hold(id).await?),
                    _ => sweep.guests += u64::from(self.erase_guest(id).await?),
                }
            }
            if last {
                break;
            }
        }
        let issued = !sweep.deleted.is_empty();
        if issued {
            self.issue_for_sweep(id, &sweep).await?;
        }
        fault::point("retention.receipted");
        self.store.write(move |tx| tx.end_task(id, TaskState::Done)).await?;
        Ok((sweep, issued.then_some(id)))
    }

    async fn issue_for_sweep(&self, id: Id, sweep: &Sweep) -> Result<()> {
        let deleted = sweep
            .deleted
            .iter()
            .map(|(kind, count)| {
                let kind = Kind::from_number(i64::from(*kind))?;
                let rule = registry::ops(kind).about().retention.class();
                Ok(json!({ "kind": kind_name(kind), "deleted": count, "rule": rule }))
            })
            .collect::<Result<Vec<Value>>>()?;
        let statement = json!({
            "type": "retention-receipt/1",
            "issuer": receipt::key_id(&self.public_key()?),
            "legal": "GDPR Article 5(1)(e)",
            "completed": self.store.ambient().now().rfc3339(),
            "deleted": deleted,
            "deletedFiles": sweep.files,
            "kept": sweep.kept,
            "version": env!("CARGO_PKG_VERSION"),
        });
        self.issue(id, "retention-receipt/1", statement, None).await
    }

    /// Starts the erasure of a guest whose time is over, by the plan that they would be shown; false when one runs already, or something has
    /// to be settled first.
    async fn erase_guest(&self, guest: Id) -> Result<bool> {
        let salt: [u8; 16] = self.store.ambient().bytes();
        let options = Arc::clone(&self.requests);
        let started = self
            .store
            .write(move |tx| {
                if !matches!(tx.holder(guest)?, Some((HolderKind::Person, _))) {
                    return Ok(false);
                }
                start_unasked_erasure(tx, guest, salt, &options)
            })
            .await?;
        self.wake();
        Ok(started)
    }
}

type Batch = (Sweep, Vec<Removed>, Vec<(Id, Kind)>, bool);

/// Removes the next batch, and notes it. Holds and guests are given back: they end in ways of their own.
fn remove_batch(tx: &mut Tx<'_>, task: Id, mut sweep: Sweep) -> Result<Batch> {
    let page = tx.expired(sweep.after.unwrap_or(BEGINNING), BATCH)?;
    let mut removed = Vec::new();
    let mut others = Vec::new();
    for (id, kind, end) in &page {
        sweep.after = Some((*end, *id));
        if is_kept(tx, *id, *kind)? {
            sweep.kept += 1;
            continue;
        }
        if matches!(kind, Kind::Hold | Kind::Person) {
            others.push((*id, *kind));
            continue;
        }
        let removal = tx.remove(*id)?;
        if removal.resources > 0 {
            *sweep.deleted.entry(kind.number()).or_default() += 1;
            sweep.files += removal.blobs;
            removed.push(removal);
        }
    }
    tx.progress(task, &serde_json::to_value(&sweep)?)?;
    Ok((sweep, removed, others, (page.len() as u32) < BATCH))
}

/// Whether something that is due stays: under a legal hold, restricted, or going with an erasure that runs.
fn is_kept(tx: &mut Tx<'_>, id: Id, kind: Kind) -> Result<bool> {
    // What is restricted is stored and nothing else (GDPR Article 18(2)): the person may need it. What grants access ends all the same.
    if kind.is_kept_by_holds() && is_restricted(tx, id)? {
        return Ok(true);
    }
    if matches!(kind, Kind::Hold | Kind::Person) {
        return Ok(false);
    }
    match tx.require_removable(id) {
        Ok(()) => Ok(false),
        Err(error) if error.kind == ErrorKind::Frozen || error.code == Some("Held") => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether something is held by somebody whose data is restricted.
fn is_restricted(tx: &mut Tx<'_>, id: Id) -> Result<bool> {
    let Some((_, _, holder)) = tx.position(id)? else { return Ok(false) };
    Ok(matches!(tx.holder(holder)?, Some((_, HolderState::Restricted))))
}

fn rules(due: &BTreeMap<Kind, u64>) -> Vec<RetentionRule> {
    Kind::ALL
        .iter()
        .map(|&kind| {
            let retention = registry::ops(kind).about().retention;
            RetentionRule {
                kind: kind_name(kind),
                class: retention.class(),
                starts: retention.starts().map(str::to_owned),
                due: due.get(&kind).copied().unwrap_or_default(),
            }
        })
        .collect()
}

/// What a claimed sweep of the worker says when it fails.
pub(crate) async fn run(rights: &Rights, task: &TaskRow) -> Result<()> {
    let (id, attempts) = (task.id, task.attempts);
    match rights.sweep_expired(task).await {
        Ok(_) => Ok(()),
        Err(error) => {
            rights.store.write(move |tx| tx.retry_task(id, attempts)).await?;
            Err(Error { what: format!("retention: {}", error.what), ..error })
        }
    }
}
