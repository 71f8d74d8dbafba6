//! What tests need beside cargo: PostgreSQL, strace, Chromium, Microsoft's clients. What is missing is installed by the ordinary package managers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::{cargo, output, root, run, target};

/// What there is.
pub(crate) struct Environment {
    /// The directory of `initdb` and `pg_ctl`.
    pub(crate) postgres: Option<PathBuf>,
    /// By which tests watch what reaches the disk.
    pub(crate) strace: Option<PathBuf>,
    /// By which signatures are checked.
    pub(crate) openssl: Option<PathBuf>,
    /// For each of [`CLIENTS`] the Python that has it; nothing when one could not be installed.
    pub(crate) python: Option<Vec<PathBuf>>,
    /// For each of [`TRACKERS`] the Python that has it.
    pub(crate) trackers: Option<Vec<PathBuf>>,
    /// The Python that has the validators of archives.
    pub(crate) validators: Option<PathBuf>,
    /// The Python that has NumPy and ONNX Runtime.
    pub(crate) models: Option<PathBuf>,
    /// The Python that has Microsoft's client of Microsoft Graph.
    pub(crate) graph: Option<PathBuf>,
    /// Schemathesis.
    pub(crate) schemathesis: Option<PathBuf>,
    /// The directory that has `node_modules`.
    pub(crate) node: Option<PathBuf>,
    /// The browser.
    pub(crate) chromium: Option<PathBuf>,
    /// `cargo-deny`.
    pub(crate) deny: Option<PathBuf>,
}

impl Environment {
    /// What is there, without installing anything.
    pub(crate) fn present() -> Environment {
        Environment {
            postgres: postgres(),
            strace: program("strace"),
            openssl: program("openssl"),
            python: None,
            trackers: None,
            validators: None,
            models: None,
            graph: None,
            schemathesis: None,
            node: None,
            chromium: None,
            deny: None,
        }
    }

    /// What is there after installing what is missing. Says loudly what could not be had.
    pub(crate) fn prepare() -> Environment {
        if postgres().is_none() {
            attempt("PostgreSQL", || package("postgresql"));
        }
        if program("strace").is_none() {
            attempt("strace", || package("strace"));
        }
        if chromium().is_none() {
            attempt("Chromium", || package("chromium"));
        }
        let folder = target().join("test-env");
        let clients = root().join("crates/tests/clients");
        let pythons = |what: &str, versions: &[&str]| -> Option<Vec<PathBuf>> {
            let folders = versions.iter().map(|version| (version, folder.join(format!("python-{version}"))));
            let folders: Vec<_> = folders.collect();
            attempt(what, || {
                folders.iter().try_for_each(|(version, folder)| {
                    virtual_environment(folder, &clients.join(format!("python/requirements-{version}.txt")))
                })
            })
            .then(|| folders.iter().map(|(_, folder)| folder.join("bin/python")).collect())
        };
        let python = pythons("the Python clients", &CLIENTS);
        let trackers = pythons("the clients of tracking", &TRACKERS.map(|(version, _)| version));
        let validators = folder.join("python-archive");
        let validators = attempt("the validators of archives", || {
            virtual_environment(&validators, &clients.join("python/requirements-archive.txt"))
        })
        .then(|| validators.join("bin/python"));
        let models = folder.join("python-models");
        let models = attempt("ONNX Runtime", || {
            virtual_environment(&models, &clients.join("python/requirements-models.txt"))
        })
        .then(|| models.join("bin/python"));
        let graph = folder.join("python-graph");
        let graph = attempt("the client of Microsoft Graph", || {
            virtual_environment(&graph, &clients.join("python/requirements-graph.txt"))
        })
        .then(|| graph.join("bin/python"));
        let schemathesis = folder.join("python-openapi");
        let schemathesis = attempt("Schemathesis", || {
            virtual_environment(&schemathesis, &clients.join("python/requirements-openapi.txt"))
        })
        .then(|| schemathesis.join("bin/schemathesis"));
        let modules = folder.join("node");
        let node = attempt("the JavaScript client", || node_modules(&modules, &clients.join("node")))
            .then_some(modules);
        let deny = folder.join("cargo-deny/bin/cargo-deny");
        let deny = attempt("cargo-deny", || cargo_deny(&deny, &folder)).then_some(deny);
        Environment {
            postgres: postgres(),
            strace: program("strace"),
            openssl: program("openssl"),
            python,
            trackers,
            validators,
            models,
            graph,
            schemathesis,
            node,
            chromium: chromium(),
            deny,
        }
    }
}

/// The current MLflow with its server, which benchmarks measure against; installed if it is missing.
pub(crate) fn mlflow() -> Option<PathBuf> {
    let (release, _) = TRACKERS[0];
    let folder = target().join(format!("test-env/python-{release}"));
    let requirements = root().join(format!("crates/tests/clients/python/requirements-{release}.txt"));
    attempt("MLflow", || virtual_environment(&folder, &requirements)).then(|| folder.join("bin/mlflow"))
}

/// The releases of Microsoft's Python client that are driven: those that differ in a version of an API. The last is the current one.
pub(crate) const CLIENTS: [&str; 8] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "1.0.0", "2.0.0", "3.0.0", "3.1.1"];

/// What is installed to be driven together, and the program that drives it: the current MLflow; the last one before 3.0, without what only
/// models need; Microsoft's clients of workspaces and of clusters; those of what runs in workspaces.
pub(crate) const TRACKERS: [(&str, &[&str]); 5] = [
    ("mlflow-3.17.2", &["mlflow_tracking.py"]),
    ("mlflow-skinny-2.22.5", &["mlflow_tracking.py"]),
    ("azure-ml-workspaces", &["azure_ml_workspaces.py", "azure_ml_clusters.py"]),
    ("azureml-core-1.61.0", &["azureml_core.py", "azureml_mlflow.py"]),
    ("azureml-core-0.1.50", &["azureml_core_2018.py"]),
];

/// The programs whose client sends tokens over TLS only.
pub(crate) const OVER_TLS_ONLY: [&str; 3] =
    ["azure_ml_workspaces.py", "azureml_core.py", "azureml_mlflow.py"];

/// The release of `cargo-deny` that is installed.
const CARGO_DENY: &str = "0.20.2";

fn cargo_deny(program: &Path, folder: &Path) -> anyhow::Result<()> {
    if output(Command::new(program).arg("--version")).is_ok_and(|found| found.trim().ends_with(CARGO_DENY)) {
        return Ok(());
    }
    let built = folder.join("cargo-deny-build");
    run(cargo()
        .args(["install", "cargo-deny", "--locked", "--quiet", "--version", CARGO_DENY, "--root"])
        .arg(folder.join("cargo-deny"))
        .env("CARGO_TARGET_DIR", &built))?;
    Ok(std::fs::remove_dir_all(built)?)
}

fn attempt(what: &str, install: impl FnOnce() -> anyhow::Result<()>) -> bool {
    match install() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("!!! {what} could not be installed: {error:#}");
            false
        }
    }
}

fn package(name: &str) -> anyhow::Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get").args(["install", "-y", "-qq", name]).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn chromium() -> Option<PathBuf> {
    program("chromium").or_else(|| program("chromium-browser"))
}

fn program(name: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/bin").join(name)).filter(|path| path.exists())
}

fn postgres() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

fn virtual_environment(folder: &Path, requirements: &Path) -> anyhow::Result<()> {
    let stamp = folder.join("installed");
    let wanted =
        std::fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    // The files name all that is needed, and not what a package says it needs beyond that.
    let options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r"];
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install"])
        .args(options)
        .arg(requirements))?;
    Ok(std::fs::write(stamp, wanted)?)
}

fn node_modules(folder: &Path, source: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let lock = std::fs::read(source.join("package-lock.json")).context("cannot read package-lock.json")?;
    if std::fs::read(folder.join("package-lock.json")).is_ok_and(|found| found == lock)
        && folder.join("node_modules").exists()
    {
        return Ok(());
    }
    std::fs::copy(source.join("package.json"), folder.join("package.json"))?;
    std::fs::copy(source.join("package-lock.json"), folder.join("package-lock.json"))?;
    run(Command::new("npm")
        .args(["ci", "--silent", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .stdin(Stdio::null()))
}
