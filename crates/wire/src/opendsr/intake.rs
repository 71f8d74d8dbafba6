//! Reading a request, in the order in which the specification lists its members.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::Actor;
use habeas_core::report::RequestReport;
use habeas_core::requests::{Channel, IdentityCheck, RequestType};
use habeas_core::{Error, Id, Timestamp};
use habeas_rights::NewRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::identity::{Identity, person};
use crate::App;

/// What may be asked for.
pub(super) const TYPES: [(&str, RequestType); 3] = [
    ("access", RequestType::Access),
    ("portability", RequestType::Portability),
    ("erasure", RequestType::Erasure),
];
/// The laws that the protocol knows.
const REGULATIONS: [&str; 2] = ["gdpr", "ccpa"];
/// Addresses to call back at most.
const CALLBACKS: usize = 10;
/// The largest request, in bytes.
const LARGEST: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    regulation: String,
    #[serde(default)]
    subject_request_id: String,
    #[serde(default)]
    subject_request_type: String,
    #[serde(default)]
    submitted_time: String,
    #[serde(default)]
    subject_identities: Vec<Identity>,
    #[serde(default)]
    status_callback_urls: Vec<String>,
}

/// Whether a text is a GUID of version 4 in small letters.
fn is_guid(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.parse::<Id>().is_ok_and(|id| id.to_string() == text)
        && bytes.get(14) == Some(&b'4')
        && bytes.get(19).is_some_and(|byte| b"89ab".contains(byte))
}

/// Takes a request in; its report, and the request in base64.
pub(super) async fn take_in(
    app: &App,
    caller: &Actor,
    bytes: &[u8],
) -> Result<(RequestReport, String), Failure> {
    if bytes.len() > LARGEST {
        return Err(Error::too_large(format!("a request has at most {LARGEST} bytes")).into());
    }
    let body: Body =
        serde_json::from_slice(bytes).map_err(|_| Error::invalid("the body is not a request in JSON"))?;
    let mut wrong: Vec<Value> = Vec::new();
    let mut check = |good: bool, member: &str, message: &str| {
        if !good {
            wrong.push(
                json!({ "domain": "habeas", "reason": "invalid", "message": format!("{member} {message}") }),
            );
        }
    };
    let asked = TYPES.iter().find(|(name, _)| *name == body.subject_request_type).map(|(_, asked)| *asked);
    let submitted = Timestamp::parse(&body.submitted_time);
    check(REGULATIONS.contains(&body.regulation.as_str()), "regulation", "is gdpr or ccpa");
    check(is_guid(&body.subject_request_id), "subject_request_id", "is a version 4 GUID in small letters");
    check(asked.is_some(), "subject_request_type", "is access, portability or erasure");
    check(submitted.is_ok(), "submitted_time", "is a time (RFC 3339)");
    check(!body.subject_identities.is_empty(), "subject_identities", "names somebody");
    let outgoing = app.models().outgoing();
    let callable = body.status_callback_urls.iter().all(|url| outgoing.check(url).is_ok());
    let few = body.status_callback_urls.len() <= CALLBACKS;
    check(callable && few, "status_callback_urls", "are at most ten addresses that this server may call");
    let (Some(asked), Ok(submitted), Ok(id)) = (asked, submitted, body.subject_request_id.parse::<Id>())
    else {
        return Err(refused(wrong));
    };
    if !wrong.is_empty() {
        return Err(refused(wrong));
    }
    let subject = person(app, &body.subject_identities).await?;
    app.rights.authorise(caller, subject, "OpenDsrCreateRequest").await?;
    let now = app.store().ambient().now();
    let new = NewRequest {
        id: Some(id),
        asked,
        person: subject,
        regime: Some(body.regulation),
        channel: Channel::Protocol,
        // The controller's clock may be ahead of ours.
        received_at: Some(submitted.min(now)),
        identity: Some(IdentityCheck::Protocol),
        confirm: None,
        callbacks: body.status_callback_urls,
    };
    Ok((app.rights.create_request(caller, new).await?, STANDARD.encode(bytes)))
}

fn refused(wrong: Vec<Value>) -> Failure {
    Failure(Error::invalid("the request cannot be taken in as it is"), wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_guids_in_small_letters() {
        assert!(is_guid("a7551968-d5d6-44b2-9831-815ac9017798"));
        for bad in ["", "A7551968-D5D6-44B2-9831-815AC9017798", "a7551968-d5d6-14b2-9831-815ac9017798", "x"] {
            assert!(!is_guid(bad), "{bad}");
        }
    }
}
