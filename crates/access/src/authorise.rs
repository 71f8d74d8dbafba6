//! What an actor may do with a resource: decided once, on the tree.

use habeas_core::kind::MentionRole;
use habeas_core::{Error, Id, Kind, Result};
use habeas_store::Tx;

use crate::{Actor, KeyUse};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See it.
    Read,
    /// Change it or what stands under it.
    Write,
    /// What only its owner may: share it, erase it.
    Own,
}

/// Levels of the tree that are looked at; the tree is less deep.
const DEPTH: usize = 16;

/// Succeeds when `actor` may do `permission` with `resource`. What they may not even read is not found; what they may read but
/// not change is forbidden.
pub fn authorise(tx: &mut Tx<'_>, actor: &Actor, resource: Id, permission: Permission) -> Result<()> {
    match granted(tx, actor, resource)? {
        Some(level) if level >= permission => Ok(()),
        Some(_) => Err(Error::forbidden("you may see this but not change it")
            .hint("ask its owner for the role of contributor")),
        None => Err(not_found()),
    }
}

fn not_found() -> Error {
    Error::not_found("there is no such resource")
}

/// The most that `actor` may do with `resource`; none when they may not even know of it.
fn granted(tx: &mut Tx<'_>, actor: &Actor, resource: Id) -> Result<Option<Permission>> {
    let mut chain = Vec::new();
    let mut next = Some(resource);
    let mut holder = None;
    while let Some(id) = next {
        let Some((kind, parent, held_by)) = tx.position(id)? else { return Ok(None) };
        if chain.len() >= DEPTH {
            return Err(Error::damaged("the tree is deeper than it can be"));
        }
        holder = holder.or(Some(held_by));
        chain.push((id, kind));
        next = parent;
    }
    let Some(holder) = holder else { return Ok(None) };
    match actor {
        Actor::Operator => Ok(Some(Permission::Own)),
        Actor::Key { account, key: KeyUse::Training, .. } => {
            Ok(chain.iter().any(|(id, _)| id == account).then_some(Permission::Own))
        }
        Actor::Key { .. } => Ok(None),
        Actor::Person { id: person, .. } => {
            if holder == *person {
                return Ok(Some(Permission::Own));
            }
            let mut most = None;
            // The root of what an organisation holds is the organisation, so membership is a mention like any other.
            for (id, _) in chain.iter().filter(|(_, kind)| *kind != Kind::Installation) {
                for mention in tx.mentioned_in(*id)?.iter().filter(|mention| mention.person == *person) {
                    let level = match mention.role {
                        MentionRole::Owner => Permission::Own,
                        MentionRole::Contributor => Permission::Write,
                        MentionRole::Reader => Permission::Read,
                        MentionRole::Administrator | MentionRole::PrivacyOfficer | MentionRole::Subject => {
                            continue;
                        }
                    };
                    most = most.max(Some(level));
                }
            }
            Ok(most)
        }
    }
}

/// Whether the actor is of the staff, and as what: staff answer requests about other persons' data.
pub fn staff_role(tx: &mut Tx<'_>, actor: &Actor) -> Result<Option<MentionRole>> {
    match actor {
        Actor::Operator => Ok(Some(MentionRole::Administrator)),
        Actor::Key { .. } => Ok(None),
        Actor::Person { id, .. } => {
            let roles = tx.mentions_of(*id)?;
            Ok([MentionRole::Administrator, MentionRole::PrivacyOfficer].into_iter().find(|role| {
                roles.iter().any(|mention| mention.resource == Id::NIL && mention.role == *role)
            }))
        }
    }
}
