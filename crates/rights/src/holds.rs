//! Legal holds: placed, listed and released by the staff.

use std::collections::BTreeSet;

use habeas_access::Actor;
use habeas_core::kinds::{Decisions, Hold, HoldDoc};
use habeas_core::node::Relation;
use habeas_core::report::{HeldReport, HoldReport};
use habeas_core::{Error, Id, Node, Result, Timestamp};
use habeas_store::{NewHold, Tx};

use crate::holdings::kind_name;
use crate::{Rights, depicted};

/// The longest matter or reason, in bytes.
const TEXT: usize = 1_000;

/// A hold to be placed.
#[derive(Clone, Debug)]
pub struct PlaceHold {
    /// A person, an organisation, or anything they hold: kept with all that stands under it.
    pub target: Id,
    /// The case it serves, as the staff call it.
    pub matter: String,
    /// Why that is lawful.
    pub reason: String,
    /// When it ends by itself; in the future.
    pub until: Option<Timestamp>,
}

impl Rights {
    /// Places a hold. The caller has checked that the actor is of the staff.
    pub async fn place_hold(&self, actor: &Actor, new: PlaceHold) -> Result<HoldReport> {
        self.require_in_person(actor)?;
        let text = |name: &str, text: &str| {
            let text = text.trim().to_owned();
            if text.is_empty() || text.len() > TEXT {
                return Err(Error::invalid(format!("a hold has a {name} of 1 to {TEXT} bytes")));
            }
            Ok(text)
        };
        self.require_to_come(new.until)?;
        let new = NewHold {
            target: new.target,
            matter: text("matter", &new.matter)?,
            reason: text("reason", &new.reason)?,
            placed_by: actor.person(),
            until: new.until,
        };
        let node = self.store.place_hold(new).await?;
        self.store.read(move |tx| report(tx, &node)).await
    }

    /// Moves the day on which a hold ends by itself; without one it lasts until it is released. The caller has checked that the actor is of the
    /// staff. Recorded with whose data is held.
    pub async fn extend_hold(&self, actor: &Actor, hold: Id, until: Option<Timestamp>) -> Result<HoldReport> {
        self.require_in_person(actor)?;
        self.require_to_come(until)?;
        let holder = self
            .store
            .read(move |tx| {
                let node = tx.get::<Hold>(hold)?.ok_or_else(|| Error::not_found("there is no such hold"))?;
                Ok(tx.position(node.doc.target)?.map(|(_, _, holder)| holder))
            })
            .await?;
        self.record_read(actor, holder.as_slice(), "ExtendHold").await?;
        let node = self.store.extend_hold(hold, until).await?;
        self.store.read(move |tx| report(tx, &node)).await
    }

    fn require_to_come(&self, until: Option<Timestamp>) -> Result<()> {
        if until.is_some_and(|until| until <= self.store.ambient().now()) {
            return Err(Error::invalid("a hold ends in the future")
                .hint("without `until` it lasts until somebody releases it"));
        }
        Ok(())
    }

    /// All holds, or those on what `holder` holds, oldest first, for `actor`, who is of the staff: recorded with whose data is held.
    pub async fn holds(&self, actor: &Actor, holder: Option<Id>) -> Result<Vec<HoldReport>> {
        let (reports, holders) = self
            .store
            .read(move |tx| {
                let nodes = tx.holds()?;
                let (mut reports, mut holders) = (Vec::new(), Vec::new());
                for node in &nodes {
                    let position = tx.position(node.doc.target)?;
                    let of = position.map(|(_, _, holder)| holder).filter(|holder| *holder != Id::NIL);
                    if holder.is_none_or(|holder| of == Some(holder)) {
                        reports.push(report(tx, node)?);
                        holders.extend(of);
                    }
                }
                Ok((reports, holders))
            })
            .await?;
        self.record_read(actor, &holders, "GetHolds").await?;
        Ok(reports)
    }

    /// Ends a hold whose day has come; erasures that waited for it go on by themselves. False when it does not end now: somebody has ended it,
    /// or moved its day.
    pub(crate) async fn end_due_hold(&self, hold: Id) -> Result<bool> {
        if self.store.read(move |tx| tx.get::<Hold>(hold)).await?.is_none() {
            return Ok(false);
        }
        let ended = self.store.end_due_hold(hold).await?;
        self.wake();
        Ok(ended)
    }

    /// Ends a hold; erasures that waited for it go on by themselves.
    pub async fn release_hold(&self, hold: Id) -> Result<()> {
        self.store
            .read(move |tx| {
                tx.get::<Hold>(hold)?.map(|_| ()).ok_or_else(|| Error::not_found("there is no such hold"))
            })
            .await?;
        self.store.end_hold(hold).await?;
        self.wake();
        Ok(())
    }
}

fn report(tx: &mut Tx<'_>, node: &Node<HoldDoc>) -> Result<HoldReport> {
    let position = tx.position(node.doc.target)?;
    Ok(HoldReport {
        id: node.id.to_string(),
        target: node.doc.target.to_string(),
        kind: position.map(|(kind, _, _)| kind_name(kind)),
        holder: position.filter(|(_, _, holder)| *holder != Id::NIL).map(|(_, _, holder)| holder.to_string()),
        matter: node.doc.matter.clone(),
        reason: node.doc.reason.clone(),
        placed_by: node.doc.placed_by.map(|person| person.to_string()),
        placed: node.created_at.rfc3339(),
        until: node.expires_at.map(Timestamp::rfc3339),
    })
}

/// What holds keep of a holder, for a plan: outer holds before those within, then images in projects of others, whose holds are not told
/// about in words.
pub(crate) fn held(tx: &mut Tx<'_>, holder: Id, decisions: &Decisions) -> Result<Vec<HeldReport>> {
    let mut held = Vec::new();
    for part in tx.held_parts(holder)? {
        let resources = part.counts.values().sum();
        held.push(held_report(tx, part.hold, part.target, resources)?);
    }
    for (hold, image) in held_elsewhere(tx, holder, decisions)? {
        held.push(HeldReport {
            matter: String::new(),
            reason: "an image in a project of somebody else is under a legal hold there".to_owned(),
            ..held_report(tx, hold, image, 1)?
        });
    }
    Ok(held)
}

/// Images that would be erased in projects of others and must be kept there, each after the hold that keeps it.
pub(crate) fn held_elsewhere(tx: &mut Tx<'_>, holder: Id, decisions: &Decisions) -> Result<Vec<(Id, Id)>> {
    let mut held = Vec::new();
    for image in images_of_others(tx, holder, decisions)? {
        held.extend(tx.held_by(image)?.map(|hold| (hold, image)));
    }
    Ok(held)
}

/// Images in projects of others that go with a holder: copies of theirs and, if that was decided, those that show them, with their copies.
pub(crate) fn images_of_others(tx: &mut Tx<'_>, holder: Id, decisions: &Decisions) -> Result<BTreeSet<Id>> {
    let mut images: Vec<Id> =
        tx.edges_from_others(holder, Relation::CopyOf)?.into_iter().map(|(copy, _)| copy).collect();
    if decisions.erase_depicted {
        images.extend(depicted::images(tx, holder)?);
    }
    habeas_models::with_copies(tx, &images)
}

/// When a hold ends by itself.
pub(crate) fn end(tx: &mut Tx<'_>, hold: Id) -> Result<Option<Timestamp>> {
    Ok(tx.get::<Hold>(hold)?.and_then(|node| node.expires_at))
}

fn held_report(tx: &mut Tx<'_>, hold: Id, target: Id, resources: u64) -> Result<HeldReport> {
    let node = tx.get::<Hold>(hold)?.ok_or_else(|| Error::damaged("a hold has no document"))?;
    Ok(HeldReport {
        hold: hold.to_string(),
        matter: node.doc.matter,
        reason: node.doc.reason,
        until: node.expires_at.map(Timestamp::rfc3339),
        target: target.to_string(),
        kind: tx.position(target)?.map(|(kind, _, _)| kind_name(kind)).unwrap_or_default(),
        resources,
    })
}
