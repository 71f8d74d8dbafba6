//! Reading: only the frames that a range needs, a chunk of frames at a time.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use habeas_core::{BlobRef, Error, Id, Result};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _};

use super::failure::{self, Doing};
use super::frames::{self, FRAME, SEALED_FRAME};

/// Frames fetched with one request: 1 MiB of plain bytes.
const CHUNK_FRAMES: u64 = 16;
/// Stored bytes fetched with one request.
const CHUNK: u64 = CHUNK_FRAMES * SEALED_FRAME as u64;

/// Reads a range of a blob's plain bytes.
pub(super) struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    blob: BlobRef,
    /// What remains to be read.
    range: Range<u64>,
}

impl Reader {
    /// [`habeas_core::ErrorKind::Invalid`] when the range does not lie within the blob.
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        blob: BlobRef,
        range: Range<u64>,
    ) -> Result<Reader> {
        if range.start > range.end || range.end > blob.size {
            return Err(Error::invalid(format!(
                "bytes {} to {} do not lie within a blob of {} bytes",
                range.start, range.end, blob.size
            )));
        }
        Ok(Reader { store, path, blob, range })
    }

    /// The next bytes of the range, at most 1 MiB; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let frame = FRAME as u64;
        let first = self.range.start / frame;
        let end = self.range.end.div_ceil(frame).min(first + CHUNK_FRAMES);
        let whole = frames::stored_size(self.blob.size);
        let stored = first * SEALED_FRAME as u64..(end * SEALED_FRAME as u64).min(whole);
        let stored = fetch(&*self.store, &self.path, &self.blob, Some(stored)).await?;
        let plain = Bytes::from(frames::open_run(&self.blob, first, &stored)?);
        let from = self.range.start - first * frame;
        let to = self.range.end.min(end * frame) - first * frame;
        self.range.start += to - from;
        Ok(Some(plain.slice(from as usize..to as usize)))
    }
}

/// Stored bytes of a blob, all of them without a `range`. An object that is longer or shorter than the blob's size
/// makes it is [`habeas_core::ErrorKind::Damaged`].
pub(super) async fn fetch(
    store: &dyn ObjectStore,
    path: &Path,
    blob: &BlobRef,
    range: Option<Range<u64>>,
) -> Result<Bytes> {
    let whole = frames::stored_size(blob.size);
    let expected = range.as_ref().map_or(whole, |range| range.end - range.start);
    let bytes = match get(store, path, range, whole).await {
        Ok(bytes) => bytes,
        Err(error) => {
            // A range behind the end of an object that was cut off fails in every store's own way.
            if matches!(error, object_store::Error::Generic { .. })
                && let Ok(meta) = store.head(path).await
                && meta.size != whole
            {
                return Err(wrong_size(blob));
            }
            return Err(failure::of_blob(&error, Doing::Reading, blob.id));
        }
    };
    match bytes {
        Some(bytes) if bytes.len() as u64 == expected => Ok(bytes),
        _ => Err(wrong_size(blob)),
    }
}

fn wrong_size(blob: &BlobRef) -> Error {
    frames::damaged(blob, "it is longer or shorter than what was stored")
}

/// `None` when the whole object is not `whole` bytes long; its content is not fetched then.
async fn get(
    store: &dyn ObjectStore,
    path: &Path,
    range: Option<Range<u64>>,
    whole: u64,
) -> object_store::Result<Option<Bytes>> {
    let found = store.get_opts(path, GetOptions::new().with_range(range)).await?;
    if found.meta.size == whole { found.bytes().await.map(Some) } else { Ok(None) }
}

/// Reads an object as it is stored.
pub(super) struct RawReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    id: Id,
    /// What remains to be read; not known before the first request.
    range: Option<Range<u64>>,
}

impl RawReader {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, id: Id) -> RawReader {
        RawReader { store, path, id, range: None }
    }

    /// The next stored bytes, about 1 MiB; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        let failed = |error: object_store::Error| failure::of_blob(&error, Doing::Reading, self.id);
        let range = match &self.range {
            Some(range) => range.clone(),
            None => 0..self.store.head(&self.path).await.map_err(failed)?.size,
        };
        if range.is_empty() {
            return Ok(None);
        }
        let end = range.end.min(range.start + CHUNK);
        let bytes = self.store.get_range(&self.path, range.start..end).await.map_err(failed)?;
        if bytes.len() as u64 != end - range.start {
            return Err(Error::damaged(format!("blob {} changed while it was read", self.id)));
        }
        self.range = Some(end..range.end);
        Ok(Some(bytes))
    }
}
