//! Bringing one project: tags, images, iterations, exported models, predictions; and comparing what came of it.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use habeas_client::{Brought, Error as TargetError};
use habeas_core::import::{
    Contents, ExportUpload, Image, ImageUpload, Iteration, IterationUpload, Prediction, PredictionUpload,
    Project,
};
use habeas_core::{Id, crypto};

use super::Rescue;
use super::report::{Item, ProjectReport};
use super::source::{Fetched, SourceError};

/// Images fetched at a time: they come from storage, which has no limit of requests.
const AT_A_TIME: usize = 4;
/// How often the list of images is read until it does not change any more.
const PASSES: u32 = 5;
/// The overlap that Microsoft's portal measures detectors at.
const OVERLAP: f64 = 0.3;
/// Steps of 0.05 at which performance is measured.
const STEPS: std::ops::RangeInclusive<u32> = 1..=19;

/// What became of one item.
enum Outcome {
    Brought { bytes: u64, sha256: String },
    Present { sha256: Option<String> },
    RemovedHere,
    Gone,
    Failed(String),
}

/// One project on its way.
struct Journey<'a> {
    rescue: &'a Rescue,
    project: Id,
    held: HashMap<Id, String>,
    removed: HashSet<Id>,
    report: ProjectReport,
    /// Images that must be here at the end, with the digest that was seen on the way.
    expected: HashMap<Id, Option<String>>,
    /// Other items that must be here.
    items: HashSet<Id>,
    /// Digests of exported models that must be here.
    exports: HashSet<String>,
    /// Whether the list of images was as long as the source counts them.
    settled: bool,
}

impl Rescue {
    pub(super) async fn bring(&self, project: &Project) -> anyhow::Result<ProjectReport> {
        self.target.bring_project(self.account, project).await?;
        let contents = self.target.project_contents(project.id).await?;
        let mut journey = Journey {
            rescue: self,
            project: project.id,
            held: contents.images.iter().map(|image| (image.id, image.sha256.clone())).collect(),
            removed: contents.removed.iter().copied().collect(),
            report: ProjectReport::new(project.id, &project.name),
            expected: HashMap::new(),
            items: HashSet::new(),
            exports: HashSet::new(),
            settled: false,
        };
        journey.tags(&contents).await?;
        journey.workspace().await?;
        for iteration in self.source.iterations(project.id).await? {
            journey.iteration(&iteration, &contents).await?;
        }
        if self.options.predictions {
            journey.predictions(&contents).await?;
        }
        journey.verify().await?;
        Ok(journey.report)
    }
}

impl Journey<'_> {
    async fn tags(&mut self, contents: &Contents) -> anyhow::Result<()> {
        for tag in self.rescue.source.tags(self.project, None).await? {
            let outcome = if contents.tags.contains(&tag.id) {
                Outcome::Present { sha256: None }
            } else if self.removed.contains(&tag.id) {
                Outcome::RemovedHere
            } else {
                put(self.rescue.target.bring_tag(self.project, &tag).await, 0, String::new())?
            };
            self.note(Item::Tag, tag.id, outcome);
        }
        Ok(())
    }

    /// All images of the workspace. The list is read until it holds nothing new and as many as the source counts: pages move when images
    /// are added or deleted meanwhile.
    async fn workspace(&mut self) -> anyhow::Result<()> {
        let source = &self.rescue.source;
        self.rescue.bar.set_length(source.image_count(self.project).await?);
        self.rescue.bar.set_position(0);
        let mut seen: HashSet<Id> = HashSet::new();
        for _ in 0..PASSES {
            let mut listed: HashSet<Id> = HashSet::new();
            let mut skip = 0;
            let mut new = 0;
            loop {
                let page = source.images(self.project, None, skip).await?;
                if page.is_empty() {
                    break;
                }
                skip += page.len();
                listed.extend(page.iter().map(|image| image.id));
                let unseen: Vec<Image> = page.into_iter().filter(|image| seen.insert(image.id)).collect();
                new += unseen.len();
                self.images(unseen, None).await?;
            }
            if new == 0 && listed.len() as u64 == source.image_count(self.project).await? {
                self.settled = true;
                break;
            }
        }
        Ok(())
    }

    /// Images of the workspace, or those that only `iteration` holds.
    async fn images(&mut self, images: Vec<Image>, iteration: Option<Id>) -> anyhow::Result<()> {
        let (rescue, project) = (self.rescue, self.project);
        let mut wanted = Vec::new();
        for image in images {
            if self.removed.contains(&image.id) {
                self.note(Item::Image, image.id, Outcome::RemovedHere);
                continue;
            }
            wanted.push((self.held.get(&image.id).cloned(), image));
        }
        let mut work = futures::stream::iter(wanted)
            .map(|(held, image)| async move {
                let outcome = rescue.image(project, &image, iteration, held).await;
                rescue.bar.inc(1);
                outcome.map(|outcome| (image.id, outcome))
            })
            .buffer_unordered(AT_A_TIME);
        while let Some(done) = work.next().await {
            let (id, outcome) = done?;
            self.note(Item::Image, id, outcome);
        }
        Ok(())
    }

    async fn iteration(&mut self, iteration: &Iteration, contents: &Contents) -> anyhow::Result<()> {
        if self.removed.contains(&iteration.id) {
            self.note(Item::Iteration, iteration.id, Outcome::RemovedHere);
            return Ok(());
        }
        let held = contents.iterations.iter().find(|held| held.id == iteration.id);
        let outcome = match held {
            Some(_) => Outcome::Present { sha256: None },
            None if matches!(iteration.status.as_str(), "Completed" | "Failed") => {
                let upload = self.snapshot(iteration).await?;
                put(self.rescue.target.bring_iteration(self.project, &upload).await, 0, String::new())?
            }
            None => Outcome::Failed(format!(
                "it is `{}`: import again when its training has ended",
                iteration.status
            )),
        };
        let here = !matches!(outcome, Outcome::Failed(_));
        self.note(Item::Iteration, iteration.id, outcome);
        let tainted = held.is_some_and(|held| held.tainted > 0);
        if here && !tainted && self.rescue.options.exports && iteration.status == "Completed" {
            self.exported(iteration, contents).await?;
        }
        Ok(())
    }

    /// An iteration with everything that belongs to it; its images that left the workspace are brought on the way.
    async fn snapshot(&mut self, iteration: &Iteration) -> anyhow::Result<IterationUpload> {
        let source = &self.rescue.source;
        let tags = source.tags(self.project, Some(iteration.id)).await?;
        let mut images: Vec<Image> = Vec::new();
        loop {
            let page = source.images(self.project, Some(iteration.id), images.len()).await?;
            if page.is_empty() {
                break;
            }
            images.extend(page);
        }
        let mut seen = HashSet::new();
        images.retain(|image| seen.insert(image.id));
        let left: Vec<Image> = images
            .iter()
            .filter(|image| {
                let known = self.expected.contains_key(&image.id) || self.removed.contains(&image.id);
                !known && !self.was_failed(image.id)
            })
            .cloned()
            .collect();
        self.images(left, Some(iteration.id)).await?;
        let mut performance = Vec::new();
        if iteration.status == "Completed" {
            for step in STEPS {
                let threshold = f64::from(step) / 20.0;
                match source.performance(self.project, iteration.id, threshold, OVERLAP).await {
                    Ok(measured) => performance.push(measured),
                    Err(error) if error.is_final() => return Err(error.into()),
                    // The source does not measure it.
                    Err(_) => break,
                }
            }
        }
        Ok(IterationUpload { iteration: iteration.clone(), tags, images, performance, tainted: 0 })
    }

    fn was_failed(&self, id: Id) -> bool {
        self.report.problems.iter().any(|problem| problem.item == Item::Image && problem.id == id)
    }

    /// Exported models: those that the source has, and one for each platform that it can be asked for.
    async fn exported(&mut self, iteration: &Iteration, contents: &Contents) -> anyhow::Result<()> {
        let (rescue, id) = (self.rescue, iteration.id);
        let held = contents.iterations.iter().find(|held| held.id == id);
        let mut exports = rescue.source.exports(self.project, id).await?;
        exports.retain(|export| export.status == "Done");
        let platforms = iteration.exportable_to.iter().flatten().filter(|_| iteration.exportable);
        for platform in platforms {
            if !exports.iter().any(|export| export.platform == *platform) {
                match rescue.source.export(self.project, id, platform).await {
                    Ok(Some(export)) => exports.push(export),
                    Ok(None) => self.report.fail(
                        Item::Export,
                        id,
                        format!("the source does not export to {platform}"),
                    ),
                    Err(error) if error.is_final() => return Err(error.into()),
                    Err(error) => self.report.fail(Item::Export, id, format!("{platform}: {error}")),
                }
            }
        }
        for export in exports {
            let same = |held: &&habeas_core::import::HeldExport| {
                held.platform == export.platform && held.flavor == export.flavor
            };
            if let Some(held) = held.and_then(|held| held.exports.iter().find(same)) {
                self.exports.insert(held.sha256.clone());
                self.report.exports.present += 1;
                continue;
            }
            let Some(archive) = self.archive(id, &export.platform, export.download_uri.as_deref()).await?
            else {
                self.report.fail(
                    Item::Export,
                    id,
                    format!("{}: its archive cannot be fetched", export.platform),
                );
                continue;
            };
            let (sha256, bytes) = (digest(&archive), archive.len() as u64);
            let upload = ExportUpload {
                id: None,
                flavor: export.flavor.clone(),
                sha256: sha256.clone(),
                digest: None,
                created: None,
            };
            let sent = rescue.target.bring_export(self.project, id, &export.platform, &upload, archive).await;
            match put(sent, bytes, sha256.clone())? {
                Outcome::Failed(why) => self.report.fail(Item::Export, id, why),
                outcome => {
                    self.exports.insert(sha256);
                    self.note(Item::Export, id, outcome);
                }
            }
        }
        Ok(())
    }

    /// The archive of an exported model; its address is asked for again once.
    async fn archive(
        &self,
        iteration: Id,
        platform: &str,
        address: Option<&str>,
    ) -> Result<Option<Bytes>, SourceError> {
        let source = &self.rescue.source;
        if let Some(address) = address
            && let Some(archive) = source.bytes(address).await?
        {
            return Ok(Some(archive));
        }
        let again = source.exports(self.project, iteration).await?;
        match again
            .into_iter()
            .find(|export| export.platform == platform)
            .and_then(|export| export.download_uri)
        {
            Some(address) => source.bytes(&address).await,
            None => Ok(None),
        }
    }

    async fn predictions(&mut self, contents: &Contents) -> anyhow::Result<()> {
        let held: HashSet<Id> = contents.predictions.iter().copied().collect();
        let mut continuation = None;
        loop {
            let (page, next) = self.rescue.source.predictions(self.project, continuation.as_deref()).await?;
            for prediction in page {
                let id = prediction.id;
                let outcome = if held.contains(&id) {
                    Outcome::Present { sha256: None }
                } else if self.removed.contains(&id) {
                    Outcome::RemovedHere
                } else {
                    self.prediction(prediction).await?
                };
                self.note(Item::Prediction, id, outcome);
            }
            match next {
                Some(next) if continuation.as_ref() != Some(&next) => continuation = Some(next),
                _ => return Ok(()),
            }
        }
    }

    async fn prediction(&self, prediction: Prediction) -> anyhow::Result<Outcome> {
        let fetched = match &prediction.original_image_uri {
            Some(address) => self.rescue.source.bytes(address).await?,
            None => None,
        };
        let Some(bytes) = fetched else { return Ok(Outcome::Gone) };
        let sha256 = digest(&bytes);
        let upload =
            PredictionUpload { prediction, sha256: sha256.clone(), contents: STANDARD.encode(&bytes) };
        put(self.rescue.target.bring_prediction(self.project, &upload).await, bytes.len() as u64, sha256)
    }

    fn note(&mut self, item: Item, id: Id, outcome: Outcome) {
        let tally = self.report.tally(item);
        let sha256 = match outcome {
            Outcome::Brought { bytes, sha256 } => {
                tally.brought += 1;
                self.report.bytes += bytes;
                Some(sha256).filter(|_| item == Item::Image)
            }
            Outcome::Present { sha256 } => {
                tally.present += 1;
                sha256
            }
            Outcome::RemovedHere => {
                tally.removed_here += 1;
                return;
            }
            Outcome::Gone => {
                tally.gone += 1;
                return;
            }
            Outcome::Failed(why) => return self.report.fail(item, id, why),
        };
        if item == Item::Image {
            self.expected.insert(id, sha256);
        } else if item != Item::Export {
            self.items.insert(id);
        }
    }

    /// Compares what is here with what must be.
    async fn verify(&mut self) -> anyhow::Result<()> {
        let contents = self.rescue.target.project_contents(self.project).await?;
        let images: HashMap<Id, &str> =
            contents.images.iter().map(|image| (image.id, image.sha256.as_str())).collect();
        let mut items: HashSet<Id> = contents.tags.iter().chain(&contents.predictions).copied().collect();
        items.extend(contents.iterations.iter().map(|iteration| iteration.id));
        let exports: HashSet<&str> = contents
            .iterations
            .iter()
            .flat_map(|iteration| &iteration.exports)
            .map(|export| export.sha256.as_str())
            .collect();
        self.report.verified = self.settled
            && self.items.is_subset(&items)
            && self.exports.iter().all(|sha256| exports.contains(sha256.as_str()))
            && self.expected.iter().all(|(id, sha256)| {
                images.get(id).is_some_and(|here| sha256.as_ref().is_none_or(|sha256| sha256 == here))
            });
        Ok(())
    }
}

impl Rescue {
    /// One image. Bytes that are refused as damaged are fetched once more: the way may have damaged them.
    async fn image(
        &self,
        project: Id,
        image: &Image,
        iteration: Option<Id>,
        held: Option<String>,
    ) -> anyhow::Result<Outcome> {
        if held.is_some() && !self.options.verify {
            return Ok(Outcome::Present { sha256: None });
        }
        let mut second = false;
        loop {
            let bytes = match self.source.image_bytes(project, image, iteration).await {
                Ok(Fetched::Bytes(bytes)) => bytes,
                Ok(Fetched::Gone) => return Ok(Outcome::Gone),
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => return Ok(Outcome::Failed(error.to_string())),
            };
            let sha256 = digest(&bytes);
            if held.is_some() {
                return Ok(Outcome::Present { sha256: Some(sha256) });
            }
            let upload = ImageUpload {
                image: image.clone(),
                kept: iteration.is_some(),
                file_name: None,
                sha256: sha256.clone(),
                contents: STANDARD.encode(&bytes),
            };
            let outcome = put(self.target.bring_image(project, &upload).await, bytes.len() as u64, sha256)?;
            if second || !matches!(outcome, Outcome::Failed(_)) {
                return Ok(outcome);
            }
            second = true;
        }
    }
}

/// What an answer of this server means for the item. What concerns the server as a whole ends the import.
fn put(answer: Result<Brought, TargetError>, bytes: u64, sha256: String) -> anyhow::Result<Outcome> {
    match answer {
        Ok(Brought::New) => Ok(Outcome::Brought { bytes, sha256 }),
        Ok(Brought::Present) => {
            Ok(Outcome::Present { sha256: Some(sha256).filter(|sha256| !sha256.is_empty()) })
        }
        Err(error @ TargetError::Refused { status: 400 | 409 | 410 | 413, .. }) => {
            Ok(Outcome::Failed(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(crypto::sha256(bytes))
}
