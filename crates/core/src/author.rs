//! The name of whoever wrote something, within what they wrote: login names, addresses, home directories.
//!
//! What a person makes in what others hold stays with those others when the person is erased. Where it names its author it must not any more:
//! clients put login names and the paths of scripts into tags, run definitions and descriptions.

use serde_json::Value;

/// What stands in place of a name.
pub const ERASED: &str = "(erased)";

/// The folders below which every user has one, as they stand in paths of Linux, macOS and Windows. A text within JSON has its backslashes
/// twice.
const HOMES: [&str; 4] = ["/home/", "/Users/", "\\Users\\", "\\\\Users\\\\"];

/// Fields of documents by which things are found: what is called after its author is still called so.
const ADDRESSES: [&str; 4] = ["name", "key", "path", "publish_name"];
/// The same of members within fields, or within what fields list.
const ADDRESSES_WITHIN: [(&str, &[&str]); 3] =
    [("azure", &["group", "key"]), ("details", &["run_id"]), ("values", &["id"])];

/// Somebody who wrote something.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// Their e-mail address; empty when there is none.
    email: String,
    /// Their name, and the login names that their programs sent.
    names: Vec<String>,
    /// Whether every home directory is taken for theirs, whatever it is called: their login names need not all be known.
    any_home: bool,
}

impl Author {
    /// Somebody with this address, of which nothing is looked for when it is empty, and these names.
    pub fn new(email: &str, names: impl IntoIterator<Item = String>) -> Author {
        let names = names.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Author { email: email.trim().to_owned(), names: names.collect(), any_home: true }
    }

    /// The same person in what others made: a home directory there is theirs only when it is called after them.
    #[must_use]
    pub fn among_others(self) -> Author {
        Author { any_home: false, ..self }
    }

    /// The text without its author; none when it does not name them. A text that is nothing but a name, an address or both goes; otherwise
    /// addresses go wherever they stand, and the user in paths of home directories. A name within a longer text may be any word, and stays.
    pub fn forgotten_in(&self, text: &str) -> Option<String> {
        if self.is_named_by(text.trim()) {
            return Some(ERASED.to_owned());
        }
        let without = without_address(text, &self.email);
        let without = self.without_homes(&without);
        (without != text).then_some(without)
    }

    /// Takes the author out of every text of a document's field but those by which it is found; whether there was any.
    pub fn forget_in_field(&self, field: &str, value: &mut Value) -> bool {
        let kept = ADDRESSES_WITHIN.iter().find(|(of, _)| *of == field).map_or(&[][..], |(_, names)| *names);
        !ADDRESSES.contains(&field) && self.forget_but(kept, value)
    }

    /// Takes the author out of every text in a value; whether there was any.
    pub fn forget_in(&self, value: &mut Value) -> bool {
        self.forget_but(&[], value)
    }

    /// The same without the members of these names of the value, or of what it lists.
    fn forget_but(&self, kept: &[&str], value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.forgotten_in(text) {
                Some(without) => {
                    *text = without;
                    true
                }
                None => false,
            },
            Value::Array(values) => {
                values.iter_mut().fold(false, |found, value| self.forget_but(kept, value) | found)
            }
            Value::Object(members) => members
                .iter_mut()
                .filter(|(name, _)| !kept.contains(&name.as_str()))
                .fold(false, |found, (_, value)| self.forget_in(value) | found),
            _ => false,
        }
    }

    /// The text without the users in the paths of home directories.
    fn without_homes(&self, text: &str) -> String {
        let (mut out, mut from, mut at) = (String::new(), 0, 0);
        while let Some(found) = text[at..].find(['/', '\\']) {
            at += found;
            let Some(home) = HOMES.iter().find(|home| text[at..].starts_with(**home)) else {
                at += 1;
                continue;
            };
            let (before, user) = (&text[..at], &text[at + home.len()..]);
            let is_windows = !home.starts_with('/') || is_drive(before);
            let is_end = |character: char| {
                "/\\\"'<>|?*:;,".contains(character)
                    || character.is_control()
                    // Only Windows has users with a space in their names.
                    || (!is_windows && character.is_whitespace())
            };
            let end = user.find(is_end).unwrap_or(user.len());
            let is_called_after = self.is_home_of(&user[..end]);
            // After other letters it is a folder, or the page of a site, that is called so: unless the author is.
            let begins = is_windows
                || before.ends_with("file://")
                || before
                    .chars()
                    .next_back()
                    .is_none_or(|last| !last.is_alphanumeric() && !"/\\._-~".contains(last))
                || is_called_after;
            if begins && (self.any_home || is_called_after) && end > 0 {
                out.push_str(&text[from..at + home.len()]);
                out.push_str(ERASED);
                from = at + home.len() + end;
            }
            at += home.len() + end;
        }
        out.push_str(&text[from..]);
        out
    }

    fn is_name(&self, text: &str) -> bool {
        self.names.iter().any(|name| name.to_lowercase() == text.to_lowercase())
    }

    /// Whether a home directory is called after them: by a name, or as machines that people share call it, by the address before its `@`.
    fn is_home_of(&self, user: &str) -> bool {
        let local = self.email.split('@').next().unwrap_or_default();
        self.is_name(user) || (!local.is_empty() && local.eq_ignore_ascii_case(user))
    }

    /// `Ada`, `ada@example.org`, and `Ada <ada@example.org>` as git has it.
    fn is_named_by(&self, text: &str) -> bool {
        let is_email = |text: &str| !self.email.is_empty() && text.eq_ignore_ascii_case(&self.email);
        self.is_name(text)
            || is_email(text)
            || text
                .strip_suffix('>')
                .and_then(|text| text.split_once('<'))
                .is_some_and(|(name, email)| is_email(email.trim()) || self.is_name(name.trim()))
    }
}

/// Whether a text that ends where `/Users/` follows ends with a drive of Windows: `C:`, and `/c` of its shells.
fn is_drive(before: &str) -> bool {
    let mut last = before.chars().rev();
    match (last.next(), last.next(), last.next()) {
        (Some(':'), Some(drive), other) => {
            drive.is_ascii_alphabetic() && other.is_none_or(|other| !other.is_alphanumeric())
        }
        (Some(drive), Some('/'), _) => drive.is_ascii_alphabetic(),
        _ => false,
    }
}

/// The text without an address, however it is written; a longer address that only ends or begins like it is another one.
fn without_address(text: &str, email: &str) -> String {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._%+-@".contains(byte));
    let bytes = text.as_bytes();
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    while !email.is_empty() && at + email.len() <= bytes.len() {
        let end = at + email.len();
        // A full stop after it may end the sentence.
        let goes_on = match bytes.get(end) {
            Some(b'.') => is_part(bytes.get(end + 1)),
            byte => is_part(byte),
        };
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        if bytes[at..end].eq_ignore_ascii_case(email.as_bytes()) && !is_part(before) && !goes_on {
            out.push_str(&text[from..at]);
            out.push_str(ERASED);
            (from, at) = (end, end);
        } else {
            at += 1;
        }
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ada() -> Author {
        Author::new("Ada@example.org", ["Ada Lovelace".to_owned(), "adal".to_owned(), " ".to_owned()])
    }

    #[test]
    fn an_author_is_taken_out_of_what_they_wrote() {
        for (text, without) in [
            ("adal", "(erased)"),
            (" ADA lovelace ", "(erased)"),
            ("ada@EXAMPLE.org", "(erased)"),
            ("Ada Lovelace <a.l@elsewhere.org>", "(erased)"),
            ("A. L. <ada@example.org>", "(erased)"),
            ("ask ada@example.org.", "ask (erased)."),
            ("ada@example.org,Ada@Example.Org", "(erased),(erased)"),
            ("/home/adal/train.py", "/home/(erased)/train.py"),
            ("file:///home/adal/data", "file:///home/(erased)/data"),
            (
                "python /Users/adal/train.py /home/adal --fast",
                "python /Users/(erased)/train.py /home/(erased) --fast",
            ),
            (r"C:\Users\Ada Lovelace\train.py", r"C:\Users\(erased)\train.py"),
            (r#"{"uri":"C:\\Users\\adal\\x.csv"}"#, r#"{"uri":"C:\\Users\\(erased)\\x.csv"}"#),
            ("C:/Users/Ada Lovelace/x", "C:/Users/(erased)/x"),
            ("/mnt/c/Users/whoever/x", "/mnt/c/Users/(erased)/x"),
            ("/mnt/batch/tasks/code/Users/adal/train.py", "/mnt/batch/tasks/code/Users/(erased)/train.py"),
            ("PYTHONPATH=/home/adal/lib:/home/adal", "PYTHONPATH=/home/(erased)/lib:/home/(erased)"),
        ] {
            assert_eq!(ada().forgotten_in(text).as_deref(), Some(without), "{text}");
        }
    }

    #[test]
    fn what_names_nobody_stays() {
        for text in [
            "",
            "a run of adal and others",
            "mada@example.org",
            "ada@example.org.uk",
            "https://example.org/home/docs",
            "data/home/plants/1.jpg",
            "/code/Users/bea/train.py",
            "/home/",
            "Bea <bea@example.org>",
        ] {
            assert_eq!(ada().forgotten_in(text), None, "{text}");
        }
        assert_eq!(Author::default().forgotten_in("x"), None);
    }

    #[test]
    fn in_what_others_made_only_home_directories_called_after_the_author_are_theirs() {
        let ada = ada().among_others();
        for (text, without) in [
            ("ask ada@example.org", "ask (erased)"),
            ("/home/adal/train.py /home/bea/x", "/home/(erased)/train.py /home/bea/x"),
            ("/mnt/code/Users/ADA/train.py", "/mnt/code/Users/(erased)/train.py"),
            (r"C:\Users\Ada Lovelace\x", r"C:\Users\(erased)\x"),
        ] {
            assert_eq!(ada.forgotten_in(text).as_deref(), Some(without), "{text}");
        }
        for text in ["/home/bea/train.py", r"C:\Users\bea\x", "/home/adalbert/x", "/home/"] {
            assert_eq!(ada.forgotten_in(text), None, "{text}");
        }
    }

    #[test]
    fn every_text_of_a_field_is_looked_at_but_that_by_which_a_thing_is_found() {
        let mut value =
            json!({ "a": ["adal", { "adal": "/home/adal/x" }], "group": "adal", "run_id": "adal", "n": 1 });
        assert!(!ada().forget_in_field("name", &mut value.clone()));
        assert!(ada().forget_in_field("azure", &mut value));
        let without = json!({ "a": ["(erased)", { "adal": "/home/(erased)/x" }], "group": "adal", "run_id": "(erased)", "n": 1 });
        assert_eq!(value, without);
        assert!(ada().forget_in_field("tags", &mut value));
        assert_eq!(value["group"], "(erased)");
        assert!(!ada().forget_in_field("tags", &mut value));
        let mut values = json!([{ "id": "adal", "data": { "id": "adal" } }]);
        assert!(ada().forget_in_field("values", &mut values));
        assert_eq!(values, json!([{ "id": "adal", "data": { "id": "(erased)" } }]));
        let mut text = json!("adal");
        assert!(ada().forget_in_field("description", &mut text));
        assert_eq!(text, "(erased)");
    }

    proptest! {
        #[test]
        fn it_is_forgotten_once_and_the_rest_stays(before in "[ -~äß]{0,12}", after in "[ -~äß]{0,12}") {
            let text = format!("{before} ada@example.org {after}");
            let without = ada().forgotten_in(&text).unwrap();
            prop_assert!(!without.contains(" ada@example.org "), "{without}");
            prop_assert_eq!(ada().forgotten_in(&without), None);
        }

        #[test]
        fn nothing_in_any_text_stops_it(text in "\\PC{0,40}") {
            if let Some(without) = ada().forgotten_in(&text) {
                prop_assert_eq!(ada().forgotten_in(&without), None);
            }
        }
    }
}
