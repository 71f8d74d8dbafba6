//! Letting this program in by a device code (RFC 8628), refreshing what it got, giving it back.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Client, Error, Result, encode, unreachable};

/// The client id of the command line.
const CLIENT_ID: &str = "habeas-cli";

/// What the person has to do.
#[derive(Clone, Debug, Deserialize)]
pub struct DeviceLogin {
    device_code: String,
    /// What to type.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// Seconds between two questions.
    pub interval: u64,
}

/// Tokens as they were issued.
#[derive(Clone, Debug, Deserialize)]
pub struct IssuedTokens {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// By which the next ones are got, once.
    pub refresh_token: String,
    /// How long the access token lives, in seconds.
    pub expires_in: i64,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Client {
    async fn form<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<std::result::Result<T, Error>> {
        let body = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let request = self
            .http
            .request(Method::POST, format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            let bytes = response.bytes().await.map_err(unreachable)?;
            // A revocation answers with nothing.
            let bytes = if bytes.is_empty() { b"null" } else { &bytes[..] };
            return Ok(Ok(serde_json::from_slice(bytes).map_err(|_| Error::Unreadable)?));
        }
        let refusal: Refusal = response.json().await.unwrap_or_default();
        Ok(Err(Error::Refused {
            status: status.as_u16(),
            title: refusal.error,
            detail: Some(refusal.error_description).filter(|text| !text.is_empty()),
        }))
    }

    /// Asks to be let in.
    pub async fn begin_login(&self) -> Result<DeviceLogin> {
        self.form("/oauth2/device_authorization", &[("client_id", CLIENT_ID)]).await?
    }

    /// The tokens, once the person has decided; none while they have not.
    pub async fn poll_login(&self, login: &DeviceLogin) -> Result<Option<IssuedTokens>> {
        let answer = self
            .form(
                "/oauth2/token",
                &[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                    ("client_id", CLIENT_ID),
                    ("device_code", &login.device_code),
                ],
            )
            .await?;
        match answer {
            Ok(tokens) => Ok(Some(tokens)),
            Err(Error::Refused { title, .. }) if title == "authorization_pending" || title == "slow_down" => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The tokens that follow; `refresh_token` is used up.
    pub async fn refresh_login(&self, refresh_token: &str) -> Result<IssuedTokens> {
        let pairs =
            [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", refresh_token)];
        self.form("/oauth2/token", &pairs).await?
    }

    /// Gives the tokens back: they are worth nothing afterwards.
    pub async fn revoke_login(&self, refresh_token: &str) -> Result<()> {
        self.form("/oauth2/revoke", &[("client_id", CLIENT_ID), ("token", refresh_token)]).await?
    }
}
