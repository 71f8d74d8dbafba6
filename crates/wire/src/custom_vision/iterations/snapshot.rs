//! What an iteration was trained on, read like the workspace.
//!
//! Images that were deleted from the workspace since are still there; images that were erased are not. The tags are those that the
//! iteration was trained on, with the names that they had.

use std::collections::HashMap;
use std::sync::Arc;

use habeas_access::Permission;
use habeas_core::kinds::{ImageDoc, IterationTag};
use habeas_core::{Id, Kind, Node, Result};
use habeas_models::{TrainingSet, find_image};
use habeas_store::{Order, Page, Tx};
use serde_json::{Value, json};

use super::super::addresses::Signer;
use super::super::caller::Call;
use super::super::list::{Which, image_shape};
use super::{find, is_workspace};

/// The images and tags of an iteration.
pub(in crate::custom_vision) struct Snapshot {
    tags: Vec<IterationTag>,
    set: Arc<TrainingSet>,
}

impl Snapshot {
    /// The one that `iterationId` asks for; none for the workspace.
    pub(in crate::custom_vision) async fn asked_for(call: &Call) -> Result<Option<Snapshot>> {
        match call.query.id("iterationId")? {
            Some(iteration) if !is_workspace(call.version, call.project()?, iteration) => {
                Snapshot::of(call, iteration).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// That of an iteration in the project of the path.
    pub(super) async fn of(call: &Call, iteration: Id) -> Result<Snapshot> {
        let (actor, project) = (call.actor, call.project()?);
        let look = || call.app.store().read(move |tx| find(tx, &actor, project, iteration, Permission::Read));
        let mut node = look().await?;
        loop {
            match call.app.models().labelled_snapshot(&node).await {
                Ok(set) => return Ok(Snapshot { tags: node.doc.tags, set }),
                // Unlearning replaces the stored snapshot, and may just have done so.
                Err(error) => {
                    let now = look().await?;
                    if now.version == node.version {
                        return Err(error);
                    }
                    node = now;
                }
            }
        }
    }

    /// The images that are still there, of the project alone: a base model's images of other projects are not its own.
    pub(in crate::custom_vision) fn ids(
        &self,
        tx: &mut Tx<'_>,
        project: Id,
        which: &Which,
        order: Order,
    ) -> Result<Vec<Id>> {
        let mut present = tx.children_ids(project, Kind::Image)?;
        present.extend(tx.children_ids(project, Kind::KeptImage)?);
        present.retain(|(_, id)| self.set.image(*id).is_some_and(|image| which.holds(&image.tags)));
        present.sort_unstable();
        if order == Order::Newest {
            present.reverse();
        }
        Ok(present.into_iter().map(|(_, id)| id).collect())
    }

    /// Opens one page of `ids`.
    pub(in crate::custom_vision) fn open(
        tx: &mut Tx<'_>,
        ids: &[Id],
        page: Page,
    ) -> Result<Vec<Node<ImageDoc>>> {
        let skip = usize::try_from(page.skip).unwrap_or(usize::MAX);
        let take = usize::try_from(page.take).unwrap_or(usize::MAX);
        let mut nodes = Vec::new();
        for id in ids.iter().skip(skip).take(take) {
            nodes.extend(find_image(tx, *id)?);
        }
        Ok(nodes)
    }

    /// An image of the snapshot that is still there.
    pub(in crate::custom_vision) fn image(
        &self,
        tx: &mut Tx<'_>,
        project: Id,
        id: Id,
    ) -> Result<Option<Node<ImageDoc>>> {
        if self.set.image(id).is_none() {
            return Ok(None);
        }
        Ok(find_image(tx, id)?.filter(|node| node.parent == Some(project)))
    }

    /// Images in the newest shape, with the tags and regions that they had.
    pub(in crate::custom_vision) fn shapes(
        &self,
        project: Id,
        nodes: &[Node<ImageDoc>],
        signer: &Signer,
    ) -> Vec<Value> {
        let names = self.tags.iter().map(|tag| (tag.id, tag.name.clone())).collect();
        nodes
            .iter()
            .filter_map(|node| {
                let image = self.set.image(node.id)?;
                Some(image_shape(project, node, &image.tags, &image.regions, &names, signer))
            })
            .collect()
    }

    /// The tags by name, in the newest shape; and how many images have a tag and how many have none.
    pub(in crate::custom_vision) fn tag_shapes(
        &self,
        tx: &mut Tx<'_>,
        project: Id,
    ) -> Result<(Vec<Value>, u64, u64)> {
        let mut counts: HashMap<Id, u64> = HashMap::new();
        let (mut tagged, mut untagged) = (0, 0);
        for id in self.ids(tx, project, &Which::All, Order::Oldest)? {
            let tags = self.set.image(id).map_or(&[][..], |image| &image.tags);
            if tags.is_empty() {
                untagged += 1;
            } else {
                tagged += 1;
            }
            for (tag, _) in tags {
                *counts.entry(*tag).or_default() += 1;
            }
        }
        let mut tags: Vec<&IterationTag> = self.tags.iter().collect();
        tags.sort_by(|left, right| left.name.cmp(&right.name));
        let shapes = tags
            .into_iter()
            .map(|tag| {
                json!({
                    "id": tag.id,
                    "name": tag.name,
                    "description": tag.description,
                    "type": tag.tag_type.name(),
                    "imageCount": counts.get(&tag.id).copied().unwrap_or(0),
                })
            })
            .collect();
        Ok((shapes, tagged, untagged))
    }
}
