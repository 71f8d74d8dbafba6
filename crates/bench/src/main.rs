//! Measures the server against peers and raw limits in the same run: `cargo xtask bench`.
//!
//! Takes the path of the `habeas` program and the file to write the results to. Everything is measured three times, in
//! turns, and the middle ratio is reported, so that a disturbance of one turn does not become a result.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]
#![expect(clippy::disallowed_methods, reason = "measuring needs the clock and the working directory of the machine")]

mod export;
mod load;
mod person;
mod report;
mod server;
mod start;
mod tags;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::report::Report;

/// How often each figure is measured.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let usage = "usage: habeas-bench PROGRAM IMAGES RESULTS";
    let program = arguments.next().context(usage)?;
    let images = arguments.next().context(usage)?;
    let results = arguments.next().context(usage)?;
    // The HTTP client asks the process which cryptography to use; installing it twice is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let samples = load::samples(&images)?;
    let mut report = Report::default();
    start::measure(&program, &mut report).await?;
    tags::measure(&program, &mut report).await?;
    upload::measure(&program, &samples, &mut report).await?;
    export::measure(&program, &samples, &mut report).await?;
    person::measure(&program, &mut report).await?;
    std::fs::write(&results, report.markdown()).with_context(|| format!("cannot write {}", results.display()))
}
