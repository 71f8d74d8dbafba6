//! Who a request comes from.

use habeas_core::{Id, Timestamp};

/// Which of an account's key pairs a request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// A training key: everything in the account.
    Training,
    /// A prediction key: predictions only.
    Prediction,
}

/// Whoever a request comes from, recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever runs the server on its machine: may open the server's socket.
    Operator,
    /// A person, by token or browser session.
    Person {
        /// Their id.
        id: Id,
        /// When they last signed in, for what needs a fresh sign-in.
        signed_in_at: Timestamp,
        /// Whether a program acts by what it was granted: an application, or the command line after `habeas login`.
        granted: bool,
    },
    /// A program with a key of an account.
    Key {
        /// The account.
        account: Id,
        /// Who holds the account.
        holder: Id,
        /// Which pair the key is of.
        key: KeyUse,
    },
}

impl Actor {
    /// The person who is responsible for what the actor does, and whose telemetry it is; none for the operator.
    pub fn person(&self) -> Option<Id> {
        match self {
            Actor::Operator => None,
            Actor::Person { id, .. } => Some(*id),
            Actor::Key { holder, .. } => Some(*holder),
        }
    }

    /// When the actor signed in, which what they issue for themselves inherits; none for the operator, whose word is enough.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        match self {
            Actor::Operator => None,
            Actor::Person { signed_in_at, .. } => Some(*signed_in_at),
            // Nobody has signed in.
            Actor::Key { .. } => Some(Timestamp(0)),
        }
    }

    /// The id under which the actor stands in somebody else's telemetry: nil for the operator.
    pub fn reference(&self) -> Id {
        self.person().unwrap_or(Id::NIL)
    }
}
