//! `habeas hold`: legal holds.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use habeas_core::report::HoldReport;

use super::output::{Format, note, table};
use super::{Reach, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Keep something from being deleted, with all that stands under it
    Place {
        /// Id of a person, an organisation, an account, a project, an image or anything else that is held; or a person's e-mail address
        target: String,
        /// The case it serves
        #[arg(long)]
        matter: String,
        /// Why that is lawful
        #[arg(long)]
        reason: String,
        /// When it ends by itself, such as 2027-01-31T00:00:00Z; without it somebody has to release it
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// List holds
    List {
        /// Only those on what this person holds: e-mail address or object id
        #[arg(long)]
        person: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Move the day on which a hold ends by itself, also of what it keeps of erased persons
    Extend {
        /// The hold's id
        hold: String,
        /// When it ends by itself, such as 2027-01-31T00:00:00Z; without it somebody has to release it
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// End a hold; erasures that waited for it complete themselves
    Release {
        /// The hold's id
        hold: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Place { target, matter, reason, until, format, reach } => {
            connect::with(reach, file, async |client| {
                let target =
                    if target.contains('@') { client.find_person(&target).await?.object_id } else { target };
                let hold = client.place_hold(&target, &matter, &reason, until.as_deref()).await?;
                format.print(&hold, |hold| rows(std::slice::from_ref(hold)))
            })
            .await?;
        }
        Verb::List { person, format, reach } => {
            connect::with(reach, file, async |client| {
                let holder = match &person {
                    Some(person) => Some(client.find_person(person).await?.object_id),
                    None => None,
                };
                format.print(&client.holds(holder.as_deref()).await?, |holds| rows(holds))
            })
            .await?;
        }
        Verb::Extend { hold, until, format, reach } => {
            connect::with(reach, file, async |client| {
                let hold = client.extend_hold(&hold, until.as_deref()).await?;
                format.print(&hold, |hold| rows(std::slice::from_ref(hold)))
            })
            .await?;
        }
        Verb::Release { hold, reach } => {
            connect::with(reach, file, async |client| Ok(client.release_hold(&hold).await?)).await?;
            note("released");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(holds: &[HoldReport]) -> String {
    let rows: Vec<_> = holds
        .iter()
        .map(|hold| {
            vec![
                hold.id.clone(),
                hold.kind.clone().unwrap_or_default(),
                hold.target.clone(),
                hold.until.clone().unwrap_or_else(|| "released by hand".to_owned()),
                hold.matter.clone(),
                hold.reason.clone(),
            ]
        })
        .collect();
    table(&["HOLD", "KEEPS", "ID", "UNTIL", "MATTER", "WHY"], &rows)
}
