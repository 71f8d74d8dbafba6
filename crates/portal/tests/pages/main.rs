//! The pages, rendered with sample data and read as a browser reads them, without one.

mod contrast;
mod rendering;
mod samples;
