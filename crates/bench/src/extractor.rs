//! The built-in feature extractor alone, on all processors: what training and prediction cannot be faster than.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use habeas_learn::{imaging, pixels};
use habeas_onnx::{PHI_V1, Runner};

/// As many as there are processors.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The rows of images, in their order, and how long that took on all processors: decoding, stretching and the graph.
pub(crate) fn rows(images: &[Bytes]) -> anyhow::Result<(Vec<Vec<i16>>, Duration)> {
    let runner = Runner::load(PHI_V1)?;
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Vec<(usize, Vec<i16>)>> {
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(image) = images.get(index) else { return Ok(made) };
            let pixels = pixels::stretched(image, &imaging::Limits::default(), pixels::PHI_SIDE)?;
            let numbers = runner.run(&pixels::planes(&pixels))?;
            made.push((index, pixels::quantise(numbers.first().context("the graph has no output")?)));
        }
    };
    let begun = Instant::now();
    let mut rows = std::thread::scope(|scope| -> anyhow::Result<Vec<(usize, Vec<i16>)>> {
        let running: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        let mut rows = Vec::new();
        for thread in running {
            rows.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok(rows)
    })?;
    let took = begun.elapsed();
    rows.sort_unstable_by_key(|(index, _)| *index);
    Ok((rows.into_iter().map(|(_, row)| row).collect(), took))
}
