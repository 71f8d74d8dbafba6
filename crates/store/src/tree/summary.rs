//! What is held on a holder, counted without opening anything.

use habeas_core::node::RawNode;
use habeas_core::{BlobRef, Error, Id, Kind, Result, Timestamp};

use super::Tx;
use super::rows::select_nodes;
use crate::TaskKind;

/// How much of one kind a holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The kind.
    pub kind: Kind,
    /// Resources.
    pub count: u64,
    /// Bytes of sealed documents and of blobs.
    pub bytes: u64,
    /// The earliest moment at which one of them is deleted by itself.
    pub next_expiry: Option<Timestamp>,
}

/// A blob as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Its name in the object store.
    pub id: Id,
    /// The resource whose document has its key.
    pub resource: Id,
    /// Plain bytes.
    pub size: u64,
}

/// A resource with all that stands under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// How much of each kind; bytes are those of sealed documents.
    pub kinds: Vec<Holding>,
    /// How many containers: the units whose keys are destroyed.
    pub containers: u64,
    /// Files.
    pub files: u64,
    /// Their plain bytes.
    pub file_bytes: u64,
}

impl Below {
    /// Adds what stands under another resource.
    pub fn add(&mut self, other: Below) {
        for holding in other.kinds {
            match self.kinds.iter_mut().find(|known| known.kind == holding.kind) {
                Some(known) => {
                    known.count += holding.count;
                    known.bytes += holding.bytes;
                    known.next_expiry = known.next_expiry.into_iter().chain(holding.next_expiry).min();
                }
                None => self.kinds.push(holding),
            }
        }
        self.kinds.sort_by_key(|holding| holding.kind.number());
        self.containers += other.containers;
        self.files += other.files;
        self.file_bytes += other.file_bytes;
    }
}

impl Tx<'_> {
    /// How much of each kind `holder` has; kinds of which there is nothing are left out.
    pub fn holdings(&mut self, holder: Id) -> Result<Vec<Holding>> {
        self.query(
            "SELECT r.kind, COUNT(*), CAST(SUM(LENGTH(r.doc)) AS BIGINT), MIN(r.expires_at),
                    CAST(COALESCE((SELECT SUM(b.size) FROM blob b JOIN resource o ON o.id = b.resource
                              WHERE o.holder = ?1 AND o.kind = r.kind), 0) AS BIGINT)
             FROM resource r WHERE r.holder = ?1 GROUP BY r.kind ORDER BY r.kind",
            &[(&holder).into()],
        )?
        .iter()
        .map(|row| {
            Ok(Holding {
                kind: Kind::from_number(row.int(0)?)?,
                count: row.int(1)? as u64,
                bytes: (row.int(2)? + row.int(4)?) as u64,
                next_expiry: row.optional_int(3)?.map(Timestamp),
            })
        })
        .collect()
    }

    /// What `holder` has of `kind`, in the order of ids, after `after`.
    pub fn held(&mut self, holder: Id, kind: Kind, after: Id, limit: u32) -> Result<Vec<RawNode>> {
        let rows = self.query(
            select_nodes!("WHERE r.holder = ?1 AND r.kind = ?2 AND r.id > ?3 ORDER BY r.id LIMIT ?4"),
            &[(&holder).into(), kind.number().into(), (&after).into(), i64::from(limit).into()],
        )?;
        rows.into_iter().map(|row| self.shared.node(row)).collect()
    }

    /// Ids and versions of what `holder` has, in the order of ids, without opening anything: what a plan's digest covers.
    pub fn held_versions(&mut self, holder: Id, after: Id, limit: u32) -> Result<Vec<(Id, Kind, i64)>> {
        self.query(
            "SELECT id, kind, version FROM resource WHERE holder = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            &[(&holder).into(), (&after).into(), i64::from(limit).into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, Kind::from_number(row.int(1)?)?, row.int(2)?)))
        .collect()
    }

    /// The containers that `holder` has: the units whose keys are destroyed when it is erased.
    pub fn containers_of(&mut self, holder: Id) -> Result<Vec<Id>> {
        self.query(
            "SELECT id FROM resource WHERE holder = ?1 AND container = id ORDER BY id",
            &[(&holder).into()],
        )?
        .iter()
        .map(|row| row.id(0))
        .collect()
    }

    /// The blobs of `holder`, in the order of ids, after `after`.
    pub fn blobs_of(&mut self, holder: Id, after: Id, limit: u32) -> Result<Vec<BlobRow>> {
        self.query(
            "SELECT b.id, b.resource, b.size FROM blob b JOIN resource r ON r.id = b.resource
             WHERE r.holder = ?1 AND b.id > ?2 ORDER BY b.id LIMIT ?3",
            &[(&holder).into(), (&after).into(), i64::from(limit).into()],
        )?
        .iter()
        .map(|row| Ok(BlobRow { id: row.id(0)?, resource: row.id(1)?, size: row.int(2)? as u64 }))
        .collect()
    }

    /// Notes blobs that are about to be written, so that they are found again if the server dies before their document is
    /// committed. `under` is the resource that the document will stand under.
    pub fn announce_blobs(&mut self, under: Id, blobs: &[&BlobRef]) -> Result<()> {
        let place =
            self.place(under)?.ok_or_else(|| Error::not_found("the resource above it does not exist"))?;
        self.require_active(place.holder)?;
        let now = self.now;
        for blob in blobs {
            self.execute(
                "INSERT INTO blob (id, resource, state, size, created_at) VALUES (?1, ?2, 0, ?3, ?4)",
                &[(&blob.id).into(), (&under).into(), (blob.size as i64).into(), now.into()],
            )?;
        }
        Ok(())
    }

    /// Says that `resource`'s document now has the keys of these blobs, and how large they became.
    pub fn attach_blobs(&mut self, resource: Id, blobs: &[&BlobRef]) -> Result<()> {
        for blob in blobs {
            let changed = self.execute(
                "UPDATE blob SET resource = ?2, state = 1, size = ?3 WHERE id = ?1",
                &[(&blob.id).into(), (&resource).into(), (blob.size as i64).into()],
            )?;
            if changed == 0 {
                return Err(Error::conflict("the upload was given up in the meantime").hint("send it again"));
            }
        }
        Ok(())
    }

    /// Blobs that were announced before `before` and never attached.
    pub fn abandoned_blobs(&mut self, before: Timestamp, limit: u32) -> Result<Vec<Id>> {
        self.query(
            "SELECT id FROM blob WHERE state = 0 AND created_at < ?1 ORDER BY created_at LIMIT ?2",
            &[before.into(), i64::from(limit).into()],
        )?
        .iter()
        .map(|row| row.id(0))
        .collect()
    }

    /// Gives up those of these blobs that were announced and never attached: forgets them and has their bytes deleted.
    pub fn abandon_blobs(&mut self, ids: &[Id]) -> Result<()> {
        let mut abandoned = Vec::new();
        for id in ids {
            if self.execute("DELETE FROM blob WHERE id = ?1 AND state = 0", &[id.into()])? > 0 {
                abandoned.push(*id);
            }
        }
        if !abandoned.is_empty() {
            let now = self.now;
            self.enqueue(TaskKind::PurgeBlobs, None, &serde_json::json!({ "blobs": abandoned }), now)?;
        }
        Ok(())
    }

    /// Which of these blobs the database does not know: what `doctor` calls orphans.
    pub fn unknown_blobs(&mut self, ids: &[Id]) -> Result<Vec<Id>> {
        let mut unknown = Vec::new();
        for id in ids {
            if self.query_one("SELECT 1 FROM blob WHERE id = ?1", &[id.into()])?.is_none() {
                unknown.push(*id);
            }
        }
        Ok(unknown)
    }

    /// Gives up blobs that no document points at any more: forgets them and enqueues the deletion of their bytes.
    pub fn release_blobs(&mut self, ids: &[Id]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            self.execute("DELETE FROM blob WHERE id = ?1", &[id.into()])?;
        }
        let now = self.now;
        self.enqueue(TaskKind::PurgeBlobs, None, &serde_json::json!({ "blobs": ids }), now)?;
        Ok(())
    }

    /// Rows that still refer to `holder`, by table: what the verification of an erasure counts. All are zero afterwards.
    pub fn traces_of(&mut self, holder: Id) -> Result<Vec<(&'static str, u64)>> {
        let args = [(&holder).into()];
        let mut traces = Vec::new();
        for (table, sql) in [
            ("holder", "SELECT COUNT(*) FROM holder WHERE id = ?1"),
            ("resource", "SELECT COUNT(*) FROM resource WHERE holder = ?1"),
            ("mention", "SELECT COUNT(*) FROM mention WHERE person = ?1"),
            ("edge", "SELECT COUNT(*) FROM edge e JOIN resource r ON r.id = e.source WHERE r.holder = ?1"),
            ("attr", "SELECT COUNT(*) FROM attr a JOIN resource r ON r.id = a.resource WHERE r.holder = ?1"),
            (
                "metric_series",
                "SELECT COUNT(*) FROM metric_series s JOIN resource r ON r.id = s.resource WHERE r.holder = ?1",
            ),
            ("blob", "SELECT COUNT(*) FROM blob b JOIN resource r ON r.id = b.resource WHERE r.holder = ?1"),
        ] {
            traces.push((table, self.number(sql, &args)? as u64));
        }
        Ok(traces)
    }

    /// Deletes up to `limit` of a frozen holder's resources, leaves before roots, and forgets their blobs (whose ids the caller has already).
    /// Returns how many resources went; zero when nothing is left.
    pub fn remove_held(&mut self, holder: Id, limit: u32) -> Result<u64> {
        self.execute(
            "DELETE FROM resource WHERE id IN (
                 SELECT r.id FROM resource r WHERE r.holder = ?1
                 AND NOT EXISTS (SELECT 1 FROM resource c WHERE c.parent = r.id) ORDER BY r.id LIMIT ?2)",
            &[(&holder).into(), i64::from(limit).into()],
        )
    }

    /// How many resources lie in a container, itself among them.
    pub fn count_in(&mut self, container: Id) -> Result<u64> {
        Ok(self.number("SELECT COUNT(*) FROM resource WHERE container = ?1", &[(&container).into()])? as u64)
    }

    /// What goes when `id` is removed, itself among it.
    pub fn below(&mut self, id: Id) -> Result<Below> {
        // SQLite takes a cross join in its order: any other way it would read everything there is.
        let rows = self.query(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT r.kind, COUNT(*), CAST(SUM(LENGTH(r.doc)) AS BIGINT), MIN(r.expires_at),
                    COUNT(CASE WHEN r.container = r.id THEN 1 END)
             FROM subtree s CROSS JOIN resource r WHERE r.id = s.id GROUP BY r.kind ORDER BY r.kind",
            &[(&id).into()],
        )?;
        let mut below = Below::default();
        for row in &rows {
            below.kinds.push(Holding {
                kind: Kind::from_number(row.int(0)?)?,
                count: row.int(1)? as u64,
                bytes: row.int(2)? as u64,
                next_expiry: row.optional_int(3)?.map(Timestamp),
            });
            below.containers += row.int(4)? as u64;
        }
        let blobs = self.query_one(
            "WITH RECURSIVE subtree (id) AS (
                 SELECT id FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT COUNT(*), CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM subtree s CROSS JOIN blob b
             WHERE b.resource = s.id",
            &[(&id).into()],
        )?;
        if let Some(row) = blobs {
            (below.files, below.file_bytes) = (row.int(0)? as u64, row.int(1)? as u64);
        }
        Ok(below)
    }

    /// The resources of a kind that stand anywhere under `root`, with what each stands under; in the order of ids.
    pub fn ids_below(&mut self, root: Id, kind: Kind) -> Result<Vec<(Id, Id)>> {
        self.query(
            "WITH RECURSIVE subtree (id, kind, parent) AS (
                 SELECT id, kind, parent FROM resource WHERE id = ?1
                 UNION ALL SELECT r.id, r.kind, r.parent FROM resource r JOIN subtree s ON r.parent = s.id)
             SELECT id, parent FROM subtree WHERE kind = ?2 AND parent IS NOT NULL ORDER BY id",
            &[(&root).into(), kind.number().into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.id(1)?)))
        .collect()
    }

    /// All containers and the generation of the key in use.
    pub(crate) fn containers(&mut self) -> Result<Vec<(Id, u32)>> {
        self.query(
            "/* reads all */ SELECT id, generation FROM resource WHERE container = id ORDER BY id",
            &[],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, row.int(1)? as u32)))
        .collect()
    }
}
