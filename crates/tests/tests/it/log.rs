//! The log of receipts: what a receipt proves, whichever key signed it, with and without the server.

use std::path::Path;
use std::process::Command;

use habeas_core::checkpoint::Checkpoint;
use habeas_core::{merkle, receipt};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};

async fn erased(deployment: &Deployment, name: &str) -> (String, Value) {
    let someone = deployment.person(&format!("{name}@example.org"), name).await;
    let report = deployment.erase(&someone).await;
    assert_eq!(report["status"], "completed", "{report}");
    let path = format!("/erasures/{}/receipt", report["plan"].as_str().unwrap());
    let (status, receipt) = deployment.operator("GET", &path, json!(null)).await;
    assert_eq!(status, 200, "{receipt}");
    (someone.id, receipt)
}

/// The log's checkpoint: it is text, and comes as the string of a value here.
async fn checkpoint(deployment: &Deployment) -> String {
    deployment.server().app().store().checkpoint().await.unwrap()
}

async fn get(deployment: &Deployment, path: &str) -> Value {
    let (status, value) = deployment.operator("GET", path, json!(null)).await;
    assert_eq!(status, 200, "{path}: {value}");
    value
}

fn hashes(value: &Value) -> Vec<merkle::Hash> {
    let texts: Vec<String> = serde_json::from_value(value.clone()).unwrap();
    receipt::hashes(&texts).unwrap()
}

/// What `docs/verify_receipt.py` says: its exit code.
fn python(receipt: &Value, key: &str, person: Option<&str>, folder: &Path) -> i32 {
    python_of_text(&receipt.to_string(), key, person, folder)
}

/// The same of a file with this text.
fn python_of_text(receipt: &str, key: &str, person: Option<&str>, folder: &Path) -> i32 {
    let path = folder.join("receipt.json");
    std::fs::write(&path, receipt).unwrap();
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verify_receipt.py"))
        .arg(path)
        .arg(key);
    command.args(person).output().unwrap().status.code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_proves_itself_and_its_place_in_the_log_whichever_key_signed_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let folder = tempfile::tempdir().unwrap();
        let (ada, first) = erased(&deployment, "ada").await;
        let (_, second) = erased(&deployment, "bea").await;
        let kept = checkpoint(&deployment).await;
        let pinned = get(&deployment, "/public-key").await["publicKey"].as_str().unwrap().to_owned();
        let key: [u8; 32] = hex::decode(&pinned).unwrap().try_into().unwrap();
        let (status, keys) = deployment.operator("POST", "/log/keys", json!({})).await;
        assert_eq!((status.as_u16(), keys.as_array().unwrap().len()), (201, 2), "{keys}");
        let (cyd, third) = erased(&deployment, "cyd").await;
        assert_ne!(third["statement"]["issuer"], first["statement"]["issuer"]);

        // Whoever pinned the first key verifies all, without the server.
        for (number, receipt) in [(0, &first), (1, &second), (3, &third)] {
            let verified = receipt::verify(receipt.to_string().as_bytes(), &[key]).unwrap();
            assert_eq!(receipt["log"]["index"], number);
            assert!(verified.logged.unwrap().size > number);
        }
        assert_eq!(python(&first, &pinned, Some(&ada), folder.path()), 0);
        assert_eq!(python(&third, &pinned, Some(&cyd), folder.path()), 0);
        assert_eq!(python(&third, &pinned, Some(&ada), folder.path()), 6);
        let mut changed = third.clone();
        changed["log"]["index"] = json!(2);
        assert_eq!(python(&changed, &pinned, None, folder.path()), 6);
        changed = third.clone();
        changed["log"]["checkpoint"] = first["log"]["checkpoint"].clone();
        assert_eq!(python(&changed, &pinned, None, folder.path()), 6);
        assert!(receipt::verify(changed.to_string().as_bytes(), &[key]).is_err());
        changed = third.clone();
        changed["log"]["keys"] = json!([]);
        assert_eq!(python(&changed, &pinned, None, folder.path()), 6);

        // What reads like the signed statement and does not say the same is refused by both, and so is what cannot be read.
        let text = third.to_string();
        let (left, index) = (r#""filesLeft":0"#, r#""index":3"#);
        for (of, instead) in [
            (left, r#""filesLeft":false"#),
            (left, r#""filesLeft":0.0"#),
            (left, r#""filesLeft":-0"#),
            (left, r#""filesLeft":7,"filesLeft":0"#),
            (left, r#""filesLeft":0,"filesLeft":0"#),
            (index, r#""index":3.0"#),
            (index, r#""index":0,"index":3"#),
            (r#""salt":"#, r#""salt":null,"salt":"#),
            (r#""statement":"#, r#""statement":{},"statement":"#),
            (text.as_str(), "{"),
            (text.as_str(), "[]"),
            (text.as_str(), ""),
        ] {
            let changed = text.replace(of, instead);
            assert_ne!(changed, text, "{instead}");
            assert_eq!(python_of_text(&changed, &pinned, Some(&cyd), folder.path()), 6, "{instead}");
            assert!(receipt::verify(changed.as_bytes(), &[key]).is_err(), "{instead}");
        }
        let pretty = serde_json::to_string_pretty(&third).unwrap();
        assert_eq!(python_of_text(&pretty, &pinned, Some(&cyd), folder.path()), 0);

        // The log begins with what it was when the first checkpoint was kept, also after a restart.
        let today = checkpoint(&deployment).await;
        deployment.stop().await;
        deployment.start().await;
        assert_eq!(checkpoint(&deployment).await, today);
        let trusted: Vec<[u8; 32]> = get(&deployment, "/log/keys")
            .await
            .as_array()
            .unwrap()
            .iter()
            .map(|key| hex::decode(key["publicKey"].as_str().unwrap()).unwrap().try_into().unwrap())
            .collect();
        let (old, new) =
            (Checkpoint::verify(&kept, &[key]).unwrap(), Checkpoint::verify(&today, &trusted).unwrap());
        assert_eq!((old.size, new.size, &old.origin), (2, 4, &new.origin));
        let proof = get(&deployment, "/log/consistency?from=2").await;
        let path = hashes(&proof["hashes"]);
        assert!(merkle::is_consistent(2, 4, &path, &old.root, &new.root));
        assert_eq!(proof["checkpoint"], today);
        let mut tree = merkle::Tree::default();
        for entry in hashes(&get(&deployment, "/log/entries").await["entries"]) {
            tree.push(merkle::leaf(&entry));
        }
        assert_eq!((tree.root(2).unwrap(), tree.root(4).unwrap()), (old.root, new.root));

        for (path, expected) in [
            ("/log/consistency?from=5", 400),
            ("/log/consistency?from=2&to=9", 400),
            ("/log/consistency?from=x", 400),
            ("/log/entries?from=9", 200),
            ("/log/inclusion/0190b3a4-5c6d-7e8f-9012-3456789abcde", 404),
            ("/log/inclusion/nothing", 404),
        ] {
            assert_eq!(deployment.operator("GET", path, json!(null)).await.0, expected, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_outlives_the_restore_of_an_older_backup() {
    let _lock = crate::canary::protected().await;
    let mut deployment = Deployment::open(None).await;
    erased(&deployment, "ada").await;
    let backup = deployment.path("backup");
    let body = json!({ "destination": backup.to_str().unwrap() });
    assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
    let (_, later) = erased(&deployment, "bea").await;
    let today = checkpoint(&deployment).await;
    deployment.stop().await;
    let mut options = habeas_store::Options::embedded(deployment.path("restored"));
    options.keyring = Some(deployment.path("data/keyring"));
    options.root_key = Some(habeas_store::RootKeySource::File(deployment.path("data/root.key")));
    habeas_store::Store::restore(options, &backup, habeas_core::Ambient::system()).await.unwrap();
    deployment.settings.data = Some(deployment.path("restored"));
    deployment.settings.keyring = Some(deployment.path("data/keyring"));
    deployment.settings.root_key_file = Some(deployment.path("data/root.key"));
    deployment.start().await;
    assert_eq!(checkpoint(&deployment).await, today);
    // The receipts too: their rows came back from the ledger.
    let receipts = deployment.server().app().rights.log_entries(0, 10).await.unwrap();
    let signature = later["signature"].as_str().unwrap();
    assert_eq!(receipts.entries.last().unwrap(), &hex::encode(receipt::entry(signature)));

    // A ledger that lost what a checkpoint has signed is refused.
    deployment.stop().await;
    let path = deployment.path("data/keyring/ledger");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let said = deployment.try_start().await.unwrap_err();
    assert!(said.contains("lacks receipts that a checkpoint has signed"), "{said}");
}
