//! Telling a controller that the status of its request has changed (section 8.5).

use bytes::Bytes;
use habeas_core::{Id, Result};
use habeas_fetch::Method;

use super::{header_names, status_json};
use crate::App;

/// The largest answer that is read, in bytes.
const ANSWER: u64 = 4 << 10;

/// Posts the status of a request to an address that its controller named, and again while it changes meanwhile: the last that the
/// controller gets is what is so.
pub(crate) async fn tell(app: &App, request: Id, url: &str) -> Result<()> {
    let processor = app.processor.get()?;
    let [domain_name, signature_name] = header_names(false);
    let mut told = None;
    loop {
        let record = app.rights.record_of_request(request).await?;
        let mut body = status_json(&record);
        let status = body["request_status"].clone();
        if told.as_ref() == Some(&status) {
            return Ok(());
        }
        body["status_callback_url"] = url.into();
        let body = Bytes::from(body.to_string());
        let signature = processor.sign(&body)?;
        let headers = [
            ("content-type", "application/json"),
            (domain_name.as_str(), processor.domain.as_str()),
            (signature_name.as_str(), signature.as_str()),
        ];
        app.models().outgoing().send(Method::POST, url, &headers, body, ANSWER).await?;
        told = Some(status);
    }
}
