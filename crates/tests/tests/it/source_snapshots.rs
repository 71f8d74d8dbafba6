//! Snapshots of source folders go with the last run that was made with them. By plain HTTP.

use axum::body::Body;
use axum::http::Request;
use habeas_core::kinds::{Run, RunDoc};
use habeas_core::node::Relation;
use habeas_core::{AttrKey, Id, Node, fault};
use habeas_store::Store;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::azure_data::send_form;
use crate::deployment::{Deployment, Someone, engines};
use crate::history::Historian;
use crate::mlflow::Tracker;

/// Makes a snapshot; its id ends with `last`.
async fn make(deployment: &Deployment, someone: &Someone, historian: &Historian<'_>, last: &str) -> String {
    let id = format!("aa10612b-db7f-44e1-8933-79c4bc76cda{last}");
    let list = json!({ "files": [] }).to_string();
    let path = historian.address(&format!("/content:/snapshots/{id}"));
    let (status, answer) = send_form(deployment, someone, &path, &[("dirTree", None, list.as_str())]).await;
    assert_eq!(status, 200, "{answer}");
    id
}

/// Makes a run that names a snapshot, as `azureml-core` does it once the snapshot is there.
async fn run(historian: &Historian<'_>, experiment: &str, id: &str, snapshot: &str) {
    historian.run(experiment, id).await;
    let body = json!({ "runId": id, "properties": { "ContentSnapshotId": snapshot } });
    historian.ok("PATCH", &format!("/experiments/{experiment}/runs/{id}"), body).await;
}

/// Whether a snapshot is there.
async fn is_there(historian: &Historian<'_>, snapshot: &str) -> bool {
    let path = format!("/content:/snapshots/{snapshot}/metadata");
    historian.call("GET", &path, json!(null)).await.0 == 200
}

/// How many of each kind a plan or a receipt says go.
fn counts(deleted: &Value) -> Vec<(&str, u64)> {
    let list = deleted.as_array().unwrap().iter();
    list.map(|one| (one["kind"].as_str().unwrap(), one["count"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_with_the_last_run_that_names_it() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        for experiment in ["roots", "stems"] {
            historian.experiment(experiment).await;
        }
        let leaves = historian.experiment("leaves").await;
        let mut snapshots = Vec::new();
        for last in ["1", "2", "3", "4", "5"] {
            snapshots.push(make(&deployment, &someone, &historian, last).await);
        }
        let [shared, across, own, aside, unnamed]: [String; 5] = snapshots.try_into().unwrap();
        for (experiment, id, snapshot) in [
            ("leaves", "r1", &shared),
            ("leaves", "r2", &shared),
            ("leaves", "r3", &across),
            ("roots", "r4", &across),
            ("leaves", "r5", &own),
            ("stems", "r6", &aside),
            ("stems", "r7", &aside),
        ] {
            run(&historian, experiment, id, snapshot).await;
        }
        let plan = async |path: &str| {
            let joint = if path.contains('?') { '&' } else { '?' };
            historian.ok("DELETE", &format!("{path}{joint}dryRun=true"), json!(null)).await
        };

        // While another run names it, it stays.
        assert_eq!(counts(&plan("/runs/r1").await["deletes"]), [("Run", 1)]);
        historian.ok("DELETE", "/runs/r1", json!(null)).await;
        assert!(is_there(&historian, &shared).await);
        let planned = plan("/runs/r2").await;
        let mut planned_counts = counts(&planned["deletes"]);
        planned_counts.sort_unstable();
        assert_eq!((planned_counts, &planned["selected"]), (vec![("Run", 1), ("Snapshot", 1)], &json!(null)));
        assert!(is_there(&historian, &shared).await);
        let token = deployment.token(&someone).await;
        let request = Request::delete(historian.address("/runs/r2"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let answer = deployment.server().router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!is_there(&historian, &shared).await);
        let receipt = answer.headers()["x-habeas-receipt"].to_str().unwrap();
        let (_, receipt) =
            deployment.call(Some(&token), "GET", &format!("/receipts/{receipt}"), json!(null)).await;
        assert_eq!(receipt["statement"]["deleted"], planned["deletes"], "{receipt}");

        // With an experiment go those that only its runs name.
        let path = format!("/experimentids/{leaves}");
        let planned = plan(&path).await;
        let mut planned_counts = counts(&planned["deletes"]);
        planned_counts.sort_unstable();
        assert_eq!(planned_counts, [("Experiment", 1), ("Run", 2), ("Snapshot", 1)]);
        historian.ok("DELETE", &path, json!(null)).await;
        assert!(!is_there(&historian, &own).await);
        assert!(is_there(&historian, &across).await);

        // A deletion by a filter counts what was selected without them.
        let path = "/experiments/roots/runs?$filter=RunId%20eq%20r4";
        let planned = plan(path).await;
        let mut planned_counts = counts(&planned["deletes"]);
        planned_counts.sort_unstable();
        assert_eq!((planned_counts, &planned["selected"]), (vec![("Run", 1), ("Snapshot", 1)], &json!(1)));
        historian.ok("DELETE", path, json!(null)).await;
        assert!(!is_there(&historian, &across).await);

        // A run that was put aside can be restored.
        historian.mlflow("POST", "/runs/delete", json!({ "run_id": "r6" })).await;
        historian.ok("DELETE", "/runs/r7", json!(null)).await;
        assert!(is_there(&historian, &aside).await);
        assert!(is_there(&historian, &unnamed).await);
    }
}

/// The run of this id, opened.
async fn opened(store: &Store, workspace: Id, run: &'static str) -> habeas_core::Result<Node<RunDoc>> {
    let found = store.read(move |tx| tx.contained_by_text::<Run>(workspace, AttrKey::RunId, run)).await?;
    Ok(found.unwrap())
}

/// Whoever opens the document of this run from now on fails. Nothing else may be written meanwhile.
async fn spoil(store: &Store, workspace: Id, run: &'static str) {
    fault::switch_off(&["sealing"]);
    let node = opened(store, workspace, run).await.unwrap();
    store.write(move |tx| tx.update::<Run>(&node).map(|_| ())).await.unwrap();
    fault::switch_off(&[]);
    assert!(opened(store, workspace, run).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_another_run_names_a_snapshot_is_looked_up_and_no_run_is_opened_for_it() {
    let _lock = crate::canary::alone().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        let path = format!(
            "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest\
             ?api-version=2020-08-01",
            someone.id
        );
        let tracker = Tracker::new(&deployment, &someone).await;
        let (_, shown) = tracker.send("GET", &path, &json!(null)).await;
        let workspace: Id = shown["properties"]["workspaceId"].as_str().unwrap().parse().unwrap();
        for experiment in ["leaves", "roots"] {
            historian.experiment(experiment).await;
        }
        let shared = make(&deployment, &someone, &historian, "1").await;
        let other = make(&deployment, &someone, &historian, "2").await;
        let own = make(&deployment, &someone, &historian, "3").await;
        for (experiment, id, snapshot) in [
            ("leaves", "r1", &shared),
            ("leaves", "r2", &shared),
            ("roots", "r3", &shared),
            ("leaves", "r4", &other),
            ("roots", "r5", &other),
            ("leaves", "r6", &own),
        ] {
            run(&historian, experiment, id, snapshot).await;
        }

        // A workspace from before runs declared it is indexed by the first deletion, or its plan.
        let disconnect = store.write(move |tx| tx.disconnect(workspace, workspace, Relation::Indexed));
        assert!(disconnect.await.unwrap());
        historian.ok("DELETE", "/runs/r1?dryRun=true", json!(null)).await;
        let indexed = store.read(move |tx| tx.count_targets(workspace, Relation::Indexed));
        assert_eq!(indexed.await.unwrap(), 1);
        historian.ok("DELETE", "/runs/r1", json!(null)).await;
        assert!(is_there(&historian, &shared).await);

        // The others could not even be opened, whether they name the same snapshot or another one.
        for other in ["r3", "r4", "r5"] {
            spoil(&store, workspace, other).await;
        }
        historian.ok("DELETE", "/runs/r2", json!(null)).await;
        assert!(is_there(&historian, &shared).await, "r3 names it");
        historian.ok("DELETE", "/runs/r6", json!(null)).await;
        assert!(!is_there(&historian, &own).await, "no other run names it");
    }
}
