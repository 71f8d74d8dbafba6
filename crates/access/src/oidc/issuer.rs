//! One issuer: its addresses and keys, fetched when first needed and kept for a while.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::{Error, Result, Timestamp};
use habeas_fetch::Outgoing;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::Deserialize;
use serde_json::Value;

use super::{Claims, IssuerSettings, Shared};
use crate::jwt;

/// How long keys are believed, in seconds.
const KEPT: i64 = 3_600;
/// How soon unknown keys may make us look again, in seconds.
const AGAIN: i64 = 60;
/// The largest document of an issuer, in bytes.
const LARGEST: u64 = 1 << 20;

/// What an issuer says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
}

/// Keys as they were found.
#[derive(Clone)]
struct Keys {
    found_at: Timestamp,
    keys: Vec<Jwk>,
}

pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    pub(super) outgoing: Outgoing,
    metadata: Shared<Option<Metadata>>,
    keys: Shared<Option<Keys>>,
}

/// The issuer that a token says it is of; not to be believed before it is verified.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

fn silent(error: Error) -> Error {
    Error::unavailable(format!("the issuer cannot be asked: {}", error.what))
}

pub(super) fn unreadable() -> Error {
    Error::unavailable("the issuer's answer cannot be read")
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings, outgoing: Outgoing) -> Issuer {
        Issuer { settings, outgoing, metadata: Shared::default(), keys: Shared::default() }
    }

    pub(super) async fn metadata(&self) -> Result<Metadata> {
        let mut known = self.metadata.lock().await;
        if let Some(metadata) = &*known {
            return Ok(metadata.clone());
        }
        let issuer = &self.settings.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let fetched = self.outgoing.get(&address, LARGEST).await.map_err(silent)?;
        let metadata: Metadata = serde_json::from_slice(&fetched.bytes).map_err(|_| unreadable())?;
        if metadata.issuer != *issuer {
            return Err(Error::unavailable(
                "the issuer calls itself by another name than it is configured by",
            ));
        }
        *known = Some(metadata.clone());
        Ok(metadata)
    }

    /// The keys of this id, or all when a token names none. Looks again when there are none, but not more than once a minute.
    async fn keys(&self, id: Option<&str>, now: Timestamp) -> Result<Vec<Jwk>> {
        let wanted = |keys: &Keys| -> Vec<Jwk> {
            keys.keys
                .iter()
                .filter(|key| id.is_none() || key.common.key_id.as_deref() == id)
                .cloned()
                .collect()
        };
        let mut known = self.keys.lock().await;
        if let Some(keys) = &*known {
            let age = now.seconds() - keys.found_at.seconds();
            let found = wanted(keys);
            if age < AGAIN || (age < KEPT && !found.is_empty()) {
                return Ok(found);
            }
        }
        let address = self.metadata().await?.jwks_uri;
        let fetched = self.outgoing.get(&address, LARGEST).await.map_err(silent)?;
        // Keys of types that we do not know are passed over, not a reason to refuse the others.
        let set: Value = serde_json::from_slice(&fetched.bytes).map_err(|_| unreadable())?;
        let keys = set["keys"]
            .as_array()
            .ok_or_else(unreadable)?
            .iter()
            .filter_map(|key| serde_json::from_value(key.clone()).ok())
            .collect();
        let keys = JwkSet { keys };
        let found = Keys { found_at: now, keys: keys.keys };
        let answer = wanted(&found);
        *known = Some(found);
        Ok(answer)
    }

    /// The claims of a token, if this issuer signed it.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims> {
        let refused = || Error::unauthenticated("the token is not signed as this server needs it");
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        if !jwt::PUBLIC_ALGORITHMS.contains(&header.alg) {
            return Err(refused());
        }
        for key in self.keys(header.kid.as_deref(), now).await? {
            let Ok(key) = DecodingKey::from_jwk(&key) else { continue };
            if key.family() == header.alg.family()
                && let Ok(claims) = jwt::read_foreign(token, header.alg, &key)
            {
                return Ok(claims);
            }
        }
        Err(refused())
    }
}
