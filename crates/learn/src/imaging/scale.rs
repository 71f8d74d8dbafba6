//! Flattening, scaling and re-encoding of decoded images.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, RgbImage};

use super::ImageError;

/// JPEG quality of every copy, of 100.
const QUALITY: u8 = 90;

/// The largest size with the same aspect that fits into `long` by `short` pixels, whichever way the image lies,
/// and that is not larger than the image. Each side has at least one pixel.
pub(super) fn fit(width: u32, height: u32, long: u32, short: u32) -> (u32, u32) {
    let (own_long, own_short) = (width.max(height), width.min(height));
    let scaled = |side: u32, to: u32, from: u32| {
        let rounded = (u64::from(side) * u64::from(to) + u64::from(from) / 2) / u64::from(from);
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    };
    let (new_long, new_short) = if own_long <= long && own_short <= short {
        (own_long, own_short)
    } else if u64::from(own_long) * u64::from(short) >= u64::from(own_short) * u64::from(long) {
        (long, scaled(own_short, long, own_long))
    } else {
        (scaled(own_long, short, own_short), short)
    };
    if width >= height { (new_long, new_short) } else { (new_short, new_long) }
}

/// The image at this size (not larger than it is), 8 bits a channel, grey or RGB; transparent parts are white.
///
/// Works in the image's own channels and mixes the transparency away in place, so that no second copy of a large
/// image is ever made: only the result is converted.
pub(super) fn scaled(mut image: DynamicImage, width: u32, height: u32) -> Result<DynamicImage, ImageError> {
    flatten(&mut image);
    if (image.width(), image.height()) == (width, height) {
        let colored = image.color().has_color();
        return Ok(if colored { image.into_rgb8().into() } else { image.into_luma8().into() });
    }
    let pixel_type = pixel_type(&image)?;
    let source = ImageRef::new(image.width(), image.height(), image.as_bytes(), pixel_type)
        .map_err(|_| ImageError::Scaling)?;
    let mut target = Image::new(width, height, pixel_type);
    Resizer::new()
        .resize(&source, &mut target, &ResizeOptions::new().use_alpha(false))
        .map_err(|_| ImageError::Scaling)?;
    let channels = usize::from(image.color().channel_count());
    let sixteen_bits = usize::from(image.color().bytes_per_pixel()) == 2 * channels;
    let samples = if sixteen_bits { eight_bits(target.buffer()) } else { target.into_vec() };
    from_samples(width, height, channels, samples).ok_or(ImageError::Scaling)
}

/// Re-encoded as JPEG, with nothing in it but the pixels.
pub(super) fn jpeg(image: &DynamicImage) -> Result<Vec<u8>, ImageError> {
    let mut encoded = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut encoded, QUALITY))
        .map_err(|_| ImageError::Scaling)?;
    Ok(encoded)
}

fn pixel_type(image: &DynamicImage) -> Result<PixelType, ImageError> {
    match image {
        DynamicImage::ImageLuma8(_) => Ok(PixelType::U8),
        DynamicImage::ImageLumaA8(_) => Ok(PixelType::U8x2),
        DynamicImage::ImageRgb8(_) => Ok(PixelType::U8x3),
        DynamicImage::ImageRgba8(_) => Ok(PixelType::U8x4),
        DynamicImage::ImageLuma16(_) => Ok(PixelType::U16),
        DynamicImage::ImageLumaA16(_) => Ok(PixelType::U16x2),
        DynamicImage::ImageRgb16(_) => Ok(PixelType::U16x3),
        DynamicImage::ImageRgba16(_) => Ok(PixelType::U16x4),
        // Floating point, which none of the accepted formats has.
        _ => Err(ImageError::Scaling),
    }
}

fn flatten(image: &mut DynamicImage) {
    match image {
        DynamicImage::ImageLumaA8(buffer) => flatten_samples(buffer, 2, u32::from(u8::MAX)),
        DynamicImage::ImageRgba8(buffer) => flatten_samples(buffer, 4, u32::from(u8::MAX)),
        DynamicImage::ImageLumaA16(buffer) => flatten_samples(buffer, 2, u32::from(u16::MAX)),
        DynamicImage::ImageRgba16(buffer) => flatten_samples(buffer, 4, u32::from(u16::MAX)),
        _ => {}
    }
}

/// Mixes each pixel with white by its last channel, whose value `opaque` means opaque. The channel itself keeps
/// its value: it is dropped with the conversion of the result.
fn flatten_samples<T: Copy + Into<u32> + TryFrom<u32>>(samples: &mut [T], channels: usize, opaque: u32) {
    for pixel in samples.chunks_exact_mut(channels) {
        let Some((alpha, colors)) = pixel.split_last_mut() else { continue };
        let alpha = (*alpha).into();
        if alpha == opaque {
            continue;
        }
        for color in colors {
            // At most opaque * opaque + opaque / 2, which fits for 16 bits too.
            let mixed = ((*color).into() * alpha + opaque * (opaque - alpha) + opaque / 2) / opaque;
            *color = T::try_from(mixed).unwrap_or(*color);
        }
    }
}

/// 16-bit samples in the machine's byte order, rounded to 8 bits: 65,535 is 255 times 257.
fn eight_bits(samples: &[u8]) -> Vec<u8> {
    let rounded = |pair: &[u8]| ((u32::from(u16::from_ne_bytes([pair[0], pair[1]])) + 128) / 257) as u8;
    samples.chunks_exact(2).map(rounded).collect()
}

/// Drops the transparency, which is mixed in already.
fn from_samples(width: u32, height: u32, channels: usize, samples: Vec<u8>) -> Option<DynamicImage> {
    let without_alpha = match channels {
        2 | 4 => samples
            .chunks_exact(channels)
            .flat_map(|pixel| &pixel[..channels - 1])
            .copied()
            .collect::<Vec<u8>>(),
        _ => samples,
    };
    if channels <= 2 {
        GrayImage::from_raw(width, height, without_alpha).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, without_alpha).map(DynamicImage::ImageRgb8)
    }
}
