//! Whose things are: handing them over, and who comes after a person on whom others depend.

use habeas_access::{Access, Actor, Permission, authorise, renew_keys_of_services};
use std::collections::BTreeMap;

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{Account, Decisions, Organisation, Successor};
use habeas_core::report::{ChoiceReport, TransferReport};
use habeas_core::{Error, Id, Kind, Result, fault};
use habeas_store::{Page, Tx, UNIQUE_VIOLATION};

use crate::Rights;
use crate::holdings::{kind_name, role_title};

impl Rights {
    /// Hands a project, an account or a workspace over to another holder: `to` is a person, an organisation, or, for a project, an account.
    /// Allowed to whoever owns it and may make projects there, and to the operator. An account of Custom Vision and services get new keys, and a workspace that had no name
    /// of its own a group and a name.
    pub async fn transfer(&self, actor: &Actor, resource: Id, to: Id) -> Result<TransferReport> {
        let actor = *actor;
        let (keys, ambient) = (self.access.fresh_keys(), self.store.ambient().clone());
        let (kind, moved) = self
            .store
            .write(move |tx| {
                authorise(tx, &actor, resource, Permission::Own)?;
                let kind = tx.position(resource)?.map(|(kind, _, _)| kind);
                let parent = match (kind, tx.position(to)?) {
                    (Some(Kind::Project), Some((Kind::Person | Kind::Organisation, _, _))) => tx
                        .children::<Account>(to, Page::ALL)?
                        .first()
                        .map(|account| account.id)
                        .ok_or_else(|| Error::not_found("whom it should go to has no account"))?,
                    _ => to,
                };
                authorise(tx, &actor, parent, Permission::Manage)?;
                let moved = tx.transfer(resource, parent).map_err(|error| match error.code {
                    Some(UNIQUE_VIOLATION) => {
                        Error::conflict("there is a workspace of this group and name already")
                            .hint("delete or rename one of them first")
                    }
                    _ => error,
                })?;
                if let Some(mut account) = tx.get::<Account>(resource)? {
                    // Whoever had the old ones has none any more.
                    account.doc = keys.clone();
                    tx.update::<Account>(&account)?;
                }
                let services = tx.ids_below(resource, Kind::Service)?;
                renew_keys_of_services(tx, services.into_iter().map(|(id, _)| id), &ambient)?;
                Ok((kind, moved))
            })
            .await?;
        fault::point("transfer.committed");
        self.store.finish_tasks(&[moved.task]).await;
        Ok(TransferReport {
            resource: resource.to_string(),
            kind: kind.map(kind_name).unwrap_or_default(),
            holder: moved.holder.to_string(),
            resources: moved.resources,
        })
    }

    /// Succeeds when `actor` may name who comes after `person`: the person themself, administrators and the operator. A privacy officer
    /// could otherwise make themself an administrator.
    pub async fn authorise_succession(&self, actor: &Actor, person: Id) -> Result<()> {
        if actor.person() == Some(person) {
            return Ok(());
        }
        self.require_administrator(actor).await.map_err(|error| {
            error.conceal(|| {
                Error::forbidden("only the person themself, or an administrator, names a successor")
            })
        })
    }
}

/// What needs a decision before `person` is erased, with what `decisions` say to it.
pub(crate) fn choices(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<Vec<ChoiceReport>> {
    let successors = &decisions.successors;
    let mut choices = Vec::new();
    for mention in tx.mentions_of(person)? {
        let (role, resource) = (mention.role, mention.resource);
        let wanted = role == MentionRole::Administrator && resource == Id::NIL
            || role == MentionRole::Owner && mention.kind == Kind::Organisation;
        let others: Vec<_> =
            tx.mentioned_in(resource)?.into_iter().filter(|other| other.person != person).collect();
        if !wanted || others.iter().any(|other| other.role == role) {
            continue;
        }
        let successor = match successors.iter().find(|successor| successor.resource == resource) {
            Some(successor) => {
                require_person(tx, person, successor.person)?;
                Some(successor.person.to_string())
            }
            None => None,
        };
        let mut people: Vec<Id> = others.iter().map(|other| other.person).collect();
        people.sort_unstable();
        people.dedup();
        choices.push(ChoiceReport {
            resource: resource.to_string(),
            kind: kind_name(mention.kind),
            name: tx.get::<Organisation>(resource)?.map(|node| node.doc.name),
            role: role_title(role).to_owned(),
            people: people.len() as u64,
            successor,
            deleted: decisions.deletions.contains(&resource),
        });
    }
    let known: BTreeMap<&str, &ChoiceReport> =
        choices.iter().map(|choice| (choice.resource.as_str(), choice)).collect();
    let hint = "make a plan without it: `choices` says where a decision is needed";
    for successor in successors {
        if !known.contains_key(successor.resource.to_string().as_str()) {
            return Err(Error::invalid(
                "a successor is named where the person is not the last in their role",
            )
            .hint(hint));
        }
    }
    for deletion in &decisions.deletions {
        match known.get(deletion.to_string().as_str()) {
            Some(choice) if choice.name.is_some() && choice.successor.is_none() => {}
            Some(choice) if choice.name.is_some() => {
                return Err(Error::invalid("an organisation is handed over or deleted, not both"));
            }
            _ => {
                return Err(Error::invalid(
                    "something is to be deleted that is not an organisation of which the person is the last owner",
                )
                .hint(hint));
            }
        }
    }
    Ok(choices)
}

fn require_person(tx: &mut Tx<'_>, leaving: Id, successor: Id) -> Result<()> {
    let there = matches!(tx.holder(successor)?, Some((HolderKind::Person, _))) && tx.is_active(successor)?;
    if there && successor != leaving {
        return Ok(());
    }
    Err(Error::invalid("a successor is another person who is not being erased"))
}

/// Puts the successors in place: in the transaction that freezes who leaves.
pub(crate) fn succeed(tx: &mut Tx<'_>, successors: &[Successor]) -> Result<()> {
    for successor in successors {
        let role =
            if successor.resource == Id::NIL { MentionRole::Administrator } else { MentionRole::Owner };
        if role == MentionRole::Owner {
            Access::leave(tx, successor.resource, successor.person)?;
        }
        tx.mention(successor.resource, successor.person, role)?;
    }
    Ok(())
}
