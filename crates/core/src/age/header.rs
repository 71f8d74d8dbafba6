//! The header: to whom the file key is wrapped, and a MAC over all of it.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Identity, Recipient};
use crate::crypto::{self, SecretKey};
use crate::{Error, Random, Result};

const VERSION: &str = "age-encryption.org/v1\n";
const X25519: &[u8] = b"age-encryption.org/v1/X25519";
const SCRYPT: &[u8] = b"age-encryption.org/v1/scrypt";

/// How hard a file may make it to open it: 2 GiB. Other tools take as much as the machine does in a second.
const MOST_WORK: u8 = 21;
/// Whoever seals with a passphrase takes a turn: memory is that of one, however many ask.
static SEALING: Mutex<()> = Mutex::new(());

/// Bytes of a header at most.
const LONGEST: usize = 64 * 1024;
/// Letters of a line of a body.
const COLUMNS: usize = 64;

pub(super) type FileKey = [u8; 16];

/// What a file is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// One or more keys.
    Key,
    /// A passphrase.
    Passphrase,
}

/// What a file is sealed with; none when it is not an age file. Reads the header.
pub fn lock(input: &mut impl Read) -> Result<Option<Lock>> {
    let mut start = Vec::new();
    let length = VERSION.len() as u64;
    input.take(length).read_to_end(&mut start).map_err(|_| Error::unavailable("the file cannot be read"))?;
    if start != VERSION.as_bytes() {
        return Ok(None);
    }
    let header = Header::read(&mut start.chain(input))?;
    Ok(Some(if header.has_passphrase() { Lock::Passphrase } else { Lock::Key }))
}

/// A header with `file_key` wrapped for the recipient.
pub(super) fn write(recipient: &Recipient, file_key: &FileKey, random: &dyn Random) -> Result<String> {
    let stanza = match recipient {
        Recipient::Key(theirs) => {
            let (share, secret) = crypto::x25519(theirs)?;
            let wrapping = crypto::hkdf(&secret, &[share, *theirs].concat(), X25519);
            stanza(&format!("X25519 {}", STANDARD_NO_PAD.encode(share)), &wrapping, file_key)
        }
        Recipient::Passphrase { passphrase, work } => {
            let mut salt = [0; 16];
            random.fill(&mut salt);
            let _turn = SEALING.lock().unwrap_or_else(PoisonError::into_inner);
            let wrapping = crypto::scrypt(passphrase.bytes(), &[SCRYPT, &salt].concat(), *work);
            stanza(&format!("scrypt {} {work}", STANDARD_NO_PAD.encode(salt)), &wrapping, file_key)
        }
    };
    let header = format!("{VERSION}{stanza}---");
    let mac = crypto::mac(&mac_key(file_key), header.as_bytes());
    Ok(format!("{header} {}\n", STANDARD_NO_PAD.encode(mac)))
}

fn stanza(words: &str, wrapping: &SecretKey, file_key: &FileKey) -> String {
    let wrapped = crypto::seal_chacha20(wrapping, [0; 12], file_key);
    format!("-> {words}\n{}\n", STANDARD_NO_PAD.encode(wrapped))
}

fn mac_key(file_key: &FileKey) -> SecretKey {
    crypto::hkdf(file_key, &[], b"header")
}

fn damaged() -> Error {
    Error::damaged("it is not an age file, or its header is damaged")
}

/// To whom the file key is wrapped.
struct Stanza {
    words: Vec<String>,
    body: Vec<u8>,
}

/// A header as it was read.
pub(super) struct Header {
    stanzas: Vec<Stanza>,
    /// What the MAC is over.
    text: Vec<u8>,
    mac: Vec<u8>,
}

impl Header {
    /// Reads to the end of the header, and no further.
    pub(super) fn read(input: &mut impl Read) -> Result<Header> {
        let mut lines = Lines { input, text: Vec::new() };
        if lines.next()? != VERSION.trim_end() {
            return Err(damaged());
        }
        let mut stanzas = Vec::new();
        loop {
            let line = lines.next()?;
            if let Some(words) = line.strip_prefix("-> ") {
                stanzas.push(Stanza { words: words_of(words)?, body: lines.body()? });
            } else if let Some(mac) = line.strip_prefix("--- ") {
                let mac = decode(mac)?;
                let mut text = lines.text;
                // All but the space, the MAC and the end of the line.
                let end = text.len() - line.len() - 1 + 3;
                text.truncate(end);
                return Ok(Header { stanzas, text, mac });
            } else {
                return Err(damaged());
            }
        }
    }

    /// The file key, once the MAC was found right. None when the file is sealed for somebody else.
    pub(super) fn file_key(&self, identity: &Identity) -> Result<Option<FileKey>> {
        let has_passphrase = self.has_passphrase();
        // Whoever knows the passphrase knows that nobody else can have sealed it.
        if has_passphrase && self.stanzas.len() != 1 {
            return Err(damaged());
        }
        for stanza in &self.stanzas {
            let unwrapped = match (identity, stanza.words.first().map(String::as_str)) {
                (Identity::Key(own), Some("X25519")) => stanza.unwrap_for_key(own)?,
                (Identity::Passphrase(passphrase), Some("scrypt")) => {
                    stanza.unwrap_for_passphrase(passphrase.bytes())?
                }
                _ => None,
            };
            if let Some(file_key) = unwrapped {
                let mac = crypto::mac(&mac_key(&file_key), &self.text);
                return if crypto::constant_time_eq(&mac, &self.mac) {
                    Ok(Some(file_key))
                } else {
                    Err(damaged())
                };
            }
        }
        Ok(None)
    }

    /// Whether a passphrase opens it.
    pub(super) fn has_passphrase(&self) -> bool {
        self.stanzas.iter().any(|stanza| stanza.words.first().is_some_and(|word| word == "scrypt"))
    }
}

impl Stanza {
    fn unwrap_for_key(&self, own: &SecretKey) -> Result<Option<FileKey>> {
        let [_, share] = &self.words[..] else { return Err(damaged()) };
        let share: [u8; 32] = decode(share)?.try_into().map_err(|_| damaged())?;
        let secret = crypto::x25519_kept(own, &share).ok_or_else(damaged)?;
        let salt = [share, crypto::x25519_public(own)].concat();
        self.open(&crypto::hkdf(&secret, &salt, X25519))
    }

    fn unwrap_for_passphrase(&self, passphrase: &[u8]) -> Result<Option<FileKey>> {
        let [_, salt, work] = &self.words[..] else { return Err(damaged()) };
        let salt = decode(salt)?;
        let is_plain = !work.starts_with('0') && work.bytes().all(|letter| letter.is_ascii_digit());
        if salt.len() != 16 || !is_plain || self.body.len() != 32 {
            return Err(damaged());
        }
        let work = work.parse::<u8>().ok().filter(|work| *work <= MOST_WORK).ok_or_else(|| {
            Error::limit(format!("the file asks for more work than 2^{MOST_WORK} to try a passphrase"))
                .hint("open it with the tool that wrote it")
        })?;
        self.open(&crypto::scrypt(passphrase, &[SCRYPT, &salt].concat(), work))
    }

    fn open(&self, wrapping: &SecretKey) -> Result<Option<FileKey>> {
        // A body of another length could be made to fit two keys.
        if self.body.len() != 32 {
            return Err(damaged());
        }
        Ok(crypto::open_chacha20(wrapping, [0; 12], &self.body).and_then(|key| key.try_into().ok()))
    }
}

/// Words of signs that can be seen, with one space between them.
fn words_of(text: &str) -> Result<Vec<String>> {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let is_word = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if words.iter().all(is_word) { Ok(words) } else { Err(damaged()) }
}

/// Base64 without padding, in its one form.
fn decode(text: &str) -> Result<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).map_err(|_| damaged())
}

/// The lines of a header, byte by byte, so that nothing of the payload is taken.
struct Lines<'a, R> {
    input: &'a mut R,
    text: Vec<u8>,
}

impl<R: Read> Lines<'_, R> {
    fn next(&mut self) -> Result<String> {
        let start = self.text.len();
        loop {
            let mut byte = [0];
            self.input.read_exact(&mut byte).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(),
                _ => Error::unavailable("the file cannot be read"),
            })?;
            self.text.push(byte[0]);
            if byte[0] == b'\n' {
                let line = self.text[start..self.text.len() - 1].to_vec();
                return String::from_utf8(line).map_err(|_| damaged());
            }
            if self.text.len() > LONGEST {
                return Err(damaged());
            }
        }
    }

    /// Lines of 64 letters, and a shorter one at the end.
    fn body(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.next()?;
            if line.len() > COLUMNS {
                return Err(damaged());
            }
            body.extend(decode(&line)?);
            if line.len() < COLUMNS {
                return Ok(body);
            }
        }
    }
}
