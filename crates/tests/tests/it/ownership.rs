//! Whose things are: who takes over what a request erases, and workspaces that are handed over.

use std::time::Duration;

use habeas_core::kinds::Workspace;
use habeas_core::{Ambient, Id};
use habeas_store::{HolderState, Options, Page, RootKeySource, Store};
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines, image};
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

async fn plan(deployment: &Deployment, person: &Someone) -> Value {
    let path = format!("/persons/{}/erasure-plans", person.id);
    let (status, plan) = deployment.operator("POST", &path, json!({})).await;
    assert_eq!(status, 201, "{plan}");
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_being_erased_is_nobody_who_is_left_in_a_role() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (ada, bob) = (
            deployment.person("ada@example.org", "Ada").await,
            deployment.person("bob@example.org", "Bob").await,
        );
        for person in [&ada, &bob] {
            grant(&deployment, person, "administrator").await;
        }
        let team = organisation(&deployment, &ada, "Team").await;
        let member = |person: &Someone| format!("/organisations/{team}/members/{}", person.id);
        assert_eq!(deployment.operator("PUT", &member(&bob), json!({ "role": "owner" })).await.0, 204);
        assert_eq!(plan(&deployment, &bob).await["blocked"], json!([]));

        // As it is while an erasure is in one of its later steps.
        let (store, id) = (deployment.server().app().store().clone(), ada.id.parse::<Id>().unwrap());
        let set = async |state: HolderState| {
            store.write(move |tx| tx.set_holder_state(id, state)).await.unwrap();
        };
        set(HolderState::Frozen).await;
        let blocked = plan(&deployment, &bob).await;
        assert_eq!(blocked["choices"].as_array().unwrap().len(), 2, "{blocked}");
        assert_eq!(blocked["blocked"].as_array().unwrap().len(), 2, "{blocked}");
        let role = json!({ "role": "administrator", "granted": false });
        let path = format!("/persons/{}/role", bob.id);
        assert_eq!(deployment.operator("PUT", &path, role).await.0, 409);
        assert_eq!(deployment.operator("DELETE", &member(&bob), json!(null)).await.0, 409);
        let successor = json!({ "successors": [{ "resource": team, "person": ada.id }] });
        let path = format!("/persons/{}/erasure-plans", bob.id);
        assert_eq!(deployment.operator("POST", &path, successor).await.0, 400);
        set(HolderState::Active).await;
        assert_eq!(plan(&deployment, &bob).await["blocked"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_leave_at_once_one_waits_for_a_successor() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (ada, bob, eve) = (
            deployment.person("ada@example.org", "Ada").await,
            deployment.person("bob@example.org", "Bob").await,
            deployment.person("eve@example.org", "Eve").await,
        );
        for person in [&ada, &bob] {
            grant(&deployment, person, "administrator").await;
        }
        let team = organisation(&deployment, &ada, "Team").await;
        let member = |person: &Someone| format!("/organisations/{team}/members/{}", person.id);
        assert_eq!(deployment.operator("PUT", &member(&bob), json!({ "role": "owner" })).await.0, 204);
        let plans = [plan(&deployment, &ada).await, plan(&deployment, &bob).await];
        let start = async |plan: &Value, person: &Someone| {
            assert_eq!(plan["blocked"], json!([]));
            let body = json!({ "plan": plan["plan"], "confirm": person.email });
            deployment.operator("POST", "/erasures", body).await.0.as_u16()
        };
        let started = tokio::join!(start(&plans[0], &ada), start(&plans[1], &bob));
        let mut waiting = Vec::new();
        for (started, plan, person) in [(started.0, &plans[0], &ada), (started.1, &plans[1], &bob)] {
            let plan = plan["plan"].as_str().unwrap();
            match started {
                202 => {
                    let report = deployment.finished(plan).await;
                    if report["status"] != "completed" {
                        let error = report["error"].as_str().unwrap();
                        assert!(error.contains("last administrator"), "{report}");
                        waiting.push((person, Some(plan)));
                    }
                }
                // The other one was frozen before this one was started.
                409 => waiting.push((person, None)),
                other => panic!("{other}"),
            }
        }
        assert_eq!(waiting.len(), 1, "{started:?}");
        let (left, plan) = waiting[0];
        let token = deployment.token(left).await;
        assert_eq!(deployment.call(Some(&token), "GET", "/persons", json!(null)).await.0, 200);

        // Once somebody comes after, it goes on by itself.
        grant(&deployment, &eve, "administrator").await;
        let owner = json!({ "role": "owner" });
        assert_eq!(deployment.call(Some(&token), "PUT", &member(&eve), owner).await.0, 204);
        match plan {
            Some(plan) => {
                while deployment.finished(plan).await["status"] != "completed" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            None => assert_eq!(deployment.erase(left).await["status"], "completed"),
        }
        let members = format!("/organisations/{team}/members");
        let (_, members) = deployment.operator("GET", &members, json!(null)).await;
        let ids: Vec<&Value> = members.as_array().unwrap().iter().map(|one| &one["person"]).collect();
        assert_eq!(ids, [&json!(eve.id)], "{members}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_given_to_persons_with_an_account_only() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let ada = deployment.person("ada@example.org", "Ada").await;
        let token = deployment.token(&ada).await;
        let team = organisation(&deployment, &ada, "Team").await;
        let other = organisation(&deployment, &ada, "Other").await;
        let project = deployment.project(&ada, "p").await;
        let shown = deployment.image(&ada, &project, "a.jpg", &image(1), &[]).await;
        let path = format!("/projects/{project}/images/metadata?imageIds={shown}");
        let names = json!({ "depicts": "jane@example.org" });
        assert_eq!(deployment.train("POST", &ada.key, &path, Some(names)).await.0, 200);
        let (status, jane) =
            deployment.operator("POST", "/unclaimed", json!({ "name": "jane@example.org" })).await;
        assert_eq!(status, 201, "{jane}");
        let jane = jane["objectId"].as_str().unwrap();
        let nobody = Id::NIL.to_string();
        for id in [team.as_str(), other.as_str(), jane, nobody.as_str()] {
            let path = format!("/organisations/{team}/members/{id}");
            for role in ["owner", "reader"] {
                let body = json!({ "role": role });
                let (status, refused) = deployment.call(Some(&token), "PUT", &path, body).await;
                assert_eq!(status, 404, "{id} {role}: {refused}");
            }
            let founded = json!({ "name": "New", "owner": id });
            assert_eq!(deployment.operator("POST", "/organisations", founded).await.0, 404, "{id}");
            let role = json!({ "role": "administrator", "granted": true });
            assert_eq!(deployment.operator("PUT", &format!("/persons/{id}/role"), role).await.0, 404, "{id}");
            let path = format!("/persons/{}/erasure-plans", ada.id);
            let successor = json!({ "successors": [{ "resource": team, "person": id }] });
            assert_eq!(deployment.operator("POST", &path, successor).await.0, 400, "{id}");
        }
        // The last owner is the last one still.
        let blocked = plan(&deployment, &ada).await["blocked"].clone();
        assert_eq!(blocked.as_array().unwrap().len(), 2, "{blocked}");
        let path = format!("/organisations/{team}/members/{}", ada.id);
        assert_eq!(deployment.call(Some(&token), "DELETE", &path, json!(null)).await.0, 409);
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
