//! Unlearning: models solved again without what was erased.
//!
//! The order is: what is removed leaves the tree in one transaction, and with it, where a model keeps exact sums, the weights that knew it:
//! the removed rows are subtracted and the weights solved before. Other models are solved at once afterwards; until then they answer nobody.
//! Penalty, calibration and metrics follow in a task, and make the weights final. Models that were trained elsewhere have no weights here:
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

use crate::compute::{Computed, Extractor, Input};
use crate::iterations::find_image;
use crate::rescued::remove_exports;
use crate::training::{IterationTask, Known, gone, known};
use crate::{Models, TrainingSet};

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

/// Weights that were solved without images that are about to be removed.
struct Ahead {
    iteration: Id,
    version: i64,
    blobs: Vec<BlobRef>,
    model: TrainedModel,
}

impl Models {
    /// Removes images from the workspace and from every iteration, with copies of them in other projects and stored predictions of the same
    /// bytes. When this returns no weights know them any more. The caller has checked that this actor may.
    pub async fn erase_images(&self, images: &[Id]) -> Result<Vec<Removed>> {
        let roots = images.to_vec();
        let (images, learners) = self.store().read(move |tx| reach(tx, &roots)).await?;
        let mut ahead = Vec::new();
        for iteration in learners {
            ahead.extend(self.solve_ahead(iteration, &images).await?);
        }
        fault::point("forget.solved_ahead");
        let removed = self
            .store()
            .write(move |tx| {
                let mut removed = Vec::new();
                for image in &images {
                    removed.extend(remove_with_predictions(tx, *image)?);
                }
                for solved in &ahead {
                    swap_ahead(tx, solved)?;
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
    /// others know them. The iterations that were touched, in the order of ids. Repeatable.
    pub async fn forget_holder(&self, holder: Id) -> Result<Vec<Id>> {
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
        let copies: Vec<Id> = copies.into_iter().map(|(copy, _)| copy).collect();
        if !copies.is_empty() {
            let removed = self.erase_images(&copies).await?;
            touched.extend(removed.iter().flat_map(|removal| &removal.learners));
        }
        touched.sort_unstable();
        touched.dedup();
        let images: Vec<Id> = learned.iter().map(|(_, image)| *image).collect();
        for &iteration in &touched {
            let leaving: Vec<Id> = learned
                .iter()
                .filter(|(learner, _)| *learner == iteration)
                .map(|(_, image)| *image)
                .collect();
            let ahead = if leaving.is_empty() { None } else { self.solve_ahead(iteration, &images).await? };
            let done = self
                .store()
                .write(move |tx| {
                    for image in &leaving {
                        tx.disconnect(iteration, *image, Relation::LearnedFrom)?;
                    }
                    if let Some(solved) = &ahead {
                        swap_ahead(tx, solved)?;
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

    /// Weights of an iteration with exact sums, solved without `images`; none for one without sums.
    async fn solve_ahead(&self, iteration: Id, images: &[Id]) -> Result<Option<Ahead>> {
        let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else { return Ok(None) };
        let Some(model) =
            known.node.doc.model.clone().filter(|_| known.node.doc.status == IterationStatus::Completed)
        else {
            return Ok(None);
        };
        let Some(sums) = &model.sums else { return Ok(None) };
        if model.images != known.learned.len() as u64 {
            return Ok(None);
        }
        let extractor = Extractor::of(&known.node.doc);
        let leaving: Vec<Id> = known.learned.iter().copied().filter(|image| images.contains(image)).collect();
        let features = self.load_features(extractor, &leaving).await?;
        let set = self.snapshot(&known.node).await?;
        let input = Input::new(&known.node.doc, &set, features)?;
        let (sums, weights) =
            (self.store().blobs().get(sums).await?, self.store().blobs().get(&model.weights).await?);
        let compute = self.inner.compute.clone();
        let left = known.learned.len() - leaving.len();
        let computed = tokio::task::spawn_blocking(move || compute.subtract(&sums, &weights, &input, left))
            .await
            .map_err(|_| Error::internal("a model could not be solved again"))??;
        let Some(computed) = computed else { return Ok(None) };
        let unlearned = model.unlearned + leaving.len() as u64;
        let (blobs, model) =
            self.store_model(iteration, extractor, &computed, left as u64, unlearned).await?;
        Ok(Some(Ahead { iteration, version: known.node.version, blobs, model }))
    }

    /// Sees to it that the weights of an iteration know nothing that is gone; penalty, calibration and metrics may follow later.
    pub(crate) async fn bring_up_to_date(&self, iteration: Id) -> Result<()> {
        let _turn = self.inner.forgetting.lock().await;
        loop {
            let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else { return Ok(()) };
            let learned = known.learned.len() as u64;
            match (&known.node.doc.model, &known.node.doc.imported) {
                (Some(model), _) if model.images != learned => {
                    self.solve_again(known, Precision::Quick).await?;
                }
                (None, Some(imported)) if imported.images != learned => self.taint(known).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Brings an iteration up to date and makes its weights final; none when it is gone or not trained.
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
                Some(_) => self.solve_again(known, Precision::Full).await?,
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
    async fn solve_again(&self, known: Known, precision: Precision) -> Result<()> {
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
        let computed = self.recompute(&known, &set, extractor, &old, precision).await;
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

    async fn recompute(
        &self,
        known: &Known,
        set: &TrainingSet,
        extractor: Extractor,
        old: &TrainedModel,
        precision: Precision,
    ) -> Result<Computed> {
        let never = Arc::new(AtomicBool::new(false));
        if precision == Precision::Full {
            return self.compute(known, set, extractor, &never).await;
        }
        let weights = self.store().blobs().get(&old.weights).await?;
        let features = self.load_features(extractor, &known.learned).await?;
        let input = Input::new(&known.node.doc, set, features)?;
        let compute = self.inner.compute.clone();
        tokio::task::spawn_blocking(move || compute.quick(&input, &weights, &never))
            .await
            .map_err(|_| Error::internal("a model could not be solved again"))?
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

/// How much is computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    /// The weights, with the old penalty, where everything would take long.
    Quick,
    /// Everything.
    Full,
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

fn swap_ahead(tx: &mut Tx<'_>, solved: &Ahead) -> Result<()> {
    let node = tx.get::<Iteration>(solved.iteration)?.filter(|node| node.version == solved.version);
    let Some(mut node) = node else {
        return tx.release_blobs(&solved.blobs.iter().map(|blob| blob.id).collect::<Vec<_>>());
    };
    let replaced = blobs_of(None, node.doc.model.as_ref());
    node.doc.model = Some(solved.model.clone());
    tx.update::<Iteration>(&node)?;
    tx.attach_blobs(solved.iteration, &solved.blobs.iter().collect::<Vec<_>>())?;
    tx.release_blobs(&replaced)
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

/// The images with their copies, and the iterations that learned from any of them.
fn reach(tx: &mut Tx<'_>, roots: &[Id]) -> Result<(Vec<Id>, Vec<Id>)> {
    let images: Vec<Id> = with_copies(tx, roots)?.into_iter().collect();
    let mut learners = BTreeSet::new();
    for image in &images {
        learners.extend(tx.sources(*image, Relation::LearnedFrom)?);
    }
    Ok((images, learners.into_iter().collect()))
}

/// Removes an image with its copies, and predictions of the same bytes that their projects have stored.
fn remove_with_predictions(tx: &mut Tx<'_>, image: Id) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
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
        removed.extend(remove_with_predictions(tx, copy)?);
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
