//! What is learned from: labels in the order of ids, and rows that are loaded block by block.

/// Rows that are in memory at a time for each thread.
const BLOCK: usize = 512;
/// The largest magnitude of a quantised feature.
const LARGEST: u16 = 16384;

/// An image with its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingImage {
    /// Its id.
    pub id: u128,
    /// The places of its tags, each below the number of tags.
    pub tags: Vec<usize>,
}

/// Images with their labels, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingSet {
    dimension: usize,
    views: usize,
    tags: usize,
    images: Vec<TrainingImage>,
}

/// Why nothing can be learned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeadError<E> {
    /// The rows of images do not have the set's shape, or features were quantised outside -16384 to 16384.
    #[error("an image's features do not have the extractor's shape: extract them again")]
    Shape,
    /// The rows of images could not be loaded.
    #[error("the features of images could not be loaded")]
    Rows(#[source] E),
    /// A label names a tag that is not there.
    #[error("an image is labelled with a tag that is not trained")]
    Tag,
    /// An image is there twice.
    #[error("an image is in the training set more than once")]
    Repeated,
    /// Fewer than two images, or images that do not differ.
    #[error("there are not two different images to learn from")]
    NothingToLearn,
    /// The sums are not those of the set.
    #[error("the sums are not those of the images: they must be made again")]
    OtherImages,
    /// The caller stopped it.
    #[error("the training was cancelled")]
    Cancelled,
    /// The decomposition did not converge.
    #[error("the model could not be solved")]
    Numerical,
}

impl TrainingSet {
    /// Puts the images into order. `dimension` is the number of features of a row, `views` the number of rows of an image; both at least
    /// 1. Errors: [`HeadError::Shape`], [`HeadError::Tag`], [`HeadError::Repeated`].
    pub fn new<E>(
        dimension: usize,
        views: usize,
        tags: usize,
        mut images: Vec<TrainingImage>,
    ) -> Result<Self, HeadError<E>> {
        if dimension == 0 || views == 0 {
            return Err(HeadError::Shape);
        }
        for image in &mut images {
            image.tags.sort_unstable();
            image.tags.dedup();
            if image.tags.last().is_some_and(|&tag| tag >= tags) {
                return Err(HeadError::Tag);
            }
        }
        images.sort_by_key(|image| image.id);
        if images.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(HeadError::Repeated);
        }
        Ok(Self { dimension, views, tags, images })
    }

    /// The same set without some images.
    #[must_use]
    pub fn without(&self, gone: &[u128]) -> Self {
        let images = self.images.iter().filter(|image| !gone.contains(&image.id)).cloned().collect();
        Self { images, ..*self }
    }

    /// Some images of the set, as a set.
    #[must_use]
    pub fn only(&self, wanted: &[u128]) -> Self {
        let images = self.images.iter().filter(|image| wanted.contains(&image.id)).cloned().collect();
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

    /// Rows of an image.
    pub fn views(&self) -> usize {
        self.views
    }

    /// Number of rows: of images, if each has one view.
    pub fn row_count(&self) -> usize {
        self.images.len() * self.views
    }

    /// Whether the sums are over pairs of features, rather than over pairs of rows.
    pub fn is_primal(&self) -> bool {
        self.row_count() > self.dimension
    }

    /// The images in blocks that depend on nothing but the set.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[TrainingImage]> {
        self.images.chunks((BLOCK / self.views).max(1))
    }

    /// The rows of a block, checked.
    pub(super) fn load<E>(
        &self,
        block: &[TrainingImage],
        rows: &mut impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
    ) -> Result<Vec<i16>, HeadError<E>> {
        let ids: Vec<u128> = block.iter().map(|image| image.id).collect();
        let loaded = rows(&ids).map_err(HeadError::Rows)?;
        let shaped = loaded.len() == block.len() * self.views * self.dimension;
        if !shaped || loaded.iter().any(|value| value.unsigned_abs() > LARGEST) {
            return Err(HeadError::Shape);
        }
        Ok(loaded)
    }

    /// 1 where an image has the tag, else -1.
    pub(super) fn target(image: &TrainingImage, tag: usize) -> f64 {
        if image.tags.binary_search(&tag).is_ok() { 1.0 } else { -1.0 }
    }
}
