//! `habeas person` and `habeas token`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use habeas_core::report::{HoldingsReport, PersonCreatedReport};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::output::{Format, bytes, line, note, say, table};
use super::{Reach, connect};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AccountType {
    Guest,
    Free,
    Standard,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    Administrator,
    PrivacyOfficer,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a person with a Custom Vision account; prints the keys
    Create {
        /// E-mail address
        email: String,
        /// Name
        #[arg(long, default_value = "")]
        name: String,
        /// Account type
        #[arg(long, value_enum, default_value_t = AccountType::Standard)]
        account_type: AccountType,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show everything held on a person
    Show {
        /// E-mail address or object id
        person: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// List persons
    List {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Correct what is held on a person; the old values can be read nowhere afterwards
    Rectify {
        /// E-mail address or object id
        person: String,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Restrict processing: what is held is kept and shown, but not changed, learned from or asked
    Restrict {
        /// E-mail address or object id
        person: String,
        /// Lift the restriction instead
        #[arg(long)]
        lift: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Make a link that signs the person in once; on the server's machine only
    SignInLink {
        /// E-mail address or object id
        person: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Set a password, asked for or taken from HABEAS_PASSWORD: one's own, or on the server's machine
    Password {
        /// E-mail address or object id
        person: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a person a role of the staff, or take it away
    Role {
        /// E-mail address or object id
        person: String,
        /// The role
        #[arg(value_enum)]
        role: Role,
        /// Take it away
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Issue a bearer token, printed once: one's own, or on the server's machine
    Create {
        /// E-mail address or object id
        #[arg(long)]
        person: String,
        /// A name to tell tokens apart
        #[arg(long, default_value = "")]
        label: String,
        /// Days it lives, 1 to 365
        #[arg(long, default_value_t = 30)]
        days: u32,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Create { email, name, account_type, format, reach } => {
            let account_type =
                account_type.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            connect::with(reach, file, async |client| {
                format.print(&client.create_person(&email, &name, &account_type).await?, created)
            })
            .await?;
        }
        Verb::Show { person, format, reach } => {
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                format.print(&client.holdings(&id).await?, holdings)
            })
            .await?;
        }
        Verb::List { format, reach } => {
            connect::with(reach, file, async |client| {
                let mut all = Vec::new();
                loop {
                    let page = client
                        .persons(
                            all.last()
                                .map(|person: &habeas_core::report::PersonReport| person.object_id.as_str()),
                        )
                        .await?;
                    if page.is_empty() {
                        break;
                    }
                    all.extend(page);
                }
                format.print(&all, |all| {
                    let rows: Vec<_> = all
                        .iter()
                        .map(|person| {
                            vec![
                                person.object_id.clone(),
                                person.email.clone(),
                                person.name.clone(),
                                person.account_type.clone(),
                            ]
                        })
                        .collect();
                    table(&["OBJECT ID", "E-MAIL", "NAME", "ACCOUNT"], &rows)
                })
            })
            .await?;
        }
        Verb::Rectify { person, change, format, reach } => {
            let change = change.read()?;
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                format.print(&client.rectify(&id, &change).await?, |report| {
                    let mut text = format!(
                        "{} <{}>: {} corrected\n",
                        line(&report.person.name),
                        line(&report.person.email),
                        report.changed
                    );
                    if let Some(moment) = &report.old_values_unreadable {
                        text.push_str(&format!("old values unreadable everywhere by {moment}\n"));
                    }
                    if let Some(request) = &report.address_change {
                        text.push_str(&format!(
                            "a code was sent to the new address, which is yours with it: habeas request verify {} --code CODE\n",
                            request.id
                        ));
                    }
                    text
                })
            })
            .await?;
        }
        Verb::Restrict { person, lift, reach } => {
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                if let Some(report) = client.restrict(&id, !lift).await? {
                    eprintln!(
                        "the person is written to, and the restriction ends {}",
                        report.restricted_until
                    );
                }
                Ok(())
            })
            .await?;
        }
        Verb::SignInLink { person, reach } => {
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                let link = client.create_sign_in_link(&id).await?;
                let place = if link.secret.starts_with('/') { ", on the server's address," } else { "" };
                note(format_args!("open it once{place} until {}", link.expires));
                say(link.secret);
                Ok(())
            })
            .await?;
        }
        Verb::Password { person, reach } => {
            let password = Zeroizing::new(match std::env::var("HABEAS_PASSWORD") {
                Ok(password) => password,
                Err(_) => rpassword::prompt_password("new password: ")?,
            });
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                Ok(client.set_password(&id, &password).await?)
            })
            .await?;
            note("the password is set");
        }
        Verb::Role { person, role, revoke, reach } => {
            let name = match role {
                Role::Administrator => "administrator",
                Role::PrivacyOfficer => "privacyOfficer",
            };
            connect::with(reach, file, async |client| {
                let id = client.find_person(&person).await?.object_id;
                Ok(client.set_role(&id, name, !revoke).await?)
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run_token(verb: TokenVerb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let TokenVerb::Create { person, label, days, reach } = verb;
    connect::with(reach, file, async |client| {
        let id = client.find_person(&person).await?.object_id;
        let issued = client.create_token(&id, &label, Some(days)).await?;
        note(format_args!("valid until {}; shown this once", issued.expires));
        say(issued.secret);
        Ok(())
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// What was made, with its keys.
pub(crate) fn created(created: &PersonCreatedReport) -> String {
    format!(
        "object id       {}\ntraining keys   {}\nprediction keys {}\n",
        created.object_id,
        created.training_keys.join(" "),
        created.prediction_keys.join(" ")
    )
}

/// What is to be corrected.
#[derive(Args)]
pub(crate) struct Change {
    /// The right name
    #[arg(long)]
    name: Option<String>,
    /// The right e-mail address
    #[arg(long)]
    email: Option<String>,
    /// A field of something else that they hold, such as 0190…:name="new name"; the value is JSON, or text as it is
    #[arg(long = "set", value_name = "RESOURCE:FIELD=VALUE")]
    set: Vec<String>,
}

impl Change {
    /// As the API takes it.
    pub(crate) fn read(self) -> anyhow::Result<Value> {
        let corrections = self.set.iter().map(|one| correction(one)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut change = json!({ "corrections": corrections });
        for (member, value) in [("name", self.name), ("email", self.email)] {
            if let Some(value) = value {
                change[member] = value.into();
            }
        }
        Ok(change)
    }

    /// Whether it names nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_none() && self.email.is_none() && self.set.is_empty()
    }
}

/// `RESOURCE:FIELD=VALUE` as the API takes it.
fn correction(text: &str) -> anyhow::Result<Value> {
    let parts = text.split_once(':').and_then(|(resource, rest)| Some((resource, rest.split_once('=')?)));
    let Some((resource, (field, value))) = parts else {
        bail!("--set {text} is not RESOURCE:FIELD=VALUE");
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok(json!({ "resource": resource, "field": field, "value": value }))
}

fn holdings(report: &HoldingsReport) -> String {
    let rows: Vec<_> = report
        .items
        .iter()
        .map(|item| {
            vec![
                item.service.clone(),
                item.title.clone(),
                item.count.to_string(),
                bytes(item.bytes),
                item.until.clone(),
                item.why.clone(),
            ]
        })
        .collect();
    let mut text = format!(
        "{} <{}>  {}\n\n",
        line(&report.person.name),
        line(&report.person.email),
        report.person.object_id
    );
    if report.restricted {
        text.push_str("processing is restricted: kept and shown, but not changed, learned from or asked\n\n");
    }
    text.push_str(&table(&["SERVICE", "WHAT", ">COUNT", ">BYTES", "KEPT", "WHY"], &rows));
    text.push_str(&format!("\n{} items, {}\n", report.total_count, bytes(report.total_bytes)));
    for mention in &report.mentions {
        text.push_str(&format!("also {} of {} {}\n", mention.role, mention.kind, mention.resource));
    }
    for made in &report.made {
        text.push_str(&format!("also made, and held by others: {} {}\n", made.count, made.title));
    }
    for changed in &report.changed {
        text.push_str(&format!(
            "also changed, and made and held by others: {} {}\n",
            changed.count, changed.title
        ));
    }
    text
}
