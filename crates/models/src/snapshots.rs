//! Snapshots of iterations in memory: whoever pages through one asks for it again and again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use habeas_core::kinds::IterationDoc;
use habeas_core::{Id, Node, Result};

use crate::training::tag_ids;
use crate::{Models, TrainingSet};

/// Snapshots held; one of 50,000 images takes some 10 MB.
const MOST: usize = 4;

/// The snapshots that were asked for last, by iteration; the one that was used last is at the end.
#[derive(Default)]
pub(crate) struct Snapshots {
    held: Mutex<VecDeque<Held>>,
}

struct Held {
    iteration: Id,
    /// The blob it was read from: unlearning replaces it.
    blob: Id,
    set: Arc<TrainingSet>,
}

impl Snapshots {
    /// Takes out what is held of the iteration; what was read from another blob is dropped.
    fn take(&self, iteration: Id, blob: Id) -> Option<Arc<TrainingSet>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.iter().position(|held| held.iteration == iteration)?;
        held.remove(place).filter(|found| found.blob == blob).map(|found| found.set)
    }

    fn put(&self, iteration: Id, blob: Id, set: &Arc<TrainingSet>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|held| held.iteration != iteration);
        held.push_back(Held { iteration, blob, set: Arc::clone(set) });
        if held.len() > MOST {
            held.pop_front();
        }
    }
}

impl Models {
    /// What an iteration was trained on, without what was erased since, and with labels of its own tags only. Kept in memory for a while.
    pub async fn labelled_snapshot(&self, iteration: &Node<IterationDoc>) -> Result<Arc<TrainingSet>> {
        let Some(blob) = &iteration.doc.training_set else { return Ok(Arc::default()) };
        let snapshots = &self.inner.snapshots;
        let set = match snapshots.take(iteration.id, blob.id) {
            Some(set) => set,
            None => {
                let mut set = TrainingSet::load(self.store(), blob).await?;
                set.keep_labels(&tag_ids(&iteration.doc));
                Arc::new(set)
            }
        };
        snapshots.put(iteration.id, blob.id, &set);
        Ok(set)
    }
}
