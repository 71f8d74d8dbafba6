//! Finishing what a transaction began: tasks of the store's own.

use habeas_core::{BlobRef, Error, Id, Result};
use serde::Deserialize;

use crate::keyring::Destruction;
use crate::ledger::Record;
use crate::{Removed, Store, TaskKind, TaskRow, TaskState};

#[derive(Deserialize)]
struct PurgeBlobs {
    blobs: Vec<Id>,
}

#[derive(Deserialize)]
struct DestroyKeys {
    containers: Vec<Id>,
    /// Digests of the models that were exported from them.
    #[serde(default)]
    revoked: Vec<String>,
    /// MACs of aliases, in hexadecimal.
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
struct RecordErasure {
    container: Id,
    items: Vec<Id>,
}

#[derive(Deserialize)]
struct RecordTransfer {
    resource: Id,
    parent: Id,
}

#[derive(Deserialize)]
struct Reseal {
    container: Id,
}

impl Store {
    /// Runs the tasks of a removal now. What fails is tried again by the worker, so the removal itself stands.
    pub async fn finish(&self, removed: &Removed) {
        self.finish_tasks(&removed.tasks).await;
    }

    /// Runs now what was committed together with these tasks of the store's own. What fails is tried again by the worker.
    pub async fn finish_tasks(&self, tasks: &[Id]) {
        for &task in tasks {
            match self.run_now(task).await {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%task, error = format_args!("{error:#}"), "a task is left for the worker");
                }
            }
        }
    }

    /// Claims the named task and runs it; false when somebody else has it or it is done.
    async fn run_now(&self, task: Id) -> Result<bool> {
        match self.write(move |tx| tx.claim(task)).await? {
            Some(task) => self.run_own(&task).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Runs a claimed task of one of the store's own kinds and ends it, or puts it back for another try.
    pub async fn run_own(&self, task: &TaskRow) -> Result<()> {
        let (id, attempts) = (task.id, task.attempts);
        match self.perform(task).await {
            Ok(()) => self.write(move |tx| tx.end_task(id, TaskState::Done)).await,
            Err(error) => {
                self.write(move |tx| tx.retry_task(id, attempts)).await?;
                Err(error)
            }
        }
    }

    async fn perform(&self, task: &TaskRow) -> Result<()> {
        match task.kind {
            TaskKind::PurgeBlobs => {
                let PurgeBlobs { blobs } = payload(task)?;
                self.purge_blobs(&blobs).await
            }
            TaskKind::DestroyKeys => {
                let DestroyKeys { containers, revoked, aliases } = payload(task)?;
                let aliases = aliases
                    .iter()
                    .map(|alias| {
                        let bytes = hex::decode(alias).ok().and_then(|bytes| bytes.try_into().ok());
                        bytes.ok_or_else(|| Error::damaged("an alias in a task cannot be read"))
                    })
                    .collect::<Result<Vec<[u8; 32]>>>()?;
                if !aliases.is_empty() {
                    self.drop_aliases(aliases).await?;
                }
                if containers.is_empty() {
                    return Ok(());
                }
                self.destroy_containers(containers, revoked).await
            }
            TaskKind::RecordErasure => {
                let RecordErasure { container, items } = payload(task)?;
                self.with_ledger(move |ledger| {
                    ledger.append(&[Record::ItemErased { items, container }]).map(|_| ())
                })
                .await
            }
            TaskKind::RecordTransfer => {
                let RecordTransfer { resource, parent } = payload(task)?;
                self.with_ledger(move |ledger| {
                    ledger.append(&[Record::Transferred { resource, parent }]).map(|_| ())
                })
                .await
            }
            TaskKind::Reseal => {
                let Reseal { container } = payload(task)?;
                self.reseal(container).await
            }
            TaskKind::Erasure
            | TaskKind::Export
            | TaskKind::Mail
            | TaskKind::Retention
            | TaskKind::Deletion
            | TaskKind::LiftRestriction
            | TaskKind::Train
            | TaskKind::Forget
            | TaskKind::ExportModel
            | TaskKind::ImportProject
            | TaskKind::Notify
            | TaskKind::Deliver => {
                Err(Error::internal(format!("{:?} is not a task of the store's own", task.kind)))
            }
        }
    }

    /// Stores the bytes of an announced blob, durably; as [`Store::settle_announced`] has it, nothing is found when they are not wanted any
    /// more.
    pub async fn put_announced(&self, blob: &BlobRef, bytes: &[u8]) -> Result<()> {
        self.blobs().put(blob, bytes).await?;
        self.settle_announced(blob.id).await
    }

    /// After the bytes of an announced blob were stored: what it was announced under may have been removed meanwhile, and the deletion of the
    /// bytes run before they were there. Then they go again, and nothing is found ([`habeas_core::ErrorKind::NotFound`]).
    pub async fn settle_announced(&self, blob: Id) -> Result<()> {
        if self.read(move |tx| tx.unknown_blobs(&[blob])).await?.is_empty() {
            return Ok(());
        }
        self.blobs().delete(blob).await?;
        Err(Error::not_found("what the file belongs to was removed in the meantime"))
    }

    /// Deletes blobs from the object store. Idempotent.
    pub async fn purge_blobs(&self, blobs: &[Id]) -> Result<()> {
        if habeas_core::fault::is_switched_off("purge") {
            return Ok(());
        }
        self.blobs().delete_all(blobs).await
    }

    /// Destroys aliases: nobody is found by them any more.
    pub async fn drop_aliases(&self, aliases: Vec<[u8; 32]>) -> Result<()> {
        self.with_keyring(move |keyring| keyring.destroy(&Destruction { aliases, ..Destruction::default() }))
            .await
    }

    /// Destroys every key of these containers and says so in the ledger. The ledger comes first: after a crash in between,
    /// keys that are still there are found to be of erased containers and destroyed.
    async fn destroy_containers(&self, containers: Vec<Id>, revoked: Vec<String>) -> Result<()> {
        let erased = containers.clone();
        self.with_ledger(move |ledger| {
            let mut records: Vec<Record> =
                erased.into_iter().map(|container| Record::ContainerErased { container }).collect();
            if !revoked.is_empty() {
                records.push(Record::ModelsRevoked { digests: revoked });
            }
            ledger.append(&records).map(|_| ())
        })
        .await?;
        habeas_core::fault::point("container.recorded");
        self.with_keyring(move |keyring| {
            keyring.destroy(&Destruction { containers, ..Destruction::default() })
        })
        .await
    }
}

fn payload<T: for<'de> Deserialize<'de>>(task: &TaskRow) -> Result<T> {
    Ok(T::deserialize(&task.payload)?)
}
