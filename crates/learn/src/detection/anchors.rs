//! Fixed anchors and the features of their windows.

use super::boxes::CellBox;
use super::maps::MAPS;
use super::{CELLS, FeatureMaps, LabelledImage};

/// A window is divided into this many parts in each direction.
pub(super) const PARTS: usize = 3;
/// Means per window and map: the parts and the surroundings.
const MEANS: usize = PARTS * PARTS + 1;
/// The surroundings reach beyond the window by this share of its size on each side.
const CONTEXT: f64 = 0.25;

/// A set of anchors: windows of fixed sizes at fixed places of the 24x24 cells, in which objects are looked for.
///
/// Shapes are all pairs of sizes whose ratio is within the limit; order of the anchors: width, height, then row, then
/// column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorGrid {
    sizes: Vec<u8>,
    /// Largest ratio of the longer to the shorter side, in tenths.
    aspect_tenths: u32,
    stride_divisor: u8,
    channels: u16,
}

/// Why an anchor grid cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "an anchor grid needs sizes of 1 to 24 cells, each once, an aspect limit of at least 1, a divisor and maps"
)]
pub struct GridError;

/// Along one axis, for one size: where the windows start and what each part of each window averages.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) size: usize,
    pub(super) starts: Vec<usize>,
    /// [`PARTS`] for each start.
    pub(super) parts: Vec<Interval>,
    /// One for each start.
    pub(super) contexts: Vec<Interval>,
}

/// A weighted mean over neighbouring cells; the weights sum to 1.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) first: usize,
    pub(super) weights: Vec<f32>,
}

impl AnchorGrid {
    /// A grid of windows whose sides are `sizes` cells long (1 to 24, no size twice), with a ratio of the sides of at
    /// most `aspect_tenths` / 10, at steps of size / `stride_divisor` cells (at least 1), for images of `channels` maps.
    pub fn new(
        sizes: &[u8],
        aspect_tenths: u32,
        stride_divisor: u8,
        channels: u16,
    ) -> Result<Self, GridError> {
        let distinct = sizes.iter().enumerate().all(|(at, size)| !sizes[..at].contains(size));
        let fit = sizes.iter().all(|&size| (1..=CELLS).contains(&usize::from(size)));
        if sizes.is_empty() || !distinct || !fit || aspect_tenths < 10 || stride_divisor == 0 || channels == 0
        {
            return Err(GridError);
        }
        Ok(Self { sizes: sizes.to_vec(), aspect_tenths, stride_divisor, channels })
    }

    /// For objects of a sixth of the image and more: 4,405 anchors.
    pub fn standard() -> Self {
        Self {
            sizes: vec![4, 6, 8, 11, 14, 18, 22],
            aspect_tenths: 45,
            stride_divisor: 4,
            channels: MAPS as u16,
        }
    }

    /// For small objects such as cells under a microscope: 9,339 anchors; an image costs twice as much.
    pub fn small_objects() -> Self {
        Self {
            sizes: vec![2, 3, 4, 5, 6, 8, 10],
            aspect_tenths: 21,
            stride_divisor: 3,
            channels: MAPS as u16,
        }
    }

    /// The grid whose anchors cover the objects of a project better: that for small objects if the sum over all
    /// objects of the best anchor's overlap (in whole 256ths) is more than 5 % higher than the standard one's.
    ///
    /// A function of the objects alone: the order of the images does not matter, and after an erasure it gives what a
    /// training from scratch would use.
    pub fn for_images(images: &[LabelledImage]) -> Self {
        let (standard, small) = (Self::standard(), Self::small_objects());
        let coverage = |grid: &Self| -> u64 {
            let anchors = grid.boxes();
            let objects = images.iter().flat_map(|image| &image.objects);
            objects
                .map(|object| {
                    let truth = CellBox::of_region(&object.region);
                    let best = anchors.iter().map(|anchor| overlap_steps(anchor.overlap(truth))).max();
                    u64::from(best.unwrap_or(0))
                })
                .sum()
        };
        if coverage(&small) * 20 > coverage(&standard) * 21 { small } else { standard }
    }

    /// Number of features of a window: ten means of each map.
    pub fn dimension(&self) -> usize {
        MEANS * self.channels()
    }

    /// Number of maps of an image.
    pub fn channels(&self) -> usize {
        usize::from(self.channels)
    }

    /// Number of anchors.
    pub fn anchor_count(&self) -> usize {
        let axes = self.axes();
        self.shapes(&axes).map(|(wide, high)| wide.starts.len() * high.starts.len()).sum()
    }

    /// Sizes, aspect limit in tenths, stride divisor and number of maps: what the grid was made from.
    pub(super) fn parameters(&self) -> (&[u8], u32, u8, u16) {
        (&self.sizes, self.aspect_tenths, self.stride_divisor, self.channels)
    }

    /// For each size what is averaged along an axis.
    pub(super) fn axes(&self) -> Vec<Axis> {
        self.sizes
            .iter()
            .map(|&size| Axis::new(usize::from(size), usize::from(self.stride_divisor)))
            .collect()
    }

    /// The shapes of windows, as (width, height), in the anchors' order.
    pub(super) fn shapes<'a>(&self, axes: &'a [Axis]) -> impl Iterator<Item = (&'a Axis, &'a Axis)> {
        let limit = self.aspect_tenths as usize;
        axes.iter().flat_map(move |wide| {
            axes.iter()
                .filter(move |high| wide.size.max(high.size) * 10 <= limit * wide.size.min(high.size))
                .map(move |high| (wide, high))
        })
    }

    /// The anchors' boxes, in order.
    pub(super) fn boxes(&self) -> Vec<CellBox> {
        let axes = self.axes();
        let mut boxes = Vec::new();
        for (wide, high) in self.shapes(&axes) {
            for &top in &high.starts {
                boxes.extend(wide.starts.iter().map(|&left| {
                    CellBox([left, top, left + wide.size, top + high.size].map(|edge| edge as f32))
                }));
            }
        }
        boxes
    }

    /// Calls `visit` with each anchor's features in order: of each part (row, column) all maps, then of the
    /// surroundings; the signed square root of the means, as a vector of length 1. The maps must be as many as the
    /// grid's.
    pub(super) fn visit_features(&self, maps: &FeatureMaps, mut visit: impl FnMut(usize, &[f32])) {
        let channels = self.channels();
        let cells = maps.channels_last();
        let axes = self.axes();
        let across: Vec<Pooled> =
            axes.iter().map(|axis| Pooled::along_rows(&cells, channels, axis)).collect();
        let mut features = vec![0.0_f32; self.dimension()];
        let mut anchor = 0;
        for (at_width, wide) in axes.iter().enumerate() {
            for high in self.shapes(&axes).filter(|(width, _)| width.size == wide.size).map(|(_, high)| high)
            {
                for row in 0..high.starts.len() {
                    for column in 0..wide.starts.len() {
                        across[at_width].window(high, row, column, channels, &mut features);
                        normalise(&mut features);
                        visit(anchor, &features);
                        anchor += 1;
                    }
                }
            }
        }
    }
}

/// An overlap of 0 to 1 as the nearest whole number of 256ths, half to even.
pub(super) fn overlap_steps(overlap: f32) -> u16 {
    (overlap * 256.0).round_ties_even() as u16
}

impl Axis {
    fn new(size: usize, stride_divisor: usize) -> Self {
        let last = CELLS - size;
        let mut starts: Vec<usize> = (0..=last).step_by((size / stride_divisor).max(1)).collect();
        if starts.last() != Some(&last) {
            starts.push(last);
        }
        let part = size as f64 / PARTS as f64;
        let parts = starts.iter().flat_map(|&start| {
            (0..PARTS).map(move |index| {
                Interval::new(start as f64 + index as f64 * part, start as f64 + (index + 1) as f64 * part)
            })
        });
        let contexts = starts.iter().map(|&start| {
            let margin = CONTEXT * size as f64;
            Interval::new(start as f64 - margin, (start + size) as f64 + margin)
        });
        let (parts, contexts) = (parts.collect(), contexts.collect());
        Self { size, starts, parts, contexts }
    }
}

impl Interval {
    /// The mean over `from..to` cells, clipped to the map; a cell that is covered in part counts in part.
    fn new(from: f64, to: f64) -> Self {
        let (from, to) = (from.max(0.0), to.min(CELLS as f64));
        let first = from.floor() as usize;
        let end = (to.ceil() as usize).min(CELLS);
        let covered = |cell: usize| ((cell + 1) as f64).min(to) - (cell as f64).max(from);
        let weights: Vec<f64> = (first..end).map(|cell| covered(cell).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        Self { first, weights: weights.iter().map(|weight| (weight / sum) as f32).collect() }
    }
}

/// The maps averaged along each row of cells, by the intervals of one axis.
struct Pooled {
    /// Row of cells, part, channel.
    parts: Vec<f32>,
    /// Row of cells, window, channel.
    contexts: Vec<f32>,
    windows: usize,
}

impl Pooled {
    fn along_rows(cells: &[f32], channels: usize, axis: &Axis) -> Self {
        let pool = |intervals: &[Interval]| {
            let mut out = vec![0.0; CELLS * intervals.len() * channels];
            let mut targets = out.chunks_exact_mut(channels);
            for row in cells.chunks_exact(CELLS * channels) {
                for (interval, target) in intervals.iter().zip(&mut targets) {
                    add_weighted(interval, target, |cell| &row[cell * channels..][..channels]);
                }
            }
            out
        };
        Self { parts: pool(&axis.parts), contexts: pool(&axis.contexts), windows: axis.starts.len() }
    }

    /// The means of one window: averages the pooled rows along the columns.
    fn window(&self, high: &Axis, row: usize, column: usize, channels: usize, out: &mut [f32]) {
        out.fill(0.0);
        let (parts, context) = out.split_at_mut(PARTS * PARTS * channels);
        for (index, target) in parts.chunks_exact_mut(channels).enumerate() {
            let (down, right) = (index / PARTS, index % PARTS);
            let from = column * PARTS + right;
            add_weighted(&high.parts[row * PARTS + down], target, |cell| {
                &self.parts[(cell * self.windows * PARTS + from) * channels..][..channels]
            });
        }
        add_weighted(&high.contexts[row], context, |cell| {
            &self.contexts[(cell * self.windows + column) * channels..][..channels]
        });
    }
}

fn add_weighted<'a>(interval: &Interval, target: &mut [f32], source: impl Fn(usize) -> &'a [f32]) {
    for (offset, weight) in interval.weights.iter().enumerate() {
        for (sum, value) in target.iter_mut().zip(source(interval.first + offset)) {
            *sum += weight * value;
        }
    }
}

/// Replaces each value by its signed square root, then scales the vector to length 1.
fn normalise(features: &mut [f32]) {
    const LANES: usize = 16;
    // The square of the square root: the squared length is the sum of the absolute values.
    let (chunks, rest) = features.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value.abs();
        }
    }
    let square = lanes.iter().sum::<f32>() + rest.iter().map(|value| value.abs()).sum::<f32>();
    let scale = 1.0 / (square.sqrt() + 1e-9);
    for value in features {
        *value = value.abs().sqrt().copysign(*value) * scale;
    }
}
