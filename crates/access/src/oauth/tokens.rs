//! The token endpoint: grants in exchange for codes and secrets, refreshed, revoked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::crypto;
use habeas_core::kinds::{GRANT_DAYS, OAuthClient, OAuthGrant, OAuthGrantDoc};
use habeas_core::{Error, Id, Node, Result, Timestamp, time};
use habeas_store::{New, Removed, Tx};

use super::{Client, ClientCredentials, invalid_client, invalid_grant};
use crate::Access;
use crate::jwt::{self, Claims};

/// How long an access token lives, in seconds.
const LIFETIME: i64 = 3_600;
/// Bytes of a refresh token: the grant's id, its generation, a MAC of both.
const REFRESH_LENGTH: usize = 16 + 4 + 32;

/// What a program presents at the token endpoint.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// Nothing but itself: it acts in its owner's name.
    ClientCredentials,
    /// A code that a person consented to.
    AuthorizationCode {
        /// The code.
        code: String,
        /// The address it was sent to.
        redirect_uri: String,
        /// What the challenge was made of.
        code_verifier: String,
    },
    /// A device code whose short code a person typed.
    DeviceCode(String),
    /// A refresh token.
    RefreshToken(String),
}

/// Tokens that were issued; shown this once.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// How long that lives, in seconds.
    pub expires_in: i64,
    /// By which the next ones are got, once; none for client credentials.
    pub refresh_token: Option<String>,
}

pub(super) fn create_grant(
    tx: &mut Tx<'_>,
    person: Id,
    id: Id,
    client: &str,
    signed_in_at: Timestamp,
) -> Result<()> {
    let doc = OAuthGrantDoc { client: client.to_owned(), generation: 0, signed_in_at };
    let expires_at = Some(end_of_grant(tx.now()));
    tx.create::<OAuthGrant>(New { id, parent: Some(person), expires_at, doc }).map(|_| ())
}

fn end_of_grant(now: Timestamp) -> Timestamp {
    Timestamp(now.0 + i64::from(GRANT_DAYS) * time::DAY)
}

impl Access {
    /// Answers the token endpoint.
    pub async fn exchange(&self, credentials: &ClientCredentials, request: GrantRequest) -> Result<Tokens> {
        let client = self.recognise_client(credentials).await?;
        let grant = match request {
            GrantRequest::ClientCredentials => {
                return match (client, &credentials.secret) {
                    (Client::Registered(id), Some(_)) => self.act_as_owner(id).await,
                    _ => Err(Error::invalid("only an application with a secret may ask for this")
                        .code("unauthorized_client")),
                };
            }
            GrantRequest::AuthorizationCode { code, redirect_uri, code_verifier } => {
                self.redeem_code(&client, &code, &redirect_uri, &code_verifier).await?
            }
            GrantRequest::DeviceCode(code) => self.redeem_device(&client, &code).await?,
            GrantRequest::RefreshToken(token) => return self.refresh(&client, &token).await,
        };
        self.next_tokens(&client, grant, 0).await
    }

    /// A token with which an application acts in the name of the person who registered it.
    async fn act_as_owner(&self, client: Id) -> Result<Tokens> {
        let node =
            self.store.read(move |tx| tx.get::<OAuthClient>(client)).await?.ok_or_else(invalid_client)?;
        // Nobody has signed in: what needs a fresh sign-in is not for it.
        self.access_token(node.holder, client, Timestamp(0), None)
    }

    async fn refresh(&self, client: &Client, token: &str) -> Result<Tokens> {
        let (grant, generation) = self.read_refresh(token).ok_or_else(refused)?;
        self.next_tokens(client, grant, generation).await
    }

    /// Issues the tokens that follow `generation`. A refresh token that was used before is in two hands: the grant is revoked.
    async fn next_tokens(&self, client: &Client, grant: Id, generation: u32) -> Result<Tokens> {
        let client = client.name();
        let result = self
            .store
            .write(move |tx| {
                let Some(mut node) = tx.get::<OAuthGrant>(grant)? else { return Ok(Err(None)) };
                let now = tx.now();
                if node.doc.client != client || node.expires_at.is_some_and(|end| end <= now) {
                    return Ok(Err(None));
                }
                if node.doc.generation != generation {
                    return Ok(Err(Some(tx.remove(grant)?)));
                }
                node.doc.generation += 1;
                node.expires_at = Some(end_of_grant(now));
                tx.update::<OAuthGrant>(&node).map(Ok)
            })
            .await?;
        match result {
            Ok(Node { holder, doc, .. }) => {
                let refresh = self.refresh_token(grant, doc.generation)?;
                self.access_token(holder, grant, doc.signed_in_at, Some(refresh))
            }
            Err(revoked) => {
                self.finish_revocation(revoked).await;
                Err(refused())
            }
        }
    }

    async fn finish_revocation(&self, revoked: Option<Removed>) {
        if let Some(revoked) = revoked {
            tracing::info!("a refresh token was used twice: its grant is revoked");
            self.store.finish(&revoked).await;
        }
    }

    fn access_token(
        &self,
        person: Id,
        source: Id,
        signed_in_at: Timestamp,
        refresh_token: Option<String>,
    ) -> Result<Tokens> {
        let now = self.ambient().now().seconds();
        let claims = Claims {
            oid: person,
            tid: Id::NIL,
            jti: source,
            iat: now,
            exp: now + LIFETIME,
            auth_time: Some(signed_in_at.seconds()),
            iss: Some(self.name.to_string()),
            aud: Some(self.name.to_string()),
            unique_name: Some(person),
        };
        let access_token = jwt::sign(&claims, &self.token_key)?;
        Ok(Tokens { access_token, expires_in: LIFETIME, refresh_token })
    }

    fn refresh_mac(&self, payload: &[u8]) -> [u8; 32] {
        crypto::mac(&self.token_key.derive(b"refresh"), payload)
    }

    fn refresh_token(&self, grant: Id, generation: u32) -> Result<String> {
        let mut bytes = Vec::with_capacity(REFRESH_LENGTH);
        bytes.extend_from_slice(grant.as_bytes());
        bytes.extend_from_slice(&generation.to_be_bytes());
        let mac = self.refresh_mac(&bytes);
        bytes.extend_from_slice(&mac);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Grant and generation of a refresh token that was made here.
    fn read_refresh(&self, token: &str) -> Option<(Id, u32)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == REFRESH_LENGTH)?;
        let (payload, mac) = bytes.split_at(REFRESH_LENGTH - 32);
        if !crypto::constant_time_eq(mac, &self.refresh_mac(payload)) {
            return None;
        }
        let (id, generation) = payload.split_at(16);
        Some((Id::from_slice(id).ok()?, u32::from_be_bytes(generation.try_into().ok()?)))
    }

    /// Revokes the grant of an access or refresh token (RFC 7009); a token that is not of this application, or of nobody, is no error. One that
    /// the application got with its own secret has no grant, and is refused.
    pub async fn revoke(&self, credentials: &ClientCredentials, token: &str) -> Result<()> {
        let client = self.recognise_client(credentials).await?;
        let grant = match self.read_refresh(token) {
            Some((grant, _)) => grant,
            None => match jwt::read(token, &self.token_key, self.ambient().now()) {
                Ok(claims) => claims.jti,
                Err(_) => return Ok(()),
            },
        };
        if client == Client::Registered(grant) {
            return Err(Error::invalid("a token of client credentials is not revoked by itself")
                .hint("it ends within an hour, or with the application")
                .code("unsupported_token_type"));
        }
        let client = client.name();
        let removed = self
            .store
            .write(move |tx| match tx.get::<OAuthGrant>(grant)? {
                Some(node) if node.doc.client == client => tx.remove(grant),
                _ => Ok(Removed::default()),
            })
            .await?;
        self.store.finish(&removed).await;
        Ok(())
    }
}

fn refused() -> Error {
    invalid_grant("the refresh token is not valid: it was revoked, has expired, or was used before")
}
