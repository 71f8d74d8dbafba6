//! Images for the tests: made here, or of the samples in the repository.

use std::io::Cursor;

use habeas_learn::imaging::{Inspected, Limits, inspect};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

macro_rules! sample {
    ($path:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../data/custom-vision/CustomVision/ImageClassification/Images/",
            $path
        ))
    };
}

/// With EXIF, among it the invalid orientation 0 and a maker note.
pub(crate) const HEMLOCK: &[u8] = sample!("Hemlock/hemlock_1.jpg");
/// With orientation 3.
pub(crate) const CHERRY_UPSIDE_DOWN: &[u8] = sample!("Japanese_Cherry/japanese_cherry_8.jpg");

/// What is told about an image that must be accepted.
pub(crate) fn accepted(bytes: &[u8]) -> Inspected {
    inspect(bytes, &Limits::default()).unwrap()
}

/// Left half red, right half blue.
pub(crate) fn two_halves(width: u32, height: u32) -> DynamicImage {
    let pixel = |x, _| if x < width / 2 { Rgb([200, 30, 30]) } else { Rgb([30, 30, 200]) };
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, pixel))
}

pub(crate) fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Puts an APP1 segment with this TIFF block behind a JPEG's first two bytes.
pub(crate) fn with_exif(jpeg: &[u8], block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(2 + 6 + block.len()).unwrap();
    [&jpeg[..2], &[0xFF, 0xE1], &length.to_be_bytes(), b"Exif\0\0", block, &jpeg[2..]].concat()
}

/// A directory entry: tag, type, count and either the value or its place.
pub(crate) type Entry = (u16, u16, u32, [u8; 4]);

/// A big-endian TIFF block of one directory, with `tail` behind it.
pub(crate) fn tiff(entries: &[Entry], tail: &[u8]) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
    block.extend(u16::try_from(entries.len()).unwrap().to_be_bytes());
    for (tag, kind, count, value) in entries {
        block.extend(tag.to_be_bytes());
        block.extend(kind.to_be_bytes());
        block.extend(count.to_be_bytes());
        block.extend(value);
    }
    block.extend([0; 4]);
    block.extend(tail);
    block
}

/// Where the tail of a block with this many entries begins.
pub(crate) fn tail_at(entries: u32) -> u32 {
    8 + 2 + 12 * entries + 4
}

/// A PNG of these chunks.
pub(crate) fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
    for (kind, data) in chunks {
        let checked = [*kind as &[u8], data].concat();
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(&checked);
        bytes.extend(crc32(&checked).to_be_bytes());
    }
    bytes
}

/// The header chunk's data of an 8-bit PNG of this color type.
pub(crate) fn png_header(width: u32, height: u32, color_type: u8) -> Vec<u8> {
    [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, color_type, 0, 0, 0]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

/// A progressive JPEG, all in one middle grey: each of its blocks of 8 x 8 samples takes a single bit.
/// `components` gives the sampling factors of each component, 4 bits horizontal and 4 vertical.
pub(crate) fn progressive_jpeg(width: u16, height: u16, components: &[u8]) -> Vec<u8> {
    let segment = |marker: u8, data: &[u8]| {
        [&[0xFF, marker], &u16::try_from(data.len() + 2).unwrap().to_be_bytes()[..], data].concat()
    };
    let count = u8::try_from(components.len()).unwrap();
    let frame_components: Vec<u8> =
        (1..).zip(components).flat_map(|(id, &sampling)| [id, sampling, 0]).collect();
    let [height_bytes, width_bytes] = [height, width].map(u16::to_be_bytes);
    let frame = [&[8][..], &height_bytes, &width_bytes, &[count], &frame_components].concat();
    // One code of one bit, for "no difference to the block before".
    let code_table = [&[0, 1][..], &[0; 15], &[0]].concat();
    // The scan has only the first coefficient of each block.
    let scan_components: Vec<u8> = (1..=count).flat_map(|id| [id, 0]).collect();
    let scan = [&[count][..], &scan_components, &[0, 0, 0]].concat();
    let (widest, highest) = (
        components.iter().map(|sampling| u32::from(sampling >> 4)).max().unwrap(),
        components.iter().map(|sampling| u32::from(sampling & 15)).max().unwrap(),
    );
    let units = u32::from(width).div_ceil(8 * widest) * u32::from(height).div_ceil(8 * highest);
    let blocks: u32 = components.iter().map(|sampling| u32::from((sampling >> 4) * (sampling & 15))).sum();
    [
        &[0xFF, 0xD8][..],
        &segment(0xDB, &[&[0][..], &[1; 64]].concat()),
        &segment(0xC2, &frame),
        &segment(0xC4, &code_table),
        &segment(0xDA, &scan),
        &vec![0; (units * blocks).div_ceil(8) as usize],
        &[0xFF, 0xD9],
    ]
    .concat()
}
