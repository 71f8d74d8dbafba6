//! Receipts: canonical JSON, signed, in a log, verifiable without the server.
//!
//! A receipt is a JSON object with these members:
//! - `statement`: what is stated, as an object, for reading;
//! - `signature`: a JSON Web Signature (RFC 7515, compact form) with `alg` `EdDSA` (RFC 8037), whose payload is the statement
//!   in canonical form (RFC 8785, see [`canonical`](crate::canonical));
//! - `salt`: 32 hexadecimal digits, in receipts handed to the person only. `HMAC-SHA256(salt, object id)` is the statement's
//!   `subject`, so that nobody without the salt can tell whom a receipt is about;
//! - `log`: a [`Logged`], the proof that the receipt is in the log.
//!
//! The log is the tree of [`merkle`] over entries of 32 bytes, the SHA-256 of the text in `signature`: it holds no personal data, and
//! nobody learns from it what a receipt says. A key that takes the place of another one is announced in a receipt of type
//! `key-rotation/1`, signed by the old key and in the log itself: who trusts the first key can trust all later ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::canonical::{Unambiguous, canonical};
use crate::checkpoint::Checkpoint;
use crate::crypto::{self, SecretKey, SigningKey};
use crate::merkle::{self, Hash};
use crate::{Error, Id, Result};

/// The type of a receipt that announces a key.
pub const KEY_ROTATION: &str = "key-rotation/1";

/// The proof that a receipt is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// The signed state of a log in which it is: see [`Checkpoint`].
    pub checkpoint: String,
    /// Which entry it is, from 0.
    pub index: u64,
    /// The hashes beside the way from the entry to the root, in hexadecimal, from the leaf up.
    pub hashes: Vec<String>,
    /// The announcements of keys after the first one, oldest first: the `signature` of each.
    pub keys: Vec<String>,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What is stated.
    pub statement: Value,
    /// The id of the key that signed it.
    pub key_id: String,
    /// The log in which it was proved to be, if the receipt has a proof.
    pub logged: Option<Checkpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    statement: Unambiguous,
    signature: String,
    #[serde(rename = "salt")]
    _salt: Option<String>,
    log: Option<Logged>,
}

/// Signs a statement.
pub fn sign(statement: &Value, key: &SigningKey) -> Value {
    let header = json!({ "alg": "EdDSA", "kid": key_id(&key.public()), "typ": "habeas-receipt+jws" });
    let input = format!("{}.{}", encode(&header), encode(statement));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
    json!({ "statement": statement, "signature": format!("{input}.{signature}") })
}

/// The commitment to a person that stands in a statement.
pub fn commitment(salt: &[u8; 16], person: Id) -> String {
    let mut key = [0; 32];
    key[..16].copy_from_slice(salt);
    // HMAC pads a short key with zeros (RFC 2104), so this is the HMAC under the 16 bytes of the salt.
    hex::encode(crypto::mac(&SecretKey::from_bytes(key), person.to_string().as_bytes()))
}

/// The first 16 hexadecimal digits of the SHA-256 of a public key.
pub fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&crypto::sha256(public)[..8])
}

/// The entry of the log for a receipt, from its `signature`.
pub fn entry(signature: &str) -> Hash {
    crypto::sha256(signature.as_bytes())
}

/// The statement that announces `new` as the key after `old`.
pub fn announcement(old: &[u8; 32], new: &[u8; 32], at: crate::Timestamp) -> Value {
    json!({
        "type": KEY_ROTATION,
        "issuer": key_id(old),
        "publicKey": hex::encode(new),
        "completed": at.rfc3339(),
    })
}

/// The keys that are trusted when `pinned` are and these announcements hold: each is signed by one before it. An announcement by a key
/// that is not trusted adds nothing.
pub fn follow(pinned: &[[u8; 32]], announcements: &[impl AsRef<str>]) -> Result<Vec<[u8; 32]>> {
    let mut trusted = pinned.to_vec();
    for announcement in announcements {
        let jws = Jws::parse(announcement.as_ref())?;
        if trusted.iter().any(|key| jws.is_by(key)) {
            let statement = jws.statement()?;
            let key = statement["publicKey"].as_str().and_then(|key| hex::decode(key).ok()?.try_into().ok());
            let key = key.filter(|_| statement["type"] == KEY_ROTATION);
            trusted.push(key.ok_or_else(|| Error::invalid("the announcement of a key names none"))?);
        }
    }
    Ok(trusted)
}

/// Checks a receipt against the public keys of the server that is said to have issued it. One with a proof is accepted only if the
/// proof holds.
pub fn verify(receipt: &[u8], pinned: &[[u8; 32]]) -> Result<Verified> {
    let receipt: Receipt = serde_json::from_slice(receipt).map_err(|_| {
        Error::invalid("the file is not a receipt: a JSON object with statement and signature")
    })?;
    let announced = receipt.log.as_ref().map_or(&[][..], |log| log.keys.as_slice());
    let trusted = follow(pinned, announced)?;
    let jws = Jws::parse(&receipt.signature)?;
    let signer = trusted.iter().find(|key| jws.header["kid"] == key_id(key)).ok_or_else(|| {
        Error::invalid("the receipt was signed with another key than the one given").hint(
            "give the key it was signed with, or an earlier one: the server shows all at /api/privacy/v1/log/keys",
        )
    })?;
    if !jws.is_by(signer) {
        return Err(Error::invalid("the signature does not belong to this receipt"));
    }
    let statement = jws.statement()?;
    if statement != receipt.statement.0 {
        return Err(Error::invalid("the readable statement is not the one that was signed"));
    }
    let logged = receipt.log.map(|log| prove(&receipt.signature, &log, &trusted)).transpose()?;
    Ok(Verified { statement, key_id: key_id(signer), logged })
}

fn prove(signature: &str, log: &Logged, trusted: &[[u8; 32]]) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::verify(&log.checkpoint, trusted)?;
    let path = hashes(&log.hashes)?;
    let leaf = merkle::leaf(&entry(signature));
    if !merkle::is_included(&leaf, log.index, checkpoint.size, &path, &checkpoint.root) {
        return Err(Error::invalid("the receipt is not in the log of its checkpoint"));
    }
    Ok(checkpoint)
}

/// Reads hashes of the log in hexadecimal.
pub fn hashes(texts: &[String]) -> Result<Vec<Hash>> {
    let read = |text: &String| {
        let hash = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        // The one way to write a hash.
        hash.filter(|_| !text.contains(|digit: char| digit.is_ascii_uppercase()))
    };
    texts
        .iter()
        .map(|text| {
            read(text).ok_or_else(|| Error::invalid("a hash of a proof is not 64 hexadecimal digits"))
        })
        .collect()
}

/// A JSON Web Signature in its compact form.
struct Jws<'a> {
    header: Value,
    /// What is signed.
    input: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    fn parse(text: &'a str) -> Result<Jws<'a>> {
        let parts = || {
            let (input, signature) = text.rsplit_once('.')?;
            let (header, payload) = input.split_once('.')?;
            Some((header, payload, input, signature))
        };
        let (header, payload, input, signature) =
            parts().ok_or_else(|| Error::invalid("the signature is not a JWS"))?;
        let header: Value = decode(header)?;
        if header["alg"] != "EdDSA" {
            return Err(Error::invalid("the receipt is not signed with Ed25519"));
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| Error::invalid("the signature is not base64url"))?;
        Ok(Jws { header, input, payload, signature })
    }

    fn is_by(&self, public: &[u8; 32]) -> bool {
        self.header["kid"] == key_id(public) && crypto::verify(public, self.input.as_bytes(), &self.signature)
    }

    fn statement(&self) -> Result<Value> {
        decode(self.payload)
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(canonical(value))
}

fn decode(text: &str) -> Result<Value> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| Error::invalid("the signature holds no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> SigningKey {
        SigningKey::from_seed(&SecretKey::from_bytes([number; 32]))
    }

    /// A receipt by the second key in a log of four, and the first key.
    fn logged() -> (String, [u8; 32]) {
        let (old, new) = (key(5), key(6));
        let rotation = sign(&announcement(&old.public(), &new.public(), crate::Timestamp(0)), &old);
        let mut receipt = sign(&json!({ "b": 1, "a": { "d": [1, 2], "c": "x" } }), &new);
        let mut tree = merkle::Tree::default();
        let signatures =
            [rotation["signature"].as_str().unwrap(), "one", receipt["signature"].as_str().unwrap(), "two"];
        for signature in signatures {
            tree.push(merkle::leaf(&entry(signature)));
        }
        let root = tree.root(4).unwrap();
        let log = Logged {
            checkpoint: Checkpoint { origin: "habeas-log/1".into(), size: 4, root }.sign(&new),
            index: 2,
            hashes: tree.inclusion(2, 4).unwrap().iter().map(hex::encode).collect(),
            keys: vec![signatures[0].to_owned()],
        };
        receipt["log"] = serde_json::to_value(log).unwrap();
        (receipt.to_string(), old.public())
    }

    #[test]
    fn a_receipt_verifies_and_any_changed_bit_is_caught() {
        let key = key(5);
        let receipt = sign(&json!({ "b": 1, "a": { "d": [1, 2], "c": "x" } }), &key).to_string();
        let verified = verify(receipt.as_bytes(), &[key.public()]).unwrap();
        assert_eq!((&verified.statement["a"]["c"], &verified.logged), (&json!("x"), &None));
        assert!(verify(receipt.as_bytes(), &[self::key(6).public()]).is_err());
        let doubled = receipt.replace(r#""c":"x""#, r#""c":"y","c":"x""#);
        assert!(doubled != receipt && verify(doubled.as_bytes(), &[key.public()]).is_err());
        let (logged, first) = logged();
        assert_eq!(verify(logged.as_bytes(), &[first]).unwrap().logged.unwrap().size, 4);
        for (receipt, pinned) in [(receipt, key.public()), (logged, first)] {
            for index in 0..receipt.len() {
                for bit in 0..8 {
                    let mut changed = receipt.clone().into_bytes();
                    changed[index] ^= 1 << bit;
                    assert!(verify(&changed, &[pinned]).is_err(), "bit {bit} of byte {index}");
                }
            }
        }
    }

    #[test]
    fn later_keys_are_trusted_through_earlier_ones_only() {
        let (receipt, first) = logged();
        assert!(verify(receipt.as_bytes(), &[first]).is_ok());
        assert!(verify(receipt.as_bytes(), &[key(6).public()]).is_ok());
        assert!(verify(receipt.as_bytes(), &[key(7).public()]).is_err());
        // Announced by nobody who is trusted.
        let stranger = sign(&announcement(&key(7).public(), &key(8).public(), crate::Timestamp(0)), &key(7));
        let keys = follow(&[first], &[stranger["signature"].as_str().unwrap()]).unwrap();
        assert_eq!(keys, [first]);
    }
}
