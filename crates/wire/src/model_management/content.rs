//! The content of models.

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use habeas_core::kinds::{Artifact, ArtifactDoc, ModelVersionDoc};
use habeas_core::{BlobRef, Error, Id, Node, Result as CoreResult};
use habeas_store::{Page, Tx};

use super::call::Call;
use super::errors::Result;
use super::models;
use crate::provenance::{Place, of_version};
use crate::stream;

/// The files at a place, in the order of their paths.
pub(crate) fn files(tx: &mut Tx<'_>, place: &Place) -> CoreResult<Vec<ArtifactDoc>> {
    if let Some(file) = tx.child_by_name::<Artifact>(place.owner, &place.path)? {
        return Ok(vec![file.doc]);
    }
    let folder = if place.path.is_empty() { String::new() } else { format!("{}/", place.path) };
    let mut files: Vec<ArtifactDoc> = tx
        .children::<Artifact>(place.owner, Page::ALL)?
        .into_iter()
        .map(|node| node.doc)
        .filter(|doc| doc.path.starts_with(&folder))
        .collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// `GET models/{id}/content`, which is ours: the file that the model is; of several, the one that `path` names.
pub(super) async fn download(call: Call) -> Result<Response> {
    let (id, path) = (call.part("id").to_owned(), call.query("path").map(str::to_owned));
    let blob: BlobRef = call
        .read(move |tx, at| {
            let (_, version) = models::find(tx, at, &id)?;
            let elsewhere = || {
                Error::not_found("the model's content is not kept here")
                    .hint("its `url` says where it was registered from")
            };
            let place = of_version(tx, at, &version)?.ok_or_else(elsewhere)?;
            let found = files(tx, &place)?;
            let names = |doc: &ArtifactDoc| {
                path.as_deref().is_none_or(|path| {
                    doc.path
                        .strip_prefix(&place.path)
                        .is_some_and(|below| below.trim_start_matches('/') == path)
                })
            };
            let mut wanted = found.iter().filter(|doc| names(doc));
            match (wanted.next(), wanted.next()) {
                (Some(one), None) => Ok(one.content.clone()),
                (None, _) if found.is_empty() => Err(elsewhere()),
                (None, _) => Err(Error::not_found("the model has no file of this path")),
                (Some(_), Some(_)) => Err(Error::invalid(format!("the model has {} files", found.len()))
                    .hint("name one by `path`, relative to the model")),
            }
        })
        .await?;
    let mut response = stream::blob(call.app.store(), &blob, &call.headers);
    // A page that somebody stored must not run as one of ours.
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The version that an asset's identifier means when no asset has it, with the prefix of its artifacts: one that MLflow registered, whose
/// files stand here.
pub(super) fn version_as_asset(
    tx: &mut Tx<'_>,
    at: Id,
    id: Id,
) -> CoreResult<Option<(Node<ModelVersionDoc>, String)>> {
    let Some((_, version)) = models::by_id(tx, at, id)? else { return Ok(None) };
    let place = of_version(tx, at, &version)?;
    Ok(place.and_then(|place| place.artifact()).map(|prefix| (version, prefix)))
}
