//! `GET .../dataset?format=`: the workspace's images with their tags and regions, streamed.
//!
//! Memory: 24 bytes for each image, a line of the archive's directory, and one image at a time. Images that are deleted while the archive is
//! written are left out of what follows.

use std::io::Write;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::kinds::{Image, ImageDoc, Tag};
use habeas_core::node::Relation;
use habeas_core::{Error, ErrorKind, Id, Node, Result as CoreResult};
use habeas_dataset::{Format, Head, Images, Region, Writer};
use habeas_learn::imaging;
use habeas_rights::pieces::{self, Pieces};
use habeas_store::{Page, Store, Tx};
use tokio::runtime::Handle;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::super::caller::{Call, find_project};
use super::super::errors::Result;
use super::super::projects::is_detection;

/// Images opened at a time.
const PAGE: u64 = 200;

/// Streams the archive.
pub(in super::super) async fn export(call: Call) -> Result<Response> {
    let format: Format = call.query.required("format")?.parse()?;
    let (actor, project) = (call.actor, call.project()?);
    let store = call.app.store().clone();
    let (head, tags, ids, holder) = store
        .read(move |tx| {
            let node = find_project(tx, &actor, project, Permission::Read)?;
            let tags = tx.children::<Tag>(project, Page::ALL)?;
            let head = Head {
                detection: is_detection(node.doc.domain),
                multiclass: node.doc.classification_type.as_deref() == Some("Multiclass"),
                tags: tags
                    .iter()
                    .map(|tag| habeas_dataset::Tag {
                        name: tag.doc.name.clone(),
                        description: tag.doc.description.clone(),
                        tag_type: tag.doc.tag_type,
                    })
                    .collect(),
            };
            let ids = image_ids(tx, project)?;
            Ok((head, tags.into_iter().map(|tag| tag.id).collect::<Vec<_>>(), ids, node.holder))
        })
        .await?;
    super::note_operator(&call, holder, "ExportDataset").await?;
    let runtime = Handle::current();
    let stream = pieces::stream(move |out| {
        let mut images = Workspace { store, runtime, tags, images: Vec::with_capacity(ids.len()) };
        images.write(&Writer::new(format, head), &ids, out)
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"dataset.zip\""));
    Ok(response)
}

fn image_ids(tx: &mut Tx<'_>, project: Id) -> CoreResult<Vec<Id>> {
    let mut ids = Vec::new();
    loop {
        let page = Page { skip: ids.len() as u64, take: PAGE, ..Page::ALL };
        let nodes = tx.children::<Image>(project, page)?;
        ids.extend(nodes.iter().map(|node| node.id));
        if (nodes.len() as u64) < PAGE {
            return Ok(ids);
        }
    }
}

/// The images of a project as the writer wants to see them. Runs on a thread that may block.
struct Workspace {
    store: Store,
    runtime: Handle,
    /// The tags, by the numbers that the dataset gives them.
    tags: Vec<Id>,
    /// The images that were written, with width and height in pixels, upright.
    images: Vec<(Id, u32, u32)>,
}

impl Workspace {
    fn write(&mut self, writer: &Writer, ids: &[Id], out: Pieces) -> CoreResult<()> {
        let mut zip = ZipWriter::new_stream(out);
        for id in ids {
            // Its size in pixels stands in the file only.
            let Some((node, tags)) = self.find(*id)? else { continue };
            let bytes = match self.runtime.block_on(self.store.blobs().get(&node.doc.original)) {
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            let (width, height) = imaging::dimensions(&bytes).unwrap_or((node.doc.width, node.doc.height));
            let image = self.image(&node, &tags, width, height);
            begin(&mut zip, &writer.image_path(&image), CompressionMethod::Stored)?;
            zip.write_all(&bytes).map_err(stopped)?;
            if let Some((path, text)) = writer.beside(&image) {
                begin(&mut zip, &path, CompressionMethod::Deflated)?;
                zip.write_all(text.as_bytes()).map_err(stopped)?;
            }
            self.images.push((*id, width, height));
        }
        for path in writer.documents() {
            begin(&mut zip, path, CompressionMethod::Deflated)?;
            writer.document(path, self, &mut zip)?;
        }
        zip.finish()
            .map_err(|_| stopped(std::io::ErrorKind::BrokenPipe.into()))
            .map(StreamWriter::into_inner)?
            .hand_over()
            .map_err(stopped)
    }

    fn find(&self, id: Id) -> CoreResult<Option<(Node<ImageDoc>, Vec<Id>)>> {
        self.runtime.block_on(self.store.read(move |tx| found(tx, id)))
    }

    fn image(&self, node: &Node<ImageDoc>, tags: &[Id], width: u32, height: u32) -> habeas_dataset::Image {
        let number = |tag: &Id| self.tags.iter().position(|known| known == tag);
        let regions: Vec<Region> = node
            .doc
            .regions
            .iter()
            .filter_map(|region| {
                Some(Region {
                    tag: number(&region.tag)?,
                    left: region.left,
                    top: region.top,
                    width: region.width,
                    height: region.height,
                })
            })
            .collect();
        let mut tags: Vec<usize> = tags.iter().filter_map(number).collect();
        tags.extend(regions.iter().map(|region| region.tag));
        tags.sort_unstable();
        tags.dedup();
        let extension = Image::extension(&node.doc.original.media_type);
        habeas_dataset::Image {
            file: format!("{}.{extension}", node.id),
            name: node.doc.file_name.clone(),
            width,
            height,
            tags,
            regions,
            metadata: node.doc.metadata.clone(),
        }
    }
}

/// An image and its tags.
fn found(tx: &mut Tx<'_>, id: Id) -> CoreResult<Option<(Node<ImageDoc>, Vec<Id>)>> {
    let Some(node) = tx.get::<Image>(id)? else { return Ok(None) };
    let tags = tx.targets(id, Relation::Tagged)?.into_iter().map(|(tag, _)| tag).collect();
    Ok(Some((node, tags)))
}

impl Images for Workspace {
    fn each(
        &mut self,
        visit: &mut dyn FnMut(u64, &habeas_dataset::Image) -> CoreResult<()>,
    ) -> CoreResult<()> {
        for (page, images) in self.images.chunks(PAGE as usize).enumerate() {
            let ids: Vec<Id> = images.iter().map(|(id, _, _)| *id).collect();
            let nodes =
                self.runtime
                    .block_on(self.store.read(move |tx| {
                        ids.iter().map(|id| found(tx, *id)).collect::<CoreResult<Vec<_>>>()
                    }))?;
            for (place, (node, (_, width, height))) in nodes.into_iter().zip(images).enumerate() {
                if let Some((node, tags)) = node {
                    visit(page as u64 * PAGE + place as u64, &self.image(&node, &tags, *width, *height))?;
                }
            }
        }
        Ok(())
    }
}

fn begin<W: Write>(
    zip: &mut ZipWriter<StreamWriter<W>>,
    path: &str,
    method: CompressionMethod,
) -> CoreResult<()> {
    let options = SimpleFileOptions::default().compression_method(method).unix_permissions(0o600);
    zip.start_file(path, options).map_err(|_| stopped(std::io::ErrorKind::BrokenPipe.into()))
}

/// The far end went away.
fn stopped(_: std::io::Error) -> Error {
    Error::unavailable("the dataset was not taken to its end")
}
