//! Who makes something that somebody else holds: seen by them, in their archive and in their plan, and nobody after their erasure.

use std::collections::BTreeMap;

use habeas_core::Id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, TRAINING, engines};
use crate::history::scalar;
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
    worked_on(deployment, person, "made").await
}

/// How much of each kind that others hold a person `made`, or `changed` where others made it.
pub(crate) async fn worked_on(deployment: &Deployment, person: &Someone, how: &str) -> BTreeMap<String, u64> {
    let path = format!("/persons/{}/holdings", person.id);
    let (status, held) = deployment.operator("GET", &path, json!(null)).await;
    assert_eq!(status, 200, "{held}");
    let work = held[how].as_array().into_iter().flatten();
    work.map(|one| (one["kind"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap())).collect()
}

/// The values of a metric that is no plain number.
async fn metric(forest: &Forest<'_>, run: &str, name: &str) -> Vec<Value> {
    let path = format!("/metric/v2.0@/runs/{run}/full");
    let full = forest.ok(&forest.owner, "POST", &path, json!({ "metricName": name })).await;
    full["value"].as_array().unwrap().iter().map(|value| value["data"][name].clone()).collect()
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
        let values: Vec<Value> = ["leaf", "zq-maker@example.org", "see /home/zq-login/leaves.csv"]
            .into_iter()
            .enumerate()
            .map(|(number, text)| scalar("note", &format!("n-{number}"), json!(text)))
            .collect();
        let batch = "/metric/v2.0@/runs/r-1/batch";
        forest.ok(&forest.maker, "POST", batch, json!({ "reportErrors": true, "values": values })).await;
        let body = json!({ "name": "m", "url": "https://store.example/m.onnx", "mimeType": "application/x",
            "description": "zq-maker@example.org has the data" });
        let model = forest.ok(&forest.maker, "POST", "/modelmanagement/v1.0@/models", body).await;
        // What somebody else wrote is theirs.
        let body = json!({ "runId": "r-2", "tags": { "note": "ask Zq-Baum's colleague" } });
        let other = forest.ok(&forest.owner, "PATCH", &path.replace("r-1", "r-2"), body).await;

        let plans = format!("/persons/{}/erasure-plans", maker.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        let kept = plan["kept"].to_string();
        for what in
            ["Runs", "Datasets of runs", "Lists, tables and other metrics of runs", "Registered models"]
        {
            let line = format!(
                "what was written in 1 of {what} that others hold: it stays theirs, without the person's address, names and home"
            );
            assert!(kept.contains(&line), "{line}: {kept}");
        }
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
        let values = ["leaf", "(erased)", "see /home/(erased)/leaves.csv"];
        assert_eq!(metric(&forest, "r-1", "note").await, values);
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

/// What a member writes into what the owner of the workspace made, through every protocol over it.
async fn write_into(forest: &Forest<'_>, member: &Tracker<'_>, experiment: &str, project: &str) {
    let api = format!("/mlflow/v2.0{}/api/2.0/mlflow", forest.scope);
    let tag = |of: Value, value: &str| {
        let mut body = json!({ "key": "note", "value": value });
        body.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
        body
    };
    let run = json!({ "run_id": "r-1" });
    for (path, body) in [
        // Twice: it is noted once.
        ("/runs/set-tag", tag(run.clone(), "zq-editor@example.org")),
        ("/runs/set-tag", tag(run.clone(), "of zq-editor@example.org, in /home/zq-login/x")),
        ("/runs/log-parameter", tag(run.clone(), "/home/zq-login/oaks.csv")),
        (
            "/experiments/set-experiment-tag",
            tag(json!({ "experiment_id": experiment }), "ask zq-editor@example.org"),
        ),
        ("/registered-models/set-tag", tag(json!({ "name": "oaks" }), "Zoe Zq-Baum")),
        ("/model-versions/set-tag", tag(json!({ "name": "oaks", "version": "1" }), "/home/zq-login/m")),
    ] {
        forest.ok(member, "POST", &format!("{api}{path}"), body).await;
    }
    let body = json!({ "runId": "r-1", "tags": { "home": "/home/zq-login and /home/olga" },
        "properties": { "git": "zq-editor@example.org" } });
    forest.ok(member, "PATCH", "/history/v1.0@/experiments/leaves/runs/r-1", body).await;
    let body = json!({ "reportErrors": true,
        "values": [scalar("note", "n", json!("/home/zq-login/x by zq-editor@example.org"))] });
    forest.ok(member, "POST", "/metric/v2.0@/runs/r-1/batch", body).await;
    let project = format!("{TRAINING}/projects/{project}");
    forest.ok(member, "PATCH", &project, json!({ "description": "by zq-editor@example.org" })).await;
    let tag = format!("{project}/tags?name=oak&description=ask%20zq-editor%40example.org");
    forest.ok(member, "POST", &tag, json!(null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wrote_into_what_others_made_is_told_and_does_not_name_them_after_their_erasure() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let owner = deployment.person("owner@example.org", "Olga").await;
        let editor = deployment.person("zq-editor@example.org", "Zoe Zq-Baum").await;
        let forest = Forest::new(&deployment, &owner, &editor).await;
        let (owners, member) = (&forest.owner, &forest.maker);
        let api = format!("/mlflow/v2.0{}/api/2.0/mlflow", forest.scope);
        let experiment = forest.ok(owners, "POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
        let experiment = experiment["experimentId"].as_str().unwrap().replace('-', "");
        let path = "/history/v1.0@/experiments/leaves/runs/r-1";
        let body = json!({ "runId": "r-1", "scriptName": "/home/olga/train.py" });
        forest.ok(owners, "PATCH", path, body).await;
        forest.run(owners, "r-2").await;
        forest
            .ok(owners, "POST", &format!("{api}/registered-models/create"), json!({ "name": "oaks" }))
            .await;
        let body = json!({ "name": "oaks", "source": "runs:/r-1/model" });
        forest.ok(owners, "POST", &format!("{api}/model-versions/create"), body).await;
        let path = format!("/organisations/{}/keys", forest.organisation);
        let (_, accounts) = deployment.operator("GET", &path, json!(null)).await;
        let key = accounts[0]["trainingKeys"][0].as_str().unwrap();
        let (_, project) = deployment.train("POST", key, "/projects?name=oaks", None).await;
        let project = project["id"].as_str().unwrap();
        // Their programs' login name is known, and what they change of their own is theirs.
        let body = json!({ "experiment_id": experiment, "user_id": "zq-login", "start_time": 1 });
        let own = forest.ok(member, "POST", &format!("{api}/runs/create"), body).await;
        let body = json!({ "run_id": own["run"]["info"]["run_id"], "key": "k", "value": "v" });
        forest.ok(member, "POST", &format!("{api}/runs/set-tag"), body).await;
        assert_eq!(worked_on(&deployment, &editor, "changed").await, BTreeMap::new());

        write_into(&forest, member, &experiment, project).await;
        let changed = worked_on(&deployment, &editor, "changed").await;
        let expected = ["Experiment", "ModelVersion", "Project", "RegisteredModel", "Run"];
        assert_eq!(changed, BTreeMap::from(expected.map(|kind| (kind.to_owned(), 1))));
        assert_eq!(made(&deployment, &editor).await, BTreeMap::from([("Run".to_owned(), 1)]));
        let run = forest.ok(owners, "GET", "/history/v1.0@/runs/r-1", json!(null)).await;
        let page = listed(&deployment, &editor, "Run", "&changed=true").await;
        let ids: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!(ids, [&run["runUuid"]]);
        let page = listed(&deployment, &editor, "Run", "").await;
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
        let archive = deployment.export(&editor).await;
        let mentions = file(&archive, "shared/mentions.csv");
        let of_run = format!("{},Run,who changed it,", run["runUuid"].as_str().unwrap());
        assert!(mentions.contains(&of_run), "{mentions}");
        assert_eq!(mentions.matches(",who changed it,").count(), expected.len(), "{mentions}");
        let article: Value = serde_json::from_str(file(&archive, "article-15.json")).unwrap();
        let kinds = article["b"]["answer"].as_array().unwrap();
        let runs = kinds.iter().find(|one| one["kind"] == "Run").unwrap();
        assert_eq!((&runs["madeForOthers"], &runs["changedForOthers"]), (&json!(1), &json!(1)), "{runs}");

        let plans = format!("/persons/{}/erasure-plans", editor.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        // They made a run, and are a member.
        assert_eq!((&plan["changed"], &plan["unlinked"]), (&json!(5), &json!(7)), "{plan}");
        let kept = plan["kept"].to_string();
        for what in
            ["Experiments", "Runs", "Lists, tables and other metrics of runs", "Registered models", "Tags"]
        {
            let line = format!("what was written in 1 of {what} that others made and hold: it stays theirs");
            assert!(kept.contains(&line), "{line}: {kept}");
        }
        let report = deployment.erase(&editor).await;
        assert_eq!(report["status"], "completed", "{report}");

        let run = forest.ok(owners, "GET", "/history/v1.0@/runs/r-1", json!(null)).await;
        let tags =
            json!({ "home": "/home/(erased) and /home/olga", "note": "of (erased), in /home/(erased)/x" });
        let properties = json!({ "git": "(erased)", "note": "/home/(erased)/oaks.csv" });
        assert_eq!((&run["tags"], &run["properties"]), (&tags, &properties), "{run}");
        // It is another one's home.
        assert_eq!(run["scriptName"], "/home/olga/train.py", "{run}");
        assert_eq!(metric(&forest, "r-1", "note").await, ["/home/(erased)/x by (erased)"]);
        let note = |value: &str| json!([{ "key": "note", "value": value }]);
        let get = async |path: &str| forest.ok(owners, "GET", &format!("{api}{path}"), json!(null)).await;
        let seen = get(&format!("/experiments/get?experiment_id={experiment}")).await;
        assert_eq!(seen["experiment"]["tags"], note("ask (erased)"), "{seen}");
        let seen = get("/registered-models/get?name=oaks").await;
        assert_eq!(seen["registered_model"]["tags"], note("(erased)"), "{seen}");
        let seen = get("/model-versions/get?name=oaks&version=1").await;
        assert_eq!(seen["model_version"]["tags"], note("/home/(erased)/m"), "{seen}");
        let store = deployment.server().app().store().clone();
        let markers = ["zq-login", "zq-editor"].map(str::to_owned);
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
        // What its new holder writes into it is in their own, as long as they hold it.
        let holders = Tracker::new(&deployment, &owner).await;
        let body = json!({ "runId": "r-1", "tags": { "note": "ask owner@example.org" } });
        let (status, run) = holders.send("PATCH", &path.replacen(&maker.id, &owner.id, 1), &body).await;
        assert_eq!(status, 200, "{run}");
        assert_eq!(worked_on(&deployment, &owner, "changed").await, BTreeMap::new());
        let plans = format!("/persons/{}/erasure-plans", owner.id);
        let (_, plan) = deployment.operator("POST", &plans, json!({})).await;
        assert_eq!((&plan["changed"], &plan["unlinked"]), (&json!(0), &json!(0)), "{plan}");
        // Back again it is the maker's own, and not counted twice; who held it is in it as who changed it.
        hand_over(&maker.id).await;
        assert_eq!(made(&deployment, &maker).await, BTreeMap::new());
        let changed = worked_on(&deployment, &owner, "changed").await;
        assert_eq!(changed, BTreeMap::from([("Run".to_owned(), 1)]));
        assert_eq!(deployment.erase(&owner).await["status"], "completed");
        let (_, run) = tracker.send("GET", &format!("/history/v1.0{scope}/runs/r-1"), &json!(null)).await;
        assert_eq!(run["tags"], json!({ "note": "ask (erased)" }), "{run}");
    }
}
