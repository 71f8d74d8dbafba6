//! Writing.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::header::{self, FileKey};
use super::{CHUNK, Recipient};
use crate::crypto::{self, SecretKey};
use crate::{Error, Random, Result};

/// What seals a file, made before there is anything to seal: a file key, and the header in which it is wrapped for the recipient. Whoever
/// seals later keeps this in place of a passphrase, and no longer than until then: the file key opens what was sealed with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    pub(crate) header: String,
    #[serde(serialize_with = "key_to_text", deserialize_with = "key_from_text")]
    pub(crate) file_key: Zeroizing<FileKey>,
}

impl Prepared {
    /// A fresh file key for `recipient`. For a passphrase that takes the time and memory of its work. An error if the recipient's key is
    /// one that gives no secret.
    pub fn new(recipient: &Recipient, random: &dyn Random) -> Result<Prepared> {
        let mut file_key = Zeroizing::new([0_u8; 16]);
        random.fill(&mut *file_key);
        let header = header::write(recipient, &file_key, random)?;
        Ok(Prepared { header, file_key })
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared(..)")
    }
}

fn key_to_text<S: Serializer>(key: &FileKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(key))
}

fn key_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<FileKey>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text.as_bytes()).ok().and_then(|bytes| FileKey::try_from(bytes).ok());
    bytes.map(Zeroizing::new).ok_or_else(|| serde::de::Error::custom("a file key is not 16 bytes in base64"))
}

/// Seals what is written to it for one recipient. What is not [finished](Self::finish) is not taken for whole by whoever opens it.
#[derive(Debug)]
pub struct Sealed<W: Write> {
    out: W,
    key: SecretKey,
    number: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Sealed<W> {
    /// Writes the header and a nonce. That is drawn here: what is written a second time with the same file key, after a crash, may be other
    /// content, and must not be sealed under the same key.
    pub fn new(mut out: W, prepared: &Prepared, random: &dyn Random) -> Result<Sealed<W>> {
        let mut nonce = [0; 16];
        random.fill(&mut nonce);
        out.write_all(&[prepared.header.as_bytes(), &nonce].concat())
            .map_err(|_| Error::unavailable("the archive was not taken to its end"))?;
        let key = crypto::hkdf(&*prepared.file_key, &nonce, b"payload");
        Ok(Sealed { out, key, number: 0, buffer: Vec::with_capacity(CHUNK) })
    }

    /// Writes the last chunk and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk(true)?;
        Ok(self.out)
    }

    fn chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, is_last);
        self.out.write_all(&crypto::seal_chacha20(&self.key, nonce, &self.buffer))?;
        self.number += 1;
        self.buffer.clear();
        Ok(())
    }
}

/// The nonce of a chunk.
pub(super) fn nonce(number: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is written when more comes: the last one may be full, but not empty unless it is the only one.
        if self.buffer.len() == CHUNK && !bytes.is_empty() {
            self.chunk(false)?;
        }
        let length = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
