//! A trained classifier: what predictions need, and nothing of the images it learned from.

use sha2::{Digest as _, Sha256};

use super::{Calibration, Fit, Head};
use crate::onnx::{Attribute, Dimension, ElementType, Graph, Model, OnnxError, Value};
use crate::pixels;

const KIND: &[u8; 4] = b"HCL1";

/// Operator sets in which what is added to an extractor means the same.
const MIN_OPSET: i64 = 11;
const MAX_OPSET: i64 = 22;

/// Weights, bias and calibration, by tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    /// The tags, by id, in the order in which scores come.
    tags: Vec<u128>,
    /// Which views of an image are looked at; their scores are averaged. 0 is the image itself.
    views: Vec<u8>,
    /// For each tag a weight for each feature.
    weights: Vec<Vec<f64>>,
    bias: Vec<f64>,
    calibration: Calibration,
    ratio: f64,
    lambda: f64,
}

/// Bytes are no stored classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no classifier of this version")]
pub struct NoClassifier;

impl Classifier {
    /// Puts a solved head and its calibration together. `tags` and the fit have the same length; `views` is not empty.
    pub fn new(tags: Vec<u128>, views: Vec<u8>, fit: &Fit, calibration: Calibration) -> Classifier {
        Classifier {
            tags,
            views,
            weights: fit.head.weights.clone(),
            bias: fit.head.bias.clone(),
            calibration,
            ratio: fit.ratio,
            lambda: fit.lambda,
        }
    }

    /// The same with other weights: tags, views, penalty and calibration are those of before.
    #[must_use]
    pub fn with_head(self, head: Head) -> Classifier {
        Classifier { weights: head.weights, bias: head.bias, ..self }
    }

    /// The penalty, in squared units of quantised features.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// The tags, in the order in which probabilities come.
    pub fn tags(&self) -> &[u128] {
        &self.tags
    }

    /// The views that are looked at.
    pub fn views(&self) -> &[u8] {
        &self.views
    }

    /// Features of one view.
    pub fn dimension(&self) -> usize {
        self.weights.first().map_or(0, Vec::len)
    }

    /// The probability of each tag, 0 to 1, from the features of the views, [`Classifier::views`] in order; each has
    /// [`Classifier::dimension`] numbers.
    pub fn probabilities<'a>(&self, views: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
        let mut scores = vec![0.0; self.tags.len()];
        let mut count = 0.0;
        for features in views {
            count += 1.0;
            for ((score, weights), bias) in scores.iter_mut().zip(&self.weights).zip(&self.bias) {
                let product: f64 =
                    weights.iter().zip(features).map(|(weight, &feature)| weight * f64::from(feature)).sum();
                *score += product + bias;
            }
        }
        scores.iter_mut().for_each(|score| *score /= f64::max(count, 1.0));
        self.calibration.probabilities(&scores)
    }

    /// The stored form; little-endian, without padding: `HCL1`; number of tags (u32), their ids (u128); number of views (u8), the
    /// views (u8); number of features (u32); ratio and lambda (f64); for each tag bias, then weights (f64); calibration: 0 and the
    /// factor (f64), or 1 and for each tag slope and offset (f64).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = KIND.to_vec();
        bytes.extend((self.tags.len() as u32).to_le_bytes());
        self.tags.iter().for_each(|tag| bytes.extend(tag.to_le_bytes()));
        bytes.push(self.views.len() as u8);
        bytes.extend(&self.views);
        bytes.extend((self.dimension() as u32).to_le_bytes());
        let mut write = |value: f64| bytes.extend(value.to_le_bytes());
        write(self.ratio);
        write(self.lambda);
        for (weights, bias) in self.weights.iter().zip(&self.bias) {
            write(*bias);
            weights.iter().for_each(|weight| write(*weight));
        }
        match &self.calibration {
            Calibration::Temperature(factor) => {
                bytes.push(0);
                bytes.extend(factor.to_le_bytes());
            }
            Calibration::Platt(lines) => {
                bytes.push(1);
                for (slope, offset) in lines {
                    bytes.extend(slope.to_le_bytes());
                    bytes.extend(offset.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Classifier, NoClassifier> {
        let mut reader = Reader(bytes);
        if reader.take::<4>()? != *KIND {
            return Err(NoClassifier);
        }
        let count = u32::from_le_bytes(reader.take()?) as usize;
        let tags =
            (0..count).map(|_| reader.take().map(u128::from_le_bytes)).collect::<Result<Vec<_>, _>>()?;
        let [view_count] = reader.take()?;
        let views =
            (0..view_count).map(|_| reader.take::<1>().map(|[view]| view)).collect::<Result<Vec<_>, _>>()?;
        let dimension = u32::from_le_bytes(reader.take()?) as usize;
        let (ratio, lambda) = (reader.number()?, reader.number()?);
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for _ in 0..count {
            bias.push(reader.number()?);
            weights.push((0..dimension).map(|_| reader.number()).collect::<Result<Vec<_>, _>>()?);
        }
        let calibration = match reader.take()? {
            [0] => Calibration::Temperature(reader.number()?),
            [1] => Calibration::Platt(
                (0..count).map(|_| Ok((reader.number()?, reader.number()?))).collect::<Result<_, _>>()?,
            ),
            _ => return Err(NoClassifier),
        };
        if !reader.0.is_empty() || views.is_empty() {
            return Err(NoClassifier);
        }
        Ok(Classifier { tags, views, weights, bias, calibration, ratio, lambda })
    }

    /// SHA-256 of the stored form.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// The classifier as one graph on top of `extractor`, from pixels to probabilities.
    ///
    /// Input `data` (N,3,side,side): blue, green, red in 0..255, the image stretched. Output `model_output` (N,tags). N is 1 where the
    /// extractor takes one image at a time. The names are those that Microsoft's exported classifiers have
    /// (`Azure-Samples/customvision-export-samples`). Of a classifier that looks at several views the graph looks at the image itself
    /// only, and its probabilities differ from the server's.
    pub fn to_onnx(&self, extractor: &Body<'_>) -> Result<Model, OnnxError> {
        let Body { model, side, of_user } = *extractor;
        if !(MIN_OPSET..=MAX_OPSET).contains(&model.opset().unwrap_or_default()) {
            let opset = model.opset().unwrap_or_default();
            return Err(OnnxError::Unsupported(format!(
                "operator set {opset} is not one of {MIN_OPSET} to {MAX_OPSET}"
            )));
        }
        let mut graph = Graph::around("habeas_classifier", model);
        let batch = model.batch().map_or(Dimension::Named("N"), Dimension::Fixed);
        let extents = [batch, Dimension::Fixed(3), Dimension::Fixed(side), Dimension::Fixed(side)];
        let pixels = graph.input("data", &extents);
        let share = 1.0 / 255.0;
        // Swaps blue and red, and brings 0..255 to 0..1.
        let swap = graph.floats(&[0.0, 0.0, share, 0.0, share, 0.0, share, 0.0, 0.0], &[3, 3, 1, 1]);
        let rgb = graph.node("Conv", &[&pixels, &swap], &[]);
        let input = model.inputs().first().copied().unwrap_or_default();
        let features = graph.inline(model, "phi_", &[(input, &rgb)])?;
        let mut features = features.first().cloned().ok_or(OnnxError::NoGraph)?;
        if of_user {
            features = self.append_length(&mut graph, &features);
        }
        let lines: Vec<(f64, f64)> = match &self.calibration {
            Calibration::Temperature(factor) => vec![(*factor, 0.0); self.tags.len()],
            Calibration::Platt(lines) => lines.clone(),
        };
        let weights: Vec<f32> = self
            .weights
            .iter()
            .zip(&lines)
            .flat_map(|(weights, (slope, _))| weights.iter().map(move |weight| (weight * slope) as f32))
            .collect();
        let bias: Vec<f32> = self
            .bias
            .iter()
            .zip(&lines)
            .map(|(bias, (slope, offset))| (bias * slope + offset) as f32)
            .collect();
        let weights = graph.floats(&weights, &[self.tags.len(), self.dimension()]);
        let bias = graph.floats(&bias, &[self.tags.len()]);
        let scores = graph.node("Gemm", &[&features, &weights, &bias], &[("transB", Attribute::Int(1))]);
        let probabilities = match self.calibration {
            Calibration::Temperature(_) => graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(1))]),
            Calibration::Platt(_) => graph.node("Sigmoid", &[&scores], &[]),
        };
        let shape = [batch, Dimension::Fixed(self.tags.len())];
        graph.output(&probabilities, "model_output", ElementType::Float, &shape);
        Ok(graph.into_model(&[
            ("Image.BitmapPixelFormat", "Bgr8"),
            ("Image.NominalPixelRange", "NominalRange_0_255"),
            ("Image.ColorSpaceGamma", "SRGB"),
        ]))
    }
}

/// What a classifier's graph stands on.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The extractor, from red, green and blue of 0 to 1 to features.
    pub model: &'a Model,
    /// Width and height, in pixels, of what it reads.
    pub side: usize,
    /// Whether it is a user's own, whose answers are brought to one length: see [`pixels::of_backbone`].
    pub of_user: bool,
}

impl Classifier {
    /// Brings the features to [`pixels::BACKBONE_LENGTH`], by operators that mean the same in all sets that are allowed.
    fn append_length(&self, graph: &mut Graph, features: &Value) -> Value {
        let rows = graph.node("Flatten", &[features], &[("axis", Attribute::Int(1))]);
        let squares = graph.node("Mul", &[&rows, &rows], &[]);
        let ones = graph.floats(&vec![1.0; self.dimension()], &[self.dimension(), 1]);
        let square = graph.node("MatMul", &[&squares, &ones], &[]);
        let length = graph.node("Sqrt", &[&square], &[]);
        let unit = graph.node("Div", &[&rows, &length], &[]);
        let wanted = graph.float(pixels::BACKBONE_LENGTH);
        graph.node("Mul", &[&unit, &wanted], &[])
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NoClassifier> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(NoClassifier)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<f64, NoClassifier> {
        self.take().map(f64::from_le_bytes)
    }
}
