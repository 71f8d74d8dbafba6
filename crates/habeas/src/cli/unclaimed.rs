//! `habeas unclaimed`: persons without an account whom images name.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use habeas_core::report::{DepictionReport, PersonReport};

use super::output::{Format, line, table};
use super::{Reach, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Look for somebody's name in all images, and among the login names that programs sent
    Find {
        /// An e-mail address, or exactly what images or programs call somebody
        name: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Tie somebody to the images that name them, so that they are seen, exported and erased like anybody else
    TakeUp {
        /// An e-mail address, or exactly what images call somebody
        name: String,
        /// Object id of whose images those are; of a name that is no e-mail address
        #[arg(long)]
        holder: Option<String>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say that an unclaimed person is somebody with an account
    Link {
        /// Object id of the unclaimed person
        unclaimed: String,
        /// E-mail address or object id of the account
        person: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Find { name, format, reach } => {
            connect::with(reach, file, async |client| {
                format.print(&client.find_depicted(&name).await?, |found| rows(found))
            })
            .await?;
        }
        Verb::TakeUp { name, holder, format, reach } => {
            connect::with(reach, file, async |client| {
                format.print(&client.take_up(&name, holder.as_deref()).await?, profile)
            })
            .await?;
        }
        Verb::Link { unclaimed, person, format, reach } => {
            connect::with(reach, file, async |client| {
                let person = client.find_person(&person).await?.object_id;
                format.print(&client.link_unclaimed(&unclaimed, &person).await?, profile)
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn profile(person: &PersonReport) -> String {
    format!("{}  {}  {}\n", person.object_id, line(&person.name), person.account_type)
}

fn rows(found: &[DepictionReport]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            vec![
                one.holder.clone(),
                one.count.to_string(),
                one.person.clone().unwrap_or_else(|| "nobody yet".into()),
                one.login_name.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["HELD BY", ">IMAGES", "TIED TO", "LOGIN NAME"], &rows)
}
