//! Erasing one image from a trained classifier, against training it again.
//!
//! Interim is the time of the request that erases the image everywhere: when it is answered, no weights know the image. Final is the time
//! until the iteration has all its figures again. With as many images as features or fewer nothing is subtracted; up to 500 images there are
//! no interim weights. Retraining runs from the request to the completion of an iteration: from images that are new to the server, and
//! from rows that it has stored. The rows of the larger sets are made up, the images that they stand for are not there. One subtraction
//! plus one factorisation are computed alone, in one process, from sums in memory. Everything is measured once: it takes minutes.
//!
//! The memory is the server's highest during training and unlearning.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use habeas_core::kinds::{Image, ImageDoc, Iteration};
use habeas_core::node::Relation;
use habeas_core::{Ambient, BlobRef, Id};
use habeas_learn::head::{Sums, TrainingImage, TrainingSet, solve};
use habeas_learn::pixels::row_to_bytes;
use habeas_store::{New, Options, Store};
use hyper::Method;

use crate::report::Report;
use crate::server::{Server, Someone};
use crate::{extractor, learning, made};

/// Sets of images, and whether the server is given the images themselves or only their rows.
const SETS: [(u64, bool); 4] = [(500, true), (2_000, true), (10_000, false), (50_000, false)];
/// The set on which interim weights are held against what they are made of.
const COMPARED: u64 = 10_000;
/// Rows that are stored at a time, and in one transaction.
const AT_A_TIME: usize = 16;
const TOGETHER: u64 = 500;

pub(crate) async fn measure(program: &Path, report: &mut Report) -> anyhow::Result<()> {
    for (images, real) in SETS {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let mut server = Server::start(program, &data)?;
        let someone = learning::classifying(&server, "unlearning").await?;
        let mut from_images = None;
        if real {
            let made: Vec<Bytes> = (0..images).map(made::image).collect();
            learning::upload(&server, &someone, &made).await?;
            from_images = Some(learning::train(&mut server.connect().await?, &someone).await?.1);
        } else {
            let tags = learning::two_tags(&server, &someone).await?;
            server.stop()?;
            store_rows(&data, &someone, &tags, images).await?;
            server = Server::start(program, &data)?;
        }
        let mut connection = server.connect().await?;
        let (iteration, from_rows) = learning::train(&mut connection, &someone).await?;
        let path = format!("/customvision/v3.3/training/projects/{}", someone.project);
        let any = connection
            .call(
                Method::GET,
                &format!("{path}/images/tagged?take=1"),
                &someone.key,
                "application/json",
                Bytes::new(),
            )
            .await?;
        let any: serde_json::Value = serde_json::from_slice(&any)?;
        let image = learning::text(&any[0], "id")?;
        let begun = Instant::now();
        let erase = format!("{path}/images?imageIds={image}&allIterations=true");
        connection.call(Method::DELETE, &erase, &someone.key, "application/json", Bytes::new()).await?;
        let interim = begun.elapsed();
        // Answered when the iteration has them again.
        let figures = format!("{path}/iterations/{iteration}/performance?threshold=0.5");
        connection.call(Method::GET, &figures, &someone.key, "application/json", Bytes::new()).await?;
        let last = begun.elapsed();
        let memory = server.memory()?.1;
        server.stop()?;
        let from_images =
            from_images.map_or(String::new(), |time| format!("{} from images, ", seconds(time)));
        report.tell(
            &format!("one of {images} images erased, against training"),
            format!(
                "interim {}, final {}; against {from_images}{} from stored rows",
                seconds(interim),
                seconds(last),
                seconds(from_rows)
            ),
        );
        if images == COMPARED {
            let alone = alone(&data, &iteration).await?;
            let ratio = interim.as_secs_f64() / alone.as_secs_f64();
            report.add(
                &format!("interim weights of {images} images, against one subtraction and one factorisation"),
                format!("{ratio:.2} times ({} against {})", seconds(interim), seconds(alone)),
                "at most 1.5 times",
                ratio <= 1.5,
            );
        }
        if Some(images) == SETS.last().map(|(images, _)| *images) {
            report.add(
                &format!("memory of a server that trains on {images} images and unlearns one"),
                format!("{:.0} MB at its highest", memory as f64 / 1e6),
                "at most 2000 MB",
                memory <= 2_000_000_000,
            );
        }
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Images with rows and tags, as if the server had made them; the files of the images themselves are not there.
async fn store_rows(data: &Path, someone: &Someone, tags: &[String; 2], images: u64) -> anyhow::Result<()> {
    let store = Store::open(Options::embedded(data), Ambient::system()).await?;
    let id = |text: &str| text.parse::<Id>().map_err(|_| anyhow::anyhow!("no id: {text}"));
    let project = id(&someone.project)?;
    let tags = [id(&tags[0])?, id(&tags[1])?];
    for first in (0..images).step_by(TOGETHER as usize) {
        let made: Vec<(Id, u64, BlobRef)> = (first..images.min(first + TOGETHER))
            .map(|number| {
                let size = (made::FEATURES * size_of::<i16>()) as u64;
                let blob = BlobRef::new(store.ambient(), size, "application/octet-stream");
                (store.ambient().new_id(), number, blob)
            })
            .collect();
        let announced: Vec<BlobRef> = made.iter().map(|(_, _, blob)| blob.clone()).collect();
        store.write(move |tx| tx.announce_blobs(project, &announced.iter().collect::<Vec<_>>())).await?;
        futures::stream::iter(&made)
            .map(Ok::<_, anyhow::Error>)
            .try_for_each_concurrent(AT_A_TIME, |(_, number, blob)| {
                let blobs = store.blobs();
                async move {
                    blobs.put(blob, &row_to_bytes(&made::row(*number))).await?;
                    Ok(())
                }
            })
            .await?;
        store
            .write(move |tx| {
                for (image, number, blob) in &made {
                    let doc = ImageDoc {
                        original: BlobRef { size: 0, ..blob.clone() },
                        resized: None,
                        thumbnail: None,
                        sha256: format!("{number:064x}"),
                        width: 224,
                        height: 224,
                        file_name: None,
                        exif: Vec::new(),
                        metadata: std::collections::BTreeMap::default(),
                        regions: Vec::new(),
                        created_by: None,
                        features: [("phi-v1".to_owned(), blob.clone())].into(),
                    };
                    tx.create::<Image>(New::under(project, *image, doc))?;
                    tx.attach_blobs(*image, &[blob])?;
                    tx.connect(*image, tags[*number as usize % 2], Relation::Tagged)?;
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// How long one subtraction and one factorisation take, from the sums that an iteration has now.
async fn alone(data: &Path, iteration: &str) -> anyhow::Result<Duration> {
    let store = Store::open(Options::embedded(data), Ambient::system()).await?;
    let iteration: Id = iteration.parse().map_err(|_| anyhow::anyhow!("the iteration's id is none"))?;
    let node = store.read(move |tx| tx.get::<Iteration>(iteration)).await?.context("no iteration")?;
    let blob = node.doc.model.and_then(|model| model.sums).context("the iteration has no sums")?;
    let mut sums = Sums::from_bytes(&store.blobs().get(&blob).await?).context("the sums cannot be read")?;
    let labels = (0..sums.row_count() as u128).map(|id| TrainingImage { id, tags: vec![0] }).collect();
    let set = TrainingSet::new::<Infallible>(made::FEATURES, 1, 2, labels)?;
    let threads = NonZeroUsize::new(extractor::threads()).unwrap_or(NonZeroUsize::MIN);
    let load = |_: &[u128]| Ok::<_, Infallible>(made::row(0));
    let begun = Instant::now();
    sums.remove(&set.only(&[0]), threads, load)?;
    std::hint::black_box(solve(&set.without(&[0]), &sums, 1e9, load)?);
    Ok(begun.elapsed())
}
