//! EXIF fields as text, for finding an image by what its camera wrote into it.
//!
//! A file may hold any nonsense here: whatever cannot be read is left out, and nothing of it is an error.

use std::collections::HashSet;

use exif::{Context, Exif, Field, In, Reader, Tag, Value};

/// Most fields that are kept.
pub(super) const MAX_FIELDS: usize = 64;
/// Longest value that is kept, in characters.
pub(super) const MAX_VALUE_CHARS: usize = 256;
/// Longer lists of numbers are tables for programs (offsets, curves).
const MAX_NUMBERS: usize = 16;
/// A JPEG segment cannot hold more, so a longer block in a PNG is no camera's.
const MAX_BLOCK_BYTES: usize = 65_535;
/// Most directory entries that are parsed. Cameras write about a hundred.
const MAX_ENTRIES: usize = 1_024;

/// What the EXIF block says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExifData {
    /// How the stored image must be turned, 1 to 8 as in EXIF; 1 is upright.
    pub(super) orientation: u8,
    /// Names of tags and their values as text, in the order of the file.
    pub(super) fields: Vec<(String, String)>,
}

/// Reads a TIFF block; an unreadable one gives no fields and the upright orientation.
pub(super) fn read(block: &[u8]) -> ExifData {
    let Some(exif) = parse(block) else { return ExifData { orientation: 1, fields: Vec::new() } };
    let orientation = exif
        .get_field(Tag::Orientation, In::PRIMARY)
        .and_then(|field| field.value.get_uint(0))
        .and_then(|value| u8::try_from(value).ok())
        .filter(|value| (1..=8).contains(value))
        .unwrap_or(1);
    let fields = exif
        .fields()
        .filter(|field| field.ifd_num == In::PRIMARY)
        .filter_map(|field| Some((name(field.tag), text(field, exif.little_endian())?)))
        .take(MAX_FIELDS)
        .collect();
    ExifData { orientation, fields }
}

fn parse(block: &[u8]) -> Option<Exif> {
    if block.len() > MAX_BLOCK_BYTES {
        return None;
    }
    let mut block = block.to_vec();
    // The directories that follow the first one describe the thumbnail in the file, and often they are garbage.
    if let Some(next) = next_directory(&block).and_then(|at| block.get_mut(at..)?.first_chunk_mut::<4>()) {
        next.fill(0);
    }
    if !is_bounded(&Block::new(&block)) {
        return None;
    }
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    reader.read_raw(block).or_else(|error| error.distill_partial_result(|_| {})).ok()
}

/// Numbers of a TIFF block in its own byte order.
struct Block<'a> {
    bytes: &'a [u8],
    little_endian: bool,
}

impl Block<'_> {
    fn new(bytes: &[u8]) -> Block<'_> {
        Block { bytes, little_endian: bytes.starts_with(b"II") }
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// Where each entry of 12 bytes lies that the directory at `offset` has and that is not beyond the end.
    fn entries(&self, offset: u32) -> Option<impl ExactSizeIterator<Item = usize> + use<>> {
        let start = offset as usize + 2;
        let count = usize::from(self.u16_at(offset as usize)?);
        let present = count.min(self.bytes.len().saturating_sub(start) / 12);
        Some((0..present).map(move |index| start + 12 * index))
    }
}

/// Where the first directory says which one follows it: behind its entries.
fn next_directory(bytes: &[u8]) -> Option<usize> {
    let block = Block::new(bytes);
    let first = block.u32_at(4)?;
    Some(first as usize + 2 + 12 * block.entries(first)?.len())
}

/// Whether the directories hold a sane count of entries together. Directories may overlap in the file, so that
/// a few kilobytes can unfold to gigabytes; the parser does not count, so they are counted here first.
fn is_bounded(block: &Block<'_>) -> bool {
    let mut count = 0;
    let mut seen = HashSet::new();
    // Zero is no place but the end of the list.
    let following = |at: usize| block.u32_at(at).filter(|&offset| offset != 0);
    let mut pending: Vec<u32> = following(4).into_iter().collect();
    while let Some(offset) = pending.pop() {
        let Some(entries) = block.entries(offset).filter(|_| seen.insert(offset)) else { continue };
        count += entries.len() + 1;
        if count > MAX_ENTRIES {
            return false;
        }
        pending.extend(following(offset as usize + 2 + 12 * entries.len()));
        for at in entries {
            // Pointers to the EXIF, GPS and interoperability directories: one 32-bit number each.
            if matches!(block.u16_at(at), Some(0x8769 | 0x8825 | 0xA005)) {
                if (block.u16_at(at + 2), block.u32_at(at + 4)) != (Some(4), Some(1)) {
                    return false;
                }
                pending.extend(block.u32_at(at + 8));
            }
        }
    }
    true
}

/// The tag's name in the EXIF standard, or Windows' name for its own tags, or the number.
fn name(tag: Tag) -> String {
    match windows_name(tag) {
        Some(name) => name.to_owned(),
        None if tag.description().is_some() => tag.to_string(),
        None => format!("0x{:04x}", tag.number()),
    }
}

/// The tags that Windows Explorer writes: UTF-16 text in little-endian order, whatever the block's own order.
fn windows_name(tag: Tag) -> Option<&'static str> {
    match (tag.context(), tag.number()) {
        (Context::Tiff, 0x9C9B) => Some("XPTitle"),
        (Context::Tiff, 0x9C9C) => Some("XPComment"),
        (Context::Tiff, 0x9C9D) => Some("XPAuthor"),
        (Context::Tiff, 0x9C9E) => Some("XPKeywords"),
        (Context::Tiff, 0x9C9F) => Some("XPSubject"),
        _ => None,
    }
}

/// The value as text, or `None` for what says nothing to people: maker notes, padding, tables.
fn text(field: &Field, little_endian: bool) -> Option<String> {
    let long = match &field.value {
        _ if field.tag == Tag::MakerNote => return None,
        Value::Ascii(parts) => parts.iter().map(|part| latin(part)).collect::<Vec<_>>().join(" "),
        Value::Byte(bytes) if windows_name(field.tag).is_some() => utf16(bytes, true),
        Value::Undefined(bytes, _) => match bytes.split_at_checked(8) {
            // The standard's mark for the character code of a comment.
            Some((b"ASCII\0\0\0", rest)) => latin(rest),
            Some((b"UNICODE\0", rest)) => utf16(rest, little_endian),
            _ if field.tag == Tag::UserComment => return None,
            _ => numbers(field, bytes.len())?,
        },
        Value::Byte(list) => numbers(field, list.len())?,
        Value::SByte(list) => numbers(field, list.len())?,
        Value::Short(list) => numbers(field, list.len())?,
        Value::SShort(list) => numbers(field, list.len())?,
        Value::Long(list) => numbers(field, list.len())?,
        Value::SLong(list) => numbers(field, list.len())?,
        Value::Rational(list) => numbers(field, list.len())?,
        Value::SRational(list) => numbers(field, list.len())?,
        Value::Float(list) => numbers(field, list.len())?,
        Value::Double(list) => numbers(field, list.len())?,
        Value::Unknown(..) => return None,
    };
    let short: String = long.chars().filter(|char| !char.is_control()).take(MAX_VALUE_CHARS).collect();
    let trimmed = short.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Numbers as the standard shows this tag; those of a tag without a name say nothing.
fn numbers(field: &Field, count: usize) -> Option<String> {
    (count <= MAX_NUMBERS && field.tag.description().is_some()).then(|| field.display_value().to_string())
}

/// UTF-8, which cameras write although the standard says ASCII; else every byte is a Latin-1 character.
fn latin(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn utf16(bytes: &[u8], little_endian: bool) -> String {
    let from = if little_endian { u16::from_le_bytes } else { u16::from_be_bytes };
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}
