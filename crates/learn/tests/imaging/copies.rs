//! What the copies look like and what is not in them.

use habeas_learn::imaging::{Limits, derivatives, inspect, resized, thumbnail};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

use crate::made::{CHERRY_UPSIDE_DOWN, HEMLOCK, accepted, encode, tiff, two_halves, with_exif};

fn decoded(bytes: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap().to_rgb8()
}

fn close(pixel: Rgb<u8>, expected: [u8; 3]) -> bool {
    pixel.0.iter().zip(expected).all(|(&own, other)| own.abs_diff(other) <= 12)
}

#[test]
fn copies_are_as_large_as_told() {
    let limits = Limits::default();
    for (own, expected_resized, expected_thumbnail) in [
        ((1, 1), (1, 1), (1, 1)),
        ((300, 200), (300, 200), (256, 171)),
        ((900, 1600), (900, 1600), (144, 256)),
        ((1600, 900), (1600, 900), (256, 144)),
        ((1600, 1200), (1200, 900), (256, 192)),
        ((2000, 2000), (900, 900), (256, 256)),
        ((3200, 200), (1600, 100), (256, 16)),
        ((100, 2500), (64, 1600), (10, 256)),
    ] {
        let bytes = encode(&two_halves(own.0, own.1), ImageFormat::Png);
        let made = derivatives(&bytes, &limits).unwrap();
        assert_eq!((made.inspected.width, made.inspected.height), own);
        assert_eq!((made.inspected.resized_width, made.inspected.resized_height), expected_resized);
        assert_eq!(decoded(&made.resized).dimensions(), expected_resized);
        assert_eq!(decoded(&made.thumbnail).dimensions(), expected_thumbnail);
        assert_eq!(made.inspected, inspect(&bytes, &limits).unwrap());
        assert_eq!(made.resized, resized(&bytes, &limits).unwrap());
        assert_eq!(made.thumbnail, thumbnail(&bytes, &limits).unwrap());
    }
}

#[test]
fn scaled_copies_look_like_the_image() {
    let made = derivatives(&encode(&two_halves(2000, 1500), ImageFormat::Bmp), &Limits::default()).unwrap();
    for copy in [decoded(&made.resized), decoded(&made.thumbnail)] {
        let (width, height) = copy.dimensions();
        assert!(close(*copy.get_pixel(width / 4, height / 2), [200, 30, 30]));
        assert!(close(*copy.get_pixel(width * 3 / 4, height / 2), [30, 30, 200]));
    }
}

#[test]
fn every_depth_and_channel_layout_scales() {
    let size = (1000, 1000);
    let gray = 60_000_u16;
    let pictures: [(DynamicImage, [u8; 3]); 7] = [
        (ImageBuffer::from_pixel(size.0, size.1, Luma([90_u8])).into(), [90; 3]),
        (ImageBuffer::from_pixel(size.0, size.1, LumaA([0_u8, 128])).into(), [127; 3]),
        (ImageBuffer::from_pixel(size.0, size.1, Luma([gray])).into(), [233; 3]),
        (ImageBuffer::from_pixel(size.0, size.1, LumaA([0_u16, 0])).into(), [255; 3]),
        (ImageBuffer::from_pixel(size.0, size.1, Rgb([gray, 0, 0])).into(), [233, 0, 0]),
        (ImageBuffer::from_pixel(size.0, size.1, Rgba([0_u16, 0, gray, 65_535])).into(), [0, 0, 233]),
        (ImageBuffer::from_pixel(size.0, size.1, Rgba([0_u8, 200, 0, 255])).into(), [0, 200, 0]),
    ];
    for (picture, expected) in pictures {
        let made = derivatives(&encode(&picture, ImageFormat::Png), &Limits::default()).unwrap();
        for copy in [decoded(&made.resized), decoded(&made.thumbnail)] {
            let pixel = copy.get_pixel(copy.width() / 2, copy.height() / 2);
            assert!(close(*pixel, expected), "{:?}: {pixel:?}, not {expected:?}", picture.color());
        }
    }
}

#[test]
fn transparent_parts_become_white() {
    let half = |x: u32, _| if x < 50 { Rgba([0, 0, 0, 0]) } else { Rgba([200, 0, 0, 255]) };
    for side in [100, 1000] {
        let image = RgbaImage::from_fn(100, side, half);
        let copy = decoded(&resized(&encode(&image.into(), ImageFormat::Png), &Limits::default()).unwrap());
        assert!(close(*copy.get_pixel(copy.width() / 4, 10), [255, 255, 255]));
        assert!(close(*copy.get_pixel(copy.width() * 3 / 4, 10), [200, 0, 0]));
    }
}

#[test]
fn every_orientation_is_turned_upright() {
    // Stored: red left, blue right, twice as wide as high. Where red is after turning, by EXIF orientation.
    let jpeg = encode(&two_halves(64, 32), ImageFormat::Jpeg);
    for (orientation, red_at, blue_at, size) in [
        (0_u8, (8, 16), (56, 16), (64, 32)),
        (1, (8, 16), (56, 16), (64, 32)),
        (2, (56, 16), (8, 16), (64, 32)),
        (3, (56, 16), (8, 16), (64, 32)),
        (4, (8, 16), (56, 16), (64, 32)),
        (5, (16, 8), (16, 56), (32, 64)),
        (6, (16, 8), (16, 56), (32, 64)),
        (7, (16, 56), (16, 8), (32, 64)),
        (8, (16, 56), (16, 8), (32, 64)),
        (9, (8, 16), (56, 16), (64, 32)),
    ] {
        let bytes = with_exif(&jpeg, &tiff(&[(0x0112, 3, 1, [0, orientation, 0, 0])], b""));
        let made = derivatives(&bytes, &Limits::default()).unwrap();
        let expected = if (1..=8).contains(&orientation) { orientation } else { 1 };
        assert_eq!(made.inspected.orientation, expected);
        assert_eq!((made.inspected.width, made.inspected.height), size);
        let copy = decoded(&made.resized);
        assert_eq!(copy.dimensions(), size);
        assert!(close(*copy.get_pixel(red_at.0, red_at.1), [200, 30, 30]), "orientation {orientation}");
        assert!(close(*copy.get_pixel(blue_at.0, blue_at.1), [30, 30, 200]), "orientation {orientation}");
    }
}

#[test]
fn orientation_of_a_large_image_counts_for_its_size() {
    let jpeg = encode(&two_halves(1600, 1000), ImageFormat::Jpeg);
    let bytes = with_exif(&jpeg, &tiff(&[(0x0112, 3, 1, [0, 6, 0, 0])], b""));
    let made = derivatives(&bytes, &Limits::default()).unwrap();
    assert_eq!((made.inspected.width, made.inspected.height), (1000, 1600));
    assert_eq!((made.inspected.resized_width, made.inspected.resized_height), (900, 1440));
    assert_eq!(decoded(&made.resized).dimensions(), (900, 1440));
    assert_eq!(decoded(&made.thumbnail).dimensions(), (160, 256));
}

#[test]
fn sample_upside_down_is_turned() {
    let inspected = accepted(CHERRY_UPSIDE_DOWN);
    assert_eq!(inspected.orientation, 3);
    let stored = decoded(CHERRY_UPSIDE_DOWN);
    let copy = decoded(&resized(CHERRY_UPSIDE_DOWN, &Limits::default()).unwrap());
    assert_eq!(copy.dimensions(), (inspected.resized_width, inspected.resized_height));
    // Mean brightness of the top eighth, where it was the bottom eighth of the stored pixels.
    let mean = |image: &RgbImage, from: u32, to: u32| {
        let rows = (image.width() * (to - from) * 3) as usize;
        let start = (image.width() * from * 3) as usize;
        image.as_raw()[start..start + rows].iter().map(|&sample| u64::from(sample)).sum::<u64>() / rows as u64
    };
    let (stored_height, height) = (stored.height(), copy.height());
    let stored_bottom = mean(&stored, stored_height * 7 / 8, stored_height);
    assert!(mean(&copy, 0, height / 8).abs_diff(stored_bottom) <= 2);
}

#[test]
fn copies_hold_no_metadata() {
    let comment = [&HEMLOCK[..2], &[0xFF, 0xFE, 0, 10], b"SM-G900V", &HEMLOCK[2..]].concat();
    let made = derivatives(&comment, &Limits::default()).unwrap();
    for copy in [&made.resized, &made.thumbnail] {
        for trace in [&b"SM-G900V"[..], b"Exif", b"ICC_PROFILE", b"http://ns.adobe.com", b"2017:04"] {
            assert!(!copy.windows(trace.len()).any(|window| window == trace));
        }
        // Segments of applications other than JFIF's own, and comments.
        for marker in (0xE1..=0xEF).chain([0xFE]) {
            assert!(!copy.windows(2).any(|pair| pair == [0xFF, marker]), "marker {marker:02x}");
        }
    }
}
