//! Organisations and their members.

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{Account, AccountDoc, Organisation, OrganisationDoc};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::{Mention, New, Tx};

use crate::{Access, PersonCreated, keys};

/// The longest name, in bytes.
const NAME_LENGTH: usize = 200;

impl Access {
    /// Makes an organisation with a Custom Vision account; `founder` is its first owner.
    pub async fn create_organisation(&self, name: &str, founder: Id) -> Result<PersonCreated> {
        let name = name.trim().to_owned();
        if name.is_empty() || name.len() > NAME_LENGTH {
            return Err(Error::invalid(format!("an organisation has a name of 1 to {NAME_LENGTH} bytes")));
        }
        let created = PersonCreated {
            id: self.ambient().new_id(),
            account: self.ambient().new_id(),
            training_keys: keys::new_pair(self.ambient()),
            prediction_keys: keys::new_pair(self.ambient()),
        };
        let result = created.clone();
        self.store
            .write_with_keys(vec![created.id, created.account], Vec::new(), move |tx| {
                tx.create_holder(created.id, HolderKind::Organisation)?;
                let doc = OrganisationDoc { name: name.clone() };
                tx.create::<Organisation>(New { id: created.id, parent: None, expires_at: None, doc })?;
                let account = AccountDoc {
                    training_keys: created.training_keys.clone(),
                    prediction_keys: created.prediction_keys.clone(),
                };
                tx.create::<Account>(New::under(created.id, created.account, account))?;
                tx.mention(created.id, founder, MentionRole::Owner)
            })
            .await?;
        Ok(result)
    }

    /// An organisation.
    pub async fn organisation(&self, id: Id) -> Result<Node<OrganisationDoc>> {
        self.store.read(move |tx| tx.get::<Organisation>(id)?.ok_or_else(no_organisation)).await
    }

    /// Gives a person a role in an organisation in place of any they had.
    pub async fn set_member(&self, organisation: Id, person: Id, role: MentionRole) -> Result<()> {
        if !MentionRole::MEMBERS.iter().any(|(_, known)| *known == role) {
            return Err(Error::invalid("that is no role of a member of an organisation"));
        }
        self.store
            .write(move |tx| {
                tx.get::<Organisation>(organisation)?.ok_or_else(no_organisation)?;
                Access::leave(tx, organisation, person)?;
                tx.mention(organisation, person, role)?;
                keep_an_owner(&tx.mentioned_in(organisation)?)
            })
            .await
    }

    /// Takes every role away that a person has in an organisation, within a transaction that gives another.
    pub fn leave(tx: &mut Tx<'_>, organisation: Id, person: Id) -> Result<()> {
        for mention in members_of(tx.mentioned_in(organisation)?, person) {
            tx.unmention(organisation, person, mention.role)?;
        }
        Ok(())
    }

    /// Ends a membership; refused for the last owner.
    pub async fn remove_member(&self, organisation: Id, person: Id) -> Result<()> {
        self.store
            .write(move |tx| {
                Access::leave(tx, organisation, person)?;
                keep_an_owner(&tx.mentioned_in(organisation)?)
            })
            .await
    }

    /// The members of an organisation.
    pub async fn members(&self, organisation: Id) -> Result<Vec<Mention>> {
        self.store.read(move |tx| tx.mentioned_in(organisation)).await
    }
}

fn members_of(mentions: Vec<Mention>, person: Id) -> impl Iterator<Item = Mention> {
    mentions.into_iter().filter(move |mention| mention.person == person)
}

fn keep_an_owner(mentions: &[Mention]) -> Result<()> {
    if mentions.iter().any(|mention| mention.role == MentionRole::Owner) {
        Ok(())
    } else {
        Err(Error::conflict("an organisation has at least one owner")
            .hint("make somebody else an owner first"))
    }
}

fn no_organisation() -> Error {
    Error::not_found("there is no such organisation")
}
