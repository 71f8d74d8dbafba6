//! Asking a trained iteration what an image shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use habeas_core::kinds::{Iteration, IterationDoc, IterationStatus, ScoredTag};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Node, Result};

use crate::Models;
use crate::compute::{Compute, Extractor, Model, Proposal};
use crate::iterations::no_iteration;
use crate::rescued::require_weights_here;

/// What an iteration says of an image.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The iteration that was asked.
    pub iteration: Node<IterationDoc>,
    /// Tags, most probable first; of a detector each with its box.
    pub predictions: Vec<ScoredTag>,
}

/// Models in memory, by iteration and the version of its document: a swapped model is another version.
pub(crate) struct Loaded {
    most: usize,
    models: Mutex<Held>,
}

/// The models and a clock that tells which was used last.
#[derive(Default)]
struct Held {
    used: u64,
    by_iteration: HashMap<Id, (i64, u64, Arc<Model>)>,
}

impl Loaded {
    pub(crate) fn new(most: usize) -> Loaded {
        Loaded { most: most.max(1), models: Mutex::default() }
    }

    fn get(&self, iteration: Id, version: i64) -> Option<Arc<Model>> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.used += 1;
        let used = models.used;
        let (held, last, model) = models.by_iteration.get_mut(&iteration)?;
        if *held != version {
            models.by_iteration.remove(&iteration);
            return None;
        }
        *last = used;
        Some(Arc::clone(model))
    }

    fn put(&self, iteration: Id, version: i64, model: &Arc<Model>) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.used += 1;
        let used = models.used;
        models.by_iteration.insert(iteration, (version, used, Arc::clone(model)));
        if models.by_iteration.len() > self.most {
            let oldest = models.by_iteration.iter().min_by_key(|(_, (_, used, _))| *used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                models.by_iteration.remove(&oldest);
            }
        }
    }
}

impl Models {
    /// What the iteration says of the image in `bytes`. Errors: the iteration is not trained; the image is not accepted
    /// ([`habeas_core::ErrorKind::Invalid`]).
    pub async fn predict(&self, iteration: Id, bytes: Vec<u8>) -> Result<Prediction> {
        let (node, model) = self.load(iteration).await?;
        let (extractor, doc) = (self.inner.compute.extractor(&node.doc)?, node.doc.clone());
        // Not from rounded rows: an exported model gives the same answer.
        let predictions =
            self.in_turn(move |compute| model.score(&doc, &compute.numbers(extractor, &bytes)?)).await?;
        Ok(Prediction { iteration: node, predictions })
    }

    /// The same of an image of the project, whose features may be stored already; none when the image is gone.
    pub async fn predict_image(&self, iteration: Id, image: Id) -> Result<Option<Prediction>> {
        let (node, model) = self.load(iteration).await?;
        let extractor = self.inner.compute.extractor(&node.doc)?;
        let Some(features) = self.features_of(extractor, image).await? else { return Ok(None) };
        let doc = node.doc.clone();
        let predictions =
            self.in_turn(move |_| model.score(&doc, &Compute::numbers_of(extractor, &features)?)).await?;
        Ok(Some(Prediction { iteration: node, predictions }))
    }

    /// Boxes that are likely to hold something, without any trained model; none when the image is gone.
    pub async fn propose_regions(&self, image: Id) -> Result<Option<Vec<Proposal>>> {
        let Some(features) = self.features_of(Extractor::MAPS, image).await? else { return Ok(None) };
        let compute = self.inner.compute.clone();
        tokio::task::spawn_blocking(move || compute.propose(&features))
            .await
            .map_err(|_| Error::internal("regions could not be proposed"))?
            .map(Some)
    }

    /// The iteration and its model, from memory where it is there. Weights that know an image that is gone are solved again first.
    pub(crate) async fn load(&self, iteration: Id) -> Result<(Node<IterationDoc>, Arc<Model>)> {
        let (mut node, learned) = self.look(iteration).await?;
        if node.doc.model.as_ref().is_some_and(|model| model.images != learned) {
            self.bring_up_to_date(iteration).await?;
            node = self.look(iteration).await?.0;
        }
        require_weights_here(&node.doc)?;
        let Some(trained) = node.doc.model.clone().filter(|_| node.doc.status == IterationStatus::Completed)
        else {
            return Err(
                Error::invalid("the iteration is not trained").code("BadRequestIterationIsNotTrained")
            );
        };
        if let Some(model) = self.inner.loaded.get(iteration, node.version) {
            return Ok((node, model));
        }
        let weights = self.store().blobs().get(&trained.weights).await?;
        let compute = self.inner.compute.clone();
        let doc = node.doc.clone();
        let model = tokio::task::spawn_blocking(move || compute.open(&doc, &weights))
            .await
            .map_err(|_| Error::internal("a model could not be opened"))??;
        let model = Arc::new(model);
        self.inner.loaded.put(iteration, node.version, &model);
        Ok((node, model))
    }

    async fn look(&self, iteration: Id) -> Result<(Node<IterationDoc>, u64)> {
        self.store()
            .read(move |tx| {
                let node = tx.get::<Iteration>(iteration)?.ok_or_else(no_iteration)?;
                Ok((node, tx.count_targets(iteration, Relation::LearnedFrom)?))
            })
            .await
    }
}
