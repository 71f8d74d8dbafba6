//! View, export and erasure of everything held on a person: written once, over the tree, for all kinds.
//!
//! **Invariant:** an erasure is completed only after a clean verification.
//! **Invariant:** plan and run are the same code: what a plan counts is what the run deletes.

mod archive;
mod article_15;
mod authored;
mod crate_metadata;
mod deletion;
mod delivering;
mod depicted;
mod erasure;
mod exports;
mod formats;
mod holdings;
mod holds;
mod ownership;
pub mod pieces;
mod plan;
mod receipts;
mod recipients;
mod records;
mod rectification;
mod requests;
mod restriction;
mod retention;
mod tables;
mod unclaimed;
mod verify;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;

use habeas_access::{Access, Actor, Permission, Throttle, authorise, record_staff, staff_role};
use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::{Error, Id, Result};
use habeas_fetch::Outgoing;
use habeas_models::Models;
use habeas_store::{HolderState, Store};
use tokio::sync::Notify;

pub use archive::ArchiveSize;
pub use deletion::{DeletionState, Selection, deletion_state};
pub use delivering::Delivery;
pub use erasure::{CONFIRMATION_HINT, STEPS};
pub use holdings::kind_name;
pub use holds::PlaceHold;
pub use recipients::{NewRecipient, RecipientChange};
pub use rectification::{Correction, Rectify};
pub use requests::{
    ByStaff, FRESH_MINUTES, Mailer, NewRequest, REQUEST_DAYS, RESTRICTION_NOTICE_DAYS, RequestFilter,
    RequestOptions, UNDO_DAYS,
};
pub use worker::Worker;

/// The rights engine over one store. Cheap to clone.
#[derive(Clone)]
pub struct Rights {
    access: Access,
    models: Models,
    store: Store,
    requests: Arc<RequestOptions>,
    /// Slows down whoever takes in requests for one address, or asks for codes, again and again.
    throttle: Arc<Throttle>,
    wake: Arc<Notify>,
    wake_letters: Arc<Notify>,
}

impl Rights {
    /// Opens it.
    pub fn new(access: Access, models: Models, requests: RequestOptions) -> Rights {
        let store = access.store().clone();
        Rights {
            access,
            models,
            store,
            requests: Arc::new(requests),
            throttle: Arc::default(),
            wake: Arc::default(),
            wake_letters: Arc::default(),
        }
    }

    /// Who may do what.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Training and prediction.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Calls to recipients of data, and to controllers that passed requests on.
    pub fn outgoing(&self) -> &Outgoing {
        &self.requests.outgoing
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Succeeds when `actor` may exercise `person`'s rights: the person themselves, or the staff. What staff do is recorded in
    /// the person's telemetry before this returns. To everybody else the person does not exist.
    pub async fn authorise(&self, actor: &Actor, person: Id, operation: &'static str) -> Result<()> {
        let actor = *actor;
        if let Actor::Person { id, .. } = actor
            && id == person
        {
            self.access.telemetry().note(person, operation, 200);
            return Ok(());
        }
        self.store
            .write(move |tx| {
                let not_found = || Error::not_found("there is no such person");
                let is_person = matches!(tx.holder(person)?, Some((HolderKind::Person, _)));
                if staff_role(tx, &actor)?.is_none() || !is_person {
                    return Err(not_found());
                }
                match record_staff(tx, person, actor.reference(), operation) {
                    // A person who is being erased is still looked after, but no longer written about.
                    Err(error) if error.kind == habeas_core::ErrorKind::Frozen => Ok(()),
                    result => result,
                }
            })
            .await
    }

    /// Records in the telemetry of each of `persons` that `actor`, who is of the staff, did `operation` with something of theirs: what
    /// [`authorise`](Self::authorise) does for one, for all on a page in one write. Nothing is recorded with the actor themselves, with whoever
    /// is being erased or gone, and with organisations.
    pub async fn record_read(&self, actor: &Actor, persons: &[Id], operation: &'static str) -> Result<()> {
        let by = actor.reference();
        let persons: BTreeSet<Id> = persons.iter().copied().filter(|person| *person != by).collect();
        if persons.is_empty() {
            return Ok(());
        }
        self.store
            .write(move |tx| {
                for person in &persons {
                    if matches!(
                        tx.holder(*person)?,
                        Some((HolderKind::Person, HolderState::Active | HolderState::Restricted))
                    ) {
                        record_staff(tx, *person, by, operation)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Succeeds when `actor` may have `holder` erased: for a person as [`authorise`](Self::authorise), for an organisation its owners and
    /// the operator.
    pub async fn authorise_erasure(&self, actor: &Actor, holder: Id, operation: &'static str) -> Result<()> {
        let asking = *actor;
        let organisation = self
            .store
            .read(move |tx| {
                let organisation = matches!(tx.holder(holder)?, Some((HolderKind::Organisation, _)));
                if organisation {
                    authorise(tx, &asking, holder, Permission::Own)?;
                }
                Ok(organisation)
            })
            .await?;
        if organisation { Ok(()) } else { self.authorise(actor, holder, operation).await }
    }

    /// Succeeds when `actor` is of the staff; to everybody else nothing is there.
    pub async fn require_staff(&self, actor: &Actor) -> Result<()> {
        let actor = *actor;
        self.store
            .read(move |tx| {
                staff_role(tx, &actor)?
                    .map(|_| ())
                    .ok_or_else(|| Error::not_found("there is no such resource"))
            })
            .await
    }

    /// Succeeds for administrators and the operator; to everybody else nothing is there.
    pub async fn require_administrator(&self, actor: &Actor) -> Result<()> {
        let actor = *actor;
        self.store
            .read(move |tx| match staff_role(tx, &actor)? {
                Some(MentionRole::Administrator) => Ok(()),
                _ => Err(Error::not_found("there is no such resource")),
            })
            .await
    }

    /// Names of the laws under which requests are answered, the usual one first.
    pub fn regimes(&self) -> Vec<String> {
        self.requests.deadlines.names().map(str::to_owned).collect()
    }

    /// Wakes the worker: a task was enqueued.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
        self.wake_letters.notify_one();
    }
}

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rights")
    }
}
