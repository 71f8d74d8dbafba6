//! Reading images: lists, single ones, counts.

use std::collections::HashMap;

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{Image, ImageDoc, Region, Tag};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Node, Result as CoreResult, Timestamp};
use habeas_store::{Connected, Order, Page, Tx};
use serde_json::{Value, json};

use super::addresses::{Copy, Signer};
use super::caller::{Call, find_project};
use super::errors::Result;
use super::filter::Filter;
use super::iterations::Snapshot;
use super::projection::Shape;

/// Which images by their tags.
#[derive(Clone, Debug)]
pub(super) enum Which {
    All,
    Tagged,
    Untagged,
    WithOneOf(Vec<Id>),
}

impl Which {
    fn connected(&self) -> Connected<'_> {
        match self {
            Which::All => Connected::Any,
            Which::Tagged => Connected::ToSomething,
            Which::Untagged => Connected::ToNothing,
            Which::WithOneOf(tags) => Connected::ToOneOf(tags),
        }
    }

    /// Whether it is about an image with these tags.
    pub(super) fn holds(&self, carried: &[(Id, Timestamp)]) -> bool {
        match self {
            Which::All => true,
            Which::Tagged => !carried.is_empty(),
            Which::Untagged => carried.is_empty(),
            Which::WithOneOf(tags) => carried.iter().any(|(tag, _)| tags.contains(tag)),
        }
    }

    pub(super) fn of(call: &Call, otherwise: Which) -> CoreResult<Which> {
        let tags = call.query.ids("tagIds", call.app.limits.tags_per_request)?;
        Ok(if tags.is_empty() { otherwise } else { Which::WithOneOf(tags) })
    }

    /// `taggingStatus` and `tagIds` of `GetImages`.
    fn by_status(call: &Call) -> CoreResult<Which> {
        match call.query.text("taggingStatus").map(str::to_lowercase).as_deref() {
            None | Some("all") => Which::of(call, Which::All),
            Some("tagged") => Which::of(call, Which::Tagged),
            Some("untagged") => Ok(Which::Untagged),
            Some(_) => Err(Error::invalid("taggingStatus is `All`, `Tagged` or `Untagged`")),
        }
    }
}

/// `GetImages`.
pub(super) async fn all(call: Call) -> Result<Json<Value>> {
    let which = Which::by_status(&call)?;
    images(call, which).await
}

/// `GetTaggedImages`.
pub(super) async fn tagged(call: Call) -> Result<Json<Value>> {
    let which = Which::of(&call, Which::Tagged)?;
    images(call, which).await
}

/// `GetUntaggedImages`.
pub(super) async fn untagged(call: Call) -> Result<Json<Value>> {
    images(call, Which::Untagged).await
}

async fn images(call: Call, which: Which) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let page = call.query.page(&call.app.limits)?;
    let filter = call.query.text("$filter").map(Filter::parse).transpose()?;
    let signer = Signer::new(&call.app, &call.base)?;
    let snapshot = Snapshot::asked_for(&call).await?;
    let images = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let images = Images::of(tx, project, snapshot.as_ref(), &which, page.order)?;
            let nodes = match &filter {
                None => images.page(tx, page)?,
                Some(filter) => filtered(tx, &images, filter, page)?,
            };
            match &snapshot {
                None => shapes(tx, project, &nodes, &signer),
                Some(snapshot) => Ok(snapshot.shapes(project, &nodes, &signer)),
            }
        })
        .await?;
    Ok(call.answer(Value::Array(images), Shape::Image))
}

/// The images that a request is about, in its order.
enum Images<'a> {
    Workspace { project: Id, which: &'a Which },
    Snapshot(Vec<Id>),
}

impl Images<'_> {
    fn of<'a>(
        tx: &mut Tx<'_>,
        project: Id,
        snapshot: Option<&Snapshot>,
        which: &'a Which,
        order: Order,
    ) -> CoreResult<Images<'a>> {
        Ok(match snapshot {
            None => Images::Workspace { project, which },
            Some(snapshot) => Images::Snapshot(snapshot.ids(tx, project, which, order)?),
        })
    }

    fn page(&self, tx: &mut Tx<'_>, page: Page) -> CoreResult<Vec<Node<ImageDoc>>> {
        match self {
            Images::Workspace { project, which } => {
                tx.connected_children::<Image>(*project, Relation::Tagged, which.connected(), page)
            }
            Images::Snapshot(ids) => Snapshot::open(tx, ids, page),
        }
    }

    fn count(&self, tx: &mut Tx<'_>) -> CoreResult<u64> {
        match self {
            Images::Workspace { project, which } => {
                tx.count_connected::<Image>(*project, Relation::Tagged, which.connected())
            }
            Images::Snapshot(ids) => Ok(ids.len() as u64),
        }
    }
}

/// Images opened at a time while a filter is applied.
const SCAN: u64 = 500;

/// Metadata is sealed, so a filter opens the project's images one page after the other.
fn scan(
    tx: &mut Tx<'_>,
    images: &Images<'_>,
    filter: &Filter,
    order: Order,
    mut take: impl FnMut(Node<ImageDoc>) -> bool,
) -> CoreResult<()> {
    let mut skip = 0;
    loop {
        let nodes = images.page(tx, Page { order, skip, take: SCAN })?;
        let last = (nodes.len() as u64) < SCAN;
        for node in nodes {
            if filter.matches(&node.doc.metadata) && !take(node) {
                return Ok(());
            }
        }
        if last {
            return Ok(());
        }
        skip += SCAN;
    }
}

fn filtered(
    tx: &mut Tx<'_>,
    images: &Images<'_>,
    filter: &Filter,
    page: Page,
) -> CoreResult<Vec<Node<ImageDoc>>> {
    let mut nodes = Vec::new();
    let mut skip = page.skip;
    scan(tx, images, filter, page.order, |node| {
        if skip > 0 {
            skip -= 1;
        } else if (nodes.len() as u64) < page.take {
            nodes.push(node);
        }
        (nodes.len() as u64) < page.take
    })?;
    Ok(nodes)
}

/// `GetImagesByIds`: in the order asked for; those that are not there are left out.
pub(super) async fn by_ids(call: Call) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let ids = call.query.ids("imageIds", call.app.limits.images_per_request)?;
    let signer = Signer::new(&call.app, &call.base)?;
    let snapshot = Snapshot::asked_for(&call).await?;
    let images = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let mut nodes = Vec::new();
            match &snapshot {
                None => {
                    for id in &ids {
                        nodes.extend(tx.get::<Image>(*id)?.filter(|node| node.parent == Some(project)));
                    }
                    shapes(tx, project, &nodes, &signer)
                }
                Some(snapshot) => {
                    for id in &ids {
                        nodes.extend(snapshot.image(tx, project, *id)?);
                    }
                    Ok(snapshot.shapes(project, &nodes, &signer))
                }
            }
        })
        .await?;
    Ok(call.answer(Value::Array(images), Shape::Image))
}

/// `GetImageCount`.
pub(super) async fn count(call: Call) -> Result<Json<Value>> {
    let which = Which::by_status(&call)?;
    counted(call, which).await
}

/// `GetTaggedImageCount`.
pub(super) async fn tagged_count(call: Call) -> Result<Json<Value>> {
    let which = Which::of(&call, Which::Tagged)?;
    counted(call, which).await
}

/// `GetUntaggedImageCount`.
pub(super) async fn untagged_count(call: Call) -> Result<Json<Value>> {
    counted(call, Which::Untagged).await
}

/// A count is a bare number: the clients read it as such.
async fn counted(call: Call, which: Which) -> Result<Json<Value>> {
    let (actor, project) = (call.actor, call.project()?);
    let filter = call.query.text("$filter").map(Filter::parse).transpose()?;
    let snapshot = Snapshot::asked_for(&call).await?;
    let count = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let images = Images::of(tx, project, snapshot.as_ref(), &which, Order::Oldest)?;
            match &filter {
                None => images.count(tx),
                Some(filter) => {
                    let mut count = 0;
                    scan(tx, &images, filter, Order::Oldest, |_| {
                        count += 1;
                        true
                    })?;
                    Ok(count)
                }
            }
        })
        .await?;
    Ok(Json(json!(count)))
}

/// Images in the newest shape.
pub(super) fn shapes(
    tx: &mut Tx<'_>,
    project: Id,
    nodes: &[Node<ImageDoc>],
    signer: &Signer,
) -> CoreResult<Vec<Value>> {
    let names: HashMap<Id, String> = if nodes.is_empty() {
        HashMap::new()
    } else {
        tx.children::<Tag>(project, Page::ALL)?.into_iter().map(|tag| (tag.id, tag.doc.name)).collect()
    };
    nodes
        .iter()
        .map(|node| {
            let tags = tx.targets(node.id, Relation::Tagged)?;
            Ok(image_shape(project, node, &tags, &node.doc.regions, &names, signer))
        })
        .collect()
}

/// An image in the newest shape, with tags and regions of one moment.
pub(super) fn image_shape(
    project: Id,
    node: &Node<ImageDoc>,
    tags: &[(Id, Timestamp)],
    regions: &[Region],
    names: &HashMap<Id, String>,
    signer: &Signer,
) -> Value {
    let tags: Vec<Value> = tags
        .iter()
        .map(|(tag, since)| json!({ "tagId": tag, "tagName": names.get(tag), "created": since.rfc3339() }))
        .collect();
    let regions: Vec<Value> = regions.iter().map(|region| region_shape(region, names)).collect();
    let address = |copy| signer.address(project, node.id, copy);
    json!({
        "id": node.id,
        "created": node.created_at.rfc3339(),
        "width": node.doc.width,
        "height": node.doc.height,
        "resizedImageUri": address(Copy::Resized),
        "thumbnailUri": address(Copy::Thumbnail),
        "originalImageUri": address(Copy::Original),
        "tags": tags,
        "regions": regions,
        "metadata": node.doc.metadata,
    })
}

/// A region in the newest shape.
pub(super) fn region_shape(region: &Region, names: &HashMap<Id, String>) -> Value {
    json!({
        "regionId": region.id,
        "tagName": names.get(&region.tag),
        "created": region.created_at.rfc3339(),
        "tagId": region.tag,
        "left": region.left,
        "top": region.top,
        "width": region.width,
        "height": region.height,
    })
}
