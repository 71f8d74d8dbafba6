//! Who looked: what was called in a person's name, and what the staff did with their data.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::report::ActivityReport;

use super::Shell;
use crate::format::{Count, Moment};

/// `GET /me/access-log`.
#[derive(Debug, Template)]
#[template(path = "access_log.html")]
pub struct AccessLogPage {
    /// What surrounds it.
    pub shell: Shell,
    /// Whether only the staff's access is shown.
    pub staff_only: bool,
    /// The newest first.
    pub rows: Vec<AccessRow>,
}

/// What was done in one minute.
#[derive(Clone, Debug)]
pub struct AccessRow {
    /// The start of the minute.
    pub at: Option<Moment>,
    /// The operation, by the name that its protocol gives it.
    pub operation: String,
    /// Whether somebody of the staff did it, not the person.
    pub by_staff: bool,
    /// The status of the answer.
    pub status: u16,
    /// How often.
    pub count: Count,
}

impl AccessRow {
    pub(crate) fn new(entry: &ActivityReport, now: Timestamp) -> AccessRow {
        AccessRow {
            at: Moment::parse(&entry.minute, now),
            operation: entry.operation.clone(),
            by_staff: entry.by == "staff",
            status: entry.status,
            count: Count(entry.count.into()),
        }
    }
}

impl AccessLogPage {
    /// Makes the page of a person's activity.
    pub fn new(shell: Shell, activity: &[ActivityReport], staff_only: bool, now: Timestamp) -> AccessLogPage {
        let rows =
            activity.iter().map(|entry| AccessRow::new(entry, now)).filter(|row| row.by_staff || !staff_only);
        AccessLogPage { shell, staff_only, rows: rows.collect() }
    }
}
