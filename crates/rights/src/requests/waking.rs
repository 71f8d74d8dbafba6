//! What happens to requests by time alone: undo windows end, unverified ones expire, failed ones go on, the staff is reminded.

use habeas_core::kinds::{Request, RequestDoc};
use habeas_core::node::AttrKey;
use habeas_core::requests::{RequestEvent, RequestState};
use habeas_core::{Id, Result, Timestamp, fault, time};
use habeas_store::Between;

use super::mail::{Letter, enqueue};
use super::{Case, REMINDER_DAYS};
use crate::Rights;

/// Requests looked at in one go.
const MOST: u32 = 100;

impl Rights {
    /// Moves every request on whose time has come.
    pub(crate) async fn wake_requests(&self) -> Result<()> {
        loop {
            let due: Vec<Id> = self
                .store
                .read(|tx| {
                    let condition = Between { key: AttrKey::Wake, from: f64::MIN, to: tx.now().0 as f64 };
                    let nodes = tx.children_between::<Request>(Id::NIL, &[condition], None, MOST)?;
                    Ok(nodes.into_iter().map(|node| node.id).collect())
                })
                .await?;
            let mut failed = None;
            for &id in &due {
                // One that cannot go on does not keep the others from it.
                if let Err(error) = self.wake_request(id).await {
                    failed = Some(error);
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if due.len() < MOST as usize {
                return Ok(());
            }
        }
    }

    async fn wake_request(&self, id: Id) -> Result<()> {
        let (rights, salt) = (self.clone(), self.salt());
        let expired = self
            .store
            .write(move |tx| {
                let mut case = Case::open(tx, id)?;
                case.node.doc.wake_at = None;
                case.wake(&rights, salt)?;
                case.save()?;
                Ok(case.node.doc.state == RequestState::Expired)
            })
            .await?;
        fault::point("request.woken");
        if expired {
            self.forget_address(id).await;
            self.forget_letters_about(id).await;
        }
        self.change_address(id).await
    }
}

impl Case<'_, '_> {
    fn wake(&mut self, rights: &Rights, salt: [u8; 16]) -> Result<()> {
        let now = self.tx.now();
        let doc = &self.node.doc;
        if doc.state.is_unverified() && doc.verify_until <= now {
            return self.happen(RequestEvent::Expired, None);
        }
        if doc.state.is_open() && !doc.reminded && reminder(doc.due_at) <= now {
            self.node.doc.reminded = true;
            self.note("reminded", None);
            enqueue(self.tx, self.node.id, Letter::Reminder)?;
        }
        rights.go_on(self, salt)
    }

    /// Says when it is to be looked at next.
    pub(super) fn plan_waking(&mut self) {
        self.node.doc.wake_at = next_waking(&self.node.doc);
    }
}

/// When a request is to be looked at by time alone.
pub(super) fn next_waking(doc: &RequestDoc) -> Option<Timestamp> {
    let unverified = doc.state.is_unverified().then_some(doc.verify_until);
    let undo = doc.undo_until.filter(|_| doc.state == RequestState::UndoWindow);
    let reminder = (!doc.reminded).then(|| reminder(doc.due_at));
    [unverified, undo, reminder].into_iter().flatten().min()
}

fn reminder(due_at: Timestamp) -> Timestamp {
    Timestamp(due_at.0 - REMINDER_DAYS * time::DAY)
}
