//! Workspaces taken out and brought in elsewhere: the same answers, the same archive, whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use habeas::archive::{ArchiveReport, Refused};
use habeas_core::crypto::{SecretKey, SigningKey};
use habeas_core::{Id, ManualClock, time};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::archives::{Files, archive, bring, pack, unpack};
use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;

#[derive(Clone, Debug)]
struct Experiment {
    name: String,
    /// Name, parameter, whether it was put aside, metrics by step, artifact.
    runs: Vec<Run>,
    model: Option<String>,
}

#[derive(Clone, Debug)]
struct Run {
    name: String,
    note: String,
    aside: bool,
    metrics: Vec<(String, f64, i64)>,
    artifact: Option<Vec<u8>>,
}

fn experiments() -> impl Strategy<Value = Vec<Experiment>> {
    let value = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)];
    let metrics = prop::collection::vec(("[a-z]{1,3}", value, -3..9_i64), 0..12);
    let artifact = prop::option::of(prop::collection::vec(any::<u8>(), 0..9));
    let run = ("[!-~ä]{1,12}", "[!-~\"ß\u{1}]{0,9}", any::<bool>(), metrics, artifact)
        .prop_map(|(name, note, aside, metrics, artifact)| Run { name, note, aside, metrics, artifact });
    let runs = prop::collection::vec(run, 0..4);
    let experiment = ("[A-Za-zé]{1,9}", runs, prop::option::of("[a-z]{1,6}"))
        .prop_map(|(name, runs, model)| Experiment { name, runs, model });
    prop::collection::vec(experiment, 0..3)
}

async fn build(tracker: &Tracker<'_>, experiments: &[Experiment]) {
    for (number, experiment) in experiments.iter().enumerate() {
        let id = tracker.experiment(&format!("{}{number}", experiment.name)).await;
        let tag = json!({ "experiment_id": id, "key": "note", "value": experiment.name });
        tracker.ok("POST", "/experiments/set-experiment-tag", tag).await;
        for run in &experiment.runs {
            self::run(tracker, if number == 0 { "0" } else { &id }, run).await;
        }
        let Some(model) = &experiment.model else { continue };
        let body = json!({ "experiment_id": id, "name": model, "params": [{ "key": "depth", "value": "3" }],
            "tags": [{ "key": "mlflow.user", "value": "ada" }] });
        let logged = tracker.ok("POST", "/logged-models", body).await;
        let logged = logged["model"]["info"]["model_id"].as_str().unwrap().to_owned();
        let path = format!("{id}/models/{logged}/artifacts/MLmodel");
        assert_eq!(tracker.upload(&path, model.as_bytes()).await, 200);
        let name = format!("{model}{number}");
        let body = json!({ "name": name, "tags": [{ "key": "team", "value": "x" }] });
        tracker.ok("POST", "/registered-models/create", body).await;
        for source in [format!("models:/{logged}"), "s3://bucket/model".to_owned()] {
            let body = json!({ "name": name, "source": source, "model_id": logged, "description": model });
            tracker.ok("POST", "/model-versions/create", body).await;
        }
        tracker
            .ok("POST", "/registered-models/alias", json!({ "name": name, "alias": "best", "version": "2" }))
            .await;
    }
}

async fn run(tracker: &Tracker<'_>, experiment: &str, run: &Run) {
    let id = tracker.run(experiment, &run.name).await;
    let value = |value: f64| {
        if value.is_finite() { json!(value) } else { json!(if value.is_nan() { "NaN" } else { "Infinity" }) }
    };
    let metrics: Vec<Value> = run
        .metrics
        .iter()
        .map(|(key, number, step)| json!({ "key": key, "value": value(*number), "timestamp": 7, "step": step }))
        .collect();
    let body = json!({ "run_id": id, "metrics": metrics, "params": [{ "key": "note", "value": run.note }] });
    tracker.ok("POST", "/runs/log-batch", body).await;
    let dataset = json!({ "name": "d", "digest": "1", "source_type": "local", "source": run.note });
    let source = r#"{"tags": {"mlflow.user": "bea", "mlflow.source.name": "a.py"}}"#;
    let from_code = json!({ "name": "c", "digest": "1", "source_type": "code", "source": source });
    let body = json!({ "run_id": id, "datasets": [{ "dataset": dataset }, { "dataset": from_code }] });
    tracker.ok("POST", "/runs/log-inputs", body).await;
    if let Some(bytes) = &run.artifact {
        assert_eq!(tracker.upload(&format!("{experiment}/{id}/artifacts/a/b.bin"), bytes).await, 200);
    }
    if run.aside {
        tracker.ok("POST", "/runs/delete", json!({ "run_id": id })).await;
    }
}

/// What MLflow's API answers about everything in a person's workspace.
async fn answers(tracker: &Tracker<'_>) -> Vec<Value> {
    let mut answers = Vec::new();
    let experiments =
        tracker.ok("POST", "/experiments/search", json!({ "view_type": "ALL", "max_results": 100 })).await;
    let ids: Vec<&Value> = experiments["experiments"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["experiment_id"])
        .collect();
    let runs =
        tracker.ok("POST", "/runs/search", json!({ "experiment_ids": ids, "run_view_type": "ALL" })).await;
    for run in runs["runs"].as_array().into_iter().flatten() {
        let id = run["info"]["run_id"].as_str().unwrap();
        answers.push(tracker.ok("GET", &format!("/runs/get?run_id={id}"), Value::Null).await);
        for metric in run["data"]["metrics"].as_array().into_iter().flatten() {
            let path =
                format!("/metrics/get-history?run_id={id}&metric_key={}", metric["key"].as_str().unwrap());
            answers.push(tracker.ok("GET", &path, Value::Null).await);
        }
        answers.push(tracker.ok("GET", &format!("/artifacts/list?run_id={id}&path=a"), Value::Null).await);
        let experiment = run["info"]["experiment_id"].as_str().unwrap();
        let (status, bytes) = tracker.download(&format!("{experiment}/{id}/artifacts/a/b.bin")).await;
        answers.push(if status == 200 { json!([status, bytes]) } else { json!(status) });
    }
    for body in [json!({ "experiment_ids": ids })] {
        answers.push(tracker.ok("POST", "/logged-models/search", body).await);
    }
    answers.push(tracker.ok("GET", "/registered-models/search?max_results=100", Value::Null).await);
    answers.push(tracker.ok("GET", "/model-versions/search?max_results=100", Value::Null).await);
    answers.extend([experiments, runs]);
    answers
}

/// What an archive has of workspaces, accounts and clusters.
pub(crate) async fn content(deployment: &Deployment, someone: &Someone) -> BTreeMap<String, Vec<u8>> {
    let mut files = deployment.content(someone).await;
    let folders = ["tracking/", "experimentation/", "model-management/", "compute/", "records/"];
    files.retain(|(path, _)| folders.iter().any(|folder| path.starts_with(folder)));
    // A person has another id on every server.
    let of_anybody = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text.replace(&someone.id, "PERSON").into_bytes(),
        Err(error) => error.into_bytes(),
    };
    files.into_iter().map(|(path, bytes)| (path, of_anybody(bytes))).collect()
}

/// The lines of all files, with new ids as the old ones, in an order that ids have no part in.
fn lines(content: &BTreeMap<String, Vec<u8>>, report: &ArchiveReport) -> Vec<String> {
    let mut lines: Vec<String> = content
        .iter()
        .flat_map(|(path, bytes)| {
            String::from_utf8_lossy(bytes).lines().map(|line| format!("{path} {line}")).collect::<Vec<_>>()
        })
        .collect();
    for (old, new) in &report.remapped {
        for line in &mut lines {
            *line = line.replace(&new.to_string(), &old.to_string()).replace(&new.to_hex(), &old.to_hex());
        }
    }
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_the_same_elsewhere() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let mut runner = TestRunner::new(Config::default());
        for round in 0..4 {
            let experiments = experiments().new_tree(&mut runner).unwrap().current();
            let folder = tempfile::tempdir().unwrap();
            let email = format!("p{round}@example.org");
            let someone = from.person(&email, "Person").await;
            let tracker = Tracker::new(&from, &someone).await;
            build(&tracker, &experiments).await;
            let there = answers(&tracker).await;
            let taken_out = content(&from, &someone).await;
            let path = archive(&from, &someone, folder.path()).await;
            let other = to.person(&email, "Person").await;
            let report = bring(&to, &other, &path).await.unwrap();
            assert_eq!((report.workspaces, report.present), (1, 0), "{report:?}");
            assert!(
                report.remapped.is_empty()
                    && report.left_out.iter().all(|line| !line.contains("experiments")),
                "{report:?}"
            );
            assert_eq!(answers(&Tracker::new(&to, &other).await).await, there, "{experiments:?}");
            let brought = content(&to, &other).await;
            assert_eq!(lines(&brought, &report), lines(&taken_out, &report), "{experiments:?}");
            assert!(brought == taken_out);
            // Again: nothing new. For somebody else who had only looked at their empty workspace: other ids, all the rest the same.
            let again = bring(&to, &other, &path).await.unwrap();
            assert_eq!((again.brought, again.present), (0, report.brought));
            let third = to.person(&format!("t{round}@example.org"), "Third").await;
            answers(&Tracker::new(&to, &third).await).await;
            let report = bring(&to, &third, &path).await.unwrap();
            assert!(report.remapped.len() as u64 >= report.brought, "{report:?}");
            assert!(content(&to, &other).await == taken_out, "somebody else's archive changed theirs");
            assert_eq!(lines(&content(&to, &third).await, &report), lines(&taken_out, &report));
            assert_eq!(answers(&Tracker::new(&to, &third).await).await.len(), there.len());
        }
        let unused = to.operator("GET", "/doctor?scan=true", Value::Null).await.1;
        assert!(unused["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{unused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_azure_ml_is_the_same_elsewhere_but_secrets_and_keys() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let someone = from.person("a@example.org", "A").await;
        let marker = |what: &str| format!("{what}x");
        crate::mlflow::plant(&from, &someone, &marker).await;
        crate::artifacts::plant(&from, &someone, &marker).await;
        crate::control_plane::plant(&from, &someone, &marker).await;
        crate::model_management::plant(&from, &someone, &marker).await;
        crate::history::plant(&from, &someone, &marker).await;
        // A datastore's own form names the secrets that it has.
        let comparable = async |deployment: &Deployment, someone: &Someone| {
            let mut files = content(deployment, someone).await;
            files.retain(|path, _| !path.contains("/datastores/"));
            files
        };
        let taken_out = comparable(&from, &someone).await;
        let carried = habeas_core::registry::carried_kinds();
        for kind in habeas_core::Kind::ALL {
            let mut above = habeas_core::registry::ops(*kind).parents().iter();
            let is_below = above.any(|above| carried.contains(above));
            assert!(carried.contains(kind) || !is_below, "{kind:?} stands in what is brought, and is not");
        }
        for kind in carried {
            assert!(taken_out.contains_key(&format!("records/{kind:?}-1.jsonl")), "there is no {kind:?}");
        }
        let records: Vec<u8> = taken_out
            .iter()
            .filter(|(path, _)| path.starts_with("records/"))
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        let records = String::from_utf8(records).unwrap();
        assert!(records.contains("\"madeFrom\""), "nothing says what it was made from");
        for secret in crate::control_plane::SECRETS {
            assert!(!records.contains(&marker(secret)), "{secret}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&from, &someone, folder.path()).await;
        let other = to.person("a@example.org", "A").await;
        let report = bring(&to, &other, &path).await.unwrap();
        assert!(report.remapped.is_empty(), "{report:?}");
        for said in ["secrets of clusters", "keys of services"] {
            assert!(report.left_out.iter().any(|line| line.starts_with(said)), "{report:?}");
        }
        let brought = comparable(&to, &other).await;
        assert_eq!(lines(&brought, &report), lines(&taken_out, &report));
        assert!(brought == taken_out);
        assert_eq!(bring(&to, &other, &path).await.unwrap().brought, 0);

        // Found by the address that they had, below the subscription of whoever has them now.
        let caller = crate::arm::Caller::new(&to, &other).await;
        let group = crate::control_plane::group(&other.id, &marker("azuregroup"));
        let cluster = format!(
            "{group}/Microsoft.MachineLearningCompute/operationalizationClusters/{}",
            marker("cluster")
        );
        let found = caller.get(&format!("{cluster}?api-version=2017-08-01-preview")).await;
        assert_eq!(found["properties"]["description"], json!(marker("clsdescription")), "{found}");

        // Where every id is taken, and not where an account of that name is.
        let third = to.person("c@example.org", "C").await;
        let report = bring(&to, &third, &path).await.unwrap();
        assert!(report.remapped.len() as u64 >= report.brought, "{report:?}");
        assert_eq!(lines(&comparable(&to, &third).await, &report), lines(&taken_out, &report));
        assert!(comparable(&to, &other).await == taken_out, "somebody else's archive changed theirs");
        let fourth = to.person("d@example.org", "D").await;
        let caller = crate::arm::Caller::new(&to, &fourth).await;
        let group = crate::control_plane::group(&fourth.id, &marker("azuregroup"));
        let hosting =
            format!("{group}/Microsoft.MachineLearningModelManagement/accounts/{}", marker("hosting"));
        let body = json!({ "location": "here", "sku": { "name": "S1", "capacity": 1 } });
        caller.make(&format!("{hosting}?api-version=2017-09-01-preview"), body).await;
        let before = comparable(&to, &fourth).await;
        let error = bring(&to, &fourth, &path).await.unwrap_err();
        assert!(error.is::<Refused>() && format!("{error:#}").contains("HostingAccount"), "{error:#}");
        assert!(comparable(&to, &fourth).await == before);
        let (_, health) = to.operator("GET", "/doctor?scan=true", Value::Null).await;
        assert!(health["checks"].as_array().unwrap().iter().all(|check| check["status"] == "ok"), "{health}");
    }
}

/// A person with one run and one registered model.
async fn somebody(deployment: &Deployment, email: &str) -> (Someone, String) {
    let someone = deployment.person(email, "A").await;
    let tracker = Tracker::new(deployment, &someone).await;
    let run = tracker.run("0", "r").await;
    assert_eq!(tracker.upload(&format!("0/{run}/artifacts/a.txt"), b"an artifact").await, 200);
    tracker.ok("POST", "/registered-models/create", json!({ "name": "m" })).await;
    (someone, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_brought_whole_or_not_at_all() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let clock = Arc::new(ManualClock::new(from.server().app().store().ambient().now()));
        let to = Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let (someone, run) = somebody(&from, "a@example.org").await;
        // Enough of them for an import to be interrupted.
        let tracker = Tracker::new(&from, &someone).await;
        for number in 0..30 {
            tracker.ok("POST", "/registered-models/create", json!({ "name": format!("m{number}") })).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&from, &someone, folder.path()).await;
        let found = async |someone: &Someone| {
            let tracker = Tracker::new(&to, someone).await;
            tracker.call("GET", &format!("/runs/get?run_id={run}"), Value::Null).await.0
        };

        // Where something is in the workspace of that name already, the archive is refused, and nothing of it stays.
        let busy = to.person("busy@example.org", "Busy").await;
        let theirs = Tracker::new(&to, &busy).await.run("0", "theirs").await;
        let before = content(&to, &busy).await;
        let error = bring(&to, &busy, &path).await.unwrap_err();
        assert!(error.is::<Refused>() && format!("{error:#}").contains("something is in it"), "{error:#}");
        assert!(content(&to, &busy).await == before);
        let tracker = Tracker::new(&to, &busy).await;
        tracker.ok("GET", &format!("/runs/get?run_id={theirs}"), Value::Null).await;

        // Interrupted, it is seen by nobody; the next run goes on, or it goes by itself.
        for (name, resumed) in [("resumed", true), ("dropped", false)] {
            let other = to.person(&format!("{name}@example.org"), name).await;
            let some_is_there = async {
                let path = format!("/persons/{}/items/Workspace", other.id);
                while to.operator("GET", &path, Value::Null).await.1["items"] == json!([]) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                report = bring(&to, &other, &path) => panic!("it came to its end: {report:?}"),
                () = some_is_there => {}
            }
            let api = format!(
                "/subscriptions/{}/providers/Microsoft.MachineLearningServices/workspaces?api-version=2020-08-01",
                other.id
            );
            let (_, listed) = Tracker::new(&to, &other).await.send("GET", &api, &Value::Null).await;
            assert_eq!(listed["value"], json!([]));
            if resumed {
                assert!(bring(&to, &other, &path).await.unwrap().present > 0);
            } else {
                clock.advance(25 * time::HOUR);
                to.server().app().rights.run_retention().await.unwrap();
                while !content(&to, &other).await.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert_eq!(found(&other).await, 404);
                bring(&to, &other, &path).await.unwrap();
            }
            let runs = Tracker::new(&to, &other)
                .await
                .ok("POST", "/runs/search", json!({ "experiment_ids": ["0"] }))
                .await;
            assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
            // What is finished stays.
            clock.advance(25 * time::HOUR);
            to.server().app().rights.run_retention().await.unwrap();
            let runs = Tracker::new(&to, &other)
                .await
                .ok("POST", "/runs/search", json!({ "experiment_ids": ["0"] }))
                .await;
            assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
        }
    }
}

/// Changes the only line of one file of records.
fn changed(files: &Files, kind: &str, change: impl FnOnce(&mut Value)) -> Files {
    let mut files = files.clone();
    let path = format!("records/{kind}-1.jsonl");
    let file = &mut files.iter_mut().find(|(name, _)| *name == path).unwrap().1;
    let mut record: Value = serde_json::from_slice(file).unwrap();
    change(&mut record);
    *file = format!("{record}\n").into_bytes();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_mean_harm_are_refused_whole() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (someone, run) = somebody(&deployment, "a@example.org").await;
        let (_, theirs) = somebody(&deployment, "b@example.org").await;
        let folder = tempfile::tempdir().unwrap();
        let files = unpack(&archive(&deployment, &someone, folder.path()).await);
        let other = deployment.person("c@example.org", "C").await;
        let stranger = SigningKey::from_seed(&SecretKey::from_bytes([9; 32]));
        let refused = async |files: Files, expected: &str| {
            let error = bring(&deployment, &other, &pack(files, &stranger, folder.path())).await.unwrap_err();
            assert!(error.is::<Refused>(), "{error:#}");
            let said = format!("{error:#}");
            assert!(said.contains(expected), "{said}, not {expected}");
            assert!(content(&deployment, &other).await.is_empty());
        };
        let set = |pointer: &'static str, value: Value| {
            move |record: &mut Value| *record.pointer_mut(pointer).unwrap() = value
        };
        let theirs: Id = theirs.parse().unwrap();
        let run: Id = run.parse().unwrap();
        // Under what is somebody else's, or nowhere.
        refused(
            changed(&files, "Artifact", set("/parent", json!(theirs))),
            "what it stands under is not there",
        )
        .await;
        refused(
            changed(&files, "RegisteredModel", set("/parent", json!(run))),
            "what it stands under is not there",
        )
        .await;
        refused(changed(&files, "Run", set("/id", json!(theirs))), "what it stands under is not there").await;
        refused(changed(&files, "RegisteredModel", set("/id", json!(run))), "its id is there twice").await;
        // Documents that no server made.
        refused(changed(&files, "Run", set("/doc", json!({}))), "the document is none of the kind Run").await;
        refused(
            changed(&files, "Artifact", set("/doc/path", json!("../../.ssh/authorized_keys"))),
            "leads out of its folder",
        )
        .await;
        refused(changed(&files, "Workspace", set("/doc/name", json!("import/x"))), "called otherwise").await;
        refused(changed(&files, "Run", set("/created", json!("yesterday"))), "Run-1.jsonl, line 1").await;
        refused(changed(&files, "Run", set("/kind", json!("Person"))), "of a kind that is not brought").await;
        // Files that are others.
        refused(
            changed(&files, "Artifact", set("/files/0/path", json!("profile/account.json"))),
            "is another one",
        )
        .await;
        refused(changed(&files, "Artifact", set("/files/0/size", json!(1))), "is another one").await;
        refused(changed(&files, "Artifact", set("/files", json!([]))), "is another one").await;
        let renamed = |path: &str, to: &str| {
            let mut files = files.clone();
            files.iter_mut().find(|(name, _)| name == path).unwrap().0 = to.to_owned();
            files
        };
        refused(renamed("records/Run-1.jsonl", "records/Person-1.jsonl"), "does not know").await;
        refused(
            renamed("records/Run-1.jsonl", "records/Experiment-2.jsonl"),
            "of another kind than its file",
        )
        .await;
        let mut metrics = changed(&files, "Run", |record| {
            record["metrics"] = json!(format!("tracking/runs/{run}/metrics.csv"));
        });
        metrics.push((
            format!("tracking/runs/{run}/metrics.csv"),
            b"metric,timestamp,step,value\nloss,1,0,many\n".to_vec(),
        ));
        refused(metrics, "the value of a metric is no number").await;

        // A person who is nobody here made it; what is brought names whoever brings it.
        let foreign = changed(&files, "Run", set("/doc/created_by", json!(theirs)));
        let report = bring(&deployment, &other, &pack(foreign, &stranger, folder.path())).await.unwrap();
        assert_eq!(report.workspaces, 1);
        let record =
            String::from_utf8(content(&deployment, &other).await["records/Run-1.jsonl"].clone()).unwrap();
        assert!(record.contains(&format!("\"created_by\":\"{}\"", Id::NIL)), "{record}");
    }
}

/// Only the operator and whoever owns the account bring anything.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_brings_anything_into_what_is_somebody_elses() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let (someone, run) = somebody(&deployment, "a@example.org").await;
        let stranger = deployment.person("b@example.org", "B").await;
        let workspace = first(&deployment, &someone, "Workspace").await;
        let tracker = Tracker::new(&deployment, &stranger).await;
        let record = json!({ "kind": "Workspace", "id": Id::NIL, "parent": someone.id, "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z", "doc": { "name": "w", "azure": null } });
        for (method, path, body) in [
            ("PUT", format!("/persons/{}/workspaces/{}", someone.id, Id::NIL), record.clone()),
            ("POST", format!("/workspaces/{workspace}/taken"), json!({ "ids": [] })),
            ("POST", format!("/workspaces/{workspace}/records/{run}/metrics"), json!([])),
            ("DELETE", format!("/workspaces/{workspace}"), Value::Null),
        ] {
            let (status, answer) = tracker.send(method, &format!("/api/import/v1{path}"), &body).await;
            assert_eq!(status, 404, "{method} {path}: {answer}");
        }
        // Nor does the owner change a workspace that is finished.
        let tracker = Tracker::new(&deployment, &someone).await;
        let path = format!("/api/import/v1/workspaces/{workspace}");
        assert_eq!(tracker.send("DELETE", &path, &Value::Null).await.0, 409);
        // A record's line without an end, or without what it needs, is told of.
        let path = format!("{path}/records/{run}");
        for body in [json!({}), Value::Null] {
            let (status, answer) = tracker.send("PUT", &path, &body).await;
            assert_eq!((status, &answer["code"]), (400, &json!("invalid")), "{answer}");
        }
    }
}

/// The first resource of a kind that a person holds; its id.
pub(crate) async fn first(deployment: &Deployment, someone: &Someone, kind: &str) -> String {
    let path = format!("/persons/{}/items/{kind}", someone.id);
    let (_, page) = deployment.operator("GET", &path, Value::Null).await;
    page["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned()
}

/// The only record of a kind in a person's archive.
fn only(content: &BTreeMap<String, Vec<u8>>, kind: &str) -> Value {
    serde_json::from_slice(&content[&format!("records/{kind}-1.jsonl")]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_brought_with_its_run_for_whom_it_is() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let from = Deployment::open(None).await;
        let to = Deployment::open(database).await;
        let (someone, run) = somebody(&from, "a@example.org").await;
        let end = json!({ "run_id": run, "status": "FINISHED", "end_time": 1_700_000_001_000_i64 });
        Tracker::new(&from, &someone).await.ok("POST", "/runs/update", end).await;
        let taken_out = content(&from, &someone).await;
        let told = only(&taken_out, "Notification");
        assert!(told["expires"].is_string(), "{told}");
        assert_eq!(told["doc"]["person"], json!(Id::NIL), "{told}");
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&from, &someone, folder.path()).await;
        let files = unpack(&path);

        // Its id, its time and its end are kept; where its id is taken it has another, and is about the run that is there.
        let other = to.person("a@example.org", "A").await;
        let report = bring(&to, &other, &path).await.unwrap();
        assert!(report.remapped.is_empty(), "{report:?}");
        assert!(content(&to, &other).await == taken_out);
        let third = to.person("c@example.org", "C").await;
        let report = bring(&to, &third, &path).await.unwrap();
        let brought = only(&content(&to, &third).await, "Notification");
        let here = |id: &Value| {
            let id: Id = id.as_str().unwrap().parse().unwrap();
            let (_, here) = report.remapped.iter().find(|(old, _)| *old == id).unwrap();
            json!(here)
        };
        for (pointer, what) in [("/id", "itself"), ("/doc/run", "its run"), ("/doc/experiment", "experiment")]
        {
            assert_eq!(brought.pointer(pointer), told.pointer(pointer).map(here).as_ref(), "{what}");
        }
        assert_eq!((&brought["expires"], &brought["created"]), (&told["expires"], &told["created"]));

        // About a run that is not in the archive it says nothing: that could be somebody else's here.
        let theirs: Id = run.parse().unwrap();
        let nothing: Id = "0198a7b0-0000-7000-8000-0000000000ff".parse().unwrap();
        let stranger = SigningKey::from_seed(&SecretKey::from_bytes([9; 32]));
        let dangling =
            changed(&files, "Notification", |record| record["doc"]["run"] = json!(nothing.to_string()));
        let fourth = to.person("d@example.org", "D").await;
        bring(&to, &fourth, &pack(dangling, &stranger, folder.path())).await.unwrap();
        let without = content(&to, &fourth).await;
        assert!(without.contains_key("records/Run-1.jsonl"));
        assert!(!without.keys().any(|path| path.contains("otification")), "{:?}", without.keys());

        // Nor does the server itself take one.
        let fifth = to.person("e@example.org", "E").await;
        let tracker = Tracker::new(&to, &fifth).await;
        let id = |last: u8| format!("0198a7b0-0000-7000-8000-0000000000{last:02x}");
        let record = |kind: &str, last: u8, parent: &str, doc: Value| {
            json!({ "kind": kind, "id": id(last), "parent": parent, "created": "2026-01-01T00:00:00Z",
                "updated": "2026-01-01T00:00:00Z", "doc": doc })
        };
        let workspace = record("Workspace", 1, &fifth.id, json!({ "name": "w", "azure": null }));
        let path = format!("/api/import/v1/persons/{}/workspaces/{}", fifth.id, id(1));
        let (status, made) = tracker.send("PUT", &path, &workspace).await;
        assert_eq!(status, 201, "{made}");
        let doc = json!({ "person": Id::NIL, "run": theirs, "experiment": theirs, "status": "Completed" });
        let line = format!("{}\n", record("Notification", 2, &id(1), doc));
        let path = format!("/api/import/v1/workspaces/{}/records/{}", id(1), id(2));
        let (status, said) = tracker.raw("PUT", &path, line.into_bytes()).await;
        let said = String::from_utf8(said).unwrap();
        assert!(status == 400 && said.contains("is about is not in the workspace"), "{status} {said}");
    }
}
