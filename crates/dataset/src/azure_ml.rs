//! JSON Lines of Azure Machine Learning's AutoML: a line for each image. `label` is a class, a list of classes, or a list of boxes given by
//! two corners in fractions. `image_url` is the path in this archive; for Azure, put the address of the datastore before it.

use std::io::Write;

use habeas_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::read::{Archive, Contents, Files, document, not_there};
use crate::write::{Images, Writer, line};
use crate::{Image, Region, base_name, side};

pub(crate) const PATH: &str = "annotations.jsonl";

pub(crate) fn write(writer: &Writer, images: &mut dyn Images, out: &mut dyn Write) -> Result<()> {
    images.each(&mut |_, image| line(out, &entry(writer, image)))
}

fn entry(writer: &Writer, image: &Image) -> Value {
    let head = writer.head();
    let name = |tag: usize| head.tags.get(tag).map(|tag| tag.name.as_str());
    let label = if head.detection {
        image
            .regions
            .iter()
            .map(|region| {
                json!({
                    "label": name(region.tag),
                    "topX": region.left,
                    "topY": region.top,
                    "bottomX": region.left + region.width,
                    "bottomY": region.top + region.height,
                    "isCrowd": 0,
                })
            })
            .collect()
    } else {
        match image.tags[..] {
            [only] if head.multiclass => json!(name(only)),
            _ => image.tags.iter().copied().filter_map(name).collect(),
        }
    };
    let format = image.file.rsplit_once('.').map_or("jpg", |(_, extension)| extension);
    json!({
        "image_url": writer.image_path(image),
        "image_details": { "format": format, "width": image.width, "height": image.height },
        "label": label,
    })
}

#[derive(Deserialize)]
struct Line {
    image_url: String,
    #[serde(default)]
    label: Label,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    One(String),
    Several(Vec<String>),
    Boxes(Vec<Box>),
}

impl Default for Label {
    fn default() -> Label {
        Label::Several(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Box {
    label: String,
    top_x: f64,
    top_y: f64,
    bottom_x: f64,
    bottom_y: f64,
}

pub(crate) fn read(files: &mut dyn Files, archive: &Archive, contents: &mut Contents) -> Result<()> {
    let documents: Vec<String> = archive
        .with_extension(&["jsonl"])
        .filter(|path| base_name(path) != side::PATH)
        .map(str::to_owned)
        .collect();
    if documents.is_empty() {
        return Err(not_there("annotations (*.jsonl)"));
    }
    for path in documents {
        let bytes = document(files, &path)?;
        for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Line>(text) {
                Ok(line) => add(line, archive, contents),
                Err(_) => contents.problem(&path, format!("line {} cannot be read", number + 1)),
            }
        }
    }
    Ok(())
}

fn add(line: Line, archive: &Archive, contents: &mut Contents) {
    let Some(path) = archive.find(&line.image_url) else {
        contents.problem(base_name(&line.image_url), "the image is not in the archive");
        return;
    };
    contents.image(&path);
    match line.label {
        Label::One(name) if name.is_empty() => {}
        Label::One(name) => {
            let tag = contents.tag(&name);
            contents.image(&path).tags.push(tag);
        }
        Label::Several(names) => {
            for name in names {
                let tag = contents.tag(&name);
                contents.image(&path).tags.push(tag);
            }
        }
        Label::Boxes(boxes) => {
            for entry in boxes {
                let region = Region {
                    tag: contents.tag(&entry.label),
                    left: entry.top_x,
                    top: entry.top_y,
                    width: entry.bottom_x - entry.top_x,
                    height: entry.bottom_y - entry.top_y,
                };
                contents.region(&path, region);
            }
        }
    }
}
