//! X25519 (RFC 7748) with a private key that is kept: `ring` agrees by fresh keys only, which is all that sealing needs; opening what was
//! sealed for a key needs this one.
//!
//! Numbers modulo 2^255 - 19 are five limbs of 51 bits. Nothing branches on a secret or reads memory at a place that depends on one.

use super::SecretKey;

type Field = [u64; 5];

const MASK: u64 = (1 << 51) - 1;

/// The secret that the holder of `own` and of the private half of `theirs` share; none when `theirs` is one of the few points that give no
/// secret.
pub fn shared(own: &SecretKey, theirs: &[u8; 32]) -> Option<[u8; 32]> {
    let secret = multiply(own.expose(), theirs);
    // Looks at all bytes.
    (secret.iter().fold(0, |all, byte| all | byte) != 0).then_some(secret)
}

/// The public half of a private key.
pub fn public(own: &SecretKey) -> [u8; 32] {
    let mut base = [0; 32];
    base[0] = 9;
    multiply(own.expose(), &base)
}

/// The Montgomery ladder of the specification, section 5.
fn multiply(scalar: &[u8; 32], point: &[u8; 32]) -> [u8; 32] {
    let mut scalar = *scalar;
    scalar[0] &= 0xf8;
    scalar[31] = scalar[31] & 0x7f | 0x40;
    let x1 = read(point);
    let (mut x2, mut z2, mut x3, mut z3): (Field, Field, Field, Field) =
        ([1, 0, 0, 0, 0], [0; 5], x1, [1, 0, 0, 0, 0]);
    let mut swapped = 0;
    for place in (0..255).rev() {
        let bit = u64::from(scalar[place / 8] >> (place % 8) & 1);
        swap(swapped ^ bit, &mut x2, &mut x3);
        swap(swapped ^ bit, &mut z2, &mut z3);
        swapped = bit;
        let (plus2, minus2) = (add(&x2, &z2), subtract(&x2, &z2));
        let (plus3, minus3) = (add(&x3, &z3), subtract(&x3, &z3));
        let (aa, bb) = (product(&plus2, &plus2), product(&minus2, &minus2));
        let (da, cb) = (product(&minus3, &plus2), product(&plus3, &minus2));
        let (sum, difference) = (add(&da, &cb), subtract(&da, &cb));
        x3 = product(&sum, &sum);
        z3 = product(&x1, &product(&difference, &difference));
        x2 = product(&aa, &bb);
        let gap = subtract(&aa, &bb);
        z2 = product(&gap, &add(&aa, &product(&gap, &[121_665, 0, 0, 0, 0])));
    }
    swap(swapped, &mut x2, &mut x3);
    swap(swapped, &mut z2, &mut z3);
    write(&product(&x2, &inverse(&z2)))
}

/// The highest bit is ignored, as the specification says.
fn read(bytes: &[u8; 32]) -> Field {
    let word =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    [word(0) & MASK, word(6) >> 3 & MASK, word(12) >> 6 & MASK, word(19) >> 1 & MASK, word(24) >> 12 & MASK]
}

fn write(number: &Field) -> [u8; 32] {
    let mut number = carried(number.map(u128::from));
    number = carried(number.map(u128::from));
    // Subtracts the modulus if it fits once more: 19 carries over into bit 255 exactly then.
    let mut over = (number[0] + 19) >> 51;
    for limb in &number[1..] {
        over = (limb + over) >> 51;
    }
    number[0] += 19 * over;
    let mut carry = 0;
    for limb in &mut number {
        *limb += carry;
        carry = *limb >> 51;
        *limb &= MASK;
    }
    let mut bytes = [0; 32];
    let (mut buffer, mut bits, mut at) = (0_u128, 0, 0);
    for limb in number {
        buffer |= u128::from(limb) << bits;
        bits += 51;
        while bits >= 8 && at < 32 {
            bytes[at] = buffer as u8;
            buffer >>= 8;
            bits -= 8;
            at += 1;
        }
    }
    bytes[31] = buffer as u8;
    bytes
}

fn swap(bit: u64, left: &mut Field, right: &mut Field) {
    let mask = 0_u64.wrapping_sub(bit);
    for (left, right) in left.iter_mut().zip(right) {
        let difference = mask & (*left ^ *right);
        *left ^= difference;
        *right ^= difference;
    }
}

fn add(left: &Field, right: &Field) -> Field {
    std::array::from_fn(|limb| left[limb] + right[limb])
}

/// Adds four times the modulus before, so that no limb goes below zero.
fn subtract(left: &Field, right: &Field) -> Field {
    const FOURFOLD: Field = [4 * (MASK - 18), 4 * MASK, 4 * MASK, 4 * MASK, 4 * MASK];
    carried(std::array::from_fn(|limb| u128::from(left[limb] + FOURFOLD[limb] - right[limb])))
}

/// Limbs may have up to 54 bits. 2^255 is 19.
fn product(left: &Field, right: &Field) -> Field {
    let at = |l: usize, r: usize| u128::from(left[l]) * u128::from(right[r]);
    carried(std::array::from_fn(|limb| {
        (0..5)
            .map(|l| {
                let r = (5 + limb - l) % 5;
                if l + r == limb { at(l, r) } else { 19 * at(l, r) }
            })
            .sum()
    }))
}

/// Limbs of 51 bits, the first of 52.
fn carried(wide: [u128; 5]) -> Field {
    let mut number = [0; 5];
    let mut carry = 0_u128;
    for (limb, wide) in number.iter_mut().zip(wide) {
        let sum = wide + carry;
        *limb = sum as u64 & MASK;
        carry = sum >> 51;
    }
    let first = u128::from(number[0]) + 19 * carry;
    number[0] = first as u64 & MASK;
    number[1] += (first >> 51) as u64;
    number
}

/// To the power of 2^255 - 21, which is the modulus less two: every bit is one except the second and the fourth (RFC 7748 needs no more).
fn inverse(number: &Field) -> Field {
    let mut result = [1, 0, 0, 0, 0];
    for place in (0..255).rev() {
        result = product(&result, &result);
        if place != 2 && place != 4 {
            result = product(&result, number);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn products_are_those_of_the_specification() {
        // RFC 7748, section 5.2.
        for (scalar, point, expected) in [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ] {
            assert_eq!(hex::encode(multiply(&bytes(scalar), &bytes(point))), expected);
        }
    }

    #[test]
    fn a_thousand_rounds_end_where_the_specification_says() {
        let (mut scalar, mut point) = ([0; 32], [0; 32]);
        (scalar[0], point[0]) = (9, 9);
        for round in 0..1000 {
            (scalar, point) = (multiply(&scalar, &point), scalar);
            if round == 0 {
                let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
                assert_eq!(hex::encode(scalar), once);
            }
        }
        let expected = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
        assert_eq!(hex::encode(scalar), expected);
    }

    #[test]
    fn both_sides_have_the_same_secret_and_ring_agrees() {
        let mut seed = [7; 32];
        for round in 0..20 {
            seed[0] = round;
            let own = SecretKey::from_bytes(super::super::sha256(&seed));
            let (theirs, secret) = super::super::x25519(&public(&own)).unwrap();
            assert_eq!(shared(&own, &theirs), Some(secret));
        }
        assert_eq!(shared(&SecretKey::from_bytes([1; 32]), &[0; 32]), None);
    }
}
