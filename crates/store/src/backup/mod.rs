//! Backups: rows and files as they are, sealed; never keys.
//!
//! A backup is a folder: `backup.json` (what it is, and the SHA-256 of every part), `rows-TABLE.jsonl` (a JSON array a row, byte
//! strings in base64, the same for both engines), and `objects/` (the sealed files). All rows are of one moment.
//!
//! **Invariant:** nothing in a backup can be read without the keyring, and nothing erased comes back with it: a restore uses
//! today's keyring and ledger.

mod restore;
mod tables;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use habeas_core::crypto::Sha256;
use habeas_core::operations::BackupReport;
use habeas_core::{Error, Id, Result, fault};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::store::blocking;
use crate::tree::Tx;
use tables::{TABLES, Table};

/// The newest format. The second one has the metrics of runs.
const FORMAT: u32 = 2;
/// Rows read at a time.
const PAGE: i64 = 1_000;

/// `backup.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: u32,
    version: String,
    created: String,
    ledger_position: u64,
    rows: BTreeMap<String, Part>,
    objects: BTreeMap<String, Part>,
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    count: u64,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// The tables whose rows a backup of this format has.
    fn tables(&self) -> impl Iterator<Item = &'static Table> {
        let format = self.format;
        TABLES.iter().filter(move |table| table.since <= format)
    }

    fn report(&self) -> BackupReport {
        BackupReport {
            created: self.created.clone(),
            rows: self.rows.values().map(|part| part.count).sum(),
            blobs: self.objects.len() as u64,
            bytes: self.objects.values().map(|part| part.bytes).sum(),
            ledger_position: self.ledger_position,
        }
    }
}

impl Store {
    /// Writes a backup into a folder that does not exist yet. The server may go on meanwhile.
    pub async fn create_backup(&self, destination: &Path) -> Result<BackupReport> {
        if destination.exists() {
            return Err(Error::conflict(format!("{} exists already", destination.display()))
                .hint("name a folder that does not"));
        }
        let partial = destination.with_extension("partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial).map_err(|error| failed(&partial, &error))?;
        }
        make_folder(&partial.join("objects"))?;
        // The position first: what is erased while the rows are read is replayed at a restore, at worst once too often.
        let ledger_position = self.with_ledger(|ledger| Ok(ledger.position())).await?;
        let folder = partial.clone();
        let (rows, blobs) = self.read(move |tx| dump(tx, &folder)).await?;
        fault::point("backup.rows");
        let mut objects = BTreeMap::new();
        for blob in blobs {
            // A file that was erased since the rows were read is not missed: its row is deleted again at a restore.
            if let Some(part) = self.copy_object(blob, &partial.join("objects").join(blob.to_hex())).await? {
                objects.insert(blob.to_hex(), part);
            }
        }
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.ambient().now().rfc3339(),
            ledger_position,
            rows,
            objects,
        };
        let destination = destination.to_owned();
        blocking(move || {
            write_file(&partial.join("backup.json"), &serde_json::to_vec_pretty(&manifest)?)?;
            std::fs::rename(&partial, &destination).map_err(|error| failed(&destination, &error))?;
            sync_folder(destination.parent())?;
            Ok(manifest.report())
        })
        .await
    }

    async fn copy_object(&self, blob: Id, path: &Path) -> Result<Option<Part>> {
        if !self.blobs().exists(blob).await? {
            return Ok(None);
        }
        let mut stream = self.blobs().raw_stream(blob);
        let mut file = create(path)?;
        let mut digest = Sha256::default();
        let mut bytes = 0;
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) if error.kind == habeas_core::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            digest.update(&piece);
            bytes += piece.len() as u64;
            file.write_all(&piece).map_err(|error| failed(path, &error))?;
        }
        let file = file.into_inner().map_err(|error| failed(path, &error.into_error()))?;
        file.sync_all().map_err(|error| failed(path, &error))?;
        Ok(Some(Part { count: 1, bytes, sha256: hex::encode(digest.finish()) }))
    }

    /// Which containers of a backup today's keyring still opens: readable, erased since, re-sealed since.
    pub async fn readable_in(&self, backup: &Path) -> Result<(u64, u64, u64)> {
        let containers = restore::containers_of(backup)?;
        let erased = self
            .with_ledger({
                let containers = containers.clone();
                move |ledger| Ok(containers.iter().filter(|(id, _)| ledger.is_erased(*id)).count() as u64)
            })
            .await?;
        let readable = self
            .with_keyring({
                let containers = containers.clone();
                move |keyring| {
                    Ok(containers
                        .iter()
                        .filter(|(id, generation)| keyring.key(*id, *generation).is_some())
                        .count() as u64)
                }
            })
            .await?;
        Ok((readable, erased, (containers.len() as u64).saturating_sub(readable + erased)))
    }
}

/// Writes every table's rows; the parts, and the blobs that belong to a document.
fn dump(tx: &mut Tx<'_>, folder: &Path) -> Result<(BTreeMap<String, Part>, Vec<Id>)> {
    let mut parts = BTreeMap::new();
    let mut blobs = Vec::new();
    for table in TABLES {
        let path = rows_path(folder, table);
        let mut out = create(&path)?;
        let mut digest = Sha256::default();
        let (mut count, mut bytes) = (0, 0);
        let mut after = table.first_key();
        loop {
            let rows = tx.query(table.page, &tables::args(&after, PAGE))?;
            for row in &rows {
                let mut line = serde_json::to_vec(&tables::to_json(row)?)?;
                line.push(b'\n');
                digest.update(&line);
                bytes += line.len() as u64;
                out.write_all(&line).map_err(|error| failed(&path, &error))?;
                count += 1;
                after = table.key_of(row);
                if table.name == "blob" && row.int(2)? == 1 {
                    blobs.push(row.id(0)?);
                }
            }
            if (rows.len() as i64) < PAGE {
                break;
            }
        }
        let file = out.into_inner().map_err(|error| failed(&path, &error.into_error()))?;
        file.sync_all().map_err(|error| failed(&path, &error))?;
        parts.insert(table.name.to_owned(), Part { count, bytes, sha256: hex::encode(digest.finish()) });
    }
    Ok((parts, blobs))
}

/// Checks every part of a backup against its manifest.
pub fn verify_backup(folder: &Path) -> Result<BackupReport> {
    Ok(checked(folder)?.report())
}

fn checked(folder: &Path) -> Result<Manifest> {
    let path = folder.join("backup.json");
    let text = std::fs::read(&path).map_err(|error| failed(&path, &error))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|_| Error::damaged(format!("{} is not the manifest of a backup", path.display())))?;
    if manifest.format > FORMAT {
        return Err(
            Error::damaged("the backup was written by a newer habeas").hint("restore it with that version")
        );
    }
    for table in manifest.tables() {
        let part = manifest
            .rows
            .get(table.name)
            .ok_or_else(|| Error::damaged(format!("the backup has no rows of {}", table.name)))?;
        let path = rows_path(folder, table);
        let lines =
            BufReader::new(File::open(&path).map_err(|error| failed(&path, &error))?).lines().count() as u64;
        if lines != part.count {
            return Err(changed(&path));
        }
        check(&path, part)?;
    }
    for (name, part) in &manifest.objects {
        check(&folder.join("objects").join(name), part)?;
    }
    Ok(manifest)
}

fn check(path: &Path, part: &Part) -> Result<()> {
    let mut file = File::open(path).map_err(|error| failed(path, &error))?;
    let mut digest = Sha256::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|error| failed(path, &error))? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    if hex::encode(digest.finish()) == part.sha256 { Ok(()) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> Error {
    Error::damaged(format!("{} is not what was backed up", path.display())).hint("use another backup")
}

fn rows_path(folder: &Path, table: &Table) -> PathBuf {
    folder.join(format!("rows-{}.jsonl", table.name))
}

fn make_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(path, &error))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).map_err(|error| failed(path, &error))?))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(|error| failed(path, &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| failed(path, &error))
}

fn sync_folder(folder: Option<&Path>) -> Result<()> {
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))
        }
        None => Ok(()),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("{} is not there", path.display())),
        kind => Error::unavailable(format!("{}: {kind}", path.display()))
            .hint("check the disk, the owner and the permissions"),
    }
}
