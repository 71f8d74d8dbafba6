//! One copy of the keyring: a file that is written in place and flushed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use habeas_core::{Error, Result};

use super::slot::{HEADER, SLOT, Slot};

pub(super) struct Copy {
    pub(super) path: PathBuf,
    file: File,
    #[cfg(test)]
    pub(super) fail: std::sync::Arc<super::tests::Failures>,
}

impl Copy {
    pub(super) fn open(path: &Path) -> Result<Copy> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| failed(path, "opened", &error))?;
        Ok(Copy {
            path: path.to_owned(),
            file,
            #[cfg(test)]
            fail: std::sync::Arc::default(),
        })
    }

    pub(super) fn read(&self) -> Result<Vec<u8>> {
        let length = self.file.metadata().map_err(|error| failed(&self.path, "read", &error))?.len();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0).map_err(|error| failed(&self.path, "read", &error))?;
        Ok(bytes)
    }

    pub(super) fn read_slot(&self, index: usize) -> Result<Slot> {
        let mut slot = Slot::NEVER_USED;
        self.file
            .read_exact_at(&mut slot.0, (HEADER + index * SLOT) as u64)
            .map_err(|error| failed(&self.path, "read", &error))?;
        Ok(slot)
    }

    /// Writes slots in place and flushes them. The file grows by zeros, which are slots never used.
    pub(super) fn write(&self, slots: &[(usize, Slot)], total: usize) -> Result<()> {
        #[cfg(test)]
        self.fail.pass().map_err(|error| failed(&self.path, "written", &error))?;
        let write = || -> std::io::Result<()> {
            let length = (HEADER + total * SLOT) as u64;
            if self.file.metadata()?.len() < length {
                self.file.set_len(length)?;
            }
            for (index, slot) in slots {
                self.file.write_all_at(&slot.0, (HEADER + index * SLOT) as u64)?;
            }
            Ok(())
        };
        write().map_err(|error| failed(&self.path, "written", &error))?;
        #[cfg(test)]
        self.fail.pass().map_err(|error| failed(&self.path, "flushed", &error))?;
        self.file.sync_all().map_err(|error| failed(&self.path, "flushed", &error))
    }

    /// Overwrites everything with zeros: for a file that another has replaced.
    pub(super) fn wipe(&self) -> Result<()> {
        let wipe = || -> std::io::Result<()> {
            let mut left = self.file.metadata()?.len();
            let mut at = 0;
            while left > 0 {
                let length = left.min(1 << 16);
                self.file.write_all_at(&vec![0; length as usize], at)?;
                at += length;
                left -= length;
            }
            self.file.sync_all()
        };
        wipe().map_err(|error| failed(&self.path, "wiped", &error))
    }
}

/// Writes a whole copy to a new file and flushes it; the caller moves it in place with [`put_in_place`].
pub(super) fn write_whole(path: &Path, header: &[u8], slots: &[Slot]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(header)?;
        for slot in slots {
            file.write_all(&slot.0)?;
        }
        file.sync_all()
    };
    write().map_err(|error| failed(path, "written", &error))
}

/// Moves a new file in the place of the old one, durably.
pub(super) fn put_in_place(new: &Path, path: &Path) -> Result<()> {
    let rename = || -> std::io::Result<()> {
        std::fs::rename(new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    rename().map_err(|error| failed(path, "replaced", &error))
}

fn failed(path: &Path, done: &str, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull => "free some space on its disk",
        std::io::ErrorKind::NotFound if !path.parent().is_some_and(Path::exists) => {
            "its folder is not there: make it, or mount the disk that it is on"
        }
        std::io::ErrorKind::NotFound => {
            "a copy of the keyring is missing; `habeas keyring verify` shows which are there"
        }
        _ => "check the disk, the owner and the permissions",
    };
    Error::unavailable(format!("a copy of the keyring could not be {done}: {}", error.kind()))
        .at(path)
        .hint(hint)
}
