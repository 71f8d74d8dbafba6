//! Custom Vision: what training and prediction leave behind.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custom_vision::{BASIS, SERVICE, TagType};
use super::imported::{ImportedModel, ImportedWeights};
use crate::crypto::SecretKey;
use crate::node::Relation;
use crate::{
    About, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

/// How far an iteration has come. On the wire these three and nothing else: the Python quickstart waits for `Completed`,
/// the JavaScript one for anything but `Training`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IterationStatus {
    /// Queued or being trained.
    Training,
    /// Trained.
    Completed,
    /// Given up; the document says why.
    Failed,
}

impl IterationStatus {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            IterationStatus::Training => "Training",
            IterationStatus::Completed => "Completed",
            IterationStatus::Failed => "Failed",
        }
    }
}

/// How much is tried in a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainingType {
    /// The images as they are.
    Regular,
    /// Also mirrored and cut, where that is measured to be better.
    Advanced,
}

impl TrainingType {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            TrainingType::Regular => "Regular",
            TrainingType::Advanced => "Advanced",
        }
    }
}

/// A tag as it was when the iteration was trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IterationTag {
    /// The tag.
    pub id: Id,
    /// Its name then.
    pub name: String,
    /// Its description then.
    pub description: String,
    /// How it took part.
    pub tag_type: TagType,
    /// Images that carried it.
    pub image_count: u64,
}

/// The iteration that another one was trained on top of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Its project.
    pub project: Id,
    /// The iteration.
    pub iteration: Id,
}

/// How settled the weights of a trained iteration are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelState {
    /// Everything was computed from the images that the iteration has.
    Final,
    /// Images were unlearned: the weights no longer know them; penalty, calibration and metrics follow.
    Interim,
}

impl ModelState {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            ModelState::Final => "final",
            ModelState::Interim => "interim",
        }
    }
}

/// What a training left: sealed blobs and the digests by which it can be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedModel {
    /// Whether the weights are settled.
    pub state: ModelState,
    /// Name of the feature extractor.
    pub extractor: String,
    /// Weights and calibration, as `habeas_learn` serialises them.
    pub weights: BlobRef,
    /// The exact integer sums that the weights are solved from, where they are kept: beyond as many images as features.
    pub sums: Option<BlobRef>,
    /// What the model said of each training image without having seen it; none while the weights are interim.
    pub evaluation: Option<BlobRef>,
    /// SHA-256 of the integer sums, in hexadecimal.
    pub sums_digest: String,
    /// SHA-256 of the state, in hexadecimal. That of a final state is a function of what it learned from alone; that of an interim one
    /// also of the penalty and the calibration before.
    pub state_digest: String,
    /// Images it learned from.
    pub images: u64,
    /// Images unlearned since the training.
    pub unlearned: u64,
}

/// A snapshot of a project's images and tags, and the model trained on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IterationDoc {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub status: IterationStatus,
    /// The project's domain when it was trained.
    pub domain: Id,
    /// `Multiclass` or `Multilabel`; none for object detection.
    pub classification_type: Option<String>,
    /// How much was tried.
    pub training_type: TrainingType,
    /// Hours that the caller allowed for the training.
    pub reserved_budget_in_hours: u32,
    /// Whom the caller wanted to be told.
    pub notification_email: Option<String>,
    /// The iteration it was trained on top of.
    pub base: Option<BaseModel>,
    /// When the training ended.
    pub trained_at: Option<Timestamp>,
    /// Minutes that the training took, at least one.
    pub training_minutes: u64,
    /// Why the training failed.
    pub error: Option<String>,
    /// Answers predictions of API versions before 3.0 that name no iteration.
    pub is_default: bool,
    /// The name under which predictions can ask for it.
    pub publish_name: Option<String>,
    /// The prediction resource that the publisher named.
    pub publish_resource: Option<String>,
    /// The tags, in the order in which the model numbers them.
    pub tags: Vec<IterationTag>,
    /// SHA-256 of what the training depends on, in hexadecimal: whether another one would change anything.
    pub training_digest: String,
    /// The images with their tags and regions at the time; see `habeas_models`.
    pub training_set: Option<BlobRef>,
    /// The model, once trained.
    pub model: Option<TrainedModel>,
    /// What is known of a model that was trained elsewhere; it is `Completed` without a [`TrainedModel`].
    #[serde(default)]
    pub imported: Option<ImportedModel>,
    /// Who had it trained.
    pub created_by: Option<Id>,
}

/// [`Kind::Iteration`].
#[derive(Debug)]
pub struct Iteration;

impl DataKind for Iteration {
    const KIND: Kind = Kind::Iteration;
    const PARENTS: &'static [Kind] = &[Kind::Project];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Iterations",
        purpose: "to recognise what the holder's images show, and to tell how well",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the project; whoever downloads an exported model",
    };
    type Doc = IterationDoc;

    fn example() -> IterationDoc {
        IterationDoc {
            name: "Iteration 1".into(),
            status: IterationStatus::Completed,
            domain: Id::NIL,
            classification_type: Some("Multiclass".into()),
            training_type: TrainingType::Regular,
            reserved_budget_in_hours: 0,
            notification_email: Some("ada@example.org".into()),
            base: Some(BaseModel { project: Id::NIL, iteration: Id::NIL }),
            trained_at: Some(Timestamp(0)),
            training_minutes: 1,
            error: Some("it was cancelled".into()),
            is_default: true,
            publish_name: Some("trees".into()),
            publish_resource: Some("/subscriptions/example".into()),
            tags: vec![IterationTag {
                id: Id::NIL,
                name: "Hemlock".into(),
                description: "A conifer".into(),
                tag_type: TagType::Regular,
                image_count: 10,
            }],
            training_digest: "00".repeat(32),
            training_set: Some(example_blob("application/json")),
            model: Some(TrainedModel {
                state: ModelState::Final,
                extractor: "phi-v1".into(),
                weights: example_blob("application/octet-stream"),
                sums: Some(example_blob("application/octet-stream")),
                evaluation: Some(example_blob("application/octet-stream")),
                sums_digest: "00".repeat(32),
                state_digest: "00".repeat(32),
                images: 10,
                unlearned: 1,
            }),
            imported: Some(ImportedModel {
                images: 10,
                tainted: 1,
                performance: Vec::new(),
                weights: ImportedWeights::Awaited { extractor: "phi-v1".into(), unlearned: 1 },
            }),
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(doc: &IterationDoc) -> Option<&str> {
        doc.publish_name.as_deref()
    }

    fn maker(doc: &IterationDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &IterationDoc, _out: &mut Attrs) {}

    fn classify(doc: &IterationDoc, map: &mut DataMap) {
        let IterationDoc {
            name,
            status,
            domain,
            classification_type,
            training_type,
            reserved_budget_in_hours,
            notification_email,
            base,
            trained_at,
            training_minutes,
            error,
            is_default,
            publish_name,
            publish_resource,
            tags,
            training_digest,
            training_set,
            model,
            imported,
            created_by,
        } = doc;
        map.field(name, "name", FieldClass::Content, "so that people can tell iterations apart");
        map.field(status, "status", FieldClass::Technical, "how far the training has come");
        map.field(domain, "domain", FieldClass::Technical, "how it was trained");
        map.field(
            classification_type,
            "classification_type",
            FieldClass::Technical,
            "one tag or several for each image",
        );
        map.field(training_type, "training_type", FieldClass::Technical, "how much was tried");
        map.field(
            reserved_budget_in_hours,
            "reserved_budget_in_hours",
            FieldClass::Technical,
            "how long the training might take",
        );
        map.field(
            notification_email,
            "notification_email",
            FieldClass::Personal,
            "whom the caller wanted to be told of the end",
        );
        map.field(
            base,
            "base",
            FieldClass::Technical,
            "which iteration it builds on, so that erasures reach it",
        );
        map.field(trained_at, "trained_at", FieldClass::Technical, "when it was trained");
        map.field(training_minutes, "training_minutes", FieldClass::Technical, "how long that took");
        map.field(error, "error", FieldClass::Technical, "why the training failed");
        map.field(is_default, "is_default", FieldClass::Technical, "which iteration old clients ask");
        map.field(publish_name, "publish_name", FieldClass::Content, "the name that predictions ask for");
        map.field(
            publish_resource,
            "publish_resource",
            FieldClass::Content,
            "the prediction resource that its publisher named",
        );
        map.field(tags, "tags", FieldClass::Content, "what the model tells apart; may name people");
        map.field(
            training_digest,
            "training_digest",
            FieldClass::Content,
            "to tell whether anything changed since the last training",
        );
        map.field(
            training_set,
            "training_set",
            FieldClass::Content,
            "which images it was trained on, with their tags and regions",
        );
        map.field(
            model,
            "model",
            FieldClass::Content,
            "weights, exact sums, evaluation and digests; learned from images that may show people",
        );
        map.field(
            imported,
            "imported",
            FieldClass::Content,
            "how well a model trained elsewhere did, how much of what it learned from was erased, and whether it is computed again here",
        );
        map.field(
            created_by,
            "created_by",
            FieldClass::Personal,
            "random id of the person who had it trained",
        );
    }

    fn view(node: &Node<IterationDoc>) -> View {
        let doc = &node.doc;
        View::new(&doc.name)
            .fact("Status", doc.status.name())
            .fact("Created", node.created_at)
            .optional("Trained", doc.trained_at)
            .fact("Tags", doc.tags.len())
            .optional("Published as", doc.publish_name.as_ref())
            .optional("Weights", doc.model.as_ref().map(|model| model.state.name()))
            .optional(
                "Images unlearned",
                doc.model.as_ref().map(|model| model.unlearned).filter(|count| *count > 0),
            )
            .optional("Trained elsewhere", doc.imported.as_ref().map(ImportedModel::weights_here))
            .optional(
                "Learned from images erased since",
                doc.imported.as_ref().map(|imported| imported.tainted).filter(|count| *count > 0),
            )
            .optional("Notification to", doc.notification_email.as_ref())
    }

    fn export(node: &Node<IterationDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        let folder =
            format!("custom-vision/projects/{}/iterations/{}", node.parent.unwrap_or(Id::NIL), node.id);
        let mut learned: Vec<Id> =
            out.targets(node.id, Relation::LearnedFrom)?.into_iter().map(|(image, _)| image).collect();
        learned.sort_unstable();
        out.json(
            &format!("{folder}/iteration.json"),
            &json!({
                "id": node.id,
                "name": doc.name,
                "status": doc.status.name(),
                "created": node.created_at.rfc3339(),
                "lastModified": node.updated_at.rfc3339(),
                "trainedAt": doc.trained_at.map(Timestamp::rfc3339),
                "projectId": node.parent,
                "domainId": doc.domain,
                "classificationType": doc.classification_type,
                "trainingType": doc.training_type.name(),
                "reservedBudgetInHours": doc.reserved_budget_in_hours,
                "trainingTimeInMinutes": doc.training_minutes,
                "notificationEmailAddress": doc.notification_email,
                "isDefault": doc.is_default,
                "publishName": doc.publish_name,
                "originalPublishResourceId": doc.publish_resource,
                "customBaseModelInfo": doc.base.map(|base| json!({
                    "projectId": base.project,
                    "iterationId": base.iteration,
                })),
                "trainingErrorDetails": doc.error,
                "tags": doc.tags.iter().map(|tag| json!({
                    "id": tag.id,
                    "name": tag.name,
                    "description": tag.description,
                    "type": tag.tag_type.name(),
                    "imageCount": tag.image_count,
                })).collect::<Vec<_>>(),
                "model": doc.model.as_ref().map(|model| json!({
                    "state": model.state.name(),
                    "extractor": model.extractor,
                    "sumsDigest": model.sums_digest,
                    "stateDigest": model.state_digest,
                    "images": model.images,
                    "unlearned": model.unlearned,
                })),
                // With these, the snapshot and the rows beside the images, anybody can train the model again.
                "learnedFrom": learned,
                "imported": doc.imported.as_ref().map(ImportedModel::json),
            }),
        )?;
        if let Some(blob) = &doc.training_set {
            out.blob(&format!("{folder}/training-set.json"), blob)?;
        }
        if let Some(model) = &doc.model {
            out.blob(&format!("{folder}/weights.bin"), &model.weights)?;
            if let Some(blob) = &model.sums {
                out.blob(&format!("{folder}/sums.bin"), blob)?;
            }
            if let Some(blob) = &model.evaluation {
                out.blob(&format!("{folder}/evaluation.bin"), blob)?;
            }
        }
        Ok(())
    }

    fn erase(_node: &Node<IterationDoc>, _why: Erasure) -> Fate<IterationDoc> {
        Fate::Delete
    }
}

/// How far an export of a model has come; the names on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelExportState {
    /// Being written.
    Exporting,
    /// Given up.
    Failed,
    /// Ready to be downloaded.
    Done,
}

impl ModelExportState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ModelExportState::Exporting => "Exporting",
            ModelExportState::Failed => "Failed",
            ModelExportState::Done => "Done",
        }
    }
}

/// A model written in a portable form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelExportDoc {
    /// `ONNX`.
    pub platform: String,
    /// The flavor that was asked for.
    pub flavor: Option<String>,
    /// How far it has come.
    pub state: ModelExportState,
    /// The ZIP archive, once it is written.
    pub file: Option<BlobRef>,
    /// SHA-256 of the model file inside it, in hexadecimal: what the revocation list names when the model is unlearned. Of one that
    /// another service wrote SHA-256 of the archive itself.
    pub digest: Option<String>,
    /// SHA-256 of the state that it was written from, in hexadecimal: a model of another state has unlearned something since.
    #[serde(default)]
    pub state_digest: Option<String>,
}

/// [`Kind::ModelExport`].
#[derive(Debug)]
pub struct ModelExport;

impl DataKind for ModelExport {
    const KIND: Kind = Kind::ModelExport;
    const PARENTS: &'static [Kind] = &[Kind::Iteration];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Exported models",
        purpose: "to run the holder's models elsewhere",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "whoever downloads it: people with whom the holder shares the project, and whoever has its signed address until it expires",
    };
    type Doc = ModelExportDoc;

    fn example() -> ModelExportDoc {
        ModelExportDoc {
            platform: "ONNX".into(),
            flavor: Some("ONNX12".into()),
            state: ModelExportState::Done,
            file: Some(example_blob("application/zip")),
            digest: Some("00".repeat(32)),
            state_digest: Some("00".repeat(32)),
        }
    }

    fn unique_name(_doc: &ModelExportDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &ModelExportDoc, _out: &mut Attrs) {}

    fn classify(doc: &ModelExportDoc, map: &mut DataMap) {
        let ModelExportDoc { platform, flavor, state, file, digest, state_digest } = doc;
        map.field(platform, "platform", FieldClass::Technical, "where it runs");
        map.field(flavor, "flavor", FieldClass::Technical, "which variant of it");
        map.field(state, "state", FieldClass::Technical, "whether it is ready");
        map.field(file, "file", FieldClass::Content, "the model; learned from images that may show people");
        map.field(digest, "digest", FieldClass::Technical, "to say which copies must no longer be used");
        map.field(state_digest, "state_digest", FieldClass::Technical, "to tell when it is out of date");
    }

    fn view(node: &Node<ModelExportDoc>) -> View {
        View::new(format!("{} model", node.doc.platform))
            .optional("Flavor", node.doc.flavor.as_ref())
            .fact("Status", node.doc.state.name())
            .fact("Created", node.created_at)
            .optional("Bytes", node.doc.file.as_ref().map(|file| file.size))
    }

    fn export(node: &Node<ModelExportDoc>, out: &mut dyn Bundle) -> Result<()> {
        let path = format!("custom-vision/model-exports/{}", node.id);
        out.json(
            &format!("{path}.json"),
            &json!({
                "id": node.id,
                "iterationId": node.parent,
                "platform": node.doc.platform,
                "flavor": node.doc.flavor,
                "status": node.doc.state.name(),
                "created": node.created_at.rfc3339(),
                "sha256": node.doc.digest,
            }),
        )?;
        match &node.doc.file {
            Some(file) => out.blob(&format!("{path}.zip"), file),
            None => Ok(()),
        }
    }

    fn erase(_node: &Node<ModelExportDoc>, _why: Erasure) -> Fate<ModelExportDoc> {
        Fate::Delete
    }
}

pub(super) fn example_blob(media_type: &str) -> BlobRef {
    BlobRef { id: Id::NIL, key: SecretKey::from_bytes([0; 32]), size: 1, media_type: media_type.into() }
}
