//! Who called what: gathered in memory, written in batches, one sealed segment a person and hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use habeas_core::kind::HolderKind;
use habeas_core::kinds::{self, TELEMETRY_DAYS, TelemetryDoc, TelemetryEntry};
use habeas_core::node::AttrKey;
use habeas_core::{Id, Result, Timestamp, time};
use habeas_store::{HolderState, New, Order, Page, Store, Tx};

/// One minute, in microseconds.
const MINUTE: i64 = 60_000_000;
/// Calls remembered between two flushes; beyond that calls are counted as dropped rather than memory used without bound.
const REMEMBERED: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    person: Id,
    minute: i64,
    operation: &'static str,
    status: u16,
}

/// The recorder. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    store: Store,
    waiting: Arc<Mutex<HashMap<Call, u32>>>,
}

impl Telemetry {
    pub(crate) fn new(store: Store) -> Telemetry {
        Telemetry { store, waiting: Arc::default() }
    }

    /// Notes that `operation` was called in the name of `person` and answered with `status`. Costs no disk access: it is
    /// written by the next [`Telemetry::flush`].
    pub fn note(&self, person: Id, operation: &'static str, status: u16) {
        let now = self.store.ambient().now().0;
        let call = Call { person, minute: now - now.rem_euclid(MINUTE), operation, status };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < REMEMBERED || waiting.contains_key(&call) {
            *waiting.entry(call).or_default() += 1;
        }
    }

    /// Forgets what was noted of a person and not yet written: they are being erased.
    pub fn forget(&self, person: Id) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|call, _| call.person != person);
    }

    /// Writes what was noted since the last flush. To be called about once a second and before the server stops.
    pub async fn flush(&self) -> Result<()> {
        let calls = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut segments: HashMap<(Id, Timestamp), Vec<TelemetryEntry>> = HashMap::new();
        for (call, count) in calls {
            segments.entry((call.person, Timestamp(call.minute).hour())).or_default().push(TelemetryEntry {
                at: Timestamp(call.minute),
                operation: call.operation.to_owned(),
                status: call.status,
                actor: None,
                count,
            });
        }
        if segments.is_empty() {
            return Ok(());
        }
        self.store
            .write(move |tx| {
                for ((person, hour), entries) in &segments {
                    // Calls of a person who is being erased, or gone, are dropped, and those by an organisation's key: they are nobody's.
                    if matches!(
                        tx.holder(*person)?,
                        Some((HolderKind::Person, HolderState::Active | HolderState::Restricted))
                    ) {
                        add(tx, *person, *hour, entries)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// What was noted of a person and is kept, newest hour first.
    pub async fn of(&self, person: Id) -> Result<Vec<TelemetryDoc>> {
        let page = Page { order: Order::Newest, ..Page::ALL };
        let nodes = self.store.read(move |tx| tx.children::<kinds::Telemetry>(person, page)).await?;
        Ok(nodes.into_iter().map(|node| node.doc).collect())
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// Notes within a transaction that `actor`, who is not `person`, did `operation` with `person`'s data: it is as durable as what it was
/// done with.
pub fn record_staff(tx: &mut Tx<'_>, person: Id, actor: Id, operation: &str) -> Result<()> {
    let now = tx.now();
    let entry = TelemetryEntry {
        at: Timestamp(now.0 - now.0.rem_euclid(MINUTE)),
        operation: operation.to_owned(),
        status: 200,
        actor: Some(actor),
        count: 1,
    };
    add(tx, person, now.hour(), &[entry])
}

fn add(tx: &mut Tx<'_>, person: Id, hour: Timestamp, entries: &[TelemetryEntry]) -> Result<()> {
    match tx.child_by_number::<kinds::Telemetry>(person, AttrKey::Hour, hour.0 as f64)? {
        Some(mut segment) => {
            merge(&mut segment.doc.entries, entries);
            tx.update::<kinds::Telemetry>(&segment)?;
        }
        None => {
            let mut doc = TelemetryDoc { hour, entries: Vec::new() };
            merge(&mut doc.entries, entries);
            let end = Timestamp(hour.0 + i64::from(TELEMETRY_DAYS) * time::DAY);
            let id = tx.new_id();
            tx.create::<kinds::Telemetry>(New { id, parent: Some(person), expires_at: Some(end), doc })?;
        }
    }
    Ok(())
}

fn merge(all: &mut Vec<TelemetryEntry>, new: &[TelemetryEntry]) {
    for entry in new {
        let same = all.iter_mut().find(|other| {
            (other.at, &other.operation, other.status, other.actor)
                == (entry.at, &entry.operation, entry.status, entry.actor)
        });
        match same {
            Some(other) => other.count = other.count.saturating_add(entry.count),
            None => all.push(entry.clone()),
        }
    }
    all.sort_by(|left, right| (left.at, &left.operation).cmp(&(right.at, &right.operation)));
}
