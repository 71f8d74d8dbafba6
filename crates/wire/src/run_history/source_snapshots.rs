//! Snapshots of source folders that go with the runs that were made with them.

use std::collections::BTreeSet;

use habeas_access::Permission;
use habeas_core::kinds::{Run, SOURCE_SNAPSHOT, Snapshot};
use habeas_core::node::Relation;
use habeas_core::{AttrKey, Id, Kind, Result};
use habeas_store::Tx;

use super::call::Call;

/// The snapshots in the workspace or project `scope` that these runs of it name, and no other run does. A run that MLflow put aside counts:
/// it can be restored. The scope is indexed: see [`index`].
pub(super) fn of_runs(tx: &mut Tx<'_>, scope: Id, runs: &[Id]) -> Result<Vec<Id>> {
    let mut names = BTreeSet::new();
    for run in runs {
        names.extend(tx.get::<Run>(*run)?.and_then(|mut run| run.doc.params.remove(SOURCE_SNAPSHOT)));
    }
    let going: BTreeSet<Id> = runs.iter().copied().collect();
    let mut snapshots = Vec::new();
    for name in names {
        if let Some(snapshot) = tx.child_by_name::<Snapshot>(scope, &name)? {
            // One more than all that go has one that stays among them, if any does.
            let most = going.len() + 1;
            let naming = tx.ids_contained_by_text(scope, Kind::Run, AttrKey::SourceSnapshot, &name, most)?;
            if naming.iter().all(|run| going.contains(run)) {
                snapshots.push(snapshot.id);
            }
        }
    }
    Ok(snapshots)
}

/// Sees to it that runs are found by the snapshots that they name, also in a workspace or project from before runs declared them.
pub(super) async fn index(call: &Call) -> Result<()> {
    let place = call.place();
    let scope = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            Ok((tx.count_targets(scope, Relation::Indexed)? == 0).then_some(scope))
        })
        .await?;
    match scope {
        Some(scope) => call.app.store().index(scope).await,
        None => Ok(()),
    }
}
