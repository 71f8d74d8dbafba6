//! Organisations and their members.
//!
//! **Invariant:** who could see the keys of an organisation's services, and can no longer, knows no key of the organisation any more: those of
//! its accounts and services are renewed in the transaction that takes the role away.

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{Account, AccountDoc, Organisation, OrganisationDoc, Service};
use habeas_core::{Ambient, Error, Id, Kind, Node, Result, text};
use habeas_store::{Mention, New, Page, Tx};

use crate::persons::{is_anybody_left, require_able};
use crate::{Access, Permission, PersonCreated, keys};

/// Services read at a time.
const SERVICES: u32 = 500;

impl Access {
    /// Makes an organisation with a Custom Vision account; `founder`, a person who has an account, is its first owner.
    pub async fn create_organisation(&self, name: &str, founder: Id) -> Result<PersonCreated> {
        let name = text::holder_name(name)?;
        let created = PersonCreated {
            id: self.ambient().new_id(),
            account: self.ambient().new_id(),
            training_keys: keys::new_pair(self.ambient()),
            prediction_keys: keys::new_pair(self.ambient()),
        };
        let result = created.clone();
        self.store
            .write_with_keys(vec![created.id, created.account], Vec::new(), move |tx| {
                require_able(tx, founder)?;
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

    /// Gives a person who has an account a role in an organisation in place of any they had. Keys are renewed when the person may not see them in the new one.
    pub async fn set_member(&self, organisation: Id, person: Id, role: MentionRole) -> Result<()> {
        if !MentionRole::MEMBERS.iter().any(|(_, known)| *known == role) {
            return Err(Error::invalid("that is no role of a member of an organisation"));
        }
        let ambient = self.ambient().clone();
        self.store
            .write(move |tx| {
                tx.get::<Organisation>(organisation)?.ok_or_else(no_organisation)?;
                require_able(tx, person)?;
                tx.lock_roles(organisation)?;
                let knew = knows_keys(tx, organisation, person)?;
                Access::leave(tx, organisation, person)?;
                tx.mention(organisation, person, role)?;
                keep_an_owner(tx, organisation)?;
                if knew && !knows_keys(tx, organisation, person)? {
                    renew_keys(tx, organisation, &ambient)?;
                }
                Ok(())
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

    /// Ends a membership; refused for the last owner. Keys that the member could see are renewed.
    pub async fn remove_member(&self, organisation: Id, person: Id) -> Result<()> {
        let ambient = self.ambient().clone();
        self.store
            .write(move |tx| {
                tx.lock_roles(organisation)?;
                let knew = knows_keys(tx, organisation, person)?;
                Access::leave(tx, organisation, person)?;
                keep_an_owner(tx, organisation)?;
                if knew { renew_keys(tx, organisation, &ambient) } else { Ok(()) }
            })
            .await
    }

    /// Renews the keys of every organisation whose keys a person could see, in the transaction in which everything ends that the person may
    /// do.
    pub fn renew_keys_known_to(&self, tx: &mut Tx<'_>, person: Id) -> Result<()> {
        let mut organisations: Vec<Id> = tx
            .mentions_of(person)?
            .into_iter()
            .filter(|mention| mention.kind == Kind::Organisation && shows_keys(mention.role))
            .map(|mention| mention.resource)
            .collect();
        organisations.dedup();
        organisations.into_iter().try_for_each(|organisation| renew_keys(tx, organisation, self.ambient()))
    }

    /// Gives the accounts and services of an organisation new keys: somebody knows the old ones who should not.
    pub async fn renew_keys(&self, organisation: Id) -> Result<()> {
        let ambient = self.ambient().clone();
        self.store.write(move |tx| renew_keys(tx, organisation, &ambient)).await
    }

    /// The members of an organisation.
    pub async fn members(&self, organisation: Id) -> Result<Vec<Mention>> {
        self.store.read(move |tx| tx.mentioned_in(organisation)).await
    }
}

/// Whether a member in this role may see the keys of services. Those of accounts are shown to owners, who hand them out to whoever works with
/// them, so they are renewed together.
fn shows_keys(role: MentionRole) -> bool {
    Permission::Deploy.is_of(role)
}

fn knows_keys(tx: &mut Tx<'_>, organisation: Id, person: Id) -> Result<bool> {
    Ok(members_of(tx.mentioned_in(organisation)?, person).any(|mention| shows_keys(mention.role)))
}

/// Gives the accounts and services of an organisation new keys.
fn renew_keys(tx: &mut Tx<'_>, organisation: Id, ambient: &Ambient) -> Result<()> {
    // The keys of one that is being erased open nothing.
    if !tx.is_active(organisation)? {
        return Ok(());
    }
    for mut account in tx.children::<Account>(organisation, Page::ALL)? {
        account.doc = keys::fresh(ambient);
        tx.update::<Account>(&account)?;
    }
    let mut after = Id::NIL;
    loop {
        let services = tx.held(organisation, Kind::Service, after, SERVICES)?;
        let Some(last) = services.last() else { return Ok(()) };
        after = last.id;
        renew_keys_of_services(tx, services.iter().map(|service| service.id), ambient)?;
    }
}

/// Gives services new keys.
pub fn renew_keys_of_services(
    tx: &mut Tx<'_>,
    services: impl IntoIterator<Item = Id>,
    ambient: &Ambient,
) -> Result<()> {
    for service in services {
        if let Some(mut service) = tx.get::<Service>(service)? {
            service.doc.keys = keys::new_pair(ambient);
            tx.update::<Service>(&service)?;
        }
    }
    Ok(())
}

fn members_of(mentions: Vec<Mention>, person: Id) -> impl Iterator<Item = Mention> {
    mentions.into_iter().filter(move |mention| mention.person == person)
}

/// Whoever is being erased is an owner no more.
fn keep_an_owner(tx: &mut Tx<'_>, organisation: Id) -> Result<()> {
    if is_anybody_left(tx, organisation, MentionRole::Owner, None)? {
        return Ok(());
    }
    Err(Error::conflict("an organisation has at least one owner").hint("make somebody else an owner first"))
}

fn no_organisation() -> Error {
    Error::not_found("there is no such organisation")
}
