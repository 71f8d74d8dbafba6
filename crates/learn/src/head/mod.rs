//! The classifier: ridge regression on quantised features, one tag against the rest.
//!
//! A model is a function of exact integer sums, of the rows in the order of their image ids and of the labels. Sums
//! without an image are the same bits as sums that never had it, so the model is too. Rows, sums and held-out scores are
//! personal data.

mod calibration;
mod classifier;
mod fit;
mod metrics;
mod sums;

pub use calibration::{Calibration, calibrate};
pub use classifier::{Classifier, NoClassifier};
pub use fit::{Fit, fit};
pub use metrics::{Judged, performance};
pub use sums::Sums;

/// What a model learns from one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingImage {
    /// Its id.
    pub id: u128,
    /// One row of quantised features for each view, one after the other.
    pub rows: Vec<i16>,
    /// The places of its tags, each below the number of tags.
    pub tags: Vec<usize>,
}

/// Images with their labels, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingSet {
    dimension: usize,
    tags: usize,
    images: Vec<TrainingImage>,
}

/// Why nothing can be learned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeadError {
    /// An image has no row, a part of a row, or rows where features were quantised outside -16384 to 16384.
    #[error("an image's features do not have the extractor's shape: extract them again")]
    Rows,
    /// A label names a tag that is not there.
    #[error("an image is labelled with a tag that is not trained")]
    Tag,
    /// An image is there twice.
    #[error("an image is in the training set more than once")]
    Repeated,
    /// Fewer than two images, or images that do not differ.
    #[error("there are not two different images to learn from")]
    NothingToLearn,
    /// The caller stopped it.
    #[error("the training was cancelled")]
    Cancelled,
    /// The decomposition did not converge.
    #[error("the model could not be solved")]
    Numerical,
}

impl TrainingSet {
    /// Puts the images into order. `dimension` is the number of features of a row, at least 1.
    pub fn new(dimension: usize, tags: usize, mut images: Vec<TrainingImage>) -> Result<Self, HeadError> {
        for image in &images {
            let shaped =
                dimension > 0 && !image.rows.is_empty() && image.rows.len().is_multiple_of(dimension);
            if !shaped || image.rows.iter().any(|value| value.unsigned_abs() > 16384) {
                return Err(HeadError::Rows);
            }
            if image.tags.iter().any(|&tag| tag >= tags) {
                return Err(HeadError::Tag);
            }
        }
        images.sort_by_key(|image| image.id);
        if images.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(HeadError::Repeated);
        }
        Ok(Self { dimension, tags, images })
    }

    /// The same set without some images.
    #[must_use]
    pub fn without(&self, gone: &[u128]) -> Self {
        let images = self.images.iter().filter(|image| !gone.contains(&image.id)).cloned().collect();
        Self { images, ..*self }
    }

    /// The images, ascending by id.
    pub fn images(&self) -> &[TrainingImage] {
        &self.images
    }

    /// Number of tags.
    pub fn tags(&self) -> usize {
        self.tags
    }

    /// Number of features.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of rows: of images, if each has one view.
    pub fn row_count(&self) -> usize {
        self.images.iter().map(|image| image.rows.len() / self.dimension).sum()
    }

    /// Whether the sums are over pairs of features, rather than over pairs of rows.
    fn is_primal(&self) -> bool {
        self.row_count() > self.dimension
    }

    fn rows(&self) -> impl Iterator<Item = (&[i16], &TrainingImage)> {
        self.images
            .iter()
            .flat_map(|image| image.rows.chunks_exact(self.dimension).map(move |row| (row, image)))
    }
}
