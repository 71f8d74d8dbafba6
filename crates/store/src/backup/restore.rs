//! Bringing a backup back, and at once up to date with what was erased since.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use habeas_core::kinds::{Receipt, ReceiptDoc};
use habeas_core::operations::RestoreReport;
use habeas_core::{Ambient, Error, Id, Kind, Result, fault, registry};

use super::tables::{self, TABLES};
use super::{checked, failed, rows_path};
use crate::engine::Value;
use crate::ledger::Record;
use crate::open::RESTORING;
use crate::tree::Tx;
use crate::{Blobs, New, Options, Store};

/// Rows written in one transaction.
const BATCH: usize = 500;
/// Bytes of an object handed over at a time.
const PIECE: usize = 1 << 20;

/// Says that the data is not whole, durably and before any of it is there.
fn mark(marker: &Path) -> std::io::Result<()> {
    let mut file = File::create(marker)?;
    file.write_all(b"a restore is under way\n")?;
    file.sync_all()?;
    marker.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

impl Store {
    /// Restores a backup into an empty deployment, on either engine, with today's keyring and ledger, and deletes again what was
    /// erased since: nothing is served before that. An interrupted restore is begun anew by the next one; until then the data is
    /// refused.
    pub async fn restore(options: Options, backup: &Path, ambient: Ambient) -> Result<RestoreReport> {
        let manifest = checked(backup)?;
        if !crate::keyring::Keyring::exists(&options.keyring_directory()) {
            return Err(Error::invalid("there is no keyring to open the backup with")
                .hint("name its directory with --keyring: a backup never contains it"));
        }
        let marker = options.data.join(RESTORING);
        let again = marker.exists();
        let storage = Blobs::open(&options.storage_address())?;
        let store = Store::open_for_restore(options.clone(), ambient.clone(), again).await?;
        mark(&marker).map_err(|error| failed(&marker, &error))?;
        if again {
            store
                .write(|tx| {
                    TABLES.iter().rev().try_for_each(|table| tx.execute(table.clear, &[]).map(|_| ()))
                })
                .await?;
        }
        let mut report = RestoreReport::default();
        for table in manifest.tables() {
            report.rows += insert_rows(&store, backup, table).await?;
            fault::point("restore.rows");
        }
        // Before anything erased is deleted: what was handed over is not the old holder's any more.
        let position = manifest.ledger_position;
        let records = store.with_ledger(move |ledger| ledger.replay(position)).await?;
        for record in records {
            if let Record::Transferred { resource, parent } = record {
                store.write(move |tx| tx.transfer_again(resource, parent)).await?;
            }
        }
        report.blobs = copy_objects(&store, &storage, backup, manifest.objects.keys()).await?;
        report.unreadable = store.drop_unreadable_containers().await?;
        drop(store);
        fault::point("restore.objects");
        // The normal way in: containers and persons that were erased since are deleted before anything else.
        let before = report.rows;
        let store = Store::open_restored(options, ambient).await?;
        let position = manifest.ledger_position;
        let records = store.with_ledger(move |ledger| ledger.replay(position)).await?;
        let mut receipts = Vec::new();
        for record in records {
            match record {
                Record::ItemErased { items, .. } => {
                    for item in items {
                        let removed = store.write(move |tx| tx.remove_again(item)).await?;
                        report.erased += removed.resources;
                        store.finish(&removed).await;
                    }
                }
                Record::ReceiptIssued { receipt, body } => receipts.push((receipt, body)),
                _ => {}
            }
        }
        let left = store
            .read(|tx| {
                tx.number("/* reads all */ SELECT COUNT(*) FROM resource WHERE kind >= ?1", &[0_i64.into()])
            })
            .await?;
        let restored = manifest.rows.get("resource").map_or(0, |part| part.count);
        report.erased = report.erased.max(restored.saturating_sub(left as u64 + report.unreadable));
        for (id, body) in receipts {
            store.write(move |tx| tx.bring_back_receipt(id, &body)).await?;
        }
        fault::point("restore.replayed");
        // Only now: a server that started before would show what was erased.
        std::fs::remove_file(&marker).map_err(|error| failed(&marker, &error))?;
        debug_assert!(before >= report.erased);
        Ok(report)
    }

    /// Deletes what is sealed under a key that was replaced since the backup: it cannot be read by anybody.
    async fn drop_unreadable_containers(&self) -> Result<u64> {
        let containers = self.read(|tx| tx.containers()).await?;
        let erased = self
            .with_ledger({
                let containers = containers.clone();
                move |ledger| {
                    Ok(containers
                        .iter()
                        .filter(|(id, _)| ledger.is_erased(*id))
                        .map(|(id, _)| *id)
                        .collect::<Vec<_>>())
                }
            })
            .await?;
        let replaced = self
            .with_keyring(move |keyring| {
                Ok(containers
                    .into_iter()
                    .filter(|(id, generation)| {
                        !erased.contains(id)
                            && keyring.key(*id, *generation).is_none()
                            && !keyring.generations(*id).is_empty()
                    })
                    .map(|(id, _)| id)
                    .collect::<Vec<Id>>())
            })
            .await?;
        let profiles = self.with_ledger(|ledger| Ok(ledger.profiles())).await?;
        self.write(move |tx| {
            let mut count = 0;
            for id in &replaced {
                if let Some((generation, sealed)) = profiles.get(id) {
                    // A profile that was corrected since: it is as the ledger has it, and all that stands under it stays.
                    let kind = tx.position(*id)?.map_or(Kind::Person, |(kind, _, _)| kind);
                    let plain = tx.shared.open_from_ledger(*id, *generation, sealed)?;
                    let doc = tx.shared.seal(*id, kind, *id, *generation, &plain)?;
                    tx.execute(
                        "UPDATE resource SET doc = ?2, generation = ?3, version = version + 1 WHERE id = ?1",
                        &[id.into(), (&doc[..]).into(), i64::from(*generation).into()],
                    )?;
                    count +=
                        tx.execute("DELETE FROM resource WHERE container = ?1 AND id <> ?1", &[id.into()])?;
                    continue;
                }
                count +=
                    tx.number("SELECT COUNT(*) FROM resource WHERE container = ?1", &[id.into()])? as u64;
                tx.execute("DELETE FROM resource WHERE id = ?1", &[id.into()])?;
            }
            Ok(count)
        })
        .await
    }
}

async fn insert_rows(store: &Store, backup: &Path, table: &'static tables::Table) -> Result<u64> {
    let path = rows_path(backup, table);
    let mut count = 0;
    // Rows are in the order of kinds: a kind whose parent has a larger number comes when all others are there.
    let passes: &[bool] = if table.name == tables::RESOURCES { &[false, true] } else { &[false] };
    for &is_last in passes {
        let lines = BufReader::new(File::open(&path).map_err(|error| failed(&path, &error))?).lines();
        let mut batch: Vec<Vec<Value>> = Vec::new();
        for line in lines {
            let line = line.map_err(|error| failed(&path, &error))?;
            let row = tables::from_json(&line)?;
            if table.name == tables::RESOURCES && comes_last(&row)? != is_last {
                continue;
            }
            batch.push(row);
            count += 1;
            if batch.len() == BATCH {
                insert(store, table, std::mem::take(&mut batch)).await?;
            }
        }
        insert(store, table, batch).await?;
    }
    Ok(count)
}

/// Whether a row is of a kind that may stand under one with a larger number.
fn comes_last(row: &[Value]) -> Result<bool> {
    let Some(Value::Int(number)) = row.get(1) else {
        return Err(Error::damaged("a resource of the backup has no kind"));
    };
    let kind = Kind::from_number(*number)?;
    Ok(registry::ops(kind).parents().iter().any(|parent| parent.number() > kind.number()))
}

async fn insert(store: &Store, table: &'static tables::Table, rows: Vec<Vec<Value>>) -> Result<()> {
    store
        .write(move |tx| {
            for row in &rows {
                let args: Vec<_> = row.iter().map(tables::arg).collect();
                tx.execute(table.insert, &args)?;
            }
            Ok(())
        })
        .await
}

/// Copies the objects of what was not erased since.
async fn copy_objects(
    store: &Store,
    storage: &Blobs,
    backup: &Path,
    names: impl Iterator<Item = &String>,
) -> Result<u64> {
    let mut count = 0;
    for name in names {
        let blob: Id = name.parse()?;
        let Some((holder, container)) = store.read(move |tx| tx.owner_of_blob(blob)).await? else { continue };
        let erased = store
            .with_ledger(move |ledger| Ok(ledger.is_erased(holder) || ledger.is_erased(container)))
            .await?;
        if erased {
            continue;
        }
        if storage.exists(blob).await? {
            // An earlier attempt brought it.
            storage.delete(blob).await?;
        }
        let path = backup.join("objects").join(name);
        let file = File::open(&path).map_err(|error| failed(&path, &error))?;
        let pieces = std::iter::from_fn({
            let mut file = file;
            move || {
                let mut piece = vec![0; PIECE];
                match file.read(&mut piece) {
                    Ok(0) => None,
                    Ok(length) => {
                        piece.truncate(length);
                        Some(Ok(Bytes::from(piece)))
                    }
                    Err(error) => Some(Err(Error::unavailable(format!(
                        "an object of the backup cannot be read: {}",
                        error.kind()
                    )))),
                }
            }
        });
        storage.put_raw(blob, futures::stream::iter(pieces)).await?;
        count += 1;
    }
    Ok(count)
}

/// The containers in a backup and the generation of the key in use.
pub(super) fn containers_of(backup: &Path) -> Result<Vec<(Id, u32)>> {
    let table = TABLES
        .iter()
        .find(|table| table.name == "resource")
        .ok_or_else(|| Error::internal("no such table"))?;
    let path = rows_path(backup, table);
    let mut containers = Vec::new();
    for line in BufReader::new(File::open(&path).map_err(|error| failed(&path, &error))?).lines() {
        let row = crate::engine::Row(tables::from_json(&line.map_err(|error| failed(&path, &error))?)?);
        if row.id(0)? == row.id(4)? {
            containers.push((row.id(0)?, row.int(5)? as u32));
        }
    }
    Ok(containers)
}

impl Tx<'_> {
    /// Keeps a receipt again that was issued after the backup. Whom it is about is not in the ledger: an erased person is gone, and the
    /// others have their own copies.
    fn bring_back_receipt(&mut self, id: Id, body: &str) -> Result<()> {
        if self.get::<Receipt>(id)?.is_some() {
            return Ok(());
        }
        let receipt: serde_json::Value = serde_json::from_str(body)?;
        let receipt_type = receipt["statement"]["type"].as_str().unwrap_or_default().to_owned();
        self.create::<Receipt>(New::under(
            Id::NIL,
            id,
            ReceiptDoc { receipt_type, receipt: body.to_owned() },
        ))?;
        Ok(())
    }

    /// Holder and container of the resource that a blob belongs to.
    fn owner_of_blob(&mut self, blob: Id) -> Result<Option<(Id, Id)>> {
        self.query_one(
            "SELECT r.holder, r.container FROM blob b JOIN resource r ON r.id = b.resource WHERE b.id = ?1",
            &[(&blob).into()],
        )?
        .map(|row| Ok((row.id(0)?, row.id(1)?)))
        .transpose()
    }
}
