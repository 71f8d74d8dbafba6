//! Data-subject requests: taken in, verified, decided, followed.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use habeas_core::Error;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::{
    DeliveryReport, RequestPage, RequestPlanReport, RequestReport, RequestStatusReport,
};
use habeas_core::requests::{
    Channel, DenialReason, ExtensionReason, IdentityCheck, RequestState, RequestType,
};
use habeas_core::{Id, Timestamp};
use habeas_rights::{ByStaff, NewRequest, RequestFilter};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::erasures::PlanErasure;
use super::exports::{DISPOSITION, formats};
use super::persons::{RectifyPerson, person};
use super::problem::{JsonBody, Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::{Anybody, Caller};

fn id_of(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|_| Problem(Error::not_found("there is no such request")))
}

/// A request by an address alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TakeIn {
    /// What is asked for.
    #[serde(rename = "type")]
    asked: RequestType,
    /// Of access and portability: formats in which the archive is to have the data once more.
    #[serde(default)]
    #[schema(value_type = Vec<ExportFormat>)]
    formats: Vec<String>,
    /// The e-mail address under which data is held.
    email: String,
    /// The law under which to answer, such as `gdpr`; the deployment's usual one when absent.
    regime: Option<String>,
    /// Of what the staff take in, who call with their token: how it came.
    channel: Option<Channel>,
    /// Of what the staff take in: when it came (RFC 3339); now when absent.
    received: Option<String>,
    /// Of what the staff take in: how they made sure who asks: `document`, `known` or `protocol`. When absent, a one-time code is sent.
    identity: Option<IdentityCheck>,
}

/// Takes in a request from anybody, or, with a `channel`, by the staff for somebody who wrote or called. The answer is the same whether or
/// not somebody has this address; a one-time code goes there in either case. When it is repeated and nobody has the address, the request is
/// answered by itself: nothing is held.
#[utoipa::path(post, path = "/requests", request_body = TakeIn, tag = "requests", security(()),
    responses((status = 202, body = RequestStatusReport), (status = 400, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(super) async fn take_in(
    State(app): State<App>,
    Anybody(caller): Anybody,
    JsonBody(body): JsonBody<TakeIn>,
) -> Result<(StatusCode, Json<RequestStatusReport>), Problem> {
    let received_at = body.received.as_deref().map(Timestamp::parse).transpose()?;
    let staff = match (body.channel, caller) {
        (Some(channel), Some(actor)) => {
            Some(ByStaff { actor, channel, received_at, identity: body.identity })
        }
        (Some(_), None) => {
            return Err(Error::unauthenticated("a `channel` is for requests that the staff take in")
                .hint("send the token of a privacy officer, or leave `channel` out")
                .into());
        }
        (None, _) if received_at.is_some() || body.identity.is_some() => {
            return Err(Error::invalid("`received` and `identity` are for requests that the staff take in")
                .hint("say by which `channel` it came, or leave both out")
                .into());
        }
        (None, _) => None,
    };
    let formats = formats(&body.formats)?;
    let report = app.rights.take_in(body.asked, formats, &body.email, body.regime.as_deref(), staff).await?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// A one-time code.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// The code; spaces and hyphens do not matter.
    code: String,
}

/// Verifies a request by the one-time code that was sent to the address. Whoever has the request's id may try; five wrong codes
/// make the right one worthless. That of a person's own new address changes it, unless it is somebody else's since (409).
#[utoipa::path(post, path = "/requests/{request}/verify", request_body = VerifyRequest, tag = "requests", security(()),
    params(("request" = String, Path)),
    responses((status = 200, body = RequestStatusReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn verify(
    State(app): State<App>,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<VerifyRequest>,
) -> Result<Json<RequestStatusReport>, Problem> {
    Ok(Json(app.rights.verify_request(id_of(&text)?, &body.code).await?))
}

/// Sends another one-time code; the one before is worthless then.
#[utoipa::path(post, path = "/requests/{request}/resend", tag = "requests", security(()),
    params(("request" = String, Path)),
    responses((status = 202, body = RequestStatusReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(super) async fn resend(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<RequestStatusReport>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(app.rights.resend_code(id_of(&text)?).await?)))
}

/// The archive that answers a request for access or portability, for somebody without an account: with the code that `/resend` sends to their
/// address once the request is completed. Whoever has the request's id may try; five wrong codes make the right one worthless. Ranges are served,
/// so that a broken download can go on.
#[utoipa::path(post, path = "/requests/{request}/archive", request_body = VerifyRequest, tag = "requests", security(()),
    params(("request" = String, Path)),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 206), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 416)))]
pub(super) async fn archive(
    State(app): State<App>,
    Path(text): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<VerifyRequest>,
) -> Result<Response, Problem> {
    let blob = app.rights.fetch_archive(id_of(&text)?, &body.code).await?;
    let mut response = crate::stream::blob(app.store(), &blob, &headers);
    response.headers_mut().insert(CONTENT_DISPOSITION, DISPOSITION);
    Ok(response)
}

/// How far a request has come, and for an erasure that was carried out where its receipt is. Whoever has its id may ask.
#[utoipa::path(get, path = "/requests/{request}/status", tag = "requests", security(()),
    params(("request" = String, Path)),
    responses((status = 200, body = RequestStatusReport), (status = 404, body = ProblemBody)))]
pub(super) async fn status(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<Json<RequestStatusReport>, Problem> {
    Ok(Json(app.rights.request_status(id_of(&text)?).await?))
}

/// A request of, or about, a person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRequest {
    /// What is asked for.
    #[serde(rename = "type")]
    asked: RequestType,
    /// Of access and portability: formats in which the archive is to have the data once more.
    #[serde(default)]
    #[schema(value_type = Vec<ExportFormat>)]
    formats: Vec<String>,
    /// The law under which to answer, such as `gdpr`; the deployment's usual one when absent.
    regime: Option<String>,
    /// Of what the staff take in: how it came; `letter` when absent.
    channel: Option<Channel>,
    /// Of what the staff take in: when it came (RFC 3339); now when absent.
    received: Option<String>,
    /// Of what the staff take in: how they made sure who asks: `document`, `known` or `protocol`. When absent, a one-time code is sent.
    identity: Option<IdentityCheck>,
    /// Of a person's own erasure: their e-mail address, typed.
    confirm: Option<String>,
    /// Of an erasure: what its plan offers to decide.
    #[serde(default)]
    decisions: PlanErasure,
}

/// Takes in a request: the caller's own, which goes on at once, or by the staff on behalf of a person. A second erasure with which other
/// things go is refused while one is open (409).
#[utoipa::path(post, path = "/persons/{person}/requests", request_body = CreateRequest, tag = "requests",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 201, body = RequestReport), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<CreateRequest>,
) -> Result<(StatusCode, Json<RequestReport>), Problem> {
    let id = person(&app, &caller, &text, "CreateRequest").await?;
    let new = NewRequest {
        id: None,
        callbacks: Vec::new(),
        destination: None,
        asked: body.asked,
        formats: formats(&body.formats)?,
        person: id,
        regime: body.regime,
        channel: body.channel.unwrap_or(Channel::Letter),
        received_at: body.received.as_deref().map(Timestamp::parse).transpose()?,
        identity: body.identity,
        confirm: body.confirm,
        decisions: body.decisions.read()?,
    };
    Ok((StatusCode::CREATED, Json(app.rights.create_request(&caller, new).await?)))
}

/// A person's requests, newest first.
#[utoipa::path(get, path = "/persons/{person}/requests", tag = "requests",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<RequestReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn of_person(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<RequestReport>>, Problem> {
    let id = person(&app, &caller, &text, "GetRequests").await?;
    Ok(Json(app.rights.requests_of(id).await?))
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// A state, or `open` for all on which something is still to be done.
    state: Option<String>,
    /// A type.
    #[serde(rename = "type")]
    asked: Option<String>,
    /// Only those whose time to answer is over.
    #[serde(default)]
    overdue: bool,
    /// The `next` of the page before.
    after: Option<String>,
    /// How many, at most 100.
    limit: Option<u32>,
}

/// The queue of requests, newest first, without notes, answers and where archives are sent. For the staff; whom a request is about sees that it
/// was listed.
#[utoipa::path(get, path = "/requests", params(ListQuery), tag = "requests",
    responses((status = 200, body = RequestPage), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    QueryString(query): QueryString<ListQuery>,
) -> Result<Json<RequestPage>, Problem> {
    app.rights.require_staff(&caller).await?;
    let states = query
        .state
        .as_deref()
        .map(|name| match name {
            "open" => Ok(RequestFilter::OPEN),
            name => RequestState::numbers_of(name).ok_or_else(|| {
                Error::invalid("there is no such state")
                    .hint("see RequestReport in /api/privacy/v1/openapi.json")
            }),
        })
        .transpose()?;
    let asked = query
        .asked
        .as_deref()
        .map(|name| {
            RequestType::from_name(name).ok_or_else(|| {
                let names: Vec<&str> = RequestType::ALL.iter().map(|asked| asked.name()).collect();
                Error::invalid("there is no such type of request")
                    .hint(format!("one of: {}", names.join(", ")))
            })
        })
        .transpose()?;
    let after = query.after.as_deref().map(guid).transpose()?;
    let filter = RequestFilter { states, asked, overdue: query.overdue, after, limit: query.limit };
    Ok(Json(app.rights.list_requests(&caller, filter).await?))
}

/// A request in full: for the person it is about, and the staff.
#[utoipa::path(get, path = "/requests/{request}", tag = "requests", params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 404, body = ProblemBody)))]
pub(super) async fn show(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.request(&caller, id_of(&text)?).await?))
}

/// What the erasure that is asked for would do now, and what has changed since its plan was made or approved.
#[utoipa::path(get, path = "/requests/{request}/plan", tag = "requests", params(("request" = String, Path)),
    responses((status = 200, body = RequestPlanReport), (status = 404, body = ProblemBody)))]
pub(super) async fn plan(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<RequestPlanReport>, Problem> {
    Ok(Json(app.rights.request_plan(&caller, id_of(&text)?).await?))
}

/// How an identity was checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfirmIdentity {
    /// `document`, `known` or `protocol`.
    identity: IdentityCheck,
}

/// Notes how somebody of the staff made sure who asks, in place of a code. For the staff.
#[utoipa::path(post, path = "/requests/{request}/confirm-identity", request_body = ConfirmIdentity, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn confirm_identity(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<ConfirmIdentity>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.confirm_identity(&caller, id_of(&text)?, body.identity).await?))
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApproveRequest {
    /// The digest of the plan as `/requests/{request}/plan` shows it now.
    digest: String,
}

/// Approves the erasure that is asked for, and runs it. For somebody of the staff who neither took the request in, nor confirmed the identity,
/// nor decided last what goes with it, nor is the person it is about.
#[utoipa::path(post, path = "/requests/{request}/approve", request_body = ApproveRequest, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn approve(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<ApproveRequest>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.approve_request(&caller, id_of(&text)?, &body.digest).await?))
}

/// A refusal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DenyRequest {
    /// Why.
    reason: DenialReason,
    /// What the person is told besides.
    #[serde(default)]
    text: String,
}

/// Refuses a request. The person is told why, and that they may complain. For the staff.
#[utoipa::path(post, path = "/requests/{request}/deny", request_body = DenyRequest, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn deny(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<DenyRequest>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.deny_request(&caller, id_of(&text)?, body.reason, &body.text).await?))
}

/// An extension.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtendRequest {
    /// Why.
    reason: ExtensionReason,
    /// What the person is told besides.
    #[serde(default)]
    text: String,
}

/// Extends the time to answer, once and within it. The person is told why. For the staff.
#[utoipa::path(post, path = "/requests/{request}/extend", request_body = ExtendRequest, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn extend(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<ExtendRequest>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.extend_request(&caller, id_of(&text)?, body.reason, &body.text).await?))
}

/// Decides what the plan of a requested erasure offers, in place of what was decided before: who takes over, and what else goes. For the
/// person it is about, and the staff; successors and deletions for the person, and administrators. What somebody of the staff decides needs
/// the approval of a second one.
#[utoipa::path(put, path = "/requests/{request}/decisions", request_body = PlanErasure, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestPlanReport), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn decide(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<PlanErasure>,
) -> Result<Json<RequestPlanReport>, Problem> {
    Ok(Json(app.rights.decide_request(&caller, id_of(&text)?, body.read()?).await?))
}

/// A note or an answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestText {
    /// What it says, at most 4,000 bytes. It is the person's data: their archive holds it.
    text: String,
}

/// Adds a note. For the person it is about, and the staff.
#[utoipa::path(post, path = "/requests/{request}/comments", request_body = RequestText, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 201, body = RequestReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn comment(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<RequestText>,
) -> Result<(StatusCode, Json<RequestReport>), Problem> {
    let report = app.rights.comment_request(&caller, id_of(&text)?, &body.text).await?;
    Ok((StatusCode::CREATED, Json(report)))
}

/// What a request ends with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CompleteRequest {
    /// The answer to the person, at most 4,000 bytes. It is the person's data: their archive holds it.
    text: String,
    /// Of a rectification: what is corrected now. Without it, it was corrected before.
    rectification: Option<RectifyPerson>,
}

/// Carries out a rectification, a restriction or an objection (which restricts, too), and closes it. The text is the answer to the person.
/// For the staff.
#[utoipa::path(post, path = "/requests/{request}/complete", request_body = CompleteRequest, tag = "requests",
    params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn complete(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<CompleteRequest>,
) -> Result<Json<RequestReport>, Problem> {
    let change = body.rectification.map(RectifyPerson::read).transpose()?;
    Ok(Json(app.rights.complete_request(&caller, id_of(&text)?, &body.text, change).await?))
}

/// Calls a request off; possible until keys are destroyed. For the person it is about, and the staff.
#[utoipa::path(post, path = "/requests/{request}/cancel", tag = "requests", params(("request" = String, Path)),
    responses((status = 200, body = RequestReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<RequestReport>, Problem> {
    Ok(Json(app.rights.cancel_request(&caller, id_of(&text)?).await?))
}

/// What was sent, and is to be sent, to other systems because of a request, newest first: its archive, notices to recipients, callbacks. For
/// the person it is about, and the staff; for a month after the last try.
#[utoipa::path(get, path = "/requests/{request}/deliveries", tag = "requests", params(("request" = String, Path)),
    responses((status = 200, body = Vec<DeliveryReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn deliveries(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<DeliveryReport>>, Problem> {
    Ok(Json(app.rights.deliveries(&caller, id_of(&text)?).await?))
}
