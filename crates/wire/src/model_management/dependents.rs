//! What was made from something: it stands in the way of a deletion, or goes with it when the client says `cascade=true`.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use habeas_access::Permission;
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Kind, Result as CoreResult};
use habeas_rights::Selection;
use habeas_store::{Removed, Tx};

use super::call::Call;
use super::errors::{Failure, Result};
use super::models;
use crate::deletion::{is_dry, plan_of_many};

/// Manifests, images and services that were made from something, and from these, the nearest first; each with its kind.
fn of(tx: &mut Tx<'_>, id: Id) -> CoreResult<Vec<(Id, Kind)>> {
    let mut found: Vec<(Id, Kind)> = Vec::new();
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        for source in tx.sources(id, Relation::MadeFrom)? {
            let Some((kind @ (Kind::Manifest | Kind::ContainerImage | Kind::Service), ..)) =
                tx.position(source)?
            else {
                continue;
            };
            if !found.iter().any(|(known, _)| *known == source) {
                found.push((source, kind));
                next.push(source);
            }
        }
    }
    Ok(found)
}

/// What stands in the way, as a detail of the error: its kind and its identifier, by which every form of the protocol finds it.
fn detail(id: Id, kind: Kind) -> (&'static str, String) {
    let kind = match kind {
        Kind::Manifest => "Manifest",
        Kind::ContainerImage => "Image",
        _ => "Service",
    };
    (kind, id.to_string())
}

fn in_use(count: usize) -> Error {
    Error::conflict(format!("{count} other resources are made from it")).code("InUse")
}

/// Refuses to let these go while something was made from them, for protocols that do not know what that is.
pub(crate) fn require_none(tx: &mut Tx<'_>, ids: &[Id]) -> CoreResult<()> {
    let mut found: Vec<(Id, Kind)> = Vec::new();
    for id in ids {
        for dependent in of(tx, *id)? {
            if !found.contains(&dependent) {
                found.push(dependent);
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let named = found.iter().map(|(id, kind)| {
        let (kind, id) = detail(*id, *kind);
        format!("{kind} {id}")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    Err(in_use(found.len()).hint(format!("delete these first, by Azure's model management: {named}")))
}

/// What a deletion takes.
enum Found {
    Missing,
    InTheWay(Vec<(&'static str, String)>),
    /// In this order.
    Goes(Vec<Id>),
}

/// What the function finds, with its dependents if these go, too.
fn select(
    tx: &mut Tx<'_>,
    at: Id,
    find: &impl Fn(&mut Tx<'_>, Id) -> CoreResult<Option<(Id, Id)>>,
    cascades: bool,
) -> CoreResult<Found> {
    let Some((id, goes)) = find(tx, at)? else { return Ok(Found::Missing) };
    let dependents = of(tx, id)?;
    if !dependents.is_empty() && !cascades {
        return Ok(Found::InTheWay(dependents.into_iter().map(|(id, kind)| detail(id, kind)).collect()));
    }
    Ok(Found::Goes(dependents.into_iter().rev().map(|(id, _)| id).chain([goes]).collect()))
}

/// Removes what goes, last of all what the deletion is of.
fn take(tx: &mut Tx<'_>, ids: &[Id]) -> CoreResult<Vec<Removed>> {
    if let Some(last) = ids.last() {
        models::drop_aliases(tx, *last)?;
    }
    ids.iter().map(|id| tx.remove(*id)).collect()
}

/// What became of a deletion.
pub(super) enum Done {
    /// There was nothing.
    Nothing,
    Removed,
    /// The answer with the plan, which is all that was asked for.
    Planned(Response),
}

/// Removes what the function finds: whose dependents count, and what goes. With `cascade=true`, the dependents go first; otherwise they are a
/// conflict that lists them. With `dryRun=true`, which is ours, only plans it. The function changes nothing.
pub(super) async fn remove(
    call: &Call,
    permission: Permission,
    find: impl Fn(&mut Tx<'_>, Id) -> CoreResult<Option<(Id, Id)>> + Send + Sync + 'static,
) -> Result<Done> {
    let (cascades, plans) = (call.flag("cascade"), is_dry(call.dry_run())?);
    let (scope, actor) = (call.scope.clone(), call.actor);
    let (at, found, removed) = if plans {
        let found = call.app.store().read(move |tx| {
            let at = scope.find(tx, &actor, permission)?;
            Ok((at, select(tx, at, &find, cascades)?))
        });
        let (at, found) = found.await?;
        (at, found, Vec::new())
    } else {
        call.write(permission, move |tx, at| {
            let found = select(tx, at, &find, cascades)?;
            let removed = match &found {
                Found::Goes(ids) => take(tx, ids)?,
                Found::Missing | Found::InTheWay(_) => Vec::new(),
            };
            Ok((at, found, removed))
        })
        .await?
    };
    match found {
        Found::Missing => Ok(Done::Nothing),
        Found::InTheWay(details) => Err(Failure::with_details(
            in_use(details.len())
                .hint("delete them first, or all at once with `cascade=true`; `details` lists them"),
            details,
        )),
        Found::Goes(ids) => {
            let plan = plan_of_many(&call.app, call.dry_run(), move |_| {
                Ok(Selection { within: at, resources: ids.clone(), also: Vec::new() })
            });
            if let Some(plan) = plan.await? {
                return Ok(Done::Planned(plan));
            }
            for one in &removed {
                call.app.store().finish(one).await;
            }
            Ok(Done::Removed)
        }
    }
}

/// The answer to a deletion at once.
pub(super) fn answer(done: Done) -> Response {
    match done {
        Done::Nothing => StatusCode::NO_CONTENT.into_response(),
        Done::Removed => StatusCode::OK.into_response(),
        Done::Planned(plan) => plan,
    }
}
