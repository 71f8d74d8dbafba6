//! Which images are accepted, and the copies that are made of them.
//!
//! - The original bytes are never changed here. The copies are made from the pixels alone: turned upright,
//!   transparent parts on white, 8 bits a channel, and with no metadata at all (EXIF, XMP, IPTC, comments, colour
//!   profiles). Without its profile an image in a wide colour space looks slightly paler in the copies.
//! - Of an animation (GIF, APNG) the first frame is used.
//! - Compressed data with an error inside are shown as far as they decode, as browsers do; data that end too early
//!   are refused.
//! - **Memory.** With the default [`Limits`] one call needs at most about 430 MB: the decoded pixels and a JPEG's
//!   coefficients (together at most [`Limits::max_decoded_bytes`]), a GIF decoder's byte for each pixel, rows that
//!   are scaled in one direction only, and a copy of the uploaded bytes. Measured: 422 MB for a GIF and 395 MB for a
//!   16-bit PNG of the most pixels that are accepted, 354 MB for a JPEG of 10,240 x 10,240 pixels. All of it is
//!   freed when the call returns. The caller bounds how many calls run at once.

mod container;
mod decode;
mod error;
mod exif;
mod format;
mod scale;

use image::DynamicImage;
use image::metadata::Orientation;

pub use error::ImageError;
pub use format::{Format, sniff};

/// The resized copy's longer side has at most this many pixels (as in Custom Vision).
pub const RESIZED_LONG_SIDE: u32 = 1600;
/// The resized copy's shorter side has at most this many pixels (as in Custom Vision).
pub const RESIZED_SHORT_SIDE: u32 = 900;
/// Each side of a thumbnail has at most this many pixels.
pub const THUMBNAIL_SIDE: u32 = 256;
/// Media type of the copies that are made here.
pub const COPY_MEDIA_TYPE: &str = "image/jpeg";

/// What an image may be; checked on its header, before memory is spent on its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest side, in pixels.
    pub max_side: u32,
    /// How many times longer than the other a side may be.
    pub max_aspect_ratio: u32,
    /// Memory for decoding, in bytes: the pixels in their own channels and depth, and the coefficients of a JPEG
    /// that comes in several scans.
    pub max_decoded_bytes: u64,
}

impl Default for Limits {
    /// Custom Vision's limits, and 320 MiB: an RGB image with the longest sides both ways (300 MiB), an RGBA one of
    /// 83 megapixels, a progressive JPEG of 37 megapixels or, with halved colour resolution, of 55.
    fn default() -> Limits {
        Limits { max_side: 10_240, max_aspect_ratio: 25, max_decoded_bytes: 320 << 20 }
    }
}

/// What an accepted image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Its format, by its content.
    pub format: Format,
    /// Width in pixels, upright.
    pub width: u32,
    /// Height in pixels, upright.
    pub height: u32,
    /// Width of the resized copy in pixels; clients are told this one.
    pub resized_width: u32,
    /// Height of the resized copy in pixels; clients are told this one.
    pub resized_height: u32,
    /// EXIF orientation of the stored pixels, 1 (upright) to 8; 1 where the file has none or a senseless one.
    pub orientation: u8,
    /// EXIF fields: tag name and value as text, at most 64 of at most 256 characters each. Personal data: where,
    /// when and by whose camera the image was taken.
    pub exif: Vec<(String, String)>,
}

/// An accepted image and its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivatives {
    /// What the image is.
    pub inspected: Inspected,
    /// What [`resized`] returns.
    pub resized: Vec<u8>,
    /// What [`thumbnail`] returns.
    pub thumbnail: Vec<u8>,
}

/// Decodes the whole image and tells what it is. Errors: it is not accepted, see [`ImageError`].
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<Inspected, ImageError> {
    Ok(describe(decode::decode(bytes, limits)?).0)
}

/// Width and height in pixels, upright, by the header alone; none when it cannot be read. Says nothing about whether the image is accepted.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let format = sniff(bytes)?;
    let container = container::walk(format, bytes);
    let (width, height) = container.dimensions.or_else(|| decode::dimensions(format, bytes))?;
    let orientation = exif::read(container.exif.unwrap_or_default()).orientation;
    Some(if orientation >= 5 { (height, width) } else { (width, height) })
}

/// The resized copy, a JPEG of quality 90: at most 1600 pixels long and 900 wide, whichever way the image lies,
/// and never larger than the image. Errors: the image is not accepted, see [`ImageError`].
pub fn resized(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let (inspected, image) = describe(decode::decode(bytes, limits)?);
    scale::jpeg(&resized_image(&inspected, image)?)
}

/// The thumbnail, a JPEG of quality 90 of at most 256 x 256 pixels, never larger than the image.
/// Errors: the image is not accepted, see [`ImageError`].
pub fn thumbnail(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let (inspected, image) = describe(decode::decode(bytes, limits)?);
    scale::jpeg(&thumbnail_image(resized_image(&inspected, image)?)?)
}

/// The pixels, upright: width, height and RGB of 8 bits, interleaved, row by row; transparent parts are white.
/// Errors: the image is not accepted, see [`ImageError`].
pub fn upright(bytes: &[u8], limits: &Limits) -> Result<(u32, u32, Vec<u8>), ImageError> {
    let decoded = decode::decode(bytes, limits)?;
    let (width, height) = (decoded.image.width(), decoded.image.height());
    let mut image = scale::scaled(decoded.image, width, height)?;
    if let Some(orientation) = Orientation::from_exif(decoded.exif.orientation) {
        image.apply_orientation(orientation);
    }
    Ok((image.width(), image.height(), image.into_rgb8().into_raw()))
}

/// [`inspect`], [`resized`] and [`thumbnail`] with one decoding. Errors: the image is not accepted, see
/// [`ImageError`].
pub fn derivatives(bytes: &[u8], limits: &Limits) -> Result<Derivatives, ImageError> {
    let (inspected, image) = describe(decode::decode(bytes, limits)?);
    let resized_image = resized_image(&inspected, image)?;
    let resized = scale::jpeg(&resized_image)?;
    let thumbnail = scale::jpeg(&thumbnail_image(resized_image)?)?;
    Ok(Derivatives { inspected, resized, thumbnail })
}

fn describe(decoded: decode::Decoded) -> (Inspected, DynamicImage) {
    let decode::Decoded { format, image, exif } = decoded;
    // Orientations from 5 on lie on their side.
    let (width, height) =
        if exif.orientation >= 5 { (image.height(), image.width()) } else { (image.width(), image.height()) };
    let (resized_width, resized_height) = scale::fit(width, height, RESIZED_LONG_SIDE, RESIZED_SHORT_SIDE);
    let inspected = Inspected {
        format,
        width,
        height,
        resized_width,
        resized_height,
        orientation: exif.orientation,
        exif: exif.fields,
    };
    (inspected, image)
}

/// Scales first and turns then, since turning makes a second copy.
fn resized_image(inspected: &Inspected, image: DynamicImage) -> Result<DynamicImage, ImageError> {
    let (width, height) = scale::fit(image.width(), image.height(), RESIZED_LONG_SIDE, RESIZED_SHORT_SIDE);
    let mut resized = scale::scaled(image, width, height)?;
    if let Some(orientation) = Orientation::from_exif(inspected.orientation) {
        resized.apply_orientation(orientation);
    }
    Ok(resized)
}

/// Made from the resized image: as good to the eye, and the large one is gone by then.
fn thumbnail_image(resized: DynamicImage) -> Result<DynamicImage, ImageError> {
    let (width, height) = scale::fit(resized.width(), resized.height(), THUMBNAIL_SIDE, THUMBNAIL_SIDE);
    scale::scaled(resized, width, height)
}
