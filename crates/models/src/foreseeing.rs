//! What an erasure will do to a model, before it is done.

use std::collections::HashSet;

use habeas_core::kinds::{Iteration, IterationDoc};
use habeas_core::{Id, Node, Result};

use crate::training::tag_ids;
use crate::{Models, TrainingSet};

/// The tags of an iteration once images have left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagsLeft {
    /// Tags that lose their last image: they are never predicted any more.
    pub emptied: u64,
    /// Tags that keep images, but fewer than a training needs.
    pub below_minimum: u64,
}

impl Models {
    /// What is left of the tags of an iteration when it has forgotten `leaving`. Nothing is lost of one that is gone.
    pub async fn tags_without(&self, iteration: Id, leaving: &[Id]) -> Result<TagsLeft> {
        let look = || self.store().read(move |tx| tx.get::<Iteration>(iteration));
        let Some(mut node) = look().await? else { return Ok(TagsLeft::default()) };
        loop {
            match self.snapshot(&node).await {
                Ok(set) => return Ok(self.tags_left(&node, set, leaving)),
                // Unlearning replaces the stored snapshot, and may just have done so.
                Err(error) => match look().await? {
                    Some(now) if now.version != node.version => node = now,
                    Some(_) => return Err(error),
                    None => return Ok(TagsLeft::default()),
                },
            }
        }
    }

    fn tags_left(&self, node: &Node<IterationDoc>, mut set: TrainingSet, leaving: &[Id]) -> TagsLeft {
        let limits = self.limits();
        let least = if node.doc.classification_type.is_none() {
            limits.images_per_detected_tag
        } else {
            limits.images_per_tag
        };
        let before = set.count_tags();
        let leaving: HashSet<&Id> = leaving.iter().collect();
        set.images.retain(|image| !leaving.contains(&image.id));
        let after = set.count_tags();
        let mut left = TagsLeft::default();
        for tag in tag_ids(&node.doc) {
            match (before.get(&tag).copied().unwrap_or(0), after.get(&tag).copied().unwrap_or(0)) {
                (before, 0) if before > 0 => left.emptied += 1,
                (before, after) if after < before && after < least => left.below_minimum += 1,
                _ => {}
            }
        }
        left
    }
}
