//! Logging, searching and deleting runs, against a real `mlflow server` with its defaults on SQLite.
//!
//! Both hold the same runs and are asked the same over HTTP, by the same load generator and in turns; both answer when what was written is on
//! the disk. Runs are deleted for good: at MLflow by its deletion and `mlflow gc`, here by deleting their experiment through the run history
//! API. Answers are compared, so that nothing is fast by being wrong.

mod peer;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::report::{Report, middle};
use crate::{ROUNDS, load};
use peer::{Peer, Tracker};

/// Runs that are searched, and what each has.
const RUNS: u64 = 10_000;
const METRICS: [&str; 5] = ["acc", "loss", "precision", "recall", "time"];
const STEPS: u64 = 10;
const PARAMS: u64 = 10;
const TAGS: u64 = 4;

const POINTS: u64 = 100_000;
const BATCH: u64 = 1_000;
/// Clients that log single metrics and make runs, and those that log batches.
const SINGLE_CLIENTS: usize = 16;
const BATCH_CLIENTS: usize = 8;

const DELETED: u64 = 1_000;
const ARTIFACT: usize = 1_024;

/// How much of the fast and of the slow a turn measures.
struct Share {
    singles: u64,
    batches: u64,
    searches: u32,
}

const OURS: Share = Share { singles: 20_000, batches: 400, searches: 20 };
const THEIRS: Share = Share { singles: 400, batches: 40, searches: 1 };

pub(crate) async fn measure(
    program: &Path,
    mlflow: Option<&Path>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(mlflow) = mlflow else {
        report.skip("runs, against `mlflow server`", "MLflow could not be installed");
        return Ok(());
    };
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let ours = Peer::habeas(program, &folders.0.path().join("data")).await?;
    let theirs = Peer::mlflow(mlflow, folders.1.path()).await?;
    let (world, other) = (World::make(&ours).await?, World::make(&theirs).await?);
    rates(&ours, &world, &theirs, &other, report).await?;
    reads(&ours, &world, &theirs, &other, report).await?;
    let (here, there) = (ours.memory()? as f64, theirs.memory()? as f64);
    report.add(
        "memory with these runs, against `mlflow server`",
        format!("{:.0} times less ({:.0} against {:.0} MB)", there / here, here / 1e6, there / 1e6),
        "at least 20 times less",
        there / here >= 20.0,
    );
    let (here, there) = (delete(&ours).await?, delete(&theirs).await?);
    faster(
        report,
        "1000 runs with artifacts deleted for good, against `mlflow server` and its `gc`",
        here,
        there,
        50.0,
    );
    ours.stop()?;
    theirs.stop()
}

/// How much faster the first is, in seconds.
fn faster(report: &mut Report, what: &str, ours: f64, theirs: f64, wanted: f64) {
    let ratio = theirs / ours;
    report.add(
        what,
        format!("{ratio:.0} times as fast ({:.1} against {:.0} ms)", ours * 1e3, theirs * 1e3),
        &format!("at least {wanted:.0} times"),
        ratio >= wanted,
    );
}

/// What a tracker holds.
struct World {
    experiment: String,
    /// Runs that metrics are logged to, one a client.
    logged: Arc<Vec<String>>,
    /// The run of one long series.
    long: String,
}

impl World {
    async fn make(peer: &Peer) -> anyhow::Result<World> {
        let mut tracker = peer.connect().await?;
        let experiment = new_experiment(&mut tracker, "searched").await?;
        let elsewhere = new_experiment(&mut tracker, "logged").await?;
        let mut logged = Vec::new();
        for _ in 0..SINGLE_CLIENTS {
            logged.push(tracker.create_run(&json!({ "experiment_id": elsewhere, "start_time": 1 })).await?);
        }
        let long = tracker.create_run(&json!({ "experiment_id": elsewhere, "start_time": 1 })).await?;
        for batch in 0..POINTS / BATCH {
            let points: Vec<Value> =
                (0..BATCH).map(|point| metric("long", batch * BATCH + point, point as f64)).collect();
            tracker.post("runs/log-batch", &json!({ "run_id": long, "metrics": points })).await?;
        }
        let of = experiment.clone();
        load::run(
            SINGLE_CLIENTS,
            RUNS,
            async || peer.connect().await,
            move |mut tracker, number| {
                let experiment = of.clone();
                async move {
                    let run = tracker.create_run(&described(&experiment, number)).await?;
                    tracker.post("runs/log-batch", &contents(&run, number)).await?;
                    Ok(tracker)
                }
            },
        )
        .await?;
        Ok(World { experiment, logged: logged.into(), long })
    }
}

async fn new_experiment(tracker: &mut Tracker, name: &str) -> anyhow::Result<String> {
    let made = tracker.post("experiments/create", &json!({ "name": name })).await?;
    Ok(made["experiment_id"].as_str().context("the experiment has no id")?.to_owned())
}

fn metric(key: &str, step: u64, value: f64) -> Value {
    json!({ "key": key, "value": value, "timestamp": 1_700_000_000_000_u64 + step, "step": step })
}

fn described(experiment: &str, number: u64) -> Value {
    let tags: Vec<Value> = (0..TAGS)
        .map(|tag| json!({ "key": format!("tag-{tag}"), "value": format!("v{}", number % 7) }))
        .collect();
    json!({ "experiment_id": experiment, "start_time": number, "run_name": format!("run-{number}"), "tags": tags })
}

fn contents(run: &str, number: u64) -> Value {
    // Every final accuracy once, in an order that is none.
    let last = ((number * 7_919) % RUNS) as f64 / RUNS as f64;
    let metrics: Vec<Value> = METRICS
        .iter()
        .flat_map(|name| {
            (0..STEPS).map(move |step| metric(name, step, last * (step + 1) as f64 / STEPS as f64))
        })
        .collect();
    let mut params =
        vec![json!({ "key": "lr", "value": if number.is_multiple_of(5) { "0.1" } else { "0.2" } })];
    params
        .extend((0..PARAMS).map(|param| json!({ "key": format!("p{param}"), "value": number.to_string() })));
    json!({ "run_id": run, "metrics": metrics, "params": params })
}

/// Metrics a second: one a request, and a thousand.
async fn rates(
    ours: &Peer,
    world: &World,
    theirs: &Peer,
    other: &World,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut singles, mut batches) = (Vec::new(), Vec::new());
    for turn in 0..ROUNDS as u64 {
        singles.push((
            log_singles(ours, world, OURS.singles, turn).await?,
            log_singles(theirs, other, THEIRS.singles, turn).await?,
        ));
        batches.push((
            log_batches(ours, world, OURS.batches, turn).await?,
            log_batches(theirs, other, THEIRS.batches, turn).await?,
        ));
    }
    for (what, turns, wanted) in [
        ("metrics logged one a request by 16 clients, against `mlflow server`", singles, 30.0),
        ("metrics logged 1000 a request by 8 clients, against `mlflow server`", batches, 15.0),
    ] {
        let (here, there) = middle(turns, |(here, there)| here / there)?;
        report.add(
            what,
            format!("{:.0} times the rate ({here:.0} against {there:.0} a second)", here / there),
            &format!("at least {wanted:.0} times"),
            here / there >= wanted,
        );
    }
    Ok(())
}

async fn log_singles(peer: &Peer, world: &World, total: u64, turn: u64) -> anyhow::Result<f64> {
    let runs = Arc::clone(&world.logged);
    load::run(
        SINGLE_CLIENTS,
        total,
        async || peer.connect().await,
        move |mut tracker, number| {
            let mut body = metric("single", turn * total + number, number as f64);
            body["run_id"] = json!(runs[number as usize % runs.len()]);
            async move {
                tracker.post("runs/log-metric", &body).await?;
                Ok(tracker)
            }
        },
    )
    .await
}

async fn log_batches(peer: &Peer, world: &World, total: u64, turn: u64) -> anyhow::Result<f64> {
    let runs = Arc::clone(&world.logged);
    let rate = load::run(
        BATCH_CLIENTS,
        total,
        async || peer.connect().await,
        move |mut tracker, number| {
            let first = (turn * total + number) * BATCH;
            let points: Vec<Value> =
                (0..BATCH).map(|point| metric("batched", first + point, point as f64)).collect();
            let body = json!({ "run_id": runs[number as usize % runs.len()], "metrics": points });
            async move {
                tracker.post("runs/log-batch", &body).await?;
                Ok(tracker)
            }
        },
    )
    .await?;
    Ok(rate * BATCH as f64)
}

/// Searches and a long history: seconds of each.
async fn reads(
    ours: &Peer,
    world: &World,
    theirs: &Peer,
    other: &World,
    report: &mut Report,
) -> anyhow::Result<()> {
    let filtered = |world: &World| {
        json!({
            "experiment_ids": [world.experiment],
            "filter": "metrics.acc > 0.9 and params.lr = '0.1'",
            "max_results": 100,
        })
    };
    let ordered = |world: &World| json!({ "experiment_ids": [world.experiment], "order_by": ["metrics.acc DESC"], "max_results": 100 });
    let (mut filters, mut orders, mut histories) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (here, found) = search(ours, &filtered(world), OURS.searches).await?;
        let (there, expected) = search(theirs, &filtered(other), THEIRS.searches).await?;
        ensure!(found == expected && found.len() == 100, "the two find different runs by a filter");
        filters.push((here, there));
        let (here, found) = search(ours, &ordered(world), OURS.searches).await?;
        let (there, expected) = search(theirs, &ordered(other), THEIRS.searches).await?;
        ensure!(found == expected && found.len() == 100, "the two find different runs in an order");
        orders.push((here, there));
        histories.push((history(ours, world).await?, history(theirs, other).await?));
    }
    for (what, turns, wanted) in [
        ("10000 runs searched with a filter, against `mlflow server`", filters, 10.0),
        ("10000 runs searched in the order of a metric, against `mlflow server`", orders, 100.0),
        ("history of 100000 points, against `mlflow server`", histories, 25.0),
    ] {
        let (here, there) = middle(turns, |(here, there)| there / here)?;
        faster(report, what, here, there, wanted);
    }
    Ok(())
}

async fn search(peer: &Peer, body: &Value, times: u32) -> anyhow::Result<(f64, Vec<String>)> {
    let mut tracker = peer.connect().await?;
    let begun = Instant::now();
    let mut answer = Value::Null;
    for _ in 0..times {
        answer = tracker.post("runs/search", body).await?;
    }
    let seconds = begun.elapsed().as_secs_f64() / f64::from(times);
    let runs = answer["runs"].as_array().context("a search has no runs")?;
    let name = |run: &Value| run["info"]["run_name"].as_str().unwrap_or_default().to_owned();
    Ok((seconds, runs.iter().map(name).collect()))
}

async fn history(peer: &Peer, world: &World) -> anyhow::Result<f64> {
    let mut tracker = peer.connect().await?;
    let begun = Instant::now();
    let answer = tracker.get(&format!("metrics/get-history?run_id={}&metric_key=long", world.long)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let points = answer["metrics"].as_array().map_or(0, Vec::len);
    ensure!(points as u64 == POINTS, "the history has {points} points");
    Ok(seconds)
}

/// Seconds until runs with artifacts are gone for good.
async fn delete(peer: &Peer) -> anyhow::Result<f64> {
    let mut tracker = peer.connect().await?;
    let experiment = new_experiment(&mut tracker, "deleted").await?;
    let mut runs = Vec::new();
    for number in 0..DELETED {
        let run = tracker.create_run(&described(&experiment, number)).await?;
        tracker.post("runs/log-batch", &contents(&run, number)).await?;
        tracker.put_artifact(&experiment, &run, Bytes::from(vec![7; ARTIFACT])).await?;
        runs.push(run);
    }
    let begun = Instant::now();
    peer.delete_for_good(&experiment, runs.into()).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let left =
        tracker.post("runs/search", &json!({ "experiment_ids": [experiment], "run_view_type": "ALL" })).await;
    let is_empty = left.map_or(true, |left| left["runs"].as_array().is_none_or(Vec::is_empty));
    ensure!(is_empty, "deleted runs are still found");
    Ok(seconds)
}
