//! Telling a controller that the status of its request has changed (section 8.5).

use bytes::Bytes;
use habeas_core::{Id, Result};

use super::{header_names, status_json};
use crate::App;

/// Posts the status of a request to an address that its controller named, and again while it changes meanwhile: the last that the
/// controller gets is what is so. Its headers have the names of both versions, of which the controller looks for those that it knows.
pub(crate) async fn tell(app: &App, request: Id, url: &str) -> Result<()> {
    let processor = app.processor.get()?;
    let (present, old) = (header_names(false), header_names(true));
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
            (present[0].as_str(), processor.domain.as_str()),
            (present[1].as_str(), signature.as_str()),
            (old[0].as_str(), processor.domain.as_str()),
            (old[1].as_str(), signature.as_str()),
        ];
        app.rights.outgoing().deliver(url, &headers, body).await?;
        told = Some(status);
    }
}
