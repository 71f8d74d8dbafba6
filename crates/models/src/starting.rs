//! Starting a training: what is checked before, and the snapshot that is taken.

use habeas_core::crypto::Sha256;
use habeas_core::kinds::{
    BaseModel, Iteration, IterationDoc, IterationStatus, IterationTag, Project, ProjectDoc, ProjectStatus,
    Region, TagType, TrainingType,
};
use habeas_core::node::Relation;
use habeas_core::{BlobRef, Error, Id, Node, Result};
use habeas_store::{New, Order, Page, TaskKind, Tx};

use crate::Models;
use crate::compute::Compute;
use crate::restricting::require_unrestricted;
use crate::training_set::{SnapshotImage, TrainingSet, tags_of};

/// What a caller asks of a training.
#[derive(Clone, Debug)]
pub struct TrainingRequest {
    /// How much to try.
    pub training_type: TrainingType,
    /// Hours that it may take; 0 for no limit.
    pub reserved_budget_in_hours: u32,
    /// Train although nothing changed since the last training.
    pub force: bool,
    /// Whom to tell when it ends.
    pub notification_email: Option<String>,
    /// Train on these tags only; all when empty.
    pub selected_tags: Vec<Id>,
    /// Learn also from the images of this iteration, as far as its tags have names of tags here.
    pub base: Option<BaseModel>,
    /// Who asks.
    pub created_by: Option<Id>,
}

/// How many images a tag needs, and how many iterations a project may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingLimits {
    /// Images of each tag of a classifier.
    pub images_per_tag: u64,
    /// Images of each tag of a detector.
    pub images_per_detected_tag: u64,
    /// Tags of a classifier.
    pub tags: usize,
    /// Iterations of a project; none for no limit.
    pub iterations: Option<u64>,
}

impl Default for TrainingLimits {
    /// Microsoft's numbers, and no limit of iterations.
    fn default() -> TrainingLimits {
        TrainingLimits { images_per_tag: 5, images_per_detected_tag: 15, tags: 2, iterations: None }
    }
}

/// A training that was checked: everything but the stored snapshot.
struct Prepared {
    doc: IterationDoc,
    set: TrainingSet,
    learned: Vec<Id>,
}

impl Models {
    /// Takes a snapshot of the project and enqueues its training. The caller has checked that this actor may; the answer is an
    /// iteration whose status is `Training`. Errors carry the protocol's codes: nothing changed, too few images, a training in
    /// progress, too many iterations.
    pub async fn start_training(&self, project: Id, request: TrainingRequest) -> Result<Node<IterationDoc>> {
        let limits = self.limits();
        let base = match request.base {
            Some(base) => Some(self.base(base).await?),
            None => None,
        };
        let compute = self.inner.compute.clone();
        let prepared = self
            .store()
            .read(move |tx| prepare(tx, project, &request, base.as_ref(), &limits, &compute))
            .await?;
        let bytes = prepared.set.to_bytes()?;
        let blob = BlobRef::new(self.store().ambient(), bytes.len() as u64, "application/json");
        let announced = blob.clone();
        self.store().write(move |tx| tx.announce_blobs(project, &[&announced])).await?;
        self.store().put_announced(&blob, &bytes).await?;
        let Prepared { mut doc, learned, .. } = prepared;
        doc.training_set = Some(blob.clone());
        let node = self
            .store()
            .write(move |tx| {
                refuse_second(tx, project)?;
                let id = tx.new_id();
                let node = tx.create::<Iteration>(New::under(project, id, doc.clone()))?;
                tx.attach_blobs(id, &[&blob])?;
                for image in &learned {
                    // One that was deleted since the snapshot is not learned from.
                    if tx.position(*image)?.is_some() {
                        tx.connect(id, *image, Relation::LearnedFrom)?;
                    }
                }
                let now = tx.now();
                tx.enqueue(TaskKind::Train, Some(id), &serde_json::json!({ "iteration": id }), now)?;
                Ok(node)
            })
            .await?;
        self.wake();
        Ok(node)
    }

    async fn base(&self, base: BaseModel) -> Result<Base> {
        let (node, learned) = self
            .store()
            .read(move |tx| {
                let node = tx
                    .get::<Iteration>(base.iteration)?
                    .filter(|node| node.parent == Some(base.project))
                    .ok_or_else(|| {
                        Error::not_found("there is no such base iteration").code("NotFoundIteration")
                    })?;
                let learned = tx.targets(base.iteration, Relation::LearnedFrom)?;
                Ok((node, learned.into_iter().map(|(image, _)| image).collect()))
            })
            .await?;
        match (&node.doc.status, &node.doc.training_set) {
            (IterationStatus::Completed, Some(blob)) => {
                let set = TrainingSet::load(self.store(), blob).await?;
                Ok(Base { node, set, learned })
            }
            _ => Err(Error::invalid("the base iteration is not trained")
                .code("BadRequestCustomBaseModelIterationStatusNotCompleted")),
        }
    }
}

fn refuse_second(tx: &mut Tx<'_>, project: Id) -> Result<()> {
    let training = tx
        .children::<Iteration>(project, Page::ALL)?
        .iter()
        .any(|node| node.doc.status == IterationStatus::Training);
    if training {
        return Err(Error::invalid("a training of this project is in progress")
            .hint("wait for it, or delete that iteration to cancel it")
            .code("BadRequestTrainingAlreadyInProgress"));
    }
    Ok(())
}

fn prepare(
    tx: &mut Tx<'_>,
    project: Id,
    request: &TrainingRequest,
    base: Option<&Base>,
    limits: &TrainingLimits,
    compute: &Compute,
) -> Result<Prepared> {
    let node = tx
        .get::<Project>(project)?
        .ok_or_else(|| Error::not_found("there is no such project").code("NotFoundProject"))?;
    if node.doc.status == ProjectStatus::Importing {
        return Err(Error::invalid("the project is still being imported")
            .hint("wait until its status is `Succeeded`")
            .code("BadRequestTrainingValidationFailed"));
    }
    refuse_second(tx, project)?;
    let iterations = tx.children::<Iteration>(project, Page { order: Order::Newest, ..Page::ALL })?;
    if let Some(most) = limits.iterations.filter(|most| iterations.len() as u64 >= *most) {
        return Err(Error::limit(format!("the project has {most} iterations, the most it may have"))
            .hint("delete one that is not needed")
            .code("BadRequestExceedIterationPerProjectLimit"));
    }
    let mut set = TrainingSet::of_workspace(tx, project)?;
    let tags = chosen_tags(tx, project, &node.doc, request, &set, limits)?;
    let ids: Vec<Id> = tags.iter().map(|tag| tag.id).collect();
    if node.doc.classification_type.as_deref() == Some("Multiclass") {
        require_one_tag_each(&set, &ids)?;
    }
    if let Some(base) = base {
        if base.node.doc.classification_type.is_none() != node.doc.classification_type.is_none() {
            return Err(Error::invalid("the base iteration is of another type of domain")
                .code("BadRequestCustomBaseModelDomainNotCompatible"));
        }
        base.add_to(&mut set, &tags);
    }
    set.keep_labels(&ids);
    let training_digest = digest_of(
        node.doc.domain,
        node.doc.classification_type.as_deref(),
        request.training_type,
        &ids,
        &set,
    );
    // Another extractor would change everything.
    let extractor = compute
        .extractor_for(node.doc.domain, node.doc.classification_type.as_deref(), request.training_type)
        .name();
    let unchanged = iterations
        .iter()
        .find(|iteration| iteration.doc.status == IterationStatus::Completed)
        .is_some_and(|last| {
            last.doc.training_digest == training_digest
                && last.doc.model.as_ref().is_none_or(|model| model.extractor == extractor)
        });
    if unchanged && !request.force {
        // Programs match on these words.
        return Err(Error::invalid("Nothing changed since last training").code("BadRequestTrainingNotNeeded"));
    }
    let learned: Vec<Id> = set.carrying(&ids).map(|image| image.id).collect();
    require_unrestricted(tx, &learned)?;
    let doc = IterationDoc {
        name: next_name(&iterations),
        status: IterationStatus::Training,
        domain: node.doc.domain,
        classification_type: node.doc.classification_type.clone(),
        training_type: request.training_type,
        reserved_budget_in_hours: request.reserved_budget_in_hours,
        notification_email: request.notification_email.clone(),
        base: request.base,
        trained_at: None,
        training_minutes: 0,
        error: None,
        is_default: false,
        publish_name: None,
        publish_resource: None,
        tags,
        training_digest,
        training_set: None,
        model: None,
        imported: None,
        created_by: request.created_by,
    };
    Ok(Prepared { doc, set, learned })
}

/// `Iteration N`, one more than the highest there is.
pub fn next_name(iterations: &[Node<IterationDoc>]) -> String {
    let highest = iterations
        .iter()
        .filter_map(|node| node.doc.name.strip_prefix("Iteration ")?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    format!("Iteration {}", highest.saturating_add(1))
}

fn not_enough(hint: String, detection: bool) -> Error {
    let code = if detection {
        "BadRequestDetectionTrainingValidationFailed"
    } else {
        "BadRequestClassificationTrainingValidationFailed"
    };
    // The first words are those that programs match on.
    Error::invalid("Not enough images for training").hint(hint).code(code)
}

fn chosen_tags(
    tx: &mut Tx<'_>,
    project: Id,
    doc: &ProjectDoc,
    request: &TrainingRequest,
    set: &TrainingSet,
    limits: &TrainingLimits,
) -> Result<Vec<IterationTag>> {
    let detection = doc.classification_type.is_none();
    let all = tags_of(tx, project)?;
    if let Some(unknown) = request.selected_tags.iter().find(|id| !all.iter().any(|tag| tag.id == **id)) {
        return Err(Error::invalid(format!(
            "`selectedTags` names {unknown}, which is no tag of this project"
        ))
        .code("BadRequestInvalidIds"));
    }
    let counts = set.count_tags();
    let count = |id: &Id| counts.get(id).copied().unwrap_or(0);
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|tag| {
            if request.selected_tags.is_empty() {
                count(&tag.id) > 0
            } else {
                request.selected_tags.contains(&tag.id)
            }
        })
        .collect();
    if detection && chosen.iter().any(|tag| tag.doc.tag_type == TagType::Negative) {
        return Err(Error::invalid("a detector cannot be trained with a negative tag")
            .hint("delete the negative tag or leave it out of `selectedTags`")
            .code("BadRequestDetectionTrainingNotAllowNegativeTag"));
    }
    let (least_images, least_tags) =
        if detection { (limits.images_per_detected_tag, 1) } else { (limits.images_per_tag, limits.tags) };
    if let Some(tag) = chosen.iter().find(|tag| count(&tag.id) < least_images) {
        return Err(not_enough(
            format!("tag {} has {} images, each needs {least_images}", tag.id, count(&tag.id)),
            detection,
        ));
    }
    if chosen.len() < least_tags {
        return Err(not_enough(
            format!(
                "{} tags have images, {least_tags} are needed, each with {least_images} images",
                chosen.len()
            ),
            detection,
        ));
    }
    Ok(chosen
        .into_iter()
        .map(|tag| IterationTag {
            image_count: count(&tag.id),
            id: tag.id,
            name: tag.doc.name,
            description: tag.doc.description,
            tag_type: tag.doc.tag_type,
        })
        .collect())
}

fn require_one_tag_each(set: &TrainingSet, tags: &[Id]) -> Result<()> {
    let several = set
        .carrying(tags)
        .filter(|image| image.tags.iter().filter(|(tag, _)| tags.contains(tag)).count() > 1)
        .count();
    if several > 0 {
        return Err(Error::invalid(format!(
            "{several} images have more than one tag, and the project is `Multiclass`"
        ))
        .hint("remove tags, or set classificationType to `Multilabel`")
        .code("BadRequestMultiClassClassificationTrainingValidationFailed"));
    }
    Ok(())
}

/// The iteration that a training builds on, and what it learned from.
#[derive(Clone)]
struct Base {
    node: Node<IterationDoc>,
    set: TrainingSet,
    /// What it still has: images erased since are in the snapshot only.
    learned: Vec<Id>,
}

impl Base {
    /// Adds its images under the tags here that have the same names.
    fn add_to(&self, set: &mut TrainingSet, tags: &[IterationTag]) {
        let here = |id: Id| {
            let name = &self.node.doc.tags.iter().find(|tag| tag.id == id)?.name;
            tags.iter().find(|tag| tag.name == *name).map(|tag| tag.id)
        };
        for image in self.set.images.iter().filter(|image| self.learned.contains(&image.id)) {
            if set.images.iter().any(|own| own.id == image.id) {
                continue;
            }
            let carried: Vec<_> =
                image.tags.iter().filter_map(|(tag, since)| Some((here(*tag)?, *since))).collect();
            let regions = image
                .regions
                .iter()
                .filter_map(|region| Some(Region { tag: here(region.tag)?, ..region.clone() }))
                .collect();
            if !carried.is_empty() {
                set.images.push(SnapshotImage { id: image.id, tags: carried, regions });
            }
        }
        set.images.sort_by_key(|image| image.id);
    }
}

/// A digest of what a training depends on, in hexadecimal.
pub(crate) fn digest_of(
    domain: Id,
    classification_type: Option<&str>,
    training_type: TrainingType,
    tags: &[Id],
    set: &TrainingSet,
) -> String {
    let mut digest = Sha256::default();
    digest.update(domain.as_bytes());
    digest.update(classification_type.unwrap_or_default().as_bytes());
    digest.update(training_type.name().as_bytes());
    for tag in tags {
        digest.update(tag.as_bytes());
    }
    set.add_to(&mut digest, tags);
    hex::encode(digest.finish())
}
