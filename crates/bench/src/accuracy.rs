//! How well the built-in extractor does on sets of photographs, against the figures of its specification.
//!
//! Needs the folder of image sets, `HABEAS_BENCH_IMAGES`: in it a folder for each set, with a folder for each class in it. The first files of each class
//! are trained on; the accuracy is that of held-out scores, and that on the rest of the files.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use habeas_learn::head::{Sums, TrainingImage, TrainingSet, fit};
use habeas_learn::pixels;

use crate::extractor;
use crate::report::Report;

/// A set, how many images of a class are trained on, how many classes at most, and the accuracies expected on them and on the rest.
const SETS: [(&str, usize, usize, f64, f64); 3] =
    [("sign", 30, 10, 0.880, 0.943), ("clothing", 40, 10, 0.610, 0.705), ("grocery", 36, 14, 0.937, 0.911)];
/// How far an accuracy may be below the one expected.
const POINTS: f64 = 0.02;

pub(crate) fn measure(report: &mut Report) -> anyhow::Result<()> {
    let Some(folder) = std::env::var_os("HABEAS_BENCH_IMAGES").map(PathBuf::from) else {
        report.skip("accuracy on photographs", "HABEAS_BENCH_IMAGES names no folder of image sets");
        return Ok(());
    };
    for (name, each, classes, expected, expected_rest) in SETS {
        let set = folder.join(name);
        if !set.is_dir() {
            report.skip(&format!("accuracy on {name}"), "the set is not there");
            continue;
        }
        let (trained, rest) = files(&set, each, classes)?;
        let (held_out, of_rest) = accuracies(&trained, &rest)?;
        for (what, count, measured, expected) in [
            ("held-out accuracy", trained.len(), held_out, expected),
            ("accuracy on the rest", rest.len(), of_rest, expected_rest),
        ] {
            report.add(
                &format!("{what} of {name}, {count} images"),
                format!("{:.1} %", measured * 100.0),
                &format!("{:.1} %, less 2 points", expected * 100.0),
                measured >= expected - POINTS,
            );
        }
    }
    Ok(())
}

/// Files with their class.
type Labelled = Vec<(usize, Bytes)>;

/// The first files of each class, and the rest, in the order of their names.
fn files(set: &Path, each: usize, classes: usize) -> anyhow::Result<(Labelled, Labelled)> {
    let sorted = |folder: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let (mut trained, mut rest) = (Vec::new(), Vec::new());
    let folders: Vec<PathBuf> = sorted(set)?.into_iter().filter(|path| path.is_dir()).collect();
    for (class, folder) in folders.iter().take(classes).enumerate() {
        for (place, path) in sorted(folder)?.iter().enumerate() {
            let bytes = Bytes::from(std::fs::read(path)?);
            if place < each { &mut trained } else { &mut rest }.push((class, bytes));
        }
    }
    Ok((trained, rest))
}

/// Of held-out scores, and of the images that were not trained on; 0 to 1.
fn accuracies(trained: &Labelled, rest: &Labelled) -> anyhow::Result<(f64, f64)> {
    let bytes = |images: &Labelled| images.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
    let (rows, _) = extractor::rows(&bytes(trained))?;
    let (asked, _) = extractor::rows(&bytes(rest))?;
    let classes = trained.iter().map(|(class, _)| class + 1).max().unwrap_or_default();
    let labels =
        trained.iter().zip(0..).map(|((class, _), id)| TrainingImage { id, tags: vec![*class] }).collect();
    let dimension = rows.first().map_or(0, Vec::len);
    let set = TrainingSet::new::<Infallible>(dimension, 1, classes, labels)?;
    let load =
        |ids: &[u128]| Ok::<_, Infallible>(ids.iter().flat_map(|id| rows[*id as usize].clone()).collect());
    let threads = NonZeroUsize::new(extractor::threads()).unwrap_or(NonZeroUsize::MIN);
    let go_on = |_| ControlFlow::Continue(());
    let sums = Sums::new(&set, threads, load, go_on)?;
    let fit = fit(&set, &sums, threads, load, go_on)?;
    let said: Vec<Vec<f64>> = asked
        .iter()
        .map(|row| {
            let features = pixels::features_of_row(row);
            let heads = fit.head.weights.iter().zip(&fit.head.bias);
            heads
                .map(|(weights, bias)| {
                    bias + weights.iter().zip(&features).map(|(w, f)| w * f64::from(*f)).sum::<f64>()
                })
                .collect()
        })
        .collect();
    Ok((right(&fit.held_out, trained), right(&said, rest)))
}

/// The share of images whose highest score is that of their class.
fn right(scores: &[Vec<f64>], images: &Labelled) -> f64 {
    let hits = scores.iter().zip(images).filter(|(scores, (class, _))| {
        scores.iter().enumerate().all(|(other, score)| other == *class || *score < scores[*class])
    });
    hits.count() as f64 / images.len().max(1) as f64
}
