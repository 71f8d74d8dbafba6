//! The formats that an archive can have its data in once more, each in a folder of its own below `formats/`.
//!
//! Images are not stored a second time where a format says where they lie (COCO, VOC): its documents name the originals, by paths relative to
//! their own folder. YOLO and class folders find images by their layout, so theirs are copies.

use std::collections::BTreeMap;
use std::io::{self, Write};

use habeas_core::kinds::{ExportFormat, Project};
use habeas_core::{Bundle as _, Id, Kind, Result};
use habeas_dataset::{Format, Writer};
use habeas_models::labelled::{LabelledImages, classes};

use crate::archive::{Archive, is_image};
use crate::exports::FOLDER;
use crate::holdings::personal_kinds;
use crate::tables;

const PROJECTS: &str = "custom-vision/projects/";

/// Writes the formats, over what was written before.
pub(crate) fn write<W: Write>(archive: &mut Archive<W>, person: Id, formats: &[ExportFormat]) -> Result<()> {
    let mut of_tables = Vec::new();
    let mut of_images = Vec::new();
    for &format in formats {
        match format {
            ExportFormat::Csv | ExportFormat::Jsonl => of_tables.push(format),
            ExportFormat::Coco => of_images.push(Format::Coco),
            ExportFormat::Yolo => of_images.push(Format::Yolo),
            ExportFormat::Voc => of_images.push(Format::Voc),
            ExportFormat::Folders => of_images.push(Format::Folders),
        }
    }
    if !of_tables.is_empty() {
        for kind in personal_kinds() {
            archive.kind = Some(kind);
            tables::write(archive, person, kind, &of_tables)?;
        }
    }
    if !of_images.is_empty() {
        archive.write_blobs(0)?;
        for (project, images) in written_images(archive) {
            for &format in &of_images {
                archive.kind = Some(Kind::Image);
                write_images(archive, project, &images, format)?;
            }
        }
    }
    archive.kind = None;
    Ok(())
}

/// The images that the archive has, by project.
fn written_images<W: Write>(archive: &Archive<W>) -> BTreeMap<Id, Vec<Id>> {
    let mut projects: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for entry in archive.entries.iter().filter(|entry| is_image(&entry.media_type)) {
        let mut parts = entry.path.strip_prefix(PROJECTS).unwrap_or_default().split('/');
        let (project, folder, file) = (parts.next(), parts.next(), parts.next());
        let id = |text: Option<&str>| text?.split('.').next()?.parse::<Id>().ok();
        if let (Some(project), Some("images"), Some(image)) = (id(project), folder, id(file)) {
            projects.entry(project).or_default().push(image);
        }
    }
    projects
}

fn write_images<W: Write>(archive: &mut Archive<W>, project: Id, ids: &[Id], format: Format) -> Result<()> {
    let found =
        archive.runtime.block_on(archive.store.read(move |tx| match tx.get::<Project>(project)? {
            Some(node) => classes(tx, &node).map(Some),
            None => Ok(None),
        }))?;
    // Deleted while the archive is written.
    let Some((head, tags)) = found else { return Ok(()) };
    let folder = format!("{FOLDER}{}/{project}", format.name());
    let writer = if format.names_images_by_path() {
        // Three folders up is where the archive begins.
        Writer::with_images_in(format, head, format!("../../../{PROJECTS}{project}/images"))
    } else {
        Writer::new(format, head)
    };
    let mut images = LabelledImages::new(archive.store.clone(), archive.runtime.clone(), tags);
    for &id in ids {
        // Those that only iterations hold are in no dataset.
        let Some(labelled) = images.find(id)? else { continue };
        let Some(bytes) = images.bytes(&labelled)? else { continue };
        let image = images.add(&labelled, &bytes);
        if !format.names_images_by_path() {
            archive.blob(&format!("{folder}/{}", writer.image_path(&image)), &labelled.node.doc.original)?;
        }
        if let Some((path, text)) = writer.beside(&image) {
            archive.file(&format!("{folder}/{path}"), media_type(&path), text.as_bytes())?;
        }
    }
    for path in writer.documents() {
        archive.file_in_pieces(&format!("{folder}/{path}"), media_type(path), |out, _| {
            writer.document(path, &mut images, &mut &mut *out).map_err(io::Error::other)
        })?;
    }
    archive.write_blobs(0)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => "application/json",
        Some("jsonl") => "application/jsonl",
        Some("xml") => "application/xml",
        Some("yaml") => "application/yaml",
        _ => "text/plain",
    }
}
