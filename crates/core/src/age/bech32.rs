//! Bech32 (BIP 173) of 32 bytes, in lower case.

const DIGITS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];

/// The bytes of a text that begins with `prefix` and `1`; none when it is anything else.
pub(super) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let values: Vec<u8> = text
        .strip_prefix(prefix)?
        .strip_prefix('1')?
        .bytes()
        .map(|byte| DIGITS.iter().position(|digit| *digit == byte).map(|value| value as u8))
        .collect::<Option<_>>()?;
    // The prefix as the checksum takes it: high bits, zero, low bits.
    let high = prefix.bytes().map(|letter| letter >> 5);
    let low = prefix.bytes().map(|letter| letter & 31);
    let mut checksum = 1_u32;
    for value in high.chain([0]).chain(low).chain(values.iter().copied()) {
        let top = checksum >> 25;
        checksum = (checksum & 0x1ff_ffff) << 5 ^ u32::from(value);
        for (bit, generator) in GENERATORS.into_iter().enumerate() {
            checksum ^= if top >> bit & 1 == 1 { generator } else { 0 };
        }
    }
    let data = values.get(..values.len().checked_sub(6)?)?;
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0_u32, 0);
    for value in data {
        buffer = buffer << 5 | u32::from(*value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    (checksum == 1 && buffer == 0).then_some(())?;
    bytes.try_into().ok()
}
