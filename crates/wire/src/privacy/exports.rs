//! Exports: streamed, or stored and fetched.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_core::age::Recipient;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::ExportReport;
use habeas_core::{Error, Id};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::persons::person;
use super::problem::{OptionalBody, Problem, ProblemBody, QueryString, guid};
use crate::App;
use crate::caller::Caller;

/// The name under which a browser saves an archive: without a name of anybody.
pub(super) const DISPOSITION: HeaderValue =
    HeaderValue::from_static("attachment; filename=\"habeas-export.zip\"");

const SEALED: HeaderValue = HeaderValue::from_static("attachment; filename=\"habeas-export.zip.age\"");

/// For whom an archive is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// An age public key, `age1…`: the archive is sealed for its holder, and only they can open it.
    recipient: Option<String>,
    /// A format to have the data in once more; may be repeated.
    #[serde(default)]
    #[param(value_type = Vec<ExportFormat>)]
    format: Vec<String>,
}

/// An archive that is written at once.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct StreamExport {
    /// Formats to have the data in once more.
    #[serde(default)]
    #[schema(value_type = Vec<ExportFormat>)]
    formats: Vec<String>,
    /// An age public key, `age1…`: the archive is sealed for its holder, and only they can open it.
    recipient: Option<String>,
    /// A passphrase of at least eight letters that opens the archive. It is not kept: whoever forgets it has nothing.
    #[schema(value_type = Option<String>, format = Password, write_only)]
    passphrase: Option<Secret>,
}

/// A text that no log shows.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    /// The text, wiped from memory when dropped.
    fn wiped(self) -> Zeroizing<String> {
        self.0.into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What an archive is to have, and who can open it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateExport {
    /// Formats to have the data in once more.
    #[serde(default)]
    #[schema(value_type = Vec<ExportFormat>)]
    formats: Vec<String>,
    /// An age public key, `age1…`: the archive is sealed for its holder before it is stored, and its content is an age file that only they can
    /// open.
    recipient: Option<String>,
    /// A passphrase of at least eight letters: the archive is sealed with it before it is stored, and its content is an age file that only it
    /// opens. It is not kept: whoever forgets it has nothing.
    #[schema(value_type = Option<String>, format = Password, write_only)]
    passphrase: Option<Secret>,
}

/// The formats of these names, each once.
pub(super) fn formats(names: &[String]) -> Result<Vec<ExportFormat>, Problem> {
    Ok(ExportFormat::parse_all(names.iter().map(String::as_str))?)
}

/// Streams an archive of everything held on the person, an RO-Crate in a ZIP. Nothing is stored.
#[utoipa::path(get, path = "/persons/{person}/export", tag = "export",
    params(("person" = String, Path, description = "object id, or `me`"), StreamQuery),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn stream(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    QueryString(query): QueryString<StreamQuery>,
) -> Result<Response, Problem> {
    let id = person(&app, &caller, &text, "StreamExport").await?;
    let formats = formats(&query.format)?;
    let recipient = query.recipient.map(|text| text.parse()).transpose()?;
    Ok(streamed(&app, id, formats, recipient))
}

/// The same, also sealed with a passphrase, which has no place in an address.
#[utoipa::path(post, path = "/persons/{person}/export", tag = "export",
    params(("person" = String, Path, description = "object id, or `me`")),
    request_body = Option<StreamExport>,
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn stream_sealed(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    OptionalBody(body): OptionalBody<StreamExport>,
) -> Result<Response, Problem> {
    let id = person(&app, &caller, &text, "StreamExport").await?;
    let formats = formats(&body.formats)?;
    let passphrase = body.passphrase.map(Secret::wiped);
    let recipient = app.rights.archive_recipient(body.recipient.as_deref(), passphrase)?;
    Ok(streamed(&app, id, formats, recipient))
}

fn streamed(app: &App, person: Id, formats: Vec<ExportFormat>, recipient: Option<Recipient>) -> Response {
    let (media_type, disposition) = match recipient {
        None => ("application/zip", DISPOSITION),
        Some(_) => ("application/octet-stream", SEALED),
    };
    let pieces = app.rights.stream_export(person, formats, recipient);
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    response
}

/// Orders an archive that is kept, sealed, for 7 days; with a `recipient` also for its holder only, with a `passphrase` also for whoever knows it.
/// The body may be left out.
#[utoipa::path(post, path = "/persons/{person}/exports", tag = "export",
    params(("person" = String, Path, description = "object id, or `me`")),
    request_body = Option<CreateExport>,
    responses((status = 202, body = ExportReport), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    OptionalBody(body): OptionalBody<CreateExport>,
) -> Result<(StatusCode, Json<ExportReport>), Problem> {
    let id = person(&app, &caller, &text, "CreateExport").await?;
    let formats = formats(&body.formats)?;
    let passphrase = body.passphrase.map(Secret::wiped);
    let report = app.rights.request_export(id, formats, body.recipient, passphrase).await?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

/// The person's archives, newest first.
#[utoipa::path(get, path = "/persons/{person}/exports", tag = "export",
    params(("person" = String, Path, description = "object id, or `me`")),
    responses((status = 200, body = Vec<ExportReport>), (status = 404, body = ProblemBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<Vec<ExportReport>>, Problem> {
    let id = person(&app, &caller, &text, "GetExports").await?;
    Ok(Json(app.rights.exports(id).await?))
}

async fn find(
    app: &App,
    caller: &habeas_access::Actor,
    text: &str,
    operation: &'static str,
) -> Result<(Id, ExportReport), Problem> {
    let id = guid(text)?;
    let (holder, report) = app.rights.export(id).await?;
    app.rights
        .authorise(caller, holder, operation)
        .await
        .map_err(|error| error.conceal(|| Error::not_found("there is no such archive")))?;
    Ok((id, report))
}

/// How far an archive has come.
#[utoipa::path(get, path = "/exports/{export}", tag = "export", params(("export" = String, Path)),
    responses((status = 200, body = ExportReport), (status = 404, body = ProblemBody)))]
pub(super) async fn show(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<Json<ExportReport>, Problem> {
    Ok(Json(find(&app, &caller, &text, "GetExport").await?.1))
}

/// The archive itself, of one with a recipient or a passphrase an age file; ranges are served, so that a broken download can go on.
#[utoipa::path(get, path = "/exports/{export}/content", tag = "export", params(("export" = String, Path)),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 206), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 416)))]
pub(super) async fn content(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, report) = find(&app, &caller, &text, "DownloadExport").await?;
    let blob = app.rights.export_blob(id).await?;
    let mut response = crate::stream::blob(app.store(), &blob, &headers);
    let disposition = if report.is_sealed() { SEALED } else { DISPOSITION };
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// Deletes an archive, or calls off its making.
#[utoipa::path(delete, path = "/exports/{export}", tag = "export", params(("export" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let (id, _) = find(&app, &caller, &text, "DeleteExport").await?;
    app.rights.delete_export(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
