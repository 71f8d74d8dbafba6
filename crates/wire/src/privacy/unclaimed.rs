//! Persons without an account whom images name.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_core::Error;
use habeas_core::report::{DepictionReport, PersonReport};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::persons::person;
use super::problem::{JsonBody, Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::Caller;

/// Whom to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindDepicted {
    /// An e-mail address, or exactly what images or programs call somebody.
    name: Option<String>,
}

/// Images whose metadata names somebody exactly so, by whose they are, and persons whose programs sent exactly this login name. For the staff; the person
/// and those whose images or programs they are see that they were looked for.
#[utoipa::path(get, path = "/unclaimed", params(FindDepicted), tag = "persons",
    responses((status = 200, body = Vec<DepictionReport>), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn find(
    State(app): State<App>,
    Caller(caller): Caller,
    QueryString(query): QueryString<FindDepicted>,
) -> Result<Json<Vec<DepictionReport>>, Problem> {
    app.rights.require_staff(&caller).await?;
    let name = query.name.ok_or_else(|| Error::invalid("`name` says whom to look for"))?;
    Ok(Json(app.rights.find_depicted(&caller, &name).await?))
}

/// Somebody whom images name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TakeUp {
    /// An e-mail address, or exactly what images call somebody.
    name: String,
    /// Object id of the person or organisation whose images those are; of a name that is no e-mail address.
    holder: Option<String>,
}

/// Takes up the person whom images name so, and ties them to those images: from then on they are seen, exported and erased like anybody
/// else. May be repeated. For the staff.
#[utoipa::path(post, path = "/unclaimed", request_body = TakeUp, tag = "persons",
    responses((status = 201, body = PersonReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn take_up(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<TakeUp>,
) -> Result<(StatusCode, Json<PersonReport>), Problem> {
    app.rights.require_staff(&caller).await?;
    let holder = body.holder.as_deref().map(guid).transpose()?;
    let report = app.rights.take_up(&body.name, holder).await?;
    let id = guid(&report.object_id)?;
    app.rights.authorise(&caller, id, "TakeUpUnclaimed").await?;
    Ok((StatusCode::CREATED, Json(report)))
}

/// Whose account it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LinkUnclaimed {
    /// Object id of the person with the account.
    person: String,
}

/// Says that an unclaimed person is the one with an account: what was tied to them is tied to the account, and they are erased with a
/// receipt. For the staff.
#[utoipa::path(post, path = "/unclaimed/{person}/link", request_body = LinkUnclaimed, tag = "persons",
    params(("person" = String, Path, description = "object id of the unclaimed person")),
    responses((status = 200, body = PersonReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn link(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<LinkUnclaimed>,
) -> Result<Json<PersonReport>, Problem> {
    app.rights.require_staff(&caller).await?;
    let unclaimed = person(&app, &caller, &text, "LinkUnclaimed").await?;
    let owner = person(&app, &caller, &body.person, "LinkUnclaimed").await?;
    Ok(Json(app.rights.link_unclaimed(unclaimed, owner).await?))
}
