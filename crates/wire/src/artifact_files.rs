//! Files of runs, logged models, snapshots and workspaces, whatever the protocol: how they are received, kept, found and listed.

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use habeas_core::crypto::Sha256;
use habeas_core::kinds::{Artifact, ArtifactDoc};
use habeas_core::{BlobRef, Error, Id, Node, Result, fault};
use habeas_store::{BlobWriter, New, Page, Tx};
use md5::{Digest as _, Md5};

use crate::App;

/// What a client says of the bytes that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Their SHA-256.
    pub(crate) sha256: Option<[u8; 32]>,
    /// Their MD5.
    pub(crate) md5: Option<[u8; 16]>,
}

/// Bytes that are not what their client said.
pub(crate) fn mismatch() -> Error {
    Error::invalid("the bytes do not have the digest that was sent with them")
        .hint("send them again")
        .code("Md5Mismatch")
}

/// Digests of the bytes so far, as far as they are asked for.
struct Digests {
    expected: Expected,
    sha256: Sha256,
    md5: Md5,
}

impl Digests {
    fn new(expected: Expected) -> Digests {
        Digests { expected, sha256: Sha256::default(), md5: Md5::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.expected.sha256.is_some() {
            self.sha256.update(bytes);
        }
        if self.expected.md5.is_some() {
            self.md5.update(bytes);
        }
    }

    fn agree(self) -> bool {
        self.expected.sha256.is_none_or(|expected| expected == self.sha256.finish())
            && self.expected.md5.is_none_or(|expected| expected == <[u8; 16]>::from(self.md5.finalize()))
    }
}

/// Streams a body into a sealed blob, which is announced under what `owner` finds; nothing is visible before a document has it. An error,
/// and nothing kept, when the body breaks off or is not what was expected.
pub(crate) async fn receive(
    app: &App,
    owner: impl Fn(&mut Tx<'_>) -> Result<Id> + Clone + Send + 'static,
    media_type: &str,
    body: Body,
    expected: Expected,
) -> Result<BlobRef> {
    receive_pieces(app, owner, media_type, body.into_data_stream(), expected).await
}

/// The same of bytes that are a part of a body.
pub(crate) async fn receive_pieces<E>(
    app: &App,
    owner: impl Fn(&mut Tx<'_>) -> Result<Id> + Clone + Send + 'static,
    media_type: &str,
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    expected: Expected,
) -> Result<BlobRef> {
    let blob = announce(app, owner, media_type).await?;
    fault::point("upload.announced");
    let id = blob.id;
    let received = write(app.store().blobs().writer(blob), pieces, expected).await;
    fault::point("upload.stored");
    or_give_up(app, id, wanted(app, received).await).await
}

/// A blob that is about to be written below what `owner` finds.
async fn announce(
    app: &App,
    owner: impl Fn(&mut Tx<'_>) -> Result<Id> + Clone + Send + 'static,
    media_type: &str,
) -> Result<BlobRef> {
    let blob = BlobRef::new(app.store().ambient(), 0, media_type);
    let announced = blob.clone();
    app.store()
        .write(move |tx| {
            let owner = owner(tx)?;
            tx.announce_blobs(owner, &[&announced])
        })
        .await?;
    Ok(blob)
}

async fn write<E>(
    mut writer: BlobWriter,
    mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    expected: Expected,
) -> Result<BlobRef> {
    let mut digests = Digests::new(expected);
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            // What is left of it is deleted as an abandoned upload.
            let _ = writer.abort().await;
            return Err(Error::invalid("the upload broke off").hint("send it again"));
        };
        digests.update(&piece);
        writer.write(&piece).await?;
    }
    finish(writer, digests).await
}

async fn finish(writer: BlobWriter, digests: Digests) -> Result<BlobRef> {
    if !digests.agree() {
        let _ = writer.abort().await;
        return Err(mismatch());
    }
    writer.finish().await
}

/// One blob with the bytes of several, in their order; announced under what `owner` finds. An error, and nothing kept, when they are not
/// what was expected.
pub(crate) async fn join(
    app: &App,
    owner: impl Fn(&mut Tx<'_>) -> Result<Id> + Clone + Send + 'static,
    media_type: &str,
    parts: &[BlobRef],
    expected: Expected,
) -> Result<BlobRef> {
    let blob = announce(app, owner, media_type).await?;
    let id = blob.id;
    let joined = copy(app, blob, parts, expected).await;
    or_give_up(app, id, wanted(app, joined).await).await
}

/// What was stored, while what it was announced under is there. An erasure that began after an upload and ended before it had nothing to
/// delete yet.
async fn wanted(app: &App, stored: Result<BlobRef>) -> Result<BlobRef> {
    let blob = stored?;
    app.store().settle_announced(blob.id).await?;
    Ok(blob)
}

async fn copy(app: &App, blob: BlobRef, parts: &[BlobRef], expected: Expected) -> Result<BlobRef> {
    let blobs = app.store().blobs();
    let (mut writer, mut digests) = (blobs.writer(blob), Digests::new(expected));
    for part in parts {
        let mut bytes = blobs.stream(part, 0..part.size);
        while let Some(piece) = bytes.next().await {
            let piece: Bytes = piece?;
            digests.update(&piece);
            writer.write(&piece).await?;
        }
    }
    finish(writer, digests).await
}

/// What was done with a blob; where it failed, the blob is given up.
pub(crate) async fn or_give_up<T>(app: &App, blob: Id, done: Result<T>) -> Result<T> {
    if done.is_err() {
        give_up(app, &[blob]).await;
    }
    done
}

/// Gives up blobs that no document will have. What cannot be given up now is collected with abandoned uploads.
pub(crate) async fn give_up(app: &App, ids: &[Id]) {
    let ids = ids.to_vec();
    if let Err(error) = app.store().write(move |tx| tx.abandon_blobs(&ids)).await {
        tracing::warn!(
            error = format_args!("{error:#}"),
            "a broken upload is left to the collection of abandoned ones"
        );
    }
}

/// Whether the last bytes of a blob are those of another one.
pub(crate) async fn ends_with(app: &App, whole: &BlobRef, end: &BlobRef) -> Result<bool> {
    let Some(begin) = whole.size.checked_sub(end.size) else { return Ok(false) };
    let mut digests = [[0; 32]; 2];
    for (digest, (blob, range)) in digests.iter_mut().zip([(whole, begin..whole.size), (end, 0..end.size)]) {
        let (mut bytes, mut sha256) = (app.store().blobs().stream(blob, range), Sha256::default());
        while let Some(piece) = bytes.next().await {
            sha256.update(&piece?);
        }
        *digest = sha256.finish();
    }
    Ok(digests[0] == digests[1])
}

/// Makes a blob that was received the content of the file at `path`; in place of what it had before, which is deleted, and so refused where a
/// legal hold keeps it.
pub(crate) fn keep(
    tx: &mut Tx<'_>,
    owner: Id,
    path: &str,
    blob: &BlobRef,
    person: Option<Id>,
) -> Result<Node<ArtifactDoc>> {
    if let Some(node) = tx.child_by_name::<Artifact>(owner, path)? {
        tx.require_removable(node.id)?;
    }
    keep_grown(tx, owner, path, (blob, None), person)
}

/// The same of a blob that ends with a piece of this number, if pieces are numbered, and begins with all that the file had before: a log under
/// a legal hold may grow.
pub(crate) fn keep_grown(
    tx: &mut Tx<'_>,
    owner: Id,
    path: &str,
    (blob, piece): (&BlobRef, Option<u64>),
    person: Option<Id>,
) -> Result<Node<ArtifactDoc>> {
    let node = match tx.child_by_name::<Artifact>(owner, path)? {
        Some(mut node) => {
            let old = std::mem::replace(&mut node.doc.content, blob.clone());
            tx.change_maker(node.id, node.holder, node.doc.created_by, person)?;
            node.doc.created_by = person;
            node.doc.piece = piece;
            let node = tx.update::<Artifact>(&node)?;
            tx.release_blobs(&[old.id])?;
            node
        }
        None => {
            let doc = ArtifactDoc { path: path.to_owned(), content: blob.clone(), created_by: person, piece };
            let id = tx.new_id();
            tx.create::<Artifact>(New::under(owner, id, doc))?
        }
    };
    tx.attach_blobs(node.id, &[blob])?;
    Ok(node)
}

/// Makes a file that was read in this version one that has a piece more at its end, whose number it is if pieces are numbered. A conflict when
/// the file is not in that version any more. The piece's own blob is still the caller's.
pub(crate) async fn append(
    app: &App,
    owner: impl Fn(&mut Tx<'_>) -> Result<Id> + Clone + Send + 'static,
    before: Node<ArtifactDoc>,
    (piece, number): (&BlobRef, Option<u64>),
    person: Id,
) -> Result<Node<ArtifactDoc>> {
    let Node { id: file, version, doc: ArtifactDoc { path, content, .. }, .. } = before;
    let media_type = content.media_type.clone();
    let parts = [content, piece.clone()];
    let joined = join(app, owner.clone(), &media_type, &parts, Expected::default()).await?;
    let id = joined.id;
    let kept = app.store().write(move |tx| {
        let owner = owner(tx)?;
        let there = tx.child_by_name::<Artifact>(owner, &path)?;
        if there.is_none_or(|node| (node.id, node.version) != (file, version)) {
            return Err(
                Error::conflict("somebody else changed the artifact at the same time").hint("append again")
            );
        }
        keep_grown(tx, owner, &path, (&joined, number), Some(person))
    });
    or_give_up(app, id, kept.await).await
}

/// The files of `owner` at or below a path, in the order of their paths; all of them for the empty path.
pub(crate) fn below(tx: &mut Tx<'_>, owner: Id, path: &str) -> Result<Vec<Node<ArtifactDoc>>> {
    let mut nodes = tx.children::<Artifact>(owner, Page::ALL)?;
    nodes.retain(|node| node.doc.path == path || is_below(&node.doc.path, path));
    nodes.sort_unstable_by(|left, right| left.doc.path.cmp(&right.doc.path));
    Ok(nodes)
}

/// Whether a path leads below a directory.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Checks that a path leads out of nothing, however it was encoded.
pub(crate) fn check_path(path: &str) -> Result<()> {
    let mut decoded = path.to_owned();
    // Decoded until nothing changes: `%252e` is a dot too.
    for _ in 0..8 {
        let next = crate::percent::decode_path(&decoded);
        if next == decoded {
            break;
        }
        decoded = next;
    }
    let outside = |part: &str| matches!(part, "" | "." | "..");
    if decoded.contains(['\\', '#', '\0']) || decoded.split('/').any(outside) || decoded.len() > 4096 {
        // In words that MLflow has.
        return Err(Error::invalid("Invalid path"));
    }
    Ok(())
}

/// A media type by the end of the name: browsers show pictures and texts, everything else is bytes.
pub(crate) fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).as_deref() {
        Some("txt" | "log" | "md" | "yaml" | "yml" | "csv") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["model/MLmodel", "a b/c%d.txt", "1+1"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["../a", "a/%2e%2e/b", "%252e%252e/a", "a\\b", "/a", "a#b", ""] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(is_below("a/b", "a") && is_below("a", "") && !is_below("ab", "a") && !is_below("a", "a"));
    }
}
