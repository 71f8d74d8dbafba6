//! The command line: data to standard output, notes to standard error, exit codes that scripts can rely on.

mod backup;
mod connect;
mod dataset;
mod decisions;
mod erase;
mod export;
mod exported;
mod hold;
mod import;
mod keyring;
mod log;
mod login;
mod model;
mod organisation;
mod output;
mod person;
mod receipt;
mod request;
mod retention;
mod sealed;
mod unclaimed;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::rescue::SourceError;
use crate::settings::Settings;
use output::{Format, note};

/// Exit codes: the same for every command.
pub(crate) mod code {
    /// Something failed.
    pub(crate) const FAILED: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// It does not exist.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// Not recognised, or not allowed.
    pub(crate) const DENIED: u8 = 4;
    /// A conflict, or a plan that no longer holds.
    pub(crate) const CONFLICT: u8 = 5;
    /// A verification failed.
    pub(crate) const NOT_VERIFIED: u8 = 6;
    /// Done, but for some items.
    pub(crate) const PARTIAL: u8 = 7;
    /// Interrupted.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A self-hosted ML data server: for every person one place to see, take and erase everything held on them.
#[derive(Parser)]
#[command(name = "habeas", version, max_term_width = 100)]
struct Command {
    /// TOML file with settings
    #[arg(long, global = true, env = "HABEAS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

/// How a command reaches the data.
#[derive(Args, Clone)]
pub(crate) struct Reach {
    /// Address of the server; without it the command talks to the server of the data directory, or opens the data itself
    /// when none runs. The bearer token comes from HABEAS_TOKEN or
    /// `habeas login`
    #[arg(long, env = "HABEAS_URL", value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the server
    Serve {
        #[command(flatten)]
        settings: Settings,
        /// Load 62 sample images for a sample person
        #[arg(long)]
        demo: bool,
    },
    /// Sign in at a server; its token is kept for other commands
    Login(login::Server),
    /// Sign out of a server
    Logout(login::Server),
    /// Make persons, look at them, let them sign in
    #[command(subcommand)]
    Person(person::Verb),
    /// Find and take up persons without an account whom images name
    #[command(subcommand)]
    Unclaimed(unclaimed::Verb),
    /// Make organisations, and say who works in them
    #[command(subcommand)]
    Organisation(organisation::Verb),
    /// Hand a project, an account or a workspace over to another holder
    Transfer {
        /// Id of the project, account or workspace
        resource: String,
        /// A person's e-mail address or object id, an organisation's id, or for a project an account's
        #[arg(long)]
        to: String,
        #[command(flatten)]
        format: Format,
        #[command(flatten)]
        reach: Reach,
    },
    /// Issue bearer tokens
    #[command(subcommand)]
    Token(person::TokenVerb),
    /// Write everything held on a person to a ZIP
    Export(export::Export),
    /// Bring a person's archive, or data from another service
    Import(Box<import::Import>),
    /// Plan and run erasures
    #[command(subcommand)]
    Erase(erase::Verb),
    /// Answer data-subject requests
    #[command(subcommand)]
    Request(request::Verb),
    /// Keep things from being deleted for a legal matter
    #[command(subcommand)]
    Hold(hold::Verb),
    /// Delete what its retention rule no longer keeps
    #[command(subcommand)]
    Retention(retention::Verb),
    /// Verify receipts, offline
    #[command(subcommand)]
    Receipt(receipt::Verb),
    /// Show and verify the log of receipts
    #[command(subcommand)]
    Log(log::Verb),
    /// Take a project's images out with their tags and boxes, or bring some in
    #[command(subcommand)]
    Dataset(dataset::Verb),
    /// Look up exported models, and verify trained ones
    #[command(subcommand)]
    Model(model::Verb),
    /// Check database, storage, keyring and tasks
    Doctor {
        #[command(flatten)]
        reach: Reach,
        /// Open everything that can be opened
        #[arg(long)]
        scan: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Make and verify backups
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Restore a backup into an empty deployment
    Restore {
        /// The backup's folder
        backup: PathBuf,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        format: Format,
    },
    /// Copy, renew and check the keyring
    #[command(subcommand)]
    Keyring(keyring::Verb),
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::anyhow!("the async runtime cannot be started: {error}")),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = run(command) => result,
            () = interrupted() => Ok(ExitCode::from(code::INTERRUPTED)),
        }
    });
    // Blocking work that an interrupted command left behind is not waited for.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| report(&error))
}

/// Ends when Ctrl-C was pressed twice: the server ends in order at the first.
async fn interrupted() {
    for _ in 0..2 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let file = command.config.as_deref();
    match command.verb {
        Verb::Serve { settings, demo } => {
            crate::server::serve(settings.with_file(file)?, demo).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Login(server) => login::login(server).await,
        Verb::Logout(server) => login::logout(server).await,
        Verb::Person(verb) => person::run(verb, file).await,
        Verb::Organisation(verb) => organisation::run(verb, file).await,
        Verb::Transfer { resource, to, format, reach } => {
            organisation::transfer(&resource, &to, reach, format, file).await
        }
        Verb::Token(verb) => person::run_token(verb, file).await,
        Verb::Export(export) => export.run(file).await,
        Verb::Import(import) => import::run(*import, file).await,
        Verb::Erase(verb) => erase::run(verb, file).await,
        Verb::Request(verb) => request::run(verb, file).await,
        Verb::Hold(verb) => hold::run(verb, file).await,
        Verb::Retention(verb) => retention::run(verb, file).await,
        Verb::Unclaimed(verb) => unclaimed::run(verb, file).await,
        Verb::Receipt(verb) => receipt::run(verb, file).await,
        Verb::Log(verb) => log::run(verb, file).await,
        Verb::Dataset(verb) => dataset::run(verb, file).await,
        Verb::Model(verb) => model::run(verb, file).await,
        Verb::Doctor { reach, scan, format } => backup::doctor(reach, scan, format, file).await,
        Verb::Backup(verb) => backup::run(verb, file).await,
        Verb::Restore { backup, settings, format } => {
            backup::restore(&backup, settings.with_file(file)?, format).await
        }
        Verb::Keyring(verb) => keyring::run(verb, file).await,
    }
}

/// Prints an error as `error:` and `hint:` lines and chooses the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<habeas_core::Error>() {
        note(format_args!("error: {}", error.what));
        if let Some(place) = &error.place {
            note(format_args!("where: {place}"));
        }
        if let Some(hint) = &error.hint {
            note(format_args!("hint: {hint}"));
        }
        return ExitCode::from(code_of(crate::cli::output::status_of(error.kind)));
    }
    if let Some(error) = error.downcast_ref::<habeas_client::Error>() {
        note(format_args!("error: {error}"));
        return ExitCode::from(match error {
            habeas_client::Error::Refused { status, .. } => code_of(*status),
            _ => code::FAILED,
        });
    }
    note(format_args!("error: {error:#}"));
    ExitCode::from(match error.downcast_ref::<SourceError>() {
        Some(SourceError::Denied) => code::DENIED,
        Some(SourceError::NotFound) => code::NOT_FOUND,
        _ => code::FAILED,
    })
}

fn code_of(status: u16) -> u8 {
    match status {
        400 | 413 => code::USAGE,
        401 | 403 => code::DENIED,
        404 | 410 => code::NOT_FOUND,
        409 | 412 => code::CONFLICT,
        _ => code::FAILED,
    }
}
