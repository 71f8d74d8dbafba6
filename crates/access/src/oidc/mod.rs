//! External issuers of identities (OpenID Connect Core 1.0): persons sign in with them, and programs present their tokens.
//!
//! **Invariant:** only a verified e-mail address, or an object id where the operator says that the issuer's are ours, makes somebody a
//! person here; nothing an issuer says makes a new one.

mod issuer;
mod sign_in;

use std::sync::Arc;

use habeas_core::kind::HolderKind;
use habeas_core::{Error, Id, Result, Timestamp};
use habeas_fetch::{Outgoing, Policy};
use habeas_store::HolderState;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Access, Actor};
use issuer::Issuer;
pub use sign_in::{Answer, Begun, Finished, encode};

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;

/// What the operator says of an issuer.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssuerSettings {
    /// The name in addresses of this server: small letters, digits, dashes.
    pub name: String,
    /// The name on the sign-in page.
    pub title: String,
    /// The issuer, as its tokens spell it; `/.well-known/openid-configuration` lies below. May be a private address.
    pub issuer: String,
    /// This server's client id there.
    pub client_id: String,
    /// Its client secret, if it has one.
    pub client_secret: Option<String>,
    /// The scopes to ask for, separated by spaces; `openid email` if not given.
    #[serde(default = "default_scopes")]
    pub scopes: String,
    /// The claim that holds the e-mail address; `email` if not given.
    #[serde(default = "default_email_claim")]
    pub email_claim: String,
    /// Whether the address counts as verified although no `email_verified` claim says so: for issuers whose addresses only their
    /// administrator gives out.
    #[serde(default)]
    pub trust_email: bool,
    /// The claim that holds the object id of a person of this server, if the issuer knows them.
    pub object_id_claim: Option<String>,
    /// The audience of bearer tokens that are accepted; none are if not given.
    pub audience: Option<String>,
}

fn default_scopes() -> String {
    "openid email".to_owned()
}

fn default_email_claim() -> String {
    "email".to_owned()
}

/// The issuers of a deployment.
#[derive(Default)]
pub struct Issuers {
    all: Vec<Issuer>,
}

impl Issuers {
    /// Issuers with these settings; nothing is fetched before somebody signs in.
    pub fn new(settings: Vec<IssuerSettings>) -> Result<Issuers> {
        if settings.is_empty() {
            return Ok(Issuers::default());
        }
        // What the operator wrote down is called wherever it lies, whatever clients may name.
        let outgoing = Outgoing::new(Policy { enabled: true, private: true, ..Policy::default() })?;
        let mut all: Vec<Issuer> = Vec::new();
        for settings in settings {
            let good = !settings.name.is_empty()
                && settings
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !good || all.iter().any(|other| other.settings.name == settings.name) {
                return Err(Error::invalid(
                    "an issuer has a name of its own, of small letters, digits and dashes",
                ));
            }
            all.push(Issuer::new(settings, outgoing.clone()));
        }
        Ok(Issuers { all })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn named(&self, name: &str) -> Result<&Issuer> {
        self.all
            .iter()
            .find(|issuer| issuer.settings.name == name)
            .ok_or_else(|| Error::not_found("there is no such way to sign in"))
    }
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuers")
    }
}

/// What a token says, by name.
type Claims = Map<String, Value>;

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// When the issuer last saw that the person was there; at no time if it does not say. Only its word counts as a sign-in.
fn signed_in_at(claims: &Claims) -> Timestamp {
    let seconds = claims.get("auth_time").and_then(Value::as_i64).unwrap_or_default();
    Timestamp(seconds.saturating_mul(1_000_000))
}

/// Refuses claims that are of another issuer, for somebody else, or not valid now.
fn check(claims: &Claims, issuer: &str, audience: &str, now: Timestamp) -> Result<()> {
    let refused = |what: &str| Err(Error::unauthenticated(format!("the token {what}")));
    if text(claims, "iss") != Some(issuer) {
        return refused("is of another issuer");
    }
    let meant = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    };
    if !meant {
        return refused("is not meant for this server");
    }
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    if seconds("exp").is_none_or(|end| end + LEEWAY <= now.seconds()) {
        return refused("has expired");
    }
    if seconds("nbf").is_some_and(|begin| begin - LEEWAY > now.seconds()) {
        return refused("is not valid yet");
    }
    Ok(())
}

impl Access {
    /// The names and titles of the issuers with which persons may sign in.
    pub fn issuers(&self) -> Vec<(String, String)> {
        let pair = |issuer: &Issuer| (issuer.settings.name.clone(), issuer.settings.title.clone());
        self.issuers.all.iter().map(pair).collect()
    }

    /// The person whom these claims mean.
    async fn person_of(&self, settings: &IssuerSettings, claims: &Claims) -> Result<Id> {
        let unknown = || {
            Error::unauthenticated("nobody here has the address or object id that you signed in with")
                .hint("ask whoever runs this server for an account")
        };
        let by_id = settings
            .object_id_claim
            .as_deref()
            .and_then(|claim| text(claims, claim))
            .and_then(|id| id.parse::<Id>().ok());
        let person = match by_id {
            Some(id) => id,
            None => {
                let email = text(claims, &settings.email_claim).ok_or_else(unknown)?;
                let verified = match claims.get("email_verified") {
                    Some(Value::Bool(verified)) => *verified,
                    Some(Value::String(verified)) => verified == "true",
                    _ => false,
                };
                if !verified && !settings.trust_email {
                    return Err(Error::unauthenticated("the issuer has not verified your e-mail address"));
                }
                self.find_person(email).map_err(|_| unknown())?
            }
        };
        let holder = self.store.read(move |tx| tx.holder(person)).await?;
        match holder {
            Some((HolderKind::Person, HolderState::Active | HolderState::Restricted)) => Ok(person),
            _ => Err(unknown()),
        }
    }

    /// Who a bearer token of an external issuer belongs to.
    pub(crate) async fn recognise_foreign(&self, token: &str) -> Result<Actor> {
        let now = self.ambient().now();
        let unknown = || Error::unauthenticated("the bearer token is of no issuer that this server accepts");
        let claimed = issuer::claimed_issuer(token).ok_or_else(unknown)?;
        let accepted = self.issuers.all.iter().find_map(|issuer| match &issuer.settings.audience {
            Some(audience) if issuer.settings.issuer == claimed => Some((issuer, audience)),
            _ => None,
        });
        let (issuer, audience) = accepted.ok_or_else(unknown)?;
        let claims = issuer.verify(token, now).await?;
        check(&claims, &issuer.settings.issuer, audience, now)?;
        let person = self.person_of(&issuer.settings, &claims).await?;
        Ok(Actor::Person { id: person, signed_in_at: signed_in_at(&claims).min(now), granted: false })
    }
}

/// An issuer as something that is shared between requests.
type Shared<T> = Arc<tokio::sync::Mutex<T>>;
