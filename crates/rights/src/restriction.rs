//! Restriction of processing (GDPR Article 18).
//!
//! What a restricted person holds can be seen, exported and erased, but nobody changes it, learns from it or asks its models; trainings of
//! others that would learn from copies of it are refused. Models of others that had learned from it before go on: only erasure takes
//! it out of them.

use habeas_access::Actor;
use habeas_core::requests::RequestType;
use habeas_core::{Error, ErrorKind, Id, Result, Timestamp, fault, time};
use habeas_store::ledger::Record;
use habeas_store::{HolderState, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};

use crate::Rights;
use crate::requests::{self, Direct, record_direct_change};

/// The end of a restriction as its task has it.
#[derive(Debug, Serialize, Deserialize)]
struct Lifting {
    /// The task of the letter that tells the person.
    letter: Id,
}

impl Rights {
    /// Restricts the processing of a person's data, or lifts the restriction, without a request; recipients are told of a restriction. The
    /// caller has checked that the actor may. Durable, also against a restore of an older backup, when this returns.
    ///
    /// Who has it lifted by somebody else is written to (GDPR Article 18(3)): when the staff do, it ends after the time of notice, which is the
    /// answer, unless it is restricted anew before; when the operator does, at once.
    pub async fn restrict(&self, actor: &Actor, person: Id, restricted: bool) -> Result<Option<Timestamp>> {
        let ends = if restricted || actor.person() == Some(person) {
            self.set_restricted(person, restricted, Some(Direct::new(self, actor))).await?;
            None
        } else {
            self.announce_and_lift(actor, person).await?
        };
        self.wake();
        Ok(ends)
    }

    /// Has the person written to, and the restriction lifted at its time, which is given back, or now.
    async fn announce_and_lift(&self, actor: &Actor, person: Id) -> Result<Option<Timestamp>> {
        if !self.is_restricted(person).await? {
            return Ok(None);
        }
        let notice = match actor {
            Actor::Operator => 0,
            _ => i64::from(self.requests.restriction_notice_days) * time::DAY,
        };
        let (ends, due) = self
            .store
            .write(move |tx| {
                let now = tx.now();
                let ends = Timestamp(now.0 + notice);
                // Of two who lift it at a time the later one sees what the first did.
                tx.lock_roles(person)?;
                match requests::lifting(tx, person)? {
                    // The person was told already.
                    Some(task) if task.run_after <= ends => return Ok((Some(task.run_after), None)),
                    Some(task) => tx.end_task(task.id, TaskState::Failed)?,
                    None => {}
                }
                let letter = requests::announce_lifting(tx, person, ends)?;
                let payload = serde_json::to_value(Lifting { letter })?;
                let task = tx.enqueue(TaskKind::LiftRestriction, Some(person), &payload, ends)?;
                if notice > 0 { Ok((Some(ends), None)) } else { Ok((None, tx.claim(task)?)) }
            })
            .await?;
        fault::point("restriction.announced");
        if let Some(task) = due {
            self.lift(&task, person).await?;
        }
        Ok(ends)
    }

    /// Lifts a restriction whose time has come, once the person's letter is away or given up.
    pub(crate) async fn run_lifting(&self, task: &TaskRow) -> Result<()> {
        let (id, attempts) = (task.id, task.attempts);
        let Lifting { letter } = Lifting::deserialize(&task.payload)?;
        let waits = self
            .store
            .write(move |tx| {
                let waits = tx
                    .task(letter)?
                    .is_some_and(|letter| matches!(letter.state, TaskState::Waiting | TaskState::Running));
                if waits {
                    tx.retry_task(id, attempts)?;
                }
                Ok(waits)
            })
            .await?;
        match task.subject.filter(|_| !waits) {
            Some(person) => self.lift(task, person).await,
            None => Ok(()),
        }
    }

    async fn lift(&self, task: &TaskRow, person: Id) -> Result<()> {
        let (id, attempts) = (task.id, task.attempts);
        let lifted = self.set_restricted(person, false, None).await;
        let failed = lifted.as_ref().err().map(|error| error.kind);
        self.store
            .write(move |tx| match failed {
                // Whoever is gone has nothing that is restricted.
                None | Some(ErrorKind::NotFound) => tx.end_task(id, TaskState::Done),
                Some(_) => tx.retry_task(id, attempts),
            })
            .await?;
        match failed {
            // Their erasure may be called off yet.
            Some(ErrorKind::NotFound | ErrorKind::Frozen) => Ok(()),
            _ => lifted,
        }
    }

    /// Restricts, or lifts the restriction, because of a request unless it is `direct`. What was to be lifted stays when it is restricted anew.
    pub(crate) async fn set_restricted(
        &self,
        person: Id,
        restricted: bool,
        direct: Option<Direct>,
    ) -> Result<()> {
        if restricted {
            self.store.write(move |tx| call_off_lifting(tx, person)).await?;
        }
        if self.is_restricted(person).await? == restricted {
            return Ok(());
        }
        self.store
            .with_ledger(move |ledger| {
                ledger.append(&[Record::Restricted { person, restricted }]).map(|_| ())
            })
            .await?;
        fault::point("restriction.recorded");
        self.store
            .write(move |tx| match tx.holder(person)? {
                Some((_, HolderState::Active)) if restricted => {
                    if let Some(direct) = &direct {
                        record_direct_change(tx, person, RequestType::Restriction, direct)?;
                    }
                    tx.set_holder_state(person, HolderState::Restricted)
                }
                Some((_, HolderState::Restricted)) if !restricted => {
                    tx.set_holder_state(person, HolderState::Active)
                }
                _ => Ok(()),
            })
            .await
    }

    /// Whether the processing of a person's data is restricted.
    pub async fn is_restricted(&self, person: Id) -> Result<bool> {
        let state = self
            .store
            .read(move |tx| tx.holder(person))
            .await?
            .map(|(_, state)| state)
            .ok_or_else(|| Error::not_found("there is no such person"))?;
        match state {
            HolderState::Active => Ok(false),
            HolderState::Restricted => Ok(true),
            HolderState::Frozen => Err(Error::frozen("the data of this account is being erased")),
        }
    }

    /// The state that a person has again when their erasure is called off.
    pub(crate) async fn state_after_cancelling(&self, person: Id) -> Result<HolderState> {
        let restricted =
            self.store.with_ledger(move |ledger| Ok(ledger.restricted().contains(&person))).await?;
        Ok(if restricted { HolderState::Restricted } else { HolderState::Active })
    }
}

/// Has a restriction stay of which it was announced that it ends.
fn call_off_lifting(tx: &mut Tx<'_>, person: Id) -> Result<()> {
    match requests::lifting(tx, person)? {
        Some(task) if task.state == TaskState::Running => {
            Err(Error::conflict("the restriction is being lifted at this moment")
                .hint("try again in a few seconds"))
        }
        Some(task) => tx.end_task(task.id, TaskState::Failed),
        None => Ok(()),
    }
}
