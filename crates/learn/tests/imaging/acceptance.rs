//! Which images are accepted, and what is told about them.

use habeas_core::ErrorKind;
use habeas_learn::imaging::{Format, ImageError, Limits, derivatives, inspect, sniff};
use image::ImageFormat;

use crate::made::{HEMLOCK, accepted, encode, png, png_header, progressive_jpeg, two_halves};

fn refused(bytes: &[u8]) -> ImageError {
    inspect(bytes, &Limits::default()).unwrap_err()
}

#[test]
fn recognises_formats_by_content() {
    let picture = two_halves(20, 10);
    for (written, expected, media_type, extension) in [
        (ImageFormat::Jpeg, Format::Jpeg, "image/jpeg", "jpg"),
        (ImageFormat::Png, Format::Png, "image/png", "png"),
        (ImageFormat::Gif, Format::Gif, "image/gif", "gif"),
        (ImageFormat::Bmp, Format::Bmp, "image/bmp", "bmp"),
    ] {
        let bytes = encode(&picture, written);
        let format = sniff(&bytes).unwrap();
        assert_eq!((format, format.media_type(), format.extension()), (expected, media_type, extension));
        let inspected = accepted(&bytes);
        assert_eq!((inspected.format, inspected.width, inspected.height), (expected, 20, 10));
        assert_eq!((inspected.orientation, inspected.exif.len()), (1, 0));
    }
}

#[test]
fn refuses_other_data() {
    for bytes in [&b""[..], b"B", b"BM", b"BMW is no bitmap, though it begins so", b"%PDF-1.7", b"GIF88a"] {
        assert_eq!(sniff(bytes), None);
        assert_eq!(refused(bytes), ImageError::Format { found: None });
    }
    let webp = b"RIFF\x1a\0\0\0WEBPVP8L";
    assert_eq!(sniff(webp), Some(Format::Webp));
    let refusal = refused(webp);
    assert_eq!(refusal, ImageError::Format { found: Some(Format::Webp) });
    assert_eq!(refusal.to_string(), "the image is WebP, which is not accepted: send JPEG, PNG, GIF or BMP");
}

#[test]
fn errors_carry_the_protocol_code() {
    let error = habeas_core::Error::from(refused(&encode(&two_halves(260, 10), ImageFormat::Png)));
    assert_eq!((error.kind, error.code), (ErrorKind::Invalid, Some("BadRequestImageAspectRatio")));
    assert_eq!(error.what, "the image is 260x10 pixels: the longer side may be at most 25 times the shorter");
}

#[test]
fn limits_on_shape() {
    assert_eq!(accepted(&encode(&two_halves(1, 1), ImageFormat::Png)).resized_width, 1);
    accepted(&encode(&two_halves(10, 250), ImageFormat::Png));
    accepted(&encode(&two_halves(10_240, 410), ImageFormat::Png));
    assert_eq!(
        refused(&encode(&two_halves(10, 251), ImageFormat::Png)),
        ImageError::AspectRatio { width: 10, height: 251, max_aspect_ratio: 25 }
    );
    assert_eq!(
        refused(&encode(&two_halves(10_241, 500), ImageFormat::Bmp)),
        ImageError::Dimensions { width: 10_241, height: 500, max_side: 10_240 }
    );
    let limits = Limits { max_side: 100, ..Limits::default() };
    let small = encode(&two_halves(101, 100), ImageFormat::Gif);
    assert_eq!(
        derivatives(&small, &limits).unwrap_err(),
        ImageError::Dimensions { width: 101, height: 100, max_side: 100 }
    );
}

#[test]
fn limit_on_memory_counts_channels_and_depth() {
    let limits = Limits { max_decoded_bytes: 64 * 64 * 3, ..Limits::default() };
    let opaque = two_halves(64, 64);
    assert!(inspect(&encode(&opaque, ImageFormat::Png), &limits).is_ok());
    for larger in [two_halves(64, 65), opaque.to_rgba8().into(), opaque.to_rgb16().into()] {
        assert_eq!(inspect(&encode(&larger, ImageFormat::Png), &limits), Err(ImageError::TooManyPixels));
    }
}

#[test]
fn limit_on_memory_counts_what_a_progressive_jpeg_needs() {
    // For each pixel three bytes, and two for each coefficient: there are as many of them as samples, which are
    // three for a pixel, or half of that where the colours have half the resolution both ways.
    for (sampling, bytes_per_pixel) in [([0x11, 0x11, 0x11], 9), ([0x22, 0x11, 0x11], 6)] {
        let bytes = progressive_jpeg(64, 32, &sampling);
        let enough = 64 * 32 * bytes_per_pixel;
        let inspected = inspect(&bytes, &Limits { max_decoded_bytes: enough, ..Limits::default() }).unwrap();
        assert_eq!((inspected.width, inspected.height), (64, 32));
        let short = Limits { max_decoded_bytes: enough - 1, ..Limits::default() };
        assert_eq!(inspect(&bytes, &short), Err(ImageError::TooManyPixels));
    }
    // A megabyte that would need nearly a gigabyte.
    assert_eq!(refused(&progressive_jpeg(10_240, 10_240, &[0x11; 3])), ImageError::TooManyPixels);
}

#[test]
fn bombs_are_refused_by_their_header() {
    let no_data = [0x78, 0x9C, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01];
    let bomb = |width, height, color| {
        png(&[(b"IHDR", &png_header(width, height, color)), (b"IDAT", &no_data), (b"IEND", b"")])
    };
    assert_eq!(
        refused(&bomb(2_000_000_000, 2_000_000_000, 2)),
        ImageError::Dimensions { width: 2_000_000_000, height: 2_000_000_000, max_side: 10_240 }
    );
    assert_eq!(refused(&bomb(10_240, 10_240, 6)), ImageError::TooManyPixels);
    assert!(matches!(refused(&bomb(0, 10, 2)), ImageError::Dimensions { .. }));

    let screen = [&b"GIF89a"[..], &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0], b";"].concat();
    assert!(matches!(refused(&screen), ImageError::Dimensions { width: 65_535, height: 65_535, .. }));
    // A frame that is larger than the screen takes memory of its own.
    let small_screen = [4, 0, 4, 0, 0x80, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF];
    let large_frame = [0x2C, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 2, 1, 0, 0];
    let frame = [&b"GIF89a"[..], &small_screen, &large_frame, b";"].concat();
    assert_eq!(refused(&frame), ImageError::TooManyPixels);
}

#[test]
fn cut_off_data_are_refused() {
    let picture = two_halves(60, 40);
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif] {
        let bytes = encode(&picture, format);
        for length in [bytes.len() / 2, bytes.len() - 20, bytes.len() - 1] {
            assert_eq!(refused(&bytes[..length]), ImageError::Truncated, "{format:?} {length}");
        }
    }
    let bitmap = encode(&picture, ImageFormat::Bmp);
    assert_eq!(refused(&bitmap[..bitmap.len() / 2]), ImageError::Truncated);
    assert_eq!(refused(&HEMLOCK[..HEMLOCK.len() - 2]), ImageError::Truncated);
    // What comes after the image's end does no harm: cameras append their own data.
    accepted(&[HEMLOCK, b"trailer of a camera"].concat());
}

#[test]
fn damaged_data_are_refused() {
    let bytes = png(&[(b"IHDR", &png_header(4, 4, 2)), (b"IDAT", b"no deflate"), (b"IEND", b"")]);
    assert_eq!(refused(&bytes), ImageError::Damaged);
    // Sampling factors that the decoder accepts and then fails an assertion on; it may also learn to decode them.
    let strange = inspect(&progressive_jpeg(8, 8, &[0x11, 0x11, 0x22]), &Limits::default());
    assert!(matches!(strange, Ok(_) | Err(ImageError::Damaged)));
}
