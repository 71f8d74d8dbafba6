//! Giving a container a new key, so that what was deleted from it cannot be read in old copies of the database.

use habeas_core::{Id, Kind, Result};

use crate::Store;
use crate::engine::Arg;
use crate::keyring::Destruction;
use crate::ledger::Record;
use crate::tree::{HolderState, Tx};

/// Documents read at a time.
const PAGE: i64 = 500;

impl Store {
    /// Seals everything in a container under a new key and destroys the old ones. Nothing happens when the container is gone.
    /// Repeatable at any point: a key that no document needs is destroyed by the next run.
    pub async fn reseal(&self, container: Id) -> Result<()> {
        let Some(present) = self.read(move |tx| tx.generation_of(container)).await? else { return Ok(()) };
        let next = present + 1;
        self.with_keyring(move |keyring| {
            if keyring.key(container, next).is_none() {
                keyring.create_keys(&[(container, next)])
            } else {
                Ok(())
            }
        })
        .await?;
        habeas_core::fault::point("reseal.key_created");
        let resealed = self.write(move |tx| tx.reseal(container, present, next)).await;
        habeas_core::fault::point("reseal.committed");
        let resealed = match resealed {
            Ok(resealed) => resealed,
            Err(error) => {
                self.destroy_generations(container, vec![next]).await?;
                return Err(error);
            }
        };
        let keep = if resealed { next } else { present };
        if resealed && let Some(sealed) = self.read(move |tx| tx.sealed_profile(container, next)).await? {
            // Before the old key goes: a restore of an older backup takes the profile from here.
            let record = Record::ProfileResealed { holder: container, generation: next, sealed };
            self.with_ledger(move |ledger| ledger.append(&[record]).map(|_| ())).await?;
        }
        let old = self
            .with_keyring(move |keyring| {
                Ok(keyring
                    .generations(container)
                    .into_iter()
                    .filter(|&generation| generation != keep)
                    .collect::<Vec<_>>())
            })
            .await?;
        self.destroy_generations(container, old).await
    }

    async fn destroy_generations(&self, container: Id, generations: Vec<u32>) -> Result<()> {
        let records: Vec<Record> = generations
            .iter()
            .map(|&generation| Record::GenerationDestroyed { container, generation })
            .collect();
        let keys = generations.into_iter().map(|generation| (container, generation)).collect();
        self.with_keyring(move |keyring| keyring.destroy(&Destruction { keys, ..Destruction::default() }))
            .await?;
        self.with_ledger(move |ledger| ledger.append(&records).map(|_| ())).await
    }
}

impl Tx<'_> {
    /// The number of the key in use of a container; none when there is no such container.
    pub(crate) fn generation_of(&mut self, container: Id) -> Result<Option<u32>> {
        self.query_one(
            "SELECT generation FROM resource WHERE id = ?1 AND container = ?1",
            &[(&container).into()],
        )?
        .map(|row| Ok(row.int(0)? as u32))
        .transpose()
    }

    /// The document of a container that is the root of what its holder has, as the ledger keeps it; none for any other.
    fn sealed_profile(&mut self, container: Id, generation: u32) -> Result<Option<String>> {
        match self.raw(container)? {
            Some(node) if matches!(node.kind, Kind::Person | Kind::Organisation) => {
                self.shared.seal_for_ledger(container, generation, &node.doc).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Seals a container's documents, names and attributes under the key of generation `next`, all in this transaction; false
    /// when the container is gone, is being erased, or has another generation already.
    fn reseal(&mut self, container: Id, present: u32, next: u32) -> Result<bool> {
        match self.place(container)? {
            Some(place) if place.state != HolderState::Frozen && place.generation == present => {}
            _ => return Ok(false),
        }
        let mut after = Id::NIL;
        loop {
            let rows = self.query(
                "SELECT id, kind, parent, doc FROM resource WHERE container = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                &[(&container).into(), (&after).into(), Arg::Int(PAGE)],
            )?;
            for row in &rows {
                let id = row.id(0)?;
                let kind = Kind::from_number(row.int(1)?)?;
                let parent = row.optional_id(2)?;
                let plain = self.shared.open(id, kind, container, row.bytes(3)?)?;
                let doc = self.shared.seal(id, kind, container, next, &plain)?;
                // The container's own name is under the key of what it stands in.
                let name_mac = self.shared.name_mac_of(kind, (container, next), parent, &plain)?;
                self.execute(
                    "UPDATE resource SET doc = ?2, generation = ?3,
                         name_mac = CASE WHEN id = container THEN name_mac ELSE ?4 END WHERE id = ?1",
                    &[
                        (&id).into(),
                        (&doc[..]).into(),
                        i64::from(next).into(),
                        name_mac.as_ref().map(|mac| &mac[..]).into(),
                    ],
                )?;
                self.execute("DELETE FROM attr WHERE resource = ?1", &[(&id).into()])?;
                self.write_attrs(id, kind, container, next, &plain)?;
                after = id;
            }
            if (rows.len() as i64) < PAGE {
                self.reseal_metrics(container, next)?;
                self.reseal_names_below(container, next)?;
                return Ok(true);
            }
        }
    }

    /// Writes the names of the containers that stand directly in this one under the key of generation `next`.
    fn reseal_names_below(&mut self, container: Id, next: u32) -> Result<()> {
        let rows = self.query(
            "SELECT c.id, c.kind, c.parent, c.doc FROM resource c JOIN resource p ON p.id = c.parent
             WHERE p.container = ?1 AND c.container = c.id AND c.name_mac IS NOT NULL",
            &[(&container).into()],
        )?;
        for row in &rows {
            let id = row.id(0)?;
            let kind = Kind::from_number(row.int(1)?)?;
            let plain = self.shared.open(id, kind, id, row.bytes(3)?)?;
            let name_mac = self.shared.name_mac_of(kind, (container, next), row.optional_id(2)?, &plain)?;
            self.execute(
                "UPDATE resource SET name_mac = ?2 WHERE id = ?1",
                &[(&id).into(), name_mac.as_ref().map(|mac| &mac[..]).into()],
            )?;
        }
        Ok(())
    }
}
