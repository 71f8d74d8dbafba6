//! The promise: markers in everything of a person are found before an erasure and nowhere after it, on disk, through the keyring,
//! and in a backup restored afterwards. And controls that must fail, since a scan that finds nothing proves nothing by itself.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use habeas_core::kinds::{ScoredTag, StoredPrediction};
use habeas_core::{DataKind as _, fault};
use serde_json::json;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, image};
use crate::scan;

/// Protections are switched off for the whole process: tests that rely on them run beside each other, and one that switches them off alone.
static PROTECTIONS: RwLock<()> = RwLock::const_new(());

/// Nobody switches a protection off while this lives.
pub(crate) async fn protected() -> RwLockReadGuard<'static, ()> {
    PROTECTIONS.read().await
}

/// No other test runs while this lives, and the protections that were switched off are on again after it.
pub(crate) struct Alone {
    _lock: RwLockWriteGuard<'static, ()>,
}

/// Waits for every test that relies on protections.
pub(crate) async fn alone() -> Alone {
    Alone { _lock: PROTECTIONS.write().await }
}

impl Drop for Alone {
    fn drop(&mut self) {
        fault::switch_off(&[]);
    }
}

struct Canary {
    someone: Someone,
    markers: Vec<String>,
    /// Id and name of an organisation of theirs.
    organisation: (String, String),
    /// A legal hold on something of theirs.
    hold: String,
    /// The cookie of a browser that is signed in as them.
    session: String,
}

impl Canary {
    /// Deletes the organisation, without which its last owner is not erased, and releases the hold, without which nothing is left.
    async fn dissolve(&self, deployment: &Deployment) {
        assert_eq!(deployment.operator("DELETE", &format!("/holds/{}", self.hold), json!(null)).await.0, 204);
        let (id, name) = &self.organisation;
        let report = deployment.erase_holder(&format!("/organisations/{id}"), name).await;
        assert_eq!(report["status"], "completed", "{report}");
    }

    /// The status of a page that only they may see.
    async fn page(&self, deployment: &Deployment) -> StatusCode {
        let request = Request::get("/me").header("cookie", &self.session).body(Body::empty()).unwrap();
        deployment.send(request).await.0
    }
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
    let session = sign_in(deployment, &email, &marker("password")).await;
    let application = json!({ "name": marker("station"), "redirectUris": [format!("https://{}.example.org/", marker("callback"))] });
    let path = format!("/persons/{}/applications", someone.id);
    let (status, application) = deployment.operator("POST", &path, application).await;
    assert_eq!(status, 201, "{application}");
    crate::sign_in::code(
        deployment,
        &session,
        application["clientId"].as_str().unwrap(),
        &marker("callback"),
    )
    .await;
    let organisation = json!({ "name": marker("organisation"), "owner": someone.id });
    let (status, organisation) = deployment.operator("POST", "/organisations", organisation).await;
    assert_eq!(status, 201, "{organisation}");
    let organisation_key = organisation["trainingKeys"][0].as_str().unwrap().to_owned();
    let shared = format!("/projects?name={}", marker("shared"));
    assert_eq!(deployment.train("POST", &organisation_key, &shared, None).await.0, 200);
    let organisation = (organisation["objectId"].as_str().unwrap().to_owned(), marker("organisation"));
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
    let trained_on = crate::iterations::plant(deployment, &someone, &marker).await;
    let mut tracked = crate::mlflow::plant(deployment, &someone, &marker).await;
    tracked.extend(crate::artifacts::plant(deployment, &someone, &marker).await);
    let controlled = crate::control_plane::plant(deployment, &someone, &marker).await;
    let managed = crate::model_management::plant(deployment, &someone, &marker).await;
    let recorded = crate::history::plant(deployment, &someone, &marker).await;
    // The copies of an image that are made when first asked for, and an archive of it all.
    let (_, found) = deployment
        .train("GET", &someone.key, &format!("/projects/{project}/images/id?imageIds={first}"), None)
        .await;
    let uri = found[0]["thumbnailUri"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
    let request = Request::get(uri).body(Body::empty()).unwrap();
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
    let hold = json!({ "target": first, "matter": marker("matter"), "reason": marker("reason") });
    let (status, hold) = deployment.operator("POST", "/holds", hold).await;
    assert_eq!(status, 201, "{hold}");
    let hold = hold["id"].as_str().unwrap().to_owned();
    let (status, archive) =
        deployment.operator("POST", &format!("/persons/{}/exports", someone.id), json!({})).await;
    assert_eq!(status, 202);
    let path = format!("/exports/{}", archive["id"].as_str().unwrap());
    while deployment.operator("GET", &path, json!(null)).await.1["status"] == "running" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let asked = json!({ "type": "objection", "channel": "letter", "identity": "known" });
    let (status, request) =
        deployment.operator("POST", &format!("/persons/{}/requests", someone.id), asked).await;
    assert_eq!(status, 201, "{request}");
    let path = format!("/requests/{}/comments", request["id"].as_str().unwrap());
    assert_eq!(deployment.operator("POST", &path, json!({ "text": marker("note") })).await.0, 201);
    // An archive that is to go where nobody is: it waits, and its place is known.
    let token = deployment.token(&someone).await;
    let location = format!("https://{}.invalid/archive.zip?sig=1", marker("place"));
    let export = Request::post(format!("/v1.0/users/{}/exportPersonalData", someone.id))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(json!({ "storageLocation": location }).to_string()))
        .unwrap();
    assert_eq!(deployment.send(export).await.0, 202);
    let path = format!("/persons/{}/requests", someone.id);
    while deployment.operator("GET", &path, json!(null)).await.1[0]["state"] != "completed" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut markers: Vec<String> = [
        "note",
        "place",
        "email",
        "name",
        "label",
        "station",
        "callback",
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
        "matter",
        "reason",
    ]
    .iter()
    .map(|what| marker(what))
    .collect();
    markers.extend(trained_on);
    markers.extend(tracked);
    markers.extend(controlled);
    markers.extend(managed);
    markers.extend(recorded);
    markers.push(exif);
    markers.extend(ORGANISATIONS.map(marker));
    markers.extend(crate::control_plane::SECRETS.map(&marker));
    markers.push(organisation_key);
    markers.push(marker("storekey"));
    markers.push(someone.key.clone());
    // Of a session only a digest is kept.
    let secret = session.split_once('=').unwrap().1;
    markers.push(hex::encode(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes())));
    Canary { someone, markers, organisation, hold, session }
}

/// Lets an image of somebody else name the person, in capitals, so that this is not taken for their profile; the other's project.
async fn depict(deployment: &Deployment, canary: &mut Canary) -> String {
    let friend = deployment.person(&format!("friend{}@example.org", seed()), "Friend").await;
    let project = deployment.project(&friend, "friends").await;
    let shown = deployment.image(&friend, &project, "us.jpg", &image(3), &[]).await;
    let marker = canary.someone.email.to_uppercase();
    let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
    let names = json!({ "depicts": format!("{marker}, a tree") });
    assert_eq!(deployment.train("POST", &friend.key, &path, Some(names)).await.0, 200);
    canary.markers.push(marker);
    project
}

/// What an organisation's data says, which its owner's archive does not hold.
const ORGANISATIONS: [&str; 2] = ["organisation", "shared"];
/// The last markers are secrets: those of the control plane, the organisation's key, a datastore's key, the person's key and the session.
const SECRETS: usize = crate::control_plane::SECRETS.len() + 4;

/// Signs in with a password, as a browser does; the cookie.
pub(crate) async fn sign_in(deployment: &Deployment, email: &str, password: &str) -> String {
    let request = Request::post("/sign-in")
        .header("host", "localhost")
        .header("origin", "http://localhost")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("email={}&password={password}", email.replace('@', "%40"))))
        .unwrap();
    let response = deployment.server().router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 303);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// A deployment that may call other systems.
async fn open(database: Option<String>) -> Deployment {
    Deployment::open_with(|settings| {
        settings.database = database;
        settings.fetch_urls = Some(true);
    })
    .await
    .unwrap()
}

fn seed() -> String {
    use habeas_core::Random as _;
    let mut bytes = [0; 8];
    habeas_core::SystemRandom::default().fill(&mut bytes);
    hex::encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_anywhere() {
    let _lock = protected().await;
    for database in engines() {
        let mut deployment = open(database).await;
        let mut canary = plant(&deployment, &seed()).await;
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
        let friends = depict(&deployment, &mut canary).await;
        let named = canary.markers.last().unwrap().clone();
        assert_eq!(scan::opened(&store, &[named]).await.len(), 1, "the other's image does not name them");
        let archive: Vec<u8> =
            deployment.export(&canary.someone).await.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let planted = &canary.markers[..canary.markers.len() - 1];
        let (own, others) = planted.split_at(planted.len() - SECRETS - ORGANISATIONS.len());
        for marker in own {
            assert!(
                !scan::found(&archive, std::slice::from_ref(marker)).is_empty(),
                "{marker} is not in the archive"
            );
        }
        assert!(
            scan::found(&archive, others).is_empty(),
            "the archive holds a key or an organisation's data"
        );
        assert!(scan::found(&archive, &neighbour.markers).is_empty(), "the archive holds a neighbour's data");
        assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        let before = deployment.content(&neighbour.someone).await;
        let doctor = deployment.operator("GET", "/doctor?scan=true", json!(null)).await.1;
        // On a slow machine the notifications to nobody are given up by now.
        let lasting = |doctor: &serde_json::Value| -> Vec<serde_json::Value> {
            let checks = doctor["checks"].as_array().unwrap().iter();
            checks.filter(|check| check["name"] != "tasks").cloned().collect()
        };
        let healthy = lasting(&doctor);
        assert!(healthy.iter().all(|check| check["status"] == "ok"), "{doctor}");

        assert_eq!(canary.page(&deployment).await, 200);
        canary.dissolve(&deployment).await;
        let report = deployment.erase(&canary.someone).await;
        assert_eq!(report["status"], "completed", "{report}");
        assert_eq!(canary.page(&deployment).await, 303, "the session still opens a page");
        let (_, receipt) = deployment
            .operator("GET", &format!("/erasures/{}/receipt", report["plan"].as_str().unwrap()), json!(null))
            .await;
        let public = deployment.server().app().rights.public_key().unwrap();
        habeas_core::receipt::verify(receipt.to_string().as_bytes(), &[public]).unwrap();
        assert!(scan::found(receipt.to_string().as_bytes(), &canary.markers).is_empty());
        // What others noted about them is re-sealed within a day.
        store.reseal(friends.parse().unwrap()).await.unwrap();

        assert_eq!(scan::opened(&store, &canary.markers).await, Vec::<String>::new());
        assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());
        assert_eq!(deployment.train("GET", &canary.someone.key, "/projects", None).await.0, 401);
        assert!(deployment.content(&neighbour.someone).await == before, "a neighbour's data changed");
        let doctor = deployment.operator("GET", "/doctor?scan=true", json!(null)).await.1;
        for (check, earlier) in lasting(&doctor).iter().zip(&healthy) {
            assert_eq!((&check["name"], &check["status"]), (&earlier["name"], &earlier["status"]), "{check}");
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
        // The other's project and image of then had the key from before the re-sealing.
        assert!(restored.erased > 0 && restored.unreadable == 2, "{restored:?}");
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
    let _lock = alone().await;
    for database in engines() {
        let deployment = open(database).await;
        for (protection, complaint) in [
            ("shred", "was not overwritten"),
            ("delete", "rows are left"),
            ("purge", "is left in the object store"),
        ] {
            let canary = plant(&deployment, &seed()).await;
            canary.dissolve(&deployment).await;
            let store = deployment.server().app().store().clone();
            fault::switch_off(&[protection]);
            let report = deployment.erase(&canary.someone).await;
            fault::switch_off(&[]);
            assert_eq!(report["status"], "failed", "without {protection}: {report}");
            let error = report["error"].as_str().unwrap();
            assert!(error.contains(complaint), "without {protection}: {error}");
            assert!(
                !error.contains(deployment.folder.path().to_str().unwrap()),
                "a path of the server: {error}"
            );
            if protection == "shred" {
                let id: habeas_core::Id = canary.someone.id.parse().unwrap();
                assert!(store.with_keyring(move |keyring| Ok(keyring.key(id, 0).is_some())).await.unwrap());
            }
        }
    }
}

/// The whole test with nothing sealed, so that keys hide no missing deletion: rows and files are found before the erasure, found again
/// when their deletion is left out, and gone after it.
#[tokio::test(flavor = "multi_thread")]
async fn without_sealing_rows_and_files_are_found_and_then_gone() {
    let _lock = alone().await;
    fault::switch_off(&["sealing"]);
    let deployment = open(None).await;
    let store = deployment.server().app().store().clone();
    let mut canary = plant(&deployment, &seed()).await;
    depict(&deployment, &mut canary).await;
    let hits = scan::on_disk(deployment.folder.path(), &canary.markers);
    for marker in &canary.markers {
        assert!(hits.iter().any(|hit| hit.starts_with(marker.as_str())), "the control did not find {marker}");
    }
    assert!(hits.iter().any(|hit| hit.contains("/objects/")), "no file holds a marker");
    canary.dissolve(&deployment).await;
    let report = deployment.erase(&canary.someone).await;
    assert_eq!(report["status"], "completed", "{report}");
    // Rows were deleted, not only made unreadable: what SQLite leaves in free pages goes with a vacuum.
    store.vacuum().await.unwrap();
    assert_eq!(scan::on_disk(deployment.folder.path(), &canary.markers), Vec::<String>::new());

    for (protection, place) in [("delete", "habeas.db"), ("purge", "/objects/")] {
        let canary = plant(&deployment, &seed()).await;
        canary.dissolve(&deployment).await;
        fault::switch_off(&["sealing", protection]);
        let report = deployment.erase(&canary.someone).await;
        assert_eq!(report["status"], "failed", "without {protection}: {report}");
        store.vacuum().await.unwrap();
        let hits = scan::on_disk(deployment.folder.path(), &canary.markers);
        assert!(hits.iter().any(|hit| hit.contains(place)), "without {protection}: {hits:?}");
        fault::switch_off(&["sealing"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_and_the_last_administrator_have_a_choice_to_make_first() {
    let _lock = protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let colleague = deployment.person("colleague@example.org", "Colleague").await;
        let role = json!({ "role": "administrator", "granted": true });
        assert_eq!(
            deployment.operator("PUT", &format!("/persons/{}/role", owner.id), role.clone()).await.0,
            204
        );
        let body = json!({ "name": "Forest Watch", "owner": owner.id });
        let (_, organisation) = deployment.operator("POST", "/organisations", body).await;
        let organisation = organisation["objectId"].as_str().unwrap();
        let member = format!("/organisations/{organisation}/members/{}", colleague.id);
        assert_eq!(deployment.operator("PUT", &member, json!({ "role": "reader" })).await.0, 204);

        let plans = format!("/persons/{}/erasure-plans", owner.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        let blocked: Vec<&str> =
            plan["blocked"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
        assert_eq!(blocked.len(), 2, "{plan}");
        let about = |word: &str| *blocked.iter().find(|reason| reason.contains(word)).unwrap();
        let (administrator, last_owner) = (about("last administrator"), about("last owner"));
        assert!(administrator.contains("habeas person role EMAIL administrator"), "{administrator}");
        for part in [
            "1 other person works",
            &format!("habeas organisation member {organisation} EMAIL --role owner"),
            &format!("habeas erase plan --organisation {organisation}"),
        ] {
            assert!(last_owner.contains(part), "{last_owner}");
        }
        let run = json!({ "plan": plan["plan"], "confirm": owner.email });
        assert_eq!(deployment.operator("POST", "/erasures", run).await.0, 409);

        // Handed over, and with a successor, nothing stands in the way, and the organisation stays.
        assert_eq!(deployment.operator("PUT", &member, json!({ "role": "owner" })).await.0, 204);
        let successor = format!("/persons/{}/role", colleague.id);
        assert_eq!(deployment.operator("PUT", &successor, role).await.0, 204);
        assert_eq!(deployment.erase(&owner).await["status"], "completed");
        let (_, members) =
            deployment.operator("GET", &format!("/organisations/{organisation}/members"), json!(null)).await;
        assert_eq!(members[0]["person"], colleague.id, "{members}");

        // The other choice: the organisation goes, by its name, and nobody else.
        let path = format!("/organisations/{organisation}");
        let (_, plan) = deployment.operator("POST", &format!("{path}/erasure-plans"), json!({})).await;
        assert_eq!((&plan["othersAffected"], &plan["blocked"]), (&json!(1), &json!([])), "{plan}");
        let wrong = json!({ "plan": plan["plan"], "confirm": colleague.email });
        assert_eq!(deployment.operator("POST", "/erasures", wrong).await.0, 400);
        assert_eq!(deployment.erase_holder(&path, "Forest Watch").await["status"], "completed");
        assert_eq!(deployment.operator("GET", &format!("{path}/members"), json!(null)).await.0, 404);
        let (_, plan) =
            deployment.operator("POST", &format!("/persons/{}/erasure-plans", colleague.id), json!({})).await;
        assert!(plan["blocked"][0].as_str().unwrap().contains("last administrator"), "{plan}");
        assert_eq!(plan["blocked"].as_array().unwrap().len(), 1, "{plan}");
    }
}
