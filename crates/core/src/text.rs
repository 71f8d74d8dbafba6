//! Text that people typed: compared however it was typed, and named and shown without what a terminal obeys.

use unicode_normalization::UnicodeNormalization as _;

use crate::{Error, Result};

/// The longest name of a person or an organisation, in bytes.
const LONGEST_NAME: usize = 200;

/// The text with every accent in one character with its letter (NFC), however it was typed.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// The text with every accent in a character of its own (NFD).
pub fn decomposed(text: &str) -> String {
    text.nfd().collect()
}

/// Whether it is no letter or sign but moves the cursor, colours what follows, ends the line or turns its direction: what makes a text look
/// like another one.
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The name of a person or an organisation, without spaces around it.
pub fn holder_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Error::invalid(format!("a name is 1 to {LONGEST_NAME} bytes long")));
    }
    if name.chars().any(is_control) {
        return Err(Error::invalid(format!(
            "a name is one line of 1 to {LONGEST_NAME} bytes without control characters"
        ))
        .hint("leave out line breaks, escape sequences and marks that turn the direction of the text"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_letters_and_signs() {
        assert_eq!(holder_name(" José D'Arc-Ñ 李 עדה 🌱\n").unwrap(), "José D'Arc-Ñ 李 עדה 🌱");
        for wrong in
            ["", " ", "a\u{1b}[2Jb", "a\r\nb", "a\0b", "a\u{9b}b", "a\u{202e}b", "a\u{2066}b", "a\u{2028}b"]
        {
            assert!(holder_name(wrong).is_err(), "{wrong:?}");
        }
        assert!(holder_name(&"é".repeat(100)).is_ok() && holder_name(&"é".repeat(101)).is_err());
    }

    #[test]
    fn an_accent_is_the_same_however_it_was_typed() {
        assert_eq!(composed("Jose\u{301}"), "José");
        assert_eq!(composed("José"), "José");
        assert_eq!(decomposed("José"), "Jose\u{301}");
    }
}
