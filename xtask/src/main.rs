//! Everything that is automated: `cargo xtask test`, `cargo xtask bench`, `cargo xtask fuzz`, `cargo xtask dist`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod dist;
mod drive;
mod environment;
mod guard;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

const USAGE: &str = "\
usage: cargo xtask test [--quick] [--only STEP]   check everything; installs what is missing
       cargo xtask bench [PART...]                measure, and write docs/BENCHMARKS.md; wants a quiet machine; accuracy needs
                                                  HABEAS_BENCH_IMAGES, a folder of image sets
       cargo xtask fuzz [FACTOR]                  damage inputs at random, 100 times as often as the tests do
       cargo xtask dist                           build an archive to install from, with checksums
       cargo xtask data-map                       write docs/DATA-MAP.md anew";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", options @ ..] => test::run(options),
        ["bench", parts @ ..] => bench(parts),
        ["fuzz"] => fuzz("100"),
        ["fuzz", factor] => fuzz(factor),
        ["dist"] => dist::run(),
        ["data-map"] => {
            run(cargo().args(["run", "--quiet", "--package", "habeas-core", "--example", "data_map"]))
        }
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the server and what measures it, and measures.
fn bench(parts: &[&str]) -> anyhow::Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let built = target().join("release");
    let mut command = Command::new(built.join("habeas-bench"));
    command
        .arg(built.join("habeas"))
        .arg(root().join("data/custom-vision"))
        .arg(root().join("docs/BENCHMARKS.md"))
        .args(parts);
    if let Some(program) = environment::mlflow() {
        command.env("BENCH_MLFLOW", program);
    }
    run(&mut command)
}

/// Damages inputs of real programs at random, with the same seeds each time.
fn fuzz(factor: &str) -> anyhow::Result<()> {
    run(cargo()
        .args(["test", "--package", "habeas-tests", "--test", "it", "--locked", "--", "fuzzing"])
        .env("HABEAS_FUZZ", factor))
}

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; an error when it fails.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed with {status}");
    }
    Ok(())
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
