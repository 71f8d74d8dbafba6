//! API keys: two pairs an account, found by MAC, replaced one at a time.

use habeas_core::kinds::{Account, AccountDoc, KeyPair};
use habeas_core::{Ambient, Error, Id, Node, Result, crypto};

use crate::{Access, Actor, KeyUse};

/// One of the four keys of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// Which pair.
    pub pair: KeyUse,
    /// The primary one of the pair.
    pub primary: bool,
}

/// A fresh key in the form of Azure's: 32 lower-case hexadecimal digits.
pub fn new_key(ambient: &Ambient) -> String {
    Id::from_bytes(ambient.bytes()).to_hex()
}

pub(crate) fn new_pair(ambient: &Ambient) -> KeyPair {
    KeyPair { primary: new_key(ambient), secondary: new_key(ambient) }
}

/// Keys that an account has not had yet.
pub(crate) fn fresh(ambient: &Ambient) -> AccountDoc {
    AccountDoc { training_keys: new_pair(ambient), prediction_keys: new_pair(ambient) }
}

impl Access {
    /// Who a key belongs to.
    pub async fn recognise_key(&self, key: &str) -> Result<Actor> {
        let key = key.to_owned();
        let denied = || Error::unauthenticated("the key is not valid");
        if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(denied());
        }
        self.store
            .read(move |tx| {
                let key = key.to_lowercase();
                let node = tx.by_secret::<Account>(&key)?.ok_or_else(denied)?;
                let is = |other: &String| crypto::constant_time_eq(key.as_bytes(), other.as_bytes());
                let training = &node.doc.training_keys;
                let key = if is(&training.primary) || is(&training.secondary) {
                    KeyUse::Training
                } else {
                    KeyUse::Prediction
                };
                Ok(Actor::Key { account: node.id, holder: node.holder, key })
            })
            .await
    }

    /// The accounts of a holder, oldest first.
    pub async fn accounts(&self, holder: Id) -> Result<Vec<Node<AccountDoc>>> {
        self.store.read(move |tx| tx.children::<Account>(holder, habeas_store::Page::ALL)).await
    }

    /// Keys that an account has not had yet.
    pub fn fresh_keys(&self) -> AccountDoc {
        fresh(self.ambient())
    }

    /// Replaces one key of an account; the old one is dead at once.
    pub async fn rotate_key(&self, account: Id, name: KeyName) -> Result<Node<AccountDoc>> {
        let fresh = new_key(self.ambient());
        self.store
            .write(move |tx| {
                let mut node = tx
                    .get::<Account>(account)?
                    .ok_or_else(|| Error::not_found("there is no such account"))?;
                let pair = match name.pair {
                    KeyUse::Training => &mut node.doc.training_keys,
                    KeyUse::Prediction => &mut node.doc.prediction_keys,
                };
                if name.primary {
                    pair.primary.clone_from(&fresh);
                } else {
                    pair.secondary.clone_from(&fresh);
                }
                tx.update::<Account>(&node)
            })
            .await
    }
}
