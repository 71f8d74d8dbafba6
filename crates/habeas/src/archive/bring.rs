//! Writing what a checked archive holds, in the order in which one thing refers to another.

use std::collections::HashMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use habeas_client::{Brought, Error as TargetError};
use habeas_core::import::{
    self, ExportUpload, FinishedImport, ImageTag, ImageUpload, IterationUpload, MeasuredPerformance,
    Performance, Prediction, PredictionUpload, Project, Record, Suggestion, Tag, TagPerformance,
};
use habeas_core::kinds::{ImportedPerformance, ImportedTagPerformance};
use habeas_core::{Id, Kind, Timestamp, crypto, receipt, registry};
use habeas_dataset::Files as _;
use habeas_models::TrainingSet;
use serde::Deserialize;

use super::check::{Checked, PROJECTS, Refused, is_called};
use super::{ArchiveReport, Target};

/// Bytes of an image or of an exported model at most.
const LARGEST: u64 = 512 << 20;

/// Ids that are tried in place of one that is taken: each was erased here before.
pub(super) const DERIVED: u32 = 3;
/// Items brought until what they stand in is kept unfinished for longer.
pub(super) const TOUCH_AFTER: usize = 1_000;

/// What an archive says of an image beside what every source says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageFile {
    #[serde(flatten)]
    pub(super) image: import::Image,
    file_name: Option<String>,
    #[serde(default)]
    pub(super) kept: bool,
}

/// An exported model.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelExport {
    id: Id,
    created: Option<String>,
    iteration_id: Id,
    platform: String,
    flavor: Option<String>,
    sha256: Option<String>,
}

/// An iteration, and the tags of its moment.
#[derive(Deserialize)]
pub(super) struct IterationFile {
    #[serde(flatten)]
    iteration: import::Iteration,
    tags: Vec<Tag>,
    imported: Option<ImportedFile>,
}

/// What an archive says of an iteration that was trained elsewhere already.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportedFile {
    images_erased_since: u64,
    performance: Vec<ImportedPerformance>,
}

pub(super) struct Import<'a> {
    pub(super) checked: &'a mut Checked,
    pub(super) target: &'a Target<'a>,
    /// Ids that are others here.
    pub(super) ids: HashMap<Id, Id>,
    /// The projects, as they are here, of the images that were brought.
    images: HashMap<Id, Id>,
    /// Iterations that were brought, and their projects.
    iterations: HashMap<Id, Id>,
    /// Digests of the models that the server computes again.
    pub(super) models: HashMap<Id, String>,
    /// Projects as they are here.
    pub(super) unfinished: Vec<Id>,
    /// Workspaces, accounts and clusters as they are here.
    pub(super) unfinished_roots: Vec<Record>,
    pub(super) report: ArchiveReport,
}

impl Checked {
    /// Brings everything that a server takes. It is there from one moment on, or not at all: when the server refuses something, what was
    /// brought goes again; when the import is interrupted, the next run goes on, or it goes by itself after a day.
    pub async fn bring(&mut self, target: &Target<'_>) -> anyhow::Result<ArchiveReport> {
        let report = ArchiveReport {
            signed_by: receipt::key_id(&self.signed_by),
            projects: self.projects.len() as u64,
            workspaces: self.records.roots(),
            ..ArchiveReport::default()
        };
        let mut import = Import {
            checked: self,
            target,
            ids: HashMap::new(),
            images: HashMap::new(),
            iterations: HashMap::new(),
            models: HashMap::new(),
            unfinished: Vec::new(),
            unfinished_roots: Vec::new(),
            report,
        };
        match import.run().await {
            Ok(()) => {}
            Err(error) => return Err(import.undo(error).await),
        }
        import.await_models().await?;
        Ok(import.report)
    }
}

impl Import<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let items = self.checked.ids.len() + self.checked.records.len() + self.checked.suggestions().len();
        self.target.bar.set_length(items as u64);
        for project in self.checked.projects.clone() {
            self.project(project).await.with_context(|| format!("project {project}"))?;
        }
        // An iteration may have learned from images of another project.
        for project in self.checked.projects.clone() {
            self.answers(project).await.with_context(|| format!("project {project}"))?;
        }
        self.suggestions().await?;
        self.exports().await?;
        self.roots().await?;
        let import =
            FinishedImport { projects: self.unfinished.clone(), workspaces: self.unfinished_roots.clone() };
        self.target.client.finish_import(self.target.account, &import).await?;
        self.left_out();
        Ok(())
    }

    /// After an error: what the server will never take is a reason to refuse the archive whole; anything else an interruption.
    async fn undo(&self, error: anyhow::Error) -> anyhow::Error {
        let is_final = error.is::<Refused>()
            || matches!(
                error.downcast_ref(),
                Some(TargetError::Refused { status: 400 | 404 | 409 | 410 | 413, .. })
            );
        if !is_final {
            return error.context(
                "the import was interrupted: nothing of it is in use. Run it again within 24 hours, and it goes on; otherwise what was \
                 brought goes by itself",
            );
        }
        let client = self.target.client;
        for &project in &self.unfinished {
            if !is_discarded(client.discard_project(project).await) {
                return error.context(format!("project {project} is left, and goes by itself after a day"));
            }
        }
        for Record { id, .. } in &self.unfinished_roots {
            if !is_discarded(client.discard_workspace(*id).await) {
                return error.context(format!("workspace {id} is left, and goes by itself after a day"));
            }
        }
        if error.is::<Refused>() { error } else { Refused(format!("{error:#}")).into() }
    }

    /// A project with its tags and images.
    async fn project(&mut self, project: Id) -> anyhow::Result<()> {
        let mut document: Project = self.checked.document(&format!("{PROJECTS}{project}/project.json"))?;
        let target = self.target;
        let here = self
            .put(project, async |id| {
                document.id = id;
                target.client.bring_unfinished_project(target.account, &document).await
            })
            .await?;
        self.unfinished.push(here);
        for path in self.checked.documents_below(project, "tags") {
            let mut tag: Tag = self.checked.document(&path)?;
            self.put(tag.id, async |id| {
                tag.id = id;
                target.client.bring_tag(here, &tag).await
            })
            .await?;
        }
        for (number, path) in self.checked.documents_below(project, "images").iter().enumerate() {
            if number % TOUCH_AFTER == TOUCH_AFTER - 1 {
                target.client.bring_unfinished_project(target.account, &document).await?;
            }
            self.image(here, path).await.with_context(|| path.clone())?;
        }
        Ok(())
    }

    /// The iterations of a project, and what they answered.
    async fn answers(&mut self, project: Id) -> anyhow::Result<()> {
        let here = self.here(project);
        for path in self.checked.below(project, "iterations") {
            if let Some(folder) = path.strip_suffix("/iteration.json") {
                self.iteration(here, folder).await.with_context(|| path.clone())?;
            }
        }
        for path in self.checked.documents_below(project, "predictions") {
            self.prediction(here, &path).await.with_context(|| path.clone())?;
        }
        Ok(())
    }

    /// Writes an item under its id, or, when that is taken or was erased here, under one that is derived from it.
    pub(super) async fn put(
        &mut self,
        id: Id,
        mut write: impl AsyncFnMut(Id) -> habeas_client::Result<Brought>,
    ) -> anyhow::Result<Id> {
        let mut here = id;
        let mut result = write(here).await;
        for number in 0..DERIVED {
            if !matches!(result, Err(TargetError::Refused { status: 409 | 410, .. })) {
                break;
            }
            here = derived(self.target.account, id, number);
            result = write(here).await;
        }
        let brought = result?;
        if here != id {
            self.ids.insert(id, here);
            self.report.remapped.push((id, here));
        }
        self.count(brought);
        Ok(here)
    }

    pub(super) fn count(&mut self, brought: Brought) {
        self.target.bar.inc(1);
        match brought {
            Brought::New => self.report.brought += 1,
            Brought::Present => self.report.present += 1,
        }
    }

    pub(super) fn here(&self, id: Id) -> Id {
        self.ids.get(&id).copied().unwrap_or(id)
    }

    async fn image(&mut self, project: Id, path: &str) -> anyhow::Result<()> {
        let ImageFile { mut image, file_name, kept } = self.checked.document(path)?;
        let (sha256, bytes) = self.bytes(path)?;
        for tag in image.tags.iter_mut().flatten() {
            tag.tag_id = self.here(tag.tag_id);
        }
        for region in image.regions.iter_mut().flatten() {
            region.tag_id = self.here(region.tag_id);
        }
        let id = image.id;
        let mut upload = ImageUpload { image, kept, file_name, sha256, contents: STANDARD.encode(bytes) };
        let client = self.target.client;
        let here = self
            .put(id, async |id| {
                upload.image.id = id;
                client.bring_image(project, &upload).await
            })
            .await?;
        self.images.insert(here, project);
        Ok(())
    }

    /// The file beside a document that holds the bytes of its image.
    fn bytes(&mut self, document: &str) -> anyhow::Result<(String, Vec<u8>)> {
        let path = self.checked.file_beside(document)?;
        let digest = self.checked.digests.get(&path).cloned().unwrap_or_default();
        Ok((digest, self.checked.archive.content(&path, LARGEST)?))
    }

    /// An iteration with its snapshot. Its weights are not brought but computed again: what a server does not have from its own sums, it cannot
    /// make forget.
    async fn iteration(&mut self, project: Id, folder: &str) -> anyhow::Result<()> {
        let IterationFile { mut iteration, mut tags, imported } =
            self.checked.document(&format!("{folder}/iteration.json"))?;
        if !matches!(iteration.status.as_str(), "Completed" | "Failed") {
            self.report.left_out.push(format!("iteration {}: it was being trained", iteration.id));
            return Ok(());
        }
        let set = format!("{folder}/training-set.json");
        let set: TrainingSet = if self.checked.digests.contains_key(&set) {
            self.checked.document(&set)?
        } else {
            TrainingSet::default()
        };
        for tag in &mut tags {
            tag.id = self.here(tag.id);
        }
        if let Some(base) = &mut iteration.custom_base_model_info {
            (base.project_id, base.iteration_id) = (self.here(base.project_id), self.here(base.iteration_id));
        }
        let images = set.images.iter().map(|image| self.snapshot(image)).collect();
        let id = iteration.id;
        let (tainted, measured) =
            imported.map_or_else(Default::default, |known| (known.images_erased_since, known.performance));
        let performance = measured.into_iter().map(|measured| self.measured(measured)).collect();
        let state = iteration.model.as_ref().map(|model| model.state_digest.clone());
        let mut upload = IterationUpload { iteration, tags, images, performance, tainted };
        let client = self.target.client;
        let here = self
            .put(id, async |id| {
                upload.iteration.id = id;
                client.bring_iteration(project, &upload).await
            })
            .await?;
        self.iterations.insert(here, project);
        self.models.extend(state.map(|state| (here, state)));
        Ok(())
    }

    /// What another service measured of an iteration, in the words of the training API.
    fn measured(&self, measured: ImportedPerformance) -> MeasuredPerformance {
        let tag = |tag: ImportedTagPerformance| TagPerformance {
            id: self.here(tag.tag),
            name: tag.name,
            precision: tag.precision,
            precision_std_deviation: tag.precision_deviation,
            recall: tag.recall,
            recall_std_deviation: tag.recall_deviation,
            average_precision: Some(tag.average_precision),
        };
        MeasuredPerformance {
            threshold: measured.threshold,
            overlap_threshold: measured.overlap,
            performance: Performance {
                per_tag_performance: measured.tags.into_iter().map(tag).collect(),
                precision: measured.precision,
                precision_std_deviation: measured.precision_deviation,
                recall: measured.recall,
                recall_std_deviation: measured.recall_deviation,
                average_precision: Some(measured.average_precision),
            },
        }
    }

    fn snapshot(&self, image: &habeas_models::SnapshotImage) -> import::Image {
        let tag = |(tag, since): &(Id, Timestamp)| ImageTag {
            tag_id: self.here(*tag),
            created: Some(since.rfc3339()),
        };
        import::Image {
            id: self.here(image.id),
            created: None,
            original_image_uri: None,
            tags: Some(image.tags.iter().map(tag).collect()),
            regions: Some(
                image
                    .regions
                    .iter()
                    .map(|region| import::ImageRegion {
                        region_id: region.id,
                        tag_id: self.here(region.tag),
                        created: Some(region.created_at.rfc3339()),
                        left: region.left,
                        top: region.top,
                        width: region.width,
                        height: region.height,
                    })
                    .collect(),
            ),
            metadata: None,
        }
    }

    async fn prediction(&mut self, project: Id, path: &str) -> anyhow::Result<()> {
        let mut prediction: Prediction = self.checked.document(path)?;
        let (sha256, bytes) = self.bytes(path)?;
        prediction.iteration = self.here(prediction.iteration);
        for scored in prediction.predictions.iter_mut().flatten() {
            scored.tag_id = self.here(scored.tag_id);
        }
        let id = prediction.id;
        let mut upload = PredictionUpload { prediction, sha256, contents: STANDARD.encode(bytes) };
        let client = self.target.client;
        let result = self
            .put(id, async |id| {
                upload.prediction.id = id;
                client.bring_prediction(project, &upload).await
            })
            .await;
        self.unless_too_old(result, || format!("prediction {id}"))
    }

    /// What models suggested for images.
    async fn suggestions(&mut self) -> anyhow::Result<()> {
        for path in self.checked.suggestions() {
            let mut suggestion: Suggestion = self.checked.document(&path)?;
            suggestion.image = self.here(suggestion.image);
            suggestion.iteration = self.here(suggestion.iteration);
            for scored in suggestion.predictions.iter_mut().flatten() {
                scored.tag_id = self.here(scored.tag_id);
            }
            let Some(&project) = self.images.get(&suggestion.image) else { continue };
            let id = suggestion.id;
            let client = self.target.client;
            let result = self
                .put(id, async |id| {
                    suggestion.id = id;
                    client.bring_suggestion(project, &suggestion).await
                })
                .await;
            self.unless_too_old(result, || format!("suggestion {id}")).with_context(|| path.clone())?;
        }
        Ok(())
    }

    /// Passes over what is older than answers of models are kept here.
    fn unless_too_old(
        &mut self,
        result: anyhow::Result<Id>,
        what: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match result {
            Err(error) if is_gone(&error) => {
                self.report.left_out.push(format!("{}: it is older than predictions are kept here", what()));
                Ok(())
            }
            result => result.map(|_| ()),
        }
    }

    /// Exported models, once their iterations are there.
    async fn exports(&mut self) -> anyhow::Result<()> {
        for path in self.checked.model_exports() {
            let export: ModelExport = self.checked.document(&path)?;
            let iteration = self.here(export.iteration_id);
            let archive = path.replace(".json", ".zip");
            let (Some(&project), Some(digest), Some(sha256)) =
                (self.iterations.get(&iteration), export.sha256, self.checked.digests.get(&archive).cloned())
            else {
                continue;
            };
            let bytes = Bytes::from(self.checked.archive.content(&archive, LARGEST)?);
            let (flavor, created) = (export.flavor, export.created);
            let mut upload = ExportUpload { id: None, flavor, sha256, digest: Some(digest), created };
            let client = self.target.client;
            let brought = self
                .put(export.id, async |id| {
                    upload.id = Some(id);
                    client.bring_export(project, iteration, &export.platform, &upload, bytes.clone()).await
                })
                .await;
            if let Err(error) = brought {
                match error.downcast::<TargetError>()? {
                    TargetError::Refused { title, .. } => {
                        self.report.left_out.push(format!("{path}: {title}"));
                    }
                    error => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Says what is in the archive and not brought.
    fn left_out(&mut self) {
        let count = |is: &dyn Fn(&str) -> bool| self.checked.digests.keys().filter(|path| is(path)).count();
        let parts: [(usize, &str); 4] = [
            (
                count(&|path| path.contains("/images/") && is_called(path, "bin")),
                "feature rows: they are computed again from the images",
            ),
            (
                count(&|path| path.starts_with("profile/") && is_called(path, "csv")),
                "tables of passwords, keys and tokens: they are issued anew",
            ),
            (
                count(&|path| path.starts_with("tracking/") && self.checked.records.is_empty()),
                "files of experiments, runs and registered models: the archive is from before they could be brought",
            ),
            (
                count(&|path| path.starts_with("activity/") || path.starts_with("rights/")),
                "files about what another server did",
            ),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        self.report.left_out.extend(parts.map(|(count, what)| format!("{count} {what}")));
        let secrets = [
            (
                "secrets of clusters, computes and datastores: enter them again",
                &["OperationalizationCluster", "Compute", "Datastore"][..],
            ),
            ("keys of services: they are issued anew", &["Service"]),
        ];
        for (what, kinds) in secrets {
            if kinds.iter().any(|kind| count(&|path| path.starts_with(&format!("records/{kind}-"))) > 0) {
                self.report.left_out.push(what.to_owned());
            }
        }
        // What stands in workspaces and is not carried.
        let carried = registry::carried_kinds();
        for found in self.checked.found.iter().filter(|found| found.count > 0) {
            let kind = Kind::ALL.iter().find(|kind| format!("{kind:?}") == found.kind);
            let above = kind.map(|kind| registry::ops(*kind).parents()).unwrap_or_default();
            if kind.is_some_and(|kind| !carried.contains(kind))
                && above.iter().any(|above| carried.contains(above))
            {
                self.report.left_out.push(format!("{} of {}", found.count, found.title));
            }
        }
    }
}

/// Whether it is gone, or was there before, and stays.
fn is_discarded(result: habeas_client::Result<()>) -> bool {
    matches!(result, Ok(()) | Err(TargetError::Refused { status: 404 | 409, .. }))
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(TargetError::Refused { status: 410, .. }))
}

/// The id that an item has in this account when its own is taken, and when the ones before this are: the same in every run (UUID version 8,
/// RFC 9562).
pub(super) fn derived(account: Id, id: Id, number: u32) -> Id {
    let more = if number == 0 { String::new() } else { format!("/{number}") };
    let digest = crypto::sha256(format!("{account}/{id}{more}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Id::from_bytes(bytes)
}
