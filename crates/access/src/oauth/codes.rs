//! Authorization codes: asked for in a browser, consented to by a person, exchanged once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::kinds::{AuthorizationCode, AuthorizationCodeDoc, OAuthClient};
use habeas_core::{Id, Result, Timestamp, crypto};
use habeas_store::New;

use super::clients::is_registered;
use super::{Client, invalid_client, invalid_grant, invalid_request};
use crate::Access;
use crate::tokens::hash;

/// How long a code can be exchanged, in microseconds.
const LIFETIME: i64 = 60_000_000;

/// What an application asks for, as it stands in the browser's address.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationRequest {
    /// `code`.
    pub response_type: String,
    /// The application.
    pub client_id: String,
    /// Where the code is to go.
    pub redirect_uri: String,
    /// The S256 challenge: SHA-256 of the verifier, in base64url.
    pub code_challenge: String,
    /// `S256`.
    pub code_challenge_method: String,
}

/// A request that was found good: the person may be asked.
#[derive(Clone, Debug)]
pub struct RequestedAuthorization {
    client: Client,
    /// The name that the application goes by.
    pub client_name: String,
    /// Where the code, or the refusal, is to go: registered for the application.
    pub redirect_uri: String,
    code_challenge: String,
    /// What is wrong with the rest of the request, to be told to the application.
    pub fault: Option<habeas_core::Error>,
}

impl Access {
    /// Looks at what an application asks for. An error is for the person only: nothing may be sent to an address that is not registered.
    pub async fn check_authorization(
        &self,
        request: &AuthorizationRequest,
    ) -> Result<RequestedAuthorization> {
        // The command line has no address of its own: it uses device codes.
        let Some(Client::Registered(id)) = Client::parse(&request.client_id) else {
            return Err(invalid_client());
        };
        let node = self.store.read(move |tx| tx.get::<OAuthClient>(id)).await?.ok_or_else(invalid_client)?;
        if !node.doc.redirect_uris.iter().any(|registered| is_registered(registered, &request.redirect_uri)) {
            return Err(invalid_request("the address that the application names is not registered for it"));
        }
        let is_digest = URL_SAFE_NO_PAD.decode(&request.code_challenge).is_ok_and(|bytes| bytes.len() == 32);
        let fault = if request.response_type != "code" {
            Some(invalid_request("response_type is `code`").code("unsupported_response_type"))
        } else if request.code_challenge_method != "S256" || !is_digest {
            Some(invalid_request("a code_challenge with the method S256 is needed"))
        } else {
            None
        };
        Ok(RequestedAuthorization {
            client: Client::Registered(id),
            client_name: node.doc.name,
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.code_challenge.clone(),
            fault,
        })
    }

    /// Makes the code with which the person lets the application in.
    pub async fn issue_code(
        &self,
        person: Id,
        signed_in_at: Timestamp,
        request: &RequestedAuthorization,
    ) -> Result<String> {
        let code = URL_SAFE_NO_PAD.encode(self.ambient().bytes::<32>());
        let id = self.ambient().new_id();
        let expires_at = Some(Timestamp(self.ambient().now().0 + LIFETIME));
        let doc = AuthorizationCodeDoc {
            client: request.client.name(),
            secret_hash: hash(&code),
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.code_challenge.clone(),
            signed_in_at,
            grant: None,
        };
        self.store
            .write(move |tx| {
                tx.create::<AuthorizationCode>(New { id, parent: Some(person), expires_at, doc: doc.clone() })
            })
            .await?;
        Ok(code)
    }

    /// Turns a code into a grant; its id. A code that comes a second time takes the grant of the first with it.
    pub(super) async fn redeem_code(
        &self,
        client: &Client,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Id> {
        let denied =
            || invalid_grant("the code is not valid: it is used within a minute, once, by who asked for it");
        let secret_hash = hash(code);
        let challenge = URL_SAFE_NO_PAD.encode(crypto::sha256(verifier.as_bytes()));
        let (client, redirect_uri) = (client.name(), redirect_uri.to_owned());
        let grant = self.ambient().new_id();
        let result = self
            .store
            .write(move |tx| {
                let Some(mut node) = tx.by_secret::<AuthorizationCode>(&secret_hash)? else {
                    return Ok(Err(None));
                };
                if let Some(spent) = node.doc.grant {
                    return Ok(Err(Some(tx.remove(spent)?)));
                }
                let fits = node.doc.client == client
                    && node.doc.redirect_uri == redirect_uri
                    && crypto::constant_time_eq(node.doc.code_challenge.as_bytes(), challenge.as_bytes());
                let expired = node.expires_at.is_some_and(|end| end <= tx.now());
                if expired || !fits {
                    return Ok(Err(None));
                }
                super::tokens::create_grant(tx, node.holder, grant, &client, node.doc.signed_in_at)?;
                node.doc.grant = Some(grant);
                tx.update::<AuthorizationCode>(&node)?;
                Ok(Ok(grant))
            })
            .await?;
        match result {
            Ok(grant) => Ok(grant),
            Err(revoked) => {
                if let Some(revoked) = revoked {
                    self.store.finish(&revoked).await;
                }
                Err(denied())
            }
        }
    }
}
