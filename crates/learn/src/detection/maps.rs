//! The maps of an image: what the anchors are pooled from.

use super::{CELLS, SIDE};
use crate::onnx::{Attribute, Dimension, ElementType, Graph, Model, Value};
use std::f64::consts::PI;

/// Number of maps of an image.
pub const MAPS: usize = 206;

/// Identity of the maps. Maps of another extractor cannot be mixed with these.
pub const EXTRACTOR: &str = "habeas-maps-v1";

/// The maps of the first order that are of the intensity, at each scale.
pub(super) const INTENSITY_MAPS: [std::ops::Range<usize>; 3] = [0..8, 88..96, 176..184];

/// Orientations of the filters.
const ORIENTATIONS: usize = 8;
/// Width and height of a filter.
const FILTER: usize = 7;
/// Spatial frequency of the filters in radians per pixel.
const FREQUENCY: f64 = 1.885;
/// Squared ratio of a filter's width along the wave to its width across.
const SLANT: f64 = 0.25;

/// Why numbers are not the maps of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MapsError {
    /// The pixels are not those of an image of 192x192.
    #[error("{0} bytes are not 192x192 pixels of three bytes")]
    Pixels(usize),
    /// The number of values is not a multiple of one map's.
    #[error("{0} values are not a whole number of maps of 24x24")]
    Length(usize),
    /// A value is infinite or not a number.
    #[error("a value of the maps is not finite")]
    NotFinite,
}

/// The maps of one image, 24x24 cells each: the record from which a detector is trained and from which it can be
/// trained again. It is personal data if the image is.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMaps {
    /// Channel, row, column.
    values: Vec<f32>,
}

impl FeatureMaps {
    /// The output of [`maps_model`] for one image, in the order channel, row, column.
    pub fn new(values: Vec<f32>) -> Result<Self, MapsError> {
        if values.is_empty() || !values.len().is_multiple_of(CELLS * CELLS) {
            return Err(MapsError::Length(values.len()));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(MapsError::NotFinite);
        }
        Ok(Self { values })
    }

    /// The stored form: the values as little-endian 32-bit floats, in the order channel, row, column; 474,624 bytes
    /// for the 206 maps of [`maps_model`].
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MapsError> {
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(MapsError::Length(bytes.len() / 4));
        }
        Self::new(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// Number of maps.
    pub fn channels(&self) -> usize {
        self.values.len() / (CELLS * CELLS)
    }

    /// One map, row by row.
    pub(super) fn map(&self, channel: usize) -> &[f32] {
        &self.values[channel * CELLS * CELLS..][..CELLS * CELLS]
    }

    /// The values in the order row, column, channel.
    pub(super) fn channels_last(&self) -> Vec<f32> {
        let channels = self.channels();
        let mut out = vec![0.0; self.values.len()];
        for (channel, map) in self.values.chunks_exact(CELLS * CELLS).enumerate() {
            for (cell, value) in map.iter().enumerate() {
                out[cell * channels + channel] = *value;
            }
        }
        out
    }
}

/// The graph that makes the maps: input `x` (1,3,192,192), RGB in 0..1; output `maps` (1,206,24,24).
///
/// Two layers of scattering (Bruna and Mallat, "Invariant Scattering Convolution Networks", 2013) with 8 orientations
/// on opponent colours, averaged to 24x24 cells. Order of the maps: first and second order at 192 pixels (24 and 64),
/// first and second order at 96 pixels (24 and 64), first order at 48 pixels (24), mean colours (3), mean squares of
/// the colours (3). Within the first order: colour, orientation. The second order is that of the intensity alone:
/// first orientation, second orientation.
///
/// The weights are formulas: nothing was learned from anybody's images.
pub fn maps_model() -> Model {
    let fixed = |extents: [usize; 3]| extents.map(Dimension::Fixed);
    let mut graph = Graph::new("habeas_maps");
    let [channels, height, width] = fixed([3, SIDE, SIDE]);
    let x = graph.input("x", &[Dimension::Fixed(1), channels, height, width]);
    let maps = append_maps(&mut graph, &x);
    let [channels, height, width] = fixed([MAPS, CELLS, CELLS]);
    graph.output(&maps, "maps", ElementType::Float, &[Dimension::Fixed(1), channels, height, width]);
    graph.into_model(&[("habeas.extractor", EXTRACTOR)])
}

/// The input of [`maps_model`] for an image of 192x192 pixels: `pixels` are red, green, blue of each pixel, row by row.
pub fn maps_input(pixels: &[u8]) -> Result<Vec<f32>, MapsError> {
    if pixels.len() != 3 * SIDE * SIDE {
        return Err(MapsError::Pixels(pixels.len()));
    }
    let channel = |index: usize| pixels.iter().skip(index).step_by(3).map(|&value| f32::from(value) / 255.0);
    Ok((0..3).flat_map(channel).collect())
}

/// Appends the nodes that make the maps of `rgb`.
pub(super) fn append_maps(graph: &mut Graph, rgb: &Value) -> Value {
    let opponent = graph.floats(&opponent_colours(), &[3, 3, 1, 1]);
    let colours = graph.node("Conv", &[rgb, &opponent], &[]);
    let bank = filter_bank();
    let mut maps = Vec::new();
    let mut image = colours.clone();
    for scale in 0..3 {
        let cell = (SIDE >> scale) / CELLS;
        let first = append_modulus(graph, &image, &bank, 3);
        maps.push(append_mean(graph, &first, cell));
        if scale < 2 {
            let intensity = append_intensity(graph, &first);
            let half = append_mean(graph, &intensity, 2);
            let second = append_modulus(graph, &half, &bank, ORIENTATIONS);
            maps.push(append_mean(graph, &second, cell / 2));
        }
        image = append_mean(graph, &image, 2);
    }
    maps.push(append_mean(graph, &colours, SIDE / CELLS));
    let squares = graph.node("Mul", &[&colours, &colours], &[]);
    maps.push(append_mean(graph, &squares, SIDE / CELLS));
    graph.node("Concat", &maps.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(1))])
}

/// Of the first order's maps (colour, orientation) those of the intensity.
fn append_intensity(graph: &mut Graph, first: &Value) -> Value {
    let start = graph.ints(&[0]);
    let end = graph.ints(&[ORIENTATIONS as i64]);
    let axis = graph.ints(&[1]);
    graph.node("Slice", &[first, &start, &end, &axis], &[])
}

fn append_mean(graph: &mut Graph, maps: &Value, size: usize) -> Value {
    if size == 1 {
        return maps.clone();
    }
    let size = Attribute::Ints(vec![size as i64; 2]);
    graph.node("AveragePool", &[maps], &[("kernel_shape", size.clone()), ("strides", size)])
}

/// Filters each of `channels` maps with the bank and takes the modulus: 8 maps for each.
fn append_modulus(graph: &mut Graph, maps: &Value, bank: &[f32], channels: usize) -> Value {
    let filters = graph.floats(&bank.repeat(channels), &[channels * ORIENTATIONS * 2, 1, FILTER, FILTER]);
    let padding = Attribute::Ints(vec![FILTER as i64 / 2; 4]);
    let groups = Attribute::Int(channels as i64);
    let parts = graph.node("Conv", &[maps, &filters], &[("group", groups), ("pads", padding)]);
    let squares = graph.node("Mul", &[&parts, &parts], &[]);
    let moduli = channels * ORIENTATIONS;
    let ones = graph.floats(&vec![1.0; moduli * 2], &[moduli, 2, 1, 1]);
    let energy = graph.node("Conv", &[&squares, &ones], &[("group", Attribute::Int(moduli as i64))]);
    let floor = graph.float(1e-7);
    let energy = graph.node("Add", &[&energy, &floor], &[]);
    graph.node("Sqrt", &[&energy], &[])
}

/// Rows: intensity, red against green, blue against yellow; columns: red, green, blue.
fn opponent_colours() -> [f32; 9] {
    let rows = [(3.0_f64, [1.0, 1.0, 1.0]), (2.0, [1.0, -1.0, 0.0]), (6.0, [1.0, 1.0, -2.0])];
    let mut out = [0.0; 9];
    for (row, (square, weights)) in rows.into_iter().enumerate() {
        for (column, weight) in weights.into_iter().enumerate() {
            out[row * 3 + column] = (weight / square.sqrt()) as f32;
        }
    }
    out
}

/// Complex Morlet-like filters, as real and imaginary part of each orientation in turn: a wave under a slanted Gaussian
/// window, minus the window's share that gives it mean zero.
fn filter_bank() -> Vec<f32> {
    let points = FILTER * FILTER;
    let mut bank = Vec::with_capacity(ORIENTATIONS * 2 * points);
    for orientation in 0..ORIENTATIONS {
        let (sin, cos) = (PI * orientation as f64 / ORIENTATIONS as f64).sin_cos();
        let centre = (FILTER / 2) as f64;
        let at = |point: usize| {
            let (x, y) = ((point % FILTER) as f64 - centre, (point / FILTER) as f64 - centre);
            (x * cos + y * sin, y * cos - x * sin)
        };
        let mut window: Vec<f64> = (0..points)
            .map(|point| {
                let (along, across) = at(point);
                (-(along * along + across * across * SLANT) / 2.0).exp()
            })
            .collect();
        let sum: f64 = window.iter().sum();
        window.iter_mut().for_each(|weight| *weight /= sum);
        let waves: Vec<(f64, f64)> = (0..points)
            .map(|point| {
                let (sin, cos) = (FREQUENCY * at(point).0).sin_cos();
                (cos, sin)
            })
            .collect();
        let mean = window.iter().zip(&waves).fold((0.0, 0.0), |(real, imaginary), (weight, wave)| {
            (real + weight * wave.0, imaginary + weight * wave.1)
        });
        bank.extend(window.iter().zip(&waves).map(|(weight, wave)| (weight * (wave.0 - mean.0)) as f32));
        bank.extend(window.iter().zip(&waves).map(|(weight, wave)| (weight * (wave.1 - mean.1)) as f32));
    }
    bank
}
