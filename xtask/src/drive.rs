//! Drives the binary from outside: Microsoft's clients, and a browser.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::environment::{CLIENTS, Environment, OVER_TLS_ONLY, TRACKERS};
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
            // The far ends of the tests are on this machine.
            .env("HABEAS_SWITCHED_OFF", "public-only")
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

/// Asks the command line for JSON about `data`.
fn ask(binary: &Path, data: &Path, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
    let mut command = Command::new(binary);
    command.args(arguments).args(["-o", "json", "--data"]).arg(data);
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

/// Makes a person.
fn person(binary: &Path, data: &Path, email: &str) -> anyhow::Result<serde_json::Value> {
    ask(binary, data, &["person", "create", email, "--name", email.split('@').next().unwrap_or_default()])
}

/// Issues a bearer token.
fn token(binary: &Path, data: &Path, email: &str) -> anyhow::Result<String> {
    let issued =
        output(Command::new(binary).args(["token", "create", "--person", email, "--data"]).arg(data))?;
    Ok(issued.trim().to_owned())
}

/// An organisation with a member in each role: the variables that tell a program its key and their tokens.
fn organisation(binary: &Path, data: &Path) -> anyhow::Result<Vec<(String, String)>> {
    person(binary, data, "founder@example.org")?;
    let made = ask(binary, data, &["organisation", "create", "Garden", "--owner", "founder@example.org"])?;
    let text = |name: &serde_json::Value| name.as_str().unwrap_or_default().to_owned();
    let id = text(&made["objectId"]);
    let mut variables = vec![
        ("HABEAS_TEST_ORGANISATION".to_owned(), id.clone()),
        ("HABEAS_TEST_ORGANISATION_KEY".to_owned(), text(&made["trainingKeys"][0])),
    ];
    for role in ["contributor", "trainer", "labeler", "deployment", "reader"] {
        let email = format!("{role}@example.org");
        person(binary, data, &email)?;
        let member = ["organisation", "member", &id, &email, "--role", role, "--data"];
        output(Command::new(binary).args(member).arg(data))?;
        variables.push((format!("HABEAS_TEST_TOKEN_{}", role.to_uppercase()), token(binary, data, &email)?));
    }
    Ok(variables)
}

/// A program that drives a client.
struct Program {
    interpreter: PathBuf,
    file: PathBuf,
    /// Whether it is driven over TLS too. What that changes is the transport, which is one in releases and programs of a package.
    over_tls: bool,
}

fn programs(environment: &Environment) -> anyhow::Result<Vec<Program>> {
    let clients = root().join("crates/tests/clients");
    let Some(pythons) = &environment.python else { bail!("the Python clients are not installed") };
    let mut programs = Vec::new();
    for (version, python) in CLIENTS.iter().zip(pythons) {
        let files: &[(&str, bool)] = match *version {
            "3.1.1" => &[
                ("custom_vision_311.py", true),
                ("quickstart_classification.py", true),
                ("quickstart_detection.py", false),
            ],
            _ => &[("custom_vision_old.py", *version == "0.1.0")],
        };
        programs.extend(files.iter().map(|&(name, over_tls)| Program {
            interpreter: python.clone(),
            file: clients.join("python").join(name),
            over_tls,
        }));
    }
    if let Some(modules) = &environment.node {
        let copied = |name: &str| -> anyhow::Result<PathBuf> {
            std::fs::copy(clients.join("node").join(name), modules.join(name))?;
            Ok(modules.join(name))
        };
        copied("driven.mjs")?;
        for (name, over_tls) in [
            ("custom_vision_520.mjs", true),
            ("quickstart_classification.mjs", true),
            ("quickstart_detection.mjs", false),
        ] {
            programs.push(Program { interpreter: "node".into(), file: copied(name)?, over_tls });
        }
    } else {
        println!("!!! SKIPPED: the JavaScript client is not installed");
    }
    Ok(programs)
}

/// Drives Microsoft's own client packages against the binary, over plain HTTP and over TLS.
pub(crate) fn clients(environment: &Environment, binary: &Path) -> anyhow::Result<()> {
    let programs = programs(environment)?;
    for tls in [false, true] {
        let data = target().join(if tls { "clients-tls" } else { "clients-http" });
        let options: &[&str] = if tls { &["--fetch-urls", "--tls"] } else { &["--fetch-urls"] };
        let server = Server::start(binary, &data, options)?;
        let organisation = organisation(binary, &data)?;
        let wanted = programs.iter().filter(|program| program.over_tls || !tls);
        for (number, program) in wanted.enumerate() {
            let owner = person(binary, &data, &format!("owner{number}@example.org"))?;
            let other = person(binary, &data, &format!("other{number}@example.org"))?;
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let authority = server.data.join("tls/authority.pem");
            let mut command = Command::new(&program.interpreter);
            command
                .arg(&program.file)
                .env("HABEAS_TEST_ENDPOINT", &server.address)
                .env("HABEAS_TEST_KEY", text(&owner["trainingKeys"][0]))
                .env("HABEAS_TEST_PREDICTION_KEY", text(&owner["predictionKeys"][0]))
                .env("HABEAS_TEST_OTHER_KEY", text(&other["trainingKeys"][0]))
                .env("HABEAS_TEST_EMAIL", text(&owner["email"]))
                .env("HABEAS_TEST_IMAGES", root().join("data/custom-vision/CustomVision"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .envs(organisation.iter().map(|(name, value)| (name, value)));
            if tls {
                command
                    .env("REQUESTS_CA_BUNDLE", &authority)
                    .env("SSL_CERT_FILE", &authority)
                    .env("NODE_EXTRA_CA_CERTS", &authority);
            }
            println!(
                "--- {} over {}",
                program.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                if tls { "TLS" } else { "HTTP" }
            );
            run(&mut command)?;
        }
    }
    Ok(())
}

/// Drives the clients of experiment tracking and of Azure ML's control plane against the binary, over plain HTTP and over TLS.
pub(crate) fn trackers(pythons: &[PathBuf], node: Option<&Path>, binary: &Path) -> anyhow::Result<()> {
    let clients = root().join("crates/tests/clients");
    let mut programs: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (python, (_, files)) in pythons.iter().zip(TRACKERS) {
        programs.extend(files.iter().map(|file| (python.clone(), clients.join("python").join(file))));
    }
    if let Some(modules) = node {
        for name in ["driven.mjs", "azure_ml_management.mjs"] {
            std::fs::copy(clients.join("node").join(name), modules.join(name))?;
        }
        programs.push(("node".into(), modules.join("azure_ml_management.mjs")));
    }
    for tls in [false, true] {
        let data = target().join(if tls { "trackers-tls" } else { "trackers-http" });
        let options: &[&str] = if tls { &["--tls"] } else { &[] };
        let server = Server::start(binary, &data, options)?;
        let organisation = organisation(binary, &data)?;
        for (number, (interpreter, file)) in programs.iter().enumerate() {
            if !tls && OVER_TLS_ONLY.iter().any(|name| file.ends_with(name)) {
                continue;
            }
            let (owner, other) = (format!("owner{number}@example.org"), format!("other{number}@example.org"));
            let id = person(binary, &data, &owner)?["objectId"].as_str().unwrap_or_default().to_owned();
            person(binary, &data, &other)?;
            let mut command = Command::new(interpreter);
            command
                .arg(file)
                .envs(organisation.iter().map(|(name, value)| (name, value)))
                .env("HABEAS_TEST_PERSON", id)
                .env("HABEAS_TEST_ENDPOINT", &server.address)
                .env("HABEAS_TEST_EMAIL", &owner)
                .env("HABEAS_TEST_TOKEN", token(binary, &data, &owner)?)
                .env("HABEAS_TEST_OTHER_TOKEN", token(binary, &data, &other)?)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            if tls {
                let authority = server.data.join("tls/authority.pem");
                // `azureml-core` fetches the description of the cloud without requests, by Python's own means.
                for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
                    command.env(name, &authority);
                }
            }
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            println!("--- {} {name} over {}", interpreter.display(), if tls { "TLS" } else { "HTTP" });
            run(&mut command)?;
        }
    }
    Ok(())
}

/// Holds exported models against the server's answers, in ONNX Runtime, and trained models against their proofs.
pub(crate) fn models(python: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("models");
    let data = folder.join("data");
    let server = Server::start(binary, &data, &[])?;
    let owner = person(binary, &data, "owner@example.org")?;
    run(Command::new(python)
        .arg(root().join("crates/tests/clients/python/models.py"))
        .env("HABEAS_TEST_ENDPOINT", &server.address)
        .env("HABEAS_TEST_KEY", owner["trainingKeys"][0].as_str().unwrap_or_default())
        .env("HABEAS_TEST_EMAIL", owner["email"].as_str().unwrap_or_default())
        .env("HABEAS_TEST_IMAGES", root().join("data/custom-vision/CustomVision"))
        .env("HABEAS_TEST_BINARY", binary)
        .env("HABEAS_TEST_DATA", &data)
        .env("HABEAS_TEST_FOLDER", folder.join("work"))
        .env("HABEAS_TEST_VERIFY", root().join("docs/verify_model.py")))
}

/// Makes the built-in feature extractor anew: it must come out byte for byte as it is committed.
pub(crate) fn extractor(python: &Path) -> anyhow::Result<()> {
    let folder = target().join("extractor");
    std::fs::create_dir_all(&folder)?;
    run(Command::new(python).arg(root().join("python/phi/phi_v1.py")).arg(&folder))?;
    let committed = root().join("crates/onnx");
    for path in ["models/phi_v1.onnx", "tests/phi_v1_images.rgb", "tests/phi_v1_features.f32"] {
        let made = Path::new(path).file_name().map(|name| folder.join(name)).unwrap_or_default();
        if std::fs::read(&made)? != std::fs::read(committed.join(path))? {
            bail!("{} is not crates/onnx/{path}", made.display());
        }
    }
    Ok(())
}

/// Drives the portal in a browser.
pub(crate) fn portal(modules: &Path, chromium: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("portal");
    let data = folder.join("data");
    let server = Server::start(binary, &data, &["--demo"])?;
    let source = root().join("crates/tests/clients/node");
    for name in ["browser.mjs", "portal.mjs", "portal_requests.mjs"] {
        std::fs::copy(source.join(name), modules.join(name))?;
    }
    for program in ["portal.mjs", "portal_requests.mjs"] {
        run(Command::new("node")
            .arg(modules.join(program))
            .env("HABEAS_TEST_LINK", &server.link)
            .env("HABEAS_TEST_BINARY", binary)
            .env("HABEAS_TEST_DATA", &data)
            .env("HABEAS_TEST_CHROMIUM", chromium)
            .env("HABEAS_TEST_FOLDER", &folder)
            .env("HABEAS_TEST_SNAPSHOT", source.join("my_data.aria.yml")))?;
    }
    Ok(())
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

/// Exports a user with Microsoft's client of Microsoft Graph.
pub(crate) fn graph(python: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("graph");
    let (data, exports) = (folder.join("data"), folder.join("exports"));
    std::fs::create_dir_all(&exports)?;
    let allowed = exports.to_str().context("the path of the build folder is not UTF-8")?;
    let server = Server::start(binary, &data, &["--fetch-urls", "--export-folder", allowed])?;
    run(Command::new(python)
        .arg(root().join("crates/tests/clients/python/graph.py"))
        .env("HABEAS_TEST_ENDPOINT", &server.address)
        .env("HABEAS_TEST_FOLDER", &exports)
        .env("HABEAS_TEST_EMAIL", "person@example.org")
        .env("HABEAS_TEST_TOKEN", with_token(binary, &data, "person@example.org", None)?)
        .env(
            "HABEAS_TEST_OFFICER",
            with_token(binary, &data, "officer@example.org", Some("privacy-officer"))?,
        ))
}

/// Has OpenSSL check what the server signs: OpenDSR's answers, by a certificate that OpenSSL has made, and a receipt.
pub(crate) fn signatures(binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("signatures");
    std::fs::create_dir_all(&folder)?;
    let (data, certificate, key) =
        (folder.join("data"), folder.join("certificate.pem"), folder.join("key.pem"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-days", "30", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key))?;
    let path = |path: &Path| -> anyhow::Result<String> {
        Ok(path.to_str().context("the path of the build folder is not UTF-8")?.to_owned())
    };
    let options = ["--opendsr-certificate", &path(&certificate)?, "--opendsr-key", &path(&key)?];
    let server = Server::start(binary, &data, &options)?;
    run(Command::new("python3")
        .arg(root().join("crates/tests/clients/python/signatures.py"))
        .env("HABEAS_TEST_ENDPOINT", &server.address)
        .env("HABEAS_TEST_FOLDER", &folder)
        .env("HABEAS_TEST_CERTIFICATE", &certificate)
        .env("HABEAS_TEST_EMAIL", "person@example.org")
        .env("HABEAS_TEST_TOKEN", with_token(binary, &data, "person@example.org", None)?)
        .env(
            "HABEAS_TEST_OFFICER",
            with_token(binary, &data, "officer@example.org", Some("privacy-officer"))?,
        )
        .env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// Makes a person, of the staff with a role; their bearer token.
fn with_token(binary: &Path, data: &Path, email: &str, role: Option<&str>) -> anyhow::Result<String> {
    person(binary, data, email)?;
    if let Some(role) = role {
        output(Command::new(binary).args(["person", "role", email, role, "--data"]).arg(data))?;
    }
    let token =
        output(Command::new(binary).args(["token", "create", "--person", email, "--data"]).arg(data))?;
    Ok(token.trim().to_owned())
}

/// Holds the privacy API against its OpenAPI document with Schemathesis: thousands of calls, good and bad, by an administrator.
pub(crate) fn openapi(schemathesis: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("openapi");
    let data = folder.join("data");
    let server = Server::start(binary, &data, &["--demo", "--fetch-urls"])?;
    let token = with_token(binary, &data, "administrator@example.org", Some("administrator"))?;
    run(Command::new(schemathesis)
        .args(["run", "--no-color", "--seed", "1", "--max-examples", "25", "--phases", "coverage,fuzzing"])
        // A backup goes where the caller says, and what a schema cannot say (an address that is one) is refused.
        .args(["--exclude-path-regex", "/backups", "--exclude-checks", "positive_data_acceptance"])
        .args([
            "--continue-on-failure",
            "--request-timeout",
            "30",
            "--suppress-health-check",
            "all",
            "--max-time",
            "180",
        ])
        .arg("--header")
        .arg(format!("Authorization: Bearer {token}"))
        .arg(format!("{}/api/privacy/v1/openapi.json", server.address))
        .current_dir(&folder))
}

/// Takes the sample person's archive and holds it against the standards it claims to follow.
pub(crate) fn archive(validators: &Path, modules: &Path, binary: &Path) -> anyhow::Result<()> {
    let folder = target().join("archive");
    let data = folder.join("data");
    let _server = Server::start(binary, &data, &["--demo"])?;
    let archive = folder.join("archive.zip");
    let export = |output: &Path| {
        let mut export = Command::new(binary);
        export.args(["export", "--person", "sample.person@example.org", "--output"]).arg(output);
        export.arg("--data").arg(&data);
        export
    };
    output(export(&archive).args(["--format", "csv,jsonl,coco,yolo,voc,folders"]))?;
    let (sealed, passphrase) = (folder.join("sealed.zip.age"), folder.join("passphrase"));
    std::fs::write(&passphrase, "four words, and a number 7\n")?;
    output(export(&sealed).arg("--archive-passphrase-file").arg(&passphrase))?;
    run(Command::new(validators)
        .arg(root().join("crates/tests/clients/python/archive.py"))
        .arg(&archive)
        .arg(modules.join("node_modules/ro-crate/lib/context.json"))
        .args([&sealed, &passphrase, &folder]))?;
    // What that sealed is opened here; all of it is there already.
    run(Command::new(binary)
        .arg("import")
        .arg(folder.join("archive.zip.age"))
        .arg("--identity")
        .arg(folder.join("key.txt"))
        .arg("--data")
        .arg(&data))
}
