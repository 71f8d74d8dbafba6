//! Running an erasure: durable steps, each repeatable, resumed wherever the last attempt stopped.
//!
//! freeze -> subtract -> shred -> delete -> resolve -> purge -> verify -> receipt -> release. The commit point is `shred`: before it an erasure
//! can be called off, after it nothing brings the data back. `subtract` takes what others' models learned from the person out of their
//! weights while the person's rows can still be read; `resolve` makes those weights final, since only final digests enter the receipt.
//! `shred` first seals what legal holds keep under keys of theirs; `release` waits until they have ended, and proves the rest.

use habeas_access::Actor;
use habeas_core::kind::HolderKind;
use habeas_core::kinds::{Decisions, Hold, Organisation, Person};
use habeas_core::report::{ErasureReport, PlanReport, StepReport};
use habeas_core::{Error, ErrorKind, Id, Result, Timestamp, fault, time};
use habeas_store::keyring::Destruction;
use habeas_store::ledger::{KeptByHold, Record};
use habeas_store::{Going, HolderState, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ownership;
use crate::plan::{self, PLAN_HOURS};
use crate::requests::{self, Moved};
use crate::{Rights, holds, receipts, recipients, verify};

/// The steps, in order, and what each does in words for the person.
pub const STEPS: &[(&str, &str)] = &[
    ("freeze", "Access ends: tokens, keys and image addresses are dead, nothing can be written"),
    ("subtract", "Models of others forget what they learned from this data"),
    ("shred", "The keys are destroyed: nothing can be read any more, here or in any backup"),
    ("delete", "The records are deleted"),
    ("resolve", "Those models are measured again without it"),
    ("purge", "The files are deleted"),
    ("verify", "Everything is checked once more"),
    ("receipt", "The receipt is signed"),
    ("release", "What a legal hold keeps is deleted when the hold ends"),
];

/// What a caller is told who confirmed with something else than the person's address or the organisation's name.
pub const CONFIRMATION_HINT: &str =
    "type the person's e-mail address, or the organisation's name, exactly as it is shown";

/// Rows deleted in one transaction.
const ROWS: u32 = 2_000;
/// Blobs listed at a time.
const BLOBS: u32 = 2_000;

/// An erasure as its task keeps it: random ids, counts, steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErasureTask {
    /// The person, or the organisation.
    pub(crate) person: Id,
    pub(crate) plan: PlanReport,
    /// Salt of the receipt's commitment to the person; forgotten with the task. Empty where the receipt was issued by a run of which a restore
    /// brought back nothing.
    pub(crate) salt: String,
    /// The request that it carries out; none for an organisation's.
    #[serde(default)]
    pub(crate) request: Option<Id>,
    /// How many steps are done.
    pub(crate) step: usize,
    /// Filled in when the run freezes the person.
    pub(crate) containers: Vec<Id>,
    pub(crate) frozen_at: Option<Timestamp>,
    pub(crate) shredded_at: Option<Timestamp>,
    pub(crate) deleted_rows: u64,
    pub(crate) purged_blobs: u64,
    /// Iterations of others from which the person was subtracted.
    pub(crate) subtracted: Vec<Id>,
    /// What became of them.
    pub(crate) resolved: Vec<ModelReceipt>,
    pub(crate) error: Option<String>,
    pub(crate) receipt: Option<Id>,
    /// What was decided with the plan.
    #[serde(flatten)]
    pub(crate) decisions: Decisions,
    /// What holds keep: filled in when the run freezes the person.
    #[serde(default)]
    pub(crate) held: Vec<KeptByHold>,
    /// Copies of the person's images, and images to be erased that show the person, that holds keep in projects of others.
    #[serde(default)]
    pub(crate) held_copies: Vec<Id>,
    /// The receipt of the rest, which is issued when the holds have ended.
    #[serde(default)]
    pub(crate) last_receipt: Option<Id>,
}

/// A model of somebody else after a person was subtracted from it: random ids, counts and digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelReceipt {
    iteration: Id,
    /// Images that it still learns from.
    images: u64,
    /// SHA-256 of its final state; none when too few images were left and it was withdrawn.
    state_digest: Option<String>,
}

impl ErasureTask {
    pub(crate) fn planned(
        person: Id,
        plan: &PlanReport,
        salt: [u8; 16],
        decisions: Decisions,
    ) -> ErasureTask {
        ErasureTask {
            person,
            plan: plan.clone(),
            salt: hex::encode(salt),
            request: None,
            step: 0,
            containers: Vec::new(),
            frozen_at: None,
            shredded_at: None,
            deleted_rows: 0,
            purged_blobs: 0,
            subtracted: Vec::new(),
            resolved: Vec::new(),
            error: None,
            receipt: None,
            decisions,
            held: Vec::new(),
            held_copies: Vec::new(),
            last_receipt: None,
        }
    }

    /// What is left of an erasure of these containers of which the ledger says that its keys were destroyed, and the data nothing, since it
    /// was restored from an older backup.
    pub(crate) fn found_erased(
        person: Id,
        plan: &PlanReport,
        salt: [u8; 16],
        containers: Vec<Id>,
        now: Timestamp,
    ) -> ErasureTask {
        let mut task = ErasureTask::planned(person, plan, salt, Decisions::default());
        task.step = SHRED;
        task.containers = containers;
        task.frozen_at = Some(now);
        task
    }

    /// Who is told of it.
    pub(crate) fn recipients(&self) -> Vec<Id> {
        self.plan.recipients.iter().filter_map(|told| told.recipient.parse().ok()).collect()
    }

    /// The last receipt that was issued.
    pub(crate) fn issued_receipt(&self) -> Option<Id> {
        self.last_receipt.filter(|_| self.step > RELEASE).or(self.receipt)
    }

    /// Whether everything but what holds keep is erased, receipted and verified.
    fn waits_for_holds(&self) -> bool {
        self.step == RELEASE && !self.held.is_empty()
    }

    fn report(&self, id: Id, state: TaskState) -> ErasureReport {
        let status = match state {
            TaskState::Planned => "planned",
            TaskState::Done => "completed",
            TaskState::Failed => "failed",
            TaskState::Waiting | TaskState::Running if self.waits_for_holds() => "completed_with_holds",
            TaskState::Waiting if self.error.is_some() => "failed",
            TaskState::Waiting | TaskState::Running => "running",
        };
        let steps = STEPS
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != RELEASE || !self.plan.held.is_empty() || !self.held.is_empty())
            .map(|(number, (name, title))| StepReport {
                name: (*name).to_owned(),
                title: (*title).to_owned(),
                status: match number.cmp(&self.step) {
                    std::cmp::Ordering::Less => "done",
                    std::cmp::Ordering::Equal if status == "running" => "running",
                    _ => "waiting",
                }
                .to_owned(),
            })
            .collect();
        ErasureReport {
            plan: id.to_string(),
            status: status.to_owned(),
            steps,
            error: self.error.clone(),
            receipt: self.issued_receipt().map(|receipt| receipt.to_string()),
            held: if status == "completed_with_holds" {
                self.held.iter().map(|part| part.hold.to_string()).collect()
            } else {
                Vec::new()
            },
        }
    }
}

impl Rights {
    /// Whom a plan is about.
    pub async fn person_of_plan(&self, plan: Id) -> Result<Id> {
        Ok(self.erasure_task(plan).await?.1.person)
    }

    /// A plan as it was made.
    pub async fn plan(&self, plan: Id) -> Result<PlanReport> {
        let mut report = self.erasure_task(plan).await?.1.plan;
        report.plan = plan.to_string();
        Ok(report)
    }

    /// How far an erasure has come. The plan's id is a secret of 74 random bits: whoever has it may ask, also after the person
    /// is gone.
    pub async fn erasure(&self, plan: Id) -> Result<ErasureReport> {
        let (row, task) = self.erasure_task(plan).await?;
        Ok(task.report(row.id, row.state))
    }

    /// The receipt of a completed erasure, with the salt that ties it to the person, unless that was lost with the data before a restore. Can
    /// be fetched until the task is forgotten.
    pub async fn erasure_receipt(&self, plan: Id) -> Result<Value> {
        let (_, task) = self.erasure_task(plan).await?;
        let receipt =
            task.issued_receipt().ok_or_else(|| Error::not_found("the erasure is not completed yet"))?;
        let mut receipt = self.receipt(receipt).await?;
        if !task.salt.is_empty() {
            receipt["salt"] = Value::String(task.salt);
        }
        Ok(receipt)
    }

    async fn erasure_task(&self, plan: Id) -> Result<(TaskRow, ErasureTask)> {
        let row = self
            .store
            .read(move |tx| tx.task(plan))
            .await?
            .filter(|row| row.kind == TaskKind::Erasure)
            .ok_or_else(|| {
                Error::not_found("there is no such plan").hint("plans are kept for 24 hours; make a new one")
            })?;
        let task = serde_json::from_value(row.payload.clone())?;
        Ok((row, task))
    }

    /// Starts the run of a plan. `confirmation` is the person's e-mail address or the organisation's name; `digest`, if given, must be the plan's. Refused when
    /// the plan is too old, when it no longer says what would be done, and when something has to be settled first. Starting a
    /// plan that runs or is done already changes nothing.
    ///
    /// A person's erasure is recorded as a request; staff cannot start one here, since theirs needs a second person. Where the
    /// deployment gives time to change one's mind, the plan stays planned and the request waits.
    pub async fn start_erasure(
        &self,
        actor: &Actor,
        plan: Id,
        confirmation: &str,
        digest: Option<&str>,
    ) -> Result<ErasureReport> {
        let (row, task) = self.erasure_task(plan).await?;
        if row.state != TaskState::Planned {
            return Ok(task.report(row.id, row.state));
        }
        if digest.is_some_and(|digest| digest != task.plan.digest) {
            return Err(Error::conflict("that is not the digest of this plan")
                .hint("read the plan again before you approve it"));
        }
        let confirmation = confirmation.trim().to_owned();
        let (actor, request, rights) = (*actor, self.store.ambient().new_id(), self.clone());
        self.store
            .write(move |tx| {
                let person = task.person;
                if called(tx, person)? != confirmation {
                    return Err(Error::invalid(
                        "the confirmation is not what the person or organisation is called",
                    )
                    .hint(CONFIRMATION_HINT));
                }
                if tx.now().0 > row.created_at.0 + PLAN_HOURS * time::HOUR {
                    return Err(Error::conflict("the plan is more than 24 hours old").hint("make a new plan"));
                }
                let now = plan::make(tx, person, &task.decisions)?;
                if let Some(reason) = now.blocked.first() {
                    return Err(Error::conflict(reason.clone()));
                }
                if now.digest != task.plan.digest {
                    return Err(Error::conflict("what is held has changed since the plan was made")
                        .hint("make a new plan and read it again"));
                }
                match tx.holder(person)? {
                    Some((HolderKind::Person, _)) => {
                        requests::record_direct_erasure(&rights, tx, plan, task.clone(), &actor, request)
                    }
                    _ => {
                        rights.require_fresh(&actor)?;
                        tx.start_planned(plan).map(|_| ())
                    }
                }
            })
            .await?;
        fault::point("erase.requested");
        self.wake();
        self.erasure(plan).await
    }

    /// Calls a run off; possible until the keys are destroyed.
    pub async fn cancel_erasure(&self, plan: Id, actor: &Actor) -> Result<()> {
        let (_, task) = self.erasure_task(plan).await?;
        self.authorise_erasure(actor, task.person, "CancelErasure").await?;
        let state = self.state_after_cancelling(task.person).await?;
        self.store
            .write(move |tx| {
                let task = call_off(tx, plan, state)?;
                requests::erasure_moved(tx, &task, Moved::CalledOff)
            })
            .await
    }

    /// Runs what is left of an erasure that the worker has claimed.
    pub(crate) async fn run_erasure(&self, row: &TaskRow) -> Result<()> {
        let mut task: ErasureTask = serde_json::from_value(row.payload.clone())?;
        let id = row.id;
        task.error = None;
        while task.step < STEPS.len() {
            let result = match STEPS[task.step].0 {
                "freeze" => self.freeze(&mut task).await,
                "subtract" => self.subtract(id, &mut task).await,
                "shred" => self.shred(id, &mut task).await,
                "delete" => self.delete(&mut task).await,
                "resolve" => self.resolve(&mut task).await,
                "purge" => self.purge(&mut task).await,
                "verify" => verify::erased(self, &task).await,
                "receipt" => receipts::issue_for_erasure(self, id, &mut task).await,
                "release" => match self.release(row, &task).await {
                    Ok(false) => return Ok(()),
                    result => result.map(|_| ()),
                },
                other => Err(Error::internal(format!("an erasure has no step {other}"))),
            };
            if let Err(error) = result {
                task.error = Some(error.to_string());
                let payload = serde_json::to_value(&task)?;
                let attempts = row.attempts;
                self.store
                    .write(move |tx| {
                        tx.progress(id, &payload)?;
                        requests::erasure_moved(tx, &task, Moved::Failed)?;
                        tx.retry_task(id, attempts)
                    })
                    .await?;
                return Err(error);
            }
            task.step += 1;
            let (payload, now) = (serde_json::to_value(&task)?, task.clone());
            let moved = if task.waits_for_holds() { Moved::OnlyHeld } else { Moved::On };
            self.store
                .write(move |tx| {
                    tx.progress(id, &payload)?;
                    requests::erasure_moved(tx, &now, moved)
                })
                .await?;
            fault::point("erase.step");
        }
        self.store
            .write(move |tx| {
                requests::erasure_moved(tx, &task, Moved::Done)?;
                tx.end_task(id, TaskState::Done)
            })
            .await
    }

    /// From here on nothing of the person is written: writers before it have committed, writers after it are refused.
    async fn freeze(&self, task: &mut ErasureTask) -> Result<()> {
        let person = task.person;
        let decisions = task.decisions.clone();
        let salts: Vec<[u8; 16]> = decisions.deletions.iter().map(|_| self.store.ambient().bytes()).collect();
        let access = self.access.clone();
        let (containers, held, told) = self
            .store
            .write(move |tx| {
                plan::require_deletable(tx, person)?;
                // After a crash this may be done already.
                if tx.is_active(person)? {
                    ownership::require_settled(tx, person, &decisions)?;
                    ownership::succeed(tx, &decisions.successors)?;
                    for (organisation, salt) in decisions.deletions.iter().zip(&salts) {
                        start_at_once(tx, *organisation, *salt)?;
                    }
                    access.renew_keys_known_to(tx, person)?;
                }
                tx.set_holder_state(person, HolderState::Frozen)?;
                let mut held = Vec::new();
                for part in tx.held_parts(person)? {
                    held.push(KeptByHold {
                        hold: part.hold,
                        target: Some(part.target),
                        resources: part.counts.values().sum(),
                        until: holds::end(tx, part.hold)?.map(Timestamp::rfc3339),
                    });
                }
                // Who received data since the plan was made is told, too.
                let told = match tx.holder(person)? {
                    Some((HolderKind::Person, _)) => recipients::told(tx, person)?,
                    _ => Vec::new(),
                };
                Ok((tx.containers_of(person)?, held, told))
            })
            .await?;
        self.access.telemetry().forget(person);
        task.containers = containers;
        task.held = held;
        task.plan.recipients = told;
        task.frozen_at = Some(self.store.ambient().now());
        Ok(())
    }

    async fn subtract(&self, id: Id, task: &mut ErasureTask) -> Result<()> {
        // Others may place holds on copies in their projects until these are erased.
        let (person, decisions) = (task.person, task.decisions.clone());
        let copies = self
            .store
            .read(move |tx| {
                let mut parts = Vec::new();
                for (hold, copy) in holds::held_elsewhere(tx, person, &decisions)? {
                    let until = holds::end(tx, hold)?.map(Timestamp::rfc3339);
                    parts.push((copy, KeptByHold { hold, target: None, resources: 1, until }));
                }
                Ok(parts)
            })
            .await?;
        for (copy, part) in copies {
            if !task.held_copies.contains(&copy) {
                task.held_copies.push(copy);
                task.held.push(part);
            }
        }
        if !task.held.is_empty() && task.last_receipt.is_none() {
            task.last_receipt = Some(self.store.ambient().new_id());
        }
        let touched = self.models.forget_holder(person, &task.held_copies).await?;
        for iteration in touched {
            if !task.subtracted.contains(&iteration) {
                task.subtracted.push(iteration);
            }
        }
        self.forget_depicted(id, task).await?;
        self.forget_author(person).await?;
        fault::point("erase.subtracted");
        Ok(())
    }

    async fn resolve(&self, task: &mut ErasureTask) -> Result<()> {
        let mut resolved = Vec::new();
        for &iteration in &task.subtracted {
            // One that is gone, or goes with another erasure, is nothing to prove.
            match self.models.forget(iteration).await {
                Ok(Some(forgotten)) => resolved.push(ModelReceipt {
                    iteration,
                    images: forgotten.images,
                    state_digest: forgotten.state_digest,
                }),
                Ok(None) => {}
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Frozen) => {}
                Err(error) => return Err(error),
            }
        }
        task.resolved = resolved;
        fault::point("erase.resolved");
        Ok(())
    }

    /// The commit point. The tombstone comes first: after a crash in between, the keys of a person who has one are destroyed
    /// when the server starts, before it answers anybody.
    async fn shred(&self, id: Id, task: &mut ErasureTask) -> Result<()> {
        self.keep_address(task.person, task.request).await?;
        let person = task.person;
        let containers = task.containers.clone();
        let erased = self.store.with_ledger(move |ledger| Ok(ledger.is_erased(person))).await?;
        if !erased {
            // Before some of them move into holds, where they are not the person's any more.
            let digests = self.store.read(move |tx| plan::exported_digests(tx, person)).await?;
            if !digests.is_empty() {
                self.store
                    .with_ledger(move |ledger| {
                        ledger.append(&[Record::ModelsRevoked { digests }]).map(|_| ())
                    })
                    .await?;
            }
        }
        self.reseal_held(task).await?;
        fault::point("erase.before_tombstone");
        if !erased {
            // All that a restore of a backup from before needs to go on with: nothing but this record is left of the task then.
            let record = Record::PersonErased {
                person,
                containers: containers.clone(),
                request: task.request,
                erasure: Some(id),
                held: task.held.clone(),
                held_copies: task.held_copies.clone(),
                last_receipt: task.last_receipt,
                recipients: task.recipients(),
            };
            self.store.with_ledger(move |ledger| ledger.append(&[record]).map(|_| ())).await?;
        }
        fault::point("erase.tombstone_written");
        if !fault::is_switched_off("shred") {
            self.store
                .with_keyring(move |keyring| {
                    keyring.destroy(&Destruction {
                        containers,
                        aliases_of: vec![person],
                        ..Destruction::default()
                    })
                })
                .await?;
        }
        fault::point("erase.keys_destroyed");
        task.shredded_at = Some(self.store.ambient().now());
        Ok(())
    }

    /// Gives what holds keep keys of their own, before the person's are destroyed. Outer holds come first, and have then what inner ones
    /// keep, too; it moves on to those when the outer ones end.
    async fn reseal_held(&self, task: &ErasureTask) -> Result<()> {
        for part in &task.held {
            let (hold, Some(target)) = (part.hold, part.target) else { continue };
            while self
                .store
                .write(move |tx| {
                    // What an outer hold has already stays there.
                    let moved = tx
                        .position(target)?
                        .is_none_or(|(_, parent, holder)| holder == Id::NIL && parent != Some(Id::NIL));
                    if moved { Ok(0) } else { tx.move_into_hold(hold, target) }
                })
                .await?
                > 0
            {
                fault::point("erase.held_resealed");
            }
        }
        Ok(())
    }

    /// Waits for the holds; once they have ended, checks that what they kept is gone, and issues the last receipt. False while one keeps
    /// something.
    async fn release(&self, row: &TaskRow, task: &ErasureTask) -> Result<bool> {
        if task.held.is_empty() {
            return Ok(true);
        }
        let id = row.id;
        let holds: Vec<Id> = task.held.iter().map(|part| part.hold).collect();
        let waiting = self
            .store
            .write({
                let holds = holds.clone();
                move |tx| {
                    let mut ends = Vec::new();
                    for &hold in &holds {
                        ends.extend(tx.get::<Hold>(hold)?.map(|node| node.expires_at));
                    }
                    if ends.is_empty() {
                        return Ok(false);
                    }
                    // Whoever releases a hold, or the sweep when its time has come, makes this task due at once.
                    let day = Timestamp(tx.now().0 + time::DAY);
                    tx.postpone(
                        id,
                        ends.into_iter().flatten().fold(day, Ord::min).max(Timestamp(tx.now().0 + RECHECK)),
                    )?;
                    Ok(true)
                }
            })
            .await?;
        if waiting {
            return Ok(false);
        }
        self.models.erase_images(&task.held_copies).await?;
        verify::released(self, &holds).await?;
        receipts::issue_for_release(self, task).await?;
        fault::point("erase.released");
        Ok(true)
    }

    async fn delete(&self, task: &mut ErasureTask) -> Result<()> {
        let person = task.person;
        self.end_requests_of(person, task.request).await?;
        // What others made from it cannot forget; it says so from now on, and they are written to.
        self.store.write(move |tx| tx.mark_made_from(Going::Of(person), person)).await?;
        fault::point("erase.owners_told");
        self.wake();
        // The blobs' names go into tasks of their own before the rows that know them are deleted.
        let mut after = Id::NIL;
        loop {
            let last = self
                .store
                .write(move |tx| {
                    let rows = tx.blobs_of(person, after, BLOBS)?;
                    let ids: Vec<Id> = rows.iter().map(|row| row.id).collect();
                    if !ids.is_empty() {
                        let now = tx.now();
                        tx.enqueue(
                            TaskKind::PurgeBlobs,
                            Some(person),
                            &serde_json::json!({ "blobs": ids }),
                            now,
                        )?;
                    }
                    Ok((ids.last().copied(), ids.len() as u64))
                })
                .await?;
            task.purged_blobs += last.1;
            match last.0 {
                Some(id) if last.1 == u64::from(BLOBS) => after = id,
                _ => break,
            }
        }
        fault::point("erase.blobs_listed");
        if fault::is_switched_off("delete") {
            return Ok(());
        }
        loop {
            let removed = self.store.write(move |tx| tx.remove_held(person, ROWS)).await?;
            task.deleted_rows += removed;
            fault::point("erase.rows_deleted");
            if removed == 0 {
                break;
            }
        }
        // Of images that named them while their keys were destroyed: after the person's own record is gone, a name that is nobody's is theirs.
        self.forget_names(person).await?;
        self.store.write(move |tx| tx.remove_holder(person)).await
    }

    async fn purge(&self, task: &mut ErasureTask) -> Result<()> {
        let person = task.person;
        let tasks = self.store.read(move |tx| tx.tasks_about(person, TaskKind::PurgeBlobs)).await?;
        for row in tasks.into_iter().filter(|row| row.state != TaskState::Done) {
            let id = row.id;
            if let Some(claimed) = self.store.write(move |tx| tx.claim(id)).await? {
                self.store.run_own(&claimed).await?;
            } else {
                return Err(Error::unavailable("files are being deleted by another worker"));
            }
            fault::point("erase.blobs_purged");
        }
        Ok(())
    }
}

/// Ends a run before it destroys keys; the holder has `state` again, and the task is returned as it stood.
pub(crate) fn call_off(tx: &mut Tx<'_>, plan: Id, state: HolderState) -> Result<ErasureTask> {
    let row = tx.task(plan)?.ok_or_else(|| Error::not_found("there is no such plan"))?;
    let task: ErasureTask = serde_json::from_value(row.payload)?;
    if row.state == TaskState::Running || task.step >= SHRED {
        return Err(Error::conflict("the keys are being destroyed: it can no longer be called off"));
    }
    tx.set_holder_state(task.person, state)?;
    tx.end_task(plan, TaskState::Failed)?;
    Ok(task)
}

/// Plans and starts the erasure of an organisation for which nothing has to be decided; false when it cannot start, or runs already. Persons'
/// are requests: [`requests::start_unasked_erasure`].
fn start_at_once(tx: &mut Tx<'_>, organisation: Id, salt: [u8; 16]) -> Result<bool> {
    match plan_at_once(tx, organisation, salt)? {
        Some((id, _)) => tx.start_planned(id),
        None => Ok(false),
    }
}

/// Plans the erasure of a holder for whom nothing has to be decided; none when it cannot start, or runs already.
pub(crate) fn plan_at_once(tx: &mut Tx<'_>, holder: Id, salt: [u8; 16]) -> Result<Option<(Id, ErasureTask)>> {
    let tasks = tx.tasks_about(holder, TaskKind::Erasure)?;
    if tasks.iter().any(|task| matches!(task.state, TaskState::Waiting | TaskState::Running))
        || tx.holder(holder)?.is_none()
    {
        return Ok(None);
    }
    let decisions = Decisions::default();
    let report = plan::make(tx, holder, &decisions)?;
    if !report.blocked.is_empty() {
        return Ok(None);
    }
    let task = ErasureTask::planned(holder, &report, salt, decisions);
    let id = tx.plan_task(TaskKind::Erasure, Some(holder), &serde_json::to_value(&task)?)?;
    Ok(Some((id, task)))
}

/// What a confirmation must say: a person's e-mail address (the name of somebody who has none), an organisation's name.
pub(crate) fn called(tx: &mut Tx<'_>, holder: Id) -> Result<String> {
    if let Some(person) = tx.get::<Person>(holder)? {
        // Unclaimed persons may have a name only.
        return Ok(if person.doc.email.is_empty() { person.doc.name } else { person.doc.email });
    }
    match tx.get::<Organisation>(holder)? {
        Some(organisation) => Ok(organisation.doc.name),
        None => Err(Error::not_found("there is no such person or organisation")),
    }
}

/// The number of the step after which nothing can be called off.
pub(crate) const SHRED: usize = 2;
/// The number of the step that waits for legal holds.
const RELEASE: usize = 8;
/// The shortest time between two looks at holds that have not ended, in microseconds.
const RECHECK: i64 = 60_000_000;
