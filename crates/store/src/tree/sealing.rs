//! How documents and searchable texts look in the database.
//!
//! A stored document is `format (1 byte) | key generation (4 bytes, big-endian) | nonce (12) | ciphertext | tag (16)`,
//! AES-256-GCM under the key of its container and generation, with the resource's id, kind and container as associated
//! data: a document moved to another row does not open.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Error, Id, Kind, Result, registry};

use super::holders::frozen;
use super::{KEY_GONE, Shared};

/// The only format so far: the plain text is the JSON of the kind's document.
const FORMAT: u8 = 1;
/// Bytes of format and key generation, which stand before what is sealed.
const HEADER: usize = 5;
/// What a test writes that looks for deletions which sealing would hide; never written or read otherwise.
const UNSEALED: u8 = 0;

fn associated(id: Id, kind: Kind, container: Id) -> [u8; 34] {
    let mut bytes = [0; 34];
    bytes[..16].copy_from_slice(id.as_bytes());
    bytes[16..18].copy_from_slice(&kind.number().to_be_bytes());
    bytes[18..].copy_from_slice(container.as_bytes());
    bytes
}

impl Shared {
    pub(crate) fn key(&self, container: Id, generation: u32) -> Result<SecretKey> {
        self.keyring.key(container, generation).ok_or_else(|| {
            // A container that lacked its key at the start would not have been served: its keys were destroyed since, by an erasure
            // whose rows are still there, or were still there when this transaction began.
            let error = if self.keyring.generations(container).is_empty() {
                frozen()
            } else {
                Error::damaged(format!("container {container} has no key of generation {generation}"))
            };
            error.code(KEY_GONE)
        })
    }

    pub(crate) fn seal(
        &self,
        id: Id,
        kind: Kind,
        container: Id,
        generation: u32,
        plain: &[u8],
    ) -> Result<Vec<u8>> {
        let key = self.key(container, generation)?;
        if habeas_core::fault::is_switched_off("sealing") {
            return Ok([&[UNSEALED][..], &generation.to_be_bytes(), plain].concat());
        }
        let sealed = crypto::seal(&key, &associated(id, kind, container), plain, &*self.ambient.random);
        let mut doc = Vec::with_capacity(HEADER + sealed.len());
        doc.push(FORMAT);
        doc.extend_from_slice(&generation.to_be_bytes());
        doc.extend_from_slice(&sealed);
        Ok(doc)
    }

    pub(crate) fn open(&self, id: Id, kind: Kind, container: Id, doc: &[u8]) -> Result<Vec<u8>> {
        self.opener().open(id, kind, container, doc.to_vec())
    }

    /// For many documents one after another.
    pub(crate) fn opener(&self) -> Opener<'_> {
        Opener { shared: self, last: None }
    }

    /// A container's document as the ledger keeps it, under a key derived from the container's, in Base64: unreadable when that is destroyed.
    pub(crate) fn seal_for_ledger(&self, container: Id, generation: u32, plain: &[u8]) -> Result<String> {
        let key = self.key(container, generation)?.derive(b"ledger");
        Ok(STANDARD.encode(crypto::seal(&key, container.as_bytes(), plain, &*self.ambient.random)))
    }

    /// What [`Shared::seal_for_ledger`] made.
    pub(crate) fn open_from_ledger(&self, container: Id, generation: u32, sealed: &str) -> Result<Vec<u8>> {
        let key = self.key(container, generation)?.derive(b"ledger");
        STANDARD
            .decode(sealed)
            .map_err(|_| Error::damaged("a document in the ledger is not Base64"))
            .and_then(|sealed| crypto::open(&key, container.as_bytes(), &sealed))
    }

    /// The MAC under which a unique name is stored.
    pub(crate) fn name_mac(
        &self,
        container: Id,
        generation: u32,
        parent: Id,
        name: &str,
    ) -> Result<[u8; 32]> {
        let key = self.key(container, generation)?.derive(b"name");
        let mut message = parent.as_bytes().to_vec();
        message.extend_from_slice(name.as_bytes());
        Ok(crypto::mac(&key, &message))
    }

    /// The MAC under which a metric is found in all runs of a container.
    pub(crate) fn metric_mac(&self, container: Id, generation: u32, name: &str) -> Result<[u8; 32]> {
        Ok(crypto::mac(&self.key(container, generation)?.derive(b"metric"), name.as_bytes()))
    }

    /// Seals the name of a metric's series.
    pub(crate) fn seal_metric(
        &self,
        run: Id,
        container: Id,
        generation: u32,
        series: i64,
        name: &str,
    ) -> Result<Vec<u8>> {
        let plain = [&series.to_be_bytes()[..], name.as_bytes()].concat();
        self.seal(run, Kind::Run, container, generation, &plain)
    }

    /// The MAC of the unique name that a document declares, if it does: under the key of the container that its parent belongs to, so
    /// that siblings which are containers themselves cannot share a name either.
    pub(crate) fn name_mac_of(
        &self,
        kind: Kind,
        (container, generation): (Id, u32),
        parent: Option<Id>,
        doc: &[u8],
    ) -> Result<Option<[u8; 32]>> {
        match (registry::ops(kind).unique_name(doc)?, parent) {
            (Some(name), Some(parent)) => self.name_mac(container, generation, parent, &name).map(Some),
            _ => Ok(None),
        }
    }

    /// The MAC under which a searchable text is stored.
    pub(crate) fn text_mac(
        &self,
        container: Id,
        generation: u32,
        attribute: i16,
        text: &str,
    ) -> Result<[u8; 32]> {
        let key = self.key(container, generation)?.derive(b"attribute");
        let mut message = attribute.to_be_bytes().to_vec();
        message.extend_from_slice(text.as_bytes());
        Ok(crypto::mac(&key, &message))
    }

    /// The MAC under which the keyring finds a person by `text` of a scheme.
    pub(crate) fn alias(&self, scheme: &str, text: &str) -> Result<[u8; 32]> {
        let key = self.key(Id::NIL, 0)?.derive(b"alias");
        Ok(crypto::mac(&key, format!("{scheme}:{text}").as_bytes()))
    }

    /// The MAC under which a random secret is found.
    pub(crate) fn secret_mac(&self, secret: &str) -> [u8; 32] {
        crypto::mac(&self.lookup, secret.as_bytes())
    }
}

/// Opens documents one after another, and keeps the key of the last one ready: most that are read together are under the same.
pub(crate) struct Opener<'a> {
    shared: &'a Shared,
    last: Option<(Id, u32, crypto::Opener)>,
}

impl Opener<'_> {
    /// Opens what [`Shared::seal`] sealed, within its own buffer.
    pub(crate) fn open(&mut self, id: Id, kind: Kind, container: Id, mut doc: Vec<u8>) -> Result<Vec<u8>> {
        if doc.first() == Some(&UNSEALED) && habeas_core::fault::is_switched_off("sealing") {
            return Ok(doc.split_off(HEADER));
        }
        let generation = generation(&doc)?;
        let last = self.last.take().filter(|(of, under, _)| (*of, *under) == (container, generation));
        let (_, _, opener) = match last {
            Some(last) => self.last.insert(last),
            None => {
                let key = self.shared.key(container, generation)?;
                self.last.insert((container, generation, crypto::Opener::new(&key)))
            }
        };
        opener
            .open(&associated(id, kind, container), doc, HEADER)
            .map_err(|error| Error::damaged(format!("resource {id}: {}", error.what)))
    }

    /// Opens what [`Shared::seal_metric`] sealed. The number inside binds the name to its row.
    pub(crate) fn open_metric(
        &mut self,
        run: Id,
        container: Id,
        series: i64,
        sealed: Vec<u8>,
    ) -> Result<String> {
        let mut plain = self.open(run, Kind::Run, container, sealed)?;
        let number = series.to_be_bytes();
        let name = plain.starts_with(&number).then(|| plain.split_off(number.len()));
        name.and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(|| Error::damaged(format!("a metric of run {run} is not what was written")))
    }
}

/// The key generation that a stored document was sealed under.
pub(crate) fn generation(doc: &[u8]) -> Result<u32> {
    match doc {
        [FORMAT, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [format, ..] if *format > FORMAT => {
            Err(Error::damaged(format!("a document has format {format}, this habeas knows up to {FORMAT}"))
                .hint("start the newer habeas that wrote it"))
        }
        _ => Err(Error::damaged("a stored document is too short")),
    }
}
