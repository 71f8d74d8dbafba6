//! The tree of resources: opened and sealed here, so that nothing above ever sees SQL or a key.

mod correcting;
mod edges;
mod everywhere;
mod filtered;
mod holders;
mod lineage;
mod metrics;
mod nodes;
mod removing;
mod rows;
mod sealing;
mod summary;
mod transfer;

pub use edges::{Connected, Mention, Order};
pub use everywhere::Everywhere;
pub use filtered::Between;
pub use holders::HolderState;
pub use lineage::Going;
pub use metrics::LatestMetric;
pub(crate) use nodes::Place;
pub use nodes::{New, Page, Removed};
pub use summary::{Below, BlobRow, Holding};
pub use transfer::Transfer;

use std::sync::Arc;

use habeas_core::crypto::SecretKey;
use habeas_core::{Ambient, Error, Id, Result, Timestamp};

use crate::engine::{Arg, Engine, Lock, Row};
use crate::keyring::Keyring;
use sealing::Opener;

/// What every transaction needs besides its connection.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) ambient: Ambient,
    /// Key of the MACs by which secrets are found that say themselves nothing about their owner.
    pub(crate) lookup: SecretKey,
    /// Microseconds after which a container that lost an item gets a new key.
    pub(crate) reseal_after: i64,
}

/// The code of the error for a document whose key is gone: a reader that saw it looks again.
pub(crate) const KEY_GONE: &str = "key_gone";

/// A transaction.
///
/// It is handed to a closure that may run more than once: everything the closure does must be in the transaction.
pub struct Tx<'a> {
    pub(crate) engine: &'a mut dyn Engine,
    pub(crate) shared: &'a Shared,
    pub(crate) now: Timestamp,
}

impl Tx<'_> {
    /// The moment at which the transaction began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A fresh identifier.
    pub fn new_id(&self) -> Id {
        Id::new(self.now, &*self.shared.ambient.random)
    }

    pub(crate) fn query(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        self.engine.query(sql, args, Lock::None)
    }

    pub(crate) fn query_one(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.engine.query(sql, args, Lock::None)?.into_iter().next())
    }

    /// What `read` makes of the rows that a statement finds, of which only one is in memory at a time.
    pub(crate) fn opened<T>(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
        mut read: impl FnMut(&mut Opener<'_>, Row) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut opener = self.shared.opener();
        let mut found = Vec::new();
        self.engine.each(sql, args, Lock::None, &mut |row| {
            found.extend(read(&mut opener, row)?);
            Ok(())
        })?;
        Ok(found)
    }

    pub(crate) fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        self.engine.execute(sql, args)
    }

    /// The one number that a counting statement gives.
    pub(crate) fn number(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<i64> {
        self.query_one(sql, args)?.ok_or_else(|| Error::internal("a counting statement gave no row"))?.int(0)
    }
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}
