//! What Habeas computes from data: pure functions over bytes.
//!
//! **Invariant:** nothing here does I/O, reads a clock or draws random numbers: the same input always gives the
//! same output, so that what was derived from a person's data can be derived again, or shown not to be.
//!
//! [`imaging`] decides whether an uploaded image is accepted and makes the scaled copies that are shown. [`detection`]
//! finds objects, [`head`] classifies what [`pixels`] prepared. [`onnx`] writes models that other programs can run.

pub mod detection;
pub mod head;
pub mod imaging;
pub mod onnx;
pub mod pixels;
