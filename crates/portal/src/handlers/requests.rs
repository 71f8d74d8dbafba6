//! Data-subject requests: the public form, and a person's own.

use std::collections::HashMap;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use habeas_core::kinds::{Decisions, ExportFormat};
use habeas_core::report::RequestReport;
use habeas_core::requests::{Channel, RequestType};
use habeas_core::{Error, ErrorKind, Id};
use habeas_rights::{NewRequest, Rectify};
use serde::Deserialize;

use super::exports::attached;
use super::session::SignedIn;
use super::{Failure, Portal, render};
use crate::pages::{
    AskPage, ErrorPage, Names, RequestPage, RequestStatusPage, RequestView, RequestsPage, Section,
    TypedDecision,
};

fn no_request() -> Error {
    Error::not_found("there is no such request")
}

/// The request that an address names.
pub(super) fn request_id(text: &str) -> Result<Id, Failure> {
    text.parse().map_err(|_| Failure(no_request()))
}

/// What a form asks for.
pub(super) fn type_of(name: &str) -> Result<RequestType, Error> {
    RequestType::from_name(name).ok_or_else(|| Error::invalid("choose what is asked for"))
}

/// The formats that are chosen in a form, each a field of its name.
pub(super) fn formats_in(fields: &HashMap<String, String>) -> Vec<ExportFormat> {
    ExportFormat::ALL.into_iter().filter(|format| fields.contains_key(format.name())).collect()
}

/// Whether an error is about what was typed or how things stand, so that it is shown on the page of the form.
pub(super) fn is_about_the_form(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::Forbidden)
}

/// What an error says on the page of the form, with what to do about it.
pub(super) fn said(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{}: {hint}", error.what),
        None => error.what.clone(),
    }
}

/// The page of a form again, with the status that belongs to the error it shows.
pub(super) fn again(error: &Error, page: &impl askama::Template) -> Response {
    (ErrorPage::new(error, None).status_code(), render(page)).into_response()
}

/// `GET /ask`.
pub(super) async fn ask() -> Response {
    render(&AskPage::default())
}

/// A request as it is typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RequestForm {
    #[serde(rename = "type")]
    asked: String,
    email: String,
    text: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

/// `POST /ask`: the answer is the same whether or not somebody has the address.
pub(super) async fn take_in(
    State(portal): State<Portal>,
    Form(form): Form<RequestForm>,
) -> Result<Response, Failure> {
    let taken = match type_of(&form.asked) {
        Ok(asked) => {
            let formats = formats_in(&form.others);
            portal.rights.take_in(asked, formats, &form.email, None, None).await
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok(report) => Ok(Redirect::to(&format!("/requests/{}", report.id)).into_response()),
        Err(error) if is_about_the_form(&error) => {
            let formats = formats_in(&form.others);
            let page = AskPage { email: form.email, asked: form.asked, formats, error: Some(said(&error)) };
            Ok(again(&error, &page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /requests/{id}`: for whoever has the address.
pub(super) async fn status(
    State(portal): State<Portal>,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    Ok(render(&status_page(&portal, request_id(&text)?, None).await?))
}

async fn status_page(portal: &Portal, id: Id, error: Option<String>) -> Result<RequestStatusPage, Failure> {
    let report = portal.rights.request_status(id).await?;
    let mut page = RequestStatusPage::new(&report, error, portal.now());
    page.fetches_archive = portal.rights.has_archive_by_code(id).await?;
    Ok(page)
}

/// A one-time code.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Code {
    code: String,
}

/// `POST /requests/{id}/verify`.
pub(super) async fn verify(
    State(portal): State<Portal>,
    Path(text): Path<String>,
    Form(form): Form<Code>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    let result = portal.rights.verify_request(id, &form.code).await;
    after_code(&portal, id, result.map(|_| ())).await
}

/// `POST /requests/{id}/resend`.
pub(super) async fn resend(
    State(portal): State<Portal>,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    let result = portal.rights.resend_code(id).await;
    after_code(&portal, id, result.map(|_| ())).await
}

/// `POST /requests/{id}/archive`: the archive itself, to whoever has no account and types the code that was sent for it.
pub(super) async fn archive(
    State(portal): State<Portal>,
    Path(text): Path<String>,
    Form(form): Form<Code>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    match portal.rights.fetch_archive(id, &form.code).await {
        Ok(blob) => Ok(attached(&portal, &blob, false)),
        Err(error) => after_code(&portal, id, Err(error)).await,
    }
}

async fn after_code(portal: &Portal, id: Id, result: Result<(), Error>) -> Result<Response, Failure> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/requests/{id}")).into_response()),
        Err(error) if is_about_the_form(&error) => {
            Ok(again(&error, &status_page(portal, id, Some(said(&error))).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /me/requests`.
pub(super) async fn own(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetRequests").await?;
    Ok(render(&list(&portal, &who, RequestForm::default(), None).await?))
}

async fn list(
    portal: &Portal,
    who: &SignedIn,
    form: RequestForm,
    error: Option<String>,
) -> Result<RequestsPage, Failure> {
    let (reports, now) = (portal.rights.requests_of(who.person).await?, portal.now());
    Ok(RequestsPage {
        shell: who.shell(Section::Requests),
        requests: reports.iter().map(|report| RequestView::new(report, &Names::new(), now)).collect(),
        error,
        formats: formats_in(&form.others),
        asked: form.asked,
        text: form.text,
        email: form.email,
    })
}

/// `POST /me/requests`: takes in a request of the person's own. An erasure begins with its plan, and a new address with a code that goes there.
pub(super) async fn create(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(form): Form<RequestForm>,
) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "CreateRequest").await?;
    match take_in_own(&portal, &who, &form).await {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        Err(error) if is_about_the_form(&error) => {
            let page = list(&portal, &who, form, Some(said(&error))).await?;
            Ok(again(&error, &page))
        }
        Err(error) => Err(error.into()),
    }
}

async fn take_in_own(portal: &Portal, who: &SignedIn, form: &RequestForm) -> Result<String, Error> {
    let asked = type_of(&form.asked)?;
    if asked == RequestType::Erasure {
        let plan = portal.rights.plan_erasure(who.person).await?;
        return Ok(format!("/me/erase/{}", plan.plan));
    }
    if asked == RequestType::Rectification && !form.email.trim().is_empty() {
        let change = Rectify { email: Some(form.email.clone()), ..Rectify::default() };
        let report = portal.rights.rectify(&who.actor, who.person, change).await?;
        return Ok(report
            .address_change
            .map_or_else(|| "/me/requests".to_owned(), |request| format!("/me/requests/{}", request.id)));
    }
    let new = NewRequest {
        asked,
        formats: formats_in(&form.others),
        person: who.person,
        regime: None,
        channel: Channel::SelfService,
        received_at: None,
        identity: None,
        confirm: None,
        decisions: Decisions::default(),
        id: None,
        callbacks: Vec::new(),
        destination: None,
    };
    let report = portal.rights.create_request(&who.actor, new).await?;
    if !form.text.trim().is_empty() {
        let id: Id = report.id.parse().map_err(|_| no_request())?;
        portal.rights.comment_request(&who.actor, id, &form.text).await?;
    }
    Ok(format!("/me/requests/{}", report.id))
}

/// `GET /me/requests/{id}`.
pub(super) async fn show(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let report = own_request(&portal, &who, request_id(&text)?).await?;
    Ok(render(&page(&portal, &who, &report, None, TypedDecision::default())))
}

async fn own_request(portal: &Portal, who: &SignedIn, id: Id) -> Result<RequestReport, Failure> {
    let report = portal.rights.request(&who.actor, id).await?;
    // The staff sees those of others in the queue.
    if report.subject == Some(who.person.to_string()) { Ok(report) } else { Err(no_request().into()) }
}

fn page(
    portal: &Portal,
    who: &SignedIn,
    report: &RequestReport,
    error: Option<String>,
    typed: TypedDecision,
) -> RequestPage {
    let names = Names::from([(who.person.to_string(), "you".to_owned())]);
    RequestPage {
        shell: who.shell(Section::Requests),
        staff: false,
        request: RequestView::new(report, &names, portal.now()),
        plan: None,
        by_hand: None,
        took_part: false,
        error,
        typed,
    }
}

/// What a person writes to a request of theirs, or the code that they were sent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    text: String,
    code: String,
}

/// `POST /me/requests/{id}/{decision}`: calls it off, adds a note, gives a code back or has another sent.
pub(super) async fn decide(
    State(portal): State<Portal>,
    who: SignedIn,
    Path((text, decision)): Path<(String, String)>,
    Form(form): Form<Written>,
) -> Result<Response, Failure> {
    let id = request_id(&text)?;
    own_request(&portal, &who, id).await?;
    let result = match decision.as_str() {
        "cancel" => portal.rights.cancel_request(&who.actor, id).await.map(|_| ()),
        "comments" => portal.rights.comment_request(&who.actor, id, &form.text).await.map(|_| ()),
        "verify" => portal.rights.verify_request(id, &form.code).await.map(|_| ()),
        "resend" => portal.rights.resend_code(id).await.map(|_| ()),
        _ => Err(Error::not_found("there is no such page")),
    };
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/me/requests/{id}")).into_response()),
        Err(error) if is_about_the_form(&error) => {
            let report = own_request(&portal, &who, id).await?;
            let typed = TypedDecision { decision, text: form.text, reason: String::new() };
            Ok(again(&error, &page(&portal, &who, &report, Some(said(&error)), typed)))
        }
        Err(error) => Err(error.into()),
    }
}
