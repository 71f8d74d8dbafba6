//! Retention: what is deleted by itself when its time is over. For the staff.

use axum::Json;
use axum::extract::State;
use habeas_core::report::RetentionReport;

use super::problem::{Problem, ProblemBody};
use crate::App;
use crate::caller::Caller;

/// The rules, and what they would delete now. Changes nothing. For the staff.
#[utoipa::path(get, path = "/retention", tag = "retention",
    responses((status = 200, body = RetentionReport), (status = 404, body = ProblemBody)))]
pub(super) async fn plan(
    State(app): State<App>,
    Caller(caller): Caller,
) -> Result<Json<RetentionReport>, Problem> {
    app.rights.require_staff(&caller).await?;
    Ok(Json(app.rights.plan_retention().await?))
}

/// Deletes what is due, as the server does by itself every hour. For the staff.
#[utoipa::path(post, path = "/retention", tag = "retention",
    responses((status = 200, body = RetentionReport), (status = 404, body = ProblemBody)))]
pub(super) async fn run(
    State(app): State<App>,
    Caller(caller): Caller,
) -> Result<Json<RetentionReport>, Problem> {
    app.rights.require_staff(&caller).await?;
    Ok(Json(app.rights.run_retention().await?))
}
