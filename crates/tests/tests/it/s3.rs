//! Blobs on a real S3 server, which runs in the test: s3s over a folder, with credentials that it checks.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::json;
use tokio::net::TcpListener;

use crate::deployment::{Deployment, image};
use crate::scan;

const BUCKET: &str = "habeas";

/// An S3 server that can be made to fail.
struct S3 {
    folder: tempfile::TempDir,
    address: String,
    failing: Arc<AtomicBool>,
}

impl S3 {
    async fn start(access_key: &str, secret_key: &str) -> S3 {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let service = {
            let mut builder =
                s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
            builder.set_auth(s3s::auth::SimpleAuth::from_single(access_key, secret_key));
            builder.build()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let failing = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failing);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (service, fails) = (service.clone(), Arc::clone(&fails));
                let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (service, fails) = (service.clone(), fails.load(Ordering::SeqCst));
                    async move {
                        if fails {
                            let mut refused = axum::http::Response::new(Body::empty());
                            // Not one that the client tries again: the test would wait for it.
                            *refused.status_mut() = StatusCode::FORBIDDEN;
                            return Ok::<_, Infallible>(refused);
                        }
                        let answer = hyper::service::Service::call(&service, request).await.unwrap();
                        Ok(answer.map(Body::new))
                    }
                });
                tokio::spawn(async move {
                    // A connection that the client drops is no failure.
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        S3 { folder, address, failing }
    }

    fn storage(&self, bucket: &str) -> Option<String> {
        Some(format!("s3://{bucket}/some/place?endpoint=http://{}&region=us-east-1", self.address))
    }

    /// Files in the bucket.
    fn files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| if path.is_dir() { count(&path) } else { 1 })
                .sum()
        }
        let place = self.folder.path().join(BUCKET).join("some/place/blobs");
        if place.exists() { count(&place) } else { 0 }
    }
}

/// Credentials come from the environment, which only a process of its own may change.
#[tokio::test(flavor = "multi_thread")]
async fn images_are_kept_on_s3_and_erased_there() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "s3::child", "--nocapture", "--test-threads=1"])
        .env("HABEAS_TEST_S3", "1")
        .env("AWS_ACCESS_KEY_ID", "AKHABEAS")
        .env("AWS_SECRET_ACCESS_KEY", "a secret");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("seen to its end"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    if std::env::var_os("HABEAS_TEST_S3").is_none() {
        return;
    }
    let s3 = S3::start("AKHABEAS", "a secret").await;
    let mut deployment =
        Deployment::open_with(|settings| settings.storage = s3.storage(BUCKET)).await.unwrap();
    let someone = deployment.person("a@example.org", "A").await;
    let neighbour = deployment.person("b@example.org", "B").await;
    let project = deployment.project(&someone, "p").await;
    let theirs = deployment.project(&neighbour, "p").await;
    for number in 0..3 {
        deployment.image(&someone, &project, "a.jpg", &large(number), &[]).await;
        deployment.image(&neighbour, &theirs, "b.jpg", &image(number + 10), &[]).await;
    }
    assert_eq!(s3.files(), 6);

    // What comes out is what went in, whole and in part; what lies there is sealed.
    let (_, images) =
        deployment.train("GET", &someone.key, &format!("/projects/{project}/images"), None).await;
    let address = images[0]["originalImageUri"].as_str().unwrap().to_owned();
    let path = &address[address.find("/customvision").or_else(|| address.find("/images")).unwrap_or(0)..];
    let path = path.strip_prefix("http://localhost").unwrap_or(path).to_owned();
    let (status, whole) = deployment.send(Request::get(&path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200, "{path}");
    assert!((0..3).any(|number| whole == large(number)));
    let part = Request::get(&path).header(header::RANGE, "bytes=70000-70009").body(Body::empty()).unwrap();
    let (status, bytes) = deployment.send(part).await;
    assert_eq!((status, &*bytes), (StatusCode::PARTIAL_CONTENT, &whole[70_000..70_010]));
    let markers = vec!["unique 1".to_owned(), "Photoshop".to_owned()];
    assert_eq!(scan::on_disk(s3.folder.path(), &markers), Vec::<String>::new());

    // An archive that the server keeps there, written in parts.
    let before = deployment.content(&neighbour).await;
    let exports = format!("/persons/{}/exports", someone.id);
    assert_eq!(deployment.operator("POST", &exports, json!({})).await.0, 202);
    loop {
        let (_, listed) = deployment.operator("GET", &exports, json!(null)).await;
        assert_ne!(listed[0]["status"], "failed", "{listed}");
        if listed[0]["status"] == "ready" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(s3.files(), 7);
    let backup = deployment.path("backup");
    let body = json!({ "destination": backup.to_str().unwrap() });
    assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
    habeas_store::verify_backup(&backup).unwrap();

    // A store that refuses: told in the protocol's envelope, and nothing is half there.
    s3.failing.store(true, Ordering::SeqCst);
    let body = json!({ "images": [{ "name": "late.jpg", "contents": base64(&image(50)) }] });
    let path = format!("/projects/{project}/images/files");
    let (status, answer) = deployment.train("POST", &someone.key, &path, Some(body)).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("blob"), "{answer}");
    let count = format!("/projects/{project}/images/count");
    assert_eq!(deployment.train("GET", &someone.key, &count, None).await.1, json!(3));

    // An erasure makes everything unreadable all the same, and goes on by itself once the store is back.
    let (_, plan) =
        deployment.operator("POST", &format!("/persons/{}/erasure-plans", someone.id), json!({})).await;
    let body = json!({ "plan": plan["plan"], "confirm": someone.email, "digest": plan["digest"] });
    assert_eq!(deployment.operator("POST", "/erasures", body).await.0, 202);
    let erasure = format!("/erasures/{}", plan["plan"].as_str().unwrap());
    loop {
        let (_, report) = deployment.operator("GET", &erasure, json!(null)).await;
        assert_ne!(report["status"], "completed", "files that cannot be deleted are not erased");
        if report["status"] == "failed" {
            assert_eq!(report["steps"][1]["status"], "done", "{report}");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    s3.failing.store(false, Ordering::SeqCst);
    deployment.stop().await;
    deployment.start().await;
    loop {
        let (_, report) = deployment.operator("GET", &erasure, json!(null)).await;
        if report["status"] == "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(s3.files(), 3);
    assert_eq!(deployment.content(&neighbour).await, before);
    let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
    for check in doctor["checks"].as_array().unwrap() {
        assert_eq!(check["status"], "ok", "{check}");
    }
    deployment.stop().await;

    // Who starts with a bucket that is not there, or with another's credentials, hears it at once.
    for storage in [s3.storage("nowhere"), S3::start("AKOTHER", "another").await.storage(BUCKET)] {
        let refused = Deployment::open_with(|settings| settings.storage = storage).await;
        let said = refused.err().unwrap();
        assert!(said.contains("blob store"), "{said}");
        assert!(!said.contains("a secret"), "{said}");
    }
    println!("seen to its end");
}

/// An image of more than one sealed frame.
fn large(number: u64) -> Vec<u8> {
    let mut bytes = image(number);
    bytes.resize(200_000, 7);
    bytes
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}
