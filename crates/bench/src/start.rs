//! How soon a fresh server answers, and what it needs when nobody asks anything.
//!
//! The time runs from the start of the process on an empty folder (keys, database and first person are made in it) to the
//! first answer of `/readyz`; the memory is what is resident a second later.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::ROUNDS;
use crate::report::{Report, middle};
use crate::server::Server;

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let mut idle = 0;
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        let begun = Instant::now();
        let server = Server::start(program, &folder.path().join("data"))?;
        server.connect().await?.get("/readyz").await?;
        times.push(begun.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(1)).await;
        idle = idle.max(server.memory()?.0);
        server.stop()?;
    }
    let seconds = middle(times, |seconds| *seconds)?;
    report.add(
        "first answer after a start on an empty folder",
        format!("{seconds:.2} s"),
        "0.5 s",
        seconds <= 0.5,
    );
    let megabytes = idle as f64 / 1e6;
    report.add("resident when idle", format!("{megabytes:.0} MB"), "60 MB", megabytes <= 60.0);
    Ok(())
}
