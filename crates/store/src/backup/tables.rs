//! How rows go into a backup and come back, the same for both engines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::{Error, Result};
use serde_json::Value as Json;

use crate::engine::{Arg, Row, Value};

/// A table: how its rows are read page by page in the order of a key, and written again.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The format of backups that brought it: older ones have no rows of it.
    pub(super) since: u32,
    /// Reads a page after the key; the last argument is the size of the page.
    pub(super) page: &'static str,
    pub(super) insert: &'static str,
    pub(super) clear: &'static str,
    /// Columns of the key, by position.
    key: &'static [usize],
    /// Whether each part of the key is a number (otherwise a byte string).
    numeric: &'static [bool],
}

/// The table of resources.
pub(super) const RESOURCES: &str = "resource";

/// Parents before children. Resources are in the order of kinds: a parent has a kind with a smaller number, but for those that a restore inserts last.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "holder",
        since: 1,
        page: "SELECT id, kind, state, created_at FROM holder WHERE id > ?1 ORDER BY id LIMIT ?2",
        insert: "INSERT INTO holder (id, kind, state, created_at) VALUES (?1, ?2, ?3, ?4)",
        clear: "/* reads all */ DELETE FROM holder",
        key: &[0],
        numeric: &[false],
    },
    Table {
        name: RESOURCES,
        since: 1,
        page: "SELECT id, kind, parent, holder, container, generation, name_mac, version, created_at, updated_at, expires_at, doc
               FROM resource WHERE (kind, id) > (?1, ?2) ORDER BY kind, id LIMIT ?3",
        insert: "INSERT INTO resource (id, kind, parent, holder, container, generation, name_mac, version, created_at, updated_at, expires_at, doc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        clear: "/* reads all */ DELETE FROM resource",
        key: &[1, 0],
        numeric: &[true, false],
    },
    Table {
        name: "edge",
        since: 1,
        page: "SELECT source, target, relation, created_at FROM edge WHERE (source, relation, target) > (?1, ?2, ?3)
               ORDER BY source, relation, target LIMIT ?4",
        insert: "INSERT INTO edge (source, target, relation, created_at) VALUES (?1, ?2, ?3, ?4)",
        clear: "/* reads all */ DELETE FROM edge",
        key: &[0, 2, 1],
        numeric: &[false, true, false],
    },
    Table {
        name: "attr",
        since: 1,
        page: "SELECT resource, key, position, number, mac FROM attr WHERE (resource, key, position) > (?1, ?2, ?3)
               ORDER BY resource, key, position LIMIT ?4",
        insert: "INSERT INTO attr (resource, key, position, number, mac) VALUES (?1, ?2, ?3, ?4, ?5)",
        clear: "/* reads all */ DELETE FROM attr",
        key: &[0, 1, 2],
        numeric: &[false, true, true],
    },
    Table {
        name: "mention",
        since: 1,
        page: "SELECT resource, person, role, created_at FROM mention WHERE (resource, person, role) > (?1, ?2, ?3)
               ORDER BY resource, person, role LIMIT ?4",
        insert: "INSERT INTO mention (resource, person, role, created_at) VALUES (?1, ?2, ?3, ?4)",
        clear: "/* reads all */ DELETE FROM mention",
        key: &[0, 1, 2],
        numeric: &[false, false, true],
    },
    Table {
        name: "blob",
        since: 1,
        page: "SELECT id, resource, state, size, created_at FROM blob WHERE id > ?1 ORDER BY id LIMIT ?2",
        insert: "INSERT INTO blob (id, resource, state, size, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        clear: "/* reads all */ DELETE FROM blob",
        key: &[0],
        numeric: &[false],
    },
    Table {
        name: "metric_series",
        since: 2,
        page: "SELECT id, resource, name_mac, name, last_step, last_time, last_value FROM metric_series
               WHERE id > ?1 ORDER BY id LIMIT ?2",
        insert: "INSERT INTO metric_series (id, resource, name_mac, name, last_step, last_time, last_value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        clear: "/* reads all */ DELETE FROM metric_series",
        key: &[0],
        numeric: &[true],
    },
    Table {
        name: "metric_point",
        since: 2,
        page: "SELECT series, time, step, value FROM metric_point WHERE (series, time, step, value) > (?1, ?2, ?3, ?4)
               ORDER BY series, time, step, value LIMIT ?5",
        insert: "INSERT INTO metric_point (series, time, step, value) VALUES (?1, ?2, ?3, ?4)",
        clear: "/* reads all */ DELETE FROM metric_point",
        key: &[0, 1, 2, 3],
        numeric: &[true, true, true, true],
    },
    Table {
        name: "task",
        since: 1,
        // Without what is to lift a restriction (22): restored, it would lift one that was placed anew since.
        page: "SELECT id, kind, state, subject, holder, payload, run_after, attempts, lease_until, created_at, updated_at
               FROM task WHERE id > ?1 AND kind <> 22 ORDER BY id LIMIT ?2",
        insert: "INSERT INTO task (id, kind, state, subject, holder, payload, run_after, attempts, lease_until, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        clear: "/* reads all */ DELETE FROM task",
        key: &[0],
        numeric: &[false],
    },
];

impl Table {
    /// A key before every row.
    pub(super) fn first_key(&self) -> Vec<Value> {
        self.numeric
            .iter()
            .map(|&numeric| if numeric { Value::Int(-1) } else { Value::Bytes(Vec::new()) })
            .collect()
    }

    pub(super) fn key_of(&self, row: &Row) -> Vec<Value> {
        self.key.iter().map(|&column| row.0[column].clone()).collect()
    }
}

/// The arguments of [`Table::page`].
pub(super) fn args(key: &[Value], size: i64) -> Vec<Arg<'_>> {
    key.iter().map(arg).chain([Arg::Int(size)]).collect()
}

/// A value as an argument.
pub(super) fn arg(value: &Value) -> Arg<'_> {
    match value {
        Value::Int(number) => Arg::Int(*number),
        Value::Real(number) => Arg::Real(*number),
        Value::Id(id) => Arg::from(id),
        Value::Bytes(bytes) => Arg::Bytes(bytes),
        // No table has a text column.
        Value::Null | Value::Text(_) => Arg::Null,
    }
}

pub(super) fn to_json(row: &Row) -> Result<Json> {
    row.0
        .iter()
        .map(|value| {
            Ok(match value {
                Value::Null => Json::Null,
                Value::Int(number) => Json::from(*number),
                Value::Real(number) => Json::from(*number),
                Value::Id(id) => Json::String(STANDARD.encode(id.as_bytes())),
                Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
                Value::Text(_) => {
                    return Err(Error::internal("a table has a text column that backups do not know"));
                }
            })
        })
        .collect()
}

pub(super) fn from_json(line: &str) -> Result<Vec<Value>> {
    let damaged = || Error::damaged("a row of the backup cannot be read");
    let values: Vec<Json> = serde_json::from_str(line).map_err(|_| damaged())?;
    values
        .into_iter()
        .map(|value| match value {
            Json::Null => Ok(Value::Null),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Ok(Value::Int(number)),
                None => number.as_f64().map(Value::Real).ok_or_else(damaged),
            },
            Json::String(text) => STANDARD.decode(text).map(Value::Bytes).map_err(|_| damaged()),
            _ => Err(damaged()),
        })
        .collect()
}
