//! scrypt (RFC 7914) with r = 8 and p = 1: what age uses for passphrases. `ring` does not have it; its PBKDF2 is the frame, Salsa20/8 and the
//! mixing are here.

use std::num::NonZeroU32;

use ring::pbkdf2;

use super::SecretKey;

/// Block size: the r of the specification.
const R: usize = 8;
/// Words of 32 bits in a block of 128 * r bytes.
const WORDS: usize = 32 * R;

/// The key of 256 bits that `passphrase` gives with `salt`. Takes `2^log_n` KiB of memory, and time in proportion.
pub fn scrypt(passphrase: &[u8], salt: &[u8], log_n: u8) -> SecretKey {
    let mut bytes = [0; 4 * WORDS];
    pbkdf2(passphrase, salt, &mut bytes);
    let mut block = [0; WORDS];
    for (word, bytes) in block.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    mix(&mut block, 1 << log_n);
    for (word, bytes) in block.iter().zip(bytes.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mut key = [0; 32];
    pbkdf2(passphrase, &bytes, &mut key);
    SecretKey::from_bytes(key)
}

fn pbkdf2(passphrase: &[u8], salt: &[u8], out: &mut [u8]) {
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, salt, passphrase, out);
}

/// `scryptROMix` of the specification, for n a power of two.
fn mix(block: &mut [u32; WORDS], n: usize) {
    let mut memory = vec![0; n * WORDS];
    let mut spare = [0; WORDS];
    for kept in memory.chunks_exact_mut(WORDS) {
        kept.copy_from_slice(block);
        mix_block(block, &mut spare);
    }
    for _ in 0..n {
        let place = block[WORDS - 16] as usize & (n - 1);
        let kept = &memory[place * WORDS..(place + 1) * WORDS];
        for (word, kept) in block.iter_mut().zip(kept) {
            *word ^= kept;
        }
        mix_block(block, &mut spare);
    }
}

/// `scryptBlockMix`: even parts come out first, odd ones after them.
fn mix_block(block: &mut [u32; WORDS], spare: &mut [u32; WORDS]) {
    let mut x = [0; 16];
    x.copy_from_slice(&block[WORDS - 16..]);
    for (number, part) in block.chunks_exact(16).enumerate() {
        for (word, other) in x.iter_mut().zip(part) {
            *word ^= other;
        }
        salsa20_8(&mut x);
        let place = (number / 2 + number % 2 * R) * 16;
        spare[place..place + 16].copy_from_slice(&x);
    }
    block.copy_from_slice(spare);
}

/// The Salsa20/8 core.
fn salsa20_8(x: &mut [u32; 16]) {
    const COLUMNS: [[usize; 4]; 4] = [[0, 4, 8, 12], [5, 9, 13, 1], [10, 14, 2, 6], [15, 3, 7, 11]];
    const ROWS: [[usize; 4]; 4] = [[0, 1, 2, 3], [5, 6, 7, 4], [10, 11, 8, 9], [15, 12, 13, 14]];
    let before = *x;
    for _ in 0..4 {
        for [a, b, c, d] in COLUMNS.into_iter().chain(ROWS) {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    for (word, before) in x.iter_mut().zip(before) {
        *word = word.wrapping_add(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_gives_what_the_specification_says() {
        // RFC 7914, section 8.
        let input = hex::decode(
            "7e879a214f3ec9867ca940e641718f26baee555b8c61c1b50df846116dcd3b1dee24f319df9b3d8514121e4b5ac5aa3276021d2909c74829edebc68db8b8c25e",
        )
        .unwrap();
        let mut x = [0; 16];
        for (word, bytes) in x.iter_mut().zip(input.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap());
        }
        salsa20_8(&mut x);
        let output: Vec<u8> = x.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(
            hex::encode(output),
            "a41f859c6608cc993b81cacb020cef05044b2181a2fd337dfd7b1c6396682f29b4393168e3c9e6bcfe6bc5b7a06d96bae424cc102c91745c24ad673dc7618f81"
        );
    }

    #[test]
    fn keys_are_those_of_the_specification() {
        // RFC 7914, section 12: the vector with r = 8 and p = 1, of whose 64 bytes the first 32 are the same.
        let key = scrypt(b"pleaseletmein", b"SodiumChloride", 14);
        assert_eq!(
            hex::encode(key.expose()),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        );
    }
}
