//! The exact sums that a model is made of.

use super::{HeadError, TrainingImage, TrainingSet};
use crate::detection::gram::{Rows, add_products, triangle_len};
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

/// Numbers in a piece of the stored form.
const PIECE: usize = 1 << 16;

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
    /// Sums over all rows, which are loaded block by block: those of more rows than features are never in memory together. The number of
    /// threads does not show in the result. `progress` is told the share that is done, 0 to 1, and may stop it.
    pub fn new<E>(
        set: &TrainingSet,
        threads: NonZeroUsize,
        mut rows: impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
        mut progress: impl FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Self, HeadError<E>> {
        let (dimension, count) = (set.dimension(), set.row_count());
        let side = if set.is_primal() { dimension } else { count };
        let mut sums = Self {
            rows: 0,
            dimension,
            counts: vec![0; set.tags()],
            features: vec![0; dimension],
            tag_features: vec![vec![0; dimension]; set.tags()],
            products: vec![0; triangle_len(side)],
        };
        // Of few rows, all of them: a column for each.
        let mut few = if set.is_primal() { None } else { Some(Rows::new(dimension, count)) };
        for block in set.blocks() {
            if progress(sums.rows as f32 / count as f32).is_break() {
                return Err(HeadError::Cancelled);
            }
            let loaded = set.load(block, &mut rows)?;
            match &mut few {
                Some(few) => {
                    for (place, row) in (sums.rows..).zip(loaded.chunks_exact(dimension)) {
                        few.set_column(place, row);
                    }
                }
                None => add_products(&by_feature(&loaded, dimension), 1, threads, &mut sums.products),
            }
            sums.add_linear(block, set.views(), &loaded, 1);
        }
        if let Some(few) = few.filter(|_| count > 0) {
            add_products(&few, 1, threads, &mut sums.products);
        }
        Ok(sums)
    }

    /// Takes the images of `gone` out: what is left equals, bit for bit, [`Sums::new`] of what remains. False, and nothing is
    /// done, unless there were and are more rows than features: then the sums have to be made from the rows that remain. After an error
    /// the sums are of no further use.
    pub fn remove<E>(
        &mut self,
        gone: &TrainingSet,
        threads: NonZeroUsize,
        mut rows: impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
    ) -> Result<bool, HeadError<E>> {
        if gone.dimension() != self.dimension || gone.tags() != self.counts.len() {
            return Err(HeadError::OtherImages);
        }
        if self.rows.saturating_sub(gone.row_count()) <= self.dimension {
            return Ok(false);
        }
        for block in gone.blocks() {
            let loaded = gone.load(block, &mut rows)?;
            add_products(&by_feature(&loaded, self.dimension), -1, threads, &mut self.products);
            self.add_linear(block, gone.views(), &loaded, -1);
        }
        Ok(true)
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }

    /// Whether they are over pairs of features.
    pub fn is_primal(&self) -> bool {
        self.rows > self.dimension
    }

    /// The stored form, in pieces: signed 64-bit little-endian integers: n, d, number of tags; rows of each tag; sum of the rows (d);
    /// for each tag the sum of its rows (d); and the lower triangle, row by row, of Q Q^T if n <= d, else of Q^T Q, where Q holds the
    /// rows in the order of their images' ids.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u8>> {
        let head = vec![self.rows as i64, self.dimension as i64, self.counts.len() as i64];
        let head: Vec<u8> = head.into_iter().flat_map(i64::to_le_bytes).collect();
        let parts =
            [&self.counts, &self.features].into_iter().chain(&self.tag_features).chain([&self.products]);
        let numbers = parts.flat_map(|part| part.chunks(PIECE));
        std::iter::once(head)
            .chain(numbers.map(|piece| piece.iter().flat_map(|number| number.to_le_bytes()).collect()))
    }

    /// Bytes of the stored form.
    pub fn stored_len(&self) -> u64 {
        let tags = self.counts.len();
        8 * (3 + tags + (tags + 1) * self.dimension + self.products.len()) as u64
    }

    /// From the stored form; `None` if the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let (head, mut rest) = numbers.split_at_checked(3)?;
        let [rows, dimension, tags] =
            [head[0], head[1], head[2]].map(|number| usize::try_from(i64::from_le_bytes(number)).ok());
        let (rows, dimension, tags) = (rows?, dimension?, tags?);
        let mut take = |count: usize| {
            let (part, after) = rest.split_at_checked(count)?;
            rest = after;
            Some(part.iter().map(|&number| i64::from_le_bytes(number)).collect::<Vec<i64>>())
        };
        let counts = take(tags)?;
        let features = take(dimension)?;
        let tag_features = (0..tags).map(|_| take(dimension)).collect::<Option<Vec<_>>>()?;
        let side = rows.min(dimension);
        let products = take(side.checked_mul(side.checked_add(1)?)? / 2)?;
        rest.is_empty().then_some(Self { rows, dimension, counts, features, tag_features, products })
    }

    /// SHA-256 of the stored form.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        self.pieces().for_each(|piece| hasher.update(piece));
        hasher.finalize().into()
    }

    fn add_linear(&mut self, block: &[TrainingImage], views: usize, loaded: &[i16], sign: i64) {
        for (image, rows) in block.iter().zip(loaded.chunks_exact(views * self.dimension)) {
            for row in rows.chunks_exact(self.dimension) {
                self.rows = self.rows.saturating_add_signed(sign as isize);
                for &tag in &image.tags {
                    self.counts[tag] += sign;
                    add_row(&mut self.tag_features[tag], row, sign);
                }
                add_row(&mut self.features, row, sign);
            }
        }
    }
}

fn add_row(sums: &mut [i64], row: &[i16], sign: i64) {
    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += sign * i64::from(value));
}

fn by_feature(loaded: &[i16], dimension: usize) -> Rows {
    let mut rows = Rows::new(loaded.len() / dimension, dimension);
    for (part, features) in loaded.chunks(ROWS_AT_ONCE * dimension).enumerate() {
        rows.set_rows(part * ROWS_AT_ONCE, features);
    }
    rows
}

/// Rows that are turned into columns together: a line of the cache for each feature.
const ROWS_AT_ONCE: usize = 32;
