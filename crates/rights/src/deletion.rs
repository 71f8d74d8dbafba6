//! Deleting a resource with all that stands under it: a plan with counts, one transaction, and a receipt. Once for all protocols.

use std::collections::BTreeMap;

use habeas_access::Actor;
use habeas_core::kind::HolderKind;
use habeas_core::kinds::Receipt;
use habeas_core::report::{DeletedKind, DeletionReport};
use habeas_core::{Error, Id, Result, Timestamp, fault, receipt};
use habeas_store::{Below, Going, Removed, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::holdings::kind_name;
use crate::{Rights, plan, receipts};

/// A deletion as its task keeps it: counts and random ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeletionTask {
    report: DeletionReport,
    /// When the rows went.
    deleted_at: Timestamp,
    /// Whether the resource was a container itself, so that no copy of it can be read any more.
    was_container: bool,
    /// The tasks that delete its files and destroy its keys.
    removal: Vec<Id>,
    /// How much stays that was made from it, and is marked.
    #[serde(default)]
    tainted: u64,
    /// Who has the receipt: whoever deleted it.
    subject: Option<Id>,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug)]
pub enum DeletionState {
    /// Its rows are gone; files and keys are not all, or the receipt is still to be issued.
    Running {
        /// When the rows went.
        since: Timestamp,
    },
    /// All is gone.
    Done {
        /// When the receipt was issued.
        at: Timestamp,
    },
}

/// How far the deletion with this id is, which is its receipt's, too; none for whoever the receipt is not about, as if there were none.
pub fn deletion_state(tx: &mut Tx<'_>, id: Id, person: Id) -> Result<Option<DeletionState>> {
    if let Some(receipt) = tx.get::<Receipt>(id)? {
        let is_theirs = receipts::is_about(tx, id, person)?;
        return Ok(is_theirs.then_some(DeletionState::Done { at: receipt.created_at }));
    }
    let Some(task) = tx.task(id)?.filter(|task| task.kind == TaskKind::Deletion) else { return Ok(None) };
    let is_theirs = DeletionTask::deserialize(&task.payload)?.subject == Some(person);
    Ok(is_theirs.then_some(DeletionState::Running { since: task.created_at }))
}

impl Rights {
    /// What deleting the resource that `find` finds would take with it. Changes nothing; fails with the reason for which [`delete_resource`](Self::delete_resource) would
    /// refuse.
    pub async fn plan_deletion(
        &self,
        find: impl Fn(&mut Tx<'_>) -> Result<Id> + Send + Sync + 'static,
    ) -> Result<DeletionReport> {
        self.store
            .read(move |tx| {
                let id = find(tx)?;
                tx.require_removable(id)?;
                let below = tx.below(id)?;
                Ok(DeletionReport { tainted: plan::tainted(tx, Going::Below(id))?, ..report(id, &below) })
            })
            .await
    }

    /// Deletes the resource that `find` finds, with all that stands under it, for good, and issues a receipt. `find` runs in the transaction that
    /// deletes, and fails if `actor` may not. When this returns, files are gone and keys destroyed, or a task that the worker repeats says so.
    pub async fn delete_resource(
        &self,
        actor: &Actor,
        find: impl Fn(&mut Tx<'_>) -> Result<Id> + Send + Sync + 'static,
    ) -> Result<DeletionReport> {
        let person = actor.person();
        self.carry_out_deletion(move |tx| {
            let id = find(tx)?;
            remove(tx, id, person)
        })
        .await
    }

    /// What deleting the resources that `find` selects would take with it, as [`plan_deletion`](Self::plan_deletion) says it of one.
    pub async fn plan_deletion_of(
        &self,
        find: impl Fn(&mut Tx<'_>) -> Result<Selection> + Send + Sync + 'static,
    ) -> Result<DeletionReport> {
        self.store
            .read(move |tx| {
                let selection = find(tx)?;
                for id in selection.all() {
                    tx.require_removable(id)?;
                }
                selection.report(tx)
            })
            .await
    }

    /// Deletes the resources that `find` selects, none of them a container, with all that stands under them: in one transaction, with one
    /// receipt, otherwise as [`delete_resource`](Self::delete_resource) does.
    pub async fn delete_resources(
        &self,
        actor: &Actor,
        find: impl Fn(&mut Tx<'_>) -> Result<Selection> + Send + Sync + 'static,
    ) -> Result<DeletionReport> {
        let person = actor.person();
        self.carry_out_deletion(move |tx| {
            let selection = find(tx)?;
            let report = selection.report(tx)?;
            Ok(DeletionTask {
                tainted: report.tainted.len() as u64,
                report: DeletionReport { tainted: Vec::new(), ..report },
                deleted_at: tx.now(),
                was_container: false,
                subject: subject(tx, selection.within, person)?,
                removal: tx.remove_all(&selection.all())?.tasks,
            })
        })
        .await
    }

    async fn carry_out_deletion(
        &self,
        remove: impl Fn(&mut Tx<'_>) -> Result<DeletionTask> + Send + Sync + 'static,
    ) -> Result<DeletionReport> {
        let task = self
            .store
            .write(move |tx| {
                let task = remove(tx)?;
                let now = tx.now();
                let id = tx.enqueue(TaskKind::Deletion, None, &serde_json::to_value(&task)?, now)?;
                tx.claim(id)
            })
            .await?
            .ok_or_else(|| Error::internal("a deletion was claimed before it was committed"))?;
        fault::point("deletion.committed");
        let mut report = DeletionTask::deserialize(&task.payload)?.report;
        report.receipt = Some(task.id.to_string());
        if let Err(error) = run(self, &task).await {
            tracing::warn!(error = format_args!("{error:#}"), "a deletion is finished by the worker");
        }
        Ok(report)
    }

    /// Files and keys first, then the receipt, which has the task's id.
    async fn finish_deletion(&self, id: Id, task: &DeletionTask) -> Result<()> {
        let removal = Removed { tasks: task.removal.clone(), ..Removed::default() };
        self.store.finish(&removal).await;
        let tasks = task.removal.clone();
        let is_done = self
            .store
            .read(move |tx| {
                for &task in &tasks {
                    if tx.task(task)?.is_some_and(|task| task.state != TaskState::Done) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        if !is_done {
            return Err(Error::unavailable("its files and keys are not all gone yet"));
        }
        let report = &task.report;
        let backups = if task.was_container {
            "unreadable for what was deleted since the time above"
        } else {
            "unreadable for what was deleted once what it stood in has a new key"
        };
        let mut statement = json!({
            "type": "deletion-receipt/1",
            "issuer": receipt::key_id(&self.public_key()?),
            "resource": report.resource,
            "requested": task.deleted_at.rfc3339(),
            "completed": self.store.ambient().now().rfc3339(),
            "deleted": report.deletes,
            "deletedFiles": report.files,
            "keysDestroyed": report.keys,
            "tainted": task.tainted,
            "backups": backups,
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(selected) = report.selected {
            statement["selected"] = json!(selected);
        }
        self.issue(id, "deletion-receipt/1", statement, task.subject).await?;
        fault::point("deletion.receipted");
        self.store.write(move |tx| tx.end_task(id, TaskState::Done)).await
    }
}

fn remove(tx: &mut Tx<'_>, id: Id, person: Option<Id>) -> Result<DeletionTask> {
    let below = tx.below(id)?;
    let (kind, ..) = tx.position(id)?.ok_or_else(missing)?;
    let subject = subject(tx, id, person)?;
    let tainted = plan::tainted(tx, Going::Below(id))?.len() as u64;
    let removed = tx.remove(id)?;
    Ok(DeletionTask {
        report: report(id, &below),
        deleted_at: tx.now(),
        was_container: kind.is_container(),
        removal: removed.tasks,
        tainted,
        subject,
    })
}

fn missing() -> Error {
    Error::not_found("there is no such resource")
}

/// Who has the receipt of a deletion: whoever deleted, or whose it was.
fn subject(tx: &mut Tx<'_>, id: Id, person: Option<Id>) -> Result<Option<Id>> {
    let (_, _, holder) = tx.position(id)?.ok_or_else(missing)?;
    let is_a_persons = matches!(tx.holder(holder)?, Some((HolderKind::Person, _)));
    Ok(person.or(is_a_persons.then_some(holder)))
}

/// Resources that are deleted together.
#[derive(Clone, Debug)]
pub struct Selection {
    /// What they stand in, which stays; or the only one of them, where one was named.
    pub within: Id,
    /// The resources.
    pub resources: Vec<Id>,
    /// What goes with them, since nothing else needs it: counted among what goes, not among what was selected.
    pub also: Vec<Id>,
}

impl Selection {
    /// Everything that goes.
    fn all(&self) -> Vec<Id> {
        [self.resources.as_slice(), &self.also].concat()
    }

    fn report(&self, tx: &mut Tx<'_>) -> Result<DeletionReport> {
        let all = self.all();
        let (mut below, mut tainted) = (Below::default(), BTreeMap::new());
        for &id in &all {
            below.add(tx.below(id)?);
            tainted.extend(plan::tainted(tx, Going::Below(id))?.into_iter().map(|one| (one.id.clone(), one)));
        }
        // A run that was made from another of them goes, too.
        for id in &all {
            tainted.remove(&id.to_string());
        }
        let is_one = self.resources == [self.within];
        Ok(DeletionReport {
            selected: (!is_one).then_some(self.resources.len() as u64),
            tainted: tainted.into_values().collect(),
            ..report(self.within, &below)
        })
    }
}

fn report(id: Id, below: &Below) -> DeletionReport {
    let deletes = below.kinds.iter().map(|holding| DeletedKind {
        kind: kind_name(holding.kind),
        count: holding.count,
        bytes: holding.bytes,
    });
    DeletionReport {
        resource: id.to_string(),
        selected: None,
        deletes: deletes.collect(),
        files: below.files,
        file_bytes: below.file_bytes,
        keys: below.containers,
        tainted: Vec::new(),
        receipt: None,
    }
}

/// Finishes a claimed deletion, or puts it back for another try.
pub(crate) async fn run(rights: &Rights, task: &TaskRow) -> Result<()> {
    let (id, attempts) = (task.id, task.attempts);
    let deletion = DeletionTask::deserialize(&task.payload)?;
    match rights.finish_deletion(id, &deletion).await {
        Ok(()) => Ok(()),
        Err(error) => {
            rights.store.write(move |tx| tx.retry_task(id, attempts)).await?;
            Err(Error { what: format!("deletion: {}", error.what), ..error })
        }
    }
}
