//! What was made from what, over however many steps ([`Relation::MadeFrom`]), and what was made from something that is gone.
//!
//! **Invariant:** whoever owns what is marked when something goes, and not what it was made from, is written to: by a task of the transaction
//! that marks it, so that each mark is in one letter. What is marked stays marked, and no second letter follows; what is made later of
//! something marked shows it from its beginning.

use std::collections::BTreeMap;

use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::node::Relation;
use habeas_core::{Id, Kind, Result, Timestamp};
use serde_json::json;

use super::Tx;
use crate::{TaskKind, TaskState};

/// What is made from what a holder (`?1`) has: `made`, over connections of one sort (`?2`). SQLite takes cross joins in their order: any
/// other way it would read all resources or connections there are.
macro_rules! made_from_holder {
    () => {
        "WITH RECURSIVE made (id) AS (
             SELECT e.source FROM resource t CROSS JOIN edge e WHERE t.holder = ?1 AND e.target = t.id AND e.relation = ?2
             UNION SELECT e.source FROM made m CROSS JOIN edge e WHERE e.target = m.id AND e.relation = ?2) "
    };
}

/// The same of what stands under a resource (`?1`), itself among it: `subtree`.
macro_rules! made_from_below {
    () => {
        "WITH RECURSIVE subtree (id) AS (
             SELECT id FROM resource WHERE id = ?1
             UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id),
         made (id) AS (
             SELECT e.source FROM subtree s CROSS JOIN edge e WHERE e.target = s.id AND e.relation = ?2
             UNION SELECT e.source FROM made m CROSS JOIN edge e WHERE e.target = m.id AND e.relation = ?2) "
    };
}

/// The same of what lies in a container (`?1`).
macro_rules! made_from_within {
    () => {
        "WITH RECURSIVE made (id) AS (
             SELECT e.source FROM resource t CROSS JOIN edge e WHERE t.container = ?1 AND e.target = t.id AND e.relation = ?2
             UNION SELECT e.source FROM made m CROSS JOIN edge e WHERE e.target = m.id AND e.relation = ?2) "
    };
}

const FROM_HOLDER: &str = concat!(
    made_from_holder!(),
    "SELECT r.id, r.kind, r.holder FROM made m CROSS JOIN resource r WHERE r.id = m.id ORDER BY r.id"
);
const FROM_BELOW: &str = concat!(
    made_from_below!(),
    "SELECT r.id, r.kind, r.holder FROM made m CROSS JOIN resource r
     WHERE r.id = m.id AND m.id NOT IN (SELECT id FROM subtree) ORDER BY r.id"
);
const FROM_WITHIN: &str = concat!(
    made_from_within!(),
    "SELECT r.id, r.kind, r.holder FROM made m CROSS JOIN resource r WHERE r.id = m.id AND r.container <> ?1 ORDER BY r.id"
);
const MARK_FROM_HOLDER: &str = concat!(
    "INSERT INTO edge (source, target, relation, created_at) ",
    made_from_holder!(),
    "SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m
     WHERE (SELECT r.holder FROM resource r WHERE r.id = m.id) <> ?1
     ON CONFLICT DO NOTHING RETURNING source"
);
const MARK_FROM_BELOW: &str = concat!(
    "INSERT INTO edge (source, target, relation, created_at) ",
    made_from_below!(),
    "SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m WHERE m.id NOT IN (SELECT id FROM subtree)
     ON CONFLICT DO NOTHING RETURNING source"
);

const MARK_FROM_WITHIN: &str = concat!(
    "INSERT INTO edge (source, target, relation, created_at) ",
    made_from_within!(),
    "SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m
     WHERE (SELECT r.container FROM resource r WHERE r.id = m.id) <> ?1
     ON CONFLICT DO NOTHING RETURNING source"
);

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// Everything that a holder has.
    Of(Id),
    /// A resource with all that stands under it.
    Below(Id),
    /// All that lies in a container, such as what a legal hold kept.
    Within(Id),
}

impl Going {
    /// Whose, or which; the statement that lists what was made from it, and the one that marks it.
    fn statements(self) -> (Id, &'static str, &'static str) {
        match self {
            Going::Of(holder) => (holder, FROM_HOLDER, MARK_FROM_HOLDER),
            Going::Below(root) => (root, FROM_BELOW, MARK_FROM_BELOW),
            Going::Within(container) => (container, FROM_WITHIN, MARK_FROM_WITHIN),
        }
    }
}

impl Tx<'_> {
    /// What stays and was made from what goes: models, images, services; in the order of their ids. When a holder goes, what others have of it;
    /// when a resource goes, whatever does not stand under it, whosever it is.
    pub fn made_from(&mut self, going: Going) -> Result<Vec<(Id, Kind)>> {
        let (root, list, _) = going.statements();
        let rows = self.query(list, &[(&root).into(), Relation::MadeFrom.number().into()])?;
        let mut made = Vec::new();
        for row in &rows {
            if going != Going::Of(row.id(2)?) {
                made.push((row.id(0)?, Kind::from_number(row.int(1)?)?));
            }
        }
        Ok(made)
    }

    /// Since when something that this was made from is gone; none when all of it is there.
    pub fn source_erased(&mut self, id: Id) -> Result<Option<Timestamp>> {
        Ok(self.targets(id, Relation::SourceErased)?.first().map(|(_, since)| *since))
    }

    /// Marks what [`made_from`](Self::made_from) lists, before that is deleted, and has its owners written to, unless that is `holder`, who has
    /// what goes. Needs no keys: a connection says it, since those of what is removed may be gone already. Repeatable: what is marked already
    /// is in a letter already.
    pub fn mark_made_from(&mut self, going: Going, holder: Id) -> Result<()> {
        let marked = self.mark(going)?;
        self.tell_owners(&marked, holder)
    }

    /// Marks what [`made_from`](Self::made_from) lists; gives back what was not marked yet, whose owners are to be written to.
    pub(super) fn mark(&mut self, going: Going) -> Result<Vec<Id>> {
        let now = self.now;
        let (root, _, mark) = going.statements();
        let marked = self.query(
            mark,
            &[
                (&root).into(),
                Relation::MadeFrom.number().into(),
                Relation::SourceErased.number().into(),
                now.into(),
            ],
        )?;
        marked.iter().map(|row| row.id(0)).collect()
    }

    /// Has a letter written to every person who owns some of what was just marked and is still there, and not to whoever had what it was made
    /// from. A letter that is not away yet takes it up, so that one deletion is one letter to each.
    pub(super) fn tell_owners(&mut self, marked: &[Id], erased: Id) -> Result<()> {
        let mut by_holder: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for &made in marked {
            if let Some((_, _, holder)) = self.position(made)?
                && holder != erased
            {
                by_holder.entry(holder).or_default().push(made);
            }
        }
        let mut by_person: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for (holder, made) in by_holder {
            for person in self.owners_of(holder)? {
                // As an owner of an organisation, whoever had it knows, or is being erased.
                if person != erased {
                    by_person.entry(person).or_default().extend(&made);
                }
            }
        }
        let now = self.now;
        for (person, mut made) in by_person {
            let letters = self.tasks_about(person, TaskKind::Mail)?;
            // One that was tried already is given up at its own time, and would take these with it.
            let waiting =
                letters.into_iter().find(|task| task.state == TaskState::Waiting && task.attempts == 0);
            let Some(waiting) = waiting else {
                let payload = json!({ "person": person, "sourceErased": made });
                self.enqueue(TaskKind::Mail, Some(person), &payload, now)?;
                continue;
            };
            let mut payload = waiting.payload;
            let told: Vec<Id> = serde_json::from_value(payload["sourceErased"].take())?;
            made.splice(0..0, told);
            payload["sourceErased"] = json!(made);
            self.progress(waiting.id, &payload)?;
        }
        Ok(())
    }

    /// The person who has what `holder` has, or the owners of the organisation.
    fn owners_of(&mut self, holder: Id) -> Result<Vec<Id>> {
        Ok(match self.holder(holder)? {
            Some((HolderKind::Person, _)) => vec![holder],
            Some((HolderKind::Organisation, _)) => {
                let members = self.mentioned_in(holder)?.into_iter();
                members
                    .filter(|member| member.role == MentionRole::Owner)
                    .map(|member| member.person)
                    .collect()
            }
            _ => Vec::new(),
        })
    }
}
