//! The letter that tells a person that the restriction of their data ends: before it does (GDPR Article 18(3)).

use habeas_core::{Id, Result, Timestamp, fault};
use habeas_store::{HolderState, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};

use super::mail::{Ending, address_of};
use super::mailer::Mail;
use super::owners::letter_name;
use crate::Rights;

/// Such a letter as its task has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiftingLetter {
    /// To whom.
    person: Id,
    /// When the restriction ends.
    restricted_until: Timestamp,
}

/// Has the letter written and sent when this transaction is committed; its task.
pub(crate) fn announce_lifting(tx: &mut Tx<'_>, person: Id, restricted_until: Timestamp) -> Result<Id> {
    let payload = serde_json::to_value(LiftingLetter { person, restricted_until })?;
    let now = tx.now();
    // About nobody: what is about a person and waits is taken for a letter to an owner, to which more can be added.
    tx.enqueue(TaskKind::Mail, None, &payload, now)
}

/// What lifts the restriction of a person at its time, if that is under way.
pub(crate) fn lifting(tx: &mut Tx<'_>, person: Id) -> Result<Option<TaskRow>> {
    let tasks = tx.tasks_about(person, TaskKind::LiftRestriction)?;
    Ok(tasks.into_iter().find(|task| matches!(task.state, TaskState::Waiting | TaskState::Running)))
}

impl Rights {
    /// Writes and sends such a letter. One that does not get away is tried again later.
    pub(super) async fn write_of_lifting(&self, row: &TaskRow, letter: LiftingLetter) -> Result<()> {
        let (task, person, ending) = (row.id, letter.person, Ending::of(row));
        let sent = self.send_of_lifting(task, letter).await;
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
            tracing::warn!(%task, error = format_args!("{error:#}"), "a letter about a restriction is {then}");
        }
        Ok(())
    }

    async fn send_of_lifting(&self, task: Id, letter: LiftingLetter) -> Result<()> {
        if self.requests.mailer.is_none() {
            return Ok(());
        }
        let LiftingLetter { person, restricted_until } = letter;
        let to = self
            .store
            .read(move |tx| {
                // Whose keys may be destroyed already is asked for nothing; and it may have been called off since.
                let goes_on = match tx.holder(person)? {
                    Some((_, HolderState::Restricted)) => lifting(tx, person)?.is_some(),
                    Some((_, HolderState::Active)) => true,
                    _ => false,
                };
                if goes_on { address_of(tx, Some(person)) } else { Ok(None) }
            })
            .await?;
        // Nobody to write to is no failure.
        let Some(to) = to else { return Ok(()) };
        let ambient = self.store.ambient();
        self.post(Mail {
            name: letter_name(person, task),
            to: vec![to],
            subject: "The restriction of your data ends".to_owned(),
            body: words(restricted_until, &self.requests.address),
            at: ambient.now(),
            message: ambient.new_id(),
        })
        .await
    }
}

/// The text, in lines that mail servers leave as they are. No name and no content: a mailbox is read by more than one.
fn words(restricted_until: Timestamp, address: &str) -> String {
    let end = restricted_until.rfc3339();
    let (day, hour) = (&end[..10], &end[11..16]);
    format!(
        "The use of the data held under this address is restricted. Whoever\n\
         answers requests here has decided that this ends\n\
         on {day} at {hour} (UTC).\n\n\
         From then on your data is used as before: it can be changed, models\n\
         learn from it and answer with it, and what is due is deleted.\n\n\
         If you do not agree, sign in and say so, or ask for a restriction\n\
         again:\n\
         {address}/me/requests\n\n\
         You may lodge a complaint with a supervisory authority, and seek a\n\
         judicial remedy.\n"
    )
}
