//! Classifiers: from stored rows to a model.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use habeas_core::crypto::{Sha256, sha256};
use habeas_core::kinds::{IterationDoc, ModelState, ScoredTag};
use habeas_core::{Error, Id, Result};
use habeas_learn::head::{
    Classifier, Fit, HeadError, Sums, TrainingImage, TrainingSet, calibrate, fit, solve,
};
use habeas_learn::pixels::{VIEWS, row_from_bytes};

use super::evaluation::{Evaluation, Said};
use super::{Computed, Features, Input, damaged, id, impossible, number};

/// Which views an Advanced training may choose: the image alone, also cut, also cut and mirrored.
const CHOICES: [&[u8]; 3] = [&[0], &[0, 2, 3], &[0, 1, 2, 3, 4]];

/// A choice of views, solved.
struct Candidate {
    views: &'static [u8],
    fit: Fit,
    /// For each image the mean over its views of the held-out score of each tag.
    scores: Vec<Vec<f64>>,
    sums: Sums,
    error: f64,
}

pub(super) fn train(
    input: &Input,
    features: &mut Features<'_>,
    mut kept: Option<Sums>,
    threads: NonZeroUsize,
    watch: &mut impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Computed> {
    let choices = if input.advanced { &CHOICES[..] } else { &CHOICES[..1] };
    let shape = Shape::of(input, features)?;
    let mut best: Option<Candidate> = None;
    for &views in choices {
        let rows = views.len() * input.images.len();
        let kept = kept.take_if(|kept| kept.row_count() == rows);
        let candidate = candidate(input, shape, views, features, kept, threads, watch)?;
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
    let digest = best.sums.digest();
    let sums = Some(best.sums).filter(Sums::is_primal);
    super::evaluation::computed(classifier.to_bytes(), &evaluation, sums, digest)
}

/// See [`super::Compute::interim`].
pub(super) fn interim(
    input: &Input,
    gone: &Input,
    old: Classifier,
    kept: Option<Sums>,
    features: &mut Features<'_>,
    threads: NonZeroUsize,
) -> Result<Computed> {
    let shape = Shape { dimension: old.dimension(), stored: if input.advanced { VIEWS } else { 1 } };
    let (set, leaving) = (shape.set(input, old.views())?, shape.set(gone, old.views())?);
    let before = set.row_count() + leaving.row_count();
    let views = old.views().to_vec();
    let mut rows = shape.rows(&views, features);
    let mut subtracted = None;
    if let Some(mut sums) = kept.filter(|kept| kept.row_count() == before)
        && sums.remove(&leaving, threads, &mut rows).map_err(told)?
    {
        subtracted = Some(sums);
    }
    let sums = match subtracted {
        Some(sums) => sums,
        None => Sums::new(&set, threads, &mut rows, |_| ControlFlow::Continue(())).map_err(told)?,
    };
    let head = solve(&set, &sums, old.lambda(), &mut rows).map_err(told)?;
    let weights = old.with_head(head).to_bytes();
    let mut state = Sha256::default();
    state.update(&sha256(&weights));
    Ok(Computed {
        state: ModelState::Interim,
        state_digest: hex::encode(state.finish()),
        weights,
        evaluation: None,
        sums_digest: hex::encode(sums.digest()),
        sums: Some(sums).filter(Sums::is_primal),
    })
}

/// How the features of an image lie in its row.
#[derive(Clone, Copy)]
struct Shape {
    /// Features of a view.
    dimension: usize,
    /// Views that are stored.
    stored: usize,
}

impl Shape {
    fn of(input: &Input, features: &mut Features<'_>) -> Result<Shape> {
        let stored = if input.advanced { VIEWS } else { 1 };
        let first: Vec<Id> = input.images.iter().map(|image| image.id).take(1).collect();
        let length = features(&first)?.first().map_or(stored, |row| row.len() / size_of::<i16>());
        Ok(Shape { dimension: length / stored, stored })
    }

    /// The labels of images of which these views are looked at.
    fn set(self, input: &Input, views: &[u8]) -> Result<TrainingSet> {
        let images = input.images.iter().map(|image| TrainingImage {
            id: number(image.id),
            tags: image.tags.iter().map(|tag| *tag as usize).collect(),
        });
        TrainingSet::new(self.dimension, views.len(), input.tags.len(), images.collect()).map_err(told)
    }

    /// Loads the rows of these views of images.
    fn rows<'a>(
        self,
        views: &'a [u8],
        features: &'a mut Features<'_>,
    ) -> impl FnMut(&[u128]) -> Result<Vec<i16>> + 'a {
        move |images| {
            let ids: Vec<Id> = images.iter().map(|image| id(*image)).collect();
            let mut chosen = Vec::with_capacity(ids.len() * views.len() * self.dimension);
            for stored in features(&ids)? {
                let row = row_from_bytes(&stored)
                    .filter(|row| row.len() == self.stored * self.dimension)
                    .ok_or_else(damaged)?;
                for view in views {
                    let first = usize::from(*view) * self.dimension;
                    chosen.extend_from_slice(row.get(first..first + self.dimension).ok_or_else(damaged)?);
                }
            }
            Ok(chosen)
        }
    }
}

fn candidate(
    input: &Input,
    shape: Shape,
    views: &'static [u8],
    features: &mut Features<'_>,
    kept: Option<Sums>,
    threads: NonZeroUsize,
    watch: &mut impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Candidate> {
    let set = shape.set(input, views)?;
    let mut rows = shape.rows(views, features);
    let sums = match kept {
        Some(sums) => sums,
        None => Sums::new(&set, threads, &mut rows, &mut *watch).map_err(told)?,
    };
    let fit = fit(&set, &sums, threads, &mut rows, watch).map_err(told)?;
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
    Ok(Candidate { views, fit, scores, sums, error })
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

fn told(error: HeadError<Error>) -> Error {
    match error {
        HeadError::NothingToLearn => Error::invalid("there are not two different images to learn from"),
        HeadError::Cancelled => Error::unavailable("the training was cancelled"),
        HeadError::Shape => damaged(),
        HeadError::Rows(error) => error,
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
