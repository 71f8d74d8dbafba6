//! `habeas erase`: plan, run, follow, call off.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use habeas_client::Client;
use habeas_core::report::{ErasureReport, PlanReport};

use super::decisions::Decisions;
use super::output::{Format, bytes, line, note, table};
use super::{Reach, code, connect};

/// How often the server is asked how far it has come.
const POLL: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Say what an erasure would do; changes nothing
    Plan {
        /// E-mail address or object id
        #[arg(long, required_unless_present = "organisation", conflicts_with = "organisation")]
        person: Option<String>,
        /// An organisation's id: plans its deletion with everything in it
        #[arg(long, conflicts_with_all = ["successors", "deletions", "erase_depicted"])]
        organisation: Option<String>,
        #[command(flatten)]
        decisions: Decisions,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Run a plan and wait for its end
    Run {
        /// The plan's id
        plan: String,
        /// The person's e-mail address, or the organisation's name; asked for when it is not given
        #[arg(long, value_name = "EMAIL")]
        confirm: Option<String>,
        /// The plan's digest, to be sure which plan is approved
        #[arg(long)]
        digest: Option<String>,
        /// File for the receipt
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
        /// Come back at once
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say how far a run has come; fetch its receipt
    Status {
        /// The plan's id
        plan: String,
        /// File for the receipt, if it is completed
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Call a run off, as long as no key is destroyed
    Cancel {
        /// The plan's id
        plan: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Plan { person, organisation, decisions, format, reach } => {
            connect::with(reach, file, async |client| {
                let (plan, confirmation) = match (&person, &organisation) {
                    (_, Some(organisation)) => {
                        (client.plan_organisation_erasure(organisation).await?, "NAME".to_owned())
                    }
                    (person, None) => {
                        let found = client.find_person(person.as_deref().unwrap_or_default()).await?;
                        let decisions = decisions.read(client).await?;
                        (client.plan_erasure_with(&found.object_id, &decisions).await?, found.email)
                    }
                };
                format.print(&plan, |plan| describe(plan, &confirmation))
            })
            .await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Run { plan, confirm, digest, receipt, no_wait, format, reach } => {
            let confirm = match confirm {
                Some(confirm) => confirm,
                None if std::io::stdin().is_terminal() => {
                    eprint!(
                        "This erases for good. Type the person's e-mail address, or the organisation's name, to confirm: "
                    );
                    let mut line = String::new();
                    std::io::stdin().read_line(&mut line)?;
                    line.trim().to_owned()
                }
                None => bail!("--confirm EMAIL is needed when nobody can be asked"),
            };
            connect::with(reach, file, async |client| {
                let mut report = client.run_erasure(&plan, &confirm, digest.as_deref()).await?;
                let mut shown = 0;
                while report.status == "running" && !no_wait {
                    show_steps(&report, &mut shown);
                    tokio::time::sleep(POLL).await;
                    report = client.erasure(&plan).await?;
                }
                show_steps(&report, &mut shown);
                // Whoever reads along has been told already.
                format.print(&report, |_| String::new())?;
                finish(client, &report, receipt.as_deref()).await
            })
            .await
        }
        Verb::Status { plan, receipt, format, reach } => {
            connect::with(reach, file, async |client| {
                let report = client.erasure(&plan).await?;
                format.print(&report, |report| {
                    let rows: Vec<_> = report
                        .steps
                        .iter()
                        .map(|step| vec![step.name.clone(), step.status.clone(), step.title.clone()])
                        .collect();
                    format!("{}\n{}", report.status, table(&["STEP", "STATUS", "WHAT"], &rows))
                })?;
                finish(client, &report, receipt.as_deref()).await
            })
            .await
        }
        Verb::Cancel { plan, reach } => {
            connect::with(reach, file, async |client| Ok(client.cancel_erasure(&plan).await?)).await?;
            note("called off; nothing was erased");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show_steps(report: &ErasureReport, shown: &mut usize) {
    for step in report.steps.iter().skip(*shown).take_while(|step| step.status == "done") {
        note(format_args!("done: {}", step.title));
        *shown += 1;
    }
}

async fn finish(client: &Client, report: &ErasureReport, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    if let Some(error) = &report.error {
        note(format_args!("error: the last attempt failed: {error}"));
        note(format_args!(
            "hint: it is tried again by itself; follow it with `habeas erase status {}`",
            report.plan
        ));
        return Ok(ExitCode::from(code::FAILED));
    }
    if report.status == "planned" {
        note(
            "not begun: it waits until nobody can change their mind any more, or for an approval; see the request: habeas request list",
        );
    }
    if report.status == "completed_with_holds" {
        note(format_args!(
            "legal holds keep a part of it: {}; it completes itself when they end",
            report.held.join(", ")
        ));
    }
    if matches!(report.status.as_str(), "completed" | "completed_with_holds")
        && let Some(path) = file
    {
        let receipt = client.erasure_receipt(&report.plan).await?;
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&receipt)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
        note(format_args!("receipt: {}", path.display()));
        note(format_args!(
            "verify it offline: habeas receipt verify {} --key {}",
            path.display(),
            client.public_key().await?
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(plan: &PlanReport, confirmation: &str) -> String {
    let rows: Vec<_> = plan
        .items
        .iter()
        .filter(|item| item.count > 0)
        .map(|item| {
            vec![
                item.service.clone(),
                item.title.clone(),
                item.count.to_string(),
                bytes(item.bytes),
                item.action.clone(),
            ]
        })
        .collect();
    let mut text =
        format!("plan    {}\ndigest  {}\nvalid   until {}\n\n", plan.plan, plan.digest, plan.valid_until);
    if plan.restricted {
        text.push_str("processing is restricted until then\n\n");
    }
    text.push_str(&table(&["SERVICE", "WHAT", ">COUNT", ">BYTES", "ACTION"], &rows));
    for kept in &plan.kept {
        text.push_str(&format!("\nkept     {} ({})", kept.what, kept.why));
    }
    for held in &plan.held {
        let until = held.until.as_deref().unwrap_or("it is released");
        text.push_str(&format!(
            "\nheld     {} {} with {} resources until {until}: {}, {}",
            held.kind,
            held.target,
            held.resources,
            line(&held.matter),
            line(&held.reason)
        ));
    }
    text.push_str(&format!(
        "\nothers   {} other persons work in what is erased; {} places in others' data become unlinkable, {} of them as who made something, {} as who \
         changed it\nbackups  {}\n",
        plan.others_affected, plan.unlinked, plan.made, plan.changed, plan.backups
    ));
    for told in &plan.recipients {
        text.push_str(&format!("told     {}\n", line(&told.name)));
    }
    if plan.depicted > 0 {
        let action = if plan.erase_depicted { "are deleted" } else { "lose the name" };
        text.push_str(&format!(
            "shown    {} images of others show the person: they {action}\n",
            plan.depicted
        ));
    }
    for model in &plan.models {
        text.push_str(&format!(
            "model    {} {}: it forgets {} images, {} are left",
            model.action, model.iteration, model.images, model.left
        ));
        if model.tags_emptied > 0 {
            text.push_str(&format!("; {} of its tags lose their last image", model.tags_emptied));
        }
        if model.tags_below_minimum > 0 {
            text.push_str(&format!(
                "; {} of its tags keep fewer than a training needs",
                model.tags_below_minimum
            ));
        }
        text.push('\n');
    }
    if plan.revoked > 0 {
        text.push_str(&format!(
            "revoked  {} exported models go onto the public revocation list\n",
            plan.revoked
        ));
    }
    for made in &plan.tainted {
        text.push_str(&format!(
            "marked   {} {}: made from what is erased, and cannot forget it\n",
            made.kind, made.id
        ));
    }
    if plan.copies > 0 {
        text.push_str(&format!("copies   {} copies in projects of others are erased, too\n", plan.copies));
    }
    for choice in plan.choices.iter().filter(|choice| choice.successor.is_some()) {
        let successor = choice.successor.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "after    {successor} becomes {} of {} {}\n",
            choice.role, choice.kind, choice.resource
        ));
    }
    for reason in &plan.blocked {
        text.push_str(&format!("blocked  {}\n", line(reason)));
    }
    if plan.blocked.is_empty() {
        text.push_str(&format!(
            "\nnext: habeas erase run {} --confirm {} --receipt receipt.json\n",
            plan.plan,
            line(confirmation)
        ));
    }
    text
}
