//! Datasets out and in, as ZIP archives in the formats of other tools. Ours, Microsoft's service has nothing of the kind.

mod export;
mod import;

pub(super) use export::export;
pub(super) use import::import;

use habeas_access::Actor;
use habeas_core::{Id, Result};

use super::caller::Call;

/// Notes in the holder's record what the operator does with their images; what others do is noted in their own.
async fn note_operator(call: &Call, holder: Id, operation: &'static str) -> Result<()> {
    if call.actor != Actor::Operator {
        return Ok(());
    }
    call.app.rights.authorise(&call.actor, holder, operation).await
}
