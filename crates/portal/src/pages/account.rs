//! The password.

use askama::Template;

use super::Shell;

/// `GET /me/password`.
#[derive(Debug, Template)]
#[template(path = "password.html")]
pub struct PasswordPage {
    /// What surrounds it.
    pub shell: Shell,
    /// Whether one is set already.
    pub has_password: bool,
    /// What was wrong with what was typed last.
    pub error: Option<String>,
}
