//! Whatever bytes come, the answer is an image or an error, and it comes.

use habeas_learn::imaging::{Format, Limits, derivatives, sniff};
use image::{DynamicImage, ImageFormat};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::made::{encode, progressive_jpeg, tail_at, tiff, two_halves, with_exif};

/// Small, so that a damaged header that asks for more is refused and the cases stay quick.
fn limits() -> Limits {
    Limits { max_side: 512, max_decoded_bytes: 1 << 20, ..Limits::default() }
}

fn examples() -> Vec<Vec<u8>> {
    let picture = two_halves(33, 17);
    let jpeg = encode(&picture, ImageFormat::Jpeg);
    let exif = tiff(
        &[
            (0x0110, 2, 9, tail_at(3).to_be_bytes()),
            (0x0112, 3, 1, [0, 6, 0, 0]),
            (0x8769, 4, 1, (tail_at(3) + 10).to_be_bytes()),
        ],
        &[&b"Camera 1\0\0"[..], &tiff(&[(0xA002, 3, 1, [0, 33, 0, 0])], b"")[8..]].concat(),
    );
    vec![
        with_exif(&jpeg, &exif),
        encode(&DynamicImage::ImageLuma8(picture.to_luma8()), ImageFormat::Jpeg),
        progressive_jpeg(33, 17, &[0x22, 0x11, 0x11]),
        progressive_jpeg(17, 33, &[0x21, 0x11, 0x11]),
        encode(&picture, ImageFormat::Png),
        encode(&DynamicImage::ImageRgba16(picture.to_rgba16()), ImageFormat::Png),
        encode(&picture, ImageFormat::Gif),
        encode(&picture, ImageFormat::Bmp),
        encode(&DynamicImage::ImageRgba8(picture.to_rgba8()), ImageFormat::Bmp),
    ]
}

/// If the image is accepted, its copies are as told.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(made) = derivatives(bytes, &limits()) {
        let copy = image::load_from_memory(&made.resized).unwrap();
        prop_assert_eq!(copy.width(), made.inspected.resized_width);
        prop_assert_eq!(copy.height(), made.inspected.resized_height);
        prop_assert!(made.inspected.exif.len() <= 64);
        prop_assert!(made.inspected.exif.iter().all(|(_, value)| value.chars().count() <= 256));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), start in any::<Index>()) {
        check(&bytes)?;
        // The same behind the beginning of a valid file.
        let examples = examples();
        let example = start.get(&examples);
        check(&[&example[..start.index(example.len())], &bytes].concat())?;
    }

    #[test]
    fn a_cut_off_image_is_an_error(example in any::<Index>(), length in any::<Index>()) {
        let examples = examples();
        let whole = example.get(&examples);
        prop_assert!(derivatives(whole, &limits()).is_ok());
        prop_assert!(derivatives(&whole[..length.index(whole.len())], &limits()).is_err());
    }

    #[test]
    fn flipped_bytes(
        example in any::<Index>(),
        flips in proptest::collection::vec((any::<Index>(), 1..=u8::MAX), 1..8),
        in_header in any::<bool>(),
    ) {
        let examples = examples();
        let mut bytes = example.get(&examples).clone();
        // Half of the cases in the first bytes, where structure is and a flip changes most.
        let reach = if in_header { bytes.len().min(160) } else { bytes.len() };
        for (at, mask) in flips {
            let at = at.index(reach);
            bytes[at] ^= mask;
        }
        check(&bytes)?;
    }

    #[test]
    fn random_exif(block in proptest::collection::vec(any::<u8>(), 0..400), little_endian in any::<bool>()) {
        let header: &[u8] = if little_endian { b"II\x2a\0\x08\0\0\0" } else { b"MM\0\x2a\0\0\0\x08" };
        let examples = examples();
        let bytes = with_exif(&examples[1], &[header, &block].concat());
        prop_assert_eq!(sniff(&bytes), Some(Format::Jpeg));
        prop_assert!(derivatives(&bytes, &limits()).is_ok(), "EXIF never fails an image");
        check(&bytes)?;
    }
}
