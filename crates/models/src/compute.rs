//! The seam to `habeas_learn`: bytes of the store in, bytes for the store out; no I/O.

mod backbone;
mod classifying;
mod detecting;
mod evaluation;
mod extractor;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use habeas_core::kinds::{ImportedModel, IterationDoc, ModelState, ScoredTag, TrainingType};
use habeas_core::{Error, Id, Result};
use habeas_learn::detection::{self, Detector, FeatureMaps};
use habeas_learn::head::{Body, Classifier, Sums};
use habeas_learn::{imaging, pixels};
use habeas_onnx::{PHI_V1, Runner};

use crate::TrainingSet;

pub use backbone::Backbone;
use extractor::Base;
pub(crate) use extractor::Extractor;

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
    backbones: Vec<backbone::Loaded>,
}

impl Compute {
    /// Loads `backbones`; the built-in extractors are loaded when they are first needed. `threads` is how many take part in sums.
    pub(crate) fn new(decoding: imaging::Limits, threads: usize, backbones: &[Backbone]) -> Result<Compute> {
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let backbones = backbones.iter().map(backbone::Loaded::new).collect::<Result<_>>()?;
        Ok(Compute { decoding, threads, phi: OnceLock::new(), maps: OnceLock::new(), backbones })
    }

    /// The extractor that an iteration uses: that of its model, also of one that is yet to be computed, or else that of its domain.
    /// [`habeas_core::ErrorKind::Conflict`] where this version does not know it.
    pub(crate) fn extractor(&self, doc: &IterationDoc) -> Result<Extractor> {
        let awaited = || doc.imported.as_ref().and_then(ImportedModel::awaited);
        match doc.model.as_ref().map(|model| model.extractor.as_str()).or_else(awaited) {
            Some(name) => Extractor::named(name).ok_or_else(|| {
                Error::conflict(format!(
                    "the model was trained on '{name}', which this version does not know"
                ))
                .hint("a newer version of this server may know it; the project can be trained again here")
            }),
            None => Ok(self.extractor_for(doc.domain, doc.classification_type.as_deref(), doc.training_type)),
        }
    }

    /// The extractor that a training uses.
    pub(crate) fn extractor_for(
        &self,
        domain: Id,
        classification_type: Option<&str>,
        training_type: TrainingType,
    ) -> Extractor {
        if classification_type.is_none() {
            return Extractor::MAPS;
        }
        let of_domain = |domain| self.backbones.iter().find(|backbone| backbone.domain == domain);
        let base = of_domain(Some(domain)).or_else(|| of_domain(None));
        let base = base.map_or(Extractor::PHI, backbone::Loaded::extractor);
        Extractor { views: training_type == TrainingType::Advanced, ..base }
    }

    /// The backbone with this digest.
    fn backbone(&self, digest: [u8; 32]) -> Result<&backbone::Loaded> {
        self.backbones.iter().find(|backbone| backbone.digest == digest).ok_or_else(|| {
            Error::conflict("the model was trained on a backbone that this server does not have")
                .hint(format!(
                    "the operator starts the server with --backbone and the file whose SHA-256 is {}, or the project is trained again",
                    hex::encode(digest)
                ))
        })
    }

    /// Width and height, in pixels, to which images are stretched.
    pub(crate) fn side(&self, extractor: Extractor) -> Result<usize> {
        Ok(match extractor.base {
            Base::Phi => pixels::PHI_SIDE,
            Base::Maps => detection::SIDE,
            Base::Backbone(digest) => self.backbone(digest)?.side,
        })
    }

    /// What an extractor makes of the bytes of an image: one row, a row for each view, or maps.
    pub(crate) fn numbers(&self, extractor: Extractor, bytes: &[u8]) -> Result<Vec<f32>> {
        let side = self.side(extractor)?;
        let pixels = pixels::stretched(bytes, &self.decoding, side)?;
        if extractor == Extractor::MAPS {
            let input = detection::maps_input(&pixels).map_err(impossible)?;
            return run(loaded(&self.maps, || Runner::load(&detection::maps_model().encode()))?, &input);
        }
        if !extractor.views {
            return self.row(extractor, &pixels);
        }
        let mut rows = Vec::new();
        for view in pixels::views(&pixels, side) {
            rows.extend(self.row(extractor, &view)?);
        }
        Ok(rows)
    }

    /// One row of an image that was stretched.
    fn row(&self, extractor: Extractor, pixels: &[u8]) -> Result<Vec<f32>> {
        match extractor.base {
            Base::Backbone(digest) => self.backbone(digest)?.numbers(pixels),
            _ => run(loaded(&self.phi, || Runner::load(PHI_V1))?, &pixels::planes(pixels)),
        }
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
        let (mut graph, extractor) = match (self.open(doc, weights)?, self.extractor(doc)?.base) {
            (Model::Classifier(classifier), Base::Backbone(digest)) => {
                let backbone = self.backbone(digest)?;
                (classifier.to_onnx(&backbone.body()).map_err(impossible)?, digest)
            }
            (Model::Classifier(classifier), _) => {
                let phi = habeas_learn::onnx::Model::decode(PHI_V1).map_err(impossible)?;
                let body = Body { model: &phi, side: pixels::PHI_SIDE, of_user: false };
                (classifier.to_onnx(&body).map_err(impossible)?, habeas_core::crypto::sha256(PHI_V1))
            }
            (Model::Detector(detector), _) => {
                let graph = detector.to_onnx().ok_or_else(|| Error::internal("a detector has other maps"))?;
                (graph, habeas_core::crypto::sha256(&detection::maps_model().encode()))
            }
        };
        for (key, value) in metadata {
            graph.set_metadata(key, value);
        }
        Ok(PortableModel { onnx: graph.encode(), extractor_digest: hex::encode(extractor) })
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
