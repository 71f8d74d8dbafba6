//! Rectification (GDPR Article 16): one way to correct whatever is held on a person.

use std::collections::BTreeMap;

use habeas_access::{Actor, Permission, authorise, depicted, normalise_email, record_staff, staff_role};
use habeas_core::kind::HolderKind;
use habeas_core::kinds::{AccountType, Person};
use habeas_core::report::RectificationReport;
use habeas_core::requests::RequestType;
use habeas_core::{Error, Id, Kind, Result, Timestamp, fault, text};
use habeas_store::{Removed, Tx};
use serde_json::Value;

use crate::Rights;
use crate::authored::written_under;
use crate::requests::{Direct, record_direct_change};

/// The most that may be corrected at a time.
const CORRECTIONS: usize = 100;
/// The largest corrected value, in bytes of JSON.
const VALUE: usize = 16 * 1024;

/// What is to be corrected.
#[derive(Clone, Debug, Default)]
pub struct Rectify {
    /// The name they go by.
    pub name: Option<String>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Fields of other things that are held on them.
    pub corrections: Vec<Correction>,
}

/// One corrected field.
#[derive(Clone, Debug)]
pub struct Correction {
    /// What it is a field of.
    pub resource: Id,
    /// The field, as the data map names it; of class personal or content.
    pub field: String,
    /// What it is to say, in the form in which it is stored.
    pub value: Value,
}

impl Rights {
    /// Corrects a person's name, address and any personal field of what they hold, or of what others hold where the actor may change it or is
    /// of the staff: a run's tag in a workspace of a team may name the person. The person is found by the new address from then on, and
    /// by the old one no more. The profile gets a new key at once, so that the old values can be read nowhere; projects in which something
    /// was corrected get theirs within the time that deletions have. Recipients are told. The caller has checked that the actor may.
    ///
    /// The person's own new address is theirs only when the code that is sent there was given back: the report names the request.
    pub async fn rectify(
        &self,
        actor: &Actor,
        person: Id,
        mut change: Rectify,
    ) -> Result<RectificationReport> {
        if change.email.is_some() {
            // Whoever has the mail that goes there signs in, or proves who asks, with it.
            self.require_in_person(actor)?;
        }
        let wanted = match actor {
            Actor::Person { id, .. } if *id == person => {
                self.wanted_address(person, change.email.as_deref()).await?
            }
            _ => None,
        };
        if wanted.is_some() {
            change.email = None;
        }
        let mut report = self.correct(actor, person, change, Some(Direct::new(self, actor))).await?;
        if let Some(email) = wanted {
            report.address_change = Some(self.take_in_address(person, email).await?);
        }
        self.wake();
        Ok(report)
    }

    /// The same, of a request unless it is `direct`.
    pub(crate) async fn correct(
        &self,
        actor: &Actor,
        person: Id,
        change: Rectify,
        direct: Option<Direct>,
    ) -> Result<RectificationReport> {
        if change.corrections.len() > CORRECTIONS {
            return Err(Error::limit(format!("at most {CORRECTIONS} fields are corrected at a time")));
        }
        if change.corrections.iter().any(|correction| correction.value.to_string().len() > VALUE) {
            return Err(Error::limit(format!("a corrected value is at most {VALUE} bytes long")));
        }
        let name = change.name.as_deref().map(text::holder_name).transpose()?;
        let email = change.email.as_deref().map(|email| email.trim().to_owned());
        let current = self.access.person(person).await?;
        if current.doc.account_type == AccountType::Unclaimed {
            return Err(Error::conflict("what an unclaimed person is called is what images of others say")
                .hint("have it corrected there, or make an account for the person"));
        }
        let old_alias = self.store.alias("email", &normalise_email(&current.doc.email)?)?;
        let new_alias = match &email {
            Some(email) => Some(self.store.alias("email", &normalise_email(email)?)?),
            None => None,
        }
        .filter(|alias| *alias != old_alias);
        if let Some(alias) = new_alias {
            match self.store.find_alias(&alias) {
                Some(other) if other != person => {
                    return Err(Error::conflict("there is a person with this e-mail address already"));
                }
                _ => self.store.with_keyring(move |keyring| keyring.put_aliases(&[(alias, person)])).await?,
            }
        }
        fault::point("rectify.alias_put");
        let new_email = email.clone();
        let corrections = change.corrections;
        let (actor, depicts_key) = (*actor, self.models.depicts_key().to_owned());
        let result = self
            .store
            .write(move |tx| {
                let mut changed = 0;
                let mut node =
                    tx.get::<Person>(person)?.ok_or_else(|| Error::not_found("there is no such person"))?;
                let before = node.doc.clone();
                node.doc.name = name.clone().unwrap_or(node.doc.name);
                if let Some(email) = email.clone() {
                    let is_new = email != node.doc.email;
                    node.doc.email = email;
                    match actor {
                        // Also of the one that is there: that it is the person's.
                        Actor::Operator => node.doc.email_corrected_by = None,
                        // The person's own is theirs by a code that went there; that says nothing about an address they had before.
                        Actor::Person { id, .. } if id == person => {}
                        _ if is_new => node.doc.email_corrected_by = Some(actor.reference()),
                        _ => {}
                    }
                }
                let of_profile =
                    u64::from(node.doc.name != before.name) + u64::from(node.doc.email != before.email);
                if node.doc != before {
                    tx.update::<Person>(&node)?;
                    changed += of_profile;
                }
                let mut due = None;
                for correction in &corrections {
                    let resource = correction.resource;
                    let kind = require_correctable(tx, &actor, person, resource)?;
                    require_acceptable(kind, correction, &depicts_key)?;
                    let before = habeas_models::find_image(tx, resource)?.map(|image| image.doc.metadata);
                    if let Some(until) = tx.correct(resource, &correction.field, &correction.value)? {
                        changed += 1;
                        due = due.max(Some(until));
                        mention_corrector(tx, resource, actor.person())?;
                        if let (Some(before), Some(image)) =
                            (before, habeas_models::find_image(tx, resource)?)
                        {
                            let after = &image.doc.metadata;
                            depicted::link(tx, resource, image.holder, &before, after, &depicts_key)?;
                        }
                    }
                }
                if let Some(direct) = direct.as_ref().filter(|_| changed > 0) {
                    record_direct_change(tx, person, RequestType::Rectification, direct)?;
                }
                let forgetting =
                    if new_alias.is_some() { Some(tx.forget_aliases(&[old_alias])?) } else { None };
                Ok((changed, of_profile > 0, due, forgetting))
            })
            .await;
        let (changed, profile, due, forgetting): (u64, bool, Option<Timestamp>, _) = match (result, new_alias)
        {
            (Err(error), Some(alias)) => {
                self.store.drop_aliases(vec![alias]).await?;
                return Err(error);
            }
            (result, _) => result?,
        };
        fault::point("rectify.committed");
        if profile {
            self.store.reseal(person).await?;
        }
        self.store.finish(&Removed { tasks: forgetting.into_iter().collect(), ..Removed::default() }).await;
        if let (Some(_), Some(email)) = (new_alias, &new_email) {
            self.tie_depicted(email).await?;
        }
        let now = self.store.ambient().now();
        Ok(RectificationReport {
            person: self.person_report(person).await?,
            changed,
            old_values_unreadable: (changed > 0).then(|| due.unwrap_or(now).rfc3339()),
            address_change: None,
        })
    }
}

/// The kind of `resource`, when it is the person's, or the actor may change it, or is of the staff. Whatever is neither does not exist for the
/// actor.
fn require_correctable(tx: &mut Tx<'_>, actor: &Actor, person: Id, resource: Id) -> Result<Kind> {
    let missing = || Error::not_found("there is no such resource to correct");
    let (kind, _, holder) = tx.position(resource)?.ok_or_else(missing)?;
    match holder {
        _ if holder == person => Ok(()),
        // Receipts, requests and the like say what was.
        Id::NIL => Err(missing()),
        _ if staff_role(tx, actor)?.is_some() => match tx.holder(holder)? {
            Some((HolderKind::Person, _)) => record_staff(tx, holder, actor.reference(), "RectifyPerson"),
            _ => Ok(()),
        },
        _ => authorise(tx, actor, resource, Permission::Write),
    }?;
    // An address that was not the one to which the code went, or a place that was not allowed, could be put there.
    if kind == Kind::CaseFile {
        return Err(Error::invalid("what was said in a request is not corrected")
            .hint("add a note: POST /api/privacy/v1/requests/ID/comments"));
    }
    Ok(kind)
}

/// Ties whoever corrected something to it, or to what it stands under where that is looked through for them: they may have written their
/// own name, as whoever changes it otherwise.
fn mention_corrector(tx: &mut Tx<'_>, resource: Id, corrector: Option<Id>) -> Result<()> {
    let Some(node) = tx.raw(resource)? else { return Ok(()) };
    let above = match node.parent {
        Some(parent) => tx.raw(parent)?.filter(|above| written_under(above.kind).contains(&node.kind)),
        None => None,
    };
    tx.mention_editor_raw(&above.unwrap_or(node), corrector)
}

/// Refuses what would be refused where it is written for the first time.
fn require_acceptable(kind: Kind, correction: &Correction, depicts_key: &str) -> Result<()> {
    match (kind, correction.field.as_str()) {
        (Kind::Organisation, "name") => {
            correction.value.as_str().map_or(Ok(()), |name| text::holder_name(name).map(drop))
        }
        (Kind::Image | Kind::KeptImage, "metadata") => {
            let metadata: Option<BTreeMap<String, String>> =
                serde_json::from_value(correction.value.clone()).ok();
            metadata.map_or(Ok(()), |metadata| depicted::require_readable(&metadata, depicts_key))
        }
        // What is not of the form in which it is kept is refused with the rest.
        _ => Ok(()),
    }
}
