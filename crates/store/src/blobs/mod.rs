//! Large content, sealed, in an object store: local files, S3, Azure Blob Storage or Google Cloud Storage.
//!
//! Every blob has a random name and a random key ([`BlobRef`]). The key stands only in the sealed document that
//! points at the blob, so that what the store, its copies and its old versions hold cannot be read once that
//! document's key is destroyed. Objects are named `blobs/<2 hex>/<32 hex>` after the blob's id, which makes no name
//! a path prefix of another, and hold nothing but sealed frames (see [`stored_size`] for what they take).
//!
//! A blob is written once and never changed; **one [`BlobRef`] is for one content**, since its key and nonces must
//! not seal two.

mod backend;
mod failure;
mod frames;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use habeas_core::{BlobRef, Error, Id, Result, Timestamp, fault};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use backend::{BLOBS, Backend};
use failure::Doing;
use reader::{RawReader, Reader};
use writer::Uploader;

pub use frames::stored_size;
pub use writer::BlobWriter;

/// Objects that are deleted, or looked for, at a time.
const AT_A_TIME: usize = 16;

/// The store of sealed blobs; cheap to clone. Every method may answer [`habeas_core::ErrorKind::Unavailable`] when
/// the disk is full or not ours, or the remote store cannot be reached.
#[derive(Clone)]
pub struct Blobs(Backend);

/// An object found in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// The blob's name.
    pub id: Id,
    /// Stored bytes, seals included.
    pub stored_size: u64,
    /// When the store says it was written.
    pub last_modified: Timestamp,
}

/// Whether the store keeps what was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It keeps no versions, as far as the blob that was looked at shows.
    Off,
    /// It keeps deleted blobs as old versions.
    On,
    /// It cannot be told: nothing is stored yet, or the store does not say.
    Unknown,
}

/// What an operator should know about the store; `Display` gives it as sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `file`, `s3`, `az`, `gs`, or `memory` for a store handed in by a test.
    pub scheme: &'static str,
    /// Whether deleted blobs live on as versions.
    pub versioning: Versioning,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blobs: {}. ", self.scheme)?;
        f.write_str(match (self.scheme, self.versioning) {
            ("file", _) => "Deleted files are gone; snapshots of the file system cannot be seen from here.",
            (_, Versioning::Off) => "The bucket keeps no old versions.",
            (_, Versioning::On) => {
                "Warning: the bucket keeps old versions. A deleted blob stays there, unreadable since its key is \
                 destroyed, until a rule of the bucket removes it: add one that expires old versions."
            }
            (_, Versioning::Unknown) => {
                "Whether the bucket keeps old versions cannot be detected. If it does, a deleted blob stays there, \
                 unreadable since its key is destroyed, until a rule of the bucket removes it."
            }
        })?;
        if matches!(self.scheme, "s3" | "az" | "gs") {
            f.write_str(
                " Uploads that a crash cut short are the bucket's to remove: give it a rule for them.",
            )?;
        }
        Ok(())
    }
}

impl Blobs {
    /// The store at `address`:
    ///
    /// - a directory, or `file:///DIR`; made with mode 0700 where it does not exist;
    /// - `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&allow_http=true`, each setting optional, the rest from the
    ///   usual variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_REGION`). Plain
    ///   `http` needs `allow_http=true` unless the endpoint is the machine itself. The store must honour conditional
    ///   writes (`If-None-Match: *`);
    /// - `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`, with the usual variables of these.
    ///
    /// Credentials are never taken from the address. No connection is made yet. Local directories are made and
    /// synced on the calling thread. [`habeas_core::ErrorKind::Invalid`] when the address or settings are wrong.
    pub fn open(address: &str) -> Result<Blobs> {
        Backend::open(address).map(Blobs)
    }

    /// Blobs in any object store, such as one in memory or one that fails on purpose.
    pub fn over(store: Arc<dyn ObjectStore>) -> Blobs {
        Blobs(Backend { store, prefix: Path::default(), scheme: "memory", root: None })
    }

    /// What an operator should know about the store. On S3 and Azure it looks at one stored blob to see whether
    /// the bucket keeps versions.
    pub async fn describe(&self) -> Result<Description> {
        let versioning = match self.0.scheme {
            "file" => Versioning::Off,
            "s3" | "az" => match self.objects().try_next().await.map_err(|error| not_listed(&error))? {
                None => Versioning::Unknown,
                Some(meta) => match self.0.store.head(&meta.location).await {
                    // S3 writes "null" while versioning is suspended; older versions may still be there.
                    Ok(meta) if meta.version.as_deref() == Some("null") => Versioning::Unknown,
                    Ok(meta) => {
                        if meta.version.is_some() {
                            Versioning::On
                        } else {
                            Versioning::Off
                        }
                    }
                    // Deleted since it was listed.
                    Err(object_store::Error::NotFound { .. }) => Versioning::Unknown,
                    Err(error) => return Err(failure::unavailable(&error, "the blob store cannot be read")),
                },
            },
            // Google gives every object a generation, versioned or not.
            _ => Versioning::Unknown,
        };
        Ok(Description { scheme: self.0.scheme, versioning })
    }

    /// Seals and stores `bytes`, whose length must be `blob.size`; durable when it returns (on local files the
    /// content and the directory's entry are synced). Returns the stored size in bytes.
    ///
    /// [`habeas_core::ErrorKind::Conflict`] when the blob is stored already: nothing is overwritten.
    pub async fn put(&self, blob: &BlobRef, bytes: &[u8]) -> Result<u64> {
        if bytes.len() as u64 != blob.size {
            return Err(Error::internal(format!("blob {} is not as long as its reference says", blob.id)));
        }
        let mut writer = self.writer(blob.clone());
        writer.write(bytes).await?;
        let written = writer.finish().await?;
        Ok(stored_size(written.size))
    }

    /// A writer for content of any length; `blob.size` does not matter, [`BlobWriter::finish`] finds it.
    pub fn writer(&self, blob: BlobRef) -> BlobWriter {
        let uploader = self.uploader(blob.id);
        BlobWriter::new(blob, uploader)
    }

    /// The whole content, in memory. [`habeas_core::ErrorKind::Damaged`] when the stored bytes are not what was
    /// written, [`habeas_core::ErrorKind::NotFound`] when they are gone.
    pub async fn get(&self, blob: &BlobRef) -> Result<Vec<u8>> {
        let stored = reader::fetch(&*self.0.store, &self.path(blob.id), blob, None).await?;
        frames::open_run(blob, 0, &stored)
    }

    /// The bytes of a range, in memory; fetches only the frames it touches. Errors as for [`get`](Self::get), and
    /// [`habeas_core::ErrorKind::Invalid`] when the range does not lie within the blob.
    pub async fn read_range(&self, blob: &BlobRef, range: Range<u64>) -> Result<Bytes> {
        let mut reader = self.reader(blob, range)?;
        let Some(first) = reader.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = reader.next().await? else { return Ok(first) };
        let mut all = [first, second].concat();
        while let Some(next) = reader.next().await? {
            all.extend_from_slice(&next);
        }
        Ok(all.into())
    }

    /// The bytes of a range in pieces of at most 1 MiB, of which no more than one is in memory. Each piece was
    /// checked before it is given out; the stream ends after its first error, which are those of
    /// [`read_range`](Self::read_range).
    pub fn stream(&self, blob: &BlobRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        match self.reader(blob, range) {
            Ok(reader) => stream::try_unfold(reader, async |mut reader| {
                Ok(reader.next().await?.map(|bytes| (bytes, reader)))
            })
            .boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    /// Deletes a blob; durable when it returns, and not an error when there is none.
    ///
    /// A bucket that keeps versions keeps the deleted object as an old one. It cannot be read, since the key was
    /// destroyed with the document that held it, and goes when a rule of the bucket says so; [`Self::describe`]
    /// warns of such buckets.
    pub async fn delete(&self, id: Id) -> Result<()> {
        self.delete_all(&[id]).await
    }

    /// Deletes many blobs, as [`Self::delete`] each: several at a time, and a directory is flushed once for all that were in it.
    pub async fn delete_all(&self, ids: &[Id]) -> Result<()> {
        for some in ids.chunks(AT_A_TIME) {
            try_join_all(some.iter().map(|&id| self.remove(id))).await?;
        }
        // The object store syncs what it writes, not what it deletes.
        if let Some(root) = &self.0.root {
            let names: BTreeSet<String> = ids.iter().map(|id| id.to_hex()[..2].to_owned()).collect();
            let root = root.join(BLOBS);
            blocking("a deleted blob cannot be made durable", move || {
                names.iter().try_for_each(|name| backend::sync_directory(&root.join(name)))
            })
            .await?;
        }
        fault::point("blob.delete.after");
        Ok(())
    }

    async fn remove(&self, id: Id) -> Result<()> {
        match self.0.store.delete(&self.path(id)).await {
            // Gone already, but perhaps by a process that died before it synced the directory.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure::of_blob(&error, Doing::Deleting, id)),
        }
    }

    /// One of these blobs that is stored, if any is.
    pub async fn any_stored(&self, ids: &[Id]) -> Result<Option<Id>> {
        for some in ids.chunks(AT_A_TIME) {
            let stored = try_join_all(some.iter().map(|&id| self.exists(id))).await?;
            if let Some(at) = stored.iter().position(|is_stored| *is_stored) {
                return Ok(some.get(at).copied());
            }
        }
        Ok(None)
    }

    /// Fails when a remote store is not there, or does not let us in: whoever starts with a wrong address hears it at once, not at the
    /// first upload. Local directories were made when they were opened.
    pub async fn reach(&self) -> Result<()> {
        if self.0.root.is_none() {
            self.objects()
                .try_next()
                .await
                .map_err(|error| failure::unavailable(&error, "the blob store cannot be reached"))?;
        }
        Ok(())
    }

    /// Whether a blob of this name is stored.
    pub async fn exists(&self, id: Id) -> Result<bool> {
        match self.0.store.head(&self.path(id)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failure::of_blob(&error, Doing::Reading, id)),
        }
    }

    /// Every stored blob, in no order. Objects that are not named like one are passed over.
    pub fn list(&self) -> BoxStream<'static, Result<BlobEntry>> {
        let blobs = self.clone();
        self.objects()
            .try_filter_map(move |meta| {
                let id = meta.location.filename().and_then(|name| name.parse::<Id>().ok());
                let entry = id.filter(|id| blobs.path(*id) == meta.location).map(|id| BlobEntry {
                    id,
                    stored_size: meta.size,
                    last_modified: Timestamp(meta.last_modified.timestamp_micros()),
                });
                futures::future::ready(Ok(entry))
            })
            .map_err(|error| not_listed(&error))
            .boxed()
    }

    /// The stored bytes of a blob as they are, sealed, in pieces of about 1 MiB: for backups, which need no keys.
    pub fn raw_stream(&self, id: Id) -> BoxStream<'static, Result<Bytes>> {
        let reader = RawReader::new(self.0.store.clone(), self.path(id), id);
        stream::try_unfold(reader, async |mut reader| Ok(reader.next().await?.map(|bytes| (bytes, reader))))
            .boxed()
    }

    /// Stores sealed bytes as [`raw_stream`](Self::raw_stream) gave them; durable when it returns. Returns their
    /// number. An error of the stream is passed on and nothing is stored. [`habeas_core::ErrorKind::Conflict`] when
    /// the blob is stored already.
    pub async fn put_raw(&self, id: Id, bytes: impl Stream<Item = Result<Bytes>> + Send) -> Result<u64> {
        let mut bytes = std::pin::pin!(bytes);
        let mut uploader = self.uploader(id);
        while let Some(piece) = bytes.try_next().await? {
            uploader.push(&piece).await?;
        }
        uploader.finish().await
    }

    /// Copies a blob as it is stored; returns its stored size. Errors as for [`put_raw`](Self::put_raw), and
    /// [`habeas_core::ErrorKind::NotFound`] when there is no such blob.
    pub async fn copy_raw(&self, id: Id, destination: &Blobs) -> Result<u64> {
        destination.put_raw(id, self.raw_stream(id)).await
    }

    /// Removes what writers left behind in local files when the process died, and tells how many there were. To be
    /// called at start, before anything is written: it would take away the ground under a writer at work. Such
    /// files matter to erasure, too: one can be the second name of a stored blob. Remote stores keep unfinished
    /// uploads where no listing shows them; there it does nothing.
    pub async fn remove_unfinished(&self) -> Result<u64> {
        let Some(root) = self.0.root.clone() else { return Ok(0) };
        blocking("unfinished blobs cannot be removed", move || {
            let mut removed = 0;
            for directory in std::fs::read_dir(root.join(BLOBS))? {
                let directory = directory?.path();
                let before = removed;
                for file in std::fs::read_dir(&directory)? {
                    let file = file?;
                    // The object store writes to NAME#NUMBER and renames.
                    if file.file_name().as_encoded_bytes().contains(&b'#') {
                        std::fs::remove_file(file.path())?;
                        removed += 1;
                    }
                }
                if removed > before {
                    backend::sync_directory(&directory)?;
                }
            }
            Ok(removed)
        })
        .await
    }

    fn path(&self, id: Id) -> Path {
        let name = id.to_hex();
        self.0.prefix.clone().join(BLOBS).join(&name[..2]).join(name.as_str())
    }

    fn objects(&self) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.store.list(Some(&self.0.prefix.clone().join(BLOBS)))
    }

    fn reader(&self, blob: &BlobRef, range: Range<u64>) -> Result<Reader> {
        Reader::new(self.0.store.clone(), self.path(blob.id), blob.clone(), range)
    }

    fn uploader(&self, id: Id) -> Uploader {
        Uploader::new(self.0.store.clone(), self.path(id), id, self.0.root.is_some())
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("scheme", &self.0.scheme).finish_non_exhaustive()
    }
}

fn not_listed(error: &object_store::Error) -> Error {
    failure::unavailable(error, "the blobs cannot be listed")
}

/// Runs file operations off the async threads; `what` says what failed.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failure::of_io(&error, what)),
        Err(_) => Err(Error::internal(format!("{what}: the work was interrupted"))),
    }
}
