//! Persons: made, found, described.

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{Account, AccountDoc, AccountType, GUEST_HOURS, KeyPair, Person, PersonDoc};
use habeas_core::{Error, Id, Node, Result, Timestamp, text, time};
use habeas_store::{HolderState, New, Tx};

use crate::{Access, keys};

/// A person to be made.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// E-mail address, as they write it.
    pub email: String,
    /// The name they go by; the local part of the address when it is empty.
    pub name: String,
    /// Guest, free or standard.
    pub account_type: AccountType,
}

/// A person that was made, with the keys of their Custom Vision account.
#[derive(Clone, Debug)]
pub struct PersonCreated {
    /// Their id, which is their object id on every wire.
    pub id: Id,
    /// Their Custom Vision account.
    pub account: Id,
    /// Keys of the training API.
    pub training_keys: KeyPair,
    /// Keys of the prediction API.
    pub prediction_keys: KeyPair,
}

/// The longest e-mail address (RFC 5321: 64 + 1 + 255, less the angle brackets' room).
const EMAIL_LENGTH: usize = 254;

/// An e-mail address in the form under which a person is found: without spaces around it, in lower case. Refuses what cannot be
/// an address.
pub fn normalise_email(email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let valid = email.len() <= EMAIL_LENGTH
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !domain.starts_with('.')
        })
        && !email.chars().any(|character| character.is_whitespace() || character.is_control());
    if valid {
        Ok(email)
    } else {
        Err(Error::invalid("that is not an e-mail address").hint("write it like name@example.org"))
    }
}

impl Access {
    /// Makes a person with a Custom Vision account; a conflict when the address has one already.
    pub async fn create_person(&self, new: NewPerson) -> Result<PersonCreated> {
        let email = new.email.trim().to_owned();
        let alias = self.store.alias("email", &normalise_email(&email)?)?;
        let name = match new.name.trim() {
            "" => email.split('@').next().unwrap_or_default(),
            name => name,
        };
        let name = text::holder_name(name)?;
        if new.account_type == AccountType::Unclaimed {
            return Err(Error::invalid("an unclaimed person is taken up where images name them")
                .hint("POST /api/privacy/v1/unclaimed, or habeas unclaimed take-up"));
        }
        let known = self.store.find_alias(&alias);
        if let Some(id) = known {
            self.require_unclaimed(id)
                .await
                .map_err(|_| Error::conflict("there is a person with this e-mail address already"))?;
        }
        let created = PersonCreated {
            id: known.unwrap_or_else(|| self.ambient().new_id()),
            account: self.ambient().new_id(),
            training_keys: keys::new_pair(self.ambient()),
            prediction_keys: keys::new_pair(self.ambient()),
        };
        let guest = new.account_type == AccountType::Guest;
        let profile = PersonDoc {
            name,
            email,
            account_type: new.account_type,
            named_by: None,
            email_corrected_by: None,
        };
        let result = created.clone();
        // Somebody whom images named before they had an account is the same person from now on.
        let (containers, aliases) = match known {
            Some(_) => (vec![created.account], Vec::new()),
            None => (vec![created.id, created.account], vec![(alias, created.id)]),
        };
        self.store
            .write_with_keys(containers, aliases, move |tx| {
                let end = Timestamp(tx.now().0 + i64::from(GUEST_HOURS) * time::HOUR);
                match tx.get::<Person>(created.id)? {
                    Some(mut node) => {
                        node.doc = profile.clone();
                        node.expires_at = guest.then_some(end);
                        tx.update::<Person>(&node)?;
                    }
                    None => {
                        tx.create_holder(created.id, HolderKind::Person)?;
                        tx.create::<Person>(New {
                            id: created.id,
                            parent: None,
                            expires_at: guest.then_some(end),
                            doc: profile.clone(),
                        })?;
                    }
                }
                let account = AccountDoc {
                    training_keys: created.training_keys.clone(),
                    prediction_keys: created.prediction_keys.clone(),
                };
                tx.create::<Account>(New::under(created.id, created.account, account))?;
                Ok(())
            })
            .await?;
        Ok(result)
    }

    /// Makes an unclaimed person, who is found by `alias`: somebody whom images of others call `name`, without an account.
    pub async fn create_unclaimed(&self, profile: PersonDoc, alias: [u8; 32]) -> Result<Id> {
        let id = self.ambient().new_id();
        self.store
            .write_with_keys(vec![id], vec![(alias, id)], move |tx| {
                tx.create_holder(id, HolderKind::Person)?;
                tx.create::<Person>(New { id, parent: None, expires_at: None, doc: profile.clone() })
            })
            .await?;
        Ok(id)
    }

    /// The profile of an unclaimed person; not found when it is somebody else.
    pub async fn require_unclaimed(&self, id: Id) -> Result<Node<PersonDoc>> {
        let node = self.person(id).await?;
        match node.doc.account_type {
            AccountType::Unclaimed => Ok(node),
            _ => Err(no_person()),
        }
    }

    /// The person whose address this is. For the staff: callers who are not get the same answer for any address.
    pub fn find_person(&self, email: &str) -> Result<Id> {
        let alias = self.store.alias("email", &normalise_email(email)?)?;
        self.store
            .find_alias(&alias)
            .ok_or_else(|| Error::not_found("there is no person with this e-mail address"))
    }

    /// A person by address or object id.
    pub async fn resolve_person(&self, email_or_id: &str) -> Result<Id> {
        if let Ok(id) = email_or_id.parse::<Id>() {
            return self.person(id).await.map(|node| node.id);
        }
        self.find_person(email_or_id)
    }

    /// A person's profile.
    pub async fn person(&self, id: Id) -> Result<Node<PersonDoc>> {
        self.store
            .read(move |tx| {
                // What a legal hold keeps of an erased person is nobody's profile.
                tx.get::<Person>(id)?.filter(|node| node.holder == id).ok_or_else(no_person)
            })
            .await
    }

    /// All persons, oldest first, after `after`.
    pub async fn persons(&self, after: Id, limit: u32) -> Result<Vec<Node<PersonDoc>>> {
        self.store
            .read(move |tx| {
                let mut persons = Vec::new();
                for (id, _) in tx.holders(HolderKind::Person, after, limit)? {
                    persons.extend(tx.get::<Person>(id)?);
                }
                Ok(persons)
            })
            .await
    }

    /// Gives a person a role of the staff, or takes it away.
    pub async fn set_staff_role(&self, person: Id, role: MentionRole, granted: bool) -> Result<()> {
        if !matches!(role, MentionRole::Administrator | MentionRole::PrivacyOfficer) {
            return Err(Error::invalid("the staff has two roles: administrator and privacy officer"));
        }
        self.store
            .write(move |tx| {
                tx.get::<Person>(person)?.ok_or_else(no_person)?;
                if granted {
                    require_able(tx, person)?;
                    return tx.mention(Id::NIL, person, role);
                }
                tx.lock_roles(Id::NIL)?;
                if role == MentionRole::Administrator && is_last_administrator(tx, person)? {
                    return Err(
                        Error::conflict("this is the last administrator").hint("name a successor first")
                    );
                }
                tx.unmention(Id::NIL, person, role).map(|_| ())
            })
            .await
    }
}

/// Whether somebody can do what a role lets them: a person who has an account and is not being erased. Nobody else is one of those who are
/// left in a role.
pub fn is_able(tx: &mut Tx<'_>, person: Id) -> Result<bool> {
    if !matches!(tx.holder(person)?, Some((HolderKind::Person, state)) if state != HolderState::Frozen) {
        return Ok(false);
    }
    Ok(tx.get::<Person>(person)?.is_some_and(|node| node.doc.account_type != AccountType::Unclaimed))
}

/// Whether somebody has this role in `resource` and can do what it lets them, once `leaving` has gone.
pub fn is_anybody_left(
    tx: &mut Tx<'_>,
    resource: Id,
    role: MentionRole,
    leaving: Option<Id>,
) -> Result<bool> {
    for mention in tx.mentioned_in(resource)? {
        if mention.role == role && Some(mention.person) != leaving && is_able(tx, mention.person)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails when somebody cannot be given a role.
pub(crate) fn require_able(tx: &mut Tx<'_>, person: Id) -> Result<()> {
    if is_able(tx, person)? {
        return Ok(());
    }
    Err(no_person().hint("a role is given to a person who has an account and is not being erased"))
}

/// Whether `person` is an administrator, and nobody else is.
fn is_last_administrator(tx: &mut Tx<'_>, person: Id) -> Result<bool> {
    let role = MentionRole::Administrator;
    let is_one =
        tx.mentioned_in(Id::NIL)?.iter().any(|mention| mention.person == person && mention.role == role);
    Ok(is_one && !is_anybody_left(tx, Id::NIL, role, Some(person))?)
}

fn no_person() -> Error {
    Error::not_found("there is no such person")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_however_they_are_written() {
        assert_eq!(normalise_email(" Ada@Example.ORG ").unwrap(), "ada@example.org");
        for wrong in ["", "ada", "@example.org", "ada@", "a b@example.org", "ada@x@y", "ada@\n.org"] {
            assert!(normalise_email(wrong).is_err(), "{wrong:?}");
        }
    }
}
