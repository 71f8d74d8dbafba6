//! Writing ONNX graphs, and reading them far enough to build on them.
//!
//! [`Graph`] builds a graph node by node and encodes it as a model of opset 13 and IR version 8, which every
//! runtime of the last years loads. [`Model`] is an encoded or decoded model; [`Graph::inline`] copies the nodes of
//! one into a graph that is being built, so that a fixed extractor can be followed by a trained head.
//!
//! Building is deterministic: the same calls give the same bytes.

mod build;
mod model;
mod proto;

pub use build::{Attribute, Dimension, ElementType, Graph, Value};
pub use model::{Model, OnnxError};

/// Version of the default operator set that a built model imports.
pub const OPSET: i64 = 13;
/// Version of the intermediate representation that a built model states.
pub const IR_VERSION: i64 = 8;
