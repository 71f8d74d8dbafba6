//! Logged and registered models, as MLflow's client and pages and Azure's clients see the same ones.

use axum::body::Body;
use axum::http::Request;
use habeas_core::Id;
use habeas_core::kinds::{ModelVersion, RegisteredModel, Workspace};
use habeas_store::Page;
use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;
use crate::model_management::Manager;

/// Makes a logged model; its identifier.
async fn logged(tracker: &Tracker<'_>, experiment: &str, name: &str, run: &str) -> String {
    let body = json!({ "experiment_id": experiment, "name": name, "source_run_id": run });
    let made = tracker.ok("POST", "/logged-models", body).await;
    made["model"]["info"]["model_id"].as_str().unwrap().to_owned()
}

/// Run, value, and name and digest of the dataset of each metric of a logged model, sorted by value.
fn measured(model: &Value) -> Vec<(String, f64, Option<String>, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metrics = model["model"]["data"]["metrics"].as_array().unwrap();
    let mut found: Vec<_> = metrics
        .iter()
        .map(|metric| {
            assert_eq!(
                (&metric["key"], &metric["model_id"]),
                (&json!("acc"), &model["model"]["info"]["model_id"])
            );
            let run = text(&metric["run_id"]).unwrap();
            (
                run,
                metric["value"].as_f64().unwrap(),
                text(&metric["dataset_name"]),
                text(&metric["dataset_digest"]),
            )
        })
        .collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_model_say_which_run_logged_them_and_on_what() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let experiment = tracker.experiment("e").await;
        let (first, second) = (tracker.run(&experiment, "1").await, tracker.run(&experiment, "2").await);
        let oak = logged(&tracker, &experiment, "oak", &first).await;
        let elm = logged(&tracker, &experiment, "elm", &first).await;
        let point = |value: f64, time: u32, model: &str, on: Option<(&str, &str)>| {
            let mut point = json!({ "key": "acc", "value": value, "timestamp": time, "model_id": model });
            if let Some((name, digest)) = on {
                point["dataset_name"] = json!(name);
                point["dataset_digest"] = json!(digest);
            }
            point
        };
        let mut one = point(0.9, 1, &oak, None);
        one["run_id"] = json!(first);
        tracker.ok("POST", "/runs/log-metric", one).await;
        let metrics = json!([
            point(0.5, 2, &oak, Some(("leaves", "d1"))),
            point(0.7, 3, &oak, Some(("leaves", "d2"))),
            point(0.8, 4, &elm, Some(("roots", "d1"))),
            point(0.2, 4, &elm, Some(("leaves", "d1"))),
        ]);
        for _ in 0..2 {
            // A repeated batch adds nothing.
            let body = json!({ "run_id": second, "metrics": metrics });
            tracker.ok("POST", "/runs/log-batch", body).await;
        }
        let text = |text: &str| Some(text.to_owned());
        let expected = vec![
            (second.clone(), 0.5, text("leaves"), text("d1")),
            (second.clone(), 0.7, text("leaves"), text("d2")),
            (first.clone(), 0.9, None, None),
        ];
        let shown = tracker.ok("GET", &format!("/logged-models/{oak}"), json!(null)).await;
        assert_eq!(measured(&shown), expected);

        let search = |body: Value| {
            let (tracker, experiment, oak) = (&tracker, &experiment, &oak);
            async move {
                let mut body = body;
                body["experiment_ids"] = json!([experiment]);
                let answer = tracker.ok("POST", "/logged-models/search", body).await;
                let models = answer["models"].as_array().cloned().unwrap_or_default();
                let is_oak = |model: &Value| model["info"]["model_id"] == json!(oak);
                models.iter().map(|model| if is_oak(model) { "oak" } else { "elm" }).collect::<Vec<_>>()
            }
        };
        let on = |name: &str| json!([{ "dataset_name": name }]);
        let exactly = |name: &str, digest: &str| json!([{ "dataset_name": name, "dataset_digest": digest }]);
        for (datasets, filter, expected) in [
            (on("roots"), "", vec!["elm"]),
            (exactly("leaves", "d2"), "", vec!["oak"]),
            (exactly("leaves", "d3"), "", vec![]),
            (on("leaves"), "metrics.acc > 0.6", vec!["oak"]),
            (exactly("leaves", "d1"), "metrics.acc > 0.6", vec![]),
            (json!([]), "metrics.acc > 0.85", vec!["oak"]),
            (on("leaves"), "name = \"elm\"", vec!["elm"]),
        ] {
            let found = search(json!({ "datasets": datasets, "filter": filter })).await;
            assert_eq!(found, expected, "{datasets} {filter}");
        }
        let by = |ascending: bool, dataset: Option<(&str, &str)>| {
            let mut order = json!({ "field_name": "metrics.acc", "ascending": ascending });
            if let Some((name, digest)) = dataset {
                order["dataset_name"] = json!(name);
                order["dataset_digest"] = json!(digest);
            }
            order
        };
        for (order, expected) in [
            // Elm has 0.2 there, oak 0.5.
            (json!([by(true, Some(("leaves", "d1")))]), vec!["elm", "oak"]),
            (json!([by(false, Some(("leaves", "d1")))]), vec!["oak", "elm"]),
            // What was not measured there comes last.
            (json!([by(true, Some(("roots", "d1")))]), vec!["elm", "oak"]),
            (json!([by(true, Some(("roots", "d1"))), by(true, Some(("leaves", "d1")))]), vec!["elm", "oak"]),
        ] {
            assert_eq!(search(json!({ "order_by": order })).await, expected, "{order}");
        }
        let body = json!({ "experiment_ids": [experiment], "datasets": [{ "dataset_digest": "d1" }] });
        let (status, code, message) = tracker.refused("POST", "/logged-models/search", body).await;
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert_eq!(message, "`dataset_name` in the `datasets` clause must be specified.");

        // A run has its own metrics by their names alone.
        let found = tracker.ok("GET", &format!("/runs/get?run_id={second}"), json!(null)).await;
        let newest = json!([{ "key": "acc", "value": 0.8, "timestamp": 4, "step": 0 }]);
        assert_eq!(found["run"]["data"]["metrics"], newest);
        let query = json!({ "experiment_ids": [experiment], "filter": "metrics.acc = 0.9" });
        let found = tracker.ok("POST", "/runs/search", query).await;
        assert_eq!(found["runs"].as_array().unwrap().len(), 1);
        assert_eq!(found["runs"][0]["info"]["run_id"], json!(first));

        // Under a new key too, and in the person's archive.
        let person: Id = someone.id.parse().unwrap();
        let store = deployment.server().app().store().clone();
        let workspaces = store.read(move |tx| tx.children::<Workspace>(person, Page::ALL)).await.unwrap();
        store.reseal(workspaces[0].id).await.unwrap();
        let shown = tracker.ok("GET", &format!("/logged-models/{oak}"), json!(null)).await;
        assert_eq!(measured(&shown), expected);
        let files = deployment.export(&someone).await;
        let id: Id = oak.strip_prefix("m-").unwrap().parse().unwrap();
        let path = format!("tracking/models/{id}/metrics.csv");
        let (_, table) = files.iter().find(|(found, _)| *found == path).unwrap();
        let table = String::from_utf8(table.clone()).unwrap();
        assert!(table.contains("acc,1,0,0.9\n"), "{table}");
        assert!(table.contains("leaves") && table.contains("d2") && table.contains(&second), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_noted_with_their_model_and_the_highest_left_is_the_latest() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let model = logged(&tracker, "0", "oak", &run).await;
        tracker.ok("POST", "/registered-models/create", json!({ "name": "wood" })).await;
        for _ in 0..3 {
            let body = json!({ "name": "wood", "source": format!("models:/{model}"), "model_id": model });
            tracker.ok("POST", "/model-versions/create", body).await;
        }
        // A model that is not here is a text.
        let body =
            json!({ "name": "wood", "source": "s3://bucket/m", "model_id": format!("m-{}", "0".repeat(32)) });
        tracker.ok("POST", "/model-versions/create", body).await;
        let shown = tracker.ok("GET", &format!("/logged-models/{model}"), json!(null)).await;
        let tags = shown["model"]["info"]["tags"].as_array().unwrap();
        let tag = tags.iter().find(|tag| tag["key"] == "mlflow.modelVersions").unwrap();
        let versions: Value = serde_json::from_str(tag["value"].as_str().unwrap()).unwrap();
        let version = |number: u32| json!({ "name": "wood", "version": number });
        assert_eq!(versions, json!([version(1), version(2), version(3)]));

        let latest = "/registered-models/alias?name=wood&alias=latest";
        for (deleted, left) in [("4", "3"), ("2", "3"), ("3", "1")] {
            let body = json!({ "name": "wood", "version": deleted });
            tracker.ok("DELETE", "/model-versions/delete", body).await;
            let found = tracker.ok("GET", latest, json!(null)).await;
            assert_eq!(found["model_version"]["version"], left);
        }
        tracker.ok("DELETE", "/model-versions/delete", json!({ "name": "wood", "version": "1" })).await;
        let (status, code, message) = tracker.refused("GET", latest, json!(null)).await;
        assert_eq!((status, code.as_str()), (404, "RESOURCE_DOES_NOT_EXIST"));
        assert_eq!(message, "Latest version not found for model wood.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_is_made_from_is_not_deleted_under_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let api = format!(
            "/mlflow/v2.0/subscriptions/{}/resourceGroups/Models/providers/Microsoft.MachineLearningServices/workspaces/Forest/api/2.0/mlflow",
            someone.id
        );
        let send = |method: &'static str, path: &'static str, body: Value| {
            let (tracker, path) = (&tracker, format!("{api}{path}"));
            async move { tracker.send(method, &path, &body).await }
        };
        assert_eq!(send("POST", "/registered-models/create", json!({ "name": "m" })).await.0, 200);
        for _ in 0..3 {
            let body = json!({ "name": "m", "source": "s3://bucket/m" });
            assert_eq!(send("POST", "/model-versions/create", body).await.0, 200);
        }
        for (name, model) in [("s", "m:1"), ("t", "m:2")] {
            let service = json!({ "name": name, "modelId": model, "computeType": "ACI" });
            assert_eq!(manager.waited("POST", "/services", service).await, name);
        }
        for (path, body) in [
            ("/model-versions/delete", json!({ "name": "m", "version": "1" })),
            ("/registered-models/delete", json!({ "name": "m" })),
        ] {
            let (status, answer) = send("DELETE", path, body).await;
            assert_eq!((status, &answer["error_code"]), (409, &json!("RESOURCE_CONFLICT")), "{answer}");
            assert!(answer["message"].as_str().unwrap().contains("Service "), "{answer}");
        }
        assert_eq!(
            send("DELETE", "/model-versions/delete", json!({ "name": "m", "version": "3" })).await.0,
            200
        );

        // An erasure takes what a service is made from: this stays said, and the service can still be changed.
        let person: Id = someone.id.parse().unwrap();
        let store = deployment.server().app().store().clone();
        let removed = store
            .write(move |tx| {
                for workspace in tx.children::<Workspace>(person, Page::ALL)? {
                    if let Some(model) = tx.child_by_name::<RegisteredModel>(workspace.id, "m")?
                        && let Some(version) = tx.child_by_name::<ModelVersion>(model.id, "1")?
                    {
                        return tx.remove(version.id).map(Some);
                    }
                }
                Ok(None)
            })
            .await
            .unwrap();
        store.finish(&removed.unwrap()).await;
        let since = manager.ok("GET", "/services/s", json!(null)).await["sourceErasedAt"].clone();
        assert!(since.is_string(), "{since}");
        let patch = json!([{ "op": "replace", "path": "/description", "value": "changed" }]);
        let changed = manager.ok("PATCH", "/services/s", patch).await;
        assert_eq!((&changed["description"], &changed["sourceErasedAt"]), (&json!("changed"), &since));
        manager.waited("PUT", "/services/s", json!({ "appInsightsEnabled": true })).await;
        let shown = manager.ok("GET", "/services/s", json!(null)).await;
        assert_eq!((&shown["appInsightsEnabled"], &shown["sourceErasedAt"]), (&json!(true), &since));
        // Made from something that is there, it is no longer made from what is gone.
        manager.waited("PUT", "/services/s", json!({ "modelId": "m:2" })).await;
        assert!(manager.ok("GET", "/services/s", json!(null)).await["sourceErasedAt"].is_null());

        for name in ["s", "t"] {
            let status = manager.call("DELETE", &format!("/services/{name}"), json!(null)).await.status;
            assert_eq!(status, 200);
        }
        assert_eq!(send("DELETE", "/registered-models/delete", json!({ "name": "m" })).await.0, 200);
    }
}

/// Calls MLflow's API below a workspace of Azure's, as `azureml-mlflow` does.
async fn by_azures_plugin(
    deployment: &Deployment,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "habeas.example")
        .header("user-agent", "mlflow-python-client/3.5.0 azureml-mlflow/1.61.0.post1")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) })
        .unwrap();
    let (status, body) = deployment.send(request).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_plugin_stores_a_logged_model_at_an_address_of_run_history() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let api = format!("/mlflow/v2.0{}/api/2.0", team.scope);
        let call = |method: &'static str, path: String, body: Value| {
            let (deployment, tracker, path) = (&deployment, &tracker, format!("{api}/mlflow{path}"));
            async move {
                let (status, answer) =
                    by_azures_plugin(deployment, tracker.token(), method, &path, &body).await;
                assert_eq!(status, 200, "{method} {path}: {answer}");
                answer
            }
        };
        let made =
            call("POST", "/logged-models".into(), json!({ "experiment_id": "0", "name": "oak" })).await;
        let model = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
        let place = format!("experiments/0/runs/{model}/artifacts");
        let uri = format!("azureml://habeas.example/mlflow/v2.0{}/{place}", team.scope);
        assert_eq!(made["model"]["info"]["artifact_uri"], json!(uri));
        let found = call("POST", "/logged-models/search".into(), json!({ "experiment_ids": ["0"] })).await;
        assert_eq!(found["models"][0]["info"]["artifact_uri"], json!(uri));

        let body = json!({ "paths": [{ "path": "MLmodel" }] });
        let announced = team.ok("POST", &format!("/history/v1.0@/{place}/batch/metadata"), body).await;
        let address = announced["artifactContentInformation"]["MLmodel"]["contentUri"].as_str().unwrap();
        assert_eq!(team.put(address, b"flavors: {}").await, 201);
        let listed = team.ok("GET", &format!("/history/v1.0@/{place}"), json!(null)).await;
        assert_eq!(listed["value"][0]["path"], "MLmodel");
        let path = format!("/history/v1.0@/{place}/contentinfo?path=MLmodel");
        let found = team.ok("GET", &path, json!(null)).await;
        let (status, _, bytes) =
            team.storage("GET", found["contentUri"].as_str().unwrap(), &[], Vec::new()).await;
        assert_eq!((status, bytes), (200, b"flavors: {}".to_vec()));

        // MLflow's own client has the same file at its own address.
        let (_, shown) =
            tracker.send("GET", &format!("{api}/mlflow/logged-models/{model}"), &json!(null)).await;
        assert_eq!(
            shown["model"]["info"]["artifact_uri"],
            json!(format!("mlflow-artifacts:/0/models/{model}/artifacts"))
        );
        let file = format!("{api}/mlflow-artifacts/artifacts/0/models/{model}/artifacts/MLmodel");
        assert_eq!(tracker.raw("GET", &file, Vec::new()).await, (200, b"flavors: {}".to_vec()));

        // Registered from there, each reads it by an address of its own.
        call("POST", "/registered-models/create".into(), json!({ "name": "wood" })).await;
        call("POST", "/model-versions/create".into(), json!({ "name": "wood", "source": uri })).await;
        let query = "/model-versions/get-download-uri?name=wood&version=1";
        assert_eq!(call("GET", query.into(), json!(null)).await["artifact_uri"], json!(uri));
        let (_, own) = tracker.send("GET", &format!("{api}/mlflow{query}"), &json!(null)).await;
        let own = own["artifact_uri"].as_str().unwrap().strip_prefix("mlflow-artifacts:/").unwrap();
        let file = format!("{api}/mlflow-artifacts/artifacts/{own}/MLmodel");
        assert_eq!(tracker.raw("GET", &file, Vec::new()).await, (200, b"flavors: {}".to_vec()));

        call("DELETE", format!("/logged-models/{model}"), json!(null)).await;
        assert_eq!(team.call("GET", &format!("/history/v1.0@/{place}"), json!(null)).await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_reads_what_azures_client_sent_from_a_disk() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let api = format!("/mlflow/v2.0{}/api/2.0", team.scope);
        for (name, container, sent, prefix, path) in [
            ("oak", "m1", "model.pkl", "LocalUpload/m1/model.pkl", "model.pkl"),
            ("elm", "m2", "all/MLmodel", "LocalUpload/m2/all", "MLmodel"),
        ] {
            let announce = format!("/artifact/v2.0@/artifacts/batch/metadata/LocalUpload/{container}");
            let answer = team.ok("POST", &announce, json!({ "paths": [{ "path": sent }] })).await;
            let address = answer["artifactContentInformation"][sent]["contentUri"].as_str().unwrap();
            assert_eq!(team.put(address, name.as_bytes()).await, 201);
            let asset = json!({ "name": name, "artifacts": [{ "prefix": prefix }] });
            let asset = team.ok("POST", "/modelmanagement/v1.0@/assets", asset).await;
            let url = format!("aml://asset/{}", asset["id"].as_str().unwrap());
            let model = json!({ "name": name, "url": url, "mimeType": "application/json", "unpack": false });
            team.ok("POST", "/modelmanagement/v1.0@/models", model).await;

            let query = format!("{api}/mlflow/model-versions/get-download-uri?name={name}&version=1");
            let (_, answer) = tracker.send("GET", &query, &json!(null)).await;
            let uri = answer["artifact_uri"].as_str().unwrap();
            let folder = uri.strip_prefix("mlflow-artifacts:/").unwrap();
            let list = format!("{api}/mlflow-artifacts/artifacts?path={folder}");
            let (status, listed) = tracker.send("GET", &list, &json!(null)).await;
            let expected = json!([{ "path": path, "is_dir": false, "file_size": 3 }]);
            assert_eq!((status, &listed["files"]), (200, &expected));
            let file = format!("{api}/mlflow-artifacts/artifacts/{folder}/{path}");
            assert_eq!(tracker.raw("GET", &file, Vec::new()).await, (200, name.as_bytes().to_vec()));
            // It is only read there, and below this workspace.
            for method in ["PUT", "DELETE"] {
                assert_eq!(tracker.raw(method, &file, Vec::new()).await.0, 400, "{method}");
            }
            let here = file.replace(&api, "/api/2.0");
            assert_eq!(tracker.raw("GET", &here, Vec::new()).await.0, 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fetched_where_upstreams_pages_look() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let run = tracker.run("0", "r").await;
        let model = logged(&tracker, "0", "oak", &run).await;
        assert_eq!(tracker.upload(&format!("0/{run}/artifacts/a/b.txt"), b"of the run").await, 200);
        assert_eq!(
            tracker.upload(&format!("0/models/{model}/artifacts/MLmodel"), b"of the model").await,
            200
        );
        tracker.ok("POST", "/registered-models/create", json!({ "name": "wood" })).await;
        let body = json!({ "name": "wood", "source": format!("runs:/{run}/a"), "run_id": run });
        tracker.ok("POST", "/model-versions/create", body).await;
        let body = json!({ "name": "wood", "source": "s3://bucket/model" });
        tracker.ok("POST", "/model-versions/create", body).await;
        let of_model = format!("/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files");
        for (path, status, expected) in [
            (format!("/get-artifact?run_id={run}&path=a/b.txt"), 200, "of the run"),
            (format!("/get-artifact?run_uuid={run}&path=a%2Fb.txt"), 200, "of the run"),
            ("/model-versions/get-artifact?name=wood&version=1&path=b.txt".into(), 200, "of the run"),
            (format!("{of_model}?artifact_file_path=MLmodel"), 200, "of the model"),
            (format!("/get-artifact?run_id={run}&path=a"), 400, ""),
            (format!("/get-artifact?run_id={run}&path=../a"), 400, ""),
            (format!("/get-artifact?run_id={run}&path=none"), 404, ""),
            (format!("/get-artifact?run_id={run}"), 400, ""),
            ("/model-versions/get-artifact?name=wood&version=1&path=a/b.txt".into(), 404, ""),
            ("/model-versions/get-artifact?name=wood&version=2&path=b.txt".into(), 404, ""),
            (format!("{of_model}?artifact_file_path=none"), 404, ""),
        ] {
            let (found, bytes) = tracker.raw("GET", &path, Vec::new()).await;
            assert_eq!(found, status, "{path}");
            assert!(status != 200 || bytes == expected.as_bytes(), "{path}");
        }

        let other = tracker.run("0", "o").await;
        for (run, steps) in [(&run, 0..3), (&other, 3..5)] {
            let metrics: Vec<Value> = steps
                .map(|step| json!({ "key": "acc", "value": step, "timestamp": 10 - step, "step": step }))
                .collect();
            tracker.ok("POST", "/runs/log-batch", json!({ "run_id": run, "metrics": metrics })).await;
        }
        let mut runs = [(&run, vec![2.0, 1.0, 0.0]), (&other, vec![4.0, 3.0])];
        runs.sort_by(|a, b| a.0.cmp(b.0));
        let expected: Vec<(&str, f64)> =
            runs.iter().flat_map(|(run, values)| values.iter().map(|value| (run.as_str(), *value))).collect();
        for most in [25_000, 4] {
            let path = format!(
                "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={run}&run_id={other}&metric_key=acc&max_results={most}"
            );
            let (status, answer) = tracker.send("GET", &path, &json!(null)).await;
            assert_eq!(status, 200, "{answer}");
            let found = answer["metrics"].as_array().unwrap();
            let found: Vec<(&str, f64)> = found
                .iter()
                .map(|point| (point["run_id"].as_str().unwrap(), point["value"].as_f64().unwrap()))
                .collect();
            assert_eq!(found, &expected[..most.min(5)]);
        }
        let (status, code, message) =
            tracker.refused("GET", "/metrics/get-history-bulk?metric_key=acc", json!(null)).await;
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert_eq!(message, "GetMetricHistoryBulk request must specify at least one run_id.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stand_here_wherever_an_experiment_was_asked_to_keep_them() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        for (number, (asked, is_kept)) in [
            ("mlflow-artifacts:/team", true),
            ("mlflow-artifacts:/team/", true),
            ("mlflow-artifacts:/team/e", false),
            ("mlflow-artifacts:/", false),
            ("mlflow-artifacts://elsewhere.example/team", false),
            ("s3://bucket/team", false),
            ("file:///home/ada/mlruns", false),
            ("/home/ada/mlruns", false),
            ("", false),
        ]
        .into_iter()
        .enumerate()
        {
            let body = json!({ "name": format!("e{number}"), "artifact_location": asked });
            let made = tracker.ok("POST", "/experiments/create", body).await;
            let experiment = made["experiment_id"].as_str().unwrap().to_owned();
            let path = format!("/experiments/get?experiment_id={experiment}");
            let shown = tracker.ok("GET", &path, json!(null)).await;
            let expected = if is_kept { asked.to_owned() } else { format!("mlflow-artifacts:/{experiment}") };
            assert_eq!(shown["experiment"]["artifact_location"], json!(expected), "{asked}");
            let run = tracker.run(&experiment, "r").await;
            let shown = tracker.ok("GET", &format!("/runs/get?run_id={run}"), json!(null)).await;
            let folder = shown["run"]["info"]["artifact_uri"].as_str().unwrap();
            let folder = folder.strip_prefix("mlflow-artifacts:/").unwrap();
            assert_eq!(tracker.upload(&format!("{folder}/a.txt"), b"text").await, 200, "{asked}");
            let listed = tracker.ok("GET", &format!("/artifacts/list?run_id={run}"), json!(null)).await;
            assert_eq!(listed["files"][0]["path"], "a.txt", "{asked}");
            let model = logged(&tracker, &experiment, "oak", &run).await;
            let shown = tracker.ok("GET", &format!("/logged-models/{model}"), json!(null)).await;
            let folder = shown["model"]["info"]["artifact_uri"].as_str().unwrap();
            let folder = folder.strip_prefix("mlflow-artifacts:/").unwrap();
            assert_eq!(tracker.upload(&format!("{folder}/MLmodel"), b"text").await, 200, "{asked}");
        }
    }
}
