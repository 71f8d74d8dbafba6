//! The narrow seam between one SQL text and two engines.
//!
//! SQL is written once, with `?1`, `?2` ... for its arguments, in the subset that SQLite and PostgreSQL share. Transactions
//! are synchronous closures that run on the engine's own threads; they may be run more than once, so they must have no
//! effect but on the transaction.

mod migrate;
#[cfg(debug_assertions)]
mod plans;
mod pool;
mod postgres;
mod sqlite;

use habeas_core::{Error, Id, Result, Timestamp};

pub(crate) use migrate::{holds_data, migrate};
pub(crate) use pool::{Job, Pool};
pub(crate) use postgres::connect as connect_postgres;
pub(crate) use sqlite::connect as connect_sqlite;

/// The code of an error that a unique index made.
pub const UNIQUE_VIOLATION: &str = "unique_violation";
/// The code of an error that a foreign key made.
pub const FOREIGN_KEY_VIOLATION: &str = "foreign_key_violation";
/// The code of a transaction that lost a race and may be run again.
pub(crate) const RETRY: &str = "retry";

/// An argument of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Null,
    Int(i64),
    Real(f64),
    Bytes(&'a [u8]),
}

impl<'a> From<&'a Id> for Arg<'a> {
    fn from(id: &'a Id) -> Arg<'a> {
        Arg::Bytes(id.as_bytes())
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Arg::Int(number)
    }
}

impl From<i16> for Arg<'_> {
    fn from(number: i16) -> Self {
        Arg::Int(i64::from(number))
    }
}

impl From<Timestamp> for Arg<'_> {
    fn from(time: Timestamp) -> Self {
        Arg::Int(time.0)
    }
}

impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Arg::Null, Into::into)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    /// Bytes of an identifier's length, which most columns of bytes have: they lie in the row itself.
    Id(Id),
    Bytes(Vec<u8>),
}

impl Value {
    /// The value of a column of bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Value {
        match bytes.try_into() {
            Ok(bytes) => Value::Id(Id::from_bytes(bytes)),
            Err(_) => Value::Bytes(bytes.to_vec()),
        }
    }
}

/// A row, read by position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    fn wrong(&self, column: usize, wanted: &str) -> Error {
        Error::damaged(format!("column {column} of a row is not {wanted}"))
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(self.wrong(column, "a number")),
        }
    }

    pub(crate) fn optional_int(&self, column: usize) -> Result<Option<i64>> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.int(column).map(Some),
        }
    }

    pub(crate) fn time(&self, column: usize) -> Result<Timestamp> {
        self.int(column).map(Timestamp)
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8]> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            Some(Value::Id(id)) => Ok(id.as_bytes()),
            _ => Err(self.wrong(column, "a byte string")),
        }
    }

    /// The same, taken out of the row.
    pub(crate) fn take_bytes(&mut self, column: usize) -> Result<Vec<u8>> {
        match self.0.get_mut(column) {
            Some(Value::Bytes(bytes)) => Ok(std::mem::take(bytes)),
            _ => self.bytes(column).map(<[u8]>::to_vec),
        }
    }

    pub(crate) fn id(&self, column: usize) -> Result<Id> {
        Id::from_slice(self.bytes(column)?)
    }

    pub(crate) fn optional_id(&self, column: usize) -> Result<Option<Id>> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.id(column).map(Some),
        }
    }
}

/// Whether a statement locks the rows it reads. SQLite has one writer and needs no locks; PostgreSQL gets `FOR SHARE` or
/// `FOR UPDATE` at the end of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lock {
    None,
    /// As they are, until the transaction ends.
    Share,
    /// This transaction alone changes them.
    Update,
    /// Of a resource `r`, its container `c` and holder `h`: that the first is there, and the others as they are.
    Presence,
    /// Of the same: the first is changed by this transaction, so that two who change it do not both share it first and wait for each other.
    Change,
}

/// A connection within a transaction.
pub(crate) trait Engine {
    /// Gives every row that a statement finds to `take`, one after another.
    fn each(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        lock: Lock,
        take: &mut dyn FnMut(Row) -> Result<()>,
    ) -> Result<()>;

    /// All rows that a statement finds.
    fn query(&mut self, sql: &'static str, args: &[Arg<'_>], lock: Lock) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.each(sql, args, lock, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64>;
}

/// A connection on which transactions can be run.
pub(crate) trait Connection: Send {
    /// Runs the jobs, each seeing the ones before it, and makes all that succeeded durable together. Returns one result a
    /// job, in order; a job that failed has left nothing behind.
    fn run(&mut self, jobs: &mut [Job]) -> Vec<Result<()>>;
    /// Runs a statement text outside of any job: migrations, maintenance.
    fn batch(&mut self, sql: &str) -> Result<()>;
    /// Rewrites what is stored without what was deleted.
    fn vacuum(&mut self) -> Result<()>;
    /// Engine, version and durability settings, for `doctor` and receipts.
    fn describe(&mut self) -> Result<String>;
    /// Tables and columns as they are, for the schema test: `(table, column)`.
    fn columns(&mut self) -> Result<Vec<(String, String)>>;
}
