//! Weights, lambda and held-out scores from exact sums.

use super::{HeadError, Sums, TrainingSet};
use crate::detection::gram::triangle_len;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use std::ops::ControlFlow;

/// Lambda is 10^(k/4) times the mean squared length of a centred row, for k in this range.
const GRID: std::ops::RangeInclusive<i32> = -14..=2;

/// A solved head.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// For each tag a weight for each feature, for features that are not quantised.
    pub weights: Vec<Vec<f64>>,
    /// For each tag what is added.
    pub bias: Vec<f64>,
    /// Lambda as a multiple of the mean squared length of a centred row.
    pub ratio: f64,
    /// The penalty, in squared units of quantised features.
    pub lambda: f64,
    /// For each row (in the order of the set) the score of each tag by a model that saw no row of the same image.
    pub held_out: Vec<Vec<f64>>,
}

/// A ridge problem, rotated so that one decomposition serves every lambda: the hat matrix is
/// `Z diag(gain) Z^T + 1/n`.
struct Rotated {
    values: Vec<f64>,
    vectors: Mat<f64>,
    /// Z: one row for each row of the training set.
    coordinates: Mat<f64>,
    /// Targets in the rotated basis, one column for each tag.
    targets: Mat<f64>,
    primal: bool,
}

impl Rotated {
    fn gain(&self, index: usize, lambda: f64) -> f64 {
        let value = self.values[index];
        if self.primal { 1.0 / (value + lambda) } else { value / (value + lambda) }
    }
}

/// Solves for the weights; of the grid it takes the lambda with the least squared error of held-out scores, and of equal
/// ones the least. `sums` are those over `set`. One thread and one order of operations: the same input gives the same
/// bits on the same kind of processor. `progress` is told shares of the work and may stop it.
pub fn fit(
    set: &TrainingSet,
    sums: &Sums,
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Fit, HeadError> {
    let count = sums.rows as f64;
    if set.images().len() < 2 {
        return Err(HeadError::NothingToLearn);
    }
    let centred = centred_products(set, sums);
    let trace: f64 = (0..centred.nrows()).map(|index| centred[(index, index)]).sum::<f64>() / count;
    // Identical rows leave nothing but rounding errors; rows that differ at all have a trace of at least 1/2.
    if !trace.is_finite() || trace * count < 0.25 {
        return Err(HeadError::NothingToLearn);
    }
    let mut report = |share| match progress(share) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HeadError::Cancelled),
    };
    report(0.1)?;
    let targets = targets(set);
    let means: Vec<f64> = sums.counts.iter().map(|&tagged| 2.0 * tagged as f64 / count - 1.0).collect();
    let rotated = rotate(set, sums, &centred, &targets, &means)?;
    report(0.8)?;
    let mut best: Option<(f64, f64, Vec<Vec<f64>>)> = None;
    for step in GRID {
        let ratio = 10_f64.powf(f64::from(step) / 4.0);
        let held_out = held_out(set, &rotated, &targets, &means, ratio * trace)?;
        let error: f64 = held_out
            .iter()
            .zip(&targets)
            .flat_map(|(row, target)| row.iter().zip(target))
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        if best.as_ref().is_none_or(|(least, ..)| error < *least) {
            best = Some((error, ratio, held_out));
        }
        report(0.8 + 0.01 * (step - GRID.start()) as f32)?;
    }
    let (_, ratio, held_out) = best.ok_or(HeadError::Numerical)?;
    let lambda = ratio * trace;
    let solved = weights(set, sums, &rotated, lambda);
    let bias = solved
        .iter()
        .zip(&means)
        .map(|(weights, mean)| {
            mean - weights
                .iter()
                .zip(&sums.features)
                .map(|(weight, &sum)| weight * (sum as f64 / count))
                .sum::<f64>()
        })
        .collect();
    let scale = f64::from(crate::pixels::FEATURE_SCALE);
    let weights =
        solved.into_iter().map(|tag| tag.into_iter().map(|weight| weight * scale).collect()).collect();
    Ok(Fit { weights, bias, ratio, lambda, held_out })
}

/// 1 where a row has the tag, else -1.
fn targets(set: &TrainingSet) -> Vec<Vec<f64>> {
    set.rows()
        .map(|(_, image)| {
            (0..set.tags()).map(|tag| if image.tags.contains(&tag) { 1.0 } else { -1.0 }).collect()
        })
        .collect()
}

/// Products of pairs of centred rows, or of centred features.
fn centred_products(set: &TrainingSet, sums: &Sums) -> Mat<f64> {
    let count = sums.rows as f64;
    let entry = |row: usize, column: usize| {
        let (long, short) = if row > column { (row, column) } else { (column, row) };
        sums.products[triangle_len(long) + short] as f64
    };
    if set.is_primal() {
        return Mat::from_fn(set.dimension(), set.dimension(), |row, column| {
            entry(row, column) - sums.features[row] as f64 * sums.features[column] as f64 / count
        });
    }
    let means: Vec<f64> = (0..sums.rows)
        .map(|row| (0..sums.rows).map(|column| entry(row, column)).sum::<f64>() / count)
        .collect();
    let mean = means.iter().sum::<f64>() / count;
    Mat::from_fn(sums.rows, sums.rows, |row, column| entry(row, column) - means[row] - means[column] + mean)
}

fn rotate(
    set: &TrainingSet,
    sums: &Sums,
    centred: &Mat<f64>,
    targets: &[Vec<f64>],
    means: &[f64],
) -> Result<Rotated, HeadError> {
    let size = centred.nrows();
    let mut values = Diag::<f64>::zeros(size);
    let mut vectors = Mat::<f64>::zeros(size, size);
    let scratch =
        self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, faer::prelude::default());
    let mut memory = MemBuffer::new(scratch);
    self_adjoint_evd(
        centred.as_ref(),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        faer::prelude::default(),
    )
    .map_err(|_| HeadError::Numerical)?;
    // Rounding can leave an eigenvalue of zero a little below it.
    let values: Vec<f64> = values.column_vector().iter().map(|value| value.max(0.0)).collect();
    let count = sums.rows as f64;
    let primal = set.is_primal();
    let sides = if primal {
        Mat::from_fn(size, set.tags(), |feature, tag| {
            let sum = sums.features[feature] as f64;
            2.0 * sums.tag_features[tag][feature] as f64 - sum - sum * means[tag]
        })
    } else {
        Mat::from_fn(size, set.tags(), |row, tag| targets[row][tag] - means[tag])
    };
    let mut rotated_targets = Mat::zeros(size, set.tags());
    matmul(rotated_targets.as_mut(), Accum::Replace, vectors.transpose(), sides.as_ref(), 1.0, Par::Seq);
    let coordinates = if primal {
        let rows: Vec<&[i16]> = set.rows().map(|(row, _)| row).collect();
        let centred_rows = Mat::from_fn(sums.rows, size, |row, feature| {
            f64::from(rows[row][feature]) - sums.features[feature] as f64 / count
        });
        let mut coordinates = Mat::zeros(sums.rows, size);
        matmul(coordinates.as_mut(), Accum::Replace, centred_rows.as_ref(), vectors.as_ref(), 1.0, Par::Seq);
        coordinates
    } else {
        vectors.clone()
    };
    Ok(Rotated { values, vectors, coordinates, targets: rotated_targets, primal })
}

/// Held-out scores in closed form: for the rows I of an image `y_I - (I - H_II)^-1 (y_I - f_I)`.
fn held_out(
    set: &TrainingSet,
    rotated: &Rotated,
    targets: &[Vec<f64>],
    means: &[f64],
    lambda: f64,
) -> Result<Vec<Vec<f64>>, HeadError> {
    let size = rotated.values.len();
    let gains: Vec<f64> = (0..size).map(|index| rotated.gain(index, lambda)).collect();
    let share = 1.0 / targets.len() as f64;
    let scaled = Mat::from_fn(size, set.tags(), |row, tag| gains[row] * rotated.targets[(row, tag)]);
    let mut fitted = Mat::zeros(targets.len(), set.tags());
    matmul(fitted.as_mut(), Accum::Replace, rotated.coordinates.as_ref(), scaled.as_ref(), 1.0, Par::Seq);
    let mut scores = Vec::with_capacity(targets.len());
    for image in set.images() {
        let first = scores.len();
        let views = image.rows.len() / set.dimension();
        let hat = |a: usize, b: usize| {
            let z = &rotated.coordinates;
            share
                + (0..size)
                    .map(|index| z[(first + a, index)] * gains[index] * z[(first + b, index)])
                    .sum::<f64>()
        };
        let mut system: Vec<Vec<f64>> = (0..views)
            .map(|a| (0..views).map(|b| if a == b { 1.0 - hat(a, b) } else { -hat(a, b) }).collect())
            .collect();
        let mut errors: Vec<Vec<f64>> = (first..first + views)
            .map(|row| {
                (0..set.tags()).map(|tag| targets[row][tag] - means[tag] - fitted[(row, tag)]).collect()
            })
            .collect();
        eliminate(&mut system, &mut errors)?;
        for (row, errors) in (first..).zip(errors) {
            scores.push(targets[row].iter().zip(errors).map(|(target, error)| target - error).collect());
        }
    }
    Ok(scores)
}

/// Solves a small symmetric positive definite system in place of its right sides.
fn eliminate(system: &mut [Vec<f64>], sides: &mut [Vec<f64>]) -> Result<(), HeadError> {
    let size = system.len();
    for pivot in 0..size {
        let diagonal = system[pivot][pivot];
        if diagonal.is_nan() || diagonal <= 0.0 {
            return Err(HeadError::Numerical);
        }
        let (pivot_row, pivot_side) = (system[pivot].clone(), sides[pivot].clone());
        for row in (0..size).filter(|&row| row != pivot) {
            let factor = system[row][pivot] / diagonal;
            system[row].iter_mut().zip(&pivot_row).for_each(|(value, above)| *value -= factor * above);
            sides[row].iter_mut().zip(&pivot_side).for_each(|(value, above)| *value -= factor * above);
        }
    }
    for (row, side) in sides.iter_mut().enumerate() {
        side.iter_mut().for_each(|value| *value /= system[row][row]);
    }
    Ok(())
}

/// For each tag the weights, for quantised features.
fn weights(set: &TrainingSet, sums: &Sums, rotated: &Rotated, lambda: f64) -> Vec<Vec<f64>> {
    let size = rotated.values.len();
    let shrunk = Mat::from_fn(size, set.tags(), |index, tag| {
        rotated.targets[(index, tag)] / (rotated.values[index] + lambda)
    });
    let mut solution = Mat::zeros(size, set.tags());
    matmul(solution.as_mut(), Accum::Replace, rotated.vectors.as_ref(), shrunk.as_ref(), 1.0, Par::Seq);
    if rotated.primal {
        return (0..set.tags()).map(|tag| solution.col(tag).iter().copied().collect()).collect();
    }
    let means: Vec<f64> = sums.features.iter().map(|&sum| sum as f64 / sums.rows as f64).collect();
    let mut weights = vec![vec![0.0; set.dimension()]; set.tags()];
    for (index, (row, _)) in set.rows().enumerate() {
        for (tag, weights) in weights.iter_mut().enumerate() {
            let alpha = solution[(index, tag)];
            for ((weight, &value), mean) in weights.iter_mut().zip(row).zip(&means) {
                *weight += (f64::from(value) - mean) * alpha;
            }
        }
    }
    weights
}
