//! Workspaces, accounts and clusters of another Habeas: experiments, runs, models and whatever else archives carry as it is stored.
//!
//! What stands directly under a person, the root of all the rest, is unfinished until its import is: under a name of its own, so that no
//! client finds it, and gone by itself after a day.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use habeas_access::{Actor, Permission, authorise, new_key, record_staff};
use habeas_core::crypto::Sha256;
use habeas_core::data_map::Retention;
use habeas_core::import::{self, Origin, Point, Record, RecordFile};
use habeas_core::kinds::KeyPair;
use habeas_core::metric::MetricPoint;
use habeas_core::node::{RawNode, Relation};
use habeas_core::{Ambient, BlobRef, Error, ErrorKind, Id, Kind, Result as CoreResult, Timestamp, registry};
use habeas_store::{New, Removed, Tx};

use super::projects::{MAKING, unfinished_until};
use super::{Document, Ids, LARGEST_DOCUMENT, is_there, made, removed, same, taken};
use crate::App;
use crate::caller::Caller;
use crate::privacy::Problem;
use crate::provenance::made_from;
use crate::runs::remember_client_name;
use crate::workspaces::default_experiment;

/// Ids that are asked about at once.
const MOST_IDS: usize = 10_000;
/// Points of metrics that are brought at once.
const MOST_POINTS: usize = 10_000;

/// How an unfinished root is called: no client's name has a slash and begins so.
fn unfinished_name(id: Id) -> String {
    format!("import/{id}")
}

fn is_unfinished(node: &RawNode) -> CoreResult<bool> {
    let name = registry::ops(node.kind).unique_name(&node.doc)?;
    Ok(node.expires_at.is_some() && name == Some(unfinished_name(node.id)))
}

/// A workspace, account or cluster, for those who own it.
fn owned(tx: &mut Tx<'_>, actor: &Actor, root: Id) -> CoreResult<RawNode> {
    let nothing = || Error::not_found("there is no such workspace, account or cluster");
    let node = tx.raw(root)?.filter(|node| registry::is_carried_root(node.kind)).ok_or_else(nothing)?;
    authorise(tx, actor, root, Permission::Own)?;
    Ok(node)
}

/// The same, for as long as more may be brought into it.
fn open(tx: &mut Tx<'_>, actor: &Actor, root: Id) -> CoreResult<RawNode> {
    let node = owned(tx, actor, root)?;
    if is_unfinished(&node)? {
        Ok(node)
    } else {
        Err(Error::conflict("the workspace is finished: nothing more is brought into it"))
    }
}

/// A holder, if it is a person.
fn person(tx: &mut Tx<'_>, holder: Id) -> CoreResult<Option<Id>> {
    Ok(matches!(tx.position(holder)?, Some((Kind::Person, ..))).then_some(holder))
}

/// A root as it will be once it is finished.
fn whole(record: &Record, person: Option<Id>, ambient: &Ambient) -> CoreResult<RawNode> {
    let mut node = record.node(record.parent)?;
    if !registry::is_carried_root(node.kind) {
        return Err(Error::invalid("the record is of nothing that stands directly under a person"));
    }
    carry_in(&mut node, Here { person, blobs: &[], ambient }, |_| Ok(None)).map(|_| node)
}

/// What takes the place of what another server had.
struct Here<'a> {
    /// Whom it names; what an organisation gets names no person.
    person: Option<Id>,
    blobs: &'a [BlobRef],
    ambient: &'a Ambient,
}

/// Puts this server's persons, names, files and keys in the place of another one's; what has to stand beside it.
fn carry_in(
    node: &mut RawNode,
    Here { person, blobs, ambient }: Here<'_>,
    mut name: impl FnMut(Id) -> CoreResult<Option<Id>>,
) -> CoreResult<Vec<Id>> {
    let wrong = || Error::invalid("a record does not have the files that its document names");
    let mut about = Vec::new();
    let is_carried = registry::ops(node.kind).carry(node, &mut |carried| {
        for found in carried.persons {
            *found = found.and(person);
        }
        if let Some(found) = carried.addressee {
            *found = person
                .ok_or_else(|| Error::invalid("a record is for a person, and this is an organisation's"))?;
        }
        about = carried.about;
        for found in carried.login_names {
            if let Some(id) = *found {
                *found = name(id)?;
            }
        }
        for keys in carried.keys {
            *keys = KeyPair { primary: new_key(ambient), secondary: new_key(ambient) };
        }
        if carried.files.len() != blobs.len() {
            return Err(wrong());
        }
        for ((_, found), blob) in carried.files.into_iter().zip(blobs) {
            *found = BlobRef { media_type: std::mem::take(&mut found.media_type), ..blob.clone() };
        }
        Ok(())
    })?;
    if is_carried { Ok(about) } else { Err(Error::invalid("a record is of a kind that is not brought")) }
}

/// Makes an unfinished root, or keeps one for longer. What the operator brings into somebody's account stands in that person's record.
pub(super) async fn put_root(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((person, id)): Ids<(Id, Id)>,
    Document(record): Document<Record>,
) -> Result<StatusCode, Problem> {
    same(id, record.id)?;
    let mut node = whole(&record, None, app.store().ambient())?;
    let kind = node.kind;
    registry::ops(kind).carry(&mut node, &mut |carried| {
        if let Some(unique) = carried.unique {
            *unique = unfinished_name(id);
        }
        Ok(())
    })?;
    let _turn = MAKING.lock().await;
    let present = app
        .store()
        .write(move |tx| {
            holder(tx, &actor, person)?;
            let present = is_there(tx, person, id, &[kind])?;
            if present
                && let Some(mut node) = tx.raw(id)?
                && is_unfinished(&node)?
            {
                node.expires_at = Some(unfinished_until(tx));
                tx.replace_carried(&node)?;
            }
            Ok(present)
        })
        .await?;
    if present {
        return Ok(made(false));
    }
    if is_removed(&app, person, id).await? {
        return Err(removed(id).into());
    }
    app.store()
        .write_with_keys(keys_of(kind, id), Vec::new(), move |tx| {
            holder(tx, &actor, person)?;
            if tx.position(id)?.is_some() {
                return Err(taken(id));
            }
            let mut new = New::under(person, id, node.doc.clone());
            new.expires_at = Some(unfinished_until(tx));
            tx.create_carried(kind, new)?;
            if actor == Actor::Operator && matches!(tx.position(person)?, Some((Kind::Person, ..))) {
                record_staff(tx, person, actor.reference(), "ImportWorkspace")?;
            }
            tx.backdate(id, node.created_at)
        })
        .await?;
    if let Some(person) = actor.person() {
        app.access().telemetry().note(person, "ImportWorkspace", 201);
    }
    Ok(made(true))
}

/// Whether the ledger says that this was erased: by itself, or from the root or person it is to be brought into.
async fn is_removed(app: &App, from: Id, id: Id) -> CoreResult<bool> {
    let erased = app.store().with_ledger(move |ledger| Ok(ledger.is_erased(id))).await?;
    Ok(erased || app.models().removed_from(from).await?.contains(&id))
}

/// What needs a key of its own before it is made.
fn keys_of(kind: Kind, id: Id) -> Vec<Id> {
    if kind.is_container() { vec![id] } else { Vec::new() }
}

/// The person or organisation, for those who own what it holds.
fn holder(tx: &mut Tx<'_>, actor: &Actor, id: Id) -> CoreResult<()> {
    if !matches!(tx.position(id)?, Some((Kind::Person | Kind::Organisation, ..))) {
        return Err(Error::not_found("there is no such person"));
    }
    authorise(tx, actor, id, Permission::Own)
}

/// Which of these ids cannot be brought into the root: something else has them, or what had them was erased from it.
pub(super) async fn taken_ids(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(workspace): Ids<Id>,
    Document(asked): Document<import::Ids>,
) -> Result<Json<import::Ids>, Problem> {
    if asked.ids.len() > MOST_IDS {
        return Err(Error::limit(format!("more than {MOST_IDS} ids are asked about at once")).into());
    }
    let gone = app.models().removed_from(workspace).await?;
    let mut taken = app
        .store()
        .read({
            let ids = asked.ids.clone();
            move |tx| {
                owned(tx, &actor, workspace)?;
                let mut taken = Vec::new();
                for &id in &ids {
                    if gone.contains(&id) || tx.position(id)?.is_some() && !stands_in(tx, workspace, id)? {
                        taken.push(id);
                    }
                }
                Ok(taken)
            }
        })
        .await?;
    let erased = app.store().with_ledger(move |ledger| {
        Ok(asked.ids.into_iter().filter(|id| ledger.is_erased(*id)).collect::<Vec<Id>>())
    });
    taken.extend(erased.await?);
    Ok(Json(import::Ids { ids: taken }))
}

/// Whether a resource stands somewhere under the root, or is it.
fn stands_in(tx: &mut Tx<'_>, workspace: Id, id: Id) -> CoreResult<bool> {
    let mut at = Some(id);
    while let Some(id) = at {
        if id == workspace {
            return Ok(true);
        }
        at = tx.position(id)?.and_then(|(_, parent, _)| parent);
    }
    Ok(false)
}

/// Makes a resource of a root, or finds it. The body is the record on a line, and after it the bytes of its files.
pub(super) async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((workspace, id)): Ids<(Id, Id)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let mut body = Incoming::new(body);
    let result = put_record(&app, actor, workspace, id, &mut body).await;
    // Who is still sending hears no answer: the connection would be closed under it.
    body.drain().await;
    Ok(made(result?))
}

/// Makes the resource; false when it was there.
async fn put_record(app: &App, actor: Actor, workspace: Id, id: Id, body: &mut Incoming) -> CoreResult<bool> {
    let record: Record = body.line().await?;
    same(id, record.id)?;
    let kind = record.kind()?;
    let parent = record.parent;
    // Two who make the same container would each take the other's key for one that is left over.
    let _turn = if kind.is_container() { Some(MAKING.lock().await) } else { None };
    let there = app
        .store()
        .read(move |tx| {
            owned(tx, &actor, workspace)?;
            if is_there(tx, parent, id, &[kind])? {
                return Ok(true);
            }
            open(tx, &actor, workspace)?;
            if !stands_in(tx, workspace, parent)? {
                return Err(Error::invalid("what the record stands under is not in the workspace")
                    .hint("bring what is above before what is below"));
            }
            Ok(false)
        })
        .await?;
    if there {
        return Ok(false);
    }
    if is_removed(app, workspace, id).await? {
        return Err(removed(id));
    }
    let blobs = receive(app, workspace, &record.files, body).await?;
    let ambient = app.store().ambient().clone();
    app.store()
        .write_with_keys(keys_of(kind, id), Vec::new(), move |tx| {
            let above = open(tx, &actor, workspace)?;
            if !stands_in(tx, workspace, parent)? || tx.position(id)?.is_some() {
                return Err(Error::conflict("the workspace was changed by another request in the meantime"));
            }
            let person = person(tx, above.holder)?;
            let mut node = record.node(above.holder)?;
            node.expires_at = ends(&node);
            let names = &record.login_names;
            let name = |id| match person {
                Some(person) => remember_client_name(tx, person, names.get(&id).map(String::as_str)),
                None => Ok(None),
            };
            for id in carry_in(&mut node, Here { person, blobs: &blobs, ambient: &ambient }, name)? {
                // Anything else could be somebody else's.
                if !stands_in(tx, workspace, id)? {
                    return Err(Error::invalid("what the record is about is not in the workspace")
                        .hint("bring that before"));
                }
            }
            let RawNode { created_at, updated_at, expires_at, doc, .. } = node;
            tx.create_carried(kind, New { expires_at, ..New::under(parent, id, doc) })?;
            tx.attach_blobs(id, &blobs.iter().collect::<Vec<_>>())?;
            tx.backdate(id, created_at)?;
            tx.backdate_change(id, updated_at)
        })
        .await?;
    Ok(true)
}

/// When what is brought goes by itself: at its time, and not later than one that was made here would.
fn ends(node: &RawNode) -> Option<Timestamp> {
    const DAY: i64 = 86_400_000_000;
    match registry::ops(node.kind).about().retention {
        Retention::Days(days, _) => {
            let last = Timestamp(node.created_at.0.saturating_add(i64::from(days) * DAY));
            Some(node.expires_at.map_or(last, |at| at.min(last)))
        }
        _ => node.expires_at,
    }
}

/// Writes files to blobs as they come.
async fn receive(
    app: &App,
    workspace: Id,
    files: &[RecordFile],
    body: &mut Incoming,
) -> CoreResult<Vec<BlobRef>> {
    let new = |file: &RecordFile| BlobRef::new(app.store().ambient(), file.size, "application/octet-stream");
    let announced: Vec<BlobRef> = files.iter().map(new).collect();
    if announced.is_empty() {
        return Ok(announced);
    }
    let blobs = announced.clone();
    app.store().write(move |tx| tx.announce_blobs(workspace, &blobs.iter().collect::<Vec<_>>())).await?;
    let mut stored = Vec::new();
    for (file, blob) in files.iter().zip(announced) {
        let mut writer = app.store().blobs().writer(blob);
        let (mut sum, mut left) = (Sha256::default(), file.size);
        while left > 0 {
            let piece = match body.piece(left).await {
                Ok(piece) => piece,
                Err(error) => {
                    // What is left of it is deleted as an abandoned upload.
                    let _ = writer.abort().await;
                    return Err(error);
                }
            };
            left -= piece.len() as u64;
            sum.update(&piece);
            writer.write(&piece).await?;
        }
        if hex::encode(sum.finish()) != file.sha256 {
            let _ = writer.abort().await;
            return Err(Error::invalid(
                "a file does not have the digest in `sha256`: it was damaged on its way",
            ));
        }
        stored.push(writer.finish().await?);
    }
    Ok(stored)
}

/// A body that begins with a line.
struct Incoming {
    pieces: BoxStream<'static, Result<Bytes, axum::Error>>,
    rest: Bytes,
}

impl Incoming {
    fn new(body: Body) -> Incoming {
        Incoming { pieces: body.into_data_stream().boxed(), rest: Bytes::new() }
    }

    async fn more(&mut self) -> CoreResult<Bytes> {
        match self.pieces.next().await {
            Some(Ok(piece)) => Ok(piece),
            _ => Err(Error::invalid("the body ends too early")),
        }
    }

    /// The document on the first line.
    async fn line<T: serde::de::DeserializeOwned>(&mut self) -> CoreResult<T> {
        let mut line = Vec::new();
        loop {
            let piece = self.more().await?;
            if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&piece[..end]);
                self.rest = piece.slice(end + 1..);
                break;
            }
            line.extend_from_slice(&piece);
            if line.len() > LARGEST_DOCUMENT {
                return Err(Error::too_large("the record is too large"));
            }
        }
        serde_json::from_slice(&line).map_err(|error| {
            Error::invalid(format!("the first line of the body is not a record (column {})", error.column()))
        })
    }

    /// Reads what is left, and forgets it.
    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.pieces.next().await {}
    }

    /// Some of the next bytes, at most so many, and never none.
    async fn piece(&mut self, most: u64) -> CoreResult<Bytes> {
        while self.rest.is_empty() {
            self.rest = self.more().await?;
        }
        let length = self.rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.rest.split_to(length))
    }
}

/// Adds points to the metrics of a run or model. Points that are there already are not added again.
pub(super) async fn put_metrics(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((workspace, id)): Ids<(Id, Id)>,
    Document(points): Document<Vec<Point>>,
) -> Result<StatusCode, Problem> {
    if points.len() > MOST_POINTS {
        return Err(Error::limit(format!("more than {MOST_POINTS} points are brought at once")).into());
    }
    let points = points.into_iter().map(point).collect::<CoreResult<Vec<_>>>()?;
    app.store()
        .write(move |tx| {
            if !is_unfinished(&owned(tx, &actor, workspace)?)? {
                return Ok(());
            }
            if !stands_in(tx, workspace, id)? {
                return Err(Error::not_found("there is no such resource"));
            }
            let points: Vec<(&str, MetricPoint)> =
                points.iter().map(|(name, point)| (name.as_str(), *point)).collect();
            tx.log_metrics(id, &points)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn point(point: Point) -> CoreResult<(String, MetricPoint)> {
    let value = point.value.parse().map_err(|_| Error::invalid("the value of a metric is no number"))?;
    Ok((point.metric, MetricPoint { time: point.timestamp, step: point.step, value }))
}

/// Connects brought resources with what they were made from, and marks those of which something is erased.
pub(super) async fn put_origins(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(workspace): Ids<Id>,
    Document(origins): Document<Vec<Origin>>,
) -> Result<StatusCode, Problem> {
    if origins.iter().map(|origin| 1 + origin.made_from.len()).sum::<usize>() > MOST_IDS {
        return Err(Error::limit(format!("more than {MOST_IDS} ids are brought at once")).into());
    }
    app.store()
        .write(move |tx| {
            if !is_unfinished(&owned(tx, &actor, workspace)?)? {
                return Ok(());
            }
            for origin in &origins {
                if !stands_in(tx, workspace, origin.id)? {
                    return Err(Error::not_found("there is no such resource"));
                }
                let mut from = Vec::new();
                for &id in &origin.made_from {
                    match authorise(tx, &actor, id, Permission::Read) {
                        Ok(()) => from.push(id),
                        Err(error) if error.kind == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                made_from(tx, origin.id, from)?;
                if let Some(since) = origin.source_erased()? {
                    tx.connect_since(origin.id, origin.id, Relation::SourceErased, since)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an unfinished root with all that was brought of it.
pub(super) async fn discard(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(workspace): Ids<Id>,
) -> Result<StatusCode, Problem> {
    let removed = app
        .store()
        .write(move |tx| {
            if !is_unfinished(&owned(tx, &actor, workspace)?)? {
                return Err(Error::conflict("the workspace is not an unfinished import")
                    .hint("delete it as any other workspace"));
            }
            tx.remove(workspace)
        })
        .await?;
    app.store().finish(&removed).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Finishes a root: from now on it is found by its name. A workspace of that name in which there is nothing yet makes way.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    actor: &Actor,
    record: &Record,
    ambient: &Ambient,
) -> CoreResult<Option<Removed>> {
    let mut node = owned(tx, actor, record.id)?;
    let holder = node.holder;
    if !is_unfinished(&node)? {
        return Ok(None);
    }
    let brought = whole(record, person(tx, holder)?, ambient)?;
    if brought.kind != node.kind {
        return Err(Error::invalid("the record is of another kind than what was brought of it"));
    }
    let made_way = match tx.named_like(holder, &brought)? {
        Some(other) if brought.kind == Kind::Workspace && is_untouched(tx, other)? => Some(tx.remove(other)?),
        Some(_) => {
            return Err(Error::conflict(format!(
                "a {:?} of that name is there already, and something is in it",
                brought.kind
            ))
            .hint("bring the archive into another person's account, or erase what is there before"));
        }
        None => None,
    };
    node.doc = brought.doc;
    node.expires_at = None;
    tx.replace_carried(&node)?;
    tx.backdate_change(node.id, brought.updated_at)?;
    Ok(made_way)
}

/// Whether a workspace has nothing but the experiment that it begins with.
fn is_untouched(tx: &mut Tx<'_>, workspace: Id) -> CoreResult<bool> {
    let beginning = 1 + u64::from(tx.position(default_experiment(workspace))?.is_some());
    Ok(tx.count_in(workspace)? == beginning)
}
