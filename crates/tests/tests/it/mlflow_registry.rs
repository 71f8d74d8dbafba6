//! What versions of registered models are made from: logged models, other versions, and the texts of prompts; and what searches find.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;

const TRACKING: &str = "/mlflow/v2.0@/api/2.0/mlflow";
const MODELS: &str = "/modelmanagement/v1.0@/models";

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Registers a version; what it is.
async fn registered(team: &Team<'_>, name: &str, said: Value) -> Value {
    // Refused where it is there already.
    team.call("POST", &format!("{TRACKING}/registered-models/create"), json!({ "name": name })).await;
    let mut body = said;
    body["name"] = json!(name);
    let made = team.ok("POST", &format!("{TRACKING}/model-versions/create"), body).await;
    made["model_version"].clone()
}

/// How many versions a deletion would leave that were made from what it takes.
async fn tainted(team: &Team<'_>, path: &str) -> usize {
    let plan = team.ok("DELETE", &format!("{path}?dryRun=true"), json!(null)).await;
    let listed = plan["tainted"].as_array().into_iter().flatten();
    listed.filter(|one| one["kind"] == "ModelVersion").count()
}

/// Whether a version is said to be made from something that is gone: by both forms of the registry.
async fn is_marked(team: &Team<'_>, name: &str) -> bool {
    let by_azure = team.ok("GET", &format!("{MODELS}/{name}:1"), json!(null)).await;
    let path = format!("{TRACKING}/model-versions/get?name={name}&version=1");
    let by_mlflow = team.ok("GET", &path, json!(null)).await;
    let tags = by_mlflow["model_version"]["tags"].as_array().into_iter().flatten();
    let is_tagged = tags.filter(|tag| tag["key"] == "habeas.sourceErasedAt").count() == 1;
    assert_eq!(by_azure["sourceErasedAt"].is_string(), is_tagged, "{name}");
    is_tagged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_version_keeps_its_files_and_what_it_was_made_from() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let made = team.ok("POST", &format!("{TRACKING}/experiments/create"), json!({ "name": "e" })).await;
        let experiment = text(&made["experiment_id"]);
        let body = json!({ "experiment_id": experiment, "start_time": 1 });
        let made = team.ok("POST", &format!("{TRACKING}/runs/create"), body).await;
        let run = text(&made["run"]["info"]["run_id"]);
        let body = json!({ "experiment_id": experiment, "name": "oak", "source_run_id": run });
        let made = team.ok("POST", &format!("{TRACKING}/logged-models"), body).await;
        let logged = text(&made["model"]["info"]["model_id"]);
        let files = format!("/mlflow/v2.0{}/api/2.0/mlflow-artifacts/artifacts", team.scope);
        let file = format!("{files}/{experiment}/models/{logged}/artifacts/MLmodel");
        assert_eq!(tracker.raw("PUT", &file, b"flavors: {}".to_vec()).await.0, 200);

        // As `log_model` registers it: the run is the logged model's, and both forms of the registry show it.
        let address = format!("models:/{logged}");
        let wood = registered(&team, "wood", json!({ "source": address })).await;
        assert_eq!((&wood["run_id"], &wood["source"]), (&json!(run), &json!(address)));
        let by_id = registered(&team, "byid", json!({ "source": "s3://bucket/m", "model_id": logged })).await;
        assert_eq!(by_id["run_id"], json!(run));
        assert_eq!(team.ok("GET", &format!("{MODELS}/wood:1"), json!(null)).await["runId"], json!(run));
        let filter = encode(&format!("run_id = '{run}' AND name = 'wood'"));
        let path = format!("{TRACKING}/model-versions/search?filter={filter}");
        let found = team.ok("GET", &path, json!(null)).await;
        assert_eq!(found["model_versions"].as_array().unwrap().len(), 1, "{found}");

        // Copies, by every way to name the version, and a copy of a copy.
        let body = json!({ "name": "wood", "alias": "best", "version": "1" });
        team.ok("POST", &format!("{TRACKING}/registered-models/alias"), body).await;
        for (name, source, expected) in [
            ("prod", "models:/wood/1", "models:/wood/1"),
            ("aliased", "models:/wood@best", "models:/wood/1"),
            ("newest", "models:/wood/latest", "models:/wood/1"),
            ("staged", "models:/wood/none", "models:/wood/1"),
            ("again", "models:/prod/1", "models:/prod/1"),
        ] {
            let copy = registered(&team, name, json!({ "source": source })).await;
            assert_eq!((&copy["source"], &copy["run_id"]), (&json!(expected), &json!(run)), "{copy}");
        }
        // As the client says it.
        let same = json!({ "source": "models:/wood/1", "run_id": run });
        assert_eq!(registered(&team, "prod", same).await["version"], "2");
        let create = format!("{TRACKING}/model-versions/create");
        for (source, run, status, code, message) in [
            (
                "models:/oaks/1",
                "",
                404,
                "RESOURCE_DOES_NOT_EXIST",
                "Registered Model with name=oaks not found",
            ),
            (
                "models:/wood/7",
                "",
                404,
                "RESOURCE_DOES_NOT_EXIST",
                "Model Version (name=wood, version=7) not found",
            ),
            (
                "models:/wood@worst",
                "",
                400,
                "INVALID_PARAMETER_VALUE",
                "Registered model alias worst not found.",
            ),
            (
                "models:/wood/Staging",
                "",
                404,
                "RESOURCE_DOES_NOT_EXIST",
                "No versions of model with name 'wood' and stage 'Staging' found",
            ),
            ("models:/wood", "", 400, "INVALID_PARAMETER_VALUE", "Invalid model version source"),
            (
                "models:/wood/1",
                "other",
                400,
                "INVALID_PARAMETER_VALUE",
                "must match the referenced model version",
            ),
        ] {
            let mut body = json!({ "name": "prod", "source": source });
            if !run.is_empty() {
                body["run_id"] = json!(run);
            }
            let (found, answer) = team.call("POST", &create, body).await;
            assert_eq!((found, &answer["error_code"]), (status, &json!(code)), "{source}: {answer}");
            assert!(answer["message"].as_str().unwrap().contains(message), "{source}: {answer}");
        }

        // The place of the files stays the same when the model that was copied is renamed.
        let body = json!({ "name": "wood", "new_name": "old" });
        team.ok("POST", &format!("{TRACKING}/registered-models/rename"), body).await;
        for name in ["prod", "aliased", "again"] {
            let path = format!("{TRACKING}/model-versions/get-download-uri?name={name}&version=1");
            assert_eq!(team.ok("GET", &path, json!(null)).await["artifact_uri"], json!(address), "{name}");
            let content = format!("{MODELS}/{name}:1/content").replacen('@', &team.scope, 1);
            assert_eq!(
                tracker.raw("GET", &content, Vec::new()).await,
                (200, b"flavors: {}".to_vec()),
                "{name}"
            );
        }

        // All of them miss the run that the logged model came from; their files are the logged model's, and stay.
        let path = format!("/history/v1.0@/experiments/e/runs/{run}");
        assert_eq!(tainted(&team, &path).await, 8);
        for name in ["old", "byid", "prod", "again"] {
            assert!(!is_marked(&team, name).await, "{name}");
        }
        let (status, answer) = team.call("DELETE", &path, json!(null)).await;
        assert!(status < 300, "{status}: {answer}");
        for name in ["old", "byid", "prod", "aliased", "newest", "staged", "again"] {
            assert!(is_marked(&team, name).await, "{name}");
        }
        let body = json!({ "name": "old" });
        team.ok("DELETE", &format!("{TRACKING}/registered-models/delete"), body).await;
        let content = format!("{MODELS}/again:1/content").replacen('@', &team.scope, 1);
        assert_eq!(tracker.raw("GET", &content, Vec::new()).await, (200, b"flavors: {}".to_vec()));
        // What is copied of something marked is marked from its beginning.
        registered(&team, "late", json!({ "source": "models:/prod/1" })).await;
        assert!(is_marked(&team, "late").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_misses_the_file_that_its_source_was_made_from_also_when_that_is_gone() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        team.upload("outputs/m.json", b"\"weights\"").await;
        let source = format!("runs:/{}/outputs/m.json", team.run);
        registered(&team, "leaf", json!({ "source": source, "run_id": team.run })).await;
        registered(&team, "copy", json!({ "source": "models:/leaf/1" })).await;
        let container = format!("ExperimentRun/dcid.{}", team.run);
        assert_eq!(tainted(&team, &format!("/artifact/v2.0@/artifacts/batch/{container}")).await, 2);

        // The registered model goes, which the copy was made from; its file is the run's, and stays.
        assert!(!is_marked(&team, "copy").await);
        let body = json!({ "name": "leaf" });
        team.ok("DELETE", &format!("{TRACKING}/registered-models/delete"), body).await;
        assert!(is_marked(&team, "copy").await);
        let path = format!("{TRACKING}/model-versions/get-download-uri?name=copy&version=1");
        assert_eq!(team.ok("GET", &path, json!(null)).await["artifact_uri"], json!(source));
        let content = format!("{MODELS}/copy:1/content");
        assert_eq!(team.ok("GET", &content, json!(null)).await, json!("weights"));
        assert_eq!(tainted(&team, &format!("/artifact/v2.0@/artifacts/batch/{container}")).await, 1);
        let file = format!("/artifact/v2.0@/artifacts/metadata/{container}/outputs/m.json");
        assert_eq!(team.call("DELETE", &file, json!(null)).await.0, 200);
        assert_eq!(team.call("GET", &content, json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_registered_found_and_loaded_and_lead_to_no_files() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let tag = |key: &str, value: &str| json!({ "key": key, "value": value });
        let is_prompt = tag("mlflow.prompt.is_prompt", "true");
        let tags = json!([is_prompt, tag("mlflow.prompt.text", "Hello {{name}}")]);
        let body = json!({ "name": "greeting", "tags": [is_prompt] });
        tracker.ok("POST", "/registered-models/create", body).await;
        tracker.ok("POST", "/registered-models/create", json!({ "name": "wood" })).await;
        for (number, source) in ["dummy-source", "prompt-template"].into_iter().enumerate() {
            let body = json!({ "name": "greeting", "source": source, "tags": tags });
            let made = tracker.ok("POST", "/model-versions/create", body).await;
            let expected = (json!((number + 1).to_string()), json!(source));
            assert_eq!(
                (made["model_version"]["version"].clone(), made["model_version"]["source"].clone()),
                expected
            );
        }
        let run = tracker.run("0", "r").await;
        for source in ["/etc", &format!("runs:/{run}/model"), "s3://bucket/model", "models:/wood/1"] {
            let body = json!({ "name": "greeting", "source": source, "tags": tags });
            let (status, code, message) = tracker.refused("POST", "/model-versions/create", body).await;
            assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
            let expected =
                format!("Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.");
            assert!(message.starts_with(&expected), "{message}");
        }
        // Only a prompt has none, and no model is made from one.
        for source in ["dummy-source", "models:/greeting/1"] {
            let body = json!({ "name": "wood", "source": source });
            let (status, code, message) = tracker.refused("POST", "/model-versions/create", body).await;
            assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
            assert!(message.starts_with("Invalid model version source"), "{message}");
        }

        for (filter, expected) in [
            ("tags.`mlflow.prompt.is_prompt` = 'true'", ["greeting"]),
            ("tags.`mlflow.prompt.is_prompt` = 'true' AND name LIKE 'gr%'", ["greeting"]),
            ("tags.`mlflow.prompt.is_prompt` != 'true'", ["wood"]),
        ] {
            let path = format!("/registered-models/search?filter={}", encode(filter));
            let found = tracker.ok("GET", &path, json!(null)).await;
            let names: Vec<&str> = found["registered_models"]
                .as_array()
                .unwrap()
                .iter()
                .map(|model| model["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, expected, "{filter}");
        }
        let body = json!({ "name": "greeting", "alias": "live", "version": "1" });
        tracker.ok("POST", "/registered-models/alias", body).await;
        let found = tracker.ok("GET", "/registered-models/alias?name=greeting&alias=live", json!(null)).await;
        let shown = found["model_version"]["tags"].as_array().unwrap();
        assert!(shown.contains(&tag("mlflow.prompt.text", "Hello {{name}}")), "{found}");
        let path = "/model-versions/get-artifact?name=greeting&version=1&path=passwd";
        assert_eq!(tracker.raw("GET", path, Vec::new()).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_take_what_upstream_takes() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        tracker.ok("POST", "/runs/set-tag", json!({ "run_id": run, "key": "a", "value": "A" })).await;
        let metric = json!({ "run_id": run, "key": "m", "value": 1, "timestamp": 1 });
        tracker.ok("POST", "/runs/log-metric", metric).await;
        for filter in ["tags.a='A' AND", "AND tags.a='A'", "tags.a='A'and metrics.m > 0"] {
            let body = json!({ "experiment_ids": ["0"], "filter": filter });
            let found = tracker.ok("POST", "/runs/search", body).await;
            assert_eq!(found["runs"].as_array().unwrap().len(), 1, "{filter}");
        }

        for p in ["1", "2"] {
            let body = json!({ "experiment_id": "0", "name": "oak", "params": [{ "key": "p", "value": p }] });
            tracker.ok("POST", "/logged-models", body).await;
        }
        for (filter, count) in
            [("params.p IN ('1')", 1), ("params.p IN ('1', '2')", 2), ("params.p NOT IN ('1', '2')", 0)]
        {
            let body = json!({ "experiment_ids": ["0"], "filter": filter });
            let found = tracker.ok("POST", "/logged-models/search", body).await;
            assert_eq!(found["models"].as_array().map_or(0, Vec::len), count, "{filter}");
        }

        tracker.ok("POST", "/registered-models/create", json!({ "name": "wood" })).await;
        let body = json!({ "name": "wood", "source": "s3://bucket/m" });
        tracker.ok("POST", "/model-versions/create", body).await;
        let body = json!({ "name": "wood", "source": format!("runs:/{run}/m"), "run_id": run });
        tracker.ok("POST", "/model-versions/create", body).await;
        for (filter, expected) in [
            ("version_number='2'", "2"),
            ("version_number < '2'", "1"),
            ("run_id=''", "1"),
            ("run_id != ''", "2"),
        ] {
            let path = format!("/model-versions/search?filter={}", encode(filter));
            let found = tracker.ok("GET", &path, json!(null)).await;
            let versions = found["model_versions"].as_array().unwrap();
            assert_eq!((versions.len(), &versions[0]["version"]), (1, &json!(expected)), "{filter}");
        }
        let path = format!("/model-versions/search?filter={}", encode("version_number='x'"));
        let (status, code, _) = tracker.refused("GET", &path, json!(null)).await;
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_step_and_time_a_number_is_newer_than_none() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let point = |key: &str, value: Value, time: u32| json!({ "key": key, "value": value, "timestamp": time, "step": 1 });
        let nan = || json!("NaN");
        // One after the other in either order, and together.
        for (key, value) in [("a", json!(-1)), ("a", nan()), ("b", nan()), ("b", json!(-1))] {
            let body = json!({ "run_id": run, "metrics": [point(key, value, 5)] });
            tracker.ok("POST", "/runs/log-batch", body).await;
        }
        let metrics = json!([
            point("c", json!(-1), 5),
            point("c", nan(), 5),
            point("d", json!(-1), 5),
            point("d", nan(), 6)
        ]);
        tracker.ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": metrics })).await;
        let shown = tracker.ok("GET", &format!("/runs/get?run_id={run}"), json!(null)).await;
        let newest = shown["run"]["data"]["metrics"].as_array().unwrap();
        let values: Vec<&Value> = newest.iter().map(|metric| &metric["value"]).collect();
        assert_eq!(values, [&json!(-1.0), &json!(-1.0), &json!(-1.0), &nan()]);
        let path = format!("/metrics/get-history?run_id={run}&metric_key=a");
        let history = tracker.ok("GET", &path, json!(null)).await;
        assert_eq!(history["metrics"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_an_address_does_not_take_is_refused_in_mlflows_words() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let team = Team::new(&deployment, &someone).await;
        for (method, path, allowed) in [
            ("PUT", "/api/2.0/mlflow/runs/get".to_owned(), "GET"),
            ("GET", "/ajax-api/2.0/mlflow/runs/create".to_owned(), "POST"),
            ("POST", "/api/2.0/mlflow/logged-models/m-1".to_owned(), "PATCH"),
            ("PATCH", "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/x".to_owned(), "PUT"),
            ("DELETE", format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/search", team.scope), "POST"),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(&path)
                .header("authorization", format!("Bearer {}", deployment.token(&someone).await))
                .body(Body::empty())
                .unwrap();
            let response = deployment.server().router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 405, "{method} {path}");
            let allow = response.headers()["allow"].to_str().unwrap().to_owned();
            assert!(allow.split(',').any(|method| method.trim() == allowed), "{path}: {allow}");
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(answer["error_code"], "ENDPOINT_NOT_FOUND", "{answer}");
            assert!(answer["message"].is_string(), "{answer}");
        }
    }
}
