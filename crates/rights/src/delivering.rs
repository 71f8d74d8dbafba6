//! Sending what was promised to other systems: archives to where they are wanted, notices to recipients and controllers.
//!
//! Everything sent is a task of the lane of outgoing calls, so that a far end that does not answer keeps no erasure waiting. It is tried
//! again with growing pauses, and given up after a day; the request that it belongs to says so.

use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use habeas_access::Actor;
use habeas_core::kinds::{ArchiveDelivery, CaseFile, DeliveryState, ExportArchive, Request, RequestDoc};
use habeas_core::report::DeliveryReport;
use habeas_core::{BlobRef, Error, ErrorKind, Id, Node, Result, fault};
use habeas_fetch::Method;
use habeas_store::{Lane, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::Rights;
use crate::recipients::note_arrival;
use crate::requests::Case;

/// How often something is tried: with pauses of 1, 2, 4 ... up to 300 seconds that is about a day.
const ATTEMPTS: u32 = 290;
/// Bytes of a block of a blob; Azure's storage takes 50,000 of them.
const BLOCK: usize = 4 << 20;
/// The largest answer that is read, in bytes.
const ANSWER: u64 = 64 << 10;
/// The version of Azure's blob service whose shapes are used.
const BLOB_VERSION: (&str, &str) = ("x-ms-version", "2021-08-06");

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// The archive that answers a request, to where its case file says.
    Archive {
        /// The request.
        request: Id,
    },
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
        /// The address that the controller named.
        url: String,
    },
}

impl Delivery {
    /// What a claimed task is to send.
    pub fn of(task: &TaskRow) -> Result<Delivery> {
        Ok(Delivery::deserialize(&task.payload)?)
    }

    /// The request because of which it is sent.
    pub fn request(&self) -> Id {
        match self {
            Delivery::Archive { request }
            | Delivery::Notice { request, .. }
            | Delivery::Callback { request, .. } => *request,
        }
    }

    /// Enqueues it, unless one like it waits already: what is sent says what is so then.
    pub(crate) fn enqueue(&self, tx: &mut Tx<'_>) -> Result<()> {
        let (request, payload, now) = (self.request(), serde_json::to_value(self)?, tx.now());
        let waits = |task: &TaskRow| task.state == TaskState::Waiting && task.payload == payload;
        if tx.tasks_about(request, TaskKind::Deliver)?.iter().any(waits) {
            return Ok(());
        }
        tx.enqueue(TaskKind::Deliver, Some(request), &payload, now).map(|_| ())
    }

    fn report(task: &TaskRow) -> Result<DeliveryReport> {
        let (what, recipient) = match Delivery::of(task)? {
            Delivery::Archive { .. } => ("archive", None),
            Delivery::Notice { recipient, .. } => ("notice", Some(recipient.to_string())),
            Delivery::Callback { .. } => ("callback", None),
        };
        let state = match task.state {
            TaskState::Waiting | TaskState::Planned => "waiting",
            TaskState::Running => "running",
            TaskState::Done => "delivered",
            TaskState::Failed => "failed",
        };
        Ok(DeliveryReport {
            what: what.to_owned(),
            recipient,
            state: state.to_owned(),
            attempts: task.attempts,
            next: (task.state == TaskState::Waiting).then(|| task.run_after.rfc3339()),
            updated: task.updated_at.rfc3339(),
        })
    }
}

/// Where an archive is wanted.
enum Destination {
    /// A blob of Azure's storage, by an address that carries its own permission.
    Blob(String),
    /// A folder of this machine that the operator allows.
    Folder(PathBuf),
}

/// A file that goes with whatever ends its writing: it holds somebody's archive, of which nothing says that it was given away. Once it has
/// its own name there is nothing left to go.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be deleted now is written over by the next attempt, or deleted at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The end of the names of such files; before it stands the request's id.
const PARTIAL: &str = "part";

/// Whether this is what an archive is called while it is written.
fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == PARTIAL)
        && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.parse::<Id>().is_ok())
}

/// Deletes partial archives in a folder and those below; what cannot be looked into or deleted does not keep the others.
fn remove_partial(folder: &Path) -> std::io::Result<()> {
    let (mut folders, mut failed) = (vec![folder.to_owned()], None);
    let mut note = |error: std::io::Error| {
        // Deleted by somebody else meanwhile.
        if error.kind() != std::io::ErrorKind::NotFound {
            failed.get_or_insert(error);
        }
    };
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                note(error);
                continue;
            }
        };
        for entry in entries {
            // Links are not followed: they could lead out of what the operator allows.
            let looked = entry.and_then(|entry| Ok((entry.file_type()?, entry.path())));
            match looked {
                Ok((kind, path)) if kind.is_dir() => folders.push(path),
                Ok((kind, path)) if kind.is_file() && is_partial(&path) => {
                    std::fs::remove_file(path).unwrap_or_else(&mut note);
                }
                Ok(_) => {}
                Err(error) => note(error),
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

impl Rights {
    /// Deletes what a process that died has left of archives that it was writing for other systems. For the start, before anything is
    /// delivered.
    pub async fn remove_partial_archives(&self) -> Result<()> {
        let Some(folder) = self.requests.export_folder.clone() else { return Ok(()) };
        let look = folder.clone();
        tokio::task::spawn_blocking(move || remove_partial(&look))
            .await
            .map_err(|_| Error::internal("looking for partial archives panicked"))?
            .map_err(|error| {
                Error::unavailable(format!("partial archives cannot be deleted: {}", error.kind()))
                    .at(&folder)
            })
    }

    /// Takes the next outgoing call that is due; none when there is none.
    pub async fn claim_outgoing(&self) -> Result<Option<TaskRow>> {
        self.store.write(|tx| tx.claim_next(Lane::Outgoing)).await
    }

    /// Ends a claimed delivery as it went: done, to be tried again, or given up, which its request says.
    pub async fn end_delivery(&self, task: &TaskRow, delivery: &Delivery, result: Result<()>) -> Result<()> {
        fault::point("delivery.attempted");
        self.note_attempt(task, delivery, result).await?;
        fault::point("delivery.noted");
        Ok(())
    }

    async fn note_attempt(&self, task: &TaskRow, delivery: &Delivery, result: Result<()>) -> Result<()> {
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
            ErrorKind::Unavailable if attempts < ATTEMPTS => {
                return self.store.write(move |tx| tx.retry_task(id, attempts)).await;
            }
            _ => {}
        }
        tracing::warn!(task = %id, error = format_args!("{error:#}"), "a delivery was given up");
        let delivery = delivery.clone();
        self.store
            .write(move |tx| {
                match delivery {
                    Delivery::Archive { request } => end_archive(tx, request, DeliveryState::Failed)?,
                    Delivery::Notice { recipient, request } => {
                        note(tx, request, "recipientNotReached", Some(recipient))?;
                    }
                    Delivery::Callback { request, .. } => note(tx, request, "controllerNotReached", None)?,
                }
                tx.end_task(id, TaskState::Failed)
            })
            .await
    }

    /// What was sent and is to be sent to other systems because of a request, the newest first; for a month after it ended.
    pub async fn deliveries(&self, actor: &Actor, request: Id) -> Result<Vec<DeliveryReport>> {
        self.authorise_request(actor, request, "GetDeliveries").await?;
        let tasks = self.store.read(move |tx| tx.tasks_about(request, TaskKind::Deliver)).await?;
        tasks.iter().map(Delivery::report).collect()
    }

    /// A request's record as it is now, for whoever tells its controller.
    pub async fn record_of_request(&self, request: Id) -> Result<Node<RequestDoc>> {
        let gone = || Error::not_found("the request is gone");
        self.store.read(move |tx| tx.get::<Request>(request)?.ok_or_else(gone)).await
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

    /// Sends the archive that answers a request to where its case file says.
    pub async fn deliver_archive(&self, task: &TaskRow, request: Id) -> Result<()> {
        let gone = || Error::not_found("the archive is not wanted any more");
        let (archive, location) = self
            .store
            .read(move |tx| {
                let doc = tx.get::<Request>(request)?.ok_or_else(gone)?.doc;
                let file = tx.get::<CaseFile>(doc.case_file.ok_or_else(gone)?)?.ok_or_else(gone)?;
                let archive = tx.get::<ExportArchive>(doc.archive.ok_or_else(gone)?)?.ok_or_else(gone)?;
                let destination = file.doc.destination.ok_or_else(gone)?;
                if destination.state != DeliveryState::Waiting {
                    return Err(gone());
                }
                Ok((archive, destination.location))
            })
            .await?;
        let blob = archive.doc.archive.ok_or_else(gone)?;
        match self.destination(&location)? {
            Destination::Blob(address) => self.upload(task, &blob, &address).await?,
            Destination::Folder(folder) => self.write_into(task, &blob, &folder, request).await?,
        }
        self.store.write(move |tx| end_archive(tx, request, DeliveryState::Done)).await
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

    /// Writes the archive under the request's id: whole or not at all, and readable by the server's user only.
    async fn write_into(&self, task: &TaskRow, blob: &BlobRef, folder: &Path, request: Id) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("the archive cannot be written: {}", error.kind())).at(folder)
        };
        // A link in the way could lead out of what the operator allows.
        let real = tokio::fs::canonicalize(folder).await.map_err(failed)?;
        let allowed = self.requests.export_folder.as_deref().unwrap_or(Path::new("/"));
        if !real.starts_with(tokio::fs::canonicalize(allowed).await.map_err(failed)?) {
            return Err(Error::invalid("the folder is not below the one that the operator allows"));
        }
        let made = Partial(real.join(format!("{request}.{PARTIAL}")));
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&made.0)
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
        tokio::fs::rename(&made.0, real.join(format!("{request}.zip"))).await.map_err(failed)?;
        tokio::fs::File::open(&real).await.map_err(failed)?.sync_all().await.map_err(failed)
    }
}

/// Notes how a delivery ended. The permission in the address has served its purpose.
fn end_archive(tx: &mut Tx<'_>, request: Id, state: DeliveryState) -> Result<()> {
    let Some(doc) = tx.get::<Request>(request)?.map(|node| node.doc) else { return Ok(()) };
    let (Some(person), Some(file)) = (doc.subject, doc.case_file) else { return Ok(()) };
    let Some(mut file) = tx.get::<CaseFile>(file)? else { return Ok(()) };
    let ended_at = Some(tx.now());
    file.doc.destination = file.doc.destination.map(|destination| ArchiveDelivery {
        location: destination.place().to_owned(),
        state,
        ended_at,
    });
    tx.update::<CaseFile>(&file)?;
    if let Some(sent) = file.doc.destination.filter(|_| state == DeliveryState::Done) {
        note_arrival(tx, person, sent.place())?;
    }
    let event = if state == DeliveryState::Done { "archiveSent" } else { "archiveNotSent" };
    note(tx, request, event, None)
}

/// Adds to the history of a request, if it is still there.
fn note(tx: &mut Tx<'_>, request: Id, event: &str, by: Option<Id>) -> Result<()> {
    if tx.get::<Request>(request)?.is_none() {
        return Ok(());
    }
    let mut case = Case::open(tx, request)?;
    case.note(event, by);
    case.save()
}
