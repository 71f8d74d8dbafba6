//! The check without which no erasure is completed: in proportion to the person.

use habeas_core::{Error, Result};
use habeas_store::{TaskKind, TaskRow, TaskState};
use serde::Deserialize;

use crate::Rights;
use crate::erasure::ErasureTask;

#[derive(Deserialize)]
struct Purged {
    blobs: Vec<habeas_core::Id>,
}

/// Checks that what ended holds had kept is gone: their key slots on disk, their rows, and their files.
pub(crate) async fn released(rights: &Rights, holds: &[habeas_core::Id]) -> Result<()> {
    let gone = holds.to_vec();
    rights.store.with_keyring(move |keyring| keyring.read_back(&gone)).await?;
    for &hold in holds {
        let (rows, purges) = rights
            .store
            .read(move |tx| Ok((tx.count_in(hold)?, tx.tasks_about(hold, TaskKind::PurgeBlobs)?)))
            .await?;
        if rows > 0 {
            return Err(Error::internal(format!("{rows} rows are left in a hold that has ended")));
        }
        files_are_gone(rights, purges).await?;
    }
    Ok(())
}

async fn files_are_gone(rights: &Rights, purges: Vec<TaskRow>) -> Result<()> {
    for purge in purges {
        if purge.state != TaskState::Done {
            return Err(Error::internal("files are left to be deleted"));
        }
        let Purged { blobs } = Purged::deserialize(&purge.payload)?;
        if let Some(blob) = rights.store.blobs().any_stored(&blobs).await? {
            return Err(Error::internal(format!("file {blob} is left in the object store")));
        }
    }
    Ok(())
}

/// Reads the key slots back from disk, counts every table by holder and mention, and looks for every file that was planned.
pub(crate) async fn erased(rights: &Rights, task: &ErasureTask) -> Result<()> {
    let person = task.person;
    let containers = task.containers.clone();
    rights
        .store
        .with_keyring(move |keyring| {
            let mut gone = containers;
            gone.push(person);
            keyring.read_back(&gone)
        })
        .await?;
    let (traces, purges) = rights
        .store
        .read(move |tx| Ok((tx.traces_of(person)?, tx.tasks_about(person, TaskKind::PurgeBlobs)?)))
        .await?;
    for (table, rows) in traces {
        if rows > 0 {
            return Err(Error::internal(format!("{rows} rows are left in table {table}")));
        }
    }
    files_are_gone(rights, purges).await
}
