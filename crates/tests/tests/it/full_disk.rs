//! A nearly full disk: what takes something in is refused in the words of its protocol, and what only reads is answered, whatever its method.

use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::deployment::Deployment;
use crate::mlflow::Tracker;

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_is_answered_and_model_management_refuses_in_its_own_envelope() {
    let _lock = crate::canary::protected().await;
    let mut deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "Ada").await;
    let project = deployment.project(&someone, "p").await;
    let token = Tracker::new(&deployment, &someone).await.token().to_owned();
    let team = Team::new(&deployment, &someone).await;
    team.ok("POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
    let model = json!({ "name": "oaks", "url": "https://store.example/m", "mimeType": "x" });
    team.ok("POST", "/modelmanagement/v1.0@/models", model).await;
    let service = json!({ "name": "oaks", "modelId": "oaks:1", "computeType": "ACI" });
    assert_eq!(team.call("POST", "/modelmanagement/v1.0@/services", service).await.0, 202);
    let shown = team.ok("GET", "/modelmanagement/v1.0@/services/oaks", json!(null)).await;
    let score = format!("/api{}", shown["scoringUri"].as_str().unwrap().split_once("/api").unwrap().1);
    let (scope, run) = (team.scope.clone(), team.run.clone());
    deployment.stop().await;
    deployment.settings.disk_reserve_mb = Some(u64::MAX);
    deployment.start().await;

    let team = Team::with(&deployment, &token, &scope, &run);
    let hosting = format!("/api/subscriptions/{}/resourceGroups/Trees/accounts/Oaks", someone.id);
    let old = "api-version=2018-03-01-preview";
    for (method, path) in [
        ("POST", "/modelmanagement/v1.0@/models".to_owned()),
        ("PATCH", "/modelmanagement/v1.0@/models/oaks:1".to_owned()),
        ("PUT", "/modelmanagement/v1.0@/services".to_owned()),
        ("POST", "/modelmanagement/v1.0@/services/oaks/regenerateKeys".to_owned()),
        ("POST", format!("/api@/images?{old}")),
        ("POST", format!("{hosting}/manifests?api-version=2017-09-01-preview")),
    ] {
        let (status, answer) = team.call(method, &path, json!({})).await;
        assert_eq!(
            (status, &answer["code"], &answer["statusCode"]),
            (503, &json!("ServiceUnavailable"), &json!(503)),
            "{method} {path}: {answer}"
        );
        assert!(answer["message"].as_str().unwrap().contains("disk"), "{answer}");
    }
    for (path, body, expected) in [
        ("/modelmanagement/v1.0@/models/list".to_owned(), json!({}), 200),
        ("/modelmanagement/v1.0@/services/list".to_owned(), json!({}), 200),
        ("/modelmanagement/v1.0@/services/oaks/listkeys".to_owned(), json!(null), 200),
        // It is asked by its keys.
        ("/modelmanagement/v1.0@/services/oaks/token".to_owned(), json!(null), 409),
        (format!("/api@/models/list?{old}"), json!({}), 200),
        // Its model is elsewhere.
        (score, json!([1]), 501),
        ("/history/v1.0@/experiments:query".to_owned(), json!({}), 200),
        ("/history/v1.0@/experiments/leaves/runs:query".to_owned(), json!({}), 200),
        ("/history/v1.0@/experiments/leaves/metrics:query".to_owned(), json!({}), 200),
        (format!("/metric/v2.0@/runs/{run}/list"), json!({}), 200),
        ("/content/v1.0@/snapshots/diff".to_owned(), json!({ "files": [] }), 200),
        (format!("@/listKeys?{old}"), json!(null), 200),
        (format!("@/diagnose?{old}"), json!(null), 200),
        ("/mlflow/v2.0@/api/2.0/mlflow/runs/search".to_owned(), json!({ "experiment_ids": ["0"] }), 200),
    ] {
        let (status, answer): (u16, Value) = team.call("POST", &path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
    let path = format!("/projects/{project}/predictions/query");
    let (status, answer) = deployment.train("POST", &someone.key, &path, Some(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    let path = format!("/projects/{project}/tags?name=t");
    assert_eq!(deployment.train("POST", &someone.key, &path, None).await.0, 503);
}
