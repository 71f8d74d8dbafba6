//! The imaging part through its public interface.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod acceptance;
mod copies;
mod hostile;
mod made;
mod metadata;
