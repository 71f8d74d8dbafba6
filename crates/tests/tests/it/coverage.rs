//! Every route for every caller: anonymous, another person, the owner, a privacy officer.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::deployment::{Deployment, TRAINING};
use crate::mlflow::Tracker;
use crate::operations::assert_all_called;

/// Routes of the privacy API that anybody may call.
pub(crate) const PUBLIC: &[&str] = &[
    "/public-key",
    "/kinds",
    "/revoked-models",
    "/erasures/{plan}",
    "/erasures/{plan}/receipt",
    "/log/checkpoint",
    "/log/inclusion/{receipt}",
    "/log/consistency",
    "/log/entries",
    "/log/keys",
    "/requests/{request}/status",
];
/// What anybody may do: take in a request, and show that it is theirs.
const PUBLIC_POSTS: &[&str] =
    &["/requests", "/requests/{request}/verify", "/requests/{request}/resend", "/requests/{request}/archive"];

#[tokio::test(flavor = "multi_thread")]
async fn every_privacy_operation_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let other = deployment.person("other@example.org", "Other").await;
    let officer = deployment.person("officer@example.org", "Officer").await;
    let role = json!({ "role": "privacyOfficer", "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
    let mut tokens = Vec::new();
    for someone in [&owner, &other, &officer] {
        let (_, issued) =
            deployment.operator("POST", &format!("/persons/{}/tokens", someone.id), json!({})).await;
        tokens.push(issued["secret"].as_str().unwrap().to_owned());
    }
    let (_, export) = deployment.operator("POST", &format!("/persons/{}/exports", owner.id), json!({})).await;
    let (_, plan) =
        deployment.operator("POST", &format!("/persons/{}/erasure-plans", owner.id), json!({})).await;
    let asked = json!({ "type": "objection", "identity": "known" });
    let (_, request) = deployment.operator("POST", &format!("/persons/{}/requests", owner.id), asked).await;
    let document = habeas_wire::privacy::openapi();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let template = path.strip_prefix("/api/privacy/v1").unwrap();
            let filled = path
                .replace("{person}", &owner.id)
                .replace("{export}", export["id"].as_str().unwrap())
                .replace("{plan}", plan["plan"].as_str().unwrap())
                .replace("{request}", request["id"].as_str().unwrap())
                .replace("{kind}", "Image")
                .replace("{organisation}", &owner.id)
                .replace(['{', '}'], "");
            let call = |token: Option<&str>| {
                let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(&filled);
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let body = match template {
                    "/erasures" => json!({ "plan": plan["plan"], "confirm": "wrong" }),
                    "/persons" => json!({ "email": "new@example.org" }),
                    "/organisations" => json!({ "name": "x", "owner": owner.id }),
                    "/holds" => json!({ "target": owner.id, "matter": "m", "reason": "r" }),
                    "/holds/{hold}" => json!({ "until": null }),
                    "/unclaimed" => json!({ "name": "x" }),
                    "/unclaimed/{person}/link" => json!({ "person": other.id }),
                    "/transfers" => json!({ "resource": owner.id, "to": other.id }),
                    "/backups" => json!({ "destination": "/nowhere" }),
                    path if path.ends_with("/restriction") => json!({ "restricted": false }),
                    path if path.ends_with("/role") => json!({ "role": "administrator", "granted": true }),
                    path if path.ends_with("/password") => json!({ "password": "0123456789ab" }),
                    path if path.contains("/members/") => json!({ "role": "reader" }),
                    "/recipients" => json!({ "name": "x", "url": "https://example.org/" }),
                    path if path.ends_with("/applications") => json!({ "name": "x" }),
                    "/persons/{person}/requests" => json!({ "type": "access" }),
                    path if path.ends_with("/confirm-identity") => json!({ "identity": "known" }),
                    path if path.ends_with("/approve") => json!({ "digest": "" }),
                    path if path.ends_with("/deny") => json!({ "reason": "other" }),
                    path if path.ends_with("/extend") => json!({ "reason": "complexity" }),
                    "/requests/{request}/comments" | "/requests/{request}/complete" => json!({ "text": "x" }),
                    _ => json!({}),
                };
                request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
            };
            let anonymous = deployment.send(call(None)).await.0;
            let public = if method == "get" { PUBLIC } else { PUBLIC_POSTS };
            if public.contains(&template) {
                assert!(anonymous != 401, "{method} {template}");
                continue;
            }
            assert_eq!(anonymous, 401, "anonymous {method} {template}");
            let (stranger, body) = deployment.send(call(Some(&tokens[1]))).await;
            assert_eq!(
                stranger,
                404,
                "another person {method} {template}: {}",
                String::from_utf8_lossy(&body)
            );
            checked += 1;
        }
    }
    assert!(checked >= 30, "only {checked} operations were checked");
    for (token, path, expected) in [
        (0, format!("/persons/{}/holdings", owner.id), 200),
        (0, "/persons/me/holdings".to_owned(), 200),
        (0, format!("/persons/{}/keys", owner.id), 200),
        (0, "/persons".to_owned(), 404),
        (2, format!("/persons/{}/holdings", owner.id), 200),
        (2, format!("/persons/{}/keys", owner.id), 403),
        (2, "/persons".to_owned(), 200),
        (2, "/doctor".to_owned(), 200),
    ] {
        let request = Request::get(format!("/api/privacy/v1{path}"))
            .header("authorization", format!("Bearer {}", tokens[token]))
            .body(Body::empty())
            .unwrap();
        assert_eq!(deployment.send(request).await.0, expected, "token {token} {path}");
    }
    // What makes its bearer the person is not given to the staff.
    for (method, path, body) in [
        ("POST", "tokens", json!({})),
        ("PUT", "password", json!({ "password": "0123456789ab" })),
        ("POST", "sign-in-links", json!({})),
        ("POST", "applications", json!({ "name": "x" })),
    ] {
        let path = format!("/persons/{}/{path}", owner.id);
        let (status, refused) = deployment.call(Some(&tokens[2]), method, &path, body.clone()).await;
        assert_eq!(
            (status.as_u16(), refused["code"].as_str()),
            (403, Some("forbidden")),
            "{path}: {refused}"
        );
        let (status, given) = deployment.operator(method, &path, body).await;
        assert!(status.is_success(), "{path}: {given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_training_operation_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let other = deployment.person("other@example.org", "Other").await;
    let project = deployment.project(&owner, "p").await;
    let tag = deployment.tag(&owner, &project, "t").await;
    let id = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
    for (method, path, body) in [
        ("GET", String::new(), None),
        ("PATCH", String::new(), Some(json!({ "name": "x" }))),
        ("DELETE", String::new(), None),
        ("GET", "/images".into(), None),
        ("DELETE", "/images?allImages=true".into(), None),
        ("GET", "/images/count".into(), None),
        ("POST", "/images/files".into(), Some(json!({ "images": [{ "contents": "AQID" }] }))),
        ("GET", format!("/images/id?imageIds={id}"), None),
        ("POST", format!("/images/metadata?imageIds={id}"), Some(json!({ "a": "b" }))),
        ("POST", "/images/regions".into(), Some(json!({ "regions": [] }))),
        ("DELETE", format!("/images/regions?regionIds={id}"), None),
        ("GET", "/images/tagged".into(), None),
        ("GET", "/images/tagged/count".into(), None),
        ("POST", "/images/tags".into(), Some(json!({ "tags": [] }))),
        ("DELETE", format!("/images/tags?imageIds={id}&tagIds={id}"), None),
        ("GET", "/images/untagged".into(), None),
        ("GET", "/images/untagged/count".into(), None),
        ("GET", "/iterations".into(), None),
        ("GET", format!("/iterations/{id}"), None),
        ("PATCH", format!("/iterations/{id}"), Some(json!({ "name": "x" }))),
        ("DELETE", format!("/iterations/{id}"), None),
        ("GET", format!("/iterations/{id}/performance"), None),
        ("GET", format!("/iterations/{id}/performance/images"), None),
        ("GET", format!("/iterations/{id}/performance/images/count"), None),
        ("POST", format!("/iterations/{id}/publish?publishName=x&predictionId=y"), None),
        ("DELETE", format!("/iterations/{id}/publish"), None),
        ("GET", format!("/images?iterationId={id}"), None),
        ("GET", format!("/images/id?iterationId={id}&imageIds={id}"), None),
        ("GET", format!("/tags?iterationId={id}"), None),
        ("POST", "/train".into(), None),
        ("GET", format!("/iterations/{id}/export"), None),
        ("POST", format!("/iterations/{id}/export?platform=ONNX"), None),
        ("DELETE", format!("/iterations/{id}/export"), None),
        ("GET", "/dataset?format=coco".into(), None),
        ("POST", "/dataset?format=coco".into(), Some(json!({}))),
        ("GET", "/export".into(), None),
        ("POST", "/images/predictions".into(), Some(json!({ "images": [{ "id": id }] }))),
        ("POST", "/images/urls".into(), Some(json!({ "images": [{ "url": "https://example.org/" }] }))),
        ("POST", format!("/images/suggested?iterationId={id}"), None),
        ("POST", format!("/images/suggested/count?iterationId={id}"), None),
        ("POST", format!("/images/{id}/regionproposals"), None),
        ("DELETE", format!("/predictions?ids={id}"), None),
        ("POST", "/predictions/query".into(), None),
        ("POST", "/quicktest/image".into(), None),
        ("POST", "/quicktest/url".into(), Some(json!({ "url": "https://example.org/" }))),
        ("POST", format!("/tagsandregions/suggestions?iterationId={id}&imageIds={id}"), None),
        ("GET", "/tags".into(), None),
        ("POST", "/tags?name=x".into(), None),
        ("GET", format!("/tags/{tag}"), None),
        ("PATCH", format!("/tags/{tag}"), Some(json!({ "name": "x" }))),
        ("DELETE", format!("/tags/{tag}"), None),
    ] {
        let path = format!("/projects/{project}{path}");
        let (status, answer) = deployment.train(method, &other.key, &path, body.clone()).await;
        assert_eq!(
            (status.as_u16(), answer["code"].as_str()),
            (404, Some("NotFoundProject")),
            "{method} {path}: {answer}"
        );
        let (status, answer) =
            deployment.train(method, "0123456789abcdef0123456789abcdef", &path, body).await;
        assert_eq!(
            (status.as_u16(), answer["error"]["code"].as_str()),
            (401, Some("401")),
            "{method} {path}"
        );
    }
    let request = Request::get(format!("{TRAINING}/projects")).body(Body::empty()).unwrap();
    assert_eq!(deployment.send(request).await.0, 401);
    let (status, answer) =
        deployment.train("POST", &owner.key, &format!("/projects/{project}/train"), None).await;
    assert_eq!(
        (status.as_u16(), answer["code"].as_str()),
        (400, Some("BadRequestClassificationTrainingValidationFailed"))
    );
    assert_eq!(
        deployment.train("GET", &owner.key, &format!("/projects/{project}/tags/{tag}"), None).await.0,
        200
    );
}

/// Every operation of MLflow's API, with what the owner's world has; the last ones put it away.
fn tracking_operations(world: &World) -> Vec<(&'static str, String, serde_json::Value)> {
    let World { experiment, run, model } = world;
    let api = |path: &str| format!("/api/2.0/mlflow{path}");
    let stored = |path: &str| format!("/api/2.0/mlflow-artifacts{path}");
    let of_run = format!("{experiment}/{run}/artifacts");
    let get = |path: String| ("GET", api(&path), json!(null));
    let post = |path: &str, body: serde_json::Value| ("POST", api(path), body);
    vec![
        get(format!("/experiments/get?experiment_id={experiment}")),
        get("/experiments/get-by-name?experiment_name=trees".into()),
        post("/experiments/update", json!({ "experiment_id": experiment, "new_name": "trees" })),
        post(
            "/experiments/set-experiment-tag",
            json!({ "experiment_id": experiment, "key": "k", "value": "v" }),
        ),
        post("/experiments/delete-experiment-tag", json!({ "experiment_id": experiment, "key": "k" })),
        post("/runs/create", json!({ "experiment_id": experiment })),
        get(format!("/runs/get?run_id={run}")),
        post("/runs/update", json!({ "run_id": run, "status": "FINISHED" })),
        post("/runs/set-tag", json!({ "run_id": run, "key": "k", "value": "v" })),
        post("/runs/delete-tag", json!({ "run_id": run, "key": "k" })),
        post("/runs/log-metric", json!({ "run_id": run, "key": "m", "value": 1, "timestamp": 1 })),
        post("/runs/log-parameter", json!({ "run_id": run, "key": "p", "value": "1" })),
        post("/runs/log-batch", json!({ "run_id": run })),
        post("/runs/log-inputs", json!({ "run_id": run })),
        post("/runs/outputs", json!({ "run_id": run })),
        post(
            "/runs/log-model",
            json!({ "run_id": run, "model_json": json!({ "artifact_path": "m", "flavors": {}, "utc_time_created": "", "run_id": run }).to_string() }),
        ),
        get(format!("/metrics/get-history?run_id={run}&metric_key=m")),
        get(format!("/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m")),
        get(format!("/metrics/get-history-bulk?run_id={run}&metric_key=m")),
        get(format!("/artifacts/list?run_id={run}")),
        ("PUT", stored(&format!("/artifacts/{of_run}/a/b.txt")), json!("text")),
        ("GET", stored(&format!("/artifacts/{of_run}/a/b.txt")), json!(null)),
        ("GET", stored(&format!("/artifacts?path={of_run}")), json!(null)),
        ("GET", format!("/get-artifact?run_id={run}&path=a/b.txt"), json!(null)),
        post("/model-versions/create", json!({ "name": "forest", "source": format!("runs:/{run}/a") })),
        ("GET", "/model-versions/get-artifact?name=forest&version=2&path=b.txt".into(), json!(null)),
        ("DELETE", stored(&format!("/artifacts/{of_run}/a")), json!(null)),
        ("PUT", stored(&format!("/artifacts/{experiment}/models/{model}/artifacts/c")), json!("text")),
        get(format!("/logged-models/{model}/artifacts/files?artifact_file_path=c")),
        post("/logged-models", json!({ "experiment_id": experiment, "name": "other" })),
        get(format!("/logged-models/{model}")),
        ("PATCH", api(&format!("/logged-models/{model}")), json!({ "status": "LOGGED_MODEL_READY" })),
        post(&format!("/logged-models/{model}/params"), json!({ "params": [{ "key": "k", "value": "v" }] })),
        (
            "PATCH",
            api(&format!("/logged-models/{model}/tags")),
            json!({ "tags": [{ "key": "k", "value": "v" }] }),
        ),
        ("DELETE", api(&format!("/logged-models/{model}/tags/k")), json!(null)),
        get(format!("/logged-models/{model}/artifacts/directories")),
        get("/registered-models/get?name=forest".into()),
        ("PATCH", api("/registered-models/update"), json!({ "name": "forest", "description": "d" })),
        post("/registered-models/rename", json!({ "name": "forest", "new_name": "forest" })),
        get("/registered-models/get-latest-versions?name=forest".into()),
        post("/registered-models/set-tag", json!({ "name": "forest", "key": "k", "value": "v" })),
        ("DELETE", api("/registered-models/delete-tag"), json!({ "name": "forest", "key": "k" })),
        post("/registered-models/alias", json!({ "name": "forest", "alias": "best", "version": "1" })),
        get("/registered-models/alias?name=forest&alias=best".into()),
        ("DELETE", api("/registered-models/alias"), json!({ "name": "forest", "alias": "best" })),
        post("/model-versions/create", json!({ "name": "forest", "source": "s3://bucket/other" })),
        get("/model-versions/get?name=forest&version=1".into()),
        get("/model-versions/get-download-uri?name=forest&version=1".into()),
        (
            "PATCH",
            api("/model-versions/update"),
            json!({ "name": "forest", "version": "1", "description": "d" }),
        ),
        post(
            "/model-versions/transition-stage",
            json!({ "name": "forest", "version": "1", "stage": "Staging", "archive_existing_versions": false }),
        ),
        post(
            "/model-versions/set-tag",
            json!({ "name": "forest", "version": "1", "key": "k", "value": "v" }),
        ),
        (
            "DELETE",
            api("/model-versions/delete-tag"),
            json!({ "name": "forest", "version": "1", "key": "k" }),
        ),
        ("DELETE", api("/model-versions/delete"), json!({ "name": "forest", "version": "1" })),
        ("DELETE", api("/registered-models/delete"), json!({ "name": "forest" })),
        ("DELETE", api(&format!("/logged-models/{model}")), json!(null)),
        post("/runs/delete", json!({ "run_id": run })),
        post("/runs/restore", json!({ "run_id": run })),
        post("/experiments/delete", json!({ "experiment_id": experiment })),
        post("/experiments/restore", json!({ "experiment_id": experiment })),
    ]
}

/// Where a file would be stored in parts.
const IN_PARTS: &str = "/api/2.0/mlflow-artifacts/mpu/create/a";

/// What the operations are tried on.
struct World {
    experiment: String,
    run: String,
    model: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tracking_operation_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    let mut deployment = Deployment::open(None).await;
    let owner = deployment.person("owner@example.org", "Owner").await;
    let other = deployment.person("other@example.org", "Other").await;
    let officer = deployment.person("officer@example.org", "Officer").await;
    let role = json!({ "role": "privacyOfficer", "granted": true });
    assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
    let tracker = Tracker::new(&deployment, &owner).await;
    let experiment = tracker.experiment("trees").await;
    let run = tracker.run(&experiment, "r").await;
    let body = json!({ "experiment_id": experiment, "name": "m" });
    let made = tracker.ok("POST", "/logged-models", body).await;
    let model = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    tracker.ok("POST", "/registered-models/create", json!({ "name": "forest" })).await;
    let body = json!({ "name": "forest", "source": "s3://bucket/model" });
    tracker.ok("POST", "/model-versions/create", body).await;
    let operations = tracking_operations(&World { experiment: experiment.clone(), run, model });

    for someone in [&other, &officer] {
        let stranger = Tracker::new(&deployment, someone).await;
        for (method, path, body) in &operations {
            let (status, answer) = stranger.send(method, path, body).await;
            assert_eq!(
                (status, answer["error_code"].as_str()),
                (404, Some("RESOURCE_DOES_NOT_EXIST")),
                "{method} {path}: {answer}"
            );
        }
        // They search what is theirs, and name it as they like.
        let ids = json!({ "experiment_ids": [experiment] });
        for path in ["/runs/search", "/logged-models/search"] {
            assert_eq!(stranger.ok("POST", path, ids.clone()).await, json!({}));
        }
        for path in ["/registered-models/search", "/model-versions/search"] {
            assert_eq!(stranger.ok("GET", path, json!(null)).await, json!({}));
        }
        // Upstream's answer where files are not stored in parts, to anybody.
        assert_eq!(stranger.send("POST", IN_PARTS, &json!({})).await.0, 501);
        let found = stranger.ok("POST", "/experiments/search", json!({ "max_results": 10 })).await;
        assert_eq!(found["experiments"][0]["name"], "Default");
        assert_eq!(found["experiments"].as_array().unwrap().len(), 1);
        stranger.ok("POST", "/experiments/create", json!({ "name": "trees" })).await;
        stranger.ok("POST", "/registered-models/create", json!({ "name": "other" })).await;
    }
    let in_parts = Request::post(IN_PARTS).body(Body::empty()).unwrap();
    assert_eq!(deployment.send(in_parts).await.0, 401);
    for (method, path, _) in &operations {
        let request = Request::builder().method(*method).uri(path).body(Body::empty()).unwrap();
        let (status, answer) = deployment.send(request).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (status.as_u16(), &answer["error_code"]),
            (401, &json!("UNAUTHENTICATED")),
            "{method} {path}"
        );
    }
    for (method, path, body) in &operations {
        let (status, answer) = tracker.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
    }
    let ids = json!({ "experiment_ids": [experiment] });
    for (method, path, body) in [
        ("POST", "/experiments/search", json!({ "max_results": 10 })),
        ("POST", "/runs/search", ids.clone()),
        ("POST", "/logged-models/search", ids),
        ("GET", "/registered-models/search", json!(null)),
        ("GET", "/model-versions/search", json!(null)),
    ] {
        tracker.ok(method, path, body).await;
    }
    assert_eq!(tracker.send("POST", IN_PARTS, &json!({})).await.0, 501);
    assert_all_called(&mut deployment, &owner, "mlflow").await;
}
