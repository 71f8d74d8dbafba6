//! The pages, rendered with sample data and read as a browser reads them, without one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod contrast;
mod rendering;
mod request_samples;
mod samples;
