//! What a person is told when something cannot be done.

use askama::Template;
use axum::http::StatusCode;
use habeas_core::{Error, ErrorKind};

/// Any page that answers with an error.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The HTTP status.
    pub status: u16,
    /// The heading.
    pub title: &'static str,
    /// What was wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// By which the operator finds it in the log.
    pub request_id: Option<String>,
    /// Whether trying again may help.
    pub retry: bool,
}

impl ErrorPage {
    /// Makes the page of an error.
    pub fn new(error: &Error, request_id: Option<String>) -> ErrorPage {
        let (status, title) = match error.kind {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => (400, "That cannot be done like this"),
            ErrorKind::Unauthenticated => (401, "You are not signed in"),
            ErrorKind::Forbidden => (403, "You may not do this"),
            ErrorKind::NotFound => (404, "There is nothing here"),
            ErrorKind::Conflict => (409, "Things have changed"),
            ErrorKind::Frozen => (409, "This is being erased"),
            ErrorKind::Gone => (410, "This is gone"),
            ErrorKind::TooLarge => (413, "That is too large"),
            ErrorKind::Busy => (429, "Too many attempts"),
            ErrorKind::NotImplemented => (501, "This is not served"),
            ErrorKind::Unavailable => (503, "Not available right now"),
            ErrorKind::Damaged | ErrorKind::Internal => (500, "Something went wrong here"),
        };
        let ours = matches!(error.kind, ErrorKind::Damaged | ErrorKind::Internal);
        ErrorPage {
            status,
            title,
            what: if ours { "The mistake is the server's, not yours.".into() } else { sentence(&error.what) },
            hint: if ours { None } else { error.hint.as_deref().map(sentence) },
            request_id,
            retry: matches!(error.kind, ErrorKind::Busy | ErrorKind::Unavailable) || ours,
        }
    }

    /// The HTTP status, as it is answered.
    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The page of a link that was used before or has expired.
    pub fn expired_link() -> ErrorPage {
        ErrorPage {
            status: 410,
            title: "This link no longer works",
            what: "A sign-in link works once, and for a short time. This one was used before, or its time is over.".into(),
            hint: Some("Sign in with your password, or ask whoever runs this server for a new link.".into()),
            request_id: None,
            retry: false,
        }
    }
}

/// Errors are written to stand in a line of a log; on a page they are sentences.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if text.is_empty() || text.ends_with(['.', '!', '?', ')']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}
