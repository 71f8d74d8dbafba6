//! What is read of EXIF, and that its faults never fail an image.

use habeas_learn::imaging::Inspected;
use image::ImageFormat;

use crate::made::{Entry, HEMLOCK, accepted, encode, png, tail_at, tiff, two_halves, with_exif};

fn field<'a>(inspected: &'a Inspected, tag: &str) -> Option<&'a str> {
    inspected.exif.iter().find(|(name, _)| name == tag).map(|(_, value)| value.as_str())
}

#[test]
fn sample_with_exif() {
    let inspected = accepted(HEMLOCK);
    assert_eq!(inspected.orientation, 1, "the file has the invalid orientation 0");
    assert_eq!(field(&inspected, "Model"), Some("SM-G900V"));
    assert!(field(&inspected, "DateTimeOriginal").unwrap().starts_with("2017:04:"));
    assert!(field(&inspected, "ImageUniqueID").is_some());
    assert_eq!(field(&inspected, "MakerNote"), None);
    assert!(inspected.exif.len() <= 64);
}

#[test]
fn exif_texts_of_every_encoding() {
    let entries = 5;
    let tail: [&[u8]; 4] =
        [b"Ada Lovelace\0\0", b"Jos\xE9 mar\0\0", b"ASCII\0\0\0hello\n\0", b"Z\0o\0\xEB\0"];
    let at: Vec<[u8; 4]> = (0..4)
        .map(|index| tail_at(entries) + tail[..index].iter().map(|part| part.len() as u32).sum::<u32>())
        .map(u32::to_be_bytes)
        .collect();
    let block = tiff(
        &[
            (0x010E, 2, 14, at[0]),
            (0x013B, 2, 10, at[1]),
            (0x9286, 7, 15, at[2]),
            (0x9C9D, 1, 6, at[3]),
            (0xC0DE, 2, 3, *b"hi\0\0"),
        ],
        &tail.concat(),
    );
    let inspected = accepted(&with_exif(&encode(&two_halves(8, 8), ImageFormat::Jpeg), &block));
    assert_eq!(field(&inspected, "ImageDescription"), Some("Ada Lovelace"));
    assert_eq!(field(&inspected, "Artist"), Some("José mar"));
    assert_eq!(field(&inspected, "XPAuthor"), Some("Zoë"));
    assert_eq!(field(&inspected, "0xc0de"), Some("hi"));
    assert!(inspected.exif.iter().any(|(_, value)| value == "hello"), "{:?}", inspected.exif);
}

#[test]
fn exif_of_a_png_is_read() {
    let block = tiff(&[(0x0110, 2, 4, *b"Cam\0")], b"");
    let plain = encode(&two_halves(8, 8), ImageFormat::Png);
    // Behind the signature and the header chunk.
    let header = 8 + 8 + 13 + 4;
    let chunk = &png(&[(b"eXIf", &block)])[8..];
    let inspected = accepted(&[&plain[..header], chunk, &plain[header..]].concat());
    assert_eq!(field(&inspected, "Model"), Some("Cam"));
}

#[test]
fn exif_is_bounded_and_never_an_error() {
    let jpeg = encode(&two_halves(8, 8), ImageFormat::Jpeg);
    let long = "ä".repeat(5000);
    let block = tiff(&[(0x010E, 2, long.len() as u32, tail_at(1).to_be_bytes())], long.as_bytes());
    assert_eq!(field(&accepted(&with_exif(&jpeg, &block)), "ImageDescription").unwrap().chars().count(), 256);

    let many: Vec<Entry> = (0..200).map(|index| (0xC000 + index, 2, 2, *b"x\0\0\0")).collect();
    assert_eq!(accepted(&with_exif(&jpeg, &tiff(&many, b""))).exif.len(), 64);

    for nonsense in
        [&b""[..], b"II", b"MM\0\x2a\xFF\xFF\xFF\xFF", b"II\x2a\0\x08\0\0\0\xFF\xFF", &[0xFF; 300]]
    {
        let inspected = accepted(&with_exif(&jpeg, nonsense));
        assert_eq!((inspected.orientation, inspected.exif.len()), (1, 0));
    }
    // The directory of the thumbnail is not read, so it may be garbage.
    let mut thumbnail = tiff(&[(0x0110, 2, 4, *b"Cam\0")], &[0xFF].repeat(30_000));
    let next = tail_at(1) as usize;
    thumbnail[next - 4..next].copy_from_slice(&tail_at(1).to_be_bytes());
    assert_eq!(accepted(&with_exif(&jpeg, &thumbnail)).exif, [("Model".to_owned(), "Cam".to_owned())]);
    // What comes before the fault is kept.
    let cut = tiff(&[(0x0110, 2, 4, *b"Cam\0"), (0x010E, 2, 400, [0, 0, 0xFF, 0])], b"");
    assert_eq!(field(&accepted(&with_exif(&jpeg, &cut)), "Model"), Some("Cam"));
}

#[test]
fn exif_with_overlapping_directories_is_ignored() {
    // Two thousand pointers to directories that overlap, each of 1,799 entries: 3.6 million if followed.
    let pointers: Vec<Entry> =
        (0..2000_u32).map(|index| (0x8769, 4, 1, (tail_at(2000) + index).to_be_bytes())).collect();
    let block = tiff(&pointers, &[7].repeat(30_000));
    let inspected = accepted(&with_exif(&encode(&two_halves(8, 8), ImageFormat::Jpeg), &block));
    assert_eq!(inspected.exif, []);
}
