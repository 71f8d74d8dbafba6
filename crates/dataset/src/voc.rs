//! Pascal VOC: an XML file for each image, boxes in whole pixels, the first of which has the number 1.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;

use habeas_core::Result;
use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

use crate::read::{Archive, Contents, Files, LARGEST_LABEL, not_there};
use crate::write::{Images, Writer, stopped};
use crate::{Image, Region, base_name, stem};

pub(crate) const IMAGES: &str = "JPEGImages";
const ANNOTATIONS: &str = "Annotations";
pub(crate) const SET: &str = "ImageSets/Main/trainval.txt";

pub(crate) fn write_set(images: &mut dyn Images, out: &mut dyn Write) -> Result<()> {
    images.each(&mut |_, image| writeln!(out, "{}", image.stem()).map_err(stopped))
}

pub(crate) fn annotation(writer: &Writer, image: &Image) -> (String, String) {
    let mut text = format!(
        "<annotation>\n  <folder>{}</folder>\n  <filename>{}</filename>\n  <size><width>{}</width><height>{}</height><depth>3</depth></size>\n",
        escape(writer.image_folder()),
        escape(&image.file),
        image.width,
        image.height
    );
    for region in &image.regions {
        let name = writer.head().tags.get(region.tag).map_or("", |tag| tag.name.as_str());
        let (xmin, xmax) = pixels(region.left, region.width, image.width);
        let (ymin, ymax) = pixels(region.top, region.height, image.height);
        let _ = writeln!(
            text,
            "  <object><name>{}</name><difficult>0</difficult><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>",
            escape(name)
        );
    }
    text.push_str("</annotation>\n");
    (format!("{ANNOTATIONS}/{}.xml", image.stem()), text)
}

/// The first and the last pixel of a side; at least one.
fn pixels(from: f64, length: f64, side: u32) -> (u32, u32) {
    let at = |fraction: f64| (fraction * f64::from(side)).round().clamp(0.0, f64::from(side)) as u32;
    let first = at(from).min(side.saturating_sub(1));
    (first + 1, at(from + length).max(first + 1))
}

pub(crate) fn read(files: &mut dyn Files, archive: &Archive, contents: &mut Contents) -> Result<()> {
    let annotations: Vec<String> = archive.with_extension(&["xml"]).map(str::to_owned).collect();
    if annotations.is_empty() && archive.images().next().is_none() && archive.find(SET).is_none() {
        return Err(not_there("annotation (*.xml) and no image"));
    }
    let images: Vec<String> = archive.images().map(str::to_owned).collect();
    let mut by_stem: HashMap<&str, &str> = HashMap::new();
    for image in &images {
        contents.image(image);
        by_stem.insert(base_name(stem(image)), image);
    }
    let known: HashSet<&str> = images.iter().map(String::as_str).collect();
    for path in annotations {
        let parsed = match files.content(&path, LARGEST_LABEL) {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
            Err(error) => {
                contents.problem(&path, error.what);
                continue;
            }
        };
        let Some(annotation) = parsed else {
            contents.problem(&path, "it is not an annotation in XML");
            continue;
        };
        // Some tools leave the extension out, or name a file that has been renamed since: then the annotation's own name counts.
        let own = base_name(stem(&path));
        let image = archive
            .find(&format!("{IMAGES}/{}", annotation.file))
            .filter(|image| known.contains(image.as_str()))
            .or_else(|| by_stem.get(own).map(|image| (*image).to_owned()));
        match image {
            Some(image) => add(&annotation, &image, &path, contents),
            None => contents.problem(&path, "its image is not in the archive"),
        }
    }
    Ok(())
}

fn add(annotation: &Annotation, image: &str, path: &str, contents: &mut Contents) {
    let (width, height) = annotation.size;
    for object in &annotation.objects {
        let [xmin, ymin, xmax, ymax] = object.corners;
        if width <= 0.0 || height <= 0.0 || !object.corners.iter().all(|corner| corner.is_finite()) {
            contents.problem(path, "a box needs four corners and the size of its image");
            continue;
        }
        let tag = contents.tag(&object.name);
        // Tools that count from 0 write 0 for the first pixel.
        let (left, top) = ((xmin - 1.0).max(0.0), (ymin - 1.0).max(0.0));
        let region = Region {
            tag,
            left: left / width,
            top: top / height,
            width: (xmax.min(width) - left) / width,
            height: (ymax.min(height) - top) / height,
        };
        contents.region(image, region);
    }
}

#[derive(Debug, Default)]
struct Annotation {
    file: String,
    size: (f64, f64),
    objects: Vec<Object>,
}

#[derive(Debug)]
struct Object {
    name: String,
    corners: [f64; 4],
}

/// Reads an annotation; none when it is not one. Elements that are not known, such as `part`, are passed over.
fn parse(xml: &str) -> Option<Annotation> {
    let mut reader = Reader::from_str(xml);
    let mut annotation = Annotation::default();
    let mut path: Vec<String> = Vec::new();
    let mut seen = false;
    let mut text = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                path.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                text.clear();
                seen |= path.len() == 1 && path[0] == "annotation";
                if path.len() == 2 && path[1] == "object" {
                    annotation.objects.push(Object { name: String::new(), corners: [f64::NAN; 4] });
                }
            }
            Event::Text(part) => text.push_str(&part.decode().ok()?),
            Event::CData(part) => text.push_str(&part.decode().ok()?),
            Event::GeneralRef(reference) => {
                let named = format!("&{};", reference.decode().ok()?);
                text.push_str(&quick_xml::escape::unescape(&named).ok()?);
            }
            Event::End(_) => {
                let place: Vec<&str> = path.iter().map(String::as_str).collect();
                note(&mut annotation, &place, &text);
                path.pop();
                text.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    (seen && path.is_empty()).then_some(annotation)
}

fn note(annotation: &mut Annotation, path: &[&str], text: &str) {
    let number = || text.trim().parse::<f64>().unwrap_or(f64::NAN);
    let ["annotation", path @ ..] = path else { return };
    match (path, annotation.objects.last_mut()) {
        (["filename"], _) => text.trim().clone_into(&mut annotation.file),
        (["size", "width"], _) => annotation.size.0 = number(),
        (["size", "height"], _) => annotation.size.1 = number(),
        (["object", "name"], Some(object)) => text.clone_into(&mut object.name),
        (["object", "bndbox", corner], Some(object)) => {
            let corners = ["xmin", "ymin", "xmax", "ymax"];
            if let Some(place) = corners.iter().position(|name| name == corner) {
                object.corners[place] = number();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pixels_are_counted_from_one_and_never_none() {
        assert_eq!(pixels(0.0, 1.0, 100), (1, 100));
        assert_eq!(pixels(0.5, 0.25, 100), (51, 75));
        assert_eq!(pixels(0.5, 0.0001, 100), (51, 51));
        assert_eq!(pixels(1.0, 0.0, 100), (100, 100));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(<annotation>|</annotation>|<object>|</object>|<bndbox>|<xmin>|&amp;|&|[<>/a-z0-9\\[\\]!?= \"]){0,40}") {
            let _ = parse(&text);
        }
    }
}
