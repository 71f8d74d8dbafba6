//! Run history and metrics, as `azureml-core` calls them, by plain HTTP.

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::deployment::{Deployment, Someone, engines};
use crate::mlflow::Tracker;

/// A person who calls run history in a workspace.
pub(crate) struct Historian<'a> {
    tracker: Tracker<'a>,
    /// `/subscriptions/.../workspaces/forest`.
    pub(crate) scope: String,
}

impl<'a> Historian<'a> {
    /// Makes the workspace.
    pub(crate) async fn new(deployment: &'a Deployment, someone: &Someone) -> Historian<'a> {
        let tracker = Tracker::new(deployment, someone).await;
        let scope = format!(
            "/subscriptions/{}/resourceGroups/Trees/providers/Microsoft.MachineLearningServices/workspaces/Forest",
            someone.id
        );
        let path = format!("{scope}?api-version=2020-08-01");
        let (status, answer) = tracker.send("PUT", &path, &json!({ "location": "here" })).await;
        assert!(status < 300, "{answer}");
        Historian { tracker, scope }
    }

    /// Calls an operation; the status and the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.tracker.send(method, &self.address(path), &body).await
    }

    /// The whole address of an operation of run history, or of another service (`/metric:...`).
    pub(crate) fn address(&self, path: &str) -> String {
        for (before, service) in [
            ("/metric:", "/metric/v2.0"),
            ("/notification:", "/notification/v1.0"),
            ("/content:", "/content/v2.0"),
        ] {
            if let Some(rest) = path.strip_prefix(before) {
                return format!("{service}{}{rest}", self.scope);
            }
        }
        format!("/history/v1.0{}{path}", self.scope)
    }

    /// Calls an operation that must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Calls MLflow's API in the same workspace; it must succeed.
    pub(crate) async fn mlflow(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/mlflow/v2.0{}/api/2.0/mlflow{path}", self.scope);
        let (status, answer) = self.tracker.send(method, &path, &body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Makes an experiment; its id.
    pub(crate) async fn experiment(&self, name: &str) -> String {
        let made = self.ok("POST", &format!("/experiments/{name}"), json!(null)).await;
        made["experimentId"].as_str().unwrap().to_owned()
    }

    /// Makes a run as `start_logging` does.
    pub(crate) async fn run(&self, experiment: &str, id: &str) -> Value {
        let body = json!({ "runId": id, "name": format!("run_{id}"), "properties": {}, "target": "local",
            "runTypeV2": { "orchestrator": "External", "traits": ["unspecified"] } });
        self.ok("PATCH", &format!("/experiments/{experiment}/runs/{id}"), body).await
    }

    pub(crate) async fn event(&self, experiment: &str, id: &str, name: &str, data: Value) {
        let body = json!({ "timestamp": "2026-01-15T08:42:02.048741Z",
            "name": format!("Microsoft.MachineLearning.Run.{name}"), "data": data });
        self.ok("POST", &format!("/experiments/{experiment}/runs/{id}/events"), body).await;
    }

    /// The ids of the runs that a query finds.
    async fn found(&self, body: Value) -> Vec<String> {
        names(&self.ok("POST", "/experiments/leaves/runs:query", body).await, "runId")
    }
}

pub(crate) fn names(answer: &Value, field: &str) -> Vec<String> {
    let list = answer["value"].as_array().unwrap();
    list.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

/// Ids and times of an answer, which differ from run to run.
fn settled(mut answer: Value, someone: &Someone) -> Value {
    let text = answer.to_string().replace(&someone.id, "[person]");
    answer = serde_json::from_str(&text).unwrap();
    for name in ["experimentId", "runUuid", "rootRunUuid", "createdUtc", "startTimeUtc", "endTimeUtc"] {
        if answer.get(name).is_some_and(|value| !value.is_null()) {
            answer[name] = json!(format!("[{name}]"));
        }
    }
    answer
}

pub(crate) fn scalar(name: &str, id: &str, value: Value) -> Value {
    json!({ "name": name, "columns": { name: "double" }, "properties": { "uxMetricType": "azureml.v1.scalar" },
        "value": [{ "metricId": id, "createdUtc": "2026-01-15T08:42:02.060942Z", "data": { name: value } }] })
}

pub(crate) fn table(name: &str, id: &str, columns: Value, data: Value) -> Value {
    json!({ "name": name, "columns": columns, "properties": { "uxMetricType": "azureml.v1.table" },
        "value": [{ "metricId": id, "createdUtc": "2026-01-15T08:42:02.060942Z", "data": data }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_run_history_and_mlflow_are_the_same() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "Ada").await;
        let historian = Historian::new(&deployment, &someone).await;
        let (status, answer) = historian.call("GET", "/experiments/leaves", json!(null)).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("UserError")));
        let experiment = historian.experiment("leaves").await;
        assert_eq!(historian.experiment("leaves").await, experiment);

        let made = historian.run("leaves", "r-1").await;
        insta::assert_json_snapshot!("history_run", settled(made, &someone));
        historian.event("leaves", "r-1", "Start", json!({ "StartTime": "2026-01-15T08:42:02.5Z" })).await;
        // By the experiment's id, as clients go on.
        let body = json!({ "tags": { "kind": "oak", "mlflow.user": "ada", "empty": null }, "properties": { "lr": "0.1" },
            "description": "first", "displayName": "First", "scriptName": "train.py" });
        let changed = historian.ok("PATCH", &format!("/experimentids/{experiment}/runs/r-1"), body).await;
        insta::assert_json_snapshot!("history_run_changed", settled(changed, &someone));

        // MLflow sees all of it, under the same id.
        let run = historian.mlflow("GET", "/runs/get?run_id=r-1", json!(null)).await["run"].clone();
        let info = &run["info"];
        assert_eq!(
            (&info["run_id"], &info["run_name"], &info["status"]),
            (&json!("r-1"), &json!("First"), &json!("RUNNING"))
        );
        assert_eq!(info["start_time"], 1_768_466_522_500_i64);
        assert_eq!(run["data"]["params"], json!([{ "key": "lr", "value": "0.1" }]));
        let tags = run["data"]["tags"].to_string();
        for tag in ["\"oak\"", "\"ada\"", "\"first\"", "\"train.py\"", "mlflow.note.content"] {
            assert!(tags.contains(tag), "{tag}: {tags}");
        }
        let searched = json!({ "experiment_ids": [experiment.replace('-', "")], "filter": "tags.kind = 'oak' and run_id = 'r-1'" });
        let searched = historian.mlflow("POST", "/runs/search", searched).await;
        assert_eq!(searched["runs"].as_array().unwrap().len(), 1);

        // What MLflow logs, run history shows; also of a run that MLflow made.
        let body = json!({ "run_id": "r-1", "key": "loss", "value": 0.5, "timestamp": 1_768_466_522_000_i64, "step": 7 });
        historian.mlflow("POST", "/runs/log-metric", body).await;
        let full = historian.ok("POST", "/metric:/runs/r-1/full", json!({ "metricName": "loss" })).await;
        assert_eq!(full["value"][0]["data"], json!({ "loss": 0.5 }));
        assert_eq!(full["value"][0]["step"], 7);
        historian.mlflow("POST", "/runs/update", json!({ "run_id": "r-1", "status": "KILLED" })).await;
        let shown = historian.ok("GET", "/runs/r-1", json!(null)).await;
        assert_eq!(shown["status"], "Canceled");
        assert!(shown["endTimeUtc"].is_string(), "the end is known: {shown}");
        let body = json!({ "experiment_id": experiment.replace('-', ""), "run_name": "other",
            "tags": [{ "key": "mlflow.parentRunId", "value": "r-1" }] });
        let other = historian.mlflow("POST", "/runs/create", body).await;
        let other = other["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let shown = historian.ok("GET", &format!("/experiments/leaves/runs/{other}"), json!(null)).await;
        assert_eq!(
            (&shown["displayName"], &shown["parentRunId"], &shown["rootRunId"]),
            (&json!("other"), &json!("r-1"), &json!("r-1"))
        );
        let children = historian.ok("GET", "/experiments/leaves/runs/r-1/children", json!(null)).await;
        assert_eq!(names(&children, "runId"), std::slice::from_ref(&other));
        historian.mlflow("POST", "/runs/delete", json!({ "run_id": other })).await;
        let (status, _) = historian.call("GET", &format!("/runs/{other}"), json!(null)).await;
        assert_eq!(status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_run_follows_its_events() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        let path = "/experiments/leaves/runs/r";
        let mlflow = async |historian: &Historian<'_>| {
            let run = historian.mlflow("GET", "/runs/get?run_id=r", json!(null)).await;
            run["run"]["info"]["status"].as_str().unwrap().to_owned()
        };
        for (event, data, status, of_mlflow) in [
            ("Queued", json!({}), "Queued", "SCHEDULED"),
            ("Start", json!({}), "Running", "RUNNING"),
            ("Heartbeat", json!({ "TimeToLiveSeconds": 30 }), "Running", "RUNNING"),
            ("Heartbeat", json!({ "TimeToLiveSeconds": 60 }), "Running", "RUNNING"),
            ("Warning", json!({ "Source": "s", "Message": "slow" }), "Running", "RUNNING"),
            ("CancelRequested", json!({}), "CancelRequested", "RUNNING"),
            (
                "Error",
                json!({ "ErrorResponse": { "error": { "code": "UserError", "message": "oops" } } }),
                "CancelRequested",
                "RUNNING",
            ),
            ("Failed", json!({ "EndTime": "2026-01-15T09:00:00Z" }), "Failed", "FAILED"),
        ] {
            historian.event("leaves", "r", event, data).await;
            assert_eq!(historian.ok("GET", path, json!(null)).await["status"], status, "{event}");
            assert_eq!(mlflow(&historian).await, of_mlflow, "{event}");
        }
        let details = historian.ok("GET", &format!("{path}/details"), json!(null)).await;
        insta::assert_json_snapshot!("history_run_details", settled(details.clone(), &someone));
        assert_eq!(historian.ok("GET", "/runs/r/runstatus", json!(null)).await, details);
        let events = historian.ok("GET", &format!("{path}/events?$top=4"), json!(null)).await;
        assert_eq!(events["value"].as_array().unwrap().len(), 4);
        let token = events["continuationToken"].as_str().unwrap();
        let rest =
            historian.ok("GET", &format!("{path}/events?$continuationToken={token}"), json!(null)).await;
        // The second heartbeat took the place of the first.
        assert_eq!(rest["value"].as_array().unwrap().len(), 3);
        let filtered = "/events?$filter=Name%20eq%20Microsoft.MachineLearning.Run.Heartbeat";
        let filtered = historian.ok("GET", &format!("{path}{filtered}"), json!(null)).await;
        assert_eq!(filtered["value"][0]["data"], json!({ "TimeToLiveSeconds": 60 }));

        // Every state that a client reports comes back, and MLflow's clients get one that they know.
        for status in [
            "NotStarted",
            "Preparing",
            "Provisioning",
            "Starting",
            "Finalizing",
            "Unapproved",
            "NotResponding",
            "Pausing",
            "Paused",
            "Completed",
        ] {
            let changed = historian.ok("PATCH", path, json!({ "status": status })).await;
            assert_eq!(changed["status"], status);
            assert!(["RUNNING", "SCHEDULED", "FINISHED"].contains(&mlflow(&historian).await.as_str()));
        }
        let body = json!({ "events": [
            { "name": "Microsoft.MachineLearning.Run.Canceled", "data": { "RunId": "r" } },
            { "name": "Microsoft.MachineLearning.Run.Start", "data": { "RunId": "none" } },
            { "name": "Custom" },
        ] });
        let errors = historian.ok("POST", "/experiments/leaves/batch/events", body).await["errors"].clone();
        assert_eq!(errors.as_array().unwrap().len(), 2, "{errors}");
        assert_eq!(historian.ok("GET", path, json!(null)).await["status"], "Canceled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_what_clients_ask() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        for id in ["a", "b", "c", "d"] {
            historian.run("leaves", id).await;
        }
        let patch = async |id: &str, body: Value| {
            historian.ok("PATCH", &format!("/experiments/leaves/runs/{id}"), body).await;
        };
        patch("a", json!({ "status": "Completed", "tags": { "kind": "oak tree" }, "startTimeUtc": "2026-01-02T00:00:00Z" })).await;
        patch("b", json!({ "status": "Failed", "properties": { "azureml.runsource": "job" }, "startTimeUtc": "2026-01-03T00:00:00Z" })).await;
        patch("c", json!({ "parentRunId": "a", "runType": "job", "target": "big machine" })).await;
        patch("d", json!({ "parentRunId": "c", "hidden": true })).await;
        let batch = json!({ "values": [scalar("loss", "1", json!(0.5))] });
        historian.ok("POST", "/metric:/runs/a/batch", batch).await;
        for (filter, wanted) in [
            ("", "d c b a"),
            ("(ParentRunId eq null)", "b a"),
            ("RunId eq a or RunId eq c", "c a"),
            ("(Status eq Completed)", "a"),
            ("(Tags/kind eq \"oak tree\")", "a"),
            ("(Tags/kind ne null or Tags/kind eq null)", "a"),
            ("(RunType eq job or Properties/azureml.runsource eq job)", "c b"),
            ("(Target eq big machine)", "c"),
            ("RootRunId eq a and RunId ne a", "d c"),
            ("(RunTypeV2/Orchestrator eq External) and (Hidden eq true)", "d"),
            ("(RunTypeV2/Traits/unspecified ne null) or (RunTypeV2/Traits/unspecified eq null)", "d c b a"),
            (
                "(Status eq Completed) and (RunTypeV2/Traits/unspecified ne null) or (RunTypeV2/Traits/unspecified eq null)",
                "a",
            ),
            (
                "(Status eq Completed) and (RunTypeV2/Traits/other ne null) or (RunTypeV2/Traits/other eq null)",
                "",
            ),
            ("(CreatedUtc ge 2026-01-01 00:00:00)", "d c b a"),
            ("StartTimeUtc gt 2026-01-02T12:00:00Z and Status eq Failed", "b"),
            ("RunNumber le 2", "b a"),
            ("Metrics/loss lt 0.75", "a"),
            ("Name eq 'run_b'", "b"),
        ] {
            let found = historian.found(json!({ "filter": filter })).await;
            assert_eq!(found.join(" "), wanted, "{filter}");
        }
        let sorted = historian.found(json!({ "orderby": "StartTimeUtc desc", "filter": "RunId ne d" })).await;
        assert_eq!(sorted, ["b", "a", "c"]);
        // Pages, by the query and by the body, while a run is added.
        let first = historian.ok("GET", "/experiments/leaves/runs?$top=2&$count=true", json!(null)).await;
        assert_eq!(
            (names(&first, "runId"), &first["count"]),
            (vec!["d".to_owned(), "c".to_owned()], &json!(4))
        );
        historian.run("leaves", "e").await;
        let token = first["continuationToken"].clone();
        let rest = historian
            .ok("POST", "/experiments/leaves/runs:query", json!({ "continuationToken": token, "top": 500 }))
            .await;
        assert_eq!(
            (names(&rest, "runId"), &rest["continuationToken"]),
            (vec!["b".to_owned(), "a".to_owned()], &json!(null))
        );
        let counts =
            historian.ok("GET", "/experiments/leaves/runcounts?$filter=RunId%20ne%20b", json!(null)).await;
        assert_eq!(
            (&counts["completed"], &counts["failed"], &counts["notStarted"]),
            (&json!(1), &json!(0), &json!(3))
        );
        assert_eq!(historian.ok("GET", "/runs:runcounts", json!(null)).await["failed"], 1);
        let of_machine = historian.ok("GET", "/computes/big%20machine/runs", json!(null)).await;
        assert_eq!(names(&of_machine, "runId"), ["c"]);
        assert_eq!(names(&historian.ok("GET", "/projects/x/runs", json!(null)).await, "runId").len(), 5);
        assert_eq!(names(&historian.ok("GET", "/runs/a/childruns", json!(null)).await, "runId"), ["c"]);
        for (path, body) in [
            ("/experiments/leaves/runs:query", json!({ "filter": "Colour eq red" })),
            ("/experiments/leaves/runs:query", json!({ "filter": "Status eq" })),
            ("/experiments/leaves/runs:query", json!({ "orderby": "Colour" })),
            ("/experiments/leaves/runs:query", json!({ "continuationToken": "x" })),
            ("/experiments/leaves/runs:query", json!({ "top": "many" })),
            ("/experiments/leaves/runs:query", json!({ "top": 0 })),
        ] {
            let (status, answer) = historian.call("POST", path, body.clone()).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("UserError")), "{body}: {answer}");
        }
        assert_eq!(historian.call("GET", "/experiments/leaves/runs?$top=0", json!(null)).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_2018_are_made_changed_and_deleted() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        let project = "/Projects/oaks";
        let made = historian
            .ok("POST", &format!("{project}/Runs"), json!({ "name": "first", "status": "Running" }))
            .await;
        let id = made["runId"].as_str().unwrap().to_owned();
        let path = format!("{project}/runs/{id}");
        let changed = historian.ok("PUT", &path, json!({ "name": "renamed", "tags": { "a": "b" } })).await;
        assert_eq!(
            (&changed["name"], &changed["displayName"], &changed["tags"]["a"]),
            (&json!("renamed"), &json!("renamed"), &json!("b"))
        );
        historian.ok("PATCH", &format!("{project}/runs"), json!({ "runId": id, "description": "d" })).await;
        let child = historian.ok("POST", &format!("{path}/childruns"), json!({ "runId": "child" })).await;
        assert_eq!(
            (&child["parentRunId"], &child["rootRunId"], &child["runNumber"]),
            (&json!(id), &json!(id), &json!(2))
        );
        // The name of its files' container is taken for a run.
        let contained = format!("{project}/runs/dcid.{id}");
        let body = json!({ "runId": "dcid.other" });
        let other = historian.ok("POST", &format!("{contained}/childruns"), body).await;
        assert_eq!((&other["runId"], &other["parentRunId"]), (&json!("other"), &json!(id)));
        let children = historian.ok("GET", &format!("{contained}/childruns"), json!(null)).await;
        assert_eq!(names(&children, "runId"), ["other", "child"]);
        let by_experiment = format!("/experiments/Default/runs/dcid.{id}");
        let children = historian.ok("GET", &format!("{by_experiment}/children"), json!(null)).await;
        assert_eq!(names(&children, "runId"), ["other", "child"]);
        for said in [json!(id), json!(format!("dcid.{id}"))] {
            let patched = historian.ok("PATCH", &by_experiment, json!({ "runId": said })).await;
            assert_eq!(patched["runId"], json!(id));
        }
        let token = historian.ok("GET", &format!("{path}/token"), json!(null)).await;
        assert!(
            token["expiryTimeUtc"].is_string() && token["token"].as_str().unwrap().split('.').count() == 3
        );
        let (status, _) =
            historian.call("PUT", &format!("{project}/runs/none"), json!({ "name": "x" })).await;
        assert_eq!(status, 404);
        let body = json!({ "runs": [{ "runId": "x1" }, { "runId": "child", "name": "c" }, { "runId": "a/b" }, { "runId": "x2", "status": "Odd" }] });
        let batch = historian.ok("PATCH", "/experiments/Default/batch/runs", body).await;
        assert_eq!(batch["runs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["child", "x1"]);
        assert_eq!(batch["errors"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a/b", "x2"]);
        // One run of an id in a workspace.
        historian.experiment("leaves").await;
        let (status, answer) = historian.call("PATCH", "/experiments/leaves/runs/x1", json!({})).await;
        assert_eq!(status, 409, "{answer}");
        let body = json!({ "runs": [{ "runId": "x1" }, { "runId": "x3" }] });
        let batch = historian.ok("PATCH", "/experiments/leaves/batch/runs", body).await;
        assert_eq!(batch["runs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["x3"]);
        assert_eq!(batch["errors"]["x1"]["error"]["innerError"]["code"], "Conflict", "{batch}");
        let body = json!(["a", "none"]);
        let without = historian.ok("DELETE", &format!("/experiments/Default/runs/{id}/tags"), body).await;
        assert_eq!(without["tags"], json!({}));
        historian.ok("DELETE", "/experiments/Default/runs/x1", json!(null)).await;
        let (status, _) = historian.call("GET", "/runs/x1", json!(null)).await;
        assert_eq!(status, 404);
        // Its id can be used again.
        historian.run("leaves", "x1").await;
        for (method, path, body) in [
            ("PATCH", "/experiments/leaves/runs/a%20b", json!({})),
            ("PATCH", "/experiments/leaves/runs/a", json!({ "runId": "b" })),
            ("PATCH", "/experiments/leaves/runs/a", json!([])),
            ("PATCH", "/experiments/leaves/runs/a", json!({ "status": "Odd" })),
            ("PATCH", "/experiments/leaves/runs/a", json!({ "startTimeUtc": "soon" })),
            ("PATCH", "/experiments/leaves/runs/a", json!({ "tags": { "a": [] } })),
            ("PATCH", "/experiments/leaves/runs/a", json!({ "target": 1 })),
            ("POST", "/experiments/leaves/runs/x1/events", json!({ "name": "x", "data": 1 })),
            ("POST", "/experiments/leaves/runs/x1/metrics", json!({ "name": "x", "cells": [] })),
            ("POST", "/metric:/runs/x1/batch", json!({})),
            ("DELETE", "/experiments/leaves/runs/x1/tags", json!({})),
        ] {
            let (status, answer) = historian.call(method, path, body.clone()).await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (400, &json!("UserError")),
                "{method} {path} {body}: {answer}"
            );
        }
        let (_, refused) =
            historian.call("PATCH", "/experiments/leaves/runs/a", json!({ "status": "Odd" })).await;
        insta::assert_json_snapshot!("history_refused", refused, {
            ".correlation.operation" => "[id]", ".correlation.request" => "[id]", ".time" => "[time]",
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn experiments_are_archived_and_deleted_with_their_runs() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        let id = historian.experiment("leaves").await;
        let path = format!("/experimentIds/{id}");
        historian.run("leaves", "r").await;
        let body = json!({ "description": "d", "tags": { "a": "b", "c": "d" }, "archive": true });
        let changed = historian.ok("PATCH", &path, body).await;
        assert!(changed["archivedTime"].is_string());
        let mut shown = settled(changed.clone(), &someone);
        shown["archivedTime"] = json!("[time]");
        insta::assert_json_snapshot!("history_experiment", shown);
        assert_eq!(historian.ok("GET", &path, json!(null)).await, changed);
        // What is written into it later does not move the time.
        let described = historian.ok("PATCH", &path, json!({ "description": "e", "archive": true })).await;
        assert_eq!(described["archivedTime"], changed["archivedTime"]);
        let list = async |body: Value| names(&historian.ok("POST", "/experiments:query", body).await, "name");
        assert_eq!(list(json!({})).await, ["Default"]);
        assert_eq!(list(json!({ "viewType": "ArchivedOnly" })).await, ["leaves"]);
        assert_eq!(list(json!({ "viewType": "All", "orderby": "Name desc" })).await, ["leaves", "Default"]);
        assert_eq!(list(json!({ "viewType": "All", "filter": "(Tags/a eq \"b\")" })).await, ["leaves"]);
        assert_eq!(
            names(&historian.ok("GET", "/projects/p/experiments", json!(null)).await, "name"),
            ["Default"]
        );
        let of_mlflow = historian
            .mlflow("GET", &format!("/experiments/get?experiment_id={}", id.replace('-', "")), json!(null))
            .await;
        assert_eq!(of_mlflow["experiment"]["lifecycle_stage"], "deleted");
        let (status, _) = historian.call("PATCH", "/experiments/leaves/runs/new", json!({})).await;
        assert_eq!(status, 400);
        let deleted =
            historian.ok("POST", &format!("{path}/tags:delete"), json!({ "tags": ["a", "x"] })).await;
        assert_eq!(deleted["errors"].as_object().unwrap().keys().collect::<Vec<_>>(), ["x"]);
        let active = historian.ok("PATCH", &path, json!({ "archive": false, "name": "renamed" })).await;
        assert_eq!((&active["archivedTime"], &active["tags"]), (&json!(null), &json!({ "c": "d" })));
        let (status, _) = historian.call("PATCH", &path, json!({ "name": "Default" })).await;
        assert_eq!(status, 409);
        let plan = historian.ok("DELETE", &format!("{path}?dryRun=true"), json!(null)).await;
        let counts: Vec<(&str, u64)> = plan["deletes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["kind"].as_str().unwrap(), one["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(counts, [("Experiment", 1), ("Run", 1)]);
        historian.ok("DELETE", &path, json!(null)).await;
        assert_eq!(historian.call("GET", "/runs/r", json!(null)).await.0, 404);
        assert_eq!(historian.call("DELETE", &path, json!(null)).await.0, 404);
        let again = historian.experiment("renamed").await;
        assert_ne!(again, id);
        historian.run("renamed", "r").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_the_same_run_at_once_makes_one_and_no_value_is_lost() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.experiment("roots").await;
        let made = join_all((0..8).map(|number| {
            let experiment = if number % 2 == 0 { "leaves" } else { "roots" };
            let path = format!("/experiments/{experiment}/runs/r");
            let (historian, body) = (&historian, json!({ "tags": { format!("t{number}"): "x" } }));
            async move { historian.call("PATCH", &path, body).await.0 }
        }))
        .await;
        // One experiment has it, with every tag that was sent there; the other is told so.
        assert_eq!(made.iter().filter(|status| **status == 200).count(), 4, "{made:?}");
        assert_eq!(made.iter().filter(|status| **status == 409).count(), 4, "{made:?}");
        let runs = historian.ok("GET", "/runs", json!(null)).await;
        assert_eq!(names(&runs, "runId"), ["r"]);
        assert_eq!(runs["value"][0]["tags"].as_object().unwrap().len(), 4);
        let batches = (0..8).map(|batch| {
            let values: Vec<Value> = (0..10)
                .map(|value| scalar("loss", &format!("{batch}-{value}"), json!(batch * 10 + value)))
                .collect();
            historian.ok("POST", "/metric:/runs/r/batch", json!({ "values": values }))
        });
        join_all(batches).await;
        let full = historian.ok("POST", "/metric:/runs/r/full", json!({ "metricName": "loss" })).await;
        let values = full["value"].as_array().unwrap();
        let mut steps: Vec<i64> = values.iter().map(|value| value["step"].as_i64().unwrap()).collect();
        steps.sort_unstable();
        assert_eq!(steps, (0..80).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_a_run_history_of_its_own() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let caller = crate::arm::Caller::new(&deployment, &someone).await;
        let [_, workspace, project] = crate::control_plane::make(&caller, &someone.id).await;
        let elsewhere = Historian::new(&deployment, &someone).await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let historian = Historian { tracker, scope: project.clone() };
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        historian.event("leaves", "r", "Completed", json!({})).await;
        historian
            .ok("POST", "/metric:/runs/r/batch", json!({ "values": [scalar("loss", "1", json!(1))] }))
            .await;
        assert_eq!(names(&historian.ok("GET", "/runs", json!(null)).await, "runId"), ["r"]);
        let run = historian.mlflow("GET", "/runs/get?run_id=r", json!(null)).await;
        assert_eq!(run["run"]["data"]["metrics"][0]["key"], "loss");
        // Of a workspace with one project, an address may leave it out.
        let tracker = Tracker::new(&deployment, &someone).await;
        let short = Historian { tracker, scope: workspace };
        assert_eq!(short.ok("GET", "/runs/r", json!(null)).await["status"], "Completed");
        assert_eq!(elsewhere.call("GET", "/runs/r", json!(null)).await.0, 404);
        elsewhere.experiment("leaves").await;
        elsewhere.run("leaves", "r").await;

        let address = format!("{project}?{}", crate::control_plane::PREVIEW);
        assert_eq!(caller.call("DELETE", &address, &[], json!(null)).await.0, 200);
        assert_eq!(historian.call("GET", "/runs/r", json!(null)).await.0, 404);
        assert_eq!(elsewhere.call("GET", "/runs/r", json!(null)).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_found_without_signing_in() {
    let _lock = crate::canary::protected().await;
    let deployment = Deployment::open(None).await;
    for (name, path) in [("metadata_endpoints", "/metadata/endpoints"), ("discovery", "/discovery")] {
        let (status, body) = deployment.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200);
        insta::assert_json_snapshot!(name, serde_json::from_slice::<Value>(&body).unwrap());
    }
}

/// Everything that takes a text, with a marker in it, for the canary.
pub(crate) async fn plant(
    deployment: &Deployment,
    someone: &Someone,
    marker: &impl Fn(&str) -> String,
) -> Vec<String> {
    let historian = Historian::new(deployment, someone).await;
    let map =
        |key: &str, value: &str| Value::Object([(marker(key), json!(marker(value)))].into_iter().collect());
    let experiment = marker("historyexperiment");
    let id = historian.experiment(&experiment).await;
    let body = json!({ "description": marker("historynote"), "tags": map("historytag", "historytagvalue") });
    historian.ok("PATCH", &format!("/experimentids/{id}"), body).await;
    let run = marker("historyrun");
    let body = json!({ "runId": run, "name": marker("historyname"), "displayName": marker("historyshown"),
        "description": marker("historydescription"), "scriptName": marker("historyscript"), "target": marker("historytarget"),
        "inputDatasets": [{ "identifier": { "savedId": marker("historyinput") } }],
        "outputDatasets": [{ "outputDetails": { "outputName": marker("historyoutput") } }],
        "runDefinition": { "user": marker("historydefinition") }, "createdFrom": { "location": marker("historyorigin") },
        "tags": map("historyruntag", "historyrunvalue"), "properties": map("historyproperty", "historypropertyvalue") });
    historian.ok("PATCH", &format!("/experiments/{experiment}/runs/{run}"), body).await;
    let body = json!({ "tags": { "mlflow.user": marker("historyuser") } });
    historian.ok("PATCH", &format!("/experiments/{experiment}/runs/{run}"), body).await;
    let body = json!({ "name": marker("historyevent"), "data": { "Message": marker("historymessage") } });
    historian.ok("POST", &format!("/experiments/{experiment}/runs/{run}/events"), body).await;
    let body = json!({ "values": [
        scalar(&marker("historymetric"), "1", json!(1)),
        table(&marker("historytable"), &marker("historymetricid"), map("historycolumn", "historysort"), map("historycolumn", "historycell")),
    ] });
    historian.ok("POST", &format!("/metric:/runs/{run}/batch"), body).await;
    let body = json!({ "metricId": "x", "name": "x", "metricType": "azureml.v1.list", "cells": [{ "x": 1 }],
        "description": marker("historymetricnote"), "label": marker("historylabel") });
    historian.ok("POST", &format!("/experiments/{experiment}/runs/{run}/metrics"), body).await;
    [
        "historyexperiment",
        "historynote",
        "historytag",
        "historytagvalue",
        "historyrun",
        "historyname",
        "historyshown",
        "historydescription",
        "historyscript",
        "historytarget",
        "historyinput",
        "historyoutput",
        "historydefinition",
        "historyorigin",
        "historyruntag",
        "historyrunvalue",
        "historyproperty",
        "historypropertyvalue",
        "historyuser",
        "historyevent",
        "historymessage",
        "historymetric",
        "historytable",
        "historymetricid",
        "historycolumn",
        "historysort",
        "historycell",
        "historymetricnote",
        "historylabel",
    ]
    .map(marker)
    .to_vec()
}
