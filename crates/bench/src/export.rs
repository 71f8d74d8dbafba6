//! Exporting a person: streamed over HTTP to a client that throws the bytes away, against opening and hashing the same
//! blobs and storing them into a ZIP that goes nowhere.
//!
//! The memory is the server's highest during the export, above what was resident before it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use habeas_core::crypto::Sha256;
use habeas_core::kinds::Image;
use habeas_core::{Ambient, Id};
use habeas_store::{Options, Page, Store};
use zip::write::SimpleFileOptions;

use crate::report::{Report, middle};
use crate::server::Server;
use crate::{ROUNDS, upload};

const IMAGES: u64 = 2_480;

struct Turn {
    server: f64,
    raw: f64,
    memory: u64,
}

pub(crate) async fn measure(
    program: &Path,
    samples: &Arc<Vec<Bytes>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(program, &data)?;
    let someone = server.someone("exports").await?;
    upload::over_http(&server, &someone, samples, 8, IMAGES).await?;
    server.stop()?;
    let project: Id = someone.project.parse().map_err(|_| anyhow::anyhow!("the project's id is none"))?;
    let mut turns = Vec::new();
    for _ in 0..ROUNDS {
        let server = Server::start(program, &data)?;
        let client = server.operator()?;
        let before = server.memory()?.0;
        server.forget_peak()?;
        let begun = Instant::now();
        let mut stream = std::pin::pin!(client.stream_export(&someone.id, &[], None).await?);
        let mut bytes = 0;
        while let Some(piece) = stream.next().await {
            bytes += piece?.len() as u64;
        }
        let rate = bytes as f64 / begun.elapsed().as_secs_f64();
        let memory = server.memory()?.1.saturating_sub(before);
        server.stop()?;
        turns.push(Turn { server: rate, raw: open_hash_store(&data, project).await?, memory });
    }
    let memory = turns.iter().map(|turn| turn.memory).max().unwrap_or_default() as f64 / 1e6;
    let Turn { server, raw, .. } = middle(turns, |turn| turn.server / turn.raw)?;
    report.ratio(
        &format!("export of {IMAGES} images, against opening, hashing and storing the same bytes into a ZIP"),
        &format!("{:.0} against {:.0} MB a second", server / 1e6, raw / 1e6),
        server / raw,
        60.0,
    );
    report.add(
        "memory of that export above idle",
        format!("{memory:.0} MB"),
        "at most 64 MB",
        memory <= 64.0,
    );
    Ok(())
}

/// Bytes a second.
async fn open_hash_store(data: &Path, project: Id) -> anyhow::Result<f64> {
    let store = Store::open(Options::embedded(data), Ambient::system()).await?;
    let images = store.read(move |tx| tx.children::<Image>(project, Page::ALL)).await?;
    let begun = Instant::now();
    let mut zip = zip::ZipWriter::new_stream(std::io::sink());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut total = 0;
    for image in &images {
        zip.start_file(image.id.to_string(), options)?;
        let blob = &image.doc.original;
        let mut stream = store.blobs().stream(blob, 0..blob.size);
        let mut digest = Sha256::default();
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            digest.update(&piece);
            zip.write_all(&piece)?;
            total += piece.len() as u64;
        }
        std::hint::black_box(digest.finish());
    }
    zip.finish()?;
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}
