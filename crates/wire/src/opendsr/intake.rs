//! Reading a request, in the order in which the specification lists its members.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_access::Actor;
use habeas_core::kinds::Decisions;
use habeas_core::report::RequestReport;
use habeas_core::requests::{Channel, IdentityCheck, RequestType};
use habeas_core::{Error, ErrorKind, Id, Timestamp};
use habeas_rights::NewRequest;
use serde::Deserialize;
use serde_json::Value;

use super::identity::{Identity, person};
use super::{Failure, detail};
use crate::App;
use crate::percent::decode;

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

/// Takes a request in; its report, and the request in base64. One that was taken in before is answered as then. The old version (`old`) has
/// no regulation: it is the GDPR.
pub(super) async fn take_in(
    app: &App,
    caller: &Actor,
    bytes: &[u8],
    old: bool,
) -> Result<(RequestReport, String), Failure> {
    if bytes.len() > LARGEST {
        return Err(Error::too_large(format!("a request has at most {LARGEST} bytes")).into());
    }
    let mut body: Body =
        serde_json::from_slice(bytes).map_err(|_| Error::invalid("the body is not a request in JSON"))?;
    if old && body.regulation.is_empty() {
        REGULATIONS[0].clone_into(&mut body.regulation);
    }
    let mut wrong: Vec<Value> = Vec::new();
    let mut check = |good: bool, member: &str, message: &str| {
        if !good {
            wrong.push(detail("invalid", &format!("{member} {message}")));
        }
    };
    let asked = TYPES.iter().find(|(name, _)| *name == body.subject_request_type).map(|(_, asked)| *asked);
    let submitted = Timestamp::parse(&body.submitted_time);
    check(REGULATIONS.contains(&body.regulation.as_str()), "regulation", "is gdpr or ccpa");
    check(is_guid(&body.subject_request_id), "subject_request_id", "is a version 4 GUID in small letters");
    check(asked.is_some(), "subject_request_type", "is access, portability or erasure");
    check(submitted.is_ok(), "submitted_time", "is a time (RFC 3339)");
    check(!body.subject_identities.is_empty(), "subject_identities", "names somebody");
    let outgoing = app.rights.outgoing();
    let callable = body.status_callback_urls.iter().all(|url| outgoing.check(url).is_ok());
    let few = body.status_callback_urls.len() <= CALLBACKS;
    check(callable && few, "status_callback_urls", "are at most ten addresses that this server may call");
    // They outlive an erasure, to tell of it.
    let anonymous =
        body.status_callback_urls.iter().all(|url| !names_somebody(url, &body.subject_identities));
    check(anonymous, "status_callback_urls", "do not name the data subject");
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
        formats: Vec::new(),
        person: subject,
        regime: Some(body.regulation),
        channel: Channel::Protocol,
        // The controller's clock may be ahead of ours.
        received_at: Some(submitted.min(now)),
        identity: Some(IdentityCheck::Protocol),
        confirm: None,
        decisions: Decisions::default(),
        callbacks: body.status_callback_urls,
        destination: None,
    };
    let report = match app.rights.create_request(caller, new).await {
        Err(error) if error.kind == ErrorKind::Conflict => {
            again(app, caller, id, asked, subject, error).await?
        }
        result => result?,
    };
    Ok((report, STANDARD.encode(bytes)))
}

/// The request with this id, if it is the same and by the same controller, whose first answer was lost.
async fn again(
    app: &App,
    caller: &Actor,
    id: Id,
    asked: RequestType,
    subject: Id,
    conflict: Error,
) -> Result<RequestReport, Failure> {
    let Ok(report) = app.rights.request(caller, id).await else { return Err(conflict.into()) };
    let same = report.asked == asked
        && report.subject == Some(subject.to_string())
        && report.requester == Some(caller.reference().to_string());
    if same { Ok(report) } else { Err(conflict.into()) }
}

/// Whether an address holds one of the identities, as it is or percent-encoded.
fn names_somebody(url: &str, identities: &[Identity]) -> bool {
    let spelled = [url.to_lowercase(), decode(url).to_lowercase()];
    identities.iter().map(|identity| identity.value.trim().to_lowercase()).any(|value| {
        // What is shorter may stand in any address.
        value.len() >= 4 && spelled.iter().any(|url| url.contains(&value))
    })
}

fn refused(wrong: Vec<Value>) -> Failure {
    Failure(Error::invalid("the request cannot be taken in as it is"), wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_random_guids_in_small_letters() {
        assert!(is_guid("a7551968-d5d6-44b2-9831-815ac9017798"));
        for bad in ["", "A7551968-D5D6-44B2-9831-815AC9017798", "a7551968-d5d6-14b2-9831-815ac9017798", "x"] {
            assert!(!is_guid(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_that_name_the_data_subject_are_recognised() {
        let identity = json!({ "identity_type": "email", "identity_value": "a.b@example.org", "identity_format": "raw" });
        let identities: Vec<Identity> = vec![serde_json::from_value(identity).unwrap()];
        for (url, names) in [
            ("https://example.org/callback?x=100%", false),
            ("https://example.org/callback?who=A.B@example.org", true),
            ("https://example.org/a.b%40example.org/callback", true),
            ("https://example.org/%61.b%40example%2Eorg", true),
        ] {
            assert_eq!(names_somebody(url, &identities), names, "{url}");
        }
    }
}
