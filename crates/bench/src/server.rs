//! The server as a process of its own, and one connection to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use habeas_client::Client;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A server on a folder.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    data: PathBuf,
}

/// A person with a key and a project.
#[derive(Clone)]
pub(crate) struct Someone {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) key: String,
    pub(crate) project: String,
}

impl Server {
    /// Starts the program; returns once it says where it listens.
    pub(crate) fn start(program: &Path, data: &Path) -> anyhow::Result<Server> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"])
            .arg(data)
            // The server refuses settings that it does not know.
            .env_remove("HABEAS_BENCH_IMAGES")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("the server has no output")?;
        for line in BufReader::new(out).lines() {
            if let Some(address) = line?.strip_prefix("listening on http://") {
                return Ok(Server { child, address: address.to_owned(), data: data.to_owned() });
            }
        }
        bail!("the server ended before it listened")
    }

    /// The operator's client.
    pub(crate) fn operator(&self) -> anyhow::Result<Client> {
        Ok(Client::over_socket(&self.data.join("habeas.sock"))?)
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address).await
    }

    /// Makes a person and a project of theirs.
    pub(crate) async fn someone(&self, name: &str) -> anyhow::Result<Someone> {
        let email = format!("{name}@example.org");
        let made = self.operator()?.create_person(&email, name, "standard").await?;
        let key = made.training_keys.first().context("the person has no key")?.clone();
        let mut connection = self.connect().await?;
        let project = connection.train(&key, "/projects?name=p", "application/json", Bytes::new()).await?;
        let project = project["id"].as_str().context("the project has no id")?.to_owned();
        Ok(Someone { id: made.object_id, email, key, project })
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes: now, and at its highest since [`Server::forget_peak`].
    pub(crate) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .context("the system does not tell")?;
            let kilobytes: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
            Ok(kilobytes * 1024)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }

    /// Lets the highest memory begin anew.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Ends the server as an operator does, and waits for it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an error it must not outlive the run; after a stop it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 connection, kept open: the least a client can cost.
pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { requests })
    }

    /// `GET`; the body.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header(header::HOST, "localhost").body(Full::default())?;
        self.send(request).await
    }

    /// The same with a bearer token.
    pub(crate) async fn get_as(&mut self, path: &str, token: &str) -> anyhow::Result<Bytes> {
        let bearer = format!("Bearer {token}");
        let request =
            Request::get(path).header(header::HOST, "localhost").header(header::AUTHORIZATION, bearer);
        self.send(request.body(Full::default())?).await
    }

    /// `POST` to the training API; the answer.
    pub(crate) async fn train(
        &mut self,
        key: &str,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let path = format!("/customvision/v3.3/training{path}");
        Ok(serde_json::from_slice(&self.call(Method::POST, &path, key, media_type, body).await?)?)
    }

    /// Any request to the training or the prediction API; the body of the answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        key: &str,
        media_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header("training-key", key)
            .header("prediction-key", key)
            .header(header::CONTENT_TYPE, media_type)
            .body(Full::new(body))?;
        self.send(request).await
    }

    /// Any request with a bearer token and a JSON body, if any; the body of the answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Full::new(body))?).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
