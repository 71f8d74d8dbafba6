//! Azure's control plane over workspaces, by plain HTTP.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};

/// A person who calls the control plane.
struct Caller<'a> {
    deployment: &'a Deployment,
    token: String,
}

impl<'a> Caller<'a> {
    async fn new(deployment: &'a Deployment, someone: &Someone) -> Caller<'a> {
        let path = format!("/persons/{}/tokens", someone.id);
        let (_, issued) = deployment.operator("POST", &path, json!({})).await;
        Caller { deployment, token: issued["secret"].as_str().unwrap().to_owned() }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.deployment.send(request.body(body).unwrap()).await;
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_made_changed_listed_and_deleted() {
    let _lock = crate::canary::exclusively().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = Caller::new(&deployment, &someone).await;
        let group = format!("/subscriptions/{}/resourceGroups/Trees", someone.id);
        let list = format!("{group}/providers/Microsoft.MachineLearningServices/workspaces");
        let at = |name: &str| format!("{list}/{name}?api-version=2018-03-01-preview");
        let body = json!({ "location": "here", "tags": { "a": "b" }, "properties": { "friendlyName": "Wood",
            "keyVault": "/subscriptions/x" } });
        let (status, made) = caller.call("PUT", &at("Forest"), &[], body).await;
        assert_eq!(status, 201, "{made}");
        let settled = made.to_string().replace(&someone.id, "[holder]");
        let mut settled: Value = serde_json::from_str(&settled).unwrap();
        for (name, value) in [("workspaceId", "[id]"), ("creationTime", "[time]")] {
            settled["properties"][name] = json!(value);
        }
        insta::assert_json_snapshot!("a_workspace", settled);
        // Literals and names in any case; the first spelling stays.
        let shouted =
            at("FOREST").replace("resourceGroups", "RESOURCEGROUPS").replace("workspaces", "Workspaces");
        assert_eq!(caller.call("GET", &shouted, &[], json!(null)).await, (StatusCode::OK, made.clone()));

        // Changes that hold for one version only.
        let etag = made["etag"].as_str().unwrap();
        let change = json!({ "tags": { "c": "d" } });
        let (status, changed) =
            caller.call("PATCH", &at("Forest"), &[("if-match", etag)], change.clone()).await;
        assert_eq!((status.as_u16(), &changed["tags"]), (200, &json!({ "c": "d" })));
        let (status, refused) = caller.call("PATCH", &at("Forest"), &[("if-match", etag)], change).await;
        assert_eq!((status.as_u16(), &refused["error"]["code"]), (412, &json!("PreconditionFailed")));
        let body = json!({ "location": "here" });
        let (status, _) = caller.call("PUT", &at("Forest"), &[("if-none-match", "*")], body.clone()).await;
        assert_eq!(status, 412);
        let (status, _) = caller.call("PUT", &at("Other"), &[("if-match", "*")], body.clone()).await;
        assert_eq!(status, 412);
        let (status, again) = caller.call("PUT", &at("Forest"), &[], body).await;
        assert_eq!((status.as_u16(), &again["tags"]), (200, &json!({ "c": "d" })));

        // What is asked for wrongly is told.
        for (method, path, body, code) in [
            (
                "GET",
                at("Forest").replace("?api-version=2018-03-01-preview", ""),
                json!(null),
                "MissingApiVersionParameter",
            ),
            ("GET", at("Forest").replace("2018", "1918"), json!(null), "InvalidApiVersionParameter"),
            ("PUT", at("Other"), json!({}), "LocationRequired"),
            ("PUT", at("Other"), json!([]), "InvalidRequestContent"),
            ("PUT", at("Other"), json!({ "location": "x", "tags": [] }), "InvalidRequestContent"),
            ("PUT", at("a%20b"), json!({ "location": "x" }), "InvalidResourceName"),
            ("GET", at("None"), json!(null), "ResourceNotFound"),
            ("GET", at("Forest").replace(&someone.id, "x"), json!(null), "SubscriptionNotFound"),
            ("GET", format!("{group}None?api-version=2020-08-01"), json!(null), "ResourceGroupNotFound"),
        ] {
            let (status, answer) = caller.call(method, &path, &[], body).await;
            assert!(status.is_client_error(), "{method} {path}");
            assert_eq!(answer["error"]["code"], code, "{method} {path}: {answer}");
        }

        // Lists, of which a stranger sees nothing.
        let version = "?api-version=2020-08-01";
        let names = |answer: &Value| -> Vec<String> {
            answer["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned())
                .collect()
        };
        for path in [list.clone(), list.replace("/resourceGroups/Trees", "")] {
            assert_eq!(
                names(&caller.call("GET", &format!("{path}{version}"), &[], json!(null)).await.1),
                ["Forest"]
            );
        }
        let (_, groups) = caller
            .call("GET", &format!("/subscriptions/{}/resourceGroups{version}", someone.id), &[], json!(null))
            .await;
        assert_eq!(names(&groups), ["Trees"]);
        let other = deployment.person("b@example.org", "B").await;
        let stranger = Caller::new(&deployment, &other).await;
        for (method, path) in [
            ("GET", at("Forest")),
            ("PATCH", at("Forest")),
            ("PUT", at("Forest")),
            ("GET", format!("{list}{version}")),
            ("GET", format!("{group}{version}")),
            ("GET", format!("/subscriptions/{}{version}", someone.id)),
            ("POST", at("Forest/listKeys")),
            ("POST", at("Forest/resyncKeys")),
        ] {
            let (status, answer) = stranger.call(method, &path, &[], json!({ "location": "x" })).await;
            assert_eq!(
                (status.as_u16(), &answer["error"]["code"]),
                (404, &json!("SubscriptionNotFound")),
                "{method} {path}"
            );
            let request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 401, "{method} {path}");
        }
        assert_eq!(stranger.call("DELETE", &at("Forest"), &[], json!(null)).await.0, 204);
        let (_, subscriptions) =
            stranger.call("GET", &format!("/subscriptions{version}"), &[], json!(null)).await;
        assert_eq!(subscriptions["value"].as_array().unwrap().len(), 1);

        // First what would go, then that it went.
        let run = format!("/mlflow/v2.0{list}/forest/api/2.0/mlflow/runs/create");
        let (status, answer) = caller
            .call("POST", &run, &[("content-type", "application/json")], json!({ "experiment_id": "0" }))
            .await;
        assert_eq!(status, 200, "{answer}");
        let (_, plan) =
            caller.call("DELETE", &format!("{}&dryRun=true", at("Forest")), &[], json!(null)).await;
        let gone: Vec<(&str, i64)> = plan["deletes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["kind"].as_str().unwrap(), one["count"].as_i64().unwrap()))
            .collect();
        assert_eq!(gone, [("Workspace", 1), ("Experiment", 1), ("Run", 1)]);
        for expected in [200, 204] {
            assert_eq!(caller.call("DELETE", &at("Forest"), &[], json!(null)).await.0, expected);
        }
        let (status, answer) = caller
            .call("POST", &run, &[("content-type", "application/json")], json!({ "experiment_id": "0" }))
            .await;
        assert_eq!((status.as_u16(), &answer["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
    }
}
