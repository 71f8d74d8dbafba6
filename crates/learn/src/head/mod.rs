//! The classifier: ridge regression on quantised features, one tag against the rest.
//!
//! A model is a function of exact integer sums, of the rows in the order of their image ids and of the labels. Sums
//! without an image are the same bits as sums that never had it, so the model is too. Rows, sums and held-out scores are
//! personal data.
//!
//! Rows are loaded block by block, so that memory does not grow with the features of the images: whoever trains gives a
//! closure that, for some ids, returns their rows, one image after the other, each the rows of its views, one after the
//! other. A solve takes three matrices of features by features in memory, whatever the number of images (with 5,424
//! features 235 MB each, beside 118 MB of sums), and 17 held-out scores for each row and tag.

mod calibration;
mod classifier;
mod fit;
mod metrics;
mod ridge;
mod set;
mod sums;

pub use calibration::{Calibration, calibrate};
pub use classifier::{Body, Classifier, NoClassifier};
pub use fit::{Fit, fit};
pub use metrics::{Judged, performance};
pub use ridge::{Head, solve};
pub use set::{HeadError, TrainingImage, TrainingSet};
pub use sums::Sums;
