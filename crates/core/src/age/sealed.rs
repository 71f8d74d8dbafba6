//! Writing.

use std::io::{self, Write};

use super::{CHUNK, Recipient, header};
use crate::crypto::{self, SecretKey};
use crate::{Error, Random, Result};

/// Seals what is written to it for one recipient. What is not [finished](Self::finish) is not taken for whole by whoever opens it.
#[derive(Debug)]
pub struct Sealed<W: Write> {
    out: W,
    key: SecretKey,
    number: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Sealed<W> {
    /// Writes the header, with a fresh file key for `recipient`. For a passphrase that takes the time and memory
    /// of its work. An error if the
    /// recipient's key is one that gives no secret.
    pub fn new(mut out: W, recipient: &Recipient, random: &dyn Random) -> Result<Sealed<W>> {
        let (mut file_key, mut nonce) = ([0; 16], [0; 16]);
        random.fill(&mut file_key);
        random.fill(&mut nonce);
        let header = header::write(recipient, &file_key, random)?;
        out.write_all(&[header.as_bytes(), &nonce].concat())
            .map_err(|_| Error::unavailable("the archive was not taken to its end"))?;
        let key = crypto::hkdf(&file_key, &nonce, b"payload");
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
