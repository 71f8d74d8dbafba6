//! MLflow's API, as its client calls it.

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

const API: &str = "/api/2.0/mlflow";

/// A person who calls MLflow's API.
pub(crate) struct Tracker<'a> {
    deployment: &'a Deployment,
    token: String,
}

impl<'a> Tracker<'a> {
    pub(crate) async fn new(deployment: &'a Deployment, someone: &Someone) -> Tracker<'a> {
        let path = format!("/persons/{}/tokens", someone.id);
        let (_, issued) = deployment.operator("POST", &path, json!({})).await;
        Tracker::with(deployment, issued["secret"].as_str().unwrap())
    }

    /// The person whose token this is.
    pub(crate) fn with(deployment: &'a Deployment, token: &str) -> Tracker<'a> {
        Tracker { deployment, token: token.to_owned() }
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let (status, body) = self.deployment.send(request).await;
        (status.as_u16(), body)
    }

    /// Sends JSON, or nothing for null, to any address; the status, and the answer if it is JSON.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, body) = self.raw(method, path, body).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Calls an operation; the status and the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(method, &format!("{API}{path}"), &body).await
    }

    /// Calls an operation that must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Calls an operation that must be refused; the code and the message.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, answer) = self.call(method, path, body).await;
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (status, text("error_code"), text("message"))
    }

    /// Makes an experiment; its identifier.
    pub(crate) async fn experiment(&self, name: &str) -> String {
        let made = self.ok("POST", "/experiments/create", json!({ "name": name })).await;
        made["experiment_id"].as_str().unwrap().to_owned()
    }

    /// Starts a run; its identifier.
    pub(crate) async fn run(&self, experiment: &str, name: &str) -> String {
        let body = json!({ "experiment_id": experiment, "run_name": name, "start_time": 1_700_000_000_000_i64,
            "user_id": "ada", "tags": [{ "key": "mlflow.user", "value": "ada" }] });
        let made = self.ok("POST", "/runs/create", body).await;
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn upload(&self, path: &str, bytes: &[u8]) -> u16 {
        self.raw("PUT", &format!("/api/2.0/mlflow-artifacts/artifacts/{path}"), bytes.to_vec()).await.0
    }

    pub(crate) async fn download(&self, path: &str) -> (u16, Vec<u8>) {
        self.raw("GET", &format!("/api/2.0/mlflow-artifacts/artifacts/{path}"), Vec::new()).await
    }
}

/// A run with a metric, a dataset and a file, and a logged model; where the run's files stand.
pub(crate) async fn small(deployment: &Deployment, someone: &Someone) -> String {
    let tracker = Tracker::new(deployment, someone).await;
    let experiment = tracker.experiment("e").await;
    let run = tracker.run(&experiment, "r").await;
    let metric = json!({ "key": "loss", "value": 1.0, "timestamp": 1, "step": 0 });
    tracker.ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": [metric] })).await;
    let dataset = json!({ "name": "d", "digest": "1", "source_type": "local", "source": "{}" });
    tracker
        .ok("POST", "/runs/log-inputs", json!({ "run_id": run, "datasets": [{ "dataset": dataset }] }))
        .await;
    let logged = json!({ "experiment_id": experiment, "name": "m", "source_run_id": run });
    tracker.ok("POST", "/logged-models", logged).await;
    let folder = format!("{experiment}/{run}/artifacts");
    assert_eq!(tracker.upload(&format!("{folder}/model.bin"), b"weights").await, 200);
    folder
}

/// Everything that takes a text, with a marker in it, for the canary.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let tracker = Tracker::new(deployment, someone).await;
    let experiment = tracker.experiment(&marker("experiment")).await;
    let tag = |key: &str, value: &str| json!({ "key": marker(key), "value": marker(value) });
    let mut body = tag("experimenttag", "experimentvalue");
    body["experiment_id"] = json!(experiment);
    tracker.ok("POST", "/experiments/set-experiment-tag", body).await;
    let body = json!({ "experiment_id": experiment, "run_name": marker("run"), "start_time": 1, "user_id": marker("userid"),
        "tags": [{ "key": "mlflow.user", "value": marker("usertag") }, tag("runtag", "runvalue")] });
    let made = tracker.ok("POST", "/runs/create", body).await;
    let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let metric = json!({ "key": marker("metric"), "value": 1.0, "timestamp": 1, "step": 0 });
    let body = json!({ "run_id": run, "metrics": [metric], "params": [tag("param", "paramvalue")] });
    tracker.ok("POST", "/runs/log-batch", body).await;
    let dataset = json!({ "name": marker("dataset"), "digest": "1", "source_type": "local", "source": marker("source"),
        "schema": marker("schema"), "profile": marker("profile") });
    let body = json!({ "run_id": run, "datasets": [{ "dataset": dataset, "tags": [tag("inputtag", "inputvalue")] }] });
    tracker.ok("POST", "/runs/log-inputs", body).await;
    let logged = json!({ "artifact_path": marker("loggedpath"), "flavors": { "python_function": { "env": marker("flavor") } },
        "utc_time_created": "2026-01-15 08:42:02", "run_id": run });
    let body = json!({ "run_id": run, "model_json": logged.to_string() });
    tracker.ok("POST", "/runs/log-model", body).await;
    let body = json!({ "name": marker("located"), "artifact_location": format!("mlflow-artifacts:/{}", marker("location")) });
    tracker.ok("POST", "/experiments/create", body).await;
    let path = format!("{experiment}/{run}/artifacts/{}.txt", marker("artifact"));
    assert_eq!(tracker.upload(&path, marker("artifactbytes").as_bytes()).await, 200);
    let body = json!({ "experiment_id": experiment, "name": marker("logged"), "model_type": marker("sort"),
        "tags": [tag("loggedtag", "loggedvalue")], "params": [tag("loggedparam", "loggedparamvalue")] });
    let logged = tracker.ok("POST", "/logged-models", body).await;
    let metric = json!({ "run_id": run, "key": marker("modelmetric"), "value": 1.0, "timestamp": 1,
        "model_id": logged["model"]["info"]["model_id"], "dataset_name": marker("measured"), "dataset_digest": "1" });
    tracker.ok("POST", "/runs/log-metric", metric).await;
    let body = json!({ "name": marker("registered"), "description": marker("registereddescription"),
        "tags": [tag("registeredtag", "registeredvalue")] });
    tracker.ok("POST", "/registered-models/create", body).await;
    let body = json!({ "name": marker("registered"), "source": format!("s3://bucket/{}", marker("versionsource")),
        "run_link": marker("runlink"), "description": marker("versiondescription"),
        "tags": [tag("versiontag", "versionvalue")] });
    tracker.ok("POST", "/model-versions/create", body).await;
    let body = json!({ "name": marker("registered"), "alias": marker("alias"), "version": "1" });
    tracker.ok("POST", "/registered-models/alias", body).await;
    let workspace = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}?api-version=2020-08-01",
        someone.id,
        marker("group"),
        marker("workspace")
    );
    let properties = json!({ "friendlyName": marker("friendly"), "description": marker("purpose"), "keyVault": marker("vault") });
    let mut tags = serde_json::Map::new();
    tags.insert(marker("resourcetag"), json!(marker("resourcevalue")));
    let body = json!({ "location": marker("region"), "tags": tags, "properties": properties });
    let (status, answer) = tracker.send("PUT", &workspace, &body).await;
    assert_eq!(status, 201, "{answer}");
    [
        "group",
        "workspace",
        "friendly",
        "purpose",
        "vault",
        "resourcetag",
        "resourcevalue",
        "region",
        "experiment",
        "experimenttag",
        "experimentvalue",
        "run",
        "userid",
        "usertag",
        "runtag",
        "runvalue",
        "metric",
        "param",
        "paramvalue",
        "dataset",
        "source",
        "schema",
        "profile",
        "inputtag",
        "inputvalue",
        "loggedpath",
        "flavor",
        "located",
        "location",
        "artifact",
        "artifactbytes",
        "logged",
        "sort",
        "loggedtag",
        "loggedvalue",
        "loggedparam",
        "loggedparamvalue",
        "modelmetric",
        "measured",
        "registered",
        "registereddescription",
        "registeredtag",
        "registeredvalue",
        "versionsource",
        "runlink",
        "versiondescription",
        "versiontag",
        "versionvalue",
        "alias",
    ]
    .map(marker)
    .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_logs_reads_back() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let (status, code, message) =
            tracker.refused("GET", "/experiments/get-by-name?experiment_name=trees", json!(null)).await;
        assert_eq!((status, code.as_str()), (404, "RESOURCE_DOES_NOT_EXIST"));
        assert_eq!(message, "Could not find experiment with name 'trees'");
        let experiment = tracker.experiment("trees").await;
        let (status, code, _) =
            tracker.refused("POST", "/experiments/create", json!({ "name": "trees" })).await;
        assert_eq!((status, code.as_str()), (400, "RESOURCE_ALREADY_EXISTS"));

        let run = tracker.run(&experiment, "first").await;
        let metrics: Vec<Value> = [
            ("loss", json!(2.5), 1, 0),
            ("loss", json!("NaN"), 3, 2),
            ("loss", json!(1), 2, 1),
            ("size", json!("-Infinity"), 1, 0),
        ]
        .into_iter()
        .map(
            |(key, value, time, step)| json!({ "key": key, "value": value, "timestamp": time, "step": step }),
        )
        .collect();
        let body = json!({ "run_id": run, "metrics": metrics, "params": [{ "key": "lr", "value": "0.1" }],
            "tags": [{ "key": "note", "value": "x" }] });
        for _ in 0..2 {
            // A repeated batch adds nothing.
            tracker.ok("POST", "/runs/log-batch", body.clone()).await;
        }
        let dataset = json!({ "name": "d", "digest": "1", "source_type": "local", "source": "{}" });
        let body = json!({ "run_id": run, "datasets": [{ "dataset": dataset, "tags": [{ "key": "mlflow.data.context", "value": "train" }] }] });
        tracker.ok("POST", "/runs/log-inputs", body).await;
        let end = json!({ "run_id": run, "status": "FINISHED", "end_time": 1_700_000_001_000_i64 });
        tracker.ok("POST", "/runs/update", end).await;

        let shown = tracker.ok("GET", &format!("/runs/get?run_id={run}"), json!(null)).await;
        let settled = shown["run"].to_string().replace(&run, "[run]").replace(&experiment, "[experiment]");
        let settled: Value = serde_json::from_str(&settled).unwrap();
        insta::assert_json_snapshot!("a_run", settled);
        let history = tracker
            .ok("GET", &format!("/metrics/get-history?run_id={run}&metric_key=loss"), json!(null))
            .await;
        assert_eq!(
            history["metrics"],
            json!([
                { "key": "loss", "value": 2.5, "timestamp": 1, "step": 0 },
                { "key": "loss", "value": 1.0, "timestamp": 2, "step": 1 },
                { "key": "loss", "value": "NaN", "timestamp": 3, "step": 2 },
            ])
        );
        let mut token = String::new();
        let mut pages = Vec::new();
        loop {
            let path =
                format!("/metrics/get-history?run_id={run}&metric_key=loss&max_results=2&page_token={token}");
            let page = tracker.ok("GET", &path, json!(null)).await;
            pages.extend(page["metrics"].as_array().unwrap().clone());
            match page["next_page_token"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        assert_eq!(json!(pages), history["metrics"]);
        let (_, code, message) = tracker
            .refused("POST", "/runs/log-parameter", json!({ "run_id": run, "key": "lr", "value": "0.2" }))
            .await;
        assert_eq!(code, "INVALID_PARAMETER_VALUE");
        assert!(message.starts_with("Changing param values is not allowed. Param with key='lr' was already logged with value='0.1'"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_searched_ordered_and_paged() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("e").await;
        let mut runs = Vec::new();
        for index in 0..6 {
            let run = tracker.run(&experiment, &format!("run-{index}")).await;
            let value = if index == 5 { json!("NaN") } else { json!(f64::from(index) / 10.0) };
            let metrics = if index == 4 {
                json!([])
            } else {
                json!([{ "key": "acc", "value": value, "timestamp": 1 }])
            };
            let params = json!([{ "key": "model", "value": if index % 2 == 0 { "tree" } else { "Forest" } }]);
            tracker
                .ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": metrics, "params": params }))
                .await;
            runs.push(run);
        }
        tracker.ok("POST", "/runs/delete", json!({ "run_id": runs[3] })).await;
        let search = |body: Value| {
            let (tracker, runs, experiment) = (&tracker, &runs, &experiment);
            async move {
                let mut body = body;
                body["experiment_ids"] = json!([experiment]);
                let answer = tracker.ok("POST", "/runs/search", body).await;
                let found: Vec<usize> = answer["runs"]
                    .as_array()
                    .map(|found| {
                        found
                            .iter()
                            .map(|run| runs.iter().position(|id| run["info"]["run_id"] == json!(id)).unwrap())
                            .collect()
                    })
                    .unwrap_or_default();
                (found, answer["next_page_token"].as_str().map(str::to_owned))
            }
        };
        // Not-a-number after the numbers, absent last, in either direction.
        assert_eq!(search(json!({ "order_by": ["metrics.acc DESC"] })).await.0, [2, 1, 0, 5, 4]);
        assert_eq!(search(json!({ "order_by": ["metrics.acc ASC"] })).await.0, [0, 1, 2, 5, 4]);
        assert_eq!(
            search(json!({ "filter": "metrics.acc >= 0.1", "order_by": ["metrics.acc"] })).await.0,
            [1, 2]
        );
        assert_eq!(
            search(json!({ "filter": "params.model = 'tree'", "order_by": ["attributes.run_name"] })).await.0,
            [0, 2, 4]
        );
        assert_eq!(
            search(json!({ "filter": "params.model ILIKE 'FOR%' and tags.mlflow.user = 'ada'" })).await.0,
            [1, 5]
        );
        assert_eq!(search(json!({ "run_view_type": "DELETED_ONLY" })).await.0, [3]);
        let (first, next) = search(json!({ "max_results": 2, "order_by": ["metrics.acc DESC"] })).await;
        assert_eq!(first, [2, 1]);
        let body = json!({ "max_results": 2, "order_by": ["metrics.acc DESC"], "page_token": next.unwrap() });
        let (second, next) = search(body).await;
        assert_eq!(second, [0, 5]);
        let body = json!({ "max_results": 2, "order_by": ["metrics.acc DESC"], "page_token": next.unwrap() });
        assert_eq!(search(body).await, (vec![4], None));
        let (status, code, message) = tracker
            .refused("POST", "/runs/search", json!({ "filter": "metrics.a > 1 or metrics.b > 1" }))
            .await;
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert!(message.starts_with("Invalid clause(s) in filter string: 'or'"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_and_the_registry() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let path = |name: &str| format!("0/{run}/artifacts/{name}");
        assert_eq!(tracker.upload(&path("model/MLmodel"), b"flavors: {}").await, 200);
        assert_eq!(tracker.upload(&path("model/MLmodel"), b"flavors: {a}").await, 200);
        assert_eq!(tracker.upload(&path("a%20b.txt"), b"text").await, 200);
        assert_eq!(tracker.download(&path("model/MLmodel")).await, (200, b"flavors: {a}".to_vec()));
        assert_eq!(tracker.download(&path("model")).await.0, 400);
        assert_eq!(tracker.download(&path("none")).await.0, 404);
        assert_eq!(tracker.upload(&path("%2e%2e/x"), b"").await, 400);
        let listed = tracker.ok("GET", &format!("/artifacts/list?run_id={run}"), json!(null)).await;
        assert_eq!(listed["root_uri"], json!(format!("mlflow-artifacts:/0/{run}/artifacts")));
        assert_eq!(
            listed["files"],
            json!([{ "path": "a b.txt", "is_dir": false, "file_size": 4 }, { "path": "model", "is_dir": true }])
        );

        tracker.ok("POST", "/registered-models/create", json!({ "name": "m" })).await;
        let source = format!("runs:/{run}/model");
        for version in ["1", "2"] {
            let body = json!({ "name": "m", "source": source, "run_id": run });
            let made = tracker.ok("POST", "/model-versions/create", body).await;
            assert_eq!(made["model_version"]["version"], version);
        }
        let body = json!({ "name": "m", "source": "/etc/passwd" });
        assert_eq!(tracker.refused("POST", "/model-versions/create", body).await.0, 400);
        tracker
            .ok("POST", "/registered-models/alias", json!({ "name": "m", "alias": "best", "version": "1" }))
            .await;
        let found = tracker.ok("GET", "/registered-models/alias?name=m&alias=best", json!(null)).await;
        assert_eq!(
            (&found["model_version"]["version"], &found["model_version"]["aliases"]),
            (&json!("1"), &json!(["best"]))
        );
        let body =
            json!({ "name": "m", "version": "2", "stage": "Production", "archive_existing_versions": true });
        assert_eq!(
            tracker.ok("POST", "/model-versions/transition-stage", body).await["model_version"]["current_stage"],
            "Production"
        );
        tracker.ok("DELETE", "/model-versions/delete", json!({ "name": "m", "version": "1" })).await;
        let (status, code, message) =
            tracker.refused("GET", "/registered-models/alias?name=m&alias=best", json!(null)).await;
        assert_eq!(
            (status, code.as_str(), message.as_str()),
            (400, "INVALID_PARAMETER_VALUE", "Registered model alias best not found.")
        );
        // A stranger finds nothing of it.
        let other = deployment.person("b@example.org", "B").await;
        let stranger = Tracker::new(&deployment, &other).await;
        assert_eq!(stranger.call("GET", &format!("/runs/get?run_id={run}"), json!(null)).await.0, 404);
        assert_eq!(stranger.download(&path("model/MLmodel")).await.0, 404);
        assert_eq!(stranger.call("GET", "/registered-models/get?name=m", json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_what_was_logged() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let metrics = json!([
            { "key": "loss", "value": 0.5, "timestamp": 2, "step": 1 },
            { "key": "loss", "value": 2.5, "timestamp": 1 },
            { "key": "acc/top 5", "value": "NaN", "timestamp": 1 },
        ]);
        tracker.ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": metrics })).await;
        assert_eq!(tracker.upload(&format!("0/{run}/artifacts/a/b.txt"), b"an artifact").await, 200);
        let files = deployment.export(&someone).await;
        let folder = format!("tracking/runs/{}", run.parse::<habeas_core::Id>().unwrap());
        let file = |name: &str| {
            let found = files.iter().find(|(path, _)| path == name);
            String::from_utf8(found.unwrap_or_else(|| panic!("no {name}")).1.clone()).unwrap()
        };
        assert_eq!(
            file(&format!("{folder}/metrics.csv")),
            "metric,timestamp,step,value\nacc/top 5,1,0,NaN\nloss,1,0,2.5\nloss,2,1,0.5\n"
        );
        let shown: Value = serde_json::from_str(&file(&format!("{folder}/run.json"))).unwrap();
        assert_eq!(
            (&shown["run_name"], &shown["user_id"], &shown["mlflow.user"]),
            (&json!("r"), &json!("ada"), &json!("ada"))
        );
        assert!(
            files
                .iter()
                .any(|(path, bytes)| path.starts_with("tracking/artifacts/") && bytes == b"an artifact")
        );
        assert!(file("tracking/artifacts.csv").contains("a/b.txt"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_comes_whole_or_in_pages() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        // One more than two pages, so that the last read finds a single point.
        let points = 50_001;
        for first in (0..points).step_by(1_000) {
            let metrics: Vec<Value> = (first..points.min(first + 1_000))
                .map(|step| json!({ "key": "a/b", "value": step, "timestamp": step, "step": step }))
                .collect();
            tracker.ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": metrics })).await;
        }
        let path = format!("/metrics/get-history?run_id={run}&metric_key=a%2Fb");
        let whole = tracker.ok("GET", &path, json!(null)).await;
        let steps = |answer: &Value| -> Vec<i64> {
            answer["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(|point| point["step"].as_i64().unwrap())
                .collect()
        };
        assert_eq!(steps(&whole), (0..points).collect::<Vec<_>>());
        assert_eq!(whole["metrics"][7], json!({ "key": "a/b", "value": 7.0, "timestamp": 7, "step": 7 }));
        let page = tracker.ok("GET", &format!("{path}&max_results=25000"), json!(null)).await;
        assert_eq!(steps(&page), (0..25_000).collect::<Vec<_>>());
        let token = page["next_page_token"].as_str().unwrap();
        let page =
            tracker.ok("GET", &format!("{path}&max_results=25000&page_token={token}"), json!(null)).await;
        assert_eq!(steps(&page), (25_000..50_000).collect::<Vec<_>>());
        let path = format!("/metrics/get-history-bulk-interval?run_ids={run}&metric_key=a%2Fb&max_results=3");
        let sample = tracker.ok("GET", &path, json!(null)).await;
        assert_eq!(steps(&sample), [0, 25_000, 50_000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_metrics_are_found_under_new_keys() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let metric = json!({ "run_id": run, "key": "acc", "value": 0.5, "timestamp": 1 });
        tracker.ok("POST", "/runs/log-metric", metric.clone()).await;
        tracker.ok("POST", "/registered-models/create", json!({ "name": "m" })).await;
        let store = deployment.server().app().store().clone();
        let person: habeas_core::Id = someone.id.parse().unwrap();
        let workspaces = store
            .read(move |tx| tx.children::<habeas_core::kinds::Workspace>(person, habeas_store::Page::ALL))
            .await
            .unwrap();
        assert_eq!(workspaces.len(), 1);
        for container in [person, workspaces[0].id] {
            store.reseal(container).await.unwrap();
            let query = json!({ "experiment_ids": ["0"], "filter": "metrics.acc = 0.5 and tags.mlflow.user = 'ada'" });
            let found = tracker.ok("POST", "/runs/search", query).await;
            assert_eq!(found["runs"][0]["data"]["metrics"][0]["key"], "acc");
            tracker.ok("POST", "/runs/log-metric", metric.clone()).await;
            let path = format!("/metrics/get-history?run_id={run}&metric_key=acc");
            assert_eq!(tracker.ok("GET", &path, json!(null)).await["metrics"].as_array().unwrap().len(), 1);
            tracker.ok("GET", "/registered-models/get?name=m", json!(null)).await;
            let again = json!({ "name": "m" });
            let (_, code, _) = tracker.refused("POST", "/registered-models/create", again).await;
            assert_eq!(code, "RESOURCE_ALREADY_EXISTS");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_log_at_once_lose_nothing() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        // The first calls of a person make one workspace, one login name and a run each.
        let names: Vec<String> = (0..8).map(|number| format!("run {number}")).collect();
        let runs = join_all(names.iter().map(|name| tracker.run("0", name))).await;
        let found = tracker.ok("POST", "/runs/search", json!({ "experiment_ids": ["0"] })).await;
        assert_eq!(found["runs"].as_array().unwrap().len(), 8);
        let person: habeas_core::Id = someone.id.parse().unwrap();
        let names =
            deployment.server().app().store().read(move |tx| {
                tx.children::<habeas_core::kinds::ClientName>(person, habeas_store::Page::ALL)
            });
        assert_eq!(names.await.unwrap().len(), 1);

        // Points of one metric of one run.
        let batches = (0..8).map(|writer| {
            let metrics: Vec<Value> = (0..10)
                .map(|step| json!({ "key": "acc", "value": writer, "timestamp": 1, "step": step }))
                .collect();
            tracker.ok("POST", "/runs/log-batch", json!({ "run_id": runs[0], "metrics": metrics }))
        });
        join_all(batches).await;
        let path = format!("/metrics/get-history?run_id={}&metric_key=acc", runs[0]);
        assert_eq!(tracker.ok("GET", &path, json!(null)).await["metrics"].as_array().unwrap().len(), 80);

        // Of several values of one parameter, and of several experiments of one name, one is there.
        let params = (0..8).map(|value| {
            let body = json!({ "run_id": runs[0], "key": "p", "value": value.to_string() });
            tracker.call("POST", "/runs/log-parameter", body)
        });
        let experiments =
            (0..8).map(|_| tracker.call("POST", "/experiments/create", json!({ "name": "one" })));
        for (answers, code) in [
            (join_all(params).await, "INVALID_PARAMETER_VALUE"),
            (join_all(experiments).await, "RESOURCE_ALREADY_EXISTS"),
        ] {
            assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
            assert_eq!(
                answers.iter().filter(|(_, answer)| answer["error_code"] == code).count(),
                7,
                "{answers:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_upload_that_breaks_off_nothing_is_there() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let path = format!("0/{run}/artifacts/a.bin");
        assert_eq!(tracker.upload(&path, b"the first").await, 200);
        for path in [&path, &format!("0/{run}/artifacts/b.bin")] {
            let pieces = [Ok(Bytes::from(vec![7; 200_000])), Err(std::io::Error::other("gone"))];
            let request = Request::put(format!("/api/2.0/mlflow-artifacts/artifacts/{path}"))
                .header("authorization", format!("Bearer {}", tracker.token))
                .body(Body::from_stream(futures::stream::iter(pieces)))
                .unwrap();
            assert_eq!(deployment.send(request).await.0, 400);
        }
        let listed = tracker.ok("GET", &format!("/artifacts/list?run_id={run}"), json!(null)).await;
        assert_eq!(listed["files"], json!([{ "path": "a.bin", "is_dir": false, "file_size": 9 }]));
        assert_eq!(tracker.download(&path).await, (200, b"the first".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_is_told_in_each_protocols_words() {
    let _lock = crate::canary::protected().await;
    let mut deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let tracker = Tracker::new(&deployment, &someone).await;
    tracker.run("0", "r").await;
    let token = tracker.token;
    deployment.stop().await;
    deployment.settings.disk_reserve_mb = Some(u64::MAX);
    deployment.start().await;
    let tracker = Tracker { deployment: &deployment, token };
    let (status, code, message) = tracker.refused("POST", "/runs/create", json!({})).await;
    assert_eq!((status, code.as_str()), (503, "TEMPORARILY_UNAVAILABLE"));
    assert!(message.contains("disk"), "{message}");
    let found = tracker.ok("POST", "/runs/search", json!({ "experiment_ids": ["0"] })).await;
    assert_eq!(found["runs"].as_array().unwrap().len(), 1);
    let path = format!(
        "/subscriptions/{}/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w?api-version=2020-08-01",
        someone.id
    );
    let (status, answer) = tracker.send("PUT", &path, &json!({ "location": "x" })).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("ServerUnavailable")));
}
