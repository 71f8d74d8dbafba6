//! A folder for each class, named like it. Characters that a file system or an archive could misread are written as `%XX`.

use crate::read::{Archive, Contents};
use crate::{Head, Image};

/// The folder of images without a tag. No class has this folder: an underscore at the beginning is written as `%5F`.
const UNTAGGED: &str = "_untagged";

pub(crate) fn path(head: &Head, image: &Image) -> String {
    let tag = image.tags.first().and_then(|tag| head.tags.get(*tag));
    let folder = tag.map_or_else(|| UNTAGGED.to_owned(), |tag| encode(&tag.name));
    format!("{folder}/{}", image.file)
}

/// A name as a folder: the same on every file system.
fn encode(name: &str) -> String {
    let mut folder = String::new();
    for (place, letter) in name.char_indices() {
        let last = place + letter.len_utf8() == name.len();
        let safe = match letter {
            '%' | '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => false,
            '_' => place > 0,
            // Windows drops dots and spaces at the end; a folder `..` is one up.
            '.' | ' ' => place > 0 && !last,
            letter => !letter.is_control(),
        };
        if safe {
            folder.push(letter);
        } else {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| folder.push_str(&format!("%{byte:02X}")));
        }
    }
    folder
}

fn decode(folder: &str) -> String {
    let bytes = folder.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

pub(crate) fn read(archive: &Archive, contents: &mut Contents) {
    for path in archive.images() {
        contents.image(path);
        let folder = path.rsplit_once('/').map(|(above, _)| above.rsplit('/').next().unwrap_or(above));
        if let Some(folder) = folder.filter(|folder| *folder != UNTAGGED) {
            let tag = contents.tag(&decode(folder));
            contents.image(path).tags.push(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_folder_is_one_plain_part_of_a_path_and_decodes_to_its_name(name in "[%/._a\\\\ :\u{0}-\u{20}ä]{1,12}") {
            let folder = encode(&name);
            prop_assert_eq!(decode(&folder), name);
            prop_assert!(!folder.contains(['/', '\\', '\0']) && folder != "." && folder != ".." && folder != UNTAGGED);
        }

        #[test]
        fn nothing_panics(folder in ".{0,20}") {
            let _ = decode(&folder);
        }
    }
}
