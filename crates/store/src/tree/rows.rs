//! From rows to nodes.

use habeas_core::node::RawNode;
use habeas_core::{Kind, Result, Timestamp};

use super::Shared;
use super::sealing::Opener;
use crate::engine::Row;

/// A statement that reads whole resources, in the order of columns that [`Shared::node`] expects.
macro_rules! select_nodes {
    ($rest:literal) => {
        select_nodes!(; $rest)
    };
    // With columns of other tables after those of the resource.
    ($($more:literal)?; $rest:literal) => {
        concat!(
            "SELECT r.id, r.kind, r.parent, r.holder, r.container, r.version, r.created_at, r.updated_at, r.expires_at, r.doc",
            $(", ", $more,)?
            " FROM resource r ",
            $rest
        )
    };
}
pub(super) use select_nodes;

/// The first column after those of the resource.
pub(super) const FIRST_MORE: usize = 10;

impl Shared {
    /// Opens the document of a row read by [`select_nodes`].
    pub(super) fn node(&self, row: Row) -> Result<RawNode> {
        self.opener().node(row)
    }
}

impl Opener<'_> {
    /// Opens the document of a row read by [`select_nodes`].
    pub(super) fn node(&mut self, mut row: Row) -> Result<RawNode> {
        let id = row.id(0)?;
        let kind = Kind::from_number(row.int(1)?)?;
        let container = row.id(4)?;
        Ok(RawNode {
            id,
            kind,
            parent: row.optional_id(2)?,
            holder: row.id(3)?,
            container,
            version: row.int(5)?,
            created_at: row.time(6)?,
            updated_at: row.time(7)?,
            expires_at: row.optional_int(8)?.map(Timestamp),
            doc: self.open(id, kind, container, row.take_bytes(9)?)?,
        })
    }
}
