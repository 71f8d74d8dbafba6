//! A server in the test's own process, on either engine, spoken to through its public interfaces.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas::server::Server;
use habeas::settings::Settings;
use habeas_core::Ambient;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::postgres;

pub(crate) const TRAINING: &str = "/customvision/v3.4-preview/training";

/// A sample image; the number after its end makes its bytes unique.
pub(crate) fn image(number: u64) -> Vec<u8> {
    let mut bytes =
        include_bytes!("../../../../data/custom-vision/CustomVision/ObjectDetection/Images/fork/fork_1.jpg")
            .to_vec();
    bytes.extend_from_slice(format!("unique {number}").as_bytes());
    bytes
}

/// The engines to test on: the embedded one, and PostgreSQL if it is there.
pub(crate) fn engines() -> Vec<Option<String>> {
    let mut engines = vec![None];
    engines.extend(postgres::database().map(Some));
    engines
}

/// Images of each tag that a detector needs.
pub(crate) const LEAST_DETECTED: u64 = 2;

/// A deployment in a folder of its own.
pub(crate) struct Deployment {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) settings: Settings,
    ambient: Ambient,
    server: Option<Server>,
}

/// A person with a key.
#[derive(Clone, Debug)]
pub(crate) struct Someone {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) key: String,
}

/// The files of an archive, in its order.
pub(crate) fn unzip(archive: impl std::io::Read + std::io::Seek) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

impl Deployment {
    pub(crate) async fn open(database: Option<String>) -> Deployment {
        Deployment::open_with(|settings| settings.database = database).await.unwrap()
    }

    /// Opens a deployment with other settings; what the start says when they do not work.
    pub(crate) async fn open_with(change: impl FnOnce(&mut Settings)) -> Result<Deployment, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("hb").tempdir().unwrap();
        let data = folder.path().join("data");
        let mut deployment = Deployment::closed(folder, data);
        change(&mut deployment.settings);
        deployment.try_start().await?;
        Ok(deployment)
    }

    /// Opens a deployment whose clock the test moves.
    pub(crate) async fn open_with_clock(
        clock: std::sync::Arc<dyn habeas_core::Clock>,
        change: impl FnOnce(&mut Settings),
    ) -> Deployment {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("hb").tempdir().unwrap();
        let data = folder.path().join("data");
        let mut deployment = Deployment::closed(folder, data);
        deployment.ambient.clock = clock;
        change(&mut deployment.settings);
        deployment.start().await;
        deployment
    }

    /// Opens a deployment whose data another process has made.
    pub(crate) async fn open_in(data: PathBuf, database: Option<String>) -> Deployment {
        Deployment::open_in_with(data, |settings| settings.database = database).await
    }

    /// The same with other settings.
    pub(crate) async fn open_in_with(data: PathBuf, change: impl FnOnce(&mut Settings)) -> Deployment {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut deployment = Deployment::closed(tempfile::tempdir().unwrap(), data);
        change(&mut deployment.settings);
        deployment.start().await;
        deployment
    }

    fn closed(folder: tempfile::TempDir, data: PathBuf) -> Deployment {
        let settings = Settings {
            data: Some(data),
            log: Some("off".to_owned()),
            disk_reserve_mb: Some(0),
            images_per_detected_tag: Some(LEAST_DETECTED),
            passphrase_work: Some(10),
            ..Settings::default()
        };
        Deployment { folder, settings, ambient: Ambient::system(), server: None }
    }

    pub(crate) async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    /// Starts it; what it says, with its hint, when it cannot.
    pub(crate) async fn try_start(&mut self) -> Result<(), String> {
        let server =
            Server::open(&self.settings, self.ambient.clone()).await.map_err(|error| format!("{error:#}"))?;
        self.server = Some(server);
        Ok(())
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends a request; the status and the bytes of the answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = self.server().router().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 30).await.unwrap();
        (status, bytes.to_vec())
    }

    /// Calls the privacy API as the operator.
    pub(crate) async fn operator(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/privacy/v1{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        request.extensions_mut().insert(habeas_access::Actor::Operator);
        let (status, bytes) = self.send(request).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Calls the privacy API with a bearer token, or as nobody.
    pub(crate) async fn call(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/privacy/v1{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (status, bytes) = self.send(request.body(Body::from(body.to_string())).unwrap()).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// A bearer token of a person.
    pub(crate) async fn token(&self, someone: &Someone) -> String {
        let path = format!("/persons/{}/tokens", someone.id);
        let (status, issued) = self.operator("POST", &path, json!({})).await;
        assert_eq!(status, 201, "{issued}");
        issued["secret"].as_str().unwrap().to_owned()
    }

    /// A privacy officer's bearer token.
    pub(crate) async fn officer(&self, name: &str) -> String {
        let officer = self.person(&format!("{name}@example.org"), name).await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        assert_eq!(self.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
        self.token(&officer).await
    }

    /// Another bearer token of the officer who was made by this name, as old as now.
    pub(crate) async fn signed_in_anew(&self, name: &str) -> String {
        let path = format!("/persons?email={name}@example.org");
        let (status, found) = self.operator("GET", &path, Value::Null).await;
        assert_eq!(status, 200, "{found}");
        let id = found[0]["objectId"].as_str().unwrap().to_owned();
        self.token(&Someone { id, email: format!("{name}@example.org"), key: String::new() }).await
    }

    /// Calls the training API with a key.
    pub(crate) async fn train(
        &self,
        method: &str,
        key: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{TRAINING}{path}"))
            .header("training-key", key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let (status, bytes) = self.send(request).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) async fn person(&self, email: &str, name: &str) -> Someone {
        let (status, made) = self.operator("POST", "/persons", json!({ "email": email, "name": name })).await;
        assert_eq!(status, 201, "{made}");
        Someone {
            id: made["objectId"].as_str().unwrap().to_owned(),
            email: email.to_owned(),
            key: made["trainingKeys"][0].as_str().unwrap().to_owned(),
        }
    }

    /// A project; its id.
    pub(crate) async fn project(&self, someone: &Someone, name: &str) -> String {
        let (status, made) = self.train("POST", &someone.key, &format!("/projects?name={name}"), None).await;
        assert_eq!(status, 200, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// A tag; its id.
    pub(crate) async fn tag(&self, someone: &Someone, project: &str, name: &str) -> String {
        let (status, made) =
            self.train("POST", &someone.key, &format!("/projects/{project}/tags?name={name}"), None).await;
        assert_eq!(status, 200, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// An image; its id.
    pub(crate) async fn image(
        &self,
        someone: &Someone,
        project: &str,
        name: &str,
        bytes: &[u8],
        tags: &[&str],
    ) -> String {
        let body =
            json!({ "images": [{ "name": name, "contents": STANDARD.encode(bytes), "tagIds": tags }] });
        let (status, made) =
            self.train("POST", &someone.key, &format!("/projects/{project}/images/files"), Some(body)).await;
        assert_eq!(status, 200, "{made}");
        made["images"][0]["image"]["id"].as_str().unwrap().to_owned()
    }

    /// Plans, runs and waits for an erasure; the last report, with the plan's id in it.
    pub(crate) async fn erase(&self, someone: &Someone) -> Value {
        self.erase_holder(&format!("/persons/{}", someone.id), &someone.email).await
    }

    /// The same for the person or organisation at this path.
    pub(crate) async fn erase_holder(&self, path: &str, confirmation: &str) -> Value {
        let (status, plan) = self.operator("POST", &format!("{path}/erasure-plans"), json!({})).await;
        assert_eq!(status, 201, "{plan}");
        let body = json!({ "plan": plan["plan"], "confirm": confirmation, "digest": plan["digest"] });
        let (status, report) = self.operator("POST", "/erasures", body).await;
        assert_eq!(status, 202, "{report}");
        self.finished(plan["plan"].as_str().unwrap()).await
    }

    /// The report of an erasure once it is completed or an attempt has failed.
    pub(crate) async fn finished(&self, plan: &str) -> Value {
        loop {
            let (_, report) = self.operator("GET", &format!("/erasures/{plan}"), Value::Null).await;
            if report["status"] != "running" {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The archive of a person: path and bytes of every file.
    pub(crate) async fn export(&self, someone: &Someone) -> Vec<(String, Vec<u8>)> {
        let mut request = Request::get(format!("/api/privacy/v1/persons/{}/export", someone.id))
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(habeas_access::Actor::Operator);
        let (status, bytes) = self.send(request).await;
        assert_eq!(status, 200);
        unzip(std::io::Cursor::new(bytes))
    }

    /// What a person's archive holds of theirs: without dates of the export itself, telemetry and signatures.
    pub(crate) async fn content(&self, someone: &Someone) -> Vec<(String, Vec<u8>)> {
        let about = [
            "request.json",
            "ro-crate-",
            "manifest-",
            "signature/",
            "activity/",
            "article-15",
            "completeness",
            "datapackage",
        ];
        let mut files = self.export(someone).await;
        files.retain(|(path, _)| !about.iter().any(|prefix| path.starts_with(prefix)));
        files.sort();
        files
    }
}
