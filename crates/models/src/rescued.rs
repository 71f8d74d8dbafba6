//! Iterations that were trained elsewhere: brought with their snapshot, never with weights; and what an erasure does to them.
//!
//! Weights that are not held cannot be unlearned. An image that leaves such an iteration taints it for good: the count stands in view and
//! export, and what was exported of its model is revoked and deleted.

use std::collections::HashSet;
use std::sync::Arc;

use habeas_core::kinds::{
    ImportedModel, Iteration, IterationDoc, ModelExport, ModelExportDoc, ModelExportState,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Result, Timestamp};
use habeas_store::ledger::Record;
use habeas_store::{New, Page, Removed, TaskKind, Tx};

use crate::iterations::find_image;
use crate::training::{Known, gone, known};
use crate::{Models, TrainingSet};

/// An iteration of another service.
#[derive(Clone, Debug)]
pub struct ImportedIteration {
    /// Its id, kept.
    pub id: Id,
    /// When its training was asked for.
    pub created_at: Option<Timestamp>,
    /// What is known of it: `imported` is filled in unless its training failed.
    pub doc: IterationDoc,
    /// Its images with their tags and regions then.
    pub set: TrainingSet,
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
    /// Brings an iteration into a project whose images are there already; false when it was there. It is connected to those images of its
    /// snapshot that carry a tag and are held; what was removed here before taints it. `check` is run in the same transaction.
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
                    return Ok(false);
                }
                let mut doc = imported.doc.clone();
                let mut learned = Vec::new();
                let mut tainted = 0;
                for image in imported.set.images.iter().filter(|image| !image.tags.is_empty()) {
                    // Held, so that whoever removes it sees that this learned from it.
                    let there = tx.hold(image.id)?
                        && find_image(tx, image.id)?.is_some_and(|node| node.parent == Some(project));
                    if there {
                        learned.push(image.id);
                    } else if removed.contains(&image.id) || is_being_recorded(tx, image.id)? {
                        tainted += 1;
                    }
                }
                if let Some(model) = &mut doc.imported {
                    (model.images, model.tainted) = (learned.len() as u64, tainted);
                }
                tx.create::<Iteration>(New::under(project, imported.id, doc))?;
                if let Some(created_at) = imported.created_at {
                    tx.backdate(imported.id, created_at)?;
                }
                tx.attach_blobs(imported.id, &[&blob])?;
                for image in learned {
                    tx.connect(imported.id, image, Relation::LearnedFrom)?;
                }
                Ok(true)
            })
            .await
    }

    /// Keeps a model that the other service exported, whose archive is stored and announced under the iteration. Refused once the
    /// iteration is tainted, and when it was revoked before.
    pub async fn import_export(
        &self,
        iteration: Id,
        platform: String,
        flavor: Option<String>,
        file: BlobRef,
        digest: String,
    ) -> Result<()> {
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
                if !is_clean || revoked.contains(&digest) {
                    return Err(Error::conflict("the model learned from images that were erased here")
                        .hint("train the project again: the new model does not know them"));
                }
                let id = tx.new_id();
                let doc = ModelExportDoc {
                    platform: platform.clone(),
                    flavor: flavor.clone(),
                    state: ModelExportState::Done,
                    file: Some(file.clone()),
                    digest: Some(digest.clone()),
                    state_digest: None,
                };
                tx.create::<ModelExport>(New::under(iteration, id, doc))?;
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
                remove_exports(tx, iteration)
            })
            .await?;
        for removal in &removed {
            self.store().finish(removal).await;
        }
        Ok(())
    }
}

fn count_tainted(model: &mut ImportedModel, learned: u64) {
    model.tainted += model.images.saturating_sub(learned);
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
    if doc.imported.is_none() {
        return Ok(());
    }
    Err(Error::invalid("the iteration was trained elsewhere: its weights are not held here")
        .hint("train the project: the new iteration has weights")
        .code("BadRequestIterationIsNotTrained"))
}
