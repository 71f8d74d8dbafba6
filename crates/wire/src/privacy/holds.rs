//! Legal holds. For the staff.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_core::report::HoldReport;
use habeas_core::{Error, Timestamp};
use habeas_rights::PlaceHold;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::{JsonBody, Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::Caller;

/// A hold to be placed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateHold {
    /// Id of a person, an organisation, or anything they hold: it is kept with all that stands under it.
    target: String,
    /// The case it serves, as the staff call it.
    matter: String,
    /// Why that is lawful.
    reason: String,
    /// When it ends by itself (RFC 3339); absent when somebody has to release it.
    until: Option<String>,
}

/// Places a legal hold: what it keeps cannot be deleted, and outlives an erasure of its holder, until the hold ends. For the staff.
#[utoipa::path(post, path = "/holds", request_body = CreateHold, tag = "holds",
    responses((status = 201, body = HoldReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreateHold>,
) -> Result<(StatusCode, Json<HoldReport>), Problem> {
    app.rights.require_staff(&caller).await?;
    let until = end(body.until.as_deref())?;
    let hold = PlaceHold { target: guid(&body.target)?, matter: body.matter, reason: body.reason, until };
    Ok((StatusCode::CREATED, Json(app.rights.place_hold(&caller, hold).await?)))
}

/// When a hold is to end by itself.
fn end(text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let parsed = text.map(Timestamp::parse).transpose().map_err(|_| {
        Error::invalid("`until` is not a time").hint("write it like 2027-01-31T00:00:00Z (RFC 3339)")
    })?;
    Ok(parsed)
}

/// What is to be changed of a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeHold {
    /// When it ends by itself (RFC 3339); null when somebody has to release it.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    until: Option<String>,
}

/// Moves the day on which a legal hold ends by itself, also of what it keeps of erased persons. For the staff; whose data is held sees it.
#[utoipa::path(patch, path = "/holds/{hold}", request_body = ChangeHold, tag = "holds", params(("hold" = String, Path)),
    responses((status = 200, body = HoldReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(hold): Path<String>,
    JsonBody(body): JsonBody<ChangeHold>,
) -> Result<Json<HoldReport>, Problem> {
    app.rights.require_staff(&caller).await?;
    let until = end(body.until.as_deref())?;
    Ok(Json(app.rights.extend_hold(&caller, guid(&hold)?, until).await?))
}

/// Which holds.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct FindHolds {
    /// Only those on what this person or organisation holds.
    holder: Option<String>,
}

/// Legal holds, oldest first. For the staff; whose data is held sees that they were looked at.
#[utoipa::path(get, path = "/holds", params(FindHolds), tag = "holds",
    responses((status = 200, body = Vec<HoldReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    QueryString(query): QueryString<FindHolds>,
) -> Result<Json<Vec<HoldReport>>, Problem> {
    app.rights.require_staff(&caller).await?;
    let holder = query.holder.as_deref().map(guid).transpose()?;
    Ok(Json(app.rights.holds(&caller, holder).await?))
}

/// Releases a legal hold. What it kept of erased persons is deleted, and their erasures complete themselves. For the staff.
#[utoipa::path(delete, path = "/holds/{hold}", tag = "holds", params(("hold" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn release(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(hold): Path<String>,
) -> Result<StatusCode, Problem> {
    app.rights.require_staff(&caller).await?;
    app.rights.require_in_person(&caller)?;
    app.rights.release_hold(guid(&hold)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
