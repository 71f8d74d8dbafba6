//! Runs: made, shown, changed, put aside.

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{Experiment, LifecycleStage, Run, RunDoc, RunStatus};
use habeas_core::{Error, Id, Node, Result as CoreResult};
use habeas_store::{New, Tx};
use serde_json::{Value, json};

use super::answers::{self, RunParts, USER_TAG};
use super::arguments::{Arguments, wrong_type};
use super::call::Call;
use super::errors::Result;
use super::validation::{self, TAG_VALUE};
use super::workspace::{find_active_run, find_experiment, find_run, require_active_experiment};
use crate::workspaces::remember_name;

/// The tag that is the run's name too.
pub(super) const NAME_TAG: &str = "mlflow.runName";
/// The experiment of runs whose client names none.
const DEFAULT_EXPERIMENT: &str = "0";

/// `createRun`.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let arguments = &call.arguments;
    let experiment = match arguments.text("experiment_id")? {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => DEFAULT_EXPERIMENT.to_owned(),
    };
    let user = arguments.text("user_id")?.filter(|user| !user.is_empty()).map(str::to_owned);
    let mut doc = RunDoc {
        name: arguments.text("run_name")?.unwrap_or_default().to_owned(),
        status: RunStatus::Running,
        start_time: arguments.integer("start_time")?.unwrap_or(0),
        end_time: None,
        stage: LifecycleStage::Active,
        user: None,
        user_tag: None,
        tags: std::collections::BTreeMap::new(),
        params: std::collections::BTreeMap::new(),
        datasets: 0,
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
        created_by: Some(call.person),
    };
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
    let (actor, workspace, person) = (call.actor, call.workspace, call.person);
    let id = call.app.store().ambient().new_id();
    let answer = call
        .write(move |tx| {
            let experiment_node = find_experiment(tx, &actor, workspace, &experiment, Permission::Write)?;
            require_active_experiment(&experiment, &experiment_node)?;
            let mut doc = doc.clone();
            if doc.start_time == 0 {
                doc.start_time = answers::milliseconds(tx.now());
            }
            doc.user = remember_name(tx, person, user.as_deref())?;
            doc.user_tag = remember_name(tx, person, user_tag.as_deref())?;
            let node = tx.create::<Run>(New::under(experiment_node.id, id, doc))?;
            let parts = RunParts::of(tx, &node)?;
            Ok(answers::run(workspace, &experiment_node, &node, &parts))
        })
        .await?;
    Ok(Json(json!({ "run": answer })))
}

/// A name for a run that nobody named.
fn random_name(random: [u8; 4]) -> String {
    const WHAT: [&str; 16] = [
        "amber", "bold", "calm", "deft", "eager", "fair", "glad", "keen", "lucid", "merry", "noble", "quick",
        "rare", "sound", "tidy", "wise",
    ];
    const WHO: [&str; 16] = [
        "alder", "birch", "cedar", "crane", "finch", "grebe", "hare", "heron", "larch", "lynx", "maple",
        "otter", "raven", "rowan", "stoat", "wren",
    ];
    let [what, who, high, low] = random.map(usize::from);
    format!("{}-{}-{}", WHAT[what % 16], WHO[who % 16], (high * 256 + low) % 1000)
}

/// `getRun`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let text = call.arguments.run_id()?.to_owned();
    let (actor, workspace) = (call.actor, call.workspace);
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let node = find_run(tx, &actor, workspace, &text, Permission::Read)?;
            let experiment = experiment_of(tx, &node)?;
            let parts = RunParts::of(tx, &node)?;
            Ok(answers::run(workspace, &experiment, &node, &parts))
        })
        .await?;
    Ok(Json(json!({ "run": answer })))
}

/// The experiment that a run stands in.
pub(super) fn experiment_of(
    tx: &mut Tx<'_>,
    run: &Node<RunDoc>,
) -> CoreResult<Node<habeas_core::kinds::ExperimentDoc>> {
    tx.get::<Experiment>(run.parent.unwrap_or(Id::NIL))?
        .ok_or_else(|| Error::not_found("the experiment of the run was just removed"))
}

/// A run's status, by name or by its number in the protocol's definition.
fn status(arguments: &Arguments) -> CoreResult<Option<RunStatus>> {
    let Some(value) = arguments.get("status") else { return Ok(None) };
    let found = match value {
        Value::String(text) => RunStatus::ALL.into_iter().find(|status| status.name() == text),
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| RunStatus::ALL.get(usize::try_from(index).ok()?).copied()),
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
    let (actor, workspace) = (call.actor, call.workspace);
    let answer = call
        .write(move |tx| {
            let mut node = find_active_run(tx, &actor, workspace, &text)?;
            node.doc.status = status.unwrap_or(node.doc.status);
            node.doc.end_time = end_time.or(node.doc.end_time);
            if let Some(name) = &name {
                node.doc.name.clone_from(name);
                node.doc.tags.insert(NAME_TAG.to_owned(), name.clone());
            }
            let node = tx.update::<Run>(&node)?;
            let experiment = experiment_of(tx, &node)?;
            let user = answers::client_name(tx, node.doc.user)?;
            Ok(answers::run_info(workspace, &experiment, &node, user.as_deref()))
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
