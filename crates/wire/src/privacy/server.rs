//! What the server says of itself, and what its operator does with it.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use habeas_access::Actor;
use habeas_core::operations::{BackupReport, DoctorReport};
use habeas_core::report::KeyReport;
use habeas_core::{Error, Kind, registry};
use habeas_rights::kind_name;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{JsonBody, Problem, ProblemBody, QueryString};
use crate::App;
use crate::caller::Caller;

/// The public key that signs receipts now. Pin it: keep a copy where the server's operator cannot change it. Later keys are announced by
/// earlier ones, see `/log/keys`.
#[utoipa::path(get, path = "/public-key", tag = "server", security(()), responses((status = 200, body = KeyReport)))]
pub(super) async fn public_key(State(app): State<App>) -> Result<Json<KeyReport>, Problem> {
    let current = app.rights.keys()?.pop().ok_or_else(|| Error::internal("there is no key"))?;
    Ok(Json(current))
}

/// SHA-256 digests, in hexadecimal, of exported models that must no longer be used: something that they learned from was erased.
/// Oldest first. Public, so that whoever has a copy can look it up; a digest says nothing about a person.
#[utoipa::path(get, path = "/revoked-models", tag = "server", security(()), responses((status = 200, body = Vec<String>)))]
pub(super) async fn revoked_models(State(app): State<App>) -> Result<Json<Vec<String>>, Problem> {
    Ok(Json(app.store().with_ledger(|ledger| Ok(ledger.revoked_models())).await?))
}

/// A kind of data.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KindReport {
    kind: String,
    service: String,
    title: String,
    purpose: String,
    legal_basis: String,
    recipients: String,
    retention: String,
    fields: Vec<FieldReport>,
}

/// A field of a kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldReport {
    name: String,
    /// `personal`, `content`, `secret` or `technical`.
    class: String,
    why: String,
}

/// Every kind of data that the server keeps: the data map. Public.
#[utoipa::path(get, path = "/kinds", tag = "server", security(()), responses((status = 200, body = Vec<KindReport>)))]
pub(super) async fn kinds() -> Json<Vec<KindReport>> {
    Json(
        Kind::ALL
            .iter()
            .map(|&kind| {
                let ops = registry::ops(kind);
                let about = ops.about();
                KindReport {
                    kind: kind_name(kind),
                    service: about.service.to_owned(),
                    title: about.title.to_owned(),
                    purpose: about.purpose.to_owned(),
                    legal_basis: about.legal_basis.to_owned(),
                    recipients: about.recipients.to_owned(),
                    retention: about.retention.to_string(),
                    fields: ops
                        .fields()
                        .into_iter()
                        .map(|field| FieldReport {
                            name: field.name.to_owned(),
                            class: field.class.name().to_owned(),
                            why: field.why.to_owned(),
                        })
                        .collect(),
                }
            })
            .collect(),
    )
}

/// How deep to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DoctorQuery {
    /// Open everything that can be opened.
    #[serde(default)]
    scan: bool,
}

/// The state of engine, storage, keyring and tasks. For the staff.
#[utoipa::path(get, path = "/doctor", tag = "server", params(DoctorQuery),
    responses((status = 200, body = DoctorReport), (status = 404, body = ProblemBody)))]
pub(super) async fn doctor(
    State(app): State<App>,
    Caller(caller): Caller,
    QueryString(query): QueryString<DoctorQuery>,
) -> Result<Json<DoctorReport>, Problem> {
    app.rights.require_staff(&caller).await?;
    Ok(Json(app.store().doctor(query.scan).await?))
}

/// Where a backup goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateBackup {
    /// A folder on the server's machine that does not exist yet.
    destination: String,
}

/// Backs up database and blobs, without keys, into a folder on the server's machine. For the operator, through the server's socket.
#[utoipa::path(post, path = "/backups", request_body = CreateBackup, tag = "server",
    responses((status = 201, body = BackupReport), (status = 404, body = ProblemBody)))]
pub(super) async fn backup(
    State(app): State<App>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<CreateBackup>,
) -> Result<(StatusCode, Json<BackupReport>), Problem> {
    if caller != Actor::Operator {
        return Err(Error::not_found("there is no such resource").into());
    }
    let report = app.store().create_backup(&PathBuf::from(body.destination)).await?;
    Ok((StatusCode::CREATED, Json(report)))
}
