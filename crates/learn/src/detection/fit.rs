//! Training: from sums to a detector, with predictions for images that it did not see.

use super::calibration::Calibration;
use super::detector::{Detection, Detector, Scored, TagWeights, Weights};
use super::gram::FEATURE_SCALE;
use super::metrics;
use super::ridge::{Linear, Problem};
use super::sums::{FOLDS, FoldSums, Sums, SumsError, fold_of};
use super::targets::{FULL, MOVE_STEPS};
use super::{AnchorGrid, FeatureMaps, LabelledImage};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

/// Strength of the penalty for scores.
const SCORE_PENALTY: f64 = 0.05;
/// Strength of the penalty for moves.
const MOVE_PENALTY: f64 = 1.0;
/// Positive anchors shall weigh about this much of all anchors.
const BALANCE: f64 = 0.05;
/// A positive anchor weighs at most this much more than another.
const MOST_EXTRA_WEIGHT: f64 = 30.0;
/// A detection is right if it overlaps an object of its tag by this or more: what probabilities mean.
const RIGHT: f64 = 0.3;

/// Why a detector could not be trained. `E` is the error of loading maps.
#[derive(Debug, thiserror::Error)]
pub enum TrainError<E> {
    /// No image has an object whose place differs from the rest.
    #[error("there is nothing to learn: no image has an object in it, or all images are blank")]
    NoObjects,
    /// The caller asked to stop.
    #[error("the training was cancelled")]
    Cancelled,
    /// The maps of an image could not be loaded.
    #[error("the maps of an image could not be loaded")]
    Maps(#[source] E),
    /// The maps of an image do not fit the sums.
    #[error(transparent)]
    Sums(#[from] SumsError),
    /// The sums are not those of the images.
    #[error("the sums are not those of the images: they must be made again")]
    OtherImages,
}

/// A detector and its predictions for the images it was trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The detector.
    pub detector: Detector,
    /// For each image, in ascending order of ids, what a detector found that was trained without the image's fold.
    pub held_out: Vec<HeldOut>,
}

/// What was found in an image by a detector that had not seen it. Personal data, like the image.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// Id of the image.
    pub image: u128,
    /// Most probable first.
    pub detections: Vec<Detection>,
}

/// The sums over `images` with the anchors that suit them. `maps` loads the maps of an image by its id; `progress` is
/// told the share that is done, 0 to 1, and may stop.
pub fn sum_images<E>(
    images: &[LabelledImage],
    threads: NonZeroUsize,
    mut maps: impl FnMut(u128) -> Result<FeatureMaps, E>,
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<FoldSums, TrainError<E>> {
    let mut sums = FoldSums::new(AnchorGrid::for_images(images));
    for (done, image) in images.iter().enumerate() {
        report(&mut progress, done, images.len())?;
        sums.add(image, &maps(image.id).map_err(TrainError::Maps)?, threads)?;
    }
    Ok(sums)
}

/// Trains a detector on `images`, whose sums are `sums`; also trains one for each fold without it and lets it predict
/// the fold's images. Closures as in [`sum_images`]. The order of `images` does not matter.
pub fn fit<E>(
    sums: &FoldSums,
    images: &[LabelledImage],
    mut maps: impl FnMut(u128) -> Result<FeatureMaps, E>,
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Fit, TrainError<E>> {
    let mut images: Vec<&LabelledImage> = images.iter().collect();
    images.sort_by_key(|image| image.id);
    let total = sums.total();
    if !describes(sums, &total, &images) {
        return Err(TrainError::OtherImages);
    }
    let mut detector = solve(&sums.grid, &total).ok_or(TrainError::NoObjects)?;
    let mut found: BTreeMap<u128, Vec<Scored>> = BTreeMap::new();
    let mut done = 0;
    for (fold, of_fold) in sums.folds.iter().enumerate().filter(|(_, sums)| sums.images > 0) {
        let mut others = total.clone();
        others.merge(of_fold, -1);
        let without = solve(&sums.grid, &others);
        for image in images.iter().filter(|image| fold_of(image.id) == fold) {
            report(&mut progress, done, images.len())?;
            done += 1;
            let scored = match &without {
                Some(without) => without.score(&maps(image.id).map_err(TrainError::Maps)?),
                None => Vec::new(),
            };
            found.insert(image.id, scored);
        }
    }
    for tag in &mut detector.tags {
        let judged = metrics::judge(&images, tag.id, RIGHT, |image| {
            let scored = found.get(&image).map(Vec::as_slice).unwrap_or_default();
            scored
                .iter()
                .filter(|found| found.tag == tag.id)
                .map(|found| (found.score, found.place))
                .collect()
        });
        tag.calibration =
            Calibration::fit(&judged.iter().map(|judged| (judged.score, judged.hit)).collect::<Vec<_>>());
    }
    let held_out =
        found.iter().map(|(&image, scored)| HeldOut { image, detections: detector.calibrate(scored) });
    let held_out = held_out.collect();
    Ok(Fit { detector, held_out })
}

fn report<E>(
    progress: &mut impl FnMut(f32) -> ControlFlow<()>,
    done: usize,
    of: usize,
) -> Result<(), TrainError<E>> {
    match progress(done as f32 / of as f32) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}

/// Whether the sums can be those of the images: as many in each fold, with the same tags.
fn describes(sums: &FoldSums, total: &Sums, images: &[&LabelledImage]) -> bool {
    let mut counts = [0; FOLDS];
    images.iter().for_each(|image| counts[fold_of(image.id)] += 1);
    let tags: BTreeSet<u128> =
        images.iter().flat_map(|image| &image.objects).map(|object| object.tag).collect();
    sums.folds.iter().map(|sums| sums.images).eq(counts) && total.tags.keys().copied().eq(tags)
}

/// Solves for scores and moves. The calibration is left open.
fn solve(grid: &AnchorGrid, sums: &Sums) -> Option<Detector> {
    let extra = extra_weight(sums);
    let weighted = |all: &[i64], positive: &[i64], scale: f64| -> Vec<f64> {
        all.iter().zip(positive).map(|(all, positive)| (all + extra * positive) as f64 / scale).collect()
    };
    let full = f64::from(FULL);
    let scores = Problem {
        rows: (sums.rows + extra * sums.positive_rows) as f64,
        features: weighted(&sums.features, &sums.positive_features, 1.0),
        products: weighted(&sums.products, &sums.positive_products, 1.0),
        targets: sums
            .tags
            .values()
            .map(|tag| {
                let target = (tag.target + extra * tag.positive_target) as f64 / full;
                (target, weighted(&tag.products, &tag.positive_products, full))
            })
            .collect(),
    };
    if scores.targets.is_empty() {
        return None;
    }
    let scores = scores.solve(SCORE_PENALTY)?;
    let tags = sums.tags.keys().zip(&scores).map(|(&id, score)| TagWeights {
        id,
        score: unquantised(score),
        calibration: Calibration { slope: 1.0, offset: 0.0 },
    });
    Some(Detector {
        grid: grid.clone(),
        images: sums.images as u64,
        tags: tags.collect(),
        moves: solve_moves(sums).map(|linear| unquantised(&linear)),
    })
}

fn solve_moves(sums: &Sums) -> [Linear; 4] {
    let dimension = sums.features.len();
    let exact = |values: &[i64], scale: f64| -> Vec<f64> {
        values.iter().map(|&value| value as f64 / scale).collect()
    };
    let steps = f64::from(MOVE_STEPS);
    let solved = Problem {
        rows: sums.positive_rows as f64,
        features: exact(&sums.positive_features, 1.0),
        products: exact(&sums.positive_products, 1.0),
        targets: sums
            .moves
            .iter()
            .zip(sums.move_products.chunks_exact(dimension))
            .map(|(&sum, products)| (sum as f64 / steps, exact(products, steps)))
            .collect(),
    }
    .solve(MOVE_PENALTY);
    // Without two different positive anchors nothing is known about moves: the anchors stay where they are.
    let still = || Linear { weights: vec![0.0; dimension], bias: 0.0 };
    solved.and_then(|solved| solved.try_into().ok()).unwrap_or_else(|| std::array::from_fn(|_| still()))
}

/// What a positive anchor weighs beyond 1: a whole number, so that weighted sums stay exact.
fn extra_weight(sums: &Sums) -> i64 {
    let share = sums.positive_rows as f64 / sums.rows.max(1) as f64;
    (BALANCE / share.max(1e-4)).min(MOST_EXTRA_WEIGHT).round_ties_even() as i64
}

/// From weights for quantised features to weights for features.
fn unquantised(linear: &Linear) -> Weights {
    let scale = f64::from(FEATURE_SCALE);
    Weights {
        weights: linear.weights.iter().map(|weight| (weight * scale) as f32).collect(),
        bias: linear.bias as f32,
    }
}
