//! Bearer tokens, browser sessions and one-time sign-in links.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::kind::HolderKind;
use habeas_core::kinds::{OAuthGrant, Token, TokenDoc, TokenPurpose};
use habeas_core::{Error, Id, Kind, Node, Result, Timestamp, crypto, time};
use habeas_store::{HolderState, New, Page, Tx};

use crate::jwt::{self, Claims};
use crate::oauth::{COMMAND_LINE, client_exists};
use crate::{Access, Actor};

/// How long a browser stays signed in, in hours.
pub const SESSION_HOURS: i64 = 12;
/// How long a one-time link can be used, in hours.
const LINK_HOURS: i64 = 24;
/// The longest label, in bytes.
const LABEL_LENGTH: usize = 100;
/// The longest life of a bearer token, in days.
const LONGEST_DAYS: u32 = 365;

/// How long a bearer token is to live.
#[derive(Clone, Copy, Debug)]
pub struct TokenLifetime {
    /// In days, 1 to 365.
    pub days: u32,
}

impl Default for TokenLifetime {
    fn default() -> TokenLifetime {
        TokenLifetime { days: 30 }
    }
}

/// A token that was issued; shown this once.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token's id, by which it can be revoked.
    pub id: Id,
    /// What to present.
    pub secret: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Access {
    /// Issues a bearer token for `Authorization: Bearer`, which is as good as the sign-in at `signed_in_at`; none makes it one of its own.
    pub async fn issue_bearer(
        &self,
        person: Id,
        label: &str,
        lifetime: TokenLifetime,
        signed_in_at: Option<Timestamp>,
    ) -> Result<Issued> {
        if !(1..=LONGEST_DAYS).contains(&lifetime.days) {
            return Err(Error::invalid(format!("a token lives 1 to {LONGEST_DAYS} days")));
        }
        let issued = self
            .issue(person, TokenPurpose::Bearer, label, i64::from(lifetime.days) * time::DAY, None)
            .await?;
        let claims = Claims {
            oid: person,
            tid: Id::NIL,
            jti: issued.id,
            iat: self.ambient().now().seconds(),
            exp: issued.expires_at.seconds(),
            auth_time: signed_in_at.map(Timestamp::seconds),
            iss: Some(self.name.to_string()),
            aud: Some(self.name.to_string()),
            unique_name: Some(person),
        };
        Ok(Issued { secret: jwt::sign(&claims, &self.token_key)?, ..issued })
    }

    /// Signs a browser in. `signed_in_at` is when the person did, as an issuer says it; now if none is given.
    pub async fn issue_session(&self, person: Id, signed_in_at: Option<Timestamp>) -> Result<Issued> {
        self.issue(person, TokenPurpose::Session, "", SESSION_HOURS * time::HOUR, signed_in_at).await
    }

    /// Makes a link that signs in once.
    pub async fn issue_sign_in_link(&self, person: Id) -> Result<Issued> {
        self.issue(person, TokenPurpose::SignInLink, "", LINK_HOURS * time::HOUR, None).await
    }

    async fn issue(
        &self,
        person: Id,
        purpose: TokenPurpose,
        label: &str,
        lifetime: i64,
        signed_in_at: Option<Timestamp>,
    ) -> Result<Issued> {
        if label.len() > LABEL_LENGTH {
            return Err(Error::invalid(format!("the label is longer than {LABEL_LENGTH} bytes")));
        }
        let secret = URL_SAFE_NO_PAD.encode(self.ambient().bytes::<32>());
        let id = self.ambient().new_id();
        let expires_at = Timestamp(self.ambient().now().0 + lifetime);
        let doc = TokenDoc { purpose, label: label.to_owned(), secret_hash: hash(&secret), signed_in_at };
        self.store
            .write(move |tx| {
                let new = New { id, parent: Some(person), expires_at: Some(expires_at), doc: doc.clone() };
                tx.create::<Token>(new)
            })
            .await?;
        Ok(Issued { id, secret, expires_at })
    }

    /// Who a bearer token belongs to: one of ours, or one of an external issuer that the operator accepts.
    pub async fn recognise_bearer(&self, token: &str) -> Result<Actor> {
        if !self.issuers.is_empty() && !jwt::is_ours(token) {
            return self.recognise_foreign(token).await;
        }
        let claims = jwt::read(token, &self.token_key, self.ambient().now())?;
        self.store
            .read(move |tx| {
                let source = tx.position(claims.jti)?.filter(|(_, _, holder)| *holder == claims.oid);
                let signed_in_at = Timestamp(claims.auth_time.unwrap_or(claims.iat) * 1_000_000);
                // An application that was let in is nobody who has signed in: what needs a fresh sign-in is not for it.
                let never = Timestamp(0);
                // The token dies with its resource: revoked, expired, or erased with the person.
                let granted = source.is_some_and(|(kind, _, _)| kind != Kind::Token);
                let counts_as = match source.map(|(kind, _, _)| kind) {
                    Some(Kind::Token) => tx
                        .get::<Token>(claims.jti)?
                        .filter(|node| node.doc.purpose == TokenPurpose::Bearer)
                        .map(|_| signed_in_at),
                    Some(Kind::OAuthGrant) => match tx.get::<OAuthGrant>(claims.jti)? {
                        // The command line is no application of somebody else, and its device code was typed by whoever signed in.
                        Some(grant) if grant.doc.client == COMMAND_LINE => Some(signed_in_at),
                        Some(grant) => client_exists(tx, &grant.doc.client)?.then_some(never),
                        None => None,
                    },
                    Some(Kind::OAuthClient) => Some(never),
                    _ => None,
                };
                match (tx.holder(claims.oid)?, counts_as) {
                    (
                        Some((HolderKind::Person, HolderState::Active | HolderState::Restricted)),
                        Some(signed_in_at),
                    ) => Ok(Actor::Person { id: claims.oid, signed_in_at, granted }),
                    _ => Err(Error::unauthenticated("the bearer token was revoked")),
                }
            })
            .await
    }

    /// Who a browser session belongs to, and the session's id.
    pub async fn recognise_session(&self, secret: &str) -> Result<(Actor, Id)> {
        let hash = hash(secret);
        let node = self.store.read(move |tx| by_secret(tx, &hash, TokenPurpose::Session)).await?;
        let signed_in_at = node.doc.signed_in_at.unwrap_or(node.created_at);
        Ok((Actor::Person { id: node.holder, signed_in_at, granted: false }, node.id))
    }

    /// Uses up a one-time link; the person it signs in. Of two who use it at once one does.
    pub async fn use_sign_in_link(&self, secret: &str) -> Result<Id> {
        let hash = hash(secret);
        let used = self
            .store
            .write(move |tx| {
                let node = by_secret(tx, &hash, TokenPurpose::SignInLink)?;
                Ok((node.holder, tx.remove(node.id)?))
            })
            .await;
        let (person, removed) = used.map_err(|error| {
            error.conceal(|| {
                Error::gone("this link was used before, or has expired")
                    .hint("make a new one: habeas person sign-in-link")
            })
        })?;
        self.store.finish(&removed).await;
        Ok(person)
    }

    /// A person's tokens, oldest first.
    pub async fn tokens(&self, person: Id) -> Result<Vec<Node<TokenDoc>>> {
        self.store.read(move |tx| tx.children::<Token>(person, Page::ALL)).await
    }

    /// Ends a token, a session or a link at once; also in a backup restored later. Nothing happens when it is gone already.
    pub async fn revoke_token(&self, token: Id) -> Result<()> {
        let removed = self.store.write(move |tx| tx.remove(token)).await?;
        self.store.finish(&removed).await;
        Ok(())
    }
}

/// The token of a purpose that has this secret, if it is good now.
fn by_secret(tx: &mut Tx<'_>, hash: &str, purpose: TokenPurpose) -> Result<Node<TokenDoc>> {
    let denied = || Error::unauthenticated("you are not signed in");
    let node = tx.by_secret::<Token>(hash)?.ok_or_else(denied)?;
    let expired = node.expires_at.is_some_and(|end| end <= tx.now());
    let frozen = !matches!(tx.holder(node.holder)?, Some((_, HolderState::Active | HolderState::Restricted)));
    if expired || frozen || node.doc.purpose != purpose { Err(denied()) } else { Ok(node) }
}

/// What is kept of a random secret.
pub(crate) fn hash(secret: &str) -> String {
    hex::encode(crypto::sha256(secret.as_bytes()))
}
