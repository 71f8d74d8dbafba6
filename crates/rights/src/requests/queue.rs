//! The queue of requests, and one of them in full.

use std::collections::BTreeMap;

use habeas_access::Actor;
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{PlannedErasure, Request, RequestDoc};
use habeas_core::node::AttrKey;
use habeas_core::report::{
    PlanDifferenceReport, PlanReport, RequestPage, RequestPlanReport, RequestReport, RequestStatusReport,
};
use habeas_core::requests::{RequestState, RequestType};
use habeas_core::{Error, Id, Kind, Node, Result};
use habeas_store::{Between, Tx};

use super::{no_request, report, reported, status};
use crate::holdings::kind_name;
use crate::{Rights, plan};

/// Requests on a page at most.
const PAGE: u32 = 100;

/// Which requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFilter {
    /// Numbers of the first and last state; see [`RequestState::numbers_of`].
    pub states: Option<(i16, i16)>,
    /// What is asked for.
    pub asked: Option<RequestType>,
    /// Only those whose time to answer is over.
    pub overdue: bool,
    /// The last of the page before.
    pub after: Option<Id>,
    /// How many, at most 100.
    pub limit: Option<u32>,
}

impl RequestFilter {
    /// Those on which something is still to be done.
    pub const OPEN: (i16, i16) = (RequestState::Received.number(), RequestState::FailedIrrevocably.number());
}

impl Rights {
    /// Requests, newest first, without what was said in them. For the staff: recorded with each person whom one on the page is about.
    pub async fn list_requests(&self, actor: &Actor, filter: RequestFilter) -> Result<RequestPage> {
        self.require_staff(actor).await?;
        let limit = filter.limit.unwrap_or(PAGE).clamp(1, PAGE);
        let (page, subjects) = self
            .store
            .read(move |tx| {
                let mut conditions = Vec::new();
                if let Some((from, to)) = filter.states {
                    let key = AttrKey::RequestState;
                    conditions.push(Between { key, from: f64::from(from), to: f64::from(to) });
                }
                if let Some(asked) = filter.asked {
                    let number = f64::from(asked.number());
                    conditions.push(Between { key: AttrKey::RequestType, from: number, to: number });
                }
                if filter.overdue {
                    let to = (tx.now().0 - 1) as f64;
                    conditions.push(Between { key: AttrKey::Due, from: f64::MIN, to });
                }
                let nodes = tx.children_between::<Request>(Id::NIL, &conditions, filter.after, limit)?;
                let next = (nodes.len() as u32 == limit)
                    .then(|| nodes.last().map(|node| node.id.to_string()))
                    .flatten();
                let now = tx.now();
                let requests = nodes.iter().map(|node| reported(node, None, now)).collect();
                let subjects: Vec<Id> = nodes.iter().filter_map(|node| node.doc.subject).collect();
                Ok((RequestPage { requests, next }, subjects))
            })
            .await?;
        self.record_read(actor, &subjects, "ListRequests").await?;
        Ok(page)
    }

    /// The requests of a person, newest first.
    pub async fn requests_of(&self, person: Id) -> Result<Vec<RequestReport>> {
        self.store
            .read(move |tx| {
                let nodes = of_person(tx, person)?;
                nodes.iter().rev().map(|node| report(tx, node)).collect()
            })
            .await
    }

    /// A request in full, for whoever may see it.
    pub async fn request(&self, actor: &Actor, request: Id) -> Result<RequestReport> {
        let node = self.authorise_request(actor, request, "GetRequest").await?;
        self.store.read(move |tx| report(tx, &node)).await
    }

    /// How far a request has come, for whoever has its id.
    pub async fn request_status(&self, request: Id) -> Result<RequestStatusReport> {
        self.store
            .read(move |tx| {
                let node = tx.get::<Request>(request)?.ok_or_else(no_request)?;
                status(tx, &node)
            })
            .await
    }

    /// What the erasure that a request asks for would do now, and what has changed since its plan was made or approved.
    pub async fn request_plan(&self, actor: &Actor, request: Id) -> Result<RequestPlanReport> {
        let node = self.authorise_request(actor, request, "GetRequestPlan").await?;
        let kept = self.requests.kept_address();
        self.store
            .read(move |tx| {
                let doc = &node.doc;
                let no_plan = || Error::not_found("there is nothing to plan for this request");
                if doc.asked != RequestType::Erasure || !doc.state.is_open() {
                    return Err(no_plan());
                }
                let mut plan = plan::make(tx, doc.subject.ok_or_else(no_plan)?, &doc.decisions)?;
                plan.kept.extend(kept.clone());
                Ok(compared(doc, plan))
            })
            .await
    }
}

/// A plan as it is made now, beside what a request had planned or had approved last.
pub(super) fn compared(doc: &RequestDoc, plan: PlanReport) -> RequestPlanReport {
    let changed = doc.plan.as_ref().is_some_and(|before| before.digest != plan.digest);
    let difference = doc.plan.as_ref().map(|before| difference(before, &plan)).unwrap_or_default();
    RequestPlanReport { plan, changed, difference }
}

/// The requests of a person, oldest first.
pub(crate) fn of_person(tx: &mut Tx<'_>, person: Id) -> Result<Vec<Node<RequestDoc>>> {
    let mut requests = Vec::new();
    for mention in tx.mentions_of(person)? {
        if mention.kind == Kind::Request && mention.role == MentionRole::Subject {
            requests.extend(tx.get::<Request>(mention.resource)?);
        }
    }
    requests.sort_by_key(|node| (node.created_at, node.id));
    Ok(requests)
}

/// What has changed of that which an approval binds to, by kind.
fn difference(before: &PlannedErasure, now: &PlanReport) -> Vec<PlanDifferenceReport> {
    let mut kinds: BTreeMap<&str, [(u64, u64); 2]> = BTreeMap::new();
    for kind in &before.kinds {
        kinds.entry(&kind.kind).or_default()[0] = (kind.count, kind.bytes);
    }
    for item in &now.items {
        if item.count > 0 {
            kinds.entry(&item.kind).or_default()[1] = (item.count, item.bytes);
        }
    }
    let binding: Vec<String> =
        Kind::ALL.iter().filter(|kind| plan::binds(**kind)).map(|kind| kind_name(*kind)).collect();
    kinds
        .into_iter()
        .filter(|(kind, [before, now])| before != now && binding.iter().any(|name| name == kind))
        .map(|(kind, [before, now])| PlanDifferenceReport {
            kind: kind.to_owned(),
            count_before: before.0,
            count_now: now.0,
            bytes_before: before.1,
            bytes_now: now.1,
        })
        .collect()
}
