//! Data-subject requests: taken in, verified, decided, carried out by the engine, answered in time.
//!
//! **Invariant:** a request changes its state through [`Case::happen`] only, which asks [`habeas_core::requests::next`]; what carries it
//! out is enqueued in the same transaction.
//! **Invariant:** the record of a request names nobody; what was said in it lies in a case file, which is the person's. An address in it is
//! sealed under a key of its own, which goes with the last letter.

mod carrying;
mod choosing;
mod code;
mod deciding;
mod fetching;
mod finding;
mod intake;
mod lifting;
mod mail;
mod mailer;
mod new_address;
mod owners;
mod queue;
mod restored;
mod waking;

use habeas_access::Actor;
use habeas_core::kinds::{CaseFile, CaseFileDoc, Request, RequestComment, RequestDoc, RequestHistory};
use habeas_core::report::{
    DestinationReport, KeptReport, RequestCommentReport, RequestHistoryReport, RequestReport,
    RequestStatusReport,
};
use habeas_core::requests::deadline::Deadlines;
use habeas_core::requests::{RequestEvent, RequestState, RequestType, next};
use habeas_core::{Error, ErrorKind, Id, Node, Result, Timestamp, time};
use habeas_fetch::Outgoing;
use habeas_store::Tx;

use crate::Rights;
use crate::delivering::Delivery;
use crate::recipients::enqueue_notices;

pub(crate) use carrying::{
    Direct, Moved, archive_failed, archive_finished, erasure_moved, record_direct_change,
    record_direct_erasure, start_unasked_erasure,
};
pub use habeas_core::kinds::REQUEST_DAYS;
pub use intake::{ByStaff, NewRequest};
pub(crate) use lifting::{announce_lifting, lifting};
pub use mailer::Mailer;
pub use queue::RequestFilter;
pub(crate) use queue::of_person;

/// The longest time in which a person may change their mind, in days: it must end well within the month.
pub const UNDO_DAYS: u32 = 14;
/// The longest notice of the end of a restriction, in days.
pub const RESTRICTION_NOTICE_DAYS: u32 = 30;
/// How old a sign-in may be for what cannot be undone, in minutes.
pub const FRESH_MINUTES: i64 = 15;
/// How long whoever asks has to show who they are, in days.
const VERIFY_DAYS: i64 = 7;
/// The record of a request that ended before it was sure who asks, and without a decision, is kept for so many days.
const UNVERIFIED_DAYS: i64 = 30;
/// The staff is reminded so many days before a request is due.
const REMINDER_DAYS: i64 = 7;
/// The longest note or answer, in bytes.
const TEXT_LENGTH: usize = 4_000;

/// What stands in the history of a request with which something was corrected.
const CORRECTED: &str = "corrected";
/// What stands in the history of a requested erasure with each of the staff who corrected the person's address before it was sure who asked: the
/// mail by which that is shown may be theirs.
const ADDRESS_CORRECTED: &str = "addressCorrected";
/// What stands in the history of a request with which processing was restricted.
const RESTRICTED: &str = "restricted";
/// What stands in the history of a request that ended since its person was found to be erased.
const PERSON_ERASED: &str = "personErased";

/// How requests are answered in this deployment.
#[derive(Debug, Default)]
pub struct RequestOptions {
    /// The laws and holidays.
    pub deadlines: Deadlines,
    /// How many days a person has to call off an erasure that they asked for themselves, at most [`UNDO_DAYS`].
    pub undo_days: u32,
    /// How many days before it ends a person is written to whose restriction the staff lift, at most [`RESTRICTION_NOTICE_DAYS`]; with 0 it ends
    /// at once.
    pub restriction_notice_days: u32,
    /// How persons are written to; nobody is when there is none.
    pub mailer: Option<Mailer>,
    /// Where the portal is reached, for links in letters.
    pub address: String,
    /// The folder of the server's machine below which archives may be written for other systems, if any.
    pub export_folder: Option<std::path::PathBuf>,
    /// How hard it is to try the passphrase of a sealed archive: one of [`habeas_core::age::WORK`].
    pub passphrase_work: u8,
    /// Calls to recipients and controllers, which may lie where the operator says besides what clients may name.
    pub outgoing: Outgoing,
}

impl RequestOptions {
    /// Whether the address for a person's last letter is kept while they are erased: letters into a folder are read on this machine, and go
    /// with the person.
    pub(crate) fn keeps_address(&self) -> bool {
        self.mailer.as_ref().is_some_and(|mailer| mailer.outbox_folder().is_none())
    }

    /// What a plan says about that.
    pub(crate) fn kept_address(&self) -> Option<KeptReport> {
        self.keeps_address().then(|| KeptReport {
            what: "the address for the last letter, sealed under a key of its own: destroyed when the letter is away, after five days at the latest"
                .into(),
            why: "to tell the person that they are erased".into(),
        })
    }
}

/// A request in a transaction.
pub(crate) struct Case<'a, 't> {
    tx: &'a mut Tx<'t>,
    node: Node<RequestDoc>,
}

impl<'a, 't> Case<'a, 't> {
    pub(crate) fn open(tx: &'a mut Tx<'t>, id: Id) -> Result<Case<'a, 't>> {
        let node = tx.get::<Request>(id)?.ok_or_else(no_request)?;
        Ok(Case { tx, node })
    }

    /// Moves it on, or refuses.
    fn happen(&mut self, event: RequestEvent, by: Option<Id>) -> Result<()> {
        let doc = &mut self.node.doc;
        doc.state = next(doc.asked, doc.state, event)?;
        self.note(event.name(), by);
        let now = self.tx.now();
        if self.node.doc.state.is_open() {
            self.node.expires_at = None;
        } else {
            self.node.doc.wake_at = None;
            if matches!(self.node.doc.state, RequestState::Expired | RequestState::Cancelled) {
                // No letter follows.
                self.node.doc.address = None;
            }
            let days = match self.node.doc.state {
                RequestState::Expired => UNVERIFIED_DAYS,
                RequestState::Cancelled if self.node.doc.verified_by.is_none() => UNVERIFIED_DAYS,
                // Whoever is refused may ask later why, also where who they are could not be made sure.
                _ => i64::from(REQUEST_DAYS),
            };
            self.node.expires_at = Some(Timestamp(now.0 + days * time::DAY));
        }
        self.tell_others()
    }

    /// Lets the controller that passed it on be told of the new state, and recipients of what was completed.
    fn tell_others(&mut self) -> Result<()> {
        let (request, doc) = (self.node.id, &self.node.doc);
        for url in &doc.callbacks {
            Delivery::Callback { request, url: url.clone() }.enqueue(self.tx)?;
        }
        if matches!(doc.state, RequestState::Completed | RequestState::CompletedWithHolds) {
            enqueue_notices(self.tx, request, doc.asked, &doc.recipients)?;
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, event: &str, by: Option<Id>) {
        let at = self.tx.now();
        self.node.doc.history.push(RequestHistory { at, event: event.to_owned(), by });
    }

    /// Stores what happened, and lets the case file end with it.
    pub(crate) fn save(&mut self) -> Result<()> {
        if let Some(end) = self.node.expires_at
            && let Some(mut file) = case_file(self.tx, &self.node.doc)?
            && file.expires_at != Some(end)
        {
            file.expires_at = Some(end);
            file.doc.code_mac = None;
            file.doc.code_until = None;
            file.doc.new_email = None;
            self.tx.update::<CaseFile>(&file)?;
        }
        self.node = self.tx.update::<Request>(&self.node)?;
        Ok(())
    }

    /// Writes a note or an answer into the case file.
    fn write(&mut self, by: Id, text: &str, answer: bool) -> Result<()> {
        let text = checked(text)?;
        let mut file = case_file(self.tx, &self.node.doc)?.ok_or_else(|| {
            Error::conflict("there is no person to whom the text would belong")
                .hint("notes are kept with the person a request is about, and go with them")
        })?;
        let at = self.tx.now();
        file.doc.comments.push(RequestComment { at, by, text: text.to_owned(), answer });
        self.tx.update::<CaseFile>(&file).map(|_| ())
    }

    fn report(&mut self) -> Result<RequestReport> {
        report(self.tx, &self.node)
    }
}

/// A note or an answer as it is kept.
fn checked(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_LENGTH {
        return Err(Error::invalid(format!("the text has between 1 and {TEXT_LENGTH} bytes")));
    }
    Ok(text)
}

fn no_request() -> Error {
    Error::not_found("there is no such request")
}

/// What was said in a request; that of a person who is being erased goes with them, and cannot be opened any more.
fn case_file(tx: &mut Tx<'_>, doc: &RequestDoc) -> Result<Option<Node<CaseFileDoc>>> {
    match (doc.case_file, doc.subject) {
        (Some(file), Some(subject)) if tx.is_active(subject)? => tx.get::<CaseFile>(file),
        _ => Ok(None),
    }
}

/// A request with what was said in it.
fn report(tx: &mut Tx<'_>, node: &Node<RequestDoc>) -> Result<RequestReport> {
    let file = case_file(tx, &node.doc)?;
    Ok(reported(node, file.map(|file| file.doc), tx.now()))
}

/// A request with what stands in `file`, or nothing of what was said.
fn reported(node: &Node<RequestDoc>, file: Option<CaseFileDoc>, now: Timestamp) -> RequestReport {
    let doc = &node.doc;
    let text = |id: Option<Id>| id.map(|id| id.to_string());
    let (destination, new_email, comments) =
        file.map_or_else(Default::default, |file| (file.destination, file.new_email, file.comments));
    RequestReport {
        id: node.id.to_string(),
        asked: doc.asked,
        formats: doc.formats.clone(),
        state: doc.state.name().to_owned(),
        regime: doc.regime.clone(),
        channel: doc.channel,
        received: doc.received_at.rfc3339(),
        due: doc.due_at.rfc3339(),
        overdue: doc.state.is_open() && doc.due_at < now,
        extension: doc.extension,
        subject: text(doc.subject),
        requester: text(doc.requester),
        identity_checked_by: doc.verified_by,
        needs_approval: doc.needs_approval,
        approver: text(doc.approver),
        digest: doc.plan.as_ref().map(|plan| plan.digest.clone()),
        undo_until: doc.undo_until.map(Timestamp::rfc3339),
        erasure: text(doc.erasure),
        archive: text(doc.archive),
        receipt: text(doc.receipt),
        duplicate_of: text(doc.duplicate_of),
        denial: doc.denial,
        destination: destination.map(|destination| DestinationReport {
            location: destination.place().to_owned(),
            state: destination.state.name().to_owned(),
            ended: destination.ended_at.map(Timestamp::rfc3339),
        }),
        new_email,
        recipients: doc.recipients.iter().map(Id::to_string).collect(),
        comments: comments
            .into_iter()
            .map(|comment| RequestCommentReport {
                at: comment.at.rfc3339(),
                by: comment.by.to_string(),
                text: comment.text,
                answer: comment.answer,
            })
            .collect(),
        history: doc
            .history
            .iter()
            .map(|entry| RequestHistoryReport {
                at: entry.at.rfc3339(),
                event: entry.event.clone(),
                by: text(entry.by),
            })
            .collect(),
    }
}

fn status(tx: &mut Tx<'_>, node: &Node<RequestDoc>) -> Result<RequestStatusReport> {
    let doc = &node.doc;
    // Whoever is erased can sign in no more; what proves it names nobody.
    let receipt = doc.receipt.filter(|_| doc.asked == RequestType::Erasure);
    // Once the run is forgotten, its address leads nowhere.
    let erasure = match doc.erasure.filter(|_| receipt.is_some()) {
        Some(erasure) => tx.task(erasure)?.map(|row| row.id),
        None => None,
    };
    Ok(RequestStatusReport {
        id: node.id.to_string(),
        asked: doc.asked,
        state: doc.state.name().to_owned(),
        received: doc.received_at.rfc3339(),
        due: doc.due_at.rfc3339(),
        erasure: erasure.map(|id| id.to_string()),
        receipt: receipt.map(|id| id.to_string()),
    })
}

impl Rights {
    /// Succeeds when `actor` may see a request: the person it is about, or the staff, which is recorded in the person's telemetry. To
    /// everybody else it does not exist.
    pub async fn authorise_request(
        &self,
        actor: &Actor,
        request: Id,
        operation: &'static str,
    ) -> Result<Node<RequestDoc>> {
        let (node, subject) = self
            .store
            .read(move |tx| {
                let node = tx.get::<Request>(request)?.ok_or_else(no_request)?;
                let alive = match node.doc.subject {
                    Some(subject) => tx.holder(subject)?.is_some(),
                    None => false,
                };
                let subject = node.doc.subject.filter(|_| alive);
                Ok((node, subject))
            })
            .await?;
        match subject {
            Some(subject) => match self.authorise(actor, subject, operation).await {
                // The person may have been erased meanwhile; to the staff the record is still there.
                Err(error) if error.kind == ErrorKind::NotFound => self.require_staff(actor).await,
                result => result,
            },
            None => self.require_staff(actor).await,
        }
        .map_err(|error| error.conceal(no_request))?;
        Ok(node)
    }

    /// The same for what only the staff may do, themselves: what they decide changes what is held on somebody, or says that it is the
    /// person who asks.
    async fn authorise_decision(&self, actor: &Actor, request: Id, operation: &'static str) -> Result<()> {
        self.require_staff(actor).await.map_err(|error| error.conceal(no_request))?;
        self.require_in_person(actor)?;
        self.authorise_request(actor, request, operation).await.map(|_| ())
    }
}
