//! Copying a project into another account: tags, images with their features, and trained iterations.
//!
//! A copy is the importer's own, under new ids and keys, and stays tied to what it was copied from
//! ([`habeas_core::node::Relation::CopyOf`]): erasing an image, or the person who holds it, erases its copies. Models are not copied but
//! solved again from the copied rows, so that they can be checked and unlearned like any other.
//!
//! The work goes on where a killed process has left it: tags and iterations that were copied stand in the task, images carry the connection.
//! **Invariant:** a copy is committed in a transaction that holds its original; what is erased in the meantime leaves nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use futures::{StreamExt as _, TryStreamExt as _};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{
    Image, ImageDoc, Iteration, IterationDoc, IterationStatus, IterationTag, KeptImage, Project, ProjectDoc,
    ProjectStatus, Region, Tag,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, DataKind, Error, ErrorKind, Id, Kind, Node, Result, fault};
use habeas_store::{HolderState, New, Page, TaskKind, TaskRow, Tx};
use serde::{Deserialize, Serialize};

use crate::iterations::find_image;
use crate::starting::digest_of;
use crate::training::{give_up, gone};
use crate::training_set::SnapshotImage;
use crate::{Models, TrainingSet, images_of_project};

/// Images whose blobs are announced together.
const CHUNK: usize = 16;
/// Blobs copied at a time: each is in memory.
const COPIES: usize = 4;
/// Resources removed in one transaction when an import is given up.
const REMOVALS: u64 = 100;

/// What is copied, and what of it is there already.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ImportTask {
    source: Id,
    target: Id,
    by: Option<Id>,
    /// Each tag of the source with its copy; none before they were copied.
    tags: Option<Vec<(Id, Id)>>,
    /// Each iteration that was copied, with its copy.
    iterations: Vec<(Id, Id)>,
}

/// Makes the project `target` of `account` and orders that `source` be copied into it; [`Models::wake`] afterwards. The key of `target` must
/// be in the keyring. None when `source` is gone, or goes with an erasure, or is itself not whole.
pub fn start(
    tx: &mut Tx<'_>,
    account: Id,
    source: Id,
    target: Id,
    name: Option<String>,
    created_by: Option<Id>,
) -> Result<Option<Node<ProjectDoc>>> {
    let Some(original) = find_source(tx, source)? else { return Ok(None) };
    if original.doc.status != ProjectStatus::Succeeded {
        return Ok(None);
    }
    let doc = ProjectDoc {
        name: name.unwrap_or(original.doc.name),
        // Addresses of the source's holder often grant access, and notices are theirs.
        export_model_container_uri: None,
        notification_queue_uri: None,
        notified_since: None,
        created_by,
        status: ProjectStatus::Importing,
        import_error: None,
        ..original.doc
    };
    let node = tx.create::<Project>(New::under(account, target, doc))?;
    let task = ImportTask { source, target, by: created_by, tags: None, iterations: Vec::new() };
    let now = tx.now();
    tx.enqueue(TaskKind::ImportProject, Some(target), &serde_json::to_value(&task)?, now)?;
    Ok(Some(node))
}

fn find_source(tx: &mut Tx<'_>, source: Id) -> Result<Option<Node<ProjectDoc>>> {
    let Some(node) = tx.get::<Project>(source)? else { return Ok(None) };
    let active = matches!(tx.holder(node.holder)?, Some((_, HolderState::Active)));
    Ok(Some(node).filter(|_| active))
}

fn source_gone() -> Error {
    Error::invalid("the project it is copied from was deleted, is restricted, or goes with an erasure")
}

/// Holds the source until the transaction ends.
fn hold_source(tx: &mut Tx<'_>, source: Id) -> Result<()> {
    if tx.hold(source)? { Ok(()) } else { Err(source_gone()) }
}

/// An image whose bytes are being copied.
#[derive(Clone)]
struct Copying {
    original: Id,
    /// Each blob and its copy: the image's bytes, and its features by name.
    bytes: (BlobRef, BlobRef),
    features: BTreeMap<String, (BlobRef, BlobRef)>,
}

impl Copying {
    fn new(models: &Models, node: &Node<ImageDoc>) -> Copying {
        let copy = |blob: &BlobRef| {
            (blob.clone(), BlobRef::new(models.store().ambient(), blob.size, &blob.media_type))
        };
        Copying {
            original: node.id,
            bytes: copy(&node.doc.original),
            features: node.doc.features.iter().map(|(name, blob)| (name.clone(), copy(blob))).collect(),
        }
    }

    fn blobs(&self) -> impl Iterator<Item = &(BlobRef, BlobRef)> {
        std::iter::once(&self.bytes).chain(self.features.values())
    }
}

impl Models {
    /// Does the import of a claimed task and ends the task, or puts it back. One that fails for good leaves an empty project that says why.
    pub(crate) async fn run_importing(&self, task: &TaskRow) -> Result<()> {
        let work = ImportTask::deserialize(&task.payload)?;
        let target = work.target;
        let mut result = self.import(task, work).await;
        if let Err(error) = &result
            && !matches!(error.kind, ErrorKind::NotFound | ErrorKind::Frozen | ErrorKind::Unavailable)
            && let Err(error) = self.empty(target).await
        {
            // What was copied must not stay: try again.
            result = Err(Error::unavailable(error.what));
        }
        self.end_task(task, result, move |tx, why| {
            if let Some(mut node) = tx.get::<Project>(target)? {
                node.doc.status = ProjectStatus::Failed;
                node.doc.import_error = Some(why.to_string());
                tx.update::<Project>(&node)?;
            }
            Ok(())
        })
        .await
    }

    async fn import(&self, task: &TaskRow, work: ImportTask) -> Result<()> {
        let watch = self.watch(task, work.target);
        let id = task.id;
        let work = self.copy_tags(id, work).await?;
        fault::point("import.tags_copied");
        let (source, target) = (work.source, work.target);
        let originals = self
            .store()
            .read(move |tx| {
                find_source(tx, source)?.ok_or_else(source_gone)?;
                let copied: HashMap<Id, Id> = copies(tx, target)?;
                let mut all = images_of_project(tx, source)?;
                all.retain(|image| !copied.contains_key(image));
                Ok(all)
            })
            .await?;
        for chunk in originals.chunks(CHUNK) {
            if watch.cancelled.load(Ordering::Relaxed) {
                return Err(gone());
            }
            self.copy_images(&work, chunk).await?;
        }
        self.copy_iterations(task, work).await?;
        self.store()
            .write(move |tx| {
                let mut node = tx.get::<Project>(target)?.ok_or_else(gone)?;
                node.doc.status = ProjectStatus::Succeeded;
                tx.update::<Project>(&node).map(|_| ())
            })
            .await
    }

    async fn copy_tags(&self, task: Id, work: ImportTask) -> Result<ImportTask> {
        if work.tags.is_some() {
            return Ok(work);
        }
        self.store()
            .write(move |tx| {
                hold_source(tx, work.source)?;
                let mut work = work.clone();
                let tags = tx.children::<Tag>(work.source, Page::ALL)?;
                // Made at the same moment, they are in the order of their ids: that of the originals, in which models number them.
                let mut ids: Vec<Id> = tags.iter().map(|_| tx.new_id()).collect();
                ids.sort_unstable();
                let mut pairs = Vec::new();
                for (tag, id) in tags.into_iter().zip(ids) {
                    tx.create::<Tag>(New::under(work.target, id, tag.doc))?;
                    pairs.push((tag.id, id));
                }
                work.tags = Some(pairs);
                tx.progress(task, &serde_json::to_value(&work)?)?;
                Ok(work)
            })
            .await
    }

    async fn copy_images(&self, work: &ImportTask, originals: &[Id]) -> Result<()> {
        let (source, target) = (work.source, work.target);
        let ids = originals.to_vec();
        let nodes: Vec<Node<ImageDoc>> = self
            .store()
            .read(move |tx| {
                let found: Result<Vec<_>> = ids.iter().map(|id| find_image(tx, *id)).collect();
                Ok(found?.into_iter().flatten().collect())
            })
            .await?;
        let copying: Vec<Copying> = nodes.iter().map(|node| Copying::new(self, node)).collect();
        let announced = copying.clone();
        self.store()
            .write(move |tx| {
                hold_source(tx, source)?;
                let blobs: Vec<&BlobRef> =
                    announced.iter().flat_map(|image| image.blobs().map(|(_, copy)| copy)).collect();
                tx.announce_blobs(target, &blobs)
            })
            .await?;
        let copied: Vec<Option<Copying>> = futures::stream::iter(copying)
            .map(|image| async move {
                for (original, copy) in image.blobs() {
                    match self.store().blobs().get(original).await {
                        Ok(bytes) => self.store().put_announced(copy, &bytes).await?,
                        // Erased in the meantime; the announced copies are collected later.
                        Err(error) if error.kind == ErrorKind::NotFound => return Ok::<_, Error>(None),
                        Err(error) => return Err(error),
                    }
                }
                Ok(Some(image))
            })
            .buffered(COPIES)
            .try_collect()
            .await?;
        fault::point("import.bytes_copied");
        for image in copied.into_iter().flatten() {
            let work = work.clone();
            self.store().write(move |tx| commit_image(tx, &work, &image)).await?;
            fault::point("import.image_copied");
        }
        Ok(())
    }

    async fn copy_iterations(&self, task: &TaskRow, mut work: ImportTask) -> Result<()> {
        let source = work.source;
        let originals: Vec<Id> = self
            .store()
            .read(move |tx| {
                let iterations = tx.children::<Iteration>(source, Page::ALL)?;
                Ok(iterations
                    .into_iter()
                    .filter(|node| node.doc.status == IterationStatus::Completed)
                    .map(|node| node.id)
                    .collect())
            })
            .await?;
        for original in originals {
            let copied = work.iterations.iter().find(|(from, _)| *from == original).map(|(_, copy)| *copy);
            let copy = match copied {
                Some(copy) => copy,
                None => match self.copy_iteration(task.id, &work, original).await? {
                    Some((copy, progressed)) => {
                        work = progressed;
                        copy
                    }
                    // Deleted in the meantime.
                    None => continue,
                },
            };
            fault::point("import.iteration_copied");
            match self.train(task, copy).await {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::Unavailable => return Err(error),
                // Deleted, or its project goes with an erasure, which the next transaction says.
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Frozen) => {}
                Err(error) => self.store().write(move |tx| give_up(tx, copy, &error)).await?,
            }
        }
        Ok(())
    }

    /// Makes the copy of an iteration, which is then to be trained; its id, and the task with it.
    async fn copy_iteration(
        &self,
        task: Id,
        work: &ImportTask,
        original: Id,
    ) -> Result<Option<(Id, ImportTask)>> {
        let (source, target) = (work.source, work.target);
        let found = self
            .store()
            .read(move |tx| {
                let Some(node) = tx.get::<Iteration>(original)? else { return Ok(None) };
                let learned = tx.targets(original, Relation::LearnedFrom)?;
                let mut images = copies(tx, target)?;
                for (image, _) in learned {
                    // What it learned from another project, through a base iteration, is not copied: the copy learns from the same image.
                    if find_image(tx, image)?.is_some_and(|node| node.parent != Some(source)) {
                        images.insert(image, image);
                    }
                }
                Ok(Some((node, images)))
            })
            .await?;
        let Some((node, images)) = found else { return Ok(None) };
        let set = match self.snapshot(&node).await {
            // The iteration was deleted while it was read.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let tags = self.tag_copies(work, &node.doc);
        let set = renamed(set, &images, &tags, self);
        let doc = copied_doc(&node.doc, &tags, &set, work.by);
        let bytes = set.to_bytes()?;
        let blob = BlobRef::new(self.store().ambient(), bytes.len() as u64, "application/json");
        let announced = blob.clone();
        self.store().write(move |tx| tx.announce_blobs(target, &[&announced])).await?;
        self.store().put_announced(&blob, &bytes).await?;
        let ids: Vec<Id> = doc.tags.iter().map(|tag| tag.id).collect();
        let learned: Vec<Id> = set.carrying(&ids).map(|image| image.id).collect();
        let work = work.clone();
        self.store()
            .write(move |tx| {
                if !tx.hold(original)? {
                    tx.release_blobs(&[blob.id])?;
                    return Ok(None);
                }
                let id = tx.new_id();
                let doc = IterationDoc { training_set: Some(blob.clone()), ..doc.clone() };
                tx.create::<Iteration>(New::under(target, id, doc))?;
                tx.attach_blobs(id, &[&blob])?;
                for image in &learned {
                    if tx.hold(*image)? {
                        tx.connect(id, *image, Relation::LearnedFrom)?;
                    }
                }
                let mut work = work.clone();
                work.iterations.push((original, id));
                tx.progress(task, &serde_json::to_value(&work)?)?;
                Ok(Some((id, work)))
            })
            .await
    }

    /// Each tag of an iteration with its copy. One that was deleted from the workspace since gets a new id.
    fn tag_copies(&self, work: &ImportTask, doc: &IterationDoc) -> HashMap<Id, Id> {
        let known: HashMap<Id, Id> = work.tags.iter().flatten().copied().collect();
        let new = |tag: &IterationTag| {
            let copy = known.get(&tag.id).copied().unwrap_or_else(|| self.store().ambient().new_id());
            (tag.id, copy)
        };
        doc.tags.iter().map(new).collect()
    }

    /// Removes what was copied into a project.
    async fn empty(&self, target: Id) -> Result<()> {
        loop {
            let removed = self
                .store()
                .write(move |tx| {
                    let page = Page { take: REMOVALS, ..Page::ALL };
                    let mut children: Vec<Id> = ids::<Iteration>(tx, target, page)?;
                    children.extend(ids::<Image>(tx, target, page)?);
                    children.extend(ids::<KeptImage>(tx, target, page)?);
                    children.extend(ids::<Tag>(tx, target, page)?);
                    children.into_iter().map(|child| tx.remove(child)).collect::<Result<Vec<_>>>()
                })
                .await?;
            if removed.is_empty() {
                return Ok(());
            }
            for removal in &removed {
                self.store().finish(removal).await;
            }
        }
    }
}

fn ids<K: DataKind>(tx: &mut Tx<'_>, parent: Id, page: Page) -> Result<Vec<Id>> {
    Ok(tx.children::<K>(parent, page)?.into_iter().map(|node| node.id).collect())
}

/// Each original that `target` has a copy of, with the copy.
fn copies(tx: &mut Tx<'_>, target: Id) -> Result<HashMap<Id, Id>> {
    Ok(tx
        .edges_under(target, Relation::CopyOf)?
        .into_iter()
        .map(|(copy, original, _)| (original, copy))
        .collect())
}

/// Commits the copy of an image as the original is now, or nothing when that is gone.
fn commit_image(tx: &mut Tx<'_>, work: &ImportTask, image: &Copying) -> Result<()> {
    hold_source(tx, work.source)?;
    let blobs: Vec<&BlobRef> = image.blobs().map(|(_, copy)| copy).collect();
    let there = tx.hold(image.original)?;
    let Some(original) = find_image(tx, image.original)?.filter(|_| there) else {
        return tx.release_blobs(&blobs.iter().map(|blob| blob.id).collect::<Vec<_>>());
    };
    let tags: HashMap<Id, Id> = work.tags.iter().flatten().copied().collect();
    let mut doc = original.doc;
    doc.original = image.bytes.1.clone();
    doc.features = image.features.iter().map(|(name, (_, copy))| (name.clone(), copy.clone())).collect();
    // Made again when they are asked for.
    doc.resized = None;
    doc.thumbnail = None;
    doc.created_by = work.by;
    doc.regions = doc
        .regions
        .into_iter()
        .filter_map(|region| Some(Region { id: tx.new_id(), tag: *tags.get(&region.tag)?, ..region }))
        .collect();
    let id = tx.new_id();
    match original.kind {
        Kind::KeptImage => tx.create::<KeptImage>(New::under(work.target, id, doc))?,
        _ => tx.create::<Image>(New::under(work.target, id, doc))?,
    };
    tx.attach_blobs(id, &blobs)?;
    tx.connect(id, image.original, Relation::CopyOf)?;
    for mention in tx.mentioned_in(image.original)? {
        if mention.role == MentionRole::Depicted && tx.is_active(mention.person)? {
            tx.mention(id, mention.person, MentionRole::Depicted)?;
        }
    }
    for (tag, _) in tx.targets(image.original, Relation::Tagged)? {
        if let Some(copy) = tags.get(&tag) {
            tx.connect(id, *copy, Relation::Tagged)?;
        }
    }
    Ok(())
}

/// A snapshot with the ids of the copies; without images that have none.
fn renamed(
    set: TrainingSet,
    images: &HashMap<Id, Id>,
    tags: &HashMap<Id, Id>,
    models: &Models,
) -> TrainingSet {
    let mut images: Vec<SnapshotImage> = set
        .images
        .into_iter()
        .filter_map(|image| {
            Some(SnapshotImage {
                id: *images.get(&image.id)?,
                tags: image
                    .tags
                    .into_iter()
                    .filter_map(|(tag, since)| Some((*tags.get(&tag)?, since)))
                    .collect(),
                regions: image
                    .regions
                    .into_iter()
                    .filter_map(|region| {
                        let id = models.store().ambient().new_id();
                        Some(Region { id, tag: *tags.get(&region.tag)?, ..region })
                    })
                    .collect(),
            })
        })
        .collect();
    images.sort_by_key(|image| image.id);
    TrainingSet { images }
}

/// The document of a copied iteration before its training: not published, and without whom the original's owner wanted to be told.
fn copied_doc(
    original: &IterationDoc,
    tags: &HashMap<Id, Id>,
    set: &TrainingSet,
    by: Option<Id>,
) -> IterationDoc {
    let counts = set.count_tags();
    let tags: Vec<IterationTag> = original
        .tags
        .iter()
        .filter_map(|tag| {
            let id = *tags.get(&tag.id)?;
            Some(IterationTag { id, image_count: counts.get(&id).copied().unwrap_or(0), ..tag.clone() })
        })
        .collect();
    let ids: Vec<Id> = tags.iter().map(|tag| tag.id).collect();
    // One that has unlearned something has no digest: another training would give something else.
    let training_digest = if original.training_digest.is_empty() {
        String::new()
    } else {
        digest_of(original.domain, original.classification_type.as_deref(), original.training_type, &ids, set)
    };
    IterationDoc {
        status: IterationStatus::Training,
        notification_email: None,
        publish_name: None,
        publish_resource: None,
        tags,
        training_digest,
        training_set: None,
        model: None,
        imported: None,
        created_by: by,
        ..original.clone()
    }
}
