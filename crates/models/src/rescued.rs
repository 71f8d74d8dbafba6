//! Iterations that were trained elsewhere: brought with their snapshot, never with weights; and what an erasure does to them.
//!
//! Weights that are not held cannot be unlearned. An image that leaves such an iteration taints it for good: the count stands in view and
//! export, and what was exported of its model is revoked and deleted.
//!
//! Training is a function of images and labels, so the model of another Habeas is not brought but trained again here, as soon as its project is
//! whole: the same extractor gives the same weights. From then on it is a model of this server like any other.

use std::collections::HashSet;
use std::sync::Arc;

use habeas_core::import::Model;
use habeas_core::kinds::{
    ImportedModel, ImportedWeights, Iteration, IterationDoc, IterationTag, ModelExport, ModelExportDoc,
    ModelExportState, Project, TrainedModel,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Node, Result, Timestamp};
use habeas_store::ledger::Record;
use habeas_store::{New, Page, Removed, TaskKind, Tx};

use crate::forgetting::withdraw_suggestions;
use crate::iterations::find_image;
use crate::starting::digest_of;
use crate::training::{IterationTask, Known, gone, known, tag_ids};
use crate::{Models, TrainingSet};

/// Tags of an imported iteration whose model is computed: a model's size goes by them, and nothing else limits those of a snapshot.
const MOST_TAGS: usize = 2_000;

/// An iteration of another service.
#[derive(Clone, Debug)]
pub struct ImportedIteration {
    /// Its id, kept.
    pub id: Id,
    /// When its training was asked for.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
    /// The model that a Habeas trained, which is computed again here.
    pub model: Option<Model>,
    /// What is known of it: `imported` is filled in unless its training failed.
    pub doc: IterationDoc,
    /// Its images with their tags and regions then.
    pub set: TrainingSet,
}

/// A model that was exported elsewhere.
#[derive(Clone, Debug)]
pub struct ImportedExport {
    /// Its id, kept; a new one when absent.
    pub id: Option<Id>,
    /// When it was written.
    pub created_at: Option<Timestamp>,
    /// Where it runs.
    pub platform: String,
    /// Which variant of it.
    pub flavor: Option<String>,
    /// The digest by which it is known, and would be revoked.
    pub digest: String,
}

/// Whether this item was removed, though the ledger may not say so yet: the task that writes it there is committed with the removal. Ask
/// the ledger first.
pub fn is_being_recorded(tx: &mut Tx<'_>, item: Id) -> Result<bool> {
    Ok(!tx.tasks_about(item, TaskKind::RecordErasure)?.is_empty())
}

/// What was removed from the project that was last asked about.
#[derive(Debug)]
pub(crate) struct RemovedHere {
    project: Id,
    /// How far the ledger was.
    position: u64,
    items: Arc<HashSet<Id>>,
}

impl Models {
    /// The items that were deleted or erased from `project`, as far as the ledger says so.
    pub async fn removed_from(&self, project: Id) -> Result<Arc<HashSet<Id>>> {
        let position = self.store().with_ledger(|ledger| Ok(ledger.position())).await?;
        let mut last = self.inner.removed.lock().await;
        // An import asks for every item that it brings.
        if let Some(last) = last.as_ref()
            && (last.project, last.position) == (project, position)
        {
            return Ok(Arc::clone(&last.items));
        }
        let records = self.store().with_ledger(|ledger| ledger.replay(0)).await?;
        let items = records.into_iter().filter_map(|record| match record {
            Record::ItemErased { items, container } if container == project => Some(items),
            _ => None,
        });
        let items = Arc::new(items.flatten().collect());
        *last = Some(RemovedHere { project, position, items: Arc::clone(&items) });
        Ok(items)
    }
}

impl Models {
    /// Brings an iteration into a project whose images are there already, and those of the projects of its holder that it learned from as well;
    /// false when it was there. It is connected to those images of its snapshot that carry a tag and are held; what was removed here before
    /// taints it. Its model is computed once the project is whole. `check` is run in the same transaction.
    pub async fn import_iteration(
        &self,
        project: Id,
        mut imported: ImportedIteration,
        check: impl Fn(&mut Tx<'_>) -> Result<bool> + Send + 'static,
    ) -> Result<bool> {
        imported.set.images.sort_by_key(|image| image.id);
        let removed = self.removed_from(project).await?;
        let blob = self.store_set(project, &imported.set).await?;
        imported.doc.training_set = Some(blob.clone());
        self.store()
            .write(move |tx| {
                if check(tx)? {
                    tx.release_blobs(&[blob.id])?;
                    try_again(tx, &imported)?;
                    return Ok(false);
                }
                let above = tx.get::<Project>(project)?.ok_or_else(gone)?;
                let mut doc = imported.doc.clone();
                let mut learned = Vec::new();
                let mut tainted = 0;
                for image in imported.set.images.iter().filter(|image| !image.tags.is_empty()) {
                    // Held, so that whoever removes it sees that this learned from it.
                    let there = tx.hold(image.id)?
                        && find_image(tx, image.id)?.is_some_and(|node| node.holder == above.holder);
                    if there {
                        learned.push(image.id);
                    } else if removed.contains(&image.id) || is_being_recorded(tx, image.id)? {
                        tainted += 1;
                    }
                }
                if let Some(model) = &mut doc.imported {
                    (model.images, model.tainted) =
                        (learned.len() as u64, model.tainted.saturating_add(tainted));
                    if let Some(trained) = &imported.model {
                        model.weights = weights_of(trained, model.images, &doc.tags, &imported.set);
                    }
                }
                tx.create::<Iteration>(New::under(project, imported.id, doc))?;
                imported.created_at.map_or(Ok(()), |created_at| tx.backdate(imported.id, created_at))?;
                imported
                    .updated_at
                    .map_or(Ok(()), |updated_at| tx.backdate_change(imported.id, updated_at))?;
                tx.attach_blobs(imported.id, &[&blob])?;
                for image in learned {
                    tx.connect(imported.id, image, Relation::LearnedFrom)?;
                }
                Ok(true)
            })
            .await
    }

    /// Keeps a model that was exported elsewhere, whose archive is stored and announced under the iteration. Refused once the
    /// iteration is tainted, and when it was revoked before.
    pub async fn import_export(&self, iteration: Id, export: ImportedExport, file: BlobRef) -> Result<()> {
        let revoked = self.store().with_ledger(|ledger| Ok(ledger.revoked_models())).await?;
        self.store()
            .write(move |tx| {
                let known = known(tx, iteration)?.ok_or_else(gone)?;
                let learned = known.learned.len() as u64;
                let is_clean = known
                    .node
                    .doc
                    .imported
                    .as_ref()
                    .is_some_and(|imported| imported.tainted == 0 && imported.images == learned);
                if !is_clean || revoked.contains(&export.digest) {
                    return Err(Error::conflict("the model learned from images that were erased here")
                        .hint("train the project again: the new model does not know them"));
                }
                let id = export.id.unwrap_or_else(|| tx.new_id());
                let doc = ModelExportDoc {
                    platform: export.platform.clone(),
                    flavor: export.flavor.clone(),
                    state: ModelExportState::Done,
                    file: Some(file.clone()),
                    digest: Some(export.digest.clone()),
                    state_digest: None,
                };
                tx.create::<ModelExport>(New::under(iteration, id, doc))?;
                export.created_at.map_or(Ok(()), |created_at| tx.backdate(id, created_at))?;
                tx.attach_blobs(id, &[&file])
            })
            .await
    }

    /// Stores a snapshot, announced under `parent`.
    pub(crate) async fn store_set(&self, parent: Id, set: &TrainingSet) -> Result<BlobRef> {
        let bytes = set.to_bytes()?;
        let blob = BlobRef::new(self.store().ambient(), bytes.len() as u64, "application/json");
        let announced = blob.clone();
        self.store().write(move |tx| tx.announce_blobs(parent, &[&announced])).await?;
        self.store().put_announced(&blob, &bytes).await?;
        Ok(blob)
    }

    /// Marks an imported iteration as knowing images that are gone, drops them from its snapshot, and revokes its exports.
    pub(crate) async fn taint(&self, known: Known) -> Result<()> {
        let iteration = known.node.id;
        let mut set = self.snapshot(&known.node).await?;
        set.images.retain(|image| known.learned.binary_search(&image.id).is_ok() || image.tags.is_empty());
        let blob = self.store_set(iteration, &set).await?;
        self.revoke_exports(iteration).await?;
        let counts = set.count_tags();
        let removed = self
            .store()
            .write(move |tx| {
                let now = self::known(tx, iteration)?.ok_or_else(gone)?;
                if now.node.version != known.node.version || now.learned != known.learned {
                    // The caller looks again.
                    tx.release_blobs(&[blob.id])?;
                    return Ok(Vec::new());
                }
                let mut node = now.node;
                for tag in &mut node.doc.tags {
                    tag.image_count = counts.get(&tag.id).copied().unwrap_or(0);
                }
                if let Some(model) = &mut node.doc.imported {
                    count_tainted(model, known.learned.len() as u64);
                }
                let replaced: Vec<Id> =
                    node.doc.training_set.replace(blob.clone()).iter().map(|old| old.id).collect();
                tx.update::<Iteration>(&node)?;
                tx.attach_blobs(iteration, &[&blob])?;
                tx.release_blobs(&replaced)?;
                let mut removed = remove_exports(tx, iteration)?;
                removed.extend(withdraw_suggestions(tx, &node)?);
                Ok(removed)
            })
            .await?;
        for removal in &removed {
            self.store().finish(removal).await;
        }
        Ok(())
    }
}

/// What is to become of the weights of a model that a Habeas trained on these tags and labels, of whose images so many are here.
fn weights_of(model: &Model, images: u64, tags: &[IterationTag], set: &TrainingSet) -> ImportedWeights {
    let carried = set.count_tags();
    let why = if model.images != images {
        format!("it learned from {} images, of which {images} are here", model.images)
    } else if tags.len() > MOST_TAGS {
        format!("it has more than {MOST_TAGS} tags")
    } else if tags.iter().any(|tag| !carried.contains_key(&tag.id)) {
        "no image of its snapshot carries one of its tags".to_owned()
    } else {
        return ImportedWeights::Awaited { extractor: model.extractor.clone(), unlearned: model.unlearned };
    };
    ImportedWeights::Failed { why }
}

/// Has weights computed that could not be before: what was missing may be there now.
fn try_again(tx: &mut Tx<'_>, brought: &ImportedIteration) -> Result<()> {
    let (Some(model), Some(mut node)) = (&brought.model, tx.get::<Iteration>(brought.id)?) else {
        return Ok(());
    };
    let tags = node.doc.tags.clone();
    match &mut node.doc.imported {
        Some(imported) if matches!(imported.weights, ImportedWeights::Failed { .. }) => {
            imported.weights = weights_of(model, imported.images + imported.tainted, &tags, &brought.set);
        }
        _ => return Ok(()),
    }
    tx.update::<Iteration>(&node)?;
    tx.backdate_change(node.id, node.updated_at)
}

/// Orders that the models of a project's iterations be computed that came without weights; [`Models::wake`] afterwards.
pub fn compute_all_again(tx: &mut Tx<'_>, project: Id) -> Result<()> {
    for node in tx.children::<Iteration>(project, Page::ALL)? {
        compute_again(tx, &node)?;
    }
    Ok(())
}

fn compute_again(tx: &mut Tx<'_>, node: &Node<IterationDoc>) -> Result<()> {
    if is_awaited(&node.doc) && !tx.is_open(node.id, TaskKind::Train)? {
        let now = tx.now();
        let task = serde_json::to_value(IterationTask { iteration: node.id })?;
        tx.enqueue(TaskKind::Train, Some(node.id), &task, now)?;
    }
    Ok(())
}

/// Whether the iteration was trained elsewhere, and its weights are computed here.
pub(crate) fn is_awaited(doc: &IterationDoc) -> bool {
    doc.imported.as_ref().is_some_and(|imported| imported.awaited().is_some())
}

/// Whether an erasure has reached what a model is being computed from, and the iteration does not know yet.
pub(crate) fn is_behind(known: &Known) -> bool {
    let imported = known.node.doc.imported.as_ref();
    imported.is_some_and(|imported| imported.images != known.learned.len() as u64)
}

/// Gives an iteration that was trained elsewhere the model that was computed here. It stays as it is on the wire. Whether it has forgotten
/// something on the way.
pub(crate) fn take_in(
    tx: &mut Tx<'_>,
    mut node: Node<IterationDoc>,
    mut model: TrainedModel,
    set: &TrainingSet,
) -> Result<bool> {
    let mut has_forgotten = false;
    if let Some(imported) = node.doc.imported.take()
        && let ImportedWeights::Awaited { unlearned, .. } = imported.weights
    {
        has_forgotten = imported.tainted > 0;
        model.unlearned = unlearned.saturating_add(imported.tainted);
    }
    // One that has unlearned something has no digest: another training would give something else.
    if model.unlearned == 0 {
        let doc = &node.doc;
        node.doc.training_digest =
            digest_of(doc.domain, doc.classification_type.as_deref(), doc.training_type, &tag_ids(doc), set);
    }
    // What was exported of it there is of the same images and labels.
    for mut export in tx.children::<ModelExport>(node.id, Page::ALL)? {
        export.doc.state_digest = Some(model.state_digest.clone());
        tx.update::<ModelExport>(&export)?;
    }
    node.doc.model = Some(model);
    tx.update::<Iteration>(&node)?;
    tx.backdate_change(node.id, node.updated_at)?;
    Ok(has_forgotten)
}

/// Notes that the weights of an iteration that was trained elsewhere could not be computed here.
pub(crate) fn leave_without_weights(
    tx: &mut Tx<'_>,
    mut node: Node<IterationDoc>,
    why: &Error,
) -> Result<()> {
    if let Some(imported) = &mut node.doc.imported {
        imported.weights = ImportedWeights::Failed { why: why.to_string() };
    }
    tx.update::<Iteration>(&node)?;
    tx.backdate_change(node.id, node.updated_at)
}

fn count_tainted(model: &mut ImportedModel, learned: u64) {
    model.tainted = model.tainted.saturating_add(model.images.saturating_sub(learned));
    model.images = learned;
}

/// Removes what was exported of an iteration's model. One that is still being written is written from what the model becomes.
pub(crate) fn remove_exports(tx: &mut Tx<'_>, iteration: Id) -> Result<Vec<Removed>> {
    tx.children::<ModelExport>(iteration, Page::ALL)?
        .into_iter()
        .filter(|export| export.doc.state != ModelExportState::Exporting)
        .map(|export| tx.remove(export.id))
        .collect()
}

/// Refuses what needs the weights of an iteration that was trained elsewhere.
pub(crate) fn require_weights_here(doc: &IterationDoc) -> Result<()> {
    let error = match doc.imported.as_ref().map(|imported| &imported.weights) {
        None => return Ok(()),
        Some(ImportedWeights::Awaited { .. }) => return Err(not_yet()),
        Some(ImportedWeights::Elsewhere) => {
            Error::invalid("the iteration was trained elsewhere: its weights are not held here")
        }
        Some(ImportedWeights::Failed { why }) => Error::invalid(format!(
            "the iteration was trained elsewhere, and its weights could not be computed here: {why}"
        )),
    };
    Err(error
        .hint("train the project: the new iteration has weights")
        .code("BadRequestIterationIsNotTrained"))
}

/// The weights of an imported iteration will be there soon.
pub(crate) fn not_yet() -> Error {
    Error::unavailable("the model is being computed again after an import")
        .hint("ask again in a moment; `habeas import` ends when it is there")
}
