//! A small person among few and among many: how long it takes to see what is held on them, and to erase it.
//!
//! A small person has 30 resources: what every person has, a project and tags. The times are those of one client that
//! asks over the operator's socket: for the view, one request; for the erasure, the plan, its start and its completion
//! with a receipt. Among many means 100 times as many other persons, each as small.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use habeas_client::Client;

use crate::load;
use crate::report::{Report, middle};
use crate::server::{Server, Someone};

const FEW: u64 = 10;
const MANY: u64 = 100 * FEW;
const RESOURCES: u64 = 30;
/// Persons that are seen and erased in each of the two worlds.
const SAMPLE: usize = 9;

struct Times {
    view: f64,
    erase: f64,
}

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(program, &folder.path().join("data"))?;
    let client = server.operator()?;
    populate(&server, "few", 0, FEW).await?;
    let few = sample(&server, &client, "among-few").await?;
    populate(&server, "many", FEW, MANY).await?;
    let many = sample(&server, &client, "among-many").await?;
    server.stop()?;
    report.add(
        "a small person seen",
        format!("{:.1} ms among {FEW}, {:.1} ms among {MANY}", few.view * 1e3, many.view * 1e3),
        "about 50 ms",
        few.view.max(many.view) <= 0.05,
    );
    report.add(
        "a small person erased, with a receipt",
        format!("{:.0} ms among {FEW}, {:.0} ms among {MANY}", few.erase * 1e3, many.erase * 1e3),
        "about 300 ms",
        few.erase.max(many.erase) <= 0.3,
    );
    let (view, erase) = (many.view / few.view, many.erase / few.erase);
    report.add(
        "the same with 100 times as many other persons",
        format!("{view:.2} times for the view, {erase:.2} times for the erasure"),
        "at most 1.2 times",
        view.max(erase) <= 1.2,
    );
    Ok(())
}

async fn populate(server: &Server, name: &'static str, from: u64, to: u64) -> anyhow::Result<()> {
    let mut someones = Vec::new();
    for number in from..to {
        someones.push(small_person(server, &format!("{name}-{number}")).await?);
    }
    drop(someones);
    Ok(())
}

async fn small_person(server: &Server, name: &str) -> anyhow::Result<Someone> {
    let someone = server.someone(name).await?;
    // The profile, the account and the project are there.
    let (key, project) = (someone.key.clone(), someone.project.clone());
    load::run(
        4,
        RESOURCES - 3,
        async || server.connect().await,
        move |mut connection, number| {
            let (key, path) = (key.clone(), format!("/projects/{project}/tags?name=tag-{number}"));
            async move {
                connection.train(&key, &path, "application/json", Bytes::new()).await?;
                Ok(connection)
            }
        },
    )
    .await?;
    Ok(someone)
}

async fn sample(server: &Server, client: &Client, name: &str) -> anyhow::Result<Times> {
    let mut views = Vec::new();
    let mut erasures = Vec::new();
    for number in 0..SAMPLE {
        let someone = small_person(server, &format!("{name}-{number}")).await?;
        let begun = Instant::now();
        let holdings = client.holdings(&someone.id).await?;
        views.push(begun.elapsed().as_secs_f64());
        let count = holdings.total_count;
        if count < RESOURCES {
            bail!("a small person has {count} resources instead of {RESOURCES}");
        }
        let begun = Instant::now();
        erase(client, &someone).await?;
        erasures.push(begun.elapsed().as_secs_f64());
    }
    Ok(Times { view: middle(views, |time| *time)?, erase: middle(erasures, |time| *time)? })
}

async fn erase(client: &Client, someone: &Someone) -> anyhow::Result<()> {
    let plan = client.plan_erasure(&someone.id).await?;
    client.run_erasure(&plan.plan, &someone.email, Some(&plan.digest)).await?;
    loop {
        let report = client.erasure(&plan.plan).await?;
        match report.status.as_str() {
            "completed" => break,
            "running" => tokio::time::sleep(Duration::from_millis(1)).await,
            other => bail!("an erasure is {other}: {}", report.error.unwrap_or_default()),
        }
    }
    client.erasure_receipt(&plan.plan).await.map(|_| ()).context("there is no receipt")
}
