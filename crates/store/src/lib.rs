//! The only room that knows SQL, object stores and keys.
//!
//! [`Store`] opens a deployment: a database ([`Database`]), blobs, the keyring and the ledger. [`Store::write`] and
//! [`Store::read`] run transactions over the tree of resources ([`Tx`]).
//!
//! **Invariant:** what [`Store::write`] acknowledged is flushed to disk, on both engines.
//! **Invariant:** nothing above this crate sees a key, a MAC or a statement.

mod backup;
pub mod blobs;
mod engine;
mod holds;
mod inspect;
pub mod keyring;
pub mod ledger;
mod once;
mod open;
mod resealing;
pub mod root_key;
mod settle;
mod signing;
mod store;
mod tasks;
mod tree;

pub use backup::verify_backup;
pub use blobs::{BlobWriter, Blobs};
pub use engine::{FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION};
pub use holds::{HeldPart, NewHold};
pub use open::{Database, Options, RootKeySource};
pub use store::Store;
pub use tasks::{LEASE, Lane, TaskKind, TaskRow, TaskState};
pub use tree::{
    Below, Between, BlobRow, Connected, Everywhere, Going, HolderState, Holding, LatestMetric, Mention, New,
    Order, Page, Removed, Transfer, Tx,
};
