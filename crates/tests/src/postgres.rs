//! A PostgreSQL of the tests' own, if the variable `HABEAS_TEST_POSTGRES_BIN` names a directory with an `initdb`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The address of a fresh database; none when PostgreSQL is not there, which is said loudly.
pub fn database() -> Option<String> {
    let cluster = CLUSTER.get_or_init(|| {
        let cluster = start();
        if cluster.is_none() {
            println!("SKIPPED on PostgreSQL: HABEAS_TEST_POSTGRES_BIN names no directory with initdb");
        }
        cluster
    });
    let cluster = cluster.as_ref()?;
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::SeqCst));
    administer(&format!("CREATE DATABASE {name}"));
    Some(format!("postgres://postgres@/{name}?host={}", cluster.folder.display()))
}

/// The name of the database at an address that [`database`] gave.
pub fn name(address: &str) -> &str {
    address.split(['/', '?']).nth(3).unwrap()
}

/// Runs a statement in a database.
pub fn execute(address: &str, sql: &str) {
    statement(name(address), sql);
}

/// Runs a statement about databases.
pub fn administer(sql: &str) {
    statement("postgres", sql);
}

fn statement(database: &str, sql: &str) {
    let cluster = CLUSTER.get().and_then(Option::as_ref).unwrap();
    run(cluster
        .command("psql")
        .args(["-q", "-h"])
        .arg(&cluster.folder)
        .args(["-d", database, "-c", sql])
        .stdout(Stdio::null()));
}

impl Cluster {
    /// Makes the files of a cluster, if PostgreSQL is there.
    fn initialised(name: &str) -> Option<Cluster> {
        let bin = PathBuf::from(std::env::var_os("HABEAS_TEST_POSTGRES_BIN")?);
        if !bin.join("initdb").exists() {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("habeas-{name}-{}", std::process::id()));
        // What a killed run left whose process had the same number.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir(&folder).unwrap();
        let cluster = Cluster { bin, folder };
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&cluster.folder));
        }
        run(cluster
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "-D"])
            .arg(cluster.folder.join("data"))
            .stdout(Stdio::null()));
        Some(cluster)
    }

    /// Starts it, with its socket in its folder, and has it stopped when the tests end.
    fn launch(&self, options: &str) {
        let data = self.folder.join("data");
        let options =
            format!("{options} -c unix_socket_directories={} -c max_connections=200", self.folder.display());
        run(self
            .command("pg_ctl")
            .args(["-w", "-s", "-l"])
            .arg(self.folder.join("log"))
            .args(["-o", &options, "-D"])
            .arg(&data)
            .arg("start")
            .stdout(Stdio::null()));
        stop_when_the_tests_end(self, &data);
    }

    /// A program of PostgreSQL's, which refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let mut command;
        let path = self.bin.join(program);
        if is_root() {
            command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
        } else {
            command = Command::new(path);
        }
        command.env("PGUSER", "postgres").current_dir("/").stdin(Stdio::null());
        command
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn start() -> Option<Cluster> {
    let cluster = Cluster::initialised("postgres")?;
    cluster.launch("-c listen_addresses=");
    Some(cluster)
}

/// A PostgreSQL of its own that takes nothing but TLS over TCP, with a certificate of an authority of the test's; the address of its
/// database without `sslmode`, and the authority's file.
pub fn over_tls() -> Option<(String, PathBuf)> {
    let cluster = Cluster::initialised("postgres-tls")?;
    let authority = make_certificate(&cluster.folder);
    let allowed = "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n";
    std::fs::write(cluster.folder.join("data/pg_hba.conf"), allowed).unwrap();
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres"]).arg(&cluster.folder));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = cluster.folder.display();
    cluster.launch(&format!(
        "-c listen_addresses=localhost -c port={port} -c ssl=on -c ssl_cert_file={folder}/server.pem -c ssl_key_file={folder}/server.key"
    ));
    Some((format!("postgres://postgres@localhost:{port}/postgres"), authority))
}

/// A certificate for `localhost`, its key, and the authority that signed it.
fn make_certificate(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let (authority_key, server_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let path = folder.join("authority.pem");
    std::fs::write(&path, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("server.pem"), server.signed_by(&server_key, &issuer).unwrap().pem()).unwrap();
    let key = folder.join("server.key");
    std::fs::write(&key, server_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Test binaries run no code of ours at their end: a small watcher waits for the process to go.
#[expect(clippy::zombie_processes, reason = "it outlives this process on purpose")]
fn stop_when_the_tests_end(cluster: &Cluster, data: &Path) {
    let script =
        "while [ -e \"/proc/$1\" ]; do sleep 1; done; \"$2\" -m immediate -s -D \"$3\" stop; rm -rf \"$4\"";
    let mut command = Command::new(if is_root() { "runuser" } else { "sh" });
    if is_root() {
        command.args(["-u", "postgres", "--", "sh"]);
    }
    command
        .args(["-c", script, "sh", &std::process::id().to_string()])
        .arg(cluster.bin.join("pg_ctl"))
        .arg(data)
        .arg(&cluster.folder)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?} failed");
}
