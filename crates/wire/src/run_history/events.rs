//! Events of runs: kept as they were sent, and the run's state follows them.

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{RunDoc, RunEvent, RunEventDoc, RunStatus};
use habeas_core::{Error, ErrorKind, Node, Result as CoreResult, Timestamp};
use habeas_store::{New, Order, Page, Tx};
use serde_json::{Map, Value, json};

use super::answers;
use super::call::{Call, Place, read_time};
use super::experiments::Which;
use super::filter::{Key, microseconds};
use super::listing::{Collector, EVENTS, Listing};
use super::{optional_text, runs};
use crate::data_services::{Result, envelope};
use crate::runs::{milliseconds, run_id, set_status, update_run};
use crate::search::Fact;

/// The most events of a batch.
const MOST: usize = 1_000;
/// Events that are read at a time.
const CHUNK: u64 = 1_000;
/// The most warnings of a run that are shown with it.
const WARNINGS: usize = 100;

/// An event as a client reports it.
#[derive(Clone, Debug)]
struct Reported {
    name: String,
    time: Option<Timestamp>,
    data: Map<String, Value>,
}

impl Reported {
    fn read(body: &Value) -> CoreResult<Reported> {
        let name = optional_text(body, "name")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| {
            Error::invalid("the event has no `name`").hint("such as Microsoft.MachineLearning.Run.Start")
        })?;
        let time = optional_text(body, "timestamp")?;
        let time = time.map(|text| {
            read_time(&text).ok_or_else(|| {
                Error::invalid("`timestamp` is not a time").hint("write it like 2026-11-24T08:30:00Z")
            })
        });
        let data = match body.get("data") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data.clone(),
            Some(_) => return Err(Error::invalid("`data` is not a JSON object")),
        };
        Ok(Reported { name, time: time.transpose()?, data })
    }

    fn time_of(&self, name: &str) -> Option<i64> {
        self.data.get(name).and_then(Value::as_str).and_then(read_time).map(milliseconds)
    }

    /// Brings the run to the state that the event says.
    fn follow(&self, run: &mut RunDoc, now: Timestamp) {
        let when = milliseconds(self.time.unwrap_or(now));
        let Some(event) = self.name.strip_prefix("Microsoft.MachineLearning.Run.") else { return };
        let mut end = |status| {
            set_status(run, status);
            run.end_time = Some(self.time_of("EndTime").unwrap_or(when));
        };
        match event {
            "Start" => {
                set_status(run, RunStatus::Running);
                run.start_time = self.time_of("StartTime").unwrap_or(when);
            }
            "Queued" => set_status(run, RunStatus::Scheduled),
            "CancelRequested" => set_status(run, RunStatus::CancelRequested),
            "Completed" => end(RunStatus::Finished),
            "Failed" => end(RunStatus::Failed),
            "Canceled" => end(RunStatus::Killed),
            "Error" => {
                if let Some(error) = self.data.get("ErrorResponse") {
                    run.details.fields.insert("error".to_owned(), error.clone());
                }
            }
            "Warning" => {
                let warning =
                    json!({ "source": self.data.get("Source"), "message": self.data.get("Message") });
                let warnings = run.details.fields.entry("warnings").or_insert(json!([]));
                if let Some(warnings) = warnings.as_array_mut().filter(|known| known.len() < WARNINGS) {
                    warnings.push(warning);
                }
            }
            "QueueingInfo" => {
                run.details.fields.insert("queueingInfo".to_owned(), json!(self.data));
            }
            _ => {}
        }
    }
}

fn report(tx: &mut Tx<'_>, place: &Place, mut run: Node<RunDoc>, event: &Reported) -> CoreResult<()> {
    let now = tx.now();
    let doc = RunEventDoc {
        name: event.name.clone(),
        time: event.time.unwrap_or(now).0,
        data: event.data.clone(),
        created_by: Some(place.person),
    };
    if doc.name == RunEventDoc::HEARTBEAT {
        // A run that says every few seconds that it is alive has said so once.
        if let Some(mut node) = tx.child_by_name::<RunEvent>(run.id, RunEventDoc::HEARTBEAT)? {
            tx.change_maker(node.id, node.holder, node.doc.created_by, doc.created_by)?;
            node.doc = doc;
            return tx.update::<RunEvent>(&node).map(|_| ());
        }
    }
    let id = tx.new_id();
    tx.create::<RunEvent>(New::under(run.id, id, doc))?;
    let (before, unchanged) = (run.doc.status, run.doc.clone());
    event.follow(&mut run.doc, now);
    if run.doc == unchanged { Ok(()) } else { update_run(tx, run, before, place.person).map(|_| ()) }
}

/// POST `runs/ID/events`.
pub(super) async fn post(call: Call) -> Result<Json<Value>> {
    let event = Reported::read(&call.body)?;
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    call.write(move |tx| {
        let (_, run) = runs::find(tx, &place, &which, &id, Permission::Write)?;
        report(tx, &place, run, &event)
    })
    .await?;
    Ok(Json(json!({})))
}

/// POST `batch/events`: each says in its data which run it is of; what of it cannot be done is told.
pub(super) async fn batch(call: Call) -> Result<Json<Value>> {
    let events = call.body.get("events").and_then(Value::as_array);
    let events = events.ok_or_else(|| Error::invalid("`events` is not a list of events"))?;
    if events.len() > MOST {
        return Err(Error::invalid(format!("a batch has at most {MOST} events")).into());
    }
    let events = events.clone();
    let (place, which) = (call.place(), Which::of(&call));
    let errors: Vec<Value> = call
        .write(move |tx| {
            let mut errors = Vec::new();
            let scope = place.find(tx, Permission::Read)?;
            which.find(tx, &place.actor, scope, Permission::Write)?;
            for body in &events {
                let done = Reported::read(body).and_then(|event| {
                    let id = event.data.get("RunId").and_then(Value::as_str);
                    let id = id.ok_or_else(|| Error::invalid("`data.RunId` is missing"))?;
                    let (_, run) = runs::find(tx, &place, &which, run_id(id), Permission::Write)?;
                    report(tx, &place, run, &event)
                });
                match done {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound) => {
                        errors.push(json!({ "key": body, "value": envelope(&error) }));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(errors)
        })
        .await?;
    Ok(Json(json!({ "errors": errors })))
}

/// GET `runs/ID/events`: oldest first, if no order is asked for.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let mut listing = Listing::read(&call, &EVENTS)?;
    if listing.order.is_empty() {
        listing.order = vec![(Key { name: "Timestamp", below: None }, false)];
    }
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let (scope, run) = runs::find(tx, &place, &which, &id, Permission::Read)?;
            let mut collector = Collector::new(&listing, false)?;
            let mut page = Page { order: Order::Oldest, skip: 0, take: CHUNK };
            loop {
                let events = tx.children::<RunEvent>(run.id, page)?;
                let last = (events.len() as u64) < CHUNK;
                for event in events {
                    collector.look_at((event.created_at, event.id), event, |event, key| match key.name {
                        "Timestamp" => vec![Fact::Number(microseconds(Timestamp(event.doc.time)))],
                        _ => vec![Fact::Text(event.doc.name.clone())],
                    });
                }
                if last {
                    return collector.finish().answer(|event| Ok(answers::event(&event, &run, scope)));
                }
                page.skip += CHUNK;
            }
        })
        .await?;
    Ok(Json(answer))
}
