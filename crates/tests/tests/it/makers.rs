//! Who makes something that somebody else holds: seen by them, in their archive and in their plan, and nobody after their erasure.

use std::collections::BTreeMap;

use habeas_core::Id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;
use crate::scan;

/// The workspace of an organisation, and who works in it.
struct Forest<'a> {
    deployment: &'a Deployment,
    organisation: String,
    /// The workspace's address, and its id.
    scope: String,
    workspace: String,
    owner: Tracker<'a>,
    maker: Tracker<'a>,
}

impl<'a> Forest<'a> {
    async fn new(deployment: &'a Deployment, owner: &Someone, maker: &Someone) -> Forest<'a> {
        let body = json!({ "name": "Forest", "owner": owner.id });
        let (status, made) = deployment.operator("POST", "/organisations", body).await;
        assert_eq!(status, 201, "{made}");
        let organisation = made["objectId"].as_str().unwrap().to_owned();
        let member = format!("/organisations/{organisation}/members/{}", maker.id);
        let body = json!({ "role": "contributor" });
        assert_eq!(deployment.operator("PUT", &member, body).await.0, 204);
        let (owner, maker) = (Tracker::new(deployment, owner).await, Tracker::new(deployment, maker).await);
        let (scope, workspace) = workspace(&owner, &organisation).await;
        Forest { deployment, organisation, scope, workspace, owner, maker }
    }

    /// Calls an operation below the workspace as somebody, written `PREFIX@REST`; it must succeed.
    async fn ok(&self, who: &Tracker<'_>, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = who.send(method, &path.replacen('@', &self.scope, 1), &body).await;
        assert!([200, 202].contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A run of the experiment `leaves`.
    async fn run(&self, who: &Tracker<'_>, id: &str) -> Value {
        let path = format!("/history/v1.0@/experiments/leaves/runs/{id}");
        let body = json!({ "runId": id, "name": format!("secret {id}") });
        self.ok(who, "PATCH", &path, body).await
    }

    /// The run, the model and the service of the maker as the owner sees them, without the times that new keys change.
    async fn shown(&self, model: &str) -> [Value; 3] {
        let run = self.ok(&self.owner, "GET", "/history/v1.0@/runs/r-1", json!(null)).await;
        let path = format!("/modelmanagement/v1.0@/models/{model}");
        let model = self.ok(&self.owner, "GET", &path, json!(null)).await;
        let services = self.ok(&self.owner, "GET", "/modelmanagement/v1.0@/services", json!(null)).await;
        let mut service = services["value"][0].clone();
        assert!(service["updatedTime"].is_string(), "{services}");
        service["updatedTime"] = json!(null);
        [run, model, service]
    }
}

/// Makes a workspace of Azure's at a holder; its address and its id.
async fn workspace(who: &Tracker<'_>, holder: &str) -> (String, String) {
    let scope = format!(
        "/subscriptions/{holder}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest"
    );
    let path = format!("{scope}?api-version=2020-08-01");
    let (status, made) = who.send("PUT", &path, &json!({ "location": "here" })).await;
    assert_eq!(status, 201, "{made}");
    (scope, made["properties"]["workspaceId"].as_str().unwrap().to_owned())
}

/// How much of each kind a person made and others hold.
async fn made(deployment: &Deployment, person: &Someone) -> BTreeMap<String, u64> {
    let path = format!("/persons/{}/holdings", person.id);
    let (status, held) = deployment.operator("GET", &path, json!(null)).await;
    assert_eq!(status, 200, "{held}");
    let made = held["made"].as_array().into_iter().flatten();
    made.map(|one| (one["kind"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap())).collect()
}

/// One page of what a person made of a kind and others hold.
async fn listed(deployment: &Deployment, person: &Someone, kind: &str, more: &str) -> Value {
    let path = format!("/persons/{}/items/{kind}?heldByOthers=true{more}", person.id);
    let (status, page) = deployment.operator("GET", &path, json!(null)).await;
    assert_eq!(status, 200, "{page}");
    page
}

fn file<'a>(archive: &'a [(String, Vec<u8>)], name: &str) -> &'a str {
    let (_, bytes) = archive.iter().find(|(path, _)| path == name).unwrap();
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_made_something_for_an_organisation_sees_it_and_is_nobody_in_it_after_their_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Olga").await;
        let maker = deployment.person("maker@example.org", "Adelheid").await;
        let forest = Forest::new(&deployment, &owner, &maker).await;
        let who = &forest.maker;
        let experiment = forest.ok(who, "POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
        let first = forest.run(who, "r-1").await;
        let second = forest.run(who, "r-2").await;
        let body = json!({ "name": "m", "url": "https://store.example/m.onnx", "mimeType": "application/x" });
        let model = forest.ok(who, "POST", "/modelmanagement/v1.0@/models", body).await;
        let model = model["id"].as_str().unwrap();
        let body = json!({ "name": "i", "driverProgram": "score.py", "modelIds": [model],
            "targetRuntime": { "runtimeType": "Python" } });
        forest.ok(who, "POST", "/modelmanagement/v1.0@/images", body).await;
        let images = forest.ok(who, "GET", "/modelmanagement/v1.0@/images", json!(null)).await;
        let body = json!({ "name": "s", "imageId": images["value"][0]["id"], "computeType": "ACI" });
        forest.ok(who, "POST", "/modelmanagement/v1.0@/services", body).await;
        let experiment = experiment["experimentId"].as_str().unwrap().replace('-', "");
        let path = format!(
            "/mlflow/v2.0{}/api/2.0/mlflow-artifacts/artifacts/{experiment}/r-1/artifacts/a.txt",
            forest.scope
        );
        assert_eq!(who.raw("PUT", &path, b"a".to_vec()).await.0, 200);
        // Theirs alone: not mentioned.
        let own = who.experiment("own").await;
        who.run(&own, "own").await;

        let counts = made(&deployment, &maker).await;
        for (kind, count) in [
            ("Experiment", 1),
            ("Run", 2),
            ("Artifact", 1),
            ("RegisteredModel", 1),
            ("ModelVersion", 1),
            ("ContainerImage", 1),
            ("Service", 1),
        ] {
            assert_eq!(counts.get(kind), Some(&count), "{kind}: {counts:?}");
        }
        // A file belongs to whoever stored it last.
        assert_eq!(forest.owner.raw("PUT", &path, b"b".to_vec()).await.0, 200);
        let counts = made(&deployment, &maker).await;
        assert_eq!(counts.get("Artifact"), None, "{counts:?}");
        let of_owner = made(&deployment, &owner).await;
        assert_eq!(
            (of_owner.get("Workspace"), of_owner.get("Artifact")),
            (Some(&1), Some(&1)),
            "{of_owner:?}"
        );
        let page = listed(&deployment, &owner, "Workspace", "").await;
        assert_eq!(page["items"][0]["id"], json!(forest.workspace), "{page}");
        assert_eq!(page["items"][0]["facts"][0]["value"], json!(forest.organisation), "{page}");

        // What it is, where and since when: a page at a time, and nothing of what is in it.
        let mut runs = Vec::new();
        let mut more = "&limit=1".to_owned();
        for _ in 0..2 {
            let page = listed(&deployment, &maker, "Run", &more).await;
            assert!(!page.to_string().contains("secret"), "{page}");
            runs.push(page["items"][0].clone());
            more = format!("&limit=1&after={}", page["next"].as_str().unwrap());
        }
        assert_eq!(listed(&deployment, &maker, "Run", &more).await, json!({ "items": [] }));
        for made in [&first, &second] {
            let run = runs.iter().find(|run| run["id"] == made["runUuid"]).unwrap();
            assert_eq!(run["created"], made["createdUtc"], "{run}");
            assert_eq!(run["facts"], json!([{ "label": "In", "value": forest.workspace }]), "{run}");
        }
        // What they hold themselves is one thing, what they made another.
        let path = format!("/persons/{}/items/Run", maker.id);
        let (_, held) = deployment.operator("GET", &path, json!(null)).await;
        assert_eq!(held["items"].as_array().unwrap().len(), 1, "{held}");
        let path = "/persons/me/items/Run?heldByOthers=true";
        let (status, page) = deployment.call(Some(who.token()), "GET", path, json!(null)).await;
        assert_eq!((status.as_u16(), page["items"].as_array().map(Vec::len)), (200, Some(2)), "{page}");
        let path = format!("/persons/{}/holdings", maker.id);
        let (_, held) = deployment.operator("GET", &path, json!(null)).await;
        let mentions = held["mentions"].as_array().unwrap();
        assert_eq!((mentions.len(), &mentions[0]["kind"]), (1, &json!("Organisation")), "{held}");

        let archive = deployment.export(&maker).await;
        let mentions = file(&archive, "shared/mentions.csv");
        let of_run = format!("{},Run,who made it,", first["runUuid"].as_str().unwrap());
        let line = mentions.lines().find(|line| line.starts_with(&of_run)).unwrap();
        assert!(line.ends_with(&forest.workspace), "{line}");
        let total: u64 = counts.values().sum();
        assert_eq!(mentions.matches(",who made it,").count() as u64, total, "{mentions}");
        assert!(archive.iter().all(|(_, bytes)| !bytes.windows(10).any(|part| part == b"secret r-1")));
        let article: Value = serde_json::from_str(file(&archive, "article-15.json")).unwrap();
        let kinds = article["b"]["answer"].as_array().unwrap();
        let runs = kinds.iter().find(|one| one["kind"] == "Run").unwrap();
        assert_eq!((&runs["count"], &runs["madeForOthers"]), (&json!(1), &json!(2)), "{runs}");

        let before = forest.shown(model).await;
        assert_eq!(
            (&before[0]["userId"], &before[0]["createdBy"]["userName"]),
            (&json!(maker.id), &json!("Adelheid"))
        );
        for one in &before {
            assert_eq!(one["createdBy"]["userName"], "Adelheid", "{one}");
        }
        let path = format!("/persons/{}/holdings", maker.id);
        let (_, held) = deployment.operator("GET", &path, json!(null)).await;
        let otherwise = held["mentions"].as_array().unwrap().len() as u64;
        let plans = format!("/persons/{}/erasure-plans", maker.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        // They are a member besides.
        assert_eq!((&plan["made"], &plan["unlinked"]), (&json!(total), &json!(total + otherwise)), "{plan}");
        // What is written in it stays, and the plan says of what.
        let kept = plan["kept"].to_string();
        assert!(kept.contains("what was written in 2 of Runs that others hold"), "{kept}");
        // What they go on making for others is nothing that was approved.
        forest.run(who, "r-3").await;
        let body = json!({ "plan": plan["plan"], "confirm": maker.email, "digest": plan["digest"] });
        let (status, report) = deployment.operator("POST", "/erasures", body).await;
        assert_eq!(status, 202, "{report}");
        let report = deployment.finished(plan["plan"].as_str().unwrap()).await;
        assert_eq!(report["status"], "completed", "{report}");

        let after = forest.shown(model).await;
        for (before, after) in before.into_iter().zip(after) {
            let text = after.to_string();
            assert!(!text.contains("Adelheid") && !text.contains(&maker.id), "{text}");
            assert_eq!(nameless(after), nameless(before));
        }
        let person: Id = maker.id.parse().unwrap();
        let traces = deployment.server().app().store().read(move |tx| tx.traces_of(person)).await.unwrap();
        assert!(traces.iter().all(|(_, rows)| *rows == 0), "{traces:?}");
        assert_eq!(made(forest.deployment, &owner).await, of_owner);
    }
}

/// An answer without who made what it shows.
fn nameless(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    members.remove("userId");
    members.remove("createdBy");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wrote_for_an_organisation_does_not_name_them_after_their_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Olga").await;
        let maker = deployment.person("zq-maker@example.org", "Adelheid Zq-Baum").await;
        let forest = Forest::new(&deployment, &owner, &maker).await;
        let tags = json!({
            "mlflow.source.name": "/home/zq-login/oaks/train.py",
            "author": "Adelheid Zq-Baum <zq-maker@example.org>",
            "note": "leaves of an oak; ask zq-maker@example.org",
            "plain": "leaves of an oak",
        });
        let path = "/history/v1.0@/experiments/leaves/runs/r-1";
        let body = json!({ "runId": "r-1", "tags": tags, "properties": { "git": "zq-maker@example.org" } });
        forest.ok(&forest.maker, "POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
        forest.ok(&forest.maker, "PATCH", path, body).await;
        let api = format!("/mlflow/v2.0{}/api/2.0/mlflow", forest.scope);
        let source = r#"{"uri": "C:\\Users\\zq-login\\oaks.csv"}"#;
        let dataset = json!({ "name": "oaks", "digest": "1", "source_type": "local", "source": source });
        let body = json!({ "run_id": "r-1", "datasets": [{ "dataset": dataset }] });
        let inputs = format!("{api}/runs/log-inputs");
        forest.ok(&forest.maker, "POST", &inputs, body).await;
        let body = json!({ "name": "m", "url": "https://store.example/m.onnx", "mimeType": "application/x",
            "description": "zq-maker@example.org has the data" });
        let model = forest.ok(&forest.maker, "POST", "/modelmanagement/v1.0@/models", body).await;
        // What somebody else wrote is theirs.
        let body = json!({ "runId": "r-2", "tags": { "note": "ask Zq-Baum's colleague" } });
        let other = forest.ok(&forest.owner, "PATCH", &path.replace("r-1", "r-2"), body).await;

        let plans = format!("/persons/{}/erasure-plans", maker.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        assert!(plan["kept"].to_string().contains("without the person's address, names"), "{plan}");
        let report = deployment.erase(&maker).await;
        assert_eq!(report["status"], "completed", "{report}");

        let run = forest.ok(&forest.owner, "GET", "/history/v1.0@/runs/r-1", json!(null)).await;
        assert_eq!(run["scriptName"], "/home/(erased)/oaks/train.py", "{run}");
        let expected = json!({
            "author": "(erased)",
            "note": "leaves of an oak; ask (erased)",
            "plain": "leaves of an oak",
        });
        assert_eq!((&run["tags"], &run["properties"]["git"]), (&expected, &json!("(erased)")), "{run}");
        let seen = forest.ok(&forest.owner, "GET", &format!("{api}/runs/get?run_id=r-1"), json!(null)).await;
        let dataset = &seen["run"]["inputs"]["dataset_inputs"][0]["dataset"];
        assert_eq!(dataset["source"], json!(source.replace("zq-login", "(erased)")), "{dataset}");
        let path = format!("/modelmanagement/v1.0@/models/{}", model["id"].as_str().unwrap());
        let model = forest.ok(&forest.owner, "GET", &path, json!(null)).await;
        assert_eq!(model["description"], "(erased) has the data", "{model}");
        let after = forest.ok(&forest.owner, "GET", "/history/v1.0@/runs/r-2", json!(null)).await;
        assert_eq!(after["tags"], other["tags"], "{after}");
        let store = deployment.server().app().store().clone();
        let markers = ["zq-login", "zq-maker"].map(str::to_owned);
        assert_eq!(scan::opened(&store, &markers).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_made_what_is_handed_over_sees_it_where_it_is_now() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Olga").await;
        let maker = deployment.person("maker@example.org", "Adelheid").await;
        let tracker = Tracker::new(&deployment, &maker).await;
        let (scope, workspace) = workspace(&tracker, &maker.id).await;
        let path = format!("/history/v1.0{scope}/experiments/leaves/runs/r-1");
        assert_eq!(
            tracker.send("POST", &format!("/history/v1.0{scope}/experiments/leaves"), &json!(null)).await.0,
            200
        );
        assert_eq!(tracker.send("PATCH", &path, &json!({ "runId": "r-1" })).await.0, 200);
        assert_eq!(made(&deployment, &maker).await, BTreeMap::new());

        let hand_over = async |to: &str| {
            let body = json!({ "resource": workspace, "to": to });
            let (status, report) = deployment.operator("POST", "/transfers", body).await;
            assert_eq!(status, 201, "{report}");
        };
        hand_over(&owner.id).await;
        let counts = made(&deployment, &maker).await;
        assert_eq!((counts.get("Workspace"), counts.get("Run")), (Some(&1), Some(&1)), "{counts:?}");
        assert_eq!(made(&deployment, &owner).await, BTreeMap::new());
        let page = listed(&deployment, &maker, "Run", "").await;
        assert_eq!(page["items"][0]["facts"][0]["value"], json!(workspace), "{page}");
        // Back again it is their own, and not counted twice.
        hand_over(&maker.id).await;
        assert_eq!(made(&deployment, &maker).await, BTreeMap::new());
    }
}
