//! `habeas backup`, `habeas restore` and `habeas doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use habeas_core::Ambient;
use habeas_core::operations::{BackupReport, DoctorReport, RestoreReport};
use habeas_models::Models;
use habeas_store::Store;

use super::output::{Format, bytes, note, table};
use super::{Reach, code, connect};
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Back up database and files into a new folder; keys are never part of it
    Create {
        /// The folder; it must not exist yet
        destination: PathBuf,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Check that a backup is whole
    Verify {
        /// The backup's folder
        backup: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Create { destination, format, reach } => {
            let destination = std::path::absolute(&destination)?;
            let destination = destination.to_str().context("the destination is not UTF-8")?.to_owned();
            connect::with(reach, file, async |client| {
                format.print(&client.create_backup(&destination).await?, describe)
            })
            .await?;
            note("keep the keyring elsewhere: without it nothing in this folder can be read");
            Ok(ExitCode::SUCCESS)
        }
        Verb::Verify { backup, format } => match habeas_store::verify_backup(&backup) {
            Ok(report) => {
                format.print(&report, describe)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                note(format_args!("NOT VERIFIED: {error}"));
                Ok(ExitCode::from(code::NOT_VERIFIED))
            }
        },
    }
}

fn describe(report: &BackupReport) -> String {
    format!(
        "made     {}\nrecords  {}\nfiles    {}\nbytes    {}\n",
        report.created,
        report.rows,
        report.blobs,
        bytes(report.bytes)
    )
}

pub(crate) async fn restore(backup: &Path, settings: Settings, format: Format) -> anyhow::Result<ExitCode> {
    let options = settings.store_options()?;
    let report = Store::restore(options.clone(), backup, Ambient::system()).await?;
    let store = Store::open(options, Ambient::system()).await?;
    let forgot = Models::new(store, settings.model_options()?)?.forget_waiting().await?;
    if forgot > 0 {
        note(format_args!("{forgot} models were solved again without what was erased since the backup"));
    }
    format.print(&report, |report: &RestoreReport| {
        format!(
            "records  {}\nfiles    {}\nerased since the backup, and not brought back  {}\nunreadable since their project got a new key  {}\n",
            report.rows, report.blobs, report.erased, report.unreadable
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn doctor(
    reach: Reach,
    scan: bool,
    format: Format,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    connect::with(reach, file, async |client| {
        let report = client.doctor(scan).await?;
        format.print(&report, |report: &DoctorReport| {
            let rows: Vec<_> = report
                .checks
                .iter()
                .map(|check| vec![check.status.clone(), check.name.clone(), check.detail.clone()])
                .collect();
            table(&["STATUS", "CHECK", "DETAIL"], &rows)
        })?;
        let failed = report.checks.iter().any(|check| check.status == "fail");
        Ok(if failed { ExitCode::from(code::NOT_VERIFIED) } else { ExitCode::SUCCESS })
    })
    .await
}
