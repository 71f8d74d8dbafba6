//! `habeas receipt`: verification that needs no server and no network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use habeas_core::receipt;

use super::{Reach, code, connect};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Verify a receipt against a public key, offline
    Verify {
        /// The receipt
        receipt: PathBuf,
        /// The server's public key: 64 hexadecimal digits, or a file that holds them
        #[arg(long, value_name = "KEY")]
        key: String,
        /// Object id of the person it should be about; checked with the receipt's salt
        #[arg(long, value_name = "OBJECT_ID")]
        person: Option<String>,
    },
    /// Print the public key against which this server's receipts verify
    PublicKey {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Verify { receipt, key, person } => verify(&receipt, &key, person.as_deref()),
        Verb::PublicKey { reach } => {
            connect::with(reach, file, async |client| {
                println!("{}", client.public_key().await?);
                Ok(ExitCode::SUCCESS)
            })
            .await
        }
    }
}

fn verify(path: &Path, key: &str, person: Option<&str>) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = if Path::new(key).exists() { std::fs::read_to_string(key)? } else { key.to_owned() };
    let public: [u8; 32] = hex::decode(text.trim())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .context("a public key is 64 hexadecimal digits, or a file that holds them")?;
    let statement = match receipt::verify(&bytes, &public) {
        Ok(statement) => statement,
        Err(error) => {
            eprintln!("NOT VERIFIED: {error}");
            return Ok(ExitCode::from(code::NOT_VERIFIED));
        }
    };
    if let Some(person) = person {
        let value: serde_json::Value = serde_json::from_slice(&bytes)?;
        let salt: Option<[u8; 16]> = value["salt"]
            .as_str()
            .and_then(|salt| hex::decode(salt).ok())
            .and_then(|salt| salt.try_into().ok());
        let about = salt.is_some_and(|salt| {
            person.parse().is_ok_and(|id| statement["subject"] == receipt::commitment(&salt, id))
        });
        if !about {
            eprintln!("NOT VERIFIED: the receipt is not about that person, or has no salt");
            return Ok(ExitCode::from(code::NOT_VERIFIED));
        }
    }
    println!(
        "OK  {}  signed by ed25519 key {}  completed {}",
        statement["type"].as_str().unwrap_or("receipt"),
        receipt::key_id(&public),
        statement["completed"].as_str().unwrap_or("?")
    );
    Ok(ExitCode::SUCCESS)
}
