//! `habeas organisation`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::output::{Format, table};
use super::person::created;
use super::{Reach, connect};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    Owner,
    Contributor,
    Trainer,
    Labeler,
    Deployment,
    Reader,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make an organisation with a Custom Vision account; prints its id and keys
    Create {
        /// Name
        name: String,
        /// Its first owner: e-mail address or object id
        #[arg(long)]
        owner: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the members
    Members {
        /// The organisation's id
        organisation: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show the keys of its Custom Vision accounts; for its owners
    Keys {
        /// The organisation's id
        organisation: String,
        /// Give its accounts and services new keys first
        #[arg(long)]
        renew: bool,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a person a role in place of any they had
    Member {
        /// The organisation's id
        organisation: String,
        /// E-mail address or object id
        person: String,
        /// The role
        #[arg(long, value_enum, required_unless_present = "remove")]
        role: Option<Role>,
        /// End the membership instead
        #[arg(long, conflicts_with = "role")]
        remove: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Create { name, owner, format, reach } => {
            connect::with(reach, file, async |client| {
                let owner = client.object_id(&owner).await?;
                format.print(&client.create_organisation(&name, &owner).await?, created)
            })
            .await?;
        }
        Verb::Members { organisation, format, reach } => {
            connect::with(reach, file, async |client| {
                format.print(&client.members(&organisation).await?, |members| {
                    let rows: Vec<_> = members
                        .iter()
                        .map(|member| vec![member.person.clone(), member.role.clone(), member.since.clone()])
                        .collect();
                    table(&["OBJECT ID", "ROLE", "SINCE"], &rows)
                })
            })
            .await?;
        }
        Verb::Keys { organisation, renew, format, reach } => {
            connect::with(reach, file, async |client| {
                let accounts = if renew {
                    client.renew_organisation_keys(&organisation).await?
                } else {
                    client.organisation_keys(&organisation).await?
                };
                format.print(&accounts, |accounts| {
                    let rows: Vec<_> = accounts
                        .iter()
                        .map(|keys| {
                            vec![
                                keys.account.clone(),
                                keys.training_keys.join(" "),
                                keys.prediction_keys.join(" "),
                            ]
                        })
                        .collect();
                    table(&["ACCOUNT", "TRAINING KEYS", "PREDICTION KEYS"], &rows)
                })
            })
            .await?;
        }
        Verb::Member { organisation, person, role, remove: _, reach } => {
            connect::with(reach, file, async |client| {
                let person = client.object_id(&person).await?;
                let role = role.and_then(|role| role.to_possible_value());
                match role {
                    Some(role) => client.set_member(&organisation, &person, role.get_name()).await?,
                    None => client.remove_member(&organisation, &person).await?,
                }
                Ok(())
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn transfer(
    resource: &str,
    to: &str,
    reach: Reach,
    format: Format,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    connect::with(reach, file, async |client| {
        let to = client.object_id(to).await?;
        format.print(&client.transfer(resource, &to).await?, |report| {
            format!(
                "{} {} with {} resources belongs to {} now\n",
                report.kind, report.resource, report.resources, report.holder
            )
        })
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
