//! How results are printed: JSON, or a table for people.
//!
//! **Invariant:** nothing that a person or a server wrote reaches a terminal as anything but letters and signs: a name or a note could else
//! repaint the line from which an officer copies.

use std::fmt::Display;
use std::io::Write as _;

use clap::{Args, ValueEnum};
use habeas_core::{ErrorKind, text};
use serde::Serialize;

/// `-o`.
#[derive(Args, Clone, Copy)]
pub(crate) struct Format {
    /// How to print the result
    #[arg(short = 'o', long = "format", value_enum, default_value_t = Kind::Table, value_name = "FORMAT")]
    output: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One JSON document
    Json,
    /// A table for people
    Table,
}

impl Format {
    /// Prints `value` as JSON, or what `table` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Kind::Json => {
                writeln!(out, "{}", json(value)?)?;
            }
            Kind::Table => write!(out, "{}", lines(&table(value)))?,
        }
        Ok(())
    }
}

/// Prints what a command answers to standard output.
pub(crate) fn say(answer: impl Display) {
    println!("{}", lines(&answer.to_string()));
}

/// Prints what there is to say besides to standard error.
pub(crate) fn note(remark: impl Display) {
    eprintln!("{}", lines(&remark.to_string()));
}

/// Text of one line that somebody else wrote, as it is shown within a line: control characters written out, such as `\u{1b}`.
pub(crate) fn line(text: &str) -> String {
    written_out(text, text::is_control)
}

/// The same of several lines.
fn lines(text: &str) -> String {
    written_out(text, is_control_in_lines)
}

/// A JSON document of several lines, control characters in its strings escaped as JSON has it.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let document = serde_json::to_string_pretty(value)?;
    let mut shown = String::with_capacity(document.len());
    for character in document.chars() {
        if is_control_in_lines(character) {
            shown.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(character);
        }
    }
    Ok(shown)
}

fn is_control_in_lines(character: char) -> bool {
    character != '\n' && text::is_control(character)
}

fn written_out(text: &str, is_written_out: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_written_out(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A table with a head, columns padded to their widest cell. Columns whose head begins with `>` are right-aligned.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect()).collect();
    let right: Vec<bool> = head.iter().map(|name| name.starts_with('>')).collect();
    let head: Vec<String> = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .zip(&right)
            .map(
                |((cell, &width), &right)| {
                    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A size as the portal shows it.
pub(crate) fn bytes(bytes: u64) -> String {
    habeas_portal::format::Bytes(bytes).to_string()
}

/// The HTTP status that an error below the edge would have, from which the exit code follows.
pub(crate) fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Invalid | ErrorKind::LimitExceeded => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict | ErrorKind::Frozen => 409,
        ErrorKind::Gone => 410,
        ErrorKind::TooLarge => 413,
        ErrorKind::NotImplemented => 501,
        ErrorKind::Busy => 429,
        ErrorKind::Unavailable => 503,
        ErrorKind::Damaged | ErrorKind::Internal => 500,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["Images".to_owned(), "62".to_owned()], vec!["Tags".to_owned(), "4".to_owned()]];
        assert_eq!(super::table(&["KIND", ">COUNT"], &rows), "KIND    COUNT\nImages     62\nTags        4\n");
        assert_eq!(super::bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        let name = "Ev\u{1b}[31m\r\nil\0\u{9b}\u{202e}";
        assert_eq!(super::line(name), r"Ev\u{1b}[31m\u{d}\u{a}il\u{0}\u{9b}\u{202e}");
        assert_eq!(super::lines("José\nÑ\u{7}"), "José\nÑ\\u{7}");
        let shown = super::json(&[format!("{name}\u{7f}é")]).unwrap();
        assert_eq!(shown, "[\n  \"Ev\\u001b[31m\\r\\nil\\u0000\\u009b\\u202e\\u007fé\"\n]");
        let read: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, [format!("{name}\u{7f}é")]);
        let rows = vec![vec![name.to_owned(), "x".to_owned()]];
        assert_eq!(super::table(&["A", "B"], &rows).lines().count(), 2);
    }
}
