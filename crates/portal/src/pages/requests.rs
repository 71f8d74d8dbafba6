//! Data-subject requests: asked for by anybody, followed by the person, answered by the staff.

use std::collections::HashMap;

use askama::Template;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::{
    HoldingsReport, PlanDifferenceReport, RequestPlanReport, RequestReport, RequestStatusReport,
};
use habeas_core::requests::{Channel, DenialReason, ExtensionReason, RequestState, RequestType};
use habeas_core::{Id, Timestamp};

use super::{Fact, PlanView, ServiceGroup, Shell};
use crate::format::{Bytes, Count, Moment};

/// Something to choose in a form: its name there, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name in the form.
    pub name: String,
    /// What it says.
    pub title: String,
}

impl Choice {
    fn new(name: &str, title: &str) -> Choice {
        Choice { name: name.to_owned(), title: title.to_owned() }
    }
}

/// What can be asked for.
fn types() -> Vec<Choice> {
    [
        (RequestType::Access, "see everything that is held about me"),
        (RequestType::Portability, "take it elsewhere, in a form that programs read"),
        (RequestType::Erasure, "have everything erased"),
        (RequestType::Rectification, "have something corrected"),
        (RequestType::Restriction, "have its use stopped, but nothing erased"),
        (RequestType::Objection, "object to its use"),
    ]
    .into_iter()
    .map(|(asked, words)| Choice::new(asked.name(), &format!("{}: {words}", asked.title())))
    .collect()
}

fn state_title(name: &str) -> &'static str {
    RequestState::ALL.iter().find(|state| state.name() == name).map_or("Unknown", |state| state.title())
}

/// `GET /ask`: the public form.
#[derive(Debug, Default, Template)]
#[template(path = "ask.html")]
pub struct AskPage {
    /// The address that was typed last.
    pub email: String,
    /// What was chosen last.
    pub asked: String,
    /// The formats that were chosen with it.
    pub formats: Vec<ExportFormat>,
    /// Why it did not work.
    pub error: Option<String>,
}

impl AskPage {
    /// What can be asked for.
    pub fn types(&self) -> Vec<Choice> {
        types()
    }
}

/// `GET /requests/{id}`: how far a request has come, for whoever has its address.
#[derive(Debug, Template)]
#[template(path = "request_status.html")]
pub struct RequestStatusPage {
    /// Its id.
    pub id: String,
    /// What is asked for.
    pub asked: &'static str,
    /// Where it stands.
    pub state: &'static str,
    /// Whether a code is waited for.
    pub waits_for_code: bool,
    /// Whether the archive is fetched here with a code.
    pub fetches_archive: bool,
    /// Until when it has to be answered.
    pub due: Option<Moment>,
    /// Whether a legal hold keeps a part of what was to be erased.
    pub held: bool,
    /// The run of an erasure that was carried out, as long as its receipt can be had there.
    pub erasure: Option<String>,
    /// The receipt that proves it.
    pub receipt: Option<String>,
    /// Why the code was not taken.
    pub error: Option<String>,
}

impl RequestStatusPage {
    /// Makes it of the engine's report.
    pub fn new(report: &RequestStatusReport, error: Option<String>, now: Timestamp) -> RequestStatusPage {
        RequestStatusPage {
            id: report.id.clone(),
            asked: report.asked.title(),
            state: state_title(&report.state),
            waits_for_code: report.state == "verifying",
            fetches_archive: false,
            due: Moment::parse(&report.due, now),
            held: report.state == RequestState::CompletedWithHolds.name(),
            erasure: report.erasure.clone(),
            receipt: report.receipt.clone(),
            error,
        }
    }
}

/// What the persons in a request are called, by object id.
pub type Names = HashMap<String, String>;

/// A request.
#[derive(Clone, Debug)]
pub struct RequestView {
    /// Its id.
    pub id: String,
    /// What is asked for.
    pub asked: &'static str,
    /// Where it stands.
    pub state: &'static str,
    /// The state's name on the wire.
    pub state_name: String,
    /// How it came in.
    pub channel: &'static str,
    /// The law under which it is answered.
    pub regime: String,
    /// From when the time to answer counts.
    pub received: Option<Moment>,
    /// Until when it has to be answered.
    pub due: Option<Moment>,
    /// Whether that is over and it is still open.
    pub overdue: bool,
    /// Whether something is still to be done.
    pub open: bool,
    /// Whether the time to answer was extended: the law allows it once.
    pub extended: bool,
    /// Whether it may still be called off.
    pub can_be_called_off: bool,
    /// Whose data it is about: what they are called, or their id once they are erased.
    pub subject: Option<String>,
    /// Whether that person is there, with whom notes and answers are kept.
    pub can_be_written_to: bool,
    /// What else there is to know.
    pub facts: Vec<Fact>,
    /// The address that the person wants to have, while it waits for the code that was sent there.
    pub new_email: Option<String>,
    /// The open request that asks the same.
    pub duplicate_of: Option<String>,
    /// The erasure that carries it out.
    pub erasure: Option<String>,
    /// The archive that answers it.
    pub archive: Option<String>,
    /// The receipt that proves it.
    pub receipt: Option<String>,
    /// Notes and answers.
    pub comments: Vec<Said>,
    /// What happened: when, what, and by whom.
    pub history: Vec<(Option<Moment>, String, Option<String>)>,
}

/// A note or an answer.
#[derive(Clone, Debug)]
pub struct Said {
    /// When.
    pub at: Option<Moment>,
    /// By whom.
    pub by: String,
    /// Whether it was written to the person.
    pub answer: bool,
    /// What.
    pub text: String,
}

impl RequestView {
    /// Makes it of the engine's report. Whose name is not in `names` is called by what they are to the request.
    pub fn new(report: &RequestReport, names: &Names, now: Timestamp) -> RequestView {
        let open = RequestState::ALL.iter().any(|state| state.name() == report.state && state.is_open());
        let destroyed = report.history.iter().any(|entry| entry.event == "keysDestroyed");
        let called = |id: &str| called(id, report.subject.as_deref(), names);
        let formats = Some(ExportFormat::list(&report.formats)).filter(|names| !names.is_empty());
        let facts = [
            ("Further formats", formats),
            ("New e-mail address", report.new_email.clone()),
            ("Taken in by", report.requester.as_deref().map(called)),
            ("Identity checked by", report.identity_checked_by.map(|check| check.title().to_owned())),
            ("Time extended because", report.extension.map(|reason| reason.title().to_owned())),
            (
                "May be called off until",
                report
                    .undo_until
                    .as_deref()
                    .and_then(|text| Moment::parse(text, now))
                    .map(|until| until.absolute()),
            ),
            ("Approved or carried out by", report.approver.as_deref().map(called)),
            ("Refused because", report.denial.map(|reason| reason.title().to_owned())),
        ];
        let said = report.comments.iter().map(|comment| Said {
            at: Moment::parse(&comment.at, now),
            by: called(&comment.by),
            answer: comment.answer,
            text: comment.text.clone(),
        });
        let history = report.history.iter().map(|entry| {
            (Moment::parse(&entry.at, now), words(&entry.event), entry.by.as_deref().map(called))
        });
        RequestView {
            id: report.id.clone(),
            asked: report.asked.title(),
            state: state_title(&report.state),
            state_name: report.state.clone(),
            channel: report.channel.title(),
            regime: report.regime.to_uppercase(),
            received: Moment::parse(&report.received, now),
            due: Moment::parse(&report.due, now),
            overdue: report.overdue,
            open,
            extended: report.extension.is_some(),
            can_be_called_off: open && !destroyed,
            subject: report.subject.as_ref().map(|id| names.get(id).unwrap_or(id).clone()),
            can_be_written_to: report.subject.as_ref().is_some_and(|id| names.contains_key(id)),
            facts: facts
                .into_iter()
                .filter_map(|(label, value)| Some(Fact { label: label.to_owned(), value: value? }))
                .collect(),
            new_email: report.new_email.clone(),
            duplicate_of: report.duplicate_of.clone(),
            erasure: report.erasure.clone(),
            archive: report.archive.clone(),
            receipt: report.receipt.clone(),
            comments: said.collect(),
            history: history.collect(),
        }
    }
}

/// What somebody in a request is called.
fn called(id: &str, subject: Option<&str>, names: &Names) -> String {
    match names.get(id) {
        Some(name) => name.clone(),
        None if Some(id) == subject => "the person".to_owned(),
        None if id == Id::NIL.to_string() => "the operator of the machine".to_owned(),
        None => "the staff".to_owned(),
    }
}

/// `undoWindowEnded` as a person reads it.
fn words(event: &str) -> String {
    let mut text = String::new();
    for letter in event.chars() {
        if letter.is_uppercase() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    super::sentence(&text).trim_end_matches('.').to_owned()
}

/// Which requests the queue shows.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Its name in the address.
    pub name: &'static str,
    /// What it says.
    pub title: &'static str,
    /// Whether it is the one in use.
    pub current: bool,
}

/// `GET /me/requests`: a person's own.
#[derive(Debug, Template)]
#[template(path = "requests.html")]
pub struct RequestsPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The requests, newest first.
    pub requests: Vec<RequestView>,
    /// Why the last one was not taken in.
    pub error: Option<String>,
    /// What was chosen for it.
    pub asked: String,
    /// The formats that were chosen with it.
    pub formats: Vec<ExportFormat>,
    /// What was written to it.
    pub text: String,
    /// The new address that was typed.
    pub email: String,
}

impl RequestsPage {
    /// What can be asked for.
    pub fn types(&self) -> Vec<Choice> {
        types()
    }
}

/// `GET /staff/requests`: the queue.
#[derive(Debug, Template)]
#[template(path = "queue.html")]
pub struct QueuePage {
    /// What surrounds it.
    pub shell: Shell,
    /// What can be shown.
    pub filters: Vec<Filter>,
    /// The requests, newest first.
    pub requests: Vec<RequestView>,
    /// Where the next page is.
    pub next: Option<String>,
}

/// What was typed to take a request in.
#[derive(Clone, Debug, Default)]
pub struct TakenIn {
    /// E-mail address or object id.
    pub person: String,
    /// What is asked for.
    pub asked: String,
    /// The formats that were chosen with it.
    pub formats: Vec<ExportFormat>,
    /// How it came.
    pub channel: String,
    /// On which day it came: `2026-11-24`.
    pub received: String,
    /// The law under which it is answered.
    pub regime: String,
    /// How it was made sure who asks.
    pub identity: String,
}

/// `GET /staff/requests/new`: taking a request in on behalf of somebody.
#[derive(Debug, Template)]
#[template(path = "request_new.html")]
pub struct NewRequestPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The laws of this deployment.
    pub regimes: Vec<String>,
    /// What was typed last.
    pub typed: TakenIn,
    /// Why it was not taken in.
    pub error: Option<String>,
}

impl NewRequestPage {
    /// What can be asked for.
    pub fn types(&self) -> Vec<Choice> {
        RequestType::ALL.iter().map(|asked| Choice::new(asked.name(), asked.title())).collect()
    }

    /// How it can have come.
    pub fn channels(&self) -> Vec<Choice> {
        [Channel::Letter, Channel::Email, Channel::Phone, Channel::InPerson]
            .map(|channel| Choice::new(channel.name(), channel.title()))
            .into()
    }
}

/// How much of a kind there was and is.
#[derive(Clone, Debug)]
pub struct DifferenceRow {
    /// The kind, as the data map names it.
    pub kind: String,
    /// How many there were, and their size.
    pub before: (Count, Bytes),
    /// How many there are, and their size.
    pub now: (Count, Bytes),
}

/// What the erasure that is asked for would do now.
#[derive(Clone, Debug)]
pub struct RequestPlanView {
    /// The plan.
    pub plan: PlanView,
    /// Whether it differs from the one that was made or approved last.
    pub changed: bool,
    /// Where.
    pub difference: Vec<DifferenceRow>,
}

impl RequestPlanView {
    /// Makes it of the engine's report.
    pub fn new(report: &RequestPlanReport, now: Timestamp) -> RequestPlanView {
        let row = |row: &PlanDifferenceReport| DifferenceRow {
            kind: row.kind.clone(),
            before: (Count(row.count_before), Bytes(row.bytes_before)),
            now: (Count(row.count_now), Bytes(row.bytes_now)),
        };
        RequestPlanView {
            plan: PlanView::new(&report.plan, now),
            changed: report.changed,
            difference: report.difference.iter().map(row).collect(),
        }
    }
}

/// What was typed into the form of a decision that was not taken.
#[derive(Clone, Debug, Default)]
pub struct TypedDecision {
    /// The decision's name in addresses.
    pub decision: String,
    /// The reason that was chosen.
    pub reason: String,
    /// What was written.
    pub text: String,
}

/// `GET /me/requests/{id}` and `GET /staff/requests/{id}`.
#[derive(Debug, Template)]
#[template(path = "request.html")]
pub struct RequestPage {
    /// What surrounds it.
    pub shell: Shell,
    /// Whether somebody of the staff looks at it, who may decide.
    pub staff: bool,
    /// The request.
    pub request: RequestView,
    /// What its erasure would do now, if it asks for one that has not begun.
    pub plan: Option<RequestPlanView>,
    /// What is asked for, if an officer says when it is carried out.
    pub by_hand: Option<RequestType>,
    /// Whether who looks at it took it in, said that it is the person or decided last what goes with it, and so cannot approve it.
    pub took_part: bool,
    /// Why the last decision was not taken.
    pub error: Option<String>,
    /// What was typed for it.
    pub typed: TypedDecision,
}

impl RequestPage {
    /// Where it lies.
    pub fn address(&self) -> String {
        let base = if self.staff { "/staff/requests" } else { "/me/requests" };
        format!("{base}/{}", self.request.id)
    }

    /// Whether who asks is still to be made sure.
    pub fn is_unverified(&self) -> bool {
        matches!(self.request.state_name.as_str(), "received" | "verifying")
    }

    /// Whether it waits for the code that went to the person's new address.
    pub fn waits_for_own_code(&self) -> bool {
        !self.staff && self.request.new_email.is_some() && self.is_unverified()
    }

    /// Whether it waits for an approval.
    pub fn awaits_approval(&self) -> bool {
        self.request.state_name == "awaitingApproval"
    }

    /// Whether it waits for somebody to carry it out.
    pub fn can_be_completed(&self) -> bool {
        self.by_hand.is_some() && self.request.state_name == "planned"
    }

    /// Whether carrying it out corrects who the person is.
    pub fn corrects(&self) -> bool {
        self.by_hand == Some(RequestType::Rectification)
    }

    /// Whether carrying it out restricts what is done with the person's data.
    pub fn restricts(&self) -> bool {
        matches!(self.by_hand, Some(RequestType::Restriction | RequestType::Objection))
    }

    /// Whether it may still be refused.
    pub fn can_be_denied(&self) -> bool {
        matches!(
            self.request.state_name.as_str(),
            "received" | "verifying" | "undoWindow" | "awaitingApproval" | "planned"
        )
    }

    /// What was written for this decision, when it was not taken.
    pub fn text(&self, decision: &str) -> &str {
        if self.typed.decision == decision { &self.typed.text } else { "" }
    }

    /// The reasons for a refusal, and which was chosen.
    pub fn denials(&self) -> Vec<(Choice, bool)> {
        let reasons = DenialReason::ALL.iter();
        reasons.map(|reason| self.reason("deny", Choice::new(reason.name(), reason.title()))).collect()
    }

    /// The reasons for an extension, and which was chosen.
    pub fn extensions(&self) -> Vec<(Choice, bool)> {
        let reasons = ExtensionReason::ALL.iter();
        reasons.map(|reason| self.reason("extend", Choice::new(reason.name(), reason.title()))).collect()
    }

    fn reason(&self, decision: &str, choice: Choice) -> (Choice, bool) {
        let chosen = self.typed.decision == decision && self.typed.reason == choice.name;
        (choice, chosen)
    }
}

/// `GET /staff/requests/{id}/holdings`: everything held on the person whom a request is about.
#[derive(Debug, Template)]
#[template(path = "holdings.html")]
pub struct HoldingsPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The request.
    pub request: String,
    /// Name and e-mail address of the person.
    pub person: String,
    /// When it was counted.
    pub counted: Option<Moment>,
    /// How many things are held.
    pub total_count: Count,
    /// How large they are together.
    pub total_bytes: Bytes,
    /// What is held, by service.
    pub groups: Vec<ServiceGroup>,
}

impl HoldingsPage {
    /// Makes it of what the rights engine counted.
    pub fn new(shell: Shell, request: String, holdings: &HoldingsReport, now: Timestamp) -> HoldingsPage {
        HoldingsPage {
            shell,
            request,
            person: format!("{}, {}", holdings.person.name, holdings.person.email),
            counted: Moment::parse(&holdings.counted, now),
            total_count: Count(holdings.total_count),
            total_bytes: Bytes(holdings.total_bytes),
            groups: ServiceGroup::all(holdings, now),
        }
    }

    /// Below which address the items of each kind lie.
    pub fn items_address(&self) -> String {
        format!("/staff/requests/{}/items", self.request)
    }
}
