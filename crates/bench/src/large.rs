//! The largest upload that is allowed: 64 images of 6 MB in one JSON body, 512 MB in base64. The memory is the server's highest during
//! the request, above what was resident before it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::report::Report;
use crate::server::Server;
use crate::upload;

const IMAGES: usize = 64;
/// The largest image, just under the limit of 6 MB, and a multiple of 3 so that base64 needs no filling.
const BYTES: usize = 5_999_997;
/// By which images differ, at their end.
const TAIL: usize = 9;

pub(crate) async fn measure(
    program: &Path,
    samples: &Arc<Vec<Bytes>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(program, &folder.path().join("data"))?;
    let someone = server.someone("large").await?;
    // Whatever follows the end of a JPEG belongs to the file, and is kept.
    let mut image = samples.first().context("there is no sample image")?.to_vec();
    image.resize(BYTES - TAIL, b'+');
    let shared = STANDARD.encode(&image);
    let parts: Vec<[String; 3]> = (0..IMAGES)
        .map(|number| {
            let comma = if number == 0 { "" } else { "," };
            let tail = STANDARD.encode(format!("{number:0TAIL$}"));
            [
                format!("{comma}{{\"name\":\"{number}.jpg\",\"contents\":\""),
                shared.clone(),
                format!("{tail}\"}}"),
            ]
        })
        .collect();
    let (begin, end) = ("{\"images\":[", "]}");
    let length = begin.len() + end.len() + parts.iter().flatten().map(String::len).sum::<usize>();

    // Idle after its first upload: the program's own pages are in memory then.
    upload::over_http(&server, &someone, samples, 1, 1).await?;
    let before = server.memory()?.0;
    server.forget_peak()?;
    let mut stream = TcpStream::connect(&server.address).await?;
    let head = format!(
        "POST /customvision/v3.3/training/projects/{}/images/files HTTP/1.1\r\nhost: localhost\r\ntraining-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
        someone.project, someone.key
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(begin.as_bytes()).await?;
    for part in parts.iter().flatten() {
        stream.write_all(part.as_bytes()).await?;
    }
    stream.write_all(end.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if !answer.starts_with("HTTP/1.1 200") || !answer.contains("\"isBatchSuccessful\":true") {
        bail!("the upload was answered {:?}", answer.lines().next());
    }
    let memory = server.memory()?.1.saturating_sub(before) as f64 / 1e6;
    server.stop()?;
    report.add(
        &format!("memory of an upload of {} MB above idle", length / 1_000_000),
        format!("{memory:.0} MB"),
        "at most 24 MB",
        memory <= 24.0,
    );
    Ok(())
}
