//! The worker of the long lane: one training, unlearning, export or import at a time, beside the prompt tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use habeas_core::{Error, ErrorKind, Result};
use habeas_store::{Lane, TaskKind, TaskRow, TaskState, Tx};

use crate::Models;

/// How often a task is tried when the disk or the database fails.
const ATTEMPTS: u32 = 5;
/// The longest time between two looks for due tasks.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the tasks of the long lane.
#[derive(Debug)]
pub struct ModelWorker {
    models: Models,
    stopping: AtomicBool,
}

impl ModelWorker {
    /// A worker for these models.
    pub fn new(models: Models) -> ModelWorker {
        ModelWorker { models, stopping: AtomicBool::new(false) }
    }

    /// Works until [`ModelWorker::stop`].
    pub async fn run(&self) {
        while !self.stopping.load(Ordering::SeqCst) {
            match self.models.run_due().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a task failed"),
            }
            // Whichever comes first: an enqueued task, or the time to look for due ones.
            let _ = tokio::time::timeout(PAUSE, self.models.inner.wake.notified()).await;
        }
    }

    /// Takes no other task. The one in hand is not waited for: it is resumed at the next start.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.models.wake();
    }
}

impl Models {
    /// Runs the next due task; false when there is none.
    async fn run_due(&self) -> Result<bool> {
        let claimed = self.store().write(|tx| tx.claim_next(Lane::Long)).await?;
        let Some(task) = claimed else { return Ok(false) };
        self.run_task(&task).await.map(|()| true)
    }

    /// Runs due tasks until none is left: what a command line without a server does, and tests.
    pub async fn run_all_due(&self) -> Result<()> {
        while self.run_due().await? {}
        Ok(())
    }

    /// Solves again whatever waits for it: after a restore, before anybody is served. How many iterations that was.
    pub async fn forget_waiting(&self) -> Result<u64> {
        let mut count = 0;
        for task in self.store().read(|tx| tx.waiting_tasks(TaskKind::Forget)).await? {
            if let Some(task) = self.store().write(move |tx| tx.claim(task)).await? {
                self.run_task(&task).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Ends a claimed task as its work ended: done, also when what it worked on is gone; put back when the disk or the database failed, or
    /// until an erasure has taken what it works on, or was called off; otherwise given up after `failed` has noted why.
    pub(crate) async fn end_task(
        &self,
        task: &TaskRow,
        result: Result<()>,
        failed: impl Fn(&mut Tx<'_>, &Error) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (id, attempts) = (task.id, task.attempts + 1);
        let Err(error) = result else {
            return self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await;
        };
        match error.kind {
            ErrorKind::NotFound => self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await,
            ErrorKind::Frozen => self.store().write(move |tx| tx.retry_task(id, attempts)).await,
            ErrorKind::Unavailable if attempts < ATTEMPTS => {
                self.store().write(move |tx| tx.retry_task(id, attempts)).await?;
                Err(error)
            }
            _ => {
                let why = error.clone();
                self.store()
                    .write(move |tx| {
                        failed(tx, &why)?;
                        tx.end_task(id, TaskState::Failed)
                    })
                    .await?;
                Err(error)
            }
        }
    }

    async fn run_task(&self, task: &TaskRow) -> Result<()> {
        tracing::debug!(task = %task.id, kind = ?task.kind, attempt = task.attempts + 1, "running a task");
        match task.kind {
            TaskKind::Train => self.run_training(task).await,
            TaskKind::Forget => self.run_forgetting(task).await,
            TaskKind::ImportProject => self.run_importing(task).await,
            TaskKind::ExportModel => self.run_exporting(task).await,
            kind => Err(Error::internal(format!("{kind:?} is not a task of models"))),
        }
        .map_err(|error| Error { what: format!("{:?} {}: {}", task.kind, task.id, error.what), ..error })
    }
}
