//! The promise: markers in everything of a person are found before an erasure and nowhere after it, on disk, through the keyring,
//! and in a backup restored afterwards. And controls that must fail, since a scan that finds nothing proves nothing by itself.

use std::sync::OnceLock;

use habeas_core::kinds::{ScoredTag, StoredPrediction};
use habeas_core::{DataKind as _, fault};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::deployment::{Deployment, Someone, engines, image};
use crate::scan;

/// Protections are switched off for the whole process: tests that rely on them wait for each other.
pub(crate) async fn exclusively() -> MutexGuard<'static, ()> {
    static LOCK: OnceLock<Mutex<()>> = OnceLock::new();
    LOCK.get_or_init(Mutex::default).lock().await
}

struct Canary {
    someone: Someone,
    markers: Vec<String>,
}

/// A person with a marker in every field that takes one, through the public protocols.
async fn plant(deployment: &Deployment, seed: &str) -> Canary {
    let marker = |what: &str| format!("c4n4ry{what}{seed}");
    let email = format!("{}@example.org", marker("email"));
    let someone = deployment.person(&email, &marker("name")).await;
    let (status, _) = deployment
        .operator(
            "PUT",
            &format!("/persons/{}/password", someone.id),
            json!({ "password": marker("password") }),
        )
        .await;
    assert_eq!(status, 204);
    let token = json!({ "label": marker("label") });
    assert_eq!(deployment.operator("POST", &format!("/persons/{}/tokens", someone.id), token).await.0, 201);
    let project = deployment
        .project(&someone, &format!("{}&description={}", marker("project"), marker("description")))
        .await;
    let tag = deployment
        .tag(&someone, &project, &format!("{}&description={}", marker("tag"), marker("about")))
        .await;
    let mut bytes = image(1);
    bytes.extend_from_slice(marker("bytes").as_bytes());
    // The camera's name in the sample's EXIF gives way to a marker of the same length.
    let mut with_exif = include_bytes!(
        "../../../../data/custom-vision/CustomVision/ImageClassification/Images/Hemlock/hemlock_1.jpg"
    )
    .to_vec();
    let camera = with_exif.windows(8).position(|window| window == b"SM-G900V").unwrap();
    let exif = format!("x{:0>7}", &seed[..7]);
    with_exif[camera..camera + 8].copy_from_slice(exif.as_bytes());
    let first =
        deployment.image(&someone, &project, &format!("{}.jpg", marker("file")), &bytes, &[&tag]).await;
    deployment.image(&someone, &project, "plain.jpg", &with_exif, &[]).await;
    let path = format!("/projects/{project}/images/metadata?imageIds={first}");
    let mut metadata = serde_json::Map::new();
    metadata.insert(marker("key"), json!(marker("value")));
    assert_eq!(deployment.train("POST", &someone.key, &path, Some(metadata.into())).await.0, 200);
    // The copies of an image that are made when first asked for, and an archive of it all.
    let (_, found) = deployment
        .train("GET", &someone.key, &format!("/projects/{project}/images/id?imageIds={first}"), None)
        .await;
    let uri = found[0]["thumbnailUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
    let request = axum::http::Request::get(uri).body(axum::body::Body::empty()).unwrap();
    assert_eq!(deployment.send(request).await.0, 200);
    let store = deployment.server().app().store();
    let status = habeas_core::kinds::IterationStatus::Completed;
    let trained = crate::exports::iteration(store, &project, crate::exports::COMPACT, status).await;
    let model = marker("modelbytes");
    crate::exports::exported(store, trained, &seed.repeat(4), model.as_bytes()).await;
    let mut asked = image(2);
    asked.extend_from_slice(marker("askedbytes").as_bytes());
    let application = marker("application");
    crate::predictions::stored(store, &project, &asked, |new| new.doc.application = Some(application)).await;
    let suggested =
        ScoredTag { name: marker("suggested"), ..StoredPrediction::example().predictions[0].clone() };
    crate::predictions::suggestion(store, &first, trained, suggested).await;
    let (status, archive) =
        deployment.operator("POST", &format!("/persons/{}/exports", someone.id), json!({})).await;
    assert_eq!(status, 202);
    let path = format!("/exports/{}", archive["id"].as_str().unwrap());
    while deployment.operator("GET", &path, json!(null)).await.1["status"] == "running" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut markers: Vec<String> = [
        "email",
        "name",
        "label",
        "project",
        "description",
        "tag",
        "about",
        "bytes",
        "file",
        "key",
        "value",
        "modelbytes",
        "askedbytes",
        "application",
        "suggested",
    ]
    .iter()
    .map(|what| marker(what))
    .collect();
    markers.push(exif);
    markers.push(someone.key.clone());
    Canary { someone, markers }
}

fn seed() -> String {
    use habeas_core::Random as _;
    let mut bytes = [0; 8];
    habeas_core::SystemRandom::default().fill(&mut bytes);
    hex::encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_anywhere() {
    let _lock = exclusively().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let canary = plant(&deployment, &seed()).await;
        let neighbour = plant(&deployment, &seed()).await;
        let store = deployment.server().app().store().clone();

        // Controls: the scan finds every marker through the keyring, the archive holds all but the key, and none lies on disk in plain.
        let hits = scan::opened(&store, &canary.markers).await;
        for marker in &canary.markers {
            assert!(
                hits.iter().any(|hit| hit.starts_with(marker.as_str())),
                "{marker} was not found before the erasure"
            );
        }
        let archive: Vec<u8> =
            deployment.export(&canary.someone).await.into_iter().flat_map(|(_, bytes)| bytes).collect();
        for marker in canary.markers.iter().filter(|marker| **marker != canary.someone.key) {
            assert!(
                !scan::found(&archive, std::slice::from_ref(marker)).is_empty(),
                "{marker} is not in the archive"
            );
        }
        assert!(
            scan::found(&archive, std::slice::from_ref(&canary.someone.key)).is_empty(),
            "the archive holds a key"
        );
        assert!(scan::found(&archive, &neighbour.markers).is_empty(), "the archive holds a neighbour's data");
        assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let before = deployment.content(&neighbour.someone).await;

        let report = deployment.erase(&canary.someone).await;
        assert_eq!(report["status"], "completed", "{report}");
        let (_, receipt) = deployment
            .operator("GET", &format!("/erasures/{}/receipt", report["plan"].as_str().unwrap()), json!(null))
            .await;
        let public = deployment.server().app().rights.public_key().unwrap();
        habeas_core::receipt::verify(receipt.to_string().as_bytes(), &public).unwrap();
        assert!(scan::found(receipt.to_string().as_bytes(), &canary.markers).is_empty());

        assert_eq!(scan::opened(&store, &canary.markers).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());
        assert_eq!(deployment.train("GET", &canary.someone.key, "/projects", None).await.0, 401);
        assert!(deployment.content(&neighbour.someone).await == before, "a neighbour's data changed");
        let doctor = deployment.operator("GET", "/doctor?scan=true", json!(null)).await.1;
        for check in doctor["checks"].as_array().unwrap() {
            assert_eq!(check["status"], "ok", "{check}");
        }

        // The backup from before, with today's keyring and ledger, into an empty deployment on the embedded engine.
        drop(store);
        deployment.stop().await;
        let mut options = habeas_store::Options::embedded(deployment.path("restored"));
        options.keyring = Some(deployment.path("data/keyring"));
        options.root_key = Some(habeas_store::RootKeySource::File(deployment.path("data/root.key")));
        let restored = habeas_store::Store::restore(options.clone(), &backup, habeas_core::Ambient::system())
            .await
            .unwrap();
        assert!(restored.erased > 0 && restored.unreadable == 0, "{restored:?}");
        let store = habeas_store::Store::open(options, habeas_core::Ambient::system()).await.unwrap();
        assert_eq!(scan::opened(&store, &canary.markers).await, Vec::<String>::new());
        assert!(
            !scan::opened(&store, &neighbour.markers).await.is_empty(),
            "the restore brought nothing back at all"
        );
        assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_skips_keys_rows_or_files_is_never_completed() {
    let _lock = exclusively().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        for (protection, complaint) in [
            ("shred", "was not overwritten"),
            ("delete", "rows are left"),
            ("purge", "is left in the object store"),
        ] {
            let canary = plant(&deployment, &seed()).await;
            let store = deployment.server().app().store().clone();
            fault::switch_off(&[protection]);
            let report = deployment.erase(&canary.someone).await;
            fault::switch_off(&[]);
            assert_eq!(report["status"], "failed", "without {protection}: {report}");
            let error = report["error"].as_str().unwrap();
            assert!(error.contains(complaint), "without {protection}: {error}");
            if protection == "shred" {
                let id: habeas_core::Id = canary.someone.id.parse().unwrap();
                assert!(store.with_keyring(move |keyring| Ok(keyring.key(id, 0).is_some())).await.unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sealing_the_rows_themselves_are_found_and_then_gone() {
    let _lock = exclusively().await;
    fault::switch_off(&["sealing"]);
    let deployment = Deployment::open(None).await;
    let canary = plant(&deployment, &seed()).await;
    let store = deployment.server().app().store().clone();
    // Image bytes and archives are blobs, which are sealed all the same.
    let in_rows: Vec<String> =
        canary.markers.iter().filter(|marker| !marker.contains("bytes")).cloned().collect();
    let hits = scan::on_disk(deployment.folder.path(), &in_rows);
    for marker in &in_rows {
        assert!(hits.iter().any(|hit| hit.starts_with(marker.as_str())), "the control did not find {marker}");
    }
    let report = deployment.erase(&canary.someone).await;
    assert_eq!(report["status"], "completed", "{report}");
    // Rows were deleted, not only made unreadable: what SQLite leaves in free pages goes with a vacuum.
    store.vacuum().await.unwrap();
    let hits = scan::on_disk(deployment.folder.path(), &canary.markers);
    fault::switch_off(&[]);
    assert_eq!(hits, Vec::<String>::new());
}
