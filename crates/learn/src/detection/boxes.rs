//! Boxes in units of cells, their overlap, and the suppression of near duplicates.

use super::{CELLS, Region};

/// A box: left, top, right, bottom in cells, 0 to 24.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CellBox(pub(super) [f32; 4]);

impl CellBox {
    pub(super) fn of_region(region: &Region) -> Self {
        let cells = CELLS as f64;
        let clip = |value: f64| (value * cells).clamp(0.0, cells) as f32;
        Self([
            clip(region.left),
            clip(region.top),
            clip(region.left + region.width),
            clip(region.top + region.height),
        ])
    }

    pub(super) fn to_region(self) -> Region {
        let [left, top, right, bottom] = self.0.map(|value| f64::from(value) / CELLS as f64);
        Region { left, top, width: right - left, height: bottom - top }
    }

    pub(super) fn area(self) -> f32 {
        let [left, top, right, bottom] = self.0;
        (right - left) * (bottom - top)
    }

    /// Intersection over union, 0 to 1.
    pub(super) fn overlap(self, other: Self) -> f32 {
        let width = (self.0[2].min(other.0[2]) - self.0[0].max(other.0[0])).max(0.0);
        let height = (self.0[3].min(other.0[3]) - self.0[1].max(other.0[1])).max(0.0);
        let shared = width * height;
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// Centre x, centre y, width, height.
    pub(super) fn centre_form(self) -> [f32; 4] {
        let [left, top, right, bottom] = self.0;
        [f32::midpoint(left, right), f32::midpoint(top, bottom), right - left, bottom - top]
    }
}

/// Greedy suppression: goes through the boxes by falling score, keeps one unless it overlaps a kept one by more than
/// `limit`, and stops at `most`. Returns positions, best first; equal scores keep their order. It is what the ONNX
/// operator `NonMaxSuppression` does for one class.
pub(super) fn suppress(boxes: &[CellBox], scores: &[f32], limit: f32, most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        if kept.len() == most {
            break;
        }
        if kept.iter().all(|&other| boxes[candidate].overlap(boxes[other]) <= limit) {
            kept.push(candidate);
        }
    }
    kept
}
