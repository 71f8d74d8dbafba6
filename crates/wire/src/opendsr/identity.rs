//! Whose data a request is about.

use habeas_core::{Error, Id};
use serde::Deserialize;

use crate::App;

/// How a person is found by an identity.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// By e-mail address.
    Email,
    /// By object id.
    ObjectId,
}

/// The identities that are known here, all of them as they are, not hashed.
pub(super) const SUPPORTED: [(&str, Found); 2] =
    [("email", Found::Email), ("controller_customer_id", Found::ObjectId)];

/// An identity of the data subject.
#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    #[serde(rename = "identity_type")]
    kind: String,
    #[serde(rename = "identity_value")]
    pub(super) value: String,
    #[serde(rename = "identity_format")]
    format: String,
}

/// The one person whom all the identities that are known here mean.
pub(super) async fn person(app: &App, identities: &[Identity]) -> Result<Id, Error> {
    let mut found = None;
    let mut known = false;
    for identity in identities {
        let by = SUPPORTED.iter().find(|(name, _)| *name == identity.kind);
        let (Some((_, by)), "raw") = (by, identity.format.as_str()) else { continue };
        known = true;
        let person = match by {
            Found::Email => app.access().find_person(&identity.value).ok(),
            Found::ObjectId => match identity.value.parse::<Id>() {
                Ok(id) => app.access().person(id).await.ok().map(|node| node.id),
                Err(_) => None,
            },
        };
        match (found, person) {
            (Some(before), Some(now)) if before != now => {
                return Err(Error::invalid("subject_identities are of more than one person")
                    .hint("send a request for each"));
            }
            (None, Some(now)) => found = Some(now),
            _ => {}
        }
    }
    found.ok_or_else(|| {
        if known {
            Error::not_found("nobody here has one of these identities")
        } else {
            Error::invalid("none of the subject_identities is of a supported type and format")
                .hint("see discovery")
        }
    })
}
