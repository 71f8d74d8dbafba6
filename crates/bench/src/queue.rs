//! The queue of data-subject requests when it is long: what an officer lists, among 100 requests and among 10,000.
//!
//! The two queues are of two servers, with a tenth of their requests overdue, most of them open, and each of another person: that a page was
//! read is recorded with everybody on it. One person besides has 20. Each list is asked for over the operator's socket, in turns, and the
//! middle of the times is taken. The lists: the first page of all; of the open ones; of one type and state; of the overdue ones; the requests
//! of one person.

use std::path::Path;
use std::time::Instant;

use habeas_client::Client;
use serde_json::json;

use crate::load;
use crate::report::{Report, middle};
use crate::server::Server;

const FEW: u64 = 100;
const MANY: u64 = 100 * FEW;
/// Requests of the one person who has more than one.
const SEVERAL: u64 = 20;
/// How often each list is asked for.
const SAMPLE: usize = 25;
/// Requests on a page: what the smaller queue fills.
const PAGE: &str = "50";
const TYPES: [&str; 3] = ["objection", "restriction", "rectification"];

/// The lists, by name, with their filters.
const LISTS: [(&str, &[(&str, &str)]); 4] = [
    ("all", &[]),
    ("open", &[("state", "open")]),
    ("one type to be carried out", &[("type", "objection"), ("state", "planned")]),
    ("overdue", &[("overdue", "true")]),
];

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let few = Queue::make(program, folders.0.path(), FEW).await?;
    let many = Queue::make(program, folders.1.path(), MANY).await?;
    let mut told = Vec::new();
    let (mut first, mut slowest) = (1.0, 0.0_f64);
    for (name, filters) in LISTS {
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..SAMPLE {
            times.0.push(few.list(filters).await?);
            times.1.push(many.list(filters).await?);
        }
        let (short, long) = (middle(times.0, |time| *time)?, middle(times.1, |time| *time)?);
        if told.is_empty() {
            first = long / short;
        }
        slowest = slowest.max(long);
        told.push(format!("{name} {:.1} against {:.1} ms", long * 1e3, short * 1e3));
    }
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..SAMPLE {
        times.0.push(few.of_person().await?);
        times.1.push(many.of_person().await?);
    }
    let (short, long) = (middle(times.0, |time| *time)?, middle(times.1, |time| *time)?);
    slowest = slowest.max(long);
    told.push(format!("of one person {:.1} against {:.1} ms", long * 1e3, short * 1e3));
    few.server.stop()?;
    many.server.stop()?;
    report.add(
        &format!("the first page of a queue of {MANY} requests, against one of {FEW}"),
        format!("{first:.2} times ({})", told.join(", ")),
        "at most 1.5 times",
        first <= 1.5,
    );
    report.add(
        &format!("the slowest list of a queue of {MANY} requests"),
        format!("{:.1} ms", slowest * 1e3),
        "at most 50 ms",
        slowest <= 0.05,
    );
    Ok(())
}

/// A server with so many requests, and somebody who made some of them.
struct Queue {
    server: Server,
    client: Client,
    person: String,
}

impl Queue {
    async fn make(program: &Path, folder: &Path, requests: u64) -> anyhow::Result<Queue> {
        let server = Server::start(program, &folder.join("data"))?;
        let client = server.operator()?;
        let person = client.create_person("person@example.org", "Person", "free").await?.object_id;
        let several = person.clone();
        load::run(
            4,
            requests + SEVERAL,
            async || server.operator(),
            move |client, number| {
                let several = several.clone();
                async move {
                    let person = if number < SEVERAL {
                        several
                    } else {
                        let email = format!("person-{number}@example.org");
                        client.create_person(&email, "Person", "free").await?.object_id
                    };
                    let asked = TYPES[number as usize % TYPES.len()];
                    let overdue = number.is_multiple_of(10).then_some("2020-01-01T00:00:00Z");
                    // A request of the staff's own knowledge is to be carried out, or the duplicate of one; the others wait for a code.
                    let identity = (number % SEVERAL < 6).then_some("known");
                    let details = json!({ "channel": "letter", "received": overdue, "identity": identity });
                    client.create_request(&person, asked, details).await?;
                    Ok(client)
                }
            },
        )
        .await?;
        Ok(Queue { server, client, person })
    }

    /// Seconds that a list takes.
    async fn list(&self, filters: &[(&str, &str)]) -> anyhow::Result<f64> {
        let query = [filters, &[("limit", PAGE)]].concat();
        let begun = Instant::now();
        let page = self.client.requests(&query).await?;
        let time = begun.elapsed().as_secs_f64();
        anyhow::ensure!(!page.requests.is_empty(), "a list is empty");
        Ok(time)
    }

    async fn of_person(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let requests = self.client.requests_of(&self.person).await?;
        let time = begun.elapsed().as_secs_f64();
        anyhow::ensure!(requests.len() as u64 == SEVERAL, "a person has {} requests", requests.len());
        Ok(time)
    }
}
