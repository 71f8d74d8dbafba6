//! Who looked: what was called in a person's name, and what the staff did with their data.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::report::ActivityReport;

use super::Shell;
use crate::format::{Count, Moment};

/// Rows on a page at most, but for those of the last one's minute.
const ROWS: usize = 500;

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
    /// Where the next page is.
    pub older: Option<String>,
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
    /// Makes the page of a person's activity, newest first: what was done before that minute, if there is one.
    pub fn new(
        shell: Shell,
        activity: &[ActivityReport],
        staff_only: bool,
        before: Option<&str>,
        now: Timestamp,
    ) -> AccessLogPage {
        let mut entries: Vec<&ActivityReport> = activity
            .iter()
            .filter(|entry| entry.by == "staff" || !staff_only)
            .filter(|entry| before.is_none_or(|before| entry.minute.as_str() < before))
            .collect();
        let mut older = None;
        if let Some(last) = entries.get(ROWS - 1).map(|entry| entry.minute.as_str()) {
            let shown = entries.partition_point(|entry| entry.minute.as_str() >= last);
            if shown < entries.len() {
                let staff = if staff_only { "by=staff&" } else { "" };
                older = Some(format!("/me/access-log?{staff}before={last}"));
                entries.truncate(shown);
            }
        }
        let rows = entries.into_iter().map(|entry| AccessRow::new(entry, now)).collect();
        AccessLogPage { shell, staff_only, rows, older }
    }
}
