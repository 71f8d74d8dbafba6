//! The exact sums that a model is made of.

use super::TrainingSet;
use crate::detection::gram::{Rows, add_products, triangle_len};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;

/// Exact integer sums over a training set of n rows of d features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    pub(super) rows: usize,
    pub(super) dimension: usize,
    /// Rows of each tag.
    pub(super) counts: Vec<i64>,
    /// Sum of the rows.
    pub(super) features: Vec<i64>,
    /// For each tag the sum of its rows.
    pub(super) tag_features: Vec<Vec<i64>>,
    /// Lower triangle, row by row: products of pairs of rows if n <= d, else of pairs of features.
    pub(super) products: Vec<i64>,
}

impl Sums {
    /// Sums over all rows. The number of threads does not show in the result.
    pub fn new(set: &TrainingSet, threads: NonZeroUsize) -> Self {
        let mut sums = Self {
            rows: 0,
            dimension: set.dimension,
            counts: vec![0; set.tags],
            features: vec![0; set.dimension],
            tag_features: vec![vec![0; set.dimension]; set.tags],
            products: Vec::new(),
        };
        sums.add_linear(set, 1);
        if sums.rows == 0 {
            return sums;
        }
        if set.is_primal() {
            sums.products = vec![0; triangle_len(set.dimension)];
            add_products(&by_feature(set), 1, threads, &mut sums.products);
        } else {
            sums.products = vec![0; triangle_len(sums.rows)];
            add_products(&by_row(set, sums.rows), 1, threads, &mut sums.products);
        }
        sums
    }

    /// The sums over `set` without the images `gone`, from these, which are those over `set`: equal, bit for bit, to
    /// [`Sums::new`] of what remains.
    #[must_use]
    pub fn without(&self, set: &TrainingSet, gone: &[u128], threads: NonZeroUsize) -> Self {
        let remaining = set.without(gone);
        if set.is_primal() != remaining.is_primal() {
            return Self::new(&remaining, threads);
        }
        let removed = TrainingSet {
            images: set.images.iter().filter(|image| gone.contains(&image.id)).cloned().collect(),
            ..*set
        };
        if removed.images.is_empty() {
            return self.clone();
        }
        let mut sums = self.clone();
        sums.add_linear(&removed, -1);
        if set.is_primal() {
            add_products(&by_feature(&removed), -1, threads, &mut sums.products);
        } else {
            let kept: Vec<usize> = set
                .rows()
                .enumerate()
                .filter(|(_, (_, image))| !gone.contains(&image.id))
                .map(|(index, _)| index)
                .collect();
            sums.products = kept
                .iter()
                .enumerate()
                .flat_map(|(end, &row)| {
                    kept[..=end].iter().map(move |&column| self.products[triangle_len(row) + column])
                })
                .collect();
        }
        sums
    }

    /// SHA-256 over signed 64-bit little-endian integers: n, d, number of tags; rows of each tag; sum of the rows (d);
    /// for each tag the sum of its rows (d); and the lower triangle, row by row, of Q Q^T if n <= d, else of Q^T Q,
    /// where Q holds the rows in the order of their images' ids.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let mut write = |values: &[i64]| values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        write(&[self.rows as i64, self.dimension as i64, self.counts.len() as i64]);
        write(&self.counts);
        write(&self.features);
        self.tag_features.iter().for_each(|values| write(values));
        write(&self.products);
        hasher.finalize().into()
    }

    fn add_linear(&mut self, set: &TrainingSet, sign: i64) {
        for (row, image) in set.rows() {
            self.rows = if sign > 0 { self.rows + 1 } else { self.rows - 1 };
            let mut tags = image.tags.clone();
            tags.sort_unstable();
            tags.dedup();
            for tag in tags {
                self.counts[tag] += sign;
                add_row(&mut self.tag_features[tag], row, sign);
            }
            add_row(&mut self.features, row, sign);
        }
    }
}

fn add_row(sums: &mut [i64], row: &[i16], sign: i64) {
    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += sign * i64::from(value));
}

fn by_feature(set: &TrainingSet) -> Rows {
    let mut rows = Rows::new(set.row_count(), set.dimension);
    set.rows().enumerate().for_each(|(index, (row, _))| rows.set_rows(index, row));
    rows
}

/// The transpose: a "row" is a feature.
fn by_row(set: &TrainingSet, count: usize) -> Rows {
    let mut rows = Rows::new(set.dimension, count);
    let all: Vec<&[i16]> = set.rows().map(|(row, _)| row).collect();
    for feature in 0..set.dimension {
        let values: Vec<i16> = all.iter().map(|row| row[feature]).collect();
        rows.set_rows(feature, &values);
    }
    rows
}
