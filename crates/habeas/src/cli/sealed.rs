//! Archives that are sealed: what seals and what opens them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use habeas_client::Seal;
use habeas_core::Error;
use habeas_core::age::{Identity, Lock, Passphrase};
use zeroize::Zeroizing;

use crate::archive::{Plain, plain};

/// How an archive is to be sealed.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Sealing {
    /// Seal the archive on the server for the holder of this age public key (`age1…`); what is stored there and written is an age file
    #[arg(long, value_name = "KEY")]
    recipient: Option<String>,
    /// Seal it on the server with the passphrase on the first line of this file, which is stored nowhere. Whoever forgets it has nothing
    #[arg(long, value_name = "FILE")]
    archive_passphrase_file: Option<PathBuf>,
    /// Seal it on the server with a passphrase that is asked for and stored nowhere. Whoever forgets it has nothing
    #[arg(long)]
    archive_passphrase: bool,
}

impl Sealing {
    pub(crate) fn seal(self) -> anyhow::Result<Option<Seal>> {
        if let Some(key) = self.recipient {
            return Ok(Some(Seal::Recipient(key)));
        }
        if let Some(path) = &self.archive_passphrase_file {
            return Ok(Some(Seal::Passphrase(first_line(path)?)));
        }
        if !self.archive_passphrase {
            return Ok(None);
        }
        let once = Zeroizing::new(rpassword::prompt_password("passphrase for the archive: ")?);
        let twice = Zeroizing::new(rpassword::prompt_password("the same again: ")?);
        if once != twice {
            return Err(Error::invalid("the two are not the same").into());
        }
        Ok(Some(Seal::Passphrase(once)))
    }
}

/// What opens an archive that is sealed.
#[derive(Args)]
pub(crate) struct Unlock {
    /// Open a sealed archive with the passphrase on the first line of this file; asked for when absent
    #[arg(long, value_name = "FILE")]
    archive_passphrase_file: Option<PathBuf>,
    /// Open a sealed archive with the age private key (`AGE-SECRET-KEY-1…`) in this file
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Unlock {
    /// The plain bytes of an archive.
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<Plain> {
        plain(path, |lock| match lock {
            Lock::Key => {
                let path = self.identity.as_ref().ok_or_else(|| {
                    Error::invalid("the archive is sealed for an age key")
                        .hint("name the file of its private key with --identity")
                })?;
                let text = std::fs::read_to_string(path).map(Zeroizing::new);
                Ok(text.with_context(|| format!("cannot read {}", path.display()))?.parse()?)
            }
            Lock::Passphrase => {
                let passphrase = match &self.archive_passphrase_file {
                    Some(path) => first_line(path)?,
                    None => Zeroizing::new(rpassword::prompt_password("passphrase of the archive: ").context(
                        "the archive is sealed with a passphrase: name a file that has it with --archive-passphrase-file",
                    )?),
                };
                Ok(Identity::Passphrase(Passphrase::of_sealed(passphrase)))
            }
        })
    }
}

fn first_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    let read = std::fs::File::open(path).and_then(|file| BufReader::new(file).read_line(&mut line));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}
