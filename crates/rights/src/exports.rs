//! Exports: streamed to whoever asks, or kept sealed for a week.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use futures::stream::BoxStream;
use habeas_core::age::{Passphrase, Prepared, Recipient, Sealed};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{ARCHIVE_DAYS, ExportArchive, ExportArchiveDoc, ExportFormat, ExportState};
use habeas_core::node::RawNode;
use habeas_core::report::{ExportReport, HoldingsReport};
use habeas_core::{
    BlobRef, Bundle as _, Error, ErrorKind, Id, Kind, Node, Result, Timestamp, fault, receipt, registry, time,
};
use habeas_store::{Mention, New, Order, Page, Store, TaskKind, TaskRow, TaskState, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Rights;
use crate::archive::{Archive, ArchiveSize};
use crate::article_15::{Recipients, article_15};
use crate::crate_metadata::{self, Preview, Shown};
use crate::formats;
use crate::holdings::{self, kind_name, personal_kinds, role_title};
use crate::pieces::{self, Pieces};
use crate::records::Records;
use crate::requests;

/// Where the formats lie that were asked for.
pub(crate) const FOLDER: &str = "formats/";

/// Resources read at a time.
const PAGE: u32 = 50;
/// Things that a person made for others, of which only ids and times are read, at a time.
const WORK_PAGE: u32 = 1000;
/// Progress of a stored archive is noted after so many resources.
const PROGRESS: u64 = 200;

#[derive(Debug, Serialize, Deserialize)]
struct ExportTask {
    archive: Id,
    person: Id,
    /// The request that it answers.
    #[serde(default)]
    request: Option<Id>,
}

impl Rights {
    /// Streams an archive of everything held on a person, with its data once more in `formats`; with a recipient, sealed for them
    /// on its way: what comes out is an age file. Nothing is stored. An error in the middle ends the stream with it, so that a
    /// broken archive is not taken for a whole one.
    pub fn stream_export(
        &self,
        person: Id,
        formats: Vec<ExportFormat>,
        recipient: Option<Recipient>,
    ) -> BoxStream<'static, Result<Bytes>> {
        let rights = self.clone();
        let runtime = tokio::runtime::Handle::current();
        pieces::stream(move |out| {
            let random = &*rights.store.ambient().random;
            let seal = recipient.map(|recipient| Prepared::new(&recipient, random)).transpose()?;
            rights.write_for(person, &formats, seal.as_ref(), out, &runtime, &mut |_| Ok(())).map(|_| ())
        })
    }

    /// For whom an archive is sealed: the holder of an age public key, or whoever knows a passphrase; none with neither. An error for both, for
    /// what is no such key, and for a passphrase that is too short or too long.
    pub fn archive_recipient(
        &self,
        key: Option<&str>,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Option<Recipient>> {
        match (key, passphrase) {
            (Some(_), Some(_)) => {
                Err(Error::invalid("an archive is sealed for a key or with a passphrase, not both")
                    .hint("leave out the key or the passphrase"))
            }
            (key, None) => key.map(str::parse).transpose(),
            (None, Some(text)) => {
                let (passphrase, work) = (Passphrase::new(text)?, self.requests.passphrase_work);
                Ok(Some(Recipient::Passphrase { passphrase, work }))
            }
        }
    }

    /// Orders an archive that is kept, sealed, for a week; besides, it is sealed for the holder of the age public key `recipient` or with
    /// `passphrase`, so that what is fetched is an age file.
    pub async fn request_export(
        &self,
        person: Id,
        formats: Vec<ExportFormat>,
        recipient: Option<String>,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<ExportReport> {
        let recipient = recipient.map(|text| text.trim().to_owned());
        let seal = match self.archive_recipient(recipient.as_deref(), passphrase)? {
            Some(recipient @ Recipient::Passphrase { .. }) => Some(self.prepare(recipient).await?),
            Some(Recipient::Key(_)) | None => None,
        };
        let id = self.store.ambient().new_id();
        let wanted = Wanted { formats, recipient, seal };
        let node = self.store.write(move |tx| order(tx, person, id, None, wanted.clone())).await?;
        self.wake();
        Ok(report(&node))
    }

    /// What is kept in place of a passphrase until the archive is written.
    async fn prepare(&self, recipient: Recipient) -> Result<Prepared> {
        let ambient = self.store.ambient().clone();
        tokio::task::spawn_blocking(move || Prepared::new(&recipient, &*ambient.random))
            .await
            .map_err(|_| Error::internal("preparing what seals an archive panicked"))?
    }

    /// The archives of a person, newest first.
    pub async fn exports(&self, person: Id) -> Result<Vec<ExportReport>> {
        let page = Page { order: Order::Newest, skip: 0, take: 100 };
        let nodes = self.store.read(move |tx| tx.children::<ExportArchive>(person, page)).await?;
        Ok(nodes.iter().map(report).collect())
    }

    /// An archive and whose it is.
    pub async fn export(&self, id: Id) -> Result<(Id, ExportReport)> {
        let node = self.export_node(id).await?;
        Ok((node.holder, report(&node)))
    }

    /// The bytes of a finished archive, for download.
    pub async fn export_blob(&self, id: Id) -> Result<BlobRef> {
        let node = self.export_node(id).await?;
        node.doc
            .archive
            .ok_or_else(|| Error::conflict("the archive is not ready yet").hint("ask again in a moment"))
    }

    /// Deletes an archive, or calls off its making.
    pub async fn delete_export(&self, id: Id) -> Result<()> {
        let removed = self.store.write(move |tx| tx.remove(id)).await?;
        self.store.finish(&removed).await;
        Ok(())
    }

    async fn export_node(&self, id: Id) -> Result<Node<ExportArchiveDoc>> {
        self.store
            .read(move |tx| {
                tx.get::<ExportArchive>(id)?
                    .filter(|node| node.expires_at.is_none_or(|end| end > tx.now()))
                    .ok_or_else(|| Error::not_found("there is no such archive"))
            })
            .await
    }

    /// Writes an archive that the worker has claimed. Begins again after a crash: what the last attempt wrote is deleted as an
    /// abandoned upload.
    pub(crate) async fn run_export(&self, row: &TaskRow) -> Result<()> {
        let task = ExportTask::deserialize(&row.payload)?;
        let id = row.id;
        let result = self.write_stored(&task).await;
        match result {
            Ok(receipt) => {
                let request = task.request;
                self.store
                    .write(move |tx| {
                        requests::archive_finished(tx, request, receipt)?;
                        tx.end_task(id, TaskState::Done)
                    })
                    .await
            }
            Err(error) if row.attempts < 3 && error.kind != ErrorKind::NotFound => {
                let attempts = row.attempts;
                self.store.write(move |tx| tx.retry_task(id, attempts)).await?;
                Err(error)
            }
            Err(error) => {
                let (archive, request) = (task.archive, task.request);
                let called_off = self
                    .store
                    .write(move |tx| {
                        let found = tx.get::<ExportArchive>(archive)?;
                        let called_off = found.is_none() && request.is_none();
                        if let Some(mut node) = found {
                            node.doc.state = ExportState::Failed;
                            node.doc.seal = None;
                            tx.update::<ExportArchive>(&node)?;
                        }
                        requests::archive_failed(tx, request, archive)?;
                        // Nobody waits for one that was called off: that is no failure.
                        tx.end_task(id, if called_off { TaskState::Done } else { TaskState::Failed })?;
                        Ok(called_off)
                    })
                    .await?;
                if called_off { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Writes it, unless that was done before a crash; the id of its receipt.
    async fn write_stored(&self, task: &ExportTask) -> Result<Id> {
        let archive = task.archive;
        let doc = self.store.read(move |tx| Ok(still_wanted(tx, archive)?.doc)).await?;
        let doc = match doc.state {
            // What is there stays: a part of it may have been fetched, and what sealed it is gone.
            ExportState::Ready => doc,
            ExportState::Running | ExportState::Failed => self.write_file(task, doc).await?,
        };
        let (Some(blob), Some(sha256)) = (doc.archive, doc.sha256) else {
            return Err(Error::damaged("an archive that is ready has no file"));
        };
        self.issue_for_archive(task.person, &sha256, blob.size, doc.done).await
    }

    /// Writes its file; the document as it is then.
    async fn write_file(&self, task: &ExportTask, doc: ExportArchiveDoc) -> Result<ExportArchiveDoc> {
        let (archive, person, formats) = (task.archive, task.person, doc.formats);
        let seal = match (doc.seal, doc.recipient) {
            (Some(seal), _) => Some(seal),
            (None, Some(key)) => Some(Prepared::new(&key.parse()?, &*self.store.ambient().random)?),
            // Never as it is, for want of what was to seal it.
            (None, None) if doc.with_passphrase => {
                return Err(Error::damaged("an archive with a passphrase has nothing to be sealed with"));
            }
            (None, None) => None,
        };
        let media_type = if seal.is_some() { "application/octet-stream" } else { "application/zip" };
        let blob = BlobRef::new(self.store.ambient(), 0, media_type);
        let announced = blob.clone();
        self.store
            .write(move |tx| {
                still_wanted(tx, archive)?;
                tx.announce_blobs(archive, &[&announced])
            })
            .await?;
        let mut writer = self.store.blobs().writer(blob);
        let (out, mut stream) = pieces::channel();
        let rights = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let writing = tokio::task::spawn_blocking(move || {
            let mut done = 0;
            rights.write_for(person, &formats, seal.as_ref(), out, &runtime, &mut |count| {
                done += count;
                if done % PROGRESS == 0 {
                    runtime.block_on(rights.note_progress(archive, done))
                } else {
                    Ok(())
                }
            })
        });
        let mut digest = habeas_core::crypto::Sha256::default();
        while let Some(piece) = stream.recv().await {
            let piece = piece?;
            digest.update(&piece);
            writer.write(&piece).await?;
        }
        let size = writing.await.unwrap_or_else(|_| Err(Error::internal("an export panicked")));
        let size = match size {
            Ok(size) => size,
            Err(error) => {
                // What is left of it is deleted as an abandoned upload.
                let _ = writer.abort().await;
                return Err(error);
            }
        };
        let blob = writer.finish().await?;
        fault::point("export.blob_written");
        let sha256 = hex::encode(digest.finish());
        let id = blob.id;
        let kept = self
            .store
            .write(move |tx| {
                let mut node = still_wanted(tx, archive)?;
                node.doc.state = ExportState::Ready;
                // What is in it may be more than there was when it was ordered.
                node.doc.done = size.resources;
                node.doc.total = size.resources;
                node.doc.archive = Some(blob.clone());
                node.doc.sha256 = Some(sha256.clone());
                node.doc.seal = None;
                tx.update::<ExportArchive>(&node)?;
                tx.attach_blobs(archive, &[&blob])?;
                Ok(node.doc)
            })
            .await;
        if let Err(error) = &kept
            && error.kind == ErrorKind::NotFound
        {
            // What was called off took its row along, by which an abandoned upload would be found.
            self.store.blobs().delete(id).await?;
        }
        fault::point("export.kept");
        kept
    }

    /// Notes how far an archive has come; refuses to go on when nobody wants it any more.
    async fn note_progress(&self, archive: Id, done: u64) -> Result<()> {
        self.store
            .write(move |tx| {
                let mut node = still_wanted(tx, archive)?;
                node.doc.done = done.min(node.doc.total);
                tx.update::<ExportArchive>(&node).map(|_| ())
            })
            .await
    }

    /// Writes the whole archive and hands it over to its end, as an age file when it is for somebody. Otherwise as
    /// [`write_archive`](Self::write_archive).
    fn write_for(
        &self,
        person: Id,
        formats: &[ExportFormat],
        seal: Option<&Prepared>,
        out: Pieces,
        runtime: &tokio::runtime::Handle,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<ArchiveSize> {
        let (mut out, size) = match seal {
            None => self.write_archive(person, formats, out, runtime, progress)?,
            Some(seal) => {
                let sealed = Sealed::new(out, seal, &*self.store.ambient().random)?;
                let (sealed, size) = self.write_archive(person, formats, sealed, runtime, progress)?;
                (sealed.finish().map_err(|_| not_taken())?, size)
            }
        };
        // Only a whole archive is handed over to its end.
        out.hand_over().map_err(|_| not_taken())?;
        Ok(size)
    }

    /// Writes the whole archive to `out`, telling `progress` of every resource, and gives it back. Runs on a thread that may block.
    fn write_archive<W: Write>(
        &self,
        person: Id,
        formats: &[ExportFormat],
        out: W,
        runtime: &tokio::runtime::Handle,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<(W, ArchiveSize)> {
        let now = self.store.ambient().now();
        let (holdings, mentions, recipients) = runtime.block_on(self.store.read(move |tx| {
            Ok((holdings::holdings(tx, person)?, tx.mentions_of(person)?, Recipients::of(tx, person)?))
        }))?;
        let mut archive = Archive::new(out, self.store.clone(), runtime.clone());
        archive.file("README.txt", "text/plain", README.as_bytes())?;
        let mut found = Vec::new();
        let mut shown = Vec::new();
        let mut resources = 0;
        for kind in personal_kinds() {
            archive.kind = Some(kind);
            let mut count = 0;
            let mut of_kind = Vec::new();
            let mut records = Records::new(person, kind);
            each_held(&self.store, runtime, person, kind, &mut |node| {
                registry::ops(kind).export(node, &mut archive)?;
                records.add(&mut archive, node)?;
                if of_kind.len() < Preview::MOST {
                    let view = registry::ops(kind).view(node)?;
                    of_kind.push(Shown { id: node.id, title: view.title, facts: view.facts });
                }
                count += 1;
                progress(1)
            })?;
            records.finish(&mut archive)?;
            resources += count;
            found.push((kind, count));
            shown.push((kind, of_kind));
        }
        archive.kind = None;
        // What the installation keeps about the person: requests, receipts and holds.
        let mut about = BTreeMap::from([(Kind::Receipt, 0), (Kind::Request, 0), (Kind::Hold, 0)]);
        for mention in &mentions {
            if mention.role == MentionRole::Subject {
                let id = mention.resource;
                if let Some(node) = runtime.block_on(self.store.read(move |tx| tx.raw(id)))? {
                    archive.kind = Some(node.kind);
                    registry::ops(node.kind).export(&node, &mut archive)?;
                    archive.kind = None;
                    *about.entry(node.kind).or_default() += 1;
                }
            }
            write_mention(&mut archive, mention)?;
        }
        self.write_work(&mut archive, person, &holdings, runtime)?;
        found.extend(about);
        let organisations =
            mentions.iter().filter(|mention| mention.kind == Kind::Organisation).count() as u64;
        found.push((Kind::Organisation, organisations));
        formats::write(&mut archive, person, formats)?;
        archive.finish_tables()?;
        archive.json("completeness.json", &crate_metadata::completeness(&found))?;
        archive.json("article-15.json", &article_15(&holdings, &recipients))?;
        archive.json(
            "request.json",
            &json!({
                "person": person,
                "scope": "everything held on the person",
                "formats": formats,
                "legal": "GDPR Articles 15 and 20",
                "written": now.rfc3339(),
                "writtenBy": format!("habeas {}", env!("CARGO_PKG_VERSION")),
            }),
        )?;
        Preview { holdings: &holdings, shown: &shown, recipients: &recipients }.write(&mut archive)?;
        crate_metadata::write_metadata(&mut archive, now, &holdings)?;
        let manifest = crate_metadata::write_manifest(&mut archive)?;
        let statement = json!({
            "type": "export-manifest/1",
            "issuer": receipt::key_id(&self.public_key()?),
            "publicKey": hex::encode(self.public_key()?),
            "keys": self.key_announcements()?,
            "manifestSha256": hex::encode(manifest),
            "written": now.rfc3339(),
        });
        archive.json("signature/manifest.json", &receipt::sign(&statement, &self.store.signing_key()?))?;
        let files = archive.entries.len() as u64;
        Ok((archive.finish()?, ArchiveSize { resources, files }))
    }

    /// Notes everything that others hold and the person made or changed, a page at a time.
    fn write_work<W: Write>(
        &self,
        archive: &mut Archive<W>,
        person: Id,
        holdings: &HoldingsReport,
        runtime: &tokio::runtime::Handle,
    ) -> Result<()> {
        for (role, work) in [(MentionRole::Maker, &holdings.made), (MentionRole::Editor, &holdings.changed)] {
            let is_there = |kind: &Kind| work.iter().any(|report| report.kind == kind_name(*kind));
            for kind in Kind::ALL.iter().copied().filter(is_there) {
                let mut after = Id::NIL;
                loop {
                    let page =
                        runtime
                            .block_on(self.store.read(move |tx| {
                                tx.work_for_others((person, role), kind, after, WORK_PAGE)
                            }))?;
                    page.iter().try_for_each(|mention| write_mention(archive, mention))?;
                    match page.last() {
                        Some(last) if page.len() as u32 == WORK_PAGE => after = last.resource,
                        _ => break,
                    }
                }
            }
        }
        Ok(())
    }
}

/// Notes where a person is tied to what somebody else holds.
fn write_mention<W: Write>(archive: &mut Archive<W>, mention: &Mention) -> Result<()> {
    archive.row(
        "shared/mentions.csv",
        &["resource", "kind", "role", "since", "within"],
        &[
            mention.resource.to_string(),
            kind_name(mention.kind),
            role_title(mention.role).to_owned(),
            mention.since.rfc3339(),
            mention.within.to_string(),
        ],
    )
}

/// Shows everything of one kind that a person holds, in the order of ids. On a thread that may block.
pub(crate) fn each_held(
    store: &Store,
    runtime: &tokio::runtime::Handle,
    person: Id,
    kind: Kind,
    visit: &mut dyn FnMut(&RawNode) -> Result<()>,
) -> Result<()> {
    let mut after = Id::NIL;
    loop {
        let nodes = runtime.block_on(store.read(move |tx| tx.held(person, kind, after, PAGE)))?;
        nodes.iter().try_for_each(&mut *visit)?;
        match nodes.last() {
            Some(last) if nodes.len() as u32 == PAGE => after = last.id,
            _ => return Ok(()),
        }
    }
}

fn not_taken() -> Error {
    Error::unavailable("the archive was not taken to its end")
}

/// An archive that nobody has deleted meanwhile.
fn still_wanted(tx: &mut Tx<'_>, archive: Id) -> Result<Node<ExportArchiveDoc>> {
    tx.get::<ExportArchive>(archive)?.ok_or_else(|| Error::not_found("the archive is not wanted any more"))
}

/// How an archive is to be.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    /// Formats in which it has its data once more.
    pub(crate) formats: Vec<ExportFormat>,
    /// The age public key for whose holder it is sealed.
    pub(crate) recipient: Option<String>,
    /// What seals it with a passphrase.
    pub(crate) seal: Option<Prepared>,
}

/// Orders an archive within a transaction.
pub(crate) fn order(
    tx: &mut Tx<'_>,
    person: Id,
    id: Id,
    request: Option<Id>,
    wanted: Wanted,
) -> Result<Node<ExportArchiveDoc>> {
    let Wanted { formats, recipient, seal } = wanted;
    let total = tx.holdings(person)?.iter().map(|holding| holding.count).sum();
    let doc = ExportArchiveDoc {
        state: ExportState::Running,
        archive: None,
        done: 0,
        total,
        sha256: None,
        formats,
        recipient,
        with_passphrase: seal.is_some(),
        seal,
    };
    let expires_at = Some(Timestamp(tx.now().0 + i64::from(ARCHIVE_DAYS) * time::DAY));
    let node = tx.create::<ExportArchive>(New { id, parent: Some(person), expires_at, doc })?;
    let now = tx.now();
    let task = ExportTask { archive: id, person, request };
    tx.enqueue(TaskKind::Export, Some(person), &serde_json::to_value(&task)?, now)?;
    Ok(node)
}

fn report(node: &Node<ExportArchiveDoc>) -> ExportReport {
    ExportReport {
        id: node.id.to_string(),
        status: match node.doc.state {
            ExportState::Running => "running",
            ExportState::Ready => "ready",
            ExportState::Failed => "failed",
        }
        .to_owned(),
        done: node.doc.done,
        total: node.doc.total,
        bytes: node.doc.archive.as_ref().map(|archive| archive.size),
        sha256: node.doc.sha256.clone(),
        formats: node.doc.formats.clone(),
        recipient: node.doc.recipient.clone(),
        with_passphrase: node.doc.with_passphrase,
        created: node.created_at.rfc3339(),
        expires: node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
    }
}

const README: &str = "\
This archive holds everything that a Habeas server held on one person.

Open ro-crate-preview.html in a browser to read it; it works offline.

profile/          the account
custom-vision/    projects, tags, images as they were uploaded
tracking/         experiments, runs, registered models
records/          the same as it is stored, for habeas import
activity/         what was called in the person's name, and what staff did
rights/           requests, what was noted and answered, earlier exports and receipts
shared/           where the person appears in what others hold
formats/          the same once more, in the formats that were asked for, if any
completeness.json every kind of data the server knows, and how much of it is here
article-15.json   purposes, legal bases, recipients, periods (GDPR Article 15(1))

The archive is an RO-Crate 1.2. The tables are described in datapackage.json; the rest of a long one is in NAME.part-2.csv and so on, which join as they are. To check that nothing was changed:
    sha256sum -c manifest-sha256.txt
signature/manifest.json is a signature over that manifest; habeas receipt verify reads it.

It is personal data. Keep it safe, and delete it when you no longer need it.
";
