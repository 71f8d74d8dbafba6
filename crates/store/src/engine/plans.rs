//! No statement that serves somebody goes over a whole table or index: its cost would grow with the server and not with the person. Builds
//! with assertions ask SQLite how it runs each statement, before a connection runs it for the first time. The few that have to read everything
//! say so in their own text ([`READS_ALL`]). Not noticed are searches by a column in which much is alike, and what PostgreSQL does.

use std::collections::HashSet;

/// In the text of a statement that is meant to read a whole table: at the start, in maintenance, in lists of everything.
const READS_ALL: &str = "/* reads all */";

/// The statements of one connection that were looked at already.
#[derive(Default)]
pub(super) struct Checked(HashSet<&'static str>);

impl Checked {
    /// # Panics
    /// When the statement reads a whole table or index and does not say so.
    pub(super) fn check(&mut self, connection: &rusqlite::Connection, sql: &'static str) {
        if self.0.contains(sql) || sql.contains(READS_ALL) {
            return;
        }
        // What cannot be explained cannot be run either, and is reported then.
        let reads_all = reads_all(connection, sql).unwrap_or_default();
        assert!(!reads_all, "this statement reads a whole table without saying `{READS_ALL}`: {sql}");
        // Only now: whoever tries again is refused again.
        self.0.insert(sql);
    }
}

/// Whether SQLite goes over a whole table or index of the file for this statement, by its program (<https://www.sqlite.org/opcode.html>): it
/// opens one as a cursor, places that at the beginning, and steps on.
fn reads_all(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<bool> {
    let mut program = connection.prepare(&format!("EXPLAIN {sql}"))?;
    let mut rows = program.raw_query();
    let (mut tables, mut rewound) = (HashSet::new(), HashSet::new());
    while let Some(row) = rows.next()? {
        let (address, operation, cursor): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if address == 0 {
            // Programs of foreign keys follow, with cursors of their own.
            tables.clear();
            rewound.clear();
        }
        match operation.as_str() {
            "OpenRead" | "OpenWrite" => {
                tables.insert(cursor);
            }
            "Rewind" | "Last" if tables.contains(&cursor) => {
                rewound.insert(cursor);
            }
            "Next" | "Prev" if rewound.contains(&cursor) => return Ok(true),
            "Count" if tables.contains(&cursor) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_told_from_a_search() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE thing (id BLOB PRIMARY KEY, kind BIGINT, size BIGINT);
                 CREATE INDEX thing_by_kind ON thing (kind);
                 CREATE TABLE part (id BLOB PRIMARY KEY, thing BLOB REFERENCES thing (id) ON DELETE CASCADE);",
            )
            .unwrap();
        for (sql, expected) in [
            ("SELECT size FROM thing WHERE id = ?1", false),
            ("SELECT size FROM thing WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT 5", false),
            ("SELECT COUNT(*) FROM thing", true),
            ("SELECT id FROM thing WHERE size = ?1", true),
            ("SELECT id FROM thing ORDER BY kind", true),
            ("UPDATE thing SET size = 1", true),
            ("WITH RECURSIVE up (id) AS (SELECT ?1 UNION SELECT id FROM up) SELECT id FROM up", false),
            // Nothing leads from a thing to its parts.
            ("DELETE FROM thing WHERE id = ?1", true),
        ] {
            assert_eq!(reads_all(&connection, sql).unwrap(), expected, "{sql}");
        }
    }
}
