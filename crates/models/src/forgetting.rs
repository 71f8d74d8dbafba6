//! Unlearning: models solved again without what was erased.
//!
//! The order is: what is removed leaves the tree in one transaction, which also enqueues the task that solves every model again that learned
//! from it. Whoever asks such a model before waits until it is solved: weights that know something that is gone answer nobody. A model is
//! solved from the stored rows of what is left, so it is the model that never saw the rest, bit for bit. Models that were trained elsewhere have no weights here:
//! [`Models::taint`](crate::Models) marks them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use habeas_core::kinds::{
    Image, Iteration, IterationStatus, ModelExport, ModelState, StoredPrediction, TrainedModel,
};
use habeas_core::node::{AttrKey, Relation};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Kind, Result, fault};
use habeas_store::ledger::Record;
use habeas_store::{Page, Removed, TaskRow, TaskState, Tx};
use serde::Deserialize as _;

use crate::Models;
use crate::compute::Extractor;
use crate::iterations::find_image;
use crate::rescued::remove_exports;
use crate::training::{IterationTask, Known, gone, known};

/// Images below which an iteration is withdrawn after an erasure: nothing can be learned from one.
pub const LEAST_IMAGES: u64 = 2;

/// An iteration after it was brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The iteration.
    pub iteration: Id,
    /// SHA-256 of its final state, in hexadecimal; none when too few images were left to train on.
    pub state_digest: Option<String>,
    /// Images it still learns from.
    pub images: u64,
    /// Images unlearned since its training.
    pub unlearned: u64,
}

impl Models {
    /// Removes images from the workspace and from every iteration, with copies of them in other projects and stored predictions of the same
    /// bytes. When this returns no weights know them any more. The caller has checked that this actor may.
    /// Refused while one of them is under a legal hold.
    pub async fn erase_images(&self, images: &[Id]) -> Result<Vec<Removed>> {
        self.erase_images_except(images, &[]).await
    }

    /// The same for all but those that legal holds keep, which are named in `held`.
    pub async fn erase_images_except(&self, images: &[Id], held: &[Id]) -> Result<Vec<Removed>> {
        let (roots, held) = (images.to_vec(), held.to_vec());
        let images = self.store().read(move |tx| with_copies(tx, &roots)).await?;
        let removed = self
            .store()
            .write(move |tx| {
                let mut removed = Vec::new();
                for image in &images {
                    removed.extend(remove_with_predictions(tx, *image, &held)?);
                }
                Ok(removed)
            })
            .await?;
        fault::point("forget.removed");
        for removal in &removed {
            self.store().finish(removal).await;
        }
        let mut learners: Vec<Id> = removed.iter().flat_map(|removal| removal.learners.clone()).collect();
        learners.sort_unstable();
        learners.dedup();
        for iteration in learners {
            self.bring_up_to_date(iteration).await?;
        }
        self.wake();
        Ok(removed)
    }

    /// Makes models of others forget everything of `holder`: copies of the holder's images in their projects are erased, and what their
    /// iterations learned from the holder's own images is unlearned while those images still can be read. When this returns no weights of
    /// others know them. The iterations that were touched, in the order of ids. Repeatable. Copies that legal holds keep are named in `held`
    /// and passed over.
    pub async fn forget_holder(&self, holder: Id, held: &[Id]) -> Result<Vec<Id>> {
        let (copies, learned) = self
            .store()
            .read(move |tx| {
                Ok((
                    tx.edges_from_others(holder, Relation::CopyOf)?,
                    tx.edges_from_others(holder, Relation::LearnedFrom)?,
                ))
            })
            .await?;
        let mut touched: Vec<Id> = learned.iter().map(|(iteration, _)| *iteration).collect();
        let copies: Vec<Id> =
            copies.into_iter().map(|(copy, _)| copy).filter(|copy| !held.contains(copy)).collect();
        if !copies.is_empty() {
            let removed = self.erase_images_except(&copies, held).await?;
            touched.extend(removed.iter().flat_map(|removal| &removal.learners));
        }
        touched.sort_unstable();
        touched.dedup();
        for &iteration in &touched {
            let leaving: Vec<Id> = learned
                .iter()
                .filter(|(learner, _)| *learner == iteration)
                .map(|(_, image)| *image)
                .collect();
            let done = self
                .store()
                .write(move |tx| {
                    for image in &leaving {
                        tx.disconnect(iteration, *image, Relation::LearnedFrom)?;
                    }
                    tx.enqueue_forgetting(iteration).map(|_| ())
                })
                .await;
            match done {
                // Its holder is being erased, too: it goes with them.
                Err(error) if error.kind == ErrorKind::Frozen => continue,
                result => result?,
            }
            self.bring_up_to_date(iteration).await?;
        }
        fault::point("forget.holder");
        Ok(touched)
    }

    /// Sees to it that the weights of an iteration know nothing that is gone.
    pub(crate) async fn bring_up_to_date(&self, iteration: Id) -> Result<()> {
        let _turn = self.inner.forgetting.lock().await;
        loop {
            let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else { return Ok(()) };
            let learned = known.learned.len() as u64;
            match (&known.node.doc.model, &known.node.doc.imported) {
                (Some(model), _) if model.images != learned => {
                    self.solve_again(known).await?;
                }
                (None, Some(imported)) if imported.images != learned => self.taint(known).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Brings an iteration up to date and tells what it is now; none when it is gone or not trained.
    pub async fn forget(&self, iteration: Id) -> Result<Option<Forgotten>> {
        self.bring_up_to_date(iteration).await?;
        let _turn = self.inner.forgetting.lock().await;
        loop {
            let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else {
                return Ok(None);
            };
            let images = known.learned.len() as u64;
            match &known.node.doc.model {
                Some(model) if model.state == ModelState::Final && model.images == images => {
                    return Ok(Some(Forgotten {
                        iteration,
                        state_digest: Some(model.state_digest.clone()),
                        images,
                        unlearned: model.unlearned,
                    }));
                }
                Some(_) => self.solve_again(known).await?,
                None if known.node.doc.status == IterationStatus::Failed => {
                    return Ok(Some(Forgotten { iteration, state_digest: None, images, unlearned: 0 }));
                }
                None => return Ok(None),
            }
        }
    }

    pub(crate) async fn run_forgetting(&self, task: &TaskRow) -> Result<()> {
        let IterationTask { iteration } = IterationTask::deserialize(&task.payload)?;
        let watch = self.watch(task, iteration);
        let result = self.forget(iteration).await;
        drop(watch);
        let (id, attempts) = (task.id, task.attempts + 1);
        match result {
            Ok(_) => self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Frozen) => {
                self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await
            }
            Err(error) => {
                self.store().write(move |tx| tx.retry_task(id, attempts)).await?;
                Err(error)
            }
        }
    }

    /// Solves an iteration from the features of the images that are left, and swaps its model. What was exported of the old one is revoked.
    async fn solve_again(&self, known: Known) -> Result<()> {
        let iteration = known.node.id;
        let extractor = Extractor::of(&known.node.doc);
        let mut set = self.snapshot(&known.node).await?;
        let tags: Vec<Id> = known.node.doc.tags.iter().map(|tag| tag.id).collect();
        set.images.retain(|image| {
            known.learned.binary_search(&image.id).is_ok()
                || !image.tags.iter().any(|(tag, _)| tags.contains(tag))
        });
        let old = known
            .node
            .doc
            .model
            .clone()
            .ok_or_else(|| Error::internal("an iteration without a model was to be solved again"))?;
        let computed = self.compute(&known, &set, extractor, &Arc::new(AtomicBool::new(false))).await;
        let computed = match computed {
            Err(error) if error.kind == ErrorKind::Invalid => None,
            result => Some(result?),
        };
        let set_blob = self.store_set(iteration, &set).await?;
        let unlearned = old.unlearned + old.images.saturating_sub(known.learned.len() as u64);
        let stored = match &computed {
            Some(computed) => Some(
                self.store_model(iteration, extractor, computed, known.learned.len() as u64, unlearned)
                    .await?,
            ),
            None => None,
        };
        fault::point("forget.stored");
        self.revoke_exports(iteration).await?;
        let counts = set.count_tags();
        let removed = self
            .store()
            .write(move |tx| {
                let now = self::known(tx, iteration)?.ok_or_else(gone)?;
                let new: Vec<Id> = std::iter::once(set_blob.id)
                    .chain(stored.iter().flat_map(|(blobs, _)| blobs.iter().map(|blob| blob.id)))
                    .collect();
                if now.node.version != known.node.version || now.learned != known.learned {
                    // The caller looks again.
                    tx.release_blobs(&new)?;
                    return Ok(Vec::new());
                }
                let mut node = now.node;
                let replaced = blobs_of(node.doc.training_set.as_ref(), node.doc.model.as_ref());
                for tag in &mut node.doc.tags {
                    tag.image_count = counts.get(&tag.id).copied().unwrap_or(0);
                }
                node.doc.training_set = Some(set_blob.clone());
                // Whatever changed, another training would give something else.
                node.doc.training_digest.clear();
                match &stored {
                    Some((blobs, model)) => {
                        node.doc.model = Some(model.clone());
                        tx.attach_blobs(iteration, &blobs.iter().collect::<Vec<_>>())?;
                    }
                    None => {
                        node.doc.model = None;
                        node.doc.status = IterationStatus::Failed;
                        node.doc.publish_name = None;
                        node.doc.is_default = false;
                        node.doc.error =
                            Some("the images that are left after an erasure are too few to train on".into());
                    }
                }
                tx.update::<Iteration>(&node)?;
                tx.attach_blobs(iteration, &[&set_blob])?;
                tx.release_blobs(&replaced)?;
                remove_exports(tx, iteration)
            })
            .await?;
        for removal in &removed {
            self.store().finish(removal).await;
        }
        fault::point("forget.swapped");
        Ok(())
    }

    /// Puts the digests of an iteration's exported models on the revocation list.
    pub(crate) async fn revoke_exports(&self, iteration: Id) -> Result<()> {
        let digests: Vec<String> = self
            .store()
            .read(move |tx| {
                let exports = tx.children::<ModelExport>(iteration, Page::ALL)?;
                Ok(exports.into_iter().filter_map(|export| export.doc.digest).collect())
            })
            .await?;
        if digests.is_empty() {
            return Ok(());
        }
        self.store()
            .with_ledger(move |ledger| ledger.append(&[Record::ModelsRevoked { digests }]).map(|_| ()))
            .await
    }
}

fn blobs_of(set: Option<&BlobRef>, model: Option<&TrainedModel>) -> Vec<Id> {
    let mut ids: Vec<Id> = set.map(|blob| blob.id).into_iter().collect();
    if let Some(model) = model {
        ids.push(model.weights.id);
        ids.extend(model.sums.as_ref().map(|blob| blob.id));
        ids.extend(model.evaluation.as_ref().map(|blob| blob.id));
    }
    ids
}

/// These images, the copies of them, and the copies of those, in the order of ids.
pub fn with_copies(tx: &mut Tx<'_>, roots: &[Id]) -> Result<BTreeSet<Id>> {
    let mut images = BTreeSet::new();
    let mut next = roots.to_vec();
    while let Some(image) = next.pop() {
        if images.insert(image) {
            next.extend(tx.sources(image, Relation::CopyOf)?);
        }
    }
    Ok(images)
}

/// Removes an image with its copies, and predictions of the same bytes that their projects have stored; all but those that are `held`.
fn remove_with_predictions(tx: &mut Tx<'_>, image: Id, held: &[Id]) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
    if held.contains(&image) {
        return Ok(removed);
    }
    let Some(node) = find_image(tx, image)? else { return Ok(removed) };
    let project = node.parent.unwrap_or(Id::NIL);
    while let Some(prediction) =
        tx.child_by_text::<StoredPrediction>(project, AttrKey::ContentHash, &node.doc.sha256)?
    {
        removed.push(tx.remove(prediction.id)?);
    }
    debug_assert!(matches!(node.kind, Kind::Image | Kind::KeptImage));
    // Also what was copied after the copies were looked for: an import may be at work.
    for copy in tx.sources(image, Relation::CopyOf)? {
        removed.extend(remove_with_predictions(tx, copy, held)?);
    }
    removed.push(tx.remove(image)?);
    Ok(removed)
}

/// All images of a project, in the workspace and kept.
pub fn images_of_project(tx: &mut Tx<'_>, project: Id) -> Result<Vec<Id>> {
    let mut ids: Vec<Id> =
        tx.children::<Image>(project, Page::ALL)?.into_iter().map(|node| node.id).collect();
    ids.extend(
        tx.children::<habeas_core::kinds::KeptImage>(project, Page::ALL)?.into_iter().map(|node| node.id),
    );
    Ok(ids)
}
