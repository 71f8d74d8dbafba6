//! Finding objects: a detector that can forget.
//!
//! An image, stretched to 192x192 pixels, becomes 206 maps of 24x24 cells ([`maps_model`]: fixed formulas, nothing
//! learned). Thousands of fixed windows, the anchors ([`AnchorGrid`]), are described by means of the maps inside and
//! around them. For each tag a ridge regression predicts from that how well a window covers an object, and one more
//! how the window must be moved to fit.
//!
//! **Invariant:** a detector is a function of the images it is trained on and of nothing else: not of their order, nor
//! of images that were there and were removed. Features, overlaps and moves are whole numbers, so the sums that
//! training needs ([`FoldSums`]) are exact: taking an image out gives, bit for bit, the sums of a training that never
//! saw it, and everything after the sums is computed from them by one thread in one order. (The solve's last bits may
//! differ between kinds of processors; the sums do not.)
//!
//! Anybody can make the sums again from the stored maps: all steps from maps to whole numbers are IEEE operations on
//! 32-bit floats in a fixed order (means as sums of weight times cell, first along the row, then along the column,
//! from left to right and from top to bottom; the squared length as 16 sums of every sixteenth absolute value, added
//! up in order, then the rest).
//!
//! Honest figures: every image is also predicted by a detector that was trained without it and without a fifth of the
//! others ([`fold_of`]); calibration ([`Detection::probability`]) and [`performance`] rest on those predictions.
//! (The calibration's two numbers for each tag are fitted to the same predictions that are then judged: ranks, and with
//! them average precision, do not depend on it.)

mod anchors;
mod boxes;
mod calibration;
mod codec;
mod detector;
mod export;
mod fit;
pub(crate) mod gram;
mod maps;
mod metrics;
mod proposals;
mod ridge;
mod sums;
mod targets;

pub use anchors::{AnchorGrid, GridError};
pub use codec::CodecError;
pub use detector::{Detection, Detector};
pub use fit::{Fit, HeldOut, TrainError, fit, sum_images};
pub use maps::{EXTRACTOR, FeatureMaps, MAPS, MapsError, maps_input, maps_model};
pub use metrics::{Measure, Performance, TagPerformance, performance};
pub use proposals::{Proposal, propose_regions};
pub use sums::{FOLDS, FoldSums, SumsError, fold_of};

/// Width and height in pixels to which an image is stretched.
pub const SIDE: usize = 192;
/// Width and height of a map in cells.
pub const CELLS: usize = 24;

/// A rectangle as fractions of the upright image's width and height, 0 to 1. What lies outside of the image is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// An object in an image, as a person marked it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Id of the object's tag.
    pub tag: u128,
    /// Where it is.
    pub region: Region,
}

/// An image and the objects in it. Without objects it teaches what is none.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledImage {
    /// Id of the image.
    pub id: u128,
    /// Its objects, in any order.
    pub objects: Vec<Object>,
}
