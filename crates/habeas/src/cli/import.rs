//! `habeas import`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use habeas_client::Client;
use habeas_core::{Id, text};
use zeroize::Zeroizing;

use super::log::public_keys;
use super::output::{Format, bytes, line, note, table};
use super::sealed::Unlock;
use super::{Reach, code, connect, export};
use crate::archive::{ArchiveReport, Checked, Refused, Target};
use crate::rescue::{Options, Pace, Report, Rescue, Source, Tally};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Import {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    archive: FromArchive,
}

/// A person's archive.
#[derive(Args)]
struct FromArchive {
    /// An archive that `habeas export` wrote, here or elsewhere, sealed or not. It is read and verified whole before anything is written; run again, it
    /// goes on where it ended
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    /// Public key of the server that wrote the archive, as `habeas log keys` prints it there: 64 hexadecimal digits, or a file that holds
    /// them. Not needed for an archive that this server wrote
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// Take the archive whoever signed it: it is whole, and anybody may have made it up
    #[arg(long, conflicts_with = "key")]
    any_key: bool,
    #[command(flatten)]
    unlock: Unlock,
    /// E-mail address or object id of the person who gets it; `me` for whoever HABEAS_TOKEN belongs to. When absent, the person of the
    /// archive, who is made if need be
    #[arg(long)]
    person: Option<String>,
    /// The account that gets the projects; the person's first one when absent
    #[arg(long, value_name = "ID")]
    account: Option<Id>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    reach: Reach,
}

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

pub(crate) async fn run(import: Import, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match import.verb {
        Some(Verb::AzureCustomVision(rescue)) => run_rescue(*rescue, file).await,
        None => run_archive(import.archive, file).await,
    }
}

async fn run_archive(import: FromArchive, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let keys = public_keys(&import.key)?;
    let path = import.file.unwrap_or_default();
    let refused = |error: &anyhow::Error| {
        note(format_args!("NOT VERIFIED: {error}; nothing of it was brought"));
        Ok(ExitCode::from(code::NOT_VERIFIED))
    };
    let opened = match import.unlock.open(&path) {
        Err(error) if error.is::<Refused>() => return refused(&error),
        opened => opened?,
    };
    let mut checked = match Checked::open(opened, &keys) {
        Ok(checked) => checked,
        Err(error) if error.is::<Refused>() => return refused(&error),
        Err(error) => return Err(error.context(format!("cannot read {}", path.display()))),
    };
    let brought = connect::with(import.reach, file, async |client| {
        if !import.any_key && !checked.is_trusted {
            checked.require_trust(&client.log_keys().await?)?;
        }
        let person = match &import.person {
            Some(person) => client.find_person(person).await?.object_id,
            None => owner(client, &checked).await?,
        };
        let account = account(client, &person, import.account).await?;
        let bar = export::bar("bringing", "{msg} {pos}/{len} {wide_bar} {elapsed}");
        let target = Target { client, account, person: person.parse()?, bar };
        let report = checked.bring(&target).await;
        target.bar.finish_and_clear();
        report
    })
    .await;
    let mut report = match brought {
        Err(error) if error.is::<Refused>() => return refused(&error),
        brought => brought?,
    };
    report.archive = path;
    import.format.print(&report, archive_summary)?;
    Ok(ExitCode::SUCCESS)
}

/// The person of the archive, by address.
async fn owner(client: &Client, checked: &Checked) -> anyhow::Result<String> {
    let person = &checked.person;
    match client.find_person(&person.email).await {
        Err(habeas_client::Error::Refused { status: 404, .. }) => {
            // An archive from before names were of one line is brought all the same.
            let name = person.name.replace(text::is_control, " ");
            Ok(client.create_person(&person.email, &name, &person.account_type).await?.object_id)
        }
        found => Ok(found?.object_id),
    }
}

async fn account(client: &Client, person: &str, named: Option<Id>) -> anyhow::Result<Id> {
    if let Some(account) = named {
        return Ok(account);
    }
    let first = client.accounts(person).await?.first().map(|account| account.id);
    Ok(first.ok_or_else(|| habeas_core::Error::not_found("the person has no Custom Vision account"))?)
}

fn archive_summary(report: &ArchiveReport) -> String {
    let mut text = format!(
        "{} projects, {} workspaces and accounts: {} items brought, {} were here already, {} under another id\n",
        report.projects,
        report.workspaces,
        report.brought,
        report.present,
        report.remapped.len()
    );
    if report.models > 0 {
        text.push_str(&format!(
            "{} models computed again, {} of them bit for bit what they were\n",
            report.models, report.same_models
        ));
    }
    for left_out in &report.left_out {
        text.push_str(&format!("not brought: {}\n", line(left_out)));
    }
    text
}

async fn run_rescue(import: AzureCustomVision, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let key = Zeroizing::new(match std::env::var("HABEAS_SOURCE_KEY") {
        Ok(key) => key.trim().to_owned(),
        Err(_) => rpassword::prompt_password("training key of the source: ")?,
    });
    let source = Source::new(&import.endpoint, key, Pace::new(import.requests_per_second))?;
    let options =
        Options { predictions: import.with_predictions, exports: import.with_exports, verify: import.verify };
    let report = connect::with(import.reach, file, async |client| {
        let person = client.find_person(&import.person).await?.object_id;
        let account = account(client, &person, import.account).await?;
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
        text.push_str(&format!("{}  {}\n", project.id, line(&project.name)));
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
                line(&problem.why.replace('\n', "; "))
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
