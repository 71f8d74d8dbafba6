//! Handing a container over to another holder.

use habeas_core::kinds::{AzureResource, Workspace};
use habeas_core::{Error, Id, Kind, Result, registry};

use super::holders::HolderState;
use super::{KEY_GONE, Tx};
use crate::{TaskKind, UNIQUE_VIOLATION};

/// The resource group in which a workspace stands at its new holder that had none before: a person's own is addressed without.
const GROUP: &str = "handed-over";

/// What was handed over.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Whose it is now.
    pub holder: Id,
    /// Resources that moved.
    pub resources: u64,
    /// The task that notes it in the ledger: it is committed with the transfer; [`crate::Store::finish_tasks`] runs it at once, the worker runs
    /// it otherwise.
    pub task: Id,
}

impl Tx<'_> {
    /// Moves a project into another account, or an account or a workspace to another holder, with all that stands under it. Its own key
    /// stays its own: an erasure of the holder before does not touch it any more. Refused while a hold keeps something of it, while the ledger
    /// does not know of the last transfer, and where there is one of that name.
    pub fn transfer(&mut self, resource: Id, parent: Id) -> Result<Transfer> {
        let gone = || {
            Error::not_found("there is no such project, account or workspace, or nothing to hand it over to")
        };
        let from = self.place(resource)?.ok_or_else(gone)?;
        let to = self.place(parent)?.ok_or_else(gone)?;
        let fits = match from.kind {
            Kind::Project => to.kind == Kind::Account,
            Kind::Account | Kind::Workspace | Kind::ExperimentationAccount | Kind::HostingAccount => {
                matches!(to.kind, Kind::Person | Kind::Organisation) && to.holder == parent
            }
            _ => false,
        };
        if !fits {
            return Err(Error::invalid(format!(
                "a {:?} cannot be handed over to a {:?}",
                from.kind, to.kind
            ))
            .hint("projects go to an account; accounts and workspaces to a person or an organisation"));
        }
        // The ledger's last word on it has to be the last transfer.
        if self.is_open(resource, TaskKind::RecordTransfer)? {
            return Err(Error::conflict("it was handed over just now, and that is not in the ledger yet")
                .hint("try again in a few seconds"));
        }
        self.require_removable(resource)?;
        self.require_active(to.holder)?;
        // Writers that saw it under the old holder have committed, or look again.
        self.set_holder_state(from.holder, from.state)?;
        let resources = self.move_subtree(resource, parent, to.holder)?;
        let payload = serde_json::json!({ "resource": resource, "parent": parent });
        let task = self.enqueue(TaskKind::RecordTransfer, Some(resource), &payload, self.now)?;
        match self.name_moved(resource).and_then(|()| self.mention_makers(resource, to.holder)) {
            Err(error) if error.code == Some(UNIQUE_VIOLATION) => {
                Err(Error::conflict("whom it should go to has a workspace or account of that name")
                    .hint("delete or rename one of the two first"))
            }
            renamed => renamed.map(|()| Transfer { holder: to.holder, resources, task }),
        }
    }

    /// Moves what was handed over after the backup that is being restored; nothing happens when one of the two is not there.
    pub(crate) fn transfer_again(&mut self, resource: Id, parent: Id) -> Result<()> {
        if self.position(resource)?.is_none() {
            return Ok(());
        }
        if let Some((_, _, holder)) = self.position(parent)? {
            self.move_subtree(resource, parent, holder)?;
            return match self.name_moved(resource).and_then(|()| self.mention_makers(resource, holder)) {
                // One of the two was erased since: it goes when the erasure is replayed.
                Err(error) if error.code == Some(KEY_GONE) => Ok(()),
                renamed => renamed,
            };
        }
        Ok(())
    }

    /// Writes the name of a container that was moved under the key of what it stands in now.
    fn name_moved(&mut self, resource: Id) -> Result<()> {
        self.address_workspace(resource)?;
        let Some(node) = self.raw(resource)? else { return Ok(()) };
        let Some(above) = node.parent.map(|parent| self.place(parent)).transpose()?.flatten() else {
            return Ok(());
        };
        let names = (above.container, above.generation);
        let name_mac = self.shared.name_mac_of(node.kind, names, node.parent, &node.doc)?;
        self.execute(
            "UPDATE resource SET name_mac = ?2 WHERE id = ?1",
            &[(&resource).into(), name_mac.as_ref().map(|mac| &mac[..]).into()],
        )
        .map(|_| ())
    }

    /// Mentions whoever made what was moved, now that somebody else holds it.
    fn mention_makers(&mut self, root: Id, holder: Id) -> Result<()> {
        for kind in Kind::ALL.iter().copied() {
            let ops = registry::ops(kind);
            if !ops.names_maker() {
                continue;
            }
            for (id, _) in self.ids_below(root, kind)? {
                let maker = match self.raw(id) {
                    Ok(Some(node)) => ops.maker(&node.doc)?,
                    Ok(None) => None,
                    // In a restore, what was erased since.
                    Err(error) if error.code == Some(KEY_GONE) => None,
                    Err(error) => return Err(error),
                };
                self.mention_maker(id, holder, maker)?;
            }
        }
        Ok(())
    }

    fn move_subtree(&mut self, resource: Id, parent: Id, holder: Id) -> Result<u64> {
        let moved = self.execute(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             UPDATE resource SET holder = ?2 WHERE id IN (SELECT id FROM subtree)",
            &[(&resource).into(), (&holder).into()],
        )?;
        self.execute(
            "UPDATE resource SET parent = ?2 WHERE id = ?1",
            &[(&resource).into(), (&parent).into()],
        )?;
        Ok(moved)
    }

    /// Gives a workspace that has none an address by which its new holder finds it.
    fn address_workspace(&mut self, resource: Id) -> Result<()> {
        let Some(mut node) = self.get::<Workspace>(resource)?.filter(|node| node.doc.azure.is_none()) else {
            return Ok(());
        };
        node.doc.name = format!("{}-{}", node.doc.name, &resource.to_hex()[24..]);
        node.doc.azure = Some(AzureResource {
            key: format!("{GROUP}/{}", node.doc.name.to_lowercase()),
            group: GROUP.to_owned(),
            ..AzureResource::default()
        });
        self.update::<Workspace>(&node).map(|_| ())
    }

    /// Whether a holder is there and may be written to.
    pub fn is_active(&mut self, holder: Id) -> Result<bool> {
        Ok(self.holder(holder)?.is_some_and(|(_, state)| state != HolderState::Frozen))
    }
}
