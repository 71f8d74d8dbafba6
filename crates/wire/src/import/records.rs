//! Workspaces of another Habeas: experiments, runs, models and whatever else archives carry as it is stored.
//!
//! A workspace is unfinished until its import is: under a name of its own, so that no client finds it, and gone by itself after a day.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use habeas_access::{Actor, Permission, authorise, record_staff};
use habeas_core::crypto::Sha256;
use habeas_core::import::{self, Point, Record, RecordFile};
use habeas_core::kinds::{Workspace, WorkspaceDoc};
use habeas_core::metric::MetricPoint;
use habeas_core::node::RawNode;
use habeas_core::{BlobRef, Error, Id, Kind, Node, Result as CoreResult, registry};
use habeas_store::{New, Removed, Tx};

use super::projects::{MAKING, unfinished_until};
use super::{Document, Ids, LARGEST_DOCUMENT, is_there, made, removed, same, taken};
use crate::App;
use crate::caller::Caller;
use crate::privacy::Problem;
use crate::runs::remember_client_name;
use crate::workspaces::default_experiment;

/// Ids that are asked about at once.
const MOST_IDS: usize = 10_000;
/// Points of metrics that are brought at once.
const MOST_POINTS: usize = 10_000;

/// How an unfinished workspace is called: no client's name has a slash and begins so.
fn unfinished_name(id: Id) -> String {
    format!("import/{id}")
}

fn is_unfinished(node: &Node<WorkspaceDoc>) -> bool {
    node.expires_at.is_some() && node.doc.name == unfinished_name(node.id)
}

/// The workspace, for those who own it.
fn owned(tx: &mut Tx<'_>, actor: &Actor, workspace: Id) -> CoreResult<Node<WorkspaceDoc>> {
    let no_workspace = || Error::not_found("there is no such workspace");
    let node = tx.get::<Workspace>(workspace)?.ok_or_else(no_workspace)?;
    authorise(tx, actor, workspace, Permission::Own)?;
    Ok(node)
}

/// The same, for as long as more may be brought into it.
fn open(tx: &mut Tx<'_>, actor: &Actor, workspace: Id) -> CoreResult<Node<WorkspaceDoc>> {
    let node = owned(tx, actor, workspace)?;
    if is_unfinished(&node) {
        Ok(node)
    } else {
        Err(Error::conflict("the workspace is finished: nothing more is brought into it"))
    }
}

/// A holder, if it is a person.
fn person(tx: &mut Tx<'_>, holder: Id) -> CoreResult<Option<Id>> {
    Ok(matches!(tx.position(holder)?, Some((Kind::Person, ..))).then_some(holder))
}

/// The workspace as it will be once it is finished.
fn document(record: &Record, person: Option<Id>) -> CoreResult<(RawNode, WorkspaceDoc)> {
    let mut node = record.node(record.parent)?;
    if node.kind != Kind::Workspace {
        return Err(Error::invalid("the record is of no workspace"));
    }
    carry_in(&mut node, person, |_| Ok(None), &[])?;
    let doc = serde_json::from_slice(&node.doc)?;
    Ok((node, doc))
}

/// Puts this server's persons, names and files in the place of another one's. What an organisation gets names no person.
fn carry_in(
    node: &mut RawNode,
    person: Option<Id>,
    mut name: impl FnMut(Id) -> CoreResult<Option<Id>>,
    blobs: &[BlobRef],
) -> CoreResult<()> {
    let wrong = || Error::invalid("a record does not have the files that its document names");
    let is_carried = registry::ops(node.kind).carry(node, &mut |carried| {
        for found in carried.persons {
            *found = found.and(person);
        }
        for found in carried.login_names {
            if let Some(id) = *found {
                *found = name(id)?;
            }
        }
        if carried.files.len() != blobs.len() {
            return Err(wrong());
        }
        for ((_, found), blob) in carried.files.into_iter().zip(blobs) {
            *found = BlobRef { media_type: std::mem::take(&mut found.media_type), ..blob.clone() };
        }
        Ok(())
    })?;
    if is_carried { Ok(()) } else { Err(Error::invalid("a record is of a kind that is not brought")) }
}

/// Makes an unfinished workspace, or keeps one for longer. What the operator brings into somebody's account stands in that person's record.
pub(super) async fn put_workspace(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((person, id)): Ids<(Id, Id)>,
    Document(record): Document<Record>,
) -> Result<StatusCode, Problem> {
    same(id, record.id)?;
    let (node, _) = document(&record, None)?;
    let _turn = MAKING.lock().await;
    let present = app
        .store()
        .write(move |tx| {
            holder(tx, &actor, person)?;
            let present = is_there(tx, person, id, &[Kind::Workspace])?;
            if present
                && let Some(mut node) = tx.get::<Workspace>(id)?
                && is_unfinished(&node)
            {
                node.expires_at = Some(unfinished_until(tx));
                tx.update::<Workspace>(&node)?;
            }
            Ok(present)
        })
        .await?;
    if present {
        return Ok(made(false));
    }
    if app.store().with_ledger(move |ledger| Ok(ledger.is_erased(id))).await? {
        return Err(removed(id).into());
    }
    app.store()
        .write_with_keys(vec![id], Vec::new(), move |tx| {
            holder(tx, &actor, person)?;
            if tx.position(id)?.is_some() {
                return Err(taken(id));
            }
            let doc = WorkspaceDoc { name: unfinished_name(id), azure: None };
            let mut new = New::under(person, id, doc);
            new.expires_at = Some(unfinished_until(tx));
            tx.create::<Workspace>(new)?;
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

/// The person or organisation, for those who own what it holds.
fn holder(tx: &mut Tx<'_>, actor: &Actor, id: Id) -> CoreResult<()> {
    if !matches!(tx.position(id)?, Some((Kind::Person | Kind::Organisation, ..))) {
        return Err(Error::not_found("there is no such person"));
    }
    authorise(tx, actor, id, Permission::Own)
}

/// Which of these ids cannot be brought into the workspace: something else has them, or what had them was erased from it.
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
    let ids = app
        .store()
        .read(move |tx| {
            owned(tx, &actor, workspace)?;
            let mut taken = Vec::new();
            for &id in &asked.ids {
                if gone.contains(&id) || tx.position(id)?.is_some() && !stands_in(tx, workspace, id)? {
                    taken.push(id);
                }
            }
            Ok(taken)
        })
        .await?;
    Ok(Json(import::Ids { ids }))
}

/// Whether a resource stands somewhere under the workspace, or is it.
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

/// Makes a resource of a workspace, or finds it. The body is the record on a line, and after it the bytes of its files.
pub(super) async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids((workspace, id)): Ids<(Id, Id)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let mut body = Incoming::new(body);
    let record: Record = body.line().await?;
    same(id, record.id)?;
    let kind = record.kind()?;
    let parent = record.parent;
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
        return Ok(made(false));
    }
    if app.models().removed_from(workspace).await?.contains(&id) {
        return Err(removed(id).into());
    }
    let blobs = receive(&app, workspace, &record.files, &mut body).await?;
    app.store()
        .write(move |tx| {
            let above = open(tx, &actor, workspace)?;
            if !stands_in(tx, workspace, parent)? || tx.position(id)?.is_some() {
                return Err(Error::conflict("the workspace was changed by another request in the meantime"));
            }
            let person = person(tx, above.holder)?;
            let mut node = record.node(above.holder)?;
            let names = &record.login_names;
            let name = |id| match person {
                Some(person) => remember_client_name(tx, person, names.get(&id).map(String::as_str)),
                None => Ok(None),
            };
            carry_in(&mut node, person, name, &blobs)?;
            let RawNode { created_at, updated_at, expires_at, doc, .. } = node;
            tx.create_carried(kind, New { expires_at, ..New::under(parent, id, doc) })?;
            tx.attach_blobs(id, &blobs.iter().collect::<Vec<_>>())?;
            tx.backdate(id, created_at)?;
            tx.backdate_change(id, updated_at)
        })
        .await?;
    Ok(made(true))
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
            if !is_unfinished(&owned(tx, &actor, workspace)?) {
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

/// Removes an unfinished workspace with all that was brought of it.
pub(super) async fn discard(
    State(app): State<App>,
    Caller(actor): Caller,
    Ids(workspace): Ids<Id>,
) -> Result<StatusCode, Problem> {
    let removed = app
        .store()
        .write(move |tx| {
            if !is_unfinished(&owned(tx, &actor, workspace)?) {
                return Err(Error::conflict("the workspace is not an unfinished import")
                    .hint("delete it as any other workspace"));
            }
            tx.remove(workspace)
        })
        .await?;
    app.store().finish(&removed).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Finishes a workspace: from now on it is found by its name. A workspace of that name in which there is nothing yet makes way.
pub(super) fn finish(tx: &mut Tx<'_>, actor: &Actor, record: &Record) -> CoreResult<Option<Removed>> {
    let mut node = owned(tx, actor, record.id)?;
    let holder = node.holder;
    if !is_unfinished(&node) {
        return Ok(None);
    }
    let (brought, doc) = document(record, person(tx, holder)?)?;
    let name = doc.azure.as_ref().map_or(&doc.name, |azure| &azure.key);
    let made_way = match tx.child_by_name::<Workspace>(holder, name)? {
        Some(other) if is_untouched(tx, other.id)? => Some(tx.remove(other.id)?),
        Some(_) => {
            return Err(Error::conflict("a workspace of that name is there already, and something is in it")
                .hint("bring the archive into another person's account, or erase that workspace before"));
        }
        None => None,
    };
    node.doc = doc;
    node.expires_at = None;
    tx.update::<Workspace>(&node)?;
    tx.backdate_change(node.id, brought.updated_at)?;
    Ok(made_way)
}

/// Whether a workspace has nothing but the experiment that it begins with.
fn is_untouched(tx: &mut Tx<'_>, workspace: Id) -> CoreResult<bool> {
    let beginning = 1 + u64::from(tx.position(default_experiment(workspace))?.is_some());
    Ok(tx.count_in(workspace)? == beginning)
}
