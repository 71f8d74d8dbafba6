//! What an erasure does.

use crate::Timestamp;

/// Why something is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// This one thing, by whoever may delete it.
    Item,
    /// The container it lies in.
    Container,
    /// Its holder is erased.
    Holder,
}

/// What becomes of a resource in an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<D> {
    /// It goes, with its blobs and all that stands under it.
    Delete,
    /// It stays with this document in place of the old one.
    Redact(D),
    /// It stays as it is.
    Keep {
        /// Why that is lawful, in words for the person.
        legal_basis: &'static str,
        /// Until when; none for as long as the installation exists.
        until: Option<Timestamp>,
    },
}
