//! A small person among few and among many: how long it takes to see what is held on them, and to erase it.
//!
//! A small person has 30 resources: what every person has, a project and tags. The times are those of one client that
//! asks over the operator's socket: for the view, one request; for the erasure, the plan, its start and its completion
//! with a receipt. Among many means 100 times as many other persons, each as small.
//!
//! A large person has 20,000 resources: 18,000 tags and 2,000 images with their files. Seen is everything: what is held by kind, and every page of each
//! kind to the last, one after the other, each read as JSON; taken is the whole archive, thrown away. Erased is from the approval of the plan to the completion with a receipt.
//! Beside them stand the times of Fides, the fastest open peer, on two cores; they were taken once, and not in the same run.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use habeas_client::Client;
use habeas_core::report::{ItemPage, PlanReport};

use crate::report::{Report, middle};
use crate::server::{Server, Someone};
use crate::{ROUNDS, load, upload};

const FEW: u64 = 10;
const MANY: u64 = 100 * FEW;
const RESOURCES: u64 = 30;
/// Persons that are seen and erased in each of the two worlds.
const SAMPLE: usize = 25;

/// Resources of a large person, and how many of them are images.
const LARGE: u64 = 20_000;
const IMAGES: u64 = 2_000;

pub(crate) async fn measure(
    program: &Path,
    samples: &Arc<Vec<Bytes>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let small = World::make(program, folders.0.path(), FEW).await?;
    let large = World::make(program, folders.1.path(), MANY).await?;
    // In turns, so that whatever else the disk does befalls both.
    let (mut few, mut many) = (Times::default(), Times::default());
    for number in 0..SAMPLE {
        small.sample(number, &mut few).await?;
        large.sample(number, &mut many).await?;
    }
    let (mut few_large, mut many_large, mut taken) = (Times::default(), Times::default(), Vec::new());
    for number in 0..ROUNDS {
        taken.push(small.sample_large(number, samples, &mut few_large).await?);
        taken.push(large.sample_large(number, samples, &mut many_large).await?);
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
    let (few, many) = (few_large.middle()?, many_large.middle()?);
    let with = format!("a person with {LARGE} resources, {IMAGES} of them images,");
    report.add(
        &format!("{with} seen"),
        format!("{:.2} s among {FEW}, {:.2} s among {MANY}", few.0, many.0),
        "at most 0.5 s; Fides took 7.4 s",
        few.0.max(many.0) <= 0.5,
    );
    report.add(
        &format!("{with} erased after approval, with a receipt"),
        format!("{:.2} s among {FEW}, {:.2} s among {MANY}", few.1, many.1),
        "at most 1 s; Fides took 289 s",
        few.1.max(many.1) <= 1.0,
    );
    let (bytes, seconds) = middle(taken, |(_, seconds)| *seconds)?;
    report.tell(
        &format!("{with} taken: the whole archive"),
        format!("{seconds:.2} s for {:.0} MB", bytes as f64 / 1e6),
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
        let plan = self.client.plan_erasure(&someone.id).await?;
        erase(&self.client, &someone, &plan).await?;
        times.erasures.push(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// The bytes of the whole archive, and the seconds it took.
    async fn sample_large(
        &self,
        number: usize,
        samples: &Arc<Vec<Bytes>>,
        times: &mut Times,
    ) -> anyhow::Result<(u64, f64)> {
        let someone = self.server.someone(&format!("large-{number}")).await?;
        upload::over_http(&self.server, &someone, samples, 8, IMAGES).await?;
        // The profile, the account and the project are there.
        tags(&self.server, &someone, 32, LARGE - IMAGES - 3).await?;
        let token = self.client.create_token(&someone.id, "bench", None).await?.secret;
        let mut connection = self.server.connect().await?;

        let begun = Instant::now();
        let holdings = self.client.holdings(&someone.id).await?;
        let mut seen = 0;
        for item in holdings.items.iter().filter(|item| item.count > 0) {
            let list = format!("/api/privacy/v1/persons/me/items/{}", item.kind);
            let mut after = String::new();
            loop {
                let page = connection.get_as(&format!("{list}{after}"), &token).await?;
                let page: ItemPage = serde_json::from_slice(&page)?;
                seen += page.items.len() as u64;
                let Some(next) = page.next else { break };
                after = format!("?after={next}");
            }
        }
        times.views.push(begun.elapsed().as_secs_f64());
        if seen.min(holdings.total_count) < LARGE {
            bail!("of {} resources of a large person {seen} were seen, of {LARGE}", holdings.total_count);
        }

        let begun = Instant::now();
        let mut stream = std::pin::pin!(self.client.stream_export(&someone.id, &[], None).await?);
        let mut bytes = 0;
        while let Some(piece) = stream.next().await {
            bytes += piece?.len() as u64;
        }
        let taken = begun.elapsed().as_secs_f64();

        let plan = self.client.plan_erasure(&someone.id).await?;
        let begun = Instant::now();
        erase(&self.client, &someone, &plan).await?;
        times.erasures.push(begun.elapsed().as_secs_f64());
        Ok((bytes, taken))
    }
}

async fn small_person(server: &Server, name: &str) -> anyhow::Result<Someone> {
    let someone = server.someone(name).await?;
    // The profile, the account and the project are there.
    tags(server, &someone, 4, RESOURCES - 3).await?;
    Ok(someone)
}

async fn tags(server: &Server, someone: &Someone, clients: usize, count: u64) -> anyhow::Result<()> {
    let (key, project) = (someone.key.clone(), someone.project.clone());
    load::run(
        clients,
        count,
        async || server.connect().await,
        move |mut connection, number| {
            let (key, path) = (key.clone(), format!("/projects/{project}/tags?name=tag-{number}"));
            async move {
                connection.train(&key, &path, "application/json", Bytes::new()).await?;
                Ok(connection)
            }
        },
    )
    .await
    .map(|_| ())
}

async fn erase(client: &Client, someone: &Someone, plan: &PlanReport) -> anyhow::Result<()> {
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
