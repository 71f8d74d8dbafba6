//! A process killed at any step of an upload, an export or an erasure, and started again.

use std::path::Path;
use std::process::{Command, Stdio};

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
        "request" => crate::requests::ask(&deployment, &someone).await,
        "export" => {
            deployment.operator("POST", &format!("/persons/{}/exports", someone.id), json!({})).await;
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
        "rectify" => {
            let path = format!("/persons/{}", someone.id);
            deployment.operator("PATCH", &path, json!({ "email": "corrected@example.org" })).await;
        }
        "retention" => {
            deployment.operator("POST", "/retention", json!({})).await;
        }
        "deletion" => {
            let caller = crate::arm::Caller::new(&deployment, &someone).await;
            let [account, ..] = crate::control_plane::make(&caller, &someone.id).await;
            let path = format!("{account}?api-version=2017-05-01-preview");
            caller.call("DELETE", &path, &[], json!(null)).await;
        }
        _ => {
            deployment.erase(&someone).await;
        }
    }
    deployment.stop().await;
}

pub(crate) async fn killed(database: Option<String>, work: &str, fault: &str) -> Deployment {
    let mut deployment = Deployment::open(database.clone()).await;
    let someone = deployment.person("canary@example.org", "Canary").await;
    let project = deployment.project(&someone, "p").await;
    deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
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
    let _lock = crate::canary::exclusively().await;
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
    let _lock = crate::canary::exclusively().await;
    let faults = [
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
        "erase.step:4",
        "erase.step:5",
        "erase.before_receipt",
        "ledger.appended:2",
        "receipt.logged",
    ];
    for number in 0..engines().len() {
        for fault in faults {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, "erase", fault).await;
            only_the_neighbour_is_left(&deployment).await;
        }
    }
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
    let _lock = crate::canary::exclusively().await;
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
    let _lock = crate::canary::exclusively().await;
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
        for fault in ["deletion.committed", "container.recorded", "deletion.receipted"] {
            let mut deployment = killed(database(), "deletion", fault).await;
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
            assert!(!held.to_string().contains("Experimentation"), "{fault}: {held}");
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
async fn a_change_of_the_signing_key_killed_at_any_step_has_happened_or_not() {
    let _lock = crate::canary::exclusively().await;
    for (fault, count) in [
        ("signing.key_created", 1),
        ("ledger.appended", 2),
        ("signing.announced", 2),
        ("checkpoint.written", 2),
    ] {
        let deployment = killed(None, "rotate", fault).await;
        let keys = async || deployment.operator("GET", "/log/keys", json!(null)).await.1;
        let before = keys().await;
        assert_eq!(before.as_array().unwrap().len(), count, "{fault}");
        assert_eq!(deployment.operator("POST", "/log/keys", json!({})).await.0, 201, "{fault}");
        let after = keys().await;
        assert_eq!(after.as_array().unwrap()[..count], *before.as_array().unwrap(), "{fault}");
        assert_eq!(after.as_array().unwrap().len(), count + 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_killed_at_any_step_leaves_nothing_behind() {
    let _lock = crate::canary::exclusively().await;
    let faults = ["upload.announced", "blob.put.before", "blob.put.after", "upload.stored"];
    for (number, fault) in (0..engines().len()).flat_map(|number| faults.map(|fault| (number, fault))) {
        let database = if number == 0 { None } else { crate::postgres::database() };
        let deployment = killed(database, "upload", fault).await;
        let store = deployment.server().app().store();
        while futures::StreamExt::count(store.blobs().list()).await != 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let (_, persons) = deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
        let (_, held) = deployment
            .operator(
                "GET",
                &format!("/persons/{}/items/Image", persons[0]["objectId"].as_str().unwrap()),
                json!(null),
            )
            .await;
        assert_eq!(held["items"].as_array().unwrap().len(), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_in_blocks_is_there_when_its_list_was_committed_or_not_at_all() {
    let _lock = crate::canary::exclusively().await;
    // What is there after a start: files, and blobs besides the two images.
    let faults = [("blob.put.after:2", 0), ("artifact.blocks.joined", 0), ("artifact.blocks.committed", 1)];
    for (number, (fault, left)) in (0..engines().len()).flat_map(|number| faults.map(|fault| (number, fault)))
    {
        let database = if number == 0 { None } else { crate::postgres::database() };
        let deployment = killed(database, "artifact", fault).await;
        let store = deployment.server().app().store();
        while futures::StreamExt::count(store.blobs().list()).await != 2 + left {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let (_, persons) = deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
        let path = format!("/persons/{}/items/Artifact", persons[0]["objectId"].as_str().unwrap());
        let (_, held) = deployment.operator("GET", &path, json!(null)).await;
        assert_eq!(held["items"].as_array().unwrap().len(), left, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_killed_before_it_is_ready_is_written_again() {
    let _lock = crate::canary::exclusively().await;
    for number in 0..engines().len() {
        for fault in ["blob.put.before", "blob.put.after", "export.blob_written"] {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, "export", fault).await;
            let (_, persons) =
                deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
            let path = format!("/persons/{}/exports", persons[0]["objectId"].as_str().unwrap());
            loop {
                let (_, exports) = deployment.operator("GET", &path, json!(null)).await;
                assert_ne!(exports[0]["status"], "failed", "{exports}");
                if exports[0]["status"] == "ready" {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_at_any_step_goes_on_and_copies_everything_once() {
    let _lock = crate::canary::exclusively().await;
    for number in 0..engines().len() {
        for fault in ["import.tags_copied", "import.bytes_copied", "import.image_copied"] {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let mut deployment = killed(database, "import", fault).await;
            let (_, persons) =
                deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
            let id = persons[0]["objectId"].as_str().unwrap();
            let (_, keys) = deployment.operator("GET", &format!("/persons/{id}/keys"), json!(null)).await;
            let key = keys[0]["trainingKeys"][0].as_str().unwrap().to_owned();
            let copy = loop {
                let (_, projects) = deployment.train("GET", &key, "/projects", None).await;
                let copy =
                    projects.as_array().unwrap().iter().find(|project| project["name"] == "copy").unwrap();
                if copy["status"] != "Importing" {
                    break copy.clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            };
            assert_eq!(copy["status"], "Succeeded", "{fault}: {copy}");
            let path = format!("/projects/{}/images/count", copy["id"].as_str().unwrap());
            assert_eq!(deployment.train("GET", &key, &path, None).await.1, json!(1), "{fault}");
            deployment.stop().await;
        }
    }
}
