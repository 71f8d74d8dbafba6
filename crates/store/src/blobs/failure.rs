//! Errors of the object store in our own words.
//!
//! The text of the original is dropped on purpose: it quotes paths, URLs and answers of the server.

use std::error::Error as StdError;
use std::io;

use habeas_core::{Error, Id};
use object_store::client::{HttpError, HttpErrorKind};

/// What was being done when the object store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Storing a blob.
    Storing,
    /// Reading a blob or looking whether it is there.
    Reading,
    /// Deleting a blob.
    Deleting,
}

impl Doing {
    fn text(self) -> &'static str {
        match self {
            Doing::Storing => "stored",
            Doing::Reading => "read",
            Doing::Deleting => "deleted",
        }
    }
}

/// The error that tells a person what happened to blob `id`.
pub(super) fn of_blob(error: &object_store::Error, doing: Doing, id: Id) -> Error {
    match error {
        object_store::Error::NotFound { .. } if doing == Doing::Reading => {
            Error::not_found(format!("blob {id} is not in the blob store"))
        }
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => exists(id),
        _ => unavailable(error, &format!("blob {id} cannot be {}", doing.text())),
    }
}

/// The error of writing a blob under a name that is taken.
pub(super) fn exists(id: Id) -> Error {
    Error::conflict(format!("blob {id} is already stored")).hint("a blob is written once; make a new one")
}

/// The error for a failure that concerns the whole store; `what` says what could not be done.
pub(super) fn unavailable(error: &object_store::Error, what: &str) -> Error {
    match error {
        object_store::Error::NotFound { .. } => {
            Error::unavailable(format!("{what}: its place does not exist"))
                .hint("make the bucket or directory of the blob store, or correct its address")
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Error::unavailable(format!("{what}: the object store refuses our credentials"))
                .hint("check the object store's credentials in the server's environment, and what they allow")
        }
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. } => {
            Error::unavailable(format!("{what}: the object store does not support the operation"))
                .hint("use a store with conditional writes and multipart upload")
        }
        // The HTTP client's errors have an `io::Error` among their own causes, so they come first.
        _ => match (cause::<HttpError>(error), cause::<io::Error>(error)) {
            (None, Some(io)) => of_io(io, what),
            (http, _) => of_http(http, what),
        },
    }
}

/// The error for a failed operation on local files.
pub(super) fn of_io(error: &io::Error, what: &str) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::unavailable("the disk that holds blobs is full")
                .hint("free space on it, or move the blobs to a larger one")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::unavailable(format!(
            "{what}: the server may not write to or read from the disk that holds blobs"
        ))
        .hint("give the server's user the directory of the blobs, with mode 0700"),
        kind => Error::unavailable(format!("{what}: {kind}"))
            .hint("check the disk and the network that hold the blobs"),
    }
}

fn of_http(error: Option<&HttpError>, what: &str) -> Error {
    let how = match error.map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => "no connection to the object store",
        Some(HttpErrorKind::Timeout) => "the object store did not answer in time",
        Some(HttpErrorKind::Interrupted) => "the connection to the object store broke",
        _ => "the object store failed",
    };
    Error::unavailable(format!("{what}: {how}"))
        .hint("check the object store, the network, and the store's address")
}

/// The first error of type `T` among the causes of `error`.
fn cause<T: StdError + 'static>(error: &object_store::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use habeas_core::{ErrorKind, Id};

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[test]
    fn a_full_disk_a_refusal_and_a_dead_network_are_told_apart_and_quote_nothing() {
        let cases = [
            (generic(io::Error::from(io::ErrorKind::StorageFull)), "the disk that holds blobs is full"),
            (generic(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)), "may not write"),
            (generic(HttpError::new(HttpErrorKind::Connect, io::Error::other("secret"))), "no connection"),
            (
                generic(HttpError::new(HttpErrorKind::Timeout, io::Error::other("secret"))),
                "did not answer in time",
            ),
            (
                object_store::Error::PermissionDenied { path: "secret".into(), source: "secret".into() },
                "refuses our credentials",
            ),
            (
                object_store::Error::NotFound { path: "secret".into(), source: "secret".into() },
                "does not exist",
            ),
        ];
        for (error, expected) in cases {
            let told = of_blob(&error, Doing::Storing, Id::NIL);
            assert_eq!(told.kind, ErrorKind::Unavailable, "{told}");
            assert!(told.what.contains(expected), "{told}");
            assert!(told.hint.is_some() && !told.to_string().contains("secret"), "{told}");
        }
    }
}
