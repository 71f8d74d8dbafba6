//! Erase: the plan, and the confirmation.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::report::{HeldReport, KeptReport, PlanReport};

use super::Shell;
use crate::format::{Bytes, Count, Moment};

/// `GET /me/erase/{plan}`.
#[derive(Debug, Template)]
#[template(path = "erase_plan.html")]
pub struct PlanPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The plan.
    pub plan: PlanView,
    /// What the dialog asks.
    pub confirmation: Confirmation,
}

/// `GET /me/erase/{plan}/confirm`: the dialog as a page of its own, for browsers without scripts and for corrections.
#[derive(Debug, Template)]
#[template(path = "erase_confirm.html")]
pub struct ConfirmPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The plan.
    pub plan: PlanView,
    /// What is asked.
    pub confirmation: Confirmation,
}

/// What has to be typed before an erasure runs.
#[derive(Clone, Debug, Default)]
pub struct Confirmation {
    /// The e-mail address.
    pub email: String,
    /// What was wrong with what was typed last.
    pub error: Option<String>,
}

/// What an erasure would do.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// The plan's id.
    pub id: String,
    /// SHA-256 over what it says.
    pub digest: String,
    /// When it was made.
    pub created: Option<Moment>,
    /// Until when it can be run.
    pub valid_until: Option<Moment>,
    /// What happens, by service.
    pub groups: Vec<PlanGroup>,
    /// How many things go or change.
    pub total_count: Count,
    /// How large they are together.
    pub total_bytes: Bytes,
    /// What stays, and why.
    pub kept: Vec<KeptReport>,
    /// Names of the systems that are told of it.
    pub recipients: Vec<String>,
    /// Other persons who work in what is erased.
    pub others_affected: Count,
    /// Places in what others hold where the person becomes unlinkable.
    pub unlinked: Count,
    /// How many of them the person made.
    pub made: Count,
    /// How many of them others made and the person changed.
    pub changed: Count,
    /// Models of others that are solved again without this data.
    pub solved_again: Count,
    /// Models of others that are withdrawn, since too little is left to learn from.
    pub withdrawn: Count,
    /// Copies of this person's images in projects of others.
    pub copies: Count,
    /// What others made from what is erased, and cannot forget it.
    pub tainted: Count,
    /// Tags of those models that lose their last image.
    pub tags_emptied: Count,
    /// Tags of those models that keep fewer images than a training needs.
    pub tags_below_minimum: Count,
    /// Exported models that are revoked.
    pub revoked: Count,
    /// Keys that are destroyed.
    pub keys: Count,
    /// What becomes of backups.
    pub backups: String,
    /// What has to be settled first; empty when it can run.
    pub blocked: Vec<String>,
    /// Images of others that show the person.
    pub depicted: Count,
    /// Whether this plan deletes them.
    pub erase_depicted: bool,
    /// Where somebody has to take over.
    pub choices: Vec<PlanChoice>,
}

/// Something whose last owner or administrator the person is.
#[derive(Clone, Debug)]
pub struct PlanChoice {
    /// The organisation, or the nil id for the installation.
    pub resource: String,
    /// Its name; none for the installation.
    pub name: Option<String>,
    /// How many other people it concerns.
    pub people: Count,
    /// Who takes over by this plan: an object id.
    pub successor: Option<String>,
    /// Whether it is deleted by this plan.
    pub deleted: bool,
    /// Who may take over an organisation: object id and name of its other members.
    pub candidates: Vec<(String, String)>,
}

/// What happens in one service.
#[derive(Clone, Debug)]
pub struct PlanGroup {
    /// The service's name.
    pub title: String,
    /// What happens, by kind; only kinds of which there is something.
    pub rows: Vec<PlanRow>,
}

/// What happens to one kind.
#[derive(Clone, Debug)]
pub struct PlanRow {
    /// The kind's name for a person, in the plural.
    pub title: String,
    /// How many.
    pub count: Count,
    /// How large together.
    pub bytes: Bytes,
    /// What is done, in a word.
    pub action: &'static str,
    /// Whether it goes for good.
    pub deleted: bool,
}

impl PlanView {
    /// Whether something is left to be decided.
    pub fn wants_decisions(&self) -> bool {
        !self.choices.is_empty() || !self.depicted.is_zero()
    }
}

impl PlanChoice {
    /// Whether this person takes over by this plan.
    pub fn is_successor(&self, person: &str) -> bool {
        self.successor.as_deref() == Some(person)
    }
}

impl PlanView {
    /// Makes it of the engine's report.
    pub fn new(report: &PlanReport, now: Timestamp) -> PlanView {
        let mut groups: Vec<PlanGroup> = Vec::new();
        let mut totals = (0, 0);
        for item in report.items.iter().filter(|item| item.count > 0) {
            let (action, deleted) = match item.action.as_str() {
                "delete" => ("Erased", true),
                "redact" => ("Blanked", false),
                _ => ("Kept", false),
            };
            if item.action != "keep" {
                totals.0 += item.count;
                totals.1 += item.bytes;
            }
            let row = PlanRow {
                title: item.title.clone(),
                count: Count(item.count),
                bytes: Bytes(item.bytes),
                action,
                deleted,
            };
            match groups.iter_mut().find(|group| group.title == item.service) {
                Some(group) => group.rows.push(row),
                None => groups.push(PlanGroup { title: item.service.clone(), rows: vec![row] }),
            }
        }
        PlanView {
            id: report.plan.clone(),
            digest: report.digest.clone(),
            created: Moment::parse(&report.created, now),
            valid_until: Moment::parse(&report.valid_until, now),
            groups,
            total_count: Count(totals.0),
            total_bytes: Bytes(totals.1),
            kept: report.kept.iter().cloned().chain(report.held.iter().map(|held| kept(held, now))).collect(),
            recipients: report.recipients.iter().map(|told| told.name.clone()).collect(),
            others_affected: Count(report.others_affected),
            unlinked: Count(report.unlinked),
            made: Count(report.made),
            changed: Count(report.changed),
            solved_again: Count(models_with(report, "solve again") + models_with(report, "train again")),
            withdrawn: Count(models_with(report, "withdraw")),
            copies: Count(report.copies),
            tainted: Count(report.tainted.len() as u64),
            tags_emptied: Count(report.models.iter().map(|model| model.tags_emptied).sum()),
            tags_below_minimum: Count(report.models.iter().map(|model| model.tags_below_minimum).sum()),
            revoked: Count(report.revoked),
            keys: Count(report.keys),
            backups: report.backups.clone(),
            blocked: report.blocked.clone(),
            depicted: Count(report.depicted),
            erase_depicted: report.erase_depicted,
            choices: report
                .choices
                .iter()
                .map(|choice| PlanChoice {
                    resource: choice.resource.clone(),
                    name: choice.name.clone(),
                    people: Count(choice.people),
                    successor: choice.successor.clone(),
                    deleted: choice.deleted,
                    candidates: Vec::new(),
                })
                .collect(),
        }
    }

    /// Whether it can be run.
    pub fn can_run(&self) -> bool {
        self.blocked.is_empty() && self.valid_until.is_none_or(|until| !until.is_past())
    }
}

/// What a legal hold keeps, as a line of what stays.
fn kept(held: &HeldReport, now: Timestamp) -> KeptReport {
    let until = held.until.as_deref().and_then(|until| Moment::parse(until, now));
    KeptReport {
        what: format!(
            "{} under a legal hold, until {}: {} {}",
            Count(held.resources).of("thing", "things"),
            until.map_or_else(|| "it is released".to_owned(), |until| until.absolute()),
            held.kind,
            held.target
        ),
        why: format!("{}: {}", held.matter, held.reason),
    }
}

fn models_with(report: &PlanReport, action: &str) -> u64 {
    report.models.iter().filter(|model| model.action == action).count() as u64
}
