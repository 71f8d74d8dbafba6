//! Letters to the person about their request, and reminders to the staff.
//!
//! A task knows the request and the sort of letter only; the address is read when the letter is written, and a code is made then.

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Person, Request, RequestDoc};
use habeas_core::{Error, Id, Result, Timestamp};
use habeas_store::{TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

/// How letters are sent.
#[derive(Debug)]
pub enum Mailer {
    /// As files into a folder from which somebody else sends them: `REQUEST.eml`, the latest of each request.
    Outbox(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
struct MailTask {
    request: Id,
    letter: Letter,
}

/// How often a letter is tried.
const ATTEMPTS: u32 = 8;

/// Has a letter written and sent when this transaction is committed.
pub(super) fn enqueue(tx: &mut Tx<'_>, request: Id, letter: Letter) -> Result<()> {
    // Before what else this transaction enqueues: an erasure takes the address.
    let now = Timestamp(tx.now().0 - 1);
    let payload = serde_json::to_value(MailTask { request, letter })?;
    tx.enqueue(TaskKind::Mail, Some(request), &payload, now).map(|_| ())
}

impl Rights {
    /// Writes and sends a letter that the worker has claimed.
    pub(crate) async fn run_mail(&self, row: &TaskRow) -> Result<()> {
        let task = MailTask::deserialize(&row.payload)?;
        let id = row.id;
        let result = self.send_letter(&task).await;
        let (attempts, sent) = (row.attempts, result.is_ok());
        self.store
            .write(move |tx| match sent {
                true => tx.end_task(id, TaskState::Done),
                false if attempts < ATTEMPTS => tx.retry_task(id, attempts),
                false => tx.end_task(id, TaskState::Failed),
            })
            .await?;
        result
    }

    async fn send_letter(&self, task: &MailTask) -> Result<()> {
        let Some(mailer) = &self.requests.mailer else { return Ok(()) };
        if task.letter == Letter::Erasing && matches!(mailer, Mailer::Outbox(_)) {
            // It would be erased with the person before anybody could send it.
            return Ok(());
        }
        let request = task.request;
        let code = match task.letter {
            Letter::Code => match self.new_code(request).await? {
                Some(code) => code,
                None => return Ok(()),
            },
            _ => String::new(),
        };
        let letter = task.letter;
        let found = self
            .store
            .read(move |tx| {
                let Some(node) = tx.get::<Request>(request)? else { return Ok(None) };
                let to = match letter {
                    Letter::Reminder => staff(tx)?,
                    _ => address_of(tx, node.doc.subject)?.into_iter().collect(),
                };
                Ok(Some((node.doc, to)))
            })
            .await?;
        // Nobody to write to is no failure: the person may have been erased meanwhile, or was never known.
        let Some((doc, to)) = found.filter(|(_, to)| !to.is_empty()) else { return Ok(()) };
        let (subject, body) = words(letter, request, &doc, &code, &self.requests.address);
        match mailer {
            Mailer::Outbox(folder) => {
                let text = format!(
                    "To: {}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}",
                    to.join(", ")
                );
                let path = folder.join(format!("{request}.eml"));
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || write_private(&folder, &path, &text))
                    .await
                    .unwrap_or_else(|_| Err(Error::internal("writing a letter panicked")))
            }
        }
    }

    /// The same for all requests of a person who is being erased.
    pub(crate) async fn forget_letters_to(&self, person: Id) -> Result<()> {
        for request in self.store.read(move |tx| super::queue::of_person(tx, person)).await? {
            self.forget_letter(request.id).await;
        }
        Ok(())
    }

    /// Deletes a request's letter from the outbox: it has served, or the person is erased.
    pub(crate) async fn forget_letter(&self, request: Id) {
        if let Some(Mailer::Outbox(folder)) = &self.requests.mailer {
            // Somebody may have sent and deleted it already.
            let _ = tokio::fs::remove_file(folder.join(format!("{request}.eml"))).await;
        }
    }
}

fn address_of(tx: &mut Tx<'_>, person: Option<Id>) -> Result<Option<String>> {
    match person {
        Some(person) => Ok(tx.get::<Person>(person)?.map(|node| node.doc.email)),
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
                "Somebody, we hope you, asked for {asked} of the data held under this address.\n\nThe code is {code}. Type it here within the hour:\n{place}\n\nIf it was not you, do nothing: without the code nothing happens."
            ),
        ),
        Letter::Ready => (
            "Your copy is ready",
            format!(
                "Your request for {asked} is answered. Sign in and fetch the archive within 7 days:\n{place}"
            ),
        ),
        Letter::Erasing => (
            "Your data is being erased",
            format!(
                "Your request is being carried out: everything held under this address is erased now. This is the last letter, since the address goes too. Follow it, and fetch the receipt within 30 days, here:\n{place}"
            ),
        ),
        Letter::Answered => (
            "Your request is answered",
            format!("Your request for {asked} was carried out. Sign in to read the answer:\n{place}"),
        ),
        Letter::Denied => (
            "Your request was refused",
            format!(
                "Your request for {asked} was refused: {}. Sign in to read more:\n{place}\n\nYou may lodge a complaint with a supervisory authority, and seek a judicial remedy.",
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
            format!("Request {id} ({asked}) has to be answered by {}:\n{place}", &doc.due_at.rfc3339()[..10]),
        ),
    };
    (subject.to_owned(), format!("{text}\n"))
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(folder: &std::path::Path, path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let failed = |_| Error::unavailable("a letter cannot be written into the outbox").at(folder);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
