//! The ridge problem: its matrix from the sums, and its solution for a penalty that is given.

use super::{HeadError, Sums, TrainingSet};
use crate::detection::gram::triangle_len;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, solve};
use faer::{Mat, Par};

/// Side of the square parts in which a triangle is mirrored.
const PART: usize = 64;

/// Weights and bias of each tag, for features that are not quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// For each tag a weight for each feature.
    pub weights: Vec<Vec<f64>>,
    /// For each tag what is added.
    pub bias: Vec<f64>,
}

/// The head for a penalty that is given, by one factorisation: what a model answers with until lambda and calibration are found again.
/// `sums` are those over `set`; `rows` is asked only if there are at most as many rows as features. One thread and one order of
/// operations.
pub fn solve<E>(
    set: &TrainingSet,
    sums: &Sums,
    lambda: f64,
    rows: impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
) -> Result<Head, HeadError<E>> {
    check(set, sums)?;
    let mut matrix = centred_products(sums);
    trace(&matrix, sums)?;
    let size = matrix.nrows();
    (0..size).for_each(|index| matrix[(index, index)] += lambda);
    let mut solution = sides(set, sums);
    let scratch = factor::cholesky_in_place_scratch::<f64>(size, Par::Seq, faer::prelude::default());
    let mut memory = MemBuffer::new(scratch);
    factor::cholesky_in_place(
        matrix.as_mut(),
        faer::prelude::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        faer::prelude::default(),
    )
    .map_err(|_| HeadError::Numerical)?;
    solve::solve_in_place(matrix.as_ref(), solution.as_mut(), Par::Seq, MemStack::new(&mut memory));
    head(set, sums, &solution, rows)
}

/// Whether the sums can be those of the set.
pub(super) fn check<E>(set: &TrainingSet, sums: &Sums) -> Result<(), HeadError<E>> {
    if set.images().len() < 2 {
        return Err(HeadError::NothingToLearn);
    }
    let same =
        sums.rows == set.row_count() && sums.dimension == set.dimension() && sums.counts.len() == set.tags();
    if same { Ok(()) } else { Err(HeadError::OtherImages) }
}

/// The mean squared length of a centred row.
pub(super) fn trace<E>(centred: &Mat<f64>, sums: &Sums) -> Result<f64, HeadError<E>> {
    let sum = (0..centred.nrows()).map(|index| centred[(index, index)]).sum::<f64>();
    // Identical rows leave nothing but rounding errors; rows that differ at all have a trace of at least 1/2.
    if sum.is_finite() && sum >= 0.25 { Ok(sum / sums.rows as f64) } else { Err(HeadError::NothingToLearn) }
}

/// Products of pairs of centred rows, or of centred features.
pub(super) fn centred_products(sums: &Sums) -> Mat<f64> {
    let count = sums.rows as f64;
    if sums.is_primal() {
        let totals: Vec<f64> = sums.features.iter().map(|&sum| sum as f64).collect();
        return symmetric(sums, |row, column, product| product - totals[row] * totals[column] / count);
    }
    let side = sums.rows;
    let mut means = vec![0.0; side];
    for row in 0..side {
        let line = &sums.products[triangle_len(row)..triangle_len(row + 1)];
        // Whole numbers below 2^53: exact in any order.
        for (column, &product) in line.iter().enumerate() {
            means[row] += product as f64;
            if column < row {
                means[column] += product as f64;
            }
        }
    }
    means.iter_mut().for_each(|mean| *mean /= count);
    let mean = means.iter().sum::<f64>() / count;
    symmetric(sums, |row, column, product| product - means[row] - means[column] + mean)
}

/// The whole of a symmetric matrix of which `entry` makes the lower triangle.
fn symmetric(sums: &Sums, entry: impl Fn(usize, usize, f64) -> f64) -> Mat<f64> {
    let side = sums.rows.min(sums.dimension);
    let mut matrix = Mat::<f64>::zeros(side, side);
    for row in 0..side {
        let line = &sums.products[triangle_len(row)..triangle_len(row + 1)];
        for (column, &product) in line.iter().enumerate() {
            // Above the diagonal, where consecutive numbers lie together.
            matrix[(column, row)] = entry(row, column, product as f64);
        }
    }
    for first in (0..side).step_by(PART) {
        for second in (0..=first).step_by(PART) {
            for row in second..(second + PART).min(side) {
                for column in first.max(row)..(first + PART).min(side) {
                    matrix[(column, row)] = matrix[(row, column)];
                }
            }
        }
    }
    matrix
}

/// For each tag twice the share of rows that have it, less one: the mean of its targets.
pub(super) fn mean_targets(sums: &Sums) -> Vec<f64> {
    sums.counts.iter().map(|&tagged| 2.0 * tagged as f64 / sums.rows as f64 - 1.0).collect()
}

/// The right sides, one column for each tag.
pub(super) fn sides(set: &TrainingSet, sums: &Sums) -> Mat<f64> {
    let means = mean_targets(sums);
    if sums.is_primal() {
        return Mat::from_fn(sums.dimension, set.tags(), |feature, tag| {
            let sum = sums.features[feature] as f64;
            2.0 * sums.tag_features[tag][feature] as f64 - sum - sum * means[tag]
        });
    }
    Mat::from_fn(sums.rows, set.tags(), |row, tag| {
        TrainingSet::target(&set.images()[row / set.views()], tag) - means[tag]
    })
}

/// Weights and bias from the solution of the system: of each feature, or of each row.
pub(super) fn head<E>(
    set: &TrainingSet,
    sums: &Sums,
    solution: &Mat<f64>,
    mut rows: impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
) -> Result<Head, HeadError<E>> {
    let means: Vec<f64> = sums.features.iter().map(|&sum| sum as f64 / sums.rows as f64).collect();
    let mut weights: Vec<Vec<f64>> = if sums.is_primal() {
        (0..set.tags()).map(|tag| solution.col(tag).iter().copied().collect()).collect()
    } else {
        vec![vec![0.0; set.dimension()]; set.tags()]
    };
    if !sums.is_primal() {
        let mut place = 0;
        for block in set.blocks() {
            for row in set.load(block, &mut rows)?.chunks_exact(set.dimension()) {
                for (tag, weights) in weights.iter_mut().enumerate() {
                    let share = solution[(place, tag)];
                    for ((weight, &value), mean) in weights.iter_mut().zip(row).zip(&means) {
                        *weight += (f64::from(value) - mean) * share;
                    }
                }
                place += 1;
            }
        }
    }
    let bias = weights
        .iter()
        .zip(mean_targets(sums))
        .map(|(weights, target)| target - weights.iter().zip(&means).map(|(w, mean)| w * mean).sum::<f64>())
        .collect();
    let scale = f64::from(crate::pixels::FEATURE_SCALE);
    weights.iter_mut().flatten().for_each(|weight| *weight *= scale);
    Ok(Head { weights, bias })
}
