//! Images and feature rows that are made up: any number of them, no two alike.

use bytes::Bytes;

/// Features of the built-in extractor.
pub(crate) const FEATURES: usize = 5_424;
/// Width and height of a made image in pixels; a multiple of 4, so that lines of a bitmap need no filling.
const SIDE: u32 = 128;

/// A linear congruential generator (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// A bitmap of random rectangles.
pub(crate) fn image(number: u64) -> Bytes {
    let mut numbers = Numbers(number);
    let size = SIDE * SIDE * 3;
    let mut bytes = b"BM".to_vec();
    for field in [54 + size, 0, 54, 40, SIDE, SIDE, 0x0018_0001, 0, size, 2835, 2835, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    let mut pixels = vec![[128_u8; 3]; (SIDE * SIDE) as usize];
    for _ in 0..60 {
        let mut below = |limit: u64| (numbers.next() % limit) as usize;
        let (left, top, width, height) = (below(128), below(128), 4 + below(40), 4 + below(40));
        let colour = [below(256) as u8, below(256) as u8, below(256) as u8];
        for line in pixels.chunks_exact_mut(SIDE as usize).skip(top).take(height) {
            line.iter_mut().skip(left).take(width).for_each(|pixel| *pixel = colour);
        }
    }
    bytes.extend(pixels.iter().flatten());
    bytes.into()
}

/// A row that leans towards one of two tags, by whether its number is even. Its squared length is about that of a real one.
pub(crate) fn row(number: u64) -> Vec<i16> {
    let mut numbers = Numbers(number);
    (0..FEATURES as u64)
        .map(|place| {
            let noise = (numbers.next() % 2_048) as i16 - 1_024;
            noise + if (place + number).is_multiple_of(97) { 300 } else { 0 }
        })
        .collect()
}
