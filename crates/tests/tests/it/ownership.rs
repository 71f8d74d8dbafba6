//! Whose things are: who takes over what a request erases, and workspaces that are handed over.

use std::time::Duration;

use habeas_core::kinds::Workspace;
use habeas_core::{Ambient, Id};
use habeas_store::{Options, Page, RootKeySource, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;

/// An organisation; its id.
async fn organisation(deployment: &Deployment, owner: &Someone, name: &str) -> String {
    let body = json!({ "name": name, "owner": owner.id });
    let (status, made) = deployment.operator("POST", "/organisations", body).await;
    assert_eq!(status, 201, "{made}");
    made["objectId"].as_str().unwrap().to_owned()
}

async fn grant(deployment: &Deployment, person: &Someone, role: &str) {
    let path = format!("/persons/{}/role", person.id);
    let body = json!({ "role": role, "granted": true });
    assert_eq!(deployment.operator("PUT", &path, body).await.0, 204);
}

async fn in_state(deployment: &Deployment, request: &str, state: &str) -> Value {
    loop {
        let (_, report) = deployment.operator("GET", &format!("/requests/{request}"), json!(null)).await;
        if report["state"] == state {
            return report;
        }
        assert!(report["state"] != "failed", "{report}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_takes_over_and_what_is_deleted() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (officer, second) = (deployment.officer("officer").await, deployment.officer("second").await);
        let leaving = deployment.person("leaving@example.org", "Leaving").await;
        let staying = deployment.person("staying@example.org", "Staying").await;
        let shared = organisation(&deployment, &leaving, "Shared").await;
        let alone = organisation(&deployment, &leaving, "Alone").await;
        let foreign = organisation(&deployment, &staying, "Foreign").await;
        let member = format!("/organisations/{shared}/members/{}", staying.id);
        assert_eq!(deployment.operator("PUT", &member, json!({ "role": "reader" })).await.0, 204);
        let administrator = deployment.person("administrator@example.org", "A").await;
        grant(&deployment, &administrator, "administrator").await;
        let administrator = deployment.token(&administrator).await;

        let asked = json!({ "type": "erasure", "identity": "document" });
        let path = format!("/persons/{}/requests", leaving.id);
        let (_, request) = deployment.call(Some(&officer), "POST", &path, asked).await;
        let request = request["id"].as_str().unwrap();
        let path = format!("/requests/{request}");
        let (_, plan) = deployment.call(Some(&second), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(plan["plan"]["choices"].as_array().unwrap().len(), 2, "{plan}");
        assert_eq!(plan["plan"]["blocked"].as_array().unwrap().len(), 2, "{plan}");
        let approve = format!("{path}/approve");
        let digest = |plan: &Value| json!({ "digest": plan["plan"]["digest"] });
        assert_eq!(deployment.call(Some(&second), "POST", &approve, digest(&plan)).await.0, 409);

        let decide = format!("{path}/decisions");
        let decisions =
            json!({ "successors": [{ "resource": shared, "person": staying.id }], "deletions": [alone] });
        // A privacy officer could otherwise give things away.
        let (status, refused) = deployment.call(Some(&officer), "PUT", &decide, decisions.clone()).await;
        assert_eq!(status, 403, "{refused}");
        for wrong in [
            json!({ "successors": [{ "resource": foreign, "person": staying.id }] }),
            json!({ "successors": [{ "resource": shared, "person": leaving.id }] }),
            json!({ "deletions": [foreign] }),
            json!({ "successors": [{ "resource": alone, "person": staying.id }], "deletions": [alone] }),
            json!({ "deletions": ["00000000-0000-0000-0000-000000000000"] }),
        ] {
            let (status, answer) = deployment.call(Some(&administrator), "PUT", &decide, wrong.clone()).await;
            assert_eq!(status, 400, "{wrong}: {answer}");
        }
        let (status, plan) = deployment.call(Some(&administrator), "PUT", &decide, decisions).await;
        assert_eq!((status.as_u16(), &plan["plan"]["blocked"]), (200, &json!([])), "{plan}");
        let (status, approved) = deployment.call(Some(&second), "POST", &approve, digest(&plan)).await;
        assert_eq!(status, 200, "{approved}");
        let ended = in_state(&deployment, request, "completed").await;
        assert!(ended["history"].as_array().unwrap().iter().any(|entry| entry["event"] == "decided"));
        assert_eq!(deployment.call(Some(&administrator), "PUT", &decide, json!({})).await.0, 409);
        let members = format!("/organisations/{shared}/members");
        let (_, members) = deployment.operator("GET", &members, json!(null)).await;
        assert_eq!(
            members.as_array().unwrap().iter().map(|one| (&one["person"], &one["role"])).collect::<Vec<_>>(),
            [(&json!(staying.id), &json!("owner"))]
        );
        let gone = format!("/organisations/{alone}/members");
        while deployment.operator("GET", &gone, json!(null)).await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let kept = format!("/organisations/{foreign}/members");
        assert_eq!(deployment.operator("GET", &kept, json!(null)).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_names_a_successor_in_their_own_request() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let last = deployment.person("last@example.org", "Last").await;
        let next = deployment.person("next@example.org", "Next").await;
        grant(&deployment, &last, "administrator").await;
        let token = deployment.token(&last).await;
        let ask = async |decisions: Value| {
            let body = json!({ "type": "erasure", "confirm": last.email, "decisions": decisions });
            deployment.call(Some(&token), "POST", "/persons/me/requests", body).await
        };
        let nobody =
            json!({ "successors": [{ "resource": Id::NIL.to_string(), "person": Id::NIL.to_string() }] });
        assert_eq!(ask(nobody).await.0, 400);
        // Without a successor it waits, and the plan says for what.
        let (status, request) = ask(json!({})).await;
        assert_eq!((status.as_u16(), &request["state"]), (201, &json!("planned")), "{request}");
        let path = format!("/requests/{}", request["id"].as_str().unwrap());
        let (_, plan) = deployment.call(Some(&token), "GET", &format!("{path}/plan"), json!(null)).await;
        assert_eq!(plan["plan"]["choices"][0]["role"], "administrator", "{plan}");
        let named = json!({ "successors": [{ "resource": Id::NIL.to_string(), "person": next.id }] });
        let (status, plan) = deployment.call(Some(&token), "PUT", &format!("{path}/decisions"), named).await;
        assert_eq!(status, 200, "{plan}");
        in_state(&deployment, request["id"].as_str().unwrap(), "completed").await;
        let token = deployment.token(&next).await;
        let (status, _) = deployment.call(Some(&token), "GET", "/persons", json!(null)).await;
        assert_eq!(status, 200, "the successor is not an administrator");
    }
}

/// The person's own workspace.
async fn own_workspace(store: &Store, person: &Someone) -> Id {
    let person: Id = person.id.parse().unwrap();
    let nodes = store.read(move |tx| tx.children::<Workspace>(person, Page::ALL)).await.unwrap();
    nodes.into_iter().find(|node| node.doc.azure.is_none()).unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_handed_over_with_its_runs_and_survives_its_old_holder() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let store = deployment.server().app().store().clone();
        let leaving = deployment.person("leaving@example.org", "Leaving").await;
        let staying = deployment.person("staying@example.org", "Staying").await;
        let team = organisation(&deployment, &staying, "Team").await;
        let tracker = Tracker::new(&deployment, &leaving).await;
        let experiment = tracker.experiment("trees").await;
        let run = tracker.run(&experiment, "first").await;
        let metric = json!({ "run_id": run, "key": "loss", "value": 0.5, "timestamp": 1, "step": 0 });
        tracker.ok("POST", "/runs/log-metric", metric).await;
        assert_eq!(tracker.upload(&format!("{experiment}/{run}/artifacts/a.txt"), b"bytes").await, 200);
        tracker.ok("POST", "/registered-models/create", json!({ "name": "forest" })).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);

        let workspace = own_workspace(&store, &leaving).await.to_string();
        let colleague = Tracker::new(&deployment, &staying).await;
        let hand_over = json!({ "resource": workspace, "to": team });
        let token = deployment.token(&staying).await;
        assert_eq!(deployment.call(Some(&token), "POST", "/transfers", hand_over.clone()).await.0, 404);
        let wrong = json!({ "resource": workspace, "to": workspace });
        assert_eq!(deployment.operator("POST", "/transfers", wrong).await.0, 400);
        let (status, report) = deployment.operator("POST", "/transfers", hand_over).await;
        assert_eq!(
            (status.as_u16(), &report["holder"], &report["kind"]),
            (201, &json!(team), &json!("Workspace"))
        );

        let list = format!(
            "/subscriptions/{team}/providers/Microsoft.MachineLearningServices/workspaces?api-version=2020-08-01"
        );
        let (_, found) = colleague.send("GET", &list, &json!(null)).await;
        let address = found["value"][0]["id"].as_str().unwrap().to_owned();
        assert!(address.contains("/resourceGroups/handed-over/"), "{found}");
        let at = |operation: &str| format!("/mlflow/v2.0{address}/api/2.0/mlflow{operation}");
        let (status, shown) =
            colleague.send("GET", &at(&format!("/runs/get?run_id={run}")), &json!(null)).await;
        assert_eq!((status, &shown["run"]["info"]["user_id"]), (200, &json!("ada")), "{shown}");
        assert_eq!(shown["run"]["data"]["metrics"][0]["value"], 0.5);
        let tag = json!({ "run_id": run, "key": "k", "value": "v" });
        assert_eq!(colleague.send("POST", &at("/runs/set-tag"), &tag).await.0, 200);
        // Who handed it over has an empty one of their own again.
        let (status, _) = tracker.call("GET", &format!("/runs/get?run_id={run}"), json!(null)).await;
        assert_eq!(status, 404);
        let again = tracker.run("0", "second").await;
        assert_ne!(again, run);

        assert_eq!(deployment.erase(&leaving).await["status"], "completed");
        let (status, shown) =
            colleague.send("GET", &at(&format!("/runs/get?run_id={run}")), &json!(null)).await;
        assert_eq!(status, 200, "{shown}");
        assert!(!shown.to_string().contains("\"ada\""), "{shown}");
        let (status, models) =
            colleague.send("GET", &at("/registered-models/get?name=forest"), &json!(null)).await;
        assert_eq!(status, 200, "{models}");
        drop(store);

        deployment.stop().await;
        let mut options = Options::embedded(deployment.path("restored"));
        options.keyring = Some(deployment.path("data/keyring"));
        options.root_key = Some(RootKeySource::File(deployment.path("data/root.key")));
        Store::restore(options.clone(), &backup, Ambient::system()).await.unwrap();
        let store = Store::open(options, Ambient::system()).await.unwrap();
        let (team, workspace): (Id, Id) = (team.parse().unwrap(), workspace.parse().unwrap());
        let (_, parent, holder) = store.read(move |tx| tx.position(workspace)).await.unwrap().unwrap();
        assert_eq!((parent, holder), (Some(team), team));
        let name = store.read(move |tx| tx.get::<Workspace>(workspace)).await.unwrap().unwrap().doc;
        let key = name.azure.unwrap().key;
        let found = store.read(move |tx| tx.child_by_name::<Workspace>(team, &key)).await.unwrap();
        assert_eq!(found.map(|node| node.id), Some(workspace), "it is not found by its name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workspaces_of_one_holder_do_not_share_a_name() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let mut ids = Vec::new();
        let mut holders = Vec::new();
        for name in ["a", "b"] {
            let someone = deployment.person(&format!("{name}@example.org"), name).await;
            let tracker = Tracker::new(&deployment, &someone).await;
            let path = format!(
                "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest?api-version=2020-08-01",
                someone.id
            );
            let (status, made) = tracker.send("PUT", &path, &json!({ "location": "here" })).await;
            assert_eq!(status, 201, "{made}");
            ids.push(made["properties"]["workspaceId"].as_str().unwrap().to_owned());
            holders.push(someone);
        }
        let body = json!({ "resource": ids[0], "to": holders[1].id });
        let (status, refused) = deployment.operator("POST", "/transfers", body).await;
        assert_eq!(status, 409, "{refused}");
        assert!(refused["title"].as_str().unwrap().contains("workspace"), "{refused}");
        let team = organisation(&deployment, &holders[1], "Team").await;
        let body = json!({ "resource": ids[0], "to": team });
        assert_eq!(deployment.operator("POST", "/transfers", body).await.0, 201);
    }
}
