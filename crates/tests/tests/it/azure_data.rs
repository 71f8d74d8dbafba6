//! What Azure ML's data services do beyond what their own tests hold: logs and datasets of runs, merged metrics, flat snapshots, runs
//! deleted by a filter. By plain HTTP.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::artifacts::Team;
use crate::deployment::{Deployment, Someone, engines, unzip};

pub(crate) fn names(answer: &Value, field: &str) -> Vec<String> {
    let list = answer["value"].as_array().unwrap();
    list.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_details_of_a_run_have_addresses_of_its_logs() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let run = &team.run;
        let details = format!("/history/v1.0@/experiments/Default/runs/{run}/details");
        assert_eq!(team.ok("GET", &details, json!(null)).await["logFiles"], json!({}));
        for path in
            ["azureml-logs/70_driver_log.txt", "user_logs/std_log.txt", "logs/azureml/a b.log", "driver_log"]
        {
            team.upload(path, path.as_bytes()).await;
        }
        team.upload("outputs/model.txt", b"no log").await;
        let logs = team.ok("GET", &details, json!(null)).await["logFiles"].clone();
        let logs = logs.as_object().unwrap();
        assert_eq!(
            logs.keys().collect::<Vec<_>>(),
            ["azureml-logs/70_driver_log.txt", "driver_log", "logs/azureml/a b.log", "user_logs/std_log.txt"]
        );
        for (path, address) in logs {
            let address = address.as_str().unwrap();
            let (status, _, bytes) = team.storage("GET", address, &[], Vec::new()).await;
            assert_eq!((status, bytes.as_slice()), (200, path.as_bytes()), "{address}");
            // For reading only.
            assert_eq!(team.put(address, b"other").await, 403);
        }
        // By the address of 2018 too.
        let of_2018 = team.ok("GET", &format!("/history/v1.0@/runs/{run}/runstatus"), json!(null)).await;
        assert_eq!(of_2018["logFiles"].as_object().unwrap().len(), 4);
    }
}

/// Calls MLflow's API in the team's workspace; it must succeed.
async fn mlflow(team: &Team<'_>, method: &str, path: &str, body: Value) -> Value {
    team.ok(method, &format!("/mlflow/v2.0@/api/2.0/mlflow{path}"), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_of_a_run_are_kept_shown_and_followed() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let first = &team.run;
        let run = |id: &str| format!("/history/v1.0@/experiments/Default/runs/{id}");
        let lineage = |id: &str| json!({ "identifier": { "savedId": id }, "consumptionType": "Reference" });

        // As `azureml-core` sends them: each by itself, and again.
        team.ok("PATCH", &run("a"), json!({ "inputDatasets": [lineage("x")] })).await;
        let written = json!({ "identifier": { "savedId": "w" }, "outputType": "RunOutput",
            "outputDetails": { "outputName": "result", "mechanism": "Upload" } });
        let body = json!({ "inputDatasets": [lineage("x"), lineage("y")], "outputDatasets": [written] });
        let changed = team.ok("PATCH", &run("a"), body).await;
        assert_eq!(changed["inputDatasets"], json!([lineage("x"), lineage("y")]));
        let details = team.ok("GET", &format!("{}/details", run("a")), json!(null)).await;
        assert_eq!(details["inputDatasets"], changed["inputDatasets"]);
        assert_eq!(details["outputDatasets"], json!([written]));
        for wrong in [json!({}), json!(["x"]), json!("x")] {
            let (status, answer) = team.call("PATCH", &run("a"), json!({ "inputDatasets": wrong })).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("UserError")), "{answer}");
        }
        let many = |from: usize, count: usize| {
            json!((from..from + count).map(|id| lineage(&id.to_string())).collect::<Vec<_>>())
        };
        // More than a run keeps, at once or with those that are there; and more than a batch has.
        for (count, expected) in [(1_001, 400), (999, 400), (0, 200)] {
            let body = json!({ "inputDatasets": many(0, count) });
            let (status, answer) = team.call("PATCH", &run("a"), body).await;
            assert_eq!(status, expected, "{answer}");
        }
        let runs: Vec<Value> = (0..11)
            .map(|index| json!({ "runId": format!("batch{index}"), "outputDatasets": many(index, 1_000) }))
            .collect();
        let batch = "/history/v1.0@/experiments/Default/batch/runs";
        let (status, answer) = team.call("PATCH", batch, json!({ "runs": runs })).await;
        assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("10000"), "{answer}");
        assert_eq!(team.call("GET", &run("batch0"), json!(null)).await.0, 404);

        // What MLflow's clients log is shown among them.
        let dataset = json!({ "name": "leaves", "digest": "1", "source_type": "http",
            "source": json!({ "uri": format!("runs:/{first}/outputs") }).to_string() });
        let body = json!({ "run_id": "a", "datasets": [{ "dataset": dataset }] });
        mlflow(&team, "POST", "/runs/log-inputs", body).await;
        let shown = team.ok("GET", &run("a"), json!(null)).await["inputDatasets"].clone();
        assert_eq!(shown.as_array().unwrap().len(), 3, "{shown}");
        assert_eq!(shown[2]["inputDetails"], json!({ "inputName": "leaves", "mechanism": "Direct" }));
        assert_eq!(shown[2]["consumptionType"], "RunInput");
        let details = team.ok("GET", &format!("{}/details", run("a")), json!(null)).await;
        assert_eq!(details["inputDatasets"], shown);
        // In the answer about the run only.
        let listed = "/history/v1.0@/experiments/Default/runs?$filter=RunId%20eq%20a";
        let listed = team.ok("GET", listed, json!(null)).await["value"][0].clone();
        let changed = team.ok("PATCH", &run("a"), json!({})).await;
        for answer in [listed, changed] {
            assert_eq!(answer["inputDatasets"], json!([lineage("x"), lineage("y")]));
        }

        // By the address of a run, or by the id under which a logged input is shown: both come from the first run.
        let address = lineage(&format!("runs:/{first}/outputs"));
        team.ok("PATCH", &run("b"), json!({ "inputDatasets": [address] })).await;
        team.ok("PATCH", &run("c"), json!({ "inputDatasets": [shown[2]] })).await;
        // Sent back, it is shown once.
        let again = team.ok("PATCH", &run("a"), json!({ "inputDatasets": shown })).await;
        assert_eq!(again["inputDatasets"], shown);
        for name in ["a", "b", "c"] {
            mlflow(&team, "POST", "/registered-models/create", json!({ "name": name })).await;
            let body = json!({ "name": name, "source": format!("runs:/{name}/model"), "run_id": name });
            mlflow(&team, "POST", "/model-versions/create", body).await;
        }
        let tags = async |name: &str| {
            let path = format!("/model-versions/get?name={name}&version=1");
            mlflow(&team, "GET", &path, json!(null)).await["model_version"]["tags"].to_string()
        };
        for name in ["a", "b", "c"] {
            assert!(!tags(name).await.contains("habeas.sourceErasedAt"), "{name}");
        }
        team.ok("DELETE", &format!("/history/v1.0@/runs/{first}"), json!(null)).await;
        for name in ["a", "b", "c"] {
            assert!(tags(name).await.contains("habeas.sourceErasedAt"), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_input_is_followed_in_the_workspace_of_its_own_run() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let stranger = deployment.person("b@example.org", "B").await;
        let first = Team::new(&deployment, &someone).await;
        let second = Team::named(&deployment, &someone, "Roots").await;
        let others = Team::new(&deployment, &stranger).await;
        let run = |id: &str| format!("/history/v1.0@/experiments/Default/runs/{id}");
        for team in [&first, &second, &others] {
            team.ok("PATCH", &run("base"), json!({})).await;
        }
        first.ok("PATCH", &run("reader"), json!({})).await;
        let dataset = json!({ "name": "leaves", "digest": "1", "source_type": "http",
            "source": json!({ "uri": "runs:/base/outputs" }).to_string() });
        let body = json!({ "run_id": "reader", "datasets": [{ "dataset": dataset }] });
        mlflow(&first, "POST", "/runs/log-inputs", body).await;
        let shown = first.ok("GET", &run("reader"), json!(null)).await["inputDatasets"].clone();

        // What is read elsewhere comes from the run of the first workspace. A stranger's run comes from nothing, and is told nothing.
        for team in [&second, &others] {
            team.ok("PATCH", &run("learner"), json!({ "inputDatasets": shown })).await;
            mlflow(team, "POST", "/registered-models/create", json!({ "name": "trees" })).await;
            let body = json!({ "name": "trees", "source": "runs:/learner/model", "run_id": "learner" });
            mlflow(team, "POST", "/model-versions/create", body).await;
        }
        let is_marked = async |team: &Team<'_>| {
            let path = "/model-versions/get?name=trees&version=1";
            let version = mlflow(team, "GET", path, json!(null)).await;
            version["model_version"]["tags"].to_string().contains("habeas.sourceErasedAt")
        };
        for team in [&second, &others] {
            team.ok("DELETE", "/history/v1.0@/runs/base", json!(null)).await;
            assert!(!is_marked(team).await);
        }
        first.ok("DELETE", "/history/v1.0@/runs/base", json!(null)).await;
        assert!(is_marked(&second).await && !is_marked(&others).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_name_are_merged_where_that_is_asked_for() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        for run in ["r", "s"] {
            let path = format!("/history/v1.0@/experiments/Default/runs/{run}");
            team.ok("PATCH", &path, json!({})).await;
            let metric = |id: &str, name: &str, sort: &str, cell: Value| {
                json!({ "metricId": format!("{run}{id}"), "metricType": sort, "name": name, "createdUtc": "2026-01-15T08:42:02Z",
                    "cells": [{ name: cell }], "schema": { "numProperties": 1,
                    "properties": [{ "propertyId": name, "name": name, "type": "float" }] } })
            };
            let list = |id: &str, name: &str, cell: i64| metric(id, name, "azureml.v1.list", json!(cell));
            // One call each: what comes in one call is one metric anyway.
            for metric in [
                metric("1", "loss", "azureml.v1.scalar", json!(0.5)),
                metric("2", "loss", "azureml.v1.scalar", json!(0.25)),
                metric("3", "acc", "azureml.v1.scalar", json!(0.75)),
                list("4", "odd", 1),
                list("5", "even", 2),
                list("6", "odd", 3),
            ] {
                team.ok("POST", &format!("{path}/metrics"), metric).await;
            }
        }
        let query = async |parameters: &str, body: Value| {
            let path = format!("/history/v1.0@/experiments/Default/metrics:query?{parameters}");
            team.call("POST", &path, body).await
        };
        let cells = |answer: &Value| {
            let list = answer["value"].as_array().unwrap();
            list.iter()
                .map(|metric| {
                    let cells = metric["cells"].as_array().unwrap();
                    assert_eq!(metric["numCells"], cells.len());
                    let name = metric["name"].as_str().unwrap();
                    let values: Vec<String> = cells.iter().map(|cell| cell[name].to_string()).collect();
                    format!("{} {name}: {}", metric["runId"].as_str().unwrap(), values.join(" "))
                })
                .collect::<Vec<_>>()
        };
        let of_r = json!({ "filter": "RunId eq r" });
        for parameters in
            ["", "mergestrategytype=None", "MergeStrategyType=default&mergestrategyoptions=None"]
        {
            let (status, answer) = query(parameters, of_r.clone()).await;
            assert_eq!((status, cells(&answer).len()), (200, 6), "{parameters}: {answer}");
        }
        let merged = ["acc: 0.75", "even: 2", "loss: 0.5 0.25", "odd: 1 3"];
        let (_, answer) =
            query("mergestrategytype=MergeToVector&mergestrategysettings.selectmetrics=SelectAll", of_r)
                .await;
        let mut found = cells(&answer);
        found.sort();
        assert_eq!(found, merged.map(|text| format!("r {text}")));

        // Page by page, of both runs; a filter chooses what is merged.
        let (mut token, mut found) = (Value::Null, Vec::new());
        loop {
            let body = json!({ "top": 1, "continuationToken": token });
            let (_, page) = query("mergestrategytype=MergeToVector", body).await;
            assert_eq!(cells(&page).len(), 1);
            found.extend(cells(&page));
            token = page["continuationToken"].clone();
            if token.is_null() {
                break;
            }
        }
        found.sort();
        let both: Vec<String> =
            ["r", "s"].iter().flat_map(|run| merged.map(|text| format!("{run} {text}"))).collect();
        assert_eq!(found, both);
        let body = json!({ "filter": "MetricId eq s6 or MetricId eq r4" });
        let (_, answer) = query("mergestrategytype=MergeToVector", body).await;
        assert_eq!(cells(&answer), ["r odd: 1", "s odd: 3"]);

        // A metric of more values than fit in an answer ends there, and goes on after what else was logged meanwhile.
        let path = "/history/v1.0@/experiments/Default/runs/long";
        team.ok("PATCH", path, json!({})).await;
        for (index, name) in ["odd", "even", "odd", "odd", "odd"].into_iter().enumerate() {
            let cells = vec![json!({ name: 1 }); if name == "odd" { 20_000 } else { 1 }];
            let body = json!({ "metricId": format!("long{index}"), "metricType": "azureml.v1.list", "name": name, "cells": cells });
            team.ok("POST", &format!("{path}/metrics"), body).await;
        }
        let (mut token, mut pages) = (Value::Null, Vec::new());
        loop {
            let body = json!({ "filter": "RunId eq long", "continuationToken": token });
            let (_, page) = query("mergestrategytype=MergeToVector", body).await;
            let list = page["value"].as_array().unwrap();
            let sizes = list.iter().map(|metric| format!("{} {}", metric["name"], metric["numCells"]));
            pages.push(sizes.collect::<Vec<_>>());
            token = page["continuationToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!(pages, [&["\"odd\" 60000"][..], &["\"even\" 1", "\"odd\" 20000"]]);

        // What is not known is refused, and says what is.
        for (parameters, served) in [
            ("mergestrategytype=Sum", "MergeToVector"),
            ("mergestrategyoptions=ReportUnmergedMetricsValues", "send None"),
            ("mergestrategysettings.selectmetrics=SelectByFirstValueSchema", "send SelectAll"),
            ("mergestrategysettings.version=1", "leave it out"),
        ] {
            let (status, answer) = query(parameters, json!({})).await;
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && said.contains(served), "{parameters}: {answer}");
        }
    }
}

/// Sends a snapshot as one form, as Microsoft's .NET client writes it: the boundary in quotes, names without.
pub(crate) async fn send_form(
    deployment: &Deployment,
    someone: &Someone,
    path: &str,
    parts: &[(&str, Option<&str>, &str)],
) -> (u16, Value) {
    const BOUNDARY: &str = "Upload--01/15/2026 08:37:35";
    let mut body = String::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename={file}")).unwrap_or_default();
        body.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name={name}{file}\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str(&format!("--{BOUNDARY}--\r\n"));
    let request = Request::post(path)
        .header("authorization", format!("Bearer {}", deployment.token(someone).await))
        .header("content-type", format!("multipart/form-data; boundary=\"{BOUNDARY}\""))
        .body(Body::from(body))
        .unwrap();
    let (status, bytes) = deployment.send(request).await;
    (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_compared_with_a_flat_list_and_sent_as_forms() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let [first, second, third] = [
            "aa10612b-db7f-44e1-8933-79c4bc76cda8",
            "bb10612b-db7f-44e1-8933-79c4bc76cda8",
            "cc10612b-db7f-44e1-8933-79c4bc76cda8",
        ];
        let folder = |train: &str| {
            let node = |id: &str, parent: Option<&str>, name: &str, hash: Option<&str>| json!({ "id": id, "parentId": parent, "name": name, "hash": hash, "isFile": hash.is_some() });
            json!({ "files": [node("0", None, "project", None), node("1", Some("0"), "train.py", Some(train)),
                node("2", Some("0"), "sub", None), node("3", Some("2"), "b.py", Some("h2"))] })
        };
        let compared = async |parent: &str, list: Value| {
            let path = format!("/content/v1.0@/snapshots/diff?parentSnapshotId={parent}");
            let entries = team.ok("POST", &path, list).await;
            let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
            let entries = entries.as_array().unwrap();
            assert!(entries.iter().all(|entry| entry["isFile"] == true));
            entries
                .iter()
                .map(|entry| format!("{} {}", text(entry, "operationType"), text(entry, "filePath")))
                .collect::<Vec<_>>()
        };
        let form = async |id: &str, parent: &str, list: &Value, files: &[(&str, &str)]| {
            let list = list.to_string();
            let mut parts = vec![("dirTree", None, list.as_str()), ("tags", None, "{\"kind\": \"oak\"}")];
            parts.extend(files.iter().map(|(name, content)| ("files", Some(*name), *content)));
            let path = format!("/content/v1.0{}/snapshots/{id}?parentSnapshotId={parent}", team.scope);
            send_form(&deployment, &someone, &path, &parts).await
        };
        let archive = async |id: &str| {
            let zip = team.ok("POST", &format!("/content/v2.0@/snapshots/{id}/zip"), json!(null)).await;
            let address = zip["zipSasUri"].as_str().unwrap().to_owned();
            let mut files =
                unzip(std::io::Cursor::new(team.storage("GET", &address, &[], Vec::new()).await.2));
            files.sort();
            files
                .into_iter()
                .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
                .collect::<Vec<_>>()
        };
        let pair = |name: &str, content: &str| (name.to_owned(), content.to_owned());

        assert_eq!(compared("", folder("h1")).await, ["added sub/b.py", "added train.py"]);
        // The first form of several: what it lists and does not bring comes with the next one.
        let (status, answer) = form(first, "", &folder("h1"), &[("train.py", "one")]).await;
        assert_eq!(
            (status, &answer["id"], &answer["filesMissing"]),
            (200, &json!(first), &json!(1)),
            "{answer}"
        );
        assert_eq!(compared(first, folder("h1")).await, ["added sub/b.py"]);
        let (status, answer) = form(second, first, &folder("h1"), &[("sub/b.py", "two")]).await;
        assert_eq!((status, answer.get("filesMissing")), (200, None), "{answer}");
        assert_eq!(archive(second).await, [pair("sub/b.py", "two"), pair("train.py", "one")]);
        assert_eq!(compared(second, folder("h1")).await, Vec::<String>::new());

        // A changed file is not taken from the parent, an unchanged one is.
        assert_eq!(compared(second, folder("h3")).await, ["modified train.py"]);
        assert_eq!(form(third, second, &folder("h3"), &[("train.py", "three")]).await.0, 200);
        assert_eq!(archive(third).await, [pair("sub/b.py", "two"), pair("train.py", "three")]);
        let path = format!("/content/v1.0@/snapshots/{third}/metadata");
        let tree = team.ok("GET", &path, json!(null)).await["root"].clone();
        assert_eq!(tree["children"]["sub"]["children"]["b.py"]["hash"], "h2");
        assert_eq!(tree["children"]["train.py"]["sizeBytes"], 5);

        // What is refused, and leaves nothing.
        let [fourth, fifth] =
            ["dd10612b-db7f-44e1-8933-79c4bc76cda8", "ee10612b-db7f-44e1-8933-79c4bc76cda8"];
        assert_eq!(form(third, "", &folder("h1"), &[]).await.0, 409);
        let file_and_folder = json!({ "files": [{ "id": "0", "name": "", "isFile": false },
            { "id": "1", "parentId": "0", "name": "a", "isFile": true, "hash": "1" },
            { "id": "2", "parentId": "0", "name": "a", "isFile": false },
            { "id": "3", "parentId": "2", "name": "b", "isFile": true, "hash": "2" }] });
        for (parent, list, files, expected) in [
            ("", folder("h1"), &[("other.py", "x")][..], 400),
            ("", folder("h1"), &[("../train.py", "x")][..], 400),
            ("", json!({ "files": "x" }), &[][..], 400),
            ("", json!({ "files": [{ "id": "0", "name": "a", "isFile": true }] }), &[("a", "x")][..], 400),
            ("", file_and_folder, &[("a", "x"), ("a/b", "x")][..], 400),
            (fourth, folder("h1"), &[][..], 404),
        ] {
            let (status, answer) = form(fourth, parent, &list, files).await;
            assert_eq!((status, &answer["error"]["code"]), (expected, &json!("UserError")), "{answer}");
        }
        let plan = "@?api-version=2018-03-01-preview&dryRun=true";
        let plan = team.ok("DELETE", plan, json!(null)).await["deletes"].clone();
        let count = |kind: &str| {
            let found = plan.as_array().unwrap().iter().find(|one| one["kind"] == kind);
            found.map(|one| one["count"].as_u64().unwrap())
        };
        assert_eq!((count("Snapshot"), count("Artifact")), (Some(3), Some(5)), "{plan}");
        let path = format!("/content/v1.0@/snapshots/diff?parentSnapshotId={fourth}");
        assert_eq!(team.call("POST", &path, folder("h1")).await.0, 404);
        let path = format!("/content/v1.0@/snapshots/{fourth}/metadata");
        assert_eq!(team.call("GET", &path, json!(null)).await.0, 404);
        // A part of another name is passed over, whatever its length; what is before a part's content is not kept without end.
        let (list, long) = (folder("h1").to_string(), "x".repeat(3_000_000));
        for (path, other, expected) in [(fourth, "other", 200), (fifth, long.as_str(), 400)] {
            let parts = [("dirTree", None, list.as_str()), (other, None, long.as_str())];
            let path = format!("/content/v1.0{}/snapshots/{path}", team.scope);
            let (status, answer) = send_form(&deployment, &someone, &path, &parts).await;
            assert_eq!(status, expected, "{answer}");
        }
        // A stranger can send none.
        let stranger = deployment.person("b@example.org", "B").await;
        let path = format!("/content/v1.0{}/snapshots/{fifth}", team.scope);
        let (status, _) = send_form(&deployment, &stranger, &path, &[("dirTree", None, &list)]).await;
        assert_eq!(status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_deleted_by_a_filter_with_their_files_and_one_receipt() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let experiment = team.ok("POST", "/history/v1.0@/experiments/leaves", json!(null)).await;
        let experiment = experiment["experimentId"].as_str().unwrap();
        let runs = "/history/v1.0@/experiments/leaves/runs";
        for (run, status) in [("a", "Failed"), ("b", "Completed"), ("c", "Failed"), ("d", "Failed")] {
            let body = json!({ "status": status, "tags": { "keep": if run == "d" { "yes" } else { "no" } } });
            team.ok("PATCH", &format!("{runs}/{run}"), body).await;
            let path = format!("/artifact/v2.0@/artifacts/content/ExperimentRun/dcid.{run}/outputs/x");
            team.ok("POST", &path, json!("content")).await;
            let metric = json!({ "values": [{ "name": "loss", "value": [{ "data": { "loss": 1 } }] }] });
            team.ok("POST", &format!("/metric/v2.0@/runs/{run}/batch"), metric).await;
        }
        // A run of another experiment is not looked at.
        team.ok("PATCH", "/history/v1.0@/experiments/Default/runs/other", json!({ "status": "Failed" }))
            .await;
        let there = async || {
            let listed = team.ok("GET", &format!("{runs}?$orderby=RunId"), json!(null)).await;
            names(&listed, "runId")
        };
        let filter = "$filter=(Status%20eq%20Failed)%20and%20(Tags/keep%20ne%20yes)";

        // What is not said, or cannot be meant, deletes nothing.
        for (query, said) in [
            ("", "DELETE .../experimentids/ID"),
            ("?$filter=", "DELETE .../experimentids/ID"),
            ("?$filter=Colour%20eq%20red", "there is nothing called"),
            ("?$filter=Status%20ne%20Finished", "write one of Running"),
            ("?$filter=Status%20ne%20completed", "there is no `Status` called `completed`"),
            ("?$filter=Status%20ne%20Completed%20or", "`Completed or` is read as one value"),
            ("?$filter=Status%20eq%20Failed&$top=1", "every run that"),
            ("?$filter=Status%20eq%20Failed&$orderby=RunId", "every run that"),
            ("?$filter=Status%20eq%20Failed&dryRun=perhaps", "neither true nor false"),
        ] {
            let (status, answer) = team.call("DELETE", &format!("{runs}{query}"), json!(null)).await;
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && message.contains(said), "{query}: {answer}");
        }
        for dry in ["dryRun=true", "dryRun", "DRYRUN=True"] {
            let plan = team.ok("DELETE", &format!("{runs}?{filter}&{dry}"), json!(null)).await;
            assert_eq!(
                (&plan["dryRun"], &plan["selected"], &plan["files"], &plan["resource"]),
                (&json!(true), &json!(2), &json!(2), &json!(experiment)),
                "{plan}"
            );
            let counts: Vec<(&str, u64)> = plan["deletes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| (one["kind"].as_str().unwrap(), one["count"].as_u64().unwrap()))
                .collect();
            assert!(counts.contains(&("Run", 2)) && counts.contains(&("Artifact", 2)), "{plan}");
            assert!(!counts.iter().any(|(kind, _)| *kind == "Experiment"), "{plan}");
        }
        assert_eq!(there().await, ["a", "b", "c", "d"]);

        let token = deployment.token(&someone).await;
        let request = Request::delete(format!("{runs}?{filter}").replacen('@', &team.scope, 1))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = deployment.server().router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let receipt = response.headers()["x-habeas-receipt"].to_str().unwrap().to_owned();
        assert_eq!(there().await, ["b", "d"]);
        for run in ["a", "c"] {
            assert_eq!(team.call("GET", &format!("/history/v1.0@/runs/{run}"), json!(null)).await.0, 404);
            // Its id can be used again.
            team.ok("PATCH", &format!("{runs}/{run}"), json!({ "status": "Running" })).await;
            let files = format!("/artifact/v2.0@/artifacts/ExperimentRun/dcid.{run}");
            assert_eq!(team.ok("GET", &files, json!(null)).await["value"], json!([]));
        }
        for run in ["b", "d", "other"] {
            team.ok("GET", &format!("/history/v1.0@/runs/{run}"), json!(null)).await;
        }
        let (status, shown) =
            deployment.call(Some(&token), "GET", &format!("/receipts/{receipt}"), json!(null)).await;
        assert_eq!(status, 200, "{shown}");
        let statement = &shown["statement"];
        assert_eq!(
            (&statement["type"], &statement["selected"], &statement["deletedFiles"]),
            (&json!("deletion-receipt/1"), &json!(2), &json!(2)),
            "{shown}"
        );
        // More than one request deletes: narrowed, it deletes them, and the rest is found afterwards.
        let batch = "/history/v1.0@/experiments/leaves/batch/runs";
        let many = |numbers: std::ops::Range<usize>| {
            let runs =
                numbers.map(|number| json!({ "runId": format!("many{number}"), "displayName": "many" }));
            json!({ "runs": runs.collect::<Vec<_>>() })
        };
        for numbers in [0..1_000, 1_000..1_001] {
            assert_eq!(team.ok("PATCH", batch, many(numbers)).await["errors"], json!({}));
        }
        let of_many = "$filter=DisplayName%20eq%20many";
        for query in [of_many.to_owned(), format!("{of_many}&dryRun=true")] {
            let (status, answer) = team.call("DELETE", &format!("{runs}?{query}"), json!(null)).await;
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && message.contains("repeat until nothing is selected"), "{answer}");
        }
        let narrowed = format!("{runs}?{of_many}%20and%20RunId%20ne%20many0");
        team.ok("DELETE", &narrowed, json!(null)).await;
        let plan = team.ok("DELETE", &format!("{runs}?{of_many}&dryRun=true"), json!(null)).await;
        assert_eq!(plan["selected"], 1);
        team.ok("DELETE", &format!("{runs}?{of_many}"), json!(null)).await;
        // Nothing is left to find: a receipt of nothing.
        let plan = team.ok("DELETE", &format!("{runs}?{filter}&dryRun=true"), json!(null)).await;
        assert_eq!((&plan["selected"], &plan["deletes"]), (&json!(0), &json!([])));
        team.ok("DELETE", &format!("{runs}?{filter}"), json!(null)).await;
        assert_eq!(there().await, ["a", "b", "c", "d"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_blob_is_kept_checked_or_refused() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let team = Team::new(&deployment, &someone).await;
        let put = async |address: &str, headers: &[(&str, &str)], body: &[u8]| {
            let (status, answer, _) = team.storage("PUT", address, headers, body.to_vec()).await;
            let code = answer.get("x-ms-error-code").map(|code| code.to_str().unwrap().to_owned());
            (status, code.unwrap_or_default())
        };
        let block = ("x-ms-blob-type", "BlockBlob");
        // Of "leaves" and of no bytes.
        let (right, other) = ("effS7xcoXUPrWBnOj9Rpmg==", "1B2M2Y8AsgTpgAmY7PhCfg==");
        let address = team.announced("leaves.bin").await;
        for (headers, code) in [
            (vec![block, ("x-ms-blob-content-md5", other)], "Md5Mismatch"),
            (vec![block, ("x-ms-blob-content-md5", right), ("content-md5", other)], "Md5Mismatch"),
            (vec![block, ("x-ms-blob-content-md5", "?")], "InvalidHeaderValue"),
            (vec![block, ("x-ms-blob-content-type", "leaves")], "InvalidHeaderValue"),
            (vec![block, ("x-ms-meta-kind", "oak")], "UnsupportedHeader"),
        ] {
            assert_eq!(put(&address, &headers, b"leaves").await, (400, code.to_owned()), "{headers:?}");
        }
        let typed = [
            block,
            ("x-ms-blob-content-type", "text/leaves; charset=utf-8"),
            ("x-ms-blob-content-md5", right),
        ];
        assert_eq!(put(&address, &typed, b"leaves").await.0, 201);
        let (status, headers, bytes) = team.storage("GET", &address, &[], Vec::new()).await;
        assert_eq!((status, bytes.as_slice()), (200, b"leaves".as_slice()));
        assert_eq!(headers["content-type"], "text/leaves; charset=utf-8");
        // It runs in no browser, whatever its type.
        assert_eq!(
            (&headers["content-disposition"], &headers["x-content-type-options"]),
            (&"attachment".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        // Other operations are not answered with the bytes.
        for (method, comp) in
            [("GET", "metadata"), ("GET", "blocklist"), ("HEAD", "metadata"), ("PUT", "metadata")]
        {
            let (status, headers, bytes) =
                team.storage(method, &format!("{address}&comp={comp}"), &[], Vec::new()).await;
            assert_eq!(
                (status, &headers["x-ms-error-code"]),
                (501, &"UnsupportedQueryParameter".parse().unwrap())
            );
            assert!(!String::from_utf8_lossy(&bytes).contains("leaves"), "{method} {comp}");
        }

        // Of a file in blocks the list says it.
        let address = team.announced("blocks").await;
        let list = b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>";
        for (md5, expected) in [(other, 400), (right, 201)] {
            for (id, bytes) in [("MQ%3D%3D", b"lea"), ("Mg%3D%3D", b"ves")] {
                let block = format!("{address}&comp=block&blockid={id}");
                assert_eq!(put(&block, &[], bytes).await.0, 201);
            }
            let said = [("x-ms-blob-content-type", "text/leaves"), ("x-ms-blob-content-md5", md5)];
            let (status, code) = put(&format!("{address}&comp=blocklist"), &said, list).await;
            assert_eq!(status, expected, "{code}");
        }
        let (_, headers, bytes) = team.storage("GET", &address, &[], Vec::new()).await;
        assert_eq!(
            (bytes.as_slice(), &headers["content-type"]),
            (b"leaves".as_slice(), &"text/leaves".parse().unwrap())
        );
    }
}
