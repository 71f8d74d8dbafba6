//! Iterations after their training: publishing, snapshots, deletion; images that leave the workspace.

use habeas_core::kinds::{Image, ImageDoc, Iteration, IterationDoc, IterationStatus, KeptImage};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Node, Result};
use habeas_store::{Page, Removed, Tx};

use crate::{Models, TrainingSet};

/// The image with this id, in the workspace or kept by iterations.
pub fn find_image(tx: &mut Tx<'_>, id: Id) -> Result<Option<Node<ImageDoc>>> {
    match tx.get::<Image>(id)? {
        Some(node) => Ok(Some(node)),
        None => tx.get::<KeptImage>(id),
    }
}

/// The iteration of a project, or the protocol's 404.
pub fn find_iteration(tx: &mut Tx<'_>, project: Id, iteration: Id) -> Result<Node<IterationDoc>> {
    tx.get::<Iteration>(iteration)?.filter(|node| node.parent == Some(project)).ok_or_else(no_iteration)
}

/// `NotFoundIteration`, in the words that programs match on.
pub fn no_iteration() -> Error {
    Error::not_found("Invalid iteration").code("NotFoundIteration")
}

/// Takes an image out of the workspace: it goes for good unless an iteration learned from it, which then keeps it. What was removed; none
/// when it is kept.
pub fn leave_workspace(tx: &mut Tx<'_>, image: Id) -> Result<Option<Removed>> {
    if tx.count_sources(image, Relation::LearnedFrom)? == 0 {
        return tx.remove(image).map(Some);
    }
    let Some(mut node) = tx.get::<Image>(image)? else { return Ok(None) };
    for (tag, _) in tx.targets(image, Relation::Tagged)? {
        tx.disconnect(image, tag, Relation::Tagged)?;
    }
    node.doc.regions.clear();
    tx.change_kind::<Image, KeptImage>(&node)?;
    Ok(None)
}

/// Publishes an iteration under a name that no other iteration of the project has, unless `overwrite` moves it.
pub fn publish(
    tx: &mut Tx<'_>,
    node: &Node<IterationDoc>,
    name: &str,
    resource: &str,
    overwrite: bool,
) -> Result<()> {
    if node.doc.status != IterationStatus::Completed {
        return Err(Error::invalid("the iteration is not trained").code("BadRequestIterationIsNotTrained"));
    }
    if let Some(present) = &node.doc.publish_name
        && !(overwrite && present == name)
    {
        // Programs match on these words.
        return Err(Error::invalid(format!("Iteration is already published as: {present}"))
            .code("BadRequestIterationIsPublished"));
    }
    let project = node.parent.unwrap_or(Id::NIL);
    if let Some(mut other) = tx.child_by_name::<Iteration>(project, name)?
        && other.id != node.id
    {
        if !overwrite {
            return Err(Error::invalid(format!("the name `{name}` is taken by iteration {}", other.id))
                .hint("choose another name, or send overwrite=true to move it")
                .code("BadRequestInvalidPublishName"));
        }
        other.doc.publish_name = None;
        other.doc.publish_resource = None;
        tx.update::<Iteration>(&other)?;
    }
    let mut node = node.clone();
    node.doc.publish_name = Some(name.to_owned());
    node.doc.publish_resource = Some(resource.to_owned());
    tx.update::<Iteration>(&node).map(|_| ())
}

/// Ends the publication of an iteration.
pub fn unpublish(tx: &mut Tx<'_>, node: &Node<IterationDoc>) -> Result<()> {
    if node.doc.publish_name.is_none() {
        return Err(Error::invalid("the iteration is not published").code("BadRequestIterationNotPublished"));
    }
    let mut node = node.clone();
    node.doc.publish_name = None;
    node.doc.publish_resource = None;
    tx.update::<Iteration>(&node).map(|_| ())
}

/// Makes an iteration the one that API versions before 3.0 ask by default.
pub fn make_default(tx: &mut Tx<'_>, node: &Node<IterationDoc>) -> Result<Node<IterationDoc>> {
    if node.doc.status != IterationStatus::Completed {
        return Err(Error::invalid("the iteration is not trained").code("BadRequestIterationIsNotTrained"));
    }
    for mut other in tx.children::<Iteration>(node.parent.unwrap_or(Id::NIL), Page::ALL)? {
        if other.doc.is_default && other.id != node.id {
            other.doc.is_default = false;
            tx.update::<Iteration>(&other)?;
        }
    }
    let mut node = node.clone();
    node.doc.is_default = true;
    tx.update::<Iteration>(&node)
}

/// Deletes an iteration that is not published, with its exports and the images that nothing but it has kept. Of one in training this is how
/// the training is cancelled.
pub fn delete(tx: &mut Tx<'_>, node: &Node<IterationDoc>) -> Result<Vec<Removed>> {
    if let Some(name) = &node.doc.publish_name {
        return Err(Error::invalid(format!("Iteration is already published as: {name}"))
            .hint("unpublish it first")
            .code("BadRequestIterationIsPublished"));
    }
    let learned = tx.targets(node.id, Relation::LearnedFrom)?;
    let mut removed = vec![tx.remove(node.id)?];
    for (image, _) in learned {
        let is_kept = matches!(tx.position(image)?, Some((habeas_core::Kind::KeptImage, _, _)));
        if is_kept && tx.count_sources(image, Relation::LearnedFrom)? == 0 {
            removed.push(tx.remove(image)?);
        }
    }
    Ok(removed)
}

impl Models {
    /// What an iteration was trained on, without what was erased since.
    pub async fn snapshot(&self, iteration: &Node<IterationDoc>) -> Result<TrainingSet> {
        match &iteration.doc.training_set {
            Some(blob) => TrainingSet::load(self.store(), blob).await,
            None => Ok(TrainingSet::default()),
        }
    }
}
