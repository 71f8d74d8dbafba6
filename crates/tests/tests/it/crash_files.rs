//! A process killed at any step of an upload, an export or an import, and started again.

use axum::body::Body;
use axum::http::Request;
use habeas::archive::{Checked, plain};
use habeas_core::age::Lock;
use habeas_core::crypto::sha256;
use serde_json::json;

use crate::crash::killed;
use crate::deployment::engines;
use crate::sealed::{PASSPHRASE, by_passphrase, open};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_killed_at_any_step_leaves_nothing_behind() {
    let _lock = crate::canary::protected().await;
    let faults = ["upload.announced", "blob.put.before", "blob.put.after", "upload.stored"];
    for number in 0..engines().len() {
        for (work, fault) in ["upload", "file"].into_iter().flat_map(|work| faults.map(|fault| (work, fault)))
        {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, work, fault).await;
            let store = deployment.server().app().store();
            // An image each, and a run's file.
            while futures::StreamExt::count(store.blobs().list()).await != 3 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let (_, persons) =
                deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
            let id = persons[0]["objectId"].as_str().unwrap();
            for kind in ["Image", "Artifact"] {
                let path = format!("/persons/{id}/items/{kind}");
                let (_, held) = deployment.operator("GET", &path, json!(null)).await;
                assert_eq!(held["items"].as_array().unwrap().len(), 1, "{work} {fault} {kind}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_in_blocks_is_there_when_its_list_was_committed_or_not_at_all() {
    let _lock = crate::canary::protected().await;
    // Files that are there after a start, a run's own file among them; there are so many blobs besides the two images.
    let faults = [("blob.put.after:2", 1), ("artifact.blocks.joined", 1), ("artifact.blocks.committed", 2)];
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
async fn an_export_killed_at_any_step_is_whole_in_the_end_and_has_its_receipt() {
    let _lock = crate::canary::protected().await;
    let faults = ["blob.put.before", "blob.put.after", "export.blob_written", "export.kept"];
    for number in 0..engines().len() {
        for (work, fault) in
            ["export", "export_sealed"].into_iter().flat_map(|work| faults.map(|fault| (work, fault)))
        {
            let database = if number == 0 { None } else { crate::postgres::database() };
            let deployment = killed(database, work, fault).await;
            let (_, persons) =
                deployment.operator("GET", "/persons?email=canary@example.org", json!(null)).await;
            let person = format!("/persons/{}", persons[0]["objectId"].as_str().unwrap());
            // The receipt comes last.
            let receipts = format!("{person}/receipts");
            let archive = loop {
                let (_, receipts) = deployment.operator("GET", &receipts, json!(null)).await;
                let (_, exports) =
                    deployment.operator("GET", &format!("{person}/exports"), json!(null)).await;
                assert_ne!(exports[0]["status"], "failed", "{work} {fault}: {exports}");
                if !receipts.as_array().unwrap().is_empty() {
                    break exports[0].clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            };
            assert_eq!(archive["status"], "ready", "{work} {fault}: {archive}");
            let path = format!("/api/privacy/v1/exports/{}/content", archive["id"].as_str().unwrap());
            let mut request = Request::get(path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(habeas_access::Actor::Operator);
            let (_, bytes) = deployment.send(request).await;
            assert_eq!(archive["sha256"], hex::encode(sha256(&bytes)), "{work} {fault}");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let checked = match work {
                "export" => Checked::open(plain(file.path(), |_| unreachable!()).unwrap(), &[]),
                _ => open(file.path(), Lock::Passphrase, &by_passphrase(PASSPHRASE)),
            };
            checked.unwrap_or_else(|error| panic!("{work} {fault}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_at_any_step_goes_on_and_copies_everything_once() {
    let _lock = crate::canary::protected().await;
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
