//! Signing in by password.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use habeas_core::kinds::{Credential, CredentialDoc};
use habeas_core::{Error, Id, Result};
use habeas_store::{New, Page};
use zeroize::Zeroizing;

use crate::checks::Begun;
use crate::{Access, normalise_email};

/// The shortest password, in characters.
const SHORTEST: usize = 10;
/// The longest, in bytes: hashing takes its whole length.
const LONGEST: usize = 1024;

impl Access {
    /// Sets a person's password in place of any they had.
    pub async fn set_password(&self, person: Id, password: Zeroizing<String>) -> Result<()> {
        if password.chars().count() < SHORTEST || password.len() > LONGEST {
            return Err(Error::invalid(format!(
                "a password has at least {SHORTEST} characters and at most {LONGEST} bytes"
            )));
        }
        let salt: [u8; 16] = self.ambient().bytes();
        let hash = hashing(move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|hash: PasswordHash| hash.to_string())
                .map_err(|_| Error::internal("a password could not be hashed"))
        })
        .await?;
        let id = self.ambient().new_id();
        let removed = self
            .store
            .write(move |tx| {
                let mut tasks = Vec::new();
                for old in tx.children::<Credential>(person, Page::ALL)? {
                    tasks.push(tx.remove(old.id)?);
                }
                let doc = CredentialDoc { password_hash: hash.clone(), set_at: tx.now() };
                tx.create::<Credential>(New::under(person, id, doc))?;
                Ok(tasks)
            })
            .await?;
        for removed in &removed {
            self.store.finish(removed).await;
        }
        Ok(())
    }

    /// The person who signs in with this address and password. The answer to a wrong password, an unknown address and a
    /// person without a password is the same, and takes as long.
    pub async fn sign_in(&self, email: &str, password: Zeroizing<String>) -> Result<Id> {
        let denied = || Error::unauthenticated("that address and password do not belong together");
        let Ok(email) = normalise_email(email) else { return Err(denied()) };
        let alias = self.store.alias("email", &email)?;
        // Before anything is looked up, so that the time until a refusal says nothing of who has an account.
        self.passwords.failures(&alias, self.ambient().now())?;
        let person = self.store.find_alias(&alias);
        let stored = match person {
            None => None,
            Some(person) => {
                let credentials =
                    self.store.read(move |tx| tx.children::<Credential>(person, Page::ALL)).await?;
                credentials.into_iter().next().map(|credential| credential.doc.password_hash)
            }
        };
        let mac = self.checks.mac(&alias, stored.as_deref().unwrap_or_default(), &password);
        let is_right = match self.checks.begin(&self.passwords, alias, mac, self.ambient().now())? {
            Begun::Right => true,
            Begun::Wait(check) => {
                let checked = check.get_or_try_init(|| async {
                    let is_right = verified(stored, password).await?;
                    if is_right {
                        self.checks.succeeded(&self.passwords, alias, mac, self.ambient().now());
                    }
                    Ok::<_, Error>(is_right)
                });
                let is_right = checked.await?;
                *is_right
            }
        };
        match person {
            Some(person) if is_right => Ok(person),
            _ => Err(denied()),
        }
    }

    /// Whether a person has a password.
    pub async fn has_password(&self, person: Id) -> Result<bool> {
        self.store.read(move |tx| Ok(tx.count_children(person, habeas_core::Kind::Credential)? > 0)).await
    }
}

/// Whether this password is the one whose hash is stored; takes as long where none is.
async fn verified(stored: Option<String>, password: Zeroizing<String>) -> Result<bool> {
    hashing(move || {
        if password.len() > LONGEST {
            return Ok(false);
        }
        match &stored {
            Some(stored) => {
                let hash = PasswordHash::new(stored)
                    .map_err(|_| Error::damaged("a stored password hash cannot be read"))?;
                Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            }
            None => {
                // Spend the same time for nothing.
                let _: Result<PasswordHash, _> =
                    Argon2::default().hash_password_with_salt(password.as_bytes(), &[0; 16]);
                Ok(false)
            }
        }
    })
    .await
}

/// Hashing takes tens of milliseconds: not on an async thread.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("hashing a password failed")))
}
