//! Training a classifier on 1,000 images and asking it, against the bare extractor on all processors.
//!
//! Training runs from the request to the iteration's completion; all images are new to the server. Predictions are those of 8 clients over
//! HTTP, each with one image at a time, not stored. The extractor's own time is that of decoding, stretching and running the graph over the
//! same images in the same process, without a store, one thread for each processor. Measured once: it takes minutes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use crate::report::Report;
use crate::server::{Connection, Server, Someone};
use crate::{extractor, load, made};

const IMAGES: u64 = 1_000;
const ASKED: u64 = 400;
const CLIENTS: usize = 8;

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    let images: Vec<Bytes> = (0..IMAGES).map(made::image).collect();
    let folder = tempfile::tempdir()?;
    let server = Server::start(program, &folder.path().join("data"))?;
    let someone = classifying(&server, "learning").await?;
    let mut connection = server.connect().await?;
    upload(&server, &someone, &images).await?;
    let (iteration, trained) = train(&mut connection, &someone).await?;
    let (_, bare) = extractor::rows(&images)?;
    let ratio = trained.as_secs_f64() / bare.as_secs_f64();
    report.add(
        &format!(
            "a classifier trained on {IMAGES} images, against the extractor's own time on all processors"
        ),
        format!("{ratio:.2} times ({:.1} against {:.1} s)", trained.as_secs_f64(), bare.as_secs_f64()),
        "at most 1.3 times",
        ratio <= 1.3,
    );

    let path = format!(
        "/customvision/v3.3/training/projects/{}/iterations/{iteration}/publish?publishName=live&predictionId=bench",
        someone.project
    );
    connection.call(Method::POST, &path, &someone.key, "application/json", Bytes::new()).await?;
    let asked: Vec<Bytes> = (0..ASKED).map(|number| made::image(IMAGES + number)).collect();
    let path =
        format!("/customvision/v3.1/prediction/{}/classify/iterations/live/image/nostore", someone.project);
    let (key, images) = (someone.key.clone(), std::sync::Arc::new(asked.clone()));
    let rate = load::run(
        CLIENTS,
        ASKED,
        async || server.connect().await,
        move |mut connection: Connection, number| {
            let (key, path, image) = (key.clone(), path.clone(), images[number as usize].clone());
            async move {
                connection.call(Method::POST, &path, &key, "application/octet-stream", image).await?;
                Ok(connection)
            }
        },
    )
    .await?;
    server.stop()?;
    let (_, bare) = extractor::rows(&asked)?;
    let bare = ASKED as f64 / bare.as_secs_f64();
    report.ratio(
        &format!("predictions of {CLIENTS} clients over HTTP, against the extractor alone on all processors"),
        &format!("{rate:.1} against {bare:.1} a second"),
        rate / bare,
        80.0,
    );
    Ok(())
}

/// A person with a project in which an image has one tag, and two tags.
pub(crate) async fn classifying(server: &Server, name: &str) -> anyhow::Result<Someone> {
    let mut someone = server.someone(name).await?;
    let mut connection = server.connect().await?;
    let path =
        "/projects?name=trees&classificationType=Multiclass&domainId=0732100f-1a38-4e49-a514-c9b44c697ab5";
    let project = connection.train(&someone.key, path, "application/json", Bytes::new()).await?;
    someone.project = text(&project, "id")?;
    Ok(someone)
}

/// Two tags of a project; their ids.
pub(crate) async fn two_tags(server: &Server, someone: &Someone) -> anyhow::Result<[String; 2]> {
    let mut connection = server.connect().await?;
    let mut tags = Vec::new();
    for name in ["even", "odd"] {
        let path = format!("/projects/{}/tags?name={name}", someone.project);
        let tag = connection.train(&someone.key, &path, "application/json", Bytes::new()).await?;
        tags.push(text(&tag, "id")?);
    }
    tags.try_into().ok().context("two tags")
}

/// Uploads images, each with one of two tags in turn; 8 at a time.
pub(crate) async fn upload(server: &Server, someone: &Someone, images: &[Bytes]) -> anyhow::Result<()> {
    let tags = two_tags(server, someone).await?;
    let (someone, images) = (someone.clone(), std::sync::Arc::new(images.to_vec()));
    load::run(
        8,
        images.len() as u64,
        async || server.connect().await,
        move |mut connection, number| {
            let tag = &tags[number as usize % 2];
            let path = format!("/projects/{}/images?tagIds={tag}", someone.project);
            let (key, image) = (someone.key.clone(), images[number as usize].clone());
            async move {
                connection.train(&key, &path, "application/octet-stream", image).await?;
                Ok(connection)
            }
        },
    )
    .await
    .map(|_| ())
}

/// Trains the project, whether or not anything changed; the iteration, and how long it took.
pub(crate) async fn train(
    connection: &mut Connection,
    someone: &Someone,
) -> anyhow::Result<(String, Duration)> {
    let begun = Instant::now();
    let path = format!("/projects/{}/train?forceTrain=true", someone.project);
    let iteration = connection.train(&someone.key, &path, "application/json", Bytes::new()).await?;
    let id = text(&iteration, "id")?;
    let path = format!("/customvision/v3.3/training/projects/{}/iterations/{id}", someone.project);
    loop {
        let answer =
            connection.call(Method::GET, &path, &someone.key, "application/json", Bytes::new()).await?;
        let iteration: Value = serde_json::from_slice(&answer)?;
        if iteration["status"] != "Training" {
            ensure!(iteration["status"] == "Completed", "the training ended as {iteration}");
            return Ok((id, begun.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("the answer has no `{name}`: {value}"))
}
