//! Tokens of services: `POST services/ID/token`, as `AksWebservice.get_access_token` of `azureml-core` fetches them for a service that was
//! deployed with `token_auth_enabled` (`aadAuthEnabled` on the wire).
//!
//! A token asks one service and nothing else, for an hour, as the person to whom it was issued: it dies with the service, the person and their
//! role, and when the service's primary key is renewed. It is made again to be checked, and stored nowhere:
//! service, person, end and MAC, in URL-safe base64, which is no bearer token of the rest of the server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::kinds::ServiceDoc;
use habeas_core::{Id, Node, Result, Timestamp};
use serde_json::{Value, json};

use crate::App;

/// The setting of a service that is asked with tokens in place of keys.
pub(super) const SETTING: &str = "aadAuthEnabled";
/// How long a token works, in seconds.
const LIFETIME: i64 = 3_600;
/// After how many seconds its client is to fetch another one.
const REFRESH: i64 = 2_700;
/// Service and person.
const IDS: usize = 32;
/// With the end of its time, which is what the MAC is over.
const SIGNED: usize = IDS + 8;

/// Whether a service is asked with tokens in place of keys.
pub(super) fn are_asked_for(service: &ServiceDoc) -> bool {
    service.settings.get(SETTING) == Some(&Value::Bool(true))
}

/// The key of the MACs.
pub(super) fn key(app: &App) -> Result<SecretKey> {
    app.store().installation_key(b"service-token")
}

fn token(key: &SecretKey, service: &Node<ServiceDoc>, person: Id, expires: i64) -> String {
    let mut bytes = Vec::with_capacity(SIGNED + 32);
    bytes.extend_from_slice(service.id.as_bytes());
    bytes.extend_from_slice(person.as_bytes());
    bytes.extend_from_slice(&expires.to_be_bytes());
    let mac = crypto::mac(key, &[bytes.as_slice(), service.doc.keys.primary.as_bytes()].concat());
    bytes.extend_from_slice(&mac);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `AuthToken`, with times in seconds since 1970.
pub(super) fn issue(key: &SecretKey, service: &Node<ServiceDoc>, person: Id, now: Timestamp) -> Value {
    let now = now.seconds();
    json!({
        "accessToken": token(key, service, person, now + LIFETIME),
        "tokenType": "Bearer",
        "expiryOn": now + LIFETIME,
        "refreshAfter": now + REFRESH,
    })
}

/// Whom a token of this service was issued to, while it works.
pub(super) fn person(
    key: &SecretKey,
    service: &Node<ServiceDoc>,
    presented: &str,
    now: Timestamp,
) -> Option<Id> {
    let bytes = URL_SAFE_NO_PAD.decode(presented).ok()?;
    let person = Id::from_bytes(bytes.get(16..IDS)?.try_into().ok()?);
    let expires = i64::from_be_bytes(bytes.get(IDS..SIGNED)?.try_into().ok()?);
    let right = token(key, service, person, expires);
    (crypto::constant_time_eq(right.as_bytes(), presented.as_bytes()) && now.seconds() < expires)
        .then_some(person)
}
