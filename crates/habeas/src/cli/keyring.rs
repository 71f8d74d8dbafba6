//! `habeas keyring`: on the files themselves, so the server must not run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use habeas_core::SystemRandom;
use habeas_store::RootKeySource;
use habeas_store::keyring::Keyring;
use habeas_store::ledger::Ledger;
use habeas_store::root_key::RootKey;
use serde::Serialize;

use super::code;
use super::output::{Format, note, say};
use crate::settings::Settings;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Read every copy of keyring and ledger and say whether they are whole
    Verify {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        format: Format,
    },
    /// Write a complete copy into a folder, or write all copies anew from an intact one
    Mirror {
        /// The folder that gets a copy
        #[arg(required_unless_present = "restore")]
        folder: Option<PathBuf>,
        /// An intact copy (keyring-a, keyring-b or keyring-mirror) from which the others are written anew
        #[arg(long, value_name = "COPY", conflicts_with = "folder")]
        restore: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Wrap every key under a new root key and destroy the old one
    Rotate {
        /// Make a new root key
        #[arg(long, required = true)]
        new_root: bool,
        #[command(flatten)]
        settings: Settings,
    },
}

pub(crate) async fn run(verb: Verb, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    // File work of a moment: nothing else runs in this process.
    match verb {
        Verb::Verify { settings, format } => verify(&settings.with_file(file)?, format),
        Verb::Mirror { folder, restore, settings } => mirror(folder, restore, &settings.with_file(file)?),
        Verb::Rotate { new_root: _, settings } => rotate(&settings.with_file(file)?),
    }
}

struct Opened {
    keyring: Keyring,
    directory: PathBuf,
    mirrors: Vec<PathBuf>,
    root: RootKeySource,
    _lock: std::fs::File,
}

fn root_key(source: &RootKeySource, directory: &Path) -> habeas_core::Result<RootKey> {
    let random = SystemRandom::default();
    match source {
        RootKeySource::File(path) => RootKey::from_file(path, false, &random),
        RootKeySource::Passphrase(passphrase) => RootKey::from_passphrase(directory, passphrase, &random),
    }
}

fn lock(settings: &Settings) -> anyhow::Result<std::fs::File> {
    let path = settings.data().join("lock");
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .with_context(|| format!("there is no data in {}", settings.data().display()))?;
    if file.try_lock().is_err() {
        bail!("a habeas process works on {}: stop it first", settings.data().display());
    }
    Ok(file)
}

fn open(settings: &Settings) -> anyhow::Result<Opened> {
    let lock = lock(settings)?;
    let options = settings.store_options()?;
    let directory = options.keyring_directory();
    let root = options.root_key_source();
    let key = root_key(&root, &directory)?;
    let keyring = Keyring::open(&directory, &options.mirrors, &key, Arc::new(SystemRandom::default()))?;
    Ok(Opened { keyring, directory, mirrors: options.mirrors, root, _lock: lock })
}

/// What was found of the keyring.
#[derive(Serialize)]
struct Found {
    /// None when it cannot be opened.
    holds: Option<Holds>,
    copies: Vec<FoundCopy>,
}

/// What a keyring that is whole holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Holds {
    keys: usize,
    aliases: usize,
    free_slots: usize,
    ledger_records: u64,
}

#[derive(Serialize)]
struct FoundCopy {
    path: PathBuf,
    /// What is wrong with it.
    problem: Option<String>,
}

fn describe(found: &Found) -> String {
    let mut text = String::new();
    if let Some(Holds { keys, aliases, free_slots, ledger_records }) = &found.holds {
        text.push_str(&format!(
            "ok  {keys} keys, {aliases} aliases, {free_slots} free slots, {ledger_records} ledger records\n"
        ));
    }
    for FoundCopy { path, problem } in &found.copies {
        match problem {
            None => text.push_str(&format!("ok  {}\n", path.display())),
            Some(problem) => text.push_str(&format!("BAD {}: {problem}\n", path.display())),
        }
    }
    text
}

fn verify(settings: &Settings, format: Format) -> anyhow::Result<ExitCode> {
    let checked = open(settings).and_then(|opened| {
        let report = opened.keyring.verify()?;
        let ledger = Ledger::open(&opened.directory, &opened.mirrors)?;
        Ok((report, ledger.position()))
    });
    match checked {
        Ok((report, ledger_records)) => {
            let holds =
                Holds { keys: report.keys, aliases: report.aliases, free_slots: report.free, ledger_records };
            let copies = report.copies.into_iter().map(|path| FoundCopy { path, problem: None });
            format.print(&Found { holds: Some(holds), copies: copies.collect() }, describe)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            note(format_args!("NOT VERIFIED: {}", whole_text(&error)));
            let options = settings.store_options()?;
            let directory = options.keyring_directory();
            if let Ok(root) = root_key(&options.root_key_source(), &directory) {
                let examined = Keyring::examine(&directory, &options.mirrors, &root);
                let copies = examined
                    .into_iter()
                    .map(|(path, found)| FoundCopy { path, problem: found.err().map(|error| error.what) });
                format.print(&Found { holds: None, copies: copies.collect() }, describe)?;
            }
            Ok(ExitCode::from(code::NOT_VERIFIED))
        }
    }
}

/// An error with the file that it is about.
fn whole_text(error: &anyhow::Error) -> String {
    match error.downcast_ref::<habeas_core::Error>() {
        Some(error) => format!("{error:#}"),
        None => format!("{error:#}"),
    }
}

fn mirror(
    folder: Option<PathBuf>,
    restore: Option<PathBuf>,
    settings: &Settings,
) -> anyhow::Result<ExitCode> {
    if let Some(intact) = restore {
        let _lock = lock(settings)?;
        let options = settings.store_options()?;
        let directory = options.keyring_directory();
        let root = root_key(&options.root_key_source(), &directory)?;
        Keyring::restore_from(&intact, &directory, &options.mirrors, &root)?;
        say(format_args!("all copies were written anew from {}", intact.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = folder.context("name the folder that gets a copy")?;
    let opened = open(settings)?;
    std::fs::create_dir_all(&folder)?;
    let path = opened.keyring.mirror(&folder)?;
    // Opening the ledger with the folder as a mirror writes a copy of it there.
    Ledger::open(&opened.directory, &[folder])?;
    say(path.display());
    note(
        "name the folder in keyring-mirrors to keep it up to date; otherwise it still holds keys that are destroyed later",
    );
    Ok(ExitCode::SUCCESS)
}

fn rotate(settings: &Settings) -> anyhow::Result<ExitCode> {
    let opened = open(settings)?;
    let random = SystemRandom::default();
    match &opened.root {
        RootKeySource::File(path) => {
            let new = path.with_extension("new");
            let key = RootKey::from_file(&new, true, &random)?;
            opened.keyring.rotate(&key)?;
            let old = std::fs::OpenOptions::new().write(true).open(path)?;
            std::fs::rename(&new, path)?;
            wipe(old)?;
            say(format_args!("{} holds the new root key; the old one was overwritten", path.display()));
        }
        RootKeySource::Passphrase(_) => {
            let passphrase = std::env::var("HABEAS_NEW_PASSPHRASE")
                .or_else(|_| rpassword::prompt_password("new passphrase: "))
                .context("no new passphrase was given")?;
            let key = RootKey::from_passphrase(&opened.directory, &passphrase, &random)?;
            opened.keyring.rotate(&key)?;
            say("the new passphrase is in force; forget the old one");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Overwrites a replaced key file. On flash the old block may survive physically: docs/THREATS.md says so.
fn wipe(mut file: std::fs::File) -> anyhow::Result<()> {
    use std::io::Write as _;
    let length = usize::try_from(file.metadata()?.len())?;
    file.write_all(&vec![b'0'; length])?;
    Ok(file.sync_all()?)
}
