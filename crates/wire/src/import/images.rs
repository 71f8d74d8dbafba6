//! Images and stored predictions, with their bytes, and what was suggested for images.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use habeas_access::{Actor, depicted};
use habeas_core::import::{self, ImageUpload, PredictionUpload};
use habeas_core::kinds::{
    Image, ImageDoc, KeptImage, Region, ScoredTag, StoredPrediction, StoredPredictionDoc, Suggestion,
    SuggestionDoc, Tag, uncertainty,
};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Kind, Result as CoreResult, Timestamp};
use habeas_models::find_image;
use habeas_store::{New, Page, Tx};

use super::{
    Document, Ids, contents, is_there, made, owned, refuse_recorded, refuse_removed, same, tag_type,
};
use crate::App;
use crate::caller::Caller;
use crate::image_bytes::{self, Stored};
use crate::privacy::Problem;

const IMAGES: [Kind; 2] = [Kind::Image, Kind::KeptImage];

/// Stores an image, or finds it. The same checks as for an upload.
pub(super) async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, id)): Ids<(Id, Id)>,
    Document(upload): Document<ImageUpload>,
) -> Result<StatusCode, Problem> {
    same(id, upload.image.id)?;
    let bytes = contents(&upload.contents, &upload.sha256, app.limits.image_bytes)?;
    let digest = upload.sha256.to_lowercase();
    let there = app
        .store()
        .read(move |tx| {
            owned(tx, &actor, project)?;
            if !is_there(tx, project, id, &IMAGES)? {
                return Ok(false);
            }
            if find_image(tx, id)?.is_some_and(|node| node.doc.sha256 != digest) {
                return Err(Error::conflict(format!("the image {id} is there with other bytes"))
                    .hint("it stays as it is here"));
            }
            Ok(true)
        })
        .await?;
    if there {
        return Ok(made(false));
    }
    refuse_removed(&app, project, id).await?;
    let mut labels = Labels::of(&upload.image)?;
    if upload.kept {
        labels.tags.clear();
        labels.regions.clear();
    }
    let created_at = upload.image.created.as_deref().map(import::time).transpose()?;
    let Stored { blob, inspected, sha256 } = image_bytes::store(&app, project, bytes).await?;
    let doc = ImageDoc {
        original: blob.clone(),
        resized: None,
        thumbnail: None,
        sha256,
        width: inspected.resized_width,
        height: inspected.resized_height,
        file_name: upload.file_name,
        exif: inspected.exif,
        metadata: upload.image.metadata.unwrap_or_default(),
        regions: labels.regions,
        created_by: actor.person(),
        features: BTreeMap::new(),
    };
    let (tags, kept) = (labels.tags, upload.kept);
    let depicts_key = app.limits.depicts_key.clone();
    app.store()
        .write(move |tx| {
            not_there(tx, &actor, project, id, &IMAGES)?;
            let known: Vec<Id> =
                tx.children::<Tag>(project, Page::ALL)?.into_iter().map(|tag| tag.id).collect();
            if tags.iter().any(|(tag, _)| !known.contains(tag)) {
                return Err(Error::invalid("the image carries a tag that the project does not have")
                    .hint("bring the project's tags before its images"));
            }
            if kept {
                tx.create::<KeptImage>(New::under(project, id, doc.clone()))?;
            } else {
                tx.create::<Image>(New::under(project, id, doc.clone()))?;
            }
            tx.attach_blobs(id, &[&blob])?;
            if let Some((_, _, holder)) = tx.position(id)? {
                depicted::link(tx, id, holder, &BTreeMap::new(), &doc.metadata, &depicts_key)?;
            }
            for (tag, since) in &tags {
                tx.connect_since(id, *tag, Relation::Tagged, since.unwrap_or(tx.now()))?;
            }
            created_at.map_or(Ok(()), |created_at| tx.backdate(id, created_at))
        })
        .await?;
    Ok(made(true))
}

/// What an image is labelled with, checked.
pub(super) struct Labels {
    /// Tags, those of regions among them.
    pub(super) tags: Vec<(Id, Option<Timestamp>)>,
    pub(super) regions: Vec<Region>,
}

impl Labels {
    pub(super) fn of(image: &import::Image) -> CoreResult<Labels> {
        let mut regions = Vec::new();
        for region in image.regions.iter().flatten() {
            let [left, top, width, height] =
                within(image.id, [region.left, region.top, region.width, region.height])?;
            let created_at = region.created.as_deref().map_or(Ok(Timestamp(0)), import::time)?;
            regions.push(Region {
                id: region.region_id,
                tag: region.tag_id,
                left,
                top,
                width,
                height,
                created_at,
            });
        }
        let mut tags = Vec::new();
        for tag in image.tags.iter().flatten() {
            tags.push((tag.tag_id, tag.created.as_deref().map(import::time).transpose()?));
        }
        tags.extend(regions.iter().map(|region| (region.tag, None)));
        // Stable: of a tag that is there twice, what was said of it stays.
        tags.sort_by_key(|(tag, _)| *tag);
        tags.dedup_by_key(|(tag, _)| *tag);
        Ok(Labels { tags, regions })
    }
}

/// A box on an image; a hair beyond the edge, as floating point has it, is on it.
fn within(image: Id, sides: [f64; 4]) -> CoreResult<[f64; 4]> {
    if sides.iter().all(|side| (-1e-3..=1.0 + 1e-3).contains(side)) {
        Ok(sides.map(|side| side.clamp(0.0, 1.0)))
    } else {
        Err(Error::invalid(format!("a box of the image {image} does not lie on it")))
    }
}

/// Stores a prediction with its image until the days that predictions are kept are over, or finds it.
pub(super) async fn put_prediction(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, id)): Ids<(Id, Id)>,
    Document(upload): Document<PredictionUpload>,
) -> Result<StatusCode, Problem> {
    let prediction = upload.prediction;
    same(id, prediction.id)?;
    let bytes = contents(&upload.contents, &upload.sha256, app.limits.image_bytes)?;
    let (there, project_domain) = app
        .store()
        .read(move |tx| {
            let node = owned(tx, &actor, project)?;
            Ok((is_there(tx, project, id, &[Kind::StoredPrediction])?, node.doc.domain))
        })
        .await?;
    if there {
        return Ok(made(false));
    }
    refuse_removed(&app, project, id).await?;
    let (created_at, expires_at) = kept_until(&app, id, &prediction.created)?;
    let predictions = answers(id, prediction.predictions)?;
    let Stored { blob, inspected, sha256 } = image_bytes::store(&app, project, bytes).await?;
    let doc = StoredPredictionDoc {
        original: blob.clone(),
        resized: None,
        thumbnail: None,
        sha256,
        width: inspected.resized_width,
        height: inspected.resized_height,
        iteration: prediction.iteration,
        domain: prediction.domain.unwrap_or(project_domain),
        application: prediction.application,
        predictions,
        created_by: actor.person(),
    };
    app.store()
        .write(move |tx| {
            not_there(tx, &actor, project, id, &[Kind::StoredPrediction])?;
            let new = New { expires_at: Some(expires_at), ..New::under(project, id, doc.clone()) };
            tx.create::<StoredPrediction>(new)?;
            tx.attach_blobs(id, &[&blob])?;
            tx.backdate(id, created_at)
        })
        .await?;
    Ok(made(true))
}

/// Keeps what a model suggested for an image, until the days that predictions are kept are over, or finds it.
pub(super) async fn put_suggestion(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, id)): Ids<(Id, Id)>,
    Document(suggestion): Document<import::Suggestion>,
) -> Result<StatusCode, Problem> {
    same(id, suggestion.id)?;
    app.store().read(move |tx| owned(tx, &actor, project)).await?;
    refuse_removed(&app, project, id).await?;
    let (created_at, expires_at) = kept_until(&app, id, &suggestion.created)?;
    let predictions = answers(id, suggestion.predictions)?;
    let (image, iteration) = (suggestion.image, suggestion.iteration);
    let doc = SuggestionDoc { iteration, uncertainty: uncertainty(&predictions), predictions };
    let new = app
        .store()
        .write(move |tx| {
            owned(tx, &actor, project)?;
            refuse_recorded(tx, id)?;
            let there = find_image(tx, image)?.is_some_and(|node| node.parent == Some(project));
            if !there {
                return Err(Error::invalid("the image of the suggestion is not in the project")
                    .hint("bring the project's images before what was suggested for them"));
            }
            if is_there(tx, image, id, &[Kind::Suggestion])? {
                return Ok(false);
            }
            let expires_at = Some(expires_at);
            tx.create::<Suggestion>(New { expires_at, ..New::under(image, id, doc.clone()) })?;
            tx.backdate(id, created_at)?;
            Ok(true)
        })
        .await?;
    Ok(made(new))
}

/// When an answer of a model was given, and when the days are over that such answers are kept; an error when they are.
fn kept_until(app: &App, id: Id, created: &str) -> CoreResult<(Timestamp, Timestamp)> {
    let created_at = import::time(created)?;
    let days = app.limits.prediction_days;
    let expires_at = created_at + Duration::from_secs(u64::from(days) * 86_400);
    if expires_at <= app.store().ambient().now() {
        return Err(Error::gone(format!("the prediction {id} is older than {days} days")));
    }
    Ok((created_at, expires_at))
}

fn answers(prediction: Id, predictions: Option<Vec<import::ScoredTag>>) -> CoreResult<Vec<ScoredTag>> {
    predictions.into_iter().flatten().map(|scored| answer(prediction, scored)).collect()
}

fn answer(prediction: Id, scored: import::ScoredTag) -> CoreResult<ScoredTag> {
    let bounding_box = scored
        .bounding_box
        .map(|found| within(prediction, [found.left, found.top, found.width, found.height]))
        .transpose()?;
    Ok(ScoredTag {
        tag: scored.tag_id,
        name: scored.tag_name.unwrap_or_default(),
        tag_type: tag_type(scored.tag_type.as_deref())?,
        probability: scored.probability.clamp(0.0, 1.0),
        bounding_box,
    })
}

/// What is to be made is not there and was not removed. Whoever else made it since was faster: the client looks again.
fn not_there(tx: &mut Tx<'_>, actor: &Actor, project: Id, id: Id, kinds: &[Kind]) -> CoreResult<()> {
    owned(tx, actor, project)?;
    refuse_recorded(tx, id)?;
    if is_there(tx, project, id, kinds)? {
        return Err(Error::conflict("the same item was brought by another request in the meantime"));
    }
    Ok(())
}
