//! From an image to the numbers that an extractor reads.
//!
//! The resize is written here, in integers, because its bits are part of an extractor's identity: one level of
//! difference in a pixel changes stored rows, so no crate's version may decide it.

use crate::imaging::{self, ImageError, Limits};

/// Width and height, in pixels, of what phi-v1 reads.
pub const PHI_SIDE: usize = 224;
/// Features are stored as `round(feature * 16384)`, half to even. The scale is fixed: one taken from the data would
/// depend on the image that holds the maximum, and could not be unlearned.
pub const FEATURE_SCALE: f32 = 16384.0;

/// Bits of the fixed-point weights.
const WEIGHT_BITS: u32 = 22;

/// Decodes an image and stretches it to `side` x `side` pixels: RGB, interleaved, row by row.
/// Errors: the image is not accepted, see [`ImageError`].
pub fn stretched(bytes: &[u8], limits: &Limits, side: usize) -> Result<Vec<u8>, ImageError> {
    let (width, height, pixels) = imaging::upright(bytes, limits)?;
    Ok(stretch(&pixels, width as usize, height as usize, side))
}

/// Stretches `width` x `height` RGB pixels to `side` x `side`: a triangle filter that widens with the scale, weights of
/// 22 bits, horizontally and then vertically, each pass rounded to 8 bits. `pixels` has `width * height * 3` bytes.
pub fn stretch(pixels: &[u8], width: usize, height: usize, side: usize) -> Vec<u8> {
    let narrowed = if width == side {
        pixels.to_vec()
    } else {
        let table = weights(width, side);
        let mut narrowed = Vec::with_capacity(height * side * 3);
        for row in pixels.chunks_exact(width * 3) {
            for (first, weights) in &table {
                narrowed
                    .extend((0..3).map(|channel| mix(weights, |index| row[(first + index) * 3 + channel])));
            }
        }
        narrowed
    };
    if height == side {
        return narrowed;
    }
    let line = side * 3;
    let mut stretched = Vec::with_capacity(side * line);
    for (first, weights) in &weights(height, side) {
        stretched
            .extend((0..line).map(|place| mix(weights, |index| narrowed[(first + index) * line + place])));
    }
    stretched
}

/// For each pixel of an axis of `to` pixels: the first pixel of the axis of `from` that it is made of, and the weights.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<i64>)> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let row = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..last)
            .map(|place| (1.0 - ((place as f64 - centre + 0.5) / support).abs()).max(0.0))
            .collect();
        let sum: f64 = raw.iter().sum();
        let one = f64::from(1_u32 << WEIGHT_BITS);
        (first, raw.iter().map(|weight| (weight / sum * one + 0.5).floor() as i64).collect())
    };
    (0..to).map(row).collect()
}

fn mix(weights: &[i64], pixel: impl Fn(usize) -> u8) -> u8 {
    let sum: i64 = weights.iter().enumerate().map(|(index, weight)| weight * i64::from(pixel(index))).sum();
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Views of a square image that Advanced training looks at: the image, its mirror image, the middle three quarters, the upper left four
/// fifths, and the lower right four fifths mirrored; each `side` x `side`. `pixels` has `side * side * 3` bytes.
pub fn views(pixels: &[u8], side: usize) -> [Vec<u8>; VIEWS] {
    let (middle, inset) = (side * 3 / 4, side / 8);
    let (large, rest) = (side * 45 / 56, side - side * 45 / 56);
    let crop = |left: usize, width: usize| {
        let rows = pixels.chunks_exact(side * 3).skip(left).take(width);
        let cut: Vec<u8> = rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied().collect();
        stretch(&cut, width, width, side)
    };
    [
        pixels.to_vec(),
        mirror(pixels, side),
        crop(inset, middle),
        crop(0, large),
        mirror(&crop(rest, large), side),
    ]
}

/// How many views [`views`] makes.
pub const VIEWS: usize = 5;

fn mirror(pixels: &[u8], side: usize) -> Vec<u8> {
    pixels.chunks_exact(side * 3).flat_map(|row| row.chunks_exact(3).rev().flatten()).copied().collect()
}

/// RGB pixels, interleaved, as an extractor reads them: three planes (red, green, blue) of numbers 0 to 1.
pub fn planes(pixels: &[u8]) -> Vec<f32> {
    let plane = |channel| pixels.iter().skip(channel).step_by(3).map(|&value| f32::from(value) / 255.0);
    (0..3).flat_map(plane).collect()
}

/// The length to which the answers of a user's own backbone are brought: so that every number can be quantised.
pub const BACKBONE_LENGTH: f32 = 0.99;

/// A vector brought to [`BACKBONE_LENGTH`]; none if it is zero or not finite.
pub fn of_backbone(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scale = f64::from(BACKBONE_LENGTH) / length;
    (length > 0.0 && scale.is_finite() && scale > 0.0)
        .then(|| vector.iter().map(|value| (f64::from(*value) * scale) as f32).collect())
}

/// The stored form of a feature vector: 16-bit integers.
pub fn quantise(features: &[f32]) -> Vec<i16> {
    features.iter().map(|feature| (feature * FEATURE_SCALE).round_ties_even() as i16).collect()
}

/// A row as bytes, little-endian.
pub fn row_to_bytes(row: &[i16]) -> Vec<u8> {
    row.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What a stored row says of the features: they were rounded when it was made.
pub fn features_of_row(row: &[i16]) -> Vec<f32> {
    row.iter().map(|&value| f32::from(value) / FEATURE_SCALE).collect()
}

/// A row from its bytes; `None` if there is half a number.
pub fn row_from_bytes(bytes: &[u8]) -> Option<Vec<i16>> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect())
}
