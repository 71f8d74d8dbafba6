//! Custom Vision: accounts, projects, tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::node::AttrKey;
use crate::{
    About, AttrValue, Attrs, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node, Result,
    Retention, Timestamp, View,
};

pub(super) const SERVICE: &str = "Custom Vision";
pub(super) const BASIS: &str = "performance of a contract (GDPR Article 6(1)(b))";

/// A primary and a secondary key, so that one can be replaced while the other is in use.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// 32 lower-case hexadecimal digits.
    pub primary: String,
    /// 32 lower-case hexadecimal digits.
    pub secondary: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// A Custom Vision account: what Azure calls a resource, with its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountDoc {
    /// Keys of the training API.
    pub training_keys: KeyPair,
    /// Keys of the prediction API.
    pub prediction_keys: KeyPair,
}

/// [`Kind::Account`].
#[derive(Debug)]
pub struct Account;

impl DataKind for Account {
    const KIND: Kind = Kind::Account;
    const PARENTS: &'static [Kind] = &[Kind::Person, Kind::Organisation];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Account and keys",
        purpose: "to recognise the holder's programs by their keys",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "nobody",
    };
    type Doc = AccountDoc;

    fn example() -> AccountDoc {
        let pair = || KeyPair { primary: "0".repeat(32), secondary: "1".repeat(32) };
        AccountDoc { training_keys: pair(), prediction_keys: pair() }
    }

    fn unique_name(_doc: &AccountDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &AccountDoc, out: &mut Attrs) {
        for pair in [&doc.training_keys, &doc.prediction_keys] {
            out.push(AttrKey::Secret, AttrValue::Secret(pair.primary.clone()));
            out.push(AttrKey::Secret, AttrValue::Secret(pair.secondary.clone()));
        }
    }

    fn classify(doc: &AccountDoc, map: &mut DataMap) {
        let AccountDoc { training_keys, prediction_keys } = doc;
        map.field(
            training_keys,
            "training_keys",
            FieldClass::Secret,
            "to recognise callers of the training API",
        );
        map.field(
            prediction_keys,
            "prediction_keys",
            FieldClass::Secret,
            "to recognise callers of the prediction API",
        );
    }

    fn view(node: &Node<AccountDoc>) -> View {
        View::new("Custom Vision account").fact("Since", node.created_at).fact("Keys", 4)
    }

    fn export(node: &Node<AccountDoc>, out: &mut dyn Bundle) -> Result<()> {
        // The keys grant access; the archive may travel. Their owner sees them in the portal and by GetAccountInfo.
        out.json(
            &format!("custom-vision/accounts/{}.json", node.id),
            &json!({
                "id": node.id,
                "created": node.created_at.rfc3339(),
                "keys": "4 keys, left out of this archive because they grant access",
            }),
        )
    }

    fn erase(_node: &Node<AccountDoc>, _why: Erasure) -> Fate<AccountDoc> {
        Fate::Delete
    }
}

/// Whether a project is whole; the names on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectStatus {
    /// Ready for use.
    #[default]
    Succeeded,
    /// Being copied from another project, or brought from an archive.
    Importing,
    /// It could not be copied; the document says why.
    Failed,
}

impl ProjectStatus {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ProjectStatus::Succeeded => "Succeeded",
            ProjectStatus::Importing => "Importing",
            ProjectStatus::Failed => "Failed",
        }
    }
}

/// A project: images and tags for one classifier or detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectDoc {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// One of the domains of the protocol.
    pub domain: Id,
    /// `Multiclass` or `Multilabel`; none for object detection.
    pub classification_type: Option<String>,
    /// Platforms that trained models should be exportable to.
    pub target_export_platforms: Vec<String>,
    /// Augmentation methods switched on or off by name.
    pub augmentation_methods: BTreeMap<String, bool>,
    /// Where backups of exports were asked to go.
    pub export_model_container_uri: Option<String>,
    /// Where notifications were asked to go. Fixed when the project is made: Microsoft's models have it read-only.
    pub notification_queue_uri: Option<String>,
    /// When a notification was first taken at that address; none when none was.
    #[serde(default)]
    pub notified_since: Option<Timestamp>,
    /// Who made it.
    pub created_by: Option<Id>,
    /// Whether it is whole.
    #[serde(default)]
    pub status: ProjectStatus,
    /// Why it could not be copied.
    #[serde(default)]
    pub import_error: Option<String>,
}

/// [`Kind::Project`].
#[derive(Debug)]
pub struct Project;

impl DataKind for Project {
    const KIND: Kind = Kind::Project;
    const PARENTS: &'static [Kind] = &[Kind::Account];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Projects",
        purpose: "to keep the images and tags of one model together",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the project",
    };
    type Doc = ProjectDoc;

    fn example() -> ProjectDoc {
        ProjectDoc {
            name: "Trees".into(),
            description: "Leaves of the park".into(),
            domain: Id::NIL,
            classification_type: Some("Multilabel".into()),
            target_export_platforms: vec!["ONNX".into()],
            augmentation_methods: BTreeMap::from([("flip".to_owned(), true)]),
            export_model_container_uri: Some("https://example.org/container".into()),
            notification_queue_uri: Some("https://example.org/queue".into()),
            notified_since: Some(Timestamp(0)),
            created_by: Some(Id::NIL),
            status: ProjectStatus::Failed,
            import_error: Some("the project it is copied from was deleted".into()),
        }
    }

    fn unique_name(_doc: &ProjectDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &ProjectDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(_doc: &ProjectDoc, _out: &mut Attrs) {}

    fn classify(doc: &ProjectDoc, map: &mut DataMap) {
        let ProjectDoc {
            name,
            description,
            domain,
            classification_type,
            target_export_platforms,
            augmentation_methods,
            export_model_container_uri,
            notification_queue_uri,
            notified_since,
            created_by,
            status,
            import_error,
        } = doc;
        map.field(name, "name", FieldClass::Content, "so that people can tell projects apart");
        map.field(
            description,
            "description",
            FieldClass::Content,
            "what the holder wants to remember about it",
        );
        map.field(domain, "domain", FieldClass::Technical, "decides how models are trained");
        map.field(
            classification_type,
            "classification_type",
            FieldClass::Technical,
            "one tag or several for each image",
        );
        map.field(
            target_export_platforms,
            "target_export_platforms",
            FieldClass::Technical,
            "where models should run",
        );
        map.field(
            augmentation_methods,
            "augmentation_methods",
            FieldClass::Technical,
            "how training varies images",
        );
        map.field(
            export_model_container_uri,
            "export_model_container_uri",
            FieldClass::Secret,
            "where the holder wants exports copied; such addresses often grant access",
        );
        map.field(
            notification_queue_uri,
            "notification_queue_uri",
            FieldClass::Secret,
            "where the holder wants to be notified; such addresses often grant access",
        );
        map.field(
            notified_since,
            "notified_since",
            FieldClass::Technical,
            "so that a person is told which addresses really received notices",
        );
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
        map.field(status, "status", FieldClass::Technical, "whether a copy of another project is whole");
        map.field(import_error, "import_error", FieldClass::Technical, "why a project could not be copied");
    }

    fn view(node: &Node<ProjectDoc>) -> View {
        View::new(&node.doc.name)
            .optional("Description", Some(&node.doc.description))
            .optional("Classification", node.doc.classification_type.as_ref())
            .fact("Created", node.created_at)
            .fact("Last changed", node.updated_at)
            .optional("Not copied, because", node.doc.import_error.as_ref())
    }

    fn export(node: &Node<ProjectDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        out.json(
            &format!("custom-vision/projects/{}/project.json", node.id),
            &json!({
                "id": node.id,
                "name": doc.name,
                "description": doc.description,
                "settings": {
                    "domainId": doc.domain,
                    "classificationType": doc.classification_type,
                    "targetExportPlatforms": doc.target_export_platforms,
                    "imageProcessingSettings": { "augmentationMethods": doc.augmentation_methods },
                    "exportModelContainerUri": doc.export_model_container_uri,
                    "notificationQueueUri": doc.notification_queue_uri,
                },
                "created": node.created_at.rfc3339(),
                "lastModified": node.updated_at.rfc3339(),
                "status": doc.status.name(),
                "importErrorDetails": doc.import_error,
            }),
        )
    }

    fn erase(_node: &Node<ProjectDoc>, _why: Erasure) -> Fate<ProjectDoc> {
        Fate::Delete
    }
}

/// How a tag takes part in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagType {
    /// An ordinary tag.
    Regular,
    /// Marks images that show none of the others.
    Negative,
    /// Any product, in the product detection domain.
    GeneralProduct,
}

impl TagType {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            TagType::Regular => "Regular",
            TagType::Negative => "Negative",
            TagType::GeneralProduct => "GeneralProduct",
        }
    }
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagDoc {
    /// Its name, unique in the project.
    pub name: String,
    /// What it stands for.
    pub description: String,
    /// How it takes part in training.
    pub tag_type: TagType,
}

/// [`Kind::Tag`].
#[derive(Debug)]
pub struct Tag;

impl DataKind for Tag {
    const KIND: Kind = Kind::Tag;
    const PARENTS: &'static [Kind] = &[Kind::Project];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Tags",
        purpose: "to say what images show",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the project",
    };
    type Doc = TagDoc;

    fn example() -> TagDoc {
        TagDoc { name: "Hemlock".into(), description: "A conifer".into(), tag_type: TagType::Regular }
    }

    fn unique_name(doc: &TagDoc) -> Option<&str> {
        Some(&doc.name)
    }

    fn attrs(_doc: &TagDoc, _out: &mut Attrs) {}

    fn classify(doc: &TagDoc, map: &mut DataMap) {
        let TagDoc { name, description, tag_type } = doc;
        map.field(name, "name", FieldClass::Content, "what the tag stands for; may name a person");
        map.field(description, "description", FieldClass::Content, "what the tag stands for, at length");
        map.field(tag_type, "tag_type", FieldClass::Technical, "how it takes part in training");
    }

    fn view(node: &Node<TagDoc>) -> View {
        View::new(&node.doc.name)
            .optional("Description", Some(&node.doc.description))
            .fact("Type", node.doc.tag_type.name())
    }

    fn export(node: &Node<TagDoc>, out: &mut dyn Bundle) -> Result<()> {
        let project = node.parent.unwrap_or(Id::NIL);
        out.row(
            &format!("custom-vision/projects/{project}/tags.csv"),
            &["id", "name", "description", "type", "created"],
            &[
                node.id.to_string(),
                node.doc.name.clone(),
                node.doc.description.clone(),
                node.doc.tag_type.name().into(),
                node.created_at.rfc3339(),
            ],
        )?;
        out.json(
            &format!("custom-vision/projects/{project}/tags/{}.json", node.id),
            &json!({
                "id": node.id,
                "name": node.doc.name,
                "description": node.doc.description,
                "type": node.doc.tag_type.name(),
                "created": node.created_at.rfc3339(),
            }),
        )
    }

    fn erase(_node: &Node<TagDoc>, _why: Erasure) -> Fate<TagDoc> {
        Fate::Delete
    }
}
