//! Measures the server against peers and raw limits in the same run: `cargo xtask bench`.
//!
//! Takes the path of the `habeas` program, the folder of the sample images and the file to write the results to, and in `BENCH_MLFLOW` the path
//! of an `mlflow` program; names of parts after them
//! (`start`, `tags`, `upload`, `large`, `export`, `person`, `queue`, `tracking`, `log`, `learning`, `unlearning`, `accuracy`) measure only those, and leave the
//! other lines of the results as they are. Everything is measured three times, in turns, and the middle ratio is reported, so that a
//! disturbance of one turn does not become a result; but what takes minutes only once.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]
#![expect(
    clippy::disallowed_methods,
    reason = "measuring needs the clock and the working directory of the machine"
)]

mod accuracy;
mod export;
mod extractor;
mod large;
mod learning;
mod load;
mod log;
mod made;
mod person;
mod queue;
mod report;
mod server;
mod start;
mod tags;
mod tracking;
mod unlearning;
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
    let usage = "usage: habeas-bench PROGRAM IMAGES RESULTS [PART...]";
    let program = arguments.next().context(usage)?;
    let images = arguments.next().context(usage)?;
    let results = arguments.next().context(usage)?;
    let parts: Vec<PathBuf> = arguments.collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name.as_os_str() == part);
    // The HTTP client asks the process which cryptography to use; installing it twice is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let samples = load::samples(&images)?;
    let mut report = Report::default();
    if wanted("start") {
        start::measure(&program, &mut report).await?;
    }
    if wanted("tags") {
        tags::measure(&program, &mut report).await?;
    }
    if wanted("upload") {
        upload::measure(&program, &samples, &mut report).await?;
    }
    if wanted("large") {
        large::measure(&program, &samples, &mut report).await?;
    }
    if wanted("export") {
        export::measure(&program, &samples, &mut report).await?;
    }
    if wanted("person") {
        person::measure(&program, &samples, &mut report).await?;
    }
    if wanted("queue") {
        queue::measure(&program, &mut report).await?;
    }
    if wanted("tracking") {
        let mlflow = std::env::var_os("BENCH_MLFLOW").map(PathBuf::from);
        tracking::measure(&program, mlflow.as_deref(), &mut report).await?;
    }
    if wanted("log") {
        log::measure(&mut report)?;
    }
    if wanted("learning") {
        learning::measure(&program, &mut report).await?;
    }
    if wanted("unlearning") {
        unlearning::measure(&program, &mut report).await?;
    }
    if wanted("accuracy") {
        accuracy::measure(&mut report)?;
    }
    // Of a whole run nothing older is kept.
    let before = if parts.is_empty() { String::new() } else { std::fs::read_to_string(&results)? };
    std::fs::write(&results, report.markdown(&before))
        .with_context(|| format!("cannot write {}", results.display()))
}
