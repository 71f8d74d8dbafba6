//! Writing: plain bytes to frames, frames to an object.

use std::sync::Arc;

use bytes::BytesMut;
use habeas_core::{BlobRef, Error, Id, Result, fault};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};

use super::failure::{self, Doing};
use super::frames::{self, FRAME, SEALED_FRAME};

/// Stored bytes in each part of a large upload but the last: 8 MiB and the tags. Some stores want all parts of one
/// size and at least 5 MiB; smaller objects go up in one piece.
pub(super) const PART: usize = 128 * SEALED_FRAME;

/// S3's limit on parts, which makes the largest blob about 78 GiB.
const MAX_PARTS: usize = 10_000;
/// Bytes of a part of a local file, of which there may be any number: the less waits in memory, the better.
const LOCAL_PART: usize = 16 * SEALED_FRAME;

/// Writes one blob piece by piece, with memory for one part however large it becomes. Nothing is visible in the
/// store before [`finish`](Self::finish) returns; a writer that is dropped leaves nothing behind (on a remote store
/// the parts are thrown away in the background; after a crash its own clean-up rule has to).
pub struct BlobWriter {
    blob: BlobRef,
    /// Plain bytes not sealed yet: a full frame waits here until it is known whether it is the last one.
    frame: Vec<u8>,
    /// Number of the frame that is being filled.
    number: u64,
    uploader: Uploader,
}

impl BlobWriter {
    pub(super) fn new(blob: BlobRef, uploader: Uploader) -> BlobWriter {
        BlobWriter { blob, frame: Vec::new(), number: 0, uploader }
    }

    /// Adds plain bytes. After an error, or when the returned future was dropped, the writer is of no further use.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.frame.len() == FRAME {
                self.seal_frame(false).await?;
                self.number += 1;
            }
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.frame.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Stores the rest; the blob is durable when this returns. Gives the reference back with the size found.
    /// [`habeas_core::ErrorKind::Conflict`] when a blob of this name is stored already.
    pub async fn finish(mut self) -> Result<BlobRef> {
        self.seal_frame(true).await?;
        self.uploader.finish().await?;
        self.blob.size = self.number * FRAME as u64 + self.frame.len() as u64;
        Ok(self.blob)
    }

    /// Throws away what was written.
    pub async fn abort(mut self) -> Result<()> {
        self.uploader.abort().await
    }

    async fn seal_frame(&mut self, last: bool) -> Result<()> {
        let sealed = frames::seal(&self.blob, self.number, last, &self.frame);
        if !last {
            self.frame.clear();
        }
        self.uploader.push(&sealed).await
    }
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter").field("blob", &self.blob.id).finish_non_exhaustive()
    }
}

/// Uploads the bytes of one object: in one piece when they are few, else in parts.
pub(super) struct Uploader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    id: Id,
    waiting: BytesMut,
    stored: u64,
    stage: Stage,
    part: usize,
    max_parts: usize,
}

enum Stage {
    /// All bytes so far wait in memory.
    Small,
    /// So many parts are stored.
    Parts(Parts, usize),
    /// Finished, given up, or failed half-way.
    Closed,
}

impl Uploader {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, id: Id, local: bool) -> Uploader {
        let (part, max_parts) = if local { (LOCAL_PART, usize::MAX) } else { (PART, MAX_PARTS) };
        Uploader {
            store,
            path,
            id,
            waiting: BytesMut::new(),
            stored: 0,
            stage: Stage::Small,
            part,
            max_parts,
        }
    }

    /// Adds bytes of the object.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.waiting.len() == self.part {
                self.send_part().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.part - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Makes the object visible and durable; returns its size in bytes.
    pub(super) async fn finish(&mut self) -> Result<u64> {
        let failed = |error: object_store::Error| failure::of_blob(&error, Doing::Storing, self.id);
        let rest = PutPayload::from(self.waiting.split().freeze());
        let size = self.stored + rest.content_length() as u64;
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Small => {
                fault::point("blob.put.before");
                self.store.put_opts(&self.path, rest, PutMode::Create.into()).await.map_err(failed)?;
            }
            Stage::Parts(mut parts, _) => {
                let upload = parts.upload()?;
                upload.put_part(rest).await.map_err(failed)?;
                upload.complete().await.map_err(failed)?;
                parts.0 = None;
            }
            Stage::Closed => return Err(closed()),
        }
        fault::point("blob.put.after");
        Ok(size)
    }

    pub(super) async fn abort(&mut self) -> Result<()> {
        self.waiting.clear();
        if let Stage::Parts(mut parts, _) = std::mem::replace(&mut self.stage, Stage::Closed) {
            let aborted = parts.upload()?.abort().await;
            parts.0 = None;
            aborted.map_err(|error| failure::of_blob(&error, Doing::Deleting, self.id))?;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<()> {
        let failed = |error: object_store::Error| failure::of_blob(&error, Doing::Storing, self.id);
        // The stage is put back only after success: a failed or abandoned part must not be followed by another.
        let (mut parts, count) = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Small => {
                // Completing an upload in parts knows no condition everywhere, so look first. Names are random:
                // this finds a mistake of ours, not a race.
                match self.store.head(&self.path).await {
                    Ok(_) => return Err(failure::exists(self.id)),
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(error)),
                }
                fault::point("blob.put.before");
                (Parts(Some(self.store.put_multipart(&self.path).await.map_err(failed)?)), 0)
            }
            Stage::Parts(parts, count) => (parts, count),
            Stage::Closed => return Err(closed()),
        };
        // One part is left for `finish`.
        if count + 1 >= self.max_parts {
            return Err(Error::too_large("a blob is larger than an object store takes")
                .hint(format!("keep it below {} GiB", ((self.max_parts - 1) * self.part) >> 30)));
        }
        let part = self.waiting.split().freeze();
        let size = part.len() as u64;
        parts.upload()?.put_part(part.into()).await.map_err(failed)?;
        self.stored += size;
        self.stage = Stage::Parts(parts, count + 1);
        Ok(())
    }
}

fn closed() -> Error {
    Error::internal("a blob was written to after it was finished or had failed")
}

/// An upload in parts that is thrown away unless it was completed.
struct Parts(Option<Box<dyn MultipartUpload>>);

impl Parts {
    fn upload(&mut self) -> Result<&mut dyn MultipartUpload> {
        match &mut self.0 {
            Some(upload) => Ok(upload.as_mut()),
            None => Err(closed()),
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(mut upload) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Nobody is left to tell of an error, and the store's own clean-up rule removes what stays.
            runtime.spawn(async move { upload.abort().await });
        }
    }
}
