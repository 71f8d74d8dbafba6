//! Handing projects, accounts and workspaces over.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use habeas_core::report::TransferReport;
use serde::Deserialize;
use utoipa::ToSchema;

use super::problem::{JsonBody, Problem, ProblemBody, guid};
use crate::App;
use crate::caller::Caller;

/// What is handed over, and to whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateTransfer {
    /// A project, an account or a workspace.
    resource: String,
    /// A person or an organisation; for a project also an account.
    to: String,
}

/// Hands a project, an account or a workspace over to another holder, with all that stands under it. For whoever owns it and may make projects there.
#[utoipa::path(post, path = "/transfers", request_body = CreateTransfer, tag = "organisations",
    responses((status = 201, body = TransferReport), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreateTransfer>,
) -> Result<(StatusCode, Json<TransferReport>), Problem> {
    let (resource, to) = (guid(&body.resource)?, guid(&body.to)?);
    Ok((StatusCode::CREATED, Json(app.rights.transfer(&caller, resource, to).await?)))
}
