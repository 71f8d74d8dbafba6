//! Erasures of which the ledger knows more than the data: a restore of a backup from before brings back open requests about persons who are
//! erased, images of others that go when a legal hold ends, and images of others that name who is erased.

use std::collections::BTreeMap;

use habeas_core::kinds::{Recipient, Request};
use habeas_core::node::AttrKey;
use habeas_core::report::{PlanReport, ToldReport};
use habeas_core::requests::{Gate, RequestEvent, RequestType};
use habeas_core::{Id, Result};
use habeas_store::ledger::{KeptByHold, Record};
use habeas_store::{Between, TaskKind, TaskState, Tx};
use serde_json::Value;

use super::{Case, PERSON_ERASED, RequestFilter};
use crate::erasure::{ErasureTask, SHRED};
use crate::{Rights, recipients};

/// Requests read at a time.
const PAGE: u32 = 100;

/// What the ledger knows of the erasure of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Erased {
    containers: Vec<Id>,
    /// The request that it carried out; none where a version wrote the ledger that did not say so.
    request: Option<Id>,
    erasure: Option<Id>,
    /// The last receipt that it issued.
    receipt: Option<Id>,
    held: Vec<KeptByHold>,
    held_copies: Vec<Id>,
    /// The receipt that it issues when the holds have ended.
    last_receipt: Option<Id>,
    recipients: Vec<Id>,
}

impl Erased {
    /// Whether holds kept a part of which it is not proved yet that it is gone.
    fn waits_for_holds(&self) -> bool {
        self.last_receipt.is_some() && self.receipt != self.last_receipt
    }
}

impl Rights {
    /// Brings open requests up to date with the ledger, before anybody is answered. The erasure that the ledger knows goes on where its keys
    /// were destroyed, so that it is completed by a verification of what is there now, with the receipt that it had; what else the person had
    /// asked ends with them. One that waits for legal holds goes on also when the restore has brought back no request for it. Images of others
    /// name nobody who is erased any more.
    pub async fn settle_requests(&self) -> Result<()> {
        let open = self.store.read(open_by_subject).await?;
        let of_erased = self
            .store
            .with_ledger(move |ledger| {
                let mut of_erased = open;
                of_erased.retain(|person, _| ledger.is_erased(*person));
                let mut erasures = erasures(&ledger.replay(0)?);
                for (person, erased) in &erasures {
                    if erased.waits_for_holds() {
                        of_erased.entry(*person).or_default();
                    }
                }
                Ok(of_erased
                    .into_iter()
                    .map(|(person, requests)| {
                        (person, requests, erasures.remove(&person).unwrap_or_default())
                    })
                    .collect::<Vec<_>>())
            })
            .await?;
        let mut failed = None;
        for (person, requests, erased) in of_erased {
            let (salt, asked) = (self.salt(), requests.clone());
            let settled = self.store.write(move |tx| settle(tx, person, &asked, &erased, salt)).await;
            let ended = match settled {
                Ok(ended) => ended,
                // One that cannot go on does not keep the others from it.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            for request in requests {
                self.forget_letters_about(request).await;
            }
            // That of one whose erasure goes on waits for its last letter.
            for request in ended {
                self.forget_address(request).await;
            }
        }
        for person in self.erased_who_are_named().await? {
            if let Err(error) = self.forget_names_of_erased(person).await {
                failed = Some(error);
            }
        }
        self.wake();
        failed.map_or(Ok(()), Err)
    }

    /// Erased persons whom the store has left since images of others name them.
    async fn erased_who_are_named(&self) -> Result<Vec<Id>> {
        let frozen = self.store.read(|tx| tx.frozen_holders()).await?;
        self.store
            .with_ledger(move |ledger| {
                Ok(frozen.into_iter().filter(|holder| ledger.is_erased(*holder)).collect())
            })
            .await
    }

    async fn forget_names_of_erased(&self, person: Id) -> Result<()> {
        self.forget_names(person).await?;
        self.store.write(move |tx| tx.remove_holder(person)).await
    }
}

/// The open requests of each person, oldest first.
fn open_by_subject(tx: &mut Tx<'_>) -> Result<BTreeMap<Id, Vec<Id>>> {
    let (from, to) = RequestFilter::OPEN;
    let is_open = [Between { key: AttrKey::RequestState, from: f64::from(from), to: f64::from(to) }];
    let (mut open, mut after) = (BTreeMap::<Id, Vec<Id>>::new(), None);
    loop {
        let page = tx.children_between::<Request>(Id::NIL, &is_open, after, PAGE)?;
        for node in &page {
            if let Some(person) = node.doc.subject {
                open.entry(person).or_default().insert(0, node.id);
            }
        }
        after = page.last().map(|node| node.id);
        if page.len() < PAGE as usize {
            return Ok(open);
        }
    }
}

/// The erasures that the ledger knows, by person.
fn erasures(records: &[Record]) -> BTreeMap<Id, Erased> {
    let mut erasures = BTreeMap::<Id, Erased>::new();
    let mut persons = BTreeMap::new();
    for record in records {
        match record {
            Record::PersonErased {
                person,
                containers,
                request,
                erasure,
                held,
                held_copies,
                last_receipt,
                recipients,
            } => {
                persons.extend(erasure.map(|erasure| (erasure, *person)));
                let erased = Erased {
                    containers: containers.clone(),
                    request: *request,
                    erasure: *erasure,
                    receipt: None,
                    held: held.clone(),
                    held_copies: held_copies.clone(),
                    last_receipt: *last_receipt,
                    recipients: recipients.clone(),
                };
                erasures.insert(*person, erased);
            }
            Record::ReceiptIssued { receipt, body } => {
                let of = persons
                    .get(receipt)
                    .copied()
                    .or_else(|| completes(body).and_then(|first| persons.get(&first).copied()));
                if let Some(erased) = of.and_then(|person| erasures.get_mut(&person)) {
                    erased.receipt = Some(*receipt);
                }
            }
            _ => {}
        }
    }
    erasures
}

/// The receipt that this one completes, since a legal hold had kept a part.
fn completes(receipt: &str) -> Option<Id> {
    let receipt: Value = serde_json::from_str(receipt).ok()?;
    receipt["statement"]["completes"].as_str()?.parse().ok()
}

/// The requests that ended.
fn settle(tx: &mut Tx<'_>, person: Id, requests: &[Id], erased: &Erased, salt: [u8; 16]) -> Result<Vec<Id>> {
    let carried_out = match under_way(tx, person)? {
        Some(task) => task.request,
        None => {
            let carried_out = carried_out(tx, requests, erased)?;
            match carried_out {
                Some(request) => Case::open(tx, request)?.go_on_erased(person, erased, salt)?,
                None if erased.waits_for_holds() => {
                    let task = what_is_left(tx, person, String::new(), erased, salt)?;
                    enqueue(tx, &task, erased.erasure)?;
                }
                None => {}
            }
            carried_out
        }
    };
    let ended: Vec<Id> = requests.iter().copied().filter(|request| Some(*request) != carried_out).collect();
    for &request in &ended {
        let mut case = Case::open(tx, request)?;
        case.note(PERSON_ERASED, None);
        case.happen(RequestEvent::Cancelled, None)?;
        case.save()?;
    }
    Ok(ended)
}

/// What is left of an erasure by a plan of this digest.
fn what_is_left(
    tx: &mut Tx<'_>,
    person: Id,
    digest: String,
    erased: &Erased,
    salt: [u8; 16],
) -> Result<ErasureTask> {
    let now = tx.now();
    let plan = PlanReport {
        object_id: person.to_string(),
        digest,
        created: now.rfc3339(),
        recipients: told(tx, person, erased)?,
        ..PlanReport::default()
    };
    let mut task = ErasureTask::found_erased(person, &plan, salt, erased.containers.clone(), now);
    if let (Some(receipt), Some(erasure)) = (erased.receipt, erased.erasure) {
        let before = tx.task(erasure)?.filter(|row| row.kind == TaskKind::Erasure);
        let before = before.map(|row| serde_json::from_value::<ErasureTask>(row.payload)).transpose()?;
        task.receipt = Some(receipt);
        task.salt = before.map(|task| task.salt).unwrap_or_default();
    }
    if erased.waits_for_holds() {
        task.held.clone_from(&erased.held);
        task.held_copies.clone_from(&erased.held_copies);
        task.last_receipt = erased.last_receipt;
    }
    Ok(task)
}

/// Who is told: whom the ledger names, of those that are still registered. Where a version wrote it that named nobody, whoever receives
/// everything.
fn told(tx: &mut Tx<'_>, person: Id, erased: &Erased) -> Result<Vec<ToldReport>> {
    if erased.erasure.is_none() {
        return recipients::told(tx, person);
    }
    let mut told = Vec::new();
    for &recipient in &erased.recipients {
        if let Some(node) = tx.get::<Recipient>(recipient)? {
            told.push(ToldReport { recipient: recipient.to_string(), name: node.doc.name });
        }
    }
    Ok(told)
}

/// Lets the rest run under the id that the erasure had, which is its receipt's: the next restore finds the receipt by it.
fn enqueue(tx: &mut Tx<'_>, task: &ErasureTask, erasure: Option<Id>) -> Result<Id> {
    let (payload, now) = (serde_json::to_value(task)?, tx.now());
    match erasure {
        Some(erasure) => {
            tx.enqueue_again(erasure, TaskKind::Erasure, Some(task.person), &payload, now)?;
            Ok(erasure)
        }
        None => tx.enqueue(TaskKind::Erasure, Some(task.person), &payload, now),
    }
}

/// The erasure that goes on by itself, since it had come as far as its keys. One that had not cannot begin with somebody who is gone: it ends.
fn under_way(tx: &mut Tx<'_>, person: Id) -> Result<Option<ErasureTask>> {
    for row in tx.tasks_about(person, TaskKind::Erasure)? {
        if !matches!(row.state, TaskState::Waiting | TaskState::Running) {
            continue;
        }
        let task: ErasureTask = serde_json::from_value(row.payload)?;
        if task.step >= SHRED {
            return Ok(Some(task));
        }
        tx.end_task(row.id, TaskState::Failed)?;
    }
    Ok(None)
}

/// Which of a person's open requests their erasure carried out.
fn carried_out(tx: &mut Tx<'_>, requests: &[Id], erased: &Erased) -> Result<Option<Id>> {
    if erased.request.is_some() {
        return Ok(erased.request.filter(|request| requests.contains(request)));
    }
    for &request in requests {
        let doc = Case::open(tx, request)?.node.doc;
        if doc.asked == RequestType::Erasure && !doc.state.is_unverified() {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

impl Case<'_, '_> {
    /// Lets what is left of the person's erasure run: it deletes what is found, verifies, and issues the receipt, if that was not done before
    /// the restore.
    fn go_on_erased(&mut self, person: Id, erased: &Erased, salt: [u8; 16]) -> Result<()> {
        if self.node.doc.state.is_unverified() {
            // After the backup, but how is not known any more: no erasure runs before that.
            self.happen(RequestEvent::Verified(Gate::Open), None)?;
        }
        self.happen(RequestEvent::FoundErased, None)?;
        let digest = self.node.doc.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
        let mut task = what_is_left(self.tx, person, digest, erased, salt)?;
        task.request = Some(self.node.id);
        self.node.doc.erasure = Some(enqueue(self.tx, &task, erased.erasure)?);
        self.plan_waking();
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_receipt_of_the_erasure_is_found_and_no_other() {
        let id = |number: u8| Id::from_bytes([number; 16]);
        let issued = |receipt: u8, completes: Option<u8>| Record::ReceiptIssued {
            receipt: id(receipt),
            body: serde_json::json!({ "statement": { "completes": completes.map(id) }, "signature": "x" })
                .to_string(),
        };
        let person = |number: u8, request: Option<u8>| Record::PersonErased {
            person: id(number),
            containers: vec![id(number)],
            request: request.map(id),
            erasure: request.map(|request| id(request + 1)),
            held: Vec::new(),
            held_copies: Vec::new(),
            last_receipt: request.map(|request| id(request + 2)),
            recipients: Vec::new(),
        };
        let records = [
            person(1, Some(10)),
            person(2, Some(20)),
            person(3, None),
            issued(11, None),
            issued(21, None),
            issued(99, None),
            issued(22, Some(21)),
        ];
        let erasures = erasures(&records);
        let receipts = [1, 2, 3].map(|person| erasures[&id(person)].receipt);
        assert_eq!(receipts, [Some(id(11)), Some(id(22)), None]);
        assert_eq!([1, 2, 3].map(|person| erasures[&id(person)].waits_for_holds()), [true, false, false]);
        assert_eq!((erasures.len(), &erasures[&id(3)].containers[..]), (3, &[id(3)][..]));
    }
}
