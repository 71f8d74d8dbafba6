//! Where a kind writes its portable form.

use crate::{BlobRef, Id, Result, Timestamp, node::Relation};

/// An archive in the making, and what a kind may look up while it writes its part.
///
/// Paths are relative, use `/`, and are built from random ids and fixed words; names that people gave go inside the files.
pub trait Bundle {
    /// Writes a JSON file.
    fn json(&mut self, path: &str, value: &serde_json::Value) -> Result<()>;

    /// Adds a row to the CSV table at `path`; every row of a table has the same columns.
    fn row(&mut self, path: &str, columns: &[&str], values: &[String]) -> Result<()>;

    /// Writes the plain bytes of a blob.
    fn blob(&mut self, path: &str, blob: &BlobRef) -> Result<()>;

    /// Writes all points of a run's metrics as a CSV file; nothing when it has none.
    fn metrics(&mut self, path: &str, run: Id) -> Result<()>;

    /// What a resource is connected to, oldest connection first.
    fn targets(&mut self, source: Id, relation: Relation) -> Result<Vec<(Id, Timestamp)>>;

    /// The title of a resource's view, if it is there and may be shown.
    fn title(&mut self, id: Id) -> Result<Option<String>>;
}
