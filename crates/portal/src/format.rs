//! Counts, sizes and times as a person reads them.

use std::fmt;

use habeas_core::Timestamp;

/// A count, with a comma between thousands: `12,345`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

impl Count {
    /// Whether there is nothing.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The count with a noun in the number that belongs to it: `1 file`, `2 files`.
    pub fn of(&self, one: &str, many: &str) -> String {
        format!("{self} {}", if self.0 == 1 { one } else { many })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A size in bytes, in decimal units: `0 B`, `999 B`, `1.2 kB`, `45.0 MB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1_000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1e3;
        let mut unit = 0;
        // A value that would be rounded to 1000.0 is shown in the next unit.
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1e3;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A moment as a page shows it: absolute, and relative to when the page was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    at: Timestamp,
    now: Timestamp,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Moment {
    /// `at`, on a page made at `now`.
    pub fn new(at: Timestamp, now: Timestamp) -> Moment {
        Moment { at, now }
    }

    /// Reads the RFC 3339 text of a report; none when it holds no time.
    pub fn parse(text: &str, now: Timestamp) -> Option<Moment> {
        Timestamp::parse(text).ok().map(|at| Moment { at, now })
    }

    /// For the `datetime` attribute: RFC 3339, to the second.
    pub fn iso(&self) -> String {
        let mut text = self.at.rfc3339();
        text.truncate("2026-11-24T08:30:00".len());
        text + "Z"
    }

    /// `24 November 2026, 08:30 UTC`.
    pub fn absolute(&self) -> String {
        let text = self.at.rfc3339();
        // The years 1 to 9999, always with two digits for month and day.
        let month = text[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
        let day = text[8..10].trim_start_matches('0');
        format!("{day} {} {}, {} UTC", month.unwrap_or(&""), &text[..4], &text[11..16])
    }

    /// `just now`, `3 minutes ago`, `in 6 days`: the largest whole unit that fits.
    pub fn relative(&self) -> String {
        let seconds = (self.at.0 - self.now.0).div_euclid(1_000_000);
        let distance = seconds.unsigned_abs();
        let (number, one, many) = match distance {
            0..=44 => return if seconds > 0 { "in a moment" } else { "just now" }.to_owned(),
            45..=3_599 => (distance.div_ceil(60).min(59), "minute", "minutes"),
            3_600..=86_399 => (distance / 3_600, "hour", "hours"),
            86_400..=5_183_999 => (distance / 86_400, "day", "days"),
            5_184_000..=63_071_999 => (distance / 2_592_000, "month", "months"),
            _ => (distance / 31_536_000, "year", "years"),
        };
        let amount = Count(number).of(one, many);
        if seconds > 0 { format!("in {amount}") } else { format!("{amount} ago") }
    }

    /// Whether it lies before the moment the page was made.
    pub fn is_past(&self) -> bool {
        self.at <= self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas_and_nouns_their_number() {
        let texts: Vec<String> =
            [0, 7, 999, 1_000, 12_345, 1_234_567].map(|count| Count(count).to_string()).into();
        assert_eq!(texts, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(Count(1).of("file", "files"), "1 file");
        assert_eq!(Count(0).of("file", "files"), "0 files");
    }

    #[test]
    fn sizes_are_decimal_and_never_read_1000() {
        let texts: Vec<String> = [0, 999, 1_000, 1_249, 999_949, 999_950, 45_000_000, u64::MAX]
            .map(|size| Bytes(size).to_string())
            .into();
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.2 kB", "999.9 kB", "1.0 MB", "45.0 MB", "18.4 EB"]);
    }

    #[test]
    fn moments_are_absolute_and_relative() {
        let now = Timestamp::parse("2026-11-04T08:30:00Z").unwrap();
        let at = |text: &str| Moment::parse(text, now).unwrap();
        assert_eq!(at("2026-11-04T08:29:50.9Z").absolute(), "4 November 2026, 08:29 UTC");
        assert_eq!(at("2026-11-04T08:29:50.9Z").iso(), "2026-11-04T08:29:50Z");
        for (text, relative) in [
            ("2026-11-04T08:29:50Z", "just now"),
            ("2026-11-04T08:28:00Z", "2 minutes ago"),
            ("2026-11-04T07:30:00Z", "1 hour ago"),
            ("2026-11-03T07:30:00Z", "1 day ago"),
            ("2026-11-11T08:30:00Z", "in 7 days"),
            ("2026-11-04T08:30:10Z", "in a moment"),
            ("2024-01-01T00:00:00Z", "2 years ago"),
            ("2026-08-04T08:30:00Z", "3 months ago"),
        ] {
            assert_eq!(at(text).relative(), relative, "{text}");
        }
        assert!(at("2026-11-04T08:29:50Z").is_past() && !at("2026-11-11T08:30:00Z").is_past());
        assert!(Moment::parse("", now).is_none());
    }
}
