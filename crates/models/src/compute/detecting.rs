//! Detectors: from stored maps to a model.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use habeas_core::kinds::{IterationDoc, ScoredTag};
use habeas_core::{Error, Result};
use habeas_learn::detection::{
    Detection, Detector, FeatureMaps, LabelledImage, Object, Region, TrainError, fit, sum_images,
};

use super::evaluation::{Evaluation, Said};
use super::{Computed, Features, Input, InputImage, damaged, id, impossible, number};

pub(super) fn train(
    input: &Input,
    features: &mut Features<'_>,
    threads: NonZeroUsize,
    watch: &mut impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Computed> {
    let images: Vec<LabelledImage> = input.images.iter().map(|image| labelled(input, image)).collect();
    let mut maps = |image: u128| -> Result<FeatureMaps> {
        let features = features(&[id(image)])?.pop().ok_or_else(damaged)?;
        FeatureMaps::from_bytes(&features).map_err(|_| damaged())
    };
    let sums = sum_images(&images, threads, &mut maps, &mut *watch).map_err(told)?;
    let fit = fit(&sums, &images, &mut maps, &mut *watch).map_err(told)?;
    let evaluation = Evaluation {
        images: input
            .images
            .iter()
            .map(|image| {
                let found = fit.held_out.iter().find(|held_out| held_out.image == number(image.id));
                let said = found.map(|held_out| {
                    held_out.detections.iter().filter_map(|found| said(input, found)).collect()
                });
                image.judged(said.unwrap_or_default())
            })
            .collect(),
    };
    super::evaluation::computed(fit.detector.to_bytes(), &evaluation, None, sums.digest())
}

fn labelled(input: &Input, image: &InputImage) -> LabelledImage {
    let objects = image
        .regions
        .iter()
        .map(|(tag, [left, top, width, height])| Object {
            tag: number(input.tags[*tag as usize]),
            region: Region { left: *left, top: *top, width: *width, height: *height },
        })
        .collect();
    LabelledImage { id: number(image.id), objects }
}

fn said(input: &Input, found: &Detection) -> Option<Said> {
    let tag = input.tags.iter().position(|tag| number(*tag) == found.tag)?;
    Some(Said {
        tag: tag as u32,
        probability: f64::from(found.probability),
        bounding_box: Some(sides(found.region)),
    })
}

fn sides(region: Region) -> [f64; 4] {
    [region.left, region.top, region.width, region.height]
}

fn told(error: TrainError<Error>) -> Error {
    match error {
        TrainError::NoObjects => {
            Error::invalid("there is nothing to learn: no image has a region, or all images are blank")
        }
        TrainError::Cancelled => Error::unavailable("the training was cancelled"),
        TrainError::Maps(error) => error,
        error => impossible(error),
    }
}

/// What was found, most probable first.
pub(super) fn score(detector: &Detector, doc: &IterationDoc, numbers: &[f32]) -> Result<Vec<ScoredTag>> {
    let maps = FeatureMaps::new(numbers.to_vec()).map_err(|_| damaged())?;
    Ok(detector
        .predict(&maps)
        .into_iter()
        .filter_map(|found| {
            let tag = doc.tags.iter().find(|tag| number(tag.id) == found.tag)?;
            Some(ScoredTag {
                tag: tag.id,
                name: tag.name.clone(),
                tag_type: tag.tag_type,
                probability: f64::from(found.probability),
                bounding_box: Some(sides(found.region)),
            })
        })
        .collect())
}
