//! `cargo xtask test`: every check, in the order in which a failure is found soonest.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::bail;

use crate::environment::Environment;
use crate::{cargo, drive, guard, root, target};

struct Report {
    rows: Vec<(String, &'static str, f32)>,
    failed: usize,
}

impl Report {
    fn step(&mut self, only: Option<&str>, name: &str, work: impl FnOnce() -> anyhow::Result<()>) {
        if only.is_some_and(|only| only != name) {
            return;
        }
        println!("=== {name}");
        #[expect(clippy::disallowed_methods, reason = "a build tool measures its own steps")]
        let begun = Instant::now();
        let result = work();
        let seconds = begun.elapsed().as_secs_f32();
        let status = match &result {
            Ok(()) => "passed",
            Err(error) => {
                eprintln!("error: {error:#}");
                self.failed += 1;
                "FAILED"
            }
        };
        self.rows.push((name.to_owned(), status, seconds));
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("=== {name}: SKIPPED: {why}");
        self.rows.push((format!("{name} ({why})"), "SKIPPED", 0.0));
    }
}

fn run_all(quick: bool, only: Option<&str>) -> anyhow::Result<()> {
    let mut report = Report { rows: Vec::new(), failed: 0 };
    // What is installed comes over the network while this compiles.
    let preparing = (!quick).then(|| std::thread::spawn(Environment::prepare));
    report.step(only, "format", || crate::run(cargo().args(["fmt", "--all", "--check"])));
    report.step(only, "guard rails", guard::check);
    report.step(only, "clippy", || {
        crate::run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))?;
        // The same without the features that can be left out: only what knows of them is compiled again.
        crate::run(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--no-default-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    });
    let environment = match preparing {
        Some(preparing) => {
            preparing.join().map_err(|_| anyhow::anyhow!("what the checks need could not be installed"))?
        }
        None => Environment::present(),
    };
    match &environment.deny {
        Some(deny) => report.step(only, "dependencies", || {
            crate::run(
                Command::new(deny)
                    .args(["--locked", "--log-level", "error", "check", "bans", "licenses", "sources"])
                    .current_dir(root()),
            )
        }),
        None if quick => report.skip("dependencies", "--quick"),
        None => report.skip("dependencies", "cargo-deny could not be installed"),
    }
    report.step(only, "tests", || {
        let mut command = cargo();
        command.args(["test", "--workspace", "--locked"]);
        match &environment.postgres {
            Some(path) => command.env("HABEAS_TEST_POSTGRES_BIN", path),
            None => command.env_remove("HABEAS_TEST_POSTGRES_BIN"),
        };
        match &environment.strace {
            Some(path) => command.env("HABEAS_TEST_STRACE", path),
            None => command.env_remove("HABEAS_TEST_STRACE"),
        };
        crate::run(&mut command)
    });
    report.step(only, "documentation", || {
        crate::run(
            cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
    let binary = || -> anyhow::Result<PathBuf> {
        // With the tests, whose dependencies ask for some features more: alone, half of all crates would be built a second time.
        crate::run(cargo().args(["build", "--workspace", "--all-targets", "--locked"]))?;
        Ok(target().join("debug/habeas"))
    };
    if quick {
        report.skip("clients", "--quick");
        report.skip("sign-in", "--quick");
        report.skip("graph", "--quick");
        report.skip("signatures", "--quick");
        report.skip("openapi", "--quick");
        report.skip("trackers", "--quick");
        report.skip("archive", "--quick");
        report.skip("models", "--quick");
        report.skip("extractor", "--quick");
        report.skip("portal", "--quick");
    } else {
        if environment.python.is_some() {
            report.step(only, "clients", || drive::clients(&environment, &binary()?));
        } else {
            report.skip("clients", "the Python clients could not be installed");
        }
        match &environment.node {
            Some(modules) => report.step(only, "sign-in", || drive::sign_in(modules, &binary()?)),
            None => report.skip("sign-in", "the JavaScript packages could not be installed"),
        }
        match &environment.graph {
            Some(python) => report.step(only, "graph", || drive::graph(python, &binary()?)),
            None => report.skip("graph", "the client of Microsoft Graph could not be installed"),
        }
        if environment.openssl.is_some() {
            report.step(only, "signatures", || drive::signatures(&binary()?));
        } else {
            report.skip("signatures", "there is no /usr/bin/openssl");
        }
        match &environment.schemathesis {
            Some(program) => report.step(only, "openapi", || drive::openapi(program, &binary()?)),
            None => report.skip("openapi", "Schemathesis could not be installed"),
        }
        match &environment.trackers {
            Some(pythons) => report
                .step(only, "trackers", || drive::trackers(pythons, environment.node.as_deref(), &binary()?)),
            None => report.skip("trackers", "the clients of tracking could not be installed"),
        }
        match (&environment.node, &environment.validators) {
            (Some(modules), Some(validators)) => {
                report.step(only, "archive", || drive::archive(validators, modules, &binary()?));
            }
            _ => report.skip("archive", "the validators of archives could not be installed"),
        }
        if let Some(python) = &environment.models {
            report.step(only, "models", || drive::models(python, &binary()?));
            report.step(only, "extractor", || drive::extractor(python));
        } else {
            report.skip("models", "ONNX Runtime could not be installed");
            report.skip("extractor", "ONNX Runtime could not be installed");
        }
        match (&environment.node, &environment.chromium) {
            (Some(modules), Some(chromium)) => {
                report.step(only, "portal", || drive::portal(modules, chromium, &binary()?));
            }
            (None, _) => report.skip("portal", "the JavaScript packages could not be installed"),
            (_, None) => report.skip("portal", "Chromium could not be installed"),
        }
    }
    if environment.strace.is_none() {
        report.skip("what reaches the disk", "strace could not be installed");
    }
    if environment.postgres.is_none() {
        report.skip("PostgreSQL", "no initdb was found, and it could not be installed");
    }
    println!("\n{:<60} {:>8} {:>8}", "step", "result", "seconds");
    for (name, status, seconds) in &report.rows {
        println!("{name:<60} {status:>8} {seconds:>8.1}");
    }
    let passed = report.rows.iter().filter(|(_, status, _)| *status == "passed").count();
    let skipped = report.rows.iter().filter(|(_, status, _)| *status == "SKIPPED").count();
    println!("\nsteps: {passed} passed, {} failed, {skipped} skipped", report.failed);
    if report.failed > 0 {
        bail!("{} of the steps failed, in {}", report.failed, root().display());
    }
    Ok(())
}

/// Checks what the options ask for.
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    match options {
        [] => run_all(false, None),
        ["--quick"] => run_all(true, None),
        ["--only", step] => run_all(false, Some(step)),
        ["--quick", "--only", step] => run_all(true, Some(step)),
        _ => bail!("{}", crate::USAGE),
    }
}
