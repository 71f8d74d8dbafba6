//! One error for everything below the HTTP edge; each protocol makes its own envelope of it.

use std::fmt;

/// What sort of failure it is; decides the status code at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong in itself (400).
    Invalid,
    /// Nobody known is asking (401).
    Unauthenticated,
    /// The caller may see the thing but not do this to it (403).
    Forbidden,
    /// It does not exist, or the caller may not know that it does (404).
    NotFound,
    /// It contradicts what is there (409).
    Conflict,
    /// It existed and was erased (410).
    Gone,
    /// The body or one part of it is larger than the configured limit (413).
    TooLarge,
    /// A configured limit or quota is reached (400 or 403, as the protocol has it).
    LimitExceeded,
    /// The operation belongs to the protocol but is not served (501).
    NotImplemented,
    /// The person's data is being erased: writes are refused (409).
    Frozen,
    /// Too many attempts or too much waiting work (429).
    Busy,
    /// A thing the server needs cannot be reached or is full (503).
    Unavailable,
    /// Stored bytes are not what was written (500).
    Damaged,
    /// A mistake of ours (500).
    Internal,
}

/// An error that a person can act on. Never holds personal data: random ids are fine, names are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The sort of failure.
    pub kind: ErrorKind,
    /// A protocol's own code where the place that failed knows a more exact one than `kind` tells.
    pub code: Option<&'static str>,
    /// What was wrong, and where.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The file of the server's machine that it is about: for its log and its operator, not for clients. `{:#}` shows it.
    pub place: Option<String>,
    /// After how many seconds it may be tried again, where that is known.
    pub retry_after: Option<u16>,
}

/// The result of everything below the HTTP edge.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(what: impl Into<String>) -> Error { Error::new(ErrorKind::$kind, what) })*
    };
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Error {
        Error { kind, code: None, what: what.into(), hint: None, place: None, retry_after: None }
    }

    constructors! {
        /// See [`ErrorKind::Invalid`].
        invalid => Invalid;
        /// See [`ErrorKind::Unauthenticated`].
        unauthenticated => Unauthenticated;
        /// See [`ErrorKind::Forbidden`].
        forbidden => Forbidden;
        /// See [`ErrorKind::NotFound`].
        not_found => NotFound;
        /// See [`ErrorKind::Conflict`].
        conflict => Conflict;
        /// See [`ErrorKind::Gone`].
        gone => Gone;
        /// See [`ErrorKind::TooLarge`].
        too_large => TooLarge;
        /// See [`ErrorKind::LimitExceeded`].
        limit => LimitExceeded;
        /// See [`ErrorKind::NotImplemented`].
        not_implemented => NotImplemented;
        /// See [`ErrorKind::Frozen`].
        frozen => Frozen;
        /// See [`ErrorKind::Busy`].
        busy => Busy;
        /// See [`ErrorKind::Unavailable`].
        unavailable => Unavailable;
        /// See [`ErrorKind::Damaged`].
        damaged => Damaged;
        /// See [`ErrorKind::Internal`].
        internal => Internal;
    }

    /// Another error in the place of one that says that something is not there or not permitted: what one may not read does not
    /// exist. That something cannot be looked at just now stays as it is.
    #[must_use]
    pub fn conceal(self, with: impl FnOnce() -> Error) -> Error {
        match self.kind {
            ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Unauthenticated => with(),
            _ => self,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the file that it is about.
    #[must_use]
    pub fn at(mut self, path: &std::path::Path) -> Error {
        self.place = Some(path.display().to_string());
        self
    }

    /// Adds the protocol's own code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Error {
        self.code = Some(code);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        if let (Some(place), true) = (&self.place, f.alternate()) {
            write!(f, " [{place}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    /// For documents and messages of our own: a client's JSON is reported where it is read. The parser's text is
    /// dropped on purpose, since it can quote the value it failed on.
    fn from(error: serde_json::Error) -> Error {
        Error::damaged(format!(
            "a stored JSON document cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_to_whoever_asks_for_it_only() {
        let error = Error::damaged("a copy is damaged").hint("restore it").at("/srv/keyring-a".as_ref());
        assert_eq!(error.to_string(), "a copy is damaged (restore it)");
        assert_eq!(format!("{error:#}"), "a copy is damaged (restore it) [/srv/keyring-a]");
    }
}
