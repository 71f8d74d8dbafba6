//! What an archive carries as it is stored, so that another server takes it in unchanged.

use crate::kinds::KeyPair;
use crate::{BlobRef, Id};

/// What of a resource means something on the server only that it is held by. Everything else of its document is the same anywhere; ids of
/// other carried resources are found in it wherever they stand, and renamed where they are taken.
#[derive(Debug, Default)]
pub struct Carried<'a> {
    /// Persons: kept where it is the one whose archive it is, left out otherwise.
    pub persons: Vec<&'a mut Option<Id>>,
    /// Whom it is for: it is carried only where that is the one whose archive it is.
    pub addressee: Option<&'a mut Id>,
    /// Resources that it is about: it is carried only where all of them are.
    pub about: Vec<Id>,
    /// [`ClientName`](crate::kinds::ClientName)s: carried as the names that they are.
    pub login_names: Vec<&'a mut Option<Id>>,
    /// Files, with the paths at which [`export`](crate::DataKind::export) writes them.
    pub files: Vec<(String, &'a mut BlobRef)>,
    /// The path at which `export` writes its metrics, where it may have some.
    pub metrics: Option<String>,
    /// Keys that programs show: left out, and issued anew where it is brought.
    pub keys: Vec<&'a mut KeyPair>,
    /// What no other of its kind may have at its holder, of what stands directly under a person.
    pub unique: Option<&'a mut String>,
    /// Whether it may be made from other resources ([`Relation::MadeFrom`](crate::node::Relation::MadeFrom)).
    pub is_made: bool,
}
