//! How a record lies in the ledger's file, and what a crash can have left of one.
//!
//! `length (4) | sequence (8) | check (4) | JSON | checksum (16)`, numbers little-endian. The length is that of the JSON with the highest bit
//! set; the check is the first 4 bytes of the SHA-256 of length and sequence, the checksum the first 16 of the SHA-256 of all that stands
//! before it. Records that the first version wrote have neither the bit nor the check, and are read as well.
//!
//! A power cut leaves the beginning of a record, or a whole one in which blocks that never reached the disk are zeros. JSON has no zeros, and
//! a check tells a changed length from one whose record is not all there: so a changed bit is damage, in the last record too.

use habeas_core::crypto;

const MARK: u32 = 1 << 31;
const NUMBERS: usize = 12;
const CHECK: usize = 4;
const CHECKSUM: usize = 16;
/// The longest record that can be; longer ones are damage.
const LONGEST: usize = 64 * 1024 * 1024;
/// Disks write at least this much at once.
const BLOCK: usize = 512;

/// What stands at a place in the file.
pub(super) enum Next<'a> {
    /// A record.
    Whole {
        json: &'a [u8],
        /// Where the next one begins.
        end: usize,
    },
    /// The end, and what a crash left of a record there.
    CutOff,
    /// Something else.
    Damaged,
}

/// A record with the JSON of its content.
pub(super) fn encode(sequence: u64, json: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NUMBERS + CHECK + json.len() + CHECKSUM);
    bytes.extend_from_slice(&(json.len() as u32 | MARK).to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let check = crypto::sha256(&bytes);
    bytes.extend_from_slice(&check[..CHECK]);
    bytes.extend_from_slice(json);
    let checksum = crypto::sha256(&bytes);
    bytes.extend_from_slice(&checksum[..CHECKSUM]);
    bytes
}

/// Looks at the record that should be number `number` and begin at `at`, which is before the end.
pub(super) fn next(bytes: &[u8], at: usize, number: u64) -> Next<'_> {
    let rest = &bytes[at..];
    let Some(length) = rest.first_chunk().map(|length| u32::from_le_bytes(*length)) else {
        return Next::CutOff;
    };
    if length == 0 {
        return torn(bytes, at);
    }
    if length & MARK == 0 {
        return match first_version(rest, at, number) {
            // The mark's byte may stand in a block that never reached the disk.
            Next::Damaged => torn(bytes, at),
            known => known,
        };
    }
    let head = NUMBERS + CHECK;
    let Some((numbers, check)) = rest.get(..head).map(|head| head.split_at(NUMBERS)) else {
        return Next::CutOff;
    };
    if crypto::sha256(numbers)[..CHECK] != *check {
        return torn(bytes, at);
    }
    match whole(rest, head, (length & !MARK) as usize, number) {
        Some(Ok(json)) => Next::Whole { json, end: at + head + json.len() + CHECKSUM },
        Some(Err(size)) if size == rest.len() => torn(bytes, at),
        Some(Err(_)) => Next::Damaged,
        None => Next::CutOff,
    }
}

/// A record of the first version, in which a changed length cannot be told from one that is not all there unless a whole record follows.
fn first_version(rest: &[u8], at: usize, number: u64) -> Next<'_> {
    let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    match whole(rest, NUMBERS, length, number) {
        Some(Ok(json)) => Next::Whole { json, end: at + NUMBERS + json.len() + CHECKSUM },
        Some(Err(size)) if size == rest.len() => Next::CutOff,
        None if length <= LONGEST && !is_followed(rest, number) => Next::CutOff,
        Some(Err(_)) | None => Next::Damaged,
    }
}

/// The JSON of the record, or the record's size if its checksum or number is another; none when it is not all there.
fn whole(rest: &[u8], head: usize, length: usize, number: u64) -> Option<Result<&[u8], usize>> {
    let size = head + length + CHECKSUM;
    let record = rest.get(..size)?;
    let (signed, checksum) = record.split_at(size - CHECKSUM);
    let sequence = u64::from_le_bytes(*signed.get(4..)?.first_chunk()?);
    let is_right = sequence == number && crypto::sha256(signed)[..CHECKSUM] == *checksum;
    Some(if is_right { Ok(&signed[head..]) } else { Err(size) })
}

/// Whether a block of what stands from `at` on never reached the disk: two or more bytes of it, all zeros.
fn torn(bytes: &[u8], at: usize) -> Next<'_> {
    let mut from = at;
    while from < bytes.len() {
        let to = (from / BLOCK * BLOCK + BLOCK).min(bytes.len());
        if to - from >= 2 && bytes[from..to].iter().all(|byte| *byte == 0) {
            return Next::CutOff;
        }
        from = to;
    }
    Next::Damaged
}

/// Whether a whole record stands somewhere behind the one that should be number `number` at the start of `bytes`.
fn is_followed(bytes: &[u8], number: u64) -> bool {
    (1..bytes.len()).any(|at| {
        let rest = &bytes[at..];
        // The sequence first: it is cheap, and rules out almost every place.
        let sequence =
            rest.get(4..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
        sequence.is_some_and(|sequence| {
            sequence > number
                && sequence - number <= bytes.len() as u64
                && matches!(next(rest, 0, sequence), Next::Whole { .. })
        })
    })
}
