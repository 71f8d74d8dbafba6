//! Signing a browser in with an issuer: authorization code with PKCE, state and nonce.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Error, Id, Result, Timestamp};
use habeas_fetch::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::issuer::{Issuer, Metadata, unreadable};
use super::{Claims, LEEWAY, check, signed_in_at, text};
use crate::Access;

/// How long a person may take at the issuer's, in seconds.
const PATIENCE: i64 = 900;
/// The largest answer of an issuer, in bytes.
const LARGEST: u64 = 1 << 20;
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Where to send the browser.
#[derive(Debug)]
pub struct Begun {
    /// The issuer's address.
    pub address: String,
    /// What the browser keeps meanwhile, sealed; for a cookie.
    pub kept: String,
}

/// A sign-in that came to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The person.
    pub person: Id,
    /// When the issuer last saw that they were there; at no time if it does not say.
    pub signed_in_at: Timestamp,
    /// The path to go to.
    pub next: String,
}

/// What the issuer sent the browser back with.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// The code.
    #[serde(default)]
    pub code: String,
    /// The state that we gave.
    #[serde(default)]
    pub state: String,
    /// The issuer (RFC 9207).
    pub iss: Option<String>,
    /// Why it did not work.
    pub error: Option<String>,
}

/// What the browser keeps while the person is at the issuer's.
#[derive(Serialize, Deserialize)]
struct Kept {
    issuer: String,
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    expires: i64,
    /// Whether the person was to show anew that it is them.
    again: bool,
}

/// Percent-encodes a value of a query or form.
pub fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn form(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

impl Access {
    fn sign_in_key(&self) -> SecretKey {
        self.token_key.derive(b"oidc-sign-in")
    }

    /// Begins a sign-in with the issuer of this name. `redirect_uri` is this server's own address for the answer, `next` the path to go to
    /// afterwards. With `again` the issuer is to ask who the person is although it knows: a browser that was left open there is no sign-in.
    pub async fn begin_sign_in(
        &self,
        issuer: &str,
        redirect_uri: &str,
        next: &str,
        again: bool,
    ) -> Result<Begun> {
        let issuer = self.issuers.named(issuer)?;
        let metadata = issuer.metadata().await?;
        let random = || URL_SAFE_NO_PAD.encode(self.ambient().bytes::<32>());
        let kept = Kept {
            issuer: issuer.settings.name.clone(),
            state: random(),
            nonce: random(),
            verifier: random(),
            next: next.to_owned(),
            expires: self.ambient().now().seconds() + PATIENCE,
            again,
        };
        let challenge = URL_SAFE_NO_PAD.encode(crypto::sha256(kept.verifier.as_bytes()));
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", &issuer.settings.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &issuer.settings.scopes),
            ("state", &kept.state),
            ("nonce", &kept.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if again {
            // The first asks for it; with the second an issuer has to say when it was (OpenID Connect Core 1.0, section 3.1.2.1).
            pairs.extend([("prompt", "login"), ("max_age", "0")]);
        }
        let query = form(&pairs);
        let separator = if metadata.authorization_endpoint.contains('?') { '&' } else { '?' };
        let plain = serde_json::to_vec(&kept)?;
        let random = &*self.ambient().random;
        let sealed = crypto::seal(&self.sign_in_key(), b"oidc", &plain, random);
        Ok(Begun {
            address: format!("{}{separator}{query}", metadata.authorization_endpoint),
            kept: URL_SAFE_NO_PAD.encode(sealed),
        })
    }

    /// Ends a sign-in.
    pub async fn finish_sign_in(&self, kept: &str, answer: &Answer, redirect_uri: &str) -> Result<Finished> {
        let denied = |what: &str| Error::unauthenticated(what).hint("sign in again");
        let broken = || denied("this sign-in was not begun in this browser, or took too long");
        let now = self.ambient().now();
        let sealed = URL_SAFE_NO_PAD.decode(kept).map_err(|_| broken())?;
        let plain = crypto::open(&self.sign_in_key(), b"oidc", &sealed).map_err(|_| broken())?;
        let kept: Kept = serde_json::from_slice(&plain).map_err(|_| broken())?;
        let same = crypto::constant_time_eq(kept.state.as_bytes(), answer.state.as_bytes());
        if !same || kept.expires <= now.seconds() {
            return Err(broken());
        }
        let issuer = self.issuers.named(&kept.issuer)?;
        if answer.iss.as_ref().is_some_and(|iss| *iss != issuer.settings.issuer) {
            return Err(broken());
        }
        if answer.error.is_some() || answer.code.is_empty() {
            return Err(denied("the issuer did not sign you in"));
        }
        let metadata = issuer.metadata().await?;
        let tokens = issuer.exchange(&metadata, &answer.code, redirect_uri, &kept.verifier).await?;
        let token = tokens["id_token"].as_str().ok_or_else(unreadable)?;
        let mut claims = issuer.verify(token, now).await?;
        check(&claims, &issuer.settings.issuer, &issuer.settings.client_id, now)?;
        if text(&claims, "nonce") != Some(&kept.nonce) {
            return Err(broken());
        }
        let signed_in_at = signed_in_at(&claims).min(now);
        if kept.again && signed_in_at.seconds() < kept.expires - PATIENCE - LEEWAY {
            return Err(Error::unauthenticated(
                "the issuer does not say (`auth_time`) that you signed in there just now",
            )
            .hint("sign in with a password or a link from whoever runs this server"));
        }
        let needed = issuer.settings.object_id_claim.as_deref().unwrap_or(&issuer.settings.email_claim);
        if text(&claims, needed).is_none()
            && let (Some(address), Some(token)) =
                (&metadata.userinfo_endpoint, tokens["access_token"].as_str())
        {
            claims.extend(issuer.more_claims(address, token, text(&claims, "sub")).await?);
        }
        let person = self.person_of(&issuer.settings, &claims).await?;
        Ok(Finished { person, signed_in_at, next: kept.next })
    }
}

impl Issuer {
    /// Exchanges the code for tokens.
    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Value> {
        let client = &self.settings.client_id;
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
            ("client_id", client),
        ];
        let supported = &metadata.token_endpoint_auth_methods_supported;
        let basic = supported.is_empty() || supported.iter().any(|method| method == "client_secret_basic");
        let mut headers = vec![FORM];
        let authorization;
        if let Some(secret) = &self.settings.client_secret {
            if basic {
                let pair = STANDARD.encode(format!("{}:{}", encode(client), encode(secret)));
                authorization = format!("Basic {pair}");
                headers.push(("authorization", &authorization));
            } else {
                pairs.push(("client_secret", secret));
            }
        }
        let body = Bytes::from(form(&pairs));
        let fetched = self
            .outgoing
            .send(Method::POST, &metadata.token_endpoint, &headers, body, LARGEST)
            .await
            .map_err(|error| Error::unauthenticated(format!("the issuer gave no tokens: {}", error.what)))?;
        serde_json::from_slice(&fetched.bytes).map_err(|_| unreadable())
    }

    /// What the issuer says beside the ID token, of the same person.
    async fn more_claims(&self, address: &str, token: &str, subject: Option<&str>) -> Result<Claims> {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let fetched = self.outgoing.send(Method::GET, address, &headers, Bytes::new(), LARGEST).await?;
        let claims: Claims = serde_json::from_slice(&fetched.bytes).map_err(|_| unreadable())?;
        if subject.is_none() || text(&claims, "sub") != subject {
            return Err(unreadable());
        }
        Ok(claims)
    }
}
