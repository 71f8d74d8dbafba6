//! What Azure ML's services beside its control plane have in common: the envelope of their errors, what is none of their operations, and
//! addresses without a scope. By plain HTTP.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use habeas_core::{ManualClock, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::Deployment;
use crate::history::Historian;
use crate::mlflow::Tracker;

/// Calls an address; the status, the headers and the answer.
async fn call(
    deployment: &Deployment,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = deployment.server().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_which_request_they_answer_and_when() {
    let _lock = crate::canary::protected().await;
    let now = Timestamp(1_800_000_000_000_000);
    let deployment = Deployment::open_with_clock(Arc::new(ManualClock::new(now)), |_| {}).await;
    let someone = deployment.person("a@example.org", "A").await;
    let historian = Historian::new(&deployment, &someone).await;
    let bearer = format!("Bearer {}", deployment.token(&someone).await);
    let artifact = format!("/artifact/v2.0{}/artifacts/metadata/ExperimentRun/none/a.txt", historian.scope);
    for path in [historian.address("/runs/none"), historian.address("/metric:/none"), artifact] {
        for label in [None, Some("label")] {
            let mut headers = vec![("authorization", bearer.as_str())];
            headers.extend(label.map(|label| ("x-ms-client-request-id", label)));
            let (status, headers, answer) = call(&deployment, "GET", &path, &headers).await;
            assert_eq!(status, 404, "{path}: {answer}");
            let id = headers["x-ms-request-id"].to_str().unwrap();
            assert_eq!(
                answer["correlation"],
                json!({ "operation": label.unwrap_or(id), "request": id }),
                "{path}"
            );
            assert_eq!(answer["time"], now.rfc3339());
            assert_eq!((&answer["environment"], &answer["location"]), (&json!("habeas"), &json!("habeas")));
            let error = answer["error"].as_object().unwrap();
            let members = ["code", "message", "target", "details", "innerError"];
            assert!(members.iter().all(|member| error.contains_key(*member)), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_operation_is_refused_in_the_envelope() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let historian = Historian::new(&deployment, &someone).await;
    let scope = &historian.scope;
    for (method, path, status, code) in [
        ("GET", format!("/history/v1.0{scope}/nothing"), 404, "NotFound"),
        ("GET", "/history/v1.0/nothing".to_owned(), 404, "NotFound"),
        ("POST", format!("/metric/v2.0{scope}/runs/r/nothing"), 404, "NotFound"),
        ("GET", format!("/artifact/v2.0{scope}/nothing/of/it"), 404, "NotFound"),
        ("GET", format!("/content/v1.0{scope}/nothing"), 404, "NotFound"),
        ("PUT", format!("/datastore/v1.0{scope}/nothing"), 404, "NotFound"),
        ("GET", format!("/notification/v1.0{scope}/nothing"), 404, "NotFound"),
        ("DELETE", format!("/history/v1.0{scope}/experiments"), 405, "MethodNotAllowed"),
        ("PUT", format!("/metric/v2.0{scope}/runs/r/list"), 405, "MethodNotAllowed"),
        ("PATCH", format!("/artifact/v1.0{scope}/assets"), 405, "MethodNotAllowed"),
        ("PUT", "/content/v1.0/meta/ping".to_owned(), 405, "MethodNotAllowed"),
        ("POST", format!("/datastore/v1.0{scope}/default"), 405, "MethodNotAllowed"),
        ("POST", format!("/notification/v1.0{scope}/tasks"), 405, "MethodNotAllowed"),
    ] {
        let label = [("x-ms-client-request-id", "label")];
        let (found, headers, answer) = call(&deployment, method, &path, &label).await;
        assert_eq!(
            (found, &answer["error"]["code"], &answer["error"]["innerError"]["code"]),
            (status, &json!("UserError"), &json!(code)),
            "{method} {path}: {answer}"
        );
        assert_eq!(headers["x-ms-client-request-id"], "label", "{method} {path}");
        assert_eq!(answer["correlation"]["operation"], "label", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_recognised_is_told_how_to_sign_in() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let historian = Historian::new(&deployment, &someone).await;
    for path in [
        historian.address("/runs"),
        format!("/artifact/v1.0{}/assets", historian.scope),
        "/subscriptions?api-version=2022-12-01".to_owned(),
    ] {
        for headers in [vec![], vec![("authorization", "Bearer none")]] {
            let (status, headers, answer) = call(&deployment, "GET", &path, &headers).await;
            assert_eq!(status, 401, "{path}: {answer}");
            assert_eq!(headers["www-authenticate"], "Bearer", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_without_a_scope_are_matched_in_any_case() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let historian = Historian::new(&deployment, &someone).await;
    for path in
        ["/Discovery", "/Metadata/Endpoints", "/content/v1.0/Meta/ping", "/Datastore/v1.0/meta/Version"]
    {
        assert_eq!(call(&deployment, "GET", path, &[]).await.0, 200, "{path}");
    }
    let tracker = Tracker::new(&deployment, &someone).await;
    let workspace = format!("{}?api-version=2018-03-01-preview", historian.scope);
    let (_, workspace) = tracker.send("GET", &workspace, &json!(null)).await;
    let id = workspace["properties"]["workspaceId"].as_str().unwrap();
    for service in ["/artifact/v1.0/Workspaces", "/Artifact/v1.0/workspaces"] {
        // There are no files.
        let (status, answer) = tracker.send("DELETE", &format!("{service}/{id}"), &json!(null)).await;
        assert_eq!(status, 204, "{service}: {answer}");
    }
}
