//! The seam to `habeas_learn`: bytes of the store in, bytes for the store out; no I/O.

mod classifying;
mod detecting;
mod evaluation;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use habeas_core::kinds::{IterationDoc, ModelState, ScoredTag, TrainingType};
use habeas_core::{Error, Id, Result};
use habeas_learn::detection::{self, Detector, FeatureMaps};
use habeas_learn::head::{Classifier, Sums};
use habeas_learn::{imaging, pixels};
use habeas_onnx::{PHI_V1, Runner};

use crate::TrainingSet;

/// A way from pixels to numbers. Its name stands in the data map and in every model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extractor {
    name: &'static str,
}

impl Extractor {
    /// One row of 5,424 numbers.
    pub(crate) const PHI: Extractor = Extractor { name: "phi-v1" };
    /// One row for the image and one for each of its four views.
    pub(crate) const PHI_VIEWS: Extractor = Extractor { name: "phi-v1-views" };
    /// Maps of a detector.
    pub(crate) const MAPS: Extractor = Extractor { name: "maps-v1" };

    /// The one that an iteration uses.
    pub(crate) fn of(doc: &IterationDoc) -> Extractor {
        match (&doc.classification_type, doc.training_type) {
            (None, _) => Extractor::MAPS,
            (Some(_), TrainingType::Regular) => Extractor::PHI,
            (Some(_), TrainingType::Advanced) => Extractor::PHI_VIEWS,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    /// Width and height, in pixels, to which images are stretched.
    pub(crate) fn side(self) -> u32 {
        if self == Extractor::MAPS { 192 } else { 224 }
    }
}

/// One image as training sees it.
pub(crate) struct InputImage {
    pub(crate) id: Id,
    /// Places of its tags in [`Input::tags`], ascending.
    pub(crate) tags: Vec<u32>,
    /// Boxes: place of the tag; left, top, width, height.
    pub(crate) regions: Vec<(u32, [f64; 4])>,
}

/// Loads the stored features of images: of each of them, in the order given, or an error.
pub(crate) type Features<'a> = dyn FnMut(&[Id]) -> Result<Vec<Vec<u8>>> + 'a;

/// Everything that a model is a function of, but the features of the images.
pub(crate) struct Input {
    pub(crate) detection: bool,
    pub(crate) multiclass: bool,
    pub(crate) advanced: bool,
    pub(crate) tags: Vec<Id>,
    /// In the order of their ids.
    pub(crate) images: Vec<InputImage>,
}

impl Input {
    /// What the snapshot has of these images. Those that it does not have are left out.
    pub(crate) fn new(doc: &IterationDoc, set: &TrainingSet, images: &[Id]) -> Input {
        let tags = doc.tags.iter().map(|tag| tag.id).collect();
        Input::of(doc.classification_type.as_deref(), doc.training_type, tags, set, images)
    }

    /// The same from the parts of an iteration that matter.
    pub(crate) fn of(
        classification_type: Option<&str>,
        training_type: TrainingType,
        tags: Vec<Id>,
        set: &TrainingSet,
        images: &[Id],
    ) -> Input {
        let place = |id: &Id| tags.iter().position(|tag| tag == id).map(|place| place as u32);
        let mut known = Vec::with_capacity(images.len());
        for &id in images {
            let Ok(found) = set.images.binary_search_by_key(&id, |image| image.id) else { continue };
            let image = &set.images[found];
            let mut carried: Vec<u32> = image.tags.iter().filter_map(|(tag, _)| place(tag)).collect();
            carried.sort_unstable();
            let regions = image
                .regions
                .iter()
                .filter_map(|region| {
                    Some((place(&region.tag)?, [region.left, region.top, region.width, region.height]))
                })
                .collect();
            known.push(InputImage { id, tags: carried, regions });
        }
        known.sort_by_key(|image| image.id);
        Input {
            detection: classification_type.is_none(),
            multiclass: classification_type == Some("Multiclass"),
            advanced: training_type == TrainingType::Advanced,
            tags,
            images: known,
        }
    }
}

/// What a training or an unlearning gives, as it is stored.
pub(crate) struct Computed {
    pub(crate) state: ModelState,
    pub(crate) weights: Vec<u8>,
    /// None of interim weights.
    pub(crate) evaluation: Option<Vec<u8>>,
    /// Where they are worth keeping: those of more rows than features.
    pub(crate) sums: Option<Sums>,
    pub(crate) sums_digest: String,
    pub(crate) state_digest: String,
}

/// How well a tag is recognised, all 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct TagPerformance {
    /// The tag.
    pub tag: Id,
    /// Its name in the iteration.
    pub name: String,
    /// Of what was predicted, how much is right.
    pub precision: f64,
    /// Standard deviation of the precision over five folds.
    pub precision_deviation: f64,
    /// Of what is there, how much was predicted.
    pub recall: f64,
    /// Standard deviation of the recall over five folds.
    pub recall_deviation: f64,
    /// Precision averaged over all thresholds.
    pub average_precision: f64,
}

/// How well an iteration does, all 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Performance {
    /// By tag, in the order of the iteration.
    pub tags: Vec<TagPerformance>,
    /// Over all tags together.
    pub precision: f64,
    /// Standard deviation of the precision over five folds.
    pub precision_deviation: f64,
    /// Over all tags together.
    pub recall: f64,
    /// Standard deviation of the recall over five folds.
    pub recall_deviation: f64,
    /// Mean over tags.
    pub average_precision: f64,
}

/// What an iteration said of a training image that it was not shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePerformance {
    /// The image.
    pub image: Id,
    /// Most probable first.
    pub predictions: Vec<ScoredTag>,
}

/// A box that is likely to hold something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// 0 to 1.
    pub confidence: f64,
    /// Left, top, width, height in fractions of the image.
    pub bounding_box: [f64; 4],
}

/// A model in a portable form.
pub(crate) struct PortableModel {
    /// One ONNX graph from the pixels of a stretched image to probabilities or boxes.
    pub(crate) onnx: Vec<u8>,
    /// SHA-256 of the extractor's own file, in hexadecimal.
    pub(crate) extractor_digest: String,
}

/// A model ready to answer.
pub(crate) enum Model {
    Classifier(Classifier),
    Detector(Detector),
}

impl Model {
    /// Tags, most probable first. `numbers` are those of [`Compute::numbers`].
    pub(crate) fn score(&self, doc: &IterationDoc, numbers: &[f32]) -> Result<Vec<ScoredTag>> {
        match self {
            Model::Classifier(classifier) => classifying::score(classifier, doc, numbers),
            Model::Detector(detector) => detecting::score(detector, doc, numbers),
        }
    }
}

/// Feature extractors and heads.
pub(crate) struct Compute {
    decoding: imaging::Limits,
    threads: NonZeroUsize,
    phi: OnceLock<Runner>,
    maps: OnceLock<Runner>,
}

impl Compute {
    /// Loads no extractor yet. `threads` is how many take part in sums.
    pub(crate) fn new(decoding: imaging::Limits, threads: usize) -> Compute {
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        Compute { decoding, threads, phi: OnceLock::new(), maps: OnceLock::new() }
    }

    /// What an extractor makes of the bytes of an image: one row, a row for each view, or maps.
    pub(crate) fn numbers(&self, extractor: Extractor, bytes: &[u8]) -> Result<Vec<f32>> {
        if extractor == Extractor::MAPS {
            let pixels = pixels::stretched(bytes, &self.decoding, detection::SIDE)?;
            let input = detection::maps_input(&pixels).map_err(impossible)?;
            return run(loaded(&self.maps, || Runner::load(&detection::maps_model().encode()))?, &input);
        }
        let phi = loaded(&self.phi, || Runner::load(PHI_V1))?;
        let pixels = pixels::stretched(bytes, &self.decoding, pixels::PHI_SIDE)?;
        if extractor == Extractor::PHI {
            return run(phi, &pixels::planes(&pixels));
        }
        let mut rows = Vec::new();
        for view in pixels::views(&pixels, pixels::PHI_SIDE) {
            rows.extend(run(phi, &pixels::planes(&view))?);
        }
        Ok(rows)
    }

    /// Features of the bytes of an image, as they are stored: the record that models are trained from.
    pub(crate) fn features(&self, extractor: Extractor, bytes: &[u8]) -> Result<Vec<u8>> {
        let numbers = self.numbers(extractor, bytes)?;
        if extractor == Extractor::MAPS {
            return Ok(FeatureMaps::new(numbers).map_err(impossible)?.to_bytes());
        }
        Ok(pixels::row_to_bytes(&pixels::quantise(&numbers)))
    }

    /// The numbers that stored features stand for; rows were rounded when they were stored.
    pub(crate) fn numbers_of(extractor: Extractor, features: &[u8]) -> Result<Vec<f32>> {
        if extractor == Extractor::MAPS {
            let (numbers, rest) = features.as_chunks::<4>();
            return if rest.is_empty() {
                Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            } else {
                Err(damaged())
            };
        }
        Ok(pixels::features_of_row(&pixels::row_from_bytes(features).ok_or_else(damaged)?))
    }

    /// Everything about a model. `kept` are the sums over the same images, if they are there. [`habeas_core::ErrorKind::Invalid`] when
    /// there is nothing to learn.
    pub(crate) fn train(
        &self,
        input: &Input,
        features: &mut Features<'_>,
        kept: Option<Sums>,
        cancelled: &AtomicBool,
    ) -> Result<Computed> {
        let mut watch = |_: f32| {
            if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if input.detection {
            detecting::train(input, features, self.threads, &mut watch)
        } else {
            classifying::train(input, features, kept, self.threads, &mut watch)
        }
    }

    /// What a classifier answers with until everything about it is computed again: the weights of `input`, with the penalty and the
    /// calibration of `old`. `kept` are the sums over `input` and `gone` together; with them `features` is asked for `gone` only, unless
    /// few images are left.
    pub(crate) fn interim(
        &self,
        input: &Input,
        gone: &Input,
        old: Classifier,
        kept: Option<Sums>,
        features: &mut Features<'_>,
    ) -> Result<Computed> {
        classifying::interim(input, gone, old, kept, features, self.threads)
    }

    /// Opens stored weights.
    pub(crate) fn open(&self, doc: &IterationDoc, weights: &[u8]) -> Result<Model> {
        let wrong = || Error::damaged("the weights of an iteration cannot be read");
        Ok(if doc.classification_type.is_none() {
            Model::Detector(Detector::from_bytes(weights).map_err(|_| wrong())?)
        } else {
            Model::Classifier(Classifier::from_bytes(weights).map_err(|_| wrong())?)
        })
    }

    /// Stored weights as one ONNX graph that carries `metadata`; the labels in the order in which the model numbers its tags.
    pub(crate) fn export(
        &self,
        doc: &IterationDoc,
        weights: &[u8],
        metadata: &[(&str, String)],
    ) -> Result<PortableModel> {
        let (mut graph, extractor) = match self.open(doc, weights)? {
            Model::Classifier(classifier) => {
                let phi = habeas_learn::onnx::Model::decode(PHI_V1).map_err(impossible)?;
                (classifier.to_onnx(&phi).map_err(impossible)?, PHI_V1.to_vec())
            }
            Model::Detector(detector) => {
                let graph = detector.to_onnx().ok_or_else(|| Error::internal("a detector has other maps"))?;
                (graph, detection::maps_model().encode())
            }
        };
        for (key, value) in metadata {
            graph.set_metadata(key, value);
        }
        Ok(PortableModel {
            onnx: graph.encode(),
            extractor_digest: hex::encode(habeas_core::crypto::sha256(&extractor)),
        })
    }

    /// The names of the tags in the order in which an exported model numbers them.
    pub(crate) fn labels(&self, doc: &IterationDoc, weights: &[u8]) -> Result<Vec<String>> {
        let tags: Vec<u128> = match self.open(doc, weights)? {
            Model::Classifier(classifier) => classifier.tags().to_vec(),
            Model::Detector(detector) => detector.tags().collect(),
        };
        Ok(tags
            .into_iter()
            .map(|id| {
                doc.tags
                    .iter()
                    .find(|tag| number(tag.id) == id)
                    .map_or_else(String::new, |tag| tag.name.clone())
            })
            .collect())
    }

    /// See [`crate::Models::performance`].
    pub(crate) fn performance(
        &self,
        doc: &IterationDoc,
        evaluation: &[u8],
        threshold: f64,
        overlap: f64,
    ) -> Result<Performance> {
        evaluation::performance(doc, evaluation, threshold, overlap)
    }

    /// See [`crate::Models::image_performances`].
    pub(crate) fn image_performances(
        &self,
        doc: &IterationDoc,
        evaluation: &[u8],
    ) -> Result<Vec<ImagePerformance>> {
        evaluation::image_performances(doc, evaluation)
    }

    /// Boxes that are likely to hold something, from stored maps.
    pub(crate) fn propose(&self, maps: &[u8]) -> Result<Vec<Proposal>> {
        let maps = FeatureMaps::from_bytes(maps).map_err(|_| damaged())?;
        Ok(detection::propose_regions(&maps)
            .into_iter()
            .map(|proposal| {
                let region = proposal.region;
                Proposal {
                    confidence: f64::from(proposal.confidence),
                    bounding_box: [region.left, region.top, region.width, region.height],
                }
            })
            .collect())
    }
}

/// An id as `habeas_learn` has it.
fn number(id: Id) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}

/// The id that is this number.
fn id(number: u128) -> Id {
    Id::from_bytes(number.to_be_bytes())
}

fn loaded(
    slot: &OnceLock<Runner>,
    load: impl FnOnce() -> std::result::Result<Runner, habeas_onnx::OnnxError>,
) -> Result<&Runner> {
    if slot.get().is_none() {
        // Two may load it at once; they load the same.
        let _ = slot.set(load().map_err(impossible)?);
    }
    slot.get().ok_or_else(|| Error::internal("a feature extractor was not loaded"))
}

fn run(runner: &Runner, input: &[f32]) -> Result<Vec<f32>> {
    let outputs = runner.run(input).map_err(impossible)?;
    outputs.into_iter().next().ok_or_else(|| Error::internal("a feature extractor gave no output"))
}

fn damaged() -> Error {
    Error::damaged("the stored features of an image cannot be read")
}

/// What cannot happen with graphs and images that come from here.
fn impossible(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a model could not be computed: {error}"))
}
