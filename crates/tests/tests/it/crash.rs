//! A process killed at any step of an erasure, a request, a transfer or a restore, and started again.

use std::path::Path;
use std::process::{Command, Stdio};

use habeas_core::{Ambient, Id, Kind, Timestamp, time};
use habeas_store::ledger::Record;
use habeas_store::{TaskKind, TaskState};
use serde_json::json;

use crate::deployment::{Deployment, engines, image};

/// The work of the process that is killed: this same test binary, started again with a folder and a fault.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let (Ok(data), Ok(work)) = (std::env::var("HABEAS_TEST_DATA"), std::env::var("HABEAS_TEST_WORK")) else {
        return;
    };
    if work == "restore" {
        let (base, database) = (std::path::PathBuf::from(data), std::env::var("HABEAS_TEST_DATABASE").ok());
        restore(&base, database).await.unwrap();
        return;
    }
    let mut deployment = Deployment::open_in(data.into(), std::env::var("HABEAS_TEST_DATABASE").ok()).await;
    if work == "rotate" {
        deployment.operator("POST", "/log/keys", json!({})).await;
        deployment.operator("GET", "/log/checkpoint", json!(null)).await;
        return;
    }
    let (_, persons) = deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
    let id = persons[0]["objectId"].as_str().unwrap().to_owned();
    let (_, keys) = deployment.operator("GET", &format!("/persons/{id}/keys"), json!(null)).await;
    let someone = crate::deployment::Someone {
        id,
        email: "canary@example.org".to_owned(),
        key: keys[0]["trainingKeys"][0].as_str().unwrap().to_owned(),
    };
    let (_, projects) = deployment.train("GET", &someone.key, "/projects", None).await;
    match work.as_str() {
        "upload" => {
            deployment
                .image(&someone, projects[0]["id"].as_str().unwrap(), "late.jpg", &image(99), &[])
                .await;
        }
        "artifact" => crate::artifacts::put_in_blocks(&deployment, &someone).await,
        "import" => {
            let project = projects[0]["id"].as_str().unwrap();
            let path = format!("/projects/{project}/export");
            let (_, export) = deployment.train("GET", &someone.key, &path, None).await;
            let path = format!("/projects/import?token={}&name=copy", export["token"].as_str().unwrap());
            deployment.train("POST", &someone.key, &path, None).await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
        "train" => {
            let path = format!("/projects/{}/train?forceTrain=true", projects[0]["id"].as_str().unwrap());
            deployment.train("POST", &someone.key, &path, None).await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
        "forget" => {
            let path = format!("/projects/{}/images", projects[0]["id"].as_str().unwrap());
            let (_, images) =
                deployment.train("GET", &someone.key, &format!("{path}?orderBy=Oldest&take=1"), None).await;
            let path = format!("{path}?imageIds={}&allIterations=true", images[0]["id"].as_str().unwrap());
            deployment.train("DELETE", &someone.key, &path, None).await;
        }
        "export_model" => {
            let path = format!("/projects/{}/iterations", projects[0]["id"].as_str().unwrap());
            let (_, iterations) = deployment.train("GET", &someone.key, &path, None).await;
            let path = format!("{path}/{}/export?platform=ONNX", iterations[0]["id"].as_str().unwrap());
            deployment.train("POST", &someone.key, &path, None).await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
        "file" => {
            let tracker = crate::mlflow::Tracker::new(&deployment, &someone).await;
            let found = tracker.ok("POST", "/runs/search", everything(&tracker).await).await;
            let info = &found["runs"][0]["info"];
            let (experiment, run) =
                (info["experiment_id"].as_str().unwrap(), info["run_id"].as_str().unwrap());
            tracker.upload(&format!("{experiment}/{run}/artifacts/late.bin"), b"late").await;
        }
        "tell" => {
            deployment.erase(&someone).await;
            // A worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
        "request" => crate::requests::ask(&deployment, &someone).await,
        "erase_depicted" => {
            crate::depicted::erase(&deployment, &someone.id, &someone.email, true).await;
        }
        "export" | "export_sealed" => {
            let passphrase = (work == "export_sealed").then_some(crate::sealed::PASSPHRASE);
            let body = json!({ "passphrase": passphrase });
            deployment.operator("POST", &format!("/persons/{}/exports", someone.id), body).await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        }
        "hold" => {
            let body = json!({ "target": projects[0]["id"], "matter": "m", "reason": "r" });
            deployment.operator("POST", "/holds", body).await;
        }
        "release" => {
            let (_, holds) = deployment.operator("GET", "/holds", json!(null)).await;
            deployment
                .operator("DELETE", &format!("/holds/{}", holds[0]["id"].as_str().unwrap()), json!(null))
                .await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        }
        "restrict" => {
            let path = format!("/persons/{}/restriction", someone.id);
            deployment.operator("PUT", &path, json!({ "restricted": true })).await;
        }
        "lift" => {
            let path = format!("/persons/{}/restriction", someone.id);
            for restricted in [true, false] {
                deployment.operator("PUT", &path, json!({ "restricted": restricted })).await;
            }
        }
        "rectify" => {
            let path = format!("/persons/{}", someone.id);
            deployment.operator("PATCH", &path, json!({ "email": "corrected@example.org" })).await;
        }
        "address" => {
            let token = deployment.token(&someone).await;
            let change = json!({ "email": "corrected@example.org" });
            let (_, report) = deployment.call(Some(&token), "PATCH", "/persons/me", change).await;
            let request = &report["addressChange"];
            let body = json!({ "code": crate::requests::code(&deployment, request).await });
            let path = format!("/requests/{}/verify", request["id"].as_str().unwrap());
            deployment.call(None, "POST", &path, body).await;
        }
        "retention" => {
            deployment.operator("POST", "/retention", json!({})).await;
        }
        "deletion" => {
            let caller = crate::arm::Caller::new(&deployment, &someone).await;
            let [(account, _), ..] = crate::control_plane::experimentation(&someone.id);
            let path = format!("{account}?api-version=2017-05-01-preview");
            caller.call("DELETE", &path, &[], json!(null)).await;
        }
        "complete" | "deny" | "cancel" | "confirm-identity" | "decisions" => {
            let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
            let path = format!("/requests/{}/{work}", page["requests"][0]["id"].as_str().unwrap());
            let (method, body) = match work.as_str() {
                "complete" => ("POST", json!({ "text": "Done." })),
                "deny" => ("POST", json!({ "reason": "other" })),
                "confirm-identity" => ("POST", json!({ "identity": "document" })),
                "decisions" => ("PUT", json!({ "eraseDepicted": true })),
                _ => ("POST", json!({})),
            };
            deployment.operator(method, &path, body).await;
        }
        "take_up" => {
            deployment.operator("POST", "/unclaimed", json!({ "name": crate::depicted::LOST })).await;
        }
        "link" => {
            let search = format!("/unclaimed?name={}", crate::depicted::LOST);
            let (_, found) = deployment.operator("GET", &search, json!(null)).await;
            let path = format!("/unclaimed/{}/link", found[0]["person"].as_str().unwrap());
            deployment.operator("POST", &path, json!({ "person": someone.id })).await;
        }
        "wake" => {
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        }
        "transfer" => {
            let (_, to) =
                deployment.operator("GET", "/persons?email=neighbour@example.org", json!(null)).await;
            let body = json!({ "resource": projects[0]["id"], "to": to[0]["objectId"] });
            deployment.operator("POST", "/transfers", body).await;
        }
        "backup" => {
            let folder = deployment.settings.data().with_file_name("backup");
            let body = json!({ "destination": folder.to_str().unwrap() });
            deployment.operator("POST", "/backups", body).await;
        }
        "project" => {
            deployment.project(&someone, "late").await;
        }
        "bring" => {
            let path = deployment.settings.data().with_file_name("archive.zip");
            crate::archives::bring(&deployment, &someone, &path).await.unwrap();
        }
        _ => {
            deployment.erase(&someone).await;
        }
    }
    deployment.stop().await;
}

/// A search for the runs of all experiments.
async fn everything(tracker: &crate::mlflow::Tracker<'_>) -> serde_json::Value {
    let found = tracker.ok("POST", "/experiments/search", json!({ "max_results": 10 })).await;
    let ids: Vec<_> =
        found["experiments"].as_array().unwrap().iter().map(|found| &found["experiment_id"]).collect();
    json!({ "experiment_ids": ids })
}

pub(crate) async fn killed(database: Option<String>, work: &str, fault: &str) -> Deployment {
    let mut deployment = Deployment::open(database.clone()).await;
    let someone = deployment.person("canary@example.org", "Canary").await;
    let project = deployment.project(&someone, "p").await;
    deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
    crate::mlflow::small(&deployment, &someone).await;
    crate::model_management::small(&deployment, &someone).await;
    let neighbour = deployment.person("neighbour@example.org", "Neighbour").await;
    let theirs = deployment.project(&neighbour, "n").await;
    deployment.image(&neighbour, &theirs, "n.jpg", &image(2), &[]).await;
    deployment.stop().await;
    die(&deployment.path("data"), database, work, fault).await;
    deployment.start().await;
    deployment
}

/// A process that does this work on this data until it passes the fault point.
pub(crate) async fn die(data: &Path, database: Option<String>, work: &str, fault: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env("HABEAS_TEST_DATA", data)
        .env("HABEAS_TEST_WORK", work)
        .env("HABEAS_FAULT", fault)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(database) = database {
        child.env("HABEAS_TEST_DATABASE", database);
    }
    let status = tokio::task::spawn_blocking(move || child.status()).await.unwrap().unwrap();
    assert!(!status.success(), "{work} passed no fault point {fault}");
}

/// Restores the backup in the folder `base` into the folder `restored` beside it, with the keyring of `data`.
async fn restore(base: &Path, database: Option<String>) -> habeas_core::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = habeas_store::Options::embedded(base.join("restored"));
    options.keyring = Some(base.join("data/keyring"));
    options.root_key = Some(habeas_store::RootKeySource::File(base.join("data/root.key")));
    if let Some(database) = database {
        options.database = habeas_store::Database::Postgres(database);
    }
    habeas_store::Store::restore(options, &base.join("backup"), habeas_core::Ambient::system()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_step_is_refused_until_it_is_run_again_and_brings_nothing_erased_back() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        for fault in ["restore.rows:1", "restore.rows:3", "restore.objects", "restore.replayed"] {
            let database = || if number == 0 { None } else { crate::postgres::database() };
            let mut deployment = Deployment::open(database()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            let project = deployment.project(&someone, "p").await;
            let erased = deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
            let kept = deployment.image(&someone, &project, "b.jpg", &image(2), &[]).await;
            let other = deployment.person("other@example.org", "Other").await;
            let backup = deployment.path("backup");
            let body = json!({ "destination": backup.to_str().unwrap() });
            assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
            let path = format!("/projects/{project}/images?imageIds={erased}");
            assert_eq!(deployment.train("DELETE", &someone.key, &path, None).await.0, 204);
            assert_eq!(deployment.erase(&other).await["status"], "completed");
            deployment.stop().await;

            let into = database();
            die(deployment.folder.path(), into.clone(), "restore", fault).await;
            deployment.settings.data = Some(deployment.path("restored"));
            deployment.settings.keyring = Some(deployment.path("data/keyring"));
            deployment.settings.root_key_file = Some(deployment.path("data/root.key"));
            deployment.settings.database = into.clone();
            let said = deployment.try_start().await.unwrap_err();
            assert!(said.contains("interrupted") && said.contains("habeas restore"), "{fault}: {said}");
            restore(deployment.folder.path(), into).await.unwrap();
            deployment.start().await;
            let path = format!("/projects/{project}/images");
            let (_, images) = deployment.train("GET", &someone.key, &path, None).await;
            let ids: Vec<&str> =
                images.as_array().unwrap().iter().map(|image| image["id"].as_str().unwrap()).collect();
            assert_eq!(ids, [kept], "{fault}");
            let gone = deployment.operator("GET", "/persons?email=other@example.org", json!(null)).await;
            assert_eq!(gone.0, 404, "{fault}");
        }
    }
}

pub(crate) async fn only_the_neighbour_is_left(deployment: &Deployment) {
    let gone =
        || async { deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await.0 };
    while gone().await != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let store = deployment.server().app().store();
    let blobs = || async { futures::StreamExt::count(store.blobs().list()).await };
    while blobs().await != 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (_, persons) = deployment.operator("GET", "/persons?email=neighbour@example.org", json!(null)).await;
    assert_eq!(persons[0]["name"], "Neighbour");
    let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
    for check in doctor["checks"].as_array().unwrap() {
        assert_eq!(check["status"], "ok", "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_killed_at_any_step_is_finished_after_a_restart() {
    let _lock = crate::canary::protected().await;
    let faults = [
        "erase.requested",
        "erase.step:1",
        "erase.before_tombstone",
        "erase.tombstone_written",
        "keyring.copy_written:1",
        "keyring.copy_written:2",
        "erase.keys_destroyed",
        "erase.step:2",
        "erase.blobs_listed",
        "erase.rows_deleted",
        "erase.step:3",
        "blob.delete.after",
        "erase.blobs_purged",
        "erase.step:4",
        "erase.step:5",
        "erase.step:6",
        "erase.before_receipt",
        "ledger.appended:2",
        "receipt.logged",
        "erase.step:9",
    ];
    for number in 0..engines().len() {
        for fault in faults {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, "erase", fault).await;
            only_the_neighbour_is_left(&deployment).await;
            assert_eq!(receipts_of_erasures(&deployment).await, (1, 1, 1), "{fault}");
        }
    }
}

/// Waits until every erasure has come to its end: how many there were, and how many receipts there are and stand in the log.
async fn receipts_of_erasures(deployment: &Deployment) -> (u64, usize, u64) {
    let store = deployment.server().app().store();
    let erasures = loop {
        let tasks = store.read(|tx| tx.count_tasks()).await.unwrap();
        let erasures = tasks.iter().filter(|(kind, _, _)| *kind == TaskKind::Erasure);
        if erasures.clone().all(|(_, state, _)| *state == TaskState::Done) {
            break erasures.map(|(_, _, count)| *count).sum();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let receipts = store.read(|tx| tx.held(Id::NIL, Kind::Receipt, Id::NIL, 10)).await.unwrap();
    let log = deployment.server().app().rights.log_entries(0, 10).await.unwrap();
    (erasures, receipts.len(), log.size)
}

/// The status of the one erasure of a person that there is.
async fn erasure_status(deployment: &Deployment, person: &str) -> serde_json::Value {
    let person: habeas_core::Id = person.parse().unwrap();
    let store = deployment.server().app().store();
    let tasks = store.read(move |tx| tx.tasks_about(person, habeas_store::TaskKind::Erasure)).await.unwrap();
    deployment.operator("GET", &format!("/erasures/{}", tasks[0].id), json!(null)).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_with_holds_killed_at_any_step_keeps_what_is_held_until_its_release() {
    let _lock = crate::canary::protected().await;
    let cases = [
        ("hold", "hold.placed"),
        ("erase", "erase.held_resealed"),
        ("erase", "erase.before_tombstone"),
        ("erase", "erase.tombstone_written"),
        ("erase", "erase.keys_destroyed"),
        ("erase", "erase.rows_deleted"),
        ("erase", "erase.before_receipt"),
        ("release", "hold.released"),
        ("release", "hold.removed"),
        ("release", "container.recorded"),
        ("release", "erase.released"),
    ];
    for number in 0..engines().len() {
        for (work, fault) in cases {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let mut deployment = Deployment::open(database.clone()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            let project = deployment.project(&someone, "p").await;
            deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
            let second = deployment.project(&someone, "q").await;
            deployment.image(&someone, &second, "b.jpg", &image(2), &[]).await;
            if work != "hold" {
                let body = json!({ "target": project, "matter": "m", "reason": "r" });
                assert_eq!(deployment.operator("POST", "/holds", body).await.0, 201);
            }
            // The process that releases is recognised by the neighbour: the person is gone by then.
            if work == "release" {
                assert_eq!(deployment.erase(&someone).await["status"], "completed_with_holds");
                deployment.person("canary@example.org", "Neighbour").await;
            }
            deployment.stop().await;
            die(&deployment.path("data"), database, work, fault).await;
            deployment.start().await;
            let blobs = async |count: usize| {
                let store = deployment.server().app().store();
                while futures::StreamExt::count(store.blobs().list()).await != count {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            if work != "release" {
                let (_, holds) = deployment.operator("GET", "/holds", json!(null)).await;
                assert_eq!(holds.as_array().unwrap().len(), 1, "{fault}");
                if work == "hold" {
                    assert_eq!(deployment.erase(&someone).await["status"], "completed_with_holds", "{fault}");
                }
                while erasure_status(&deployment, &someone.id).await["status"] != "completed_with_holds" {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                blobs(1).await;
                let path = format!("/holds/{}", holds[0]["id"].as_str().unwrap());
                assert_eq!(deployment.operator("DELETE", &path, json!(null)).await.0, 204);
            }
            while erasure_status(&deployment, &someone.id).await["status"] != "completed" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            blobs(0).await;
            assert_eq!(deployment.operator("GET", "/holds", json!(null)).await.1, json!([]), "{fault}");
            let (_, doctor) = deployment.operator("GET", "/doctor?scan=true", json!(null)).await;
            for check in doctor["checks"].as_array().unwrap() {
                assert_eq!(check["status"], "ok", "{fault}: {check}");
            }
            deployment.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_a_correction_and_a_sweep_killed_at_any_step_are_whole_after_a_restart() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        let database = || if number == 0 { None } else { crate::postgres::database() };
        let holdings = async |deployment: &Deployment, email: &str| {
            let path = format!("/persons?email={email}");
            let (status, persons) = deployment.operator("GET", &path, json!(null)).await;
            let id = persons[0]["objectId"].as_str().unwrap_or_default().to_owned();
            (status, deployment.operator("GET", &format!("/persons/{id}/holdings"), json!(null)).await.1)
        };
        let mut deployment = killed(database(), "restrict", "restriction.recorded").await;
        assert_eq!(holdings(&deployment, "canary@example.org").await.1["restricted"], true);
        deployment.stop().await;
        // What was announced happens, and the person is told of what happens.
        for fault in ["restriction.announced", "restriction.recorded:2"] {
            let mut deployment = killed(database(), "lift", fault).await;
            while holdings(&deployment, "canary@example.org").await.1["restricted"] == true {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            crate::owners::all_sent(&deployment).await;
            let id = holdings(&deployment, "canary@example.org").await.1["person"]["objectId"].clone();
            let someone = crate::deployment::Someone {
                id: id.as_str().unwrap().to_owned(),
                email: "canary@example.org".to_owned(),
                key: String::new(),
            };
            assert_eq!(crate::owners::lying(&deployment, &someone).len(), 1, "{fault}");
            deployment.stop().await;
        }
        for (fault, email) in [
            ("rectify.alias_put", "canary@example.org"),
            ("rectify.committed", "corrected@example.org"),
            ("reseal.key_created", "corrected@example.org"),
            ("reseal.committed", "corrected@example.org"),
        ] {
            let mut deployment = killed(database(), "rectify", fault).await;
            let (status, held) = holdings(&deployment, email).await;
            assert_eq!((status.as_u16(), held["person"]["email"].as_str()), (200, Some(email)), "{fault}");
            deployment.stop().await;
        }
        // The code was taken: it is not asked for again by what goes on. What else the person changed comes first, here nothing.
        for fault in ["request.verified", "rectify.alias_put:2", "rectify.committed:2"] {
            let mut deployment = killed(database(), "address", fault).await;
            let (_, page) = deployment.operator("GET", "/requests", json!(null)).await;
            let path = format!("/requests/{}/verify", page["requests"][0]["id"].as_str().unwrap());
            let body = json!({ "code": "1" });
            let (status, done) = deployment.call(None, "POST", &path, body).await;
            assert_eq!((status.as_u16(), &done["state"]), (200, &json!("completed")), "{fault}: {done}");
            assert_eq!(holdings(&deployment, "corrected@example.org").await.0, 200, "{fault}");
            deployment.stop().await;
        }
        for fault in ["deletion.committed", "container.recorded", "deletion.receipted"] {
            let database = database();
            let mut deployment = Deployment::open(database.clone()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            let before = holdings(&deployment, "canary@example.org").await.1["items"].clone();
            crate::azure_world::team_in_a_project(&deployment, &someone).await;
            let full = holdings(&deployment, "canary@example.org").await.1["items"].clone();
            for kind in [
                "ExperimentationProject",
                "Run",
                "DatasetInput",
                "Artifact",
                "LoggedModel",
                "ModelVersion",
                "ModelAsset",
                "ContainerImage",
                "Service",
                "Notification",
            ] {
                let held = full.as_array().unwrap().iter().find(|item| item["kind"] == kind).unwrap();
                assert_eq!(held["count"], 1, "{full}");
            }
            let store = deployment.server().app().store().clone();
            assert_eq!(futures::StreamExt::count(store.blobs().list()).await, 1);
            drop(store);
            deployment.stop().await;
            die(&deployment.path("data"), database, "deletion", fault).await;
            deployment.start().await;
            let store = deployment.server().app().store().clone();
            let receipts = || {
                store.read(|tx| {
                    tx.held(habeas_core::Id::NIL, habeas_core::Kind::Receipt, habeas_core::Id::NIL, 10)
                })
            };
            while receipts().await.unwrap().len() != 1 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let (_, held) = holdings(&deployment, "canary@example.org").await;
            let items = held["items"].as_array().unwrap();
            // What comes with every call is left, and what was there before.
            for (item, before) in items.iter().zip(before.as_array().unwrap()) {
                let comes = item["kind"] == "Token" || item["kind"] == "Telemetry";
                assert!(comes || item["count"] == before["count"], "{fault}: {item}");
            }
            while futures::StreamExt::count(store.blobs().list()).await != 0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            drop(store);
            deployment.stop().await;
        }
        for fault in ["retention.batch", "retention.receipted"] {
            let mut deployment = Deployment::open(database()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            let project = deployment.project(&someone, "p").await;
            let store = deployment.server().app().store().clone();
            let over = |new: &mut habeas_store::New<_>| new.expires_at = Some(habeas_core::Timestamp(1));
            crate::predictions::stored(&store, &project, &image(1), over).await;
            drop(store);
            deployment.stop().await;
            let into = deployment.settings.database.clone();
            die(&deployment.path("data"), into, "retention", fault).await;
            deployment.start().await;
            let store = deployment.server().app().store().clone();
            let receipts = || {
                store.read(|tx| {
                    tx.held(habeas_core::Id::NIL, habeas_core::Kind::Receipt, habeas_core::Id::NIL, 10)
                })
            };
            while receipts().await.unwrap().len() != 1 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            while futures::StreamExt::count(store.blobs().list()).await != 0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            drop(store);
            deployment.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_a_request_killed_at_any_step_is_whole_and_can_be_repeated() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        for (work, fault, state, event) in [
            ("complete", "request.carried_out", "planned", "verified"),
            ("complete", "request.completed", "completed", "restricted"),
            ("deny", "request.denied", "denied", "denied"),
            ("cancel", "request.cancelled", "cancelled", "cancelled"),
            ("wake", "request.woken", "planned", "reminded"),
            ("confirm-identity", "request.identity_confirmed", "planned", "verified"),
        ] {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let mut deployment = Deployment::open(database.clone()).await;
            let someone = deployment.person("canary@example.org", "Canary").await;
            // Late enough that the staff is reminded at once.
            let received = Timestamp(Ambient::system().now().0 - 60 * time::DAY).rfc3339();
            let mut body = json!({ "type": "restriction", "received": received });
            if work != "confirm-identity" {
                body["identity"] = json!("known");
            }
            let path = format!("/persons/{}/requests", someone.id);
            let (status, request) = deployment.operator("POST", &path, body).await;
            assert_eq!(status, 201, "{request}");
            deployment.stop().await;
            die(&deployment.path("data"), database, work, fault).await;
            deployment.start().await;
            let path = format!("/requests/{}", request["id"].as_str().unwrap());
            let (_, found) = deployment.operator("GET", &path, json!(null)).await;
            assert_eq!(found["state"], state, "{fault}: {found}");
            let history = found["history"].as_array().unwrap();
            let happened = history.iter().filter(|entry| entry["event"] == event).count();
            assert_eq!(happened, 1, "{fault}: {found}");
            let holdings = format!("/persons/{}/holdings", someone.id);
            let (_, held) = deployment.operator("GET", &holdings, json!(null)).await;
            assert_eq!(held["restricted"], work == "complete", "{fault}");
            if state == "planned" {
                let body = json!({ "text": "Done." });
                let (_, done) = deployment.operator("POST", &format!("{path}/complete"), body).await;
                assert_eq!(done["state"], "completed", "{fault}: {done}");
            }
            deployment.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_a_backup_and_a_new_container_killed_at_any_step_are_whole_or_were_not() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        let database = || if number == 0 { None } else { crate::postgres::database() };
        let images = async |deployment: &Deployment, email: &str| {
            let path = format!("/persons?email={email}");
            let (_, persons) = deployment.operator("GET", &path, json!(null)).await;
            let path = format!("/persons/{}/items/Image", persons[0]["objectId"].as_str().unwrap());
            let (_, page) = deployment.operator("GET", &path, json!(null)).await;
            (persons[0]["objectId"].clone(), page["items"].as_array().unwrap().len())
        };
        let mut deployment = killed(database(), "transfer", "transfer.committed").await;
        let (to, theirs) = images(&deployment, "neighbour@example.org").await;
        assert_eq!((theirs, images(&deployment, "canary@example.org").await.1), (2, 0));
        // A restore of a backup from before has to know of it.
        let recorded = async |deployment: &Deployment| {
            let store = deployment.server().app().store();
            let records = store.with_ledger(|ledger| ledger.replay(0)).await.unwrap();
            records.iter().filter(|record| matches!(record, Record::Transferred { .. })).count()
        };
        while recorded(&deployment).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Nobody was told that it was done; asked for again, it is done again.
        let store = deployment.server().app().store().clone();
        let to_id: habeas_core::Id = to.as_str().unwrap().parse().unwrap();
        let kind = habeas_core::Kind::Project;
        let projects = store.read(move |tx| tx.held(to_id, kind, habeas_core::Id::NIL, 10)).await.unwrap();
        for project in projects {
            let body = json!({ "resource": project.id, "to": to });
            let (status, said) = deployment.operator("POST", "/transfers", body).await;
            assert_eq!(status, 201, "{said}");
        }
        // Each of the two projects, once more.
        assert_eq!(recorded(&deployment).await, 3);
        drop(store);
        deployment.stop().await;

        let mut deployment = killed(database(), "backup", "backup.rows").await;
        assert!(!deployment.path("backup").exists());
        let body = json!({ "destination": deployment.path("backup").to_str().unwrap() });
        let (status, report) = deployment.operator("POST", "/backups", body).await;
        assert_eq!((status.as_u16(), &report["blobs"]), (201, &json!(3)), "{report}");
        deployment.stop().await;

        let deployment = killed(database(), "project", "keys.created").await;
        let store = deployment.server().app().store();
        let keys = store.with_keyring(|keyring| Ok(keyring.containers().len())).await.unwrap();
        // The installation, for each of the two: person, account and project, and one's workspace and hosting account.
        assert_eq!(keys, 9, "a key of a project that was never made is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_import_is_killed_is_there_whole_or_not_at_all() {
    let _lock = crate::canary::protected().await;
    for number in 0..engines().len() {
        for (fault, state) in [("blob.put.after", "Importing"), ("import.finished", "Succeeded")] {
            let from = Deployment::open(None).await;
            let someone = from.person("canary@example.org", "Canary").await;
            let project = from.project(&someone, "p").await;
            from.image(&someone, &project, "a.jpg", &image(1), &[]).await;
            let database = if number == 0 { None } else { crate::postgres::database() };
            let mut to = Deployment::open(database.clone()).await;
            let other = to.person("canary@example.org", "Canary").await;
            let archive = crate::archives::archive(&from, &someone, to.folder.path()).await;
            to.stop().await;
            die(&to.path("data"), database, "bring", fault).await;
            to.start().await;
            let states = async || {
                let (_, projects) = to.train("GET", &other.key, "/projects", None).await;
                let projects = projects.as_array().unwrap().iter();
                projects.map(|project| project["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(states().await, [state], "{fault}");
            // Brought again, it goes on where it was, or has nothing to do.
            let report = crate::archives::bring(&to, &other, &archive).await.unwrap();
            assert_eq!(report.brought == 0, state == "Succeeded", "{fault}: {report:?}");
            assert_eq!(states().await, ["Succeeded"], "{fault}");
            let path = format!("/projects/{project}/images/count");
            assert_eq!(to.train("GET", &other.key, &path, None).await.1, json!(1), "{fault}");
        }
    }
}

/// The names of fault points, or of those that tests kill at, in the sources under a folder.
fn fault_points(folder: &Path, before: &str, found: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fault_points(&path, before, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split(before).skip(1).filter_map(|rest| rest.split(['"', ':']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn a_test_kills_a_process_at_every_fault_point() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut points, mut killed) = Default::default();
    for entry in std::fs::read_dir(crates).unwrap() {
        let source = entry.unwrap().path().join("src");
        if source.is_dir() {
            fault_points(&source, "fault::point(\"", &mut points);
        }
    }
    for tests in ["tests/tests/it", "habeas/tests/program"] {
        fault_points(&crates.join(tests), "\"", &mut killed);
    }
    assert!(points.len() > 60, "{points:?}");
    let missing: Vec<&String> = points.difference(&killed).collect();
    assert!(missing.is_empty(), "no test kills a process at {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_signing_key_killed_at_any_step_has_happened_or_not() {
    let _lock = crate::canary::protected().await;
    let faults = [
        ("signing.key_created", 1),
        ("ledger.appended", 2),
        ("signing.announced", 2),
        ("checkpoint.written", 2),
    ];
    for (number, (fault, count)) in
        (0..engines().len()).flat_map(|number| faults.map(|fault| (number, fault)))
    {
        let database = if number == 0 { None } else { crate::postgres::database() };
        let deployment = killed(database, "rotate", fault).await;
        let keys = async || deployment.operator("GET", "/log/keys", json!(null)).await.1;
        let before = keys().await;
        assert_eq!(before.as_array().unwrap().len(), count, "{fault}");
        assert_eq!(deployment.operator("POST", "/log/keys", json!({})).await.0, 201, "{fault}");
        let after = keys().await;
        assert_eq!(after.as_array().unwrap()[..count], *before.as_array().unwrap(), "{fault}");
        assert_eq!(after.as_array().unwrap().len(), count + 1, "{fault}");
    }
}
