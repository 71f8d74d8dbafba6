//! That a run has ended, told to the person who made it: made by every protocol that ends runs.

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{NOTIFICATION_DAYS, Notification, NotificationDoc, RunDoc};
use habeas_core::{Id, Node, Result, Timestamp, time};
use habeas_store::{New, Tx};

/// Notes for its maker that a run has just ended. Not for a maker who is gone.
pub(crate) fn run_ended(tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<()> {
    let Some(person) = run.doc.created_by else { return Ok(()) };
    if !tx.is_active(person)? {
        return Ok(());
    }
    let experiment = run.parent.unwrap_or(Id::NIL);
    let Some((_, Some(scope), holder)) = tx.position(experiment)? else { return Ok(()) };
    let doc =
        NotificationDoc { person, run: run.id, experiment, status: run.doc.status.history_name().to_owned() };
    let expires_at = Some(Timestamp(tx.now().0 + i64::from(NOTIFICATION_DAYS) * time::DAY));
    let id = tx.new_id();
    tx.create::<Notification>(New { id, parent: Some(scope), expires_at, doc })?;
    if holder != person {
        tx.mention(id, person, MentionRole::Subject)?;
    }
    Ok(())
}
