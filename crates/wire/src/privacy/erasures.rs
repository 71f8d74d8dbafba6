//! Erasures: planned, run, proved.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_access::Permission;
use habeas_core::Error;
use habeas_core::kinds::{Decisions, Successor};
use habeas_core::report::{ErasureReport, PlanReport};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::organisations::permitted;
use super::persons::person;
use super::problem::{JsonBody, OptionalBody, Problem, ProblemBody, guid};
use crate::App;
use crate::caller::Caller;

/// What a plan is to decide.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PlanErasure {
    /// Who takes over where the person is the last owner or administrator: see `choices` of a plan. For the person, and administrators.
    #[serde(default)]
    successors: Vec<NamedSuccessor>,
    /// Organisations of which the person is the last owner that are deleted with everything in them: see `choices` of a plan. For the person,
    /// and administrators.
    #[serde(default)]
    deletions: Vec<String>,
    /// Delete images of others that show the person, too, and have models forget them; otherwise their name is taken out of the metadata.
    #[serde(default)]
    erase_depicted: bool,
}

impl PlanErasure {
    /// As the engine takes it.
    pub(super) fn read(&self) -> Result<Decisions, Problem> {
        let successors = self
            .successors
            .iter()
            .map(|one| Ok(Successor { resource: guid(&one.resource)?, person: guid(&one.person)? }))
            .collect::<Result<_, Problem>>()?;
        let deletions = self.deletions.iter().map(|id| guid(id)).collect::<Result<_, Problem>>()?;
        Ok(Decisions { successors, deletions, erase_depicted: self.erase_depicted })
    }
}

/// Who takes over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamedSuccessor {
    /// The organisation, or the nil id for the installation.
    resource: String,
    /// Object id of the new owner or administrator.
    person: String,
}

/// Plans the erasure of a person: what goes, what stays, who else is affected. Changes nothing.
#[utoipa::path(post, path = "/persons/{person}/erasure-plans", request_body = PlanErasure, tag = "erase",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 201, body = PlanReport), (status = 404, body = ProblemBody)))]
pub(super) async fn plan(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    OptionalBody(body): OptionalBody<PlanErasure>,
) -> Result<(StatusCode, Json<PlanReport>), Problem> {
    let id = person(&app, &caller, &text, "PlanErasure").await?;
    let decisions = body.read()?;
    if decisions.names_others() {
        app.rights.authorise_succession(&caller, id).await?;
    }
    Ok((StatusCode::CREATED, Json(app.rights.plan_erasure_with(id, decisions).await?)))
}

/// Plans the deletion of an organisation with everything in it. Changes nothing. For its owners.
#[utoipa::path(post, path = "/organisations/{organisation}/erasure-plans", tag = "erase",
    params(("organisation" = String, Path)),
    responses((status = 201, body = PlanReport), (status = 404, body = ProblemBody)))]
pub(super) async fn plan_organisation(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<PlanReport>), Problem> {
    let id = guid(&text)?;
    permitted(&app, caller, id, Permission::Own).await?;
    Ok((StatusCode::CREATED, Json(app.rights.plan_erasure(id).await?)))
}

/// A plan as it was made.
#[utoipa::path(get, path = "/erasure-plans/{plan}", tag = "erase", params(("plan" = String, Path)),
    responses((status = 200, body = PlanReport), (status = 404, body = ProblemBody)))]
pub(super) async fn show_plan(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<PlanReport>, Problem> {
    let plan = authorised(&app, &caller, &text, "GetErasurePlan").await?;
    Ok(Json(app.rights.plan(plan).await?))
}

async fn authorised(
    app: &App,
    caller: &habeas_access::Actor,
    text: &str,
    operation: &'static str,
) -> Result<habeas_core::Id, Problem> {
    let no_plan =
        || Error::not_found("there is no such plan").hint("plans are kept for 24 hours; make a new one");
    let plan = guid(text).map_err(|_| no_plan())?;
    let holder = app.rights.person_of_plan(plan).await?;
    app.rights.authorise_erasure(caller, holder, operation).await.map_err(|error| error.conceal(no_plan))?;
    Ok(plan)
}

/// The approval of a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RunErasure {
    /// The plan's id.
    plan: String,
    /// The person's e-mail address, or the organisation's name, as a confirmation.
    confirm: String,
    /// The plan's digest, if the caller wants to be sure which plan they approve.
    digest: Option<String>,
}

/// Runs a plan: of the caller's own, for which they signed in a moment ago, or of an organisation. It is recorded as a request. Answers at once;
/// follow it by its id. Running it again changes nothing, and is refused while it waits for an approval or the end of the undo window. What
/// staff start for a person is a request from the beginning: it needs a second person.
#[utoipa::path(post, path = "/erasures", request_body = RunErasure, tag = "erase",
    responses((status = 202, body = ErasureReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn run(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<RunErasure>,
) -> Result<(StatusCode, Json<ErasureReport>), Problem> {
    let plan = authorised(&app, &caller, &body.plan, "RunErasure").await?;
    let report = app.rights.start_erasure(&caller, plan, &body.confirm, body.digest.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// How far an erasure has come. Whoever has the plan's id may ask, since the person can no longer sign in.
#[utoipa::path(get, path = "/erasures/{plan}", tag = "erase", params(("plan" = String, Path)), security(()),
    responses((status = 200, body = ErasureReport), (status = 404, body = ProblemBody)))]
pub(super) async fn show(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<Json<ErasureReport>, Problem> {
    Ok(Json(app.rights.erasure(guid(&text)?).await?))
}

/// Calls an erasure off; possible until the keys are destroyed.
#[utoipa::path(delete, path = "/erasures/{plan}", tag = "erase", params(("plan" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    app.rights.cancel_erasure(guid(&text)?, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The receipt of a completed erasure, with the salt that ties it to the person; for 30 days.
#[utoipa::path(get, path = "/erasures/{plan}/receipt", tag = "erase", params(("plan" = String, Path)), security(()),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn receipt(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(app.rights.erasure_receipt(guid(&text)?).await?))
}

/// A receipt as it is kept, without salt: for the person it is about, and the staff.
#[utoipa::path(get, path = "/receipts/{receipt}", tag = "erase", params(("receipt" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = ProblemBody)))]
pub(super) async fn stored_receipt(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = guid(&text)?;
    app.rights.authorise_receipt(&caller, id).await?;
    Ok(Json(app.rights.receipt(id).await?))
}
