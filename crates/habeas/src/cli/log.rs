//! `habeas log`: the log of receipts, asked for and verified.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use habeas_client::Client;
use habeas_core::checkpoint::Checkpoint;
use habeas_core::merkle::{self, Tree};
use habeas_core::receipt;
use habeas_core::report::{ConsistencyReport, KeyReport};
use serde::Serialize;

use super::output::{Format, json, line, note, table};
use super::{Reach, code, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print the log's state, signed: keep it where the server's operator cannot change it
    Checkpoint {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the proof that a receipt is in the log
    Inclusion {
        /// The receipt's id
        receipt: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the proof that an earlier log is the beginning of a later one
    Consistency {
        /// Entries of the earlier log, as its checkpoint says
        #[arg(long, value_name = "SIZE")]
        from: u64,
        /// Entries of the later log; today's when absent
        #[arg(long, value_name = "SIZE")]
        to: Option<u64>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Read the whole log and verify it against its checkpoint and the ones you kept
    Verify {
        /// A public key that you trust: 64 hexadecimal digits, or a file that holds them
        #[arg(long, value_name = "KEY", required = true)]
        key: Vec<String>,
        /// A checkpoint that you kept: the log must still begin with what it says
        #[arg(long, value_name = "FILE")]
        since: Vec<PathBuf>,
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        format: Format,
    },
    /// List the keys that have signed receipts and checkpoints, oldest first
    Keys {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        format: Format,
    },
    /// Let a new key sign from now on, announced by the one before, which is destroyed
    RotateKey {
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        format: Format,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Checkpoint { reach } => {
            connect::with(reach, file, async |client| {
                print!("{}", client.checkpoint().await?);
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
        Verb::Inclusion { receipt, reach } => {
            connect::with(reach, file, async |client| {
                println!("{}", json(&client.inclusion(&receipt).await?)?);
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
        Verb::Consistency { from, to, reach } => {
            connect::with(reach, file, async |client| {
                println!("{}", json(&client.consistency(from, to).await?)?);
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
        Verb::Verify { key, since, reach, format } => {
            let keys = public_keys(&key)?;
            connect::with(reach, file, async |client| verify(client, &keys, &since, format).await).await
        }
        Verb::Keys { reach, format } => {
            connect::with(reach, file, async |client| {
                format.print(&client.log_keys().await?, key_table)?;
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
        Verb::RotateKey { reach, format } => {
            connect::with(reach, file, async |client| {
                format.print(&client.rotate_signing_key().await?, key_table)?;
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
    }
}

#[expect(clippy::ptr_arg, reason = "as `Format::print` hands it over")]
fn key_table(keys: &Vec<KeyReport>) -> String {
    let rows: Vec<Vec<String>> =
        keys.iter().map(|key| vec![key.key_id.clone(), key.public_key.clone()]).collect();
    table(&["ID", "PUBLIC KEY"], &rows)
}

/// Public keys, each as digits or in a file.
pub(crate) fn public_keys(texts: &[String]) -> anyhow::Result<Vec<[u8; 32]>> {
    texts
        .iter()
        .map(|key| {
            let text = if Path::new(key).exists() { std::fs::read_to_string(key)? } else { key.clone() };
            hex::decode(text.trim())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .context("a public key is 64 hexadecimal digits, or a file that holds them")
        })
        .collect()
}

/// Rebuilds the tree from its entries.
async fn verify(
    client: &Client,
    pinned: &[[u8; 32]],
    since: &[PathBuf],
    format: Format,
) -> anyhow::Result<ExitCode> {
    let not_verified = |why: &str| {
        note(format_args!("NOT VERIFIED: {why}"));
        Ok(ExitCode::from(code::NOT_VERIFIED))
    };
    let announced: Vec<String> =
        client.log_keys().await?.into_iter().filter_map(|key| key.announcement).collect();
    let trusted = match receipt::follow(pinned, &announced) {
        Ok(trusted) => trusted,
        Err(error) => return not_verified(&error.to_string()),
    };
    let checkpoint = match Checkpoint::verify(&client.checkpoint().await?, &trusted) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return not_verified(&error.to_string()),
    };
    let mut tree = Tree::default();
    while tree.size() < checkpoint.size {
        let page = client.log_entries(tree.size()).await?;
        if page.entries.is_empty() {
            return not_verified("the server does not show all entries of its log");
        }
        let room = usize::try_from(checkpoint.size - tree.size()).unwrap_or(usize::MAX);
        for entry in receipt::hashes(&page.entries)?.iter().take(room) {
            tree.push(merkle::leaf(entry));
        }
    }
    if tree.root(checkpoint.size)? != checkpoint.root {
        return not_verified("the entries are not the ones that the checkpoint was signed for");
    }
    for path in since {
        let kept = match read_checkpoint(path, &trusted)? {
            Ok(kept) => kept,
            Err(error) => return not_verified(&format!("{}: {error}", path.display())),
        };
        if kept.origin != checkpoint.origin || tree.root(kept.size).ok() != Some(kept.root) {
            return not_verified(&format!(
                "{}: the log no longer begins with what this checkpoint says",
                path.display()
            ));
        }
    }
    let found =
        Found { origin: checkpoint.origin, size: checkpoint.size, root: hex::encode(checkpoint.root) };
    format.print(&found, |found| {
        format!("OK  {}  {} receipts  root {}\n", line(&found.origin), found.size, found.root)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What the log is whose entries are those that its checkpoint was signed for.
#[derive(Serialize)]
struct Found {
    origin: String,
    size: u64,
    root: String,
}

/// A checkpoint from a file: an error inside when it is not signed with a trusted key.
pub(crate) fn read_checkpoint(
    path: &Path,
    trusted: &[[u8; 32]],
) -> anyhow::Result<habeas_core::Result<Checkpoint>> {
    let note = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Checkpoint::verify(&note, trusted))
}

/// Whether one of the two logs is the beginning of the other, by a proof from a file if they are of different sizes.
pub(crate) fn agree(one: &Checkpoint, other: &Checkpoint, proof: Option<&Path>) -> anyhow::Result<bool> {
    if one.origin != other.origin {
        return Ok(false);
    }
    let (old, new) = if one.size <= other.size { (one, other) } else { (other, one) };
    let path = match proof {
        Some(proof) => {
            let text =
                std::fs::read_to_string(proof).with_context(|| format!("cannot read {}", proof.display()))?;
            let proof: ConsistencyReport = serde_json::from_str(&text)
                .context("the proof is not what `habeas log consistency` prints")?;
            if (proof.from, proof.to) != (old.size, new.size) {
                bail!(
                    "the proof is for {} and {} entries; ask for `habeas log consistency --from {} --to {}`",
                    proof.from,
                    proof.to,
                    old.size,
                    new.size
                );
            }
            receipt::hashes(&proof.hashes)?
        }
        None if old.size != new.size => bail!(
            "the two logs have {0} and {1} entries: give --consistency with what `habeas log consistency --from {0} --to {1}` printed",
            old.size,
            new.size
        ),
        None => Vec::new(),
    };
    Ok(merkle::is_consistent(old.size, new.size, &path, &old.root, &new.root))
}
