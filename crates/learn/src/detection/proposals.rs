//! Where something may be in an image, without a trained detector.

use super::boxes::{CellBox, suppress};
use super::maps::INTENSITY_MAPS;
use super::{AnchorGrid, CELLS, FeatureMaps, Region};

/// A place where there may be an object of any kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// How much the place stands out, 0 to 1: for ranking, not a probability.
    pub confidence: f32,
    /// The place.
    pub region: Region,
}

/// Most proposals for an image.
const MOST: usize = 20;
/// Proposals may overlap each other by this much.
const SUPPRESSION: f32 = 0.5;
/// A cell counts at most as much as this many average ones, so that one sharp edge does not outweigh an object.
const MOST_ENERGY: f64 = 3.0;
/// The score at which the confidence is one half.
const HALF: f64 = 5.0;

/// Places with more structure than what is around them, best first, at most 20.
///
/// The energy of a cell is what the filters of all orientations and scales find in its intensity, relative to the
/// image's mean. Each window of [`AnchorGrid::standard`] is scored by its mean energy minus that of the ring of one
/// cell around it, times the square root of its area (as a difference of means is tested); then windows that overlap a
/// better one by half are dropped. An image with other maps than [`super::maps_model`]'s has no proposals.
pub fn propose_regions(maps: &FeatureMaps) -> Vec<Proposal> {
    let grid = AnchorGrid::standard();
    if maps.channels() != grid.channels() {
        return Vec::new();
    }
    let sums = Integral::new(&energies(maps));
    let anchors = grid.boxes();
    let scores: Vec<f32> = anchors.iter().map(|&anchor| prominence(&sums, anchor) as f32).collect();
    let kept =
        suppress(&anchors, &scores, SUPPRESSION, MOST).into_iter().filter(|&anchor| scores[anchor] > 0.0);
    kept.map(|anchor| {
        let score = f64::from(scores[anchor]);
        Proposal { confidence: (score / (score + HALF)) as f32, region: anchors[anchor].to_region() }
    })
    .collect()
}

fn energies(maps: &FeatureMaps) -> Vec<f64> {
    let mut energies = vec![0.0; CELLS * CELLS];
    for channel in INTENSITY_MAPS.into_iter().flatten() {
        for (energy, value) in energies.iter_mut().zip(maps.map(channel)) {
            *energy += f64::from(*value);
        }
    }
    let mean = energies.iter().sum::<f64>() / energies.len() as f64;
    energies.iter_mut().for_each(|energy| *energy = (*energy / mean).min(MOST_ENERGY));
    energies
}

fn prominence(sums: &Integral, anchor: CellBox) -> f64 {
    let [left, top, right, bottom] = anchor.0.map(|edge| edge as usize);
    let outer =
        [left.saturating_sub(1), top.saturating_sub(1), (right + 1).min(CELLS), (bottom + 1).min(CELLS)];
    let (inside, area) = sums.over([left, top, right, bottom]);
    let (all, all_area) = sums.over(outer);
    if all_area == area {
        return 0.0;
    }
    let (area, ring_area) = (area as f64, (all_area - area) as f64);
    (inside / area - (all - inside) / ring_area) * area.sqrt()
}

/// Sums over all rectangles that start at the corner.
struct Integral(Vec<f64>);

impl Integral {
    fn new(cells: &[f64]) -> Self {
        let mut sums = vec![0.0; (CELLS + 1) * (CELLS + 1)];
        for row in 0..CELLS {
            let mut of_row = 0.0;
            for column in 0..CELLS {
                of_row += cells[row * CELLS + column];
                sums[(row + 1) * (CELLS + 1) + column + 1] = sums[row * (CELLS + 1) + column + 1] + of_row;
            }
        }
        Self(sums)
    }

    /// Sum and number of the cells in left..right, top..bottom.
    fn over(&self, [left, top, right, bottom]: [usize; 4]) -> (f64, usize) {
        let at = |column: usize, row: usize| self.0[row * (CELLS + 1) + column];
        let sum = at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top);
        (sum, (right - left) * (bottom - top))
    }
}
