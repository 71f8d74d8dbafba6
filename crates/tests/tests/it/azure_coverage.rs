//! Every operation of Azure ML's control plane, and of its services for files, for every caller: anonymous, another person, a privacy officer,
//! the owner.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::arm::Caller;
use crate::artifacts::Team;
use crate::control_plane::World;
use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;
use crate::operations::assert_all_called;

/// Every operation beside run history, on what the owner's world has; the last ones put it away.
fn artifact_operations(owner: &str, team: &Team<'_>, made: &Made) -> Vec<(&'static str, String, Value)> {
    let run = &team.run;
    let Made { workspace, asset, jobs } = made;
    let [first, second, third, _] = jobs;
    let snapshot = "aa10612b-db7f-44e1-8933-79c4bc76cda8";
    let at =
        |method: &'static str, path: String, body: Value| (method, path.replacen('@', &team.scope, 1), body);
    let get = |path: String| at("GET", path, json!(null));
    let delete = |path: String| at("DELETE", path, json!(null));
    let paths = json!({ "paths": [{ "path": "other" }] });
    let tree = json!({ "DirTreeNode": { "children": {} } });
    let store = json!({ "name": "s", "dataStoreType": "AzureBlob" });
    vec![
        at("POST", format!("/artifact/v2.0@/artifacts/content/ExperimentRun/{run}/a/b"), json!("text")),
        get(format!("/artifact/v2.0@/artifacts/content/ExperimentRun/{run}/a/b")),
        get(format!("/artifact/v2.0@/artifacts/contentinfo/ExperimentRun/{run}/a/b")),
        get(format!("/artifact/v2.0@/artifacts/metadata/ExperimentRun/{run}/a/b")),
        get(format!("/artifact/v2.0@/artifacts/write/ExperimentRun/{run}/a/b")),
        get(format!("/artifact/v2.0@/artifacts/ExperimentRun/{run}")),
        get(format!("/artifact/v2.0@/artifacts/ExperimentRun/{run}/a")),
        get(format!("/artifact/v1.0@/artifacts/origins/ExperimentRun/containers/{run}")),
        get(format!("/artifact/v1.0@/artifacts/origins/ExperimentRun/containers/{run}/a")),
        get(format!("/artifact/v2.0@/artifacts/prefix/contentinfo/ExperimentRun/{run}")),
        get(format!("/artifact/v2.0@/artifacts/prefix/contentinfo/ExperimentRun/{run}/a")),
        at(
            "POST",
            "/artifact/v2.0@/artifacts/metadata".into(),
            json!({ "origin": "O", "container": "c", "path": "p" }),
        ),
        at("POST", format!("/artifact/v2.0@/artifacts/batch/metadata/ExperimentRun/{run}"), paths.clone()),
        get(format!("/history/v1.0@/runs/{run}/artifacts")),
        get(format!("/history/v1.0@/runs/{run}/artifacturi?name=a/b")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/path/a")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/artifacturi/a/b")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/contentinfo/a/b")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/metadata/a/b")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/prefix/contentinfo")),
        get(format!("/history/v1.0@/runs/{run}/artifacts/prefix/contentinfo/a")),
        at("POST", format!("/artifact/v2.0@/artifacts/ExperimentRun/{run}/batch/metadata"), paths.clone()),
        get(format!("/artifact/v2.0@/artifacts/ExperimentRun/{run}/contentinfo?path=a/b")),
        at("POST", format!("/history/v1.0@/runs/{run}/artifacts/batch/metadata"), paths),
        at(
            "POST",
            format!("/artifact/v1.0@/artifacts/asset/ExperimentRun/{run}/a/b"),
            json!({ "name": "x" }),
        ),
        at("PUT", format!("/artifact/v1.0@/artifacts/asset/ExperimentRun/{run}/a/b"), json!({ "name": "x" })),
        get("/artifact/v1.0@/assets".into()),
        get("/artifact/v1.0@/assets/name/x".into()),
        get("/artifact/v1.0@/assets/name/x/versions".into()),
        get("/artifact/v1.0@/assets/name/x/versions/1".into()),
        get(format!("/artifact/v1.0@/assets/id/{asset}")),
        get(format!("/artifact/v1.0@/assets/id/{asset}/versions")),
        get(format!("/artifact/v1.0@/assets/id/{asset}/versions/1")),
        get("/content/v1.0@/snapshots/latest/metadata".into()),
        at("POST", "/content/v2.0@/snapshots/getblob".into(), json!({ "FileNames": ["a"] })),
        at("POST", format!("/content/v2.0@/snapshots/{snapshot}"), tree),
        at("POST", "/content/v2.0@/snapshots/uri/b".into(), json!({ "uri": "x" })),
        at("POST", format!("/content/v2.0@/snapshots/{snapshot}/zip"), json!(null)),
        get(format!("/content/v1.0@/snapshots/{snapshot}")),
        get(format!("/content/v1.0@/snapshots/{snapshot}/metadata")),
        get(format!("/content/v1.0@/snapshots/{snapshot}/fileslocation")),
        get(format!("/content/v1.0@/snapshots/{snapshot}/sas")),
        get(format!("/content/v1.0@/snapshots/{snapshot}/storageurls")),
        get(format!("/content/v1.0@/snapshots/diff?snapshotId1={snapshot}&snapshotId2={snapshot}")),
        at(
            "POST",
            format!("/content/v1.0@/snapshots/diff?parentSnapshotId={snapshot}"),
            json!({ "files": [] }),
        ),
        at("POST", "/datastore/v1.0@/datastores".into(), store.clone()),
        at("PUT", "/datastore/v1.0@/datastores/s".into(), store),
        at("PUT", "/datastore/v1.0@/default/s".into(), json!(null)),
        get("/datastore/v1.0@/datastores".into()),
        get("/datastore/v1.0@/datastores/s".into()),
        get("/datastore/v1.0@/default".into()),
        get(format!("/notification/v1.0@/users/{owner}/jobs")),
        get("/notification/v1.0@/tasks".into()),
        get(format!("/notification/v1.0@/tasks/{first}")),
        delete(format!("/notification/v1.0@/tasks/{first}")),
        delete(format!("/notification/v1.0@/users/{owner}/jobs/{second}")),
        delete(format!("/notification/v1.0@/users/{owner}/jobs/{third}")),
        delete("/notification/v1.0@/tasks".into()),
        delete("/datastore/v1.0@/datastores/s".into()),
        delete("/datastore/v1.0@/datastores".into()),
        delete(format!("/content/v1.0@/snapshots/{snapshot}")),
        delete(format!("/artifact/v2.0@/artifacts/metadata/ExperimentRun/{run}/a/b")),
        delete(format!("/artifact/v2.0@/artifacts/batch/ExperimentRun/{run}")),
        delete(format!("/artifact/v1.0/workspaces/{workspace}")),
    ]
}

/// What the operations are tried on, besides the run.
struct Made {
    /// The workspace's id.
    workspace: String,
    asset: String,
    /// Notifications of the owner, each of a run that has ended.
    jobs: [String; 4],
}

impl Made {
    async fn new(team: &Team<'_>) -> Made {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (_, workspace) = team.call("GET", "@?api-version=2018-03-01-preview", json!(null)).await;
        let file = format!("/artifact/v2.0@/artifacts/content/ExperimentRun/{}/c/d", team.run);
        team.ok("POST", &file, json!("text")).await;
        let asset = file.replace("v2.0", "v1.0").replace("/content/", "/asset/");
        let asset = team.ok("POST", &asset, json!({ "name": "y" })).await;
        for _ in 0..4 {
            let runs = "/mlflow/v2.0@/api/2.0/mlflow/runs";
            let run = team
                .ok("POST", &format!("{runs}/create"), json!({ "experiment_id": "0", "start_time": 1 }))
                .await;
            let end = json!({ "run_id": run["run"]["info"]["run_id"], "status": "FINISHED" });
            team.ok("POST", &format!("{runs}/update"), end).await;
        }
        let told = team.ok("GET", "/notification/v1.0@/tasks", json!(null)).await;
        let jobs = [0, 1, 2, 3].map(|job| text(&told["value"][job]["jobId"]));
        Made {
            workspace: text(&workspace["properties"]["workspaceId"]),
            asset: text(&asset["assetId"]),
            jobs,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_artifact_operation_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let officer = deployment.person("officer@example.org", "Officer").await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
        let team = Team::new(&deployment, &owner).await;
        let operations = artifact_operations(&owner.id, &team, &Made::new(&team).await);
        // Its container is elsewhere: here only who may ask for it at all.
        let ingest = format!(
            "/artifact/v2.0{}/artifacts/batch/ingest/containersas/ExperimentRun/{}",
            team.scope, team.run
        );
        for someone in [&other, &officer] {
            let stranger = Tracker::new(&deployment, someone).await;
            for (method, path, body) in &operations {
                let (status, answer) = stranger.send(method, path, body).await;
                let code = answer["error"]["code"].as_str();
                assert_eq!((status, code), (404, Some("UserError")), "{method} {path}: {answer}");
            }
            assert_eq!(stranger.send("POST", &ingest, &json!({})).await.0, 404);
        }
        assert_eq!(deployment.send(Request::post(&ingest).body(Body::empty()).unwrap()).await.0, 401);
        let tracker = Tracker::new(&deployment, &owner).await;
        for (method, path, body) in &operations {
            let request = Request::builder().method(*method).uri(path).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 401, "anonymous {method} {path}");
            let (status, answer) = tracker.send(method, path, body).await;
            assert_eq!(status, 200, "{method} {path}: {answer}");
        }
        assert_eq!(tracker.send("POST", &ingest, &json!({})).await.0, 400);
        assert_all_called(&mut deployment, &owner, "artifacts").await;
    }
}

/// Every operation of Azure's control plane on what the owner has, with the status of its answer; the last ones delete it. `made` is the id of
/// something there.
fn control_operations(world: &World, made: &str) -> Vec<(&'static str, String, Value, u16)> {
    let World { subscription, account, workspace, project, hosting, cluster, services, compute } = world;
    let [experiments, management, clusters, machines] =
        ["2017-05-01-preview", "2017-09-01-preview", "2017-08-01-preview", "2018-03-01-preview"];
    let at = |path: &str, version: &str| format!("{path}?api-version={version}");
    let list = |path: &str| path.rsplit_once('/').unwrap().0.to_owned();
    let get = |path: &str, version: &str| ("GET", at(path, version), json!(null), 200);
    let post = |path: &str, version: &str, body: Value| ("POST", at(path, version), body, 200);
    let mut operations = vec![
        get(subscription, "2021-04-01"),
        get(&format!("{subscription}/resourceGroups"), "2021-04-01"),
        get(&format!("{subscription}/resourceGroups/Trees"), "2021-04-01"),
        (
            "PUT",
            at(&format!("{subscription}/resourceGroups/Trees"), "2021-04-01"),
            json!({ "location": "here" }),
            200,
        ),
        get(&format!("{subscription}/resources"), "2021-04-01"),
        get(&format!("{subscription}/providers"), "2021-04-01"),
    ];
    let whole = crate::control_plane::experimentation("x")[0].1.clone();
    let instance = json!({ "location": "here", "properties": { "computeType": "ComputeInstance" } });
    for (path, version, body) in [
        (account, experiments, whole.clone()),
        (workspace, experiments, whole.clone()),
        (project, experiments, whole),
        (hosting, management, json!({ "location": "here", "sku": { "name": "S1", "capacity": 1 } })),
        (cluster, clusters, crate::control_plane::cluster()),
        (services, machines, json!({ "location": "here" })),
        (compute, machines, instance),
    ] {
        operations.push(get(path, version));
        operations.push(get(&list(path), version));
        operations.push(("PATCH", at(path, version), json!({ "tags": { "a": "b" } }), 200));
        operations.push(("PUT", at(path, version), body, 200));
    }
    for (path, version) in
        [(account, experiments), (hosting, management), (cluster, clusters), (services, machines)]
    {
        let (below, rest) = path.split_once("/resourceGroups/Trees").unwrap();
        operations.push(get(&format!("{below}{}", list(rest)), version));
        let provider = format!("{below}{}", rest.split('/').take(3).collect::<Vec<_>>().join("/"));
        operations.push(get(&provider, version));
        operations.push(post(&format!("{provider}/register"), version, json!(null)));
        let name = json!({ "name": "Name", "type": list(rest).rsplit_once('/').unwrap().1 });
        operations.push(post(&format!("{provider}/checkNameAvailability"), version, name));
        for what in ["operationsStatus", "operationResults"] {
            operations.push(get(&format!("{provider}/{what}/{made}"), version));
        }
    }
    for action in [
        "listKeys",
        "checkSystemServicesUpdatesAvailable",
        "updateSystemServices",
        "checkUpdate",
        "updateSystem",
    ] {
        operations.push(post(&format!("{cluster}/{action}"), clusters, json!(null)));
    }
    for action in ["listKeys", "resyncKeys", "diagnose"] {
        operations.push(post(&format!("{services}/{action}"), machines, json!(null)));
    }
    for action in ["listKeys", "listNodes", "start", "stop", "restart"] {
        operations.push(post(&format!("{compute}/{action}"), machines, json!(null)));
    }
    let name = json!({ "Name": "New", "Type": "Microsoft.BatchAI/DataScienceInstance" });
    operations.push(post(&format!("{services}/checkComputeNameAvailability"), machines, name));
    operations.push(("POST", at(compute, machines), json!(null), 202));
    let provider = format!("{subscription}/providers/Microsoft.MachineLearningServices");
    for what in ["locations/here/usages", "locations/here/vmSizes", "locations/here/quotas", "workspaceSkus"]
    {
        operations.push(get(&format!("{provider}/{what}"), machines));
    }
    for (path, version, status) in [
        (compute, machines, 202),
        (services, machines, 200),
        (cluster, clusters, 202),
        (hosting, management, 200),
        (project, experiments, 200),
        (workspace, experiments, 200),
        (account, experiments, 200),
    ] {
        operations.push(("DELETE", at(path, version), json!(null), status));
    }
    operations
}

/// What anybody may ask who has signed in: the answers have nothing of others.
const OPEN: [&str; 2] = [
    "/subscriptions?api-version=2021-04-01",
    "/providers/Microsoft.MachineLearningServices/operations?api-version=2018-03-01-preview",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_control_plane_refuses_strangers() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Owner").await;
        let other = deployment.person("other@example.org", "Other").await;
        let officer = deployment.person("officer@example.org", "Officer").await;
        let role = json!({ "role": "privacyOfficer", "granted": true });
        assert_eq!(deployment.operator("PUT", &format!("/persons/{}/role", officer.id), role).await.0, 204);
        let caller = Caller::new(&deployment, &owner).await;
        let world = World::make(&caller, &owner.id).await;
        let shown = caller.get(&format!("{}?api-version=2018-03-01-preview", world.services)).await;
        let operations = control_operations(&world, shown["properties"]["workspaceId"].as_str().unwrap());
        for someone in [&other, &officer] {
            let stranger = Caller::new(&deployment, someone).await;
            for (method, path, body, _) in &operations {
                let (status, answer) = stranger.call(method, path, &[], body.clone()).await;
                // What one may not see is not there, and a deletion of that has nothing to do.
                let expected =
                    if *method == "DELETE" { (204, None) } else { (404, Some("SubscriptionNotFound")) };
                assert_eq!(
                    (status.as_u16(), answer["error"]["code"].as_str()),
                    expected,
                    "{method} {path}: {answer}"
                );
            }
            for path in OPEN {
                assert!(!stranger.get(path).await.to_string().contains(&owner.id), "{path}");
            }
        }
        let all = operations.iter().map(|(method, path, ..)| (*method, path.as_str()));
        for (method, path) in all.chain(OPEN.map(|path| ("GET", path))) {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            assert_eq!(deployment.send(request).await.0, 401, "{method} {path}");
        }
        for path in OPEN {
            caller.get(path).await;
        }
        for (method, path, body, expected) in &operations {
            let (status, answer) = caller.call(method, path, &[], body.clone()).await;
            assert_eq!(status, *expected, "{method} {path}: {answer}");
        }
        assert_all_called(&mut deployment, &owner, "arm").await;
    }
}
