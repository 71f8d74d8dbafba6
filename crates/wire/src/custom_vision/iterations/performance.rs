//! How well an iteration does.

use std::collections::HashMap;

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{IterationDoc, ScoredTag, scored_json};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_models::{ImagePerformance, TagPerformance};
use habeas_store::Page;
use serde_json::{Value, json};

use super::super::addresses::Signer;
use super::super::caller::{Call, find_project};
use super::super::errors::Result;
use super::super::list::Which;
use super::super::projection::Shape;
use super::super::version::Version;
use super::{Snapshot, find, iteration_id};

/// What Microsoft's portal shows first: a tag counts as predicted from this probability on.
const THRESHOLD: f64 = 0.5;
/// And a box as found from this overlap on.
const OVERLAP: f64 = 0.3;

/// `GetIterationPerformance`.
pub(in crate::custom_vision) async fn performance(call: Call) -> Result<Json<Value>> {
    // 1.2 says that it is required, and its clients always send it.
    if call.version <= Version::V1_2 {
        call.query.required("threshold")?;
    }
    let threshold = fraction(&call, "threshold", THRESHOLD)?;
    let overlap = fraction(&call, "overlapThreshold", OVERLAP)?;
    let node = asked_for(&call).await?;
    let performance = call.app.models().performance(&node, threshold, overlap).await?;
    let value = json!({
        "perTagPerformance": performance.tags.iter().map(tag_shape).collect::<Vec<_>>(),
        "precision": performance.precision,
        "precisionStdDeviation": performance.precision_deviation,
        "recall": performance.recall,
        "recallStdDeviation": performance.recall_deviation,
        "averagePrecision": performance.average_precision,
    });
    Ok(call.answer(value, Shape::Performance))
}

fn tag_shape(tag: &TagPerformance) -> Value {
    json!({
        "id": tag.tag,
        "name": tag.name,
        "precision": tag.precision,
        "precisionStdDeviation": tag.precision_deviation,
        "recall": tag.recall,
        "recallStdDeviation": tag.recall_deviation,
        "averagePrecision": tag.average_precision,
    })
}

fn fraction(call: &Call, name: &str, otherwise: f64) -> CoreResult<f64> {
    let Some(text) = call.query.text(name) else { return Ok(otherwise) };
    text.parse()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| Error::invalid(format!("`{name}` is a number from 0 to 1")))
}

async fn asked_for(call: &Call) -> CoreResult<Node<IterationDoc>> {
    let (actor, project, id) = (call.actor, call.project()?, iteration_id(call)?);
    call.app.store().read(move |tx| find(tx, &actor, project, id, Permission::Read)).await
}

/// `GetImagePerformances`: what the iteration said of its images without having seen them. `tagIds` are tags that the images carry.
pub(in crate::custom_vision) async fn image_performances(call: Call) -> Result<Json<Value>> {
    let page = call.query.page(&call.app.limits)?;
    let evaluated = Evaluated::of(&call).await?;
    let (actor, project) = (call.actor, call.project()?);
    let signer = Signer::new(&call.app, &call.base)?;
    let images = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let mut ids = evaluated.snapshot.ids(tx, project, &evaluated.which, page.order)?;
            ids.retain(|id| evaluated.predictions.contains_key(id));
            let nodes = Snapshot::open(tx, &ids, page)?;
            let mut shapes = evaluated.snapshot.shapes(project, &nodes, &signer);
            for (shape, node) in shapes.iter_mut().zip(&nodes) {
                let predictions = evaluated.predictions.get(&node.id).map_or(&[][..], Vec::as_slice);
                performance_shape(shape, predictions);
            }
            Ok(shapes)
        })
        .await?;
    Ok(call.answer(Value::Array(images), Shape::ImagePerformance))
}

/// `GetImagePerformanceCount`: a bare number.
pub(in crate::custom_vision) async fn image_performance_count(call: Call) -> Result<Json<Value>> {
    let evaluated = Evaluated::of(&call).await?;
    let (actor, project) = (call.actor, call.project()?);
    let count = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Read)?;
            let ids = evaluated.snapshot.ids(tx, project, &evaluated.which, Page::ALL.order)?;
            Ok(ids.iter().filter(|id| evaluated.predictions.contains_key(*id)).count())
        })
        .await?;
    Ok(Json(json!(count)))
}

/// The evaluated images that a request asks for.
struct Evaluated {
    which: Which,
    snapshot: Snapshot,
    predictions: HashMap<Id, Vec<ScoredTag>>,
}

impl Evaluated {
    async fn of(call: &Call) -> CoreResult<Evaluated> {
        let which = Which::of(call, Which::Tagged)?;
        let node = asked_for(call).await?;
        let performances = call.app.models().image_performances(&node).await?;
        let predictions = performances
            .into_iter()
            .map(|ImagePerformance { image, predictions }| (image, predictions))
            .collect();
        let snapshot = Snapshot::of(call, node.id).await?;
        Ok(Evaluated { which, snapshot, predictions })
    }
}

/// An evaluated image differs from an image: it has one address under its old name, predictions, and no metadata.
fn performance_shape(image: &mut Value, predictions: &[ScoredTag]) {
    if let Value::Object(members) = image {
        let resized = members.remove("resizedImageUri").unwrap_or_default();
        members.insert("imageUri".into(), resized);
        members.remove("originalImageUri");
        members.remove("metadata");
        members.insert("predictions".into(), Value::Array(scored_json(predictions)));
    }
}
