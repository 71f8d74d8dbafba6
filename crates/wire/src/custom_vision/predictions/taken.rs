//! Taking stored predictions into training.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use habeas_core::{Id, Result as CoreResult};

use super::super::caller::Call;
use super::super::create::{Prepared, State, Upload, blocking, commit};
use super::super::errors::Result;
use super::super::query::guid;
use super::batch;
use super::stored::of_project;

/// `CreateImagesFromPredictions`: their images become training images, and the predictions go in the same transaction.
pub(in crate::custom_vision) async fn from_predictions(call: Call, body: Body) -> Result<Response> {
    let batch = batch::read(body, &call.app.limits).await?;
    let upload = Upload::begin(&call).await?;
    let project = call.project()?;
    let mut prepared = Vec::new();
    for entry in batch.entries {
        let prediction = guid(&entry.source, "id")?;
        let state = prepare(&call, Arc::clone(&upload), project, prediction).await?;
        prepared.push(Prepared {
            name: None,
            tags: entry.tags,
            regions: entry.regions,
            state,
            prediction: Some(prediction),
        });
    }
    commit(call, &upload, prepared, batch.tags, batch.metadata).await
}

/// The image is stored anew, under a key of its own: whatever becomes of the prediction, the two do not share one.
async fn prepare(call: &Call, upload: Arc<Upload>, project: Id, prediction: Id) -> CoreResult<State> {
    let found = call.app.store().read(move |tx| of_project(tx, project, prediction)).await?;
    let Some(node) = found else { return Ok(State::Refused("ErrorSource")) };
    let bytes = call.app.store().blobs().get(&node.doc.original).await?;
    blocking(move || upload.store(&bytes, None)).await
}
