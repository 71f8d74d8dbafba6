//! Reading an archive to its end, before anything of it is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use habeas_core::report::KeyReport;
use habeas_core::{Error, Id, import, receipt};
use habeas_dataset::Files as _;
use habeas_models::TrainingSet;
use habeas_wire::archive::Archive;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bring::{ImageFile, IterationFile, ModelExport};
use super::plain::Plain;
use super::records::Records;

/// Files in an archive at most.
const FILES: u64 = 2_000_000;
/// Bytes of a document, and of the manifest, at most.
pub(super) const DOCUMENT: u64 = 64 << 20;
const LARGEST_MANIFEST: u64 = 512 << 20;
/// An archive unpacks to this, or to so many times its own size.
const UNPACKED: u64 = 64 << 20;
const RATIO: u64 = 100;

const MANIFEST: &str = "manifest-sha256.txt";
const SIGNATURE: &str = "signature/manifest.json";
pub(super) const PROJECTS: &str = "custom-vision/projects/";

/// Why an archive is refused. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
#[error("the archive is refused: {0}")]
pub struct Refused(pub(super) String);

/// An archive in which every file is the one that was signed, and every document says what its place says.
#[derive(Debug)]
pub struct Checked {
    pub(super) archive: Archive<Plain>,
    /// SHA-256 of each file, in hexadecimal, by path.
    pub(super) digests: BTreeMap<String, String>,
    /// The lengths of the files.
    pub(super) sizes: BTreeMap<String, u64>,
    /// The projects.
    pub(super) projects: BTreeSet<Id>,
    /// The ids of everything in projects.
    pub(super) ids: BTreeSet<Id>,
    /// What it carries as it was stored.
    pub(super) records: Records,
    /// How much of each kind there was.
    pub(super) found: Vec<FoundKind>,
    /// The person, as the archive knows them.
    pub person: Profile,
    /// The public key that signed it.
    pub signed_by: [u8; 32],
    /// Whether that key is one that was given.
    pub is_trusted: bool,
}

/// `completeness.json`.
#[derive(Debug, serde::Deserialize)]
struct Completeness {
    kinds: Vec<FoundKind>,
}

/// How much of a kind there was.
#[derive(Debug, serde::Deserialize)]
pub(super) struct FoundKind {
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) count: u64,
}

/// `profile/account.json`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// `guest`, `free` or `standard`.
    pub account_type: String,
}

impl Checked {
    /// Opens the archive and reads all of it. With keys, it must be signed with one of them, or with one that they announce; without, with the
    /// key that it names itself.
    pub fn open(mut file: Plain, keys: &[[u8; 32]]) -> anyhow::Result<Checked> {
        let size = file.seek(SeekFrom::End(0))?;
        let mut archive = Archive::open(file, FILES).map_err(|error| refused(&error))?;
        let manifest = text(&mut archive, MANIFEST)?;
        let (signed_by, is_trusted) = signature(&mut archive, &manifest, keys)?;
        let digests = listed(&manifest)?;
        let most = UNPACKED.max(size.saturating_mul(RATIO));
        let (mut left, mut sizes) = (most, BTreeMap::new());
        for path in archive.paths().to_vec() {
            let bomb = || Refused(format!("it unpacks to more than {most} bytes"));
            let (length, digest) = archive.digest(&path, left).map_err(|error| match error.kind {
                habeas_core::ErrorKind::TooLarge => bomb(),
                _ => Refused(format!("{path} cannot be unpacked")),
            })?;
            left -= length;
            sizes.insert(path.clone(), length);
            let expected = match path.as_str() {
                MANIFEST | SIGNATURE => continue,
                _ => digests.get(&path).ok_or_else(|| Refused(format!("{path} is not in its manifest")))?,
            };
            if *expected != digest {
                return Err(Refused(format!("{path} is not the file that its manifest has")).into());
            }
        }
        if let Some(lost) = digests.keys().find(|path| archive.paths().binary_search(path).is_err()) {
            return Err(Refused(format!("{lost} is missing")).into());
        }
        let person = document(&mut archive, "profile/account.json")?;
        let Completeness { kinds: found } = document(&mut archive, "completeness.json")?;
        let mut checked = Checked {
            archive,
            digests,
            sizes,
            projects: BTreeSet::new(),
            ids: BTreeSet::new(),
            records: Records::default(),
            found,
            person,
            signed_by,
            is_trusted,
        };
        checked.documents()?;
        for project in checked.projects.clone() {
            checked.project(project)?;
        }
        for path in checked.model_exports() {
            checked.document::<ModelExport>(&path)?;
        }
        for path in checked.suggestions() {
            let suggestion: import::Suggestion = checked.document(&path)?;
            time(&path, &suggestion.created)?;
        }
        checked.check_records()?;
        Ok(checked)
    }

    /// Refuses an archive that nobody has vouched for: it is signed neither with a key that was given when it was opened nor with one of
    /// `own`, the keys of the server that is to take it in.
    pub fn require_trust(&self, own: &[KeyReport]) -> Result<(), Refused> {
        let key = hex::encode(self.signed_by);
        if self.is_trusted || own.iter().any(|own| own.public_key == key) {
            return Ok(());
        }
        Err(Refused(format!(
            "it is signed with the key {key}, which is none of this server's: if that is one of those that `habeas log keys` prints where \
             the archive was made, give it with --key; --any-key takes an archive whoever signed it"
        )))
    }

    /// Reads everything of a project as it will be brought, and finds what it refers to.
    fn project(&mut self, project: Id) -> Result<(), Refused> {
        let path = format!("{PROJECTS}{project}/project.json");
        let document: import::Project = self.document(&path)?;
        let times = [document.created, document.last_modified];
        times.iter().flatten().try_for_each(|time| self::time(&path, time))?;
        let (mut tags, mut names) = (BTreeSet::new(), BTreeSet::new());
        for path in self.documents_below(project, "tags") {
            let tag: import::Tag = self.document(&path)?;
            tag.created.iter().try_for_each(|created| time(&path, created))?;
            tags.insert(tag.id);
            if !names.insert(tag.name) {
                return Err(Refused(format!("{path} has the name of another tag")));
            }
        }
        for path in self.documents_below(project, "images") {
            let ImageFile { image, kept, .. } = self.document(&path)?;
            self.file_beside(&path)?;
            image.created.iter().try_for_each(|created| time(&path, created))?;
            let regions = image.regions.unwrap_or_default();
            let carried = image.tags.iter().flatten().map(|tag| tag.tag_id);
            let mut carried = carried.chain(regions.iter().map(|region| region.tag_id));
            // What only iterations hold carries nothing any more.
            if !kept && carried.any(|tag| !tags.contains(&tag)) {
                return Err(Refused(format!("{path} carries a tag that its project does not have")));
            }
            let sides =
                regions.iter().flat_map(|region| [region.left, region.top, region.width, region.height]);
            if sides.into_iter().any(|side| !(-1e-3..=1.0 + 1e-3).contains(&side)) {
                return Err(Refused(format!("{path} has a box that does not lie on it")));
            }
        }
        for path in self.below(project, "iterations") {
            if path.ends_with("/iteration.json") {
                self.document::<IterationFile>(&path)?;
            } else if path.ends_with("/training-set.json") {
                self.document::<TrainingSet>(&path)?;
            }
        }
        for path in self.documents_below(project, "predictions") {
            let prediction: import::Prediction = self.document(&path)?;
            self.file_beside(&path)?;
            time(&path, &prediction.created)?;
        }
        Ok(())
    }

    /// The documents in a folder of a project.
    pub(super) fn documents_below(&self, project: Id, folder: &str) -> Vec<String> {
        let mut paths = self.below(project, folder);
        paths.retain(|path| path.rsplit('/').next().is_some_and(is_document));
        paths
    }

    /// The documents of exported models.
    pub(super) fn model_exports(&self) -> Vec<String> {
        let paths = self.starting("custom-vision/model-exports/");
        paths.filter(|path| is_called(path, "json")).cloned().collect()
    }

    /// The documents of suggested tags.
    pub(super) fn suggestions(&self) -> Vec<String> {
        self.starting("custom-vision/suggestions/").cloned().collect()
    }

    /// The file beside a document that holds the bytes of its image.
    pub(super) fn file_beside(&self, document: &str) -> Result<String, Refused> {
        let stem = document.trim_end_matches("json");
        self.starting(stem)
            .find(|path| *path != document && !path[stem.len()..].contains('.'))
            .cloned()
            .ok_or_else(|| Refused(format!("the file of {document} is missing")))
    }

    /// Reads every document that will be brought: each belongs to the project and id that its path names, and no id is there twice.
    fn documents(&mut self) -> Result<(), Refused> {
        let paths: Vec<String> = self.starting(PROJECTS).cloned().collect();
        let (mut seen, mut mentioned) = (BTreeSet::new(), BTreeSet::new());
        for path in &paths {
            let mut parts = path[PROJECTS.len()..].split('/');
            let project = parts.next().and_then(|part| part.parse::<Id>().ok());
            let project = project.ok_or_else(|| Refused(format!("{path} belongs to no project")))?;
            mentioned.insert(project);
            let id = match (parts.next(), parts.next(), parts.next()) {
                (Some("project.json"), None, None) => project,
                (Some("tags" | "images" | "predictions"), Some(file), None) if is_document(file) => {
                    named(path, file)?
                }
                (Some("iterations"), Some(folder), Some("iteration.json")) => named(path, folder)?,
                _ => continue,
            };
            let value: Value = document(&mut self.archive, path)?;
            if value["id"] != id.to_string() {
                return Err(Refused(format!("{path} says it is something else")));
            }
            if !seen.insert(id) {
                return Err(Refused(format!("the id {id} is there twice")));
            }
            if path.ends_with("/project.json") {
                self.projects.insert(project);
            }
        }
        self.ids = seen;
        match mentioned.difference(&self.projects).next() {
            Some(lost) => {
                Err(Refused(format!("something in it belongs to a project that is not there, {lost}")))
            }
            None => Ok(()),
        }
    }

    /// The bytes of a small file.
    pub fn content(&mut self, path: &str) -> Result<Vec<u8>, Refused> {
        self.archive.content(path, DOCUMENT).map_err(|error| refused(&error))
    }

    /// A document.
    pub(super) fn document<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Refused> {
        document(&mut self.archive, path)
    }

    /// The files below a folder of a project.
    pub(super) fn below(&self, project: Id, folder: &str) -> Vec<String> {
        self.starting(&format!("{PROJECTS}{project}/{folder}/")).cloned().collect()
    }

    /// The paths that begin like this.
    pub(super) fn starting<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a String> {
        let paths = self.archive.paths();
        let first = paths.partition_point(|path| path.as_str() < prefix);
        paths[first..].iter().take_while(move |path| path.starts_with(prefix))
    }
}

/// Whether a path ends with an extension.
pub(super) fn is_called(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

fn time(path: &str, text: &str) -> Result<(), Refused> {
    import::time(text).map(|_| ()).map_err(|_| Refused(format!("{path} has a time that is none")))
}

/// Whether a file is a resource's document, and not its bytes or rows.
pub(super) fn is_document(file: &str) -> bool {
    file.strip_suffix(".json").is_some_and(|stem| stem.parse::<Id>().is_ok())
}

fn named(path: &str, name: &str) -> Result<Id, Refused> {
    name.trim_end_matches(".json").parse().map_err(|_| Refused(format!("{path} has no id for a name")))
}

pub(super) fn refused(error: &Error) -> Refused {
    Refused(error.what.clone())
}

fn document<T: DeserializeOwned>(archive: &mut Archive<Plain>, path: &str) -> Result<T, Refused> {
    serde_json::from_str(&text(archive, path)?).map_err(|error| {
        Refused(format!(
            "{path} is not what a Habeas writes there (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

fn text(archive: &mut Archive<Plain>, path: &str) -> Result<String, Refused> {
    if archive.paths().binary_search_by(|other| other.as_str().cmp(path)).is_err() {
        return Err(Refused(format!("it is not one that a Habeas wrote: {path} is missing")));
    }
    let most = if path == MANIFEST { LARGEST_MANIFEST } else { DOCUMENT };
    let bytes = archive.content(path, most).map_err(|error| Refused(format!("{path}: {}", error.what)))?;
    String::from_utf8(bytes).map_err(|_| Refused(format!("{path} is not text")))
}

/// Checks the signature over the manifest: the public key, and whether it is one of those given, or one that they announce.
fn signature(
    archive: &mut Archive<Plain>,
    manifest: &str,
    keys: &[[u8; 32]],
) -> Result<([u8; 32], bool), Refused> {
    let signed = text(archive, SIGNATURE)?;
    let said: Value = document(archive, SIGNATURE)?;
    let statement = &said["statement"];
    let announced: Vec<String> = statement["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect();
    let named = || {
        let key = statement["publicKey"].as_str().and_then(|key| hex::decode(key).ok()?.try_into().ok());
        key.map(|key| vec![key])
            .ok_or_else(|| Refused("it names no key: give the server's public key with --key".into()))
    };
    let trusted = if keys.is_empty() {
        named()?
    } else {
        receipt::follow(keys, &announced).map_err(|error| refused(&error))?
    };
    let verified = receipt::verify(signed.as_bytes(), &trusted).map_err(|error| refused(&error))?;
    let digest = hex::encode(habeas_core::crypto::sha256(manifest.as_bytes()));
    if verified.statement["type"] != "export-manifest/1" || verified.statement["manifestSha256"] != digest {
        return Err(Refused("its signature is not over its manifest".into()));
    }
    let key = trusted.into_iter().find(|key| receipt::key_id(key) == verified.key_id);
    Ok((key.ok_or_else(|| Refused("it is signed with no key".into()))?, !keys.is_empty()))
}

/// The lines of a manifest, as `sha256sum` writes them.
fn listed(manifest: &str) -> Result<BTreeMap<String, String>, Refused> {
    let mut digests = BTreeMap::new();
    for (number, line) in manifest.lines().enumerate() {
        let (digest, path) = line
            .split_once("  ")
            .filter(|(digest, _)| digest.len() == 64)
            .ok_or_else(|| Refused(format!("line {} of its manifest is none", number + 1)))?;
        if digests.insert(path.to_owned(), digest.to_owned()).is_some() {
            return Err(Refused(format!("its manifest has {path} twice")));
        }
    }
    Ok(digests)
}
