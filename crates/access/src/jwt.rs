//! Bearer tokens are JSON Web Tokens (RFC 7519): our own are signed with HMAC-SHA256, those of external issuers with RSA, P-256 or
//! Ed25519 (RFC 7518, 8037). Made and read by `jsonwebtoken` over our one cryptography file.

use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Error, Id, Result, Timestamp};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// What a bearer token says, by the names under which Azure's tokens carry it: its clients read some of it, too.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The person.
    pub(crate) oid: Id,
    /// The tenant: one a deployment.
    pub(crate) tid: Id,
    /// The token's own id, or that of the grant or application it was issued for; the token is dead when that resource is.
    pub(crate) jti: Id,
    /// Issued at, in seconds since 1970.
    pub(crate) iat: i64,
    /// Expires at, in seconds since 1970.
    pub(crate) exp: i64,
    /// When the person signed in, in seconds since 1970, if that is not when the token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auth_time: Option<i64>,
    /// Who issued it, and for whom: this server, by its public address if it has one. Tokens of before this was said have neither;
    /// nothing is decided by it, since the signature says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<String>,
    /// The same as [`iss`](Self::iss).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<String>,
    /// The person once more: nobody's name. `amlrealtimeai` reads this and `iss` out of its token to say who was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique_name: Option<Id>,
}

struct Hs256(SecretKey);

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(crypto::mac(&self.0, message).to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        if crypto::constant_time_eq(&crypto::mac(&self.0, message), signature) {
            Ok(())
        } else {
            Err(signature::Error::new())
        }
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

fn hs256(algorithm: Algorithm, key: &[u8]) -> jsonwebtoken::errors::Result<Hs256> {
    match (algorithm, <[u8; 32]>::try_from(key)) {
        (Algorithm::HS256, Ok(key)) => Ok(Hs256(SecretKey::from_bytes(key))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// A public key of an external issuer.
struct Public(Algorithm, DecodingKey);

impl signature::Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let good = match (self.0, self.1.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                crypto::verify_rsa(n, e, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                crypto::verify_p256(point, message, signature)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
                <&[u8; 32]>::try_from(&point[..]).is_ok_and(|point| crypto::verify(point, message, signature))
            }
            _ => false,
        };
        if good { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

/// The algorithms by which an external issuer may sign.
pub(crate) const PUBLIC_ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(hs256(*algorithm, key.as_bytes())?) as Box<dyn JwtSigner>),
    verifier_factory: |algorithm, key| {
        if PUBLIC_ALGORITHMS.contains(algorithm) {
            return Ok(Box::new(Public(*algorithm, key.clone())) as Box<dyn JwtVerifier>);
        }
        Ok(Box::new(hs256(*algorithm, key.try_get_as_bytes()?)?) as Box<dyn JwtVerifier>)
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` use our cryptography. May be called more than once.
pub(crate) fn install() {
    // An error says that it was installed before.
    let _ = PROVIDER.install_default();
}

pub(crate) fn sign(claims: &Claims, key: &SecretKey) -> Result<String> {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key.expose()))
        .map_err(|_| Error::internal("a token could not be signed"))
}

/// The claims of a token that we signed and that has not expired.
pub(crate) fn read(token: &str, key: &SecretKey, now: Timestamp) -> Result<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    // The library reads the machine's clock; ours is injected.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(key.expose()), &validation)
        .map_err(|_| Error::unauthenticated("the bearer token was not issued by this server"))?
        .claims;
    if claims.exp <= now.seconds() {
        return Err(Error::unauthenticated("the bearer token has expired")
            .hint("issue a new one: habeas token create"));
    }
    Ok(claims)
}

/// Whether a token says that we signed it.
pub(crate) fn is_ours(token: &str) -> bool {
    jsonwebtoken::decode_header(token).is_ok_and(|header| header.alg == Algorithm::HS256)
}

/// The claims of a token that the holder of `key` signed. Nothing else of it is checked.
pub(crate) fn read_foreign<C: serde::de::DeserializeOwned + Clone>(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
) -> Result<C> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<C>(token, key, &validation)
        .map(|data| data.claims)
        .map_err(|_| Error::unauthenticated("the token was not signed by the issuer it names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_unexpired_tokens_are_read() {
        install();
        let key = SecretKey::from_bytes([1; 32]);
        let id = Id::from_bytes([2; 16]);
        let claims = Claims {
            oid: id,
            tid: id,
            jti: id,
            iat: 0,
            exp: 100,
            auth_time: None,
            iss: Some("https://habeas.example".into()),
            aud: Some("https://habeas.example".into()),
            unique_name: Some(id),
        };
        let token = sign(&claims, &key).unwrap();
        assert_eq!(read(&token, &key, Timestamp(99_000_000)).unwrap(), claims);
        // Of before a token said who issued it.
        let older = Claims { iss: None, aud: None, unique_name: None, ..claims };
        assert_eq!(read(&sign(&older, &key).unwrap(), &key, Timestamp(0)).unwrap(), older);
        assert!(read(&token, &key, Timestamp(100_000_000)).is_err());
        assert!(read(&token, &SecretKey::from_bytes([3; 32]), Timestamp(0)).is_err());
        // A header that claims no signature is needed.
        let forged = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
        assert!(read(&forged, &key, Timestamp(0)).is_err());
    }
}
