//! Snapshots of source folders that go with the runs that were made with them.

use std::collections::{BTreeMap, BTreeSet};

use habeas_core::kinds::{Run, Snapshot};
use habeas_core::{Id, Kind, Result};
use habeas_store::{Order, Page, Tx};

/// The property of a run by which `azureml-core` names the snapshot of its source folder.
const PROPERTY: &str = "ContentSnapshotId";
/// Runs that are read at a time.
const CHUNK: u64 = 1_000;

/// The snapshots in the workspace or project `scope` that these runs of it name, and no other run does. A run that MLflow put aside counts:
/// it can be restored.
pub(super) fn of_runs(tx: &mut Tx<'_>, scope: Id, runs: &[Id]) -> Result<Vec<Id>> {
    let mut names = BTreeSet::new();
    for run in runs {
        names.extend(tx.get::<Run>(*run)?.and_then(|mut run| run.doc.params.remove(PROPERTY)));
    }
    let mut snapshots = BTreeMap::new();
    for name in names {
        if let Some(snapshot) = tx.child_by_name::<Snapshot>(scope, &name)? {
            snapshots.insert(name, snapshot.id);
        }
    }
    if !snapshots.is_empty() {
        retain_unnamed(tx, scope, &runs.iter().copied().collect(), &mut snapshots)?;
    }
    Ok(snapshots.into_values().collect())
}

/// Takes out those, by their names, that a run names that stays. Nothing but the runs' documents says so: they are read.
fn retain_unnamed(
    tx: &mut Tx<'_>,
    scope: Id,
    going: &BTreeSet<Id>,
    snapshots: &mut BTreeMap<String, Id>,
) -> Result<()> {
    for (_, experiment) in tx.children_ids(scope, Kind::Experiment)? {
        let mut page = Page { order: Order::Newest, skip: 0, take: CHUNK };
        loop {
            let runs = tx.children::<Run>(experiment, page)?;
            for run in runs.iter().filter(|run| !going.contains(&run.id)) {
                if let Some(name) = run.doc.params.get(PROPERTY) {
                    snapshots.remove(name);
                }
            }
            if snapshots.is_empty() {
                return Ok(());
            }
            if (runs.len() as u64) < CHUNK {
                break;
            }
            page.skip += CHUNK;
        }
    }
    Ok(())
}
