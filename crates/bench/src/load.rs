//! The load generator: so many clients, each with one thing in hand at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;

/// Lets `clients` do `total` things, each client one after the other; things a second. `client` makes what a client
/// works with, `work` does the thing of a number.
pub(crate) async fn run<C, F>(
    clients: usize,
    total: u64,
    mut client: impl AsyncFnMut() -> anyhow::Result<C>,
    work: impl Fn(C, u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<f64>
where
    C: Send + 'static,
    F: Future<Output = anyhow::Result<C>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let mut ready = Vec::new();
    for _ in 0..clients {
        ready.push(client().await?);
    }
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut client in ready {
        let (next, work) = (Arc::clone(&next), work.clone());
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return anyhow::Ok(());
                }
                client = work(client, number).await?;
            }
        });
    }
    while let Some(result) = running.join_next().await {
        result.context("a client panicked")??;
    }
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}

/// The sample images under a folder, in the order of their paths.
pub(crate) fn samples(folder: &Path) -> anyhow::Result<Arc<Vec<Bytes>>> {
    let mut folders = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jpg") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let images: Vec<Bytes> =
        paths.iter().map(|path| std::fs::read(path).map(Bytes::from)).collect::<Result<_, _>>()?;
    anyhow::ensure!(!images.is_empty(), "there are no images in {}", folder.display());
    Ok(Arc::new(images))
}

/// A sample image whose bytes are like no other's: a number stands after its end, where decoders do not look.
pub(crate) fn unique(samples: &[Bytes], number: u64) -> Bytes {
    let sample = &samples[number as usize % samples.len()];
    let mut bytes = Vec::with_capacity(sample.len() + 8);
    bytes.extend_from_slice(sample);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.into()
}
