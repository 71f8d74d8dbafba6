//! What was measured, as a table.

use std::fmt::Write as _;

/// One line of the table.
struct Line {
    what: String,
    measured: String,
    wanted: String,
    /// None where nothing is wanted.
    met: Option<bool>,
}

impl Line {
    /// Whether a row of the table tells the same.
    fn is_of(&self, row: &str) -> bool {
        row.strip_prefix("| ")
            .and_then(|row| row.strip_prefix(&self.what))
            .is_some_and(|row| row.starts_with(" | "))
    }
}

/// All lines, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

impl Report {
    /// Adds a line and prints it.
    pub(crate) fn add(&mut self, what: &str, measured: String, wanted: &str, met: bool) {
        println!("{what}: {measured} (wanted: {wanted}{})", if met { "" } else { "; MISSED" });
        self.lines.push(Line { what: what.to_owned(), measured, wanted: wanted.to_owned(), met: Some(met) });
    }

    /// Adds a line for what could not be measured here.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        println!("{what}: skipped, {why}");
        let line = Line {
            what: what.to_owned(),
            measured: format!("skipped: {why}"),
            wanted: "-".to_owned(),
            met: None,
        };
        self.lines.push(line);
    }

    /// Adds a line for what is reported without a wish.
    pub(crate) fn tell(&mut self, what: &str, measured: String) {
        println!("{what}: {measured}");
        self.lines.push(Line { what: what.to_owned(), measured, wanted: "-".to_owned(), met: None });
    }

    /// Adds a line for a ratio that is to be at least `wanted` percent.
    pub(crate) fn ratio(&mut self, what: &str, figures: &str, ratio: f64, wanted: f64) {
        let percent = ratio * 100.0;
        self.add(
            what,
            format!("{percent:.0} % ({figures})"),
            &format!("at least {wanted:.0} %"),
            percent >= wanted,
        );
    }

    /// The file that is committed: the lines of `before`, an earlier one, that were not measured now, and those that were.
    pub(crate) fn markdown(&self, before: &str) -> String {
        let mut text = String::from(HEAD);
        let _ = writeln!(text, "Machine: {}.\n", machine());
        text.push_str(TABLE);
        let kept = before.split_once(TABLE).map_or("", |(_, rows)| rows).lines();
        for row in kept.filter(|row| !self.lines.iter().any(|line| line.is_of(row))) {
            let _ = writeln!(text, "{row}");
        }
        for Line { what, measured, wanted, met } in &self.lines {
            let met = match met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "-",
            };
            let _ = writeln!(text, "| {what} | {measured} | {wanted} | {met} |");
        }
        text
    }
}

const TABLE: &str = "| what | measured | wanted | |\n|---|---|---|---|\n";

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench`; not edited by hand. Every ratio compares two figures of the same run on the same machine: the server against a peer that does the same
work without what the server adds, or against a raw limit. Each is measured three times in turns (those of learning, which take minutes, once); the middle ratio is given, with the figures of that turn. The load
generator runs on the same processors as the server, so that rates over HTTP include its own cost. Parts can be measured alone, and then only their lines are new. Results are reported, not gated: a missed one is a piece of work,
not a failed build. How each is measured is said at the head of its file in `crates/bench/src`. A small person is seen with the counts of what is held, by kind; a person with 20000 resources with
these and every page of every kind, 100 resources a page, one after the other.

";

/// Processor, cores and kernel, as far as the system tells.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.split('-').next().unwrap_or_default().trim())
}

/// The turn whose ratio is the middle one.
pub(crate) fn middle<T>(mut turns: Vec<T>, ratio: impl Fn(&T) -> f64) -> anyhow::Result<T> {
    turns.sort_by(|left, right| ratio(left).total_cmp(&ratio(right)));
    let middle = turns.len() / 2;
    anyhow::ensure!(!turns.is_empty(), "nothing was measured");
    Ok(turns.swap_remove(middle))
}
