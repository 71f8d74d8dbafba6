//! Bodies: small JSON, images in multipart or raw form, and the streamed JSON of `images/files`.

mod files;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt as _;
use habeas_core::{Error, Result};
use habeas_learn::imaging;
use serde_json::Value;
use tokio::sync::mpsc;

use super::limits::Limits;
use super::projection::camel;

pub(super) use files::{Contents, RegionEntry, files};

/// The largest small JSON body.
const SMALL: usize = 1024 * 1024;
/// Body chunks that may wait for the parser.
const CHUNKS: usize = 4;

/// A small JSON body in the newest spelling; an empty one is `null`. The Python client sends an empty body with a JSON content
/// type on create_project and train_project, the JavaScript client on every POST without a body.
pub(super) async fn small_json(body: Body) -> Result<Value> {
    let bytes = small(body).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map(camel).map_err(|error| {
        Error::invalid(format!("the body is not JSON (line {}, column {})", error.line(), error.column()))
    })
}

/// A small JSON body that knows the spellings of every version itself, so that keys which are a user's own words stay as they are.
pub(super) async fn small_typed<T: serde::de::DeserializeOwned>(body: Body) -> Result<T> {
    serde_json::from_slice(&small(body).await?).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "the body was cut off",
            serde_json::error::Category::Syntax => "the body is not JSON",
            serde_json::error::Category::Data => "the body does not have the members of an image batch",
        };
        Error::invalid(format!("{what} (line {}, column {})", error.line(), error.column()))
            .code("BadRequestImageBatch")
    })
}

async fn small(body: Body) -> Result<Bytes> {
    axum::body::to_bytes(body, SMALL)
        .await
        .map_err(|_| Error::too_large(format!("the body is larger than {SMALL} bytes, or was cut off")))
}

/// The images of a multipart or raw body, one after the other.
pub(super) enum Images {
    /// Every part is an image.
    Parts {
        parts: Box<Multipart>,
        /// How many came by.
        count: usize,
    },
    /// Raw bytes, until they are taken.
    Raw(Option<Bytes>),
}

impl Images {
    /// Begins with the body of `request`.
    pub(super) async fn of(request: Request<Body>, limits: &Limits) -> Result<Images> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_lowercase();
        if content_type.starts_with("multipart/") && content_type.contains("boundary=") {
            let parts = Box::new(Multipart::from_request(request, &()).await.map_err(|_| broken())?);
            return Ok(Images::Parts { parts, count: 0 });
        }
        // Raw bytes; also under a multipart content type without a boundary, as the curl quickstart sends them.
        let most = usize::try_from(limits.image_bytes).unwrap_or(usize::MAX);
        let bytes = axum::body::to_bytes(request.into_body(), most).await.map_err(|_| too_large(limits))?;
        if content_type.starts_with("multipart/") && imaging::sniff(&bytes).is_none() {
            return Err(Error::invalid("the multipart body has no boundary")
                .hint("send it as application/octet-stream"));
        }
        if bytes.is_empty() {
            return Err(no_image_in_body());
        }
        Ok(Images::Raw(Some(bytes)))
    }

    /// The next image; none when there are no more.
    pub(super) async fn next(&mut self, limits: &Limits) -> Result<Option<Bytes>> {
        let (parts, count) = match self {
            Images::Raw(bytes) => return Ok(bytes.take()),
            Images::Parts { parts, count } => (parts, count),
        };
        // The Python client sends parts without a file name and content type: every part is an image, whatever its head says.
        let Some(mut part) = parts.next_field().await.map_err(|_| broken())? else {
            return if *count == 0 { Err(no_image_in_body()) } else { Ok(None) };
        };
        if *count == limits.images_per_batch {
            return Err(too_many_images(limits));
        }
        *count += 1;
        let mut image = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|_| broken())? {
            image.extend_from_slice(&chunk);
            if image.len() as u64 > limits.image_bytes {
                return Err(too_large(limits));
            }
        }
        Ok(Some(Bytes::from(image)))
    }
}

fn broken() -> Error {
    Error::invalid("the multipart body is broken").code("BadRequestImageStream")
}

fn too_large(limits: &Limits) -> Error {
    let most = limits.image_bytes;
    Error::too_large(format!("an image is larger than {most} bytes, or the upload was cut off"))
        .code("BadRequestImageSizeBytes")
}

fn no_image_in_body() -> Error {
    Error::invalid("the body holds no image").code("BadRequestImageStream")
}

pub(super) fn too_many_images(limits: &Limits) -> Error {
    Error::limit(format!("the batch has more than {} images", limits.images_per_batch))
        .code("BadRequestImageExceededCount")
}

/// Feeds a body to a parser on a blocking thread.
pub(super) fn feed(body: Body) -> BodyReader {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let failed = chunk.is_err();
            if sender.send(chunk.map_err(|_| ())).await.is_err() || failed {
                return;
            }
        }
    });
    BodyReader { chunks, current: Bytes::new() }
}

/// A body, read on a blocking thread.
pub(super) struct BodyReader {
    chunks: mpsc::Receiver<Result<Bytes, ()>>,
    current: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(())) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = out.len().min(self.current.len());
        out[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
