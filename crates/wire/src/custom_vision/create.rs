//! Creating images: from data and from files, and the batches of any source.
//!
//! Images are decoded, sealed and flushed one after the other as they come by; the whole batch is then committed in one
//! transaction, so that a broken upload leaves nothing. An image whose bytes are in the project already is not stored again: it
//! gets the tags and regions of the new one and is answered as `OKDuplicate`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_access::{Actor, Permission, depicted};
use habeas_core::kinds::{Image, ImageDoc, Region, Tag, TagType};
use habeas_core::node::{AttrKey, Relation};
use habeas_core::{BlobRef, Error, Id, Result as CoreResult, Timestamp, crypto};
use habeas_learn::imaging::{self, ImageError, Inspected};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::addresses::Signer;
use super::caller::{Call, find_project};
use super::change::checked_metadata;
use super::errors::Result;
use super::limits::Limits;
use super::list::shapes;
use super::projection::Shape;
use super::query::{guid, require_at_most};
use super::regions::checked;
use super::upload::{Contents, Images, RegionEntry, feed, files};
use crate::App;

/// An image of the batch after its bytes were looked at.
pub(super) struct Prepared {
    pub(super) name: Option<String>,
    pub(super) tags: Vec<Id>,
    pub(super) regions: Vec<(Id, [f64; 4])>,
    pub(super) state: State,
    /// The stored prediction that it was taken from, which goes when the image is there.
    pub(super) prediction: Option<Id>,
}

pub(super) enum State {
    /// Stored, and to be committed.
    New(Box<ImageDoc>),
    /// The same bytes are in the project, or were a moment ago: their digest.
    Known(String),
    /// Refused with this status of the protocol.
    Refused(&'static str),
}

/// `CreateImagesFromData`: multipart or raw bytes; tags for all of them in the query.
pub(super) async fn from_data(call: Call, request: Request<Body>) -> Result<Response> {
    let limits = call.app.limits.clone();
    let tags = call.query.ids("tagIds", limits.tags_per_request)?;
    let upload = Upload::begin(&call).await?;
    let mut images = Images::of(request, &limits).await?;
    let mut prepared = Vec::new();
    while let Some(bytes) = images.next(&limits).await? {
        let upload = Arc::clone(&upload);
        let state = blocking(move || upload.store(&bytes, None)).await?;
        prepared.push(Prepared {
            name: None,
            tags: tags.clone(),
            regions: Vec::new(),
            state,
            prediction: None,
        });
    }
    commit(call, &upload, prepared, Vec::new(), BTreeMap::new()).await
}

/// `CreateImagesFromFiles`: JSON with base64, read as a stream: one image is in memory at a time.
pub(super) async fn from_files(call: Call, body: Body) -> Result<Response> {
    let limits = call.app.limits.clone();
    let upload = Upload::begin(&call).await?;
    let reader = feed(body);
    let (prepared, batch) = {
        let upload = Arc::clone(&upload);
        blocking(move || {
            let mut prepared = Vec::new();
            let batch = files(reader, &limits, &mut |entry| {
                let tags = ids(&entry.tag_ids, limits.tags_per_image, "tagIds")?;
                let regions = regions(&entry.regions)?;
                let state = match entry.contents {
                    Contents::Missing => State::Refused("ErrorImageFormat"),
                    Contents::TooLarge => State::Refused("ErrorImageSize"),
                    Contents::Bytes(bytes) => upload.store(bytes, entry.name.clone())?,
                };
                prepared.push(Prepared { name: entry.name, tags, regions, state, prediction: None });
                Ok(())
            })?;
            Ok((prepared, batch))
        })
        .await?
    };
    if prepared.is_empty() {
        return Err(Error::invalid("the batch has no images").code("BadRequestImageBatch").into());
    }
    let tags = ids(&batch.tag_ids, call.app.limits.tags_per_request, "tagIds")?;
    let metadata = checked_metadata(batch.metadata, &call.app.limits)?;
    commit(call, &upload, prepared, tags, metadata).await
}

/// Runs the reading of an upload on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> CoreResult<T> + Send + 'static,
) -> CoreResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("an upload could not be read"))?
}

pub(super) fn ids(texts: &[String], most: usize, name: &str) -> CoreResult<Vec<Id>> {
    require_at_most(texts.len(), most, name)?;
    let mut ids = Vec::new();
    for text in texts {
        let id = guid(text, name)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

pub(super) fn regions(entries: &[RegionEntry]) -> CoreResult<Vec<(Id, [f64; 4])>> {
    entries.iter().map(|entry| Ok((guid(&entry.tag_id, "tagId")?, checked(entry)?))).collect()
}

/// An upload that is not committed yet. Dropped before it is, because it failed or its client went away, it has the bytes that it stored
/// deleted again. (What a crash leaves is found at the next start.)
pub(super) struct Upload {
    app: App,
    project: Id,
    maker: Option<Id>,
    stored: Mutex<Vec<Id>>,
}

impl Upload {
    /// Begins an upload into the project that the caller names, if the caller may write there.
    pub(super) async fn begin(call: &Call) -> CoreResult<Arc<Upload>> {
        let (actor, project) = (call.actor, call.project()?);
        let project = call
            .app
            .store()
            .read(move |tx| find_project(tx, &actor, project, Permission::Label).map(|node| node.id))
            .await?;
        Ok(Upload::of(&call.app, project, call.maker()))
    }

    /// An upload into a project where the caller is known to be allowed to write.
    pub(super) fn of(app: &App, project: Id, maker: Option<Id>) -> Arc<Upload> {
        Arc::new(Upload { app: app.clone(), project, maker, stored: Mutex::default() })
    }

    /// Looks at an image and stores its bytes, durably, unless the project has them. For a thread that may wait: decoding next to the
    /// buffer that the bytes are in keeps the allocator from holding memory for every thread that ever decoded.
    pub(super) fn store(&self, bytes: &[u8], name: Option<String>) -> CoreResult<State> {
        let (app, project) = (&self.app, self.project);
        let runtime = Handle::current();
        if bytes.len() as u64 > app.limits.image_bytes {
            return Ok(State::Refused("ErrorImageSize"));
        }
        let inspected = {
            let _permit = runtime
                .block_on(app.decoding.acquire())
                .map_err(|_| Error::unavailable("the server is stopping"))?;
            imaging::inspect(bytes, &app.limits.decoding)
        };
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(error) => return refused(error),
        };
        let sha256: String = crypto::sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = sha256.clone();
        let known = runtime.block_on(app.store().read(move |tx| {
            tx.child_by_text::<Image>(project, AttrKey::ContentHash, &digest).map(|node| node.is_some())
        }))?;
        if known {
            return Ok(State::Known(sha256));
        }
        let blob = BlobRef::new(app.store().ambient(), bytes.len() as u64, inspected.format.media_type());
        self.stored().push(blob.id);
        let announced = blob.clone();
        runtime.block_on(app.store().write(move |tx| tx.announce_blobs(project, &[&announced])))?;
        habeas_core::fault::point("upload.announced");
        runtime.block_on(app.store().put_announced(&blob, bytes))?;
        habeas_core::fault::point("upload.stored");
        Ok(State::New(Box::new(document(blob, sha256, inspected, name, self.maker))))
    }

    /// Says that every stored blob has its document, or its end, now.
    pub(super) fn committed(&self) {
        self.stored().clear();
    }

    fn stored(&self) -> MutexGuard<'_, Vec<Id>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let blobs = std::mem::take(&mut *self.stored());
        let Ok(runtime) = Handle::try_current() else { return };
        if blobs.is_empty() {
            return;
        }
        let store = self.app.store().clone();
        runtime.spawn(async move {
            if let Err(error) = store.write(move |tx| tx.abandon_blobs(&blobs)).await {
                tracing::warn!(
                    error = format_args!("{error:#}"),
                    "what a failed upload stored is left for the next start"
                );
            }
        });
    }
}

fn document(
    original: BlobRef,
    sha256: String,
    inspected: Inspected,
    name: Option<String>,
    maker: Option<Id>,
) -> ImageDoc {
    ImageDoc {
        original,
        resized: None,
        thumbnail: None,
        sha256,
        width: inspected.resized_width,
        height: inspected.resized_height,
        file_name: name,
        exif: inspected.exif,
        metadata: BTreeMap::new(),
        regions: Vec::new(),
        created_by: maker,
        features: BTreeMap::new(),
    }
}

/// The protocol's status for an image that is not accepted.
fn refused(error: ImageError) -> CoreResult<State> {
    Ok(State::Refused(match error {
        ImageError::Format { .. } | ImageError::Truncated | ImageError::Damaged => "ErrorImageFormat",
        ImageError::Dimensions { .. } | ImageError::AspectRatio { .. } | ImageError::TooManyPixels => {
            "ErrorImageDimensions"
        }
        ImageError::Scaling => return Err(error.into()),
    }))
}

/// Commits the batch in one transaction and answers for every image, in the order sent.
pub(super) async fn commit(
    call: Call,
    upload: &Upload,
    prepared: Vec<Prepared>,
    tags: Vec<Id>,
    metadata: BTreeMap<String, String>,
) -> Result<Response> {
    let (actor, project) = (call.actor, upload.project);
    let limits = call.app.limits.clone();
    let signer = Signer::new(&call.app, &call.base)?;
    let (results, unused, removed) = call
        .app
        .store()
        .write(move |tx| {
            let mut batch = Batch::begin(tx, &actor, project, &tags, &metadata, &limits)?;
            let mut results = Vec::new();
            let mut unused = Vec::new();
            let mut removed = Vec::new();
            for image in &prepared {
                let (status, id) = match image.prediction {
                    // It expired or was erased meanwhile.
                    Some(prediction) if tx.position(prediction)?.is_none() => ("ErrorSource", None),
                    _ => batch.add(tx, image)?,
                };
                if let (Some(prediction), true) = (image.prediction, id.is_some()) {
                    removed.push(tx.remove(prediction)?);
                }
                if let (State::New(doc), true) = (&image.state, status != "OK") {
                    unused.push(doc.original.id);
                }
                let node = id.map(|id| tx.get::<Image>(id)).transpose()?.flatten();
                let shape = match node {
                    Some(node) => shapes(tx, project, &[node], &signer)?.pop(),
                    None => None,
                };
                results.push(json!({ "sourceUrl": image.name, "status": status, "image": shape }));
            }
            tx.abandon_blobs(&unused)?;
            Ok((results, unused.len(), removed))
        })
        .await?;
    upload.committed();
    for removal in &removed {
        call.app.store().finish(removal).await;
    }
    tracing::debug!(images = results.len(), unused, "a batch was committed");
    // Microsoft's service seems to call a batch with duplicates unsuccessful; programs print that as a failure. Here a duplicate is a
    // success, since the image is there with the tags asked for.
    let successful =
        results.iter().all(|result| result["status"].as_str().is_some_and(|status| status.starts_with("OK")));
    let status = if successful || call.version < super::version::Version::V3_3 {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    let summary = json!({ "isBatchSuccessful": successful, "images": results });
    let body: Json<Value> = call.answer(summary, Shape::ImageSummary);
    Ok((status, body).into_response())
}

/// A batch being committed.
pub(super) struct Batch<'a> {
    project: Id,
    /// Who commits it.
    person: Option<Id>,
    detection: bool,
    tags: &'a [Id],
    metadata: &'a BTreeMap<String, String>,
    limits: &'a Limits,
    kinds: Vec<(Id, TagType)>,
    count: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn begin(
        tx: &mut Tx<'_>,
        actor: &Actor,
        project: Id,
        tags: &'a [Id],
        metadata: &'a BTreeMap<String, String>,
        limits: &'a Limits,
    ) -> CoreResult<Batch<'a>> {
        let node = find_project(tx, actor, project, Permission::Label)?;
        let kinds: Vec<(Id, TagType)> = tx
            .children::<Tag>(project, Page::ALL)?
            .into_iter()
            .map(|tag| (tag.id, tag.doc.tag_type))
            .collect();
        let count = if limits.images_per_project.is_some() {
            tx.count_children(project, habeas_core::Kind::Image)?
        } else {
            0
        };
        Ok(Batch {
            project,
            person: actor.person(),
            detection: super::projects::is_detection(node.doc.domain),
            tags,
            metadata,
            limits,
            kinds,
            count,
        })
    }

    /// Commits one image; its status, and its id when it is there.
    pub(super) fn add(
        &mut self,
        tx: &mut Tx<'_>,
        image: &Prepared,
    ) -> CoreResult<(&'static str, Option<Id>)> {
        let mut tags = image.tags.clone();
        tags.extend(image.regions.iter().map(|(tag, _)| *tag));
        tags.extend(self.tags);
        tags.sort_unstable();
        tags.dedup();
        if let Some(status) = self.refusal(&tags, image) {
            return Ok((status, None));
        }
        let digest = match &image.state {
            State::Refused(status) => return Ok((status, None)),
            State::Known(digest) => digest,
            State::New(doc) => &doc.sha256,
        };
        let now = tx.now();
        if let Some(mut node) = tx.child_by_text::<Image>(self.project, AttrKey::ContentHash, digest)? {
            let already = tx.targets(node.id, Relation::Tagged)?;
            let all: Vec<Id> = already.iter().map(|(tag, _)| *tag).chain(tags.iter().copied()).collect();
            if self.mixes_negative(&all) {
                return Ok(("ErrorNegativeAndRegularTagOnSameImage", None));
            }
            let (regions, before) = (node.doc.regions.len(), node.doc.metadata.clone());
            add_regions(tx, &mut node.doc.regions, &image.regions, now);
            node.doc.metadata.extend(self.metadata.clone());
            if (regions, &before) != (node.doc.regions.len(), &node.doc.metadata) {
                tx.update_by::<Image>(&node, self.person)?;
                let key = &self.limits.depicts_key;
                depicted::link(tx, node.id, node.holder, &before, &node.doc.metadata, key)?;
            }
            for tag in &tags {
                tx.connect(node.id, *tag, Relation::Tagged)?;
            }
            return Ok(("OKDuplicate", Some(node.id)));
        }
        let State::New(doc) = &image.state else {
            // It was deleted between the look and the commit.
            return Ok(("ErrorStorage", None));
        };
        if self.limits.images_per_project.is_some_and(|most| self.count >= most) {
            return Ok(("ErrorLimitExceed", None));
        }
        let mut doc = (**doc).clone();
        add_regions(tx, &mut doc.regions, &image.regions, now);
        doc.metadata.clone_from(self.metadata);
        let id = tx.new_id();
        let original = doc.original.clone();
        let node = tx.create::<Image>(New::under(self.project, id, doc))?;
        tx.attach_blobs(id, &[&original])?;
        if !self.metadata.is_empty() {
            let before = BTreeMap::new();
            depicted::link(tx, id, node.holder, &before, self.metadata, &self.limits.depicts_key)?;
        }
        for tag in &tags {
            tx.connect(id, *tag, Relation::Tagged)?;
        }
        self.count += 1;
        Ok(("OK", Some(id)))
    }

    fn refusal(&self, tags: &[Id], image: &Prepared) -> Option<&'static str> {
        if tags.iter().any(|tag| !self.kinds.iter().any(|(known, _)| known == tag)) {
            return Some("ErrorInvalidTag");
        }
        if !self.detection && tags.len() > self.limits.tags_per_image {
            return Some("ErrorTagLimitExceed");
        }
        if image.regions.len() > self.limits.regions_per_image {
            return Some("ErrorRegionLimitExceed");
        }
        self.mixes_negative(tags).then_some("ErrorNegativeAndRegularTagOnSameImage")
    }

    fn mixes_negative(&self, tags: &[Id]) -> bool {
        mixes_negative(&self.kinds, tags)
    }
}

/// Whether a negative tag would share an image with another one.
pub(super) fn mixes_negative(kinds: &[(Id, TagType)], tags: &[Id]) -> bool {
    let is_negative = |tag: &Id| kinds.iter().any(|(known, kind)| known == tag && *kind == TagType::Negative);
    tags.iter().any(is_negative) && !tags.iter().all(is_negative)
}

fn add_regions(tx: &Tx<'_>, regions: &mut Vec<Region>, new: &[(Id, [f64; 4])], now: Timestamp) {
    for (tag, [left, top, width, height]) in new {
        let region = Region {
            id: tx.new_id(),
            tag: *tag,
            left: *left,
            top: *top,
            width: *width,
            height: *height,
            created_at: now,
        };
        if !regions.iter().any(|other| super::regions::same_place(other, &region)) {
            regions.push(region);
        }
    }
}
