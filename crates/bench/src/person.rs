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
const SAMPLE: usize = 25;

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let small = World::make(program, folders.0.path(), FEW).await?;
    let large = World::make(program, folders.1.path(), MANY).await?;
    // In turns, so that whatever else the disk does befalls both.
    let (mut few, mut many) = (Times::default(), Times::default());
    for number in 0..SAMPLE {
        small.sample(number, &mut few).await?;
        large.sample(number, &mut many).await?;
    }
    small.server.stop()?;
    large.server.stop()?;
    let (few, many) = (few.middle()?, many.middle()?);
    report.add(
        "a small person seen",
        format!("{:.1} ms among {FEW}, {:.1} ms among {MANY}", few.0 * 1e3, many.0 * 1e3),
        "about 50 ms",
        few.0.max(many.0) <= 0.05,
    );
    report.add(
        "a small person erased, with a receipt",
        format!("{:.0} ms among {FEW}, {:.0} ms among {MANY}", few.1 * 1e3, many.1 * 1e3),
        "about 300 ms",
        few.1.max(many.1) <= 0.3,
    );
    let (view, erase) = (many.0 / few.0, many.1 / few.1);
    report.add(
        "the same with 100 times as many other persons",
        format!("{view:.2} times for the view, {erase:.2} times for the erasure"),
        "at most 1.2 times",
        view.max(erase) <= 1.2,
    );
    Ok(())
}

/// Seconds that each view and each erasure took.
#[derive(Default)]
struct Times {
    views: Vec<f64>,
    erasures: Vec<f64>,
}

impl Times {
    fn middle(self) -> anyhow::Result<(f64, f64)> {
        Ok((middle(self.views, |time| *time)?, middle(self.erasures, |time| *time)?))
    }
}

/// A server with so many small persons.
struct World {
    server: Server,
    client: Client,
}

impl World {
    async fn make(program: &Path, folder: &Path, persons: u64) -> anyhow::Result<World> {
        let server = Server::start(program, &folder.join("data"))?;
        for number in 0..persons {
            small_person(&server, &format!("other-{number}")).await?;
        }
        Ok(World { client: server.operator()?, server })
    }

    async fn sample(&self, number: usize, times: &mut Times) -> anyhow::Result<()> {
        let someone = small_person(&self.server, &format!("person-{number}")).await?;
        let begun = Instant::now();
        let holdings = self.client.holdings(&someone.id).await?;
        times.views.push(begun.elapsed().as_secs_f64());
        if holdings.total_count < RESOURCES {
            bail!("a small person has {} resources instead of {RESOURCES}", holdings.total_count);
        }
        let begun = Instant::now();
        erase(&self.client, &someone).await?;
        times.erasures.push(begun.elapsed().as_secs_f64());
        Ok(())
    }
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
