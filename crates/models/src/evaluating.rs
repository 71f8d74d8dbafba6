//! How well an iteration does, judged on images that it was not shown.

use habeas_core::kinds::{IterationDoc, IterationStatus, ModelState};
use habeas_core::{Error, Node, Result};

use crate::Models;
use crate::compute::{ImagePerformance, Performance};

impl Models {
    /// Precision, recall and average precision at a probability threshold and, for a detector, a least overlap; both 0 to 1. Waits for
    /// an iteration from which something was just erased: metrics that knew it are gone.
    pub async fn performance(
        &self,
        iteration: &Node<IterationDoc>,
        threshold: f64,
        overlap: f64,
    ) -> Result<Performance> {
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
        let not_found = || {
            Error::not_found("the iteration is not trained: it has no performance")
                .code("NotFoundIterationPerformance")
        };
        if iteration.doc.status != IterationStatus::Completed {
            return Err(not_found());
        }
        let mut node = self.load(iteration.id).await?.0;
        if node.doc.model.as_ref().is_some_and(|model| model.state == ModelState::Interim) {
            self.forget(iteration.id).await?;
            node = self.load(iteration.id).await?.0;
        }
        let blob =
            node.doc.model.as_ref().and_then(|model| model.evaluation.clone()).ok_or_else(not_found)?;
        Ok((node.doc, self.store().blobs().get(&blob).await?))
    }
}
