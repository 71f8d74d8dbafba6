//! What carries a request out: the engine's own erasures and exports, which report back here.

use std::sync::Arc;

use habeas_access::Actor;
use habeas_core::kinds::{ExportArchive, PlannedErasure, PlannedKind, Request};
use habeas_core::report::PlanReport;
use habeas_core::requests::{Channel, Gate, IdentityCheck, Outcome, RequestEvent, RequestState, RequestType};
use habeas_core::{Error, Id, Result, Timestamp};
use habeas_store::{HolderState, Removed, TaskKind, Tx};

use super::intake::{Origin, create, destination, erased_already, open_erasure, require_fresh, undo_end};
use super::mail::{Letter, enqueue};
use super::{CORRECTED, Case, RESTRICTED, RequestOptions};
use crate::delivering::Delivery;
use crate::erasure::{ErasureTask, SHRED, call_off, plan_at_once};
use crate::exports::{Wanted, order};
use crate::{Rights, plan, recipients};

/// How long until something that could not be done is tried again.
const AGAIN: i64 = 300_000_000;

/// The counts of a plan, as a request keeps them.
pub(super) fn planned(plan: &PlanReport, now: Timestamp) -> PlannedErasure {
    PlannedErasure {
        digest: plan.digest.clone(),
        made_at: now,
        kinds: plan
            .items
            .iter()
            .filter(|item| item.count > 0)
            .map(|item| PlannedKind { kind: item.kind.clone(), count: item.count, bytes: item.bytes })
            .collect(),
    }
}

impl Rights {
    /// Ends what else a person has asked for, when they are erased: there is nothing left to ask about. Deletes the letters, too.
    pub(crate) async fn end_requests_of(&self, person: Id, but: Option<Id>) -> Result<()> {
        let ended = self
            .store
            .write(move |tx| {
                let mut ended = Vec::new();
                for node in super::queue::of_person(tx, person)? {
                    ended.push(node.id);
                    if node.doc.state.is_open() && Some(node.id) != but {
                        let mut case = Case { tx, node };
                        case.happen(RequestEvent::Cancelled, None)?;
                        case.save()?;
                    }
                }
                Ok(ended)
            })
            .await?;
        for request in ended {
            self.forget_letters_about(request).await;
        }
        self.forget_letters_to(person).await;
        Ok(())
    }

    /// Moves a verified request as far as it goes by itself: shows the plan to whoever approves, or starts the run.
    pub(super) fn go_on(&self, case: &mut Case<'_, '_>, salt: [u8; 16]) -> Result<()> {
        let now = case.tx.now();
        if case.node.doc.state == RequestState::UndoWindow
            && case.node.doc.undo_until.is_some_and(|end| end <= now)
        {
            let approval = case.node.doc.needs_approval;
            case.happen(RequestEvent::UndoEnded { approval }, None)?;
        }
        if case.node.doc.state == RequestState::AwaitingApproval && case.node.doc.plan.is_none() {
            let subject = case.subject()?;
            let plan = plan::make(case.tx, subject, &case.node.doc.decisions)?;
            case.node.doc.plan = Some(planned(&plan, now));
        }
        case.plan_waking();
        if case.node.doc.state == RequestState::Planned && case.is_for_address()? {
            // Changed as soon as this is committed, unless the process dies in between.
            case.node.doc.wake_at = Some(Timestamp(now.0 + AGAIN));
        }
        if matches!(case.node.doc.state, RequestState::Planned | RequestState::Failed) {
            match case.node.doc.asked {
                RequestType::Access | RequestType::Portability => case.start_export()?,
                RequestType::Erasure if case.node.doc.state == RequestState::Planned => {
                    case.start_erasure(&self.requests, salt)?;
                }
                // A failed erasure is tried again by its own task; the others wait for an officer.
                RequestType::Erasure
                | RequestType::Rectification
                | RequestType::Restriction
                | RequestType::Objection => {}
            }
        }
        Ok(())
    }
}

impl Case<'_, '_> {
    fn start_export(&mut self) -> Result<()> {
        let subject = self.subject()?;
        self.happen(RequestEvent::Started, None)?;
        let archive = self.tx.new_id();
        let wanted = Wanted { formats: self.node.doc.formats.clone(), ..Wanted::default() };
        order(self.tx, subject, archive, Some(self.node.id), wanted)?;
        self.node.doc.archive = Some(archive);
        Ok(())
    }

    fn start_erasure(&mut self, options: &RequestOptions, salt: [u8; 16]) -> Result<()> {
        let subject = self.subject()?;
        let decisions = self.node.doc.decisions.clone();
        let mut plan = plan::make(self.tx, subject, &decisions)?;
        plan.kept.extend(options.kept_address());
        let now = self.tx.now();
        if !plan.blocked.is_empty() {
            // Somebody has to settle it first; the plan says what.
            self.node.doc.wake_at = Some(Timestamp(now.0 + AGAIN));
            return Ok(());
        }
        // A plan that is only shown was approved by nobody.
        let shown = self.node.doc.plan.as_ref().filter(|_| self.node.doc.approver.is_some());
        let approved = shown.map(|plan| plan.digest.as_str());
        if self.node.doc.needs_approval && approved != Some(plan.digest.as_str()) {
            self.node.doc.approver = None;
            return self.happen(RequestEvent::WorldChanged, None);
        }
        let mut task = ErasureTask::planned(subject, &plan, salt, decisions);
        task.request = Some(self.node.id);
        // The letter goes first: the address goes with the person.
        enqueue(self.tx, self.node.id, Letter::Erasing)?;
        let id = self.tx.plan_task(TaskKind::Erasure, Some(subject), &serde_json::to_value(&task)?)?;
        self.tx.start_planned(id)?;
        self.node.doc.plan = Some(planned(&plan, now));
        self.node.doc.erasure = Some(id);
        self.happen(RequestEvent::Started, None)
    }

    /// Starts the planned erasure that carries it out, now that nothing stands in its way.
    fn run(&mut self, erasure: Id, mut task: ErasureTask, by: Option<Id>) -> Result<()> {
        self.happen(RequestEvent::Verified(Gate::Open), by)?;
        task.request = Some(self.node.id);
        self.tx.progress(erasure, &serde_json::to_value(&task)?)?;
        self.tx.start_planned(erasure)?;
        self.node.doc.erasure = Some(erasure);
        self.plan_waking();
        self.happen(RequestEvent::Started, by)
    }

    /// Stops what carries it out, if that is still possible; the person has `state` again.
    pub(super) fn stop(&mut self, state: HolderState) -> Result<Removed> {
        if let Some(erasure) = self.node.doc.erasure {
            call_off(self.tx, erasure, state)?;
        }
        match self.node.doc.archive.take() {
            Some(archive) => self.tx.remove(archive),
            None => Ok(Removed::default()),
        }
    }
}

/// Records that a person, or the operator of the machine, runs a plan of theirs at once, and starts it; or, where the deployment gives
/// time to change one's mind, lets it wait for that, and for an approval where the staff corrected the person's address. What the staff
/// start needs a second person and is refused here.
pub(crate) fn record_direct_erasure(
    rights: &Rights,
    tx: &mut Tx<'_>,
    erasure: Id,
    task: ErasureTask,
    actor: &Actor,
    request: Id,
) -> Result<()> {
    let now = tx.now();
    let own = match actor {
        Actor::Operator => false,
        Actor::Person { id, .. } if *id == task.person => true,
        _ => {
            return Err(Error::conflict("an erasure that staff start needs the approval of a second person")
                .hint(
                    "take in a request: habeas request create, or POST /api/privacy/v1/persons/ID/requests",
                ));
        }
    };
    require_fresh(actor, now)?;
    // Of two at a time the later one sees the other.
    tx.lock_roles(task.person)?;
    if let Some(other) = open_erasure(tx, task.person, request)? {
        return Err(erased_already(other.id));
    }
    let regime = rights.requests.deadlines.regime(None)?;
    let origin = Origin {
        channel: if own { Channel::SelfService } else { Channel::Operator },
        subject: Some(task.person),
        requester: Some(actor.reference()),
        regime: regime.name.clone(),
        received_at: now,
        due_at: rights.requests.deadlines.due(regime, now, false)?,
    };
    let by = Some(actor.reference());
    let node = create(tx, request, RequestType::Erasure, &origin)?;
    let mut case = Case { tx, node };
    case.node.doc.decisions = task.decisions.clone();
    case.node.doc.plan = Some(planned(&task.plan, now));
    case.node.doc.verified_by = Some(if own { IdentityCheck::SignIn } else { IdentityCheck::Known });
    case.node.doc.needs_approval = own && case.had_address_corrected();
    case.node.doc.undo_until = undo_end(&rights.requests, &case.node.doc, now).filter(|_| own);
    if case.node.doc.undo_until.is_some() {
        case.happen(RequestEvent::Verified(Gate::Undo), by)?;
        case.plan_waking();
    } else if case.node.doc.needs_approval {
        case.happen(RequestEvent::Verified(Gate::Approval), by)?;
        case.plan_waking();
    } else {
        enqueue(case.tx, request, Letter::Erasing)?;
        case.run(erasure, task, by)?;
    }
    case.save()
}

/// Starts the erasure of a person for whom nothing has to be decided, and who has not asked for it: a guest whose time is over, somebody
/// without an account who turned out to have one. It is a request like any other, so that those who received data of theirs are told of it (GDPR
/// Article 19). Nobody is written to. False when it cannot start, or runs already.
pub(crate) fn start_unasked_erasure(
    tx: &mut Tx<'_>,
    person: Id,
    salt: [u8; 16],
    options: &RequestOptions,
) -> Result<bool> {
    let Some((erasure, task)) = plan_at_once(tx, person, salt)? else { return Ok(false) };
    let (now, regime) = (tx.now(), options.deadlines.regime(None)?);
    let origin = Origin {
        channel: Channel::Operator,
        subject: Some(person),
        requester: None,
        regime: regime.name.clone(),
        received_at: now,
        due_at: options.deadlines.due(regime, now, false)?,
    };
    let request = tx.new_id();
    let node = create(tx, request, RequestType::Erasure, &origin)?;
    let mut case = Case { tx, node };
    case.node.doc.plan = Some(planned(&task.plan, now));
    case.node.doc.verified_by = Some(IdentityCheck::Known);
    case.run(erasure, task, None)?;
    case.save()?;
    Ok(true)
}

/// A correction or restriction that nobody has asked for by a request.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    pub(crate) by: Actor,
    /// The request that is made of it.
    pub(crate) request: Id,
    pub(crate) options: Arc<RequestOptions>,
}

impl Direct {
    pub(crate) fn new(rights: &Rights, by: &Actor) -> Direct {
        Direct { by: *by, request: rights.store.ambient().new_id(), options: Arc::clone(&rights.requests) }
    }
}

/// Records what was done as a request that is completed, so that those who received data of the person are told of it as of any other (GDPR
/// Article 19). Where nobody has received any, nothing is recorded.
pub(crate) fn record_direct_change(
    tx: &mut Tx<'_>,
    person: Id,
    asked: RequestType,
    Direct { by, request, options }: &Direct,
) -> Result<()> {
    let concerned = recipients::concerned(tx, person)?;
    if concerned.is_empty() {
        return Ok(());
    }
    let own = matches!(by, Actor::Person { id, .. } if *id == person);
    let (now, regime) = (tx.now(), options.deadlines.regime(None)?);
    let by = Some(by.reference());
    let origin = Origin {
        channel: if own { Channel::SelfService } else { Channel::Operator },
        subject: Some(person),
        requester: by,
        regime: regime.name.clone(),
        received_at: now,
        due_at: options.deadlines.due(regime, now, false)?,
    };
    let node = create(tx, *request, asked, &origin)?;
    let mut case = Case { tx, node };
    case.node.doc.verified_by = Some(if own { IdentityCheck::SignIn } else { IdentityCheck::Known });
    case.node.doc.recipients = concerned.into_iter().map(|node| node.id).collect();
    case.node.doc.approver = by;
    case.happen(RequestEvent::Verified(Gate::Open), by)?;
    case.happen(RequestEvent::Started, by)?;
    case.note(if asked == RequestType::Restriction { RESTRICTED } else { CORRECTED }, by);
    case.happen(RequestEvent::Finished(Outcome::Clean), by)?;
    case.save()
}

/// How an erasure's task stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// A step is done.
    On,
    /// An attempt failed.
    Failed,
    /// All is erased and verified but what legal holds keep.
    OnlyHeld,
    /// It came to its end with a clean verification.
    Done,
    /// It was called off.
    CalledOff,
}

/// Tells the request that an erasure carries out how far it has come.
pub(crate) fn erasure_moved(tx: &mut Tx<'_>, task: &ErasureTask, moved: Moved) -> Result<()> {
    let Some(request) = task.request else { return Ok(()) };
    // Its record may have ended before a hold did.
    let Some(node) = tx.get::<Request>(request)? else { return Ok(()) };
    let mut case = Case { tx, node };
    if moved == Moved::CalledOff {
        case.happen(RequestEvent::Cancelled, None)?;
        return case.save();
    }
    if matches!(case.node.doc.state, RequestState::Failed | RequestState::FailedIrrevocably)
        && moved != Moved::Failed
    {
        case.happen(RequestEvent::Started, None)?;
    }
    if case.node.doc.state == RequestState::Running && task.step > SHRED {
        case.happen(RequestEvent::KeysDestroyed, None)?;
    }
    match moved {
        Moved::Failed if case.node.doc.state.is_running() => {
            case.happen(RequestEvent::AttemptFailed, None)?;
        }
        Moved::OnlyHeld => {
            case.node.doc.receipt = task.issued_receipt();
            case.node.doc.recipients = task.recipients();
            case.happen(RequestEvent::Finished(Outcome::CleanWithHolds), None)?;
        }
        Moved::Done => {
            if case.node.doc.state == RequestState::CompletedWithHolds {
                case.happen(RequestEvent::HoldEnded, None)?;
            }
            case.node.doc.receipt = task.issued_receipt();
            case.node.doc.recipients = task.recipients();
            case.happen(RequestEvent::Finished(Outcome::Clean), None)?;
        }
        Moved::On | Moved::Failed | Moved::CalledOff => {}
    }
    case.save()
}

/// Tells the request that an archive answers that it is ready, with its receipt.
pub(crate) fn archive_finished(tx: &mut Tx<'_>, request: Option<Id>, receipt: Id) -> Result<()> {
    let Some(request) = request else { return Ok(()) };
    let mut case = Case::open(tx, request)?;
    if case.node.doc.state != RequestState::Running {
        return Ok(());
    }
    case.node.doc.receipt = Some(receipt);
    case.happen(RequestEvent::Finished(Outcome::Clean), None)?;
    match destination(case.tx, &case.node.doc)? {
        Some(_) => Delivery::Archive { request }.enqueue(case.tx)?,
        None => enqueue(case.tx, request, Letter::Ready)?,
    }
    case.save()
}

/// Tells the request that its archive could not be written; another is begun in a while.
pub(crate) fn archive_failed(tx: &mut Tx<'_>, request: Option<Id>, archive: Id) -> Result<()> {
    let Some(request) = request else { return Ok(()) };
    let mut case = Case::open(tx, request)?;
    if case.node.doc.state != RequestState::Running || case.node.doc.archive != Some(archive) {
        return Ok(());
    }
    case.happen(RequestEvent::AttemptFailed, None)?;
    // Somebody may have deleted it.
    if case.tx.get::<ExportArchive>(archive)?.is_none() {
        case.node.doc.archive = None;
    }
    case.node.doc.wake_at = Some(Timestamp(case.tx.now().0 + AGAIN));
    case.save()
}
