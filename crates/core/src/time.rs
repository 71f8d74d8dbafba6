//! Points in time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// One hour, in microseconds.
pub const HOUR: i64 = 3_600_000_000;
/// One day, in microseconds.
pub const DAY: i64 = 24 * HOUR;

impl Timestamp {
    /// RFC 3339 with six decimals and `Z`, as every wire shape of ours uses it. Times outside the years
    /// 1 to 9999 are clamped to them.
    pub fn rfc3339(self) -> String {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        format!("{time:.6}")
    }

    /// As HTTP writes it (RFC 9110, section 5.6.7), in whole seconds.
    pub fn http_date(self) -> String {
        let time = jiff::Timestamp::from_second(self.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads RFC 3339; an offset other than `Z` is converted.
    pub fn parse(text: &str) -> Result<Timestamp> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Timestamp(time.as_microsecond()))
            .map_err(|_| Error::invalid("not a date and time").hint("write it like 2026-11-24T08:30:00Z"))
    }

    /// The start of the hour that this time lies in.
    pub fn hour(self) -> Timestamp {
        Timestamp(self.0 - self.0.rem_euclid(HOUR))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_and_always_ends_in_z() {
        let time = Timestamp::parse("2026-11-22T09:30:00.123456+01:00").unwrap();
        assert_eq!(time.rfc3339(), "2026-11-22T08:30:00.123456Z");
        assert_eq!(Timestamp::parse(&time.rfc3339()).unwrap(), time);
        assert_eq!(Timestamp(0).rfc3339(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time.http_date(), "Sun, 22 Nov 2026 08:30:00 GMT");
    }
}
