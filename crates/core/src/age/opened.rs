//! Reading, from anywhere in the file.

use std::io::{self, Read, Seek, SeekFrom};

use super::header::Header;
use super::sealed::nonce;
use super::{CHUNK, Identity, TAG};
use crate::crypto::{self, SecretKey};
use crate::{Error, Result};

const SEALED_CHUNK: u64 = (CHUNK + TAG) as u64;

/// A sealed file as a plain one. Each chunk is checked before anything of it is given out, and the last one at once: what was cut off is
/// never opened. Holds one chunk in memory, and writes nothing anywhere.
#[derive(Debug)]
pub struct Opened<R> {
    input: R,
    key: SecretKey,
    /// Where the first chunk begins.
    start: u64,
    chunks: u64,
    /// Plain bytes.
    size: u64,
    at: u64,
    /// The number of the chunk in memory.
    number: u64,
    chunk: Vec<u8>,
}

impl<R: Read + Seek> Opened<R> {
    /// Reads the header and opens the last chunk. [`crate::ErrorKind::Forbidden`] when the file is sealed for somebody else; damaged when
    /// it is not what was written.
    pub fn new(mut input: R, identity: &Identity) -> Result<Opened<R>> {
        let header = Header::read(&mut input)?;
        let file_key =
            header.file_key(identity)?.ok_or_else(|| match (header.has_passphrase(), identity) {
                (true, Identity::Passphrase(_)) => Error::forbidden("the passphrase is another one"),
                (true, Identity::Key(_)) => Error::forbidden("the file is sealed with a passphrase"),
                (false, Identity::Passphrase(_)) => {
                    Error::forbidden("the file is sealed for a key, not with a passphrase")
                }
                (false, Identity::Key(_)) => Error::forbidden("the file is sealed for another key"),
            })?;
        let mut salt = [0; 16];
        input.read_exact(&mut salt).map_err(|_| damaged())?;
        let key = crypto::hkdf(&file_key, &salt, b"payload");
        let start = input.stream_position().map_err(|_| unreadable())?;
        let sealed = input.seek(SeekFrom::End(0)).map_err(|_| unreadable())?.saturating_sub(start);
        let chunks = sealed.div_ceil(SEALED_CHUNK);
        let size = sealed.checked_sub(chunks * TAG as u64).ok_or_else(damaged)?;
        if chunks == 0 {
            return Err(damaged());
        }
        let mut opened = Opened { input, key, start, chunks, size, at: 0, number: chunks, chunk: Vec::new() };
        opened.load(chunks - 1)?;
        // An empty chunk stands alone.
        if chunks > 1 && opened.chunk.is_empty() {
            return Err(damaged());
        }
        Ok(opened)
    }

    fn load(&mut self, number: u64) -> Result<()> {
        if self.number == number {
            return Ok(());
        }
        let begin = number * SEALED_CHUNK;
        let length = SEALED_CHUNK.min(self.size + self.chunks * TAG as u64 - begin);
        let mut sealed = vec![0; length as usize];
        self.input.seek(SeekFrom::Start(self.start + begin)).map_err(|_| unreadable())?;
        self.input.read_exact(&mut sealed).map_err(|_| damaged())?;
        let nonce = nonce(number, number + 1 == self.chunks);
        self.chunk = crypto::open_chacha20(&self.key, nonce, &sealed).ok_or_else(damaged)?;
        self.number = number;
        Ok(())
    }
}

fn damaged() -> Error {
    Error::damaged("the sealed file is damaged or was cut off")
}

fn unreadable() -> Error {
    Error::unavailable("the file cannot be read")
}

impl<R: Read + Seek> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        self.load(self.at / CHUNK as u64)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.what))?;
        let rest = &self.chunk[(self.at % CHUNK as u64) as usize..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl<R: Read + Seek> Seek for Opened<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
