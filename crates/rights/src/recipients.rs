//! Telling recipients what was done about a person's data (GDPR Article 19): by webhooks, signed as Standard Webhooks has it.
//!
//! A recipient learns the request, what was done, under which law, and the object id by which it knows the person: nothing else. Only those
//! are told that received data of the person: whoever receives everything, or a kind of which something is held, or was given it in a case
//! that was recorded.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use habeas_core::crypto::{self, SecretKey};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Recipient, RecipientDoc, Request};
use habeas_core::report::ToldReport;
use habeas_core::requests::{RequestState, RequestType};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::{New, Page, Tx};
use serde_json::json;
use url::Url;

use crate::Rights;
use crate::delivering::Delivery;
use crate::holdings::{kind_name, personal_kinds};
use crate::requests::Case;

/// The longest name, in bytes.
const NAME_LENGTH: usize = 100;
/// Recipients of a deployment at most.
const MOST: usize = 100;
/// What the history of a request says when a recipient was told.
pub(crate) const NOTIFIED: &str = "recipientNotified";

/// A recipient that was registered, with the secret that is shown once.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// Its id.
    pub id: Id,
    /// `whsec_` and the key in base64, as Standard Webhooks spells secrets.
    pub secret: String,
}

/// What is to be changed of a recipient.
#[derive(Clone, Debug, Default)]
pub struct RecipientChange {
    /// The name by which persons are told of it.
    pub name: Option<String>,
    /// Where it is told.
    pub url: Option<String>,
    /// Whether it gets another secret.
    pub renews_secret: bool,
}

impl Rights {
    /// Registers a recipient that is told at `url`. `kinds` are those that it receives of everybody, by name; every kind when there is no
    /// list.
    pub async fn register_recipient(
        &self,
        name: &str,
        url: &str,
        kinds: Option<Vec<String>>,
    ) -> Result<NewRecipient> {
        let name = checked_name(name)?;
        self.outgoing().check(url)?;
        let known: HashSet<String> = personal_kinds().map(kind_name).collect();
        if kinds.iter().flatten().any(|kind| !known.contains(kind)) {
            return Err(Error::invalid("a recipient receives kinds of data that persons hold")
                .hint("see `kind` in /api/privacy/v1/kinds"));
        }
        let secret = self.new_secret();
        let shown = shown(&secret);
        let id = self.store.ambient().new_id();
        let doc = RecipientDoc { name, url: url.to_owned(), secret, kinds };
        self.store
            .write(move |tx| {
                let all = tx.children::<Recipient>(Id::NIL, Page::ALL)?;
                if all.len() >= MOST {
                    return Err(Error::limit(format!("a deployment has at most {MOST} recipients")));
                }
                require_unused(&all, id, &doc.name)?;
                tx.create::<Recipient>(New::under(Id::NIL, id, doc.clone())).map(|_| ())
            })
            .await?;
        Ok(NewRecipient { id, secret: shown })
    }

    /// The recipients, oldest first.
    pub async fn recipients(&self) -> Result<Vec<Node<RecipientDoc>>> {
        self.store.read(|tx| tx.children::<Recipient>(Id::NIL, Page::ALL)).await
    }

    /// Gives a recipient another name or address, or a new secret, which is shown this once; whose data it received stays known. What it is still
    /// to be told goes to the new address, under the new secret.
    pub async fn change_recipient(
        &self,
        id: Id,
        change: RecipientChange,
    ) -> Result<(Node<RecipientDoc>, Option<String>)> {
        let name = change.name.as_deref().map(checked_name).transpose()?;
        if let Some(url) = &change.url {
            self.outgoing().check(url)?;
        }
        let secret = change.renews_secret.then(|| self.new_secret());
        let shown = secret.as_deref().map(shown);
        let node = self
            .store
            .write(move |tx| {
                let all = tx.children::<Recipient>(Id::NIL, Page::ALL)?;
                let mut node = tx.get::<Recipient>(id)?.ok_or_else(no_recipient)?;
                if let Some(name) = &name {
                    require_unused(&all, id, name)?;
                    node.doc.name.clone_from(name);
                }
                node.doc.url = change.url.clone().unwrap_or(node.doc.url);
                node.doc.secret = secret.clone().unwrap_or(node.doc.secret);
                tx.update::<Recipient>(&node)
            })
            .await?;
        Ok((node, shown))
    }

    fn new_secret(&self) -> String {
        STANDARD.encode(self.store.ambient().bytes::<32>())
    }

    /// Ends a registration; what it was to be told still is dropped, and that it received data is forgotten.
    pub async fn remove_recipient(&self, id: Id) -> Result<()> {
        let removed = self
            .store
            .write(move |tx| {
                tx.get::<Recipient>(id)?.ok_or_else(no_recipient)?;
                tx.remove(id)
            })
            .await?;
        self.store.finish(&removed).await;
        Ok(())
    }

    /// Records that a person's data was given to a recipient. Goes with the person.
    pub async fn record_disclosure(&self, recipient: Id, person: Id) -> Result<()> {
        self.store
            .write(move |tx| {
                tx.get::<Recipient>(recipient)?.ok_or_else(no_recipient)?;
                tx.mention(recipient, person, MentionRole::Disclosed)
            })
            .await
    }

    /// Tells a recipient that a request was completed, and records in the request that it was told.
    pub async fn tell_recipient(&self, task: Id, recipient: Id, request: Id) -> Result<()> {
        let gone = || Error::not_found("the recipient or the request is gone");
        let (recipient, doc) = self
            .store
            .read(move |tx| {
                let recipient = tx.get::<Recipient>(recipient)?.ok_or_else(gone)?;
                Ok((recipient, tx.get::<Request>(request)?.ok_or_else(gone)?.doc))
            })
            .await?;
        let now = self.store.ambient().now();
        let body = json!({
            "type": format!("privacy.{}.completed", doc.asked.name()),
            "timestamp": now.rfc3339(),
            "data": {
                "request": request,
                "subject": doc.subject,
                "regime": doc.regime,
                "withHolds": doc.state == RequestState::CompletedWithHolds,
                "receipt": doc.receipt,
            },
        });
        let body = Bytes::from(body.to_string());
        // The same id with every try, so that the far end recognises what it has taken already.
        let (id, at) = (task.to_string(), now.seconds().to_string());
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &body].concat();
        let key = STANDARD.decode(&recipient.doc.secret).ok().and_then(|key| key.try_into().ok());
        let key =
            SecretKey::from_bytes(key.ok_or_else(|| Error::damaged("a recipient's key cannot be read"))?);
        let signature = format!("v1,{}", STANDARD.encode(crypto::mac(&key, &signed)));
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        self.outgoing().deliver(&recipient.doc.url, &headers, body).await?;
        self.store
            .write(move |tx| {
                let mut case = Case::open(tx, request)?;
                case.note(NOTIFIED, Some(recipient.id));
                case.save()
            })
            .await
    }
}

fn no_recipient() -> Error {
    Error::not_found("there is no such recipient")
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_LENGTH {
        return Err(Error::invalid(format!("a recipient has a name of 1 to {NAME_LENGTH} bytes")));
    }
    Ok(name.to_owned())
}

/// Fails when another recipient than `id` has this name.
fn require_unused(all: &[Node<RecipientDoc>], id: Id, name: &str) -> Result<()> {
    if all.iter().any(|other| other.id != id && other.doc.name == name) {
        return Err(Error::conflict("there is a recipient of this name already"));
    }
    Ok(())
}

/// A secret as Standard Webhooks spells it.
fn shown(secret: &str) -> String {
    format!("whsec_{secret}")
}

/// The recipients that received data of a person, oldest first.
pub(crate) fn concerned(tx: &mut Tx<'_>, person: Id) -> Result<Vec<Node<RecipientDoc>>> {
    let mut recipients = tx.children::<Recipient>(Id::NIL, Page::ALL)?;
    if recipients.is_empty() {
        return Ok(recipients);
    }
    let disclosed = tx.mentions_of(person)?.into_iter();
    let disclosed: HashSet<Id> = disclosed
        .filter(|mention| mention.role == MentionRole::Disclosed)
        .map(|mention| mention.resource)
        .collect();
    let held: HashSet<String> =
        tx.holdings(person)?.into_iter().map(|holding| kind_name(holding.kind)).collect();
    recipients.retain(|node| {
        let kinds = node.doc.kinds.as_ref();
        kinds.is_none_or(|kinds| kinds.iter().any(|kind| held.contains(kind))) || disclosed.contains(&node.id)
    });
    Ok(recipients)
}

/// The same, as plans and receipts name them.
pub(crate) fn told(tx: &mut Tx<'_>, person: Id) -> Result<Vec<ToldReport>> {
    let concerned = concerned(tx, person)?.into_iter();
    Ok(concerned.map(|node| ToldReport { recipient: node.id.to_string(), name: node.doc.name }).collect())
}

/// Notes that an archive of a person's data arrived at `place`, if that belongs to a recipient: it has the same origin.
pub(crate) fn note_arrival(tx: &mut Tx<'_>, person: Id, place: &str) -> Result<()> {
    let Ok(place) = Url::parse(place) else { return Ok(()) };
    for recipient in tx.children::<Recipient>(Id::NIL, Page::ALL)? {
        if Url::parse(&recipient.doc.url).is_ok_and(|url| url.origin() == place.origin()) {
            tx.mention(recipient.id, person, MentionRole::Disclosed)?;
        }
    }
    Ok(())
}

/// Enqueues what recipients are to be told of a request that has just been completed.
pub(crate) fn enqueue_notices(tx: &mut Tx<'_>, request: Id, asked: RequestType, told: &[Id]) -> Result<()> {
    if matches!(asked, RequestType::Access | RequestType::Portability) {
        return Ok(());
    }
    for &recipient in told {
        Delivery::Notice { recipient, request }.enqueue(tx)?;
    }
    Ok(())
}
