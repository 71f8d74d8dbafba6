//! Recipients, which are told of erasures, rectifications and restrictions.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use habeas_core::Node;
use habeas_core::kinds::RecipientDoc;
use habeas_rights::RecipientChange;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{JsonBody, Problem, ProblemBody, guid};
use crate::App;
use crate::caller::Caller;

/// A recipient to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegisterRecipient {
    /// The name by which persons are told of it.
    name: String,
    /// Where it is told.
    url: String,
    /// The kinds of data that it receives of everybody, by name; every kind when absent, and with an empty list only what is recorded as
    /// given to it.
    kinds: Option<Vec<String>>,
}

/// What is to be changed of a recipient; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeRecipient {
    /// The name by which persons are told of it.
    name: Option<String>,
    /// Where it is told.
    url: Option<String>,
    /// Whether it gets a new secret, which is shown in the answer.
    #[serde(default)]
    new_secret: bool,
}

/// A recipient.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecipientReport {
    id: String,
    name: String,
    url: String,
    /// The kinds of data that it receives; every kind when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<String>>,
    /// `whsec_` and the key in base64; shown once, when it is registered or gets a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Registers a system that receives personal data from here (GDPR Article 19). It is sent a signed webhook (Standard Webhooks) whenever an
/// erasure, rectification, restriction or objection is completed of somebody whose data it received. For administrators.
#[utoipa::path(post, path = "/recipients", request_body = RegisterRecipient, tag = "recipients",
    responses((status = 201, body = RecipientReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn register(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<RegisterRecipient>,
) -> Result<(StatusCode, Json<RecipientReport>), Problem> {
    app.rights.require_administrator(&caller).await?;
    let new = app.rights.register_recipient(&body.name, &body.url, body.kinds.clone()).await?;
    let report = RecipientReport {
        id: new.id.to_string(),
        name: body.name.trim().to_owned(),
        url: body.url,
        kinds: body.kinds,
        secret: Some(new.secret),
    };
    Ok((StatusCode::CREATED, Json(report)))
}

/// The recipients, oldest first. For the staff.
#[utoipa::path(get, path = "/recipients", tag = "recipients",
    responses((status = 200, body = Vec<RecipientReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
) -> Result<Json<Vec<RecipientReport>>, Problem> {
    app.rights.require_staff(&caller).await?;
    let recipients = app.rights.recipients().await?;
    Ok(Json(recipients.into_iter().map(|node| reported(node, None)).collect()))
}

fn reported(node: Node<RecipientDoc>, secret: Option<String>) -> RecipientReport {
    RecipientReport {
        id: node.id.to_string(),
        name: node.doc.name,
        url: node.doc.url,
        kinds: node.doc.kinds,
        secret,
    }
}

/// Gives a recipient another name or address, or a new secret. Whose data it received stays known. For administrators.
#[utoipa::path(patch, path = "/recipients/{recipient}", request_body = ChangeRecipient, tag = "recipients", params(("recipient" = String, Path)),
    responses((status = 200, body = RecipientReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<ChangeRecipient>,
) -> Result<Json<RecipientReport>, Problem> {
    app.rights.require_administrator(&caller).await?;
    let change = RecipientChange { name: body.name, url: body.url, renews_secret: body.new_secret };
    let (node, secret) = app.rights.change_recipient(guid(&text)?, change).await?;
    Ok(Json(reported(node, secret)))
}

/// Ends a registration, and forgets whose data the recipient received: change one that goes on. For administrators.
#[utoipa::path(delete, path = "/recipients/{recipient}", tag = "recipients", params(("recipient" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    app.rights.require_administrator(&caller).await?;
    app.rights.remove_recipient(guid(&text)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Records that a person's data was given to a recipient, which is then told what is done about it. The person sees it. For the staff.
#[utoipa::path(put, path = "/recipients/{recipient}/persons/{person}", tag = "recipients",
    params(("recipient" = String, Path), ("person" = String, Path, description = "object id")),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn record_disclosure(
    State(app): State<App>,
    Caller(caller): Caller,
    Path((recipient, person)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    app.rights.require_staff(&caller).await?;
    let (recipient, person) = (guid(&recipient)?, guid(&person)?);
    app.rights.authorise(&caller, person, "RecordDisclosure").await?;
    app.rights.record_disclosure(recipient, person).await?;
    Ok(StatusCode::NO_CONTENT)
}
