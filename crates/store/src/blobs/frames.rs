//! The format of a sealed blob.
//!
//! The plain bytes are cut into frames of [`FRAME`] bytes; only the last frame may be shorter, and an empty blob
//! is one empty last frame. Each is sealed on its own with AES-256-GCM and followed by its 16-byte tag, frame after
//! frame, with nothing before, between or behind, so that the place of every frame follows from its number.
//!
//! This is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance, 2015): the nonce is four zero bytes and a big-endian 64-bit number, the frame's
//! counter with the top bit set on the last frame. It never repeats under one key, because each blob has a key of
//! its own and is written once. The associated data is the blob's id and the format version, so that an object
//! that was cut off, put together anew or moved to another name does not open.

use habeas_core::{BlobRef, Error, Result, crypto, fault};

/// Plain bytes in every frame but the last.
pub(super) const FRAME: usize = 64 * 1024;
/// Bytes that sealing adds to a frame: the AES-GCM tag.
const TAG: usize = 16;
/// Stored bytes of every frame but the last.
pub(super) const SEALED_FRAME: usize = FRAME + TAG;

/// Bound into every frame; another layout gets another number.
const FORMAT_VERSION: u8 = 1;
/// In the place of the tag while a test has switched sealing off.
const UNSEALED: [u8; TAG] = [0; TAG];
/// Marks the last frame in its nonce.
const LAST: u64 = 1 << 63;

/// How many frames `plain_size` bytes take.
pub(super) fn frame_count(plain_size: u64) -> u64 {
    plain_size.div_ceil(FRAME as u64).max(1)
}

/// How many bytes a blob of `plain_size` bytes takes in the object store.
pub fn stored_size(plain_size: u64) -> u64 {
    plain_size.saturating_add(frame_count(plain_size).saturating_mul(TAG as u64))
}

/// Seals frame `number` (from zero) of `blob`.
pub(super) fn seal(blob: &BlobRef, number: u64, last: bool, plain: &[u8]) -> Vec<u8> {
    if fault::is_switched_off("sealing") {
        return [plain, &UNSEALED].concat();
    }
    crypto::seal_with_nonce(&blob.key, nonce(number, last), &associated(blob), plain)
}

/// Opens a run of stored frames of which the first is number `first`; which one is the last follows from the
/// blob's size. [`habeas_core::ErrorKind::Damaged`] when any of them is not what was written.
pub(super) fn open_run(blob: &BlobRef, first: u64, stored: &[u8]) -> Result<Vec<u8>> {
    let last = frame_count(blob.size) - 1;
    let associated = associated(blob);
    let mut plain = Vec::with_capacity(stored.len());
    for (number, sealed) in (first..).zip(stored.chunks(SEALED_FRAME)) {
        if fault::is_switched_off("sealing")
            && let Some(frame) = sealed.strip_suffix(&UNSEALED)
        {
            plain.extend_from_slice(frame);
            continue;
        }
        let frame = crypto::open_with_nonce(&blob.key, nonce(number, number == last), &associated, sealed)
            .map_err(|_| damaged(blob, &format!("frame {number} was changed or belongs to another blob")))?;
        plain.extend_from_slice(&frame);
    }
    Ok(plain)
}

/// The error for a stored object that is not what was written.
pub(super) fn damaged(blob: &BlobRef, how: &str) -> Error {
    Error::damaged(format!("blob {} is damaged: {how}", blob.id)).hint("restore this blob from a backup")
}

fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(if last { number | LAST } else { number }).to_be_bytes());
    nonce
}

fn associated(blob: &BlobRef) -> [u8; 17] {
    let mut associated = [FORMAT_VERSION; 17];
    associated[..16].copy_from_slice(blob.id.as_bytes());
    associated
}
