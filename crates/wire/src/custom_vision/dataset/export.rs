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
use habeas_core::kinds::Image;
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_dataset::{Format, Writer};
use habeas_models::labelled::{LabelledImages, classes};
use habeas_rights::pieces::{self, Pieces};
use habeas_store::{Page, Tx};
use tokio::runtime::Handle;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::super::caller::{Call, find_project};
use super::super::errors::Result;

/// Images opened at a time.
const PAGE: u64 = 200;

/// Streams the archive.
pub(in super::super) async fn export(call: Call) -> Result<Response> {
    let format: Format = call.query.required("format")?.parse()?;
    let (actor, project) = (call.actor, call.project()?);
    let store = call.app.store().clone();
    let (head, tags, ids) = store
        .read(move |tx| {
            let node = find_project(tx, &actor, project, Permission::Read)?;
            let (head, tags) = classes(tx, &node)?;
            Ok((head, tags, image_ids(tx, project)?))
        })
        .await?;
    let runtime = Handle::current();
    let stream = pieces::stream(move |out| {
        let images = LabelledImages::new(store, runtime, tags);
        write(&Writer::new(format, head), images, &ids, out)
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

/// On a thread that may block.
fn write(writer: &Writer, mut images: LabelledImages, ids: &[Id], out: Pieces) -> CoreResult<()> {
    let mut zip = ZipWriter::new_stream(out);
    for id in ids {
        let Some(found) = images.find(*id)? else { continue };
        let Some(bytes) = images.bytes(&found)? else { continue };
        let image = images.add(&found, &bytes);
        begin(&mut zip, &writer.image_path(&image), CompressionMethod::Stored)?;
        zip.write_all(&bytes).map_err(stopped)?;
        if let Some((path, text)) = writer.beside(&image) {
            begin(&mut zip, &path, CompressionMethod::Deflated)?;
            zip.write_all(text.as_bytes()).map_err(stopped)?;
        }
    }
    for path in writer.documents() {
        begin(&mut zip, path, CompressionMethod::Deflated)?;
        writer.document(path, &mut images, &mut zip)?;
    }
    zip.finish()
        .map_err(|_| stopped(std::io::ErrorKind::BrokenPipe.into()))
        .map(StreamWriter::into_inner)?
        .hand_over()
        .map_err(stopped)
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
