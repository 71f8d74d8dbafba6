//! What tests need beside cargo: PostgreSQL, and Microsoft's clients. What is missing is installed by the ordinary package managers.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::{output, root, run, target};

/// What there is.
pub(crate) struct Environment {
    /// The directory of `initdb` and `pg_ctl`.
    pub(crate) postgres: Option<PathBuf>,
    /// The Python that has the clients: 3.1.1, then 0.1.0.
    pub(crate) python: Option<(PathBuf, PathBuf)>,
    /// The directory that has `node_modules`.
    pub(crate) node: Option<PathBuf>,
}

impl Environment {
    /// What is there, without installing anything.
    pub(crate) fn present() -> Environment {
        Environment { postgres: postgres(), python: None, node: None }
    }

    /// What is there after installing what is missing. Says loudly what could not be had.
    pub(crate) fn prepare() -> Environment {
        if postgres().is_none() {
            attempt("PostgreSQL", || {
                run(Command::new("apt-get").args(["update", "-qq"]))?;
                run(Command::new("apt-get")
                    .args(["install", "-y", "-qq", "postgresql"])
                    .env("DEBIAN_FRONTEND", "noninteractive"))
            });
        }
        let folder = target().join("test-env");
        let current = folder.join("python-3.1.1");
        let first = folder.join("python-0.1.0");
        let clients = root().join("crates/tests/clients");
        let python = attempt("the Python clients", || {
            virtual_environment(&current, &clients.join("python/requirements.txt"))?;
            virtual_environment(&first, &clients.join("python/requirements-0.1.0.txt"))
        })
        .then(|| (current.join("bin/python"), first.join("bin/python")));
        let modules = folder.join("node");
        let node = attempt("the JavaScript client", || node_modules(&modules, &clients.join("node")))
            .then_some(modules);
        Environment { postgres: postgres(), python, node }
    }
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
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"])
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

/// A server for the clients.
struct Server {
    child: Child,
    address: String,
    data: PathBuf,
}

impl Server {
    fn start(binary: &Path, data: &Path, tls: bool) -> anyhow::Result<Server> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"]).arg(data);
        if tls {
            command.arg("--tls");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the server")?;
        let out = child.stdout.take().context("the server has no output")?;
        for line in BufReader::new(out).lines() {
            if let Some(address) = line?.strip_prefix("listening on ") {
                return Ok(Server { child, address: address.to_owned(), data: data.to_owned() });
            }
        }
        bail!("the server ended before it listened")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is a test's server: how it ends does not matter, only that it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Drives Microsoft's own client packages against the binary, over plain HTTP and over TLS.
pub(crate) fn clients(environment: &Environment, binary: &Path) -> anyhow::Result<()> {
    let clients = root().join("crates/tests/clients");
    let Some((current, first)) = &environment.python else { bail!("the Python clients are not installed") };
    for tls in [false, true] {
        let data = target().join(if tls { "clients-tls" } else { "clients-http" });
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        let server = Server::start(binary, &data, tls)?;
        let mut programs = vec![
            (current.clone(), clients.join("python/custom_vision_311.py")),
            (first.clone(), clients.join("python/custom_vision_010.py")),
        ];
        if let Some(modules) = &environment.node {
            let program = modules.join("custom_vision_520.mjs");
            std::fs::copy(clients.join("node/custom_vision_520.mjs"), &program)?;
            programs.push((PathBuf::from("node"), program));
        } else {
            println!("!!! SKIPPED: the JavaScript client is not installed");
        }
        for (number, (interpreter, program)) in programs.iter().enumerate() {
            let person = |name: &str| -> anyhow::Result<serde_json::Value> {
                let email = format!("{name}{number}@example.org");
                let text = output(
                    Command::new(binary)
                        .args(["person", "create", &email, "--name", name, "-o", "json", "--data"])
                        .arg(&data),
                )?;
                Ok(serde_json::from_str(&text)?)
            };
            let (owner, other) = (person("owner")?, person("other")?);
            let key = |person: &serde_json::Value| {
                person["trainingKeys"][0].as_str().unwrap_or_default().to_owned()
            };
            let authority = server.data.join("tls/authority.pem");
            let mut command = Command::new(interpreter);
            command
                .arg(program)
                .env("HABEAS_TEST_ENDPOINT", &server.address)
                .env("HABEAS_TEST_KEY", key(&owner))
                .env("HABEAS_TEST_OTHER_KEY", key(&other))
                .env("HABEAS_TEST_EMAIL", owner["email"].as_str().unwrap_or_default())
                .env("HABEAS_TEST_IMAGES", root().join("data/custom-vision/CustomVision"));
            if tls {
                command
                    .env("REQUESTS_CA_BUNDLE", &authority)
                    .env("SSL_CERT_FILE", &authority)
                    .env("NODE_EXTRA_CA_CERTS", &authority);
            }
            println!(
                "--- {} over {}",
                program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                if tls { "TLS" } else { "HTTP" }
            );
            run(&mut command)?;
        }
    }
    Ok(())
}
