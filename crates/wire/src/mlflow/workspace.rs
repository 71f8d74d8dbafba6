//! The workspace that a plain MLflow address means, and the experiments and runs of a workspace.

use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Experiment, ExperimentDoc, LifecycleStage, RunDoc, Workspace, WorkspaceDoc};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;
use serde_json::Map;

use crate::App;
pub(super) use crate::runs::{find_run, parse, shortened};
use crate::workspaces::{create, default_experiment};

/// The name of the workspace that a person's plain MLflow address means.
const DEFAULT_WORKSPACE: &str = "default";
/// How MLflow's client calls the experiment that runs go to when their script names none.
const DEFAULT_EXPERIMENT_ID: &str = "0";

/// The person's default workspace with its default experiment; made when first asked for.
pub(super) async fn default_workspace(app: &App, person: Id) -> Result<Id> {
    let find = move |tx: &mut Tx<'_>| -> Result<Option<Id>> {
        Ok(tx.child_by_name::<Workspace>(person, DEFAULT_WORKSPACE)?.map(|node| node.id))
    };
    if let Some(found) = app.store().read(find).await? {
        return Ok(found);
    }
    let id = app.store().ambient().new_id();
    let made = app
        .store()
        .write_with_keys(vec![id], Vec::new(), move |tx| {
            let doc = WorkspaceDoc { name: DEFAULT_WORKSPACE.to_owned(), azure: None, settings: Map::new() };
            create(tx, person, id, doc, person)?;
            Ok(id)
        })
        .await;
    match made {
        Err(error) if error.code == Some(habeas_store::UNIQUE_VIOLATION) => app
            .store()
            .read(find)
            .await?
            .ok_or_else(|| Error::unavailable("the workspace was just removed").hint("try again")),
        result => result,
    }
}

/// How an experiment is called on the wire.
pub(super) fn experiment_name(workspace: Id, experiment: Id) -> String {
    if experiment == default_experiment(workspace) {
        DEFAULT_EXPERIMENT_ID.to_owned()
    } else {
        experiment.to_hex()
    }
}

/// The experiment that a wire identifier means.
pub(super) fn experiment_id(workspace: Id, text: &str) -> Result<Id> {
    if text == DEFAULT_EXPERIMENT_ID {
        return Ok(default_experiment(workspace));
    }
    // What is no identifier of ours is no experiment.
    parse(text).ok_or_else(|| no_experiment(text))
}

fn no_experiment(text: &str) -> Error {
    Error::not_found(format!("No Experiment with id={} exists", shortened(text)))
}

/// The experiment, if the actor may do this with it.
pub(super) fn find_experiment(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    text: &str,
    permission: Permission,
) -> Result<Node<ExperimentDoc>> {
    let id = experiment_id(workspace, text)?;
    let node = tx
        .get::<Experiment>(id)?
        .filter(|node| node.parent == Some(workspace))
        .ok_or_else(|| no_experiment(text))?;
    authorise(tx, actor, id, permission)?;
    Ok(node)
}

/// Refuses an experiment that was put aside, in upstream's words.
pub(super) fn require_active_experiment(text: &str, node: &Node<ExperimentDoc>) -> Result<()> {
    match node.doc.stage {
        LifecycleStage::Active => Ok(()),
        stage @ LifecycleStage::Deleted => Err(Error::invalid(format!(
            "The experiment {text} must be in the 'active' state. Current state is {}.",
            stage.name()
        ))),
    }
}

/// The run, for a change to it: refused when it was put aside.
pub(super) fn find_active_run(
    tx: &mut Tx<'_>,
    actor: &Actor,
    workspace: Id,
    text: &str,
) -> Result<Node<RunDoc>> {
    let node = find_run(tx, actor, workspace, text, Permission::Write)?;
    match node.doc.stage {
        LifecycleStage::Active => Ok(node),
        stage @ LifecycleStage::Deleted => Err(Error::invalid(format!(
            "The run {text} must be in the 'active' state. Current state is {}.",
            stage.name()
        ))),
    }
}
