//! Erasing: the plan, the typed confirmation, the steps, the receipt.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures::stream::{self, StreamExt as _};
use habeas_core::kinds::{Decisions, Successor};
use habeas_core::{Error, ErrorKind, Id};
use serde::Deserialize;
use serde_json::json;

use super::data::receipt_view;
use super::session::SignedIn;
use super::{Failure, PROGRESS, Portal, event, render};
use crate::pages::{ConfirmPage, Confirmation, ErasurePage, PlanPage, PlanView, Section};

/// What the form sends in place of a successor for an organisation that is to be deleted.
const DELETE: &str = "delete";

/// `POST /me/erase`: makes a plan, with who takes over if that was chosen; nothing is changed by it.
pub(super) async fn plan(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(chosen): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "PlanErasure").await?;
    let decisions = decisions(&portal, &who, &chosen).await?;
    let plan = portal.rights.plan_erasure_with(who.person, decisions).await?;
    Ok(Redirect::to(&format!("/me/erase/{}", plan.plan)).into_response())
}

/// What was chosen in the form of what a plan leaves to be decided.
pub(super) async fn decisions(
    portal: &Portal,
    who: &SignedIn,
    chosen: &[(String, String)],
) -> Result<Decisions, Error> {
    let erase_depicted = chosen.iter().any(|(name, value)| name == "depicted" && value == "erase");
    let mut decisions = Decisions { erase_depicted, ..Decisions::default() };
    for (resource, person) in chosen {
        let (Ok(resource), false) = (resource.parse::<Id>(), person.trim().is_empty()) else { continue };
        if person == DELETE {
            decisions.deletions.push(resource);
            continue;
        }
        let person = if resource == Id::NIL {
            // Nobody else may look people up by their address.
            portal.rights.require_administrator(&who.actor).await?;
            let found = portal.rights.access().find_person(person)?;
            portal.rights.authorise(&who.actor, found, "FindPerson").await?;
            found
        } else {
            person.parse().map_err(|_| Error::invalid("choose who takes over from the list"))?
        };
        decisions.successors.push(Successor { resource, person });
    }
    Ok(decisions)
}

/// Fills in who may take over what the plan's person leaves: members of their organisations, whose names the person knows, and with whom it
/// is recorded that the staff looked.
pub(super) async fn name_candidates(
    portal: &Portal,
    who: &SignedIn,
    plan: &mut PlanView,
    leaving: Id,
) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for choice in plan.choices.iter_mut().filter(|choice| choice.name.is_some()) {
        let organisation: Id = choice.resource.parse().map_err(|_| no_plan())?;
        for member in portal.rights.access().members(organisation).await? {
            if member.person != leaving {
                let profile = portal.rights.person_report(member.person).await?;
                choice.candidates.push((profile.object_id, profile.name));
                seen.push(member.person);
            }
        }
    }
    if who.person != leaving {
        portal.rights.record_read(&who.actor, &seen, "GetPerson").await?;
    }
    Ok(())
}

fn no_plan() -> Error {
    Error::not_found("there is no such plan").hint("plans are kept for 24 hours; make a new one")
}

async fn own(portal: &Portal, who: &SignedIn, text: &str) -> Result<(Id, PlanView), Failure> {
    let id: Id = text.parse().map_err(|_| no_plan())?;
    if portal.rights.person_of_plan(id).await? != who.person {
        return Err(no_plan().into());
    }
    Ok((id, PlanView::new(&portal.rights.plan(id).await?, portal.now())))
}

/// `GET /me/erase/{plan}`.
pub(super) async fn show(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (_, mut plan) = own(&portal, &who, &text).await?;
    name_candidates(&portal, &who, &mut plan, who.person).await?;
    let confirmation = Confirmation { email: who.email(), error: None };
    Ok(render(&PlanPage { shell: who.shell(Section::MyData), plan, confirmation }))
}

/// `GET /me/erase/{plan}/confirm`: the confirmation for browsers without scripts.
pub(super) async fn confirm(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (_, plan) = own(&portal, &who, &text).await?;
    let confirmation = Confirmation { email: who.email(), error: None };
    Ok(render(&ConfirmPage { shell: who.shell(Section::MyData), plan, confirmation }))
}

#[derive(Deserialize)]
pub(super) struct Typed {
    #[serde(default, alias = "email", alias = "confirmation")]
    confirm: String,
    digest: Option<String>,
}

/// `POST /me/erase/{plan}`: runs it.
pub(super) async fn run(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Failure> {
    let (id, plan) = own(&portal, &who, &text).await?;
    portal.rights.authorise(&who.actor, who.person, "RunErasure").await?;
    match portal.rights.start_erasure(&who.actor, id, &typed.confirm, typed.digest.as_deref()).await {
        // It waits for the time in which the person may change their mind.
        Ok(report) if report.status == "planned" => Ok(Redirect::to("/me/requests").into_response()),
        Ok(_) => Ok(Redirect::to(&format!("/erasures/{id}")).into_response()),
        // The sign-in is too old for what cannot be undone.
        Err(error) if error.kind == ErrorKind::Forbidden => {
            Ok(Redirect::to(&format!("/sign-in?again&next=/me/erase/{id}/confirm")).into_response())
        }
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict) => {
            let confirmation = Confirmation { email: who.email(), error: Some(error.to_string()) };
            let page = ConfirmPage { shell: who.shell(Section::MyData), plan, confirmation };
            Ok((StatusCode::CONFLICT, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn plan_id(text: &str) -> Result<Id, Failure> {
    text.parse().map_err(|_| Failure(no_plan()))
}

/// `GET /erasures/{plan}`: the steps, then the receipt. Needs no session: the person can no longer have one.
pub(super) async fn follow(
    State(portal): State<Portal>,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let id = plan_id(&text)?;
    let report = portal.rights.erasure(id).await?;
    let receipt = match report.receipt {
        Some(_) => {
            let receipt = portal.rights.erasure_receipt(id).await?;
            Some(receipt_view(&portal, &receipt, format!("/erasures/{id}/receipt.json"))?)
        }
        None => None,
    };
    Ok(render(&ErasurePage::new(&report, receipt)))
}

/// `GET /erasures/{plan}/events`: live steps.
pub(super) async fn events(
    State(portal): State<Portal>,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let id = plan_id(&text)?;
    portal.rights.erasure(id).await?;
    let events = stream::unfold((portal, false), move |(portal, over)| async move {
        if over {
            return None;
        }
        tokio::time::sleep(PROGRESS / 2).await;
        let Ok(report) = portal.rights.erasure(id).await else {
            return Some((vec![event("done", &json!({}))], (portal, true)));
        };
        let done = report.steps.iter().filter(|step| step.status == "done").count();
        let mut events = vec![event("progress", &json!({ "done": done, "total": report.steps.len() }))];
        events.extend(
            report
                .steps
                .iter()
                .map(|step| event("step", &json!({ "name": step.name, "state": step.status }))),
        );
        let over = report.status != "running";
        if over {
            events.push(event("done", &json!({})));
        }
        Some((events, (portal, over)))
    })
    .flat_map(stream::iter);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// `GET /erasures/{plan}/receipt.json`.
pub(super) async fn receipt(
    State(portal): State<Portal>,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let receipt = portal.rights.erasure_receipt(plan_id(&text)?).await?;
    Ok(([(CONTENT_DISPOSITION, "attachment; filename=\"receipt.json\"")], axum::Json(receipt))
        .into_response())
}
