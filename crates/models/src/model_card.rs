//! The card that goes with an exported model: what it is, how good it is, and when it must no longer be used.

use std::fmt::Write as _;

use habeas_core::kinds::{IterationDoc, ModelState, TrainedModel, TrainingType};
use habeas_core::{Node, Timestamp};
use serde_json::{Value, json};

use crate::compute::Performance;
use crate::exporting::{OVERLAP, THRESHOLD};

/// Where the list of revoked models lies on the server that wrote the model.
const REVOKED: &str = "/api/privacy/v1/revoked-models";

/// What the built-in extractor is good for, in plain words.
const BUILT_IN: &str = "The extractor is fixed and small and was never trained on photographs: it tells apart textures, colours and coarse shapes. It does well \
     on textures, products, documents, gestures and parts in front of one camera, and clearly worse than a large pretrained network on free \
     photos of objects, and where classes differ in small or rare details.";

/// What is not known of an extractor that the operator brought.
const OF_USER: &str = "The extractor is one that the operator of the server brought. What it was trained on is not known here, and it cannot forget that: only \
     what this model learned on top of it is unlearned.";

/// What is missing in the graph of an advanced training.
const ADVANCED: &str = "Of an image the server also looks at views that are cut or mirrored, where that was measured to be better, and averages the scores. The \
     graph looks at the image itself only: its probabilities differ from the server's.";

/// What holds for all.
const LIMITS: &[&str] = &[
    "The metrics are from images that the model was not shown, but of the same collection: images from another camera, light or place \
     usually do worse.",
    "Probabilities are calibrated on the training images and their mix of tags; with another mix they are off.",
    "Weights are not proven anonymous: treat the model as personal data where the images are.",
];

/// A card in the making.
pub(crate) struct Card<'a> {
    pub(crate) iteration: &'a Node<IterationDoc>,
    pub(crate) model: &'a TrainedModel,
    /// Width and height, in pixels, of what goes into the model.
    pub(crate) side: usize,
    /// Whether the extractor is one that the operator brought.
    pub(crate) is_of_user: bool,
    pub(crate) extractor_digest: &'a str,
    /// SHA-256 of the model file, in hexadecimal.
    pub(crate) digest: &'a str,
    pub(crate) performance: Option<&'a Performance>,
    pub(crate) written_at: Timestamp,
}

impl Card<'_> {
    fn task(&self) -> &'static str {
        match self.iteration.doc.classification_type.as_deref() {
            None => "object detection",
            Some("Multiclass") => "classification, one tag for each image",
            Some(_) => "classification, any number of tags for each image",
        }
    }

    fn limits(&self) -> Vec<&'static str> {
        let doc = &self.iteration.doc;
        let mut limits = vec![if self.is_of_user { OF_USER } else { BUILT_IN }];
        if doc.classification_type.is_some() && doc.training_type == TrainingType::Advanced {
            limits.push(ADVANCED);
        }
        limits.extend(LIMITS);
        limits
    }

    fn preprocessing(&self) -> String {
        format!(
            "Turn the image upright by its EXIF orientation and stretch it to {0} x {0} pixels, whatever its aspect ratio. Another way of \
             resizing changes probabilities slightly.",
            self.side
        )
    }

    pub(crate) fn json(&self) -> Value {
        let doc = &self.iteration.doc;
        json!({
            "format": "habeas-model-card/1",
            "task": self.task(),
            "modelFile": "model.onnx",
            "modelSha256": self.digest,
            "projectId": self.iteration.parent,
            "iterationId": self.iteration.id,
            "iterationName": doc.name,
            "trainedAt": doc.trained_at.map(Timestamp::rfc3339),
            "exportedAt": self.written_at.rfc3339(),
            "trainingType": doc.training_type.name(),
            "state": self.model.state.name(),
            "extractor": { "name": self.model.extractor, "sha256": self.extractor_digest },
            "sumsDigest": self.model.sums_digest,
            "stateDigest": self.model.state_digest,
            "images": self.model.images,
            "imagesUnlearned": self.model.unlearned,
            "input": {
                "width": self.side,
                "height": self.side,
                "layout": "NCHW",
                "channels": "BGR",
                "range": [0, 255],
                "preprocessing": self.preprocessing(),
            },
            "tags": doc.tags.iter().map(|tag| json!({
                "id": tag.id,
                "name": tag.name,
                "type": tag.tag_type.name(),
                "imageCount": tag.image_count,
            })).collect::<Vec<_>>(),
            "performance": self.performance.map(|performance| json!({
                "threshold": THRESHOLD,
                "overlapThreshold": doc.classification_type.is_none().then_some(OVERLAP),
                "precision": performance.precision,
                "recall": performance.recall,
                "averagePrecision": performance.average_precision,
                "perTag": performance.tags.iter().map(|tag| json!({
                    "id": tag.tag,
                    "name": tag.name,
                    "precision": tag.precision,
                    "recall": tag.recall,
                    "averagePrecision": tag.average_precision,
                })).collect::<Vec<_>>(),
            })),
            "limits": self.limits(),
            "revocation": {
                "list": REVOKED,
                "rule": "Once the list names modelSha256, this model has learned from something that was erased: delete every copy of it.",
            },
        })
    }

    pub(crate) fn markdown(&self) -> String {
        let doc = &self.iteration.doc;
        let mut text = format!("# {}\n\n| | |\n|---|---|\n", cell(&doc.name));
        let trained = doc.trained_at.map(Timestamp::rfc3339).unwrap_or_default();
        let state = match self.model.state {
            ModelState::Final => "final".to_owned(),
            ModelState::Interim => "interim: calibration and metrics are being computed again".to_owned(),
        };
        for (name, value) in [
            ("task", self.task().to_owned()),
            ("iteration", self.iteration.id.to_string()),
            ("trained", trained),
            ("state", state),
            (
                "images",
                format!("{} ({} unlearned since the training)", self.model.images, self.model.unlearned),
            ),
            ("extractor", format!("{}, SHA-256 {}", self.model.extractor, self.extractor_digest)),
            ("model.onnx", format!("SHA-256 {}", self.digest)),
            ("integer sums", format!("SHA-256 {}", self.model.sums_digest)),
            ("model state", format!("SHA-256 {}", self.model.state_digest)),
            ("input", format!("float32, NCHW, 1 x 3 x {0} x {0}, BGR, 0 to 255", self.side)),
        ] {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        let _ = write!(text, "\n{}\n\n## Tags\n\n| tag | type | images |", self.preprocessing());
        text.push_str("\n|---|---|---|\n");
        for tag in &doc.tags {
            let _ = writeln!(text, "| {} | {} | {} |", cell(&tag.name), tag.tag_type.name(), tag.image_count);
        }
        text.push_str("\n## How well it does\n\n");
        match self.performance {
            None => text.push_str("Not measured yet: the model is interim.\n"),
            Some(performance) => self.write_performance(performance, &mut text),
        }
        text.push_str("\n## What it cannot do\n\n");
        for limit in self.limits() {
            let _ = writeln!(text, "- {limit}");
        }
        let _ = write!(
            text,
            "\n## When it must no longer be used\n\n\
             When an image that this model learned from is erased, the server that wrote it puts the SHA-256 of `model.onnx` on the\n\
             public list at `{REVOKED}`. From then on delete every copy of it and export the iteration again.\n\
             `habeas model revoked model.onnx` looks it up.\n"
        );
        text
    }

    fn write_performance(&self, performance: &Performance, text: &mut String) {
        let overlap = if self.iteration.doc.classification_type.is_none() {
            format!(" and an overlap of {OVERLAP}")
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "On images that it was not shown, at a probability of {THRESHOLD}{overlap}:\n\n\
             | tag | precision | recall | average precision |\n|---|---|---|---|\n"
        );
        let percent = |value: f64| format!("{:.1} %", value * 100.0);
        for tag in &performance.tags {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                cell(&tag.name),
                percent(tag.precision),
                percent(tag.recall),
                percent(tag.average_precision)
            );
        }
        let _ = writeln!(
            text,
            "| all | {} | {} | {} |",
            percent(performance.precision),
            percent(performance.recall),
            percent(performance.average_precision)
        );
    }
}

/// A name in a cell of a table.
fn cell(name: &str) -> String {
    name.replace(|letter: char| letter.is_control(), " ").replace('|', "\\|")
}
