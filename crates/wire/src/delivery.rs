//! The worker of the delivery lane: one thing at a time is sent to other systems, in the shape of the protocol it belongs to.

use std::time::Duration;

use habeas_core::Result;
use habeas_rights::Delivery;

use crate::{App, opendsr};

/// The longest time between two looks for due deliveries.
const PAUSE: Duration = Duration::from_secs(1);

/// Delivers what is due, for ever. What is in hand when this is dropped is tried again at the next start.
pub async fn run(app: App) {
    loop {
        match deliver_due(&app).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = format_args!("{error:#}"), "deliveries wait"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs the next delivery that is due; false when there is none.
async fn deliver_due(app: &App) -> Result<bool> {
    let Some((task, delivery)) = app.rights.claim_delivery().await? else { return Ok(false) };
    let result = match &delivery {
        Delivery::Archive(archive) => app.rights.deliver_archive(&task, *archive).await,
        Delivery::Notice { recipient, request } => {
            app.rights.tell_recipient(task.id, *recipient, *request).await
        }
        Delivery::Callback { request, controller, due_at, url, state } => {
            opendsr::send(app, (*request, *controller, *due_at), url, state).await
        }
    };
    app.rights.end_delivery(&task, &delivery, result).await.map(|()| true)
}
