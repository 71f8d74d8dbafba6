//! Running ONNX graphs with tract, so that nothing else pays for its build: over images ([`Runner`]), and any within bounds ([`Graph`]).

mod graph;

use std::io::Cursor;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::DimLike as _;

pub use graph::{Array, Element, Graph, Limits, Port, Values};

/// The built-in extractor phi-v1: input 1 x 3 x 224 x 224, RGB 0 to 1; output 5,424 features, each -1 to 1. It is fixed:
/// its constants were fitted to procedural images, and it never learns from anybody's data.
pub const PHI_V1: &[u8] = include_bytes!("../models/phi_v1.onnx");

/// Why a graph cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are no ONNX graph, or one with operators that are not supported.
    #[error("the ONNX graph cannot be loaded: {0}")]
    Load(String),
    /// The graph is not one over images.
    #[error("the ONNX graph has no single input of 1 x 3 x height x width numbers: {0}")]
    Input(String),
    /// Running the graph would take more than is allowed.
    #[error("the ONNX graph is too large: {0}")]
    Limit(String),
    /// The numbers given do not fit, or an operator failed.
    #[error("the ONNX graph cannot be run: {0}")]
    Run(String),
}

/// A graph that is ready to run; shared by threads.
#[derive(Clone)]
pub struct Runner {
    plan: Arc<TypedRunnableModel>,
    height: usize,
    width: usize,
}

impl Runner {
    /// Loads a graph with one input of N x 3 x height x width numbers and prepares it for one image at a time. Takes 40 to 70 ms for the
    /// built-in extractor.
    pub fn load(graph: &[u8]) -> Result<Runner, OnnxError> {
        let failed = |error: TractError| OnnxError::Load(format!("{error:#}"));
        let model = tract_onnx::onnx().model_for_read(&mut Cursor::new(graph)).map_err(failed)?;
        if model.inputs.len() != 1 {
            return Err(OnnxError::Input(format!("it has {} inputs", model.inputs.len())));
        }
        let fact = model.input_fact(0).map_err(failed)?;
        let sides: Vec<Option<usize>> =
            fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok())).collect();
        let [_, Some(3), Some(height), Some(width)] = sides[..] else {
            let shown: Vec<String> = sides
                .iter()
                .map(|side| side.map_or_else(|| "?".to_owned(), |side| side.to_string()))
                .collect();
            return Err(OnnxError::Input(format!("its input is {}", shown.join(" x "))));
        };
        let plan = model
            .with_input_fact(0, f32::fact([1, 3, height, width]).into())
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable())
            .map_err(failed)?;
        Ok(Runner { plan, height, width })
    }

    /// Height and width of the images it takes, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// How many numbers the graph gives for an image, if it has one output and that is a vector: of shape 1 x n, or 1 x n x 1 x 1.
    pub fn vector_length(&self) -> Option<usize> {
        let model = self.plan.model();
        let [output] = model.outputs[..] else { return None };
        let shape = model.outlet_fact(output).ok()?.shape.as_concrete()?.to_vec();
        match shape[..] {
            [1, length] | [1, length, 1, 1] => Some(length),
            _ => None,
        }
    }

    /// Runs the graph over one image, 3 x height x width numbers, row by row, channel by channel; the numbers of each output.
    pub fn run(&self, image: &[f32]) -> Result<Vec<Vec<f32>>, OnnxError> {
        let failed = |error: TractError| OnnxError::Run(format!("{error:#}"));
        let input = Tensor::from_shape(&[1, 3, self.height, self.width], image).map_err(failed)?;
        let outputs = self.plan.run(tvec!(input.into())).map_err(failed)?;
        outputs
            .iter()
            .map(|output| {
                let view = output.to_plain_array_view::<f32>().map_err(failed)?;
                Ok(view.iter().copied().collect())
            })
            .collect()
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("height", &self.height)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}
