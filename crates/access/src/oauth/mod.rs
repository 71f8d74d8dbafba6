//! An OAuth 2.0 authorization server for the programs of this deployment: client credentials and authorization code (RFC 6749) with PKCE
//! (RFC 7636, S256 only), device codes (RFC 8628), refresh tokens that are valid once (RFC 9700), revocation (RFC 7009).
//!
//! Access tokens are bearer tokens like any other here; their `jti` is the grant, so that a revoked grant takes all of them with it.
//! Errors carry the protocol's own code in [`habeas_core::Error::code`].

mod clients;
mod codes;
mod device;
mod tokens;

use habeas_core::kinds::OAuthClient;
use habeas_core::{Error, Id, Result};
use habeas_store::Tx;

pub use clients::{ClientCredentials, NewClient, Registered};
pub use codes::{AuthorizationRequest, RequestedAuthorization};
pub use device::{DeviceAuthorization, PendingDevice};
pub use tokens::{GrantRequest, Tokens};

/// The one application that every deployment knows: the command line, which can keep no secret.
pub const COMMAND_LINE: &str = "habeas-cli";
/// The one scope: everything that the person may do.
pub const SCOPE: &str = "account";

fn invalid_grant(what: &str) -> Error {
    Error::invalid(what).code("invalid_grant")
}

fn invalid_request(what: &str) -> Error {
    Error::invalid(what).code("invalid_request")
}

fn invalid_client() -> Error {
    Error::unauthenticated("the application is not registered here, or its secret is wrong")
        .code("invalid_client")
}

/// An application that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Client {
    /// [`COMMAND_LINE`].
    CommandLine,
    /// A registered one.
    Registered(Id),
}

impl Client {
    fn parse(text: &str) -> Option<Client> {
        if text == COMMAND_LINE {
            Some(Client::CommandLine)
        } else {
            text.parse().ok().map(Client::Registered)
        }
    }

    fn name(&self) -> String {
        match self {
            Client::CommandLine => COMMAND_LINE.to_owned(),
            Client::Registered(id) => id.to_string(),
        }
    }
}

/// Whether the application of a grant still exists.
pub(crate) fn client_exists(tx: &mut Tx<'_>, client: &str) -> Result<bool> {
    Ok(match Client::parse(client) {
        Some(Client::CommandLine) => true,
        Some(Client::Registered(id)) => tx.get::<OAuthClient>(id)?.is_some(),
        None => false,
    })
}
