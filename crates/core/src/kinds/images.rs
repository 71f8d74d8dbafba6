//! Custom Vision: images, in the workspace and kept by iterations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::custom_vision::{BASIS, SERVICE};
use crate::node::{AttrKey, Relation};
use crate::{
    About, AttrValue, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Id, Kind, Node,
    Result, Retention, Timestamp, View, text,
};

/// What an address begins with where it is a link.
const MAILTO: &str = "mailto:";

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
    /// What the feature extractors made of it, by the extractor's name: the record that models are trained from and
    /// unlearned by. Made when first trained on.
    #[serde(default)]
    pub features: BTreeMap<String, BlobRef>,
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
            features: BTreeMap::from([("phi-v1".to_owned(), blob())]),
        }
    }

    fn unique_name(_doc: &ImageDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &ImageDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(doc: &ImageDoc, out: &mut Attrs) {
        out.push(AttrKey::ContentHash, AttrValue::Text(doc.sha256.clone()));
        let parts: BTreeSet<String> = doc
            .metadata
            .iter()
            .flat_map(|(key, value)| metadata_parts(value).map(move |part| metadata_part(key, part)))
            .collect();
        for part in parts {
            out.push(AttrKey::MetadataPart, AttrValue::Text(part));
        }
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
            features,
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
        map.field(
            features,
            "features",
            FieldClass::Content,
            "numbers that describe the image, from which models are trained and unlearned",
        );
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
                "kept": node.kind == Kind::KeptImage,
                "cameraData": doc.exif.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
                "metadata": doc.metadata,
                "tags": tags,
                "regions": regions,
            }),
        )?;
        for (extractor, blob) in &doc.features {
            out.blob(&format!("{folder}/images/{}.{extractor}.bin", node.id), blob)?;
        }
        out.blob(&file, &doc.original)
    }

    fn erase(_node: &Node<ImageDoc>, _why: Erasure) -> Fate<ImageDoc> {
        Fate::Delete
    }
}

/// [`Kind::KeptImage`]: an image that was deleted from the workspace while trained iterations still hold it.
#[derive(Debug)]
pub struct KeptImage;

impl DataKind for KeptImage {
    const KIND: Kind = Kind::KeptImage;
    const PARENTS: &'static [Kind] = &[Kind::Project];
    const ABOUT: About = About {
        service: SERVICE,
        title: "Images kept by iterations",
        purpose: "to show, measure and unlearn what trained models learned from",
        legal_basis: BASIS,
        retention: Retention::UntilErased,
        recipients: "people with whom the holder shares the project, and whoever has a signed image address until it expires",
    };
    type Doc = ImageDoc;

    fn example() -> ImageDoc {
        Image::example()
    }

    fn unique_name(_doc: &ImageDoc) -> Option<&str> {
        None
    }

    fn maker(doc: &ImageDoc) -> Option<Id> {
        doc.created_by
    }

    fn attrs(doc: &ImageDoc, out: &mut Attrs) {
        Image::attrs(doc, out);
    }

    fn classify(doc: &ImageDoc, map: &mut DataMap) {
        Image::classify(doc, map);
    }

    fn view(node: &Node<ImageDoc>) -> View {
        Image::view(node).fact("Deleted from the workspace", "yes; trained iterations hold it")
    }

    fn export(node: &Node<ImageDoc>, out: &mut dyn Bundle) -> Result<()> {
        Image::export(node, out)
    }

    fn erase(node: &Node<ImageDoc>, why: Erasure) -> Fate<ImageDoc> {
        Image::erase(node, why)
    }
}

/// What a metadata value says, which is one thing or several with commas or semicolons between.
pub fn metadata_parts(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ';']).map(str::trim).filter(|part| !part.is_empty())
}

/// Whom or what one of the [`metadata_parts`] names: the address of `Ada <ada@example.org>` and of `mailto:ada@example.org`, otherwise what
/// stands there, however its accents were typed.
pub fn metadata_name(part: &str) -> String {
    let within = part.strip_suffix('>').and_then(|part| part.rsplit_once('<'));
    let name = within.map_or(part, |(_, name)| name.trim());
    let name = match name.split_at_checked(MAILTO.len()) {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case(MAILTO) => {
            address.split_once('?').map_or(address, |(address, _)| address).trim()
        }
        _ => name,
    };
    // Brackets without an address in them belong to a name like any other sign.
    text::composed(if name.contains('@') { name } else { part })
}

/// One of the [`metadata_parts`] of the value under `key`, as it is looked for. What is found so is alike, not the same: in any case of letters.
pub fn metadata_part(key: &str, part: &str) -> String {
    format!("{key}={}", metadata_name(part).to_lowercase())
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_every_usual_way_to_write_it() {
        let value = "Dora D <dora@example.org>; mailto:Eve@example.org,, <mailto:fay@example.org?subject=x> ;Jose\u{301}";
        let names: Vec<String> = metadata_parts(value).map(metadata_name).collect();
        assert_eq!(names, ["dora@example.org", "Eve@example.org", "fay@example.org", "José"]);
        for part in ["a <b>", "mailto:nobody", "<>", "ä", "José D <nobody>"] {
            assert_eq!(metadata_name(part), part);
        }
        assert_eq!(metadata_part("depicts", "Dora <Dora@example.org>"), "depicts=dora@example.org");
    }
}
