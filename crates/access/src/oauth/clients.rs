//! Applications: registered, listed, recognised.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::kinds::{OAuthClient, OAuthClientDoc};
use habeas_core::{Error, Id, Node, Result, crypto};
use habeas_store::{New, Page};

use super::{Client, invalid_client};
use crate::Access;
use crate::tokens::hash;

/// The longest name, in bytes.
const NAME_LENGTH: usize = 100;
/// Addresses that an application may have.
const ADDRESSES: usize = 10;
/// The longest address, in bytes.
const ADDRESS_LENGTH: usize = 2_000;

/// An application to be registered.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// The name that persons are shown.
    pub name: String,
    /// Where codes may be sent: `https` anywhere, `http` on this machine only (a loopback address with any port, RFC 8252).
    pub redirect_uris: Vec<String>,
    /// Whether it can keep a secret.
    pub confidential: bool,
}

/// An application that was registered; the secret is shown this once.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The client id.
    pub id: Id,
    /// The client secret of a confidential one.
    pub secret: Option<String>,
}

/// How an application says who it is.
#[derive(Clone, Debug, Default)]
pub struct ClientCredentials {
    /// The client id.
    pub id: String,
    /// The client secret, if it has one.
    pub secret: Option<String>,
}

impl Access {
    /// Registers an application of `owner`.
    pub async fn register_client(&self, owner: Id, new: NewClient) -> Result<Registered> {
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.len() > NAME_LENGTH {
            return Err(Error::invalid(format!("an application has a name of 1 to {NAME_LENGTH} bytes")));
        }
        if new.redirect_uris.len() > ADDRESSES {
            return Err(Error::invalid(format!("an application has at most {ADDRESSES} addresses")));
        }
        for address in &new.redirect_uris {
            check_address(address)?;
        }
        let secret = new.confidential.then(|| URL_SAFE_NO_PAD.encode(self.ambient().bytes::<32>()));
        let id = self.ambient().new_id();
        let doc = OAuthClientDoc {
            name,
            redirect_uris: new.redirect_uris,
            secret_hash: secret.as_deref().map(hash),
        };
        self.store.write(move |tx| tx.create::<OAuthClient>(New::under(owner, id, doc.clone()))).await?;
        Ok(Registered { id, secret })
    }

    /// A person's applications, oldest first.
    pub async fn clients(&self, owner: Id) -> Result<Vec<Node<OAuthClientDoc>>> {
        self.store.read(move |tx| tx.children::<OAuthClient>(owner, Page::ALL)).await
    }

    /// Removes an application of `owner`; all its tokens are dead at once.
    pub async fn remove_client(&self, owner: Id, client: Id) -> Result<()> {
        let removed = self
            .store
            .write(move |tx| match tx.get::<OAuthClient>(client)? {
                Some(node) if node.holder == owner => tx.remove(client),
                _ => Err(Error::not_found("there is no such application")),
            })
            .await?;
        self.store.finish(&removed).await;
        Ok(())
    }

    /// The application that these credentials belong to.
    pub(super) async fn recognise_client(&self, credentials: &ClientCredentials) -> Result<Client> {
        let client = Client::parse(&credentials.id).ok_or_else(invalid_client)?;
        let Client::Registered(id) = client else {
            return if credentials.secret.is_none() { Ok(client) } else { Err(invalid_client()) };
        };
        let node = self.store.read(move |tx| tx.get::<OAuthClient>(id)).await?.ok_or_else(invalid_client)?;
        let known = match (&node.doc.secret_hash, &credentials.secret) {
            (None, None) => true,
            (Some(expected), Some(secret)) => {
                crypto::constant_time_eq(expected.as_bytes(), hash(secret).as_bytes())
            }
            _ => false,
        };
        if known { Ok(client) } else { Err(invalid_client()) }
    }
}

/// Refuses addresses to which a code must not go: without TLS anywhere but on this machine, or with a fragment.
fn check_address(address: &str) -> Result<()> {
    let refused = |what: &str| Error::invalid(format!("an application's address {what}"));
    if address.len() > ADDRESS_LENGTH {
        return Err(refused("is too long"));
    }
    if address.contains('#')
        || address.chars().any(|character| character.is_whitespace() || character.is_control())
    {
        return Err(refused("has neither fragment nor spaces"));
    }
    let host =
        address.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if host || loopback(address).is_some() {
        Ok(())
    } else {
        Err(refused("begins with https://, or with http:// on 127.0.0.1, [::1] or localhost"))
    }
}

/// The host and the path of an address on the machine of the browser.
fn loopback(address: &str) -> Option<(&str, &str)> {
    let rest = address.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["127.0.0.1", "[::1]", "localhost"].contains(&host).then_some((host, path))
}

/// Whether a code may be sent to `asked` when `registered` was registered: the same text, but for the port of a loopback address, which
/// the application gets when it runs (RFC 8252, 7.3).
pub(super) fn is_registered(registered: &str, asked: &str) -> bool {
    registered == asked
        || matches!((loopback(registered), loopback(asked)), (Some(known), Some(asked)) if known == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_to_registered_addresses_only() {
        for good in
            ["https://a.example.org/cb?x=1", "http://127.0.0.1/cb", "http://[::1]:80/cb", "http://localhost"]
        {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example.org/cb",
            "https://",
            "https:///x",
            "javascript:alert(1)",
            "https://a.example.org/#f",
            "http://127.0.0.1.example.org/",
            "http://127.0.0.1@example.org/",
            "https://a b/",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(is_registered("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb"));
        assert!(!is_registered("http://127.0.0.1/cb", "http://127.0.0.1:5000/other"));
        assert!(!is_registered("http://127.0.0.1/cb", "http://127.0.0.1:5@evil.example/cb"));
        assert!(!is_registered("https://a.example.org/cb", "https://a.example.org/cb/"));
    }
}
