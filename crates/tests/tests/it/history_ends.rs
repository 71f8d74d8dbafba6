//! Ends of runs: of those that are made when they are over, and of those that go on and end again. By plain HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use habeas_core::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::history::Historian;

/// When the clock of these tests begins.
const BEGIN: i64 = 1_800_000_000_000_000;
const MINUTE: i64 = 60_000_000;

/// A time so many minutes after the clock began, as answers have it.
fn after(minutes: i64) -> Value {
    json!(Timestamp(BEGIN + minutes * MINUTE).rfc3339())
}

/// How the runs ended of which somebody was told.
async fn told(historian: &Historian<'_>) -> BTreeMap<String, Vec<String>> {
    let told = historian.ok("GET", "/notification:/tasks", json!(null)).await;
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for job in told["value"].as_array().unwrap() {
        assert_eq!(job["isRead"], false);
        let [run, status] = ["runId", "status"].map(|name| job[name].as_str().unwrap().to_owned());
        ends.entry(run).or_default().push(status);
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_made_over_has_an_end_and_its_maker_is_told() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp(BEGIN)));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        let made = historian.ok("POST", "/runs", json!({ "runId": "a", "status": "Completed" })).await;
        assert_eq!((&made["status"], &made["endTimeUtc"]), (&json!("Completed"), &after(0)));
        let said = "2026-01-15T09:00:00.000000Z";
        let body = json!({ "runs": [
            { "runId": "b", "status": "Failed" },
            { "runId": "c", "status": "Canceled", "endTimeUtc": said },
            { "runId": "d", "status": "Running" },
        ] });
        let batch = historian.ok("PATCH", "/experiments/Default/batch/runs", body).await;
        let ends = ["b", "c", "d"].map(|id| &batch["runs"][id]["endTimeUtc"]);
        assert_eq!(ends, [&after(0), &json!(said), &json!(null)]);
        let expected = [("a", "Completed"), ("b", "Failed"), ("c", "Canceled")];
        let expected = expected.map(|(run, status)| (run.to_owned(), vec![status.to_owned()]));
        assert_eq!(told(&historian).await, BTreeMap::from(expected));
        // What a run is part of stands in its events as it does in its maker's notifications.
        historian.event("Default", "a", "Custom", json!({})).await;
        let events = historian.ok("GET", "/experiments/Default/runs/a/events", json!(null)).await;
        let jobs = historian.ok("GET", "/notification:/tasks", json!(null)).await;
        assert!(jobs["value"][0]["projectId"].is_string(), "{jobs}");
        assert_eq!(events["value"][0]["projectId"], jobs["value"][0]["projectId"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_has_no_end_until_it_ends_again() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let clock = Arc::new(ManualClock::new(Timestamp(BEGIN)));
        let deployment =
            Deployment::open_with_clock(clock.clone(), |settings| settings.database = database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let historian = Historian::new(&deployment, &someone).await;
        historian.experiment("leaves").await;
        historian.run("leaves", "r").await;
        let patch = async |body: Value| {
            let changed = historian.ok("PATCH", "/experiments/leaves/runs/r", body).await;
            changed["endTimeUtc"].clone()
        };
        assert_eq!(patch(json!({ "status": "Completed" })).await, after(0));
        clock.advance(MINUTE);
        // A repetition is not another end.
        assert_eq!(patch(json!({ "status": "Completed" })).await, after(0));
        historian.event("leaves", "r", "Start", json!({})).await;
        assert_eq!(patch(json!({})).await, json!(null));
        assert_eq!(patch(json!({ "status": "Failed" })).await, after(1));
        clock.advance(MINUTE);
        assert_eq!(patch(json!({ "status": "Running" })).await, json!(null));
        let said = "2026-01-15T09:00:00.000000Z";
        assert_eq!(patch(json!({ "status": "Canceled", "endTimeUtc": said })).await, json!(said));
        let ends = told(&historian).await;
        assert_eq!(ends["r"], ["Canceled", "Failed", "Completed"]);

        // MLflow's clients say the end themselves; where one does not, the run keeps the end that it has, as upstream.
        let update = async |body: Value| {
            let updated = historian.mlflow("POST", "/runs/update", body).await;
            updated["run_info"]["end_time"].clone()
        };
        assert_eq!(update(json!({ "run_id": "r", "status": "FINISHED", "end_time": 5 })).await, 5);
        assert_eq!(update(json!({ "run_id": "r", "status": "RUNNING" })).await, 5);
        assert_eq!(update(json!({ "run_id": "r", "status": "FINISHED" })).await, 5);
        // Run history's end is that of the last time, whoever let the run go on.
        assert_eq!(update(json!({ "run_id": "r", "status": "RUNNING" })).await, 5);
        assert_eq!(patch(json!({ "status": "Completed" })).await, after(2));
    }
}
