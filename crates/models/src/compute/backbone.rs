//! A user's own backbone: an ONNX graph in the place of phi-v1, under the same head.
//!
//! Its identity is the SHA-256 of its file. Rows are stored for each extractor, so a model that was trained on another backbone is solved
//! again, measured and verified without it; only to look at new images, and to export, the backbone itself is needed.

use habeas_core::{Error, Id, Result, crypto};
use habeas_learn::head::{Body, Calibration, Classifier, Fit, Head};
use habeas_learn::onnx::Model;
use habeas_learn::pixels;
use habeas_onnx::Runner;

use super::Extractor;

/// Widths and heights, in pixels, of images that a backbone may read.
const SIDES: std::ops::RangeInclusive<usize> = 32..=512;
/// Lengths of the vectors that it may give: a model of more images than numbers keeps the products of all pairs of them.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=8192;
/// Largest difference of a probability between the graph that would be exported and the server.
const TOLERANCE: f64 = 1e-4;

/// A backbone as the operator names it.
#[derive(Clone, Debug)]
pub struct Backbone {
    /// What messages call it.
    pub name: String,
    /// Whose projects it is for; none for all domains of classification that have no other.
    pub domain: Option<Id>,
    /// The ONNX file: one input of N x 3 x side x side numbers, red, green and blue of 0 to 1; one output, a vector for each image.
    pub file: Vec<u8>,
}

/// One that was loaded and tried.
pub(super) struct Loaded {
    pub(super) domain: Option<Id>,
    pub(super) digest: [u8; 32],
    pub(super) side: usize,
    pub(super) runner: Runner,
    pub(super) model: Model,
}

impl Loaded {
    /// Loads a backbone and tries whether it can be used: [`habeas_core::ErrorKind::Invalid`] says why it cannot.
    pub(super) fn new(backbone: &Backbone) -> Result<Loaded> {
        let refused = |why: String| {
            Error::invalid(format!("the backbone {} cannot be used: {why}", backbone.name)).hint(
                "it needs one input of N x 3 x side x side numbers (red, green and blue of 0 to 1) and one output, a vector for each image; \
                 export it again, with any other preparation of pixels inside the graph",
            )
        };
        let runner = Runner::load(&backbone.file).map_err(|error| refused(error.to_string()))?;
        let (side, width) = runner.size();
        if side != width || !SIDES.contains(&side) {
            return Err(refused(format!(
                "it reads images of {width} x {side} pixels, not of a square of {} to {}",
                SIDES.start(),
                SIDES.end()
            )));
        }
        let length = runner.vector_length().unwrap_or_default();
        if !LENGTHS.contains(&length) {
            return Err(refused(format!(
                "its output is no vector of {} to {} numbers",
                LENGTHS.start(),
                LENGTHS.end()
            )));
        }
        let model = Model::decode(&backbone.file).map_err(|error| refused(error.to_string()))?;
        let digest = crypto::sha256(&backbone.file);
        let loaded = Loaded { domain: backbone.domain, digest, side, runner, model };
        loaded.tried().map_err(|error| refused(error.what))?;
        Ok(loaded)
    }

    pub(super) fn extractor(&self) -> Extractor {
        Extractor::backbone(self.digest)
    }

    /// What it makes of an image: RGB pixels, interleaved.
    pub(super) fn numbers(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        let vector = super::run(&self.runner, &pixels::planes(pixels))?;
        pixels::of_backbone(&vector).ok_or_else(|| {
            Error::invalid("the backbone's answer for the image is zero, infinite or not a number")
        })
    }

    /// Whether it gives the same for the same image, something else for another one, and the same in the graph of an exported model.
    fn tried(&self) -> Result<()> {
        let picture = |step: usize| -> Vec<u8> {
            (0..self.side * self.side * 3).map(|place| (place * step / 7 % 251) as u8).collect()
        };
        let (first, second) = (picture(3), picture(101));
        let numbers = self.numbers(&first)?;
        if self.numbers(&first)? != numbers {
            return Err(Error::invalid("it does not give the same for the same image"));
        }
        if self.numbers(&second)? == numbers {
            return Err(Error::invalid("it gives the same for different images"));
        }
        let head = Fit {
            head: Head {
                weights: vec![numbers.iter().map(|value| f64::from(*value)).collect()],
                bias: vec![0.0],
            },
            ratio: 1.0,
            lambda: 1.0,
            held_out: Vec::new(),
        };
        let classifier = Classifier::new(vec![0], vec![0], &head, Calibration::Platt(vec![(1.0, 0.0)]));
        let graph = classifier.to_onnx(&self.body()).map_err(|error| Error::invalid(error.to_string()))?;
        let exported =
            Runner::load(&graph.encode()).map_err(|error| Error::invalid(format!("with a head, {error}")))?;
        for picture in [first, second] {
            let (red, green, blue) = planes(&picture);
            let input = [blue, green, red].concat();
            let there = f64::from(super::run(&exported, &input)?.first().copied().unwrap_or(f32::NAN));
            let here = classifier.probabilities([self.numbers(&picture)?.as_slice()].into_iter());
            let agrees = (there - here[0]).abs() < TOLERANCE;
            if !agrees {
                return Err(Error::invalid("with a head, its graph gives something else"));
            }
        }
        Ok(())
    }

    pub(super) fn body(&self) -> Body<'_> {
        Body { model: &self.model, side: self.side, of_user: true }
    }
}

/// Red, green and blue of 0 to 255.
fn planes(pixels: &[u8]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let plane = |channel| pixels.iter().skip(channel).step_by(3).map(|&value| f32::from(value)).collect();
    (plane(0), plane(1), plane(2))
}
