//! Runs: made, changed, shown, deleted.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_access::Permission;
use habeas_core::kinds::{Experiment, ExperimentDoc, LifecycleStage, Run, RunDoc, RunStatus};
use habeas_core::{Error, ErrorKind, Id, Node, Result as CoreResult, Timestamp};
use habeas_rights::Selection;
use habeas_store::{FOREIGN_KEY_VIOLATION, New, Tx, UNIQUE_VIOLATION};
use serde_json::{Map, Value, json};

use super::answers::{self, Answers};
use super::call::{Call, Place, read_time};
use super::datasets::{self, INPUTS, OUTPUTS};
use super::experiments::{Which, text_list};
use super::{log_files, optional_text, source_snapshots, text_map};
use crate::data_services::{Result, envelope};
use crate::deletion::refuse_dry_run;
use crate::runs::{
    DATA_CONTAINER, NAME_TAG, NOTE_TAG, PARENT_TAG, SCRIPT_TAG, create_run, find_run, milliseconds, put_tag,
    random_name, remove_tag, run_id, run_name, set_status, shortened, update_run,
};

/// The longest id of a run, in bytes.
const ID: usize = 256;
/// The most runs of a batch.
const BATCH: usize = 1_000;

/// What of a run is kept as its client says it, and whether that is a text.
const KEPT: [(&str, Sort); 14] = [
    ("heartbeatEnabled", Sort::Flag),
    ("options", Sort::Any),
    ("hidden", Sort::Flag),
    ("runType", Sort::Text),
    ("runTypeV2", Sort::Any),
    ("target", Sort::Text),
    (INPUTS, Sort::Datasets),
    (OUTPUTS, Sort::Datasets),
    ("runDefinition", Sort::Any),
    ("primaryMetricName", Sort::Text),
    ("createdFrom", Sort::Any),
    ("cancelUri", Sort::Text),
    ("diagnosticsUri", Sort::Text),
    ("queueingInfo", Sort::Any),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Text,
    Flag,
    /// A list of objects, to which more can be added.
    Datasets,
    Any,
}

/// What a body says of a run; nothing of what it leaves out. Tags, properties and datasets are added to those that are there, the rest
/// replaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    run_id: Option<String>,
    /// Where its files are to be, which does not follow from what its client says.
    container: Option<String>,
    parent: Option<String>,
    status: Option<RunStatus>,
    start: Option<i64>,
    end: Option<i64>,
    name: Option<String>,
    display_name: Option<String>,
    tags: BTreeMap<String, String>,
    properties: BTreeMap<String, String>,
    fields: Map<String, Value>,
}

impl Said {
    /// Reads `CreateRunDto` and `ModifyRunDto`.
    pub(super) fn read(body: &Value) -> CoreResult<Said> {
        let Value::Object(said) = body else {
            return Err(Error::invalid("the body is not a JSON object"));
        };
        let text = |name: &str| optional_text(body, name);
        let time = |name: &str| -> CoreResult<Option<i64>> {
            let read = |text: String| {
                read_time(&text).map(milliseconds).ok_or_else(|| {
                    Error::invalid(format!("`{name}` is not a time"))
                        .hint("write it like 2026-11-24T08:30:00Z")
                })
            };
            text(name)?.map(read).transpose()
        };
        let status = text("status")?.map(|text| {
            let known = RunStatus::ALL;
            known.into_iter().find(|status| status.history_name().eq_ignore_ascii_case(&text)).ok_or_else(
                || {
                    Error::invalid("there is no such `status`")
                        .hint(format!("send one of {}", known.map(RunStatus::history_name).join(", ")))
                },
            )
        });
        let mut tags = text_map(body, "tags")?;
        for (field, tag) in [("description", NOTE_TAG), ("scriptName", SCRIPT_TAG)] {
            tags.extend(text(field)?.map(|value| (tag.to_owned(), value)));
        }
        let mut fields = Map::new();
        for (name, sort) in KEPT {
            let Some(value) = said.get(name).filter(|value| !value.is_null()) else { continue };
            let fits = match sort {
                Sort::Text => value.is_string(),
                Sort::Flag => value.is_boolean(),
                Sort::Datasets => datasets::is_list(name, value)?,
                Sort::Any => true,
            };
            if !fits {
                return Err(Error::invalid(format!("`{name}` is of the wrong type")));
            }
            fields.insert(name.to_owned(), value.clone());
        }
        Ok(Said {
            run_id: optional_run_id(body, "runId")?,
            container: text("dataContainerId")?.filter(|id| !id.is_empty()),
            parent: optional_run_id(body, "parentRunId")?,
            status: status.transpose()?,
            start: time("startTimeUtc")?,
            end: time("endTimeUtc")?,
            name: text("name")?.filter(|name| !name.is_empty()),
            display_name: text("displayName")?.filter(|name| !name.is_empty()),
            tags,
            properties: text_map(body, "properties")?,
            fields,
        })
    }

    /// Writes what was said over what is there, and gives back the inputs that are new.
    fn change(&self, tx: &mut Tx<'_>, person: Id, doc: &mut RunDoc) -> CoreResult<Vec<Value>> {
        let mut inputs = Vec::new();
        for (key, value) in &self.tags {
            put_tag(tx, doc, person, key, value)?;
        }
        doc.params.extend(self.properties.clone());
        for (name, value) in &self.fields {
            match name.as_str() {
                INPUTS => inputs = datasets::add(&mut doc.details.fields, name, value)?,
                OUTPUTS => {
                    datasets::add(&mut doc.details.fields, name, value)?;
                }
                _ => {
                    doc.details.fields.insert(name.clone(), value.clone());
                }
            }
        }
        if let Some(status) = self.status {
            set_status(doc, status);
        }
        doc.start_time = self.start.unwrap_or(doc.start_time);
        doc.end_time = self.end.or(doc.end_time);
        if let Some(parent) = &self.parent {
            doc.tags.insert(PARENT_TAG.to_owned(), parent.clone());
        }
        // Clients of 2018 know one name only, which is then the one that is shown.
        let is_shown = doc.details.name.as_ref().is_none_or(|name| *name == doc.name);
        let shown = self.display_name.as_ref().or(self.name.as_ref().filter(|_| is_shown));
        if let Some(shown) = shown {
            doc.name.clone_from(shown);
        }
        if self.name.is_some() {
            doc.details.name.clone_from(&self.name);
        }
        doc.tags.insert(NAME_TAG.to_owned(), doc.name.clone());
        Ok(inputs)
    }
}

/// The id of a run that a body may name.
fn optional_run_id(body: &Value, name: &str) -> CoreResult<Option<String>> {
    let id = optional_text(body, name)?.map(|id| run_id(&id).to_owned());
    Ok(id.filter(|id| !id.is_empty()))
}

fn check_id(id: &str) -> CoreResult<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=ID).contains(&id.len()) && id.bytes().all(allowed) && !id.starts_with(DATA_CONTAINER) {
        return Ok(());
    }
    Err(Error::invalid(format!("a run's id has 1 to {ID} letters, digits and characters of `-_.`")))
}

/// Runs that are shown: those that MLflow put aside are not there.
fn shown(node: Node<RunDoc>, id: &str) -> CoreResult<Node<RunDoc>> {
    if node.doc.stage == LifecycleStage::Active {
        return Ok(node);
    }
    Err(Error::not_found(format!("there is no run `{}`", shortened(id)))
        .hint("MLflow's `deleteRun` put it aside; `restoreRun` brings it back"))
}

/// The run in the path of a request, if the caller may do this with it; with it, what its experiment stands under.
pub(super) fn find(
    tx: &mut Tx<'_>,
    place: &Place,
    which: &Which,
    id: &str,
    permission: Permission,
) -> CoreResult<(Id, Node<RunDoc>)> {
    let scope = place.find(tx, Permission::Read)?;
    let node = shown(find_run(tx, &place.actor, scope, id, permission)?, id)?;
    if *which != Which::Default {
        let experiment = which.find(tx, &place.actor, scope, Permission::Read)?;
        if node.parent != Some(experiment.id) {
            return Err(Error::not_found(format!("the experiment has no run `{}`", shortened(id))));
        }
    }
    Ok((scope, node))
}

/// How a run that is not there is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// It is made.
    Make,
    /// It is an error.
    Refuse,
}

/// Makes a run, or changes the one that is there.
fn put(
    tx: &mut Tx<'_>,
    place: &Place,
    (scope, which): (Id, &Which),
    id: &str,
    said: &Said,
    absent: Absent,
) -> CoreResult<Node<RunDoc>> {
    let there = match find_run(tx, &place.actor, scope, id, Permission::Write) {
        Ok(node) => Some(node),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = there.as_ref().map_or_else(|| id.to_owned(), run_name);
    if said.container.as_ref().is_some_and(|container| *container != format!("{DATA_CONTAINER}{name}")) {
        return Err(Error::invalid("`dataContainerId` is not the container of the run's files")
            .hint(format!("leave it out: it is `{DATA_CONTAINER}` and the run's id")));
    }
    if let Some(node) = there {
        let mut node = shown(node, id)?;
        let experiment = match which {
            Which::Default => node.parent,
            which => Some(which.find(tx, &place.actor, scope, Permission::Write)?.id),
        };
        if node.parent != experiment {
            return Err(Error::conflict("a run of this id belongs to another experiment of the workspace"));
        }
        let before = node.doc.status;
        let inputs = said.change(tx, place.person, &mut node.doc)?;
        datasets::connect(tx, place, scope, node.id, &inputs)?;
        return update_run(tx, node, before, place.person);
    }
    if absent == Absent::Refuse {
        return Err(Error::not_found(format!("there is no run `{}`", shortened(id))));
    }
    check_id(id)?;
    let experiment = which.find(tx, &place.actor, scope, Permission::Write)?;
    create(tx, place, scope, experiment, id, said)
}

fn create(
    tx: &mut Tx<'_>,
    place: &Place,
    scope: Id,
    mut experiment: Node<ExperimentDoc>,
    id: &str,
    said: &Said,
) -> CoreResult<Node<RunDoc>> {
    if experiment.doc.stage == LifecycleStage::Deleted {
        return Err(Error::invalid("the experiment is archived").hint("reactivate it before it gets runs"));
    }
    // No two runs of one id where two clients make it at once, in whichever experiments.
    tx.hold(scope)?;
    experiment.doc.numbered += 1;
    let number = experiment.doc.numbered;
    let experiment = tx.update::<Experiment>(&experiment)?;
    let node = tx.new_id();
    let now = milliseconds(tx.now());
    let name = random_name(node.as_bytes()[12..].try_into().unwrap_or_default());
    let mut doc = RunDoc::new(name, RunStatus::NotStarted, now, place.person);
    doc.details.run_id = Some(id.to_owned());
    doc.details.number = Some(number);
    let inputs = said.change(tx, place.person, &mut doc)?;
    let node = create_run(tx, New::under(experiment.id, node, doc))?;
    datasets::connect(tx, place, scope, node.id, &inputs)?;
    Ok(node)
}

/// PATCH (1.61) and POST (2018) of runs, PUT of one that is there: makes or changes it.
async fn write(call: Call, id: String, absent: Absent, parent: Option<String>) -> Result<Json<Value>> {
    let mut said = Said::read(&call.body)?;
    if said.run_id.as_ref().is_some_and(|said| *said != id) {
        return Err(Error::invalid("`runId` is not the run of the address").into());
    }
    said.parent = parent.or(said.parent);
    let (place, which) = (call.place(), Which::of(&call));
    let answer = call
        .write(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let which = match &said.parent {
                // A child without an experiment in its address stands beside its parent.
                Some(parent) if which == Which::Default => {
                    let parent = find_run(tx, &place.actor, scope, parent, Permission::Read)?;
                    Which::Id(parent.parent.unwrap_or(Id::NIL).to_string())
                }
                _ => which.clone(),
            };
            let node = put(tx, &place, (scope, &which), &id, &said, absent)?;
            Answers::new(scope).run(tx, &node)
        })
        .await?;
    Ok(Json(answer))
}

fn new_id(call: &Call) -> CoreResult<String> {
    let said = optional_run_id(&call.body, "runId")?;
    Ok(said.unwrap_or_else(|| call.app.store().ambient().new_id().to_string()))
}

/// PATCH `runs/ID`: makes the run, or changes it.
pub(super) async fn patch(call: Call) -> Result<Json<Value>> {
    let id = call.part("run_id").to_owned();
    write(call, id, Absent::Make, None).await
}

/// PUT `runs/ID`, and PATCH without an experiment in the address (2018): changes the run.
pub(super) async fn modify(call: Call) -> Result<Json<Value>> {
    let id = call.part("run_id").to_owned();
    write(call, id, Absent::Refuse, None).await
}

/// POST and PATCH `runs` (2018): makes the run that the body names, or changes it.
pub(super) async fn create_or_modify(call: Call) -> Result<Json<Value>> {
    let id = new_id(&call)?;
    write(call, id, Absent::Make, None).await
}

/// POST `runs/ID/childruns` (2018).
pub(super) async fn create_child(call: Call) -> Result<Json<Value>> {
    let parent = call.part("run_id").to_owned();
    let id = new_id(&call)?;
    write(call, id, Absent::Make, Some(parent)).await
}

/// Whether an error is about one run of a batch. What the database refuses has ended the whole transaction.
fn is_of_one(error: &Error) -> bool {
    let is_of_all = matches!(error.code, Some(UNIQUE_VIOLATION | FOREIGN_KEY_VIOLATION));
    !is_of_all && matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict)
}

/// PATCH `batch/runs`: what of it cannot be done is told beside what is.
pub(super) async fn batch(call: Call) -> Result<Json<Value>> {
    let runs = call.body.get("runs").and_then(Value::as_array);
    let runs = runs.ok_or_else(|| Error::invalid("`runs` is not a list of runs"))?;
    if runs.len() > BATCH {
        return Err(Error::invalid(format!("a batch has at most {BATCH} runs")).into());
    }
    let mut said = Vec::with_capacity(runs.len());
    let mut errors = Map::new();
    for run in runs {
        let id = optional_run_id(run, "runId")?;
        let id = id.ok_or_else(|| Error::invalid("`runs[].runId` is missing"))?;
        match Said::read(run) {
            Ok(run) => said.push((id, run)),
            Err(error) => {
                errors.insert(id, envelope(&error));
            }
        }
    }
    datasets::check_batch(said.iter().map(|(_, run)| datasets::count(&run.fields)))?;
    let (place, which) = (call.place(), Which::of(&call));
    let (done, refused) = call
        .write(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let (mut done, mut refused) = (Map::new(), Map::new());
            let mut answers = Answers::new(scope);
            for (id, run) in &said {
                match put(tx, &place, (scope, &which), id, run, Absent::Make) {
                    Ok(node) => {
                        done.insert(id.clone(), answers.run(tx, &node)?);
                    }
                    Err(error) if is_of_one(&error) => {
                        refused.insert(id.clone(), envelope(&error));
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok((done, refused))
        })
        .await?;
    errors.extend(refused);
    Ok(Json(json!({ "runs": done, "errors": errors })))
}

/// GET `runs/ID`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let (scope, node) = find(tx, &place, &which, &id, Permission::Read)?;
            let mut answer = Answers::new(scope).run(tx, &node)?;
            if let Some(inputs) = datasets::inputs(tx, &node)? {
                answer[INPUTS] = inputs;
            }
            Ok(answer)
        })
        .await?;
    Ok(Json(answer))
}

/// GET `runs/ID/details` (1.61) and `runs/ID/runstatus` (2018).
pub(super) async fn details(call: Call) -> Result<Json<Value>> {
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    let signer = call.signer()?;
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let (_, node) = find(tx, &place, &which, &id, Permission::Read)?;
            let logs = log_files::of_run(tx, node.id, &signer)?;
            answers::details(tx, &node, &logs)
        })
        .await?;
    Ok(Json(answer))
}

/// GET `runs/ID/token`: a script that runs elsewhere goes on with the token that was presented; it gets no longer life and no more rights.
pub(super) async fn token(call: Call) -> Result<Json<Value>> {
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    call.app.store().read(move |tx| find(tx, &place, &which, &id, Permission::Read)).await?;
    let token = call.bearer.as_deref().unwrap_or_default();
    Ok(Json(json!({ "token": token, "expiryTimeUtc": expiry(token).map(Timestamp::rfc3339) })))
}

/// When a bearer token ends, as it says itself.
fn expiry(token: &str) -> Option<Timestamp> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(Timestamp(claims.get("exp")?.as_i64()?.saturating_mul(1_000_000)))
}

/// DELETE `runs/ID/tags`, whose body is their names.
pub(super) async fn delete_tags(call: Call) -> Result<Json<Value>> {
    refuse_dry_run(call.dry_run())?;
    let names = text_list(Some(&call.body))?;
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    let answer = call
        .write(move |tx| {
            let (scope, mut node) = find(tx, &place, &which, &id, Permission::Write)?;
            for name in &names {
                remove_tag(&mut node.doc, name);
            }
            let node = tx.update::<Run>(&node)?;
            Answers::new(scope).run(tx, &node)
        })
        .await?;
    Ok(Json(answer))
}

/// DELETE `runs/ID`, which Azure does not have: the run with its metrics and files, and the snapshot that only it was made with, for good.
pub(super) async fn delete(call: Call) -> Result<Response> {
    source_snapshots::index(&call).await?;
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    call.delete(move |tx| {
        let (scope, node) = find(tx, &place, &which, &id, Permission::Write)?;
        let also = source_snapshots::of_runs(tx, scope, &[node.id])?;
        Ok(Selection { within: node.id, resources: vec![node.id], also })
    })
    .await
}
