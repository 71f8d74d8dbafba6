//! The side file: what a format has no place for, as JSON Lines.
//!
//! ```text
//! {"type":"dataset","version":1,"detection":true,"multiclass":false}
//! {"type":"tag","name":"fork","description":"","tagType":"Regular"}
//! {"type":"image","file":"images/1.jpg","name":"fork_1.jpg","tags":["fork"],"regions":[],"metadata":{"who":"her"}}
//! ```
//!
//! An image has a line only where it has something to say; the members that have nothing are left out.

use std::collections::BTreeMap;
use std::io::Write;

use habeas_core::Result;
use habeas_core::kinds::TagType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::read::{Archive, Contents};
use crate::write::{Images, Writer, line};
use crate::{Format, Image, Region};

pub(crate) const PATH: &str = "habeas.jsonl";

pub(crate) fn write(writer: &Writer, images: &mut dyn Images, out: &mut dyn Write) -> Result<()> {
    let head = writer.head();
    line(
        out,
        &json!({ "type": "dataset", "version": 1, "detection": head.detection, "multiclass": head.multiclass }),
    )?;
    for tag in &head.tags {
        line(
            out,
            &json!({ "type": "tag", "name": tag.name, "description": tag.description, "tagType": tag.tag_type.name() }),
        )?;
    }
    images.each(&mut |_, image| match note(writer, image) {
        Some(note) => line(out, &note),
        None => Ok(()),
    })
}

fn note(writer: &Writer, image: &Image) -> Option<Value> {
    let (format, head) = (writer.format(), writer.head());
    let name = |tag: usize| head.tags.get(tag).map(|tag| tag.name.as_str());
    let mut note = Map::new();
    if let Some(name) = &image.name {
        note.insert("name".into(), json!(name));
    }
    let untold: Vec<usize> = match format {
        Format::Coco | Format::CocoNormalized => Vec::new(),
        Format::AzureMl if !head.detection => Vec::new(),
        Format::Folders => image.tags.iter().copied().skip(1).collect(),
        Format::Yolo | Format::Voc | Format::AzureMl => image.tags_without_region().collect(),
    };
    if !untold.is_empty() {
        note.insert("tags".into(), untold.into_iter().filter_map(name).collect());
    }
    // A classifier's images may have boxes, too, where somebody drew some.
    let no_place = match format {
        Format::Folders => true,
        Format::AzureMl => !head.detection,
        _ => false,
    };
    if no_place && !image.regions.is_empty() {
        let regions: Vec<Value> = image
            .regions
            .iter()
            .map(|region| {
                json!({ "tag": name(region.tag), "left": region.left, "top": region.top, "width": region.width, "height": region.height })
            })
            .collect();
        note.insert("regions".into(), json!(regions));
    }
    if !image.metadata.is_empty() {
        note.insert("metadata".into(), json!(image.metadata));
    }
    if note.is_empty() {
        return None;
    }
    note.insert("type".into(), json!("image"));
    note.insert("file".into(), json!(writer.image_path(image)));
    Some(note.into())
}

/// What the side file says of an image.
#[derive(Debug, Deserialize)]
pub(crate) struct Note {
    file: String,
    name: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    regions: Vec<NotedRegion>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct NotedRegion {
    tag: String,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotedTag {
    name: String,
    #[serde(default)]
    description: String,
    tag_type: Option<TagType>,
}

/// Reads the side file: tags at once, so that they are numbered as they were; what it says of images is applied last.
pub(crate) fn parse(bytes: &[u8], contents: &mut Contents) -> Vec<Note> {
    let mut notes = Vec::new();
    for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: Value = serde_json::from_slice(text).unwrap_or_default();
        let understood = match value["type"].as_str() {
            Some("dataset") => true,
            Some("tag") => NotedTag::deserialize(&value).is_ok_and(|noted| {
                let place = contents.tag(&noted.name);
                let tag = &mut contents.tags[place];
                tag.description = noted.description;
                tag.tag_type = noted.tag_type.unwrap_or(TagType::Regular);
                true
            }),
            Some("image") => Note::deserialize(&value).is_ok_and(|note| {
                notes.push(note);
                true
            }),
            _ => false,
        };
        if !understood {
            contents.problem(PATH, format!("line {} cannot be read", number + 1));
        }
    }
    notes
}

pub(crate) fn apply(notes: Vec<Note>, archive: &Archive, contents: &mut Contents) {
    for note in notes {
        let Some(path) = archive.find(&note.file) else {
            contents.problem(&note.file, "the side file names an image that is not in the archive");
            continue;
        };
        let tags: Vec<usize> = note.tags.iter().map(|name| contents.tag(name)).collect();
        for region in &note.regions {
            let tag = contents.tag(&region.tag);
            let NotedRegion { left, top, width, height, .. } = *region;
            contents.region(&path, Region { tag, left, top, width, height });
        }
        let image = contents.image(&path);
        image.name = note.name.or(image.name.take());
        image.tags.extend(tags);
        image.metadata.extend(note.metadata);
    }
}
