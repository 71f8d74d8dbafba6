//! Receipts: canonical JSON, signed, verifiable without the server.
//!
//! A receipt is a JSON object with three members:
//! - `statement`: what is stated, as an object, for reading;
//! - `signature`: a JSON Web Signature (RFC 7515, compact form) with `alg` `EdDSA` (RFC 8037), whose payload is the statement
//!   in canonical form (RFC 8785: members sorted, no white space; statements hold no fractions, so numbers need no rule);
//! - `salt`: 32 hexadecimal digits, in receipts handed to the person only. `HMAC-SHA256(salt, object id)` is the statement's
//!   `subject`, so that nobody without the salt can tell whom a receipt is about.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::crypto::{self, SecretKey, SigningKey};
use crate::{Error, Id, Result};

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

/// Checks a receipt against the public key of the server that is said to have issued it; returns the statement.
pub fn verify(receipt: &[u8], public: &[u8; 32]) -> Result<Value> {
    let receipt: Value =
        serde_json::from_slice(receipt).map_err(|_| Error::invalid("the receipt is not JSON"))?;
    let signature =
        receipt["signature"].as_str().ok_or_else(|| Error::invalid("the receipt has no signature"))?;
    let (input, signed) =
        signature.rsplit_once('.').ok_or_else(|| Error::invalid("the signature is not a JWS"))?;
    let (header, payload) =
        input.split_once('.').ok_or_else(|| Error::invalid("the signature is not a JWS"))?;
    let header: Value = decode(header)?;
    if header["alg"] != "EdDSA" {
        return Err(Error::invalid("the receipt is not signed with Ed25519"));
    }
    if header["kid"] != key_id(public) {
        return Err(Error::invalid("the receipt was signed with another key than the one given")
            .hint("the server that issued it shows its key at /api/privacy/v1/public-key"));
    }
    let signed =
        URL_SAFE_NO_PAD.decode(signed).map_err(|_| Error::invalid("the signature is not base64url"))?;
    if !crypto::verify(public, input.as_bytes(), &signed) {
        return Err(Error::invalid("the signature does not belong to this receipt"));
    }
    let statement: Value = decode(payload)?;
    if statement != receipt["statement"] {
        return Err(Error::invalid("the readable statement is not the one that was signed"));
    }
    Ok(statement)
}

fn encode(value: &Value) -> String {
    // A serde_json map is sorted by its keys, and its compact form is the canonical one for what statements hold.
    URL_SAFE_NO_PAD.encode(value.to_string())
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

    #[test]
    fn a_receipt_verifies_and_any_changed_bit_is_caught() {
        let key = SigningKey::from_seed(&SecretKey::from_bytes([5; 32]));
        let receipt = sign(&json!({ "b": 1, "a": { "d": [1, 2], "c": "x" } }), &key).to_string();
        assert_eq!(verify(receipt.as_bytes(), &key.public()).unwrap()["a"]["c"], "x");
        for index in 0..receipt.len() {
            let mut changed = receipt.clone().into_bytes();
            changed[index] ^= 1;
            assert!(verify(&changed, &key.public()).is_err(), "bit of byte {index}");
        }
        let other = SigningKey::from_seed(&SecretKey::from_bytes([6; 32]));
        assert!(verify(receipt.as_bytes(), &other.public()).is_err());
    }
}
