//! Containers of Azure's storage that are taken in by their address: all of one, or nothing, and never its signature.

use std::fmt::Write as _;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use habeas_core::fault;
use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};
use crate::scan;

/// The signature of every container here.
const SIGNATURE: &str = "sv=2021-08-06&sr=c&sp=rl&sig=q9XsecretsignatureZw%3D%3D";
/// What of it must lie nowhere.
const SECRET: &str = "q9XsecretsignatureZw";

/// A page of a list, as Azure's storage writes it: names as they stand in XML, and sizes.
fn page(blobs: &[(String, u64)], next: &str) -> String {
    let mut text = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\" ContainerName=\"c\"><Blobs>".to_owned();
    for (name, size) in blobs {
        write!(
            text,
            "<Blob><Name>{name}</Name><Properties><Content-Length>{size}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
        )
        .unwrap();
    }
    text + &format!("</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>")
}

fn is_signed(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains(SIGNATURE))
}

/// `List Blobs`.
async fn list(Path(container): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    if !is_signed(&uri) || !headers.contains_key("x-ms-version") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let query = uri.query().unwrap();
    assert!(query.contains("restype=container&comp=list"), "{query}");
    let blobs = |blobs: &[(&str, u64)]| -> Vec<(String, u64)> {
        blobs.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
    };
    match container.as_str() {
        "pages" if query.contains("marker=2%21next/%3D") => page(&blobs(&[("logs/sub/c.txt", 7)]), ""),
        "pages" => {
            assert!(query.contains("prefix=logs/"), "{query}");
            page(&blobs(&[("logs/a.txt", 7), ("logs/b &amp; +%41.txt", 7)]), "2!next/=")
        }
        "broken" | "wrong" | "short" | "moved" => {
            page(&blobs(&[("logs/a.txt", 7), ("logs/sub/c.txt", 7)]), "")
        }
        "huge" => page(&blobs(&[("logs/a.txt", 7), ("logs/h.bin", 5 << 30)]), ""),
        "many" => {
            let many: Vec<(String, u64)> = (0..10_001).map(|number| (format!("logs/{number}"), 0)).collect();
            page(&many, "")
        }
        "others" => page(&blobs(&[("elsewhere/a.txt", 7)]), ""),
        "none" => page(&[], ""),
        _ => "<html>".to_owned(),
    }
    .into_response()
}

/// `Get Blob`.
async fn blob(Path((container, name)): Path<(String, String)>, uri: Uri) -> Response {
    if !is_signed(&uri) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let content = match name.as_str() {
        "logs/a.txt" => "\"one a\"",
        "logs/b & +%41.txt" => "\"two b\"",
        "logs/sub/c.txt" => "\"six c\"",
        "elsewhere/a.txt" => "\"els e\"",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match container.as_str() {
        "broken" if name == "logs/sub/c.txt" => {
            let pieces = futures::stream::iter([Some(&content[..3]), None]).then(async |piece| match piece {
                Some(piece) => Ok(Bytes::from(piece)),
                None => {
                    // The head of the answer goes out before.
                    tokio::task::yield_now().await;
                    Err(io::Error::other("the line is cut"))
                }
            });
            ([("content-length", "7")], Body::from_stream(pieces)).into_response()
        }
        "wrong" if name == "logs/sub/c.txt" => {
            ([("content-md5", STANDARD.encode([7; 16]))], content).into_response()
        }
        "short" if name == "logs/sub/c.txt" => "\"c\"".into_response(),
        "moved" if name == "logs/sub/c.txt" => {
            (StatusCode::FOUND, [("location", format!("/pages/logs/sub/c.txt?{SIGNATURE}"))]).into_response()
        }
        _ => content.into_response(),
    }
}

/// Storage with containers; its address.
async fn storage() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{container}", get(list)).route("/{container}/{*name}", get(blob));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn paths(list: &Value) -> Vec<&str> {
    list["value"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_taken_in_whole_or_not_at_all() {
    let _lock = crate::canary::alone().await;
    let far = storage().await;
    for database in engines() {
        let deployment = Deployment::open_with(|settings| {
            settings.database = database;
            settings.fetch_urls = Some(true);
        })
        .await
        .unwrap();
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let take = async |at: &str, container: &str, rest: Value| {
            let mut body = json!({ "containerUri": format!("{far}/{container}"),
                "containerSas": format!("?{SIGNATURE}"), "prefix": "logs/", "artifactPrefix": "in/" });
            for (name, value) in rest.as_object().unwrap() {
                body[name] = value.clone();
            }
            team.call("POST", &format!("/artifact/{at}"), body).await
        };
        let at =
            |version: &str, place: &str| format!("{version}@/artifacts/batch/ingest/containersas/{place}");
        let of_run = at("v2.0", &format!("ExperimentRun/dcid.{}", team.run));
        let files = async || {
            let path = format!("/artifact/v2.0@/artifacts/ExperimentRun/dcid.{}", team.run);
            team.ok("GET", &path, json!(null)).await
        };

        // This machine is not public.
        fault::switch_off(&[]);
        let (status, refused) = take(&of_run, "pages", json!({})).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains("not public"), "{refused}");
        fault::switch_off(&["public-only"]);

        for (container, status, said) in [
            ("broken", 400, "`logs/sub/c.txt` could not be taken in, so none was: the far end"),
            ("wrong", 400, "`logs/sub/c.txt` could not be taken in, so none was: the bytes do not have"),
            ("short", 400, "`logs/sub/c.txt` could not be taken in, so none was: it has another size"),
            (
                "moved",
                400,
                "`logs/sub/c.txt` could not be taken in, so none was: the far end answered with status 302",
            ),
            ("huge", 413, "more than the 4294967296 that one may have"),
            ("many", 400, "more than 10000 blobs"),
            ("others", 400, "does not begin with `prefix`"),
            ("page", 400, "no list of blobs"),
        ] {
            let (answered, refused) = take(&of_run, container, json!({})).await;
            let message = refused["error"]["message"].as_str().unwrap();
            assert!(answered == status && message.contains(said), "{container}: {refused}");
            assert!(!refused.to_string().contains(SECRET), "{refused}");
            assert_eq!(paths(&files().await), [] as [&str; 0], "{container}");
        }
        let (status, refused) = take(&of_run, "pages", json!({ "containerSas": null })).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains("answered with status 403"), "{refused}");
        assert_eq!(take(&of_run, "none", json!({})).await, (200, json!({ "value": [] })));

        let (status, taken) = take(&of_run, "pages", json!({})).await;
        assert_eq!(status, 200, "{taken}");
        assert_eq!(paths(&taken), ["in/a.txt", "in/b & +%41.txt", "in/sub/c.txt"]);
        let container = format!("dcid.{}", team.run);
        assert_eq!(
            taken["value"][0]["artifactId"].as_str().unwrap(),
            format!("ExperimentRun/{container}/in/a.txt")
        );
        let read = format!("/artifact/v2.0@/artifacts/content/ExperimentRun/{container}/in");
        for (name, content) in
            [("a.txt", "one a"), ("b%20%26%20%2B%2541.txt", "two b"), ("sub/c.txt", "six c")]
        {
            assert_eq!(team.ok("GET", &format!("{read}/{name}"), json!(null)).await, content);
        }

        // Nothing is overwritten, and of a second command nothing is there.
        let again = json!({ "prefix": "", "artifactPrefix": null });
        let (status, refused) = take(&of_run, "broken", json!({ "artifactPrefix": "in/" })).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(status == 409 && message.contains("`in/a.txt`"), "{refused}");
        assert_eq!(paths(&files().await).len(), 3);

        // To another origin, in the form of 2018, with the signature in the address.
        let whole = json!({ "containerUri": format!("{far}/short?{SIGNATURE}"), "containerSas": null });
        let local = at("v1.0", "LocalUpload/m1");
        assert_eq!(take(&local, "short", whole).await.0, 400);
        let whole = json!({ "containerUri": format!("{far}/pages?{SIGNATURE}"), "containerSas": null,
            "artifactPrefix": null });
        let (status, taken) = take(&local, "pages", whole).await;
        assert_eq!((status, paths(&taken)), (200, vec!["a.txt", "b & +%41.txt", "sub/c.txt"]), "{taken}");
        assert_eq!(take(&local, "others", again).await.0, 200);

        // The signature is nowhere, in whatever the keyring opens and on disk.
        let store = deployment.server().app().store();
        let secret = [SECRET.to_owned()];
        assert_eq!(scan::opened(store, &secret).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &secret), Vec::<String>::new());
    }
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let team = Team::new(&deployment, &someone).await;
    let path = format!("/artifact/v2.0@/artifacts/batch/ingest/containersas/ExperimentRun/{}", team.run);
    let (status, refused) =
        team.call("POST", &path, json!({ "containerUri": "https://example.org/c" })).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("--fetch-urls"), "{refused}");
}
