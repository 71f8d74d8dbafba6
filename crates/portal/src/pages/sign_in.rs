//! Signing in.

use askama::Template;

/// `GET /sign-in`.
#[derive(Debug, Default, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// The address that was typed last.
    pub email: String,
    /// Why it did not work.
    pub error: Option<String>,
    /// What led here: signed out, session ended.
    pub notice: Option<&'static str>,
    /// Where to go afterwards: a path of ours.
    pub next: Option<String>,
    /// Other ways to sign in.
    pub issuers: Vec<IssuerLink>,
}

/// An issuer with which one may sign in.
#[derive(Clone, Debug)]
pub struct IssuerLink {
    /// The address that begins it.
    pub address: String,
    /// What it is called.
    pub title: String,
}

/// `GET /sign-in/{secret}`: the link signs in when its form is sent, which a script does at once. Programs that merely look
/// at a link, as chats and mail filters do, do not use it up.
#[derive(Debug, Template)]
#[template(path = "sign_in_link.html")]
pub struct LinkPage {
    /// The secret of the link.
    pub secret: String,
}
