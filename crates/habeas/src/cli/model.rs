//! `habeas model`: exported models.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use habeas_core::crypto;

use super::output::Format;
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
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Verb::Revoked { files, reach, format } = verb;
    let revoked = connect::with(reach, file, async |client| Ok(client.revoked_models().await?)).await?;
    if files.is_empty() {
        format.print(&revoked, |revoked| revoked.iter().map(|digest| format!("{digest}\n")).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut result = ExitCode::SUCCESS;
    for path in &files {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = hex::encode(crypto::sha256(&bytes));
        if revoked.contains(&digest) {
            result = ExitCode::from(code::NOT_VERIFIED);
            println!("{}: REVOKED, delete every copy of it", path.display());
        } else {
            println!("{}: not revoked", path.display());
        }
    }
    Ok(result)
}
