//! Bad input is refused in the protocol's envelope, loses nothing and writes nothing.

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, TRAINING, image};

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_code_and_message() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    let id = "0190b3a4-5c6d-7e8f-9012-3456789abcde";
    let many = vec![json!({ "contents": "AQID" }); 65];
    let ids = vec![id; 21]
        .iter()
        .enumerate()
        .map(|(n, id)| id.replace("abcde", &format!("{n:05}")))
        .collect::<Vec<_>>();
    let cases: Vec<(&str, String, Option<Value>, u16)> = vec![
        ("POST", "/projects".into(), None, 400),
        ("POST", "/projects?name=x&domainId=zz".into(), None, 400),
        ("POST", "/projects?name=x&classificationType=Other".into(), None, 400),
        ("GET", "/projects/zz".into(), None, 404),
        ("GET", "/domains/zz".into(), None, 404),
        ("POST", format!("/projects/{project}/images/files"), Some(json!({ "images": many })), 400),
        ("POST", format!("/projects/{project}/images/files"), Some(json!({ "images": [] })), 400),
        ("POST", format!("/projects/{project}/images/files"), Some(json!({ "images": 3 })), 400),
        (
            "POST",
            format!("/projects/{project}/images/files"),
            Some(json!({ "images": [{ "contents": "AQID" }], "tagIds": ids })),
            400,
        ),
        ("POST", format!("/projects/{project}/images/tags"), Some(json!({ "tags": "x" })), 400),
        ("POST", format!("/projects/{project}/images/regions"), Some(json!({ "regions": [{}] })), 400),
        ("POST", format!("/projects/{project}/images/metadata?imageIds={id}"), Some(json!({ "a": 1 })), 400),
        ("GET", format!("/projects/{project}/images?take=257"), None, 400),
        ("GET", format!("/projects/{project}/images?tagIds=zz"), None, 400),
        ("GET", format!("/projects/{project}/images?$filter=((((("), None, 400),
        ("DELETE", format!("/projects/{project}/images"), None, 400),
        ("POST", format!("/projects/{project}/tags?name=&type=Regular"), None, 400),
        ("POST", format!("/projects/{project}/tags?name=x&type=Odd"), None, 400),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = deployment.train(method, &someone.key, &path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {answer}");
        for member in ["code", "message"] {
            assert!(
                answer[member].as_str().is_some_and(|text| !text.is_empty()),
                "{method} {path}: {answer}"
            );
            assert_eq!(answer[member], answer["error"][member]);
        }
    }
    // Images that are none, one after the other in a batch with a good one: the good one is kept, the others are told apart.
    let good = image(1);
    let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let body = json!({ "images": [
        { "name": "../../etc/passwd", "contents": encode(&good) },
        { "name": "truncated", "contents": encode(&good[..2_000]) },
        { "name": "text", "contents": encode(b"no image") },
        { "name": "not base64", "contents": "***" },
        { "name": "too large", "contents": "A".repeat(9 * 1024 * 1024) },
    ] });
    let (status, answer) = deployment
        .train("POST", &someone.key, &format!("/projects/{project}/images/files"), Some(body))
        .await;
    assert_eq!(status, 207, "{answer}");
    let statuses: Vec<&str> =
        answer["images"].as_array().unwrap().iter().map(|image| image["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        ["OK", "ErrorImageFormat", "ErrorImageFormat", "ErrorImageFormat", "ErrorImageSize"]
    );
    // Broken bodies.
    for (content_type, body) in [
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=\"imageData\"\r\n\r\nAB".to_vec(),
        ),
        ("multipart/form-data; boundary=x", Vec::new()),
        ("application/octet-stream", Vec::new()),
        ("application/json", b"{\"images\":[{\"contents\":\"AQ".to_vec()),
    ] {
        let path = if content_type == "application/json" { "images/files" } else { "images" };
        let request = Request::post(format!("{TRAINING}/projects/{project}/{path}"))
            .header("training-key", &someone.key)
            .header("content-type", content_type)
            .body(Body::from(body))
            .unwrap();
        let (status, _) = deployment.send(request).await;
        assert_eq!(status, 400, "{content_type}");
    }
    let (_, count) =
        deployment.train("GET", &someone.key, &format!("/projects/{project}/images/count"), None).await;
    assert_eq!(count, json!(1));
    for (method, path, body) in [
        ("POST", "/persons", json!({ "email": "no address" })),
        ("POST", "/persons", json!({ "email": 3 })),
        ("POST", "/persons", json!({ "email": "b@example.org", "unknown": 1 })),
        ("POST", "/erasures", json!({})),
    ] {
        let (status, answer) = deployment.operator(method, path, body).await;
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer["title"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_paths_that_are_none_are_refused_in_the_protocols_envelope() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    for (method, path, status, member, code) in [
        ("DELETE", "/api/privacy/v1/persons", 405, "/code", "method_not_allowed"),
        ("PUT", "/api/privacy/v1/openapi.json", 405, "/code", "method_not_allowed"),
        ("PUT", "/opendsr/v2/discovery", 405, "/error/errors/0/reason", "method_not_allowed"),
        ("GET", "/opendsr/v1/opengdpr_requests", 405, "/error/errors/0/reason", "method_not_allowed"),
        ("DELETE", "/v1.0/me", 405, "/error/code", "Request_BadRequest"),
        ("GET", "/oauth2/token", 405, "/error", "invalid_request"),
        ("GET", "/api/privacy/v1/persons/%ff", 400, "/code", "invalid"),
        ("GET", "/api/privacy/v1/persons/%C3/holdings", 400, "/code", "invalid"),
        ("GET", "/opendsr/v2/requests/%ff", 400, "/error/errors/0/reason", "invalid"),
        ("GET", "/v1.0/users/%ff", 400, "/error/code", "Request_BadRequest"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = deployment.server().router().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let allowed = response.headers().get("allow").map(|allowed| allowed.to_str().unwrap().to_owned());
        assert_eq!(allowed.is_some_and(|allowed| !allowed.is_empty()), status == 405, "{method} {path}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body.pointer(member), Some(&json!(code)), "{method} {path}: {body}");
    }
}

/// Images are stored as they come by. What comes after them may be wrong, and then they go again.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_at_its_end_leaves_no_file() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    deployment.image(&someone, &project, "kept.jpg", &image(1), &[]).await;
    let blobs = deployment.server().app().store().blobs().clone();
    let stored = async || blobs.list().map(|blob| blob.unwrap().id).collect::<Vec<_>>().await;
    let kept = stored().await;
    assert_eq!(kept.len(), 1);
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, image(2));
    let files = format!(r#"{{"images":[{{"contents":"{encoded}"}},{{"contents":"AQ"#).into_bytes();
    let mut parts = b"--x\r\nContent-Disposition: form-data; name=\"imageData\"\r\n\r\n".to_vec();
    parts.extend(image(3));
    parts.extend_from_slice(b"\r\n--x\r\nContent-Disposition: form-data; name=\"imageData\"\r\n\r\nAB");
    for (path, content_type, body) in
        [("images/files", "application/json", files), ("images", "multipart/form-data; boundary=x", parts)]
    {
        let request = Request::post(format!("{TRAINING}/projects/{project}/{path}"))
            .header("training-key", &someone.key)
            .header("content-type", content_type)
            .body(Body::from(body))
            .unwrap();
        assert_eq!(deployment.send(request).await.0, 400, "{path}");
    }
    while stored().await.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(stored().await, kept);
    let (_, report) = deployment.operator("GET", "/doctor?scan=true", Value::Null).await;
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{report}");
}
