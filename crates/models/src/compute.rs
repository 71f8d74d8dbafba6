//! The seam to `habeas_learn`: bytes of the store in, bytes for the store out; no I/O.

use std::sync::atomic::AtomicBool;

use habeas_core::kinds::{IterationDoc, ScoredTag, TrainingType};
use habeas_core::{Error, Id, Result};
use habeas_learn::imaging;

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
#[expect(dead_code, reason = "read by the heads, which are not wired yet")]
pub(crate) struct InputImage {
    pub(crate) id: Id,
    pub(crate) features: Vec<u8>,
    /// Places of its tags in [`Input::tags`], ascending.
    pub(crate) tags: Vec<u32>,
    /// Boxes: place of the tag; left, top, width, height.
    pub(crate) regions: Vec<(u32, [f64; 4])>,
}

/// Everything that a model is a function of.
#[expect(dead_code, reason = "read by the heads, which are not wired yet")]
pub(crate) struct Input {
    pub(crate) detection: bool,
    pub(crate) multiclass: bool,
    pub(crate) advanced: bool,
    pub(crate) tags: Vec<Id>,
    /// In the order of their ids.
    pub(crate) images: Vec<InputImage>,
}

impl Input {
    /// Brings snapshot and features together. Features of images that the snapshot does not have are left out.
    pub(crate) fn new(doc: &IterationDoc, set: &TrainingSet, features: Vec<(Id, Vec<u8>)>) -> Result<Input> {
        let tags: Vec<Id> = doc.tags.iter().map(|tag| tag.id).collect();
        let place = |id: &Id| tags.iter().position(|tag| tag == id).map(|place| place as u32);
        let mut images = Vec::with_capacity(features.len());
        for (id, features) in features {
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
            images.push(InputImage { id, features, tags: carried, regions });
        }
        images.sort_by_key(|image| image.id);
        Ok(Input {
            detection: doc.classification_type.is_none(),
            multiclass: doc.classification_type.as_deref() == Some("Multiclass"),
            advanced: doc.training_type == TrainingType::Advanced,
            tags,
            images,
        })
    }
}

/// What a training gives, as it is stored.
pub(crate) struct Computed {
    pub(crate) weights: Vec<u8>,
    pub(crate) sums: Option<Vec<u8>>,
    /// None while the weights are interim.
    pub(crate) evaluation: Option<Vec<u8>>,
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
pub(crate) struct Model {}

impl Model {
    /// Tags, most probable first.
    pub(crate) fn score(&self, _doc: &IterationDoc, _features: &[u8]) -> Result<Vec<ScoredTag>> {
        Err(pending())
    }
}

/// Feature extractors and heads.
pub(crate) struct Compute {
    decoding: imaging::Limits,
}

impl Compute {
    pub(crate) fn new(decoding: imaging::Limits) -> Compute {
        Compute { decoding }
    }

    /// Features of the bytes of an image, as they are stored.
    pub(crate) fn features(&self, _extractor: Extractor, bytes: &[u8]) -> Result<Vec<u8>> {
        imaging::inspect(bytes, &self.decoding)?;
        Err(pending())
    }

    /// Everything about a model.
    pub(crate) fn train(&self, _input: &Input, _cancelled: &AtomicBool) -> Result<Computed> {
        Err(pending())
    }

    /// Weights with the penalty that an older model has; without an evaluation where that saves time.
    pub(crate) fn quick(&self, _input: &Input, _old: &[u8], _cancelled: &AtomicBool) -> Result<Computed> {
        Err(pending())
    }

    /// Weights from exact sums of which the images in `leaving` are subtracted; none where `left` images are solved without sums.
    pub(crate) fn subtract(
        &self,
        _sums: &[u8],
        _old: &[u8],
        _leaving: &Input,
        _left: usize,
    ) -> Result<Option<Computed>> {
        Err(pending())
    }

    /// Opens stored weights.
    pub(crate) fn open(&self, _doc: &IterationDoc, _weights: &[u8]) -> Result<Model> {
        Err(pending())
    }

    /// Stored weights as one ONNX graph that carries `metadata`; the labels in the order in which the model numbers its tags.
    pub(crate) fn export(
        &self,
        _doc: &IterationDoc,
        _weights: &[u8],
        _labels: &[String],
        _metadata: &[(&str, String)],
    ) -> Result<PortableModel> {
        Err(pending())
    }

    /// See [`crate::Models::performance`].
    pub(crate) fn performance(
        &self,
        _doc: &IterationDoc,
        _evaluation: &[u8],
        _threshold: f64,
        _overlap: f64,
    ) -> Result<Performance> {
        Err(pending())
    }

    /// See [`crate::Models::image_performances`].
    pub(crate) fn image_performances(
        &self,
        _doc: &IterationDoc,
        _evaluation: &[u8],
    ) -> Result<Vec<ImagePerformance>> {
        Err(pending())
    }

    /// Boxes that are likely to hold something, from stored maps.
    pub(crate) fn propose(&self, _maps: &[u8]) -> Result<Vec<Proposal>> {
        Err(pending())
    }
}

fn pending() -> Error {
    Error::not_implemented("learning is not wired yet")
}
