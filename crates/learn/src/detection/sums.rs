//! The exact sums from which a detector is solved.

use super::gram::{self, FEATURE_SCALE, Rows};
use super::targets::Targets;
use super::{AnchorGrid, FeatureMaps, LabelledImage};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// Number of parts into which images are divided for cross-validation.
pub const FOLDS: usize = 5;

/// Rows are quantised this many at a time.
const BATCH: usize = 32;

/// The fold of an image, 0 to 4: a hash of its id (the finaliser of SplitMix64, Steele et al. 2014, over both halves), so
/// that an image stays in its fold whatever comes or goes.
pub fn fold_of(image: u128) -> usize {
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    (mix(mix((image >> 64) as u64) ^ image as u64) % FOLDS as u64) as usize
}

/// Why an image cannot be added or removed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SumsError {
    /// The image's maps are not as many as the grid's.
    #[error("the image has {given} maps, but the sums are of images with {expected}")]
    Channels {
        /// Maps of the image.
        given: usize,
        /// Maps that the grid is for.
        expected: usize,
    },
    /// The image is not among those that were added.
    #[error("the image is not part of the sums")]
    Absent,
}

/// The sums over some images. `d` is the number of features; all entries are integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    /// Number of images.
    pub(super) images: i64,
    /// Number of anchors of all images.
    pub(super) rows: i64,
    /// Number of positive anchors.
    pub(super) positive_rows: i64,
    /// Products of features over all anchors, lower triangle row by row.
    pub(super) products: Vec<i64>,
    /// The same over positive anchors.
    pub(super) positive_products: Vec<i64>,
    /// Features over all anchors.
    pub(super) features: Vec<i64>,
    /// Features over positive anchors.
    pub(super) positive_features: Vec<i64>,
    /// Moves over positive anchors.
    pub(super) moves: [i64; 4],
    /// Products of features and each of the four moves over positive anchors: 4 x d.
    pub(super) move_products: Vec<i64>,
    /// By tag.
    pub(super) tags: BTreeMap<u128, TagSums>,
}

/// The sums that are a tag's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TagSums {
    /// Number of images with an object of the tag: the tag's sums are dropped when it reaches 0.
    pub(super) images: i64,
    /// Targets over all anchors.
    pub(super) target: i64,
    /// Targets over positive anchors.
    pub(super) positive_target: i64,
    /// Products of features and target over all anchors.
    pub(super) products: Vec<i64>,
    /// The same over positive anchors.
    pub(super) positive_products: Vec<i64>,
}

impl TagSums {
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            images: 0,
            target: 0,
            positive_target: 0,
            products: vec![0; dimension],
            positive_products: vec![0; dimension],
        }
    }
}

impl Sums {
    pub(super) fn new(dimension: usize) -> Self {
        let triangle = gram::triangle_len(dimension);
        Self {
            images: 0,
            rows: 0,
            positive_rows: 0,
            products: vec![0; triangle],
            positive_products: vec![0; triangle],
            features: vec![0; dimension],
            positive_features: vec![0; dimension],
            moves: [0; 4],
            move_products: vec![0; 4 * dimension],
            tags: BTreeMap::new(),
        }
    }

    /// Adds (`sign` 1) or takes out (`sign` -1) one image.
    fn apply(&mut self, rows: &Rows, targets: &Targets, sign: i64, threads: NonZeroUsize) {
        let dimension = self.features.len();
        let positive_indices: Vec<usize> = targets.positives.iter().map(|(anchor, _)| *anchor).collect();
        let positives = rows.select(&positive_indices);
        self.images += sign;
        self.rows += sign * rows.row_count() as i64;
        self.positive_rows += sign * positives.row_count() as i64;
        gram::add_products(rows, sign, threads, &mut self.products);
        gram::add_products(&positives, sign, threads, &mut self.positive_products);
        for (sums, rows) in [(&mut self.features, rows), (&mut self.positive_features, &positives)] {
            for (sum, column) in sums.iter_mut().zip(rows.columns()) {
                *sum += sign * column.iter().map(|&value| i64::from(value)).sum::<i64>();
            }
        }
        for (index, products) in self.move_products.chunks_exact_mut(dimension).enumerate() {
            let moves = || targets.positives.iter().map(|(_, moves)| moves[index]);
            self.moves[index] += sign * moves().sum::<i64>();
            for (product, column) in products.iter_mut().zip(positives.columns()) {
                *product += sign * dot(column, moves());
            }
        }
        for (tag, target) in &targets.tags {
            let sums = self.tags.entry(*tag).or_insert_with(|| TagSums::new(dimension));
            sums.images += sign;
            let is_positive = |anchor: &usize| positive_indices.binary_search(anchor).is_ok();
            let positive: Vec<(usize, i64)> =
                target.iter().copied().filter(|(anchor, _)| is_positive(anchor)).collect();
            sums.target += sign * total(target);
            sums.positive_target += sign * total(&positive);
            for (index, column) in rows.columns().enumerate() {
                sums.products[index] += sign * sparse_dot(column, target);
                sums.positive_products[index] += sign * sparse_dot(column, &positive);
            }
            if sums.images == 0 {
                self.tags.remove(tag);
            }
        }
    }

    /// Adds (`sign` 1) or takes out (`sign` -1) what another holds.
    pub(super) fn merge(&mut self, other: &Self, sign: i64) {
        let merge = |into: &mut [i64], from: &[i64]| {
            into.iter_mut().zip(from).for_each(|(sum, value)| *sum += sign * value);
        };
        self.images += sign * other.images;
        self.rows += sign * other.rows;
        self.positive_rows += sign * other.positive_rows;
        merge(&mut self.products, &other.products);
        merge(&mut self.positive_products, &other.positive_products);
        merge(&mut self.features, &other.features);
        merge(&mut self.positive_features, &other.positive_features);
        merge(&mut self.moves, &other.moves);
        merge(&mut self.move_products, &other.move_products);
        for (tag, from) in &other.tags {
            let into = self.tags.entry(*tag).or_insert_with(|| TagSums::new(from.products.len()));
            into.images += sign * from.images;
            into.target += sign * from.target;
            into.positive_target += sign * from.positive_target;
            merge(&mut into.products, &from.products);
            merge(&mut into.positive_products, &from.positive_products);
            if into.images == 0 {
                self.tags.remove(tag);
            }
        }
    }
}

fn dot(column: &[i16], values: impl Iterator<Item = i64>) -> i64 {
    column.iter().zip(values).map(|(&feature, value)| i64::from(feature) * value).sum()
}

fn sparse_dot(column: &[i16], values: &[(usize, i64)]) -> i64 {
    values.iter().map(|&(row, value)| i64::from(column[row]) * value).sum()
}

fn total(values: &[(usize, i64)]) -> i64 {
    values.iter().map(|(_, value)| value).sum()
}

/// The exact sums over a project's images, by fold. Personal data, like the images.
///
/// About 34 MB for each fold with the 206 maps. Bounds: a product of two features is at most 2^27 and positive rows
/// weigh at most 31, so 64 bits hold the sums of 2^31 anchors: half a million images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldSums {
    pub(super) grid: AnchorGrid,
    pub(super) folds: Vec<Sums>,
}

impl FoldSums {
    /// The sums over no image.
    pub fn new(grid: AnchorGrid) -> Self {
        let folds = (0..FOLDS).map(|_| Sums::new(grid.dimension())).collect();
        Self { grid, folds }
    }

    /// The anchors over which is summed.
    pub fn grid(&self) -> &AnchorGrid {
        &self.grid
    }

    /// Number of images.
    pub fn image_count(&self) -> usize {
        self.folds.iter().map(|sums| sums.images as usize).sum()
    }

    /// Adds an image. The number of threads does not show in the result.
    pub fn add(
        &mut self,
        image: &LabelledImage,
        maps: &FeatureMaps,
        threads: NonZeroUsize,
    ) -> Result<(), SumsError> {
        self.apply(image, maps, 1, threads)
    }

    /// Takes an image out that was added with the same objects and maps. Only an image of a fold without images is
    /// recognised as one that was not.
    pub fn remove(
        &mut self,
        image: &LabelledImage,
        maps: &FeatureMaps,
        threads: NonZeroUsize,
    ) -> Result<(), SumsError> {
        let sums = &self.folds[fold_of(image.id)];
        if sums.images == 0 || image.objects.iter().any(|object| !sums.tags.contains_key(&object.tag)) {
            return Err(SumsError::Absent);
        }
        self.apply(image, maps, -1, threads)
    }

    fn apply(
        &mut self,
        image: &LabelledImage,
        maps: &FeatureMaps,
        sign: i64,
        threads: NonZeroUsize,
    ) -> Result<(), SumsError> {
        let (given, expected) = (maps.channels(), self.grid.channels());
        if given != expected {
            return Err(SumsError::Channels { given, expected });
        }
        let anchors = self.grid.boxes();
        let targets = Targets::new(&anchors, &image.objects);
        let rows = quantised_rows(&self.grid, maps, anchors.len());
        self.folds[fold_of(image.id)].apply(&rows, &targets, sign, threads);
        Ok(())
    }

    /// The sums over all folds.
    pub(super) fn total(&self) -> Sums {
        let mut total = Sums::new(self.grid.dimension());
        self.folds.iter().for_each(|sums| total.merge(sums, 1));
        total
    }
}

fn quantised_rows(grid: &AnchorGrid, maps: &FeatureMaps, anchors: usize) -> Rows {
    let dimension = grid.dimension();
    let mut rows = Rows::new(anchors, dimension);
    let mut batch: Vec<i16> = Vec::with_capacity(BATCH * dimension);
    grid.visit_features(maps, |anchor, features| {
        batch.extend(features.iter().map(|value| (value * FEATURE_SCALE).round_ties_even() as i16));
        if (anchor + 1) % BATCH == 0 || anchor + 1 == anchors {
            rows.set_rows(anchor / BATCH * BATCH, &batch);
            batch.clear();
        }
    });
    rows
}
