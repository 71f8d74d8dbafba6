//! Deletions of Azure ML's data services that are only to be planned (`dryRun`): a plan, or a refusal, and nothing goes. By plain HTTP.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::artifacts::Team;
use crate::azure_data::{names, send_form};
use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;
use crate::model_management::Manager;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_asked_for_is_never_a_deletion() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        for path in ["outputs/a.txt", "outputs/b.txt"] {
            team.upload(path, b"12345").await;
        }
        let snapshot = "/content/v2.0@/snapshots/aa10612b-db7f-44e1-8933-79c4bc76cda8";
        let list = json!({ "files": [] }).to_string();
        let path = snapshot.replacen('@', &team.scope, 1);
        let (status, answer) =
            send_form(&deployment, &someone, &path, &[("dirTree", None, list.as_str())]).await;
        assert_eq!(status, 200, "{answer}");
        let store = json!({ "name": "images", "dataStoreType": "AzureBlob", "azureStorageSection": {} });
        team.ok("POST", "/datastore/v1.0@/datastores", store).await;
        // Its end is told by a notification.
        let run = "/history/v1.0@/experiments/Default/runs/r";
        team.ok("PATCH", run, json!({ "status": "Running", "tags": { "kind": "oak" } })).await;
        team.ok("PATCH", run, json!({ "status": "Completed" })).await;
        let jobs = format!("/notification/v1.0@/users/{}/jobs", someone.id);
        let job = team.ok("GET", &jobs, json!(null)).await["value"][0]["jobId"].as_str().unwrap().to_owned();
        let scope = team.ok("GET", "@?api-version=2018-03-01-preview", json!(null)).await;
        let workspace = scope["properties"]["workspaceId"].as_str().unwrap();

        let files = format!("ExperimentRun/dcid.{}", team.run);
        for (path, body) in [
            (format!("/artifact/v2.0@/artifacts/metadata/{files}/outputs/a.txt"), json!(null)),
            (format!("/artifact/v1.0/workspaces/{workspace}"), json!(null)),
            (snapshot.to_owned(), json!(null)),
            ("/datastore/v1.0@/datastores/images".to_owned(), json!(null)),
            ("/datastore/v1.0@/datastores".to_owned(), json!(null)),
            (jobs.clone(), json!(null)),
            (format!("{jobs}/{job}"), json!(null)),
            ("/notification/v1.0@/tasks".to_owned(), json!(null)),
            (format!("/notification/v1.0@/tasks/{job}"), json!(null)),
            (format!("{run}/tags"), json!(["kind"])),
        ] {
            for query in ["dryRun=true", "DryRun=True", "dryRun", "dryRun=perhaps"] {
                let (status, answer) = team.call("DELETE", &format!("{path}?{query}"), body.clone()).await;
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (400, &json!("UserError")),
                    "{path}: {answer}"
                );
            }
        }
        // Of a container, there is one.
        let container = format!("/artifact/v2.0@/artifacts/batch/{files}");
        for query in ["dryRun=true", "dryRun"] {
            let plan = team.ok("DELETE", &format!("{container}?{query}"), json!(null)).await;
            assert_eq!(
                (&plan["dryRun"], &plan["selected"], &plan["files"]),
                (&json!(true), &json!(2), &json!(2)),
                "{plan}"
            );
        }
        let stranger = deployment.person("b@example.org", "B").await;
        let path = format!("{container}?dryRun=true").replacen('@', &team.scope, 1);
        let token = deployment.token(&stranger).await;
        let request = Request::delete(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(deployment.send(request).await.0, 404);

        // All of it is there.
        let listed = format!("/artifact/v2.0@/artifacts/{files}");
        assert_eq!(names(&team.ok("GET", &listed, json!(null)).await, "path").len(), 2);
        team.ok("GET", &format!("{snapshot}/metadata"), json!(null)).await;
        team.ok("GET", "/datastore/v1.0@/datastores/images", json!(null)).await;
        assert_eq!(names(&team.ok("GET", &jobs, json!(null)).await, "jobId"), [job]);
        assert_eq!(team.ok("GET", run, json!(null)).await["tags"]["kind"], "oak");
        // And goes where it is said that no plan is meant.
        team.ok("DELETE", &format!("{container}?dryRun=false"), json!(null)).await;
        assert_eq!(team.ok("GET", &listed, json!(null)).await["value"], json!([]));
    }
}

/// What a plan counts of a kind.
fn count(plan: &Value, kind: &str) -> Option<u64> {
    let deletes = plan["deletes"].as_array().unwrap();
    deletes.iter().find(|one| one["kind"] == kind).map(|one| one["count"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_with_what_was_made_from_it_is_planned() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let manager = Manager::of_account(&deployment, &someone, "mma", "2017-09-01-preview").await;
        let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
        let model = json!({ "name": "trees", "url": "https://store.example/trees.pkl", "mimeType": "application/x", "unpack": true });
        let model = id(&manager.ok("POST", "/models", model).await);
        let manifest = json!({ "name": "trees", "modelIds": [model], "driverProgram": "score.py",
            "targetRuntime": { "runtimeType": "Python", "properties": {} } });
        let manifest = id(&manager.ok("POST", "/manifests", manifest).await);
        let cluster = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningCompute/operationalizationClusters/c";
        let image = json!({ "name": "trees", "manifestId": manifest, "computeResourceId": cluster, "imageType": "Docker" });
        let image = manager.waited("POST", "/images", image).await;
        let service = json!({ "name": "trees", "imageId": image, "computeResource": { "id": cluster, "type": "Cluster" } });
        let service = manager.waited("POST", "/services", service).await;
        let delete = async |path: &str, query: &str| {
            let answer = manager.call("DELETE", &format!("{path}?{query}"), json!(null)).await;
            (answer.status, answer.body)
        };

        // What stands in the way does so in a plan, too; with `cascade=true` it is counted.
        let paths = [
            format!("/models/{model}"),
            format!("/manifests/{manifest}"),
            format!("/images/{image}"),
            format!("/services/{service}"),
        ];
        for (index, path) in paths.iter().enumerate() {
            let (status, answer) = delete(path, "dryRun=true").await;
            if index < 3 {
                assert_eq!((status, &answer["code"]), (409, &json!("InUse")), "{path}: {answer}");
            } else {
                assert_eq!((status, &answer["selected"]), (200, &json!(1)), "{path}: {answer}");
            }
            for query in ["cascade=true&dryRun=true", "cascade=true&dryRun"] {
                let (status, plan) = delete(path, query).await;
                assert_eq!((status, &plan["dryRun"]), (200, &json!(true)), "{path}: {plan}");
                assert_eq!(plan["selected"], 4 - index, "{path}: {plan}");
                let counted =
                    ["ModelVersion", "Manifest", "ContainerImage", "Service"].map(|kind| count(&plan, kind));
                for (kind, counted) in counted.into_iter().enumerate() {
                    assert_eq!(counted, (kind >= index).then_some(1), "{path}: {plan}");
                }
            }
            let (status, answer) = delete(path, "cascade=true&dryRun=perhaps").await;
            assert_eq!((status, &answer["code"]), (400, &json!("BadArgument")), "{path}: {answer}");
        }
        for path in &paths {
            manager.ok("GET", path, json!(null)).await;
        }
        assert_eq!(delete(&paths[0], "cascade=true&dryRun=false").await.0, 200);
        for path in &paths {
            assert_eq!(manager.call("GET", path, json!(null)).await.status, 404, "{path}");
            assert_eq!(delete(path, "dryRun=true").await.0, 204, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_a_refusal_leave_the_aliases_of_a_version() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let manager = Manager::of_workspace(&deployment, &someone, "Forest").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let alias = format!(
            "/mlflow/v2.0/subscriptions/{}/resourceGroups/Models/providers/Microsoft.MachineLearningServices/workspaces/Forest/api/2.0/mlflow/registered-models/alias",
            someone.id
        );
        for _ in 0..2 {
            let model = json!({ "name": "m", "url": "https://store.example/m.pkl", "mimeType": "application/x", "unpack": false });
            manager.ok("POST", "/models", model).await;
        }
        let body = json!({ "name": "m", "alias": "best", "version": "1" });
        let (status, answer) = tracker.send("POST", &alias, &body).await;
        assert_eq!(status, 200, "{answer}");
        let named = async || {
            let path = format!("{alias}?name=m&alias=best");
            tracker.send("GET", &path, &json!(null)).await.0
        };

        let plan = manager.ok("DELETE", "/models/m:1?dryRun=true", json!(null)).await;
        assert_eq!((&plan["selected"], count(&plan, "ModelVersion")), (&json!(1), Some(1)), "{plan}");
        assert_eq!(named().await, 200);
        let image = json!({ "name": "i", "driverProgram": "score.py", "modelIds": ["m:1"], "imageType": "Docker",
            "targetRuntime": { "runtimeType": "Python", "properties": {} }, "imageRequestTypeDiscriminator": "DockerImageRequest" });
        manager.waited("POST", "/images", image).await;
        assert_eq!(manager.call("DELETE", "/models/m:1", json!(null)).await.status, 409);
        assert_eq!(named().await, 200);
        // With the version, its alias goes.
        manager.ok("DELETE", "/models/m:1?cascade=true", json!(null)).await;
        assert_ne!(named().await, 200);
        manager.ok("GET", "/models/m:2", json!(null)).await;

        // No plan is made of an asset.
        let asset = json!({ "name": "a", "artifacts": [{ "prefix": "LocalUpload/1/m.pkl" }] });
        let asset = manager.ok("POST", "/assets", asset).await;
        let asset = format!("/assets/{}", asset["id"].as_str().unwrap());
        for query in ["dryRun=true", "dryRun"] {
            let answer = manager.call("DELETE", &format!("{asset}?{query}"), json!(null)).await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("BadArgument")));
        }
        manager.ok("GET", &asset, json!(null)).await;
    }
}
