//! Files that only the holder of a key, or whoever knows a passphrase, can read: the age format, version 1, with X25519 and scrypt recipients
//! (<https://age-encryption.org/v1>, <https://c2sp.org/age>). Any age tool reads what is written here, and the other way round.
//!
//! A random file key is wrapped for the recipient in the header; the payload is sealed under it with ChaCha20-Poly1305 in chunks of 64 KiB,
//! each with its number and whether it is the last as the nonce (STREAM), so that it can be written, read and sought in at constant memory
//! and cannot be cut off.

mod bech32;
mod header;
mod opened;
mod sealed;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use zeroize::Zeroizing;

use crate::crypto::SecretKey;
use crate::{Error, Result};

pub use header::{Lock, lock};
pub use opened::Opened;
pub use sealed::{Prepared, Sealed};

/// Plain bytes in a chunk.
const CHUNK: usize = 64 * 1024;
/// Bytes of the tag after each chunk.
const TAG: usize = 16;

/// How hard trying a passphrase may be made; 2^20 takes 1 GiB. The tools that write age files take 2^18 or thereabouts.
pub const WORK: RangeInclusive<u8> = 10..=20;
/// What is usual here: 128 MiB, and a third of a second.
pub const USUAL_WORK: u8 = 17;

/// Letters and signs that a new passphrase has at least.
const SHORTEST: usize = 8;
/// Bytes that a passphrase has at most.
const LONGEST: usize = 1024;

/// A passphrase; wiped from memory when dropped, never shown by `Debug`.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// One that something is to be sealed with: not shorter than eight letters.
    pub fn new(text: Zeroizing<String>) -> Result<Passphrase> {
        let passphrase = Passphrase(text);
        if passphrase.0.chars().count() < SHORTEST {
            return Err(Error::invalid(format!("the passphrase has fewer than {SHORTEST} letters"))
                .hint("whoever has the file can try passphrases without end: take several words"));
        }
        if passphrase.0.len() > LONGEST {
            return Err(Error::invalid(format!("the passphrase is longer than {LONGEST} bytes")));
        }
        Ok(passphrase)
    }

    /// One that something was sealed with, whatever its length.
    pub fn of_sealed(text: Zeroizing<String>) -> Passphrase {
        Passphrase(text)
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Who can open what is sealed.
#[derive(Clone, Debug)]
pub enum Recipient {
    /// The holder of the private half of this key, `age1…`: Bech32 (BIP 173) of 32 bytes.
    Key([u8; 32]),
    /// Whoever knows a passphrase.
    Passphrase {
        /// The passphrase.
        passphrase: Passphrase,
        /// How hard it is to try one: `2^work` KiB of memory, and time in proportion. One of [`WORK`].
        work: u8,
    },
}

impl std::str::FromStr for Recipient {
    type Err = Error;

    /// Reads a public key.
    fn from_str(text: &str) -> Result<Recipient> {
        bech32::decode("age", text.trim()).map(Recipient::Key).ok_or_else(|| {
            Error::invalid("the recipient is not an age public key")
                .hint("it is the line `age1…` that `age-keygen` prints; keys for SSH are not supported")
        })
    }
}

/// What opens a file.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The private half of a key.
    Key(SecretKey),
    /// A passphrase.
    Passphrase(Passphrase),
}

impl std::str::FromStr for Identity {
    type Err = Error;

    /// Reads a private key as `age-keygen` writes it to a file: `AGE-SECRET-KEY-1…` on a line, among comments.
    fn from_str(text: &str) -> Result<Identity> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = match (lines.next(), lines.next()) {
            (Some(line), None) if line.chars().all(|letter| !letter.is_ascii_lowercase()) => {
                bech32::decode("age-secret-key-", &line.to_ascii_lowercase())
            }
            _ => None,
        };
        key.map(|key| Identity::Key(SecretKey::from_bytes(key))).ok_or_else(|| {
            Error::invalid("that is not one age private key")
                .hint("it is the line `AGE-SECRET-KEY-1…` that `age-keygen` prints, or a file that has it")
        })
    }
}
