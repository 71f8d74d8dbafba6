//! Every cryptographic primitive, over `ring`, so that another library could take its place here alone. What `ring` does not have, and age
//! needs, is beside it: scrypt, and X25519 with a key that is kept.

mod scrypt;
mod x25519;

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::signature::KeyPair as _;
use ring::{agreement, digest, hkdf, hmac, signature};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Error, Random, Result};

pub use scrypt::scrypt;
pub use x25519::{public as x25519_public, shared as x25519_kept};

/// Bytes that [`seal`] adds to what it seals: nonce and tag.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + 16;

/// A 256-bit secret key; wiped from memory when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// A fresh random key.
    pub fn random(random: &dyn Random) -> SecretKey {
        let mut bytes = [0_u8; 32];
        random.fill(&mut bytes);
        SecretKey(bytes)
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> SecretKey {
        SecretKey(bytes)
    }

    /// The bytes, for wrapping under another key. Copies are the caller's to wipe.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one purpose (HKDF-SHA256, RFC 5869): it cannot be computed without this one, nor this one from it.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> SecretKey {
        hkdf(&self.0, b"habeas", purpose)
    }

    fn aead(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).expect("an AES-256 key has 32 bytes"))
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Seals `plain` with AES-256-GCM under a random nonce: nonce (12 bytes), ciphertext, tag (16 bytes).
/// `associated` is authenticated but not contained.
pub fn seal(key: &SecretKey, associated: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
    let mut nonce = [0_u8; NONCE_LEN];
    random.fill(&mut nonce);
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let tag = key
        .aead()
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            &mut sealed[NONCE_LEN..],
        )
        .expect("AES-256-GCM seals anything below 64 GiB");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// Opens what [`seal`] made; [`crate::ErrorKind::Damaged`] when key, associated data or bytes are not the same.
pub fn open(key: &SecretKey, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    Opener::new(key).open(associated, sealed.to_vec(), 0)
}

/// A key made ready to open with: for much that is under the same one.
pub struct Opener(LessSafeKey);

impl Opener {
    /// Of this key.
    pub fn new(key: &SecretKey) -> Opener {
        Opener(key.aead())
    }

    /// Opens what [`seal`] made and what stands in `buffer` after its first `before` bytes. The plain text takes the place of all.
    pub fn open(&self, associated: &[u8], mut buffer: Vec<u8>, before: usize) -> Result<Vec<u8>> {
        let nonce = buffer.get(before..).and_then(|sealed| sealed.first_chunk::<NONCE_LEN>());
        let nonce = Nonce::assume_unique_for_key(*nonce.ok_or_else(not_opened)?);
        let length = self
            .0
            .open_within(nonce, Aad::from(associated), &mut buffer, before + NONCE_LEN..)
            .map_err(|_| not_opened())?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener(..)")
    }
}

/// Seals under a nonce that the caller never uses twice with this key: ciphertext, then tag.
pub fn seal_with_nonce(key: &SecretKey, nonce: [u8; NONCE_LEN], associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plain.len() + 16);
    sealed.extend_from_slice(plain);
    key.aead()
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut sealed)
        .expect("AES-256-GCM seals anything below 64 GiB");
    sealed
}

/// Opens what [`seal_with_nonce`] made.
pub fn open_with_nonce(
    key: &SecretKey,
    nonce: [u8; NONCE_LEN],
    associated: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let mut buffer = sealed.to_vec();
    let length = key
        .aead()
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut buffer)
        .map_err(|_| not_opened())?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

fn not_opened() -> Error {
    Error::damaged("sealed bytes cannot be opened: they were changed, or belong to another key")
}

/// HKDF-SHA256 (RFC 5869) with 32 bytes of output.
pub fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> SecretKey {
    let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let mut bytes = [0_u8; 32];
    pseudo_random
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes))
        .expect("HKDF-SHA256 gives 32 bytes for any purpose");
    SecretKey(bytes)
}

/// Agrees on a secret with the holder of an X25519 key (RFC 7748) by a fresh key of one's own: its public half, and the secret. The fresh
/// key comes from the system's randomness, since `ring` takes no other for it.
pub fn x25519(theirs: &[u8; 32]) -> Result<([u8; 32], [u8; 32])> {
    let failed = |_| Error::invalid("the recipient's key cannot be used");
    let own = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &ring::rand::SystemRandom::new())
        .map_err(|_| Error::unavailable("the system gives no randomness"))?;
    let public = own.compute_public_key().map_err(failed)?;
    let public = public.as_ref().try_into().expect("an X25519 public key has 32 bytes");
    let theirs = agreement::UnparsedPublicKey::new(&agreement::X25519, theirs);
    let secret = agreement::agree_ephemeral(own, &theirs, |secret| {
        secret.try_into().expect("an X25519 secret has 32 bytes")
    })
    .map_err(failed)?;
    Ok((public, secret))
}

/// Seals with ChaCha20-Poly1305 (RFC 8439), without associated data: the ciphertext and the tag. A nonce is for one message under a key.
pub fn seal_chacha20(key: &SecretKey, nonce: [u8; NONCE_LEN], plain: &[u8]) -> Vec<u8> {
    let key =
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key.0).expect("a ChaCha20 key has 32 bytes"));
    let mut buffer = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut buffer)
        .expect("a chunk is far shorter than the longest message");
    buffer
}

/// Opens what [`seal_chacha20`] made; none when key, nonce or bytes are not the same.
pub fn open_chacha20(key: &SecretKey, nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
    let key =
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key.0).expect("a ChaCha20 key has 32 bytes"));
    let mut buffer = sealed.to_vec();
    let length =
        key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

/// HMAC-SHA256 (RFC 2104).
pub fn mac(key: &SecretKey, message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    hmac::sign(&key, message).as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
}

/// SHA-256 of the whole input.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// SHA-256 fed piece by piece.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// Compares without telling by its duration where the first difference is. Lengths are not secret.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    std::hint::black_box(left.iter().zip(right).fold(0_u8, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// An Ed25519 signing key (RFC 8032).
pub struct SigningKey(signature::Ed25519KeyPair);

impl SigningKey {
    /// The key that belongs to this 32-byte seed.
    pub fn from_seed(seed: &SecretKey) -> SigningKey {
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .expect("an Ed25519 seed has 32 bytes");
        SigningKey(pair)
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Whether `signature` over `message` was made by the holder of `public`.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ED25519, public).verify(message, signature).is_ok()
}

/// Whether `signature` over `message` is one of the RSA key with this modulus and public exponent, both big-endian: PKCS #1 v1.5 with
/// SHA-256 (RFC 8017, RS256). Keys of 2048 to 8192 bits.
pub fn verify_rsa(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature::RsaPublicKeyComponents { n: modulus, e: exponent }
        .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
        .is_ok()
}

/// Whether `signature` (64 bytes, r then s) over `message` is one of the P-256 key with this uncompressed point: ECDSA with SHA-256
/// (FIPS 186-4, ES256).
pub fn verify_p256(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(message, signature)
        .is_ok()
}

/// A key that signs with ECDSA on P-256 over SHA-256 (FIPS 186-4): for peers that check signatures against X.509 certificates.
pub struct EcdsaKey(signature::EcdsaKeyPair);

impl EcdsaKey {
    /// The key in a PKCS #8 document, DER.
    pub fn from_pkcs8(document: &[u8]) -> Result<EcdsaKey> {
        let random = ring::rand::SystemRandom::new();
        signature::EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, document, &random)
            .map(EcdsaKey)
            .map_err(|_| Error::invalid("that is not a P-256 key in PKCS #8"))
    }

    /// Signs `message`; the signature in DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0
            .sign(&ring::rand::SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| Error::internal("a signature could not be made"))
    }
}

impl std::fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EcdsaKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    #[test]
    fn sealed_bytes_open_only_with_the_same_key_and_associated_data() {
        let random = SeededRandom::new(7);
        let key = SecretKey::random(&random);
        let sealed = seal(&key, b"image 1", b"plain", &random);
        assert_eq!(open(&key, b"image 1", &sealed).unwrap(), b"plain");
        assert!(open(&key, b"image 2", &sealed).is_err());
        assert!(open(&key.derive(b"other"), b"image 1", &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(open(&key, b"image 1", &sealed[..length]).is_err());
        }
        let opener = Opener::new(&key);
        let within = [b"before".as_slice(), &sealed].concat();
        assert_eq!(opener.open(b"image 1", within.clone(), 6).unwrap(), b"plain");
        assert!(opener.open(b"image 1", within.clone(), 7).is_err());
        assert!(opener.open(b"image 1", within, 100).is_err());
    }

    #[test]
    fn published_test_vectors_hold() {
        // RFC 4231, test case 2 uses a short key; RFC 6234 gives SHA-256 of "abc".
        assert_eq!(
            hex::encode(sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 8032, section 7.1, test 1: empty message.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = SigningKey::from_seed(&SecretKey::from_bytes(seed.try_into().unwrap()));
        assert_eq!(
            hex::encode(key.public()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert!(verify(&key.public(), b"", &key.sign(b"")));
        assert!(!verify(&key.public(), b"x", &key.sign(b"")));
    }

    #[test]
    fn equality_in_constant_time_is_equality() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd"));
        assert!(!constant_time_eq(b"abc", b"ab"));
    }
}
