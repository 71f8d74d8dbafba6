//! Restriction of processing (GDPR Article 18): what may be kept and shown, but not learned from.

use habeas_core::kind::MentionRole;
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Result};
use habeas_store::{HolderState, Tx};

/// Refuses a training on images of persons whose data is restricted: their own, copies of theirs, however often
/// copied, and images that show them.
pub(crate) fn require_unrestricted(tx: &mut Tx<'_>, images: &[Id]) -> Result<()> {
    if !tx.has_restrictions()? {
        return Ok(());
    }
    let mut restricted = 0;
    for &image in images {
        restricted += u64::from(is_restricted(tx, image)?);
    }
    if restricted == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{restricted} of the images must not be learned from at present"))
        // Whether they are somebody's who is known here, and what that person asked for, is theirs to tell.
        .hint("take their tags away, or ask the staff of this server")
        .code("Restricted"))
}

fn is_restricted(tx: &mut Tx<'_>, image: Id) -> Result<bool> {
    let mut next = vec![image];
    while let Some(id) = next.pop() {
        let Some((_, _, holder)) = tx.position(id)? else { continue };
        if matches!(tx.holder(holder)?, Some((_, HolderState::Restricted))) {
            return Ok(true);
        }
        for mention in tx.mentioned_in(id)? {
            if mention.role == MentionRole::Depicted
                && matches!(tx.holder(mention.person)?, Some((_, HolderState::Restricted)))
            {
                return Ok(true);
            }
        }
        next.extend(tx.targets(id, Relation::CopyOf)?.into_iter().map(|(source, _)| source));
    }
    Ok(false)
}
