//! Writing files that only the holder of a key can read: the age format, version 1, with X25519 recipients
//! (<https://age-encryption.org/v1>, <https://c2sp.org/age>). Whoever has the identity reads them with any age tool.
//!
//! A random file key is wrapped for the recipient; the payload is sealed under it with ChaCha20-Poly1305 in chunks of 64 KiB, each with its
//! number and whether it is the last as the nonce (STREAM), so that it can be written and read at constant memory and cannot be cut off.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::crypto::{self, SecretKey};
use crate::{Error, Random, Result};

const CHUNK: usize = 64 * 1024;
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// A public key in the form `age1…`: Bech32 (BIP 173) of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl std::str::FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipient> {
        bech32(text.trim()).map(Recipient).ok_or_else(|| {
            Error::invalid("the recipient is not an age public key")
                .hint("it is the line `age1…` that `age-keygen` prints; keys for SSH and passphrases are not supported")
        })
    }
}

/// The 32 bytes of a text in Bech32 with the prefix `age`.
fn bech32(text: &str) -> Option<[u8; 32]> {
    const DIGITS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let values: Vec<u8> = text
        .strip_prefix("age1")?
        .bytes()
        .map(|byte| DIGITS.iter().position(|digit| *digit == byte).map(|value| value as u8))
        .collect::<Option<_>>()?;
    // The prefix as the checksum takes it: high bits, zero, low bits.
    let prefix = [3, 3, 3, 0, b'a' & 31, b'g' & 31, b'e' & 31];
    let mut checksum = 1_u32;
    for value in prefix.iter().chain(&values) {
        let top = checksum >> 25;
        checksum = (checksum & 0x1ff_ffff) << 5 ^ u32::from(*value);
        for (bit, generator) in
            [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].into_iter().enumerate()
        {
            checksum ^= if top >> bit & 1 == 1 { generator } else { 0 };
        }
    }
    let data = values.get(..values.len().checked_sub(6)?)?;
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0_u32, 0);
    for value in data {
        buffer = buffer << 5 | u32::from(*value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    (checksum == 1 && buffer == 0).then_some(())?;
    bytes.try_into().ok()
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
    /// Writes the header, with a fresh file key for `recipient`. An error if the recipient's key is one that gives no secret.
    pub fn new(mut out: W, recipient: &Recipient, random: &dyn Random) -> Result<Sealed<W>> {
        let mut file_key = [0; 16];
        random.fill(&mut file_key);
        let (share, secret) = crypto::x25519(&recipient.0)?;
        let wrapping = crypto::hkdf(&secret, &[share, recipient.0].concat(), LABEL);
        let wrapped = crypto::seal_chacha20(&wrapping, [0; 12], &file_key);
        let header = format!(
            "age-encryption.org/v1\n-> X25519 {}\n{}\n---",
            STANDARD_NO_PAD.encode(share),
            STANDARD_NO_PAD.encode(wrapped)
        );
        let mac = crypto::mac(&crypto::hkdf(&file_key, &[], b"header"), header.as_bytes());
        let mut nonce = [0; 16];
        random.fill(&mut nonce);
        let head = [format!("{header} {}\n", STANDARD_NO_PAD.encode(mac)).as_bytes(), &nonce].concat();
        out.write_all(&head).map_err(|_| Error::unavailable("the archive was not taken to its end"))?;
        let key = crypto::hkdf(&file_key, &nonce, b"payload");
        Ok(Sealed { out, key, number: 0, buffer: Vec::with_capacity(CHUNK) })
    }

    /// Writes the last chunk and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk(true)?;
        Ok(self.out)
    }

    fn chunk(&mut self, is_last: bool) -> io::Result<()> {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.out.write_all(&crypto::seal_chacha20(&self.key, nonce, &self.buffer))?;
        self.number += 1;
        self.buffer.clear();
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn only_public_keys_are_recipients() {
        assert!(KEY.parse::<Recipient>().is_ok());
        for index in 0..KEY.len() {
            let mut changed = KEY.to_owned().into_bytes();
            changed[index] = if changed[index] == b'q' { b'p' } else { b'q' };
            assert!(String::from_utf8(changed).unwrap().parse::<Recipient>().is_err(), "{index}");
        }
        for text in ["", "age1", "age1qqqqqq", "ssh-ed25519 AAAA", &KEY.to_uppercase()] {
            assert!(text.parse::<Recipient>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_form_is_that_of_the_specification() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let random = SeededRandom::new(1);
            let mut sealed = Sealed::new(Vec::new(), &KEY.parse().unwrap(), &random).unwrap();
            sealed.write_all(&vec![7; size]).unwrap();
            let bytes = sealed.finish().unwrap();
            let end = bytes.windows(5).position(|part| part == b"\n--- ").unwrap();
            let header = std::str::from_utf8(&bytes[..end]).unwrap();
            let lines: Vec<&str> = header.lines().collect();
            assert_eq!(lines[0], "age-encryption.org/v1");
            assert!(lines[1].starts_with("-> X25519 ") && lines[1].len() == 53 && lines[2].len() == 43);
            let payload = bytes.len() - (end + 5 + 43 + 1) - 16;
            assert_eq!(payload, size + 16 * size.div_ceil(CHUNK).max(1));
        }
    }
}
