//! Rescue: brings whole projects from a live Custom Vision service into an account here, with their ids.
//!
//! What is there already is passed over, so that an interrupted import is resumed by running it again. At the end what the source has is
//! compared with what is here, by ids and digests.

mod pace;
mod project;
mod report;
mod source;

use habeas_client::Client;
use habeas_core::Id;
use indicatif::ProgressBar;

pub use pace::{Pace, Wait};
pub use report::{Item, Problem, ProjectReport, Report, Tally};
pub use source::{Source, SourceError};

/// What is brought besides projects, tags, images and iterations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Stored predictions.
    pub predictions: bool,
    /// Exported models: those there are, and one for each platform that can be asked for.
    pub exports: bool,
    /// Fetch what is here already again and compare its digest.
    pub verify: bool,
}

/// From where to where.
pub struct Rescue {
    /// The service that is left.
    pub source: Source,
    /// This one.
    pub target: Client,
    /// The account that gets the projects.
    pub account: Id,
    /// What is brought.
    pub options: Options,
    /// Counts images.
    pub bar: ProgressBar,
}

impl Rescue {
    /// Brings the projects with these ids, or all. Fails when the source or this server cannot be worked with; what concerns single items
    /// stands in the report.
    pub async fn run(&self, projects: &[Id]) -> anyhow::Result<Report> {
        let mut found = self.source.projects().await?;
        if let Some(missing) = projects.iter().find(|id| !found.iter().any(|project| project.id == **id)) {
            return Err(habeas_core::Error::not_found(format!("the source has no project {missing}")).into());
        }
        found.retain(|project| projects.is_empty() || projects.contains(&project.id));
        let mut report = Report::default();
        for project in &found {
            report.projects.push(self.bring(project).await?);
        }
        Ok(report)
    }
}
