//! Creating, reading, changing and removing resources.

use habeas_core::kinds::ModelExport;
use habeas_core::node::{AttrKey, AttrValue, RawNode, Relation};
use habeas_core::{DataKind, Error, Id, Kind, Node, Result, Timestamp, registry};

use super::holders::{HolderState, frozen};
use super::rows::select_nodes;
use super::{Order, Tx};
use crate::engine::{Arg, Lock};
use crate::tasks::TaskKind;

/// The most searchable attributes that one resource has: each is a row.
const MOST_ATTRS: usize = 5_000;

/// A resource to be created.
#[derive(Clone, Debug)]
pub struct New<D> {
    /// Its identifier.
    pub id: Id,
    /// The resource it stands under; none for the root of its holder, which has the holder's id.
    pub parent: Option<Id>,
    /// When it is to be deleted by itself.
    pub expires_at: Option<Timestamp>,
    /// Its document.
    pub doc: D,
}

impl<D> New<D> {
    /// A resource under `parent`, without end.
    pub fn under(parent: Id, id: Id, doc: D) -> New<D> {
        New { id, parent: Some(parent), expires_at: None, doc }
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Newest or oldest first.
    pub order: Order,
    /// How many to pass over.
    pub skip: u64,
    /// How many to take.
    pub take: u64,
}

impl Page {
    /// Everything, oldest first.
    pub const ALL: Page = Page { order: Order::Oldest, skip: 0, take: i64::MAX as u64 };
}

/// What a removal took with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Resources that went.
    pub resources: u64,
    /// Blobs that are to be deleted.
    pub blobs: u64,
    /// The tasks that finish the removal: deleting blobs, destroying keys, noting it in the ledger. They are committed with
    /// it; [`crate::Store::finish`] runs them at once, the worker runs them otherwise.
    pub tasks: Vec<Id>,
    /// Iterations that learned from what was removed: each has a waiting [`TaskKind::Forget`].
    pub learners: Vec<Id>,
}

impl Tx<'_> {
    /// Creates a resource. Its holder, container and key follow from its place in the tree. The keys of a new container
    /// must be in the keyring already: see [`crate::Store::write_with_keys`]. Whoever made it is mentioned in it when somebody else holds it.
    pub fn create<K: DataKind>(&mut self, new: New<K::Doc>) -> Result<Node<K::Doc>> {
        let json = serde_json::to_vec(&new.doc)?;
        let node = self.create_raw(
            K::KIND,
            K::PARENTS,
            New { id: new.id, parent: new.parent, expires_at: new.expires_at, doc: json },
        )?;
        self.mention_maker(node.id, node.holder, K::maker(&new.doc))?;
        Ok(node.with_doc(new.doc))
    }

    /// Creates a resource of a kind that archives carry, from the document that one carried. Otherwise as [`create`](Self::create); what
    /// cannot stand under its parent is invalid.
    pub fn create_carried(&mut self, kind: Kind, new: New<Vec<u8>>) -> Result<RawNode> {
        let ops = registry::ops(kind);
        let above = new.parent.map(|parent| self.position(parent)).transpose()?.flatten();
        if !ops.is_carried() || !above.is_some_and(|(above, ..)| ops.parents().contains(&above)) {
            return Err(Error::invalid(format!("{kind:?} does not stand there")));
        }
        let node = self.create_raw(kind, ops.parents(), new)?;
        self.mention_maker(node.id, node.holder, ops.maker(&node.doc)?)?;
        Ok(node)
    }

    /// [`update`](Self::update) for a document of a kind that archives carry.
    pub fn replace_carried(&mut self, node: &RawNode) -> Result<RawNode> {
        self.update_raw(node)
    }

    /// The child of `parent` that has the unique name of `node`, which is of the same kind.
    pub fn named_like(&mut self, parent: Id, node: &RawNode) -> Result<Option<Id>> {
        let place =
            self.place(parent)?.ok_or_else(|| Error::not_found("the resource above it does not exist"))?;
        let names = (place.container, place.generation);
        let Some(mac) = self.shared.name_mac_of(node.kind, names, Some(parent), &node.doc)? else {
            return Ok(None);
        };
        self.query_one(
            "SELECT id FROM resource WHERE parent = ?1 AND kind = ?2 AND name_mac = ?3",
            &[(&parent).into(), node.kind.number().into(), (&mac[..]).into()],
        )?
        .map(|row| row.id(0))
        .transpose()
    }

    fn create_raw(&mut self, kind: Kind, parents: &[Kind], new: New<Vec<u8>>) -> Result<RawNode> {
        let (holder, container, generation, names) = match new.parent {
            None => {
                self.require_active(new.id)?;
                (new.id, new.id, 0, (new.id, 0))
            }
            Some(parent) => {
                let place = self
                    .place(parent)?
                    .ok_or_else(|| Error::not_found("the resource above it does not exist"))?;
                if !parents.contains(&place.kind) {
                    return Err(Error::internal(format!("{kind:?} cannot stand under {:?}", place.kind)));
                }
                if place.state == HolderState::Frozen {
                    return Err(frozen());
                }
                let above = (place.container, place.generation);
                let (container, generation) = if kind.is_container() { (new.id, 0) } else { above };
                (place.holder, container, generation, above)
            }
        };
        let doc = self.shared.seal(new.id, kind, container, generation, &new.doc)?;
        let name_mac = self.shared.name_mac_of(kind, names, new.parent, &new.doc)?;
        let now = self.now;
        self.execute(
            "INSERT INTO resource (id, kind, parent, holder, container, generation, name_mac, version, created_at, updated_at, expires_at, doc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8, ?9, ?10)",
            &[
                (&new.id).into(),
                kind.number().into(),
                new.parent.as_ref().into(),
                (&holder).into(),
                (&container).into(),
                i64::from(generation).into(),
                name_mac.as_ref().map(|mac| &mac[..]).into(),
                now.into(),
                new.expires_at.into(),
                (&doc[..]).into(),
            ],
        )?;
        self.write_attrs(new.id, kind, container, generation, &new.doc)?;
        if matches!(kind, Kind::Project | Kind::Workspace | Kind::ExperimentationProject) {
            self.connect(new.id, new.id, Relation::Indexed)?;
        }
        Ok(RawNode {
            id: new.id,
            kind,
            parent: new.parent,
            holder,
            container,
            version: 1,
            created_at: now,
            updated_at: now,
            expires_at: new.expires_at,
            doc: new.doc,
        })
    }

    /// Writes the searchable attributes that `doc` declares.
    pub(crate) fn write_attrs(
        &mut self,
        id: Id,
        kind: Kind,
        container: Id,
        generation: u32,
        doc: &[u8],
    ) -> Result<()> {
        let attrs = registry::ops(kind).attrs(doc)?;
        if attrs.0.len() > MOST_ATTRS {
            return Err(Error::limit(format!(
                "it has more than {MOST_ATTRS} parts by which it could be found"
            ))
            .hint("shorten its metadata"));
        }
        for (position, (key, value)) in attrs.0.iter().enumerate() {
            let (number, mac) = match value {
                AttrValue::Number(number) => (Arg::Real(*number), None),
                AttrValue::Text(text) => {
                    (Arg::Null, Some(self.shared.text_mac(container, generation, key.number(), text)?))
                }
                AttrValue::Secret(secret) => (Arg::Null, Some(self.shared.secret_mac(secret))),
            };
            self.execute(
                "INSERT INTO attr (resource, key, position, number, mac) VALUES (?1, ?2, ?3, ?4, ?5)",
                &[
                    (&id).into(),
                    key.number().into(),
                    (position as i64).into(),
                    number,
                    mac.as_ref().map(|mac| &mac[..]).into(),
                ],
            )?;
        }
        Ok(())
    }

    /// The resource with this id, if it is there and of kind `K`.
    pub fn get<K: DataKind>(&mut self, id: Id) -> Result<Option<Node<K::Doc>>> {
        match self.raw(id)? {
            Some(node) if node.kind == K::KIND => Ok(Some(typed::<K>(node)?)),
            _ => Ok(None),
        }
    }

    /// The resource with this id, whatever its kind.
    pub fn raw(&mut self, id: Id) -> Result<Option<RawNode>> {
        match self.query_one(select_nodes!("WHERE r.id = ?1"), &[(&id).into()])? {
            Some(row) => self.shared.node(row).map(Some),
            None => Ok(None),
        }
    }

    /// Where a resource stands, without opening it.
    pub(crate) fn place(&mut self, id: Id) -> Result<Option<Place>> {
        self.place_with(id, Lock::Share)
    }

    /// The same for what is only looked for: sharing a row that is to be changed later would let two who do so wait for each other.
    pub(crate) fn place_seen(&mut self, id: Id) -> Result<Option<Place>> {
        self.place_with(id, Lock::None)
    }

    /// The same, for what is to be done with it.
    pub(crate) fn place_with(&mut self, id: Id, lock: Lock) -> Result<Option<Place>> {
        let rows = self.engine.query(
            "SELECT r.kind, r.holder, r.container, c.generation, h.state FROM resource r \
             JOIN resource c ON c.id = r.container JOIN holder h ON h.id = r.holder WHERE r.id = ?1",
            &[(&id).into()],
            lock,
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Place {
            kind: Kind::from_number(row.int(0)?)?,
            holder: row.id(1)?,
            container: row.id(2)?,
            generation: row.int(3)? as u32,
            state: HolderState::from_number(row.int(4)?)?,
        }))
    }

    /// Keeps a resource until this transaction ends: whoever removes it waits, and then sees what was done here. False when it is gone, or
    /// its holder is being erased. For what is derived from a resource that belongs to somebody else.
    pub fn hold(&mut self, id: Id) -> Result<bool> {
        // A lock alone is not enough: a remover that has waited for it goes on with the state it saw before.
        self.execute("UPDATE resource SET version = version WHERE id = ?1", &[(&id).into()])?;
        Ok(self.place(id)?.is_some_and(|place| place.state != HolderState::Frozen))
    }

    /// Kind, parent and holder of a resource, without opening it: what authorisation looks at.
    pub fn position(&mut self, id: Id) -> Result<Option<(Kind, Option<Id>, Id)>> {
        self.query_one("SELECT kind, parent, holder FROM resource WHERE id = ?1", &[(&id).into()])?
            .map(|row| Ok((Kind::from_number(row.int(0)?)?, row.optional_id(1)?, row.id(2)?)))
            .transpose()
    }

    /// Says when a resource that comes from elsewhere was last changed there.
    pub fn backdate_change(&mut self, id: Id, updated_at: Timestamp) -> Result<()> {
        self.execute("UPDATE resource SET updated_at = ?2 WHERE id = ?1", &[(&id).into(), updated_at.into()])
            .map(|_| ())
    }

    /// Says when a resource that comes from elsewhere was made there.
    pub fn backdate(&mut self, id: Id, created_at: Timestamp) -> Result<()> {
        self.execute("UPDATE resource SET created_at = ?2 WHERE id = ?1", &[(&id).into(), created_at.into()])
            .map(|_| ())
    }

    /// Stores a changed document and expiry under the container's present key; a conflict when somebody else changed it since
    /// `node` was read.
    pub fn update<K: DataKind>(&mut self, node: &Node<K::Doc>) -> Result<Node<K::Doc>>
    where
        K::Doc: Clone,
    {
        let json = serde_json::to_vec(&node.doc)?;
        let updated = self.update_raw(&node.with_doc(json))?;
        Ok(updated.with_doc(node.doc.clone()))
    }

    /// The same by somebody, who is [mentioned](Self::mention_editor) in it where others made it.
    pub fn update_by<K: DataKind>(
        &mut self,
        node: &Node<K::Doc>,
        editor: impl Into<Option<Id>>,
    ) -> Result<Node<K::Doc>>
    where
        K::Doc: Clone,
    {
        let node = self.update::<K>(node)?;
        self.mention_editor::<K>(&node, editor)?;
        Ok(node)
    }

    /// [`update`](Self::update), also where the holder is being erased: for what has to be taken out because of somebody else's erasure, which must not wait
    /// for this one or depend on its end. Refused only once the keys are gone.
    pub fn update_also_frozen<K: DataKind>(&mut self, node: &Node<K::Doc>) -> Result<()> {
        let json = serde_json::to_vec(&node.doc)?;
        self.update_raw_also_frozen(&node.with_doc(json)).map(|_| ())
    }

    /// The same for a document whose kind is known at run time only.
    pub(crate) fn update_raw_also_frozen(&mut self, node: &RawNode) -> Result<RawNode> {
        let place = self.place_to_change(node.id)?;
        self.update_at(node, place)
    }

    /// [`update`](Self::update) for a document whose kind is known at run time only.
    pub(crate) fn update_raw(&mut self, node: &RawNode) -> Result<RawNode> {
        let place = self.place_to_change(node.id)?;
        if place.state == HolderState::Frozen {
            return Err(frozen());
        }
        self.update_at(node, place)
    }

    fn place_to_change(&mut self, id: Id) -> Result<Place> {
        self.place_with(id, Lock::Change)?.ok_or_else(|| Error::not_found("it does not exist any more"))
    }

    fn update_at(&mut self, node: &RawNode, place: Place) -> Result<RawNode> {
        let json = &node.doc;
        let doc = self.shared.seal(node.id, node.kind, place.container, place.generation, json)?;
        let names = match node.parent {
            Some(parent) if node.kind.is_container() => {
                let above =
                    self.place(parent)?.ok_or_else(|| Error::not_found("it does not exist any more"))?;
                (above.container, above.generation)
            }
            _ => (place.container, place.generation),
        };
        let name_mac = self.shared.name_mac_of(node.kind, names, node.parent, json)?;
        let now = self.now;
        let changed = self.execute(
            "UPDATE resource SET doc = ?3, version = version + 1, updated_at = ?4, expires_at = ?5, name_mac = ?6
             WHERE id = ?1 AND version = ?2",
            &[
                (&node.id).into(),
                node.version.into(),
                (&doc[..]).into(),
                now.into(),
                node.expires_at.into(),
                name_mac.as_ref().map(|mac| &mac[..]).into(),
            ],
        )?;
        if changed == 0 {
            return Err(Error::conflict("somebody else changed it at the same time")
                .hint("read it again and repeat the change"));
        }
        self.execute("DELETE FROM attr WHERE resource = ?1", &[(&node.id).into()])?;
        self.write_attrs(node.id, node.kind, place.container, place.generation, json)?;
        let mut updated = node.clone();
        updated.version += 1;
        updated.updated_at = now;
        Ok(updated)
    }

    /// What stands directly under `parent`, of kind `K`.
    pub fn children<K: DataKind>(&mut self, parent: Id, page: Page) -> Result<Vec<Node<K::Doc>>> {
        self.raw_children(parent, K::KIND, page)?.into_iter().map(typed::<K>).collect()
    }

    /// The same, with the documents as they are stored.
    pub fn raw_children(&mut self, parent: Id, kind: Kind, page: Page) -> Result<Vec<RawNode>> {
        self.raw_children_where(parent, kind, page, |_| true)
    }

    /// Of these the ones whose documents are wanted. The others are not kept in memory while the rest is read.
    pub fn raw_children_where(
        &mut self,
        parent: Id,
        kind: Kind,
        page: Page,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<RawNode>> {
        let sql = match page.order {
            Order::Oldest => {
                select_nodes!(
                    "WHERE r.parent = ?1 AND r.kind = ?2 ORDER BY r.created_at, r.id LIMIT ?3 OFFSET ?4"
                )
            }
            Order::Newest => {
                select_nodes!(
                    "WHERE r.parent = ?1 AND r.kind = ?2 ORDER BY r.created_at DESC, r.id DESC LIMIT ?3 OFFSET ?4"
                )
            }
        };
        self.opened(
            sql,
            &[(&parent).into(), kind.number().into(), (page.take as i64).into(), (page.skip as i64).into()],
            |opener, row| Ok(Some(opener.node(row)?).filter(|node| is_wanted(&node.doc))),
        )
    }

    /// What stands under the children of `parent`, of kind `K`, in the order of ids.
    pub fn grandchildren<K: DataKind>(&mut self, parent: Id) -> Result<Vec<Node<K::Doc>>> {
        // SQLite takes a cross join in its order: any other way it would go through all there are of the kind.
        let rows = self.query(
            "SELECT r.id, r.kind, r.parent, r.holder, r.container, r.version, r.created_at, r.updated_at, r.expires_at, r.doc
             FROM resource p CROSS JOIN resource r WHERE p.parent = ?1 AND r.parent = p.id AND r.kind = ?2 ORDER BY r.id",
            &[(&parent).into(), K::KIND.number().into()],
        )?;
        rows.into_iter().map(|row| typed::<K>(self.shared.node(row)?)).collect()
    }

    /// How many of `kind` stand directly under `parent`.
    pub fn count_children(&mut self, parent: Id, kind: Kind) -> Result<u64> {
        let count = self.number(
            "SELECT COUNT(*) FROM resource WHERE parent = ?1 AND kind = ?2",
            &[(&parent).into(), kind.number().into()],
        )?;
        Ok(count as u64)
    }

    /// When each of `kind` directly under `parent` was created, without opening them.
    pub fn children_ids(&mut self, parent: Id, kind: Kind) -> Result<Vec<(Timestamp, Id)>> {
        self.query(
            "SELECT created_at, id FROM resource WHERE parent = ?1 AND kind = ?2",
            &[(&parent).into(), kind.number().into()],
        )?
        .iter()
        .map(|row| Ok((row.time(0)?, row.id(1)?)))
        .collect()
    }

    /// The child of kind `K` that has this unique name.
    pub fn child_by_name<K: DataKind>(&mut self, parent: Id, name: &str) -> Result<Option<Node<K::Doc>>> {
        let Some(place) = self.place_seen(parent)? else { return Ok(None) };
        let mac = self.shared.name_mac(place.container, place.generation, parent, name)?;
        let row = self.query_one(
            select_nodes!("WHERE r.parent = ?1 AND r.kind = ?2 AND r.name_mac = ?3"),
            &[(&parent).into(), K::KIND.number().into(), (&mac[..]).into()],
        )?;
        row.map(|row| typed::<K>(self.shared.node(row)?)).transpose()
    }

    /// The oldest child of kind `K` that has this text as the attribute `key`.
    pub fn child_by_text<K: DataKind>(
        &mut self,
        parent: Id,
        key: AttrKey,
        text: &str,
    ) -> Result<Option<Node<K::Doc>>> {
        let Some(place) = self.place_seen(parent)? else { return Ok(None) };
        let mac = self.shared.text_mac(place.container, place.generation, key.number(), text)?;
        let row = self.query_one(
            select_nodes!(
                "JOIN attr a ON a.resource = r.id WHERE r.parent = ?1 AND r.kind = ?2 AND a.key = ?3 AND a.mac = ?4 \
                 ORDER BY r.created_at, r.id LIMIT 1"
            ),
            &[(&parent).into(), K::KIND.number().into(), key.number().into(), (&mac[..]).into()],
        )?;
        row.map(|row| typed::<K>(self.shared.node(row)?)).transpose()
    }

    /// The children of kind `K` that have this text as the attribute `key`, oldest first.
    pub fn children_by_text<K: DataKind>(
        &mut self,
        parent: Id,
        key: AttrKey,
        text: &str,
    ) -> Result<Vec<Node<K::Doc>>> {
        let Some(place) = self.place_seen(parent)? else { return Ok(Vec::new()) };
        let mac = self.shared.text_mac(place.container, place.generation, key.number(), text)?;
        let rows = self.query(
            select_nodes!(
                "JOIN attr a ON a.resource = r.id WHERE r.parent = ?1 AND r.kind = ?2 AND a.key = ?3 AND a.mac = ?4 \
                 ORDER BY r.created_at, r.id"
            ),
            &[(&parent).into(), K::KIND.number().into(), key.number().into(), (&mac[..]).into()],
        )?;
        rows.into_iter().map(|row| typed::<K>(self.shared.node(row)?)).collect()
    }

    /// The oldest resource of kind `K` anywhere in a container that has this text as the attribute `key`.
    pub fn contained_by_text<K: DataKind>(
        &mut self,
        container: Id,
        key: AttrKey,
        text: &str,
    ) -> Result<Option<Node<K::Doc>>> {
        let Some(place) = self.place_seen(container)? else { return Ok(None) };
        let mac = self.shared.text_mac(container, place.generation, key.number(), text)?;
        let row = self.query_one(
            select_nodes!(
                "JOIN attr a ON a.resource = r.id WHERE r.container = ?1 AND r.kind = ?2 AND a.key = ?3 AND a.mac = ?4 \
                 ORDER BY r.created_at, r.id LIMIT 1"
            ),
            &[(&container).into(), K::KIND.number().into(), key.number().into(), (&mac[..]).into()],
        )?;
        row.map(|row| typed::<K>(self.shared.node(row)?)).transpose()
    }

    /// Resources of a kind anywhere in a container that have this text as the attribute `key`, at most `most`. None is opened.
    pub fn ids_contained_by_text(
        &mut self,
        container: Id,
        kind: Kind,
        key: AttrKey,
        text: &str,
        most: usize,
    ) -> Result<Vec<Id>> {
        let Some(place) = self.place_seen(container)? else { return Ok(Vec::new()) };
        let mac = self.shared.text_mac(container, place.generation, key.number(), text)?;
        let rows = self.query(
            "SELECT r.id FROM resource r JOIN attr a ON a.resource = r.id \
             WHERE r.container = ?1 AND r.kind = ?2 AND a.key = ?3 AND a.mac = ?4 LIMIT ?5",
            &[
                (&container).into(),
                kind.number().into(),
                key.number().into(),
                (&mac[..]).into(),
                Arg::Int(most as i64),
            ],
        )?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// The oldest child of kind `K` that has this number as the attribute `key`.
    pub fn child_by_number<K: DataKind>(
        &mut self,
        parent: Id,
        key: AttrKey,
        number: f64,
    ) -> Result<Option<Node<K::Doc>>> {
        let row = self.query_one(
            select_nodes!(
                "JOIN attr a ON a.resource = r.id WHERE r.parent = ?1 AND r.kind = ?2 AND a.key = ?3 AND a.number = ?4 \
                 ORDER BY r.created_at, r.id LIMIT 1"
            ),
            &[(&parent).into(), K::KIND.number().into(), key.number().into(), Arg::Real(number)],
        )?;
        row.map(|row| typed::<K>(self.shared.node(row)?)).transpose()
    }

    /// The resource of kind `K` that has this random secret.
    pub fn by_secret<K: DataKind>(&mut self, secret: &str) -> Result<Option<Node<K::Doc>>> {
        let mac = self.shared.secret_mac(secret);
        let row = self.query_one(
            select_nodes!("JOIN attr a ON a.resource = r.id WHERE a.mac = ?1 AND a.key = ?2 AND r.kind = ?3"),
            &[(&mac[..]).into(), AttrKey::Secret.number().into(), K::KIND.number().into()],
        )?;
        row.map(|row| typed::<K>(self.shared.node(row)?)).transpose()
    }

    /// Removes a resource and all that stands under it. Commits with it the tasks that delete its blobs, destroy the keys of
    /// removed containers, revoke the models that were exported from them, note the removal in the ledger and give the container that
    /// lost an item a new key. Refused while the holder is frozen; nothing happens when the resource is not there.
    pub fn remove(&mut self, id: Id) -> Result<Removed> {
        let Some(place) = self.place_with(id, Lock::Change)? else { return Ok(Removed::default()) };
        self.require_removable(id)?;
        self.remove_at_once(id, &place)
    }

    /// The same, also where the holder is being erased: for what has to go because of somebody else's erasure, which must not wait for
    /// this one or depend on its end. Refused only while a hold keeps it.
    pub fn remove_also_frozen(&mut self, id: Id) -> Result<Removed> {
        let Some(place) = self.place_with(id, Lock::Change)? else { return Ok(Removed::default()) };
        self.require_not_kept(id, &place)?;
        self.remove_at_once(id, &place)
    }

    /// Removes again what was removed before a backup was restored, whatever holds have come since.
    pub(crate) fn remove_again(&mut self, id: Id) -> Result<Removed> {
        let Some(place) = self.place_with(id, Lock::Change)? else { return Ok(Removed::default()) };
        self.remove_at_once(id, &place)
    }

    fn remove_at_once(&mut self, id: Id, place: &Place) -> Result<Removed> {
        let revoked = if place.kind.is_container() { self.exported_digests(id)? } else { Vec::new() };
        self.remove_at(id, place, &revoked)
    }

    /// Digests of the models that were exported from what stands under `root`.
    fn exported_digests(&mut self, root: Id) -> Result<Vec<String>> {
        let rows = self.query(
            select_nodes!(
                "WHERE r.kind = ?2 AND r.id IN (WITH RECURSIVE subtree (id) AS (
                     SELECT id FROM resource WHERE id = ?1
                     UNION ALL SELECT c.id FROM resource c JOIN subtree s ON c.parent = s.id)
                 SELECT id FROM subtree)"
            ),
            &[(&root).into(), Kind::ModelExport.number().into()],
        )?;
        let digests =
            rows.into_iter().map(|row| Ok(typed::<ModelExport>(self.shared.node(row)?)?.doc.digest));
        digests.filter_map(Result::transpose).collect()
    }

    fn remove_at(&mut self, id: Id, place: &Place, revoked: &[String]) -> Result<Removed> {
        if place.kind == Kind::Hold {
            return self.remove_hold(id);
        }
        let (gone, learners) = self.take_out(&[id], place.holder)?;
        let mut tasks = self.purge(place.holder, &gone.blobs)?;
        if place.kind.is_container() {
            let payload = serde_json::json!({ "containers": gone.containers, "revoked": revoked });
            tasks.push(self.enqueue(TaskKind::DestroyKeys, Some(id), &payload, self.now)?);
        } else {
            tasks.extend(self.note_items(id, place, &gone.resources)?);
        }
        Ok(gone.removed(tasks, learners))
    }

    /// Removes an erased container whose keys are gone, with all that stands under it; with it the holder, when the container was
    /// the root of what the holder had.
    pub(crate) fn remove_unreadable(&mut self, container: Id) -> Result<Removed> {
        let Some(place) = self.place(container)? else { return Ok(Removed::default()) };
        let removed = self.remove_at(container, &place, &[])?;
        if place.holder == container {
            self.execute("DELETE FROM resource WHERE holder = ?1", &[(&container).into()])?;
            self.remove_erased_holder(container)?;
        }
        Ok(removed)
    }

    /// Sees to it that every iteration that learned from what stands under `root`, and does not stand there itself, is solved again
    /// without it. Nothing that a model learned from is removed without this.
    pub(super) fn schedule_forgetting(&mut self, root: Id) -> Result<Vec<Id>> {
        // SQLite takes a cross join in its order: any other way it would read all connections there are.
        let rows = self.query(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT DISTINCT e.source FROM subtree s CROSS JOIN edge e
             WHERE e.target = s.id AND e.relation = ?2 AND e.source NOT IN (SELECT id FROM subtree)",
            &[(&root).into(), Relation::LearnedFrom.number().into()],
        )?;
        let mut learners = Vec::new();
        for row in &rows {
            let iteration = row.id(0)?;
            self.enqueue_forgetting(iteration)?;
            learners.push(iteration);
        }
        Ok(learners)
    }

    /// Enqueues the task that solves an iteration again, unless one waits already.
    pub fn enqueue_forgetting(&mut self, iteration: Id) -> Result<Id> {
        let waiting = self.query_one(
            "SELECT id FROM task WHERE subject = ?1 AND kind = ?2 AND state = 0",
            &[(&iteration).into(), TaskKind::Forget.number().into()],
        )?;
        match waiting {
            Some(row) => row.id(0),
            None => {
                let now = self.now;
                self.enqueue(
                    TaskKind::Forget,
                    Some(iteration),
                    &serde_json::json!({ "iteration": iteration }),
                    now,
                )
            }
        }
    }

    /// Makes a resource one of another kind with the same document, such as an image that leaves the workspace; its connections and
    /// blobs stay. A conflict when somebody else changed it since `node` was read.
    pub fn change_kind<From: DataKind, To: DataKind<Doc = From::Doc>>(
        &mut self,
        node: &Node<From::Doc>,
    ) -> Result<Node<From::Doc>>
    where
        From::Doc: Clone,
    {
        let mut changed = node.clone();
        changed.kind = To::KIND;
        self.execute(
            "UPDATE resource SET kind = ?2 WHERE id = ?1 AND kind = ?3",
            &[(&node.id).into(), To::KIND.number().into(), From::KIND.number().into()],
        )?;
        self.update::<To>(&changed)
    }

    /// Sees to it that the container gets a new key, and its old one is destroyed, once the configured time is over. Many
    /// removals share one such task. A hold keeps its key as long as it lasts: the ledger has the hold under it, and backups what it keeps.
    pub fn schedule_resealing(&mut self, container: Id) -> Result<()> {
        if self.place_seen(container)?.is_some_and(|place| place.kind == Kind::Hold) {
            return Ok(());
        }
        let waiting = self.number(
            "SELECT COUNT(*) FROM task WHERE subject = ?1 AND kind = ?2 AND state = 0",
            &[(&container).into(), TaskKind::Reseal.number().into()],
        )?;
        if waiting == 0 {
            let due = Timestamp(self.now.0.saturating_add(self.shared.reseal_after));
            self.enqueue(
                TaskKind::Reseal,
                Some(container),
                &serde_json::json!({ "container": container }),
                due,
            )?;
        }
        Ok(())
    }

    /// Resources whose time is over, at most `limit`, in the order of their ends after `after`.
    pub fn expired(&mut self, after: (Timestamp, Id), limit: u32) -> Result<Vec<(Id, Kind, Timestamp)>> {
        let now = self.now;
        self.query(
            "SELECT id, kind, expires_at FROM resource WHERE expires_at IS NOT NULL AND expires_at <= ?1
             AND (expires_at, id) > (?2, ?3) ORDER BY expires_at, id LIMIT ?4",
            &[now.into(), after.0.into(), (&after.1).into(), i64::from(limit).into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, Kind::from_number(row.int(1)?)?, row.time(2)?)))
        .collect()
    }

    /// Fails with the reason for which [`Tx::remove`] would refuse.
    pub fn require_removable(&mut self, id: Id) -> Result<()> {
        let Some(place) = self.place(id)? else { return Ok(()) };
        if place.state == HolderState::Frozen {
            return Err(frozen());
        }
        self.require_not_kept(id, &place)
    }
}

/// Where a resource stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) holder: Id,
    pub(crate) container: Id,
    pub(crate) generation: u32,
    pub(crate) state: HolderState,
}

pub(super) fn typed<K: DataKind>(node: RawNode) -> Result<Node<K::Doc>> {
    let doc = serde_json::from_slice(&node.doc)?;
    Ok(node.with_doc(doc))
}
