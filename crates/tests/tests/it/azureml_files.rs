//! Files as `azureml-core` names, sends and appends them, and the file shares it notes, by plain HTTP.

use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What the client makes of an address: it takes the path out without decoding it, and encodes it once more.
fn encoded_again(address: &str) -> String {
    let (base, query) = address.split_once('?').unwrap();
    format!("{}?{query}", base.replace('%', "%25"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_any_name_is_sent_by_a_client_that_encodes_its_path_twice() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let names = [
            "outputs/100%.txt",
            "outputs/50%25.txt",
            "outputs/a b.txt",
            "outputs/a+b.txt",
            "outputs/a,b",
            "outputs/a@b.txt",
            "outputs/epoch=3-step=100.ckpt",
            "outputs/model (1).pkl",
            "outputs/plain.txt",
            "outputs/über.txt",
        ];
        for name in names {
            let address = team.announced(name).await;
            let sent = encoded_again(&address);
            assert_eq!(team.put(&sent, name.as_bytes()).await, 201, "{name}");
            assert_eq!(team.storage("HEAD", &sent, &[], Vec::new()).await.0, 200, "{name}");
            let (status, _, body) = team.storage("GET", &address, &[], Vec::new()).await;
            assert_eq!((status, body.as_slice()), (200, name.as_bytes()), "{name}");
        }
        assert_eq!(team.files().await, names);
        // No other path is granted by it, and none that was encoded more often.
        let address = encoded_again(&team.announced("outputs/c d.txt").await);
        for changed in [
            address.replace("outputs", "inputs"),
            address.replace("c%2520d", "c%2520e"),
            encoded_again(&address),
        ] {
            assert_eq!(team.put(&changed, b"x").await, 403, "{changed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_path_that_lead_nowhere_are_left_out() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let run = format!("ExperimentRun/dcid.{}", team.run);
        let announce = format!("/artifact/v2.0@/artifacts/batch/metadata/{run}");
        let sent = [
            ("./b.txt", "b.txt"),
            ("c/./d.txt", "c/d.txt"),
            ("fold//a.txt", "fold/a.txt"),
            ("./o/x.txt", "o/x.txt"),
            ("/tmp/plots/q.png", "tmp/plots/q.png"),
        ];
        let paths: Vec<Value> = sent.iter().map(|(path, _)| json!({ "path": path })).collect();
        let answer = team.ok("POST", &announce, json!({ "paths": paths })).await;
        assert_eq!(answer["errors"], json!({}));
        for (path, name) in sent {
            // By the path as it was sent the client finds which of its files is meant.
            let (artifact, content) =
                (&answer["artifacts"][path], &answer["artifactContentInformation"][path]);
            assert_eq!((artifact["path"].as_str(), content["path"].as_str()), (Some(path), Some(path)));
            assert_eq!(artifact["artifactId"], format!("{run}/{name}"));
            assert_eq!(team.put(&text(&content["contentUri"]), path.as_bytes()).await, 201, "{path}");
        }
        assert_eq!(team.files().await, sent.map(|(_, name)| name));
        // The same file by either name.
        let history = format!("/history/v1.0@/experiments/Default/runs/{}/artifacts", team.run);
        for (address, name) in [
            (format!("/artifact/v2.0@/artifacts/contentinfo/{run}//tmp/plots/q.png"), "/tmp/plots/q.png"),
            (format!("/artifact/v2.0@/artifacts/contentinfo/{run}/tmp/plots/q.png"), "/tmp/plots/q.png"),
            (format!("/artifact/v2.0@/artifacts/{run}/contentinfo?path=./o/x.txt"), "./o/x.txt"),
            (format!("{history}/contentinfo?path=fold//a.txt"), "fold//a.txt"),
        ] {
            let content = team.ok("GET", &address, json!(null)).await;
            let (_, _, body) = team.storage("GET", &text(&content["contentUri"]), &[], Vec::new()).await;
            assert_eq!(body, name.as_bytes(), "{address}");
        }
        let listed = team.ok("GET", &format!("/artifact/v2.0@/artifacts/{run}/./fold//"), json!(null)).await;
        assert_eq!(
            (listed["value"].as_array().unwrap().len(), &listed["value"][0]["path"]),
            (1, &json!("fold/a.txt"))
        );
        let again = team.ok("POST", &announce, json!({ "paths": [{ "path": "/o//x.txt" }] })).await;
        assert_eq!(again["errors"]["/o//x.txt"]["error"]["innerError"]["code"], "Conflict", "{again}");
        let empty = json!({ "origin": "LocalUpload", "container": "c", "path": "./e/empty" });
        assert_eq!(team.ok("POST", "/artifact/v1.0@/artifacts/metadata", empty).await["path"], "e/empty");
        // What leads out of a run is refused still, and so is what names no file.
        for path in ["../x", "a/../b", "/..", "./%2e%2e/b", "a\\b", "/", "./", ""] {
            let answer = team.ok("POST", &announce, json!({ "paths": [{ "path": path }] })).await;
            assert_eq!(answer["artifacts"], json!({}), "{path}");
            assert_eq!(answer["errors"][path]["error"]["message"], "Invalid path", "{path}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_writes_is_appended_to_a_log() {
    const CREATE: &[(&str, &str)] = &[("x-ms-blob-type", "AppendBlob")];
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let address = team.announced("logs/user_log.txt").await;
        let block = format!("{address}&comp=appendblock");
        let refused = async |path: &str, headers: &[(&str, &str)], expected: (u16, &str)| {
            let (status, found, _) = team.storage("PUT", path, headers, b"more".to_vec()).await;
            assert_eq!((status, found["x-ms-error-code"].to_str().unwrap()), expected, "{headers:?}");
        };
        // The client makes the blob where this says that there is none.
        refused(&block, &[], (404, "BlobNotFound")).await;
        refused(&address, CREATE, (400, "InvalidHeaderValue")).await;
        assert!(team.files().await.is_empty());
        assert_eq!(team.storage("PUT", &address, CREATE, Vec::new()).await.0, 201);
        assert_eq!(team.files().await, ["logs/user_log.txt"]);
        for (bytes, offset) in [("one\n", "0"), ("two\n", "4")] {
            let (status, headers, _) = team.storage("PUT", &block, &[], bytes.into()).await;
            assert_eq!((status, headers["x-ms-blob-append-offset"].to_str().unwrap()), (201, offset));
            assert!(headers.contains_key("etag") && headers.contains_key("last-modified"));
        }
        for (name, value, expected) in [
            ("x-ms-blob-condition-appendpos", "4", (412, "AppendPositionConditionNotMet")),
            ("x-ms-blob-condition-maxsize", "11", (412, "MaxBlobSizeConditionNotMet")),
            ("x-ms-blob-condition-maxsize", "all", (400, "InvalidHeaderValue")),
            ("if-match", "\"x\"", (412, "ConditionNotMet")),
            ("if-none-match", "*", (409, "BlobAlreadyExists")),
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", (400, "Md5Mismatch")),
        ] {
            refused(&block, &[(name, value)], expected).await;
        }
        let content =
            format!("/artifact/v2.0@/artifacts/contentinfo/ExperimentRun/{}/logs/user_log.txt", team.run);
        let readable = text(&team.ok("GET", &content, json!(null)).await["contentUri"]);
        refused(&format!("{readable}&comp=appendblock"), &[], (403, "AuthorizationPermissionMismatch")).await;
        let fitting = [("x-ms-blob-condition-appendpos", "8"), ("x-ms-blob-condition-maxsize", "14")];
        assert_eq!(team.storage("PUT", &block, &fitting, b"three\n".to_vec()).await.0, 201);

        // Where `get_all_logs` finds it.
        let details = format!("/history/v1.0@/experiments/Default/runs/{}/details", team.run);
        let details = team.ok("GET", &details, json!(null)).await;
        let log = text(&details["logFiles"]["logs/user_log.txt"]);
        let (_, headers, body) = team.storage("GET", &log, &[], Vec::new()).await;
        assert_eq!(String::from_utf8(body).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        // Made once more, it begins anew, unless its client would overwrite nothing.
        let new = [CREATE[0], ("if-none-match", "*")];
        assert_eq!(team.storage("PUT", &address, &new, Vec::new()).await.0, 409);
        assert_eq!(team.storage("PUT", &address, CREATE, Vec::new()).await.0, 201);
        assert!(team.storage("GET", &log, &[], Vec::new()).await.2.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_share_is_shown_with_what_is_plainly_no_key() {
    const NO_KEY: &str = "a2V5cyBhcmUgbm90IGdpdmVuIGJhY2s=";
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let section = json!({ "accountName": "leaves", "containerName": "s" });
        for (name, sort, secret) in [
            ("share", "AzureFile", "accountKey"),
            ("signed", "AzureFile", "sasToken"),
            ("images", "AzureBlob", "accountKey"),
        ] {
            let mut section = section.clone();
            section[secret] = json!("hushhush");
            let body = json!({ "name": name, "dataStoreType": sort, "azureStorageSection": section });
            team.ok("POST", "/datastore/v1.0@/datastores", body).await;
        }
        let listed = team.ok("GET", "/datastore/v1.0@/datastores", json!(null)).await;
        assert!(!listed.to_string().contains("hushhush"));
        let shown = async |name: &str| {
            team.ok("GET", &format!("/datastore/v1.0@/datastores/{name}"), json!(null)).await
        };
        for (name, key) in [("share", json!(NO_KEY)), ("signed", json!(NO_KEY)), ("images", json!(null))] {
            let stores = listed["value"].as_array().unwrap();
            let found = stores.iter().find(|store| store["name"] == name).unwrap();
            assert_eq!(found["azureStorageSection"]["accountKey"], key, "{name}");
            assert_eq!(shown(name).await, *found, "{name}");
        }
        // Sent back as it was shown, it is no key either.
        let share = shown("share").await;
        team.ok("PUT", "/datastore/v1.0@/datastores/share", share).await;
        let id: habeas_core::Id = workspace(&team).await.parse().unwrap();
        let kept = deployment
            .server()
            .app()
            .store()
            .read(move |tx| tx.child_by_name::<habeas_core::kinds::Datastore>(id, "share"));
        assert!(kept.await.unwrap().unwrap().doc.secrets.is_empty());
    }
}

/// The id of the team's workspace.
async fn workspace(team: &Team<'_>) -> String {
    let (_, shown) = team.call("GET", "@?api-version=2018-03-01-preview", json!(null)).await;
    text(&shown["properties"]["workspaceId"])
}
