//! `POST .../dataset?format=`: a ZIP archive of images and annotations into the workspace.
//!
//! The archive is stored sealed, like an image, and deleted when it has been read. Tags are made where there are none of their names; images
//! go through the same checks as uploads, one after the other, and are committed a few at a time: what was imported before a failure stays,
//! and importing again adds the rest, since images that are there already are recognised by their bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use habeas_access::{Actor, Permission};
use habeas_core::kinds::{Project, Tag, TagDoc, TagType};
use habeas_core::{BlobRef, DataKind as _, Error, ErrorKind, Id, Result as CoreResult};
use habeas_dataset::{Contents, Files as _, Format, Image, Problem, read};
use habeas_store::{New, Tx};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::super::caller::{Call, find_project};
use super::super::change::checked_metadata;
use super::super::create::{Batch, Prepared, State, Upload};
use super::super::errors::Result;
use super::super::limits::Limits;
use crate::App;
use crate::archive::{Archive, BlobFile};

/// Images committed in one transaction.
const CHUNK: usize = 16;
/// Problems that an answer names; it counts them all.
const NAMED: usize = 1_000;

/// Reads the archive and answers with what became of it: 200, or 207 when not all of it could be used.
pub(in super::super) async fn import(call: Call, body: Body) -> Result<Response> {
    let format: Format = call.query.required("format")?.parse()?;
    let (actor, project) = (call.actor, call.project()?);
    let may = move |tx: &mut Tx<'_>| find_project(tx, &actor, project, Permission::Label).map(|_| ());
    call.app.store().read(may).await?;
    let blob = spool(&call.app, project, body).await?;
    let (app, archive) = (call.app.clone(), blob.clone());
    let upload = Upload::of(&call.app, project, call.maker());
    let runtime = Handle::current();
    let imported = tokio::task::spawn_blocking(move || {
        let file = BlobFile::new(app.store().blobs().clone(), runtime.clone(), archive);
        let archive = Archive::open(file, app.limits.dataset_files)?;
        Import { app, runtime, actor, project, upload, summary: Summary::default() }.run(format, archive)
    })
    .await
    .map_err(|_| Error::internal("a dataset could not be read"));
    release(&call.app, &blob).await?;
    let summary = imported??;
    let status = if summary.problems.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(summary.json())).into_response())
}

/// Stores the body sealed, so that it can be read anywhere: the directory of a ZIP stands at its end.
async fn spool(app: &App, project: Id, body: Body) -> CoreResult<BlobRef> {
    let blob = BlobRef::new(app.store().ambient(), 0, "application/zip");
    let announced = blob.clone();
    app.store().write(move |tx| tx.announce_blobs(project, &[&announced])).await?;
    let mut writer = app.store().blobs().writer(blob.clone());
    let mut body = body.into_data_stream();
    let mut size = 0_u64;
    let most = app.limits.dataset_bytes;
    let received = loop {
        let Some(piece) = body.next().await else { break Ok(()) };
        let Ok(piece) = piece else { break Err(Error::invalid("the upload was cut off")) };
        size += piece.len() as u64;
        if size > most {
            break Err(Error::too_large(format!("the archive is larger than {most} bytes")));
        }
        if let Err(error) = writer.write(&piece).await {
            break Err(error);
        }
    };
    match received {
        Ok(()) => writer.finish().await,
        Err(error) => {
            // What is left of it is deleted as an abandoned upload, if not now.
            let _ = writer.abort().await;
            release(app, &blob).await?;
            Err(error)
        }
    }
}

/// Deletes the stored archive.
async fn release(app: &App, blob: &BlobRef) -> CoreResult<()> {
    let id = blob.id;
    app.store().write(move |tx| tx.release_blobs(&[id])).await?;
    app.store().purge_blobs(&[id]).await
}

/// What became of an archive.
#[derive(Debug, Default)]
struct Summary {
    tags: u64,
    created: u64,
    duplicates: u64,
    problems: Vec<(Problem, &'static str)>,
}

impl Summary {
    fn problem(&mut self, file: String, what: impl Into<String>, status: &'static str) {
        self.problems.push((Problem { file, what: what.into() }, status));
    }

    fn json(&self) -> Value {
        let named: Vec<Value> = self
            .problems
            .iter()
            .take(NAMED)
            .map(|(problem, status)| json!({ "file": problem.file, "status": status, "message": problem.what }))
            .collect();
        json!({
            "isBatchSuccessful": self.problems.is_empty(),
            "tagsCreated": self.tags,
            "imagesCreated": self.created,
            "imagesDuplicate": self.duplicates,
            "problemCount": self.problems.len(),
            "problems": named,
        })
    }
}

/// An image whose bytes are stored, to be committed.
struct Candidate {
    /// Its path in the archive.
    file: String,
    prepared: Prepared,
    metadata: BTreeMap<String, String>,
}

/// An import at work, on a thread that may block.
struct Import {
    app: App,
    runtime: Handle,
    actor: Actor,
    project: Id,
    upload: Arc<Upload>,
    summary: Summary,
}

impl Import {
    fn run(mut self, format: Format, mut archive: Archive<BlobFile>) -> CoreResult<Summary> {
        let Contents { tags, images, problems, .. } = read(format, &mut archive)?;
        for Problem { file, what } in problems {
            self.summary.problem(file, what, "ErrorSource");
        }
        let tags = self.tags(tags)?;
        for chunk in images.chunks(CHUNK) {
            let mut prepared = Vec::new();
            for image in chunk {
                prepared.extend(self.prepare(image, &tags, &mut archive)?);
            }
            self.commit(prepared)?;
        }
        Ok(self.summary)
    }

    /// Each class with the tag that stands for it; made where there is none of its name.
    fn tags(&mut self, classes: Vec<habeas_dataset::Tag>) -> CoreResult<Vec<Option<Id>>> {
        let (actor, project, limits) = (self.actor, self.project, self.app.limits.clone());
        let names: Vec<String> = classes.iter().map(|class| class.name.clone()).collect();
        let made = self.runtime.block_on(self.app.store().write(move |tx| {
            let above = find_project(tx, &actor, project, Permission::Label)?;
            let tags = classes
                .iter()
                .map(|class| tag(tx, project, class, &limits))
                .collect::<CoreResult<Vec<_>>>()?;
            if tags.iter().any(|(_, new)| *new) {
                tx.mention_editor::<Project>(&above, actor.person())?;
            }
            Ok(tags)
        }))?;
        for (name, (tag, new)) in names.into_iter().zip(&made) {
            self.summary.tags += u64::from(*new);
            if tag.is_none() {
                self.summary.problem(name, "the class cannot be made a tag", "ErrorInvalidTag");
            }
        }
        Ok(made.into_iter().map(|(tag, _)| tag).collect())
    }

    /// Looks at an image of the archive and stores its bytes.
    fn prepare(
        &mut self,
        image: &Image,
        tags: &[Option<Id>],
        archive: &mut Archive<BlobFile>,
    ) -> CoreResult<Option<Candidate>> {
        let tag = |number: &usize| tags.get(*number).copied().flatten();
        let limits = &self.app.limits;
        let metadata = match checked_metadata(image.metadata.clone().into_iter().collect(), limits) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.summary.problem(image.file.clone(), error.what, "ErrorLimitExceed");
                return Ok(None);
            }
        };
        let bytes = match archive.content(&image.file, limits.image_bytes) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::TooLarge => {
                self.summary.problem(image.file.clone(), error.what, "ErrorImageSize");
                return Ok(None);
            }
            Err(error) => {
                self.summary.problem(image.file.clone(), error.what, "ErrorSource");
                return Ok(None);
            }
        };
        let base = image.file.rsplit('/').next().unwrap_or(&image.file);
        let name = image.name.clone().unwrap_or_else(|| base.to_owned());
        let state = self.upload.store(&bytes, Some(name.clone()))?;
        let prepared = Prepared {
            name: Some(name),
            tags: image.tags.iter().filter_map(tag).collect(),
            regions: image
                .regions
                .iter()
                .filter_map(|region| {
                    let sides = [region.left, region.top, region.width, region.height];
                    Some((tag(&region.tag)?, sides.map(|side| side.clamp(0.0, 1.0))))
                })
                .collect(),
            state,
            prediction: None,
        };
        Ok(Some(Candidate { file: image.file.clone(), prepared, metadata }))
    }

    fn commit(&mut self, images: Vec<Candidate>) -> CoreResult<()> {
        let (actor, project, limits) = (self.actor, self.project, self.app.limits.clone());
        let results = self.runtime.block_on(self.app.store().write(move |tx| {
            let mut results = Vec::new();
            let mut unused = Vec::new();
            for Candidate { file, prepared, metadata } in &images {
                let (status, _) =
                    Batch::begin(tx, &actor, project, &[], metadata, &limits)?.add(tx, prepared)?;
                if let (State::New(doc), true) = (&prepared.state, status != "OK") {
                    unused.push(doc.original.id);
                }
                results.push((file.clone(), status));
            }
            tx.release_blobs(&unused)?;
            Ok(results)
        }))?;
        self.upload.committed();
        for (file, status) in results {
            match status {
                "OK" => self.summary.created += 1,
                "OKDuplicate" => self.summary.duplicates += 1,
                status => self.summary.problem(file, "the image was refused", status),
            }
        }
        Ok(())
    }
}

/// The tag of a class, and whether it is new; none when the project may have no such tag.
fn tag(
    tx: &mut Tx<'_>,
    project: Id,
    class: &habeas_dataset::Tag,
    limits: &Limits,
) -> CoreResult<(Option<Id>, bool)> {
    if let Some(known) = tx.child_by_name::<Tag>(project, &class.name)? {
        return Ok((Some(known.id), false));
    }
    let full = match limits.tags_per_project {
        Some(most) => tx.count_children(project, Tag::KIND)? >= most,
        None => false,
    };
    let length = class.name.chars().count();
    if full || class.name.trim().is_empty() || length > limits.name {
        return Ok((None, false));
    }
    // A project has one negative tag.
    let negative = class.tag_type == TagType::Negative
        && tx
            .children::<Tag>(project, habeas_store::Page::ALL)?
            .iter()
            .any(|tag| tag.doc.tag_type == TagType::Negative);
    let id = tx.new_id();
    let doc = TagDoc {
        name: class.name.clone(),
        description: class.description.chars().take(limits.description).collect(),
        tag_type: if negative { TagType::Regular } else { class.tag_type },
    };
    tx.create::<Tag>(New::under(project, id, doc))?;
    Ok((Some(id), true))
}
