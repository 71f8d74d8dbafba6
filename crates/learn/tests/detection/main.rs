//! Detectors: what they find, what they forget, and how well they say how good they are.

mod made;

mod learning;
mod metrics;
mod onnx_runner;
mod photos;
mod stored;
mod unlearning;
