//! Percent-encoding of query strings and paths.

use std::fmt::Write as _;

/// Percent-decodes, with `+` as a space. What is not valid stays as it is.
pub(crate) fn decode(text: &str) -> String {
    String::from_utf8_lossy(&bytes(text)).into_owned()
}

/// Whether it is UTF-8 once it is decoded.
pub(crate) fn is_text(text: &str) -> bool {
    std::str::from_utf8(&bytes(text)).is_ok()
}

fn bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

/// Percent-decodes a path, in which a plus is no space.
pub(crate) fn decode_path(path: &str) -> String {
    decode(&path.replace('+', "%2B"))
}

/// Percent-encodes a path: what is neither unreserved (RFC 3986, section 2.3) nor the `/` between its parts.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back() {
        for path in ["a/b.txt", "größe +1%/x&y=z", "~a"] {
            assert_eq!(decode(&encode_path(path)), path);
        }
        assert_eq!(encode_path("a b/ü"), "a%20b/%C3%BC");
        for path in ["a b+c.txt", "epoch=3 (1)@%.ckpt"] {
            assert_eq!(decode_path(&encode_path(path)), path);
        }
        assert_eq!(decode_path("1+1%201"), "1+1 1");
        assert!(is_text("/%C3%BC/%f/100%") && !is_text("/%ff") && !is_text("/a%C3"));
    }
}
