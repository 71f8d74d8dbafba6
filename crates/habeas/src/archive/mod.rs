//! Bringing a person's archive into a server: `habeas import FILE`.
//!
//! The archive is read to its end and found right before anything is written: [`Checked`]. Then it goes the way of any other source of whole
//! projects, through `/api/import/v1`, as projects that are unfinished until all of them are finished at once. What the server refuses goes
//! again; a run that was interrupted is finished by the next, or what it left goes by itself after a day. Ids are kept where they are free,
//! and otherwise derived from the old one, so that the next run finds the same.

mod bring;
mod check;
mod models;
mod plain;
mod records;

use std::path::PathBuf;

use habeas_client::Client;
use habeas_core::Id;
use indicatif::ProgressBar;
use serde::Serialize;

pub use check::{Checked, Profile, Refused};
pub use plain::{Plain, Readable, plain};

/// Where to.
#[derive(Debug)]
pub struct Target<'a> {
    /// The server.
    pub client: &'a Client,
    /// The account that gets the projects.
    pub account: Id,
    /// Who holds it, and gets the workspaces.
    pub person: Id,
    /// Where the progress is shown.
    pub bar: ProgressBar,
}

/// What became of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReport {
    /// The file.
    pub archive: PathBuf,
    /// The id of the key that signed it.
    pub signed_by: String,
    /// Projects in it.
    pub projects: u64,
    /// Workspaces, and accounts and clusters of Azure ML, in it.
    pub workspaces: u64,
    /// Items that are new here.
    pub brought: u64,
    /// Items that were here already.
    pub present: u64,
    /// Models that were computed again from their images and labels.
    pub models: u64,
    /// Those of them that are, bit for bit, what they were.
    pub same_models: u64,
    /// Items whose id was taken here: the old id, and the one they have now.
    pub remapped: Vec<(Id, Id)>,
    /// What the archive has and this server does not take, and why.
    pub left_out: Vec<String>,
}
