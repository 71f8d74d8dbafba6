//! Taking in a container of Azure's storage: every blob of it, or nothing.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use axum::Json;
use futures::{TryStreamExt as _, stream};
use habeas_access::Permission;
use habeas_core::kinds::{Artifact, ArtifactDoc};
use habeas_core::{BlobRef, Error, ErrorKind, Id, Node, Result as CoreResult};
use habeas_store::Tx;
use serde::Deserialize;
use serde_json::{Value, json};

use super::blobs::expected;
use super::call::Call;
use super::container::{Blob, Container, not_taken_in};
use super::files::{owner, place, taken};
use super::places::Place;
use crate::artifact_files::{self, check_path, media_type};
use crate::data_services::Result;
use crate::runs::shortened;

/// Blobs that one command takes in.
const MOST_BLOBS: usize = 10_000;
/// Bytes of the largest blob.
const LARGEST_BLOB: u64 = 4 << 30;
/// Bytes of all blobs of a command.
const LARGEST_SUM: u64 = 16 << 30;

/// What is asked for. The signature is a secret: this does not show itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    container_uri: String,
    container_sas: Option<String>,
    prefix: Option<String>,
    artifact_prefix: Option<String>,
}

/// `batch_ingest_from_sas`: the blobs whose names begin with `prefix` become files, with `artifactPrefix` in its place. A path that is taken is
/// an error: nothing is overwritten unasked.
pub(super) async fn ingest(call: Call) -> Result<Json<Value>> {
    let place = place(&call)?;
    let find = owner(&call, &place);
    // Whoever may not write here is not told what is wrong with a command.
    call.app.store().read(find.clone()).await?;
    let command: Command = call.body()?;
    let signature = command.container_sas.as_deref().unwrap_or_default();
    let container = Container::new(call.app.models().outgoing(), &command.container_uri, signature)?;
    let prefix = command.prefix.as_deref().unwrap_or_default();
    let blobs = container.list(prefix, MOST_BLOBS).await?;
    require_sizes(&blobs)?;
    let paths = paths(&blobs, prefix, command.artifact_prefix.as_deref().unwrap_or_default())?;
    let wanted = (place.clone(), paths.clone());
    call.app
        .store()
        .read(move |tx| {
            let owner = find(tx)?;
            wanted.1.iter().try_for_each(|path| require_free(tx, &wanted.0, owner, path))
        })
        .await?;

    let mut fetched = Vec::new();
    for (blob, path) in blobs.iter().zip(paths) {
        match fetch(&call, &place, &container, blob, &path).await {
            Ok(content) => fetched.push((path, content)),
            Err(error) => return Err(give_up(&call, &fetched, error).await.into()),
        }
    }
    let fetched = Arc::new(fetched);
    let nodes = match keep(&call, &place, fetched.clone()).await {
        Ok(nodes) => nodes,
        Err(error) => return Err(give_up(&call, &fetched, error).await.into()),
    };
    Ok(Json(json!({ "value": nodes.iter().map(|node| place.show(node)).collect::<Vec<_>>() })))
}

fn require_sizes(blobs: &[Blob]) -> CoreResult<()> {
    if let Some(blob) = blobs.iter().find(|blob| blob.size > LARGEST_BLOB) {
        return Err(Error::too_large(format!(
            "the blob `{}` has {} bytes, more than the {LARGEST_BLOB} that one may have",
            shortened(&blob.name),
            blob.size
        ))
        .hint(
            "send it by itself: announce it with batch/metadata, then put it at the address in the answer",
        ));
    }
    let sum: u64 = blobs.iter().map(|blob| blob.size).sum();
    if sum > LARGEST_SUM {
        return Err(Error::too_large(format!(
            "the blobs have {sum} bytes together, more than the {LARGEST_SUM} that one command takes in"
        ))
        .hint("take them in by several commands, with longer prefixes"));
    }
    Ok(())
}

/// The paths of the blobs here, in their order.
fn paths(blobs: &[Blob], prefix: &str, artifact_prefix: &str) -> CoreResult<Vec<String>> {
    let (mut paths, mut known) = (Vec::new(), BTreeSet::new());
    for blob in blobs {
        let rest = blob.name.strip_prefix(prefix).unwrap_or(&blob.name);
        // `logs` and `logs/` are the same folder.
        let rest = match artifact_prefix {
            "" => rest.trim_start_matches('/'),
            folder if folder.ends_with('/') => rest.trim_start_matches('/'),
            _ => rest,
        };
        let path = format!("{artifact_prefix}{rest}");
        // The name stands in the address that is called.
        let checked = check_path(&blob.name).and_then(|()| check_path(&path));
        checked.map_err(|error| {
            not_taken_in(blob, error.hint("its name, or its path with `artifactPrefix`, is none that a file has here: a part of it is empty or leads out of it"))
        })?;
        if !known.insert(path.clone()) {
            return Err(not_taken_in(
                blob,
                Error::invalid("another one has the same path here").hint("send another `artifactPrefix`"),
            ));
        }
        paths.push(path);
    }
    Ok(paths)
}

fn require_free(tx: &mut Tx<'_>, place: &Place, owner: Id, path: &str) -> CoreResult<()> {
    match tx.child_by_name::<Artifact>(owner, &place.stored(path))? {
        Some(_) => Err(Error { what: format!("{}: `{}`", taken().what, shortened(path)), ..taken() }),
        None => Ok(()),
    }
}

/// Fetches a blob into one of ours, which no document has yet.
async fn fetch(
    call: &Call,
    place: &Place,
    container: &Container<'_>,
    blob: &Blob,
    path: &str,
) -> CoreResult<BlobRef> {
    let incoming = container.open(blob).await?;
    let expected = expected(incoming.headers()).map_err(|error| not_taken_in(blob, error))?;
    let mut broken = None;
    let received = {
        let pieces = stream::try_unfold(incoming, async |mut incoming| {
            incoming.piece().await.map(|piece| piece.map(|piece| (piece, incoming)))
        });
        let pieces = pin!(pieces.inspect_err(|error: &Error| broken = Some(error.clone())));
        let find = owner(call, place);
        artifact_files::receive_pieces(&call.app, find, media_type(path), pieces, expected).await
    };
    let received = received.map_err(|error| match broken {
        Some(broken) => not_taken_in(blob, broken),
        // It is not what its digest says.
        None if error.kind == ErrorKind::Invalid => not_taken_in(blob, error),
        None => error,
    })?;
    if received.size != blob.size {
        artifact_files::give_up(&call.app, &[received.id]).await;
        return Err(not_taken_in(blob, Error::invalid("it has another size than the list says")));
    }
    Ok(received)
}

/// Makes files of all that was fetched, at once.
async fn keep(
    call: &Call,
    place: &Place,
    fetched: Arc<Vec<(String, BlobRef)>>,
) -> CoreResult<Vec<Node<ArtifactDoc>>> {
    let (actor, person, place) = (call.actor, call.person, place.clone());
    call.write(Permission::Read, move |tx, scope| {
        let owner = place.owner(tx, &actor, scope, Permission::Write)?;
        let mut nodes = Vec::new();
        for (path, content) in fetched.iter() {
            require_free(tx, &place, owner, path)?;
            nodes.push(artifact_files::keep(tx, owner, &place.stored(path), content, Some(person))?);
        }
        Ok(nodes)
    })
    .await
}

/// Gives up what was fetched before something failed; what failed.
async fn give_up(call: &Call, fetched: &[(String, BlobRef)], error: Error) -> Error {
    let ids: Vec<Id> = fetched.iter().map(|(_, content)| content.id).collect();
    artifact_files::give_up(&call.app, &ids).await;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(names: &[&str]) -> Vec<Blob> {
        names.iter().map(|name| Blob { name: (*name).to_owned(), size: 1 }).collect()
    }

    #[test]
    fn the_artifact_prefix_takes_the_place_of_the_prefix() {
        for (prefix, artifact_prefix, expected) in [
            ("", "", "logs/a.txt"),
            ("logs/", "", "a.txt"),
            ("logs", "", "a.txt"),
            ("logs", "out", "out/a.txt"),
            ("logs", "out/", "out/a.txt"),
            ("logs/", "out/", "out/a.txt"),
            ("logs/", "out-", "out-a.txt"),
            ("logs/a.txt", "b.txt", "b.txt"),
        ] {
            let found = paths(&blobs(&["logs/a.txt"]), prefix, artifact_prefix).unwrap();
            assert_eq!(found, [expected], "{prefix} {artifact_prefix}");
        }
        for (names, prefix) in [
            (&["logs/../a"][..], ""),
            (&["logs/"], ""),
            (&["logs/../a"], "logs/../"),
            (&["a"], "a"),
            (&["logs/a", "logs//a"], "logs"),
        ] {
            assert!(paths(&blobs(names), prefix, "").is_err(), "{names:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_told_with_the_limit() {
        let sized = |sizes: &[u64]| -> Vec<Blob> {
            sizes.iter().map(|size| Blob { name: "a".into(), size: *size }).collect()
        };
        require_sizes(&sized(&[LARGEST_BLOB; 4])).unwrap();
        let error = require_sizes(&sized(&[LARGEST_BLOB + 1])).unwrap_err();
        assert!(error.what.contains(&LARGEST_BLOB.to_string()), "{error}");
        let error = require_sizes(&sized(&[LARGEST_BLOB; 5])).unwrap_err();
        assert!(error.what.contains(&LARGEST_SUM.to_string()), "{error}");
    }
}
