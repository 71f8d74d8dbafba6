//! Connections between resources, and persons mentioned in them.

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::node::{RawNode, Relation};
use habeas_core::{DataKind, Error, Id, Kind, Node, Result, Timestamp, registry};

use super::Tx;
use super::holders::HolderState;
use super::nodes::{Page, typed};
use super::rows::select_nodes;
use crate::engine::Arg;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

/// Which children a list is about.
#[derive(Clone, Copy, Debug)]
pub enum Connected<'a> {
    /// All.
    Any,
    /// Those with at least one connection.
    ToSomething,
    /// Those with a connection to at least one of these, at most [`Connected::MOST`].
    ToOneOf(&'a [Id]),
    /// Those without any connection.
    ToNothing,
}

impl Connected<'_> {
    /// How many targets a list may be asked for.
    pub const MOST: usize = 20;
}

/// A person tied to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The resource.
    pub resource: Id,
    /// Its kind.
    pub kind: Kind,
    /// Who holds it.
    pub holder: Id,
    /// The container that it lies in; of a container, who holds it.
    pub within: Id,
    /// The person.
    pub person: Id,
    /// How they are tied to it.
    pub role: MentionRole,
    /// Since when.
    pub since: Timestamp,
}

/// A statement that reads mentions, from the mention to its resource: SQLite takes a cross join in its order.
macro_rules! select_mentions {
    ($rest:literal) => {
        concat!(
            "SELECT m.resource, r.kind, r.holder, m.person, m.role, m.created_at,
                    CASE WHEN r.container = r.id THEN r.holder ELSE r.container END
             FROM mention m CROSS JOIN resource r WHERE r.id = m.resource AND ",
            $rest
        )
    };
}

/// The three statements of a list of children: count, oldest first, newest first.
struct ListStatements {
    count: &'static str,
    oldest: &'static str,
    newest: &'static str,
}

macro_rules! list_statements {
    ($condition:literal, $limit:literal) => {
        ListStatements {
            count: concat!(
                "SELECT COUNT(*) FROM resource r WHERE r.parent = ?1 AND r.kind = ?2 AND ",
                $condition
            ),
            oldest: concat!(
                select_nodes!("WHERE r.parent = ?1 AND r.kind = ?2 AND "),
                $condition,
                " ORDER BY r.created_at, r.id ",
                $limit
            ),
            newest: concat!(
                select_nodes!("WHERE r.parent = ?1 AND r.kind = ?2 AND "),
                $condition,
                " ORDER BY r.created_at DESC, r.id DESC ",
                $limit
            ),
        }
    };
}

const TO_SOMETHING: ListStatements = list_statements!(
    "EXISTS (SELECT 1 FROM edge e WHERE e.source = r.id AND e.relation = ?3)",
    "LIMIT ?4 OFFSET ?5"
);
const TO_NOTHING: ListStatements = list_statements!(
    "NOT EXISTS (SELECT 1 FROM edge e WHERE e.source = r.id AND e.relation = ?3)",
    "LIMIT ?4 OFFSET ?5"
);
const TO_ONE_OF: ListStatements = list_statements!(
    "EXISTS (SELECT 1 FROM edge e WHERE e.source = r.id AND e.relation = ?3 AND e.target IN \
     (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23))",
    "LIMIT ?24 OFFSET ?25"
);

impl Tx<'_> {
    /// Connects two resources; false when they were connected already.
    pub fn connect(&mut self, source: Id, target: Id, relation: Relation) -> Result<bool> {
        self.connect_since(source, target, relation, self.now)
    }

    /// [`connect`](Self::connect) as of an earlier time: what is brought from elsewhere was connected there.
    pub fn connect_since(
        &mut self,
        source: Id,
        target: Id,
        relation: Relation,
        since: Timestamp,
    ) -> Result<bool> {
        let added = self.execute(
            "INSERT INTO edge (source, target, relation, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            &[(&source).into(), (&target).into(), relation.number().into(), since.into()],
        )?;
        Ok(added > 0)
    }

    /// Ends a connection; false when there was none.
    pub fn disconnect(&mut self, source: Id, target: Id, relation: Relation) -> Result<bool> {
        let removed = self.execute(
            "DELETE FROM edge WHERE source = ?1 AND target = ?2 AND relation = ?3",
            &[(&source).into(), (&target).into(), relation.number().into()],
        )?;
        Ok(removed > 0)
    }

    /// What `source` is connected to, and since when, oldest first.
    pub fn targets(&mut self, source: Id, relation: Relation) -> Result<Vec<(Id, Timestamp)>> {
        self.query(
            "SELECT target, created_at FROM edge WHERE source = ?1 AND relation = ?2 ORDER BY created_at, target",
            &[(&source).into(), relation.number().into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.time(1)?)))
        .collect()
    }

    /// What is connected to `target`.
    pub fn sources(&mut self, target: Id, relation: Relation) -> Result<Vec<Id>> {
        self.query(
            "SELECT source FROM edge WHERE target = ?1 AND relation = ?2 ORDER BY source",
            &[(&target).into(), relation.number().into()],
        )?
        .iter()
        .map(|row| row.id(0))
        .collect()
    }

    /// Every connection of one sort from what stands directly under `parent`, oldest first: source, target, since when.
    pub fn edges_under(&mut self, parent: Id, relation: Relation) -> Result<Vec<(Id, Id, Timestamp)>> {
        self.query(
            "SELECT e.source, e.target, e.created_at FROM resource r JOIN edge e ON e.source = r.id
             WHERE r.parent = ?1 AND e.relation = ?2 ORDER BY e.created_at, e.target",
            &[(&parent).into(), relation.number().into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.id(1)?, row.time(2)?)))
        .collect()
    }

    /// Connections of one sort from what others hold to what `holder` has: source, target; in the order of sources.
    pub fn edges_from_others(&mut self, holder: Id, relation: Relation) -> Result<Vec<(Id, Id)>> {
        self.query(
            "SELECT e.source, e.target FROM resource t JOIN edge e ON e.target = t.id JOIN resource s ON s.id = e.source
             WHERE t.holder = ?1 AND e.relation = ?2 AND s.holder <> ?1 ORDER BY e.source, e.target",
            &[(&holder).into(), relation.number().into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.id(1)?)))
        .collect()
    }

    /// To how many resources `source` is connected.
    pub fn count_targets(&mut self, source: Id, relation: Relation) -> Result<u64> {
        let count = self.number(
            "SELECT COUNT(*) FROM edge WHERE source = ?1 AND relation = ?2",
            &[(&source).into(), relation.number().into()],
        )?;
        Ok(count as u64)
    }

    /// How many resources are connected to `target`.
    pub fn count_sources(&mut self, target: Id, relation: Relation) -> Result<u64> {
        let count = self.number(
            "SELECT COUNT(*) FROM edge WHERE target = ?1 AND relation = ?2",
            &[(&target).into(), relation.number().into()],
        )?;
        Ok(count as u64)
    }

    /// The children of kind `K` that are connected as asked.
    pub fn connected_children<K: DataKind>(
        &mut self,
        parent: Id,
        relation: Relation,
        connected: Connected<'_>,
        page: Page,
    ) -> Result<Vec<Node<K::Doc>>> {
        let Some((statements, mut args)) = list(&parent, K::KIND, relation, connected)? else {
            return self.children::<K>(parent, page);
        };
        args.push((page.take as i64).into());
        args.push((page.skip as i64).into());
        let sql = match page.order {
            Order::Oldest => statements.oldest,
            Order::Newest => statements.newest,
        };
        let rows = self.query(sql, &args)?;
        rows.into_iter().map(|row| typed::<K>(self.shared.node(row)?)).collect()
    }

    /// How many children of kind `K` are connected as asked.
    pub fn count_connected<K: DataKind>(
        &mut self,
        parent: Id,
        relation: Relation,
        connected: Connected<'_>,
    ) -> Result<u64> {
        match list(&parent, K::KIND, relation, connected)? {
            None => self.count_children(parent, K::KIND),
            Some((statements, args)) => Ok(self.number(statements.count, &args)? as u64),
        }
    }

    /// Ties a person to a resource; nothing happens when they are tied already.
    pub fn mention(&mut self, resource: Id, person: Id, role: MentionRole) -> Result<()> {
        self.require_active(person)?;
        self.mention_also_frozen(resource, person, role)
    }

    /// The same, also of a person who is being erased: for what their erasure must find.
    pub fn mention_also_frozen(&mut self, resource: Id, person: Id, role: MentionRole) -> Result<()> {
        let now = self.now;
        self.execute(
            "INSERT INTO mention (resource, person, role, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            &[(&resource).into(), (&person).into(), role.number().into(), now.into()],
        )?;
        Ok(())
    }

    /// Unties them; false when they were not tied.
    pub fn unmention(&mut self, resource: Id, person: Id, role: MentionRole) -> Result<bool> {
        let removed = self.execute(
            "DELETE FROM mention WHERE resource = ?1 AND person = ?2 AND role = ?3",
            &[(&resource).into(), (&person).into(), role.number().into()],
        )?;
        Ok(removed > 0)
    }

    /// Ties whoever made a resource to it, where somebody else holds it. Not a maker who is gone or being erased.
    pub fn mention_maker(&mut self, resource: Id, holder: Id, maker: Option<Id>) -> Result<()> {
        let Some(maker) = maker.filter(|maker| *maker != holder) else { return Ok(()) };
        if !matches!(self.holder(maker)?, Some((HolderKind::Person, state)) if state != HolderState::Frozen) {
            return Ok(());
        }
        self.mention(resource, maker, MentionRole::Maker)
    }

    /// The same where somebody makes anew what another one had made.
    pub fn change_maker(
        &mut self,
        resource: Id,
        holder: Id,
        before: Option<Id>,
        maker: Option<Id>,
    ) -> Result<()> {
        if before == maker {
            return Ok(());
        }
        if let Some(before) = before {
            self.unmention(resource, before, MentionRole::Maker)?;
        }
        if let Some(maker) = maker {
            self.unmention(resource, maker, MentionRole::Editor)?;
        }
        self.mention_maker(resource, holder, maker)
    }

    /// Ties whoever changed a resource, or what stands under it, to it, where another one made it; also the person who holds it, whose words
    /// stay in it when it is handed over. Refused to those who are being erased, who would not be found in it any more.
    pub fn mention_editor<K: DataKind>(
        &mut self,
        node: &Node<K::Doc>,
        editor: impl Into<Option<Id>>,
    ) -> Result<()> {
        self.mention_editor_of((node.id, node.holder), K::maker(&node.doc), editor.into())
    }

    /// The same for a resource whose kind is known at run time only.
    pub fn mention_editor_raw(&mut self, node: &RawNode, editor: Option<Id>) -> Result<()> {
        let maker = registry::ops(node.kind).maker(&node.doc)?;
        self.mention_editor_of((node.id, node.holder), maker, editor)
    }

    fn mention_editor_of(
        &mut self,
        (resource, holder): (Id, Id),
        maker: Option<Id>,
        editor: Option<Id>,
    ) -> Result<()> {
        let Some(editor) = editor.filter(|editor| maker != Some(*editor)) else { return Ok(()) };
        // A key of an organisation acts for nobody in particular.
        if editor == holder && !matches!(self.holder(editor)?, Some((HolderKind::Person, _))) {
            return Ok(());
        }
        self.mention(resource, editor, MentionRole::Editor)
    }

    /// In what a person is mentioned otherwise than as who made or changed it, oldest first.
    pub fn mentions_of(&mut self, person: Id) -> Result<Vec<Mention>> {
        self.query(
            select_mentions!("m.person = ?1 AND m.role < ?2 ORDER BY m.created_at, m.resource, m.role"),
            &[(&person).into(), MentionRole::Maker.number().into()],
        )?
        .iter()
        .map(mention)
        .collect()
    }

    /// What of a kind others hold that a person made or changed, as `role` says, in the order of ids, after `after`.
    pub fn work_for_others(
        &mut self,
        (person, role): (Id, MentionRole),
        kind: Kind,
        after: Id,
        limit: u32,
    ) -> Result<Vec<Mention>> {
        self.query(
            select_mentions!(
                "m.person = ?1 AND m.role = ?2 AND m.resource > ?3 AND r.kind = ?4 AND r.holder <> ?1
                 ORDER BY m.resource LIMIT ?5"
            ),
            &[
                (&person).into(),
                role.number().into(),
                (&after).into(),
                kind.number().into(),
                i64::from(limit).into(),
            ],
        )?
        .iter()
        .map(mention)
        .collect()
    }

    /// How much of each kind others hold that a person made or changed, as `role` says; kinds of which there is nothing are left out.
    pub fn count_work_for_others(&mut self, person: Id, role: MentionRole) -> Result<Vec<(Kind, u64)>> {
        self.query(
            "SELECT r.kind, COUNT(*) FROM mention m CROSS JOIN resource r
             WHERE r.id = m.resource AND m.person = ?1 AND m.role = ?2 AND r.holder <> ?1 GROUP BY r.kind ORDER BY r.kind",
            &[(&person).into(), role.number().into()],
        )?
        .iter()
        .map(|row| Ok((Kind::from_number(row.int(0)?)?, row.int(1)? as u64)))
        .collect()
    }

    /// How many of kind `below` stand directly under those of a kind.
    pub fn count_below_work_for_others(
        &mut self,
        (person, role): (Id, MentionRole),
        kind: Kind,
        below: Kind,
    ) -> Result<u64> {
        let count = self.number(
            "SELECT COUNT(*) FROM mention m CROSS JOIN resource r CROSS JOIN resource c
             WHERE r.id = m.resource AND c.parent = r.id AND c.kind = ?4
             AND m.person = ?1 AND m.role = ?2 AND r.holder <> ?1 AND r.kind = ?3",
            &[(&person).into(), role.number().into(), kind.number().into(), below.number().into()],
        )?;
        Ok(count as u64)
    }

    /// Who is mentioned in a resource, oldest first.
    pub fn mentioned_in(&mut self, resource: Id) -> Result<Vec<Mention>> {
        self.query(
            select_mentions!("m.resource = ?1 ORDER BY m.created_at, m.person, m.role"),
            &[(&resource).into()],
        )?
        .iter()
        .map(mention)
        .collect()
    }

    /// Persons other than `holder` who are mentioned in something that `holder` holds, as more than shown by it, or having made or changed it: who did
    /// and may still do anything there has a role besides.
    pub fn count_others_mentioned(&mut self, holder: Id) -> Result<u64> {
        let count = self.number(
            "SELECT COUNT(DISTINCT m.person) FROM mention m JOIN resource r ON r.id = m.resource
             WHERE r.holder = ?1 AND m.person <> ?1 AND m.role <> ?2 AND m.role < ?3",
            &[(&holder).into(), MentionRole::Depicted.number().into(), MentionRole::Maker.number().into()],
        )?;
        Ok(count as u64)
    }
}

fn mention(row: &crate::engine::Row) -> Result<Mention> {
    Ok(Mention {
        resource: row.id(0)?,
        kind: Kind::from_number(row.int(1)?)?,
        holder: row.id(2)?,
        person: row.id(3)?,
        role: MentionRole::from_number(row.int(4)?)?,
        since: row.time(5)?,
        within: row.id(6)?,
    })
}

/// The statements and their first arguments; none for a list without a condition.
fn list<'a>(
    parent: &'a Id,
    kind: Kind,
    relation: Relation,
    connected: Connected<'a>,
) -> Result<Option<(ListStatements, Vec<Arg<'a>>)>> {
    let mut args: Vec<Arg<'a>> = vec![parent.into(), kind.number().into(), relation.number().into()];
    Ok(Some(match connected {
        Connected::Any => return Ok(None),
        Connected::ToSomething => (TO_SOMETHING, args),
        Connected::ToNothing => (TO_NOTHING, args),
        Connected::ToOneOf(targets) if targets.len() > Connected::MOST => {
            return Err(Error::limit(format!(
                "{} targets where at most {} can be asked for",
                targets.len(),
                Connected::MOST
            )));
        }
        Connected::ToOneOf(targets) => {
            args.extend((0..Connected::MOST).map(|number| Arg::from(targets.get(number))));
            (TO_ONE_OF, args)
        }
    }))
}
