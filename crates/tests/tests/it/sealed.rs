//! Archives that are sealed for a key or with a passphrase: who opens them, and that no passphrase stays.

use std::io::Read as _;
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, header};
use habeas::archive::{Checked, plain};
use habeas_core::Id;
use habeas_core::age::{Identity, Lock, Passphrase};
use habeas_core::crypto::SecretKey;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, image};
use crate::portal::session;

pub(crate) const PASSPHRASE: &str = "four words, and a number 7";
/// The public half of the private key of 32 sevens.
pub(crate) const RECIPIENT: &str = "age1zwlyl6h27gzv0lfntr7fcqrjrzqazap8sy5zylkxwneh7llf0dksu37mwt";

async fn seal(deployment: &Deployment, someone: &Someone, how: &Value) -> (u16, Vec<u8>) {
    let mut request = Request::post(format!("/api/privacy/v1/persons/{}/export", someone.id))
        .header("content-type", "application/json")
        .body(Body::from(how.to_string()))
        .unwrap();
    request.extensions_mut().insert(habeas_access::Actor::Operator);
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), bytes)
}

pub(crate) fn by_passphrase(text: &str) -> Identity {
    Identity::Passphrase(Passphrase::of_sealed(text.to_owned().into()))
}

/// Opens an archive and reads it to its end.
pub(crate) fn open(path: &Path, lock: Lock, identity: &Identity) -> anyhow::Result<Checked> {
    let file = plain(path, |found| {
        assert_eq!(found, lock);
        Ok(identity.clone())
    })?;
    Checked::open(file, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_archive_is_opened_by_whom_it_is_for_and_nobody_else() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.zip.age");

        let how = json!({ "passphrase": PASSPHRASE, "formats": ["coco"] });
        let (status, sealed) = seal(&deployment, &someone, &how).await;
        assert_eq!(status, 200);
        assert!(sealed.starts_with(b"age-encryption.org/v1\n-> scrypt "));
        std::fs::write(&path, &sealed).unwrap();
        let mut checked = open(&path, Lock::Passphrase, &by_passphrase(PASSPHRASE)).unwrap();
        let coco = format!("formats/coco/{project}/annotations.json");
        assert!(checked.content(&coco).unwrap().starts_with(b"{"));
        for wrong in ["", "four words, and a number 8"] {
            let error = open(&path, Lock::Passphrase, &by_passphrase(wrong)).unwrap_err();
            assert!(error.to_string().contains("another one"), "{error}");
        }
        std::fs::write(&path, &sealed[..sealed.len() - 1]).unwrap();
        let error = open(&path, Lock::Passphrase, &by_passphrase(PASSPHRASE)).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");

        let own = SecretKey::from_bytes([7; 32]);
        let (status, sealed) = seal(&deployment, &someone, &json!({ "recipient": RECIPIENT })).await;
        assert_eq!(status, 200);
        std::fs::write(&path, &sealed).unwrap();
        assert!(open(&path, Lock::Key, &Identity::Key(own)).is_ok());
        let error = open(&path, Lock::Key, &Identity::Key(SecretKey::from_bytes([8; 32]))).unwrap_err();
        assert!(error.to_string().contains("another key"), "{error}");

        for (how, expected) in [
            (json!({ "passphrase": "seven77" }), "the passphrase has fewer than 8 letters"),
            (
                json!({ "passphrase": PASSPHRASE, "recipient": RECIPIENT }),
                "an archive is sealed for a key or with a passphrase, not both",
            ),
            (json!({ "recipient": "age1" }), "the recipient is not an age public key"),
            (
                json!({ "passphrase": 7 }),
                "the JSON body does not have the members that this operation needs (line 1, column 15)",
            ),
        ] {
            let (status, refusal) = seal(&deployment, &someone, &how).await;
            let refusal: Value = serde_json::from_slice(&refusal).unwrap();
            assert_eq!((status, &refusal["title"]), (400, &json!(expected)));
        }
        portal(&deployment, &someone).await;
        let stored = deployment.path("data");
        let id: Id = someone.id.parse().unwrap();
        assert!(finds(&stored, id.as_bytes()), "the search finds what is there");
        assert!(!finds(&stored, PASSPHRASE.as_bytes()));
    }
}

/// The same in the portal: an archive is kept, sealed for the holder of a key or with a passphrase, or for nobody besides.
async fn portal(deployment: &Deployment, someone: &Someone) {
    let cookie = session(deployment, someone).await;
    let post = async |form: String| {
        let request = Request::post("/me/exports")
            .header("cookie", &cookie)
            .header("host", "localhost")
            .header("origin", "http://localhost")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        deployment.server().router().oneshot(request).await.unwrap()
    };
    let kept = post("csv=on&folders=on&passphrase=&recipient=".into()).await;
    assert_eq!(kept.status(), 303);
    let path = format!("/persons/{}/exports", someone.id);
    let (_, exports) = deployment.operator("GET", &path, Value::Null).await;
    assert_eq!(
        (&exports[0]["formats"], &exports[0]["recipient"], &exports[0]["withPassphrase"]),
        (&json!(["csv", "folders"]), &Value::Null, &Value::Null)
    );

    let words = PASSPHRASE.replace(' ', "+");
    let both = format!("recipient={RECIPIENT}&passphrase={words}");
    for wrong in [both, "recipient=age1".into(), "passphrase=seven77".into()] {
        assert_eq!(post(wrong).await.status(), 400);
    }
    let own = Identity::Key(SecretKey::from_bytes([7; 32]));
    for (form, shown_as, lock, identity) in [
        (format!("recipient=+{RECIPIENT}"), RECIPIENT, Lock::Key, own),
        (format!("passphrase={words}"), "a passphrase", Lock::Passphrase, by_passphrase(PASSPHRASE)),
    ] {
        let kept = post(form).await;
        assert_eq!(kept.status(), 303);
        let page = kept.headers()["location"].to_str().unwrap().to_owned();
        let get = async |path: String| {
            let request = Request::get(path).header("cookie", &cookie).body(Body::empty()).unwrap();
            let response = deployment.server().router().oneshot(request).await.unwrap();
            let name = response.headers().get(header::CONTENT_DISPOSITION).cloned();
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
            (name, bytes)
        };
        let shown = loop {
            let shown = String::from_utf8(get(page.clone()).await.1.to_vec()).unwrap();
            if shown.contains("Your archive is ready") {
                break shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert!(shown.contains(shown_as), "{shown}");
        let (name, bytes) = get(format!("{page}/archive.zip")).await;
        assert_eq!(name.unwrap(), "attachment; filename=\"habeas-export.zip.age\"");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(open(file.path(), lock, &identity).is_ok());
    }
}

/// Whether some file below a folder has these bytes.
fn finds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return finds(&path, bytes);
        }
        let mut content = Vec::new();
        // The socket is no file to be read.
        let read = std::fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut content));
        read.is_ok() && content.windows(bytes.len()).any(|part| part == bytes)
    })
}
