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
}

impl Writer {
    /// A writer of this format.
    pub fn new(format: Format, head: Head) -> Writer {
        Writer { format, head }
    }

    /// Where the bytes of an image lie in the archive.
    pub fn image_path(&self, image: &Image) -> String {
        match self.format {
            Format::Voc => format!("{}/{}", voc::IMAGES, image.file),
            Format::Folders => folders::path(&self.head, image),
            _ => format!("images/{}", image.file),
        }
    }

    /// The file that belongs to this image alone, if the format has one: path and content.
    pub fn beside(&self, image: &Image) -> Option<(String, String)> {
        match self.format {
            Format::Yolo => yolo::label(image),
            Format::Voc => Some(voc::annotation(&self.head, image)),
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
        let head = &self.head;
        match path {
            side::PATH => side::write(self.format, head, images, out),
            coco::PATH => coco::write(head, self.format == Format::CocoNormalized, images, out),
            yolo::PATH => yolo::write_classes(head, out),
            voc::SET => voc::write_set(images, out),
            azure_ml::PATH => azure_ml::write(self, images, out),
            _ => Err(Error::internal("a dataset has no such document")),
        }
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
