//! Where something may be in an image, without a trained detector.

use super::boxes::{CellBox, suppress};
use super::{AnchorGrid, FeatureMaps, Region};

/// A place where there may be an object of any kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// How much the place differs from its surroundings, 0 to 1: a rank, not a probability.
    pub confidence: f32,
    /// The place.
    pub region: Region,
}

/// Most proposals for an image.
const MOST: usize = 20;
/// Proposals may overlap each other by this much.
const SUPPRESSION: f32 = 0.5;

/// Places that differ from their surroundings, most different first, at most 20.
///
/// Each window of [`AnchorGrid::standard`] is scored by the difference between the mean of its parts and its
/// surroundings, over all maps (centre-surround contrast, Itti, Koch and Niebur, 1998), then near duplicates are
/// dropped. An image with other maps than [`super::maps_model`]'s has no proposals.
pub fn propose_regions(maps: &FeatureMaps) -> Vec<Proposal> {
    let grid = AnchorGrid::standard();
    if maps.channels() != grid.channels() {
        return Vec::new();
    }
    let anchors = grid.boxes();
    let mut scores = Vec::with_capacity(anchors.len());
    grid.visit_features(maps, |_, features| scores.push(contrast(features, grid.channels())));
    let kept = suppress(&anchors, &scores, SUPPRESSION, MOST);
    let region = |anchor: usize| -> Region { CellBox::to_region(anchors[anchor]) };
    kept.into_iter()
        .map(|anchor| Proposal { confidence: scores[anchor].clamp(0.0, 1.0), region: region(anchor) })
        .collect()
}

/// Length of the difference between the mean of a window's parts and its surroundings.
fn contrast(features: &[f32], channels: usize) -> f32 {
    let (parts, surroundings) = features.split_at(features.len() - channels);
    let count = (parts.len() / channels) as f32;
    let square: f32 = surroundings
        .iter()
        .enumerate()
        .map(|(channel, outside)| {
            let inside = parts.iter().skip(channel).step_by(channels).sum::<f32>() / count;
            (inside - outside).powi(2)
        })
        .sum();
    square.sqrt()
}
