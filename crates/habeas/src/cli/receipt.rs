//! `habeas receipt`: verification that needs no server and no network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use habeas_core::receipt;
use serde::Serialize;

use super::log::{self, public_keys};
use super::output::{Format, line, note, say};
use super::{Reach, code, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Verify a receipt against a public key, offline
    Verify {
        /// The receipt
        receipt: PathBuf,
        /// The server's public key, or an earlier one: 64 hexadecimal digits, or a file that holds them
        #[arg(long, value_name = "KEY", required = true)]
        key: Vec<String>,
        /// Object id of the person it should be about; checked with the receipt's salt
        #[arg(long, value_name = "OBJECT_ID")]
        person: Option<String>,
        /// A checkpoint of the log from elsewhere, for example a later one: the receipt must be in the same log
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The proof that the two logs are one, when they have different sizes: what `habeas log consistency` printed
        #[arg(long, value_name = "FILE", requires = "checkpoint")]
        consistency: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Print the public key against which this server's receipts verify
    PublicKey {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Verify { receipt, key, person, checkpoint, consistency, format } => {
            let elsewhere = checkpoint.map(|checkpoint| (checkpoint, consistency));
            verify(&receipt, &public_keys(&key)?, person.as_deref(), elsewhere, format)
        }
        Verb::PublicKey { reach } => {
            connect::with(reach, file, async |client| {
                say(client.public_key().await?);
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
    }
}

fn verify(
    path: &Path,
    keys: &[[u8; 32]],
    person: Option<&str>,
    elsewhere: Option<(PathBuf, Option<PathBuf>)>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let not_verified = |why: &str| {
        note(format_args!("NOT VERIFIED: {why}"));
        Ok(ExitCode::from(code::NOT_VERIFIED))
    };
    let verified = match receipt::verify(&bytes, keys) {
        Ok(verified) => verified,
        Err(error) => return not_verified(&error.to_string()),
    };
    let (statement, value): (_, serde_json::Value) = (&verified.statement, serde_json::from_slice(&bytes)?);
    if let Some(person) = person {
        let salt: Option<[u8; 16]> = value["salt"]
            .as_str()
            .and_then(|salt| hex::decode(salt).ok())
            .and_then(|salt| salt.try_into().ok());
        let about = salt.is_some_and(|salt| {
            person.parse().is_ok_and(|id| statement["subject"] == receipt::commitment(&salt, id))
        });
        if !about {
            return not_verified("the receipt is not about that person, or has no salt");
        }
    }
    if let Some((checkpoint, proof)) = elsewhere {
        let Some(logged) = &verified.logged else {
            return not_verified("the receipt has no proof that it is in the log");
        };
        // The checkpoint may be signed with a key that was announced after the receipt was fetched.
        let mut announced = strings(&value["log"]["keys"]);
        if let Some(proof) = &proof {
            let proof: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(proof)?)?;
            announced.extend(strings(&proof["keys"]));
        }
        let trusted = receipt::follow(keys, &announced)?;
        let elsewhere = match log::read_checkpoint(&checkpoint, &trusted)? {
            Ok(elsewhere) => elsewhere,
            Err(error) => return not_verified(&error.to_string()),
        };
        if !log::agree(logged, &elsewhere, proof.as_deref())? {
            return not_verified("the log of the receipt and that of the checkpoint contradict each other");
        }
    }
    let found = Found {
        r#type: statement["type"].as_str().unwrap_or("receipt").to_owned(),
        key_id: verified.key_id,
        completed: statement["completed"].as_str().map(str::to_owned),
        log: verified.logged.map(|log| FoundLog { origin: log.origin, size: log.size }),
    };
    format.print(&found, describe)?;
    Ok(ExitCode::SUCCESS)
}

/// What a receipt that holds says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    r#type: String,
    key_id: String,
    completed: Option<String>,
    /// The log in which it is proved to be.
    log: Option<FoundLog>,
}

#[derive(Serialize)]
struct FoundLog {
    origin: String,
    size: u64,
}

fn describe(found: &Found) -> String {
    format!(
        "OK  {}  signed by ed25519 key {}  completed {}  {}\n",
        line(&found.r#type),
        found.key_id,
        line(found.completed.as_deref().unwrap_or("?")),
        found.log.as_ref().map_or_else(
            || "without a proof that it is in the log".to_owned(),
            |log| format!("in the log {} of {} receipts", line(&log.origin), log.size)
        )
    )
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
