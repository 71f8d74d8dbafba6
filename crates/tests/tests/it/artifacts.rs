//! Azure ML's artifacts, blob endpoint, snapshots, assets, datastores and notifications, by plain HTTP.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::{ManualClock, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines, unzip};
use crate::mlflow::Tracker;

/// A workspace of a person, with a run in it.
pub(crate) struct Team<'a> {
    deployment: &'a Deployment,
    tracker: Tracker<'a>,
    /// The workspace's address.
    pub(crate) scope: String,
    /// A run that MLflow's client began.
    pub(crate) run: String,
}

impl<'a> Team<'a> {
    pub(crate) async fn new(deployment: &'a Deployment, someone: &Someone) -> Team<'a> {
        Team::named(deployment, someone, "Leaves").await
    }

    pub(crate) async fn named(deployment: &'a Deployment, someone: &Someone, name: &str) -> Team<'a> {
        let tracker = Tracker::new(deployment, someone).await;
        let scope = format!(
            "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/{name}",
            someone.id
        );
        let path = format!("{scope}?api-version=2018-03-01-preview");
        let (status, made) = tracker.send("PUT", &path, &json!({ "location": "here" })).await;
        assert_eq!(status, 201, "{made}");
        let mut team = Team { deployment, tracker, scope, run: String::new() };
        team.run = team.begin().await;
        team
    }

    /// A workspace and a run that are there, for whoever has a token.
    pub(crate) fn with(deployment: &'a Deployment, token: &str, scope: &str, run: &str) -> Team<'a> {
        let tracker = Tracker::with(deployment, token);
        Team { deployment, tracker, scope: scope.to_owned(), run: run.to_owned() }
    }

    /// Begins a run by MLflow's API; its id.
    async fn begin(&self) -> String {
        let path = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/create", self.scope);
        let (status, made) =
            self.tracker.send("POST", &path, &json!({ "experiment_id": "0", "start_time": 1 })).await;
        assert_eq!(status, 200, "{made}");
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    async fn end(&self, run: &str, status: &str) {
        let path = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/update", self.scope);
        let body = json!({ "run_id": run, "status": status });
        let (status, answer) = self.tracker.send("POST", &path, &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Calls `PREFIX{scope}REST`, written `PREFIX@REST`.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.tracker.send(method, &path.replacen('@', &self.scope, 1), &body).await
    }

    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Sends to, or fetches from, a signed address, as Azure's storage client does: without a token.
    pub(crate) async fn storage(
        &self,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, HeaderMap, Vec<u8>) {
        let (_, rest) = address.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.deployment.server().router().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // What breaks off is an error of its own.
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 30).await.unwrap_or_default();
        (status, headers, bytes.to_vec())
    }

    /// Puts a file at an address.
    pub(crate) async fn put(&self, address: &str, bytes: &[u8]) -> u16 {
        self.storage("PUT", address, BLOCK_BLOB, bytes.to_vec()).await.0
    }

    /// The address at which a file of the run is put.
    pub(crate) async fn announced(&self, path: &str) -> String {
        let body = json!({ "paths": [{ "path": path }] });
        let container = format!("dcid.{}", self.run);
        let answer = self
            .ok("POST", &format!("/artifact/v2.0@/artifacts/batch/metadata/ExperimentRun/{container}"), body)
            .await;
        text(&answer["artifactContentInformation"][path]["contentUri"])
    }

    /// Puts a file to the run.
    pub(crate) async fn upload(&self, path: &str, bytes: &[u8]) {
        let address = self.announced(path).await;
        assert_eq!(self.put(&address, bytes).await, 201);
    }

    /// The paths of the run's files.
    pub(crate) async fn files(&self) -> Vec<String> {
        let path = format!("/artifact/v2.0@/artifacts/ExperimentRun/dcid.{}", self.run);
        paths(&self.ok("GET", &path, json!(null)).await)
    }
}

/// What `azureml-core` sends with a file.
const BLOCK_BLOB: &[(&str, &str)] = &[("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")];

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn paths(list: &Value) -> Vec<String> {
    list["value"].as_array().unwrap().iter().map(|file| text(&file["path"])).collect()
}

/// Everything that takes a text, with a marker in it, for the canary; and a key, which no archive holds.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let team = Team::new(deployment, someone).await;
    let path = format!("{}.txt", marker("filepath"));
    team.upload(&path, marker("filebytes").as_bytes()).await;
    // What is left of an upload that nobody finished.
    let unfinished = format!("{}&comp=block&blockid=MQ%3D%3D", team.announced("unfinished").await);
    assert_eq!(team.storage("PUT", &unfinished, &[], marker("block").into_bytes()).await.0, 201);
    let upload = format!("/artifact/v2.0@/artifacts/batch/metadata/LocalUpload/{}", marker("container"));
    let answer = team.ok("POST", &upload, json!({ "paths": [{ "path": "m" }] })).await;
    let address = text(&answer["artifactContentInformation"]["m"]["contentUri"]);
    assert_eq!(team.put(&address, marker("uploadbytes").as_bytes()).await, 201);
    let mut properties = serde_json::Map::new();
    properties.insert(marker("assetproperty"), json!(marker("assetvalue")));
    let body = json!({ "name": marker("asset"), "currentVersion": { "type": marker("assettype"), "properties": properties } });
    let asset = format!("/artifact/v1.0@/artifacts/asset/ExperimentRun/{}/{path}", team.run);
    team.ok("POST", &asset, body).await;
    let source = format!("{}.py", marker("source"));
    let answer = team.ok("POST", "/content/v2.0@/snapshots/getblob", json!({ "FileNames": [source] })).await;
    let address = text(&answer["fileNodes"][0]["blobUri"]);
    assert_eq!(team.put(&address, marker("sourcebytes").as_bytes()).await, 201);
    let mut children = serde_json::Map::new();
    children.insert(source.clone(), json!({ "type": "File", "hash": "1", "children": {} }));
    let body = json!({ "ParentSnapshotId": null, "Tags": { "t": marker("snapshottag") },
        "Properties": { "azureml.git.author": marker("author") },
        "DirTreeNode": { "name": "", "type": "Directory", "children": children },
        "FileRevisionList": { "FileNodes": [{ "FullName": source, "BlobUri": address, "FileSize": 1 }] } });
    team.ok("POST", "/content/v2.0@/snapshots/aa10612b-db7f-44e1-8933-79c4bc76cda8", body).await;
    let body = json!({ "uri": format!("https://{}.invalid/", marker("repository")) });
    team.ok("POST", "/content/v2.0@/snapshots/uri/bb10612b-db7f-44e1-8933-79c4bc76cda8", body).await;
    let section = json!({ "accountName": marker("storeaccount"), "accountKey": marker("storekey") });
    let body = json!({ "name": marker("store"), "dataStoreType": marker("storetype"), "tags": { "t": marker("storetag") },
        "azureStorageSection": section });
    team.ok("POST", "/datastore/v1.0@/datastores", body).await;
    team.end(&team.run, "FINISHED").await;
    [
        "filepath",
        "filebytes",
        "container",
        "uploadbytes",
        "assetproperty",
        "assetvalue",
        "asset",
        "assettype",
        "source",
        "sourcebytes",
        "snapshottag",
        "author",
        "repository",
        "storeaccount",
        "store",
        "storetype",
        "storetag",
    ]
    .map(marker)
    .to_vec()
}

/// Puts a file in two blocks, for the crash test.
pub(crate) async fn put_in_blocks(deployment: &Deployment, someone: &Someone) {
    let team = Team::new(deployment, someone).await;
    let address = team.announced("late.bin").await;
    for id in ["MQ%3D%3D", "Mg%3D%3D"] {
        team.storage("PUT", &format!("{address}&comp=block&blockid={id}"), &[], vec![7; 100_000]).await;
    }
    let list = b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>".to_vec();
    team.storage("PUT", &format!("{address}&comp=blocklist"), &[], list).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_announced_put_listed_and_fetched_by_both_protocols() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let container = format!("ExperimentRun/dcid.{}", team.run);

        // Announced: nothing to see yet. Then what is not what it should be leaves nothing.
        let body = json!({ "paths": [{ "path": "outputs/up.txt" }, { "path": "../x" }] });
        let announced = team
            .ok("POST", &format!("/artifact/v2.0@/artifacts/batch/metadata/{container}"), body.clone())
            .await;
        insta::assert_json_snapshot!("artifact_announced", announced, {
            ".artifacts.*.artifactId" => "[id]", ".artifacts.*.container" => "[container]", ".artifacts.*.createdTime" => "[time]",
            ".artifactContentInformation.*.contentUri" => "[address]", ".artifactContentInformation.*.container" => "[container]",
        });
        let address = text(&announced["artifactContentInformation"]["outputs/up.txt"]["contentUri"]);
        assert!(team.files().await.is_empty());
        for (name, expected) in [("workspaceblobstore", 200), ("images", 400)] {
            let path = format!("/artifact/v2.0@/artifacts/batch/metadata/{container}?datastoreName={name}");
            assert_eq!(team.call("POST", &path, body.clone()).await.0, expected, "{name}");
        }
        let bytes = b"0123456789".to_vec();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let right = STANDARD.encode(digest.as_ref());
        let wrong = STANDARD.encode([0; 32]);
        for (headers, code) in [
            (vec![], "InvalidHeaderValue"),
            (vec![("x-ms-blob-type", "BlockBlob"), ("content-sha256", wrong.as_str())], "Md5Mismatch"),
            (
                vec![("x-ms-blob-type", "BlockBlob"), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
                "Md5Mismatch",
            ),
            (vec![("x-ms-blob-type", "BlockBlob"), ("content-sha256", "?")], "InvalidHeaderValue"),
        ] {
            let (status, headers, body) = team.storage("PUT", &address, &headers, bytes.clone()).await;
            assert_eq!((status, headers["x-ms-error-code"].to_str().unwrap()), (400, code));
            assert!(String::from_utf8(body).unwrap().contains(&format!("<Code>{code}</Code>")));
            assert!(team.files().await.is_empty());
        }
        let mut headers = BLOCK_BLOB.to_vec();
        headers.push(("content-sha256", &right));
        let timed = format!("{address}&timeout=30");
        assert_eq!(team.storage("PUT", &timed, &headers, bytes.clone()).await.0, 201);
        // Once more: the client's own word is that nothing is to be overwritten.
        let (status, headers, _) = team.storage("PUT", &address, &headers, bytes.clone()).await;
        assert_eq!((status, &headers["x-ms-error-code"]), (409, &"BlobAlreadyExists".parse().unwrap()));
        let again =
            team.ok("POST", &format!("/artifact/v2.0@/artifacts/batch/metadata/{container}"), body).await;
        assert_eq!(again["errors"]["outputs/up.txt"]["error"]["innerError"]["code"], "Conflict", "{again}");

        // As a blob.
        let (status, head, empty) = team.storage("HEAD", &address, &[], Vec::new()).await;
        assert_eq!((status, &head["content-length"], empty.len()), (200, &"10".parse().unwrap(), 0));
        assert_eq!(head["x-ms-blob-type"], "BlockBlob");
        let etag = head["etag"].to_str().unwrap().to_owned();
        for (range, status, expected) in [
            ("bytes=0-33554431", 206, b"0123456789".as_slice()),
            ("bytes=2-4", 206, b"234"),
            ("bytes=10-", 416, b""),
        ] {
            let headers = [("x-ms-range", range), ("if-match", etag.as_str())];
            let (found, _, body) = team.storage("GET", &address, &headers, Vec::new()).await;
            assert_eq!((found, body.as_slice()), (status, expected), "{range}");
        }
        assert_eq!(team.storage("GET", &address, &[("if-match", "\"x\"")], Vec::new()).await.0, 412);

        // By every address that there is.
        let run = &team.run;
        for path in [
            format!("/artifact/v2.0@/artifacts/{container}"),
            format!("/artifact/v2.0@/artifacts/ExperimentRun/{run}/outputs"),
            format!("/artifact/v1.0@/artifacts/origins/ExperimentRun/containers/{run}"),
            format!("/artifact/v1.0@/projects/p1/Artifacts/Origins/experimentRun/Containers/{run}/outputs"),
            format!("/artifact/v2.0@/artifacts/prefix/contentinfo/{container}/outputs//"),
            format!("/artifact/v1.0@/artifacts/prefix/contentinfo/{container}/"),
            format!("/history/v1.0@/projects/p1/runs/{run}/artifacts"),
            format!("/history/v1.0@/experiments/e/runs/{run}/artifacts"),
            format!("/history/v1.0@/experiments/e/runs/{run}/artifacts/path/outputs"),
            format!("/history/v1.0@/experimentids/e/runs/{run}/artifacts/prefix/contentinfo/outputs"),
        ] {
            assert_eq!(paths(&team.ok("GET", &path, json!(null)).await), ["outputs/up.txt"], "{path}");
        }
        for path in [
            format!("/artifact/v1.0@/artifacts/contentinfo/{container}/outputs/up.txt"),
            format!("/history/v1.0@/experiments/e/runs/{run}/artifacts/contentinfo/outputs/up.txt"),
            format!("/history/v1.0@/experiments/e/runs/{run}/artifacts/contentinfo?path=outputs%2Fup.txt"),
            format!("/artifact/v2.0@/artifacts/{container}/contentinfo?path=outputs/up.txt"),
        ] {
            let content = team.ok("GET", &path, json!(null)).await;
            let (status, _, body) = team.storage("GET", &text(&content["contentUri"]), &[], Vec::new()).await;
            assert_eq!((status, body.as_slice()), (200, bytes.as_slice()));
        }
        for path in [
            format!("/history/v1.0@/runs/{run}/artifacturi?name=outputs/up.txt"),
            format!("/history/v1.0@/experiments/e/runs/{run}/artifacts/artifacturi/outputs/up.txt"),
        ] {
            let address = text(&team.ok("GET", &path, json!(null)).await);
            assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.2, bytes);
            // Good for reading only.
            assert_eq!(team.put(&address, b"x").await, 403);
        }
        let described = team
            .ok("GET", &format!("/artifact/v1.0@/artifacts/metadata/{container}/outputs/up.txt"), json!(null))
            .await;
        insta::assert_json_snapshot!("artifact", described, {
            ".artifactId" => "[id]", ".container" => "[container]", ".createdTime" => "[time]",
        });

        // MLflow's clients see the same files, and the other way round.
        let mlflow = format!("/mlflow/v2.0{}/api/2.0", team.scope);
        let listed = team
            .tracker
            .send("GET", &format!("{mlflow}/mlflow/artifacts/list?run_id={run}&path=outputs"), &json!(null))
            .await
            .1;
        assert_eq!(listed["files"], json!([{ "path": "outputs/up.txt", "is_dir": false, "file_size": 10 }]));
        let stored = format!("{mlflow}/mlflow-artifacts/artifacts/0/{run}/artifacts");
        assert_eq!(team.tracker.raw("GET", &format!("{stored}/outputs/up.txt"), Vec::new()).await.1, bytes);
        assert_eq!(team.tracker.raw("PUT", &format!("{stored}/model/MLmodel"), b"m".to_vec()).await.0, 200);
        assert_eq!(team.files().await, ["model/MLmodel", "outputs/up.txt"]);

        // Gone by one protocol is gone by both.
        let path = format!("/artifact/v2.0@/artifacts/metadata/{container}/outputs/up.txt?hardDelete=true");
        for expected in [200, 204] {
            assert_eq!(team.call("DELETE", &path, json!(null)).await.0, expected);
        }
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.0, 404);
        for expected in [200, 204] {
            let path = format!("/artifact/v1.0@/artifacts/batch/ExperimentRun/{run}");
            assert_eq!(team.call("DELETE", &path, json!(null)).await.0, expected);
        }
        assert!(team.files().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_put_in_blocks_and_are_there_when_their_list_is_committed_or_not_at_all() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let address = team.announced("large.bin").await;
        let block =
            |id: &str| format!("{address}&comp=block&blockid={}", STANDARD.encode(id).replace('=', "%3D"));
        let list = |ids: &[&str]| {
            let names: String =
                ids.iter().map(|id| format!("<Latest>{}</Latest>", STANDARD.encode(id))).collect();
            format!("<?xml version='1.0' encoding='utf-8'?>\n<BlockList>{names}</BlockList>").into_bytes()
        };
        let committed = format!("{address}&comp=blocklist");
        for (id, bytes) in
            [("2", vec![2; 70_000]), ("1", vec![9; 10]), ("1", vec![1; 70_000]), ("3", vec![3; 5])]
        {
            assert_eq!(team.storage("PUT", &block(id), &[], bytes).await.0, 201);
        }
        let (status, headers, _) = team.storage("PUT", &committed, &[], list(&["1", "4"])).await;
        assert_eq!((status, &headers["x-ms-error-code"]), (400, &"InvalidBlockList".parse().unwrap()));
        let (status, headers, _) = team.storage("PUT", &committed, &[], b"<BlockList>".to_vec()).await;
        assert_eq!((status, &headers["x-ms-error-code"]), (400, &"InvalidXmlDocument".parse().unwrap()));
        assert!(team.files().await.is_empty());
        assert_eq!(team.storage("PUT", &committed, BLOCK_BLOB, list(&["1", "2"])).await.0, 201);
        let (_, _, body) = team.storage("GET", &address, &[], Vec::new()).await;
        assert_eq!(body, [vec![1; 70_000], vec![2; 70_000]].concat());
        // The blocks are used up, and those that the list did not name are gone.
        assert_eq!(team.storage("PUT", &committed, &[], list(&["1"])).await.0, 400);
        assert_eq!(team.storage("PUT", &format!("{address}&comp=page"), &[], Vec::new()).await.0, 501);

        // Piece by piece without blocks.
        let path = format!("/artifact/v2.0@/artifacts/content/ExperimentRun/{}/log.txt", team.run);
        let path = path.replacen('@', &team.scope, 1);
        for (query, bytes) in [("", "a"), ("?append=true", "b"), ("?index=2", "c")] {
            assert_eq!(team.tracker.raw("POST", &format!("{path}{query}"), bytes.into()).await.0, 200);
        }
        assert_eq!(team.tracker.raw("GET", &path, Vec::new()).await.1, b"abc");
        // A piece whose client did not hear that it arrived comes once more.
        for (query, bytes) in
            [("?index=2", "c"), ("?index=3", "d"), ("?append=true&index=3", "d"), ("?append=true", "d")]
        {
            assert_eq!(team.tracker.raw("POST", &format!("{path}{query}"), bytes.into()).await.0, 200);
        }
        assert_eq!(team.tracker.raw("GET", &path, Vec::new()).await.1, b"abcdd");
        assert_eq!(team.tracker.raw("POST", &format!("{path}?index=last"), b"e".to_vec()).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_die_with_time_roles_and_persons_and_cannot_be_changed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000_000)));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        team.upload("a/secret.txt", b"s").await;
        let content = team
            .ok(
                "GET",
                &format!("/artifact/v2.0@/artifacts/contentinfo/ExperimentRun/{}/a/secret.txt", team.run),
                json!(null),
            )
            .await;
        let address = text(&content["contentUri"]);
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.0, 200);
        let (bare, _) = address.split_once('?').unwrap();
        for changed in [
            bare.to_owned(),
            address.replace("secret", "secre%74x"),
            address.replace("sp=r", "sp=rcw"),
            address.replace("se=18", "se=28"),
            address.replace(&someone.id, "0190b3a4-5c6d-7e8f-9012-3456789abcde"),
            format!("{}0", address.strip_suffix(address.chars().last().unwrap()).unwrap()),
        ] {
            let (status, headers, _) = team.storage("GET", &changed, &[], Vec::new()).await;
            // One in sixteen signatures ends with the digit that replaced its last.
            if changed != address {
                assert_eq!(
                    (status, &headers["x-ms-error-code"]),
                    (403, &"AuthenticationFailed".parse().unwrap()),
                    "{changed}"
                );
            }
        }
        clock.advance(25 * 3_600_000_000);
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.0, 403);

        // Of an organisation's run: what a member may do, and no longer than they may.
        let (_, organisation) =
            deployment.operator("POST", "/organisations", json!({ "name": "O", "owner": someone.id })).await;
        let organisation = text(&organisation["objectId"]);
        let member = deployment.person("b@example.org", "B").await;
        let path = format!("/organisations/{organisation}/members/{}", member.id);
        assert_eq!(deployment.operator("PUT", &path, json!({ "role": "trainer" })).await.0, 204);
        let owner = Someone { id: organisation.clone(), ..someone.clone() };
        let shared = {
            let tracker = Tracker::new(&deployment, &someone).await;
            let scope = team.scope.replace(&someone.id, &owner.id);
            let path = format!("{scope}?api-version=2018-03-01-preview");
            assert_eq!(tracker.send("PUT", &path, &json!({ "location": "here" })).await.0, 201);
            let mut shared = Team {
                deployment: &deployment,
                tracker: Tracker::new(&deployment, &member).await,
                scope,
                run: String::new(),
            };
            shared.run = shared.begin().await;
            shared
        };
        let address = shared.announced("b.txt").await;
        assert_eq!(shared.put(&address, b"b").await, 201);
        assert_eq!(deployment.operator("PUT", &path, json!({ "role": "reader" })).await.0, 204);
        assert_eq!(shared.storage("PUT", &address, &BLOCK_BLOB[..1], b"c".to_vec()).await.0, 403);
        assert_eq!(shared.storage("GET", &address, &[], Vec::new()).await.2, b"b");
        let report = deployment.erase(&member).await;
        assert_eq!(report["status"], "completed", "{report}");
        assert_eq!(shared.storage("GET", &address, &[], Vec::new()).await.0, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_origins_stand_under_the_workspace() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        for name in ["m1", "m2"] {
            let path = format!("/artifact/v2.0@/artifacts/batch/metadata/LocalUpload/{name}");
            let answer = team.ok("POST", &path, json!({ "paths": [{ "path": "model.pkl" }] })).await;
            let address = text(&answer["artifactContentInformation"]["model.pkl"]["contentUri"]);
            assert_eq!(team.put(&address, name.as_bytes()).await, 201);
        }
        let listed = team.ok("GET", "/artifact/v2.0@/artifacts/LocalUpload/m1", json!(null)).await;
        assert_eq!(listed["value"][0]["artifactId"], "LocalUpload/m1/model.pkl");
        assert_eq!(paths(&listed), ["model.pkl"]);
        let created = json!({ "origin": "LocalUpload", "container": "m3", "path": "empty" });
        assert_eq!(team.ok("POST", "/artifact/v1.0@/artifacts/metadata", created).await["path"], "empty");
        // All of the workspace, runs too.
        team.upload("a.txt", b"a").await;
        let (_, workspace) = team.call("GET", "@?api-version=2018-03-01-preview", json!(null)).await;
        let id = workspace["properties"]["workspaceId"].as_str().unwrap();
        for expected in [200, 204] {
            let path = format!("/artifact/v1.0/workspaces/{id}");
            assert_eq!(team.tracker.send("DELETE", &path, &json!(null)).await.0, expected);
        }
        assert!(team.files().await.is_empty());
        let listed = team.ok("GET", "/artifact/v2.0@/artifacts/LocalUpload/m2", json!(null)).await;
        assert!(paths(&listed).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_where_their_token_says() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let scope = &team.scope;
        for number in 0..1_001 {
            let path =
                format!("/artifact/v2.0{scope}/artifacts/content/ExperimentRun/{}/{number:04}", team.run);
            assert_eq!(team.tracker.raw("POST", &path, Vec::new()).await.0, 200);
        }
        let list = format!("/artifact/v2.0@/artifacts/ExperimentRun/{}", team.run);
        let first = team.ok("GET", &list, json!(null)).await;
        assert_eq!(paths(&first).len(), 1_000);
        let token = first["continuationToken"].as_str().unwrap();
        for name in ["continuationToken", "$continuationtoken"] {
            let second = team.ok("GET", &format!("{list}?{name}={token}"), json!(null)).await;
            assert_eq!((paths(&second), second.get("continuationToken")), (vec!["1000".to_owned()], None));
        }
        assert_eq!(team.call("GET", &format!("{list}?continuationToken=%21"), json!(null)).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_have_files_of_their_own() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        const NONE: &str = "00000000-0000-0000-0000-000000000000";
        let latest = team.ok("GET", "/content/v1.0@/snapshots/latest/metadata", json!(null)).await;
        assert_eq!((latest["id"].as_str(), &latest["root"]["children"]), (Some(NONE), &json!({})));
        let file = |hash: &str| json!({ "type": "File", "hash": hash, "children": {} });
        let tree = |children: Value| json!({ "name": "", "type": "Directory", "hash": "d", "timestamp": "2026-01-15T08:37:35", "children": children });
        let put = async |files: &[(&str, &str)]| {
            let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
            let answer =
                team.ok("POST", "/content/v2.0@/snapshots/getblob", json!({ "FileNames": names })).await;
            let mut nodes = Vec::new();
            for (node, (name, bytes)) in answer["fileNodes"].as_array().unwrap().iter().zip(files) {
                assert_eq!(node["fullName"], *name);
                let address = text(&node["blobUri"]);
                assert_eq!(team.put(&address, bytes.as_bytes()).await, 201);
                nodes.push(json!({ "FullName": name, "BlobUri": address, "FileSize": bytes.len() }));
            }
            nodes
        };
        let create = async |id: &str, parent: &str, tree: Value, nodes: Vec<Value>| {
            let body = json!({ "ParentSnapshotId": parent, "Tags": null, "Properties": { "azureml.git.branch": "main" },
                "DirTreeNode": tree, "FileRevisionList": { "FileNodes": nodes } });
            team.call("POST", &format!("/content/v2.0@/snapshots/{id}"), body).await
        };
        let (first, second) =
            ("aa10612b-db7f-44e1-8933-79c4bc76cda8", "bb10612b-db7f-44e1-8933-79c4bc76cda8");
        // A client on Windows writes its own separator.
        let nodes = put(&[("train.py", "one"), ("sub\\b.py", "two")]).await;
        let children = json!({ "train.py": file("1"), "sub": { "type": "Directory", "children": { "b.py": file("2") } } });
        let mut more = children.clone();
        more["missing.py"] = file("3");
        let (status, refused) = create(first, NONE, tree(more), nodes.clone()).await;
        assert_eq!(status, 400, "{refused}");
        let (status, made) = create(first, NONE, tree(children.clone()), nodes.clone()).await;
        assert_eq!((status, made), (200, json!({ "snapshotType": "LocalFiles", "id": first })));
        assert_eq!(create(first, NONE, tree(children.clone()), Vec::new()).await.0, 409);
        // Finished: nothing more is put to it.
        let late = text(&nodes[0]["BlobUri"]);
        assert_eq!(team.put(&late, b"late").await, 409);

        // The second is sent only what changed; the rest it gets of the first, and keeps when that goes.
        let nodes = put(&[("train.py", "three")]).await;
        let mut changed = children;
        changed["train.py"] = file("4");
        assert_eq!(create(second, first, tree(changed), nodes).await.0, 200);
        let latest = team.ok("GET", "/content/v1.0@/snapshots/latest/metadata", json!(null)).await;
        assert_eq!(latest["id"], second);
        let path = format!("/content/v1.0@/snapshots/diff?snapshotId1={first}&snapshotId2={second}");
        let difference = team.ok("GET", &path, json!(null)).await;
        assert_eq!(difference[0]["filePath"], "train.py");
        for expected in [200, 204] {
            let path = format!("/content/v1.0@/snapshots/{first}");
            assert_eq!(team.call("DELETE", &path, json!(null)).await.0, expected);
        }
        let zip = team.ok("POST", &format!("/content/v2.0@/snapshots/{second}/zip"), json!(null)).await;
        let (status, _, archive) = team.storage("GET", &text(&zip["zipSasUri"]), &[], Vec::new()).await;
        assert_eq!(status, 200);
        let mut files = unzip(std::io::Cursor::new(archive));
        files.sort();
        assert_eq!(
            files,
            [("sub/b.py".to_owned(), b"two".to_vec()), ("train.py".to_owned(), b"three".to_vec())]
        );
        let addresses = team.ok("GET", &format!("/content/v1.0@/snapshots/{second}/sas"), json!(null)).await;
        let address = text(&addresses["children"]["sub"]["children"]["b.py"]["sasUrl"]);
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.2, b"two");
        assert_eq!(
            team.call("GET", &format!("/content/v1.0@/snapshots/{first}/metadata"), json!(null)).await.0,
            404
        );
        let git = json!({ "uri": "https://example.org/leaves.git#main" });
        team.ok("POST", "/content/v2.0@/snapshots/uri/cc10612b-db7f-44e1-8933-79c4bc76cda8", git).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_name_files_with_versions() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        team.upload("outputs/m.onnx", b"m").await;
        let at =
            format!("/artifact/v1.0@/projects/p1/artifacts/asset/ExperimentRun/{}/outputs/m.onnx", team.run);
        let body =
            json!({ "name": "leaves", "currentVersion": { "type": "model", "properties": { "a": "b" } } });
        let made = team.ok("POST", &at, body.clone()).await;
        insta::assert_json_snapshot!("asset", made, {
            ".assetId" => "[id]", ".currentVersion.file.artifactId" => "[id]", ".currentVersion.file.uri" => "[address]",
        });
        let (status, _) = team.call("POST", &at, body.clone()).await;
        assert_eq!(status, 409);
        // Of what is not there nothing is made, whoever asks for it.
        let other = Team::named(&deployment, &someone, "Roots").await;
        for artifact in [format!("ExperimentRun/{}/none", team.run), format!("ExperimentRun/{}/m", other.run)]
        {
            let folder = json!({ "folder": [{ "path": "a", "artifactId": artifact }] });
            let (status, answer) =
                team.call("PUT", &at, json!({ "name": "roots", "currentVersion": folder })).await;
            assert_eq!(status, 400, "{answer}");
        }
        let none = at.replace("m.onnx", "none");
        assert_eq!(team.call("POST", &none, json!({ "name": "roots" })).await.0, 400);
        assert_eq!(team.call("GET", "/artifact/v1.0@/assets/name/roots", json!(null)).await.0, 404);
        // A folder may be named by its path.
        let folder = at.replace("/outputs/m.onnx", "/outputs");
        let version = json!({ "name": "all", "currentVersion": { "fileOrFolder": "folder" } });
        assert_eq!(team.ok("POST", &folder, version).await["currentVersion"]["fileOrFolder"], "folder");
        team.ok("GET", "/artifact/v1.0@/assets/name/all", json!(null)).await;
        let second = team.ok("PUT", &at, body).await;
        assert_eq!(second["currentVersion"]["version"], "2");
        let address = text(&second["currentVersion"]["file"]["uri"]);
        assert_eq!(team.storage("GET", &address, &[], Vec::new()).await.2, b"m");
        let id = text(&made["assetId"]);
        for by in ["name/leaves".to_owned(), format!("id/{id}")] {
            let found =
                team.ok("GET", &format!("/artifact/v1.0@/projects/p1/assets/{by}"), json!(null)).await;
            assert_eq!(
                (&found["assetId"], &found["currentVersion"]["version"]),
                (&made["assetId"], &json!("2"))
            );
            let versions =
                team.ok("GET", &format!("/artifact/v1.0@/assets/{by}/versions"), json!(null)).await;
            let current: Vec<_> =
                versions["value"].as_array().unwrap().iter().map(|one| one["isCurrent"].clone()).collect();
            assert_eq!(current, [json!(false), json!(true)]);
            let first = team.ok("GET", &format!("/artifact/v1.0@/assets/{by}/versions/1"), json!(null)).await;
            assert_eq!(first["version"], "1");
        }
        let list = team.ok("GET", "/artifact/v1.0@/projects/p1/assets", json!(null)).await;
        assert_eq!(list["value"][1]["name"], "leaves");
        assert_eq!(team.call("GET", "/artifact/v1.0@/assets/name/other", json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datastores_never_give_their_keys_back() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let own = team.ok("GET", "/datastore/v1.0@/default", json!(null)).await;
        assert_eq!(own["name"], "workspaceblobstore");
        let body = json!({ "name": "images", "dataStoreType": "AzureBlob",
            "azureStorageSection": { "accountName": "leaves", "containerName": "c", "accountKey": "hushhush" } });
        team.ok("POST", "/datastore/v1.0@/datastores", body.clone()).await;
        // In the words that `azureml-core` looks for; the flag is about a container in the store, and replaces nothing.
        let mut other = body.clone();
        other["azureStorageSection"]["accountName"] = json!("roots");
        for query in ["", "?createIfNotExists=true", "?createIfNotExists=false&skipValidation=true"] {
            let path = format!("/datastore/v1.0@/datastores{query}");
            let (status, answer) = team.call("POST", &path, other.clone()).await;
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(
                status == 400 && said.contains("Another datastore with the same name already exists"),
                "{query}: {answer}"
            );
        }
        let path = "/datastore/v1.0@/datastores/images";
        let section = async || team.ok("GET", path, json!(null)).await["azureStorageSection"].clone();
        assert_eq!(section().await["accountName"], "leaves");
        team.ok("PUT", &format!("{path}?createIfNotExists=true"), other).await;
        assert_eq!(section().await["accountName"], "roots");
        team.ok("PUT", path, body.clone()).await;
        let elsewhere = "/datastore/v1.0@/datastores/other?createIfNotExists=true";
        assert_eq!(team.call("PUT", elsewhere, body.clone()).await.0, 400);
        let mut unknown = body;
        unknown["name"] = json!("other");
        assert_eq!(team.call("PUT", elsewhere, unknown).await.0, 404);
        team.ok("PUT", "/datastore/v1.0@/Default/images", json!(null)).await;
        let listed = team.ok("GET", "/datastore/v1.0@/datastores?includeSecret=true", json!(null)).await;
        let default = team.ok("GET", "/datastore/v1.0@/default", json!(null)).await;
        assert_eq!(
            default["azureStorageSection"],
            json!({ "accountName": "leaves", "containerName": "c", "accountKey": null })
        );
        assert!(!listed.to_string().contains("hushhush"));
        let names: Vec<_> =
            listed["value"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["images", "workspaceblobstore"]);
        let archive = deployment.content(&someone).await;
        assert!(archive.iter().any(|(path, _)| path.starts_with("tracking/datastores/")));
        assert!(!archive.iter().any(|(_, bytes)| bytes.windows(8).any(|part| part == b"hushhush")));
        for expected in [200, 204] {
            assert_eq!(
                team.call("DELETE", "/datastore/v1.0@/datastores/images", json!(null)).await.0,
                expected
            );
        }
        assert_eq!(team.call("GET", "/datastore/v1.0@/datastores/images", json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_made_a_run_is_told_of_its_end() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let other = team.begin().await;
        team.end(&team.run, "FINISHED").await;
        team.end(&team.run, "FINISHED").await;
        team.end(&other, "FAILED").await;
        let jobs = format!("/notification/v1.0@/users/{}/jobs", someone.id);
        let told = team.ok("GET", &jobs, json!(null)).await;
        let found: Vec<_> = told["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| (text(&job["runId"]), text(&job["status"]), text(&job["userObjectId"])))
            .collect();
        let expected = |run: &str, status: &str| (run.to_owned(), status.to_owned(), someone.id.clone());
        assert_eq!(found, [expected(&other, "Failed"), expected(&team.run, "Completed")]);
        insta::assert_json_snapshot!("notification", told["value"][0], {
            ".jobId" => "[id]", ".runId" => "[id]", ".experimentId" => "[id]", ".projectId" => "[id]", ".userObjectId" => "[id]",
            ".name" => "[name]", ".createdUtc" => "[time]", ".lastModifiedUtc" => "[time]", ".link" => "[link]",
        });
        assert_eq!(team.ok("GET", "/notification/v1.0@/tasks", json!(null)).await, told);
        let task = format!("/notification/v1.0@/tasks/{}", text(&told["value"][0]["jobId"]));
        assert_eq!(team.ok("GET", &task, json!(null)).await, told["value"][0]);

        // Nobody else's business.
        let stranger = deployment.person("b@example.org", "B").await;
        let theirs = Tracker::new(&deployment, &stranger).await;
        for (method, path) in [("GET", &jobs), ("DELETE", &jobs), ("GET", &task)] {
            let path = path.replacen('@', &team.scope, 1);
            assert_eq!(theirs.send(method, &path, &json!(null)).await.0, 404, "{method} {path}");
        }
        for path in [&task, &jobs] {
            for expected in [200, 204] {
                assert_eq!(team.call("DELETE", path, json!(null)).await.0, expected);
            }
        }
        assert!(team.ok("GET", &jobs, json!(null)).await["value"].as_array().unwrap().is_empty());
    }
}
