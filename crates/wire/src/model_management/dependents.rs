//! What was made from something: it stands in the way of a deletion, or goes with it when the client says `cascade=true`.

use habeas_access::Permission;
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Kind, Result as CoreResult};
use habeas_store::{Removed, Tx};

use super::call::Call;
use super::errors::{Failure, Result};

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

enum Outcome {
    Missing,
    InTheWay(Vec<(&'static str, String)>),
    Removed(Vec<Removed>),
}

/// Removes what the function finds: whose dependents count, and what goes. False when there is nothing. With `cascade=true`, the
/// dependents go first; otherwise they are a conflict that lists them.
pub(super) async fn remove(
    call: &Call,
    permission: Permission,
    find: impl Fn(&mut Tx<'_>, Id) -> CoreResult<Option<(Id, Id)>> + Send + Sync + 'static,
) -> Result<bool> {
    let cascades = call.flag("cascade");
    let outcome = call
        .write(permission, move |tx, at| {
            let Some((id, goes)) = find(tx, at)? else { return Ok(Outcome::Missing) };
            let dependents = of(tx, id)?;
            if !dependents.is_empty() && !cascades {
                let details = dependents.into_iter().map(|(id, kind)| detail(id, kind)).collect();
                return Ok(Outcome::InTheWay(details));
            }
            let ids = dependents.into_iter().rev().map(|(id, _)| id).chain([goes]);
            Ok(Outcome::Removed(ids.map(|id| tx.remove(id)).collect::<CoreResult<_>>()?))
        })
        .await?;
    match outcome {
        Outcome::Missing => Ok(false),
        Outcome::InTheWay(details) => Err(Failure::with_details(
            Error::conflict(format!("{} other resources are made from it", details.len()))
                .hint("delete them first, or all at once with `cascade=true`; `details` lists them")
                .code("InUse"),
            details,
        )),
        Outcome::Removed(removed) => {
            for one in &removed {
                call.app.store().finish(one).await;
            }
            Ok(true)
        }
    }
}
