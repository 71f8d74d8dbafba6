//! What a model said of each image it learned from, without having seen it: how it is stored, and what is made of it.

use habeas_core::crypto::{Sha256, sha256};
use habeas_core::kinds::{IterationDoc, ModelState, ScoredTag};
use habeas_core::{Error, Id, Result};
use habeas_learn::detection::{self, Detection, HeldOut, LabelledImage, Measure, Object, Region};
use habeas_learn::head::{self, Judged, Sums};
use serde::{Deserialize, Serialize};

use super::{Computed, ImagePerformance, InputImage, Performance, TagPerformance, number};

/// A stored evaluation: JSON, images in the order of their ids, tags by their place in the iteration.
#[derive(Serialize, Deserialize)]
pub(super) struct Evaluation {
    pub(super) images: Vec<JudgedImage>,
}

/// One image.
#[derive(Serialize, Deserialize)]
pub(super) struct JudgedImage {
    id: Id,
    tags: Vec<u32>,
    regions: Vec<(u32, [f64; 4])>,
    said: Vec<Said>,
}

/// A tag with its probability, and for a detector where.
#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) tag: u32,
    pub(super) probability: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bounding_box: Option<[f64; 4]>,
}

impl InputImage {
    pub(super) fn judged(&self, said: Vec<Said>) -> JudgedImage {
        JudgedImage { id: self.id, tags: self.tags.clone(), regions: self.regions.clone(), said }
    }
}

/// Puts a model and its evaluation together. The digest of the state is SHA-256 over the SHA-256 of the weights and that of the
/// evaluation.
pub(super) fn computed(
    weights: Vec<u8>,
    evaluation: &Evaluation,
    sums: Option<Sums>,
    sums_digest: [u8; 32],
) -> Result<Computed> {
    let evaluation = serde_json::to_vec(evaluation)?;
    let mut state = Sha256::default();
    state.update(&sha256(&weights));
    state.update(&sha256(&evaluation));
    Ok(Computed {
        state: ModelState::Final,
        weights,
        evaluation: Some(evaluation),
        sums,
        sums_digest: hex::encode(sums_digest),
        state_digest: hex::encode(state.finish()),
    })
}

fn read(evaluation: &[u8]) -> Result<Evaluation> {
    serde_json::from_slice(evaluation)
        .map_err(|_| Error::damaged("the evaluation of an iteration cannot be read"))
}

pub(super) fn performance(
    doc: &IterationDoc,
    evaluation: &[u8],
    threshold: f64,
    overlap: f64,
) -> Result<Performance> {
    let evaluation = read(evaluation)?;
    let tags: Vec<u128> = doc.tags.iter().map(|tag| number(tag.id)).collect();
    let found = if doc.classification_type.is_none() {
        let (images, held_out) = detections(&evaluation, &tags);
        detection::performance(&images, &held_out, threshold as f32, overlap)
    } else {
        let images: Vec<Judged> = evaluation
            .images
            .iter()
            .map(|image| {
                let mut probabilities = vec![0.0; tags.len()];
                for said in &image.said {
                    if let Some(slot) = probabilities.get_mut(said.tag as usize) {
                        *slot = said.probability;
                    }
                }
                let tags = image.tags.iter().map(|tag| *tag as usize).collect();
                Judged { id: number(image.id), tags, probabilities }
            })
            .collect();
        head::performance(&images, &tags, threshold)
    };
    let nothing = Measure { value: 0.0, deviation: 0.0 };
    Ok(Performance {
        tags: doc
            .tags
            .iter()
            .map(|tag| {
                // A tag that lost its last object is not in a detector any more.
                let of_tag = found.per_tag.iter().find(|found| found.tag == number(tag.id));
                let (precision, recall, average) = of_tag.map_or((nothing, nothing, nothing), |found| {
                    (found.precision, found.recall, found.average_precision)
                });
                TagPerformance {
                    tag: tag.id,
                    name: tag.name.clone(),
                    precision: precision.value,
                    precision_deviation: precision.deviation,
                    recall: recall.value,
                    recall_deviation: recall.deviation,
                    average_precision: average.value,
                }
            })
            .collect(),
        precision: found.precision.value,
        precision_deviation: found.precision.deviation,
        recall: found.recall.value,
        recall_deviation: found.recall.deviation,
        average_precision: found.average_precision.value,
    })
}

fn detections(evaluation: &Evaluation, tags: &[u128]) -> (Vec<LabelledImage>, Vec<HeldOut>) {
    let region = |[left, top, width, height]: [f64; 4]| Region { left, top, width, height };
    evaluation
        .images
        .iter()
        .map(|image| {
            let objects = image
                .regions
                .iter()
                .filter_map(|(tag, sides)| {
                    Some(Object { tag: *tags.get(*tag as usize)?, region: region(*sides) })
                })
                .collect();
            let detections = image
                .said
                .iter()
                .filter_map(|said| {
                    Some(Detection {
                        tag: *tags.get(said.tag as usize)?,
                        probability: said.probability as f32,
                        region: region(said.bounding_box?),
                    })
                })
                .collect();
            let id = number(image.id);
            (LabelledImage { id, objects }, HeldOut { image: id, detections })
        })
        .unzip()
}

pub(super) fn image_performances(doc: &IterationDoc, evaluation: &[u8]) -> Result<Vec<ImagePerformance>> {
    Ok(read(evaluation)?
        .images
        .into_iter()
        .map(|image| {
            let mut predictions: Vec<ScoredTag> = image
                .said
                .into_iter()
                .filter_map(|said| {
                    let tag = doc.tags.get(said.tag as usize)?;
                    Some(ScoredTag {
                        tag: tag.id,
                        name: tag.name.clone(),
                        tag_type: tag.tag_type,
                        probability: said.probability,
                        bounding_box: said.bounding_box,
                    })
                })
                .collect();
            predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            ImagePerformance { image: image.id, predictions }
        })
        .collect())
}
