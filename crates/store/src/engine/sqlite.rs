//! The embedded engine: SQLite in WAL mode, every commit flushed.
//!
//! One thread owns the writing connection and commits all waiting transactions together, each in its own savepoint: one
//! flush of the disk for all of them. Readers have connections of their own.

use std::path::Path;
use std::time::Duration;

use habeas_core::{Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql};

use super::pool::guarded;
use super::{Arg, Connection, Engine, FOREIGN_KEY_VIOLATION, Job, Lock, Row, UNIQUE_VIOLATION, Value};

struct Sqlite {
    connection: rusqlite::Connection,
    writes: bool,
    #[cfg(debug_assertions)]
    checked: super::plans::Checked,
}

/// Opens the database file, creating it if it is not there and `writes` is set.
pub(crate) fn connect(path: &Path, writes: bool) -> Result<Box<dyn Connection>> {
    let flags = if writes {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(translate)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(translate)?;
    connection.set_prepared_statement_cache_capacity(256);
    // Otherwise a prepared statement whose parameter was compared with a partial index's condition is compiled again each time another
    // value is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(translate)?;
    let pragmas = if writes {
        // `secure_delete` alone does not erase (copies stay in the gaps of rebalanced pages): sealing does. It costs next to
        // nothing and keeps less lying about.
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;
         PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192;"
    } else {
        // What a search over ten thousand runs reads fits into the cache, which is read again from the file otherwise.
        "PRAGMA query_only=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192;"
    };
    connection.execute_batch(pragmas).map_err(translate)?;
    Ok(Box::new(Sqlite {
        connection,
        writes,
        #[cfg(debug_assertions)]
        checked: super::plans::Checked::default(),
    }))
}

impl Connection for Sqlite {
    fn run(&mut self, jobs: &mut [Job]) -> Vec<Result<()>> {
        match self.run_together(jobs) {
            Ok(results) => results,
            // The engine gave up the whole batch (disk full, I/O error): find out whose fault it was, one by one.
            Err(_) if jobs.len() > 1 => jobs
                .iter_mut()
                .map(|job| {
                    let mut alone = self.run_together(std::slice::from_mut(job))?;
                    alone.pop().unwrap_or_else(|| Err(Error::internal("a transaction gave no result")))
                })
                .collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(translate)
    }

    fn vacuum(&mut self) -> Result<()> {
        self.batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
    }

    fn describe(&mut self) -> Result<String> {
        let journal: String =
            self.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(translate)?;
        Ok(format!("SQLite {} ({journal}, synchronous=FULL)", rusqlite::version()))
    }

    fn columns(&mut self) -> Result<Vec<(String, String)>> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1, 2",
            )
            .map_err(translate)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(translate)?;
        rows.collect::<Result<_, _>>().map_err(translate)
    }
}

impl Sqlite {
    /// All jobs in one transaction; an error means that nothing of any of them is left.
    fn run_together(&mut self, jobs: &mut [Job]) -> Result<Vec<Result<()>>> {
        self.control(if self.writes { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            if self.writes
                && let Err(error) = self.control("SAVEPOINT job")
            {
                self.abandon();
                return Err(error);
            }
            let result = guarded(job, self);
            // SQLite rolls the whole transaction back by itself when the disk is full or broken.
            if self.connection.is_autocommit() {
                return Err(result
                    .err()
                    .unwrap_or_else(|| Error::unavailable("the database gave up a transaction")));
            }
            if self.writes {
                let ended = match result {
                    Ok(()) => self.control("RELEASE job"),
                    Err(_) => self.control("ROLLBACK TO job").and_then(|()| self.control("RELEASE job")),
                };
                if let Err(error) = ended {
                    self.abandon();
                    return Err(error);
                }
            }
            results.push(result);
        }
        if let Err(error) = self.control("COMMIT") {
            self.abandon();
            return Err(error);
        }
        Ok(results)
    }

    /// Runs one statement of the transaction's frame; prepared once, since every job has two of them.
    fn control(&mut self, sql: &'static str) -> Result<()> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map_err(translate)?;
        Ok(())
    }

    fn abandon(&mut self) {
        if !self.connection.is_autocommit() {
            // When even this fails the connection reports it at the next BEGIN.
            let _ = self.batch("ROLLBACK");
        }
    }
}

impl ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Arg::Null => ValueRef::Null,
            Arg::Int(number) => ValueRef::Integer(number),
            Arg::Real(number) => ValueRef::Real(number),
            Arg::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Engine for Sqlite {
    fn each(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        _lock: Lock,
        take: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        #[cfg(debug_assertions)]
        self.checked.check(&self.connection, sql);
        let mut statement = self.connection.prepare_cached(sql).map_err(translate)?;
        let columns = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(args)).map_err(translate)?;
        while let Some(row) = rows.next().map_err(translate)? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(match row.get_ref(column).map_err(translate)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Int(number),
                    ValueRef::Real(number) => Value::Real(number),
                    ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Blob(bytes) => Value::of_bytes(bytes),
                });
            }
            take(Row(values))?;
        }
        Ok(())
    }

    fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        #[cfg(debug_assertions)]
        self.checked.check(&self.connection, sql);
        let mut statement = self.connection.prepare_cached(sql).map_err(translate)?;
        statement.execute(rusqlite::params_from_iter(args)).map(|rows| rows as u64).map_err(translate)
    }
}

/// Never passes the engine's own text on where it could quote a value.
fn translate(error: rusqlite::Error) -> Error {
    let (code, extended) = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => (failure.code, failure.extended_code),
        _ => return Error::internal(format!("the embedded database refused a statement: {error}")),
    };
    match code {
        ErrorCode::ConstraintViolation if extended == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
            Error::conflict("something it refers to is not there").code(FOREIGN_KEY_VIOLATION)
        }
        ErrorCode::ConstraintViolation => Error::conflict("it is there already").code(UNIQUE_VIOLATION),
        ErrorCode::DiskFull => Error::unavailable("the disk that holds the database is full")
            .hint("free some space; nothing that was acknowledged is lost"),
        ErrorCode::ReadOnly => Error::unavailable("the database cannot be written")
            .hint("check the owner and permissions of the data directory"),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            Error::unavailable("the database file cannot be opened")
                .hint("check that the data directory exists and may be read and written")
        }
        ErrorCode::SystemIoFailure => Error::unavailable("the disk that holds the database reports an error"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Error::damaged("the database file is damaged").hint("restore a backup: see docs/OPERATING.md")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Error::unavailable("the database is locked by another process")
        }
        _ => Error::internal(format!("the embedded database failed with code {extended}")),
    }
}
