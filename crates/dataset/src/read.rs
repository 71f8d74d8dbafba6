//! Reading: the annotations of an archive, without the bytes of its images.

use std::collections::{BTreeMap, HashMap};

use habeas_core::kinds::TagType;
use habeas_core::{Error, Result};

use crate::{Format, Image, Region, Tag, azure_ml, base_name, coco, folders, side, voc, yolo};

/// The largest annotation document, in bytes: it is read into memory.
const LARGEST_DOCUMENT: u64 = 64 << 20;
/// The largest annotation file of one image, in bytes.
pub(crate) const LARGEST_LABEL: u64 = 1 << 20;

/// An archive.
pub trait Files {
    /// The paths of its files.
    fn paths(&self) -> &[String];

    /// The content of one of them; [`habeas_core::ErrorKind::TooLarge`] when it is longer than `most` bytes.
    fn content(&mut self, path: &str, most: u64) -> Result<Vec<u8>>;
}

/// What could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is about: an image or an annotation.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// What an archive says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// The classes.
    pub tags: Vec<Tag>,
    /// The images; each path once.
    pub images: Vec<Image>,
    /// What could not be used; the rest can.
    pub problems: Vec<Problem>,
    numbers: HashMap<String, usize>,
    places: HashMap<String, usize>,
}

impl Contents {
    /// The number of the class of this name, which is added when it is new.
    pub(crate) fn tag(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.tags.len();
        self.tags.push(Tag { name: name.to_owned(), description: String::new(), tag_type: TagType::Regular });
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The image at this path, which is added when it is new.
    pub(crate) fn image(&mut self, path: &str) -> &mut Image {
        let next = self.images.len();
        let place = *self.places.entry(path.to_owned()).or_insert(next);
        if place == next {
            self.images.push(Image { file: path.to_owned(), ..Image::default() });
        }
        &mut self.images[place]
    }

    pub(crate) fn problem(&mut self, file: &str, what: impl Into<String>) {
        self.problems.push(Problem { file: file.to_owned(), what: what.into() });
    }

    /// Adds a box, or says that it does not lie on the image.
    pub(crate) fn region(&mut self, path: &str, region: Region) {
        // Programs compute boxes in floating point: a hair beyond the edge is on it.
        const TOLERANCE: f64 = 1e-4;
        let within = |value: f64| (-TOLERANCE..=1.0 + TOLERANCE).contains(&value);
        let Region { left, top, width, height, .. } = region;
        if [left, top, width, height, left + width, top + height].into_iter().all(within)
            && width > 0.0
            && height > 0.0
        {
            self.image(path).regions.push(region);
        } else {
            self.problem(path, "a box does not lie on the image");
        }
    }
}

/// Reads the annotations of an archive. Errors: it is not of this format at all, or a document is too large; everything else is told in
/// [`Contents::problems`].
pub fn read(format: Format, files: &mut dyn Files) -> Result<Contents> {
    let archive = Archive::new(files.paths());
    let mut contents = Contents::default();
    let noted = match archive.find(side::PATH) {
        Some(path) => side::parse(&files.content(&path, LARGEST_DOCUMENT)?, &mut contents),
        None => Vec::new(),
    };
    match format {
        Format::Coco => coco::read(files, &archive, false, &mut contents)?,
        Format::CocoNormalized => coco::read(files, &archive, true, &mut contents)?,
        Format::Yolo => yolo::read(files, &archive, &mut contents)?,
        Format::Voc => voc::read(files, &archive, &mut contents)?,
        Format::AzureMl => azure_ml::read(files, &archive, &mut contents)?,
        Format::Folders => folders::read(&archive, &mut contents),
    }
    side::apply(noted, &archive, &mut contents);
    for image in &mut contents.images {
        let boxed: Vec<usize> = image.regions.iter().map(|region| region.tag).collect();
        image.tags.extend(boxed);
        image.tags.sort_unstable();
        image.tags.dedup();
    }
    Ok(contents)
}

/// Reads a document of an archive.
pub(crate) fn document(files: &mut dyn Files, path: &str) -> Result<Vec<u8>> {
    files.content(path, LARGEST_DOCUMENT)
}

/// The paths of an archive, to be looked up in the ways annotations name them.
pub(crate) struct Archive {
    paths: Vec<String>,
    /// Path of the only file of a name; none where several have it.
    by_name: BTreeMap<String, Option<usize>>,
    by_path: HashMap<String, usize>,
}

impl Archive {
    pub(crate) fn new(paths: &[String]) -> Archive {
        let mut by_name = BTreeMap::new();
        let mut by_path = HashMap::new();
        for (number, path) in paths.iter().enumerate() {
            by_path.insert(path.clone(), number);
            by_name.entry(base_name(path).to_owned()).and_modify(|only| *only = None).or_insert(Some(number));
        }
        Archive { paths: paths.to_vec(), by_name, by_path }
    }

    /// The files with one of these extensions, in any case.
    pub(crate) fn with_extension(&self, extensions: &'static [&'static str]) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str).filter(|path| {
            path.rsplit_once('.').is_some_and(|(_, own)| {
                extensions.iter().any(|extension| extension.eq_ignore_ascii_case(own))
            })
        })
    }

    /// Images, by their extension.
    pub(crate) fn images(&self) -> impl Iterator<Item = &str> {
        self.with_extension(&["jpg", "jpeg", "png", "gif", "bmp", "bin"])
    }

    /// Whether there is a file at exactly this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The file that an annotation means by a path, a path below some folder, an address that ends in one, or a name that only one file has.
    pub(crate) fn find(&self, named: &str) -> Option<String> {
        let path = named.split_once("://").map_or(named, |(_, rest)| rest).replace('\\', "/");
        let mut rest = path.as_str();
        loop {
            for candidate in [rest.to_owned(), format!("images/{rest}")] {
                if let Some(number) = self.by_path.get(&candidate) {
                    return Some(self.paths[*number].clone());
                }
            }
            match rest.split_once('/') {
                Some((_, below)) => rest = below,
                None => break,
            }
        }
        self.by_name.get(rest).copied().flatten().map(|number| self.paths[number].clone())
    }
}

/// The error of an archive that has nothing of the format.
pub(crate) fn not_there(what: &str) -> Error {
    Error::invalid(format!("the archive has no {what}")).hint("is it of the format that was named?")
}
