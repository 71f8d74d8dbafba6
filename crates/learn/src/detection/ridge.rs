//! Ridge regression from exact sums.

use super::gram::triangle_len;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, solve};
use faer::{Mat, Par};

/// Sums over (weighted) rows of features and targets.
pub(super) struct Problem {
    /// Sum of the rows' weights.
    pub(super) rows: f64,
    /// Weighted sums of features.
    pub(super) features: Vec<f64>,
    /// Weighted products of features, lower triangle row by row.
    pub(super) products: Vec<f64>,
    /// For each target the weighted sum, and the weighted products with the features.
    pub(super) targets: Vec<(f64, Vec<f64>)>,
}

/// One target as a linear function of the features.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) weights: Vec<f64>,
    pub(super) bias: f64,
}

impl Problem {
    /// For each target the weights and the bias that minimise the weighted sum of squared errors plus lambda times the
    /// squared length of the weights; lambda is `strength` times the mean variance of a feature times the weight of the
    /// rows. The bias is not penalised. `None` if the features do not vary.
    ///
    /// One thread and one order of operations: the same sums give the same bits on the same kind of processor.
    pub(super) fn solve(&self, strength: f64) -> Option<Vec<Linear>> {
        let dimension = self.features.len();
        let entry = |row: usize, column: usize| {
            self.products[triangle_len(row) + column] - self.features[row] * self.features[column] / self.rows
        };
        let trace: f64 = (0..dimension).map(|index| entry(index, index)).sum();
        let lambda = strength * trace / dimension as f64;
        if !(lambda > 0.0 && lambda.is_finite()) {
            return None;
        }
        let mut centred = Mat::from_fn(dimension, dimension, |row, column| match row.cmp(&column) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => entry(row, column) + lambda,
            std::cmp::Ordering::Greater => entry(row, column),
        });
        let mut solution = Mat::from_fn(dimension, self.targets.len(), |row, column| {
            let (sum, products) = &self.targets[column];
            products[row] - self.features[row] * sum / self.rows
        });
        let scratch = factor::cholesky_in_place_scratch::<f64>(dimension, Par::Seq, faer::prelude::default());
        let mut memory = MemBuffer::new(scratch);
        factor::cholesky_in_place(
            centred.as_mut(),
            factor::LltRegularization::default(),
            Par::Seq,
            MemStack::new(&mut memory),
            faer::prelude::default(),
        )
        .ok()?;
        solve::solve_in_place(centred.as_ref(), solution.as_mut(), Par::Seq, MemStack::new(&mut memory));
        let linear = self.targets.iter().enumerate().map(|(column, (sum, _))| {
            let weights: Vec<f64> = solution.col(column).iter().copied().collect();
            let at_mean: f64 = weights.iter().zip(&self.features).map(|(weight, sum)| weight * sum).sum();
            Linear { weights, bias: (sum - at_mean) / self.rows }
        });
        Some(linear.collect())
    }
}
