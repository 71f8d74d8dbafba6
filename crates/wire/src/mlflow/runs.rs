//! Runs: made, shown, changed, put aside.

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{LifecycleStage, Run, RunDoc, RunStatus};
use habeas_core::{Error, Result as CoreResult};
use habeas_store::New;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answers::{self, ClientNames, RunParts, USER_TAG};
use super::arguments::{Arguments, wrong_type};
use super::call::Call;
use super::errors::Result;
use super::run_answers::{self, RunInfo};
use super::validation::{self, TAG_VALUE};
use super::workspace::{find_active_run, find_experiment, find_run, require_active_experiment};
use crate::runs::{NAME_TAG, experiment_of, random_name, remember_client_name, update_run};

/// The answer that is one run.
#[derive(Debug, Serialize)]
pub(super) struct OneRun {
    run: Box<RawValue>,
}

/// The experiment of runs whose client names none.
const DEFAULT_EXPERIMENT: &str = "0";

/// `createRun`.
pub(super) async fn create(call: Call) -> Result<Json<OneRun>> {
    let arguments = &call.arguments;
    let experiment = match arguments.text("experiment_id")? {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => DEFAULT_EXPERIMENT.to_owned(),
    };
    let user = arguments.text("user_id")?.filter(|user| !user.is_empty()).map(str::to_owned);
    let mut doc = RunDoc::new(
        arguments.text("run_name")?.unwrap_or_default().to_owned(),
        RunStatus::Running,
        arguments.integer("start_time")?.unwrap_or(0),
        call.person,
    );
    let mut user_tag = None;
    for tag in arguments.objects("tags")? {
        let key = validation::key("key", tag.required("key")?)?;
        let value = validation::cut(tag.text("value")?.unwrap_or_default(), TAG_VALUE);
        if key == USER_TAG {
            user_tag = Some(value);
        } else {
            doc.tags.insert(key.to_owned(), value);
        }
    }
    match (doc.name.is_empty(), doc.tags.get(NAME_TAG)) {
        (true, Some(tag)) => doc.name = tag.clone(),
        (true, None) => doc.name = random_name(call.app.store().ambient().bytes()),
        (false, Some(tag)) if *tag != doc.name => {
            return Err(Error::invalid(format!(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='{}', \
                 mlflow.runName='{}').",
                validation::cut(&doc.name, 100),
                validation::cut(tag, 100)
            ))
            .into());
        }
        _ => {}
    }
    doc.tags.insert(NAME_TAG.to_owned(), doc.name.clone());
    let (actor, workspace, person, files) = (call.actor, call.workspace, call.person, call.files.clone());
    let id = call.app.store().ambient().new_id();
    let answer = call
        .write(move |tx| {
            let experiment_node = find_experiment(tx, &actor, workspace, &experiment, Permission::Write)?;
            require_active_experiment(&experiment, &experiment_node)?;
            let mut doc = doc.clone();
            if doc.start_time == 0 {
                doc.start_time = answers::milliseconds(tx.now());
            }
            doc.user = remember_client_name(tx, person, user.as_deref())?;
            doc.user_tag = remember_client_name(tx, person, user_tag.as_deref())?;
            let node = tx.create::<Run>(New::under(experiment_node.id, id, doc))?;
            let parts = RunParts::of(tx, &node, &mut ClientNames::default())?;
            run_answers::run(workspace, &files.place(workspace, experiment_node), &node, &parts)
        })
        .await?;
    Ok(Json(OneRun { run: answer }))
}

/// `getRun`.
pub(super) async fn show(call: Call) -> Result<Json<OneRun>> {
    let text = call.arguments.run_id()?.to_owned();
    let (actor, workspace, files) = (call.actor, call.workspace, call.files.clone());
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let node = find_run(tx, &actor, workspace, &text, Permission::Read)?;
            let experiment = files.place(workspace, experiment_of(tx, &node)?);
            let parts = RunParts::of(tx, &node, &mut ClientNames::default())?;
            run_answers::run(workspace, &experiment, &node, &parts)
        })
        .await?;
    Ok(Json(OneRun { run: answer }))
}

/// A run's status, by name or by its number in the protocol's definition.
fn status(arguments: &Arguments) -> CoreResult<Option<RunStatus>> {
    let Some(value) = arguments.get("status") else { return Ok(None) };
    let found = match value {
        Value::String(text) => RunStatus::OF_MLFLOW.into_iter().find(|status| status.name() == text),
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| RunStatus::OF_MLFLOW.get(usize::try_from(index).ok()?).copied()),
        _ => None,
    };
    found.map(Some).ok_or_else(|| wrong_type("status", value))
}

/// `updateRun`: status, end, name.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let arguments = &call.arguments;
    let text = arguments.run_id()?.to_owned();
    let (status, end_time) = (status(arguments)?, arguments.integer("end_time")?);
    let name = arguments.text("run_name")?.filter(|name| !name.is_empty()).map(str::to_owned);
    let (actor, workspace, person, files) = (call.actor, call.workspace, call.person, call.files.clone());
    let answer = call
        .write(move |tx| {
            let mut node = find_active_run(tx, &actor, workspace, &text)?;
            let before = node.doc.status;
            node.doc.status = status.unwrap_or(node.doc.status);
            node.doc.end_time = end_time.or(node.doc.end_time);
            if let Some(name) = &name {
                node.doc.name.clone_from(name);
                node.doc.tags.insert(NAME_TAG.to_owned(), name.clone());
            }
            let node = update_run(tx, node, before, person)?;
            let experiment = files.place(workspace, experiment_of(tx, &node)?);
            let user = answers::client_name(tx, node.doc.user)?;
            Ok(RunInfo::of(workspace, &experiment, &node, user.as_deref()))
        })
        .await?;
    Ok(Json(json!({ "run_info": answer })))
}

/// `deleteRun`: puts it aside; it can be restored. An erasure does it for good.
pub(super) async fn delete(call: Call) -> Result<Json<Value>> {
    set_stage(&call, LifecycleStage::Deleted).await
}

/// `restoreRun`.
pub(super) async fn restore(call: Call) -> Result<Json<Value>> {
    set_stage(&call, LifecycleStage::Active).await
}

async fn set_stage(call: &Call, stage: LifecycleStage) -> Result<Json<Value>> {
    let text = call.arguments.run_id()?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    call.write(move |tx| {
        let mut node = find_run(tx, &actor, workspace, &text, Permission::Write)?;
        node.doc.stage = stage;
        tx.update::<Run>(&node)
    })
    .await?;
    Ok(Json(json!({})))
}
