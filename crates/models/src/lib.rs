//! Models over the tree: training, evaluation, prediction and unlearning, once for all protocols.
//!
//! An iteration is a snapshot of a project ([`TrainingSet`]) with a model that `habeas_learn` computed from the features of its images.
//! Features are stored with the image, under the image's own key; what a model learned from is connected to it
//! ([`habeas_core::node::Relation::LearnedFrom`]).
//!
//! **Invariant:** nothing that a model learned from leaves the tree without a task that solves the model again without it: the store enqueues
//! it in the transaction of the removal. **Invariant:** weights that still know a removed image answer nobody.

mod compute;
mod evaluating;
pub mod exporting;
mod features;
mod foreseeing;
mod forgetting;
pub mod importing;
mod interim;
mod iterations;
pub mod labelled;
mod model_card;
pub mod notifying;
mod predicting;
mod rescued;
mod restricting;
pub mod scoring;
mod snapshots;
mod starting;
mod suggesting;
mod training;
mod training_set;
mod verifying;
mod worker;

use std::sync::Arc;

use habeas_core::Result;
use habeas_fetch::{Outgoing, Policy};
use habeas_learn::imaging;
use habeas_store::Store;
use tokio::sync::{Notify, Semaphore};

pub use compute::{Backbone, ImagePerformance, Performance, Proposal, TagPerformance};
pub use features::update_image;
pub use foreseeing::TagsLeft;
pub use forgetting::{Forgotten, LEAST_IMAGES, images_of_project, with_copies};
pub use iterations::{
    delete, find_image, find_iteration, leave_workspace, make_default, no_iteration, publish, unpublish,
};
pub use predicting::Prediction;
pub use rescued::{ImportedExport, ImportedIteration, compute_all_again, is_being_recorded};
pub use starting::{TrainingLimits, TrainingRequest, next_name};
pub use training_set::{SnapshotImage, TrainingSet};
pub use verifying::{ExportedFiles, Verdict, Verification, verify};
pub use worker::ModelWorker;

use compute::Compute;
use interim::Leaving;
use predicting::Loaded;
use scoring::Scoring;

/// How models are trained and asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a training needs.
    pub training: TrainingLimits,
    /// Limits of decoding.
    pub decoding: imaging::Limits,
    /// Feature extractors of the operator's own, by domain.
    pub backbones: Vec<Backbone>,
    /// Threads that extract features and solve at a time.
    pub threads: usize,
    /// Images up to which a model that has to forget is computed anew at once; of more, interim weights answer until it is.
    pub final_at_once: usize,
    /// Trained models kept in memory for predictions.
    pub cached_models: usize,
    /// Which calls to addresses that clients name are allowed.
    pub outgoing: Policy,
    /// The key of an image's metadata that names the persons whom it shows.
    pub depicts_key: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            training: TrainingLimits::default(),
            decoding: imaging::Limits::default(),
            backbones: Vec::new(),
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            final_at_once: 500,
            cached_models: 32,
            outgoing: Policy::default(),
            depicts_key: "depicts".to_owned(),
        }
    }
}

/// Training and prediction over one store. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    options: Options,
    compute: Arc<Compute>,
    /// Feature extractions at a time, in training and in prediction.
    extractions: Arc<Semaphore>,
    loaded: Loaded,
    leaving: Leaving,
    scoring: Scoring,
    outgoing: Outgoing,
    /// Solving the weights of one iteration again at a time: whoever needs them waits here.
    forgetting: tokio::sync::Mutex<()>,
    /// Making one iteration final at a time: that can take minutes and much memory, and nobody who needs weights waits for it.
    finishing: tokio::sync::Mutex<()>,
    removed: tokio::sync::Mutex<Option<rescued::RemovedHere>>,
    snapshots: snapshots::Snapshots,
    wake: Arc<Notify>,
    wake_outgoing: Arc<Notify>,
}

impl Models {
    /// Opens it. Backbones are loaded and tried, the built-in feature extractors are loaded when they are first needed.
    pub fn new(store: Store, options: Options) -> Result<Models> {
        let compute = Arc::new(Compute::new(options.decoding.clone(), options.threads, &options.backbones)?);
        let extractions = Arc::new(Semaphore::new(options.threads.max(1)));
        let loaded = Loaded::new(options.cached_models);
        let outgoing = Outgoing::new(options.outgoing.clone())?;
        let scoring = Scoring::new(options.threads);
        Ok(Models {
            inner: Arc::new(Inner {
                store,
                options,
                compute,
                extractions,
                loaded,
                leaving: Leaving::default(),
                scoring,
                outgoing,
                forgetting: tokio::sync::Mutex::new(()),
                finishing: tokio::sync::Mutex::new(()),
                removed: tokio::sync::Mutex::default(),
                snapshots: snapshots::Snapshots::default(),
                wake: Arc::new(Notify::new()),
                wake_outgoing: Arc::new(Notify::new()),
            }),
        })
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Calls to addresses that clients name.
    pub fn outgoing(&self) -> &Outgoing {
        &self.inner.outgoing
    }

    /// What a training needs, and how many iterations a project may have.
    pub fn limits(&self) -> TrainingLimits {
        self.inner.options.training
    }

    /// Returns when a task was enqueued since it returned last.
    pub async fn woken_for_outgoing(&self) {
        self.inner.wake_outgoing.notified().await;
    }

    /// The key of an image's metadata that names the persons whom it shows.
    pub fn depicts_key(&self) -> &str {
        &self.inner.options.depicts_key
    }

    /// Wakes the workers of the long lane and of outgoing calls: a task was enqueued.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
        self.inner.wake_outgoing.notify_one();
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Models")
    }
}
