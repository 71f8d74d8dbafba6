//! Forward-only migrations, the same text for both engines.

use std::path::Path;

use habeas_core::{Error, Result, Timestamp};

use super::{Arg, Connection, Engine, Lock};

const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_tree.sql")];

/// The newest schema this program knows.
pub(crate) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date. A database that holds data is copied first: the embedded one to the file that `copy_to` names,
/// PostgreSQL's tables to a schema `habeas_before_N` beside them, where N is the schema version they had. Refuses a schema that
/// is newer than this program.
pub(crate) fn migrate(connection: &mut dyn Connection, now: Timestamp, copy_to: Option<&Path>) -> Result<()> {
    connection.batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )?;
    let found = version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(Error::conflict(format!(
            "the data has schema version {found}, this habeas knows up to {SCHEMA_VERSION}"
        ))
        .hint("start the newer habeas that wrote it, or restore a backup made before the upgrade"));
    }
    if found > 0 && found < SCHEMA_VERSION {
        copy(connection, found, copy_to)?;
    }
    for (number, text) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or_default()) {
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
            let path = path.to_string_lossy().replace('\'', "''");
            connection.batch(&format!("VACUUM INTO '{path}.{version}'"))
        }
        None => {
            let mut tables: Vec<String> = connection.columns()?.into_iter().map(|(table, _)| table).collect();
            tables.dedup();
            let copies: String = tables
                .iter()
                .map(|table| format!("CREATE TABLE habeas_before_{version}.{table} AS TABLE {table};"))
                .collect();
            connection.batch(&format!("BEGIN; CREATE SCHEMA habeas_before_{version}; {copies} COMMIT;"))
        }
    }
}

/// Whether anything was ever stored.
pub(crate) fn holds_data(connection: &mut dyn Connection) -> Result<bool> {
    Ok(number(connection, "SELECT COUNT(*) FROM holder WHERE state > ?1", -1)? > 0)
}

fn version(connection: &mut dyn Connection) -> Result<i64> {
    number(connection, "SELECT COALESCE(MAX(version), 0) FROM schema_version WHERE version > ?1", 0)
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
