//! Persons without an account whom images name: looked for by exactly what they are called, taken up, linked.
//!
//! Nothing is made of a name until the staff ask for it. It is looked for in an index of what images say, one look for each project, and only
//! images that say it are opened. Whoever is taken up is a person like any other from then on: seen, exported and erased by the same requests.
//! A login name that somebody's programs sent, which may be another one's, is found by the same look, and corrected where it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use habeas_access::Actor;
use habeas_access::depicted::{self, Name};
use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{AccountType, ClientName, ImageDoc, PersonDoc, metadata_name};
use habeas_core::report::{DepictionReport, PersonReport};
use habeas_core::{AttrKey, Error, Id, Kind, Result, fault};
use habeas_store::Tx;

use crate::Rights;
use crate::requests::start_unasked_erasure;

/// Images read in one transaction.
const PAGE: u32 = 500;
/// Images of a holder that are named in a report.
const SHOWN: usize = 100;

impl Rights {
    /// Images whose metadata names somebody exactly so, by whose they are, and persons whose programs sent exactly this login name, for `actor`,
    /// who is of the staff: recorded with those and the person.
    pub async fn find_depicted(&self, actor: &Actor, text: &str) -> Result<Vec<DepictionReport>> {
        let name = Name::read(text)?;
        let (mut reports, mut concerned) = (Vec::new(), Vec::new());
        let (mut named, senders) = (self.named(&name).await?, self.senders_of(text.trim()).await?);
        for &sender in senders.keys() {
            named.entry(sender).or_default();
        }
        for (holder, images) in named {
            let person = name.person(&self.store, holder)?;
            concerned.push(holder);
            concerned.extend(person);
            reports.push(DepictionReport {
                holder: holder.to_string(),
                count: images.len() as u64,
                images: images.iter().take(SHOWN).map(Id::to_string).collect(),
                person: person.map(|person| person.to_string()),
                login_name: senders.get(&holder).map(Id::to_string),
            });
        }
        self.record_read(actor, &concerned, "FindDepicted").await?;
        Ok(reports)
    }

    /// Takes up the person whom images name so: ties them to those images, as the account with this address or, where there is none, as an
    /// unclaimed person. Any name but an e-mail address means one person for each holder of images, who is named then. May be repeated.
    pub async fn take_up(&self, text: &str, holder: Option<Id>) -> Result<PersonReport> {
        let name = Name::read(text)?;
        let mut named = self.named(&name).await?;
        let owner = match (&name, holder) {
            (Name::Email(_), None) => Id::NIL,
            (Name::Email(_), Some(_)) => {
                return Err(Error::invalid("an e-mail address means the same person in everybody's images")
                    .hint("leave `holder` out"));
            }
            (Name::Exact(_), Some(holder)) => {
                named.retain(|owner, _| *owner == holder);
                holder
            }
            (Name::Exact(_), None) => {
                return Err(Error::invalid("name the `holder` whose images call somebody so")
                    .hint("the same name in the images of two holders need not be the same person"));
            }
        };
        if named.is_empty() {
            return Err(Error::not_found("no image names anybody so"));
        }
        let person = match name.person(&self.store, owner)? {
            Some(person) => person,
            None => {
                let called = metadata_name(text.trim());
                let email = match &name {
                    Name::Email(_) => called.clone(),
                    Name::Exact(_) => String::new(),
                };
                let alias = name.alias(&self.store, owner)?;
                let profile = PersonDoc {
                    name: called,
                    email,
                    account_type: AccountType::Unclaimed,
                    named_by: holder,
                    email_corrected_by: None,
                };
                self.access.create_unclaimed(profile, alias).await?
            }
        };
        fault::point("unclaimed.made");
        self.tie(named.into_values().flatten()).await?;
        self.person_report(person).await
    }

    /// Ties a person to the images that name them by their address: of before they had the account, or the address.
    pub async fn tie_depicted(&self, email: &str) -> Result<()> {
        let named = self.named(&Name::read(email)?).await?;
        self.tie(named.into_values().flatten()).await
    }

    /// Says that an unclaimed person is the one with this account: what was tied to them is tied to the account, and they are erased, with a
    /// receipt. The caller has checked that the actor may act for both.
    pub async fn link_unclaimed(&self, unclaimed: Id, person: Id) -> Result<PersonReport> {
        let profile = self.access.require_unclaimed(unclaimed).await?.doc;
        if self.access.person(person).await?.doc.account_type == AccountType::Unclaimed {
            return Err(Error::invalid("an unclaimed person is linked to somebody with an account"));
        }
        let called = Name::of_unclaimed(&profile);
        let alias = called.alias(&self.store, profile.named_by.unwrap_or(Id::NIL))?;
        if self.store.find_alias(&alias) == Some(unclaimed) {
            self.store.drop_aliases(vec![alias]).await?;
        }
        self.store.with_keyring(move |keyring| keyring.put_aliases(&[(alias, person)])).await?;
        fault::point("unclaimed.alias_moved");
        let salt: [u8; 16] = self.store.ambient().bytes();
        let options = Arc::clone(&self.requests);
        self.store
            .write(move |tx| {
                for mention in tx.mentions_of(unclaimed)? {
                    if mention.role == MentionRole::Depicted {
                        tx.mention(mention.resource, person, MentionRole::Depicted)?;
                        tx.unmention(mention.resource, unclaimed, MentionRole::Depicted)?;
                    }
                }
                start_unasked_erasure(tx, unclaimed, salt, &options)
            })
            .await?;
        self.wake();
        self.person_report(person).await
    }

    /// Persons whose programs sent exactly this login name, with the resource that keeps it: one look for each person.
    async fn senders_of(&self, login: &str) -> Result<BTreeMap<Id, Id>> {
        let (mut senders, mut after) = (BTreeMap::new(), Id::NIL);
        loop {
            let login = login.to_owned();
            let (found, last) = self
                .store
                .read(move |tx| {
                    let mut found = Vec::new();
                    let persons = tx.holders(HolderKind::Person, after, PAGE)?;
                    for &(person, _) in &persons {
                        if tx.is_active(person)?
                            && let Some(node) = tx.child_by_name::<ClientName>(person, &login)?
                        {
                            found.push((person, node.id));
                        }
                    }
                    Ok((found, persons.last().map(|(person, _)| *person)))
                })
                .await?;
            senders.extend(found);
            match last {
                Some(last) => after = last,
                None => return Ok(senders),
            }
        }
    }

    /// Images that name somebody so, by their holders.
    async fn named(&self, name: &Name) -> Result<BTreeMap<Id, Vec<Id>>> {
        let key = self.models.depicts_key().to_owned();
        let (alike, mut named) = loop {
            let (part, name, key) = (name.part(&key), name.clone(), key.clone());
            let (looked, kept) = self
                .store
                .read(move |tx| {
                    Ok((
                        tx.everywhere_by_text(AttrKey::MetadataPart, &part)?,
                        kept_by_holds(tx, &name, &key)?,
                    ))
                })
                .await?;
            if looked.unindexed.is_empty() {
                break (looked.found, kept);
            }
            for project in looked.unindexed {
                self.read_names_anew(project).await?;
            }
        };
        for some in alike.chunks(PAGE as usize) {
            let (some, name, key) = (some.to_vec(), name.clone(), key.clone());
            let found = self.store.read(move |tx| {
                let mut found = Vec::new();
                for image in &some {
                    let Some((_, _, holder)) = tx.position(*image)? else { continue };
                    if tx.is_active(holder)?
                        && let Some(node) = habeas_models::find_image(tx, *image)?
                        && name.is_in(&node.doc.metadata, &key)
                    {
                        found.push((holder, node.id));
                    }
                }
                Ok(found)
            });
            for (holder, image) in found.await? {
                named.entry(holder).or_default().push(image);
            }
        }
        Ok(named)
    }

    /// Looks once more, and for the last time, for names in the images of every project that an earlier version wrote, which read them
    /// otherwise: until `stopping`.
    pub(crate) async fn read_all_names_anew(&self, stopping: impl Fn() -> bool) -> Result<()> {
        for project in self.store.read(|tx| tx.unindexed()).await? {
            if stopping() {
                break;
            }
            if let Err(error) = self.read_names_anew(project).await {
                tracing::warn!(
                    %project,
                    error = format_args!("{error:#}"),
                    "images were not read anew for whom they show: whoever looks for somebody, or the next start, does it"
                );
            }
        }
        Ok(())
    }

    /// Ties whom the images of a project name to them, and lets them be found by it.
    async fn read_names_anew(&self, project: Id) -> Result<()> {
        let images = self.store.read(move |tx| {
            let mut images = tx.children_ids(project, Kind::Image)?;
            images.extend(tx.children_ids(project, Kind::KeptImage)?);
            Ok(images)
        });
        self.tie(images.await?.into_iter().map(|(_, image)| image)).await?;
        // Last: a project that is indexed is read no more.
        self.store.index(project).await
    }

    async fn tie(&self, images: impl Iterator<Item = Id>) -> Result<()> {
        let images: Vec<Id> = images.collect();
        for some in images.chunks(PAGE as usize) {
            let (some, key) = (some.to_vec(), self.models.depicts_key().to_owned());
            self.store
                .write(move |tx| {
                    for image in &some {
                        if let Some(node) = habeas_models::find_image(tx, *image)? {
                            let said = &node.doc.metadata;
                            depicted::link(tx, node.id, node.holder, said, said, &key)?;
                        }
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

/// Images that legal holds keep of persons who were erased. They have nothing by which they are found, and are read one by one.
fn kept_by_holds(tx: &mut Tx<'_>, name: &Name, key: &str) -> Result<BTreeMap<Id, Vec<Id>>> {
    let mut named: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for kind in [Kind::Image, Kind::KeptImage] {
        let mut after = Id::NIL;
        loop {
            let kept = tx.held(Id::NIL, kind, after, PAGE)?;
            let Some(last) = kept.last() else { break };
            after = last.id;
            for node in &kept {
                let doc: ImageDoc = serde_json::from_slice(&node.doc)?;
                if name.is_in(&doc.metadata, key) {
                    named.entry(node.holder).or_default().push(node.id);
                }
            }
        }
    }
    Ok(named)
}
