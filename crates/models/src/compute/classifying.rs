//! Classifiers: from stored rows to a model.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use habeas_core::kinds::{IterationDoc, ScoredTag};
use habeas_core::{Error, Result};
use habeas_learn::head::{Classifier, Fit, HeadError, Sums, TrainingImage, TrainingSet, calibrate, fit};
use habeas_learn::pixels::{VIEWS, row_from_bytes};

use super::evaluation::{Evaluation, Said};
use super::{Computed, Input, damaged, impossible, number};

/// Which views an Advanced training may choose: the image alone, also cut, also cut and mirrored.
const CHOICES: [&[u8]; 3] = [&[0], &[0, 2, 3], &[0, 1, 2, 3, 4]];

/// A choice of views, solved.
struct Candidate {
    views: &'static [u8],
    fit: Fit,
    /// For each image the mean over its views of the held-out score of each tag.
    scores: Vec<Vec<f64>>,
    sums_digest: [u8; 32],
    error: f64,
}

pub(super) fn train(
    input: &Input,
    threads: NonZeroUsize,
    watch: &mut impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Computed> {
    let choices = if input.advanced { &CHOICES[..] } else { &CHOICES[..1] };
    let mut best: Option<Candidate> = None;
    for &views in choices {
        let candidate = solve(input, views, threads, watch)?;
        // Of equal ones the simplest.
        if best.as_ref().is_none_or(|best| candidate.error < best.error) {
            best = Some(candidate);
        }
    }
    let best = best.ok_or_else(|| Error::internal("no views were tried"))?;
    let labels: Vec<Vec<usize>> =
        input.images.iter().map(|image| image.tags.iter().map(|tag| *tag as usize).collect()).collect();
    let calibration = calibrate(&best.scores, &labels, !input.multiclass);
    let evaluation = Evaluation {
        images: input
            .images
            .iter()
            .zip(&best.scores)
            .map(|(image, scores)| {
                let probabilities = calibration.probabilities(scores);
                let said = probabilities
                    .into_iter()
                    .enumerate()
                    .map(|(tag, probability)| Said { tag: tag as u32, probability, bounding_box: None })
                    .collect();
                image.judged(said)
            })
            .collect(),
    };
    let tags = input.tags.iter().map(|tag| number(*tag)).collect();
    let classifier = Classifier::new(tags, best.views.to_vec(), &best.fit, calibration);
    super::evaluation::computed(classifier.to_bytes(), &evaluation, best.sums_digest)
}

fn solve(
    input: &Input,
    views: &'static [u8],
    threads: NonZeroUsize,
    watch: &mut impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Candidate> {
    let stored = if input.advanced { VIEWS } else { 1 };
    let mut dimension = 0;
    let images = input
        .images
        .iter()
        .map(|image| {
            let rows = row_from_bytes(&image.features).filter(|rows| !rows.is_empty()).ok_or_else(damaged)?;
            dimension = rows.len() / stored;
            let chosen = views
                .iter()
                .flat_map(|view| {
                    let first = usize::from(*view) * dimension;
                    rows.get(first..first + dimension).unwrap_or_default()
                })
                .copied()
                .collect();
            let tags = image.tags.iter().map(|tag| *tag as usize).collect();
            Ok(TrainingImage { id: number(image.id), rows: chosen, tags })
        })
        .collect::<Result<Vec<_>>>()?;
    let set = TrainingSet::new(dimension.max(1), input.tags.len(), images).map_err(told)?;
    let sums = Sums::new(&set, threads);
    let fit = fit(&set, &sums, watch).map_err(told)?;
    let scores: Vec<Vec<f64>> = fit.held_out.chunks(views.len()).map(mean).collect();
    let error = scores
        .iter()
        .zip(&input.images)
        .flat_map(|(scores, image)| {
            scores.iter().enumerate().map(|(tag, score)| {
                let target = if image.tags.contains(&(tag as u32)) { 1.0 } else { -1.0 };
                (score - target).powi(2)
            })
        })
        .sum();
    Ok(Candidate { views, fit, scores, sums_digest: sums.digest(), error })
}

/// The mean of rows of equal length.
fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
    sums
}

fn told(error: HeadError) -> Error {
    match error {
        HeadError::NothingToLearn => Error::invalid("there are not two different images to learn from"),
        HeadError::Cancelled => Error::unavailable("the training was cancelled"),
        HeadError::Rows => damaged(),
        error => impossible(error),
    }
}

/// Every tag, most probable first.
pub(super) fn score(classifier: &Classifier, doc: &IterationDoc, numbers: &[f32]) -> Result<Vec<ScoredTag>> {
    let dimension = classifier.dimension();
    let views = classifier.views();
    let rows: Vec<&[f32]> = views
        .iter()
        .filter_map(|view| {
            let first = usize::from(*view) * dimension;
            numbers.get(first..first + dimension)
        })
        .collect();
    if rows.len() != views.len() {
        return Err(damaged());
    }
    let probabilities = classifier.probabilities(rows.into_iter());
    let mut scored: Vec<ScoredTag> = classifier
        .tags()
        .iter()
        .zip(probabilities)
        .filter_map(|(id, probability)| {
            let tag = doc.tags.iter().find(|tag| number(tag.id) == *id)?;
            Some(ScoredTag {
                tag: tag.id,
                name: tag.name.clone(),
                tag_type: tag.tag_type,
                probability,
                bounding_box: None,
            })
        })
        .collect();
    scored.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    Ok(scored)
}
