//! A person's own change of their e-mail address. By it they are found and sign in, and images that name it are tied to them, so it is
//! theirs only once they have given back a one-time code that went there. Staff, who vouch, change one at once.

use habeas_access::{Actor, normalise_email};
use habeas_core::kinds::{CaseFile, RequestDoc};
use habeas_core::report::RequestStatusReport;
use habeas_core::requests::{
    Channel, DenialReason, IdentityCheck, Outcome, RequestEvent, RequestState, RequestType,
};
use habeas_core::{Error, ErrorKind, Id, Result, crypto};
use habeas_store::Tx;

use super::intake::{Origin, create};
use super::mail::{Letter, enqueue};
use super::{CORRECTED, Case, case_file, status};
use crate::{Rectify, Rights, recipients};

/// Where the code of an open request goes that is for another address.
pub(super) struct Wanted {
    /// The address.
    pub(super) email: String,
    /// Whether it is somebody else's.
    pub(super) is_taken: bool,
}

impl Rights {
    /// The address that a person wants instead of theirs, if it is another one than that. Slows down whoever names one again and again: a
    /// letter goes there.
    pub(crate) async fn wanted_address(&self, person: Id, email: Option<&str>) -> Result<Option<String>> {
        let Some(email) = email.map(str::trim) else { return Ok(None) };
        let alias = self.store.alias("email", &normalise_email(email)?)?;
        let current = self.access.person(person).await?.doc.email;
        if alias == self.store.alias("email", &normalise_email(&current)?)? {
            return Ok(None);
        }
        self.throttle.attempt(crypto::sha256(&alias), self.store.ambient().now())?;
        Ok(Some(email.to_owned()))
    }

    /// Takes in a person's wish for another address, and sends the code there. The answer is the same whether or not somebody has it.
    pub(crate) async fn take_in_address(&self, person: Id, email: String) -> Result<RequestStatusReport> {
        let (now, deadlines) = (self.store.ambient().now(), &self.requests.deadlines);
        let regime = deadlines.regime(None)?;
        let origin = Origin {
            channel: Channel::SelfService,
            subject: Some(person),
            requester: Some(person),
            regime: regime.name.clone(),
            received_at: now,
            due_at: deadlines.due(regime, now, false)?,
        };
        let id = self.store.ambient().new_id();
        let report = self
            .store
            .write(move |tx| {
                let node = create(tx, id, RequestType::Rectification, &origin)?;
                let mut case = Case { tx, node };
                let mut file = case_file(case.tx, &case.node.doc)?
                    .ok_or_else(|| Error::internal("a request has no case file"))?;
                file.doc.new_email = Some(email.clone());
                case.tx.update::<CaseFile>(&file)?;
                case.send_code(Some(person))?;
                case.save()?;
                status(case.tx, &case.node)
            })
            .await?;
        self.wake();
        Ok(report)
    }

    /// Where the code of a request is to go, if it is for another address and still waits for one.
    pub(super) async fn awaited_address(&self, request: Id) -> Result<Option<Wanted>> {
        let found = self
            .store
            .read(move |tx| {
                let case = Case::open(tx, request)?;
                if case.node.doc.state != RequestState::Verifying {
                    return Ok(None);
                }
                Ok(new_email(case.tx, &case.node.doc)?.map(|email| (case.node.doc.subject, email)))
            })
            .await?;
        let Some((subject, email)) = found else { return Ok(None) };
        let alias = self.store.alias("email", &normalise_email(&email)?)?;
        let is_taken = self.store.find_alias(&alias).is_some_and(|other| Some(other) != subject);
        Ok(Some(Wanted { email, is_taken }))
    }

    /// Changes the address of whoever has given the code back, and closes the request; nothing when there is nothing to change. Each part can
    /// be repeated, so what a crash left is completed by the worker, or by the same code. An address that became somebody else's meanwhile
    /// is refused: whoever reads its mail may know.
    pub(super) async fn change_address(&self, request: Id) -> Result<()> {
        let found = self
            .store
            .read(move |tx| {
                let case = Case::open(tx, request)?;
                let doc = &case.node.doc;
                if doc.state != RequestState::Planned || doc.verified_by != Some(IdentityCheck::Code) {
                    return Ok(None);
                }
                let Some(email) = new_email(case.tx, &case.node.doc)? else { return Ok(None) };
                Ok(Some((case.subject()?, email)))
            })
            .await?;
        let Some((person, email)) = found else { return Ok(()) };
        let actor = Actor::Person { id: person, signed_in_at: self.store.ambient().now(), granted: false };
        let change = Rectify { email: Some(email), ..Rectify::default() };
        let changed = self.correct(&actor, person, change, None).await;
        let is_taken = match &changed {
            Ok(_) => false,
            Err(error) if error.kind == ErrorKind::Conflict => true,
            Err(_) => return changed.map(|_| ()),
        };
        self.store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                if case.node.doc.state != RequestState::Planned {
                    // Another attempt was faster.
                    return Ok(());
                }
                if is_taken {
                    case.happen(RequestEvent::Denied, None)?;
                    case.node.doc.denial = Some(DenialReason::Other);
                    enqueue(case.tx, request, Letter::Denied)?;
                } else {
                    case.happen(RequestEvent::Started, None)?;
                    case.note(CORRECTED, None);
                    case.node.doc.recipients =
                        recipients::concerned(case.tx, person)?.into_iter().map(|node| node.id).collect();
                    case.happen(RequestEvent::Finished(Outcome::Clean), None)?;
                }
                case.save()
            })
            .await?;
        self.wake();
        changed.map(|_| ())
    }
}

impl Case<'_, '_> {
    /// Whether it is a person's wish for another address.
    pub(super) fn is_for_address(&mut self) -> Result<bool> {
        Ok(new_email(self.tx, &self.node.doc)?.is_some())
    }
}

/// The address that a person wants to have, of a request for that which is open.
fn new_email(tx: &mut Tx<'_>, doc: &RequestDoc) -> Result<Option<String>> {
    if doc.asked != RequestType::Rectification {
        return Ok(None);
    }
    Ok(case_file(tx, doc)?.and_then(|file| file.doc.new_email))
}
