//! Letters to those whose models, images and services were made from something that is erased.
//!
//! The store has one written to each owner in the transaction that marks what was made ([`Tx::source_erased`]). It names what is the owner's
//! own by kind and id, and nothing of whose data it was, which is not known here.

use habeas_core::kind::MentionRole;
use habeas_core::{Id, Kind, Result, Timestamp, fault};
use habeas_store::{TaskRow, Tx};
use serde::Deserialize;

use super::mail::{Ending, address_of};
use super::mailer::{Mail, Mailer};
use crate::Rights;
use crate::holdings::kind_name;

/// Resources that a letter lists.
const LISTED: usize = 100;

/// A letter as its task has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnersLetter {
    /// To whom.
    person: Id,
    /// What was marked.
    source_erased: Vec<Id>,
}

/// Something that was made from what is erased.
#[derive(Debug)]
struct Made {
    id: Id,
    kind: Kind,
    since: Timestamp,
}

impl Rights {
    /// Writes and sends such a letter. One that does not get away is tried again later.
    pub(super) async fn write_to_owner(&self, row: &TaskRow, letter: OwnersLetter) -> Result<()> {
        let (task, person, ending) = (row.id, letter.person, Ending::of(row));
        let sent = self.send_to_owner(task, letter).await;
        fault::point("letter.sent");
        let is_sent = sent.is_ok();
        let (is_over, is_there) =
            self.store.write(move |tx| Ok((ending.note(tx, is_sent)?, tx.is_active(person)?))).await?;
        if !is_there {
            // Their erasure began while it was written.
            self.forget_letters_to(person).await;
        }
        if let Err(error) = sent {
            let then = if is_over { "given up" } else { "tried again" };
            tracing::warn!(%task, error = format_args!("{error:#}"), "a letter to an owner is {then}");
        }
        Ok(())
    }

    async fn send_to_owner(&self, task: Id, letter: OwnersLetter) -> Result<()> {
        if self.requests.mailer.is_none() {
            return Ok(());
        }
        let OwnersLetter { person, source_erased } = letter;
        let found = self
            .store
            .read(move |tx| {
                // Whose keys may be destroyed already is asked for nothing.
                if !tx.is_active(person)? {
                    return Ok(None);
                }
                let Some(to) = address_of(tx, Some(person))? else { return Ok(None) };
                let mut made = Vec::new();
                for &id in &source_erased {
                    made.extend(still_marked(tx, person, id)?);
                }
                Ok(Some((to, made)))
            })
            .await?;
        // Nobody to write to, or nothing to write about, is no failure.
        let Some((to, made)) = found.filter(|(_, made)| !made.is_empty()) else { return Ok(()) };
        let ambient = self.store.ambient();
        self.post(Mail {
            name: letter_name(person, task),
            to: vec![to],
            subject: "What you hold learned from data that is erased".to_owned(),
            body: words(&made, &self.requests.address),
            at: ambient.now(),
            message: ambient.new_id(),
        })
        .await
    }

    /// Deletes a person's letters that are about no request from the outbox: the person is erased.
    pub(crate) async fn forget_letters_to(&self, person: Id) {
        let Some(folder) = self.requests.mailer.as_ref().and_then(Mailer::outbox_folder) else { return };
        // Without a letter there is no folder.
        let Ok(mut files) = tokio::fs::read_dir(folder).await else { return };
        let prefix = prefix(person);
        while let Ok(Some(file)) = files.next_entry().await {
            if file.file_name().to_string_lossy().starts_with(&prefix) {
                // Somebody may have sent and deleted it already.
                let _ = tokio::fs::remove_file(file.path()).await;
            }
        }
    }
}

/// What the letter of a task to a person is called in the outbox that is about no request of theirs.
pub(super) fn letter_name(person: Id, task: Id) -> String {
    format!("{}{task}", prefix(person))
}

/// How the names of a person's letters begin in the outbox.
fn prefix(person: Id) -> String {
    format!("{person}-")
}

/// What was marked, if it is there, and the person's or an organisation's that they own, and marked still: a service that is deployed anew from
/// something else is not.
fn still_marked(tx: &mut Tx<'_>, person: Id, id: Id) -> Result<Option<Made>> {
    let Some((kind, _, holder)) = tx.position(id)? else { return Ok(None) };
    let is_theirs = holder == person
        || tx
            .mentioned_in(holder)?
            .iter()
            .any(|mention| mention.person == person && mention.role == MentionRole::Owner);
    if !is_theirs || !tx.is_active(holder)? {
        return Ok(None);
    }
    Ok(tx.source_erased(id)?.map(|since| Made { id, kind, since }))
}

/// The text, in lines that mail servers leave as they are. No name: a mailbox is read by more than one, and keeps what is erased here.
fn words(made: &[Made], address: &str) -> String {
    let mut list = String::new();
    for Made { id, kind, since } in made.iter().take(LISTED) {
        list.push_str(&format!("{} {id}\n  since {}\n\n", kind_name(*kind), &since.rfc3339()[..10]));
    }
    if made.len() > LISTED {
        list.push_str(&format!("and {} more\n\n", made.len() - LISTED));
    }
    format!(
        "You hold, or an organisation that you own holds, what is listed below.\n\
         It was made from data on this server that was deleted or erased since.\n\
         What it learned from that data cannot be taken out of it.\n\n\
         {list}\
         Nothing else has happened to it. It goes on answering as long as its\n\
         files are there. Model management shows since when as sourceErasedAt,\n\
         MLflow as the tag habeas.sourceErasedAt of a version. Whether it may be\n\
         used further is for you to decide: train it again without that data,\n\
         or delete it.\n\n\
         Whose data it was is told to nobody. What you hold:\n\
         {address}/me\n"
    )
}
