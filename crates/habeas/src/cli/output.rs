//! How results are printed: JSON, or a table for people.

use std::io::Write as _;

use clap::{Args, ValueEnum};
use habeas_core::ErrorKind;
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
                serde_json::to_writer_pretty(&mut out, value)?;
                writeln!(out)?;
            }
            Kind::Table => write!(out, "{}", table(value))?,
        }
        Ok(())
    }
}

/// A table with a head, columns padded to their widest cell. Columns whose head begins with `>` are right-aligned.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let right: Vec<bool> = head.iter().map(|name| name.starts_with('>')).collect();
    let head: Vec<String> = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
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
}
