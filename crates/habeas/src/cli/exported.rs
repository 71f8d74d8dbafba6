//! A person's archive, as a ZIP or unpacked into a folder.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use habeas_core::{Error, Result};
use habeas_models::ExportedFiles;
use zip::ZipArchive;

use super::sealed::Unlock;
use crate::archive::Plain;

/// An archive that is there.
pub(crate) enum Exported {
    /// As it was fetched, or sealed.
    Zip(Box<ZipArchive<Plain>>),
    /// Unpacked, in this folder.
    Folder(PathBuf),
}

impl Exported {
    /// Opens it.
    pub(crate) fn open(path: &Path, unlock: &Unlock) -> anyhow::Result<Exported> {
        if path.is_dir() {
            return Ok(Exported::Folder(path.to_owned()));
        }
        let archive = ZipArchive::new(unlock.open(path)?)
            .with_context(|| format!("{} is neither a folder nor a ZIP", path.display()))?;
        Ok(Exported::Zip(Box::new(archive)))
    }
}

impl ExportedFiles for Exported {
    fn paths(&self) -> Vec<String> {
        match self {
            Exported::Zip(archive) => {
                archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect()
            }
            Exported::Folder(root) => {
                let mut paths = Vec::new();
                walk(root, "", &mut paths);
                paths
            }
        }
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        let failed =
            |error: &dyn std::fmt::Display| Error::damaged(format!("{path} cannot be read: {error}"));
        match self {
            Exported::Zip(archive) => {
                let mut bytes = Vec::new();
                archive
                    .by_name(path)
                    .map_err(|error| failed(&error))?
                    .read_to_end(&mut bytes)
                    .map_err(|error| failed(&error))?;
                Ok(bytes)
            }
            Exported::Folder(root) => std::fs::read(root.join(path)).map_err(|error| failed(&error)),
        }
    }
}

/// Adds the paths of all files under `prefix`, which is empty or ends with `/`. What cannot be listed is not there.
fn walk(root: &Path, prefix: &str, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(prefix)) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &format!("{prefix}{name}/"), paths),
            Ok(kind) if kind.is_file() => paths.push(format!("{prefix}{name}")),
            _ => {}
        }
    }
}
