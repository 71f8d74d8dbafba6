//! Training an exported iteration again, to see whether its model is what it is said to be.
//!
//! A person's archive holds all that a model is a function of: the rows beside the images (`images/ID.EXTRACTOR.bin`), and with each
//! iteration its tags, what it learned from, its snapshot of labels, and the digests. From these the model is trained from scratch, without
//! the server and without the images, and compared bit for bit.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use habeas_core::kinds::TrainingType;
use habeas_core::{Error, Id, Result};
use habeas_learn::imaging;
use serde::{Deserialize, Serialize};

use crate::TrainingSet;
use crate::compute::{Compute, Computed, Input};

/// The files of an archive that was unpacked or is read where it lies.
pub trait ExportedFiles {
    /// Paths of all files, relative, with `/`.
    fn paths(&self) -> Vec<String>;

    /// The bytes of one of them.
    fn read(&mut self, path: &str) -> Result<Vec<u8>>;
}

/// How a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Trained again, every digest is the recorded one.
    Verified,
    /// Something differs.
    Different,
    /// The archive does not hold all that the model was trained from, or says that it is not final.
    Incomplete,
    /// There is no model trained here: the training failed or goes on, or the model was trained elsewhere.
    NoModel,
}

/// What came of one iteration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The iteration.
    pub iteration: Id,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What is missing or differs.
    pub findings: Vec<String>,
    /// Images that it learned from, as far as the archive has them.
    pub images: u64,
    /// SHA-256 of the integer sums that were computed, in hexadecimal.
    pub sums_digest: Option<String>,
    /// SHA-256 of the state that was computed, in hexadecimal.
    pub state_digest: Option<String>,
}

/// `iteration.json`, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    id: Id,
    name: String,
    classification_type: Option<String>,
    training_type: TrainingType,
    tags: Vec<RecordedTag>,
    model: Option<RecordedModel>,
    #[serde(default)]
    learned_from: Option<Vec<Id>>,
}

#[derive(Deserialize)]
struct RecordedTag {
    id: Id,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedModel {
    state: String,
    extractor: String,
    sums_digest: String,
    state_digest: String,
    images: u64,
}

/// Trains every iteration in an archive again, or the one named, on `threads` threads. Errors: the archive cannot be read, or is no export
/// of this kind; what an iteration lacks is a finding.
pub fn verify(
    files: &mut dyn ExportedFiles,
    iteration: Option<Id>,
    threads: usize,
) -> Result<Vec<Verification>> {
    let paths = files.paths();
    let rows: HashMap<String, &String> = paths
        .iter()
        .filter(|path| path.contains("/images/"))
        .filter_map(|path| Some((path.rsplit_once('/')?.1.to_owned(), path)))
        .collect();
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.contains("/iterations/")) {
        let Some(folder) = path.strip_suffix("iteration.json") else { continue };
        let recorded: Recorded = serde_json::from_slice(&files.read(path)?)
            .map_err(|error| Error::damaged(format!("{path} cannot be read: {error}")))?;
        if iteration.is_none_or(|wanted| recorded.id == wanted) {
            let candidate = Candidate { paths: &paths, folder, recorded, rows: &rows, findings: Vec::new() };
            found.push(candidate.verify(files, threads)?);
        }
    }
    found.sort_by_key(|verification| verification.iteration);
    Ok(found)
}

/// An iteration that is being looked at.
struct Candidate<'a> {
    /// Paths of all files.
    paths: &'a [String],
    folder: &'a str,
    recorded: Recorded,
    /// Path of each file beside an image, by its name.
    rows: &'a HashMap<String, &'a String>,
    findings: Vec<String>,
}

impl Candidate<'_> {
    fn verify(mut self, files: &mut dyn ExportedFiles, threads: usize) -> Result<Verification> {
        let Some(model) = self.recorded.model.take() else {
            return Ok(self.ended(Verdict::NoModel, 0, None));
        };
        let Some((input, images)) = self.input(files, &model)? else {
            return Ok(self.ended(Verdict::Incomplete, 0, None));
        };
        if images != model.images {
            self.findings
                .push(format!("it is said to have learned from {} images, not {images}", model.images));
        }
        let compute = Compute::new(imaging::Limits::default(), threads, &[])?;
        let mut rows = |images: &[Id]| {
            images
                .iter()
                .map(|image| match self.row(*image, &model.extractor) {
                    Some(path) => files.read(path),
                    None => Err(Error::not_found(format!("the row of image {image} is not in the archive"))),
                })
                .collect()
        };
        let computed = match compute.train(&input, &mut rows, None, &AtomicBool::new(false)) {
            Ok(computed) => computed,
            Err(error) => {
                self.findings
                    .push(format!("it cannot be trained from these rows and labels: {}", error.what));
                return Ok(self.ended(Verdict::Different, images, None));
            }
        };
        for (what, recorded, computed) in [
            ("integer sums", &model.sums_digest, &computed.sums_digest),
            ("model state", &model.state_digest, &computed.state_digest),
        ] {
            if recorded != computed {
                self.findings
                    .push(format!("SHA-256 of the {what} is said to be {recorded}, but is {computed}"));
            }
        }
        let evaluation = computed.evaluation.clone().unwrap_or_default();
        for (name, bytes) in [("weights.bin", &computed.weights), ("evaluation.bin", &evaluation)] {
            match self.file(files, name)? {
                None => self.findings.push(format!("{name} is not in the archive")),
                Some(exported) if exported != *bytes => {
                    self.findings.push(format!("{name} is not what training gives"));
                }
                Some(_) => {}
            }
        }
        let verdict = if self.findings.is_empty() { Verdict::Verified } else { Verdict::Different };
        Ok(self.ended(verdict, images, Some(computed)))
    }

    /// What the model was trained from, and how many images that is; none when something is missing.
    fn input(
        &mut self,
        files: &mut dyn ExportedFiles,
        model: &RecordedModel,
    ) -> Result<Option<(Input, u64)>> {
        if model.state != "final" {
            self.findings.push("its weights are interim: export again when they are final".to_owned());
            return Ok(None);
        }
        let Some(snapshot) = self.file(files, "training-set.json")? else {
            self.findings
                .push("training-set.json, its snapshot of the labels, is not in the archive".to_owned());
            return Ok(None);
        };
        let Ok(set) = serde_json::from_slice::<TrainingSet>(&snapshot) else {
            self.findings.push("training-set.json cannot be read".to_owned());
            return Ok(None);
        };
        let tags: Vec<Id> = self.recorded.tags.iter().map(|tag| tag.id).collect();
        let learned = match self.recorded.learned_from.take() {
            Some(learned) => learned,
            None => set.carrying(&tags).map(|image| image.id).collect(),
        };
        let missing = learned.iter().filter(|image| self.row(**image, &model.extractor).is_none()).count();
        if missing > 0 {
            self.findings.push(format!(
                "the rows of {missing} images are not in the archive: they are held by somebody else, or were left out"
            ));
            return Ok(None);
        }
        let class = self.recorded.classification_type.as_deref();
        let input = Input::of(class, self.recorded.training_type, tags, &set, &learned);
        Ok(Some((input, learned.len() as u64)))
    }

    /// Where the row of an image is.
    fn row(&self, image: Id, extractor: &str) -> Option<&String> {
        self.rows.get(&format!("{image}.{extractor}.bin")).copied()
    }

    /// A file of the iteration; none when it is not there.
    fn file(&self, files: &mut dyn ExportedFiles, name: &str) -> Result<Option<Vec<u8>>> {
        let path = format!("{}{name}", self.folder);
        if self.paths.contains(&path) { files.read(&path).map(Some) } else { Ok(None) }
    }

    fn ended(self, verdict: Verdict, images: u64, computed: Option<Computed>) -> Verification {
        let (sums_digest, state_digest) =
            computed.map(|computed| (computed.sums_digest, computed.state_digest)).unzip();
        Verification {
            iteration: self.recorded.id,
            name: self.recorded.name,
            verdict,
            findings: self.findings,
            images,
            sums_digest,
            state_digest,
        }
    }
}
