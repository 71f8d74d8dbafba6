//! The trained detector.

use super::boxes::{CellBox, suppress};
use super::calibration::Calibration;
use super::{AnchorGrid, FeatureMaps, Region};

/// Within a tag, a detection that overlaps a better one by more than this is the same object.
pub(super) const SUPPRESSION: f32 = 0.3;
/// Most detections of one tag.
pub(super) const MOST_OF_TAG: usize = 60;
/// Most detections of an image.
pub(super) const MOST: usize = 200;
/// A box's sides grow or shrink at most by the exponential of this.
pub(super) const MOST_GROWTH: f32 = 0.7;

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Id of the tag.
    pub tag: u128,
    /// How often detections with such a score were right (overlapped an object of the tag by 0.3 or more) in images
    /// that the detector had not seen, 0 to 1.
    pub probability: f32,
    /// Where it is.
    pub region: Region,
}

/// A trained detector: weights, no images.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    pub(super) grid: AnchorGrid,
    /// Number of images it was trained on.
    pub(super) images: u64,
    /// In ascending order of their ids.
    pub(super) tags: Vec<TagWeights>,
    /// Moves of an anchor: x, y, width, height.
    pub(super) moves: [Weights; 4],
}

/// What a detector knows of a tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TagWeights {
    pub(super) id: u128,
    pub(super) score: Weights,
    pub(super) calibration: Calibration,
}

/// A linear function of unquantised features.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    pub(super) weights: Vec<f32>,
    pub(super) bias: f32,
}

/// A detection before calibration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scored {
    pub(super) tag: u128,
    pub(super) score: f32,
    pub(super) place: CellBox,
}

impl Detector {
    /// Ids of the tags that it finds, ascending: the order of the classes in [`Detector::to_onnx`].
    pub fn tags(&self) -> impl ExactSizeIterator<Item = u128> {
        self.tags.iter().map(|tag| tag.id)
    }

    /// Number of images that it was trained on.
    pub fn image_count(&self) -> u64 {
        self.images
    }

    /// The objects in an image, at most 200 and at most 60 of one tag, most probable first. No probability is left out:
    /// the caller applies a threshold. Nothing is found in an image with another number of maps.
    pub fn predict(&self, maps: &FeatureMaps) -> Vec<Detection> {
        self.calibrate(&self.score(maps))
    }

    /// The detections of each tag, best first.
    pub(super) fn score(&self, maps: &FeatureMaps) -> Vec<Scored> {
        if maps.channels() != self.grid.channels() {
            return Vec::new();
        }
        let anchors = self.grid.boxes();
        let mut places = Vec::with_capacity(anchors.len());
        let mut scores = vec![Vec::with_capacity(anchors.len()); self.tags.len()];
        self.grid.visit_features(maps, |anchor, features| {
            for (scores, tag) in scores.iter_mut().zip(&self.tags) {
                scores.push(tag.score.apply(features));
            }
            let moves = std::array::from_fn(|index| self.moves[index].apply(features));
            places.push(moved(anchors[anchor], moves));
        });
        let mut found = Vec::new();
        for (tag, scores) in self.tags.iter().zip(&scores) {
            found.extend(
                suppress(&places, scores, SUPPRESSION, MOST_OF_TAG).into_iter().map(|anchor| Scored {
                    tag: tag.id,
                    score: scores[anchor],
                    place: places[anchor],
                }),
            );
        }
        found
    }

    pub(super) fn calibrate(&self, found: &[Scored]) -> Vec<Detection> {
        let mut detections: Vec<Detection> = found
            .iter()
            .filter_map(|found| {
                let at = self.tags.binary_search_by_key(&found.tag, |tag| tag.id).ok()?;
                let probability = self.tags[at].calibration.probability(found.score);
                Some(Detection { tag: found.tag, probability, region: found.place.to_region() })
            })
            .collect();
        detections.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        detections.truncate(MOST);
        detections
    }
}

impl Weights {
    fn apply(&self, features: &[f32]) -> f32 {
        const LANES: usize = 16;
        let (weights, last_weights) = self.weights.as_chunks::<LANES>();
        let (features, last_features) = features.as_chunks::<LANES>();
        let mut lanes = [0.0_f32; LANES];
        for (weights, features) in weights.iter().zip(features) {
            for (lane, (weight, feature)) in lanes.iter_mut().zip(weights.iter().zip(features)) {
                *lane += weight * feature;
            }
        }
        let last: f32 =
            last_weights.iter().zip(last_features).map(|(weight, feature)| weight * feature).sum();
        lanes.iter().sum::<f32>() + last + self.bias
    }
}

/// An anchor that was moved by `moves` (see `Targets`), cut to the image.
fn moved(anchor: CellBox, moves: [f32; 4]) -> CellBox {
    let [x, y, width, height] = anchor.centre_form();
    let grown = |size: f32, growth: f32| size * growth.clamp(-MOST_GROWTH, MOST_GROWTH).exp();
    let (x, y) = (x + moves[0] * width, y + moves[1] * height);
    let (width, height) = (grown(width, moves[2]), grown(height, moves[3]));
    let edges = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    CellBox(edges.map(|edge| edge.clamp(0.0, super::CELLS as f32)))
}
