//! Writing: where each image lies, what lies beside it, and the documents over all of them.

use std::io::{self, Write};

use habeas_core::{Error, Result};

use crate::{Format, Head, Image, azure_ml, coco, folders, side, voc, yolo};

/// All images of a dataset, each time in the same order and with the same numbers. Images may go missing between two times.
pub trait Images {
    /// Shows each image, with its number, counted from 0.
    fn each(&mut self, visit: &mut dyn FnMut(u64, &Image) -> Result<()>) -> Result<()>;
}

/// Writes one dataset.
#[derive(Clone, Debug)]
pub struct Writer {
    format: Format,
    head: Head,
    images_in: Option<String>,
}

impl Writer {
    /// A writer of this format.
    pub fn new(format: Format, head: Head) -> Writer {
        Writer { format, head, images_in: None }
    }

    /// A writer of this format whose documents name the images in `folder`, relative to the dataset's own, where they lie already. For the
    /// formats that [name images by path](Format::names_images_by_path).
    pub fn with_images_in(format: Format, head: Head, folder: String) -> Writer {
        Writer { format, head, images_in: Some(folder) }
    }

    /// Where the bytes of an image lie in the archive.
    pub fn image_path(&self, image: &Image) -> String {
        match self.format {
            Format::Folders => folders::path(&self.head, image),
            _ => format!("{}/{}", self.image_folder(), image.file),
        }
    }

    /// The folder of the images, for formats that have one for all.
    pub(crate) fn image_folder(&self) -> &str {
        match (&self.images_in, self.format) {
            (Some(folder), _) => folder,
            (None, Format::Voc) => voc::IMAGES,
            (None, _) => "images",
        }
    }

    /// The file that belongs to this image alone, if the format has one: path and content.
    pub fn beside(&self, image: &Image) -> Option<(String, String)> {
        match self.format {
            Format::Yolo => yolo::label(image),
            Format::Voc => Some(voc::annotation(self, image)),
            _ => None,
        }
    }

    /// Paths of the documents over all images.
    pub fn documents(&self) -> &'static [&'static str] {
        match self.format {
            Format::Coco | Format::CocoNormalized => &[coco::PATH, side::PATH],
            Format::Yolo => &[yolo::PATH, side::PATH],
            Format::Voc => &[voc::SET, side::PATH],
            Format::AzureMl => &[azure_ml::PATH, side::PATH],
            Format::Folders => &[side::PATH],
        }
    }

    /// Writes one of the [`documents`](Writer::documents). Looks at the images once or twice; holds one at a time.
    pub fn document(&self, path: &str, images: &mut dyn Images, out: &mut dyn Write) -> Result<()> {
        match path {
            side::PATH => side::write(self, images, out),
            coco::PATH => coco::write(self, self.format == Format::CocoNormalized, images, out),
            yolo::PATH => yolo::write_classes(&self.head, out),
            voc::SET => voc::write_set(images, out),
            azure_ml::PATH => azure_ml::write(self, images, out),
            _ => Err(Error::internal("a dataset has no such document")),
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

/// The far end went away.
pub(crate) fn stopped(_: io::Error) -> Error {
    Error::unavailable("the dataset was not taken to its end")
}

/// Writes a JSON value and a line's end.
pub(crate) fn line(out: &mut dyn Write, value: &serde_json::Value) -> Result<()> {
    writeln!(out, "{value}").map_err(stopped)
}
