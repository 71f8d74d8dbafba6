//! Walking an image file's outer structure without decoding it.
//!
//! The decoders are forgiving: a JPEG that is cut off decodes with grey in place of the rest, and a PNG or GIF
//! is not read to its end. So the structure is walked here first: it tells whether the file is whole, where its
//! EXIF block lies, and what must be known before memory is spent on it.
//!
//! Sources: ITU-T T.81 annex B (JPEG), ISO/IEC 15948 section 5 (PNG), GIF89a specification (1990), section 20 on.

use super::Format;

/// What the outer structure tells. The default is that of a format without structure to walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Container<'a> {
    /// Declared width and height in pixels.
    pub(super) dimensions: Option<(u32, u32)>,
    /// Whether the data end before the format says that the image ends.
    pub(super) truncated: bool,
    /// Where a JPEG says that it ends. Phones put films behind that.
    pub(super) end: Option<usize>,
    /// The TIFF block that holds the EXIF fields.
    pub(super) exif: Option<&'a [u8]>,
    /// Bytes that the decoder needs besides the pixels: a JPEG that comes in several scans has all its
    /// coefficients in memory, 16 bits each, until the last scan is read.
    pub(super) coefficient_bytes: u64,
}

/// Walks `bytes`, which begin like `format`.
pub(super) fn walk(format: Format, bytes: &[u8]) -> Container<'_> {
    match format {
        Format::Jpeg => jpeg(bytes),
        Format::Png => png(bytes),
        Format::Gif => gif(bytes),
        // A bitmap's decoder reads all its rows and misses the ones that are not there; WebP is not decoded.
        Format::Bmp | Format::Webp => Container::default(),
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn jpeg(bytes: &[u8]) -> Container<'_> {
    let mut container = Container { truncated: true, ..Container::default() };
    let mut frame = JpegFrame::default();
    let mut scan_seen = false;
    let mut several_scans = false;
    let mut at = 2;
    while let (Some(&prefix), Some(&marker)) = (bytes.get(at), bytes.get(at + 1)) {
        match (prefix, marker) {
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => {
                at += 2;
                continue;
            }
            (0xFF, 0xD9) => {
                container.truncated = !scan_seen;
                container.end = Some(at + 2);
                break;
            }
            (0xFF, 0x02..=0xFE) => {}
            // Compressed data, or a fill byte before a marker.
            _ => {
                at += 1;
                continue;
            }
        }
        let Some(length) = be16(bytes, at + 2) else { break };
        let end = at + 2 + usize::from(length);
        let Some(segment) = bytes.get(at + 4..end) else { break };
        match marker {
            0xE1 => container.exif = container.exif.or_else(|| segment.strip_prefix(b"Exif\0\0")),
            // Start of frame, of whatever process; C4, C8 and CC in this range are tables and a reserved one.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                frame = JpegFrame::parse(segment).unwrap_or_default();
                several_scans |= marker == 0xC2;
                container.dimensions = Some((frame.width, frame.height));
                container.coefficient_bytes = container.coefficient_bytes.max(frame.coefficient_bytes);
            }
            0xDA => {
                several_scans |= segment.first().map(|&count| usize::from(count)) != Some(frame.components);
                scan_seen = true;
            }
            _ => {}
        }
        at = end;
    }
    if !several_scans {
        container.coefficient_bytes = 0;
    }
    container
}

#[derive(Default)]
struct JpegFrame {
    width: u32,
    height: u32,
    components: usize,
    coefficient_bytes: u64,
}

impl JpegFrame {
    /// Reads a start-of-frame segment: sample precision, height, width, count of components, and for each
    /// component its id, its horizontal and vertical sampling factor (4 bits each) and its table.
    fn parse(segment: &[u8]) -> Option<JpegFrame> {
        let height = u32::from(be16(segment, 1)?);
        let width = u32::from(be16(segment, 3)?);
        let components = usize::from(*segment.get(5)?);
        let sampling: Vec<(u64, u64)> = segment
            .get(6..6 + 3 * components)?
            .chunks_exact(3)
            .map(|component| (u64::from(component[1] >> 4), u64::from(component[1] & 15)))
            .collect();
        let widest = sampling.iter().map(|&(horizontal, _)| horizontal).max()?.max(1);
        let highest = sampling.iter().map(|&(_, vertical)| vertical).max()?.max(1);
        let units = u64::from(width).div_ceil(8 * widest) * u64::from(height).div_ceil(8 * highest);
        let blocks_per_unit: u64 = sampling.iter().map(|&(horizontal, vertical)| horizontal * vertical).sum();
        let coefficient_bytes = units * blocks_per_unit * 64 * 2;
        Some(JpegFrame { width, height, components, coefficient_bytes })
    }
}

fn png(bytes: &[u8]) -> Container<'_> {
    let mut container = Container { truncated: true, ..Container::default() };
    let mut at = 8;
    // A chunk is its length, its type, its data and a check value of four bytes.
    while let Some(length) = be32(bytes, at) {
        let data_at = at + 8;
        let Some(data_end) = data_at.checked_add(length as usize) else { break };
        let (Some(kind), Some(data)) = (bytes.get(at + 4..data_at), bytes.get(data_at..data_end)) else {
            break;
        };
        if bytes.len() < data_end + 4 {
            break;
        }
        match kind {
            b"IHDR" => container.dimensions = be32(data, 0).zip(be32(data, 4)),
            b"eXIf" => container.exif = container.exif.or(Some(data)),
            b"IEND" => {
                container.truncated = false;
                break;
            }
            _ => {}
        }
        at = data_end + 4;
    }
    container
}

fn gif(bytes: &[u8]) -> Container<'_> {
    let side = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes).map(u32::from);
    Container { dimensions: side(6).zip(side(8)), truncated: !gif_is_whole(bytes), ..Container::default() }
}

/// Whether every block up to the trailer is there. What follows a block of an unknown sort cannot be walked:
/// then the first image counts.
fn gif_is_whole(bytes: &[u8]) -> bool {
    let color_table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let Some(&flags) = bytes.get(10) else { return false };
    let mut at = 13 + color_table(flags);
    let mut image_seen = false;
    while let Some(&introducer) = bytes.get(at) {
        at = match introducer {
            0x21 => at + 2,
            0x2C => {
                let Some(&flags) = bytes.get(at + 9) else { return false };
                image_seen = true;
                at + 11 + color_table(flags)
            }
            0x3B => return true,
            _ => return image_seen,
        };
        // Both sorts of block go on in parts that begin with their length and end with an empty part.
        loop {
            let Some(&length) = bytes.get(at) else { return false };
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
    false
}
