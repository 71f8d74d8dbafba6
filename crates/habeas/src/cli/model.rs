//! `habeas model`: exported models, and proof that a model is what it is said to be.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use habeas_core::{Error, Id, crypto};
use habeas_models::{Verdict, Verification};

use super::exported::Exported;
use super::output::{Format, line, say};
use super::sealed::Unlock;
use super::{Reach, code, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List the digests of revoked models, or look up model files: exit code 6 when one of them is revoked
    Revoked {
        /// `model.onnx` files to look up
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        format: Format,
    },
    /// Train the models in a person's archive again, offline, and compare all digests: exit code 6 when one differs
    Verify {
        /// The archive that `habeas export` wrote, or a folder into which it was unpacked
        #[arg(value_name = "ARCHIVE")]
        archive: PathBuf,
        /// Only this iteration
        #[arg(long, value_name = "ID")]
        iteration: Option<String>,
        #[command(flatten)]
        unlock: Unlock,
        #[command(flatten)]
        format: Format,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Revoked { files, reach, format } => revoked(&files, reach, file, format).await,
        Verb::Verify { archive, iteration, unlock, format } => {
            let iteration = iteration.as_deref().map(str::parse::<Id>).transpose()?;
            let found = tokio::task::spawn_blocking(move || verify(&archive, &unlock, iteration)).await??;
            report(&found, format)
        }
    }
}

async fn revoked(
    files: &[PathBuf],
    reach: Reach,
    file: Option<&Path>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let revoked = connect::with(reach, file, async |client| Ok(client.revoked_models().await?)).await?;
    if files.is_empty() {
        format.print(&revoked, |revoked| revoked.iter().map(|digest| format!("{digest}\n")).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut result = ExitCode::SUCCESS;
    for path in files {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = hex::encode(crypto::sha256(&bytes));
        if revoked.contains(&digest) {
            result = ExitCode::from(code::NOT_VERIFIED);
            say(format_args!("{}: REVOKED, delete every copy of it", path.display()));
        } else {
            say(format_args!("{}: not revoked", path.display()));
        }
    }
    Ok(result)
}

/// Trains what is there to be trained again. An archive without a trained iteration proves nothing, and is an error.
fn verify(archive: &Path, unlock: &Unlock, iteration: Option<Id>) -> anyhow::Result<Vec<Verification>> {
    let mut exported = Exported::open(archive, unlock)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let found = habeas_models::verify(&mut exported, iteration, threads)?;
    if found.iter().all(|verification| verification.verdict == Verdict::NoModel) {
        let what = match iteration {
            Some(id) => format!("there is no trained iteration {id} in {}", archive.display()),
            None => format!("there is no trained iteration in {}", archive.display()),
        };
        return Err(anyhow!(Error::not_found(what)));
    }
    Ok(found)
}

fn report(found: &[Verification], format: Format) -> anyhow::Result<ExitCode> {
    format.print(&found, |found| found.iter().map(described).collect())?;
    let proved = |verdict| matches!(verdict, Verdict::Verified | Verdict::NoModel);
    Ok(if found.iter().all(|verification| proved(verification.verdict)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(code::NOT_VERIFIED)
    })
}

fn described(verification: &Verification) -> String {
    let verdict = match verification.verdict {
        Verdict::Verified => "OK",
        Verdict::Different => "NOT VERIFIED",
        Verdict::Incomplete => "NOT VERIFIED: incomplete",
        Verdict::NoModel => "no model trained here",
    };
    let Verification { iteration, name, images, .. } = verification;
    let mut text = format!("{verdict}  {iteration}  {}  {images} images", line(name));
    if let Some(digest) = &verification.state_digest {
        text.push_str("  state ");
        text.push_str(digest);
    }
    text.push('\n');
    for finding in &verification.findings {
        text.push_str("  ");
        text.push_str(&line(finding));
        text.push('\n');
    }
    text
}
