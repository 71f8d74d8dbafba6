//! Legal holds: what they keep, while its holder is there and after an erasure of its holder.
//!
//! A hold is a container of its own. As long as the holder of what it keeps is there, an edge points at it and its removal is refused.
//! When the holder is erased, what is kept moves into the hold: sealed again under the hold's key, held by the installation, found by
//! nobody but in the view and the erasure of persons whom it shows. When the hold ends it is removed as any container is: rows and files go, its
//! key is destroyed.
//!
//! **Invariant:** the ledger says which holds there are. The rows follow at every start, and so after every restore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Hold, HoldDoc};
use habeas_core::node::Relation;
use habeas_core::{Error, Id, Kind, Node, Result, Timestamp, fault};

use crate::engine::Arg;
use crate::ledger::{PlacedHold, Record};
use crate::tasks::{TaskKind, TaskState};
use crate::tree::{Going, New, Order, Page, Place, Removed, Tx};
use crate::{HolderState, Store};

/// Resources that move into a hold in one transaction.
const PAGE: i64 = 500;

/// A hold to be placed.
#[derive(Clone, Debug)]
pub struct NewHold {
    /// What it keeps, with all that stands under it.
    pub target: Id,
    /// The case it serves.
    pub matter: String,
    /// Why that is lawful.
    pub reason: String,
    /// Who places it; none for the operator.
    pub placed_by: Option<Id>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// What a hold keeps of one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPart {
    /// The hold.
    pub hold: Id,
    /// What it keeps.
    pub target: Id,
    /// How many resources of each kind that is, less what another hold of the same list keeps already.
    pub counts: BTreeMap<Kind, u64>,
}

impl Store {
    /// Places a hold. Durable, also against a restore of an older backup, when this returns.
    pub async fn place_hold(&self, new: NewHold) -> Result<Node<HoldDoc>> {
        let id = self.ambient().new_id();
        let (node, sealed) = self
            .write_with_keys(vec![id], Vec::new(), move |tx| {
                let node = tx.create_hold(id, &new)?;
                let sealed = tx.shared.seal_for_ledger(id, 0, &serde_json::to_vec(&node.doc)?)?;
                Ok((node, sealed))
            })
            .await?;
        fault::point("hold.placed");
        let record = Record::HoldPlaced { hold: id, target: node.doc.target, until: node.expires_at, sealed };
        self.with_ledger(move |ledger| ledger.append(&[record]).map(|_| ())).await?;
        Ok(node)
    }

    /// Ends a hold: what only it keeps of persons who were erased is deleted with its key, what another hold keeps, too, moves there, and
    /// the erasures that wait for it go on. What it keeps of holders who are there stays with them.
    pub async fn end_hold(&self, hold: Id) -> Result<Removed> {
        self.with_ledger(move |ledger| ledger.end_hold(hold, None)).await?;
        self.remove_ended_hold(hold).await
    }

    /// The same when its day has come; false when that was moved meanwhile.
    pub async fn end_due_hold(&self, hold: Id) -> Result<bool> {
        let now = self.ambient().now();
        let is_due = self.with_ledger(move |ledger| ledger.end_hold(hold, Some(now))).await?;
        if is_due {
            self.remove_ended_hold(hold).await?;
        }
        Ok(is_due)
    }

    /// Moves the day on which a hold ends by itself; without one it lasts until it is released. Durable, also against a restore of an older
    /// backup, when this returns.
    pub async fn extend_hold(&self, hold: Id, until: Option<Timestamp>) -> Result<Node<HoldDoc>> {
        let no_hold = || Error::not_found("there is no such hold");
        if !self.with_ledger(move |ledger| ledger.extend_hold(hold, until)).await? {
            return Err(no_hold());
        }
        self.move_end_of_hold(hold).await?.ok_or_else(no_hold)
    }

    /// Brings the day of a hold to what the ledger says; none when it is gone.
    async fn move_end_of_hold(&self, hold: Id) -> Result<Option<Node<HoldDoc>>> {
        let ledger = Arc::clone(&self.inner.ledger);
        self.write(move |tx| {
            let Some(mut node) = tx.get::<Hold>(hold)? else { return Ok(None) };
            // Asked after the row was read: whoever moves the day later either has it from the ledger here, or changes the row later, too.
            let Some(known) = ledger.hold(hold) else { return Ok(None) };
            node.expires_at = known.until;
            tx.update::<Hold>(&node).map(Some)
        })
        .await
    }

    async fn remove_ended_hold(&self, hold: Id) -> Result<Removed> {
        fault::point("hold.released");
        let removed = self.write(move |tx| tx.release(hold)).await?;
        fault::point("hold.removed");
        self.finish(&removed).await;
        Ok(removed)
    }

    /// Brings the rows of holds to what the ledger says.
    pub(crate) async fn settle_holds(&self) -> Result<()> {
        let placed = self.with_ledger(|ledger| Ok(ledger.holds())).await?;
        let rows = self
            .read(|tx| {
                let nodes = tx.children::<Hold>(Id::NIL, Page::ALL)?;
                nodes
                    .iter()
                    .map(|node| {
                        let sealed =
                            tx.shared.seal_for_ledger(node.id, 0, &serde_json::to_vec(&node.doc)?)?;
                        Ok((node.id, (node.doc.target, node.expires_at, sealed)))
                    })
                    .collect::<Result<BTreeMap<_, _>>>()
            })
            .await?;
        let mut unknown = Vec::new();
        let known: BTreeSet<Id> = rows.keys().copied().collect();
        for (hold, (target, until, sealed)) in rows {
            match placed.get(&hold) {
                // Its day was moved since, or the process died before the row had it.
                Some(Some(known)) if known.until != until => {
                    self.move_end_of_hold(hold).await?;
                }
                Some(Some(_)) => {}
                Some(None) => {
                    self.end_hold(hold).await?;
                }
                // Placed, and the process died before the ledger had it.
                None => unknown.push(Record::HoldPlaced { hold, target, until, sealed }),
            }
        }
        if !unknown.is_empty() {
            self.with_ledger(move |ledger| ledger.append(&unknown).map(|_| ())).await?;
        }
        for (hold, placed) in placed {
            if let (Some(placed), false) = (placed, known.contains(&hold)) {
                self.write(move |tx| tx.bring_back_hold(hold, &placed)).await?;
            }
        }
        Ok(())
    }
}

impl Tx<'_> {
    fn create_hold(&mut self, id: Id, new: &NewHold) -> Result<Node<HoldDoc>> {
        let place = self
            .place(new.target)?
            .filter(|place| place.kind != Kind::Hold && place.holder != Id::NIL)
            .ok_or_else(|| {
                Error::not_found("there is no such resource to hold")
                    .hint("name a person, an organisation, or something they hold; what another hold keeps after an erasure stays under that one, whose day can be moved: habeas hold extend")
            })?;
        if !place.kind.is_kept_by_holds() {
            return Err(Error::invalid(format!("a {:?} cannot be held", place.kind)).hint(
                "passwords, tokens, applications, export archives and case files are not kept by holds",
            ));
        }
        self.require_active(place.holder)?;
        let doc = HoldDoc {
            target: new.target,
            matter: new.matter.clone(),
            reason: new.reason.clone(),
            placed_by: new.placed_by,
        };
        let node = self.create::<Hold>(New { id, parent: Some(Id::NIL), expires_at: new.until, doc })?;
        self.connect(id, new.target, Relation::Keeps)?;
        self.mention(id, place.holder, MentionRole::Subject)?;
        Ok(node)
    }

    /// A hold that was placed after the backup that was restored.
    fn bring_back_hold(&mut self, hold: Id, known: &PlacedHold) -> Result<()> {
        let plain = self.shared.open_from_ledger(hold, 0, &known.sealed)?;
        let doc: HoldDoc = serde_json::from_slice(&plain)?;
        self.create::<Hold>(New { id: hold, parent: Some(Id::NIL), expires_at: known.until, doc })?;
        if let Some(place) = self.place(known.target)? {
            self.connect(hold, known.target, Relation::Keeps)?;
            if place.holder != Id::NIL {
                self.mention(hold, place.holder, MentionRole::Subject)?;
            }
        }
        Ok(())
    }

    /// Holds, oldest first.
    pub fn holds(&mut self) -> Result<Vec<Node<HoldDoc>>> {
        self.children::<Hold>(Id::NIL, Page { order: Order::Oldest, ..Page::ALL })
    }

    fn has_holds(&mut self) -> Result<bool> {
        let row = self.query_one(
            "SELECT 1 FROM resource WHERE holder = ?1 AND kind = ?2 LIMIT 1",
            &[(&Id::NIL).into(), Kind::Hold.number().into()],
        )?;
        Ok(row.is_some())
    }

    /// The hold by which a resource, something above it or something under it must be kept; none when it may be deleted.
    pub fn held_by(&mut self, id: Id) -> Result<Option<Id>> {
        if !self.has_holds()? {
            return Ok(None);
        }
        // SQLite takes a cross join in its order: any other way it would read all connections there are.
        let above = self.query_one(
            "WITH RECURSIVE up (id, parent) AS (
                 SELECT id, parent FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id, r.parent FROM up u JOIN resource r ON r.id = u.parent)
             SELECT e.source FROM up u CROSS JOIN edge e WHERE e.target = u.id AND e.relation = ?2 ORDER BY e.source LIMIT 1",
            &[(&id).into(), Relation::Keeps.number().into()],
        )?;
        if let Some(row) = above {
            return row.id(0).map(Some);
        }
        self.query_one(
            "WITH RECURSIVE up (hold, id, parent) AS (
                 SELECT e.source, r.id, r.parent FROM resource h JOIN edge e ON e.source = h.id JOIN resource r ON r.id = e.target
                 WHERE h.holder = ?2 AND h.kind = ?3 AND e.relation = ?4
                 UNION ALL SELECT u.hold, r.id, r.parent FROM up u JOIN resource r ON r.id = u.parent)
             SELECT hold FROM up WHERE id = ?1 ORDER BY hold LIMIT 1",
            &[
                (&id).into(),
                (&Id::NIL).into(),
                Kind::Hold.number().into(),
                Relation::Keeps.number().into(),
            ],
        )?
        .map(|row| row.id(0))
        .transpose()
    }

    pub(crate) fn require_not_kept(&mut self, id: Id, place: &Place) -> Result<()> {
        if place.kind == Kind::Hold || !place.kind.is_kept_by_holds() {
            return Ok(());
        }
        if place.holder == Id::NIL && place.container != Id::NIL {
            return Err(kept(place.container));
        }
        match self.held_by(id)? {
            Some(hold) => Err(kept(hold)),
            None => Ok(()),
        }
    }

    /// What holds keep of a holder, outermost first.
    pub fn held_parts(&mut self, holder: Id) -> Result<Vec<HeldPart>> {
        if !self.has_holds()? {
            return Ok(Vec::new());
        }
        let rows = self.query(
            "WITH RECURSIVE up (hold, target, parent, depth) AS (
                 SELECT e.source, t.id, t.parent, 0 FROM resource h JOIN edge e ON e.source = h.id JOIN resource t ON t.id = e.target
                 WHERE h.holder = ?2 AND h.kind = ?3 AND e.relation = ?4 AND t.holder = ?1
                 UNION ALL SELECT u.hold, u.target, r.parent, u.depth + 1 FROM up u JOIN resource r ON r.id = u.parent)
             SELECT hold, target, MAX(depth) AS depth FROM up GROUP BY hold, target ORDER BY depth, hold",
            &[
                (&holder).into(),
                (&Id::NIL).into(),
                Kind::Hold.number().into(),
                Relation::Keeps.number().into(),
            ],
        )?;
        let mut parts: Vec<HeldPart> = Vec::new();
        for row in &rows {
            let (hold, target) = (row.id(0)?, row.id(1)?);
            let counts =
                if self.is_inside(target, &parts)? { BTreeMap::new() } else { self.count_under(target)? };
            parts.push(HeldPart { hold, target, counts });
        }
        Ok(parts)
    }

    fn is_inside(&mut self, target: Id, parts: &[HeldPart]) -> Result<bool> {
        let mut next = Some(target);
        while let Some(id) = next {
            if parts.iter().any(|part| part.target == id) {
                return Ok(true);
            }
            next = self.position(id)?.and_then(|(_, parent, _)| parent);
        }
        Ok(false)
    }

    fn count_under(&mut self, target: Id) -> Result<BTreeMap<Kind, u64>> {
        let rows = self.query(
            "WITH RECURSIVE subtree (id, kind) AS (
                 SELECT id, kind FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id, r.kind FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT kind, COUNT(*) FROM subtree GROUP BY kind ORDER BY kind",
            &[(&target).into()],
        )?;
        let mut counts = BTreeMap::new();
        for row in &rows {
            let kind = Kind::from_number(row.int(0)?)?;
            if kind.is_kept_by_holds() {
                counts.insert(kind, row.int(1)? as u64);
            }
        }
        Ok(counts)
    }

    /// Moves up to a page of what stands under `target` into a hold: sealed under the hold's key, held by the installation, with no
    /// secret, no name and no person by which it could be found but those whom it shows. Returns how many moved; zero when all has.
    pub fn move_into_hold(&mut self, hold: Id, target: Id) -> Result<u64> {
        let Some(generation) = self.generation_of(hold)? else { return Ok(0) };
        let mut args: Vec<Arg<'_>> = vec![(&target).into(), (&hold).into(), PAGE.into()];
        args.extend(Kind::LEFT_BY_HOLDS.map(|kind| Arg::from(kind.number())));
        let rows = self.query(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT r.id, r.kind, r.container, r.doc, r.holder FROM subtree s CROSS JOIN resource r
             WHERE r.id = s.id AND r.container <> ?2 AND r.kind NOT IN (?4, ?5, ?6, ?7, ?8, ?9, ?10) ORDER BY r.id LIMIT ?3",
            &args,
        )?;
        for row in &rows {
            let id = row.id(0)?;
            let kind = Kind::from_number(row.int(1)?)?;
            let plain = self.shared.open(id, kind, row.id(2)?, row.bytes(3)?)?;
            let doc = self.shared.seal(id, kind, hold, generation, &plain)?;
            if matches!(kind, Kind::Run | Kind::LoggedModel) {
                self.move_metrics(id, row.id(2)?, hold, generation)?;
            }
            self.execute(
                "UPDATE resource SET doc = ?2, container = ?3, generation = ?4, holder = ?5, name_mac = NULL WHERE id = ?1",
                &[
                    (&id).into(),
                    (&doc[..]).into(),
                    (&hold).into(),
                    i64::from(generation).into(),
                    (&Id::NIL).into(),
                ],
            )?;
            if id == target {
                // Under the installation rather than under the hold: a backup writes parents first, in the order of kinds.
                self.execute(
                    "UPDATE resource SET parent = ?2 WHERE id = ?1",
                    &[(&id).into(), (&Id::NIL).into()],
                )?;
            }
            self.execute("DELETE FROM attr WHERE resource = ?1", &[(&id).into()])?;
            // Whom it shows has it in their own view and erasure as long as it is kept.
            self.execute(
                "DELETE FROM mention WHERE resource = ?1 AND (role <> ?2 OR person = ?3)",
                &[(&id).into(), MentionRole::Depicted.number().into(), (&row.id(4)?).into()],
            )?;
        }
        Ok(rows.len() as u64)
    }

    /// Ends a hold in this transaction.
    fn release(&mut self, hold: Id) -> Result<Removed> {
        if self.place(hold)?.is_none() {
            return Ok(Removed::default());
        }
        // What another hold keeps, too, goes on under that one.
        let others = self.query(
            "SELECT e.source, t.id FROM resource t JOIN edge e ON e.target = t.id
             WHERE t.container = ?1 AND t.id <> ?1 AND e.relation = ?2 AND e.source <> ?1 ORDER BY e.source",
            &[(&hold).into(), Relation::Keeps.number().into()],
        )?;
        for row in &others {
            while self.move_into_hold(row.id(0)?, row.id(1)?)? > 0 {}
        }
        let removed = self.remove_hold(hold)?;
        self.hasten(TaskKind::Erasure)?;
        Ok(removed)
    }

    /// Removes a hold and what lies in it, with the tasks that delete the files and destroy the key.
    pub(crate) fn remove_hold(&mut self, hold: Id) -> Result<Removed> {
        let blobs = self
            .query(
                "SELECT b.id FROM resource r JOIN blob b ON b.resource = r.id WHERE r.container = ?1 ORDER BY b.id",
                &[(&hold).into()],
            )?
            .iter()
            .map(|row| row.id(0))
            .collect::<Result<Vec<_>>>()?;
        let mut removed = Removed { blobs: blobs.len() as u64, ..Removed::default() };
        let now = self.now;
        for chunk in blobs.chunks(PAGE as usize) {
            let payload = serde_json::json!({ "blobs": chunk });
            removed.tasks.push(self.enqueue(TaskKind::PurgeBlobs, Some(hold), &payload, now)?);
        }
        // What an erasure had to leave goes only now. Whose it was is known to nobody any more.
        self.mark_made_from(Going::Within(hold), Id::NIL)?;
        let payload = serde_json::json!({ "containers": [hold] });
        removed.tasks.push(self.enqueue(TaskKind::DestroyKeys, Some(hold), &payload, now)?);
        removed.resources = self.execute("DELETE FROM resource WHERE container = ?1", &[(&hold).into()])?;
        Ok(removed)
    }

    /// Makes waiting tasks of a kind due now.
    fn hasten(&mut self, kind: TaskKind) -> Result<()> {
        let now = self.now;
        self.execute(
            "UPDATE task SET run_after = ?1 WHERE kind = ?2 AND state = ?3 AND run_after > ?1",
            &[now.into(), kind.number().into(), (TaskState::Waiting as i16).into()],
        )?;
        Ok(())
    }

    /// Brings the states of holders to what the ledger says of restrictions.
    pub(crate) fn settle_restrictions(&mut self, restricted: &[Id]) -> Result<()> {
        self.execute("UPDATE holder SET state = 0 WHERE state = 2", &[])?;
        for &person in restricted {
            if matches!(self.holder(person)?, Some((_, HolderState::Active))) {
                self.set_holder_state(person, HolderState::Restricted)?;
            }
        }
        Ok(())
    }
}

fn kept(hold: Id) -> Error {
    Error::conflict(format!(
        "this is under legal hold {hold} and cannot be deleted or overwritten until the hold ends"
    ))
    .hint("ask a privacy officer to release the hold: habeas hold release")
    .code("Held")
}
