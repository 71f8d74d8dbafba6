//! Changing images: tags, metadata, deletion.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Permission, depicted};
use habeas_core::kinds::{Image, Tag, TagType};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Kind, Result as CoreResult};
use habeas_models::leave_workspace;
use habeas_store::{Page, Removed, Tx};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Call, find_project};
use super::create::mixes_negative;
use super::errors::{Result, no_image, no_tag};
use super::limits::Limits;
use super::projection::Shape;
use super::query::{guid, require_at_most};
use super::upload::small_json;
use super::version::Version;

/// Entries of one tagging request.
const TAGGINGS: usize = 64 * 20;
/// Images that leave the workspace in one transaction.
const CHUNK: u64 = 256;
/// Images erased in one go: each solves the models that learned from them again.
const ERASED_CHUNK: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagEntry {
    image_id: String,
    tag_id: String,
}

/// `CreateImageTags`: answers what was created, what was there, and what is too much.
pub(super) async fn tag(call: Call, body: Body) -> Result<Json<Value>> {
    let body = small_json(body).await?;
    let entries = Vec::<TagEntry>::deserialize(&body["tags"])
        .map_err(|_| Error::invalid("`tags` is a list of imageId and tagId").code("BadRequestImageTags"))?;
    require_at_most(entries.len(), TAGGINGS, "tags")?;
    let wanted = entries
        .iter()
        .map(|entry| Ok((guid(&entry.image_id, "imageId")?, guid(&entry.tag_id, "tagId")?)))
        .collect::<CoreResult<Vec<_>>>()?;
    let (actor, project, most) = (call.actor, call.project()?, call.app.limits.tags_per_image);
    let summary = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            let kinds: Vec<(Id, TagType)> = tx
                .children::<Tag>(project, Page::ALL)?
                .into_iter()
                .map(|tag| (tag.id, tag.doc.tag_type))
                .collect();
            let (mut created, mut duplicated, mut exceeded) = (Vec::new(), Vec::new(), Vec::new());
            for (image, tag) in &wanted {
                if !kinds.iter().any(|(known, _)| known == tag) {
                    return Err(no_tag());
                }
                tx.get::<Image>(*image)?.filter(|node| node.parent == Some(project)).ok_or_else(no_image)?;
                let mut tags: Vec<Id> =
                    tx.targets(*image, Relation::Tagged)?.into_iter().map(|(tag, _)| tag).collect();
                let entry = json!({ "imageId": image, "tagId": tag });
                if tags.contains(tag) {
                    duplicated.push(entry);
                    continue;
                }
                tags.push(*tag);
                if mixes_negative(&kinds, &tags) {
                    return Err(Error::invalid("a negative tag cannot share an image with another one")
                        .code("BadRequestNegativeAndRegularTagOnSameImage"));
                }
                if tags.len() > most {
                    exceeded.push(entry);
                } else {
                    tx.connect(*image, *tag, Relation::Tagged)?;
                    created.push(entry);
                }
            }
            Ok(json!({ "created": created, "duplicated": duplicated, "exceeded": exceeded }))
        })
        .await?;
    Ok(call.answer(summary, Shape::Plain))
}

/// `DeleteImageTags`: regions drawn for a removed tag go with it.
pub(super) async fn untag(call: Call) -> Result<StatusCode> {
    let (actor, project) = (call.actor, call.project()?);
    let images = call.query.ids("imageIds", call.app.limits.images_per_untagging)?;
    let tags = call.query.ids("tagIds", call.app.limits.tags_per_request)?;
    if images.is_empty() || tags.is_empty() {
        return Err(Error::invalid("`imageIds` and `tagIds` are both needed")
            .code("BadRequestRequiredParamIsNull")
            .into());
    }
    call.app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            for image in &images {
                let mut node = tx
                    .get::<Image>(*image)?
                    .filter(|node| node.parent == Some(project))
                    .ok_or_else(no_image)?;
                for tag in &tags {
                    tx.disconnect(*image, *tag, Relation::Tagged)?;
                }
                let before = node.doc.regions.len();
                node.doc.regions.retain(|region| !tags.contains(&region.tag));
                if node.doc.regions.len() != before {
                    tx.update::<Image>(&node)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Metadata within the limits.
pub(super) fn checked_metadata(
    pairs: Vec<(String, String)>,
    limits: &Limits,
) -> CoreResult<BTreeMap<String, String>> {
    require_at_most(pairs.len(), limits.metadata_pairs, "metadata")?;
    for (key, value) in &pairs {
        let length = key.chars().count();
        if length == 0 || length > limits.metadata_key {
            return Err(Error::invalid(format!(
                "a metadata key has 1 to {} characters",
                limits.metadata_key
            ))
            .code("BadRequestImageMetadataKey"));
        }
        if value.chars().count() > limits.metadata_value {
            return Err(Error::invalid(format!(
                "a metadata value has at most {} characters",
                limits.metadata_value
            ))
            .code("BadRequestImageMetadataValue"));
        }
    }
    let metadata = pairs.into_iter().collect();
    depicted::require_readable(&metadata, &limits.depicts_key)
        .map_err(|error| error.code("BadRequestImageMetadataValue"))?;
    Ok(metadata)
}

/// `UpdateImageMetadata`: adds or replaces pairs on each image; 207 when not all could be updated.
pub(super) async fn metadata(call: Call, body: Body) -> Result<Response> {
    // Keys are the user's own words: only the spelling of the protocol's names differs between versions, and 1.x has no metadata.
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .map_err(|_| Error::too_large("the body is larger than 1 MB"))?;
    let wrong = || Error::invalid("the body is an object of strings").code("BadRequestImageMetadataValue");
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&body).map_err(|_| wrong())?;
    let pairs = checked_metadata(pairs.into_iter().collect(), &call.app.limits)?;
    let (actor, project, most) = (call.actor, call.project()?, call.app.limits.metadata_pairs);
    let depicts_key = call.app.limits.depicts_key.clone();
    let images = call.query.ids("imageIds", call.app.limits.images_per_request)?;
    if images.is_empty() {
        return Err(Error::invalid("`imageIds` is missing").code("BadRequestRequiredParamIsNull").into());
    }
    let results = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            let mut results = Vec::new();
            for image in &images {
                let Some(mut node) = tx.get::<Image>(*image)?.filter(|node| node.parent == Some(project))
                else {
                    results
                        .push(json!({ "imageId": image, "status": "ErrorImageNotFound", "metadata": null }));
                    continue;
                };
                let before = node.doc.metadata.clone();
                node.doc.metadata.extend(pairs.clone());
                if node.doc.metadata.len() > most {
                    results.push(json!({ "imageId": image, "status": "ErrorLimitExceed", "metadata": null }));
                    continue;
                }
                let node = tx.update_by::<Image>(&node, actor.person())?;
                depicted::link(tx, *image, node.holder, &before, &node.doc.metadata, &depicts_key)?;
                results.push(json!({ "imageId": image, "status": "OK", "metadata": node.doc.metadata }));
            }
            Ok(results)
        })
        .await?;
    let successful = results.iter().all(|result| result["status"] == "OK");
    let status = if successful { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let body: Json<Value> =
        call.answer(json!({ "isBatchSuccessful": successful, "images": results }), Shape::Plain);
    Ok((status, body).into_response())
}

/// `DeleteImages`: by ids, or all. From the workspace alone it leaves iterations the images that they learned from, which the header
/// `habeas-held-by-iterations` counts; with `allIterations` the images are erased everywhere, and models forget them. Answers 204, or 202 for
/// `allImages` and `allIterations` as Microsoft's asynchronous forms do; here it is done when the answer comes.
pub(super) async fn delete(call: Call) -> Result<Response> {
    let ids = call.query.ids("imageIds", call.app.limits.images_per_request)?;
    let all_images = call.query.flag("allImages")? && call.version >= Version::V3_2;
    let all_iterations = call.query.flag("allIterations")? && call.version >= Version::V3_2;
    if ids.is_empty() != all_images {
        let what = if all_images {
            "`imageIds` and `allImages` exclude each other"
        } else {
            "`imageIds` is missing"
        };
        return Err(Error::invalid(what).code("BadRequestRequiredParamIsNull").into());
    }
    let wanted = if all_images { None } else { Some(ids) };
    let held = if all_iterations {
        erase(&call, wanted).await?;
        0
    } else {
        remove_from_workspace(&call, wanted).await?
    };
    let status = if all_images || all_iterations { StatusCode::ACCEPTED } else { StatusCode::NO_CONTENT };
    Ok((status, [("habeas-held-by-iterations", held.to_string())]).into_response())
}

/// Takes images, or all, out of the workspace; how many of them iterations hold.
async fn remove_from_workspace(call: &Call, wanted: Option<Vec<Id>>) -> CoreResult<u64> {
    let (actor, project) = (call.actor, call.project()?);
    let mut held = 0;
    loop {
        let (chosen, all) = (wanted.clone(), wanted.is_none());
        let (removed, kept): (Vec<Removed>, u64) = call
            .app
            .store()
            .write(move |tx| {
                find_project(tx, &actor, project, Permission::Label)?;
                let images = match &chosen {
                    Some(ids) => present(tx, project, ids, &[Kind::Image])?,
                    None => {
                        let page = Page { take: CHUNK, ..Page::ALL };
                        tx.children::<Image>(project, page)?.into_iter().map(|node| node.id).collect()
                    }
                };
                let mut removed = Vec::new();
                let mut kept = 0;
                for image in images {
                    match leave_workspace(tx, image)? {
                        Some(removal) => removed.push(removal),
                        None => kept += 1,
                    }
                }
                Ok((removed, kept))
            })
            .await?;
        for removal in &removed {
            call.app.store().finish(removal).await;
        }
        held += kept;
        if !all || (removed.is_empty() && kept == 0) {
            return Ok(held);
        }
    }
}

/// Erases images, or all, in the workspace and in every iteration.
async fn erase(call: &Call, wanted: Option<Vec<Id>>) -> CoreResult<()> {
    let (actor, project) = (call.actor, call.project()?);
    let images = call
        .app
        .store()
        .read(move |tx| {
            // It changes models, which is more than labelling.
            find_project(tx, &actor, project, Permission::Write)?;
            match &wanted {
                Some(ids) => present(tx, project, ids, &[Kind::Image, Kind::KeptImage]),
                None => {
                    let mut all = tx.children_ids(project, Kind::Image)?;
                    all.extend(tx.children_ids(project, Kind::KeptImage)?);
                    Ok(all.into_iter().map(|(_, id)| id).collect())
                }
            }
        })
        .await?;
    for chunk in images.chunks(ERASED_CHUNK) {
        call.app.models().erase_images(chunk).await?;
    }
    Ok(())
}

/// Those of `ids` that are of one of these kinds in the project.
fn present(tx: &mut Tx<'_>, project: Id, ids: &[Id], kinds: &[Kind]) -> CoreResult<Vec<Id>> {
    let mut found = Vec::new();
    for id in ids {
        if let Some((kind, parent, _)) = tx.position(*id)?
            && parent == Some(project)
            && kinds.contains(&kind)
        {
            found.push(*id);
        }
    }
    Ok(found)
}
