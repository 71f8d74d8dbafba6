//! What the regressions shall predict for each anchor of an image, in whole numbers.

use super::boxes::CellBox;
use super::{Object, anchors};
use std::collections::BTreeMap;

/// Moves are in steps of 1/1024 of the anchor's size, and of 1/1024 in the logarithm of the size.
pub(super) const MOVE_STEPS: f32 = 1024.0;
/// An anchor that overlaps an object by this many 256ths or less is none of it.
const NONE: u16 = 77;
/// Target of an anchor that overlaps an object by 179 256ths (70 %) or more; in between it rises by 1 for each 256th.
pub(super) const FULL: u16 = 102;
/// Overlap in 256ths from which an anchor is positive: it weighs more, and it learns how to move.
const POSITIVE: u16 = 128;

/// The targets of one image.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Positive anchors in order, with the move to the object that they overlap most: centre x and y in widths and
    /// heights of the anchor, logarithms of the ratios of width and height.
    pub(super) positives: Vec<(usize, [i64; 4])>,
    /// For each tag in the image the anchors whose target is above 0, in order, with the target (1 to 102).
    pub(super) tags: BTreeMap<u128, Vec<(usize, i64)>>,
}

impl Targets {
    pub(super) fn new(anchors: &[CellBox], objects: &[Object]) -> Self {
        let mut truths: Vec<(u128, CellBox)> =
            objects.iter().map(|object| (object.tag, CellBox::of_region(&object.region))).collect();
        // Between equal overlaps the first wins: the order must not be that in which the objects were drawn.
        truths.sort_by_key(|(tag, truth)| (*tag, truth.0.map(f32::to_bits)));
        let mut targets = Self::default();
        for (tag, _) in &truths {
            targets.tags.entry(*tag).or_default();
        }
        for (index, anchor) in anchors.iter().enumerate() {
            let mut best: Option<(u16, CellBox)> = None;
            for (tag, truth) in &truths {
                let steps = anchors::overlap_steps(anchor.overlap(*truth));
                if best.is_none_or(|(most, _)| steps > most) {
                    best = Some((steps, *truth));
                }
                let target = steps.saturating_sub(NONE).min(FULL);
                if target > 0 {
                    let of_tag = targets.tags.entry(*tag).or_default();
                    match of_tag.last_mut() {
                        Some((last, most)) if *last == index => *most = (*most).max(i64::from(target)),
                        _ => of_tag.push((index, i64::from(target))),
                    }
                }
            }
            if let Some((steps, truth)) = best
                && steps >= POSITIVE
            {
                targets.positives.push((index, move_between(*anchor, truth)));
            }
        }
        targets
    }
}

/// The move from an anchor to a box that overlaps it.
fn move_between(anchor: CellBox, truth: CellBox) -> [i64; 4] {
    let ([x, y, width, height], [to_x, to_y, to_width, to_height]) =
        (anchor.centre_form(), truth.centre_form());
    let exact = [(to_x - x) / width, (to_y - y) / height, (to_width / width).ln(), (to_height / height).ln()];
    exact.map(|value| (value * MOVE_STEPS).round_ties_even() as i64)
}
