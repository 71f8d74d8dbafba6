//! `habeas import`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use habeas_core::Id;
use zeroize::Zeroizing;

use super::output::{Format, bytes, table};
use super::{Reach, code, connect, export};
use crate::rescue::{Options, Pace, Report, Rescue, Source, Tally};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Bring whole projects from a live Custom Vision service, with their ids. Its training key comes from HABEAS_SOURCE_KEY, or is
    /// asked for. Run again, it goes on where it ended
    AzureCustomVision(Box<AzureCustomVision>),
}

#[derive(Args)]
pub(crate) struct AzureCustomVision {
    /// Address of the service, such as <https://NAME.cognitiveservices.azure.com>
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// E-mail address or object id of the person who gets the projects; `me` for whoever HABEAS_TOKEN belongs to
    #[arg(long)]
    person: String,
    /// The account that gets them; the person's first one when absent
    #[arg(long, value_name = "ID")]
    account: Option<Id>,
    /// Bring this project only; may be repeated
    #[arg(long = "project", value_name = "ID")]
    projects: Vec<Id>,
    /// Also bring stored predictions
    #[arg(long)]
    with_predictions: bool,
    /// Also bring exported models, and have the source export what it can
    #[arg(long)]
    with_exports: bool,
    /// Fetch images that are here already again, and compare
    #[arg(long)]
    verify: bool,
    /// Most requests to the service in a second; its limit is 10
    #[arg(long, default_value_t = 8.0, value_name = "N")]
    requests_per_second: f64,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Verb::AzureCustomVision(import) = verb;
    let key = Zeroizing::new(match std::env::var("HABEAS_SOURCE_KEY") {
        Ok(key) => key.trim().to_owned(),
        Err(_) => rpassword::prompt_password("training key of the source: ")?,
    });
    let source = Source::new(&import.endpoint, key, Pace::new(import.requests_per_second))?;
    let options =
        Options { predictions: import.with_predictions, exports: import.with_exports, verify: import.verify };
    let report = connect::with(import.reach, file, async |client| {
        let person = client.find_person(&import.person).await?.object_id;
        let account = match import.account {
            Some(account) => account,
            None => {
                let accounts = client.accounts(&person).await?;
                let first = accounts.first().map(|account| account.id);
                first
                    .ok_or_else(|| habeas_core::Error::not_found("the person has no Custom Vision account"))?
            }
        };
        let bar = export::bar("bringing", "{msg} {pos}/{len} images {wide_bar} {eta}");
        let rescue = Rescue { source, target: client.clone(), account, options, bar };
        let report = rescue.run(&import.projects).await;
        rescue.bar.finish_and_clear();
        report
    })
    .await?;
    import.format.print(&report, summary)?;
    Ok(ExitCode::from(exit_code(&report)))
}

fn exit_code(report: &Report) -> u8 {
    if report.projects.iter().any(|project| !project.verified) {
        code::NOT_VERIFIED
    } else if report.projects.iter().any(|project| !project.problems.is_empty()) {
        code::PARTIAL
    } else {
        0
    }
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    for project in &report.projects {
        text.push_str(&format!("{}  {}\n", project.id, project.name));
        let row = |name: &str, tally: Tally| {
            let numbers = [tally.brought, tally.present, tally.removed_here, tally.gone, tally.failed];
            let mut row = vec![name.to_owned()];
            row.extend(numbers.iter().map(u64::to_string));
            row
        };
        let rows = [
            row("tags", project.tags),
            row("images", project.images),
            row("iterations", project.iterations),
            row("exported models", project.exports),
            row("predictions", project.predictions),
        ];
        text.push_str(&table(&["", ">BROUGHT", ">PRESENT", ">REMOVED HERE", ">GONE", ">FAILED"], &rows));
        let verified = if project.verified { "verified" } else { "NOT VERIFIED" };
        text.push_str(&format!("{}, {verified}\n", bytes(project.bytes)));
        for problem in &project.problems {
            text.push_str(&format!(
                "{} {}: {}\n",
                problem.item.name(),
                problem.id,
                problem.why.replace('\n', "; ")
            ));
        }
        if project.iterations.brought > 0 {
            text.push_str(
                "iterations came without weights: train the project to have one that answers predictions\n",
            );
        }
        text.push('\n');
    }
    text
}
