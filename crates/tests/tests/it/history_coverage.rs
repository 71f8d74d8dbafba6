//! Every operation of run history for every caller: anonymous, another person, a privacy officer, the owner.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, engines};
use crate::history::Historian;
use crate::mlflow::Tracker;
use crate::operations::assert_all_called;

/// The operations, on what the owner's workspace has; the last ones delete it.
fn operations(experiment: &str) -> Vec<(&'static str, String, Value)> {
    let get = |path: &str| ("GET", path.to_owned(), json!(null));
    let post = |path: &str, body: Value| ("POST", path.to_owned(), body);
    let patch = |path: &str, body: Value| ("PATCH", path.to_owned(), body);
    let by_id = format!("/experimentids/{experiment}");
    let scalar = json!({ "name": "m", "value": [{ "data": { "m": 1 } }] });
    let cells =
        json!({ "metricId": "cells", "name": "l", "metricType": "azureml.v1.list", "cells": [{ "l": 1 }] });
    let event = json!({ "name": "Microsoft.MachineLearning.Run.Start", "data": { "RunId": "r" } });
    let mut all = vec![
        get("/experiments"),
        post("/experiments:query", json!({})),
        get("/experiments/leaves"),
        post("/experiments/leaves", json!(null)),
        get(&by_id),
        patch(&by_id, json!({ "tags": { "a": "b" } })),
        post(&format!("{by_id}/tags:delete"), json!({ "tags": ["a"] })),
        get("/computes/c/runs"),
        get("/runs"),
        post("/runs", json!({ "runId": "s" })),
        patch("/runs", json!({ "runId": "s" })),
        get("/runs:runcounts"),
        get("/runs/r"),
        ("PUT", "/runs/r".to_owned(), json!({ "name": "n" })),
        patch("/runs/r", json!({ "name": "n" })),
        get("/runs/r/childruns"),
        post("/runs/r/childruns", json!({ "runId": "t" })),
        get("/runs/r/token"),
        get("/runs/r/runstatus"),
        get("/runmetrics"),
        post("/runs/r/runmetrics", cells.clone()),
        get("/runmetrics/cells"),
        get("/runs/r/events"),
        post("/runs/r/events", event.clone()),
        post("/metric:/runs/r/batch", json!({ "values": [scalar] })),
        post("/metric:/runs/r/list", json!({})),
        post("/metric:/runs/r/full", json!({ "metricName": "m" })),
    ];
    for experiment in ["/experiments/leaves", by_id.as_str()] {
        let at = |path: &str| format!("{experiment}{path}");
        all.extend([
            get(&at("/runs")),
            ("DELETE", at("/runs?$filter=RunId%20eq%20none&dryRun=true"), json!(null)),
            ("DELETE", at("/runs?$filter=RunId%20eq%20none"), json!(null)),
            post(&at("/runs:query"), json!({})),
            get(&at("/runcounts")),
            patch(&at("/batch/runs"), json!({ "runs": [] })),
            post(&at("/batch/events"), json!({ "events": [] })),
            get(&at("/metrics")),
            post(&at("/metrics:query"), json!({})),
            get(&at("/metrics/cells")),
            get(&at("/runs/r")),
            patch(&at("/runs/r"), json!({})),
            ("PUT", at("/runs/r"), json!({})),
            get(&at("/runs/r/children")),
            get(&at("/runs/r/details")),
            get(&at("/runs/r/token")),
            ("DELETE", at("/runs/r/tags"), json!(["a"])),
            post(&at("/runs/r/metrics"), cells.clone()),
            post(&at("/runs/r/batch/metrics"), json!({ "values": [] })),
            get(&at("/runs/r/metricsingest/wait")),
            get(&at("/runs/r/events")),
            post(&at("/runs/r/events"), event.clone()),
        ]);
    }
    all.extend([
        ("DELETE", "/experiments/leaves/runs/r".to_owned(), json!(null)),
        ("DELETE", "/runs/s".to_owned(), json!(null)),
        ("DELETE", by_id, json!(null)),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_run_history_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let officer = deployment.person("officer@example.org", "Officer").await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
        let historian = Historian::new(&deployment, &owner).await;
        let experiment = historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        let operations = operations(&experiment);

        for someone in [&other, &officer] {
            let stranger = Tracker::new(&deployment, someone).await;
            for (method, path, body) in &operations {
                let (status, answer) = stranger.send(method, &historian.address(path), body).await;
                assert_eq!(status, 404, "{method} {path}: {answer}");
                // A workspace that is not theirs is not there, whatever is asked of it.
                assert_eq!(
                    answer["error"]["innerError"]["code"], "SubscriptionNotFound",
                    "{method} {path}: {answer}"
                );
            }
        }
        for (method, path, _) in &operations {
            let request =
                Request::builder().method(*method).uri(historian.address(path)).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 401, "{method} {path}");
        }
        for (method, path, body) in operations {
            historian.ok(method, &path, body).await;
        }
        assert_all_called(&mut deployment, &owner, "run_history").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_client_gave_its_request_comes_back() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let historian = Historian::new(&deployment, &owner).await;
        // Refused, too, and where there is nothing.
        for path in ["/experiments", "/metric:/runs/none/list", "/runs/none"] {
            let request = Request::get(historian.address(path))
                .header("x-ms-client-request-id", "label")
                .body(Body::empty())
                .unwrap();
            let answer = deployment.server().router().oneshot(request).await.unwrap();
            assert_eq!(answer.headers()["x-ms-client-request-id"], "label", "{path}");
        }
    }
}
