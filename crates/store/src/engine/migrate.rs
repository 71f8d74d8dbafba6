//! Forward-only migrations, the same text for both engines.

use std::path::Path;

use habeas_core::{Error, Result, Timestamp};

use super::{Arg, Connection, Engine, Lock};

const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_tree.sql"),
    include_str!("../../migrations/0002_metrics.sql"),
    include_str!("../../migrations/0003_indexes.sql"),
    include_str!("../../migrations/0004_makers.sql"),
];

/// Brings the schema up to date. A database that holds data is copied first: the embedded one to the file that `copy_to` names,
/// PostgreSQL's tables to a schema `habeas_before_N` beside them, where N is the schema version they had. Refuses a schema that
/// is newer than this program.
pub(crate) fn migrate(connection: &mut dyn Connection, now: Timestamp, copy_to: Option<&Path>) -> Result<()> {
    migrate_by(MIGRATIONS, connection, now, copy_to)
}

fn migrate_by(
    migrations: &[&str],
    connection: &mut dyn Connection,
    now: Timestamp,
    copy_to: Option<&Path>,
) -> Result<()> {
    let newest = migrations.len() as i64;
    connection.batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )?;
    let found = version(connection)?;
    if found > newest {
        return Err(Error::conflict(format!(
            "the data has schema version {found}, this habeas knows up to {newest}"
        ))
        .hint("start the newer habeas that wrote it, or restore a backup made before the upgrade"));
    }
    if found > 0 && found < newest {
        copy(connection, found, copy_to)?;
    }
    for (number, text) in migrations.iter().enumerate().skip(usize::try_from(found).unwrap_or_default()) {
        let version = number as i64 + 1;
        connection.batch(&format!(
            "BEGIN; {text} INSERT INTO schema_version (version, applied_at) VALUES ({version}, {}); COMMIT;",
            now.0
        ))?;
    }
    Ok(())
}

fn copy(connection: &mut dyn Connection, version: i64, copy_to: Option<&Path>) -> Result<()> {
    match copy_to {
        Some(path) => {
            let path = path.to_string_lossy();
            let (copy, new) = (format!("{path}.{version}"), format!("{path}.{version}.new"));
            let failed = |error: &std::io::Error| {
                Error::unavailable(format!("the copy {copy} cannot be made: {}", error.kind()))
                    .hint("nothing was changed; check the disk and the permissions of the data directory")
            };
            // What an attempt that failed has left.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&error)),
                _ => {}
            }
            connection.batch(&format!("VACUUM INTO '{}'", new.replace('\'', "''")))?;
            let place = || {
                std::fs::File::open(&new)?.sync_all()?;
                std::fs::rename(&new, &copy)
            };
            place().map_err(|error| failed(&error))
        }
        None => {
            let mut tables: Vec<String> = connection.columns()?.into_iter().map(|(table, _)| table).collect();
            tables.dedup();
            let copies: String = tables
                .iter()
                .map(|table| format!("CREATE TABLE habeas_before_{version}.{table} AS TABLE {table};"))
                .collect();
            connection.batch(&format!(
                "BEGIN; DROP SCHEMA IF EXISTS habeas_before_{version} CASCADE; CREATE SCHEMA habeas_before_{version}; {copies} COMMIT;"
            ))
        }
    }
}

/// Whether anything was ever stored.
pub(crate) fn holds_data(connection: &mut dyn Connection) -> Result<bool> {
    Ok(number(connection, "/* reads all */ SELECT COUNT(*) FROM holder WHERE state > ?1", -1)? > 0)
}

fn version(connection: &mut dyn Connection) -> Result<i64> {
    number(
        connection,
        "/* reads all */ SELECT COALESCE(MAX(version), 0) FROM schema_version WHERE version > ?1",
        0,
    )
}

fn number(connection: &mut dyn Connection, sql: &'static str, arg: i64) -> Result<i64> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let read = move |engine: &mut dyn Engine| -> Result<()> {
        let rows = engine.query(sql, &[Arg::Int(arg)], Lock::None)?;
        let number = rows.first().map_or(Ok(0), |row| row.int(0))?;
        // The receiver lives until this function returns.
        let _ = sender.send(number);
        Ok(())
    };
    connection.run(&mut [Box::new(read)]).into_iter().collect::<Result<()>>()?;
    receiver.recv().map_err(|_| Error::internal("a number was not read"))
}

#[cfg(test)]
mod tests {
    use habeas_tests::postgres;

    use super::*;
    use crate::engine::{connect_postgres, connect_sqlite};

    const OLD: &[&str] = &["CREATE TABLE thing (id BIGINT PRIMARY KEY); INSERT INTO thing VALUES (7);"];
    const NEW: &[&str] = &[OLD[0], "ALTER TABLE thing ADD COLUMN name BIGINT; UPDATE thing SET name = 70;"];
    const BROKEN: &[&str] =
        &[OLD[0], "ALTER TABLE thing ADD COLUMN name BIGINT; UPDATE nothing SET name = 70;"];

    fn embedded(path: &Path) -> Box<dyn Connection> {
        connect_sqlite(path, true).unwrap()
    }

    #[test]
    fn the_embedded_database_is_copied_to_a_file_before_it_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("a.db"), folder.path().join("a.db.before"));
        upgrade(|| embedded(&path), Some(&copy));
        assert!(!folder.path().join("a.db.before.0").exists(), "there was nothing to copy");
        let mut before = embedded(&folder.path().join("a.db.before.1"));
        assert_eq!(version(&mut *before).unwrap(), 1);
        assert_eq!(number(&mut *before, "SELECT id FROM thing WHERE id = ?1", 7).unwrap(), 7);
        assert!(number(&mut *before, "SELECT name FROM thing WHERE id = ?1", 7).is_err());
    }

    #[test]
    fn the_tables_of_postgresql_are_copied_to_a_schema_before_they_are_changed() {
        let Some(url) = postgres::database() else { return };
        upgrade(|| connect_postgres(&url, true, false).unwrap(), None);
        let mut connection = connect_postgres(&url, true, false).unwrap();
        let mut copied = |sql| number(&mut *connection, sql, 1);
        assert_eq!(
            copied("SELECT MAX(version) FROM habeas_before_1.schema_version WHERE version >= ?1").unwrap(),
            1
        );
        assert_eq!(copied("SELECT id FROM habeas_before_1.thing WHERE id >= ?1").unwrap(), 7);
        assert!(copied("SELECT name FROM habeas_before_1.thing WHERE id >= ?1").is_err());
        assert!(copied("SELECT version FROM habeas_before_0.schema_version WHERE version >= ?1").is_err());
    }

    /// From the old schema by a migration that fails to the new one, and back to where it is refused.
    fn upgrade(database: impl Fn() -> Box<dyn Connection>, copy: Option<&Path>) {
        let now = Timestamp(1);
        migrate_by(OLD, &mut *database(), now, copy).unwrap();

        // A migration that fails changes nothing.
        assert!(migrate_by(BROKEN, &mut *database(), now, copy).is_err());
        let mut connection = database();
        assert_eq!(version(&mut *connection).unwrap(), 1);
        assert!(number(&mut *connection, "SELECT name FROM thing WHERE id = ?1", 7).is_err());

        // The copy that the failed attempt has made is in nobody's way.
        let mut connection = database();
        migrate_by(NEW, &mut *connection, now, copy).unwrap();
        assert_eq!(number(&mut *connection, "SELECT name FROM thing WHERE id = ?1", 7).unwrap(), 70);
        assert_eq!(version(&mut *connection).unwrap(), 2);

        // What is newer is refused and left as it is; what is current is left as it is.
        let refused = migrate_by(OLD, &mut *connection, now, copy).unwrap_err();
        assert!(refused.to_string().contains("newer habeas"), "{refused}");
        migrate_by(NEW, &mut *connection, now, copy).unwrap();
        assert_eq!(number(&mut *connection, "SELECT name FROM thing WHERE id = ?1", 7).unwrap(), 70);
    }
}
