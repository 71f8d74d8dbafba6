//! `habeas retention`: what is deleted by itself when its time is over.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use habeas_core::report::RetentionReport;

use super::output::{Format, table};
use super::{Reach, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Show the rules, and what they would delete now; changes nothing
    Plan {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Delete what is due, as the server does by itself every hour
    Run {
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Plan { format, reach } => {
            connect::with(reach, file, async |client| {
                format.print(&client.plan_retention().await?, |report| describe(report, ">DUE"))
            })
            .await?;
        }
        Verb::Run { format, reach } => {
            connect::with(reach, file, async |client| {
                format.print(&client.run_retention().await?, |report| describe(report, ">DELETED"))
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &RetentionReport, count: &str) -> String {
    let rows: Vec<_> = report
        .rules
        .iter()
        .map(|rule| {
            vec![
                rule.kind.clone(),
                rule.class.clone(),
                rule.starts.clone().unwrap_or_default(),
                rule.due.to_string(),
            ]
        })
        .collect();
    let mut text = table(&["KIND", "CLASS", "FROM", count], &rows);
    if report.kept > 0 {
        let kept = report.kept;
        text.push_str(&format!("\n{kept} are due and stay: held, restricted, or going with an erasure\n"));
    }
    if let Some(receipt) = &report.receipt {
        text.push_str(&format!("\nreceipt {receipt}\n"));
    }
    text
}
