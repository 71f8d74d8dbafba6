//! Drives the binary from outside: Microsoft's clients, and a browser.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::environment::Environment;
use crate::{output, root, run, target};

/// A server to be driven.
struct Server {
    child: Child,
    address: String,
    /// The link that signs in, printed at the first start.
    link: String,
    data: PathBuf,
}

impl Server {
    /// Starts one on an empty folder, and waits until it answers.
    fn start(binary: &Path, data: &Path, options: &[&str]) -> anyhow::Result<Server> {
        if data.exists() {
            std::fs::remove_dir_all(data)?;
        }
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "error"])
            .args(options)
            .arg("--data")
            .arg(data);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the server")?;
        let out = child.stdout.take().context("the server has no output")?;
        let mut address = String::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            if let Some(found) = line.strip_prefix("listening on ") {
                found.clone_into(&mut address);
            } else if line.starts_with("open once, as ") {
                let link = line.split(' ').next_back().unwrap_or_default().to_owned();
                return Ok(Server { child, address, link, data: data.to_owned() });
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
        let server = Server::start(binary, &data, if tls { &["--tls"] } else { &[] })?;
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

/// Drives the portal in a browser.
pub(crate) fn portal(modules: &Path, chromium: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("portal");
    let server = Server::start(binary, &folder.join("data"), &["--demo"])?;
    let source = root().join("crates/tests/clients/node");
    let program = modules.join("portal.mjs");
    std::fs::copy(source.join("portal.mjs"), &program)?;
    run(Command::new("node")
        .arg(program)
        .env("HABEAS_TEST_LINK", &server.link)
        .env("HABEAS_TEST_BINARY", binary)
        .env("HABEAS_TEST_CHROMIUM", chromium)
        .env("HABEAS_TEST_FOLDER", &folder)
        .env("HABEAS_TEST_SNAPSHOT", source.join("my_data.aria.yml")))
}

/// Signs in with a certified OpenID Connect provider, and lets the command line in.
pub(crate) fn sign_in(modules: &Path, binary: &Path) -> anyhow::Result<()> {
    let program = modules.join("sign_in.mjs");
    std::fs::copy(root().join("crates/tests/clients/node/sign_in.mjs"), &program)?;
    run(Command::new("node")
        .arg(program)
        .env("HABEAS_TEST_BINARY", binary)
        .env("HABEAS_TEST_FOLDER", target().join("sign-in")))
}

/// Takes the sample person's archive and holds it against the standards it claims to follow.
pub(crate) fn archive(validators: &Path, modules: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("archive");
    let data = folder.join("data");
    let _server = Server::start(binary, &data, &["--demo"])?;
    let archive = folder.join("archive.zip");
    output(
        Command::new(binary)
            .args(["export", "--person", "sample.person@example.org", "--output"])
            .arg(&archive)
            .arg("--data")
            .arg(&data),
    )?;
    run(Command::new(validators)
        .arg(root().join("crates/tests/clients/python/archive.py"))
        .arg(&archive)
        .arg(modules.join("node_modules/ro-crate/lib/context.json")))
}
