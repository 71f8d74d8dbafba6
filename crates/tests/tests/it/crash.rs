//! A process killed at any step of an upload, an export or an erasure, and started again.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::deployment::{Deployment, engines, image};

/// The work of the process that is killed: this same test binary, started again with a folder and a fault.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let (Ok(data), Ok(work)) = (std::env::var("HABEAS_TEST_DATA"), std::env::var("HABEAS_TEST_WORK")) else {
        return;
    };
    let mut deployment = Deployment::open_in(data.into(), std::env::var("HABEAS_TEST_DATABASE").ok()).await;
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
        "export" => {
            deployment.operator("POST", &format!("/persons/{}/exports", someone.id), json!({})).await;
            // The worker passes the fault point and ends the process.
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        }
        _ => {
            deployment.erase(&someone).await;
        }
    }
    deployment.stop().await;
}

async fn killed(database: Option<String>, work: &str, fault: &str) -> Deployment {
    let mut deployment = Deployment::open(database.clone()).await;
    let someone = deployment.person("canary@example.org", "Canary").await;
    let project = deployment.project(&someone, "p").await;
    deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
    let neighbour = deployment.person("neighbour@example.org", "Neighbour").await;
    let theirs = deployment.project(&neighbour, "n").await;
    deployment.image(&neighbour, &theirs, "n.jpg", &image(2), &[]).await;
    deployment.stop().await;
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env("HABEAS_TEST_DATA", deployment.path("data"))
        .env("HABEAS_TEST_WORK", work)
        .env("HABEAS_FAULT", fault)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(database) = database {
        child.env("HABEAS_TEST_DATABASE", database);
    }
    let status = tokio::task::spawn_blocking(move || child.status()).await.unwrap().unwrap();
    assert!(!status.success(), "{work} passed no fault point {fault}");
    deployment.start().await;
    deployment
}

async fn only_the_neighbour_is_left(deployment: &Deployment) {
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
    ];
    for number in 0..engines().len() {
        // PostgreSQL starts slowly in a child; a few points show that it resumes like the embedded engine.
        for fault in faults.iter().step_by(if number == 0 { 1 } else { 4 }) {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, "erase", fault).await;
            only_the_neighbour_is_left(&deployment).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_killed_at_any_step_leaves_nothing_behind() {
    let _lock = crate::canary::exclusively().await;
    for fault in ["upload.announced", "blob.put.before", "blob.put.after", "upload.stored"] {
        let deployment = killed(None, "upload", fault).await;
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
async fn an_export_killed_before_it_is_ready_is_written_again() {
    let _lock = crate::canary::exclusively().await;
    let deployment = killed(None, "export", "export.blob_written").await;
    let (_, persons) = deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
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
