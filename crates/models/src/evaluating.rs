//! How well an iteration does, judged on images that it was not shown.

use habeas_core::kinds::{ImportedPerformance, IterationDoc, IterationStatus, ModelState};
use habeas_core::{Error, Node, Result};

use crate::Models;
use crate::compute::{ImagePerformance, Performance, TagPerformance};
use crate::rescued::{is_awaited, not_yet};

impl Models {
    /// Precision, recall and average precision at a probability threshold and, for a detector, a least overlap; both 0 to 1. Waits for
    /// an iteration from which something was just erased: metrics that knew it are gone. Of one that was trained elsewhere what that
    /// service measured nearest to the threshold.
    pub async fn performance(
        &self,
        iteration: &Node<IterationDoc>,
        threshold: f64,
        overlap: f64,
    ) -> Result<Performance> {
        if is_awaited(&iteration.doc) {
            return Err(not_yet());
        }
        if let Some(imported) = &iteration.doc.imported {
            return imported.performance_at(threshold, overlap).map(brought).ok_or_else(not_measured);
        }
        let (doc, evaluation) = self.evaluation(iteration).await?;
        let compute = self.inner.compute.clone();
        tokio::task::spawn_blocking(move || compute.performance(&doc, &evaluation, threshold, overlap))
            .await
            .map_err(|_| Error::internal("a performance could not be computed"))?
    }

    /// What the iteration said of each image it learned from, without having seen it, in the order of image ids.
    pub async fn image_performances(&self, iteration: &Node<IterationDoc>) -> Result<Vec<ImagePerformance>> {
        let (doc, evaluation) = self.evaluation(iteration).await?;
        let compute = self.inner.compute.clone();
        tokio::task::spawn_blocking(move || compute.image_performances(&doc, &evaluation))
            .await
            .map_err(|_| Error::internal("a performance could not be computed"))?
    }

    async fn evaluation(&self, iteration: &Node<IterationDoc>) -> Result<(IterationDoc, Vec<u8>)> {
        if is_awaited(&iteration.doc) {
            return Err(not_yet());
        }
        if iteration.doc.status != IterationStatus::Completed || iteration.doc.imported.is_some() {
            return Err(not_measured());
        }
        let mut node = self.load(iteration.id).await?.0;
        if node.doc.model.as_ref().is_some_and(|model| model.state == ModelState::Interim) {
            self.forget(iteration.id).await?;
            node = self.load(iteration.id).await?.0;
        }
        let blob =
            node.doc.model.as_ref().and_then(|model| model.evaluation.clone()).ok_or_else(not_measured)?;
        Ok((node.doc, self.store().blobs().get(&blob).await?))
    }
}

fn not_measured() -> Error {
    Error::not_found("the iteration was not measured here: it has no such performance")
        .code("NotFoundIterationPerformance")
}

/// What another service measured.
fn brought(measured: &ImportedPerformance) -> Performance {
    Performance {
        tags: measured
            .tags
            .iter()
            .map(|tag| TagPerformance {
                tag: tag.tag,
                name: tag.name.clone(),
                precision: tag.precision,
                precision_deviation: tag.precision_deviation,
                recall: tag.recall,
                recall_deviation: tag.recall_deviation,
                average_precision: tag.average_precision,
            })
            .collect(),
        precision: measured.precision,
        precision_deviation: measured.precision_deviation,
        recall: measured.recall,
        recall_deviation: measured.recall_deviation,
        average_precision: measured.average_precision,
    }
}
