//! The worker: runs due tasks, deletes what has expired, clears up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use habeas_core::{Error, Result, Timestamp, time};
use habeas_store::{Lane, TaskKind, TaskRow};

use crate::plan::PLAN_HOURS;
use crate::{Rights, deletion, retention};

/// The longest time between two looks for due tasks.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for abandoned uploads and old tasks, in microseconds.
const CLEARING: i64 = 60_000_000;
/// How long ended tasks are remembered, in days; see the data map.
const TASK_DAYS: i64 = 30;
/// After how long an upload that was announced and never finished counts as abandoned, in hours.
const UPLOAD_HOURS: i64 = 24;

/// Runs what has to be done after commits, one task at a time.
#[derive(Debug)]
pub struct Worker {
    rights: Rights,
    stopping: AtomicBool,
}

impl Worker {
    /// A worker for this engine.
    pub fn new(rights: Rights) -> Worker {
        Worker { rights, stopping: AtomicBool::new(false) }
    }

    /// Works until [`Worker::stop`]: on what persons wait for, and beside it on letters, which a slow mail server may hold up, and on what an
    /// earlier version left to be read anew.
    pub async fn run(&self) {
        tokio::join!(self.run_prompt(), self.run_letters(), self.read_names_anew());
    }

    async fn read_names_anew(&self) {
        let stopping = || self.stopping.load(Ordering::SeqCst);
        if let Err(error) = self.rights.read_all_names_anew(stopping).await {
            tracing::warn!(error = format_args!("{error:#}"), "images were not read anew for whom they show");
        }
    }

    async fn run_letters(&self) {
        while !self.stopping.load(Ordering::SeqCst) {
            match self.rights.run_due(Lane::Letters).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = format_args!("{error:#}"), "a letter failed"),
            }
            let _ = tokio::time::timeout(PAUSE, self.rights.wake_letters.notified()).await;
        }
    }

    async fn run_prompt(&self) {
        let (mut next_clearing, mut next_sweep) = (Timestamp(0), Timestamp(0));
        while !self.stopping.load(Ordering::SeqCst) {
            match self.rights.run_due(Lane::Prompt).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "a task failed and will be tried again"
                    );
                }
            }
            let now = self.rights.store.ambient().now();
            if now >= next_clearing {
                if let Err(error) = self.rights.clear_up().await {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "clearing up failed and will be tried again"
                    );
                }
                next_clearing = Timestamp(now.0 + CLEARING);
            }
            if now >= next_sweep {
                if let Err(error) = self.rights.run_retention().await {
                    tracing::warn!(
                        error = format_args!("{error:#}"),
                        "deleting what is due failed and will be tried again"
                    );
                }
                next_sweep = Timestamp(now.0 + time::HOUR);
            }
            // Whichever comes first: an enqueued task, or the time to look for due ones.
            let _ = tokio::time::timeout(PAUSE, self.rights.wake.notified()).await;
        }
    }

    /// Lets the task in hand finish and takes no other.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.rights.wake();
    }
}

impl Rights {
    /// Runs the next due task of a lane; false when there is none.
    async fn run_due(&self, lane: Lane) -> Result<bool> {
        let Some(task) = self.store.write(move |tx| tx.claim_next(lane)).await? else { return Ok(false) };
        self.run_task(&task).await.map(|()| true)
    }

    /// Runs due tasks until none is left: what a command line without a server does, and tests.
    pub async fn run_all_due(&self) -> Result<()> {
        // Letters first: an erasure takes the address of the one that announces it.
        while self.run_due(Lane::Letters).await? || self.run_due(Lane::Prompt).await? {}
        Ok(())
    }

    async fn run_task(&self, task: &TaskRow) -> Result<()> {
        tracing::debug!(task = %task.id, kind = ?task.kind, attempt = task.attempts + 1, "running a task");
        match task.kind {
            TaskKind::PurgeBlobs
            | TaskKind::DestroyKeys
            | TaskKind::RecordErasure
            | TaskKind::RecordTransfer
            | TaskKind::Reseal => self.store.run_own(task).await,
            TaskKind::Erasure => self.run_erasure(task).await,
            TaskKind::Export => self.run_export(task).await,
            TaskKind::Mail => self.run_mail(task).await,
            TaskKind::Retention => retention::run(self, task).await,
            TaskKind::Deletion => deletion::run(self, task).await,
            TaskKind::LiftRestriction => self.run_lifting(task).await,
            TaskKind::Train
            | TaskKind::Forget
            | TaskKind::ExportModel
            | TaskKind::ImportProject
            | TaskKind::Notify
            | TaskKind::Deliver => {
                Err(Error::internal("a task of another lane was claimed by the prompt one"))
            }
        }
        .map_err(|error| Error { what: format!("{:?} {}: {}", task.kind, task.id, error.what), ..error })
    }

    /// Moves requests on whose time has come; deletes abandoned uploads and old tasks.
    pub async fn clear_up(&self) -> Result<()> {
        // A request that cannot go on must not keep what is abandoned.
        if let Err(error) = self.wake_requests().await {
            tracing::warn!(
                error = format_args!("{error:#}"),
                "requests could not go on and will be tried again"
            );
        }
        self.store
            .write(|tx| {
                let now = tx.now();
                let abandoned = tx.abandoned_blobs(Timestamp(now.0 - UPLOAD_HOURS * time::HOUR), 1_000)?;
                tx.abandon_blobs(&abandoned)?;
                tx.forget_tasks(
                    Timestamp(now.0 - TASK_DAYS * time::DAY),
                    Timestamp(now.0 - PLAN_HOURS * time::HOUR),
                )?;
                Ok(())
            })
            .await
    }
}
