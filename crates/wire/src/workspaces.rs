//! What workspaces and projects of experiments and models begin with.

use habeas_core::kinds::{Experiment, ExperimentDoc, Workspace, WorkspaceDoc};
use habeas_core::{Id, Node, Result};
use habeas_store::{New, Tx};

/// The name of the experiment that runs go to when their script names none.
const DEFAULT_EXPERIMENT: &str = "Default";

/// Makes a workspace with its default experiment.
pub(crate) fn create(
    tx: &mut Tx<'_>,
    holder: Id,
    id: Id,
    doc: WorkspaceDoc,
    person: Id,
) -> Result<Node<WorkspaceDoc>> {
    let node = tx.create::<Workspace>(New::under(holder, id, doc))?;
    create_default_experiment(tx, id, person)?;
    Ok(node)
}

/// Makes the default experiment of a workspace or project.
pub(crate) fn create_default_experiment(tx: &mut Tx<'_>, under: Id, person: Id) -> Result<()> {
    let doc = ExperimentDoc::new(DEFAULT_EXPERIMENT.to_owned(), person);
    tx.create::<Experiment>(New::under(under, default_experiment(under), doc))?;
    Ok(())
}

/// The id of the default experiment of a workspace or project: its own with every bit turned, so that it is found without a search.
pub(crate) fn default_experiment(under: Id) -> Id {
    Id::from_bytes(under.as_bytes().map(|byte| !byte))
}
