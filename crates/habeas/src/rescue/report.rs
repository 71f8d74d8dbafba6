//! What came of an import.

use habeas_core::Id;
use serde::Serialize;

/// What came of an import.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// By project, in the order of the source.
    pub projects: Vec<ProjectReport>,
}

/// What came of one project.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectReport {
    /// The project.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Tags.
    pub tags: Tally,
    /// Images, those that only iterations hold among them.
    pub images: Tally,
    /// Iterations.
    pub iterations: Tally,
    /// Exported models.
    pub exports: Tally,
    /// Stored predictions.
    pub predictions: Tally,
    /// Bytes of what was brought.
    pub bytes: u64,
    /// What could not be brought.
    pub problems: Vec<Problem>,
    /// Whether everything that the source has and that could be brought is here, with the digests it had on the way.
    pub verified: bool,
}

/// What came of the items of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Brought by this run.
    pub brought: u64,
    /// Here already.
    pub present: u64,
    /// Deleted or erased here before, and therefore left.
    pub removed_here: u64,
    /// Deleted from the source while it was read.
    pub gone: u64,
    /// Not brought: see the problems.
    pub failed: u64,
}

/// What could not be brought, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it is.
    pub item: Item,
    /// Its id; of an exported model that of its iteration.
    pub id: Id,
    /// What went wrong.
    pub why: String,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Item {
    /// A tag.
    Tag,
    /// An image.
    Image,
    /// An iteration.
    Iteration,
    /// An exported model.
    Export,
    /// A stored prediction.
    Prediction,
}

impl Item {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Item::Tag => "tag",
            Item::Image => "image",
            Item::Iteration => "iteration",
            Item::Export => "exported model",
            Item::Prediction => "prediction",
        }
    }
}

impl ProjectReport {
    pub(super) fn new(id: Id, name: &str) -> ProjectReport {
        ProjectReport {
            id,
            name: name.to_owned(),
            tags: Tally::default(),
            images: Tally::default(),
            iterations: Tally::default(),
            exports: Tally::default(),
            predictions: Tally::default(),
            bytes: 0,
            problems: Vec::new(),
            verified: false,
        }
    }

    pub(super) fn tally(&mut self, item: Item) -> &mut Tally {
        match item {
            Item::Tag => &mut self.tags,
            Item::Image => &mut self.images,
            Item::Iteration => &mut self.iterations,
            Item::Export => &mut self.exports,
            Item::Prediction => &mut self.predictions,
        }
    }

    pub(super) fn fail(&mut self, item: Item, id: Id, why: impl Into<String>) {
        self.tally(item).failed += 1;
        self.problems.push(Problem { item, id, why: why.into() });
    }
}
