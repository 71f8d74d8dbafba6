//! Bodies: small JSON, images in multipart or raw form, and the streamed JSON of `images/files`.

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use habeas_core::{Error, Result};
use habeas_learn::imaging;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokio::sync::mpsc;

use super::limits::Limits;
use super::projection::camel;

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
    serde_json::from_slice(&small(body).await?).map_err(|error| wrong(&error))
}

async fn small(body: Body) -> Result<Bytes> {
    axum::body::to_bytes(body, SMALL)
        .await
        .map_err(|_| Error::too_large(format!("the body is larger than {SMALL} bytes, or was cut off")))
}

/// The images of a multipart or raw body.
pub(super) async fn images(request: Request<Body>, limits: &Limits) -> Result<Vec<Bytes>> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_lowercase();
    if content_type.starts_with("multipart/") && content_type.contains("boundary=") {
        return multipart(request, limits).await;
    }
    // Raw bytes; also under a multipart content type without a boundary, as the curl quickstart sends them.
    let bytes = limited(request.into_body(), limits.image_bytes).await?;
    if content_type.starts_with("multipart/") && imaging::sniff(&bytes).is_none() {
        return Err(
            Error::invalid("the multipart body has no boundary").hint("send it as application/octet-stream")
        );
    }
    if bytes.is_empty() {
        return Err(no_image_in_body());
    }
    Ok(vec![bytes])
}

async fn limited(body: Body, most: u64) -> Result<Bytes> {
    axum::body::to_bytes(body, usize::try_from(most).unwrap_or(usize::MAX)).await.map_err(|_| too_large(most))
}

fn too_large(most: u64) -> Error {
    Error::too_large(format!("an image is larger than {most} bytes, or the upload was cut off"))
        .code("BadRequestImageSizeBytes")
}

fn no_image_in_body() -> Error {
    Error::invalid("the body holds no image").code("BadRequestImageStream")
}

async fn multipart(request: Request<Body>, limits: &Limits) -> Result<Vec<Bytes>> {
    let broken = || Error::invalid("the multipart body is broken").code("BadRequestImageStream");
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
    let mut images = Vec::new();
    // The Python client sends parts without a file name and content type: every part is an image, whatever its head says.
    while let Some(mut part) = parts.next_field().await.map_err(|_| broken())? {
        if images.len() == limits.images_per_batch {
            return Err(too_many_images(limits));
        }
        let mut image = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|_| broken())? {
            image.extend_from_slice(&chunk);
            if image.len() as u64 > limits.image_bytes {
                return Err(too_large(limits.image_bytes));
            }
        }
        images.push(Bytes::from(image));
    }
    if images.is_empty() { Err(no_image_in_body()) } else { Ok(images) }
}

pub(super) fn too_many_images(limits: &Limits) -> Error {
    Error::limit(format!("the batch has more than {} images", limits.images_per_batch))
        .code("BadRequestImageExceededCount")
}

/// One entry of `images/files`, as it came by.
#[derive(Debug)]
pub(super) struct FileEntry {
    pub(super) name: Option<String>,
    pub(super) contents: Contents,
    pub(super) tag_ids: Vec<String>,
    pub(super) regions: Vec<RegionEntry>,
}

/// The bytes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Bytes(Vec<u8>),
    /// There were none, or they were not base64.
    Missing,
    /// More than the limit; they were not kept.
    TooLarge,
}

/// A region in a request. The JavaScript and Python clients always send all members.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegionEntry {
    #[serde(alias = "TagId")]
    pub(super) tag_id: String,
    #[serde(alias = "Left")]
    pub(super) left: f64,
    #[serde(alias = "Top")]
    pub(super) top: f64,
    #[serde(alias = "Width")]
    pub(super) width: f64,
    #[serde(alias = "Height")]
    pub(super) height: f64,
}

/// What a batch says of all its images.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) tag_ids: Vec<String>,
    pub(super) metadata: Vec<(String, String)>,
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

/// Passes JSON through, but of any run of bytes without a quote only the first `most`: strings, however long, take bounded memory. What was
/// cut is longer than the limit all the same, which is how it is recognised.
struct ShortStrings<R> {
    inner: R,
    run: usize,
    most: usize,
}

impl<R: Read> Read for ShortStrings<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.inner.read(out)?;
            if length == 0 {
                return Ok(0);
            }
            let mut kept = 0;
            for at in 0..length {
                if out[at] == b'"' {
                    self.run = 0;
                } else {
                    self.run += 1;
                }
                if self.run <= self.most {
                    out[kept] = out[at];
                    kept += 1;
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

/// Parses the body of `images/files` on a blocking thread, handing over every image as it comes by: one is in memory at a time.
pub(super) fn files(
    reader: impl Read,
    limits: &Limits,
    take: &mut dyn FnMut(FileEntry) -> Result<()>,
) -> Result<Batch> {
    let image_bytes = usize::try_from(limits.image_bytes).unwrap_or(usize::MAX);
    let longest = image_bytes / 3 * 4 + 16;
    let reader =
        io::BufReader::with_capacity(64 * 1024, ShortStrings { inner: reader, run: 0, most: longest });
    let mut failure = None;
    let mut parser = serde_json::Deserializer::from_reader(reader);
    let seed = BatchSeed { take, failure: &mut failure, image_bytes, left: limits.images_per_batch };
    let parsed = seed.deserialize(&mut parser).and_then(|batch| parser.end().map(|()| batch));
    match (parsed, failure) {
        (_, Some(error)) => Err(error),
        (Ok(batch), None) => Ok(batch),
        (Err(error), None) => Err(wrong(&error)),
    }
}

fn wrong(error: &serde_json::Error) -> Error {
    let what = match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Eof => "the body was cut off",
        serde_json::error::Category::Syntax => "the body is not JSON",
        serde_json::error::Category::Data => "the body does not have the members of an image batch",
    };
    Error::invalid(format!("{what} (line {}, column {})", error.line(), error.column()))
        .code("BadRequestImageBatch")
}

struct BatchSeed<'a> {
    take: &'a mut dyn FnMut(FileEntry) -> Result<()>,
    failure: &'a mut Option<Error>,
    image_bytes: usize,
    left: usize,
}

impl<'de> DeserializeSeed<'de> for BatchSeed<'_> {
    type Value = Batch;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Batch, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_> {
    type Value = Batch;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an image batch")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Batch, A::Error> {
        let mut batch = Batch::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.to_lowercase().as_str() {
                "images" => map.next_value_seed(ImagesSeed(&mut self))?,
                "tagids" => batch.tag_ids = map.next_value::<Option<Vec<String>>>()?.unwrap_or_default(),
                "metadata" => {
                    let metadata =
                        map.next_value::<Option<serde_json::Map<String, Value>>>()?.unwrap_or_default();
                    batch.metadata = metadata
                        .into_iter()
                        .map(|(key, value)| match value {
                            Value::String(value) => Ok((key, value)),
                            _ => Err(serde::de::Error::custom("metadata values are strings")),
                        })
                        .collect::<Result<_, A::Error>>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(batch)
    }
}

struct ImagesSeed<'a, 'b>(&'a mut BatchSeed<'b>);

impl<'de> DeserializeSeed<'de> for ImagesSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ImagesSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of images")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let batch = self.0;
        while let Some(entry) = entries.next_element_seed(EntrySeed { image_bytes: batch.image_bytes })? {
            let taken = if batch.left == 0 {
                Err(Error::limit("the batch has more images than are allowed")
                    .code("BadRequestImageExceededCount"))
            } else {
                batch.left -= 1;
                (batch.take)(entry)
            };
            if let Err(error) = taken {
                *batch.failure = Some(error);
                return Err(serde::de::Error::custom("given up"));
            }
        }
        Ok(())
    }
}

struct EntrySeed {
    image_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for EntrySeed {
    type Value = FileEntry;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<FileEntry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed {
    type Value = FileEntry;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an image")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileEntry, A::Error> {
        let mut entry =
            FileEntry { name: None, contents: Contents::Missing, tag_ids: Vec::new(), regions: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            match name.to_lowercase().as_str() {
                "name" => entry.name = map.next_value()?,
                "contents" => {
                    entry.contents = map.next_value_seed(ContentsSeed { most: self.image_bytes })?;
                }
                "tagids" => entry.tag_ids = map.next_value::<Option<Vec<String>>>()?.unwrap_or_default(),
                "regions" => {
                    entry.regions = map.next_value::<Option<Vec<RegionEntry>>>()?.unwrap_or_default();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(entry)
    }
}

struct ContentsSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ContentsSeed {
    type Value = Contents;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Contents, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ContentsSeed {
    type Value = Contents;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an image in base64")
    }

    fn visit_unit<E>(self) -> Result<Contents, E> {
        Ok(Contents::Missing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Contents, E> {
        if text.len() / 4 * 3 > self.most + 2 {
            return Ok(Contents::TooLarge);
        }
        Ok(match STANDARD.decode(text) {
            Ok(bytes) if bytes.len() > self.most => Contents::TooLarge,
            Ok(bytes) => Contents::Bytes(bytes),
            Err(_) => Contents::Missing,
        })
    }
}

/// The address under which the client reached the server, for the image addresses in answers.
pub(super) fn base_address(headers: &HeaderMap, configured: Option<&str>, tls: bool) -> String {
    if let Some(address) = configured {
        return address.to_owned();
    }
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(',').next().unwrap_or(value).trim())
    };
    let host = header("x-forwarded-host").or_else(|| header("host")).unwrap_or("localhost");
    let scheme = header("x-forwarded-proto").unwrap_or(if tls { "https" } else { "http" });
    let prefix = header("x-forwarded-prefix").unwrap_or_default().trim_end_matches('/');
    format!("{scheme}://{host}{prefix}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &[u8], limits: &Limits) -> Result<(Vec<FileEntry>, Batch)> {
        let mut entries = Vec::new();
        let batch = files(json, limits, &mut |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok((entries, batch))
    }

    #[test]
    fn a_batch_is_read_whatever_the_order_of_its_members() {
        let json = br#"{"images":[{"name":"a.jpg","contents":"AQID","regions":[{"tagId":"t","left":0.1,"top":0,"width":1,"height":1}],"more":[[{}]]},
            {"contents":null}],"tagIds":["x"],"metadata":{"k":"v"}}"#;
        let (entries, batch) = read(json, &Limits::default()).unwrap();
        assert_eq!(entries[0].contents, Contents::Bytes(vec![1, 2, 3]));
        assert_eq!(entries[0].regions.len(), 1);
        assert_eq!(entries[1].contents, Contents::Missing);
        assert_eq!(batch.tag_ids, ["x"]);
        assert_eq!(batch.metadata, [("k".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn oversized_contents_are_cut_and_recognised() {
        let limits = Limits { image_bytes: 300, ..Limits::default() };
        let json =
            format!(r#"{{"images":[{{"contents":"{}"}},{{"contents":"AQID"}}]}}"#, "A".repeat(100_000));
        let (entries, _) = read(json.as_bytes(), &limits).unwrap();
        assert_eq!(entries[0].contents, Contents::TooLarge);
        assert_eq!(entries[1].contents, Contents::Bytes(vec![1, 2, 3]));
    }

    #[test]
    fn a_batch_that_is_too_long_or_broken_says_so() {
        let many = format!(r#"{{"images":[{}]}}"#, vec!["{}"; 65].join(","));
        assert_eq!(
            read(many.as_bytes(), &Limits::default()).unwrap_err().code,
            Some("BadRequestImageExceededCount")
        );
        for wrong in [&b"{\"images\":["[..], b"[]", b"{\"images\":3}", b"{} x", b""] {
            assert!(read(wrong, &Limits::default()).is_err());
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, &Limits::default());
        }
    }
}
