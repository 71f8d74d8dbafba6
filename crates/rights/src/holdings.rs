//! What is held on a person, counted and shown.

use habeas_access::Actor;
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Person, PersonDoc};
use habeas_core::report::{
    ActivityReport, FactReport, HoldingReport, HoldingsReport, ItemPage, ItemReport, MadeReport,
    MentionReport, PersonReport,
};
use habeas_core::{Error, Id, Kind, Node, Result, registry};
use habeas_store::{HolderState, Tx};

use crate::Rights;

/// Items on a page at most.
const PAGE: u32 = 100;
/// What an erasure does where a person is only tied to something.
const STAYS: &str = "the connection is deleted; the resource is its holder's and stays";

impl Rights {
    /// Everything held on a person, by kind.
    pub async fn holdings(&self, person: Id) -> Result<HoldingsReport> {
        self.store.read(move |tx| holdings(tx, person)).await
    }

    /// A person's profile.
    pub async fn person_report(&self, person: Id) -> Result<PersonReport> {
        self.access.person(person).await.map(|node| person_report(&node))
    }

    /// The profiles of all persons, in the order of ids, after `after`, for `actor`, who is of the staff: recorded with each of them.
    pub async fn person_reports(&self, actor: &Actor, after: Id, limit: u32) -> Result<Vec<PersonReport>> {
        let persons = self.access.persons(after, limit).await?;
        let ids: Vec<Id> = persons.iter().map(|node| node.id).collect();
        self.record_read(actor, &ids, "ListPersons").await?;
        Ok(persons.iter().map(person_report).collect())
    }

    /// What is held of one kind, in the order of ids.
    pub async fn items(
        &self,
        person: Id,
        kind: Kind,
        after: Option<Id>,
        limit: Option<u32>,
    ) -> Result<ItemPage> {
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        self.store
            .read(move |tx| {
                let nodes = tx.held(person, kind, after.unwrap_or(Id::NIL), limit)?;
                let next = (nodes.len() as u32 == limit)
                    .then(|| nodes.last().map(|node| node.id.to_string()))
                    .flatten();
                let items = nodes
                    .iter()
                    .map(|node| {
                        let view = registry::ops(kind).view(node)?;
                        Ok(ItemReport {
                            id: node.id.to_string(),
                            kind: kind_name(kind),
                            title: view.title,
                            created: node.created_at.rfc3339(),
                            facts: view
                                .facts
                                .into_iter()
                                .map(|(label, value)| FactReport { label: label.to_owned(), value })
                                .collect(),
                        })
                    })
                    .collect::<Result<_>>()?;
                Ok(ItemPage { items, next })
            })
            .await
    }

    /// What others hold of one kind that a person made, or changed where others made it, as `role` says, in the order of ids: that it is there,
    /// since when and in what, and nothing of what is in it, which is its holder's.
    pub async fn work_for_others(
        &self,
        person: Id,
        role: MentionRole,
        kind: Kind,
        after: Option<Id>,
        limit: Option<u32>,
    ) -> Result<ItemPage> {
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let made = self
            .store
            .read(move |tx| tx.work_for_others((person, role), kind, after.unwrap_or(Id::NIL), limit))
            .await?;
        let next = (made.len() as u32 == limit)
            .then(|| made.last().map(|mention| mention.resource.to_string()))
            .flatten();
        let items = made
            .iter()
            .map(|mention| ItemReport {
                id: mention.resource.to_string(),
                kind: kind_name(mention.kind),
                title: format!("{} {}", kind_name(mention.kind), mention.resource),
                created: mention.since.rfc3339(),
                facts: vec![FactReport { label: "In".to_owned(), value: mention.within.to_string() }],
            })
            .collect();
        Ok(ItemPage { items, next })
    }

    /// What was done in a person's name, or by staff with their data, newest first: all that is kept.
    pub async fn activity(&self, person: Id) -> Result<Vec<ActivityReport>> {
        let segments = self.access.telemetry().of(person).await?;
        let mut entries: Vec<_> = segments.into_iter().flat_map(|segment| segment.entries).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        Ok(entries
            .into_iter()
            .map(|entry| ActivityReport {
                minute: entry.at.rfc3339(),
                operation: entry.operation,
                status: entry.status,
                by: if entry.actor.is_some() { "staff" } else { "you" }.to_owned(),
                count: entry.count,
            })
            .collect())
    }
}

/// The name of a kind in reports and addresses: as the data map has it.
pub fn kind_name(kind: Kind) -> String {
    format!("{kind:?}")
}

pub(crate) fn person_report(node: &Node<PersonDoc>) -> PersonReport {
    PersonReport {
        object_id: node.id.to_string(),
        email: node.doc.email.clone(),
        name: node.doc.name.clone(),
        account_type: node.doc.account_type.name().to_owned(),
        created: node.created_at.rfc3339(),
    }
}

pub(crate) fn holdings(tx: &mut Tx<'_>, person: Id) -> Result<HoldingsReport> {
    let profile = tx.get::<Person>(person)?.ok_or_else(|| Error::not_found("there is no such person"))?;
    let held = tx.holdings(person)?;
    let items: Vec<HoldingReport> = personal_kinds()
        .map(|kind| {
            let about = registry::ops(kind).about();
            let holding = held.iter().find(|holding| holding.kind == kind);
            HoldingReport {
                service: about.service.to_owned(),
                kind: kind_name(kind),
                title: about.title.to_owned(),
                count: holding.map_or(0, |holding| holding.count),
                bytes: holding.map_or(0, |holding| holding.bytes),
                why: about.purpose.to_owned(),
                until: about.retention.to_string(),
                next_expiry: holding
                    .and_then(|holding| holding.next_expiry)
                    .map(habeas_core::Timestamp::rfc3339),
            }
        })
        .collect();
    let mentions = tx
        .mentions_of(person)?
        .into_iter()
        .map(|mention| MentionReport {
            resource: mention.resource.to_string(),
            kind: kind_name(mention.kind),
            role: role_title(mention.role).to_owned(),
            since: mention.since.rfc3339(),
            on_erasure: match mention.role {
                MentionRole::Depicted => {
                    "your name is taken out of it; the plan of an erasure can also have it deleted, and models forget it"
                }
                _ => STAYS,
            }
            .to_owned(),
        })
        .collect();
    let mut work = |role: MentionRole| -> Result<Vec<MadeReport>> {
        let counts = tx.count_work_for_others(person, role)?.into_iter();
        Ok(counts
            .map(|(kind, count)| {
                let about = registry::ops(kind).about();
                MadeReport {
                    service: about.service.to_owned(),
                    kind: kind_name(kind),
                    title: about.title.to_owned(),
                    count,
                    on_erasure: STAYS.to_owned(),
                }
            })
            .collect())
    };
    let (made, changed) = (work(MentionRole::Maker)?, work(MentionRole::Editor)?);
    Ok(HoldingsReport {
        person: person_report(&profile),
        restricted: matches!(tx.holder(person)?, Some((_, HolderState::Restricted))),
        counted: tx.now().rfc3339(),
        mentions,
        made,
        changed,
        total_count: items.iter().map(|item| item.count).sum(),
        total_bytes: items.iter().map(|item| item.bytes).sum(),
        items,
    })
}

/// The kinds that a person can hold: all but those that stand under the installation.
pub(crate) fn personal_kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| {
        *kind != Kind::Installation
            && *kind != Kind::Organisation
            && !registry::ops(*kind).parents().contains(&Kind::Installation)
    })
}

pub(crate) fn role_title(role: MentionRole) -> &'static str {
    match role {
        MentionRole::Administrator => "administrator",
        MentionRole::PrivacyOfficer => "privacy officer",
        MentionRole::Contributor => "contributor",
        MentionRole::Reader => "reader",
        MentionRole::Owner => "owner",
        MentionRole::Subject => "the person it is about",
        MentionRole::Trainer => "trainer",
        MentionRole::Labeler => "labeler",
        MentionRole::Deployment => "deployment",
        MentionRole::Disclosed => "data given to this recipient",
        MentionRole::Depicted => "depicted",
        MentionRole::Maker => "who made it",
        MentionRole::Editor => "who changed it",
    }
}
