//! Until when a request has to be answered.
//!
//! Periods in months or days count from the day after receipt and end with the last day; a last day that is a Saturday, a Sunday or a
//! holiday moves to the next working day (Regulation 1182/71, Article 3; for the CCPA, California Code of Civil Procedure 12a).
//! A month that lacks the day ends with its last. Days are those of UTC.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::{Error, Result, Timestamp};

/// A number of months or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Calendar months.
    Months(u16),
    /// Calendar days.
    Days(u16),
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Period> {
        let wrong = || Error::invalid("a period is written like `1 month` or `45 days`");
        let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let count = count.parse().ok().filter(|count| *count <= 1_000).ok_or_else(wrong)?;
        match unit.trim() {
            "month" | "months" => Ok(Period::Months(count)),
            "day" | "days" => Ok(Period::Days(count)),
            _ => Err(wrong()),
        }
    }
}

/// A law that gives time to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regime {
    /// Its short name in lower case, such as `gdpr`.
    pub name: String,
    /// The time to answer.
    pub answer: Period,
    /// What an extension adds.
    pub extension: Period,
}

/// The regimes of a deployment, the first of which is its usual one, and its holidays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    regimes: Vec<Regime>,
    holidays: BTreeSet<Date>,
}

impl Default for Deadlines {
    /// GDPR: one month and two more (Article 12(3)); CCPA: 45 days and 45 more (11 CCR 7021(b)). No holidays but weekends.
    fn default() -> Deadlines {
        let regime = |name: &str, answer, extension| Regime { name: name.to_owned(), answer, extension };
        Deadlines {
            regimes: vec![
                regime("gdpr", Period::Months(1), Period::Months(2)),
                regime("ccpa", Period::Days(45), Period::Days(45)),
            ],
            holidays: BTreeSet::new(),
        }
    }
}

impl Deadlines {
    /// Reads regimes such as `gdpr = 1 month + 2 months, ccpa = 45 days + 45 days` and holidays such as `2026-12-25, 2026-12-26`.
    pub fn parse(regimes: Option<&str>, holidays: Option<&str>) -> Result<Deadlines> {
        let mut deadlines = Deadlines::default();
        if let Some(text) = regimes {
            deadlines.regimes = text.split(',').map(regime).collect::<Result<_>>()?;
        }
        for day in holidays.unwrap_or_default().split(',').map(str::trim).filter(|day| !day.is_empty()) {
            let day = day.parse().map_err(|_| Error::invalid("a holiday is a date such as 2026-12-25"))?;
            deadlines.holidays.insert(day);
        }
        Ok(deadlines)
    }

    /// The names of the regimes, the usual one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.regimes.iter().map(|regime| &*regime.name)
    }

    /// The regime with this name; the usual one if none is named.
    pub fn regime(&self, name: Option<&str>) -> Result<&Regime> {
        let wanted = name.map(str::to_lowercase);
        self.regimes
            .iter()
            .find(|regime| wanted.as_ref().is_none_or(|wanted| regime.name == *wanted))
            .ok_or_else(|| {
                let known: Vec<&str> = self.names().collect();
                Error::invalid("there is no such regime").hint(format!("one of: {}", known.join(", ")))
            })
    }

    /// The last second in which a request received at `received` is answered in time.
    pub fn due(&self, regime: &Regime, received: Timestamp, extended: bool) -> Result<Timestamp> {
        let far = |_| Error::invalid("that is too long ago, or too far ahead");
        let received = jiff::Timestamp::from_microsecond(received.0).map_err(far)?;
        let mut day = received.to_zoned(TimeZone::UTC).date();
        let periods = if extended { vec![regime.answer, regime.extension] } else { vec![regime.answer] };
        // Months first and together: a month after the 31st of January is not a month after its last day moved to February.
        let months: i64 = periods
            .iter()
            .map(|period| if let Period::Months(count) = period { i64::from(*count) } else { 0 })
            .sum();
        let days: i64 = periods
            .iter()
            .map(|period| if let Period::Days(count) = period { i64::from(*count) } else { 0 })
            .sum();
        day = day.checked_add(months.months()).and_then(|day| day.checked_add(days.days())).map_err(far)?;
        while matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) || self.holidays.contains(&day) {
            day = day.tomorrow().map_err(far)?;
        }
        let end = day.at(23, 59, 59, 0).to_zoned(TimeZone::UTC).map_err(far)?;
        Ok(Timestamp(end.timestamp().as_microsecond()))
    }
}

fn regime(text: &str) -> Result<Regime> {
    let wrong = || {
        Error::invalid("a regime is written like `gdpr = 1 month + 2 months`, several with commas between")
    };
    let (name, periods) = text.split_once('=').ok_or_else(wrong)?;
    let (answer, extension) = periods.split_once('+').ok_or_else(wrong)?;
    let name = name.trim().to_lowercase();
    if name.is_empty() || name.len() > 32 || !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        return Err(wrong());
    }
    Ok(Regime { name, answer: answer.parse()?, extension: extension.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(deadlines: &Deadlines, regime: &str, received: &str, extended: bool) -> String {
        let regime = deadlines.regime(Some(regime)).unwrap();
        deadlines.due(regime, Timestamp::parse(received).unwrap(), extended).unwrap().rfc3339()
    }

    #[test]
    fn a_month_ends_with_the_day_of_the_same_number_or_the_last_and_moves_to_a_working_day() {
        let usual = Deadlines::default();
        for (received, extended, expected) in [
            // A Wednesday to a Friday.
            ("2026-11-25T22:00:00Z", false, "2026-12-25"),
            // The 31st of January to the end of February, which is a Saturday in 2026, so to Monday.
            ("2026-01-31T00:00:00Z", false, "2026-03-02"),
            // Leap year: the 29th of February 2028 is a Tuesday.
            ("2028-01-31T23:59:59Z", false, "2028-02-29"),
            // Three months in all, not one after the shifted end of the first.
            ("2026-01-31T12:00:00Z", true, "2026-04-30"),
            ("2026-11-30T12:00:00Z", true, "2027-03-01"),
        ] {
            assert_eq!(
                due(&usual, "gdpr", received, extended),
                format!("{expected}T23:59:59.000000Z"),
                "{received}"
            );
        }
    }

    #[test]
    fn days_are_calendar_days_and_holidays_are_passed_over() {
        let usual = Deadlines::default();
        // The 9th of January 2027 is a Saturday.
        assert_eq!(due(&usual, "ccpa", "2026-11-25T22:00:00Z", false), "2027-01-11T23:59:59.000000Z");
        assert_eq!(due(&usual, "CCPA", "2026-11-25T22:00:00Z", true), "2027-02-23T23:59:59.000000Z");
        let own = Deadlines::parse(
            Some("lgpd = 15 days + 0 days, gdpr = 1 month + 2 months"),
            Some("2026-12-25, 2026-12-28"),
        )
        .unwrap();
        assert_eq!(due(&own, "gdpr", "2026-11-25T22:00:00Z", false), "2026-12-29T23:59:59.000000Z");
        assert_eq!(own.regime(None).unwrap().name, "lgpd");
        assert!(own.regime(Some("ccpa")).is_err());
        for wrong in
            ["gdpr", "gdpr = 1 month", "gdpr = 1 year + 1 year", "= 1 day + 1 day", "a b = 1 day + 1 day"]
        {
            assert!(Deadlines::parse(Some(wrong), None).is_err(), "{wrong}");
        }
        assert!(Deadlines::parse(None, Some("25.12.2026")).is_err());
    }
}
