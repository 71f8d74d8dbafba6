//! What an archive carries as it is stored, so that another server takes it in unchanged.

use crate::{BlobRef, Id};

/// What of a resource means something on the server only that it is held by. Everything else of its document is the same anywhere; ids of
/// other carried resources are found in it wherever they stand, and renamed where they are taken.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    /// Persons: kept where it is the one whose archive it is, left out otherwise.
    pub persons: Vec<&'a mut Option<Id>>,
    /// [`ClientName`](crate::kinds::ClientName)s: carried as the names that they are.
    pub login_names: Vec<&'a mut Option<Id>>,
    /// Files, with the paths at which [`export`](crate::DataKind::export) writes them.
    pub files: Vec<(String, &'a mut BlobRef)>,
    /// The path at which `export` writes its metrics, where it may have some.
    pub metrics: Option<String>,
}
