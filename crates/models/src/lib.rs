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
mod forgetting;
pub mod importing;
mod iterations;
mod model_card;
pub mod notifying;
mod predicting;
mod rescued;
mod restricting;
mod starting;
mod training;
mod training_set;
mod worker;

use std::sync::Arc;

use habeas_core::Result;
use habeas_fetch::{Outgoing, Policy};
use habeas_learn::imaging;
use habeas_store::Store;
use tokio::sync::{Notify, Semaphore};

pub use compute::{ImagePerformance, Performance, Proposal, TagPerformance};
pub use features::update_image;
pub use forgetting::{Forgotten, LEAST_IMAGES, images_of_project, with_copies};
pub use iterations::{
    delete, find_image, find_iteration, leave_workspace, make_default, no_iteration, publish, unpublish,
};
pub use predicting::Prediction;
pub use rescued::{ImportedIteration, removed_items};
pub use starting::{TrainingLimits, TrainingRequest, next_name};
pub use training_set::{SnapshotImage, TrainingSet};
pub use worker::ModelWorker;

use compute::Compute;
use predicting::Loaded;

/// How models are trained and asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a training needs.
    pub training: TrainingLimits,
    /// Limits of decoding.
    pub decoding: imaging::Limits,
    /// Threads that extract features and solve at a time.
    pub threads: usize,
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
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
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
    outgoing: Outgoing,
    /// Solving one iteration again at a time: whoever needs its weights waits here.
    forgetting: tokio::sync::Mutex<()>,
    wake: Arc<Notify>,
}

impl Models {
    /// Opens it; loads the feature extractors when they are first needed.
    pub fn new(store: Store, options: Options) -> Result<Models> {
        let compute = Arc::new(Compute::new(options.decoding.clone(), options.threads));
        let extractions = Arc::new(Semaphore::new(options.threads.max(1)));
        let loaded = Loaded::new(options.cached_models);
        let outgoing = Outgoing::new(options.outgoing.clone())?;
        Ok(Models {
            inner: Arc::new(Inner {
                store,
                options,
                compute,
                extractions,
                loaded,
                outgoing,
                forgetting: tokio::sync::Mutex::new(()),
                wake: Arc::new(Notify::new()),
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

    /// The key of an image's metadata that names the persons whom it shows.
    pub fn depicts_key(&self) -> &str {
        &self.inner.options.depicts_key
    }

    /// Wakes the worker of the long lane: a task was enqueued.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Models")
    }
}
