//! The worker of outgoing calls: what other systems are to get is sent in the shape of the protocol it belongs to.

use std::time::Duration;

use habeas_core::{Error, Result};
use habeas_rights::Delivery;
use habeas_store::{TaskKind, TaskRow};

use crate::{App, opendsr};

/// The longest time between two looks for due calls.
const PAUSE: Duration = Duration::from_secs(1);
/// Calls at a time: one far end that does not answer keeps no other waiting.
const AT_A_TIME: usize = 4;

/// Makes the calls that are due, for ever. What is in hand when this is dropped is tried again at the next start.
pub async fn run(app: App) {
    futures::future::join_all((0..AT_A_TIME).map(|_| work(&app))).await;
}

async fn work(app: &App) {
    loop {
        match run_due(app).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = format_args!("{error:#}"), "a call failed");
            }
        }
        // Whichever comes first: an enqueued task, or the time to look for due ones.
        let _ = tokio::time::timeout(PAUSE, app.models().woken_for_outgoing()).await;
    }
}

/// Makes the next call that is due; false when there is none.
async fn run_due(app: &App) -> Result<bool> {
    let Some(task) = app.rights.claim_outgoing().await? else { return Ok(false) };
    match task.kind {
        TaskKind::Notify => app.models().run_notifying(&task).await,
        TaskKind::Deliver => deliver(app, &task).await,
        kind => Err(Error::internal(format!("{kind:?} is not an outgoing call"))),
    }
    .map(|()| true)
}

async fn deliver(app: &App, task: &TaskRow) -> Result<()> {
    let delivery = Delivery::of(task)?;
    let result = match &delivery {
        Delivery::Archive { request } => app.rights.deliver_archive(task, *request).await,
        Delivery::Notice { recipient, request } => {
            app.rights.tell_recipient(task.id, *recipient, *request).await
        }
        Delivery::Callback { request, url } => opendsr::tell(app, *request, url).await,
    };
    app.rights.end_delivery(task, &delivery, result).await
}
