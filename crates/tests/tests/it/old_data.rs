//! Data as older versions left it: a data directory and a backup of each format, which every later version must open. They lie in
//! `fixtures/data-VERSION.zip`, added to and never changed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use habeas_core::kind::HolderKind;
use habeas_core::{Ambient, Id, Kind, registry};
use habeas_store::{Options, Store};
use serde_json::json;
use zip::write::SimpleFileOptions;

use crate::deployment::{Deployment, Someone, engines, image};

/// The version of the fixture that [`write_a_fixture`] makes: one more when something about files or rows has changed.
const NEXT: u32 = 1;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// How many of each kind there are, after every document was opened as its kind and every file read.
async fn opened(store: &Store) -> BTreeMap<String, usize> {
    let mut holders = vec![Id::NIL];
    for sort in [HolderKind::Person, HolderKind::Organisation] {
        let some = store.read(move |tx| tx.holders(sort, Id::NIL, 100)).await.unwrap();
        holders.extend(some.into_iter().map(|(id, _)| id));
    }
    let mut counts = BTreeMap::new();
    for holder in holders {
        for &kind in Kind::ALL {
            let nodes = store.read(move |tx| tx.held(holder, kind, Id::NIL, 100)).await.unwrap();
            *counts.entry(format!("{kind:?}")).or_default() += nodes.len();
            for node in nodes {
                registry::ops(kind).view(&node).unwrap();
                for blob in crate::scan::blobs(&serde_json::from_slice(&node.doc).unwrap()) {
                    store.blobs().get(&blob).await.unwrap();
                }
            }
        }
    }
    counts
}

/// What there is of kinds that do not end by themselves with time. Later versions know more kinds.
fn lasting(mut counts: BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let passing = ["Telemetry", "Token", "ExportArchive", "Task"];
    counts.retain(|kind, count| *count > 0 && !passing.contains(&kind.as_str()));
    counts
}

fn unpack(archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let path = folder.path().join(file.enclosed_name().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        std::fs::write(&path, bytes).unwrap();
        // The root key is nobody else's.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_backups_of_every_version_are_opened() {
    let _lock = crate::canary::protected().await;
    let mut versions = 0;
    for file in std::fs::read_dir(fixtures()).unwrap() {
        let archive = file.unwrap().path();
        let folder = unpack(&archive);
        let data = folder.path().join("data");
        let expected: BTreeMap<String, usize> =
            serde_json::from_slice(&std::fs::read(folder.path().join("counts.json")).unwrap()).unwrap();
        let expected = lasting(expected);
        versions += 1;

        // The backup, on both engines, with the keyring that belongs to it.
        for database in engines() {
            let mut options =
                Options::embedded(folder.path().join(format!("restored-{}", database.is_some())));
            options.database =
                database.map_or(habeas_store::Database::Embedded, habeas_store::Database::Postgres);
            options.keyring = Some(data.join("keyring"));
            options.root_key = Some(habeas_store::RootKeySource::File(data.join("root.key")));
            let backup = folder.path().join("backup");
            Store::restore(options.clone(), &backup, Ambient::system()).await.unwrap();
            let store = Store::open(options, Ambient::system()).await.unwrap();
            assert_eq!(lasting(opened(&store).await), expected, "the backup in {}", archive.display());
        }

        // The data itself: seen, taken and erased. What has an older schema is copied before it is brought up to date.
        let copy = data.join("habeas.db.before-migration.1");
        let mut deployment = Deployment::open_in_with(data, |settings| {
            settings.depicts_key = Some("place".to_owned());
        })
        .await;
        assert_eq!(copy.exists(), archive.ends_with("data-1.zip"));
        let store = deployment.server().app().store().clone();
        assert_eq!(lasting(opened(&store).await), expected, "{}", archive.display());
        drop(store);
        let (_, persons) = deployment.operator("GET", "/persons?email=old@example.org", json!(null)).await;
        let id = persons[0]["objectId"].as_str().unwrap();
        let (_, keys) = deployment.operator("GET", &format!("/persons/{id}/keys"), json!(null)).await;
        let someone = Someone {
            id: id.to_owned(),
            email: "old@example.org".to_owned(),
            key: keys[0]["trainingKeys"][0].as_str().unwrap().to_owned(),
        };
        assert_eq!(
            deployment.train("GET", &someone.key, "/projects", None).await.1[0]["name"],
            "old project"
        );
        assert!(deployment.content(&someone).await.iter().any(|(_, bytes)| *bytes == image(1)));
        // By the first search in every image, by the second in the index that the first has made.
        for search in ["first", "second"] {
            let (_, found) = deployment.operator("GET", "/unclaimed?name=park", json!(null)).await;
            assert_eq!(
                (&found[0]["holder"], &found[0]["count"]),
                (&json!(id), &json!(1)),
                "{search}: {found}"
            );
        }
        let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
        assert!(doctor["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{doctor}");
        assert_eq!(deployment.erase(&someone).await["status"], "completed");
        deployment.stop().await;
    }
    assert!(versions > 0);
}

/// Makes the next fixture, once: `cargo test -p habeas-tests -- --ignored write_a_fixture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes a file of the repository"]
async fn write_a_fixture() {
    let _lock = crate::canary::protected().await;
    let mut deployment = Deployment::open(None).await;
    let someone = deployment.person("old@example.org", "Old").await;
    let password = json!({ "password": "a long old password" });
    deployment.operator("PUT", &format!("/persons/{}/password", someone.id), password).await;
    deployment.operator("POST", &format!("/persons/{}/tokens", someone.id), json!({ "label": "old" })).await;
    let colleague = deployment.person("colleague@example.org", "Colleague").await;
    let body = json!({ "name": "Old Organisation", "owner": colleague.id });
    let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
    let member =
        format!("/organisations/{}/members/{}", organisation["objectId"].as_str().unwrap(), someone.id);
    assert_eq!(deployment.operator("PUT", &member, json!({ "role": "reader" })).await.0, 204);
    let project = deployment.project(&someone, "old%20project").await;
    let tag = deployment.tag(&someone, &project, "old%20tag").await;
    let shown = deployment.image(&someone, &project, "old.jpg", &image(1), &[&tag]).await;
    let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
    assert_eq!(deployment.train("POST", &someone.key, &path, Some(json!({ "place": "park" }))).await.0, 200);
    let path = format!("/projects/{project}/images/id?imageIds={shown}");
    let (_, found) = deployment.train("GET", &someone.key, &path, None).await;
    let thumbnail = found[0]["thumbnailUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
    let request = axum::http::Request::get(thumbnail).body(axum::body::Body::empty()).unwrap();
    assert_eq!(deployment.send(request).await.0, 200);
    let (_, export) =
        deployment.operator("POST", &format!("/persons/{}/exports", someone.id), json!({})).await;
    let path = format!("/exports/{}", export["id"].as_str().unwrap());
    while deployment.operator("GET", &path, json!(null)).await.1["status"] == "running" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Erased before and after the backup: the ledger has both, and the restore has work.
    let gone = deployment.person("gone@example.org", "Gone").await;
    assert_eq!(deployment.erase(&gone).await["status"], "completed");
    let leaving = deployment.person("leaving@example.org", "Leaving").await;
    let backup = deployment.path("backup");
    let body = json!({ "destination": backup.to_str().unwrap() });
    assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
    assert_eq!(deployment.erase(&leaving).await["status"], "completed");

    let counts = opened(&deployment.server().app().store().clone()).await;
    // The installation stands at the root, and tasks keep their documents in a table of their own.
    let absent = ["Installation", "Task"];
    assert!(counts.iter().all(|(kind, count)| *count > 0 || absent.contains(&kind.as_str())), "{counts:?}");
    deployment.stop().await;
    let path = deployment.path("counts.json");
    std::fs::write(path, serde_json::to_vec(&counts).unwrap()).unwrap();
    let path = fixtures().join(format!("data-{NEXT}.zip"));
    let mut archive = zip::ZipWriter::new(std::fs::File::create_new(path).unwrap());
    pack(&mut archive, deployment.folder.path(), "");
    archive.finish().unwrap();
}

fn pack(archive: &mut zip::ZipWriter<std::fs::File>, folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            pack(archive, &entry.path(), &format!("{name}/"));
        } else if kind.is_file() {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(&std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
