//! How the keyring lies on disk.
//!
//! A copy is a header of 4096 bytes and any number of slots of 128 bytes, so that no slot crosses a sector:
//!
//! ```text
//! header  magic (8) | format (4) | keyring id (16) | sealed check value (44) | zeros | checksum (16)
//! slot    state (1) | zeros (3) | generation (4) | sequence (8) | id (16) | payload (64) | zeros (16) | checksum (16)
//! ```
//!
//! Numbers are little-endian; a checksum is the first 16 bytes of the SHA-256 of what stands before it. A slot of zeros has
//! never been used. The payload of a key is its 32 bytes sealed under the root key (60 bytes); that of an alias is its MAC.

use habeas_core::crypto::{self, SecretKey};
use habeas_core::{Error, Id, Random, Result};

pub(super) const HEADER: usize = 4096;
pub(super) const SLOT: usize = 128;
const CHECKSUM: usize = 16;
const MAGIC: &[u8; 8] = b"HABEASKR";
const FORMAT: u32 = 1;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Key,
    Alias,
}

/// A slot, as bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) [u8; SLOT]);

impl Slot {
    pub(super) const NEVER_USED: Slot = Slot([0; SLOT]);

    fn new(state: u8, generation: u32, sequence: u64, id: Id, payload: &[u8]) -> Slot {
        let mut bytes = [0; SLOT];
        bytes[0] = state;
        bytes[4..8].copy_from_slice(&generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        bytes[16..32].copy_from_slice(id.as_bytes());
        bytes[32..32 + payload.len()].copy_from_slice(payload);
        let mut slot = Slot(bytes);
        slot.close();
        slot
    }

    fn close(&mut self) {
        let checksum = crypto::sha256(&self.0[..SLOT - CHECKSUM]);
        self.0[SLOT - CHECKSUM..].copy_from_slice(&checksum[..CHECKSUM]);
    }

    pub(super) fn free(sequence: u64) -> Slot {
        Slot::new(0, 0, sequence, Id::NIL, &[])
    }

    pub(super) fn key(
        sequence: u64,
        keyring: Id,
        id: Id,
        generation: u32,
        key: &SecretKey,
        root: &SecretKey,
        random: &dyn Random,
    ) -> Slot {
        let wrapped = crypto::seal(root, &associated(keyring, id, generation), key.expose(), random);
        Slot::new(1, generation, sequence, id, &wrapped)
    }

    pub(super) fn alias(sequence: u64, person: Id, mac: &[u8; 32]) -> Slot {
        Slot::new(2, 0, sequence, person, mac)
    }

    /// The same content with another sequence.
    pub(super) fn again(&self, sequence: u64) -> Slot {
        let mut slot = *self;
        slot.0[8..16].copy_from_slice(&sequence.to_le_bytes());
        slot.close();
        slot
    }

    /// What it holds; none when the bytes are not what was written.
    pub(super) fn state(&self) -> Option<State> {
        if *self == Slot::NEVER_USED {
            return Some(State::Free);
        }
        if crypto::sha256(&self.0[..SLOT - CHECKSUM])[..CHECKSUM] != self.0[SLOT - CHECKSUM..] {
            return None;
        }
        match self.0[0] {
            0 => Some(State::Free),
            1 => Some(State::Key),
            2 => Some(State::Alias),
            _ => None,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        u32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    pub(super) fn sequence(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[8..16]);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn id(&self) -> Id {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[16..32]);
        Id::from_bytes(bytes)
    }

    pub(super) fn mac(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.0[32..64]);
        bytes
    }

    pub(super) fn open_key(&self, keyring: Id, root: &SecretKey) -> Result<SecretKey> {
        let plain = crypto::open(root, &associated(keyring, self.id(), self.generation()), &self.0[32..92])?;
        plain
            .try_into()
            .map(SecretKey::from_bytes)
            .map_err(|_| Error::damaged("a key in the keyring is not 32 bytes long"))
    }
}

fn associated(keyring: Id, id: Id, generation: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..16].copy_from_slice(keyring.as_bytes());
    bytes[16..32].copy_from_slice(id.as_bytes());
    bytes[32..].copy_from_slice(&generation.to_le_bytes());
    bytes
}

/// A header: which keyring it is, and under which root key.
pub(super) fn header(keyring: Id, root: &SecretKey, random: &dyn Random) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..28].copy_from_slice(keyring.as_bytes());
    bytes[28..72].copy_from_slice(&crypto::seal(root, keyring.as_bytes(), &[0; 16], random));
    let checksum = crypto::sha256(&bytes[..HEADER - CHECKSUM]);
    bytes[HEADER - CHECKSUM..].copy_from_slice(&checksum[..CHECKSUM]);
    bytes
}

/// What a header tells.
pub(super) enum Header {
    /// The keyring's id; the root key is the right one.
    Ours(Id),
    /// The root key is another one.
    OtherRoot,
    /// Not what was written.
    Damaged,
    /// Written by a newer version.
    Newer,
}

pub(super) fn read_header(bytes: &[u8], root: &SecretKey) -> Header {
    if bytes.len() < HEADER
        || &bytes[..8] != MAGIC
        || crypto::sha256(&bytes[..HEADER - CHECKSUM])[..CHECKSUM] != bytes[HEADER - CHECKSUM..HEADER]
    {
        return Header::Damaged;
    }
    if u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) > FORMAT {
        return Header::Newer;
    }
    match Id::from_slice(&bytes[12..28]) {
        Ok(id) if crypto::open(root, id.as_bytes(), &bytes[28..72]).is_ok() => Header::Ours(id),
        Ok(_) => Header::OtherRoot,
        Err(_) => Header::Damaged,
    }
}
