//! Letters to the person about their request, and reminders to the staff.
//!
//! A task knows the request and the sort of letter only; the address is read when the letter is written, and a code is made then. It stands in
//! the person's profile. That of somebody who has none, because they are unknown or being erased, is kept in the request until the last letter
//! is away or given up, sealed under a key of its own, which is destroyed then.

use std::sync::Arc;

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{AccountType, Person, Request, RequestAddress, RequestDoc};
use habeas_core::{Error, Id, Result, Timestamp, fault, time};
use habeas_store::{TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};

use super::lifting::LiftingLetter;
use super::mailer::{Mail, Mailer, letter_path};
use super::owners::OwnersLetter;
use super::{Case, case_file};
use crate::Rights;
use crate::erasure::ErasureTask;

/// A sort of letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Letter {
    /// The one-time code.
    Code,
    /// The one-time code to an address that the person wants to have; or, to whoever has it, that nothing happens.
    NewAddress,
    /// The archive is ready.
    Ready,
    /// The one-time code with which somebody fetches it who has no account.
    ArchiveCode,
    /// The erasure begins.
    Erasing,
    /// An officer carried it out.
    Answered,
    /// Nothing is held.
    NothingHeld,
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
    /// The answer to somebody who has no case file that could keep it, sealed as their address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// What a letter says besides what stands in the request.
#[derive(Debug, Default)]
struct Particulars {
    /// Whether the archive is fetched with a code, since there is no account to sign in to.
    by_code: bool,
    /// What was answered, to somebody who cannot sign in to read it.
    answer: Option<String>,
    /// Whether a legal hold keeps a part of what is erased.
    keeps_part: bool,
}

/// What a task of letters is about.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Post {
    Request(MailTask),
    Owner(OwnersLetter),
    Lifting(LiftingLetter),
}

/// How long a letter is tried before it is given up, in days: about as long as mail servers do (RFC 5321, section 4.5.4.1).
const GIVEN_UP_AFTER: i64 = 5;

/// Has a letter written and sent when this transaction is committed.
pub(super) fn enqueue(tx: &mut Tx<'_>, request: Id, letter: Letter) -> Result<()> {
    enqueue_with_answer(tx, request, letter, None)
}

/// The same for a letter that has to carry an answer, sealed as the address is to which it goes.
pub(super) fn enqueue_with_answer(
    tx: &mut Tx<'_>,
    request: Id,
    letter: Letter,
    answer: Option<String>,
) -> Result<()> {
    // Before what else this transaction enqueues: an erasure takes the address.
    let now = Timestamp(tx.now().0 - 1);
    let payload = serde_json::to_value(MailTask { request, letter, answer })?;
    tx.enqueue(TaskKind::Mail, Some(request), &payload, now).map(|_| ())
}

impl Rights {
    /// Writes and sends a letter that the worker has claimed. One that does not get away is tried again later.
    pub(crate) async fn run_mail(&self, row: &TaskRow) -> Result<()> {
        let task = match Post::deserialize(&row.payload)? {
            Post::Request(task) => task,
            Post::Owner(letter) => return self.write_to_owner(row, letter).await,
            Post::Lifting(letter) => return self.write_of_lifting(row, letter).await,
        };
        let ending = Ending::of(row);
        let MailTask { request, letter, .. } = task;
        let sent = self.send_letter(&task).await;
        fault::point("letter.sent");
        let is_sent = sent.is_ok();
        let (is_over, is_last) = self
            .store
            .write(move |tx| {
                if !ending.note(tx, is_sent)? {
                    return Ok((false, false));
                }
                let Some(node) = tx.get::<Request>(request)? else { return Ok((true, true)) };
                let is_last = letter == Letter::Erasing
                    || (!node.doc.state.is_open() && !is_waiting(tx, request, |_| true)?);
                let mut case = Case { tx, node };
                if !is_sent {
                    case.note("letterGivenUp", None);
                }
                if is_last && case.node.doc.address.take().is_some() || !is_sent {
                    case.save()?;
                }
                Ok((true, is_last))
            })
            .await?;
        fault::point("letter.ended");
        if is_last {
            self.forget_address(request).await;
        }
        if let Err(error) = sent {
            let then = if is_over { "given up" } else { "tried again" };
            tracing::warn!(%request, ?letter, error = format_args!("{error:#}"), "a letter is {then}");
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
        let wanted = if letter == Letter::NewAddress {
            let Some(wanted) = self.awaited_address(request).await? else { return Ok(()) };
            Some(wanted)
        } else {
            None
        };
        let code = match letter {
            // Whose address it is already is told so, and without a code nothing happens.
            Letter::NewAddress if wanted.as_ref().is_some_and(|wanted| wanted.is_taken) => String::new(),
            Letter::Code | Letter::NewAddress | Letter::ArchiveCode => match self.new_code(request).await? {
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
                    Letter::NewAddress => Vec::new(),
                    // Their keys may be destroyed already.
                    Letter::Erasing => address_of(tx, node.doc.subject).ok().flatten().into_iter().collect(),
                    _ => address_of(tx, node.doc.subject)?.into_iter().collect(),
                };
                let mut case = Case { tx, node };
                let particulars = case.particulars(letter)?;
                Ok(Some((case.node.doc, to, particulars)))
            })
            .await?;
        let Some((doc, mut to, mut particulars)) = found else { return Ok(()) };
        to.extend(wanted.map(|wanted| wanted.email));
        if let (Some(address), true) = (&doc.address, to.is_empty()) {
            let address = self.store.open_once(request, &address.sealed)?;
            to.extend(address.and_then(|address| String::from_utf8(address).ok()));
        }
        // Nobody to write to is no failure: the person may have been erased meanwhile.
        if to.is_empty() {
            return Ok(());
        }
        if let Some(sealed) = &task.answer
            && let Some(answer) = self.store.open_once(request, sealed)?
        {
            particulars.answer = Some(String::from_utf8_lossy(&answer).into_owned());
        }
        let (subject, body) = words(letter, request, &doc, &code, &particulars, &self.requests.address);
        let ambient = self.store.ambient();
        let name = outbox_name(letter, request);
        self.post(Mail { name, to, subject, body, at: ambient.now(), message: ambient.new_id() }).await
    }

    /// Sends a letter; waits for the mail server.
    pub(super) async fn post(&self, mail: Mail) -> Result<()> {
        let requests = Arc::clone(&self.requests);
        tokio::task::spawn_blocking(move || match &requests.mailer {
            Some(mailer) => mailer.send(mail),
            None => Ok(()),
        })
        .await
        .unwrap_or_else(|_| Err(Error::internal("writing a letter panicked")))
    }

    /// Seals the address of a person whose keys are about to be destroyed under a key of its own, if their last letter is not away yet. Both
    /// go with that letter.
    pub(crate) async fn keep_address(&self, person: Id, request: Option<Id>) -> Result<()> {
        let Some(request) = request.filter(|_| self.requests.keeps_address()) else { return Ok(()) };
        let address = self
            .store
            .read(move |tx| {
                if is_waiting(tx, request, |letter| letter == Letter::Erasing)? {
                    address_of(tx, Some(person))
                } else {
                    Ok(None)
                }
            })
            .await;
        // After a restart in between the keys may be destroyed, and the address is kept already.
        let Ok(Some(address)) = address else { return Ok(()) };
        self.store.make_once_key(request).await?;
        fault::point("letter.key_made");
        let sealed = self.store.seal_once(request, address.as_bytes())?;
        let is_kept = self
            .store
            .write(move |tx| {
                if !is_waiting(tx, request, |letter| letter == Letter::Erasing)? {
                    return Ok(false);
                }
                let mut case = Case::open(tx, request)?;
                let sealed = sealed.clone();
                case.node.doc.address = Some(RequestAddress { sealed, code_mac: None, code_until: None });
                case.save()?;
                Ok(true)
            })
            .await?;
        fault::point("letter.address_kept");
        if !is_kept {
            self.forget_address(request).await;
        }
        Ok(())
    }

    /// Destroys the key under which the address of a request is sealed, if there is one.
    pub(crate) async fn forget_address(&self, request: Id) {
        // What fails is made up for at the next start: no request says any more that it waits for this key.
        if let Err(error) = self.store.destroy_once_key(request).await {
            tracing::warn!(%request, error = format_args!("{error:#}"), "an address was not forgotten");
        }
    }

    /// Deletes a request's letter to the person from the outbox: it has served.
    pub(crate) async fn forget_letter(&self, request: Id) {
        self.remove_letter(&request.to_string()).await;
    }

    /// Deletes all that was written about a request from the outbox: there is nothing left to answer.
    pub(crate) async fn forget_letters_about(&self, request: Id) {
        for letter in [Letter::Code, Letter::Extended, Letter::Reminder] {
            self.remove_letter(&outbox_name(letter, request)).await;
        }
    }

    async fn remove_letter(&self, name: &str) {
        let folder = self.requests.mailer.as_ref().and_then(Mailer::outbox_folder);
        if let Some(folder) = folder {
            // Somebody may have sent and deleted it already.
            let _ = tokio::fs::remove_file(letter_path(folder, name)).await;
        }
    }
}

impl Case<'_, '_> {
    fn particulars(&mut self, letter: Letter) -> Result<Particulars> {
        let mut particulars = Particulars::default();
        match letter {
            Letter::Ready => particulars.by_code = self.archive_by_code()?.is_some(),
            Letter::Erasing => {
                let row = self.node.doc.erasure.map_or(Ok(None), |erasure| self.tx.task(erasure))?;
                if let Some(row) = row {
                    let task: ErasureTask = serde_json::from_value(row.payload)?;
                    particulars.keeps_part = !(task.plan.held.is_empty() && task.held.is_empty());
                }
            }
            Letter::Answered | Letter::Denied | Letter::Extended if !self.has_account()? => {
                let file = case_file(self.tx, &self.node.doc)?;
                let answers = file.into_iter().flat_map(|file| file.doc.comments);
                let answers: Vec<String> =
                    answers.filter(|comment| comment.answer).map(|comment| comment.text).collect();
                // All of them: this is the only place where they are read.
                particulars.answer = Some(answers.join("\n\n"));
            }
            _ => {}
        }
        Ok(particulars)
    }

    /// Whether whoever it is about can sign in, and read there what was answered.
    fn has_account(&mut self) -> Result<bool> {
        match self.node.doc.subject {
            Some(person) if self.tx.is_active(person)? => {
                let node = self.tx.get::<Person>(person)?;
                Ok(node.is_none_or(|node| node.doc.account_type != AccountType::Unclaimed))
            }
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }
}

/// What a letter is called in the outbox: the latest one of a request by its id, but for those that may come while the person's code lies there
/// and must not take its place.
fn outbox_name(letter: Letter, request: Id) -> String {
    match letter {
        Letter::Extended => format!("{request}-extended"),
        Letter::Reminder => format!("{request}-reminder"),
        _ => request.to_string(),
    }
}

/// How the task of a letter ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    task: Id,
    attempts: u32,
    created_at: Timestamp,
}

impl Ending {
    pub(super) fn of(row: &TaskRow) -> Ending {
        Ending { task: row.id, attempts: row.attempts, created_at: row.created_at }
    }

    /// Ends it: the letter is away, or given up. False when it is tried again.
    pub(super) fn note(self, tx: &mut Tx<'_>, is_sent: bool) -> Result<bool> {
        if !is_sent && tx.now().0 < self.created_at.0 + GIVEN_UP_AFTER * time::DAY {
            tx.retry_task(self.task, self.attempts)?;
            return Ok(false);
        }
        tx.end_task(self.task, if is_sent { TaskState::Done } else { TaskState::Failed })?;
        Ok(true)
    }
}

/// Whether a letter of this sort about a request is still to be sent.
fn is_waiting(tx: &mut Tx<'_>, request: Id, sort: impl Fn(Letter) -> bool) -> Result<bool> {
    Ok(tx.tasks_about(request, TaskKind::Mail)?.iter().any(|row| {
        matches!(row.state, TaskState::Waiting | TaskState::Running)
            && MailTask::deserialize(&row.payload).is_ok_and(|task| sort(task.letter))
    }))
}

/// A person's address, if they have one.
pub(super) fn address_of(tx: &mut Tx<'_>, person: Option<Id>) -> Result<Option<String>> {
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

/// Subject and text of a letter. No name and no content, since a mailbox is read by more than one; but for the answer to somebody who has no
/// account, who could read it nowhere else: whoever reads that mailbox would get a code for it, too.
fn words(
    letter: Letter,
    id: Id,
    doc: &RequestDoc,
    code: &str,
    particulars: &Particulars,
    address: &str,
) -> (String, String) {
    let asked = doc.asked.title().to_lowercase();
    // In a paragraph of its own, if there is one.
    let answer = particulars.answer.as_deref().filter(|answer| !answer.is_empty());
    let answer = answer.map(|answer| format!("\n\n{answer}")).unwrap_or_default();
    let place = format!("{address}/requests/{id}");
    let (subject, text) = match letter {
        Letter::Code => (
            "Your code",
            format!(
                "Somebody, we hope you, asked for {asked} of the data held under this address.\n\nThe code is {code}. It is good for an hour. Type it on this page, or repeat it to whoever answers requests there:\n{place}\n\nIf it was not you, do nothing: without the code nothing happens."
            ),
        ),
        // Not where the code is typed: who asked knows, and nobody else is to be led there.
        Letter::NewAddress if code.is_empty() => (
            "Somebody asked for your address",
            "Somebody with another account asked that this address be theirs. It stays yours, and nothing has changed.\n\nIf it was you: this address has an account already. Sign in with it, or ask the staff.".to_owned(),
        ),
        Letter::NewAddress => (
            "Your code",
            format!(
                "Somebody, we hope you, wants to be reached under this address from now on.\n\nThe code is {code}. It is good for an hour. Type it where you asked for the change, signed in as before, and give it to nobody.\n\nIf it was not you, do nothing: without the code nothing happens."
            ),
        ),
        Letter::Ready if particulars.by_code => (
            "Your copy is ready",
            format!(
                "Your request for {asked} is answered. There is no account under this address: on this page, have a code sent here, and fetch the archive with it within 7 days:\n{place}"
            ),
        ),
        Letter::ArchiveCode => (
            "Your code",
            format!(
                "Somebody, we hope you, wants to fetch the archive that answers your request for {asked}.\n\nThe code is {code}. It is good for an hour. Type it on this page, and give it to nobody:\n{place}\n\nIf it was not you, do nothing: without the code nobody gets the archive."
            ),
        ),
        Letter::Ready => (
            "Your copy is ready",
            format!(
                "Your request for {asked} is answered. Sign in and fetch the archive within 7 days:\n{address}/me/exports"
            ),
        ),
        Letter::Erasing if particulars.keeps_part => (
            "Your data is being erased",
            format!(
                "Your request is being carried out: what is held under this address is erased now, but for a part that is kept for a legal claim (GDPR Article 17(3)). That part is used for nothing else, and is erased by itself when the claim no longer needs it. This is the last letter, since the address goes too. How far it is, and when it is done the receipts that prove it, each for 30 days:\n{place}\n\nYou may lodge a complaint with a supervisory authority, and seek a judicial remedy."
            ),
        ),
        Letter::Erasing => (
            "Your data is being erased",
            format!(
                "Your request is being carried out: everything held under this address is erased now. This is the last letter, since the address goes too. How far it is, and when it is done the receipt that proves it, for 30 days:\n{place}"
            ),
        ),
        Letter::Answered if particulars.answer.is_some() => (
            "Your request is answered",
            format!("Your request for {asked} was carried out:{answer}\n\n{place}"),
        ),
        Letter::Answered => (
            "Your request is answered",
            format!(
                "Your request for {asked} was carried out. Sign in to read the answer:\n{address}/me/requests/{id}"
            ),
        ),
        Letter::NothingHeld => (
            "Nothing is held on you",
            format!(
                "Your request for {asked} is answered: nothing is held under this address. Nothing of you is kept from now on but the fact that a request was answered; this address is forgotten with this letter.\n\nYou may lodge a complaint with a supervisory authority, and seek a judicial remedy."
            ),
        ),
        Letter::Denied if particulars.answer.is_some() => (
            "Your request was refused",
            format!(
                "Your request for {asked} was refused: {}.{answer}\n\nYou may lodge a complaint with a supervisory authority, and seek a judicial remedy.",
                doc.denial.map_or("", |reason| reason.title())
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
                "Your request for {asked} takes longer: {}. It will be answered by {}.\n{place}{answer}\n\nYou may lodge a complaint with a supervisory authority.",
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
