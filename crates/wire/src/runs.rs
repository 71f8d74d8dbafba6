//! Runs as every protocol over them has them.

use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Experiment, ExperimentDoc, Run, RunDoc};
use habeas_core::{Error, Id, Node, Result};
use habeas_store::Tx;

/// What `azureml-core` puts before a run's id to name the place of its artifacts.
pub(crate) const DATA_CONTAINER: &str = "dcid.";

/// How a run is called on the wire.
pub(crate) fn run_name(run: &Node<RunDoc>) -> String {
    run.id.to_hex()
}

/// A client's own words within an error, not longer than a line.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= 200 {
        text.to_owned()
    } else {
        text.chars().take(200).chain("...".chars()).collect()
    }
}

/// The run of that name below `scope`, which is what experiments stand under, if the actor may do this with it.
pub(crate) fn find_run(
    tx: &mut Tx<'_>,
    actor: &Actor,
    scope: Id,
    text: &str,
    permission: Permission,
) -> Result<Node<RunDoc>> {
    let not_found = || Error::not_found(format!("Run with id={} not found", shortened(text)));
    let id = text.parse().map_err(|_| not_found())?;
    let node = tx.get::<Run>(id)?.ok_or_else(not_found)?;
    let experiment = node.parent.unwrap_or(Id::NIL);
    match tx.position(experiment)? {
        Some((_, Some(parent), _)) if parent == scope => {}
        _ => return Err(not_found()),
    }
    authorise(tx, actor, node.id, permission)?;
    Ok(node)
}

/// The experiment that a run stands in.
pub(crate) fn experiment_of(tx: &mut Tx<'_>, run: &Node<RunDoc>) -> Result<Node<ExperimentDoc>> {
    tx.get::<Experiment>(run.parent.unwrap_or(Id::NIL))?
        .ok_or_else(|| Error::not_found("the experiment of the run was just removed"))
}
