//! What an actor may do with a resource: decided once, on the tree.

use habeas_core::kind::MentionRole;
use habeas_core::{Error, Id, Kind, Result};
use habeas_store::{HolderState, Tx};

use crate::{Actor, KeyUse};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See it.
    Read,
    /// Ask its models; all that prediction keys may do.
    Predict,
    /// Change images and tags.
    Label,
    /// Publish, unpublish and export models.
    Deploy,
    /// Change it or what stands under it.
    Write,
    /// Make and delete projects.
    Manage,
    /// What only its owner may: share it, erase it.
    Own,
}

impl Permission {
    /// Whether a person mentioned in this role has it.
    pub(crate) fn is_of(self, role: MentionRole) -> bool {
        match role {
            MentionRole::Owner => true,
            MentionRole::Contributor => self != Permission::Own,
            MentionRole::Trainer => !matches!(self, Permission::Own | Permission::Manage),
            MentionRole::Labeler => {
                matches!(self, Permission::Read | Permission::Predict | Permission::Label)
            }
            MentionRole::Deployment => {
                matches!(self, Permission::Read | Permission::Predict | Permission::Deploy)
            }
            MentionRole::Reader => self == Permission::Read,
            MentionRole::Administrator
            | MentionRole::PrivacyOfficer
            | MentionRole::Subject
            | MentionRole::Disclosed
            | MentionRole::Depicted
            | MentionRole::Maker
            | MentionRole::Editor => false,
        }
    }

    /// The least of the roles that have it.
    fn least_role(self) -> &'static str {
        match self {
            Permission::Read => "reader",
            Permission::Predict | Permission::Label => "labeler",
            Permission::Deploy => "deployment",
            Permission::Write => "trainer",
            Permission::Manage => "contributor",
            Permission::Own => "owner",
        }
    }
}

/// Levels of the tree that are looked at; the tree is less deep.
const DEPTH: usize = 16;

/// Succeeds when `actor` may do `permission` with `resource`. What they may not even read is not found; what they may read but
/// not change is forbidden, and so is everything but reading, sharing and erasing while the holder's data is restricted.
pub fn authorise(tx: &mut Tx<'_>, actor: &Actor, resource: Id, permission: Permission) -> Result<()> {
    permitted(tx, actor, resource, permission)?;
    if matches!(permission, Permission::Read | Permission::Own) {
        return Ok(());
    }
    let Some((_, _, holder)) = tx.position(resource)? else { return Err(not_found()) };
    match tx.holder(holder)? {
        Some((_, HolderState::Restricted)) => Err(Error::forbidden(
            "whose data this is has asked for restriction (GDPR Article 18): it can be seen, but not changed, learned from or asked",
        )
        .hint("wait until the restriction is lifted")
        .code("Restricted")),
        _ => Ok(()),
    }
}

fn permitted(tx: &mut Tx<'_>, actor: &Actor, resource: Id, permission: Permission) -> Result<()> {
    match granted(tx, actor, resource)? {
        Granted::Everything => Ok(()),
        Granted::Predictions if permission == Permission::Predict => Ok(()),
        Granted::Predictions => Err(not_found()),
        Granted::To(roles) if roles.iter().any(|role| permission.is_of(*role)) => Ok(()),
        Granted::To(roles) if roles.iter().any(|role| Permission::Read.is_of(*role)) => {
            Err(Error::forbidden("you may see this but not change it")
                .hint(format!("ask its owner for the role of {}", permission.least_role())))
        }
        Granted::To(_) => Err(not_found()),
    }
}

fn not_found() -> Error {
    Error::not_found("there is no such resource")
}

/// What an actor may do with a resource.
enum Granted {
    Everything,
    /// To ask its models.
    Predictions,
    /// What these roles allow, which may be nothing.
    To(Vec<MentionRole>),
}

impl Granted {
    const NOTHING: Granted = Granted::To(Vec::new());
}

fn granted(tx: &mut Tx<'_>, actor: &Actor, resource: Id) -> Result<Granted> {
    let mut chain = Vec::new();
    let mut next = Some(resource);
    let mut holder = None;
    while let Some(id) = next {
        let Some((kind, parent, held_by)) = tx.position(id)? else { return Ok(Granted::NOTHING) };
        if chain.len() >= DEPTH {
            return Err(Error::damaged("the tree is deeper than it can be"));
        }
        holder = holder.or(Some(held_by));
        chain.push((id, kind));
        next = parent;
    }
    let Some(holder) = holder else { return Ok(Granted::NOTHING) };
    match actor {
        Actor::Operator => Ok(Granted::Everything),
        Actor::Key { account, key, .. } if chain.iter().any(|(id, _)| id == account) => Ok(match key {
            KeyUse::Training => Granted::Everything,
            KeyUse::Prediction => Granted::Predictions,
        }),
        Actor::Key { .. } => Ok(Granted::NOTHING),
        Actor::Person { id: person, .. } if holder == *person => Ok(Granted::Everything),
        Actor::Person { id: person, .. } => {
            let mut roles = Vec::new();
            // The root of what an organisation holds is the organisation, so membership is a mention like any other.
            for (id, _) in chain.iter().filter(|(_, kind)| *kind != Kind::Installation) {
                let mentions = tx.mentioned_in(*id)?;
                roles.extend(
                    mentions.iter().filter(|mention| mention.person == *person).map(|mention| mention.role),
                );
            }
            Ok(Granted::To(roles))
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
