//! What was made from what, over however many steps ([`Relation::MadeFrom`]), and what was made from something that is gone.

use habeas_core::node::Relation;
use habeas_core::{Id, Kind, Result, Timestamp};

use super::Tx;

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

const FROM_HOLDER: &str = concat!(
    made_from_holder!(),
    "SELECT r.id, r.kind, r.holder FROM made m CROSS JOIN resource r WHERE r.id = m.id ORDER BY r.id"
);
const FROM_BELOW: &str = concat!(
    made_from_below!(),
    "SELECT r.id, r.kind, r.holder FROM made m CROSS JOIN resource r
     WHERE r.id = m.id AND m.id NOT IN (SELECT id FROM subtree) ORDER BY r.id"
);
const MARK_FROM_HOLDER: &str = concat!(
    "INSERT INTO edge (source, target, relation, created_at) ",
    made_from_holder!(),
    "SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m
     WHERE (SELECT r.holder FROM resource r WHERE r.id = m.id) <> ?1
     ON CONFLICT DO NOTHING"
);
const MARK_FROM_BELOW: &str = concat!(
    "INSERT INTO edge (source, target, relation, created_at) ",
    made_from_below!(),
    "SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m WHERE m.id NOT IN (SELECT id FROM subtree)
     ON CONFLICT DO NOTHING"
);

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// Everything that a holder has.
    Of(Id),
    /// A resource with all that stands under it.
    Below(Id),
}

impl Going {
    /// Whose, or which; the statement that lists what was made from it, and the one that marks it.
    fn statements(self) -> (Id, &'static str, &'static str) {
        match self {
            Going::Of(holder) => (holder, FROM_HOLDER, MARK_FROM_HOLDER),
            Going::Below(root) => (root, FROM_BELOW, MARK_FROM_BELOW),
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

    /// Marks what [`made_from`](Self::made_from) lists, before that is deleted. Needs no keys: a connection says it, since those of what is
    /// removed may be gone already.
    pub fn mark_made_from(&mut self, going: Going) -> Result<()> {
        let now = self.now;
        let (root, _, mark) = going.statements();
        self.execute(
            mark,
            &[
                (&root).into(),
                Relation::MadeFrom.number().into(),
                Relation::SourceErased.number().into(),
                now.into(),
            ],
        )?;
        Ok(())
    }
}
