//! Azure's control plane over workspaces, by plain HTTP.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::deployment::{Deployment, Someone, engines};

/// A person who calls the control plane.
pub(crate) struct Caller<'a> {
    deployment: &'a Deployment,
    pub(crate) token: String,
}

impl<'a> Caller<'a> {
    pub(crate) async fn new(deployment: &'a Deployment, someone: &Someone) -> Caller<'a> {
        let path = format!("/persons/{}/tokens", someone.id);
        let (_, issued) = deployment.operator("POST", &path, json!({})).await;
        Caller { deployment, token: issued["secret"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (StatusCode, Value) {
        let (status, _, answer) = self.send(method, path, headers, body).await;
        (status, answer)
    }

    /// The same, with the headers of the answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.deployment.server().router().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 30).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Makes something new.
    pub(crate) async fn make(&self, path: &str, body: Value) -> Value {
        let (status, made) = self.call("PUT", path, &[], body).await;
        assert_eq!(status, 201, "{path}: {made}");
        made
    }

    /// What is there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, found) = self.call("GET", path, &[], json!(null)).await;
        assert_eq!(status, 200, "{path}: {found}");
        found
    }
}

/// The names in a list.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    list["value"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// How much of each kind a plan deletes.
pub(crate) fn counts(plan: &Value) -> Vec<(&str, i64)> {
    let deletes = plan["deletes"].as_array().unwrap().iter();
    deletes.map(|one| (one["kind"].as_str().unwrap(), one["count"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_made_changed_listed_and_deleted() {
    let _lock = crate::canary::protected().await;
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
        settled["identity"]["principalId"] = json!("[id]");
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
        for path in [list.clone(), list.replace("/resourceGroups/Trees", "")] {
            assert_eq!(names(&caller.get(&format!("{path}{version}")).await), ["Forest"]);
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
            ("POST", at("Forest/diagnose")),
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
        // Nothing around a workspace can be wrong; `azureml-core` reads every one of the lists.
        let asked = json!({ "value": { "udr": {}, "others": {} } });
        let (status, found) = caller.call("POST", &at("Forest/diagnose"), &[], asked).await;
        let lists = [
            "UDR",
            "NSG",
            "ResourceLock",
            "DNSResolution",
            "StorageAccount",
            "KeyVault",
            "ContainerRegistry",
            "Others",
        ];
        assert_eq!(
            (status.as_u16(), found["value"].as_object().unwrap().len()),
            (200, lists.len()),
            "{found}"
        );
        assert!(lists.iter().all(|list| found["value"][list] == json!([])), "{found}");
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
        assert_eq!(counts(&plan), [("Workspace", 1), ("Experiment", 1), ("Run", 1)]);
        for expected in [200, 204] {
            assert_eq!(caller.call("DELETE", &at("Forest"), &[], json!(null)).await.0, expected);
        }
        let (status, answer) = caller
            .call("POST", &run, &[("content-type", "application/json")], json!({ "experiment_id": "0" }))
            .await;
        assert_eq!((status.as_u16(), &answer["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
    }
}
