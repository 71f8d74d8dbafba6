//! The queue of requests: for the staff. To everybody else nothing is here.

use std::collections::HashMap;

use axum::Form;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use habeas_core::kinds::Decisions;
use habeas_core::report::RequestReport;
use habeas_core::requests::{
    Channel, DenialReason, ExtensionReason, IdentityCheck, RequestState, RequestType,
};
use habeas_core::{Error, ErrorKind, Id, Timestamp};
use habeas_rights::{ByStaff, NewRequest, Rectify, RequestFilter};
use serde::Deserialize;

use super::data::{items_page, receipt_id, receipt_page};
use super::erase::{decisions, name_candidates};
use super::requests::{again, formats_in, is_about_the_form, request_id, said, type_of};
use super::session::SignedIn;
use super::{Failure, Portal, render};
use crate::pages::{
    Filter, HoldingsPage, Names, NewRequestPage, QueuePage, RequestPage, RequestPlanView, RequestView,
    Section, TakenIn, TypedDecision,
};

/// Requests on a page.
const PAGE: u32 = 50;

/// What the queue can show: name in addresses, title, state, and whether late ones only.
const FILTERS: [(&str, &str, Option<&str>, bool); 6] = [
    ("open", "Open", Some("open"), false),
    ("overdue", "Overdue", None, true),
    ("verify", "Not verified", Some("verifying"), false),
    ("approve", "To approve", Some("awaitingApproval"), false),
    ("carry-out", "To carry out", Some("planned"), false),
    ("all", "All", None, false),
];

/// `GET /staff/requests`: the queue.
pub(super) async fn queue(
    State(portal): State<Portal>,
    who: SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    let query = query.unwrap_or_default();
    let member = |wanted: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| (name == wanted).then_some(value))
    };
    let chosen = member("show").unwrap_or("open");
    let (name, _, state, overdue) = FILTERS
        .into_iter()
        .find(|(name, ..)| *name == chosen)
        .ok_or_else(|| Error::not_found("there is no such page"))?;
    let states = match state {
        Some("open") => Some(RequestFilter::OPEN),
        Some(state) => RequestState::numbers_of(state),
        None => None,
    };
    let after = member("after").map(request_id).transpose()?;
    let filter = RequestFilter { states, asked: None, overdue, after, limit: Some(PAGE) };
    let page = portal.rights.list_requests(&who.actor, filter).await?;
    let now = portal.now();
    Ok(render(&QueuePage {
        shell: who.shell(Section::Queue),
        filters: FILTERS
            .iter()
            .map(|&(other, title, ..)| Filter { name: other, title, current: other == name })
            .collect(),
        requests: page.requests.iter().map(|report| RequestView::new(report, &Names::new(), now)).collect(),
        next: page.next.map(|next| format!("/staff/requests?show={name}&after={next}")),
    }))
}

/// A request that an officer takes in, as it is typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    person: String,
    #[serde(rename = "type")]
    asked: String,
    channel: String,
    received: String,
    regime: String,
    identity: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

/// `GET /staff/requests/new`.
pub(super) async fn form(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    Ok(render(&new_request(&portal, &who, TakenIn::default(), None)))
}

fn new_request(portal: &Portal, who: &SignedIn, typed: TakenIn, error: Option<String>) -> NewRequestPage {
    NewRequestPage { shell: who.shell(Section::Queue), regimes: portal.rights.regimes(), typed, error }
}

/// `POST /staff/requests/new`.
pub(super) async fn create(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(form): Form<Typed>,
) -> Result<Response, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    match take_in(&portal, &who, &form).await {
        Ok(request) => Ok(Redirect::to(&format!("/staff/requests/{request}")).into_response()),
        // Whom the staff looks for and does not find is about the form, too.
        Err(error) if is_about_the_form(&error) || error.kind == ErrorKind::NotFound => {
            let typed = TakenIn {
                formats: formats_in(&form.others),
                person: form.person,
                asked: form.asked,
                channel: form.channel,
                received: form.received,
                regime: form.regime,
                identity: form.identity,
            };
            Ok(again(&error, &new_request(&portal, &who, typed, Some(said(&error)))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes it in; its id. An address that is nobody's is asked for a code like any other.
async fn take_in(portal: &Portal, who: &SignedIn, form: &Typed) -> Result<String, Error> {
    let asked = type_of(&form.asked)?;
    let received_at = match form.received.trim() {
        "" => None,
        day => Some(
            Timestamp::parse(&format!("{day}T00:00:00Z"))
                .map_err(|_| Error::invalid("the day on which it came is not one, like 2026-11-24"))?,
        ),
    };
    let regime = Some(form.regime.clone()).filter(|regime| !regime.is_empty());
    let channel =
        Channel::from_name(&form.channel).ok_or_else(|| Error::invalid("choose how the request came"))?;
    let identity = IdentityCheck::from_name(&form.identity);
    let formats = formats_in(&form.others);
    let typed = form.person.trim();
    let found = typed.parse().map_or_else(|_| portal.rights.access().find_person(typed), Ok);
    let person = match found {
        Err(error) if error.kind == ErrorKind::NotFound => {
            let staff = ByStaff { actor: who.actor, channel, received_at, identity };
            let status = portal.rights.take_in(asked, formats, typed, regime.as_deref(), Some(staff)).await?;
            return Ok(status.id);
        }
        found => found?,
    };
    portal.rights.authorise(&who.actor, person, "CreateRequest").await?;
    let new = NewRequest {
        asked,
        formats,
        person,
        regime,
        channel,
        received_at,
        identity,
        confirm: None,
        decisions: Decisions::default(),
        id: None,
        callbacks: Vec::new(),
        destination: None,
    };
    Ok(portal.rights.create_request(&who.actor, new).await?.id)
}

/// `GET /staff/requests/{id}`.
pub(super) async fn show(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    let page = page(&portal, &who, request_id(&text)?, None, TypedDecision::default()).await?;
    Ok(render(&page))
}

async fn page(
    portal: &Portal,
    who: &SignedIn,
    id: Id,
    error: Option<String>,
    typed: TypedDecision,
) -> Result<RequestPage, Failure> {
    let report = portal.rights.request(&who.actor, id).await?;
    let waits = matches!(report.state.as_str(), "undoWindow" | "awaitingApproval" | "planned");
    let now = portal.now();
    let plan = if waits && report.asked == RequestType::Erasure {
        let mut view = RequestPlanView::new(&portal.rights.request_plan(&who.actor, id).await?, now);
        if let Some(subject) = report.subject.as_deref().and_then(|subject| subject.parse().ok()) {
            name_candidates(portal, who, &mut view.plan, subject).await?;
        }
        Some(view)
    } else {
        None
    };
    Ok(RequestPage {
        shell: who.shell(Section::Queue),
        staff: true,
        request: RequestView::new(&report, &names(portal, who, &report).await?, now),
        plan,
        by_hand: Some(report.asked).filter(|asked| {
            matches!(asked, RequestType::Rectification | RequestType::Restriction | RequestType::Objection)
        }),
        took_part: took_part(&report, &who.person.to_string()),
        error,
        typed,
    })
}

/// Whether somebody took a request in, said that it is the person who asks, corrected the person's address, or decided last what goes with it,
/// and so cannot approve it.
fn took_part(report: &RequestReport, person: &str) -> bool {
    let decided = report.history.iter().rfind(|entry| entry.event == "decided");
    report.requester.as_deref() == Some(person)
        || decided.is_some_and(|entry| entry.by.as_deref() == Some(person))
        || report.history.iter().any(|entry| {
            matches!(entry.event.as_str(), "verified" | "addressCorrected")
                && entry.by.as_deref() == Some(person)
        })
}

/// What those are called who are in a request: for the staff, who are recorded with each of them as having looked.
async fn names(portal: &Portal, who: &SignedIn, report: &RequestReport) -> Result<Names, Failure> {
    let mut texts: Vec<&String> = [&report.subject, &report.requester, &report.approver]
        .into_iter()
        .flatten()
        .chain(report.history.iter().filter_map(|entry| entry.by.as_ref()))
        .chain(report.comments.iter().map(|comment| &comment.by))
        .collect();
    texts.sort();
    texts.dedup();
    let (mut names, mut seen) = (Names::new(), Vec::new());
    for text in texts {
        let id = request_id(text)?;
        match portal.rights.access().person(id).await {
            Ok(profile) => {
                let profile = profile.doc;
                names.insert(text.clone(), format!("{}, {}", profile.name, profile.email));
                seen.push(id);
            }
            // The operator is none; others may be gone.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Frozen | ErrorKind::Gone) => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    portal.rights.record_read(&who.actor, &seen, "GetPerson").await?;
    Ok(names)
}

/// A decision as it is typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Decision {
    reason: String,
    text: String,
    digest: String,
    identity: String,
    name: String,
    email: String,
}

/// `POST /staff/requests/{id}/{decision}`.
pub(super) async fn decide(
    State(portal): State<Portal>,
    who: SignedIn,
    Path((text, decision)): Path<(String, String)>,
    Form(form): Form<Decision>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    portal.rights.require_staff(&who.actor).await?;
    // Approving cannot be undone: the sign-in may be too old for it.
    if decision == "approve" && portal.rights.require_fresh(&who.actor).is_err() {
        let address = format!("/sign-in?again&next=/staff/requests/{id}");
        return Ok(Redirect::to(&address).into_response());
    }
    match carry_out(&portal, &who, id, &decision, &form).await {
        Ok(_) => Ok(Redirect::to(&format!("/staff/requests/{id}")).into_response()),
        Err(error) if is_about_the_form(&error) => {
            let typed = TypedDecision { decision, reason: form.reason, text: form.text };
            let page = page(&portal, &who, id, Some(said(&error)), typed).await?;
            Ok(again(&error, &page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /staff/requests/{id}/decisions`: what the plan leaves to be decided.
pub(super) async fn choose(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
    Form(chosen): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    portal.rights.require_staff(&who.actor).await?;
    let decided = async {
        let decisions = decisions(&portal, &who, &chosen).await?;
        portal.rights.decide_request(&who.actor, id, decisions).await
    };
    match decided.await {
        Ok(_) => Ok(Redirect::to(&format!("/staff/requests/{id}")).into_response()),
        Err(error) if is_about_the_form(&error) => {
            let page = page(&portal, &who, id, Some(said(&error)), TypedDecision::default()).await?;
            Ok(again(&error, &page))
        }
        Err(error) => Err(error.into()),
    }
}

async fn carry_out(
    portal: &Portal,
    who: &SignedIn,
    id: Id,
    decision: &str,
    form: &Decision,
) -> Result<RequestReport, Error> {
    let (rights, actor) = (&portal.rights, &who.actor);
    let no_reason = || Error::invalid("choose a reason");
    match decision {
        "approve" => rights.approve_request(actor, id, &form.digest).await,
        "deny" => {
            let reason = DenialReason::from_name(&form.reason).ok_or_else(no_reason)?;
            rights.deny_request(actor, id, reason, &form.text).await
        }
        "extend" => {
            let reason = ExtensionReason::from_name(&form.reason).ok_or_else(no_reason)?;
            rights.extend_request(actor, id, reason, &form.text).await
        }
        "confirm-identity" => {
            let check = IdentityCheck::from_name(&form.identity)
                .ok_or_else(|| Error::invalid("choose how you made sure who asks"))?;
            rights.confirm_identity(actor, id, check).await
        }
        "comments" => rights.comment_request(actor, id, &form.text).await,
        "complete" => {
            let typed = |field: &str| Some(field.trim().to_owned()).filter(|field| !field.is_empty());
            let change =
                Rectify { name: typed(&form.name), email: typed(&form.email), corrections: Vec::new() };
            let change = Some(change).filter(|change| change.name.is_some() || change.email.is_some());
            rights.complete_request(actor, id, &form.text, change).await
        }
        "cancel" => rights.cancel_request(actor, id).await,
        _ => Err(Error::not_found("there is no such page")),
    }
}

/// The person whom a request is about, for the staff.
async fn subject(portal: &Portal, who: &SignedIn, request: Id) -> Result<Id, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    let report = portal.rights.request(&who.actor, request).await?;
    let subject = report.subject.as_deref().and_then(|subject| subject.parse().ok());
    Ok(subject.ok_or_else(|| Error::not_found("nobody is known whom this request is about"))?)
}

/// `GET /staff/requests/{id}/holdings`.
pub(super) async fn holdings(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let person = subject(&portal, &who, request_id(&text)?).await?;
    portal.rights.authorise(&who.actor, person, "GetHoldings").await?;
    let holdings = portal.rights.holdings(person).await?;
    Ok(render(&HoldingsPage::new(who.shell(Section::Queue), text, &holdings, portal.now())))
}

/// `GET /staff/requests/{id}/items/{kind}`.
pub(super) async fn items(
    State(portal): State<Portal>,
    who: SignedIn,
    Path((text, kind)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let person = subject(&portal, &who, request_id(&text)?).await?;
    portal.rights.authorise(&who.actor, person, "GetItems").await?;
    let below = format!("/staff/requests/{text}");
    let places = (format!("{below}/items/{kind}"), (format!("{below}/holdings"), "What is held"));
    items_page(&portal, who.shell(Section::Queue), person, &kind, query.as_deref(), places).await
}

/// `GET /staff/receipts/{receipt}` as a page, or with `.json` as it is signed.
pub(super) async fn receipt(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    portal.rights.require_staff(&who.actor).await?;
    let (id, as_json) = receipt_id(&name)?;
    portal.rights.authorise_receipt(&who.actor, id).await?;
    receipt_page(&portal, who.shell(Section::Queue), id, as_json, "/staff/receipts").await
}
