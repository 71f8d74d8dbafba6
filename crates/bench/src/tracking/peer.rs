//! The two trackers, behind the one API that both speak.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::load;
use crate::server::{Connection, Server};

/// How long MLflow may take to start: it imports for seconds, in each of its processes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Clients that delete at a time.
const CLIENTS: usize = 16;

/// A tracker that runs.
pub(super) struct Peer {
    /// `127.0.0.1:PORT`.
    address: String,
    token: Option<String>,
    /// The address of its workspace among Azure's resources; nothing at MLflow.
    scope: String,
    process: Process,
}

enum Process {
    Habeas(Server),
    MlFlow(MlFlow),
}

/// `mlflow server` with its defaults on SQLite: four workers and a job runner, in a process group of their own.
struct MlFlow {
    child: Child,
    program: PathBuf,
    folder: PathBuf,
}

impl Peer {
    /// This server, with a person's workspace.
    pub(super) async fn habeas(program: &Path, data: &Path) -> anyhow::Result<Peer> {
        let server = Server::start(program, data)?;
        let operator = server.operator()?;
        let person = operator.create_person("tracker@example.org", "Tracker", "standard").await?.object_id;
        let token = operator.create_token(&person, "bench", None).await?.secret;
        let scope = format!(
            "/subscriptions/{person}/resourcegroups/bench/providers/Microsoft.MachineLearningServices/workspaces/bench"
        );
        let path = format!("{scope}?api-version=2020-08-01");
        let body = r#"{"location":"here"}"#.into();
        server.connect().await?.ask(Method::PUT, &path, Some(&token), body).await?;
        Ok(Peer {
            address: server.address.clone(),
            token: Some(token),
            scope,
            process: Process::Habeas(server),
        })
    }

    /// The peer.
    pub(super) async fn mlflow(program: &Path, folder: &Path) -> anyhow::Result<Peer> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .args(["server", "--host", "127.0.0.1", "--port", &port.to_string(), "--backend-store-uri"])
            .arg(database(folder))
            .arg("--artifacts-destination")
            .arg(folder.join("artifacts"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mlflow = MlFlow { child, program: program.to_owned(), folder: folder.to_owned() };
        let address = format!("127.0.0.1:{port}");
        let peer = Peer { address, token: None, scope: String::new(), process: Process::MlFlow(mlflow) };
        let answers = async {
            loop {
                if let Ok(mut connection) = Connection::open(&peer.address).await
                    && connection.get("/health").await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.context("mlflow does not answer")?;
        Ok(peer)
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> anyhow::Result<Tracker> {
        let api = match &self.process {
            Process::Habeas(_) => format!("/mlflow/v1.0{}/api/2.0", self.scope),
            Process::MlFlow(_) => "/api/2.0".to_owned(),
        };
        let connection = Connection::open(&self.address).await?;
        Ok(Tracker { connection, token: self.token.clone(), api })
    }

    /// Memory of all its processes in bytes, what they share counted once.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        match &self.process {
            Process::Habeas(server) => proportional(server.process()),
            Process::MlFlow(mlflow) => {
                let mut sum = 0;
                for entry in std::fs::read_dir("/proc")? {
                    let name = entry?.file_name();
                    let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                        continue;
                    };
                    if group(process) == Some(mlflow.child.id()) {
                        // One that has just ended takes nothing.
                        sum += proportional(process).unwrap_or(0);
                    }
                }
                Ok(sum)
            }
        }
    }

    /// Deletes the runs of an experiment with their files, for good.
    pub(super) async fn delete_for_good(
        &self,
        experiment: &str,
        runs: Arc<Vec<String>>,
    ) -> anyhow::Result<()> {
        let mlflow = match &self.process {
            Process::Habeas(_) => {
                let path = format!("/history/v1.0{}/experimentids/{experiment}", self.scope);
                let mut connection = Connection::open(&self.address).await?;
                connection.ask(Method::DELETE, &path, self.token.as_deref(), Bytes::new()).await?;
                return Ok(());
            }
            Process::MlFlow(mlflow) => mlflow,
        };
        load::run(
            CLIENTS,
            runs.len() as u64,
            async || self.connect().await,
            move |mut tracker, number| {
                let body = json!({ "run_id": runs[number as usize] });
                async move {
                    tracker.post("runs/delete", &body).await?;
                    Ok(tracker)
                }
            },
        )
        .await?;
        // What MLflow put aside, its operator deletes.
        let status = Command::new(&mlflow.program)
            .args(["gc", "--backend-store-uri"])
            .arg(database(&mlflow.folder))
            .arg("--artifacts-destination")
            .arg(mlflow.folder.join("artifacts"))
            .env("MLFLOW_TRACKING_URI", format!("http://{}", self.address))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("mlflow gc failed");
        }
        Ok(())
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self.process {
            Process::Habeas(server) => server.stop(),
            Process::MlFlow(mlflow) => {
                drop(mlflow);
                Ok(())
            }
        }
    }
}

impl Drop for MlFlow {
    fn drop(&mut self) {
        // The whole group: its workers outlive the first process otherwise.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite:///{}", folder.join("mlflow.db").display())
}

/// The process group of a process, if it is there.
fn group(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `pid (name) state parent group ...`; a name may have spaces and parentheses.
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

/// The proportional set size of a process in bytes.
fn proportional(process: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("the system does not tell")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// A client of MLflow's API.
pub(super) struct Tracker {
    connection: Connection,
    token: Option<String>,
    /// What its operations stand under.
    api: String,
}

impl Tracker {
    /// `POST` of a JSON object to an operation; the answer.
    pub(super) async fn post(&mut self, operation: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("{}/mlflow/{operation}", self.api);
        let body = serde_json::to_vec(body)?.into();
        let answer = self.connection.ask(Method::POST, &path, self.token.as_deref(), body).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// `GET` of an operation with its query; the answer.
    pub(super) async fn get(&mut self, operation: &str) -> anyhow::Result<Value> {
        let path = format!("{}/mlflow/{operation}", self.api);
        let answer = self.connection.ask(Method::GET, &path, self.token.as_deref(), Bytes::new()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Makes a run in an experiment; its id.
    pub(super) async fn create_run(&mut self, body: &Value) -> anyhow::Result<String> {
        let made = self.post("runs/create", body).await?;
        Ok(made["run"]["info"]["run_id"].as_str().context("the run has no id")?.to_owned())
    }

    /// Stores a file of a run.
    pub(super) async fn put_artifact(
        &mut self,
        experiment: &str,
        run: &str,
        bytes: Bytes,
    ) -> anyhow::Result<()> {
        let path = format!("{}/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/model.bin", self.api);
        self.connection.ask(Method::PUT, &path, self.token.as_deref(), bytes).await?;
        Ok(())
    }
}
