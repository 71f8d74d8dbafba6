//! Unlearning: models solved again without what was erased.
//!
//! The order is: what is removed leaves the tree in one transaction, which also enqueues the task that solves every model again that learned
//! from it. Whoever asks such a model before waits until it is solved: weights that know something that is gone answer nobody. Of a
//! classifier of many images interim weights are solved first ([`crate::interim`]). In the end a model is
//! solved from the exact sums and the stored rows of what is left, so it is the model that never saw the rest, bit for bit. Models that were trained elsewhere have no weights here:
//! [`Models::taint`](crate::Models) marks them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use habeas_core::kinds::{
    Image, Iteration, IterationDoc, IterationStatus, ModelExport, ModelState, StoredPrediction, Suggestion,
    TrainedModel,
};
use habeas_core::node::{AttrKey, Relation};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Kind, Node, Result, fault};
use habeas_store::ledger::Record;
use habeas_store::{Page, Removed, TaskRow, TaskState, Tx};
use serde::Deserialize as _;

use crate::compute::{Computed, Extractor};
use crate::iterations::find_image;
use crate::rescued::{is_awaited, remove_exports};
use crate::training::{IterationTask, Known, gone, known, tag_ids};
use crate::{Models, TrainingSet};

/// How far a model is solved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Until it can answer.
    AtOnce,
    /// Until everything about it is computed.
    Final,
}

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
        let mut images = self.store().read(move |tx| with_copies(tx, &roots)).await?;
        images.retain(|image| !held.contains(image));
        let _held = self.hold_leaving(&images).await?;
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
            self.bring_up_to_date_unless_frozen(iteration).await?;
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
            self.store()
                .write(move |tx| {
                    for image in &leaving {
                        tx.disconnect(iteration, *image, Relation::LearnedFrom)?;
                    }
                    tx.enqueue_forgetting(iteration).map(|_| ())
                })
                .await?;
            self.bring_up_to_date_unless_frozen(iteration).await?;
        }
        fault::point("forget.holder");
        Ok(touched)
    }

    /// The same as [`Models::bring_up_to_date`], but for an iteration whose holder is being erased, too: that goes with them, or its own
    /// task brings it up to date once they are not erased after all.
    async fn bring_up_to_date_unless_frozen(&self, iteration: Id) -> Result<()> {
        match self.bring_up_to_date(iteration).await {
            Err(error) if error.kind == ErrorKind::Frozen => Ok(()),
            result => result,
        }
    }

    /// Sees to it that the weights of an iteration know nothing that is gone.
    pub(crate) async fn bring_up_to_date(&self, iteration: Id) -> Result<()> {
        let _turn = self.inner.forgetting.lock().await;
        loop {
            let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else { return Ok(()) };
            let learned = known.learned.len() as u64;
            match (&known.node.doc.model, &known.node.doc.imported) {
                (Some(model), _) if model.images != learned => {
                    self.solve_again(known, Pace::AtOnce).await?;
                }
                (None, Some(imported)) if imported.images != learned => self.taint(known).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Brings an iteration up to date, makes it final and tells what it is now; none when it is gone or not trained. Interim weights of this
    /// and other iterations do not wait for it.
    pub async fn forget(&self, iteration: Id) -> Result<Option<Forgotten>> {
        self.bring_up_to_date(iteration).await?;
        let _turn = self.inner.finishing.lock().await;
        loop {
            self.bring_up_to_date(iteration).await?;
            let Some(known) = self.store().read(move |tx| known(tx, iteration)).await? else {
                return Ok(None);
            };
            let images = known.learned.len() as u64;
            match &known.node.doc.model {
                // Something went in between.
                Some(model) if model.images != images => {}
                Some(model) if model.state == ModelState::Final => {
                    return Ok(Some(Forgotten {
                        iteration,
                        state_digest: Some(model.state_digest.clone()),
                        images,
                        unlearned: model.unlearned,
                    }));
                }
                Some(_) => self.solve_again(known, Pace::Final).await?,
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
        let result = match self.forget(iteration).await {
            Ok(Some(forgotten)) if forgotten.state_digest.is_some() => self.suggest_again(iteration).await,
            result => result.map(|_| ()),
        };
        drop(watch);
        let (id, attempts) = (task.id, task.attempts + 1);
        match result {
            Ok(()) => self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await,
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.store().write(move |tx| tx.end_task(id, TaskState::Done)).await
            }
            Err(error) => {
                self.store().write(move |tx| tx.retry_task(id, attempts)).await?;
                // Until its holder is gone, or kept after all.
                if error.kind == ErrorKind::Frozen { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Solves an iteration from what is left, and swaps its model. What was exported of the old one is revoked.
    async fn solve_again(&self, known: Known, pace: Pace) -> Result<()> {
        let iteration = known.node.id;
        let extractor = self.inner.compute.extractor(&known.node.doc)?;
        let mut set = self.snapshot(&known.node).await?;
        let left_out = set.forget_erased(&known.learned, &tag_ids(&known.node.doc));
        let old = known
            .node
            .doc
            .model
            .clone()
            .ok_or_else(|| Error::internal("an iteration without a model was to be solved again"))?;
        let computed = self.solve(&known, &set, &left_out, extractor, &old, pace).await;
        let computed = match computed {
            Err(error) if error.kind == ErrorKind::Invalid => None,
            // The caller looks again.
            Err(error)
                if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::NotFound)
                    && self.is_stale(&known).await? =>
            {
                return Ok(());
            }
            result => Some(result?),
        };
        let same_sums = old.sums.clone().filter(|_| {
            computed
                .as_ref()
                .is_some_and(|computed| computed.sums.is_some() && computed.sums_digest == old.sums_digest)
        });
        let still_used = same_sums.as_ref().map(|blob| blob.id);
        let set_blob = self.store_set(iteration, &set).await?;
        let unlearned = old.unlearned + old.images.saturating_sub(known.learned.len() as u64);
        let stored = match &computed {
            Some(computed) => Some(
                self.store_model(
                    iteration,
                    extractor,
                    computed,
                    same_sums,
                    known.learned.len() as u64,
                    unlearned,
                )
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
                let mut replaced = blobs_of(node.doc.training_set.as_ref(), node.doc.model.as_ref());
                replaced.retain(|blob| Some(*blob) != still_used);
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
                let mut removed = remove_exports(tx, iteration)?;
                removed.extend(withdraw_suggestions(tx, &node)?);
                Ok(removed)
            })
            .await?;
        for removal in &removed {
            self.store().finish(removal).await;
        }
        fault::point("forget.swapped");
        Ok(())
    }

    /// The model without `gone`: the whole of it, or where that takes long and there is no hurry for it, its interim weights.
    async fn solve(
        &self,
        known: &Known,
        set: &TrainingSet,
        gone: &TrainingSet,
        extractor: Extractor,
        old: &TrainedModel,
        pace: Pace,
    ) -> Result<Computed> {
        let many = known.learned.len() > self.inner.options.final_at_once;
        if pace == Pace::AtOnce && many && known.node.doc.classification_type.is_some() {
            return self.interim(known, set, gone, extractor, old).await;
        }
        let kept = if gone.images.is_empty() { self.kept_sums(old).await? } else { None };
        self.compute(known, set, extractor, kept, &Arc::new(AtomicBool::new(false))).await
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

/// Withdraws what an iteration has suggested for images, since the old weights said it: of one that answers, or will, until it is asked again
/// ([`Models::suggest_again`]), of one that does not for good.
pub(crate) fn withdraw_suggestions(tx: &mut Tx<'_>, iteration: &Node<IterationDoc>) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for mut suggestion in tx.grandchildren::<Suggestion>(iteration.parent.unwrap_or(Id::NIL))? {
        if suggestion.doc.iteration != iteration.id {
            continue;
        }
        let answers = iteration.doc.model.is_some() || is_awaited(&iteration.doc);
        if answers || tx.held_by(suggestion.id)?.is_some() {
            suggestion.doc.predictions.clear();
            tx.update::<Suggestion>(&suggestion)?;
        } else {
            removed.push(tx.remove(suggestion.id)?);
        }
    }
    Ok(removed)
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

/// Removes an image with its copies, and predictions of the same bytes that their projects have stored; all but those that are `held`. Two
/// persons who have copies of each other's images and are erased at the same time must not wait for each other.
fn remove_with_predictions(tx: &mut Tx<'_>, image: Id, held: &[Id]) -> Result<Vec<Removed>> {
    let mut removed = Vec::new();
    if held.contains(&image) {
        return Ok(removed);
    }
    let Some(node) = find_image(tx, image)? else { return Ok(removed) };
    let project = node.parent.unwrap_or(Id::NIL);
    while let Some(prediction) = prediction_of(tx, project, &node.doc.sha256)? {
        removed.push(tx.remove_also_frozen(prediction)?);
    }
    debug_assert!(matches!(node.kind, Kind::Image | Kind::KeptImage));
    // Also what was copied after the copies were looked for: an import may be at work.
    for copy in tx.sources(image, Relation::CopyOf)? {
        removed.extend(remove_with_predictions(tx, copy, held)?);
    }
    removed.push(tx.remove_also_frozen(image)?);
    Ok(removed)
}

/// A stored prediction of these bytes that no hold keeps for itself.
fn prediction_of(tx: &mut Tx<'_>, project: Id, sha256: &str) -> Result<Option<Id>> {
    let first = tx.child_by_text::<StoredPrediction>(project, AttrKey::ContentHash, sha256)?;
    let Some(first) = first else { return Ok(None) };
    if tx.held_by(first.id)?.is_none() {
        return Ok(Some(first.id));
    }
    for other in tx.children::<StoredPrediction>(project, Page::ALL)? {
        if other.doc.sha256 == sha256 && tx.held_by(other.id)?.is_none() {
            return Ok(Some(other.id));
        }
    }
    Ok(None)
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
