//! Images of others that show a person: found by mention, and in an erasure of the person freed of their name or, if the plan says so, erased.

use std::collections::BTreeSet;

use habeas_access::depicted;
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Image, KeptImage};
use habeas_core::node::Relation;
use habeas_core::{Error, ErrorKind, Id, Kind, Result, fault};
use habeas_store::Tx;

use crate::Rights;
use crate::erasure::ErasureTask;

/// Images of others that show `person`, in the order of ids.
pub(crate) fn images(tx: &mut Tx<'_>, person: Id) -> Result<BTreeSet<Id>> {
    let mentions = tx.mentions_of(person)?.into_iter();
    Ok(mentions
        .filter(|mention| mention.role == MentionRole::Depicted && mention.holder != person)
        .map(|mention| mention.resource)
        .collect())
}

impl Rights {
    /// Erases the images that show the person, when their plan says so, and takes their name out of the metadata of the others. Repeatable.
    /// `id` is the task's.
    pub(crate) async fn forget_depicted(&self, id: Id, task: &mut ErasureTask) -> Result<()> {
        let person = task.person;
        let shown = self.store.read(move |tx| images(tx, person)).await?;
        if task.decisions.erase_depicted && !shown.is_empty() {
            let shown: Vec<Id> = shown.into_iter().collect();
            // Noted before the images go: afterwards nothing says any more which models had learned from them.
            let (going, held) = (shown.clone(), task.held_copies.clone());
            let learners = self
                .store
                .read(move |tx| {
                    let mut learners = BTreeSet::new();
                    for image in habeas_models::with_copies(tx, &going)? {
                        if !held.contains(&image) {
                            learners.extend(tx.sources(image, Relation::LearnedFrom)?);
                        }
                    }
                    Ok(learners)
                })
                .await?;
            task.subtracted.extend(
                learners.into_iter().filter(|one| !task.subtracted.contains(one)).collect::<Vec<_>>(),
            );
            let noted = serde_json::to_value(&*task)?;
            self.store.write(move |tx| tx.progress(id, &noted)).await?;
            self.models.erase_images_except(&shown, &task.held_copies).await?;
        }
        fault::point("erase.depicted_erased");
        self.forget_names(person).await?;
        // What is uploaded or copied meanwhile ties them anew.
        match self.store.read(move |tx| images(tx, person)).await?.len() {
            0 => Ok(()),
            left => Err(Error::unavailable(format!("{left} images of others still name the person"))),
        }
    }

    /// Takes a person's name out of the metadata of the images of others that show them, and unties them. Repeatable.
    pub(crate) async fn forget_names(&self, person: Id) -> Result<()> {
        for image in self.store.read(move |tx| images(tx, person)).await? {
            self.unname(person, image).await?;
        }
        Ok(())
    }

    /// Takes a person's name out of the metadata of an image.
    async fn unname(&self, person: Id, image: Id) -> Result<()> {
        let key = self.models.depicts_key().to_owned();
        let untie = move |tx: &mut Tx<'_>| tx.unmention(image, person, MentionRole::Depicted).map(drop);
        let done = self
            .store
            .write(move |tx| {
                untie(tx)?;
                let Some(mut node) = habeas_models::find_image(tx, image)? else { return Ok(()) };
                if !depicted::unname(tx, node.holder, &mut node.doc.metadata, &key, person)? {
                    return Ok(());
                }
                // Also while its holder is being erased: that may be called off, or a hold keep the image.
                match node.kind {
                    Kind::KeptImage => tx.update_also_frozen::<KeptImage>(&node)?,
                    _ => tx.update_also_frozen::<Image>(&node)?,
                }
                tx.schedule_resealing(node.container)
            })
            .await;
        match done {
            // Its keys are destroyed: nobody reads that name any more.
            Err(error) if error.kind == ErrorKind::Frozen => self.store.write(untie).await,
            result => result,
        }
    }
}
