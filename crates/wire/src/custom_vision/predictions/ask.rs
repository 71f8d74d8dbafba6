//! Asking an iteration: the prediction API and quick tests.

use axum::Json;
use axum::body::Body;
use axum::http::Request;
use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Iteration, IterationDoc, IterationStatus, StoredPrediction, StoredPredictionDoc};
use habeas_core::time::DAY;
use habeas_core::{Error, Id, Node, Result as CoreResult, Timestamp};
use habeas_models::{Prediction, find_iteration, no_iteration};
use habeas_store::{New, Page, Tx};
use serde_json::{Value, json};

use super::super::caller::{Call, find_project};
use super::super::errors::Result;
use super::super::limits::Limits;
use super::super::projection::Shape;
use super::super::upload::{Images, small_json};
use super::{fetch, scored};
use crate::image_bytes::{self, Stored};

/// The longest name that a caller may give itself, in characters.
const APPLICATION: usize = 256;

/// What a route of the prediction API asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::custom_vision) struct Ask {
    /// The model of the iteration published under the name in the path; none where it is asked for by id or default.
    pub(in crate::custom_vision) task: Option<Task>,
    /// Where the image is.
    pub(in crate::custom_vision) source: Source,
    /// Whether image and answer are kept.
    pub(in crate::custom_vision) store: bool,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::custom_vision) enum Task {
    Classify,
    Detect,
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::custom_vision) enum Source {
    /// The body.
    Body,
    /// An address in the body.
    Url,
}

/// All operations of the prediction API.
pub(in crate::custom_vision) async fn predict(
    ask: Ask,
    call: Call,
    request: Request<Body>,
) -> Result<Json<Value>> {
    let application = call.query.text("application").map(str::to_owned);
    if application.as_ref().is_some_and(|name| name.chars().count() > APPLICATION) {
        return Err(Error::invalid(format!("`application` has at most {APPLICATION} characters"))
            .code("BadRequestPredictionInvalidApplicationName")
            .into());
    }
    let (actor, project) = (call.actor, call.project()?);
    let (name, by_id) = (call.item.clone(), call.query.id("iterationId")?);
    let iteration = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Predict)?;
            match (ask.task, by_id) {
                (Some(task), _) => published(tx, project, name.as_deref().unwrap_or_default(), task),
                (None, Some(iteration)) => find_iteration(tx, project, iteration).map(|node| node.id),
                (None, None) => default_iteration(tx, project)?.ok_or_else(no_default),
            }
        })
        .await?;
    let answer = answer(&call, iteration, ask.source, ask.store, application, request).await?;
    Ok(call.answer(answer, Shape::Prediction))
}

/// `QuickTestImage` and `QuickTestImageUrl`: the iteration named, else the default one, else the one trained last. Stored unless `store=false`.
pub(in crate::custom_vision) async fn quick_test(
    source: Source,
    call: Call,
    request: Request<Body>,
) -> Result<Json<Value>> {
    let store = call.query.text("store").is_none() || call.query.flag("store")?;
    let (actor, project, by_id) = (call.actor, call.project()?, call.query.id("iterationId")?);
    let iteration = call
        .app
        .store()
        .read(move |tx| {
            find_project(tx, &actor, project, Permission::Predict)?;
            match by_id {
                Some(iteration) => find_iteration(tx, project, iteration).map(|node| node.id),
                None => match default_iteration(tx, project)? {
                    Some(iteration) => Ok(iteration),
                    None => trained_last(tx, project)?.ok_or_else(no_default),
                },
            }
        })
        .await?;
    let answer = answer(&call, iteration, source, store, None, request).await?;
    Ok(call.answer(answer, Shape::QuickTest))
}

/// The iteration published under a name, if it does what it is asked to.
fn published(tx: &mut Tx<'_>, project: Id, name: &str, task: Task) -> CoreResult<Id> {
    let node = tx.child_by_name::<Iteration>(project, name)?.ok_or_else(no_iteration)?;
    let does = if node.doc.classification_type.is_none() { Task::Detect } else { Task::Classify };
    match (task, does) {
        (Task::Classify, Task::Detect) => {
            Err(Error::invalid("the iteration detects objects").hint("ask it under /detect/iterations/"))
        }
        (Task::Detect, Task::Classify) => {
            Err(Error::invalid("the iteration classifies images").hint("ask it under /classify/iterations/"))
        }
        _ => Ok(node.id),
    }
    .map_err(|error| error.code("BadRequestNotSupported"))
}

fn default_iteration(tx: &mut Tx<'_>, project: Id) -> CoreResult<Option<Id>> {
    let found = trained(tx, project)?.into_iter().find(|node| node.doc.is_default);
    Ok(found.map(|node| node.id))
}

fn trained_last(tx: &mut Tx<'_>, project: Id) -> CoreResult<Option<Id>> {
    Ok(trained(tx, project)?.into_iter().max_by_key(|node| node.doc.trained_at).map(|node| node.id))
}

fn trained(tx: &mut Tx<'_>, project: Id) -> CoreResult<Vec<Node<IterationDoc>>> {
    let mut nodes = tx.children::<Iteration>(project, Page::ALL)?;
    nodes.retain(|node| node.doc.status == IterationStatus::Completed);
    Ok(nodes)
}

/// In the words that programs match on.
fn no_default() -> Error {
    Error::not_found("Project has no default iteration").code("NotFoundProjectDefaultIteration")
}

/// Takes the image, asks, and keeps both if that is wanted.
async fn answer(
    call: &Call,
    iteration: Id,
    source: Source,
    store: bool,
    application: Option<String>,
    request: Request<Body>,
) -> Result<Value> {
    let bytes = image(call, source, request).await?;
    let prediction = call.app.models().predict(iteration, bytes.clone()).await?;
    let project = call.project()?;
    let (id, created) = if store && call.app.limits.prediction_days > 0 {
        keep(call, &prediction, bytes, application).await?
    } else {
        let ambient = call.app.store().ambient();
        (ambient.new_id(), ambient.now())
    };
    Ok(json!({
        "id": id,
        "project": project,
        "iteration": iteration,
        "created": created.rfc3339(),
        "predictions": scored(&prediction.predictions),
    }))
}

async fn image(call: &Call, source: Source, request: Request<Body>) -> Result<Vec<u8>> {
    let most = call.app.limits.prediction_image_bytes;
    match source {
        Source::Body => {
            let limits = Limits { image_bytes: most, images_per_batch: 1, ..(*call.app.limits).clone() };
            let mut images = Images::of(request, &limits).await?;
            let image = images.next(&limits).await?;
            // A second part is refused.
            images.next(&limits).await?;
            Ok(image.map(Vec::from).unwrap_or_default())
        }
        Source::Url => {
            let body = small_json(request.into_body()).await?;
            let url = body["url"].as_str().ok_or_else(|| {
                Error::invalid("the body has no `url`").code("BadRequestRequiredParamIsNull")
            })?;
            Ok(fetch(&call.app, url, most).await?)
        }
    }
}

/// Stores the image, durably, and the answer with it; its id and time.
async fn keep(
    call: &Call,
    prediction: &Prediction,
    bytes: Vec<u8>,
    application: Option<String>,
) -> CoreResult<(Id, Timestamp)> {
    let (app, project) = (&call.app, call.project()?);
    let Stored { blob, inspected, sha256 } = image_bytes::store(app, project, bytes).await?;
    let doc = StoredPredictionDoc {
        original: blob.clone(),
        resized: None,
        thumbnail: None,
        sha256,
        width: inspected.resized_width,
        height: inspected.resized_height,
        iteration: prediction.iteration.id,
        domain: prediction.iteration.doc.domain,
        application,
        predictions: prediction.predictions.clone(),
        created_by: call.maker(),
    };
    let (actor, days) = (call.actor, app.limits.prediction_days);
    app.store().write(move |tx| create(tx, &actor, project, doc.clone(), days)).await
}

/// Creates a stored prediction that deletes itself after so many days.
fn create(
    tx: &mut Tx<'_>,
    actor: &Actor,
    project: Id,
    doc: StoredPredictionDoc,
    days: u32,
) -> CoreResult<(Id, Timestamp)> {
    find_project(tx, actor, project, Permission::Predict)?;
    let (id, original) = (tx.new_id(), doc.original.clone());
    let expires_at = Some(Timestamp(tx.now().0 + i64::from(days) * DAY));
    let node = tx.create::<StoredPrediction>(New { id, parent: Some(project), expires_at, doc })?;
    tx.attach_blobs(id, &[&original])?;
    Ok((id, node.created_at))
}
