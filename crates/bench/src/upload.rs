//! Uploading images: over HTTP, against decoding, sealing, writing and flushing the same images in a loop.
//!
//! Both sides take unique variants of the sample images, once one at a time and once 8 at a time. The loop keeps no
//! row, asks nobody and announces nothing: it decodes the image as the server does, seals its bytes in one piece, writes
//! a file and flushes file and folder.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use habeas_core::SystemRandom;
use habeas_core::crypto::{self, SecretKey};
use habeas_learn::imaging;

use crate::report::{Report, middle};
use crate::server::{Server, Someone};
use crate::{ROUNDS, load};

const IMAGES: u64 = 310;

struct Turn {
    http: f64,
    raw: f64,
}

pub(crate) async fn measure(
    program: &Path,
    samples: &Arc<Vec<Bytes>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for clients in [1, 8] {
        let mut turns = Vec::new();
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir()?;
            let server = Server::start(program, &folder.path().join("data"))?;
            let someone = server.someone("uploads").await?;
            let http = over_http(&server, &someone, samples, clients, IMAGES).await?;
            server.stop()?;
            let raw = in_a_loop(&folder.path().join("raw"), samples, clients).await?;
            turns.push(Turn { http, raw });
        }
        let Turn { http, raw } = middle(turns, |turn| turn.http / turn.raw)?;
        report.ratio(
            &format!("images uploaded {clients} at a time, against decode + seal + write + flush"),
            &format!("{http:.0} against {raw:.0} a second"),
            http / raw,
            50.0,
        );
    }
    Ok(())
}

/// Uploads so many images; images a second.
pub(crate) async fn over_http(
    server: &Server,
    someone: &Someone,
    samples: &Arc<Vec<Bytes>>,
    clients: usize,
    images: u64,
) -> anyhow::Result<f64> {
    let (key, path) = (someone.key.clone(), format!("/projects/{}/images", someone.project));
    let samples = Arc::clone(samples);
    load::run(
        clients,
        images,
        async || server.connect().await,
        move |mut connection, number| {
            let (key, path, image) = (key.clone(), path.clone(), load::unique(&samples, number));
            async move {
                connection.train(&key, &path, "application/octet-stream", image).await?;
                Ok(connection)
            }
        },
    )
    .await
}

async fn in_a_loop(folder: &Path, samples: &Arc<Vec<Bytes>>, clients: usize) -> anyhow::Result<f64> {
    std::fs::create_dir_all(folder)?;
    let folder = Arc::new(folder.to_owned());
    let samples = Arc::clone(samples);
    load::run(
        clients,
        IMAGES,
        async || Ok(()),
        move |(), number| {
            let (folder, image) = (Arc::clone(&folder), load::unique(&samples, number));
            async move {
                tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
                    imaging::inspect(&image, &imaging::Limits::default())?;
                    let random = SystemRandom::default();
                    let sealed =
                        crypto::seal(&SecretKey::random(&random), &number.to_le_bytes(), &image, &random);
                    let mut file = std::fs::File::create(folder.join(number.to_string()))?;
                    std::io::Write::write_all(&mut file, &sealed)?;
                    file.sync_all()?;
                    std::fs::File::open(&*folder)?.sync_all()?;
                    Ok(())
                })
                .await?
            }
        },
    )
    .await
}
