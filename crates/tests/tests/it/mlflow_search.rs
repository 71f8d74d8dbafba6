//! What a search over runs answers.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::deployment::{Deployment, engines};
use crate::mlflow::Tracker;

/// Runs: more than one statement reads the metrics of.
const RUNS: u32 = 70;

/// A filter, and which runs it finds.
type Filter = (&'static str, fn(u32) -> bool);

/// A third of the runs have no metric, a third have one, a third have two.
fn has_acc(number: u32) -> bool {
    !number.is_multiple_of(3)
}

fn has_loss(number: u32) -> bool {
    number % 3 == 2
}

fn acc(number: u32) -> f64 {
    f64::from(number) / 128.0
}

fn loss(number: u32) -> f64 {
    1.0 - acc(number)
}

fn rate(number: u32) -> &'static str {
    if number.is_multiple_of(5) { "0.1" } else { "0.2" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_its_runs_and_each_has_its_own_metrics() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let tracker = Tracker::new(&deployment, &someone).await;
        let experiments = [tracker.experiment("even").await, tracker.experiment("odd").await];
        let point = |key: &str, step: u32, value: f64| json!({ "key": key, "step": step, "timestamp": 1, "value": value });
        let mut runs = HashMap::new();
        for number in 0..RUNS {
            let run = tracker.run(&experiments[number as usize % 2], &format!("run-{number}")).await;
            let mut newest = Vec::new();
            if has_acc(number) {
                newest.push(point("acc", 1, acc(number)));
            }
            if has_loss(number) {
                newest.push(point("loss", 1, loss(number)));
            }
            // What was measured before is in no answer.
            let before = newest.iter().map(|newest| point(newest["key"].as_str().unwrap(), 0, 0.75));
            let body = json!({ "run_id": run, "metrics": before.chain(newest.clone()).collect::<Vec<_>>(),
                "params": [{ "key": "lr", "value": rate(number) }] });
            tracker.ok("POST", "/runs/log-batch", body).await;
            let shown = if newest.is_empty() { Value::Null } else { json!(newest) };
            runs.insert(run, (number, shown));
        }
        let filters: [Filter; 7] = [
            ("", |_| true),
            ("params.lr = '0.1'", |number| rate(number) == "0.1"),
            ("metrics.acc > 0.1", |number| has_acc(number) && acc(number) > 0.1),
            ("metrics.acc > 0.1 and metrics.acc <= 0.5", |number| {
                has_acc(number) && acc(number) > 0.1 && acc(number) <= 0.5
            }),
            ("metrics.acc > 0.1 and metrics.loss > 0.5", |number| {
                has_loss(number) && acc(number) > 0.1 && loss(number) > 0.5
            }),
            ("metrics.loss > 0.5 and params.lr = '0.1'", |number| {
                has_loss(number) && loss(number) > 0.5 && rate(number) == "0.1"
            }),
            ("metrics.nothing > 0.5", |_| false),
        ];
        for (filter, is_found) in filters {
            for order in
                [json!([]), json!(["metrics.acc DESC"]), json!(["attributes.run_name", "metrics.acc"])]
            {
                let body = json!({ "experiment_ids": experiments, "filter": filter, "order_by": order });
                let answer = tracker.ok("POST", "/runs/search", body).await;
                let mut found = BTreeSet::new();
                for run in answer["runs"].as_array().into_iter().flatten() {
                    let (number, shown) = &runs[run["info"]["run_id"].as_str().unwrap()];
                    assert_eq!(run["data"]["metrics"], *shown, "{filter} {order}");
                    assert!(found.insert(*number), "{filter} {order}");
                }
                let expected: BTreeSet<u32> = (0..RUNS).filter(|number| is_found(*number)).collect();
                assert_eq!(found, expected, "{filter} {order}");
            }
        }
    }
}
