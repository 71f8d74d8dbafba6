//! Sending what was promised to other systems: archives to where they are wanted, notices to recipients and controllers.
//!
//! Everything sent is a task of a lane of its own, so that a far end that does not answer keeps no erasure waiting. It is tried again with
//! growing pauses, and given up after a day.

use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use habeas_core::kinds::{ArchiveDelivery, DeliveryState, ExportArchive};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Result, Timestamp};
use habeas_fetch::Method;
use habeas_store::{Lane, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::Rights;

/// How often something is tried: with pauses of 1, 2, 4 ... up to 300 seconds that is about a day.
const ATTEMPTS: u32 = 290;
/// Bytes of a block of a blob; Azure's storage takes 50,000 of them.
const BLOCK: usize = 4 << 20;
/// The largest answer that is read, in bytes.
const ANSWER: u64 = 64 << 10;
/// The version of Azure's blob service whose shapes are used.
const BLOB_VERSION: (&str, &str) = ("x-ms-version", "2021-08-06");

/// What is to be sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// An archive, to where its document says.
    Archive(Id),
    /// To a recipient, that a request was completed.
    Notice {
        /// The recipient.
        recipient: Id,
        /// The request.
        request: Id,
    },
    /// To a controller, that the state of a request has changed.
    Callback {
        /// The request.
        request: Id,
        /// The controller.
        controller: Option<Id>,
        /// Until when it has to be answered.
        due_at: Timestamp,
        /// The address that the controller named.
        url: String,
        /// The name of the new state.
        state: String,
    },
}

impl Delivery {
    /// Enqueues it.
    pub(crate) fn enqueue(&self, tx: &mut Tx<'_>, about: Id) -> Result<()> {
        let now = tx.now();
        tx.enqueue(TaskKind::Deliver, Some(about), &serde_json::to_value(self)?, now).map(|_| ())
    }
}

/// Where an archive is wanted.
enum Destination {
    /// A blob of Azure's storage, by an address that carries its own permission.
    Blob(String),
    /// A folder of this machine that the operator allows.
    Folder(PathBuf),
}

impl Rights {
    /// Takes the next delivery that is due; none when there is none.
    pub async fn claim_delivery(&self) -> Result<Option<(TaskRow, Delivery)>> {
        let Some(task) = self.store.write(|tx| tx.claim_next(Lane::Delivery)).await? else { return Ok(None) };
        let delivery = Delivery::deserialize(&task.payload)?;
        Ok(Some((task, delivery)))
    }

    /// Ends a claimed delivery as it went: done, to be tried again, or given up.
    pub async fn end_delivery(&self, task: &TaskRow, delivery: &Delivery, result: Result<()>) -> Result<()> {
        let (id, attempts) = (task.id, task.attempts + 1);
        let error = match result {
            Ok(()) => return self.store.write(move |tx| tx.end_task(id, TaskState::Done)).await,
            Err(error) => error,
        };
        match error.kind {
            // What it is about is gone, or goes with an erasure.
            ErrorKind::NotFound | ErrorKind::Frozen => {
                return self.store.write(move |tx| tx.end_task(id, TaskState::Done)).await;
            }
            ErrorKind::Unavailable | ErrorKind::Conflict if attempts < ATTEMPTS => {
                return self.store.write(move |tx| tx.retry_task(id, attempts)).await;
            }
            _ => {}
        }
        tracing::warn!(task = %id, error = format_args!("{error:#}"), "a delivery was given up");
        let archive = match delivery {
            Delivery::Archive(archive) => Some(*archive),
            Delivery::Notice { .. } | Delivery::Callback { .. } => None,
        };
        self.store
            .write(move |tx| {
                if let Some(archive) = archive {
                    end_archive(tx, archive, DeliveryState::Failed)?;
                }
                tx.end_task(id, TaskState::Failed)
            })
            .await
    }

    /// Whether an archive may be sent to `location`: an address of https (or http) where outgoing calls are allowed, or a `file:` address
    /// below the folder that the operator allows.
    pub fn check_destination(&self, location: &str) -> Result<()> {
        self.destination(location).map(|_| ())
    }

    fn destination(&self, location: &str) -> Result<Destination> {
        let Some(path) = location.strip_prefix("file://") else {
            self.models.outgoing().check(location)?;
            return Ok(Destination::Blob(location.to_owned()));
        };
        let allowed = self.requests.export_folder.as_deref().ok_or_else(|| {
            Error::invalid("this server writes no archives into folders")
                .hint("its operator can allow one with --export-folder")
        })?;
        let path = Path::new(path);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if plain && path.starts_with(allowed) {
            Ok(Destination::Folder(path.to_owned()))
        } else {
            Err(Error::invalid("the folder is not below the one that the operator allows"))
        }
    }

    /// Sends an archive to where its document says.
    pub async fn deliver_archive(&self, task: &TaskRow, archive: Id) -> Result<()> {
        let gone = || Error::not_found("the archive is not wanted any more");
        let node = self.store.read(move |tx| tx.get::<ExportArchive>(archive)).await?.ok_or_else(gone)?;
        let (Some(blob), Some(delivery)) = (node.doc.archive, node.doc.delivery) else { return Err(gone()) };
        match self.destination(&delivery.location)? {
            Destination::Blob(address) => self.upload(task, &blob, &address).await?,
            Destination::Folder(folder) => self.write_into(task, &blob, &folder, archive).await?,
        }
        self.store.write(move |tx| end_archive(tx, archive, DeliveryState::Done)).await
    }

    /// Uploads a block blob (Put Block, Put Block List), at the memory of one block.
    async fn upload(&self, task: &TaskRow, blob: &BlobRef, address: &str) -> Result<()> {
        let separator = if address.contains('?') { '&' } else { '?' };
        let mut stream = self.store.blobs().stream(blob, 0..blob.size);
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        let mut block = BytesMut::new();
        let mut number = 0_u32;
        loop {
            let piece = stream.try_next().await?;
            let last = piece.is_none();
            block.extend_from_slice(&piece.unwrap_or_default());
            while block.len() >= BLOCK || (last && !block.is_empty()) {
                let body = block.split_to(block.len().min(BLOCK)).freeze();
                let id = STANDARD.encode(format!("{number:08}"));
                let to = format!("{address}{separator}comp=block&blockid={}", id.replace('=', "%3D"));
                self.put(&to, &[BLOB_VERSION], body).await?;
                list.push_str(&format!("<Latest>{id}</Latest>"));
                number += 1;
                let task = task.id;
                self.store.write(move |tx| tx.extend_lease(task)).await?;
            }
            if last {
                break;
            }
        }
        list.push_str("</BlockList>");
        let headers = [BLOB_VERSION, ("x-ms-blob-content-type", "application/zip")];
        self.put(&format!("{address}{separator}comp=blocklist"), &headers, Bytes::from(list)).await
    }

    async fn put(&self, address: &str, headers: &[(&str, &str)], body: Bytes) -> Result<()> {
        self.models.outgoing().send(Method::PUT, address, headers, body, ANSWER).await.map(|_| ())
    }

    /// Writes the archive under its own id: whole or not at all, and readable by the server's user only.
    async fn write_into(&self, task: &TaskRow, blob: &BlobRef, folder: &Path, archive: Id) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("the archive cannot be written: {}", error.kind())).at(folder)
        };
        // A link in the way could lead out of what the operator allows.
        let real = tokio::fs::canonicalize(folder).await.map_err(failed)?;
        let allowed = self.requests.export_folder.as_deref().unwrap_or(Path::new("/"));
        if !real.starts_with(tokio::fs::canonicalize(allowed).await.map_err(failed)?) {
            return Err(Error::invalid("the folder is not below the one that the operator allows"));
        }
        let made = real.join(format!("{archive}.part"));
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&made)
            .await
            .map_err(failed)?;
        let mut stream = self.store.blobs().stream(blob, 0..blob.size);
        let mut since = 0;
        while let Some(piece) = stream.try_next().await? {
            file.write_all(&piece).await.map_err(failed)?;
            since += piece.len();
            if since > BLOCK {
                since = 0;
                let task = task.id;
                self.store.write(move |tx| tx.extend_lease(task)).await?;
            }
        }
        file.sync_all().await.map_err(failed)?;
        tokio::fs::rename(&made, real.join(format!("{archive}.zip"))).await.map_err(failed)
    }
}

/// Notes how a delivery ended. The permission in the address has served its purpose.
fn end_archive(tx: &mut Tx<'_>, archive: Id, state: DeliveryState) -> Result<()> {
    let Some(mut node) = tx.get::<ExportArchive>(archive)? else { return Ok(()) };
    if let Some(delivery) = &mut node.doc.delivery {
        let location = delivery.location.split('?').next().unwrap_or_default().to_owned();
        *delivery = ArchiveDelivery { location, state, ended_at: Some(tx.now()) };
    }
    tx.update::<ExportArchive>(&node).map(|_| ())
}
