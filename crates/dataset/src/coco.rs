//! COCO: one JSON document with images, categories and annotations. A tag without a box is an annotation without `bbox`.

use std::collections::HashMap;
use std::io::Write;

use habeas_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::read::{Archive, Contents, Files, document, not_there};
use crate::write::{Images, Writer, stopped};
use crate::{Image, Region, base_name};

pub(crate) const PATH: &str = "annotations.json";

pub(crate) fn write(
    writer: &Writer,
    normalized: bool,
    images: &mut dyn Images,
    out: &mut dyn Write,
) -> Result<()> {
    let categories: Vec<Value> = writer
        .head()
        .tags
        .iter()
        .enumerate()
        .map(|(number, tag)| json!({ "id": number + 1, "name": tag.name }))
        .collect();
    write!(out, "{{\n\"categories\": {},\n\"images\": [", json!(categories)).map_err(stopped)?;
    let mut first = true;
    images.each(&mut |number, image| {
        let entry = json!({
            "id": number + 1,
            "width": image.width,
            "height": image.height,
            "file_name": writer.image_path(image),
        });
        item(out, &mut first, &entry)
    })?;
    write!(out, "\n],\n\"annotations\": [").map_err(stopped)?;
    let (mut first, mut id) = (true, 0_u64);
    images.each(&mut |number, image| {
        for (tag, bbox) in annotations(image, normalized) {
            id += 1;
            let mut entry = json!({ "id": id, "image_id": number + 1, "category_id": tag + 1 });
            if let Some([left, top, width, height]) = bbox {
                entry["bbox"] = json!([left, top, width, height]);
                entry["area"] = json!(width * height);
                entry["iscrowd"] = json!(0);
            }
            item(out, &mut first, &entry)?;
        }
        Ok(())
    })?;
    out.write_all(b"\n]\n}\n").map_err(stopped)
}

fn item(out: &mut dyn Write, first: &mut bool, entry: &Value) -> Result<()> {
    let separator = if std::mem::take(first) { "\n" } else { ",\n" };
    write!(out, "{separator}{entry}").map_err(stopped)
}

/// Boxes, and the tags that have none.
fn annotations(image: &Image, normalized: bool) -> Vec<(usize, Option<[f64; 4]>)> {
    let (width, height) =
        if normalized { (1.0, 1.0) } else { (f64::from(image.width), f64::from(image.height)) };
    let boxes = image.regions.iter().map(|region| {
        let bbox = [region.left * width, region.top * height, region.width * width, region.height * height];
        (region.tag, Some(bbox))
    });
    boxes.chain(image.tags_without_region().map(|tag| (tag, None))).collect()
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    categories: Vec<CocoCategory>,
    annotations: Vec<CocoAnnotation>,
}

/// Ids are numbers in COCO and texts in Microsoft's script.
#[derive(Deserialize)]
struct CocoImage {
    id: Value,
    file_name: String,
    #[serde(default)]
    width: f64,
    #[serde(default)]
    height: f64,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: Value,
    name: String,
}

#[derive(Deserialize)]
struct CocoAnnotation {
    image_id: Value,
    category_id: Value,
    bbox: Option<[f64; 4]>,
}

pub(crate) fn read(
    files: &mut dyn Files,
    archive: &Archive,
    normalized: bool,
    contents: &mut Contents,
) -> Result<()> {
    let documents: Vec<String> = archive.with_extension(&["json"]).map(str::to_owned).collect();
    let mut found = false;
    for path in documents {
        match serde_json::from_slice::<Coco>(&document(files, &path)?) {
            Ok(coco) => {
                found = true;
                add(&coco, archive, normalized, contents);
            }
            Err(_) => contents.problem(&path, "it is not a COCO document"),
        }
    }
    if found { Ok(()) } else { Err(not_there("COCO document (*.json)")) }
}

fn add(coco: &Coco, archive: &Archive, normalized: bool, contents: &mut Contents) {
    let tags: HashMap<String, usize> = coco
        .categories
        .iter()
        .map(|category| (category.id.to_string(), contents.tag(&category.name)))
        .collect();
    let mut images = HashMap::new();
    for image in &coco.images {
        match archive.find(&image.file_name) {
            Some(path) => {
                contents.image(&path);
                images.insert(image.id.to_string(), (path, image.width, image.height));
            }
            None => contents.problem(base_name(&image.file_name), "the image is not in the archive"),
        }
    }
    for annotation in &coco.annotations {
        // An image that is not there was told of once.
        let Some((path, width, height)) = images.get(&annotation.image_id.to_string()) else { continue };
        let Some(&tag) = tags.get(&annotation.category_id.to_string()) else {
            contents.problem(path, "an annotation names a category that does not exist");
            continue;
        };
        let Some([left, top, across, down]) = annotation.bbox else {
            contents.image(path).tags.push(tag);
            continue;
        };
        let (width, height) = if normalized { (1.0, 1.0) } else { (*width, *height) };
        if width > 0.0 && height > 0.0 {
            let region = Region {
                tag,
                left: left / width,
                top: top / height,
                width: across / width,
                height: down / height,
            };
            contents.region(path, region);
        } else {
            contents.problem(path, "a box in pixels needs the width and height of its image");
        }
    }
}
