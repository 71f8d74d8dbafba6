//! Whose things are: handing them over, and who comes after a person on whom others depend.

use habeas_access::{Access, Actor, Permission, authorise, is_able, is_anybody_left, renew_keys_of_services};
use std::collections::BTreeMap;

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Account, Decisions, Organisation, Successor};
use habeas_core::report::{ChoiceReport, TransferReport};
use habeas_core::{Error, Id, Kind, Result, fault};
use habeas_store::{HolderState, Mention, Page, Tx, UNIQUE_VIOLATION};

use crate::holdings::{kind_name, role_title};
use crate::{Rights, plan};

impl Rights {
    /// Hands a project, an account or a workspace over to another holder: `to` is a person, an organisation, or, for a project, an account.
    /// Allowed to whoever owns it and may make projects there, and to the operator, as long as neither holder is restricted. An account of Custom Vision and services get new keys, and a workspace that had no name
    /// of its own a group and a name.
    pub async fn transfer(&self, actor: &Actor, resource: Id, to: Id) -> Result<TransferReport> {
        let actor = *actor;
        let (keys, ambient) = (self.access.fresh_keys(), self.store.ambient().clone());
        let (kind, moved) = self
            .store
            .write(move |tx| {
                authorise(tx, &actor, resource, Permission::Own)?;
                let position = tx.position(resource)?;
                let kind = position.map(|(kind, _, _)| kind);
                if let Some((_, _, holder)) = position {
                    require_unrestricted(tx, holder)?;
                }
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

/// Fails for somebody whose data is restricted: another holder could go on with it (GDPR Article 18).
fn require_unrestricted(tx: &mut Tx<'_>, holder: Id) -> Result<()> {
    match tx.holder(holder)? {
        Some((_, HolderState::Restricted)) => Err(Error::forbidden(
            "whose data this is has it restricted (GDPR Article 18): it is not handed over",
        )
        .hint("lift the restriction first")
        .code("Restricted")),
        _ => Ok(()),
    }
}

/// What needs a decision before `person` is erased, with what `decisions` say to it.
pub(crate) fn choices(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<Vec<ChoiceReport>> {
    let successors = &decisions.successors;
    let choices = needed(tx, person, decisions)?;
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

/// The roles of a person in which somebody has to be left: of an administrator, and of the owner of an organisation.
fn roles_to_fill(tx: &mut Tx<'_>, person: Id) -> Result<Vec<Mention>> {
    let mut mentions = tx.mentions_of(person)?;
    mentions.retain(|mention| match mention.role {
        MentionRole::Administrator => mention.resource == Id::NIL,
        MentionRole::Owner => mention.kind == Kind::Organisation,
        _ => false,
    });
    Ok(mentions)
}

/// The roles in which nobody is left after `person`, with what `decisions` say to each.
fn needed(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<Vec<ChoiceReport>> {
    let mut choices = Vec::new();
    for Mention { resource, role, kind, .. } in roles_to_fill(tx, person)? {
        if is_anybody_left(tx, resource, role, Some(person))? {
            continue;
        }
        let successor = match decisions.successors.iter().find(|successor| successor.resource == resource) {
            Some(successor) => {
                require_successor(tx, person, successor.person)?;
                Some(successor.person.to_string())
            }
            None => None,
        };
        let mut people: Vec<Id> = tx
            .mentioned_in(resource)?
            .iter()
            .filter(|mention| !matches!(mention.role, MentionRole::Maker | MentionRole::Editor))
            .map(|mention| mention.person)
            .collect();
        people.retain(|other| *other != person);
        people.sort_unstable();
        people.dedup();
        choices.push(ChoiceReport {
            resource: resource.to_string(),
            kind: kind_name(kind),
            name: tx.get::<Organisation>(resource)?.map(|node| node.doc.name),
            role: role_title(role).to_owned(),
            people: people.len() as u64,
            successor,
            deleted: decisions.deletions.contains(&resource),
        });
    }
    Ok(choices)
}

fn require_successor(tx: &mut Tx<'_>, leaving: Id, successor: Id) -> Result<()> {
    if successor != leaving && is_able(tx, successor)? {
        return Ok(());
    }
    Err(Error::invalid("a successor is another person who has an account and is not being erased"))
}

/// Fails when nobody would be left in a role of a person who is about to be frozen: whoever was left when the plan was made may be leaving,
/// too, or have given the role up.
pub(crate) fn require_settled(tx: &mut Tx<'_>, person: Id, decisions: &Decisions) -> Result<()> {
    for mention in roles_to_fill(tx, person)? {
        tx.lock_roles(mention.resource)?;
    }
    match plan::blocked(&needed(tx, person, decisions)?).into_iter().next() {
        Some(reason) => Err(Error::conflict(reason)),
        None => Ok(()),
    }
}

/// Puts the successors in place: in the transaction that freezes who leaves.
pub(crate) fn succeed(tx: &mut Tx<'_>, successors: &[Successor]) -> Result<()> {
    for successor in successors {
        let role =
            if successor.resource == Id::NIL { MentionRole::Administrator } else { MentionRole::Owner };
        if role == MentionRole::Owner {
            Access::leave(tx, successor.resource, successor.person)?;
        }
        // They may be about to leave, too.
        tx.lock_roles(successor.person)?;
        tx.mention(successor.resource, successor.person, role)?;
    }
    Ok(())
}
