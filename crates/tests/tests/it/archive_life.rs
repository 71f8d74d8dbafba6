//! The life of an archive that is kept: it is fetched in parts, called off, gone when its time is over, and erased with its person.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use habeas::archive::{Checked, plain};
use habeas_core::age::{Identity, Lock};
use habeas_core::crypto::SecretKey;
use habeas_core::kinds::ExportArchive;
use habeas_core::{Id, ManualClock, time};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, image};
use crate::sealed::{PASSPHRASE, RECIPIENT, by_passphrase, open};

struct Life<'a> {
    deployment: &'a Deployment,
    /// The person's own token.
    token: String,
    person: String,
}

impl<'a> Life<'a> {
    async fn of(deployment: &'a Deployment, someone: &Someone) -> Life<'a> {
        let token = deployment.token(someone).await;
        Life { deployment, token, person: format!("/persons/{}/exports", someone.id) }
    }

    /// Orders an archive; its address.
    async fn order(&self) -> String {
        let (status, report) = self.call("POST", &self.person).await;
        assert_eq!(status, 202, "{report}");
        format!("/exports/{}", report["id"].as_str().unwrap())
    }

    async fn ready(&self) -> (String, Value) {
        let address = self.order().await;
        let report = self.written(&address).await;
        (address, report)
    }

    /// The report of an archive once it is ready.
    async fn written(&self, address: &str) -> Value {
        loop {
            let (_, report) = self.call("GET", address).await;
            if report["status"] != "running" {
                assert_eq!(report["status"], "ready", "{report}");
                return report;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn call(&self, method: &str, path: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/privacy/v1{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::empty())
            .unwrap();
        let (status, body) = self.deployment.send(request).await;
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn content(&self, address: &str, range: &str) -> (u16, Vec<u8>) {
        let request = Request::get(format!("/api/privacy/v1{address}/content"))
            .header("authorization", format!("Bearer {}", self.token))
            .header(header::RANGE, range)
            .body(Body::empty())
            .unwrap();
        let (status, bytes) = self.deployment.send(request).await;
        (status.as_u16(), bytes)
    }

    /// The bytes of an archive that is ready, fetched in two parts.
    async fn content_in_parts(&self, address: &str, report: &Value) -> Vec<u8> {
        let size = report["bytes"].as_u64().unwrap();
        let (status, mut bytes) = self.content(address, &format!("bytes=0-{}", size / 3)).await;
        assert_eq!(status, 206);
        let (status, rest) = self.content(address, &format!("bytes={}-", size / 3 + 1)).await;
        assert_eq!(status, 206);
        bytes.extend(rest);
        assert_eq!(report["sha256"], hex::encode(habeas_core::crypto::sha256(&bytes)));
        bytes
    }

    /// A sealed archive is named as what it is.
    async fn is_named_as_sealed(&self, address: &str) {
        let request = Request::get(format!("/api/privacy/v1{address}/content"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Body::empty())
            .unwrap();
        let response = self.deployment.server().router().oneshot(request).await.unwrap();
        assert_eq!(
            response.headers()[header::CONTENT_DISPOSITION],
            "attachment; filename=\"habeas-export.zip.age\""
        );
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/octet-stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_for_the_holder_of_a_key_is_stored_sealed_and_resumed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
        let life = Life::of(&deployment, &someone).await;
        let wrong = json!({ "recipient": "age1" });
        let (status, refused) = deployment.call(Some(&life.token), "POST", &life.person, wrong).await;
        assert_eq!(status, 400, "{refused}");
        let wanted = json!({ "recipient": RECIPIENT, "formats": ["coco"] });
        let (status, report) = deployment.call(Some(&life.token), "POST", &life.person, wanted).await;
        assert_eq!((status.as_u16(), &report["recipient"]), (202, &json!(RECIPIENT)), "{report}");
        let address = format!("/exports/{}", report["id"].as_str().unwrap());
        let report = life.written(&address).await;

        // In parts, as it is stored; named as what it is.
        let sealed = life.content_in_parts(&address, &report).await;
        assert!(sealed.starts_with(b"age-encryption.org/v1\n-> X25519 "));
        life.is_named_as_sealed(&address).await;

        // Who has the key opens it; its owner sees for whom it is.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.zip.age");
        std::fs::write(&path, &sealed).unwrap();
        let open = |seed: u8| {
            let identity = Identity::Key(SecretKey::from_bytes([seed; 32]));
            plain(&path, |_| Ok(identity.clone())).and_then(|file| Checked::open(file, &[]))
        };
        let coco = format!("formats/coco/{project}/annotations.json");
        assert!(open(7).unwrap().content(&coco).unwrap().starts_with(b"{"));
        assert!(open(8).is_err());
        let (_, listed) = life.call("GET", &life.person).await;
        assert_eq!(listed[0]["recipient"], RECIPIENT);
        let exports = deployment.export(&someone).await;
        let (_, table) = exports.iter().find(|(path, _)| path == "rights/exports.csv").unwrap();
        assert!(String::from_utf8_lossy(table).contains(RECIPIENT));

        // Revoked like any other.
        assert_eq!(life.call("DELETE", &address).await.0, 204);
        assert_eq!(life.content(&address, "bytes=0-").await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_with_a_passphrase_is_stored_sealed_and_resumed_and_what_sealed_it_goes() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let original = image(1);
        let image = deployment.image(&someone, &project, "a.jpg", &original, &[]).await;
        let life = Life::of(&deployment, &someone).await;
        for (wrong, expected) in [
            (json!({ "passphrase": "seven77" }), "the passphrase has fewer than 8 letters"),
            (
                json!({ "passphrase": PASSPHRASE, "recipient": RECIPIENT }),
                "an archive is sealed for a key or with a passphrase, not both",
            ),
        ] {
            let (status, refused) = deployment.call(Some(&life.token), "POST", &life.person, wrong).await;
            assert_eq!((status.as_u16(), &refused["title"]), (400, &json!(expected)), "{refused}");
        }
        assert_eq!(life.call("GET", &life.person).await.1, json!([]));

        let wanted = json!({ "passphrase": PASSPHRASE, "formats": ["coco"] });
        let (status, report) = deployment.call(Some(&life.token), "POST", &life.person, wanted).await;
        assert_eq!((status.as_u16(), &report["withPassphrase"]), (202, &json!(true)), "{report}");
        let id = report["id"].as_str().unwrap();
        let address = format!("/exports/{id}");
        let report = life.written(&address).await;

        // In parts, as it is stored; named as what it is.
        let sealed = life.content_in_parts(&address, &report).await;
        assert!(sealed.starts_with(b"age-encryption.org/v1\n-> scrypt "));
        life.is_named_as_sealed(&address).await;

        // Who knows the passphrase opens it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.zip.age");
        std::fs::write(&path, &sealed).unwrap();
        let mut checked = open(&path, Lock::Passphrase, &by_passphrase(PASSPHRASE)).unwrap();
        let coco = format!("formats/coco/{project}/annotations.json");
        assert!(checked.content(&coco).unwrap().starts_with(b"{"));
        let photo = format!("custom-vision/projects/{project}/images/{image}.jpg");
        assert!(checked.content(&photo).unwrap() == original);
        let error = open(&path, Lock::Passphrase, &by_passphrase("four words, and a number 8")).unwrap_err();
        assert!(error.to_string().contains("another one"), "{error}");

        // What sealed it is kept no longer; its owner sees how it is sealed.
        let archive: Id = id.parse().unwrap();
        let store = deployment.server().app().store();
        let doc = store.read(move |tx| tx.get::<ExportArchive>(archive)).await.unwrap().unwrap().doc;
        assert!(doc.with_passphrase && doc.seal.is_none());
        let (_, listed) = life.call("GET", &life.person).await;
        assert_eq!(listed[0]["withPassphrase"], true);
        let path = format!("/persons/{}/items/ExportArchive", someone.id);
        let (_, shown) = deployment.operator("GET", &path, Value::Null).await;
        let facts = shown["items"][0]["facts"].as_array().unwrap();
        assert!(facts.contains(&json!({ "label": "Sealed with", "value": "a passphrase" })), "{shown}");
        let files = deployment.export(&someone).await;
        let (_, table) = files.iter().find(|(path, _)| path == "rights/exports.csv").unwrap();
        assert!(String::from_utf8_lossy(table).trim_end().ends_with(",passphrase"));
        for (path, bytes) in &files {
            for secret in [PASSPHRASE, "file_key"] {
                assert!(!String::from_utf8_lossy(bytes).contains(secret), "{path} has {secret}");
            }
        }

        // Revoked like any other.
        assert_eq!(life.call("DELETE", &address).await.0, 204);
        assert_eq!(life.content(&address, "bytes=0-").await.0, 404);
    }
}

/// Files of the embedded store.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .fold(0, |count, entry| count + if entry.path().is_dir() { files(&entry.path()) } else { 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_resumed_called_off_and_gone_in_time() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let now = habeas_core::Timestamp::parse("2026-11-26T08:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let storage = tempfile::tempdir().unwrap();
        let folder = storage.path().to_owned();
        let deployment = Deployment::open_with_clock(clock.clone(), |settings| {
            settings.database = database;
            settings.storage = Some(folder.display().to_string());
        })
        .await;
        let someone = deployment.person("a@example.org", "A").await;
        let other = deployment.person("b@example.org", "B").await;
        let project = deployment.project(&someone, "p").await;
        for number in 0..4 {
            deployment.image(&someone, &project, "a.jpg", &image(number), &[]).await;
        }
        let life = Life::of(&deployment, &someone).await;
        let before = files(storage.path());

        let (address, report) = life.ready().await;
        let size = report["bytes"].as_u64().unwrap();
        let (status, mut whole) = life.content(&address, &format!("bytes=0-{}", size / 2 - 1)).await;
        assert_eq!(status, 206);
        let (status, rest) = life.content(&address, &format!("bytes={}-", size / 2)).await;
        assert_eq!(status, 206);
        whole.extend(rest);
        assert_eq!(report["sha256"], hex::encode(habeas_core::crypto::sha256(&whole)));
        assert_eq!(life.content(&address, &format!("bytes={size}-")).await.0, 416);
        assert_eq!(files(storage.path()), before + 1);
        // It is nobody else's, and nobody is told that it is there.
        let stranger = Life::of(&deployment, &other).await;
        for (method, path) in
            [("GET", address.clone()), ("GET", format!("{address}/content")), ("DELETE", address.clone())]
        {
            assert_eq!(stranger.call(method, &path).await.0, 404, "{method} {path}");
        }

        // Called off, ready or not, it is gone with its bytes.
        assert_eq!(life.call("DELETE", &address).await.0, 204);
        assert_eq!(life.content(&address, "bytes=0-").await.0, 404);
        assert_eq!(files(storage.path()), before);
        let running = life.order().await;
        assert_eq!(life.call("DELETE", &running).await.0, 204);
        assert_eq!(life.call("GET", &running).await.0, 404);
        assert_eq!(life.call("GET", &life.person).await.1, json!([]));

        // After a week it is gone at once, and its bytes with the next sweep.
        let (address, report) = life.ready().await;
        assert_eq!(report["expires"], "2026-12-03T08:00:00.000000Z");
        clock.advance(7 * time::DAY);
        assert_eq!(life.call("GET", &address).await.0, 404);
        assert_eq!(life.content(&address, "bytes=0-").await.0, 404);
        deployment.server().app().rights.run_retention().await.unwrap();
        assert_eq!(life.call("GET", &life.person).await.1, json!([]));
        let report = deployment.operator("GET", "/doctor?scan=true", Value::Null).await.1;
        assert!(report["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{report}");

        // An erasure erases it.
        let (address, _) = life.ready().await;
        let held = files(storage.path());
        let done = deployment.erase(&someone).await;
        assert_eq!(done["status"], "completed", "{done}");
        assert_eq!(deployment.operator("GET", &address, Value::Null).await.0, 404);
        // The archive and four images.
        assert_eq!(files(storage.path()), held - 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_says_what_there_is_and_leads_to_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A <b>").await;
        let project = deployment.project(&someone, "p").await;
        for number in 0..2 {
            deployment.image(&someone, &project, "<i>.jpg", &image(number), &[]).await;
        }
        let files = deployment.export(&someone).await;
        let page = &files.iter().find(|(path, _)| path == "ro-crate-preview.html").unwrap().1;
        let page = scraper::Html::parse_document(std::str::from_utf8(page).unwrap());
        let all = |selector: &str| -> Vec<scraper::ElementRef<'_>> {
            page.select(&scraper::Selector::parse(selector).unwrap()).collect()
        };
        // Each kind that is there is one row of the table, which leads to its items, folded.
        for link in all("table a") {
            let target = link.value().attr("href").unwrap();
            assert_eq!(all(&format!("{target} > details > article")).len().min(1), 1, "{target}");
        }
        let summary = all("#Image > details > summary");
        assert_eq!(summary[0].text().collect::<String>(), "Show all 2");
        assert_eq!(all("#Image article").len(), 2);
        // Nothing runs, nothing is fetched, and what people wrote is text.
        assert!(all("script, link, iframe, b, i").is_empty());
        let names: std::collections::HashSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        for (selector, attribute) in [("img", "src"), ("ul a, article a", "href")] {
            for element in all(selector) {
                let address = element.value().attr(attribute).unwrap();
                assert!(names.contains(address), "{address}");
            }
        }
    }
}
