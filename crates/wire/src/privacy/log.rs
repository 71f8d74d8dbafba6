//! The log of receipts: public, since it says nothing about anybody.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Actor;
use habeas_core::Error;
use habeas_core::receipt::Logged;
use habeas_core::report::{ConsistencyReport, EntriesReport, KeyReport};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::Caller;

/// Entries in one answer at most.
const ENTRIES: usize = 1000;

/// The state of the log, as a signed checkpoint (c2sp.org/tlog-checkpoint, c2sp.org/signed-note). Keep it: with it you can show later
/// that nothing was changed or left out.
#[utoipa::path(get, path = "/log/checkpoint", tag = "log", security(()),
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn checkpoint(State(app): State<App>) -> Result<Response, Problem> {
    let note = app.store().checkpoint().await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// The proof that a receipt is in the log (RFC 6962, section 2.1.1), with the log's checkpoint and the announcements of its keys: the
/// member `log` of a receipt.
#[utoipa::path(get, path = "/log/inclusion/{receipt}", tag = "log", params(("receipt" = String, Path)), security(()),
    responses((status = 200, body = Logged), (status = 404, body = ProblemBody)))]
pub(super) async fn inclusion(
    State(app): State<App>,
    Path(text): Path<String>,
) -> Result<Json<Logged>, Problem> {
    let id = guid(&text).map_err(|_| Error::not_found("there is no such receipt in the log"))?;
    Ok(Json(app.rights.logged(id).await?))
}

/// Two sizes of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    /// Entries of the earlier log: what a checkpoint that you kept says.
    from: u64,
    /// Entries of the later log; today's when absent.
    to: Option<u64>,
}

/// The proof that the log of `from` entries is the beginning of that of `to` entries (RFC 6962, section 2.1.2).
#[utoipa::path(get, path = "/log/consistency", tag = "log", params(ConsistencyQuery), security(()),
    responses((status = 200, body = ConsistencyReport), (status = 400, body = ProblemBody)))]
pub(super) async fn consistency(
    State(app): State<App>,
    QueryString(query): QueryString<ConsistencyQuery>,
) -> Result<Json<ConsistencyReport>, Problem> {
    Ok(Json(app.rights.log_consistency(query.from, query.to).await?))
}

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesQuery {
    /// The first entry, from 0.
    #[serde(default)]
    from: u64,
    /// How many, 1000 at most.
    count: Option<usize>,
}

/// Entries of the log, in order: the SHA-256 of each receipt's signature. A leaf is `SHA-256(0x00 | entry)`.
#[utoipa::path(get, path = "/log/entries", tag = "log", params(EntriesQuery), security(()),
    responses((status = 200, body = EntriesReport), (status = 400, body = ProblemBody)))]
pub(super) async fn entries(
    State(app): State<App>,
    QueryString(query): QueryString<EntriesQuery>,
) -> Result<Json<EntriesReport>, Problem> {
    let count = query.count.unwrap_or(ENTRIES).min(ENTRIES);
    Ok(Json(app.rights.log_entries(query.from, count).await?))
}

/// The keys that have signed receipts and checkpoints, oldest first; each was announced by the one before.
#[utoipa::path(get, path = "/log/keys", tag = "log", security(()), responses((status = 200, body = Vec<KeyReport>)))]
pub(super) async fn keys(State(app): State<App>) -> Result<Json<Vec<KeyReport>>, Problem> {
    Ok(Json(app.rights.keys()?))
}

/// Lets a new key sign from now on, announced by the one before, whose private half is destroyed. For the operator, through the
/// server's socket.
#[utoipa::path(post, path = "/log/keys", tag = "log",
    responses((status = 201, body = Vec<KeyReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn rotate(
    State(app): State<App>,
    Caller(caller): Caller,
) -> Result<(StatusCode, Json<Vec<KeyReport>>), Problem> {
    if caller != Actor::Operator {
        return Err(Error::not_found("there is no such resource").into());
    }
    Ok((StatusCode::CREATED, Json(app.rights.rotate_signing_key().await?)))
}
