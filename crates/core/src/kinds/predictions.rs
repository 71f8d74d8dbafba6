//! Custom Vision: predictions that were stored, and suggested tags.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custom_vision::{BASIS, SERVICE, TagType};
use super::learning::example_blob;
use crate::node::AttrKey;
use crate::{
    About, AttrValue, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, Timestamp, View,
};

/// Days that a stored prediction or a suggestion is kept.
pub const PREDICTION_DAYS: u32 = 30;

/// What a model said: a tag with its probability, and for a detector where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredTag {
    /// The tag.
    pub tag: Id,
    /// Its name in the iteration.
    pub name: String,
    /// How it took part in training.
    pub tag_type: TagType,
    /// 0 to 1.
    pub probability: f64,
    /// Left, top, width, height in fractions of the image; none from a classifier.
    pub bounding_box: Option<[f64; 4]>,
}

/// A prediction that was stored with its image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPredictionDoc {
    /// The bytes as they were sent.
    pub original: BlobRef,
    /// A copy within 1600 by 900 pixels without metadata, made when first asked for.
    pub resized: Option<BlobRef>,
    /// A small copy without metadata, made when first asked for.
    pub thumbnail: Option<BlobRef>,
    /// SHA-256 of the original bytes, in hexadecimal.
    pub sha256: String,
    /// Width of the resized copy, in pixels.
    pub width: u32,
    /// Height of the resized copy, in pixels.
    pub height: u32,
    /// The iteration that was asked.
    pub iteration: Id,
    /// Its domain.
    pub domain: Id,
    /// What the caller said it is asking for.
    pub application: Option<String>,
    /// The answer, most probable first.
    pub predictions: Vec<ScoredTag>,
    /// Who asked.
    pub created_by: Option<Id>,
}

/// [`Kind::StoredPrediction`].
#[derive(Debug)]
pub struct StoredPrediction;

impl DataKind for StoredPrediction {
    const KIND: Kind = Kind::StoredPrediction;
    const PARENTS: &'static [Kind] = &[Kind::Project];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Stored predictions",
        purpose: "to show what models answered, and to train on it if the holder chooses to",
        legal_basis: BASIS,
        retention: Retention::Days(PREDICTION_DAYS, "the prediction"),
        recipients: "people with whom the holder shares the project, and whoever has a signed image address until it expires",
    };
    type Doc = StoredPredictionDoc;

    fn example() -> StoredPredictionDoc {
        StoredPredictionDoc {
            original: example_blob("image/jpeg"),
            resized: Some(example_blob("image/jpeg")),
            thumbnail: Some(example_blob("image/jpeg")),
            sha256: "00".repeat(32),
            width: 900,
            height: 1600,
            iteration: Id::NIL,
            domain: Id::NIL,
            application: Some("garden app".into()),
            predictions: vec![ScoredTag {
                tag: Id::NIL,
                name: "Hemlock".into(),
                tag_type: TagType::Regular,
                probability: 0.9,
                bounding_box: Some([0.1, 0.1, 0.5, 0.5]),
            }],
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &StoredPredictionDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &StoredPredictionDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(doc: &StoredPredictionDoc, out: &mut Attrs) {
        out.push(AttrKey::ContentHash, AttrValue::Text(doc.sha256.clone()));
    }

    fn classify(doc: &StoredPredictionDoc, map: &mut DataMap) {
        let StoredPredictionDoc {
            original,
            resized,
            thumbnail,
            sha256,
            width,
            height,
            iteration,
            domain,
            application,
            predictions,
            created_by,
        } = doc;
        map.field(original, "original", FieldClass::Content, "the image itself; may show people");
        map.field(resized, "resized", FieldClass::Content, "a copy without metadata, for display");
        map.field(thumbnail, "thumbnail", FieldClass::Content, "a small copy without metadata, for display");
        map.field(
            sha256,
            "sha256",
            FieldClass::Content,
            "to find the same image elsewhere when it is erased",
        );
        map.field(width, "width", FieldClass::Technical, "for display");
        map.field(height, "height", FieldClass::Technical, "for display");
        map.field(iteration, "iteration", FieldClass::Technical, "which model answered");
        map.field(domain, "domain", FieldClass::Technical, "how that model was trained");
        map.field(application, "application", FieldClass::Content, "what the caller named itself");
        map.field(predictions, "predictions", FieldClass::Personal, "what the model said the image shows");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who asked");
    }

    fn view(node: &Node<StoredPredictionDoc>) -> View {
        let doc = &node.doc;
        View::new(format!("Prediction {}", node.id))
            .fact("Pixels", format!("{} x {}", doc.width, doc.height))
            .fact("Asked", node.created_at)
            .optional(
                "Answer",
                doc.predictions
                    .first()
                    .map(|scored| format!("{} ({:.0} %)", scored.name, scored.probability * 100.0)),
            )
            .optional("Application", doc.application.as_ref())
            .optional("Deleted", node.expires_at)
    }

    fn export(node: &Node<StoredPredictionDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        let path =
            format!("custom-vision/projects/{}/predictions/{}", node.parent.unwrap_or(Id::NIL), node.id);
        out.json(
            &format!("{path}.json"),
            &json!({
                "id": node.id,
                "project": node.parent,
                "iteration": doc.iteration,
                "created": node.created_at.rfc3339(),
                "expires": node.expires_at.map(Timestamp::rfc3339),
                "domain": doc.domain,
                "application": doc.application,
                "predictions": scored_json(&doc.predictions),
            }),
        )?;
        let extension = super::Image::extension(&doc.original.media_type);
        out.blob(&format!("{path}.{extension}"), &doc.original)
    }

    fn erase(_node: &Node<StoredPredictionDoc>, _why: Erasure) -> Fate<StoredPredictionDoc> {
        Fate::Delete
    }
}

/// How unsure a model is: least confidence, 1 less the highest probability (Settles, "Active Learning Literature Survey", 2009, section 3.1).
pub fn uncertainty(predictions: &[ScoredTag]) -> f64 {
    1.0 - predictions.iter().map(|scored| scored.probability).fold(0.0, f64::max)
}

/// Tags that a model proposed for an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuggestionDoc {
    /// The iteration that proposed them.
    pub iteration: Id,
    /// The proposal, most probable first.
    pub predictions: Vec<ScoredTag>,
    /// How unsure the model is, 0 to 1.
    pub uncertainty: f64,
}

/// [`Kind::Suggestion`].
#[derive(Debug)]
pub struct Suggestion;

impl DataKind for Suggestion {
    const KIND: Kind = Kind::Suggestion;
    const PARENTS: &'static [Kind] = &[Kind::Image];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Suggested tags",
        purpose: "to help the holder tag images",
        legal_basis: BASIS,
        retention: Retention::Days(PREDICTION_DAYS, "the suggestion"),
        recipients: "people with whom the holder shares the project",
    };
    type Doc = SuggestionDoc;

    fn example() -> SuggestionDoc {
        SuggestionDoc {
            iteration: Id::NIL,
            predictions: StoredPrediction::example().predictions,
            uncertainty: 0.1,
        }
    }

    fn unique_name(_doc: &SuggestionDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &SuggestionDoc, _out: &mut Attrs) {}

    fn classify(doc: &SuggestionDoc, map: &mut DataMap) {
        let SuggestionDoc { iteration, predictions, uncertainty } = doc;
        map.field(iteration, "iteration", FieldClass::Technical, "which model proposed it");
        map.field(predictions, "predictions", FieldClass::Personal, "what the model says the image shows");
        map.field(uncertainty, "uncertainty", FieldClass::Content, "how sure the model is");
    }

    fn view(node: &Node<SuggestionDoc>) -> View {
        View::new(format!("Suggestion {}", node.id))
            .fact("Made", node.created_at)
            .optional("Proposes", node.doc.predictions.first().map(|scored| scored.name.clone()))
            .optional("Deleted", node.expires_at)
    }

    fn export(node: &Node<SuggestionDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(
            &format!("custom-vision/suggestions/{}.json", node.id),
            &json!({
                "id": node.id,
                "image": node.parent,
                "iteration": node.doc.iteration,
                "created": node.created_at.rfc3339(),
                "predictions": scored_json(&node.doc.predictions),
                "predictionUncertainty": node.doc.uncertainty,
            }),
        )
    }

    fn erase(_node: &Node<SuggestionDoc>, _why: Erasure) -> Fate<SuggestionDoc> {
        Fate::Delete
    }
}

/// Scored tags as the protocol spells them.
pub fn scored_json(scored: &[ScoredTag]) -> Vec<serde_json::Value> {
    scored
        .iter()
        .map(|scored| {
            json!({
                "tagId": scored.tag,
                "tagName": scored.name,
                "tagType": scored.tag_type.name(),
                "probability": scored.probability,
                "boundingBox": scored.bounding_box.map(|[left, top, width, height]| json!({
                    "left": left, "top": top, "width": width, "height": height,
                })),
            })
        })
        .collect()
}
