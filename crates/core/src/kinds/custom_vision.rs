//! Custom Vision: accounts, projects, tags, images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::node::{AttrKey, Relation};
use crate::{
    About, AttrValue, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, Timestamp, View,
};

const SERVICE: &str = "Custom Vision";
const BASIS: &str = "performance of a contract (GDPR Article 6(1)(b))";

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
    /// Where notifications were asked to go.
    pub notification_queue_uri: Option<String>,
    /// Who made it.
    pub created_by: Option<Id>,
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
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &ProjectDoc) -> Option<&str> {
        None
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
            created_by,
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
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who made it");
    }

    fn view(node: &Node<ProjectDoc>) -> View {
        View::new(&node.doc.name)
            .optional("Description", Some(&node.doc.description))
            .optional("Classification", node.doc.classification_type.as_ref())
            .fact("Created", node.created_at)
            .fact("Last changed", node.updated_at)
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
            }),
        )
    }

    fn erase(_node: &Node<TagDoc>, _why: Erasure) -> Fate<TagDoc> {
        Fate::Delete
    }
}

/// A box on an image, in fractions of its width and height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Its identifier on the wire.
    pub id: Id,
    /// The tag it stands for.
    pub tag: Id,
    /// Distance of its left side from the left, 0 to 1.
    pub left: f64,
    /// Distance of its upper side from the top, 0 to 1.
    pub top: f64,
    /// Its width, 0 to 1.
    pub width: f64,
    /// Its height, 0 to 1.
    pub height: f64,
    /// When it was drawn.
    pub created_at: Timestamp,
}

/// A training image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageDoc {
    /// The bytes as they were uploaded.
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
    /// The name its file had.
    pub file_name: Option<String>,
    /// What the camera wrote into the file.
    pub exif: Vec<(String, String)>,
    /// What the uploader noted.
    pub metadata: BTreeMap<String, String>,
    /// Boxes drawn on it.
    pub regions: Vec<Region>,
    /// Who uploaded it.
    pub created_by: Option<Id>,
}

/// [`Kind::Image`].
#[derive(Debug)]
pub struct Image;

impl Image {
    /// The file extension that goes with a media type.
    pub fn extension(media_type: &str) -> &'static str {
        match media_type {
            "image/jpeg" => "jpg",
            "image/png" => "png",
            "image/gif" => "gif",
            "image/bmp" => "bmp",
            _ => "bin",
        }
    }
}

impl DataKind for Image {
    const KIND: Kind = Kind::Image;
    const PARENTS: &'static [Kind] = &[Kind::Project];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Images",
        purpose: "to train and measure models",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the project, and whoever has a signed image address until it expires",
    };
    type Doc = ImageDoc;

    fn example() -> ImageDoc {
        let blob = || BlobRef {
            id: Id::NIL,
            key: crate::crypto::SecretKey::from_bytes([0; 32]),
            size: 1,
            media_type: "image/jpeg".into(),
        };
        ImageDoc {
            original: blob(),
            resized: Some(blob()),
            thumbnail: Some(blob()),
            sha256: "00".repeat(32),
            width: 900,
            height: 1600,
            file_name: Some("hemlock_1.jpg".into()),
            exif: vec![("Model".into(), "camera".into())],
            metadata: BTreeMap::from([("place".to_owned(), "park".to_owned())]),
            regions: vec![Region {
                id: Id::NIL,
                tag: Id::NIL,
                left: 0.1,
                top: 0.1,
                width: 0.5,
                height: 0.5,
                created_at: Timestamp(0),
            }],
            created_by: Some(Id::NIL),
        }
    }

    fn unique_name(_doc: &ImageDoc) -> Option<&str> {
        None
    }

    fn attrs(doc: &ImageDoc, out: &mut Attrs) {
        out.push(AttrKey::ContentHash, AttrValue::Text(doc.sha256.clone()));
    }

    fn classify(doc: &ImageDoc, map: &mut DataMap) {
        let ImageDoc {
            original,
            resized,
            thumbnail,
            sha256,
            width,
            height,
            file_name,
            exif,
            metadata,
            regions,
            created_by,
        } = doc;
        map.field(original, "original", FieldClass::Content, "the image itself; may show people");
        map.field(
            resized,
            "resized",
            FieldClass::Content,
            "a copy without metadata, for training and display",
        );
        map.field(thumbnail, "thumbnail", FieldClass::Content, "a small copy without metadata, for display");
        map.field(
            sha256,
            "sha256",
            FieldClass::Content,
            "to recognise the same image when it is uploaded again",
        );
        map.field(width, "width", FieldClass::Technical, "for display");
        map.field(height, "height", FieldClass::Technical, "for display");
        map.field(
            file_name,
            "file_name",
            FieldClass::Personal,
            "so that its uploader recognises it; may name a person",
        );
        map.field(exif, "exif", FieldClass::Personal, "what the camera wrote: device, time, sometimes place");
        map.field(
            metadata,
            "metadata",
            FieldClass::Personal,
            "what the uploader noted; may name who is shown",
        );
        map.field(regions, "regions", FieldClass::Content, "where on the image something is");
        map.field(created_by, "created_by", FieldClass::Personal, "random id of the person who uploaded it");
    }

    fn view(node: &Node<ImageDoc>) -> View {
        let doc = &node.doc;
        View::new(doc.file_name.clone().unwrap_or_else(|| format!("Image {}", node.id)))
            .fact("Pixels", format!("{} x {}", doc.width, doc.height))
            .fact("Bytes", doc.original.size)
            .fact("Uploaded", node.created_at)
            .fact("Regions", doc.regions.len())
            .optional("Metadata", Some(pairs(doc.metadata.iter())))
            .optional("Camera data", Some(pairs(doc.exif.iter().map(|(name, value)| (name, value)))))
    }

    fn export(node: &Node<ImageDoc>, out: &mut dyn Bundle) -> Result<()> {
        let doc = &node.doc;
        let folder = format!("custom-vision/projects/{}", node.parent.unwrap_or(Id::NIL));
        let file = format!("{folder}/images/{}.{}", node.id, Image::extension(&doc.original.media_type));
        let mut tags = Vec::new();
        for (tag, since) in out.targets(node.id, Relation::Tagged)? {
            let name = out.title(tag)?.unwrap_or_default();
            tags.push(json!({ "tagId": tag, "tagName": name, "created": since.rfc3339() }));
        }
        let mut regions = Vec::new();
        for region in &doc.regions {
            let name = out.title(region.tag)?.unwrap_or_default();
            out.row(
                &format!("{folder}/regions.csv"),
                &["id", "image", "tag", "tag name", "left", "top", "width", "height"],
                &[
                    region.id.to_string(),
                    node.id.to_string(),
                    region.tag.to_string(),
                    name.clone(),
                    region.left.to_string(),
                    region.top.to_string(),
                    region.width.to_string(),
                    region.height.to_string(),
                ],
            )?;
            regions.push(json!({
                "regionId": region.id,
                "tagId": region.tag,
                "tagName": name,
                "created": region.created_at.rfc3339(),
                "left": region.left,
                "top": region.top,
                "width": region.width,
                "height": region.height,
            }));
        }
        let tag_names: Vec<&str> = tags.iter().filter_map(|tag| tag["tagName"].as_str()).collect();
        out.row(
            &format!("{folder}/images.csv"),
            &["id", "file", "original name", "created", "width", "height", "bytes", "sha256", "tags"],
            &[
                node.id.to_string(),
                file.clone(),
                doc.file_name.clone().unwrap_or_default(),
                node.created_at.rfc3339(),
                doc.width.to_string(),
                doc.height.to_string(),
                doc.original.size.to_string(),
                doc.sha256.clone(),
                tag_names.join("; "),
            ],
        )?;
        out.json(
            &format!("{folder}/images/{}.json", node.id),
            &json!({
                "id": node.id,
                "created": node.created_at.rfc3339(),
                "width": doc.width,
                "height": doc.height,
                "fileName": doc.file_name,
                "cameraData": doc.exif.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
                "metadata": doc.metadata,
                "tags": tags,
                "regions": regions,
            }),
        )?;
        out.blob(&file, &doc.original)
    }

    fn erase(_node: &Node<ImageDoc>, _why: Erasure) -> Fate<ImageDoc> {
        Fate::Delete
    }
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}
