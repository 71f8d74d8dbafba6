//! Handing a container over to another holder.

use habeas_core::kinds::{AzureResource, Workspace};
use habeas_core::{Error, Id, Kind, Result};

use super::Tx;
use super::holders::HolderState;
use super::nodes::Place;

/// The resource group in which a workspace stands at its new holder that had none before: a person's own is addressed without.
const GROUP: &str = "handed-over";

impl Tx<'_> {
    /// Moves a project into another account, or an account or a workspace to another holder, with all that stands under it. Its own key stays
    /// its own: an erasure of the holder before does not touch it any more. Returns the new holder and how many resources moved; refused while
    /// a hold keeps something of it, and when the new holder has a workspace of the same name.
    pub fn transfer(&mut self, resource: Id, parent: Id) -> Result<(Id, u64)> {
        let gone = || {
            Error::not_found("there is no such project, account or workspace, or nothing to hand it over to")
        };
        let from = self.place(resource)?.ok_or_else(gone)?;
        let to = self.place(parent)?.ok_or_else(gone)?;
        let fits = match from.kind {
            Kind::Project => to.kind == Kind::Account,
            Kind::Account | Kind::Workspace => {
                matches!(to.kind, Kind::Person | Kind::Organisation) && to.holder == parent
            }
            _ => false,
        };
        if !fits {
            return Err(Error::invalid(format!(
                "a {:?} cannot be handed over to a {:?}",
                from.kind, to.kind
            ))
            .hint("projects go to an account, accounts and workspaces to a person or an organisation"));
        }
        self.require_removable(resource)?;
        self.require_active(to.holder)?;
        // Writers that saw it under the old holder have committed, or look again.
        self.set_holder_state(from.holder, from.state)?;
        let moved = self.move_subtree(resource, parent, &to)?;
        Ok((to.holder, moved))
    }

    /// Moves what was handed over after the backup that is being restored; nothing happens when one of the two is not there.
    pub(crate) fn transfer_again(&mut self, resource: Id, parent: Id) -> Result<()> {
        if self.position(resource)?.is_none() {
            return Ok(());
        }
        if let Some(to) = self.place(parent)? {
            self.move_subtree(resource, parent, &to)?;
        }
        Ok(())
    }

    fn move_subtree(&mut self, resource: Id, parent: Id, to: &Place) -> Result<u64> {
        let moved = self.execute(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             UPDATE resource SET holder = ?2 WHERE id IN (SELECT id FROM subtree)",
            &[(&resource).into(), (&to.holder).into()],
        )?;
        self.execute(
            "UPDATE resource SET parent = ?2, name_mac = NULL WHERE id = ?1",
            &[(&resource).into(), (&parent).into()],
        )?;
        self.name_among_siblings(resource, parent, to)?;
        Ok(moved)
    }

    /// Names a resource among its new siblings, whose names are under the key of what they stand in; the one it had may be under a key that
    /// is destroyed. A workspace that has no address gets one by which its new holder finds it.
    fn name_among_siblings(&mut self, resource: Id, parent: Id, to: &Place) -> Result<()> {
        if let Some(mut node) = self.get::<Workspace>(resource)?.filter(|node| node.doc.azure.is_none()) {
            node.doc.name = format!("{}-{}", node.doc.name, &resource.to_hex()[24..]);
            node.doc.azure = Some(AzureResource {
                key: format!("{GROUP}/{}", node.doc.name.to_lowercase()),
                group: GROUP.to_owned(),
                ..AzureResource::default()
            });
            return self.update::<Workspace>(&node).map(|_| ());
        }
        let Some(node) = self.raw(resource)? else { return Ok(()) };
        let names = (to.container, to.generation);
        let name_mac = self.shared.name_mac_of(node.kind, names, Some(parent), &node.doc)?;
        self.execute(
            "UPDATE resource SET name_mac = ?2 WHERE id = ?1",
            &[(&resource).into(), name_mac.as_ref().map(|mac| &mac[..]).into()],
        )?;
        Ok(())
    }

    /// Whether a holder is there and may be written to.
    pub fn is_active(&mut self, holder: Id) -> Result<bool> {
        Ok(self.holder(holder)?.is_some_and(|(_, state)| state != HolderState::Frozen))
    }
}
