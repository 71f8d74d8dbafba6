//! What Article 15(1) of the GDPR asks to be told, from the data map and from what happened.

use std::collections::BTreeMap;

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{
    CaseFile, Decisions, DeliveryState, Project, ProjectDoc, Recipient, Telemetry, TelemetryDoc,
};
use habeas_core::report::{HoldingsReport, MadeReport};
use habeas_core::{Id, Kind, Result, Timestamp, registry};
use habeas_store::{Order, Page, Tx};
use serde_json::{Value, json};

use crate::holdings::{kind_name, personal_kinds, role_title};
use crate::holds;
use crate::recipients::{self, NOTIFIED};
use crate::requests;

/// Resources read at a time.
const PAGE: u32 = 100;
/// Hours of telemetry that are looked through: all that is kept.
const HOURS: u64 = 24 * 90;

/// What a project's own address is sent.
const NOTICES: &str = "notices of trainings and exports";

/// Who was given data of a person, as far as the server knows.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    /// Addresses of projects that took notices, and since when. Nothing is ever sent to where a project wants its exports.
    addresses: Vec<(String, Id, Timestamp)>,
    /// Who holds copies of the person's images, by their random ids, and how many.
    copies: BTreeMap<Id, u64>,
    /// Persons by their random ids, with their role and where they have it.
    members: Vec<(Id, &'static str, Id)>,
    /// When staff looked, and what they did.
    staff: Vec<(String, String)>,
    /// Systems that received data of the person: name, since when, and which kinds; all of them when none are named.
    systems: Vec<(String, String, Option<Vec<String>>)>,
    /// Where archives of everything were sent, and when they arrived.
    archives: Vec<(String, String)>,
    /// Systems that were told of a request of the person's, the request, and when.
    notices: Vec<(String, Id, String)>,
}

impl Recipients {
    /// Reads them.
    pub(crate) fn of(tx: &mut Tx<'_>, person: Id) -> Result<Recipients> {
        let mut recipients = Recipients::default();
        for kind in [Kind::Account, Kind::Project] {
            let mut after = Id::NIL;
            loop {
                let nodes = tx.held(person, kind, after, PAGE)?;
                for node in &nodes {
                    after = node.id;
                    if kind == Kind::Project {
                        let project = tx.get::<Project>(node.id)?;
                        recipients.note_addresses(node.id, project.as_ref().map(|project| &project.doc));
                    }
                    // Whoever made or changed it need not be somebody who can still read it.
                    for mention in tx.mentioned_in(node.id)?.into_iter().filter(|mention| {
                        mention.person != person
                            && !matches!(mention.role, MentionRole::Maker | MentionRole::Editor)
                    }) {
                        recipients.members.push((mention.person, role_title(mention.role), node.id));
                    }
                }
                if (nodes.len() as u32) < PAGE {
                    break;
                }
            }
        }
        let page = Page { order: Order::Newest, skip: 0, take: HOURS };
        for TelemetryDoc { entries, .. } in
            tx.children::<Telemetry>(person, page)?.into_iter().map(|node| node.doc)
        {
            let staff = entries.into_iter().filter(|entry| entry.actor.is_some());
            recipients.staff.extend(staff.map(|entry| (entry.at.rfc3339(), entry.operation)));
        }
        recipients.staff.sort_unstable();
        recipients.note_systems(tx, person)?;
        recipients.note_copies(tx, person)?;
        Ok(recipients)
    }

    /// Whoever copied a project with its token, also from another copy: the holders of what an erasure of the person would reach.
    fn note_copies(&mut self, tx: &mut Tx<'_>, person: Id) -> Result<()> {
        for image in holds::images_of_others(tx, person, &Decisions::default())? {
            let holder = tx.position(image)?.map(|(_, _, holder)| holder);
            // What was copied back is the person's; what a hold keeps of somebody erased is nobody's.
            if let Some(holder) = holder.filter(|holder| *holder != person && *holder != Id::NIL) {
                *self.copies.entry(holder).or_default() += 1;
            }
        }
        Ok(())
    }

    fn note_systems(&mut self, tx: &mut Tx<'_>, person: Id) -> Result<()> {
        let systems = tx.children::<Recipient>(Id::NIL, Page::ALL)?;
        let received = recipients::concerned(tx, person)?.into_iter();
        self.systems =
            received.map(|node| (node.doc.name, node.created_at.rfc3339(), node.doc.kinds)).collect();
        for request in requests::of_person(tx, person)? {
            for entry in request.doc.history.iter().filter(|entry| entry.event == NOTIFIED) {
                let system = systems.iter().find(|system| Some(system.id) == entry.by);
                let name = match (system, entry.by) {
                    (Some(system), _) => system.doc.name.clone(),
                    // Its registration has ended since.
                    (None, by) => by.unwrap_or(Id::NIL).to_string(),
                };
                self.notices.push((name, request.id, entry.at.rfc3339()));
            }
        }
        for file in tx.children::<CaseFile>(person, Page::ALL)? {
            if let Some(sent) = file.doc.destination
                && sent.state == DeliveryState::Done
            {
                let at = sent.ended_at.unwrap_or(file.updated_at);
                self.archives.push((sent.place().to_owned(), at.rfc3339()));
            }
        }
        Ok(())
    }

    fn note_addresses(&mut self, project: Id, doc: Option<&ProjectDoc>) {
        let taken = doc.and_then(|doc| Some((doc.notification_queue_uri.clone()?, doc.notified_since?)));
        self.addresses.extend(taken.map(|(address, since)| (address, project, since)));
    }

    /// For a page: a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(|(address, project, since)| {
            format!("{address}, named in the project {project}, which receives {NOTICES} since {since}")
        });
        let copies = self
            .copies
            .iter()
            .map(|(holder, count)| format!("{holder}, by copying projects: {count} of your images"));
        let members =
            self.members.iter().map(|(id, role, place)| format!("the person {id}, as {role} of {place}"));
        let staff =
            self.staff.iter().map(|(at, operation)| format!("staff of this server: {operation}, {at}"));
        let systems = self.systems.iter().map(|(name, since, kinds)| {
            let what = match kinds.as_deref() {
                None => "all kinds of data".to_owned(),
                Some([]) => "data by the case".to_owned(),
                Some(kinds) => kinds.join(", "),
            };
            format!("{name}, which receives {what} since {since}")
        });
        let archives =
            self.archives.iter().map(|(place, at)| format!("{place}, an archive of everything, {at}"));
        let notices = self
            .notices
            .iter()
            .map(|(name, request, at)| format!("{name}, told that request {request} was completed, {at}"));
        addresses
            .chain(copies)
            .chain(members)
            .chain(staff)
            .chain(systems)
            .chain(archives)
            .chain(notices)
            .collect()
    }

    fn json(&self) -> Value {
        json!({
            "addresses": self.addresses.iter()
                .map(|(address, project, since)| json!({
                    "address": address, "receives": NOTICES, "project": project, "since": since.rfc3339(),
                }))
                .collect::<Vec<_>>(),
            "copies": self.copies.iter()
                .map(|(holder, count)| json!({ "holder": holder, "images": count }))
                .collect::<Vec<_>>(),
            "persons": self.members.iter()
                .map(|(id, role, resource)| json!({ "person": id, "role": role, "resource": resource }))
                .collect::<Vec<_>>(),
            "staff": self.staff.iter()
                .map(|(at, operation)| json!({ "minute": at, "operation": operation }))
                .collect::<Vec<_>>(),
            "systems": self.systems.iter()
                .map(|(name, since, kinds)| json!({ "name": name, "since": since, "kinds": kinds }))
                .collect::<Vec<_>>(),
            "archives": self.archives.iter()
                .map(|(place, at)| json!({ "sentTo": place, "at": at }))
                .collect::<Vec<_>>(),
            "notices": self.notices.iter()
                .map(|(name, request, at)| json!({ "to": name, "request": request, "at": at }))
                .collect::<Vec<_>>(),
        })
    }
}

pub(crate) const RIGHTS: &str = "You may ask for rectification, erasure or restriction, object to processing, and take this archive elsewhere.";
pub(crate) const COMPLAINT: &str = "You may complain to a supervisory authority.";
pub(crate) const SOURCE: &str = "What is in this archive came from you, from programs that used your keys, from people you share resources with or whose images name you, or from an archive that was brought in for you.";
pub(crate) const DECISIONS: &str =
    "None. Models label images; the server draws no conclusion about a person from that.";
pub(crate) const TRANSFERS: &str =
    "This server sends nothing by itself; the addresses under (c) were named to it, and took what was sent.";

/// `article-15.json`: the eight points of the paragraph, and the transfers of the second, each with its answer.
pub(crate) fn article_15(holdings: &HoldingsReport, recipients: &Recipients) -> Value {
    let about = |answer: &dyn Fn(Kind) -> Value| -> Vec<Value> {
        personal_kinds()
            .map(|kind| {
                let mut value = answer(kind);
                value["kind"] = json!(kind_name(kind));
                value["title"] = json!(registry::ops(kind).about().title);
                value
            })
            .collect()
    };
    let held = |kind: Kind| holdings.items.iter().find(|item| item.kind == kind_name(kind));
    let of_others = |work: &[MadeReport], kind: Kind| {
        work.iter().find(|report| report.kind == kind_name(kind)).map_or(0, |report| report.count)
    };
    json!({
        "person": holdings.person.object_id,
        "counted": holdings.counted,
        "a": { "question": "the purposes", "answer": about(&|kind| {
            let about = registry::ops(kind).about();
            json!({ "purpose": about.purpose, "legalBasis": about.legal_basis })
        }) },
        "b": { "question": "the categories of data", "answer": about(&|kind| json!({
            "count": held(kind).map_or(0, |item| item.count),
            "madeForOthers": of_others(&holdings.made, kind),
            "changedForOthers": of_others(&holdings.changed, kind),
            "fields": registry::ops(kind).fields().iter()
                .map(|field| json!({ "name": field.name, "class": field.class.name(), "why": field.why }))
                .collect::<Vec<_>>(),
        })) },
        "c": { "question": "the recipients", "answer": recipients.json(), "whoMay": about(&|kind| {
            json!({ "recipients": registry::ops(kind).about().recipients })
        }) },
        "d": { "question": "how long it is kept", "answer": about(&|kind| {
            let rule = registry::ops(kind).about().retention;
            json!({ "retention": rule.to_string(), "deletionClass": rule.class(), "countedFrom": rule.starts() })
        }) },
        "e": { "question": "your rights", "answer": RIGHTS },
        "f": { "question": "complaint", "answer": COMPLAINT },
        "g": { "question": "the source", "answer": SOURCE },
        "h": { "question": "automated decisions", "answer": DECISIONS },
        "transfers": { "question": "transfers to other countries (Article 15(2))", "answer": TRANSFERS },
    })
}
