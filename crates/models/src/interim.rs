//! Interim weights: what a classifier answers with from the moment an image is erased until everything about it is computed anew.
//!
//! The rows of the image are subtracted from the stored sums, and one factorisation with the penalty and the calibration of before gives
//! weights that do not know it. The rows have to be at hand: those of images that are being erased are held in memory until the models are
//! solved. Where they are not (the image went with something else, or the process was restarted in between), and where no sums are stored
//! (there are no more rows than features), the sums are made from the rows that are left.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use habeas_core::kinds::TrainedModel;
use habeas_core::node::Relation;
use habeas_core::{ErrorKind, Id, Result};
use habeas_learn::head::Sums;

use crate::compute::{Computed, Extractor, Input, Model};
use crate::iterations::find_image;
use crate::training::Known;
use crate::{Models, TrainingSet};

/// Images whose rows are held while they are being erased. When more go together, sums are made from what is left.
const MOST: usize = 1024;

/// An image and an extractor.
type Key = (Id, String);

/// Features of images that are being erased.
#[derive(Clone, Default)]
pub(crate) struct Leaving(Arc<Mutex<HashMap<Key, Vec<u8>>>>);

impl Leaving {
    pub(crate) fn get(&self, extractor: Extractor, image: Id) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(image, extractor.name())).cloned()
    }
}

/// Holds the features of some images until it is dropped.
pub(crate) struct Held {
    leaving: Leaving,
    keys: Vec<Key>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut leaving = self.leaving.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.iter().for_each(|key| drop(leaving.remove(key)));
    }
}

impl Models {
    /// Holds the rows of those of these images that a model learned from.
    pub(crate) async fn hold_leaving(&self, images: &BTreeSet<Id>) -> Result<Held> {
        let mut held = Held { leaving: self.inner.leaving.clone(), keys: Vec::new() };
        if images.len() > MOST {
            return Ok(held);
        }
        let images: Vec<Id> = images.iter().copied().collect();
        let learned = self
            .store()
            .read(move |tx| {
                let mut learned = Vec::new();
                for &image in &images {
                    if tx.count_sources(image, Relation::LearnedFrom)? > 0
                        && let Some(node) = find_image(tx, image)?
                    {
                        learned.push(node);
                    }
                }
                Ok(learned)
            })
            .await?;
        let names: BTreeSet<&String> = learned.iter().flat_map(|node| node.doc.features.keys()).collect();
        // Detectors have no interim weights.
        let extractors = names.into_iter().filter_map(|name| Extractor::named(name));
        for extractor in extractors.filter(|extractor| *extractor != Extractor::MAPS) {
            let images: Vec<Id> = learned
                .iter()
                .filter(|node| node.doc.features.contains_key(&extractor.name()))
                .map(|node| node.id)
                .collect();
            for (image, features) in self.load_features(extractor, &images).await? {
                let key = (image, extractor.name());
                held.leaving.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), features);
                held.keys.push(key);
            }
        }
        Ok(held)
    }

    /// Weights of a classifier without `gone`; `set` has what is left.
    pub(crate) async fn interim(
        &self,
        known: &Known,
        set: &TrainingSet,
        gone: &TrainingSet,
        extractor: Extractor,
        old: &TrainedModel,
    ) -> Result<Computed> {
        let doc = &known.node.doc;
        let Model::Classifier(classifier) =
            self.inner.compute.open(doc, &self.store().blobs().get(&old.weights).await?)?
        else {
            return Err(habeas_core::Error::internal("a detector has no interim weights"));
        };
        let leaving: Vec<Id> = gone.images.iter().map(|image| image.id).collect();
        let kept = match self.all_features(extractor, &leaving).await {
            // Not at hand.
            Err(error) if error.kind == ErrorKind::Unavailable => None,
            result => {
                result?;
                self.kept_sums(old).await?
            }
        };
        let (input, gone) = (Input::new(doc, set, &known.learned), Input::new(doc, gone, &leaving));
        self.with_features(extractor, move |compute, features| {
            compute.interim(&input, &gone, classifier, kept, features)
        })
        .await
    }

    /// The stored sums of a model. They can be made again from the rows: where they are missing or damaged, they are.
    pub(crate) async fn kept_sums(&self, model: &TrainedModel) -> Result<Option<Sums>> {
        let Some(blob) = &model.sums else { return Ok(None) };
        let bytes = match self.store().blobs().get(blob).await {
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => {
                tracing::warn!(blob = %blob.id, %error, "stored sums cannot be read; they are made again from the rows");
                return Ok(None);
            }
            result => result?,
        };
        Ok(tokio::task::spawn_blocking(move || Sums::from_bytes(&bytes)).await.ok().flatten())
    }
}
