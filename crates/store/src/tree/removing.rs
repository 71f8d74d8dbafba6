//! What a removal takes with it, and removing many resources as one.

use habeas_core::{Error, Id, Kind, Result};

use super::nodes::{Place, Removed};
use super::{Going, Tx};
use crate::tasks::TaskKind;

/// Blobs that one task deletes.
const BLOBS_PER_TASK: usize = 500;
/// Items that one record of the ledger notes: a record has a longest length.
const ITEMS_PER_RECORD: usize = 100_000;

/// What stands under what is removed.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The resources, those that are removed among them.
    pub(super) resources: Vec<Id>,
    /// The containers among them.
    pub(super) containers: Vec<Id>,
    /// Their files.
    pub(super) blobs: Vec<Id>,
}

impl Gone {
    /// The removal that took it.
    pub(super) fn removed(&self, tasks: Vec<Id>, learners: Vec<Id>) -> Removed {
        Removed { resources: self.resources.len() as u64, blobs: self.blobs.len() as u64, tasks, learners }
    }
}

impl Tx<'_> {
    /// Removes many resources that are no containers and stand in one, such as runs of an experiment, with all that stands under them. What
    /// follows is the same as from [`Tx::remove`], and follows once for all of them; what is not there is passed over.
    pub fn remove_all(&mut self, ids: &[Id]) -> Result<Removed> {
        let mut first: Option<(Id, Place)> = None;
        for &id in ids {
            let Some(place) = self.place(id)? else { continue };
            self.require_removable(id)?;
            let (_, common) = first.get_or_insert((id, place));
            if place.kind.is_container() || place.container != common.container {
                return Err(Error::internal("only what stands in one container is removed as one"));
            }
        }
        match first {
            Some((id, place)) => {
                let (gone, learners) = self.take_out(ids, place.holder)?;
                let mut tasks = self.purge(place.holder, &gone.blobs)?;
                tasks.extend(self.note_items(id, &place, &gone.resources)?);
                Ok(gone.removed(tasks, learners))
            }
            None => Ok(Removed::default()),
        }
    }

    /// Takes resources of a holder out of the tree with all that stands under them: what went, and the iterations that are solved again without
    /// it. What was made from it is marked, and its owners are written to, once for all of it.
    pub(super) fn take_out(&mut self, ids: &[Id], holder: Id) -> Result<(Gone, Vec<Id>)> {
        let (mut gone, mut learners, mut marked) = (Gone::default(), Vec::new(), Vec::new());
        for &id in ids {
            self.gather(id, &mut gone)?;
            learners.extend(self.schedule_forgetting(id)?);
            marked.extend(self.mark(Going::Below(id))?);
            self.execute("DELETE FROM resource WHERE id = ?1", &[(&id).into()])?;
        }
        self.tell_owners(&marked, holder)?;
        gone.resources.sort_unstable();
        learners.sort_unstable();
        learners.dedup();
        Ok((gone, learners))
    }

    /// Adds what stands under `id`, and itself.
    pub(super) fn gather(&mut self, id: Id, gone: &mut Gone) -> Result<()> {
        let rows = self.query(
            "WITH RECURSIVE subtree (id, kind) AS (
                 SELECT id, kind FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id, r.kind FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT s.id, s.kind, b.id FROM subtree s LEFT JOIN blob b ON b.resource = s.id",
            &[(&id).into()],
        )?;
        let mut resources: Vec<Id> = Vec::new();
        for row in &rows {
            let resource = row.id(0)?;
            if resources.last() != Some(&resource) {
                resources.push(resource);
                if Kind::from_number(row.int(1)?)?.is_container() && !gone.containers.contains(&resource) {
                    gone.containers.push(resource);
                }
            }
            gone.blobs.extend(row.optional_id(2)?);
        }
        resources.sort_unstable();
        resources.dedup();
        gone.resources.append(&mut resources);
        Ok(())
    }

    /// The tasks that delete blobs.
    pub(super) fn purge(&mut self, holder: Id, blobs: &[Id]) -> Result<Vec<Id>> {
        let now = self.now;
        blobs
            .chunks(BLOBS_PER_TASK)
            .map(|chunk| {
                let payload = serde_json::json!({ "blobs": chunk });
                self.enqueue(TaskKind::PurgeBlobs, Some(holder), &payload, now)
            })
            .collect()
    }

    /// The tasks that note in the ledger that items of a container are gone; the container gets a new key.
    pub(super) fn note_items(&mut self, subject: Id, place: &Place, items: &[Id]) -> Result<Vec<Id>> {
        let now = self.now;
        let tasks = items
            .chunks(ITEMS_PER_RECORD)
            .map(|chunk| {
                let payload = serde_json::json!({ "container": place.container, "items": chunk });
                self.enqueue(TaskKind::RecordErasure, Some(subject), &payload, now)
            })
            .collect::<Result<Vec<Id>>>()?;
        // A person's own container loses tokens, telemetry, archives and case files by themselves: their secrets are dead or their
        // files gone with them, and a new key each day would make every older backup of the person unreadable.
        if !matches!(
            place.kind,
            Kind::Credential
                | Kind::Token
                | Kind::Telemetry
                | Kind::ExportArchive
                | Kind::Receipt
                | Kind::OAuthGrant
                | Kind::AuthorizationCode
                | Kind::DeviceCode
                | Kind::Request
                | Kind::CaseFile
                // It holds random ids only, and many come and go.
                | Kind::Notification
        ) {
            self.schedule_resealing(place.container)?;
        }
        Ok(tasks)
    }
}
