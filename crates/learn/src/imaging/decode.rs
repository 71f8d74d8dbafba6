//! Decoding within limits.

use std::io::{self, Cursor};
use std::panic;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder};
use image::{DynamicImage, ImageDecoder};

use super::container::{self, Container};
use super::exif::{self, ExifData};
use super::{Format, ImageError, Limits, sniff};

/// Memory that a PNG's colour profile and texts may take when unpacked; they are dropped anyway.
const MAX_ANCILLARY_BYTES: u64 = 8 << 20;

/// A decoded image, still as it is stored: not turned upright.
pub(super) struct Decoded {
    pub(super) format: Format,
    pub(super) image: DynamicImage,
    pub(super) exif: ExifData,
}

/// Decodes the whole image (of an animation the first frame), after its header was found to be within `limits`.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, ImageError> {
    let format = match sniff(bytes) {
        Some(format) if format.is_accepted() => format,
        found => return Err(ImageError::Format { found }),
    };
    let container = container::walk(format, bytes);
    if let Some((width, height)) = container.dimensions {
        check_shape(width, height, limits)?;
    }
    if container.truncated {
        return Err(ImageError::Truncated);
    }
    // The JPEG decoder has asserted things of damaged files that do not hold, and may again. What it was working on
    // is dropped with the panic, so nothing half-done is left.
    // It copies what it is given, so it gets no more than the image.
    let image_bytes = container.end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    let image = panic::catch_unwind(|| decode_pixels(format, image_bytes, &container, limits))
        .unwrap_or(Err(ImageError::Damaged))?;
    let exif = exif::read(container.exif.unwrap_or_default());
    Ok(Decoded { format, image, exif })
}

fn check_shape(width: u32, height: u32, limits: &Limits) -> Result<(), ImageError> {
    let &Limits { max_side, max_aspect_ratio, .. } = limits;
    let (short, long) = (width.min(height), width.max(height));
    if short == 0 || long > max_side {
        return Err(ImageError::Dimensions { width, height, max_side });
    }
    if long > short.saturating_mul(max_aspect_ratio) {
        return Err(ImageError::AspectRatio { width, height, max_aspect_ratio });
    }
    Ok(())
}

fn decode_pixels(
    format: Format,
    bytes: &[u8],
    container: &Container<'_>,
    limits: &Limits,
) -> Result<DynamicImage, ImageError> {
    let mut decoder = open(format, bytes)?;
    let (width, height) = decoder.dimensions();
    check_shape(width, height, limits)?;
    let needed = decoder.total_bytes().saturating_add(container.coefficient_bytes);
    let spare = limits.max_decoded_bytes.checked_sub(needed).ok_or(ImageError::TooManyPixels)?;
    // A GIF's frame may be larger than its screen and then takes memory of its own.
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc = Some(spare);
    decoder.set_limits(decoder_limits).map_err(|error| refusal(&error))?;
    DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))
}

/// Width and height in pixels as the decoder reads them from the header, not turned upright.
pub(super) fn dimensions(format: Format, bytes: &[u8]) -> Option<(u32, u32)> {
    Some(open(format, bytes).ok()?.dimensions())
}

fn open(format: Format, bytes: &[u8]) -> Result<Box<dyn ImageDecoder + '_>, ImageError> {
    let input = Cursor::new(bytes);
    let opened: Result<Box<dyn ImageDecoder + '_>, image::ImageError> = match format {
        Format::Jpeg => JpegDecoder::new(input).map(|decoder| Box::new(decoder) as _),
        Format::Png => {
            let mut png_limits = image::Limits::no_limits();
            png_limits.max_alloc = Some(MAX_ANCILLARY_BYTES);
            PngDecoder::with_limits(input, png_limits).map(|decoder| Box::new(decoder) as _)
        }
        Format::Gif => GifDecoder::new(input).map(|decoder| Box::new(decoder) as _),
        Format::Bmp => BmpDecoder::new(input).map(|decoder| Box::new(decoder) as _),
        Format::Webp => return Err(ImageError::Format { found: Some(format) }),
    };
    opened.map_err(|error| refusal(&error))
}

/// The decoder's own words are dropped: they can quote the file.
fn refusal(error: &image::ImageError) -> ImageError {
    match error {
        image::ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated
        }
        image::ImageError::Limits(_) => ImageError::TooManyPixels,
        _ => ImageError::Damaged,
    }
}
