//! Iterations: training, reading, publishing, performance, and the snapshots that they were trained on.

mod performance;
mod publish;
mod read;
mod snapshot;
mod train;

use habeas_access::{Actor, Permission};
use habeas_core::kinds::IterationDoc;
use habeas_core::{Id, Node, Result};
use habeas_models::{find_iteration, no_iteration};
use habeas_store::Tx;

pub(super) use performance::{image_performance_count, image_performances, performance};
pub(super) use publish::{publish, unpublish};
pub(super) use read::{delete, list, show, update};
pub(super) use snapshot::Snapshot;
pub(super) use train::train;

use super::caller::{Call, find_project};
use super::version::Version;

/// The iteration in the path. What is not a GUID is no iteration of anybody.
fn iteration_id(call: &Call) -> Result<Id> {
    call.item.as_deref().and_then(|text| text.parse().ok()).ok_or_else(no_iteration)
}

/// The iteration, if the actor may do this in its project.
fn find(
    tx: &mut Tx<'_>,
    actor: &Actor,
    project: Id,
    iteration: Id,
    permission: Permission,
) -> Result<Node<IterationDoc>> {
    find_project(tx, actor, project, permission)?;
    find_iteration(tx, project, iteration)
}

/// Whether an id stands for the workspace: version 1.x lists it as an untrained iteration, which has the project's own id here.
fn is_workspace(version: Version, project: Id, iteration: Id) -> bool {
    version <= Version::V1_2 && iteration == project
}
