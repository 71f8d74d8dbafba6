//! What `/api/import/v1` takes and answers: whole projects of another Custom Vision service, and workspaces of another Habeas, with their ids.
//!
//! Everything that Microsoft's training API 3.4-preview has a shape for is in that shape, so that what a source answers is passed on as it
//! came; members that are not kept are ignored. Times are RFC 3339; one without an offset is UTC, as the service itself writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::node::RawNode;
use crate::{Error, Id, Kind, Result, Timestamp, registry};

/// Reads a time as the service writes it, with or without `Z`.
pub fn time(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).or_else(|error| Timestamp::parse(&format!("{text}Z")).map_err(|_| error))
}

/// An account of a person, into which projects can be brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountEntry {
    /// The account.
    pub id: Id,
    /// When it was made.
    pub created: String,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Its id, kept.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// How it is trained.
    pub settings: ProjectSettings,
    /// When it was made.
    pub created: Option<String>,
    /// When it was last changed.
    pub last_modified: Option<String>,
}

/// How a project is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSettings {
    /// One of Microsoft's domains.
    pub domain_id: Id,
    /// `Multiclass` or `Multilabel`; none for object detection.
    pub classification_type: Option<String>,
    /// Platforms that models should be exportable to.
    pub target_export_platforms: Option<Vec<String>>,
    /// Augmentation methods.
    pub image_processing_settings: Option<ImageProcessingSettings>,
    /// Where backups of exports were asked to go.
    pub export_model_container_uri: Option<String>,
    /// Where notifications were asked to go.
    pub notification_queue_uri: Option<String>,
}

/// Augmentation methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageProcessingSettings {
    /// Switched on or off, by name.
    pub augmentation_methods: Option<BTreeMap<String, bool>>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// Its id, kept.
    pub id: Id,
    /// Its name, unique in the project.
    pub name: String,
    /// What it stands for.
    pub description: Option<String>,
    /// `Regular`, `Negative` or `GeneralProduct`; the first when absent.
    #[serde(rename = "type")]
    pub tag_type: Option<String>,
    /// When it was made; the service does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Images that carry it.
    #[serde(default)]
    pub image_count: u64,
}

/// That an image carries a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageTag {
    /// The tag.
    pub tag_id: Id,
    /// Since when.
    pub created: Option<String>,
}

/// A box on an image, in fractions of its width and height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRegion {
    /// Its id, kept.
    pub region_id: Id,
    /// The tag it stands for.
    pub tag_id: Id,
    /// When it was drawn.
    pub created: Option<String>,
    /// 0 to 1.
    pub left: f64,
    /// 0 to 1.
    pub top: f64,
    /// 0 to 1.
    pub width: f64,
    /// 0 to 1.
    pub height: f64,
}

/// An image as a source lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its id, kept.
    pub id: Id,
    /// When it was uploaded.
    pub created: Option<String>,
    /// Where its original bytes are, for some hours.
    #[serde(default, skip_serializing)]
    pub original_image_uri: Option<String>,
    /// Its tags.
    pub tags: Option<Vec<ImageTag>>,
    /// Its regions.
    pub regions: Option<Vec<ImageRegion>>,
    /// What the uploader noted.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// An image to be brought, with its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageUpload {
    /// What the source says of it.
    #[serde(flatten)]
    pub image: Image,
    /// Whether it is in the workspace no more, and only iterations hold it. Tags and regions are left out then.
    #[serde(default)]
    pub kept: bool,
    /// The name of the file that was uploaded; the service does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// The bytes, in base64.
    pub contents: String,
}

/// An iteration as a source lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Iteration {
    /// Its id, kept.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// `Completed` or `Failed`: only those can be brought.
    pub status: String,
    /// When its training was asked for.
    pub created: Option<String>,
    /// When it was last changed.
    #[serde(default)]
    pub last_modified: Option<String>,
    /// When its training ended.
    pub trained_at: Option<String>,
    /// The domain it was trained in; the project's when absent.
    pub domain_id: Option<Id>,
    /// `Multiclass` or `Multilabel`; none for object detection.
    pub classification_type: Option<String>,
    /// `Regular` or `Advanced`.
    pub training_type: Option<String>,
    /// Hours that the training might take.
    pub reserved_budget_in_hours: Option<u32>,
    /// Minutes that the training took.
    pub training_time_in_minutes: Option<u64>,
    /// The name under which predictions ask for it.
    pub publish_name: Option<String>,
    /// The prediction resource that the publisher named.
    pub original_publish_resource_id: Option<String>,
    /// The iteration it was trained on top of.
    pub custom_base_model_info: Option<CustomBaseModelInfo>,
    /// Why its training failed.
    pub training_error_details: Option<String>,
    /// Whether its model can leave the source.
    #[serde(default)]
    pub exportable: bool,
    /// The platforms to which it can.
    pub exportable_to: Option<Vec<String>>,
    /// Whether API versions before 3.0 ask it by default.
    #[serde(default)]
    pub is_default: bool,
    /// Its model, of one that a Habeas trained; another service does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
}

/// A model that a Habeas trained: it is computed again from the same images and labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Name of the feature extractor.
    pub extractor: String,
    /// SHA-256 of its state, in hexadecimal.
    pub state_digest: String,
    /// Images it learned from.
    pub images: u64,
    /// Images unlearned since the training.
    pub unlearned: u64,
}

/// The iteration that another one was trained on top of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomBaseModelInfo {
    /// Its project.
    pub project_id: Id,
    /// The iteration.
    pub iteration_id: Id,
}

/// How well an iteration does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Performance {
    /// By tag.
    pub per_tag_performance: Vec<TagPerformance>,
    /// 0 to 1.
    pub precision: f64,
    /// 0 to 1.
    pub precision_std_deviation: f64,
    /// 0 to 1.
    pub recall: f64,
    /// 0 to 1.
    pub recall_std_deviation: f64,
    /// 0 to 1.
    pub average_precision: Option<f64>,
}

/// How well a tag is recognised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagPerformance {
    /// The tag.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// 0 to 1.
    #[serde(default)]
    pub precision: f64,
    /// 0 to 1.
    #[serde(default)]
    pub precision_std_deviation: f64,
    /// 0 to 1.
    #[serde(default)]
    pub recall: f64,
    /// 0 to 1.
    #[serde(default)]
    pub recall_std_deviation: f64,
    /// 0 to 1.
    pub average_precision: Option<f64>,
}

/// What a source said of an iteration at one threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredPerformance {
    /// A tag counts as predicted from this probability on.
    pub threshold: f64,
    /// A box counts as found from this overlap on.
    pub overlap_threshold: f64,
    /// The measure.
    pub performance: Performance,
}

/// An iteration to be brought, with its snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IterationUpload {
    /// What the source says of it.
    #[serde(flatten)]
    pub iteration: Iteration,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its images with their tags and regions then.
    pub images: Vec<Image>,
    /// How well it does.
    pub performance: Vec<MeasuredPerformance>,
    /// Images it learned from that were erased where it comes from, of one that was trained elsewhere still.
    #[serde(default)]
    pub tainted: u64,
}

/// An exported model as a source lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// Where it runs.
    pub platform: String,
    /// Which variant of it.
    pub flavor: Option<String>,
    /// `Exporting`, `Failed` or `Done`.
    pub status: String,
    /// Where its bytes are, for some hours.
    pub download_uri: Option<String>,
}

/// An exported model to be brought: the query of the request whose body is its archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportUpload {
    /// Its id, kept; a new one when absent.
    pub id: Option<Id>,
    /// Which variant of its platform it is for.
    pub flavor: Option<String>,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    /// The digest by which it is known, and would be revoked: that of a Habeas is of the model in the archive, and `sha256` when absent.
    pub digest: Option<String>,
    /// When it was written.
    pub created: Option<String>,
}

/// What a model said of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoredTag {
    /// 0 to 1.
    pub probability: f64,
    /// The tag.
    pub tag_id: Id,
    /// Its name.
    pub tag_name: Option<String>,
    /// Where on the image; none from a classifier.
    pub bounding_box: Option<BoundingBox>,
    /// How the tag took part in training.
    pub tag_type: Option<String>,
}

/// A box, in fractions of the image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundingBox {
    /// 0 to 1.
    pub left: f64,
    /// 0 to 1.
    pub top: f64,
    /// 0 to 1.
    pub width: f64,
    /// 0 to 1.
    pub height: f64,
}

/// A stored prediction as a source lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// Its id, kept.
    pub id: Id,
    /// The iteration that was asked.
    pub iteration: Id,
    /// When.
    pub created: String,
    /// The iteration's domain; the project's when absent.
    pub domain: Option<Id>,
    /// What the caller said it was asking for.
    #[serde(default)]
    pub application: Option<String>,
    /// Where the bytes of its image are, for some hours.
    #[serde(default, skip_serializing)]
    pub original_image_uri: Option<String>,
    /// The answer.
    pub predictions: Option<Vec<ScoredTag>>,
}

/// A stored prediction to be brought, with its image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictionUpload {
    /// What the source says of it.
    #[serde(flatten)]
    pub prediction: Prediction,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// The bytes, in base64.
    pub contents: String,
}

/// What a model suggested for an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// Its id, kept.
    pub id: Id,
    /// The image.
    pub image: Id,
    /// The iteration that was asked.
    pub iteration: Id,
    /// When.
    pub created: String,
    /// The answer.
    pub predictions: Option<Vec<ScoredTag>>,
}

/// A resource of a kind that archives [carry](crate::DataKind::carry): a line of `records/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its kind, as the data map names it.
    pub kind: String,
    /// Its id, kept.
    pub id: Id,
    /// What it stands under: zeros for the person.
    pub parent: Id,
    /// When it was made.
    pub created: String,
    /// When it was last changed.
    pub updated: String,
    /// When it goes by itself, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Its document as it is stored, without keys and without other people.
    pub doc: Value,
    /// The login names that the document refers to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub login_names: BTreeMap<Id, String>,
    /// Its files, in the order of the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RecordFile>,
    /// Where its metrics are in the archive, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_from: Vec<Id>,
    /// Since when something that it was made from is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_erased: Option<String>,
}

/// What a brought resource was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The resource.
    pub id: Id,
    /// What it was made from. What is not there, or may not be read by whoever brings it, is passed over.
    pub made_from: Vec<Id>,
    /// Since when something that it was made from is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_erased: Option<String>,
}

impl Origin {
    /// Since when something that it was made from is erased.
    pub fn source_erased(&self) -> Result<Option<Timestamp>> {
        self.source_erased.as_deref().map(time).transpose()
    }
}

impl Record {
    /// Its kind; an error for one that archives do not carry.
    pub fn kind(&self) -> Result<Kind> {
        let found = registry::carried_kinds().iter().copied().find(|kind| format!("{kind:?}") == self.kind);
        found.ok_or_else(|| {
            Error::invalid("a record is of a kind that is not brought")
                .hint("the archive may come from a newer version of habeas")
        })
    }

    /// It as a resource of `holder`, with the document as bytes.
    pub fn node(&self, holder: Id) -> Result<RawNode> {
        Ok(RawNode {
            id: self.id,
            kind: self.kind()?,
            parent: Some(self.parent),
            holder,
            container: holder,
            version: 1,
            created_at: time(&self.created)?,
            updated_at: time(&self.updated)?,
            expires_at: self.expires.as_deref().map(time).transpose()?,
            doc: serde_json::to_vec(&self.doc)?,
        })
    }
}

/// A file of a carried resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordFile {
    /// Where it is in the archive.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hexadecimal; in an archive the manifest says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Ids: asked about, and those of them that are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// The ids.
    pub ids: Vec<Id>,
}

/// A point of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The metric's name.
    pub metric: String,
    /// When, in milliseconds since 1970.
    pub timestamp: i64,
    /// At which step.
    pub step: i64,
    /// The value as text, since JSON has no numbers for what is infinite or none.
    pub value: String,
}

/// The projects and workspaces of an import, all of whose items are there now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishedImport {
    /// The projects.
    pub projects: Vec<Id>,
    /// The workspaces, with their names.
    #[serde(default)]
    pub workspaces: Vec<Record>,
}

/// What is there of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Its tags.
    pub tags: Vec<Id>,
    /// Its images, in the workspace and kept by iterations.
    pub images: Vec<HeldImage>,
    /// Its iterations.
    pub iterations: Vec<HeldIteration>,
    /// Its stored predictions.
    pub predictions: Vec<Id>,
    /// What it had and was deleted or erased here: it is not brought again.
    pub removed: Vec<Id>,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldImage {
    /// The image.
    pub id: Id,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// An iteration that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldIteration {
    /// The iteration.
    pub id: Id,
    /// Images it learned from that were erased here: exports of its model are refused.
    pub tainted: u64,
    /// Its weights.
    pub weights: HeldWeights,
    /// Its exported models.
    pub exports: Vec<HeldExport>,
}

/// The weights of an iteration that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum HeldWeights {
    /// There are none: the training failed or goes on, or was another service's.
    None,
    /// They are being computed again from the images and labels that were brought.
    Awaited,
    /// They could not be computed again.
    Failed {
        /// Why.
        why: String,
    },
    /// They are there.
    Here {
        /// SHA-256 of the state, in hexadecimal.
        state_digest: String,
    },
}

/// An exported model that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldExport {
    /// Where it runs.
    pub platform: String,
    /// Which variant of it.
    pub flavor: Option<String>,
    /// The digest by which it is known, in hexadecimal.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_are_utc() {
        assert_eq!(
            time("2020-04-29T18:51:50.2721924").unwrap(),
            time("2020-04-29T18:51:50.2721924Z").unwrap()
        );
        assert!(time("yesterday").is_err());
    }
}
