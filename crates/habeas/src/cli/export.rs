//! `habeas export`: a person's archive, with progress, resumed where it broke off.

use std::io::{BufReader, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::{Stream, StreamExt as _};
use habeas_client::{Client, Seal};
use habeas_core::age::{Identity, Opened, Passphrase};
use habeas_core::crypto::Sha256;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::ExportReport;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zeroize::Zeroizing;

use super::output::{note, say};
use super::sealed::Sealing;
use super::{Reach, connect};

/// How often the server is asked how far it has come.
const POLL: Duration = Duration::from_millis(200);
/// How often a broken download is taken up again.
const ATTEMPTS: usize = 5;

#[derive(Args)]
pub(crate) struct Export {
    /// E-mail address or object id
    #[arg(long)]
    person: String,
    /// File to write; `-` streams to standard output and stores nothing on the server
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    sealing: Sealing,
    /// Have the data once more in these formats, below `formats/`: csv, jsonl (tables), coco, yolo, voc, folders (labelled images)
    #[arg(long = "format", value_name = "FORMATS", value_delimiter = ',')]
    formats: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

impl Export {
    pub(crate) async fn run(self, file: Option<&Path>) -> anyhow::Result<ExitCode> {
        let Export { person, output, sealing, formats, reach } = self;
        let formats = ExportFormat::parse_all(formats.iter().map(String::as_str))?;
        let wanted = Wanted { formats, seal: sealing.seal()? };
        connect::with(reach, file, async |client| {
            let id = client.find_person(&person).await?.object_id;
            if output.as_os_str() == "-" {
                if std::io::stdout().is_terminal() {
                    bail!("the archive is binary: redirect standard output, or name a file with --output");
                }
                return stream(client, &id, &wanted, &mut std::io::stdout().lock()).await;
            }
            download(client, &id, &wanted, &output).await
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How the archive is to be.
struct Wanted {
    formats: Vec<ExportFormat>,
    seal: Option<Seal>,
}

async fn stream(client: &Client, person: &str, wanted: &Wanted, out: &mut impl Write) -> anyhow::Result<()> {
    let mut pieces = client.stream_export(person, &wanted.formats, wanted.seal.as_ref()).await?;
    while let Some(piece) = pieces.next().await {
        out.write_all(&piece?)?;
    }
    Ok(out.flush()?)
}

async fn download(client: &Client, person: &str, wanted: &Wanted, output: &Path) -> anyhow::Result<()> {
    let partial = partial(output);
    let mut archive = stored(client, person, wanted, &partial).await?;
    let bar = bar("writing", "{msg} {wide_bar} {pos}/{len} items");
    while archive.status == "running" {
        bar.set_length(archive.total);
        bar.set_position(archive.done);
        tokio::time::sleep(POLL).await;
        archive = client.export(&archive.id).await?;
    }
    bar.finish_and_clear();
    if archive.status != "ready" {
        bail!("the server could not write the archive; its log says why");
    }
    let size = archive.bytes.unwrap_or_default();
    let bar = self::bar("fetching", "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes}");
    bar.set_length(size);
    let mut attempt = 0;
    loop {
        let from = std::fs::metadata(&partial.data).map_or(0, |data| data.len());
        if from >= size {
            break;
        }
        bar.set_position(from);
        let result = match client.export_content(&archive.id, from).await {
            Ok(pieces) => append(&partial.data, Box::pin(pieces), &bar).await,
            Err(error) => Err(error.into()),
        };
        attempt += 1;
        match result {
            Ok(()) => {}
            Err(error) if attempt >= ATTEMPTS => {
                return Err(
                    error.context("the download broke off; run the same command again to go on with it")
                );
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
    bar.finish_and_clear();
    if archive.sha256.as_deref() != Some(digest(&partial.data)?.as_str()) {
        std::fs::remove_file(&partial.data)?;
        bail!("the downloaded archive is damaged; it was deleted: run the same command again");
    }
    if let Some(Seal::Passphrase(passphrase)) = &wanted.seal {
        check_passphrase(&partial, passphrase)?;
    }
    std::fs::rename(&partial.data, output).with_context(|| format!("cannot write {}", output.display()))?;
    // The note that remembered the archive's id has served.
    let _ = std::fs::remove_file(&partial.note);
    note(format_args!("{} bytes, sha256 {}", size, archive.sha256.unwrap_or_default()));
    say(output.display());
    Ok(())
}

/// Where an unfinished download lies, and the note that says of which archive it is.
struct Partial {
    data: PathBuf,
    note: PathBuf,
}

fn partial(output: &Path) -> Partial {
    let with = |ending: &str| {
        let mut name = output.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    Partial { data: with(".part"), note: with(".part.id") }
}

/// An archive that an earlier attempt ordered is sealed with the passphrase of then, which may be another one.
fn check_passphrase(partial: &Partial, passphrase: &Zeroizing<String>) -> anyhow::Result<()> {
    let identity = Identity::Passphrase(Passphrase::of_sealed(passphrase.clone()));
    let file = BufReader::new(std::fs::File::open(&partial.data)?);
    Opened::new(file, &identity).map_err(|error| {
        error.hint(format!(
            "run the same command with the passphrase that the archive was ordered with, or delete {} to order another",
            partial.note.display()
        ))
    })?;
    Ok(())
}

/// The archive that an earlier attempt began to fetch, or a new one.
async fn stored(
    client: &Client,
    person: &str,
    wanted: &Wanted,
    partial: &Partial,
) -> anyhow::Result<ExportReport> {
    let (recipient, with_passphrase) = match &wanted.seal {
        Some(Seal::Recipient(key)) => (Some(key.trim()), false),
        Some(Seal::Passphrase(_)) => (None, true),
        None => (None, false),
    };
    if let Ok(id) = std::fs::read_to_string(&partial.note)
        && let Some(archive) =
            client.exports(person).await?.into_iter().find(|archive| archive.id == id.trim())
        && archive.formats == wanted.formats
        && archive.recipient.as_deref() == recipient
        && archive.with_passphrase == with_passphrase
        && archive.status != "failed"
    {
        note(format_args!("going on with archive {}", archive.id));
        return Ok(archive);
    }
    let archive = client.create_export(person, &wanted.formats, wanted.seal.as_ref()).await?;
    if partial.data.exists() {
        std::fs::remove_file(&partial.data)?;
    }
    std::fs::write(&partial.note, &archive.id)
        .with_context(|| format!("cannot write {}", partial.note.display()))?;
    Ok(archive)
}

async fn append(
    path: &Path,
    mut pieces: impl Stream<Item = habeas_client::Result<bytes::Bytes>> + Unpin,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        file.write_all(&piece)?;
        bar.inc(piece.len() as u64);
    }
    Ok(file.sync_all()?)
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex::encode(digest.finish())),
            length => digest.update(&buffer[..length]),
        }
    }
}

/// A progress bar on standard error; nothing when that is no terminal.
pub(crate) fn bar(message: &'static str, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar
}
