//! A PostgreSQL of the tests' own, if there is an `initdb`.

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
pub(crate) fn database() -> Option<String> {
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
pub(crate) fn name(address: &str) -> &str {
    address.split(['/', '?']).nth(3).unwrap()
}

/// Runs a statement in a database.
pub(crate) fn execute(address: &str, sql: &str) {
    statement(name(address), sql);
}

/// Runs a statement about databases.
pub(crate) fn administer(sql: &str) {
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
    let bin = PathBuf::from(std::env::var_os("HABEAS_TEST_POSTGRES_BIN")?);
    if !bin.join("initdb").exists() {
        return None;
    }
    let folder = std::env::temp_dir().join(format!("habeas-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let cluster = Cluster { bin, folder };
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(&cluster.folder));
    }
    let data = cluster.folder.join("data");
    run(cluster
        .command("initdb")
        .args(["--auth=trust", "--username=postgres", "-D"])
        .arg(&data)
        .stdout(Stdio::null()));
    let options = format!(
        "-c listen_addresses= -c unix_socket_directories={} -c max_connections=200",
        cluster.folder.display()
    );
    run(cluster
        .command("pg_ctl")
        .args(["-w", "-s", "-l"])
        .arg(cluster.folder.join("log"))
        .args(["-o", &options, "-D"])
        .arg(&data)
        .arg("start")
        .stdout(Stdio::null()));
    stop_when_the_tests_end(&cluster, &data);
    Some(cluster)
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
