//! Iterations with their snapshots, and exported models.

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt as _;
use habeas_access::Actor;
use habeas_core::crypto::Sha256;
use habeas_core::import::{self, ExportUpload, IterationUpload};
use habeas_core::kinds::{
    BaseModel, ImportedModel, ImportedPerformance, ImportedTagPerformance, Iteration, IterationDoc,
    IterationStatus, IterationTag, ModelExport, TrainingType,
};
use habeas_core::{BlobRef, Error, Id, Kind, Result as CoreResult, Timestamp};
use habeas_models::{ImportedExport, ImportedIteration, SnapshotImage, TrainingSet};
use habeas_store::Page;

use super::images::Labels;
use super::{Document, Ids, is_there, made, owned, refuse_recorded, refuse_removed, same, tag_type, taken};
use crate::App;
use crate::caller::Caller;
use crate::privacy::{Problem, QueryString};

/// The largest archive of an exported model.
const LARGEST_EXPORT: u64 = 2 * 1024 * 1024 * 1024;

/// Makes an iteration, or finds it. Its images must be there before.
pub(super) async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, id)): Ids<(Id, Id)>,
    Document(upload): Document<IterationUpload>,
) -> Result<StatusCode, Problem> {
    same(id, upload.iteration.id)?;
    let project_domain = app.store().read(move |tx| Ok(owned(tx, &actor, project)?.doc.domain)).await?;
    refuse_removed(&app, project, id).await?;
    let imported = ImportedIteration {
        id,
        created_at: upload.iteration.created.as_deref().map(import::time).transpose()?,
        updated_at: upload.iteration.last_modified.as_deref().map(import::time).transpose()?,
        model: upload.iteration.model.clone(),
        set: snapshot(&upload.images)?,
        doc: document(upload, project_domain, actor.person())?,
    };
    let new = app
        .models()
        .import_iteration(project, imported, move |tx| {
            owned(tx, &actor, project)?;
            refuse_recorded(tx, id)?;
            is_there(tx, project, id, &[Kind::Iteration])
        })
        .await?;
    Ok(made(new))
}

fn snapshot(images: &[import::Image]) -> CoreResult<TrainingSet> {
    let mut set = TrainingSet::default();
    for image in images {
        let labels = Labels::of(image)?;
        let tags = labels.tags.into_iter().map(|(tag, since)| (tag, since.unwrap_or(Timestamp(0)))).collect();
        set.images.push(SnapshotImage { id: image.id, tags, regions: labels.regions });
    }
    Ok(set)
}

fn document(upload: IterationUpload, project_domain: Id, created_by: Option<Id>) -> CoreResult<IterationDoc> {
    let IterationUpload { iteration, tags, performance, tainted, .. } = upload;
    let status = match iteration.status.as_str() {
        "Completed" => IterationStatus::Completed,
        "Failed" => IterationStatus::Failed,
        _ => {
            return Err(Error::invalid("only iterations that are `Completed` or `Failed` can be brought")
                .hint("wait for the end of the training, and import again"));
        }
    };
    let tags = tags
        .into_iter()
        .map(|tag| {
            Ok(IterationTag {
                id: tag.id,
                name: tag.name,
                description: tag.description.unwrap_or_default(),
                tag_type: tag_type(tag.tag_type.as_deref())?,
                image_count: tag.image_count,
            })
        })
        .collect::<CoreResult<_>>()?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(IterationDoc {
        name: iteration.name,
        status,
        domain: iteration.domain_id.unwrap_or(project_domain),
        classification_type: filled(iteration.classification_type),
        training_type: match iteration.training_type.as_deref() {
            Some("Advanced") => TrainingType::Advanced,
            _ => TrainingType::Regular,
        },
        reserved_budget_in_hours: iteration.reserved_budget_in_hours.unwrap_or(0),
        notification_email: None,
        base: iteration
            .custom_base_model_info
            .map(|base| BaseModel { project: base.project_id, iteration: base.iteration_id }),
        trained_at: iteration.trained_at.as_deref().map(import::time).transpose()?,
        training_minutes: iteration.training_time_in_minutes.unwrap_or(1).max(1),
        error: filled(iteration.training_error_details),
        is_default: iteration.is_default,
        publish_name: filled(iteration.publish_name),
        publish_resource: filled(iteration.original_publish_resource_id),
        tags,
        training_digest: String::new(),
        training_set: None,
        model: None,
        imported: (status == IterationStatus::Completed).then(|| ImportedModel {
            performance: performance.into_iter().map(measured).collect(),
            tainted,
            ..ImportedModel::default()
        }),
        created_by,
    })
}

fn measured(at: import::MeasuredPerformance) -> ImportedPerformance {
    let performance = at.performance;
    ImportedPerformance {
        threshold: at.threshold,
        overlap: at.overlap_threshold,
        precision: performance.precision,
        precision_deviation: performance.precision_std_deviation,
        recall: performance.recall,
        recall_deviation: performance.recall_std_deviation,
        average_precision: performance.average_precision.unwrap_or(0.0),
        tags: performance
            .per_tag_performance
            .into_iter()
            .map(|tag| ImportedTagPerformance {
                tag: tag.id,
                name: tag.name,
                precision: tag.precision,
                precision_deviation: tag.precision_std_deviation,
                recall: tag.recall,
                recall_deviation: tag.recall_std_deviation,
                average_precision: tag.average_precision.unwrap_or(0.0),
            })
            .collect(),
    }
}

/// Keeps the archive of an exported model, or finds it. The body is the archive, streamed.
pub(super) async fn put_export(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((project, iteration, platform)): Ids<(Id, Id, String)>,
    QueryString(query): QueryString<ExportUpload>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let mut pieces = body.into_data_stream();
    let result = keep_export(&app, actor, (project, iteration, platform), query, &mut pieces).await;
    // Who is still sending hears no answer: the connection would be closed under it.
    while let Some(Ok(_)) = pieces.next().await {}
    Ok(made(result?))
}

/// Keeps the archive; false when it was there.
async fn keep_export(
    app: &App,
    actor: Actor,
    (project, iteration, platform): (Id, Id, String),
    query: ExportUpload,
    pieces: &mut BodyDataStream,
) -> CoreResult<bool> {
    let sha256 = query.sha256.to_lowercase();
    let digest = query.digest.map_or_else(|| sha256.clone(), |digest| digest.to_lowercase());
    if digest.len() != 64 || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Error::invalid("a digest is 64 hexadecimal digits"));
    }
    let export = ImportedExport {
        id: query.id,
        created_at: query.created.as_deref().map(import::time).transpose()?,
        platform,
        flavor: query.flavor.filter(|flavor| !flavor.is_empty()),
        digest: digest.clone(),
    };
    let there = app
        .store()
        .read(move |tx| {
            owned(tx, &actor, project)?;
            let node = tx.get::<Iteration>(iteration)?.filter(|node| node.parent == Some(project));
            if node.is_none() {
                return Err(Error::not_found("there is no such iteration"));
            }
            let exports = tx.children::<ModelExport>(iteration, Page::ALL)?;
            if exports.iter().any(|export| export.doc.digest.as_ref() == Some(&digest)) {
                return Ok(true);
            }
            match query.id {
                Some(id) if tx.position(id)?.is_some() => Err(taken(id)),
                _ => Ok(false),
            }
        })
        .await?;
    if there {
        return Ok(false);
    }
    if let Some(id) = query.id {
        refuse_removed(app, project, id).await?;
    }
    let file = receive(app, iteration, pieces, &sha256).await?;
    app.models().import_export(iteration, export, file).await?;
    Ok(true)
}

/// Writes the body to a blob as it comes.
async fn receive(app: &App, iteration: Id, pieces: &mut BodyDataStream, digest: &str) -> CoreResult<BlobRef> {
    let blob = BlobRef::new(app.store().ambient(), 0, "application/zip");
    let announced = blob.clone();
    app.store().write(move |tx| tx.announce_blobs(iteration, &[&announced])).await?;
    let mut writer = app.store().blobs().writer(blob);
    let (mut sum, mut size) = (Sha256::default(), 0);
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            writer.abort().await?;
            return Err(Error::invalid("the upload was cut off"));
        };
        size += piece.len() as u64;
        if size > LARGEST_EXPORT {
            writer.abort().await?;
            return Err(Error::too_large(format!("an exported model is larger than {LARGEST_EXPORT} bytes")));
        }
        sum.update(&piece);
        writer.write(&piece).await?;
    }
    if hex::encode(sum.finish()) != digest {
        writer.abort().await?;
        return Err(Error::invalid(
            "the archive does not have the digest in `sha256`: it was damaged on its way",
        ));
    }
    writer.finish().await
}
