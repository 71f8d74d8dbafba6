//! Open requests about persons of whom the ledger says that they are erased: a restore of a backup from before brings such ones back.

use std::collections::BTreeMap;

use habeas_core::kinds::Request;
use habeas_core::node::AttrKey;
use habeas_core::report::PlanReport;
use habeas_core::requests::{Gate, RequestEvent, RequestType};
use habeas_core::{Id, Result};
use habeas_store::ledger::Record;
use habeas_store::{Between, TaskKind, TaskState, Tx};
use serde_json::Value;

use super::{Case, PERSON_ERASED, RequestFilter};
use crate::Rights;
use crate::erasure::{ErasureTask, SHRED};

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
}

impl Rights {
    /// Brings open requests up to date with the ledger, before anybody is answered. The erasure that the ledger knows goes on where its keys
    /// were destroyed, so that it is completed by a verification of what is there now, with the receipt that it had; what else the person had
    /// asked ends with them.
    pub async fn settle_requests(&self) -> Result<()> {
        let open = self.store.read(open_by_subject).await?;
        let of_erased = self
            .store
            .with_ledger(move |ledger| {
                let mut of_erased = open;
                of_erased.retain(|person, _| ledger.is_erased(*person));
                if of_erased.is_empty() {
                    return Ok(Vec::new());
                }
                let records = ledger.replay(0)?;
                Ok(of_erased
                    .into_iter()
                    .map(|(person, requests)| (person, requests, erased(&records, person)))
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
        self.wake();
        failed.map_or(Ok(()), Err)
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

fn erased(records: &[Record], of: Id) -> Erased {
    let mut found = Erased::default();
    for record in records {
        match record {
            Record::PersonErased { person, containers, request, erasure } if *person == of => {
                let (containers, request, erasure) = (containers.clone(), *request, *erasure);
                found = Erased { containers, request, erasure, receipt: None };
            }
            Record::ReceiptIssued { receipt, body }
                if found.erasure.is_some()
                    && (Some(*receipt) == found.erasure || completes(body) == found.erasure) =>
            {
                found.receipt = Some(*receipt);
            }
            _ => {}
        }
    }
    found
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
            if let Some(request) = carried_out {
                Case::open(tx, request)?.go_on_erased(person, erased, salt)?;
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
        let now = self.tx.now();
        let plan = PlanReport {
            object_id: person.to_string(),
            digest: self.node.doc.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default(),
            created: now.rfc3339(),
            ..PlanReport::default()
        };
        let issued = match (erased.receipt, erased.erasure) {
            (Some(receipt), Some(erasure)) => {
                let before = self.tx.task(erasure)?.filter(|row| row.kind == TaskKind::Erasure);
                let before =
                    before.map(|row| serde_json::from_value::<ErasureTask>(row.payload)).transpose()?;
                Some((receipt, before.map(|task| task.salt).unwrap_or_default()))
            }
            _ => None,
        };
        let containers = erased.containers.clone();
        let mut task = ErasureTask::found_erased(person, &plan, salt, containers, issued, now);
        task.request = Some(self.node.id);
        let task = serde_json::to_value(&task)?;
        self.node.doc.erasure = Some(self.tx.enqueue(TaskKind::Erasure, Some(person), &task, now)?);
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
        let receipts = [1, 2, 3, 4].map(|person| erased(&records, id(person)).receipt);
        assert_eq!(receipts, [Some(id(11)), Some(id(22)), None, None]);
        assert_eq!(erased(&records, id(3)).containers, [id(3)]);
    }
}
