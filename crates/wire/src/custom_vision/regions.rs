//! Regions: boxes on images.

use std::collections::HashMap;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{Image, Region, Tag};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_store::Page;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::{Call, find_project};
use super::errors::{Result, no_image, no_tag};
use super::list::region_shape;
use super::projection::Shape;
use super::query::{guid, require_at_most};
use super::upload::{RegionEntry, small_json};
use super::version::Version;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    image_id: String,
    #[serde(flatten)]
    region: RegionEntry,
}

/// Left, top, width and height of a region, if it lies on the image.
pub(super) fn checked(entry: &RegionEntry) -> CoreResult<[f64; 4]> {
    // Programs compute boxes in floating point: a hair beyond the edge is on it.
    const TOLERANCE: f64 = 1e-4;
    let within = |value: f64| (-TOLERANCE..=1.0 + TOLERANCE).contains(&value);
    let numbers = [entry.left, entry.top, entry.width, entry.height];
    if !numbers.iter().all(|&value| within(value))
        || !within(entry.left + entry.width)
        || !within(entry.top + entry.height)
        || entry.width <= 0.0
        || entry.height <= 0.0
    {
        return Err(Error::invalid(
            "a region does not lie on the image: left, top, width and height are fractions of it, 0 to 1",
        )
        .code("BadRequestImageRegions"));
    }
    Ok(numbers.map(|value| value.clamp(0.0, 1.0)))
}

/// Whether two regions are the same box for the same tag.
pub(super) fn same_place(left: &Region, right: &Region) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
    left.tag == right.tag
        && close(left.left, right.left)
        && close(left.top, right.top)
        && close(left.width, right.width)
        && close(left.height, right.height)
}

/// `CreateImageRegions`: also tags the images. Answers what was created, what was there, and what is too much.
pub(super) async fn create(call: Call, body: Body) -> Result<Response> {
    let body = small_json(body).await?;
    let entries = Vec::<Entry>::deserialize(&body["regions"]).map_err(|_| {
        Error::invalid("`regions` is a list of imageId, tagId, left, top, width, height")
            .code("BadRequestImageRegions")
    })?;
    require_at_most(entries.len(), call.app.limits.regions_per_request, "regions")?;
    let wanted = entries
        .iter()
        .map(|entry| {
            Ok((
                guid(&entry.image_id, "imageId")?,
                guid(&entry.region.tag_id, "tagId")?,
                checked(&entry.region)?,
            ))
        })
        .collect::<CoreResult<Vec<_>>>()?;
    let (actor, project, most) = (call.actor, call.project()?, call.app.limits.regions_per_image);
    let (created, duplicated, exceeded) = call
        .app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            let names: HashMap<Id, String> =
                tx.children::<Tag>(project, Page::ALL)?.into_iter().map(|tag| (tag.id, tag.doc.name)).collect();
            let (mut created, mut duplicated, mut exceeded) = (Vec::new(), Vec::new(), Vec::new());
            for (image, tag, [left, top, width, height]) in &wanted {
                if !names.contains_key(tag) {
                    return Err(no_tag());
                }
                let mut node = tx.get::<Image>(*image)?.filter(|node| node.parent == Some(project)).ok_or_else(no_image)?;
                let region = Region {
                    id: tx.new_id(),
                    tag: *tag,
                    left: *left,
                    top: *top,
                    width: *width,
                    height: *height,
                    created_at: tx.now(),
                };
                let entry = json!({ "imageId": image, "tagId": tag, "left": left, "top": top, "width": width, "height": height });
                if node.doc.regions.iter().any(|other| same_place(other, &region)) {
                    duplicated.push(entry);
                } else if node.doc.regions.len() >= most {
                    exceeded.push(entry);
                } else {
                    let mut shape = region_shape(&region, &names);
                    shape["imageId"] = json!(image);
                    created.push(shape);
                    node.doc.regions.push(region);
                    tx.update::<Image>(&node)?;
                    tx.connect(*image, *tag, Relation::Tagged)?;
                }
            }
            Ok((created, duplicated, exceeded))
        })
        .await?;
    let status = if exceeded.is_empty() || call.version < Version::V3_3 {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    let summary = json!({ "created": created, "duplicated": duplicated, "exceeded": exceeded });
    let body: Json<Value> = call.answer(summary, Shape::Plain);
    Ok((status, body).into_response())
}

/// `DeleteImageRegions`. The tag goes with the last region drawn for it.
pub(super) async fn delete(call: Call) -> Result<StatusCode> {
    let (actor, project) = (call.actor, call.project()?);
    let ids = call.query.ids("regionIds", call.app.limits.regions_per_request)?;
    if ids.is_empty() {
        return Err(Error::invalid("`regionIds` is missing").code("BadRequestRequiredParamIsNull").into());
    }
    call.app
        .store()
        .write(move |tx| {
            find_project(tx, &actor, project, Permission::Label)?;
            // Region ids are sealed with their images: the project's images are looked through.
            for mut node in tx.children::<Image>(project, Page::ALL)? {
                if !node.doc.regions.iter().any(|region| ids.contains(&region.id)) {
                    continue;
                }
                let (gone, left): (Vec<Region>, Vec<Region>) =
                    node.doc.regions.into_iter().partition(|region| ids.contains(&region.id));
                for region in &gone {
                    if !left.iter().any(|other| other.tag == region.tag) {
                        tx.disconnect(node.id, region.tag, Relation::Tagged)?;
                    }
                }
                node.doc.regions = left;
                tx.update::<Image>(&node)?;
            }
            Ok(())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
