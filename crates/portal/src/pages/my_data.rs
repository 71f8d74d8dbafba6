//! My data: everything held about a person.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::report::{
    ActivityReport, ExportReport, HoldingReport, HoldingsReport, MadeReport, MentionReport,
};

use super::exports::{ExportState, ExportView};
use super::{AccessRow, Shell};
use crate::format::{Bytes, Count, Moment};

/// Rows of the staff's access on this page; the others are on a page of their own.
const STAFF_ROWS: usize = 10;

/// `GET /me`.
#[derive(Debug, Template)]
#[template(path = "my_data.html")]
pub struct MyDataPage {
    /// What surrounds it.
    pub shell: Shell,
    /// When it was counted.
    pub counted: Option<Moment>,
    /// How many things are held.
    pub total_count: Count,
    /// How large they are together.
    pub total_bytes: Bytes,
    /// What is held, by service.
    pub groups: Vec<ServiceGroup>,
    /// Where the person appears in what others hold.
    pub mentions: Vec<MentionRow>,
    /// What others hold that the person made or changed.
    pub made: Vec<MadeRow>,
    /// Whether processing is restricted (GDPR Article 18).
    pub restricted: bool,
    /// When the staff looked: the latest first, cut off on this page.
    pub staff: Vec<AccessRow>,
    /// How often the staff looked, all in all.
    pub staff_count: Count,
    /// The archive that is being made or was made last, while it can be downloaded.
    pub export: Option<ExportView>,
}

/// What one service holds.
#[derive(Clone, Debug)]
pub struct ServiceGroup {
    /// The service's name.
    pub title: String,
    /// What it holds, by kind; also the kinds of which there is nothing.
    pub rows: Vec<KindRow>,
    /// Sum of the counts.
    pub count: Count,
    /// Sum of the sizes.
    pub bytes: Bytes,
}

/// What is held of one kind.
#[derive(Clone, Debug)]
pub struct KindRow {
    /// The kind's name in addresses.
    pub kind: String,
    /// Its name for a person, in the plural.
    pub title: String,
    /// How many.
    pub count: Count,
    /// How large together.
    pub bytes: Bytes,
    /// Why it is kept.
    pub purpose: String,
    /// How long it is kept.
    pub until: String,
    /// When the next of it goes by itself.
    pub next_expiry: Option<Moment>,
}

/// Where a person appears in what somebody else holds.
#[derive(Clone, Debug)]
pub struct MentionRow {
    /// What sort of thing it is.
    pub kind: String,
    /// Its id.
    pub resource: String,
    /// What the person is to it.
    pub role: String,
    /// Since when.
    pub since: Option<Moment>,
    /// What becomes of it when the person is erased.
    pub on_erasure: String,
}

/// How much of one kind that others hold a person made or changed.
#[derive(Clone, Debug)]
pub struct MadeRow {
    /// What the person did to them.
    pub role: &'static str,
    /// The kind's name for a person, in the plural.
    pub title: String,
    /// How many.
    pub count: Count,
    /// What becomes of them when the person is erased.
    pub on_erasure: String,
}

impl MyDataPage {
    /// Makes the page of what the rights engine counted, the person's activity, and their archives, newest first.
    pub fn new(
        shell: Shell,
        holdings: &HoldingsReport,
        activity: &[ActivityReport],
        exports: &[ExportReport],
        now: Timestamp,
    ) -> MyDataPage {
        let by_staff: Vec<AccessRow> = activity
            .iter()
            .filter(|entry| entry.by == "staff")
            .map(|entry| AccessRow::new(entry, now))
            .collect();
        MyDataPage {
            restricted: holdings.restricted,
            shell,
            counted: Moment::parse(&holdings.counted, now),
            total_count: Count(holdings.total_count),
            total_bytes: Bytes(holdings.total_bytes),
            groups: ServiceGroup::all(holdings, now),
            mentions: holdings.mentions.iter().map(|mention| MentionRow::new(mention, now)).collect(),
            made: [("who made", &holdings.made), ("who changed", &holdings.changed)]
                .into_iter()
                .flat_map(|(role, work)| work.iter().map(move |made| MadeRow::new(role, made)))
                .collect(),
            staff_count: Count(by_staff.iter().map(|row| row.count.0).sum()),
            staff: by_staff.into_iter().take(STAFF_ROWS).collect(),
            export: exports
                .first()
                .map(|export| ExportView::new(export, now))
                .filter(|export| matches!(export.state, ExportState::Running | ExportState::Ready)),
        }
    }

    /// In how many places of what others hold the person appears.
    pub fn places(&self) -> Count {
        Count(self.mentions.len() as u64 + self.made.iter().map(|row| row.count.0).sum::<u64>())
    }

    /// How many services hold something.
    pub fn services(&self) -> Count {
        Count(self.groups.iter().filter(|group| !group.count.is_zero()).count() as u64)
    }
}

impl ServiceGroup {
    /// Makes the groups of what the rights engine counted.
    pub(super) fn all(holdings: &HoldingsReport, now: Timestamp) -> Vec<ServiceGroup> {
        let mut groups: Vec<ServiceGroup> = Vec::new();
        for item in &holdings.items {
            let row = KindRow::new(item, now);
            let index = groups.iter().position(|group| group.title == item.service).unwrap_or_else(|| {
                groups.push(ServiceGroup {
                    title: item.service.clone(),
                    rows: Vec::new(),
                    count: Count(0),
                    bytes: Bytes(0),
                });
                groups.len() - 1
            });
            let group = &mut groups[index];
            group.count.0 += item.count;
            group.bytes.0 += item.bytes;
            group.rows.push(row);
        }
        groups
    }
}

impl KindRow {
    fn new(item: &HoldingReport, now: Timestamp) -> KindRow {
        KindRow {
            kind: item.kind.clone(),
            title: item.title.clone(),
            count: Count(item.count),
            bytes: Bytes(item.bytes),
            purpose: item.why.clone(),
            until: item.until.clone(),
            next_expiry: item.next_expiry.as_deref().and_then(|text| Moment::parse(text, now)),
        }
    }
}

impl MadeRow {
    fn new(role: &'static str, made: &MadeReport) -> MadeRow {
        MadeRow {
            role,
            title: made.title.clone(),
            count: Count(made.count),
            on_erasure: made.on_erasure.clone(),
        }
    }
}

impl MentionRow {
    fn new(mention: &MentionReport, now: Timestamp) -> MentionRow {
        MentionRow {
            kind: mention.kind.clone(),
            resource: mention.resource.clone(),
            role: mention.role.clone(),
            since: Moment::parse(&mention.since, now),
            on_erasure: mention.on_erasure.clone(),
        }
    }
}
