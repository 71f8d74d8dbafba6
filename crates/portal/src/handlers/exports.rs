//! Archives: ordered, followed, downloaded, deleted.

use std::collections::HashMap;

use axum::Form;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures::stream;
use habeas_core::report::ExportReport;
use habeas_core::{BlobRef, Error, Id};
use serde_json::json;
use zeroize::Zeroizing;

use super::requests::formats_in;
use super::session::SignedIn;
use super::{Failure, PROGRESS, Portal, event, render};
use crate::pages::{ExportPage, ExportView, ExportsPage, Section};

/// `GET /me/exports`.
pub(super) async fn list(State(portal): State<Portal>, who: SignedIn) -> Result<Response, Failure> {
    portal.rights.authorise(&who.actor, who.person, "GetExports").await?;
    let now = portal.now();
    let exports =
        portal.rights.exports(who.person).await?.iter().map(|report| ExportView::new(report, now)).collect();
    Ok(render(&ExportsPage { shell: who.shell(Section::Exports), exports }))
}

const PLAIN: HeaderValue = HeaderValue::from_static("attachment; filename=\"habeas-export.zip\"");
const SEALED: HeaderValue = HeaderValue::from_static("attachment; filename=\"habeas-export.zip.age\"");

/// `POST /me/exports`. Each format that is wanted is a field of its name. With a passphrase, or for the holder of an age key, the archive is
/// sealed before it is stored.
pub(super) async fn create(
    State(portal): State<Portal>,
    who: SignedIn,
    Form(mut chosen): Form<HashMap<String, String>>,
) -> Result<Response, Failure> {
    let formats = formats_in(&chosen);
    let key = chosen.remove("recipient").filter(|text| !text.trim().is_empty());
    let passphrase = chosen.remove("passphrase").filter(|text| !text.is_empty()).map(Zeroizing::new);
    portal.rights.authorise(&who.actor, who.person, "CreateExport").await?;
    let export = portal.rights.request_export(who.person, formats, key, passphrase).await?;
    Ok(Redirect::to(&format!("/me/exports/{}", export.id)).into_response())
}

async fn own(portal: &Portal, who: &SignedIn, text: &str) -> Result<(Id, ExportReport), Failure> {
    let no_archive = || Error::not_found("there is no such archive");
    let id: Id = text.parse().map_err(|_| no_archive())?;
    let (holder, report) = portal.rights.export(id).await?;
    if holder == who.person { Ok((id, report)) } else { Err(no_archive().into()) }
}

/// `GET /me/exports/{export}`.
pub(super) async fn show(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (_, report) = own(&portal, &who, &text).await?;
    let export = ExportView::new(&report, portal.now());
    Ok(render(&ExportPage { shell: who.shell(Section::Exports), export }))
}

/// `GET /me/exports/{export}/events`: live progress.
pub(super) async fn events(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (id, _) = own(&portal, &who, &text).await?;
    let events = stream::unfold((portal, false), move |(portal, over)| async move {
        if over {
            return None;
        }
        tokio::time::sleep(PROGRESS).await;
        match portal.rights.export(id).await {
            Ok((_, report)) if report.status == "running" => Some((
                event("progress", &json!({ "done": report.done, "total": report.total })),
                (portal, false),
            )),
            _ => Some((event("done", &json!({})), (portal, true))),
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// `GET /me/exports/{export}/archive.zip`.
pub(super) async fn download(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (id, report) = own(&portal, &who, &text).await?;
    portal.rights.authorise(&who.actor, who.person, "DownloadExport").await?;
    let blob = portal.rights.export_blob(id).await?;
    Ok(attached(&portal, &blob, report.is_sealed()))
}

/// An archive as a browser saves it.
pub(super) fn attached(portal: &Portal, blob: &BlobRef, is_sealed: bool) -> Response {
    let mut response =
        Body::from_stream(portal.rights.store().blobs().stream(blob, 0..blob.size)).into_response();
    let headers = response.headers_mut();
    let (media_type, disposition) =
        if is_sealed { ("application/octet-stream", SEALED) } else { ("application/zip", PLAIN) };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
    headers.insert(CONTENT_DISPOSITION, disposition);
    response
}

/// `POST /me/exports/{export}/delete`.
pub(super) async fn delete(
    State(portal): State<Portal>,
    who: SignedIn,
    Path(text): Path<String>,
) -> Result<Response, Failure> {
    let (id, _) = own(&portal, &who, &text).await?;
    portal.rights.authorise(&who.actor, who.person, "DeleteExport").await?;
    portal.rights.delete_export(id).await?;
    Ok(Redirect::to("/me/exports").into_response())
}
