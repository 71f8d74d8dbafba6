//! Telling a controller that the state of its request has changed.

use bytes::Bytes;
use habeas_core::{Id, Result, Timestamp};
use habeas_fetch::Method;
use serde_json::json;

use super::{header_names, status_of};
use crate::App;

/// The largest answer that is read, in bytes.
const ANSWER: u64 = 4 << 10;

/// Posts the state `state` of a request to an address that its controller named.
pub(crate) async fn send(
    app: &App,
    (request, controller, due_at): (Id, Option<Id>, Timestamp),
    url: &str,
    state: &str,
) -> Result<()> {
    let body = json!({
        "controller_id": controller,
        "expected_completion_time": due_at.rfc3339(),
        "status_callback_url": url,
        "subject_request_id": request,
        "request_status": status_of(state),
    });
    let body = Bytes::from(body.to_string());
    let processor = app.processor.get()?;
    let signature = processor.sign(&body)?;
    let [domain_name, signature_name] = header_names(false);
    let headers = [
        ("content-type", "application/json"),
        (domain_name.as_str(), processor.domain.as_str()),
        (signature_name.as_str(), signature.as_str()),
    ];
    app.models().outgoing().send(Method::POST, url, &headers, body, ANSWER).await.map(|_| ())
}
