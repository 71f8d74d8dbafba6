//! Who is asking, and what they may do.
//!
//! Persons, organisations, passwords, one-time links, bearer tokens and API keys; an OAuth 2.0 server for programs, and external issuers
//! of identities; roles over the tree; throttling of guesses; and telemetry, the record of who called what.
//!
//! **Invariant:** what one may not read does not exist: every refusal of a resource the caller may not see is the same
//! [`habeas_core::ErrorKind::NotFound`] as for one that is not there.

mod actor;
mod authorise;
mod checks;
pub mod depicted;
mod jwt;
mod keys;
pub mod oauth;
pub mod oidc;
mod organisations;
mod passwords;
mod persons;
mod telemetry;
mod throttle;
mod tokens;

use std::sync::Arc;

use habeas_core::crypto::SecretKey;
use habeas_core::{Ambient, Result};
use habeas_store::Store;

use checks::Checks;
use oidc::Issuers;

pub use actor::{Actor, KeyUse};
pub use authorise::{Permission, authorise, staff_role};
pub use keys::{KeyName, new_key};
pub use organisations::renew_keys_of_services;
pub use persons::{NewPerson, PersonCreated, is_able, is_anybody_left, normalise_email};
pub use telemetry::{Telemetry, record_staff};
pub use throttle::Throttle;
pub use tokens::{Issued, SESSION_HOURS, TokenLifetime};

/// The services of this room, over one store. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    store: Store,
    token_key: Arc<SecretKey>,
    passwords: Arc<Throttle>,
    checks: Arc<Checks>,
    telemetry: Telemetry,
    issuers: Arc<Issuers>,
    /// How its tokens call the server.
    name: Arc<str>,
}

impl Access {
    /// Opens them, with the issuers whose word on who somebody is counts here, and the server's public address, if it has one.
    pub fn new(store: Store, issuers: Issuers, public_address: Option<&str>) -> Result<Access> {
        jwt::install();
        let token_key = Arc::new(store.installation_key(b"token-signing")?);
        let telemetry = Telemetry::new(store.clone());
        let checks = Arc::new(Checks::new(&*store.ambient().random));
        Ok(Access {
            store,
            token_key,
            passwords: Arc::new(Throttle::default()),
            checks,
            telemetry,
            issuers: Arc::new(issuers),
            name: public_address.unwrap_or("habeas").into(),
        })
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The record of who called what.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn ambient(&self) -> &Ambient {
        self.store.ambient()
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}
