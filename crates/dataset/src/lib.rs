//! Labelled images in the formats that other tools read: written, and read back. Pure: no archive, no disk, no network.
//!
//! | format | images | boxes | image-level tags |
//! |---|---|---|---|
//! | [`Format::Coco`], [`Format::CocoNormalized`] | `images/` | `annotations.json`, pixels or fractions | annotations without `bbox` |
//! | [`Format::Yolo`] | `images/` | `labels/*.txt`, classes by number in `data.yaml` | side file |
//! | [`Format::Voc`] | `JPEGImages/` | `Annotations/*.xml`, whole pixels counted from 1 | side file |
//! | [`Format::AzureMl`] | `images/` | `annotations.jsonl`, fractions | `label`; of a detector in the side file |
//! | [`Format::Folders`] | `TAG/` | side file | the folder; a second tag in the side file |
//!
//! What a format has no place for lies in the side file `habeas.jsonl`, which its own tools ignore: descriptions and types of tags, names
//! and metadata of images, and whatever the table says. Without it an archive is read all the same. Untagged images are kept in each:
//! listed without annotations, without a label file, with an empty `label`, or in the folder `_untagged`.
//!
//! Boxes survive exactly, except in VOC, whose whole pixels they are rounded to.

mod azure_ml;
mod coco;
mod folders;
mod read;
mod side;
mod voc;
mod write;
mod yolo;

use std::collections::BTreeMap;
use std::str::FromStr;

use habeas_core::Error;
use habeas_core::kinds::TagType;

pub use read::{Contents, Files, Problem, read};
pub use write::{Images, Writer};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// COCO with boxes in pixels (<https://cocodataset.org/#format-data>).
    Coco,
    /// COCO with boxes in fractions, as Microsoft's migration script for Custom Vision writes it.
    CocoNormalized,
    /// Ultralytics YOLO (<https://docs.ultralytics.com/datasets/detect/>).
    Yolo,
    /// Pascal VOC (<http://host.robots.ox.ac.uk/pascal/VOC/>).
    Voc,
    /// JSON Lines of Azure Machine Learning's AutoML.
    AzureMl,
    /// A folder for each class.
    Folders,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] =
        [Format::Coco, Format::CocoNormalized, Format::Yolo, Format::Voc, Format::AzureMl, Format::Folders];

    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Coco => "coco",
            Format::CocoNormalized => "coco-normalized",
            Format::Yolo => "yolo",
            Format::Voc => "voc",
            Format::AzureMl => "azureml",
            Format::Folders => "folders",
        }
    }

    /// Whether its documents say where an image lies, so that it can be left where it is.
    pub const fn names_images_by_path(self) -> bool {
        match self {
            Format::Coco | Format::CocoNormalized | Format::Voc | Format::AzureMl => true,
            Format::Yolo | Format::Folders => false,
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Format, Error> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            Error::invalid("there is no such dataset format")
                .hint(format!("formats are {}", names.join(", ")))
        })
    }
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name; no two have the same.
    pub name: String,
    /// What it stands for.
    pub description: String,
    /// How it takes part in training.
    pub tag_type: TagType,
}

/// What all images have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// For object detection; otherwise for classification.
    pub detection: bool,
    /// At most one tag for each image.
    pub multiclass: bool,
    /// The classes, in the order of their numbers.
    pub tags: Vec<Tag>,
}

/// A box, in fractions of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Place of its tag in [`Head::tags`].
    pub tag: usize,
    /// Distance of its left side from the left.
    pub left: f64,
    /// Distance of its upper side from the top.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// An image and what is said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// While writing the name of its file, a plain file name that no other image has; after reading its path in the archive.
    pub file: String,
    /// The name that it was uploaded under.
    pub name: Option<String>,
    /// Width in pixels, upright.
    pub width: u32,
    /// Height in pixels, upright.
    pub height: u32,
    /// Places of its tags in [`Head::tags`], ascending; those of its regions are among them.
    pub tags: Vec<usize>,
    /// Its boxes.
    pub regions: Vec<Region>,
    /// What its uploader noted.
    pub metadata: BTreeMap<String, String>,
}

impl Image {
    /// Tags for which it has no box.
    fn tags_without_region(&self) -> impl Iterator<Item = usize> {
        self.tags.iter().copied().filter(|tag| !self.regions.iter().any(|region| region.tag == *tag))
    }

    /// The name of its file without the extension.
    fn stem(&self) -> &str {
        stem(&self.file)
    }
}

/// A path without the extension of its last part.
fn stem(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => stem,
        _ => path,
    }
}

/// The last part of a path.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
