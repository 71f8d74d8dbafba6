//! `habeas dataset`: a project's images with their tags and boxes, in the formats of other tools.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use habeas_client::Client;
use tokio_util::io::ReaderStream;

use super::export::bar;
use super::output::{note, say};
use super::{Reach, code, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Write a project's images, tags and boxes to a ZIP
    Export(Dataset),
    /// Read a ZIP of images, tags and boxes into a project: exit code 1 when not all of it could be used
    Import(Dataset),
}

#[derive(Args)]
pub(crate) struct Dataset {
    /// Id of the project
    #[arg(long, value_name = "ID")]
    project: String,
    /// coco, coco-normalized, yolo, voc, azureml or folders
    #[arg(long, value_name = "FORMAT")]
    format: String,
    /// The ZIP; `-` for standard output
    file: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Export(Dataset { project, format, file: output, reach }) => {
            connect::with(reach, file, async |client| export(client, &project, &format, &output).await).await
        }
        Verb::Import(Dataset { project, format, file: input, reach }) => {
            connect::with(reach, file, async |client| import(client, &project, &format, &input).await).await
        }
    }
}

async fn export(client: &Client, project: &str, format: &str, output: &Path) -> anyhow::Result<ExitCode> {
    let to_stdout = output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        bail!("the archive is binary: redirect standard output, or name a file");
    }
    let mut pieces = client.export_dataset(project, format).await?;
    if to_stdout {
        let mut out = std::io::stdout().lock();
        while let Some(piece) = pieces.next().await {
            out.write_all(&piece?)?;
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    // Written beside and moved in place: what broke off is not taken for whole.
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = output.file_name().context("name a file to write")?.to_string_lossy().into_owned();
    let partial = folder.join(format!(".{name}.part"));
    let result = write(&partial, &mut pieces).await;
    if result.is_err() {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&partial);
    }
    result?;
    std::fs::rename(&partial, output).with_context(|| format!("cannot write {}", output.display()))?;
    say(output.display());
    Ok(ExitCode::SUCCESS)
}

async fn write(
    path: &Path,
    pieces: &mut (impl futures::Stream<Item = habeas_client::Result<bytes::Bytes>> + Unpin),
) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let bar = bar("fetching", "{msg} {spinner} {bytes} at {bytes_per_sec}");
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        file.write_all(&piece)?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    Ok(file.sync_all()?)
}

async fn import(client: &Client, project: &str, format: &str, input: &Path) -> anyhow::Result<ExitCode> {
    let file =
        tokio::fs::File::open(input).await.with_context(|| format!("cannot read {}", input.display()))?;
    let size = file.metadata().await?.len();
    let bar = bar("sending", "{msg} {wide_bar} {bytes}/{total_bytes}");
    bar.set_length(size);
    let sent = bar.clone();
    let pieces = ReaderStream::new(file).inspect(move |piece| {
        if let Ok(piece) = piece {
            sent.inc(piece.len() as u64);
        }
        if sent.position() >= size {
            sent.set_message("reading on the server");
        }
    });
    let report = client.import_dataset(project, format, size, pieces).await;
    bar.finish_and_clear();
    let report = report?;
    say(format_args!(
        "{} images imported, {} there already, {} tags made",
        report.images_created, report.images_duplicate, report.tags_created
    ));
    for problem in &report.problems {
        note(format_args!("{}: {} ({})", problem.file, problem.message, problem.status));
    }
    let untold = report.problem_count.saturating_sub(report.problems.len() as u64);
    if untold > 0 {
        note(format_args!("and {untold} more"));
    }
    Ok(if report.is_batch_successful { ExitCode::SUCCESS } else { ExitCode::from(code::FAILED) })
}
