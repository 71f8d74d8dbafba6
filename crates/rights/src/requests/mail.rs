//! Letters to the person about their request, and reminders to the staff.
//!
//! A task knows the request and the sort of letter only; the address is read when the letter is written, and a code is made then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Person, Request, RequestDoc};
use habeas_core::{Error, Id, Result, Timestamp, time};
use habeas_store::{TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};

use super::Case;
use super::mailer::{Mail, Mailer, letter_path};
use crate::Rights;

/// A sort of letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Letter {
    /// The one-time code.
    Code,
    /// The archive is ready.
    Ready,
    /// The erasure begins.
    Erasing,
    /// An officer carried it out.
    Answered,
    /// Refused, and why.
    Denied,
    /// It takes longer, and why.
    Extended,
    /// To the staff: it is soon due.
    Reminder,
}

#[derive(Debug, Serialize, Deserialize)]
struct MailTask {
    request: Id,
    letter: Letter,
}

/// How long a letter is tried before it is given up, in days: about as long as mail servers do (RFC 5321, section 4.5.4.1).
const GIVEN_UP_AFTER: i64 = 5;

/// Has a letter written and sent when this transaction is committed.
pub(super) fn enqueue(tx: &mut Tx<'_>, request: Id, letter: Letter) -> Result<()> {
    // Before what else this transaction enqueues: an erasure takes the address.
    let now = Timestamp(tx.now().0 - 1);
    let payload = serde_json::to_value(MailTask { request, letter })?;
    tx.enqueue(TaskKind::Mail, Some(request), &payload, now).map(|_| ())
}

impl Rights {
    /// Writes and sends a letter that the worker has claimed. One that does not get away is tried again later.
    pub(crate) async fn run_mail(&self, row: &TaskRow) -> Result<()> {
        let task = MailTask::deserialize(&row.payload)?;
        let (id, attempts, created_at, request) = (row.id, row.attempts, row.created_at, task.request);
        let sent = self.send_letter(&task).await;
        let is_sent = sent.is_ok();
        let given_up = self
            .store
            .write(move |tx| {
                if is_sent {
                    tx.end_task(id, TaskState::Done)?;
                } else if tx.now().0 < created_at.0 + GIVEN_UP_AFTER * time::DAY {
                    tx.retry_task(id, attempts)?;
                } else {
                    if let Some(node) = tx.get::<Request>(request)? {
                        let mut case = Case { tx: &mut *tx, node };
                        case.note("letterGivenUp", None);
                        case.save()?;
                    }
                    tx.end_task(id, TaskState::Failed)?;
                    return Ok(true);
                }
                Ok(false)
            })
            .await?;
        if task.letter == Letter::Erasing && (is_sent || given_up) {
            self.letters.forget(request);
        }
        if let Err(error) = sent {
            let then = if given_up { "given up" } else { "tried again" };
            tracing::warn!(%request, letter = ?task.letter, error = format_args!("{error:#}"), "a letter is {then}");
        }
        Ok(())
    }

    async fn send_letter(&self, task: &MailTask) -> Result<()> {
        let Some(mailer) = &self.requests.mailer else { return Ok(()) };
        if task.letter == Letter::Erasing && mailer.outbox_folder().is_some() {
            // It would be erased with the person before anybody could send it.
            return Ok(());
        }
        let (request, letter) = (task.request, task.letter);
        let code = match letter {
            Letter::Code => match self.new_code(request).await? {
                Some(code) => code,
                None => return Ok(()),
            },
            _ => String::new(),
        };
        let found = self
            .store
            .read(move |tx| {
                let Some(node) = tx.get::<Request>(request)? else { return Ok(None) };
                let to = match letter {
                    Letter::Reminder => staff(tx)?,
                    // Its keys may be destroyed already.
                    Letter::Erasing => address_of(tx, node.doc.subject).ok().flatten().into_iter().collect(),
                    _ => address_of(tx, node.doc.subject)?.into_iter().collect(),
                };
                Ok(Some((node.doc, to)))
            })
            .await?;
        let Some((doc, mut to)) = found else { return Ok(()) };
        if to.is_empty() && letter == Letter::Erasing {
            to.extend(self.letters.address(request));
        }
        // Nobody to write to is no failure: the person may have been erased meanwhile, or was never known.
        if to.is_empty() {
            return Ok(());
        }
        let (subject, body) = words(letter, request, &doc, &code, &self.requests.address);
        let ambient = self.store.ambient();
        let mail = Mail { request, to, subject, body, at: ambient.now(), message: ambient.new_id() };
        let requests = Arc::clone(&self.requests);
        tokio::task::spawn_blocking(move || match &requests.mailer {
            Some(mailer) => mailer.send(mail),
            None => Ok(()),
        })
        .await
        .unwrap_or_else(|_| Err(Error::internal("writing a letter panicked")))
    }

    /// Keeps the address of a person whose keys are about to be destroyed in memory until their last letter is away.
    pub(crate) async fn remember_address(&self, person: Id, request: Option<Id>) {
        let by_mail = self.requests.mailer.as_ref().is_some_and(|mailer| mailer.outbox_folder().is_none());
        let Some(request) = request.filter(|_| by_mail) else { return };
        // After a restart in between, the keys may be destroyed and nothing left to remember.
        let Ok(Some(address)) = self.store.read(move |tx| address_of(tx, Some(person))).await else { return };
        self.letters.remember(request, address);
        let is_waiting = |row: &TaskRow| {
            matches!(row.state, TaskState::Waiting | TaskState::Running)
                && MailTask::deserialize(&row.payload).is_ok_and(|task| task.letter == Letter::Erasing)
        };
        let waiting = self
            .store
            .read(move |tx| Ok(tx.tasks_about(request, TaskKind::Mail)?.iter().any(is_waiting)))
            .await;
        // Looked at afterwards: a letter that got away since then forgets the address itself.
        if !waiting.unwrap_or(true) {
            self.letters.forget(request);
        }
    }

    /// Deletes a request's letter from the outbox: it has served, or the person is erased.
    pub(crate) async fn forget_letter(&self, request: Id) {
        let folder = self.requests.mailer.as_ref().and_then(Mailer::outbox_folder);
        if let Some(folder) = folder {
            // Somebody may have sent and deleted it already.
            let _ = tokio::fs::remove_file(letter_path(folder, request)).await;
        }
    }
}

/// Addresses of persons who are being erased, for their last letter. In memory only: what is on disk goes with the person.
#[derive(Default)]
pub(crate) struct LastLetters(Mutex<HashMap<Id, String>>);

impl LastLetters {
    fn all(&self) -> MutexGuard<'_, HashMap<Id, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, request: Id, address: String) {
        self.all().insert(request, address);
    }

    fn address(&self, request: Id) -> Option<String> {
        self.all().get(&request).cloned()
    }

    fn forget(&self, request: Id) {
        self.all().remove(&request);
    }
}

fn address_of(tx: &mut Tx<'_>, person: Option<Id>) -> Result<Option<String>> {
    match person {
        Some(person) => {
            Ok(tx.get::<Person>(person)?.map(|node| node.doc.email).filter(|email| !email.is_empty()))
        }
        None => Ok(None),
    }
}

/// The addresses of those who answer requests.
fn staff(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    let mut addresses = Vec::new();
    for mention in tx.mentioned_in(Id::NIL)? {
        if matches!(mention.role, MentionRole::PrivacyOfficer | MentionRole::Administrator) {
            addresses.extend(address_of(tx, Some(mention.person))?);
        }
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Subject and text of a letter. No name and no content: a mailbox is read by more than one.
fn words(letter: Letter, id: Id, doc: &RequestDoc, code: &str, address: &str) -> (String, String) {
    let asked = doc.asked.title().to_lowercase();
    let place = format!("{address}/requests/{id}");
    let (subject, text) = match letter {
        Letter::Code => (
            "Your code",
            format!(
                "Somebody, we hope you, asked for {asked} of the data held under this address.\n\nThe code is {code}. It is good for an hour. Type it on this page, or repeat it to whoever answers requests there:\n{place}\n\nIf it was not you, do nothing: without the code nothing happens."
            ),
        ),
        Letter::Ready => (
            "Your copy is ready",
            format!(
                "Your request for {asked} is answered. Sign in and fetch the archive within 7 days:\n{address}/me/exports"
            ),
        ),
        Letter::Erasing => (
            "Your data is being erased",
            format!(
                "Your request is being carried out: everything held under this address is erased now. This is the last letter, since the address goes too. How far it is:\n{place}"
            ),
        ),
        Letter::Answered => (
            "Your request is answered",
            format!(
                "Your request for {asked} was carried out. Sign in to read the answer:\n{address}/me/requests/{id}"
            ),
        ),
        Letter::Denied => (
            "Your request was refused",
            format!(
                "Your request for {asked} was refused: {}. Sign in to read more:\n{address}/me/requests/{id}\n\nYou may lodge a complaint with a supervisory authority, and seek a judicial remedy.",
                doc.denial.map_or("", |reason| reason.title())
            ),
        ),
        Letter::Extended => (
            "Your request takes longer",
            format!(
                "Your request for {asked} takes longer: {}. It will be answered by {}.\n{place}\n\nYou may lodge a complaint with a supervisory authority.",
                doc.extension.map_or("", |reason| reason.title()),
                &doc.due_at.rfc3339()[..10]
            ),
        ),
        Letter::Reminder => (
            "A request is soon due",
            format!(
                "Request {id} ({asked}) has to be answered by {}:\n{address}/staff/requests/{id}",
                &doc.due_at.rfc3339()[..10]
            ),
        ),
    };
    (subject.to_owned(), format!("{text}\n"))
}
