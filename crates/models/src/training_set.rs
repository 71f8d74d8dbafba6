//! What an iteration was trained on: the project's images with their tags and regions at the time.

use std::collections::HashMap;

use habeas_core::crypto::Sha256;
use habeas_core::kinds::{Image, Project, Region, Tag, TagDoc};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Node, Result, Timestamp};
use habeas_store::{Page, Store, Tx};
use serde::{Deserialize, Serialize};

/// One image of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotImage {
    /// The image.
    pub id: Id,
    /// Its tags and since when it had them, oldest first.
    pub tags: Vec<(Id, Timestamp)>,
    /// Its regions.
    pub regions: Vec<Region>,
}

/// The images of a project at one moment, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSet {
    /// All images of the workspace, tagged or not; of a base model those that carry one of its tags.
    pub images: Vec<SnapshotImage>,
}

impl TrainingSet {
    /// Reads the workspace of `project`.
    pub(crate) fn of_workspace(tx: &mut Tx<'_>, project: Id) -> Result<TrainingSet> {
        let mut tags: HashMap<Id, Vec<(Id, Timestamp)>> = HashMap::new();
        for (image, tag, since) in tx.edges_under(project, Relation::Tagged)? {
            tags.entry(image).or_default().push((tag, since));
        }
        let mut images: Vec<SnapshotImage> = tx
            .children::<Image>(project, Page::ALL)?
            .into_iter()
            .map(|node| SnapshotImage {
                id: node.id,
                tags: tags.remove(&node.id).unwrap_or_default(),
                regions: node.doc.regions,
            })
            .collect();
        images.sort_by_key(|image| image.id);
        Ok(TrainingSet { images })
    }

    /// The image of this id.
    pub fn image(&self, id: Id) -> Option<&SnapshotImage> {
        self.images.binary_search_by_key(&id, |image| image.id).ok().and_then(|place| self.images.get(place))
    }

    /// Opens a stored one.
    pub(crate) async fn load(store: &Store, blob: &BlobRef) -> Result<TrainingSet> {
        Ok(serde_json::from_slice(&store.blobs().get(blob).await?)?)
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Forgets labels with other tags than these: nothing is learned from them.
    pub(crate) fn keep_labels(&mut self, tags: &[Id]) {
        for image in &mut self.images {
            image.tags.retain(|(tag, _)| tags.contains(tag));
            image.regions.retain(|region| tags.contains(&region.tag));
        }
    }

    /// Takes out images that carry one of `tags` and are not among `learned`, which is in order, and returns them: they were erased.
    pub(crate) fn forget_erased(&mut self, learned: &[Id], tags: &[Id]) -> TrainingSet {
        let (kept, erased) = std::mem::take(&mut self.images).into_iter().partition(|image| {
            learned.binary_search(&image.id).is_ok() || !image.tags.iter().any(|(tag, _)| tags.contains(tag))
        });
        self.images = kept;
        TrainingSet { images: erased }
    }

    /// How many images carry each tag.
    pub(crate) fn count_tags(&self) -> HashMap<Id, u64> {
        let mut counts = HashMap::new();
        for (tag, _) in self.images.iter().flat_map(|image| &image.tags) {
            *counts.entry(*tag).or_default() += 1;
        }
        counts
    }

    /// Images that carry at least one of `tags`.
    pub(crate) fn carrying<'a>(&'a self, tags: &'a [Id]) -> impl Iterator<Item = &'a SnapshotImage> {
        self.images.iter().filter(|image| image.tags.iter().any(|(tag, _)| tags.contains(tag)))
    }

    /// A digest of what matters to a model: which images, which tags, which boxes.
    pub(crate) fn add_to(&self, digest: &mut Sha256, tags: &[Id]) {
        for image in self.carrying(tags) {
            digest.update(image.id.as_bytes());
            let mut carried: Vec<&Id> =
                image.tags.iter().map(|(tag, _)| tag).filter(|tag| tags.contains(tag)).collect();
            carried.sort_unstable();
            carried.iter().for_each(|tag| digest.update(tag.as_bytes()));
            for region in image.regions.iter().filter(|region| tags.contains(&region.tag)) {
                digest.update(region.tag.as_bytes());
                for side in [region.left, region.top, region.width, region.height] {
                    digest.update(&side.to_le_bytes());
                }
            }
        }
    }
}

/// The project's tags in the order in which they were made: the order in which a model numbers them.
pub(crate) fn tags_of(tx: &mut Tx<'_>, project: Id) -> Result<Vec<Node<TagDoc>>> {
    tx.get::<Project>(project)?
        .ok_or_else(|| Error::not_found("there is no such project").code("NotFoundProject"))?;
    tx.children::<Tag>(project, Page::ALL)
}
