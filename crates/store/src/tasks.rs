//! Work to be done after a commit: an outbox in the same transaction, leased, tried again, visible.

use habeas_core::{Error, Id, Kind, Result, Timestamp};
use serde_json::Value;

use crate::Tx;
use crate::engine::Row;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum TaskKind {
    /// Delete blobs from the object store.
    PurgeBlobs = 1,
    /// Destroy the keys of removed containers and say so in the ledger.
    DestroyKeys = 2,
    /// Say in the ledger that items were erased.
    RecordErasure = 3,
    /// Give a container a new key and destroy the old one.
    Reseal = 4,
    /// Erase a person.
    Erasure = 5,
    /// Write an archive.
    Export = 6,
    /// Write a letter: to a person about a request of theirs or the end of a restriction, to the staff, or to an owner of what was made from something
    /// erased.
    Mail = 7,
    /// Say in the ledger that something was handed over.
    RecordTransfer = 8,
    /// Delete what its retention rule no longer keeps.
    Retention = 20,
    /// Issue the receipt of what somebody deleted.
    Deletion = 21,
    /// Lift the restriction of a person's data.
    LiftRestriction = 22,
    /// Train an iteration.
    Train = 100,
    /// Solve an iteration again without the images that it lost.
    Forget = 101,
    /// Write a model in a portable form.
    ExportModel = 102,
    /// Copy a project into another account.
    ImportProject = 103,
    /// Tell a holder's own address that a training or an export ended.
    Notify = 104,
    /// Send something to another system.
    Deliver = 105,
}

/// Who runs a kind of task: what takes minutes must not keep an erasure waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What a person waits for: numbers below 100.
    Prompt,
    /// Training and what belongs to it: numbers from 100.
    Long,
    /// Calls to addresses that clients name, which may keep whoever calls waiting: numbers from 104.
    Outgoing,
    /// Letters, which a mail server may keep waiting.
    Letters,
}

impl TaskKind {
    /// All of them.
    pub const ALL: &'static [TaskKind] = &[
        TaskKind::PurgeBlobs,
        TaskKind::DestroyKeys,
        TaskKind::RecordErasure,
        TaskKind::Reseal,
        TaskKind::Erasure,
        TaskKind::Export,
        TaskKind::Mail,
        TaskKind::RecordTransfer,
        TaskKind::Retention,
        TaskKind::Deletion,
        TaskKind::LiftRestriction,
        TaskKind::Train,
        TaskKind::Forget,
        TaskKind::ExportModel,
        TaskKind::ImportProject,
        TaskKind::Notify,
        TaskKind::Deliver,
    ];

    /// Who runs it.
    pub const fn lane(self) -> Lane {
        match self {
            TaskKind::Mail => Lane::Letters,
            kind if (kind as i16) < LONG => Lane::Prompt,
            kind if (kind as i16) < OUTGOING => Lane::Long,
            _ => Lane::Outgoing,
        }
    }

    /// The number that stands for it on disk.
    pub const fn number(self) -> i16 {
        self as i16
    }

    fn from_number(number: i64) -> Result<TaskKind> {
        TaskKind::ALL
            .iter()
            .copied()
            .find(|kind| i64::from(kind.number()) == number)
            .ok_or_else(|| Error::damaged(format!("no kind of task has the number {number}")))
    }
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum TaskState {
    /// Waits for its time or for another try.
    Waiting = 0,
    /// A worker has it.
    Running = 1,
    /// Finished.
    Done = 2,
    /// Given up: trying again would not help.
    Failed = 3,
    /// Prepared, and started by somebody's decision only.
    Planned = 4,
}

impl TaskState {
    fn from_number(number: i64) -> Result<TaskState> {
        Ok(match number {
            0 => TaskState::Waiting,
            1 => TaskState::Running,
            2 => TaskState::Done,
            3 => TaskState::Failed,
            4 => TaskState::Planned,
            _ => return Err(Error::damaged(format!("no task state has the number {number}"))),
        })
    }
}

/// A task.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Its identifier.
    pub id: Id,
    /// What is to be done.
    pub kind: TaskKind,
    /// How far it has come.
    pub state: TaskState,
    /// The random id of what it works on.
    pub subject: Option<Id>,
    /// Random ids, counts and steps taken.
    pub payload: Value,
    /// Not to be run before.
    pub run_after: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The first number of the long lane.
const LONG: i16 = 100;
/// The first number of the lane of outgoing calls.
const OUTGOING: i16 = 104;

/// How long a worker may have a task before another may take it, in microseconds.
pub const LEASE: i64 = 60_000_000;

macro_rules! select_tasks {
    ($rest:literal) => {
        concat!("SELECT id, kind, state, subject, payload, run_after, attempts, created_at, updated_at FROM task ", $rest)
    };
}

impl Tx<'_> {
    /// Enqueues a task; it is run when this transaction is committed and `run_after` has come.
    pub fn enqueue(
        &mut self,
        kind: TaskKind,
        subject: Option<Id>,
        payload: &Value,
        run_after: Timestamp,
    ) -> Result<Id> {
        self.insert_task(kind, TaskState::Waiting, subject, payload, run_after)
    }

    /// Prepares a task that waits for [`Tx::start_planned`].
    pub fn plan_task(&mut self, kind: TaskKind, subject: Option<Id>, payload: &Value) -> Result<Id> {
        let now = self.now;
        self.insert_task(kind, TaskState::Planned, subject, payload, now)
    }

    /// Enqueues a task under an id that it had before, in place of what is left of it.
    pub fn enqueue_again(
        &mut self,
        id: Id,
        kind: TaskKind,
        subject: Option<Id>,
        payload: &Value,
        run_after: Timestamp,
    ) -> Result<()> {
        self.execute("DELETE FROM task WHERE id = ?1", &[(&id).into()])?;
        self.insert_task_as(id, kind, TaskState::Waiting, subject, payload, run_after)
    }

    fn insert_task(
        &mut self,
        kind: TaskKind,
        state: TaskState,
        subject: Option<Id>,
        payload: &Value,
        run_after: Timestamp,
    ) -> Result<Id> {
        let id = self.new_id();
        self.insert_task_as(id, kind, state, subject, payload, run_after).map(|()| id)
    }

    fn insert_task_as(
        &mut self,
        id: Id,
        kind: TaskKind,
        state: TaskState,
        subject: Option<Id>,
        payload: &Value,
        run_after: Timestamp,
    ) -> Result<()> {
        let sealed = self.seal_payload(id, payload)?;
        let now = self.now;
        self.execute(
            "INSERT INTO task (id, kind, state, subject, holder, payload, run_after, attempts, lease_until, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, ?8)",
            &[
                (&id).into(),
                kind.number().into(),
                (state as i16).into(),
                subject.as_ref().into(),
                (&Id::NIL).into(),
                (&sealed[..]).into(),
                run_after.into(),
                now.into(),
            ],
        )?;
        Ok(())
    }

    fn seal_payload(&self, id: Id, payload: &Value) -> Result<Vec<u8>> {
        self.shared.seal(id, Kind::Task, Id::NIL, 0, &serde_json::to_vec(payload)?)
    }

    fn task_of(&self, row: &Row) -> Result<TaskRow> {
        let id = row.id(0)?;
        Ok(TaskRow {
            id,
            kind: TaskKind::from_number(row.int(1)?)?,
            state: TaskState::from_number(row.int(2)?)?,
            subject: row.optional_id(3)?,
            payload: serde_json::from_slice(&self.shared.open(id, Kind::Task, Id::NIL, row.bytes(4)?)?)?,
            run_after: row.time(5)?,
            attempts: row.int(6)? as u32,
            created_at: row.time(7)?,
            updated_at: row.time(8)?,
        })
    }

    /// The task with this id.
    pub fn task(&mut self, id: Id) -> Result<Option<TaskRow>> {
        match self.query_one(select_tasks!("WHERE id = ?1"), &[(&id).into()])? {
            Some(row) => self.task_of(&row).map(Some),
            None => Ok(None),
        }
    }

    /// Tasks about `subject`, newest first.
    pub fn tasks_about(&mut self, subject: Id, kind: TaskKind) -> Result<Vec<TaskRow>> {
        let rows = self.query(
            select_tasks!("WHERE subject = ?1 AND kind = ?2 ORDER BY created_at DESC, id DESC"),
            &[(&subject).into(), kind.number().into()],
        )?;
        rows.iter().map(|row| self.task_of(row)).collect()
    }

    /// Whether a task of a kind about `subject` has not come to its end.
    pub fn is_open(&mut self, subject: Id, kind: TaskKind) -> Result<bool> {
        let tasks = self.tasks_about(subject, kind)?;
        Ok(tasks.iter().any(|task| matches!(task.state, TaskState::Waiting | TaskState::Running)))
    }

    /// The tasks of a kind that wait, in the order of ids.
    pub fn waiting_tasks(&mut self, kind: TaskKind) -> Result<Vec<Id>> {
        self.query("SELECT id FROM task WHERE kind = ?1 AND state = 0 ORDER BY id", &[kind.number().into()])?
            .iter()
            .map(|row| row.id(0))
            .collect()
    }

    /// Takes the named task for [`LEASE`]; none when it is done or another worker has it.
    pub fn claim(&mut self, task: Id) -> Result<Option<TaskRow>> {
        let now = self.now;
        let rows = self.query(
            select_tasks!("WHERE id = ?1 AND (state = 0 OR (state = 1 AND lease_until < ?2))"),
            &[(&task).into(), now.into()],
        )?;
        self.take(&rows)
    }

    /// Takes the next due task of a lane for [`LEASE`]; none when nothing is due.
    pub fn claim_next(&mut self, lane: Lane) -> Result<Option<TaskRow>> {
        let now = self.now;
        let letters = TaskKind::Mail.number();
        let (from, to, without) = match lane {
            Lane::Prompt => (0, LONG, letters),
            Lane::Long => (LONG, OUTGOING, letters),
            Lane::Outgoing => (OUTGOING, i16::MAX, letters),
            Lane::Letters => (letters, letters + 1, 0),
        };
        let rows = self.query(
            select_tasks!(
                "WHERE ((state = 0 AND run_after <= ?1) OR (state = 1 AND lease_until < ?1))
                 AND kind >= ?2 AND kind < ?3 AND kind <> ?4 ORDER BY run_after, id LIMIT 1"
            ),
            &[now.into(), from.into(), to.into(), without.into()],
        )?;
        self.take(&rows)
    }

    fn take(&mut self, rows: &[Row]) -> Result<Option<TaskRow>> {
        let now = self.now;
        let Some(row) = rows.first() else { return Ok(None) };
        let task = self.task_of(row)?;
        let taken = self.execute(
            "UPDATE task SET state = 1, lease_until = ?2, attempts = attempts + 1, updated_at = ?3 WHERE id = ?1",
            &[(&task.id).into(), (now.0 + LEASE).into(), now.into()],
        )?;
        Ok((taken == 1).then_some(task))
    }

    /// Notes the progress of a running task and keeps it for another [`LEASE`].
    pub fn progress(&mut self, id: Id, payload: &Value) -> Result<()> {
        let sealed = self.seal_payload(id, payload)?;
        let now = self.now;
        self.execute(
            "UPDATE task SET payload = ?2, lease_until = ?3, updated_at = ?4 WHERE id = ?1",
            &[(&id).into(), (&sealed[..]).into(), (now.0 + LEASE).into(), now.into()],
        )?;
        Ok(())
    }

    /// Keeps a running task for another [`LEASE`].
    pub fn extend_lease(&mut self, id: Id) -> Result<()> {
        let now = self.now;
        self.execute(
            "UPDATE task SET lease_until = ?2 WHERE id = ?1",
            &[(&id).into(), (now.0 + LEASE).into()],
        )?;
        Ok(())
    }

    /// Ends a task.
    pub fn end_task(&mut self, id: Id, state: TaskState) -> Result<()> {
        let now = self.now;
        self.execute(
            "UPDATE task SET state = ?2, lease_until = 0, updated_at = ?3 WHERE id = ?1",
            &[(&id).into(), (state as i16).into(), now.into()],
        )?;
        Ok(())
    }

    /// Puts a task back for another try, later with every attempt: 1, 2, 4 ... up to 300 seconds.
    pub fn retry_task(&mut self, id: Id, attempts: u32) -> Result<()> {
        let now = self.now;
        let seconds = 1_i64 << attempts.min(9);
        let due = now.0 + seconds.min(300) * 1_000_000;
        self.execute(
            "UPDATE task SET state = 0, lease_until = 0, run_after = ?2, updated_at = ?3 WHERE id = ?1",
            &[(&id).into(), due.into(), now.into()],
        )?;
        Ok(())
    }

    /// Puts a running task back until `due`, without counting it as a failed try.
    pub fn postpone(&mut self, id: Id, due: Timestamp) -> Result<()> {
        let now = self.now;
        self.execute(
            "UPDATE task SET state = 0, lease_until = 0, attempts = 0, run_after = ?2, updated_at = ?3 WHERE id = ?1",
            &[(&id).into(), due.into(), now.into()],
        )?;
        Ok(())
    }

    /// Starts a planned task; false when it is not there or not planned (any more).
    pub fn start_planned(&mut self, id: Id) -> Result<bool> {
        let now = self.now;
        let started = self.execute(
            "UPDATE task SET state = 0, run_after = ?2, updated_at = ?2 WHERE id = ?1 AND state = 4",
            &[(&id).into(), now.into()],
        )?;
        Ok(started == 1)
    }

    /// Gives back what workers had taken that died or were stopped: at boot, and at the end of a server, there is no other worker.
    pub fn release_leases(&mut self) -> Result<u64> {
        let now = self.now;
        self.execute(
            "UPDATE task SET state = 0, lease_until = 0, run_after = ?1 WHERE state = 1",
            &[now.into()],
        )
    }

    /// Forgets tasks that ended, and plans that nobody started, before `before`.
    pub fn forget_tasks(&mut self, ended_before: Timestamp, planned_before: Timestamp) -> Result<u64> {
        self.execute(
            "DELETE FROM task WHERE (state IN (2, 3) AND updated_at < ?1) OR (state = 4 AND updated_at < ?2)",
            &[ended_before.into(), planned_before.into()],
        )
    }

    /// When the next waiting task is due.
    pub fn next_due(&mut self) -> Result<Option<Timestamp>> {
        let row = self.query_one("SELECT MIN(run_after) FROM task WHERE state = 0", &[])?;
        row.map_or(Ok(None), |row| Ok(row.optional_int(0)?.map(Timestamp)))
    }

    /// How many tasks there are, by kind and state.
    pub fn count_tasks(&mut self) -> Result<Vec<(TaskKind, TaskState, u64)>> {
        self.query("/* reads all */ SELECT kind, state, COUNT(*) FROM task GROUP BY kind, state ORDER BY kind, state", &[])?
            .iter()
            .map(|row| {
                Ok((
                    TaskKind::from_number(row.int(0)?)?,
                    TaskState::from_number(row.int(1)?)?,
                    row.int(2)? as u64,
                ))
            })
            .collect()
    }
}
