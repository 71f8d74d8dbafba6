//! Vocabulary and rights of Habeas.
//!
//! Everything the server keeps is a resource of a declared [`Kind`], in a tree, held by somebody. A kind
//! cannot be added without saying how it is viewed, exported and erased and what each of its fields is:
//! see [`DataKind`] and [`registry`].
//!
//! **Invariant:** this crate knows no HTTP, no SQL and no async runtime, and reads neither the system's clock
//! nor its randomness except through [`Clock`] and [`Random`].

pub mod age;
pub mod ambient;
pub mod author;
pub mod blob_ref;
pub mod bundle;
pub mod canonical;
mod carry;
pub mod checkpoint;
pub mod crypto;
pub mod data_map;
pub mod error;
pub mod fault;
pub mod id;
pub mod import;
pub mod kind;
pub mod kinds;
pub mod merkle;
pub mod metric;
pub mod node;
pub mod operations;
pub mod receipt;
pub mod registry;
pub mod report;
pub mod requests;
pub mod rights;
pub mod text;
pub mod time;

pub use ambient::{Ambient, Clock, ManualClock, Random, SeededRandom, SystemClock, SystemRandom};
pub use blob_ref::BlobRef;
pub use bundle::Bundle;
pub use carry::Carried;
pub use data_map::{About, DataMap, FieldClass, FieldEntry, Retention};
pub use error::{Error, ErrorKind, Result};
pub use id::Id;
pub use kind::{DataKind, HolderKind, Kind, MentionRole};
pub use node::{AttrKey, AttrValue, Attrs, Node, View};
pub use registry::KindOps;
pub use rights::{Erasure, Fate};
pub use time::Timestamp;
