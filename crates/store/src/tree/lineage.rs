//! What was made from what, over however many steps ([`Relation::MadeFrom`]), and what was made from something that is gone.

use habeas_core::node::Relation;
use habeas_core::{Id, Kind, Result, Timestamp};

use super::Tx;

impl Tx<'_> {
    /// What others hold that was made from what `holder` has: models, images, services; in the order of their ids.
    pub fn made_from_holder(&mut self, holder: Id) -> Result<Vec<(Id, Kind)>> {
        let rows = self.query(
            "WITH RECURSIVE made (id) AS (
                 SELECT e.source FROM resource t JOIN edge e ON e.target = t.id WHERE t.holder = ?1 AND e.relation = ?2
                 UNION SELECT e.source FROM made m JOIN edge e ON e.target = m.id WHERE e.relation = ?2)
             SELECT r.id, r.kind, r.holder FROM made m JOIN resource r ON r.id = m.id ORDER BY r.id",
            &[(&holder).into(), Relation::MadeFrom.number().into()],
        )?;
        let mut made = Vec::new();
        for row in &rows {
            // Not asked of the database: SQLite would read the whole table into a filter before the join.
            if row.id(2)? != holder {
                made.push((row.id(0)?, Kind::from_number(row.int(1)?)?));
            }
        }
        Ok(made)
    }

    /// Since when something that this was made from is gone; none when all of it is there.
    pub fn source_erased(&mut self, id: Id) -> Result<Option<Timestamp>> {
        Ok(self.targets(id, Relation::SourceErased)?.first().map(|(_, since)| *since))
    }

    /// Marks what others made from what `holder` has, before that is deleted.
    pub fn mark_made_from_holder(&mut self, holder: Id) -> Result<()> {
        let now = self.now;
        self.execute(
            "INSERT INTO edge (source, target, relation, created_at)
             WITH RECURSIVE made (id) AS (
                 SELECT e.source FROM resource t JOIN edge e ON e.target = t.id WHERE t.holder = ?1 AND e.relation = ?2
                 UNION SELECT e.source FROM made m JOIN edge e ON e.target = m.id WHERE e.relation = ?2)
             SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m
             WHERE (SELECT r.holder FROM resource r WHERE r.id = m.id) <> ?1
             ON CONFLICT DO NOTHING",
            &[
                (&holder).into(),
                Relation::MadeFrom.number().into(),
                Relation::SourceErased.number().into(),
                now.into(),
            ],
        )?;
        Ok(())
    }

    /// Marks what was made from what stands under `root`, and does not stand there itself. Needs no keys: a connection says it, since those
    /// of what is removed may be gone already.
    pub(crate) fn mark_made_from(&mut self, root: Id) -> Result<()> {
        let now = self.now;
        self.execute(
            "INSERT INTO edge (source, target, relation, created_at)
             WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id),
             made (id) AS (
                 SELECT e.source FROM subtree s JOIN edge e ON e.target = s.id WHERE e.relation = ?2
                 UNION SELECT e.source FROM made m JOIN edge e ON e.target = m.id WHERE e.relation = ?2)
             SELECT m.id, m.id, CAST(?3 AS SMALLINT), CAST(?4 AS BIGINT) FROM made m WHERE m.id NOT IN (SELECT id FROM subtree)
             ON CONFLICT DO NOTHING",
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
