//! Checkpoints: the state of the receipts' log, signed.
//!
//! A checkpoint is the text of <https://c2sp.org/tlog-checkpoint>: origin, size and root hash, a line each. It is signed as
//! <https://c2sp.org/signed-note> says: an empty line, then `— NAME BASE64`, where the base64 holds the first four bytes of
//! `SHA-256(NAME | 0x0A | 0x01 | public key)` and an Ed25519 signature of the text. The name of the key is the log's origin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::{self, SigningKey};
use crate::merkle::Hash;
use crate::{Error, Result};

/// Ed25519 in the registry of signed notes.
const ED25519: u8 = 1;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// The hash of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The signed text.
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        let mut signature = key_hash(&self.origin, &key.public()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        format!("{text}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Reads a checkpoint without asking who signed it.
    pub fn parse(note: &str) -> Result<Checkpoint> {
        Ok(split(note)?.0)
    }

    /// Reads a checkpoint that one of these keys has signed for its own log. Signatures of others, of witnesses for example, are passed
    /// over.
    pub fn verify(note: &str, trusted: &[[u8; 32]]) -> Result<Checkpoint> {
        let (checkpoint, text, signatures) = split(note)?;
        let is_signed = signatures.lines().any(|line| {
            let Some((name, encoded)) = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '))
            else {
                return false;
            };
            let Ok(signature) = STANDARD.decode(encoded) else { return false };
            name == checkpoint.origin
                && trusted.iter().any(|public| {
                    signature
                        .strip_prefix(&key_hash(name, public))
                        .is_some_and(|signature| crypto::verify(public, text.as_bytes(), signature))
                })
        });
        if is_signed {
            return Ok(checkpoint);
        }
        Err(Error::invalid("the checkpoint is not signed with a key that is trusted")
            .hint("give the server's public key, or the one that its current key was signed with"))
    }
}

/// The key in the form in which witnesses and other tools of signed notes take it: `NAME+HASH+BASE64`.
pub fn verifier_key(origin: &str, public: &[u8; 32]) -> String {
    let mut key = vec![ED25519];
    key.extend_from_slice(public);
    format!("{origin}+{}+{}", hex::encode(key_hash(origin, public)), STANDARD.encode(key))
}

fn key_hash(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', ED25519]);
    bytes.extend_from_slice(public);
    let [a, b, c, d, ..] = crypto::sha256(&bytes);
    [a, b, c, d]
}

/// What it says, the text that is signed, and the lines with signatures.
fn split(note: &str) -> Result<(Checkpoint, &str, &str)> {
    let damaged = || Error::invalid("the text is not a checkpoint");
    let end = note.rfind("\n\n").ok_or_else(damaged)?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    let mut lines = text.lines();
    let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or_else(damaged);
    let (origin, size, root) = (line()?.to_owned(), line()?, line()?);
    let number: u64 = size.parse().map_err(|_| damaged())?;
    // The one way to write a number.
    if number.to_string() != size || origin.contains([' ', '+']) {
        return Err(damaged());
    }
    let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or_else(damaged)?;
    Ok((Checkpoint { origin, size: number, root }, text, signatures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    #[test]
    fn a_checkpoint_verifies_and_any_changed_bit_is_caught() {
        let key = SigningKey::from_seed(&SecretKey::from_bytes([5; 32]));
        let checkpoint = Checkpoint { origin: "habeas-log/1".into(), size: 7, root: [3; 32] };
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::verify(&note, &[key.public()]).unwrap(), checkpoint);
        assert!(Checkpoint::verify(&note, &[]).is_err());
        for index in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone().into_bytes();
                changed[index] ^= 1 << bit;
                let caught = String::from_utf8(changed)
                    .is_ok_and(|note| Checkpoint::verify(&note, &[key.public()]).is_err());
                let is_text = std::str::from_utf8(&note.as_bytes()[index..=index]).is_ok();
                assert!(
                    caught || !is_text || index == note.len() - 1 || bit == 7,
                    "bit {bit} of byte {index}"
                );
            }
        }
        let witnessed = format!("{note}\u{2014} somebody.else AAAAAAAA\n");
        assert_eq!(Checkpoint::verify(&witnessed, &[key.public()]).unwrap(), checkpoint);
    }

    #[test]
    fn the_key_of_the_specification() {
        // The example key of the signed-note format: the hash in it is that of name and key.
        let example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let encoded = example.rsplit('+').next().unwrap();
        let key = STANDARD.decode(encoded).unwrap();
        assert_eq!(verifier_key("PeterNeumann", key[1..].try_into().unwrap()), example);
    }
}
