//! Running a training: features, model, and the commit that makes the iteration `Completed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use habeas_core::kinds::{Iteration, IterationDoc, IterationStatus, TrainedModel};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, ErrorKind, Id, Node, Result, fault};
use habeas_learn::head::Sums;
use habeas_store::{TaskRow, Tx};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::compute::{Compute, Computed, Extractor, Features, Input};
use crate::rescued::{is_awaited, is_behind, leave_without_weights, take_in};
use crate::restricting::require_unrestricted;
use crate::{Models, TrainingSet, notifying};

/// Media type of weights and evaluations.
const MEDIA_TYPE: &str = "application/octet-stream";
/// Between two looks at whether a training is still wanted; well within the lease of its task.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The task of one iteration.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct IterationTask {
    pub(crate) iteration: Id,
}

/// What [`Models::compute`] needs of an iteration, read at one moment.
pub(crate) struct Known {
    pub(crate) node: Node<IterationDoc>,
    /// The images it learns from that are still there, in the order of their ids.
    pub(crate) learned: Vec<Id>,
}

pub(crate) fn known(tx: &mut Tx<'_>, iteration: Id) -> Result<Option<Known>> {
    let Some(node) = tx.get::<Iteration>(iteration)? else { return Ok(None) };
    let mut learned: Vec<Id> =
        tx.targets(iteration, Relation::LearnedFrom)?.into_iter().map(|(image, _)| image).collect();
    learned.sort_unstable();
    Ok(Some(Known { node, learned }))
}

impl Models {
    /// Trains the iteration of a claimed task and ends the task, or puts it back.
    pub(crate) async fn run_training(&self, task: &TaskRow) -> Result<()> {
        let IterationTask { iteration } = IterationTask::deserialize(&task.payload)?;
        let result = self.train(task, iteration).await;
        self.end_task(task, result, move |tx, why| give_up(tx, iteration, why)).await
    }

    pub(crate) async fn train(&self, task: &TaskRow, iteration: Id) -> Result<()> {
        let began = self.store().ambient().now();
        let watch = self.watch(task, iteration);
        loop {
            let known = self
                .store()
                .read(move |tx| {
                    let known = known(tx, iteration)?;
                    if let Some(known) = &known {
                        require_unrestricted(tx, &known.learned)?;
                    }
                    Ok(known)
                })
                .await?
                .ok_or_else(gone)?;
            if known.node.doc.status != IterationStatus::Training && !is_awaited(&known.node.doc) {
                return Ok(());
            }
            if is_awaited(&known.node.doc) && is_behind(&known) {
                self.bring_up_to_date(iteration).await?;
                continue;
            }
            let mut set = match self.snapshot(&known.node).await {
                // Another one took its place.
                Err(error) if error.kind == ErrorKind::NotFound && self.is_stale(&known).await? => continue,
                result => result?,
            };
            let erased = set.forget_erased(&known.learned, &tag_ids(&known.node.doc));
            if !erased.images.is_empty() {
                self.replace_set(&known, &set).await?;
                continue;
            }
            let extractor = self.inner.compute.extractor(&known.node.doc)?;
            self.make_features(extractor, &known.learned, &watch.cancelled).await?;
            fault::point("train.features_made");
            let computed = match self.compute(&known, &set, extractor, None, &watch.cancelled).await {
                Err(error) if error.kind == ErrorKind::Unavailable && self.is_stale(&known).await? => {
                    continue;
                }
                result => result?,
            };
            fault::point("train.computed");
            let unlearned = 0;
            let (blobs, model) = self
                .store_model(iteration, extractor, &computed, None, known.learned.len() as u64, unlearned)
                .await?;
            fault::point("train.stored");
            let learned = known.learned;
            let committed = self
                .store()
                .write(move |tx| {
                    let Some(now) = self::known(tx, iteration)? else { return Err(gone()) };
                    if now.learned != learned || is_awaited(&now.node.doc) && is_behind(&now) {
                        // Something was erased in the meantime: what was computed knows it and must not be kept.
                        tx.release_blobs(&blobs.iter().map(|blob| blob.id).collect::<Vec<_>>())?;
                        return Ok(None);
                    }
                    require_unrestricted(tx, &now.learned)?;
                    let mut node = now.node;
                    tx.attach_blobs(iteration, &blobs.iter().collect::<Vec<_>>())?;
                    if is_awaited(&node.doc) {
                        return take_in(tx, node, model.clone(), &set).map(Some);
                    }
                    node.doc.status = IterationStatus::Completed;
                    // The copy of an iteration was trained when the original was.
                    if node.doc.trained_at.is_none() {
                        let ended = tx.now();
                        node.doc.trained_at = Some(ended);
                        node.doc.training_minutes = ((ended.0 - began.0).max(0) as u64 / 60_000_000).max(1);
                    }
                    node.doc.model = Some(model.clone());
                    let node = tx.update::<Iteration>(&node)?;
                    notifying::training(tx, &node)?;
                    Ok(Some(false))
                })
                .await?;
            if let Some(has_forgotten) = committed {
                fault::point("train.committed");
                return if has_forgotten { self.suggest_again(iteration).await } else { Ok(()) };
            }
        }
    }

    /// Whether an iteration or what it learns from has changed since it was looked at.
    pub(crate) async fn is_stale(&self, known: &Known) -> Result<bool> {
        let iteration = known.node.id;
        let now = self.store().read(move |tx| self::known(tx, iteration)).await?.ok_or_else(gone)?;
        Ok(now.learned != known.learned || now.node.version != known.node.version)
    }

    /// Gives an iteration in training a snapshot without what was erased since it was taken.
    async fn replace_set(&self, known: &Known, set: &TrainingSet) -> Result<()> {
        let (iteration, version) = (known.node.id, known.node.version);
        let blob = self.store_set(iteration, set).await?;
        let counts = set.count_tags();
        self.store()
            .write(move |tx| {
                let mut node = tx.get::<Iteration>(iteration)?.ok_or_else(gone)?;
                if node.version != version {
                    // The caller looks again.
                    return tx.release_blobs(&[blob.id]);
                }
                for tag in &mut node.doc.tags {
                    tag.image_count = counts.get(&tag.id).copied().unwrap_or(0);
                }
                node.doc.training_digest.clear();
                let replaced: Vec<Id> =
                    node.doc.training_set.replace(blob.clone()).iter().map(|old| old.id).collect();
                tx.update::<Iteration>(&node)?;
                tx.attach_blobs(iteration, &[&blob])?;
                tx.release_blobs(&replaced)
            })
            .await
    }

    /// Computes everything about a model from the features of the images that are still there. `kept` are the sums over them, if they
    /// are there.
    pub(crate) async fn compute(
        &self,
        known: &Known,
        set: &TrainingSet,
        extractor: Extractor,
        kept: Option<Sums>,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Computed> {
        let input = Input::new(&known.node.doc, set, &known.learned);
        let cancelled = Arc::clone(cancelled);
        self.with_features(extractor, move |compute, features| {
            compute.train(&input, features, kept, &cancelled)
        })
        .await
    }

    /// Computes something from features that are loaded as they are needed, on a thread of its own.
    pub(crate) async fn with_features(
        &self,
        extractor: Extractor,
        work: impl FnOnce(&Compute, &mut Features<'_>) -> Result<Computed> + Send + 'static,
    ) -> Result<Computed> {
        let (models, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            work(&models.inner.compute, &mut |images: &[Id]| {
                runtime.block_on(models.all_features(extractor, images))
            })
        })
        .await
        .map_err(|_| Error::internal("a training could not be computed"))?
    }

    /// Stores what was computed; the new blobs are attached with the document that gets the model. `same_sums` are those that are
    /// stored already.
    pub(crate) async fn store_model(
        &self,
        iteration: Id,
        extractor: Extractor,
        computed: &Computed,
        same_sums: Option<BlobRef>,
        images: u64,
        unlearned: u64,
    ) -> Result<(Vec<BlobRef>, TrainedModel)> {
        let mut blobs = Vec::new();
        let weights = self.announce(iteration, computed.weights.len() as u64).await?;
        self.store().put_announced(&weights, &computed.weights).await?;
        blobs.push(weights.clone());
        let mut evaluation = None;
        if let Some(bytes) = &computed.evaluation {
            let blob = evaluation.insert(self.announce(iteration, bytes.len() as u64).await?);
            self.store().put_announced(blob, bytes).await?;
            blobs.push(blob.clone());
        }
        let mut sums = same_sums;
        if let (Some(computed), None) = (&computed.sums, &sums) {
            let blob = sums.insert(self.announce(iteration, computed.stored_len()).await?);
            let mut writer = self.store().blobs().writer(blob.clone());
            for piece in computed.pieces() {
                writer.write(&piece).await?;
            }
            writer.finish().await?;
            self.store().settle_announced(blob.id).await?;
            blobs.push(blob.clone());
        }
        let model = TrainedModel {
            state: computed.state,
            extractor: extractor.name(),
            weights,
            sums,
            evaluation,
            sums_digest: computed.sums_digest.clone(),
            state_digest: computed.state_digest.clone(),
            images,
            unlearned,
        };
        Ok((blobs, model))
    }

    /// A blob that is going to be written for an iteration.
    async fn announce(&self, iteration: Id, size: u64) -> Result<BlobRef> {
        let blob = BlobRef::new(self.store().ambient(), size, MEDIA_TYPE);
        let announced = blob.clone();
        self.store().write(move |tx| tx.announce_blobs(iteration, &[&announced])).await?;
        Ok(blob)
    }

    /// Keeps the lease of a task while its work goes on, and notices when its iteration is deleted: that is how it is cancelled.
    pub(crate) fn watch(&self, task: &TaskRow, iteration: Id) -> Watch {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (store, id, flag) = (self.store().clone(), task.id, Arc::clone(&cancelled));
        let beat = tokio::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                let there = store
                    .write(move |tx| {
                        tx.extend_lease(id)?;
                        Ok(tx.position(iteration)?.is_some())
                    })
                    .await;
                match there {
                    Ok(false) => flag.store(true, Ordering::Relaxed),
                    Ok(true) => {}
                    Err(error) => tracing::warn!(%error, "the lease of a training was not extended"),
                }
            }
        });
        Watch { cancelled, beat }
    }
}

/// Notes that an iteration could not be trained.
pub(crate) fn give_up(tx: &mut Tx<'_>, iteration: Id, why: &Error) -> Result<()> {
    if let Some(mut node) = tx.get::<Iteration>(iteration)? {
        if is_awaited(&node.doc) {
            return leave_without_weights(tx, node, why);
        }
        node.doc.status = IterationStatus::Failed;
        node.doc.error = Some(why.to_string());
        let node = tx.update::<Iteration>(&node)?;
        notifying::training(tx, &node)?;
    }
    Ok(())
}

/// A heartbeat that ends with the work.
pub(crate) struct Watch {
    pub(crate) cancelled: Arc<AtomicBool>,
    beat: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A computation that nobody waits for any more, as at the end of a server, stops.
        self.cancelled.store(true, Ordering::Relaxed);
        self.beat.abort();
    }
}

/// The tags that an iteration is trained on.
pub(crate) fn tag_ids(doc: &IterationDoc) -> Vec<Id> {
    doc.tags.iter().map(|tag| tag.id).collect()
}

pub(crate) fn gone() -> Error {
    Error::not_found("the iteration does not exist any more")
}
