//! YOLO as Ultralytics reads it: `data.yaml` numbers the classes from 0, a label file has a line `class x y width height` for each box, the
//! centre and size in fractions. An image without a label file is background.

use std::fmt::Write as _;
use std::io::Write;

use habeas_core::Result;

use crate::read::{Archive, Contents, Files, LARGEST_LABEL, document, not_there};
use crate::write::stopped;
use crate::{Head, Image, Region, base_name, stem};

pub(crate) const PATH: &str = "data.yaml";

pub(crate) fn write_classes(head: &Head, out: &mut dyn Write) -> Result<()> {
    let mut text = String::from("path: .\ntrain: images\nval: images\nnames:");
    if head.tags.is_empty() {
        text.push_str(" {}");
    }
    text.push('\n');
    for (number, tag) in head.tags.iter().enumerate() {
        // A JSON string is a double-quoted scalar of YAML 1.2.
        let _ = writeln!(text, "  {number}: {}", serde_json::Value::from(tag.name.as_str()));
    }
    out.write_all(text.as_bytes()).map_err(stopped)
}

/// The label file of an image that has boxes.
pub(crate) fn label(image: &Image) -> Option<(String, String)> {
    if image.regions.is_empty() {
        return None;
    }
    let mut text = String::new();
    for region in &image.regions {
        let (x, y) = (region.left + region.width / 2.0, region.top + region.height / 2.0);
        let _ = writeln!(text, "{} {x} {y} {} {}", region.tag, region.width, region.height);
    }
    Some((format!("labels/{}.txt", image.stem()), text))
}

pub(crate) fn read(files: &mut dyn Files, archive: &Archive, contents: &mut Contents) -> Result<()> {
    let classes = class_names(files, archive)?;
    let numbers: Vec<usize> = classes.iter().map(|name| contents.tag(name)).collect();
    let images: Vec<String> = archive.images().map(str::to_owned).collect();
    for path in images {
        contents.image(&path);
        let Some(label) = label_path(archive, &path) else { continue };
        match files.content(&label, LARGEST_LABEL) {
            Ok(text) => add_boxes(&String::from_utf8_lossy(&text), &path, &label, &numbers, contents),
            Err(error) => contents.problem(&label, error.what),
        }
    }
    Ok(())
}

/// `labels` in place of the last `images` of the path, or a file beside the image.
fn label_path(archive: &Archive, image: &str) -> Option<String> {
    let text = format!("{}.txt", stem(image));
    let mut parts: Vec<&str> = text.split('/').collect();
    if let Some(folder) = parts.iter().rposition(|part| *part == "images") {
        parts[folder] = "labels";
        let path = parts.join("/");
        if archive.has(&path) {
            return Some(path);
        }
    }
    archive.has(&text).then_some(text)
}

fn add_boxes(text: &str, path: &str, label: &str, numbers: &[usize], contents: &mut Contents) {
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let parsed = parse_line(line);
        let Some((class, [x, y, width, height])) = parsed else {
            contents.problem(label, format!("line {} is not a class and a box", number + 1));
            continue;
        };
        let Some(&tag) = numbers.get(class) else {
            contents.problem(label, format!("line {} names class {class}, which does not exist", number + 1));
            continue;
        };
        contents.region(path, Region { tag, left: x - width / 2.0, top: y - height / 2.0, width, height });
    }
}

fn parse_line(line: &str) -> Option<(usize, [f64; 4])> {
    let mut parts = line.split_ascii_whitespace();
    let class = parts.next()?.parse().ok()?;
    let numbers: Vec<f64> = parts.map(str::parse).collect::<Result<_, _>>().ok()?;
    // A sixth number is how sure a detector was.
    match numbers[..] {
        [x, y, width, height] | [x, y, width, height, _] => Some((class, [x, y, width, height])),
        _ => None,
    }
}

/// From `data.yaml`, or the plain lists of other YOLO tools.
fn class_names(files: &mut dyn Files, archive: &Archive) -> Result<Vec<String>> {
    let yaml = archive.with_extension(&["yaml", "yml"]).next().map(str::to_owned);
    if let Some(path) = yaml {
        let text = document(files, &path)?;
        if let Some(names) = yaml_names(&String::from_utf8_lossy(&text)) {
            return Ok(names);
        }
    }
    let list = archive
        .with_extension(&["txt", "names"])
        .find(|path| base_name(path) == "classes.txt" || path.to_ascii_lowercase().ends_with(".names"))
        .map(str::to_owned);
    match list {
        Some(path) => {
            let text = document(files, &path)?;
            Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
        }
        None => Err(not_there("class names (data.yaml with `names`, or classes.txt)")),
    }
}

/// The most classes that a file may number.
const CLASSES: usize = 100_000;

/// `names` of a `data.yaml`: a list or a map by number, in block or flow form. Not all of YAML: what YOLO tools write.
fn yaml_names(text: &str) -> Option<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("names:"));
    let rest = lines.next()?.strip_prefix("names:")?.trim();
    let mut names: Vec<String> = Vec::new();
    let mut put = |number: usize, name: String| {
        if number < CLASSES {
            if names.len() <= number {
                names.resize(number + 1, String::new());
            }
            names[number] = name;
        }
    };
    if let Some(flow) = rest.strip_prefix(['[', '{']) {
        let mut flow = flow.to_owned();
        while !flow.contains([']', '}']) {
            flow.push_str(lines.next()?);
        }
        for (place, entry) in flow_entries(&flow).into_iter().enumerate() {
            match numbered(&entry) {
                Some((number, name)) => put(number, scalar(name)),
                None => put(place, scalar(&entry)),
            }
        }
        return Some(names);
    }
    let mut next = 0;
    for line in lines {
        let entry = line.trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        if let Some(name) = entry.strip_prefix("- ") {
            put(next, scalar(name));
            next += 1;
        } else if let Some((number, name)) = numbered(entry).filter(|_| line.starts_with([' ', '\t'])) {
            put(number, scalar(name));
        } else {
            break;
        }
    }
    Some(names)
}

/// `0: name`.
fn numbered(entry: &str) -> Option<(usize, &str)> {
    let (number, name) = entry.split_once(':')?;
    Some((number.trim().parse().ok()?, name))
}

/// The entries of a flow list or map up to its end; commas within quotes separate nothing.
fn flow_entries(text: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut entry = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, ']' | '}') => break,
            (None, ',') => entries.push(std::mem::take(&mut entry)),
            (None, '"' | '\'') => {
                quote = Some(letter);
                entry.push(letter);
            }
            (Some('"'), '\\') => {
                entry.push(letter);
                entry.extend(letters.next());
            }
            (Some(open), letter) if letter == open => {
                quote = None;
                entry.push(letter);
            }
            _ => entry.push(letter),
        }
    }
    if !entry.trim().is_empty() {
        entries.push(entry);
    }
    entries
}

/// The text of a plain or quoted scalar.
fn scalar(text: &str) -> String {
    let text = text.trim();
    if text.starts_with('"') {
        return serde_json::from_str(text).unwrap_or_else(|_| text.trim_matches('"').to_owned());
    }
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(quoted) => quoted.replace("''", "'"),
        None => text.split(" #").next().unwrap_or(text).trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn class_names_as_tools_write_them() {
        for text in [
            "nc: 2\nnames: ['fork', \"a, b\"]\n",
            "names:\n- fork\n- a, b\n",
            "train: x\nnames:\n  0: fork # comment\n  1: 'a, b'\nroboflow:\n  version: 1\n",
            "names: {0: fork, 1: \"a, b\"}",
            "names: [fork,\n  'a, b']",
        ] {
            assert_eq!(yaml_names(text).unwrap(), ["fork", "a, b"], "{text}");
        }
        assert_eq!(yaml_names("nothing"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "(names:|[-0-9:'\"\\[\\]{},a \n\\\\]){0,40}") {
            let _ = yaml_names(&text);
            let _ = parse_line(&text);
        }
    }
}
