//! The keyring: one random key for every container and person, and the aliases by which persons are found.
//!
//! It lies in files of its own on both engines, never in a data backup: two copies written in turn, each flushed, and optional
//! mirrors. A key is destroyed by overwriting its slot in every copy; then nothing sealed under it can be read any more,
//! wherever a copy of it lies.
//!
//! All slots written together carry one sequence number. After a crash copies may differ only in slots of the newest sequence:
//! those are carried forward. Anything else that differs, or does not match its checksum, is damage, and the keyring refuses to
//! open rather than guess.

mod copy;
mod open;
#[cfg(test)]
mod properties;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use habeas_core::crypto::SecretKey;
use habeas_core::{Error, Id, Random, Result, fault};

use crate::root_key::RootKey;
use copy::Copy;
use slot::{Slot, State};

/// Names of the two copies in the keyring's directory.
const COPIES: [&str; 2] = ["keyring-a", "keyring-b"];
/// Name of a mirror's copy in its directory.
const MIRROR: &str = "keyring-mirror";
/// Slots added at a time.
const GROWTH: usize = 1024;

/// What is to be destroyed. What is not there is passed over.
#[derive(Clone, Debug, Default)]
pub struct Destruction {
    /// Containers of which every key goes.
    pub containers: Vec<Id>,
    /// Single generations of a container's key.
    pub keys: Vec<(Id, u32)>,
    /// Aliases.
    pub aliases: Vec<[u8; 32]>,
    /// Persons of whom every alias goes.
    pub aliases_of: Vec<Id>,
}

/// How the keyring is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Keys in it.
    pub keys: usize,
    /// Aliases in it.
    pub aliases: usize,
    /// Slots that are free.
    pub free: usize,
    /// Files that hold it.
    pub copies: Vec<PathBuf>,
}

/// The open keyring.
pub struct Keyring {
    state: Mutex<Open>,
    random: Arc<dyn Random>,
}

struct Open {
    id: Id,
    root: SecretKey,
    copies: Vec<Copy>,
    /// What is acknowledged.
    slots: Vec<Slot>,
    /// Slots of which a failed write may have left something in some copy: written again with the next batch.
    doubtful: BTreeSet<usize>,
    free: Vec<usize>,
    sequence: u64,
    keys: HashMap<Id, BTreeMap<u32, (usize, SecretKey)>>,
    aliases: HashMap<[u8; 32], (usize, Id)>,
    persons: HashMap<Id, Vec<[u8; 32]>>,
    /// Slots of containers and persons whose keys were destroyed since the start, until they are read back.
    destroyed: HashMap<Id, Vec<usize>>,
}

impl Keyring {
    /// Whether there is a keyring in `directory`, whole or not.
    pub fn exists(directory: &Path) -> bool {
        COPIES.iter().any(|name| directory.join(name).exists())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a random key for each container and generation and makes all durable together. Those that are there already are
    /// kept as they are.
    pub fn create_keys(&self, wanted: &[(Id, u32)]) -> Result<()> {
        let mut open = self.lock();
        let mut new: Vec<(Id, u32, SecretKey)> = Vec::new();
        let mut seen = HashSet::new();
        for &(id, generation) in wanted {
            let is_there = open.keys.get(&id).is_some_and(|keys| keys.contains_key(&generation));
            // A second key of the same name would lie in a slot that no destruction finds.
            if !is_there && seen.insert((id, generation)) {
                new.push((id, generation, SecretKey::random(&*self.random)));
            }
        }
        let (keyring, root) = (open.id, open.root.clone());
        let at = open.write(new.len(), |number, sequence| {
            let (id, generation, key) = &new[number];
            Slot::key(sequence, keyring, *id, *generation, key, &root, &*self.random)
        })?;
        for ((id, generation, key), index) in new.into_iter().zip(at) {
            open.keys.entry(id).or_default().insert(generation, (index, key));
        }
        Ok(())
    }

    /// Adds aliases durably; a conflict when one stands for somebody else.
    pub fn put_aliases(&self, aliases: &[([u8; 32], Id)]) -> Result<()> {
        let mut open = self.lock();
        let mut new: Vec<([u8; 32], Id)> = Vec::new();
        for (mac, person) in aliases {
            let known = open.aliases.get(mac).map(|(_, person)| person);
            match known.or_else(|| new.iter().find(|(other, _)| other == mac).map(|(_, person)| person)) {
                Some(other) if other != person => {
                    return Err(Error::conflict("that address stands for another person already"));
                }
                Some(_) => {}
                None => new.push((*mac, *person)),
            }
        }
        let at =
            open.write(new.len(), |number, sequence| Slot::alias(sequence, new[number].1, &new[number].0))?;
        for ((mac, person), index) in new.into_iter().zip(at) {
            open.aliases.insert(mac, (index, person));
            open.persons.entry(person).or_default().push(mac);
        }
        Ok(())
    }

    /// The key of a container's generation.
    pub fn key(&self, container: Id, generation: u32) -> Option<SecretKey> {
        self.lock().keys.get(&container)?.get(&generation).map(|(_, key)| key.clone())
    }

    /// The generations of which a container has keys, oldest first.
    pub fn generations(&self, container: Id) -> Vec<u32> {
        self.lock().keys.get(&container).map(|keys| keys.keys().copied().collect()).unwrap_or_default()
    }

    /// Every container and generation of which there is a key.
    pub fn containers(&self) -> Vec<(Id, u32)> {
        let open = self.lock();
        let mut all: Vec<(Id, u32)> = open
            .keys
            .iter()
            .flat_map(|(id, keys)| keys.keys().map(|generation| (*id, *generation)))
            .collect();
        all.sort_unstable();
        all
    }

    /// The person that an alias stands for.
    pub fn lookup_alias(&self, mac: &[u8; 32]) -> Option<Id> {
        self.lock().aliases.get(mac).map(|(_, person)| *person)
    }

    /// Destroys keys and aliases: durable in every copy when this returns. May be repeated.
    pub fn destroy(&self, what: &Destruction) -> Result<()> {
        let mut open = self.lock();
        let mut of_whom: Vec<(Id, usize)> = Vec::new();
        for id in &what.containers {
            let slots =
                open.keys.get(id).into_iter().flat_map(BTreeMap::values).map(|(index, _)| (*id, *index));
            of_whom.extend(slots);
        }
        for (id, generation) in &what.keys {
            let slot = open.keys.get(id).and_then(|keys| keys.get(generation));
            of_whom.extend(slot.map(|(index, _)| (*id, *index)));
        }
        let macs: HashSet<[u8; 32]> = what
            .aliases_of
            .iter()
            .filter_map(|person| open.persons.get(person))
            .flatten()
            .chain(&what.aliases)
            .copied()
            .collect();
        of_whom.extend(macs.iter().filter_map(|mac| open.aliases.get(mac)).map(|(index, id)| (*id, *index)));
        let gone: BTreeSet<usize> = of_whom.iter().map(|(_, index)| *index).collect();
        if gone.is_empty() && open.doubtful.is_empty() {
            return Ok(());
        }
        let sequence = open.sequence + 1;
        let slots: Vec<(usize, Slot)> = gone.iter().map(|&index| (index, Slot::free(sequence))).collect();
        open.commit(slots)?;
        for id in &what.containers {
            open.keys.remove(id);
        }
        for (id, generation) in &what.keys {
            if let Some(keys) = open.keys.get_mut(id) {
                keys.remove(generation);
                if keys.is_empty() {
                    open.keys.remove(id);
                }
            }
        }
        for mac in &macs {
            if let Some((_, person)) = open.aliases.remove(mac)
                && let Some(of_person) = open.persons.get_mut(&person)
            {
                of_person.retain(|other| other != mac);
                if of_person.is_empty() {
                    open.persons.remove(&person);
                }
            }
        }
        for (id, index) in of_whom {
            open.destroyed.entry(id).or_default().push(index);
        }
        open.free.extend(gone);
        Ok(())
    }

    /// Reads the slots of these containers and persons back from every copy on disk and fails when one of them still has a key or an
    /// alias of theirs: every slot of theirs that was destroyed since the start, when all were read. Where there is none, every slot is
    /// read.
    pub fn read_back(&self, gone: &[Id]) -> Result<()> {
        let mut open = self.lock();
        let known: Option<Vec<usize>> = gone
            .iter()
            .map(|id| open.destroyed.get(id))
            .collect::<Option<Vec<_>>>()
            .map(|slots| slots.into_iter().flatten().copied().collect());
        let wanted: HashSet<Id> = gone.iter().copied().collect();
        for copy in &open.copies {
            let slots: Vec<(usize, Slot)> = match &known {
                Some(known) => {
                    known.iter().map(|&index| Ok((index, copy.read_slot(index)?))).collect::<Result<_>>()?
                }
                None => open::slots_of(&copy.read()?).enumerate().collect(),
            };
            for (index, slot) in slots {
                match slot.state() {
                    Some(State::Free) => {}
                    Some(State::Key | State::Alias) if !wanted.contains(&slot.id()) => {}
                    Some(_) => {
                        return Err(Error::internal(format!(
                            "slot {index} of a copy of the keyring was not overwritten"
                        ))
                        .at(&copy.path));
                    }
                    None => return Err(open::damaged(&copy.path, Some(index))),
                }
            }
        }
        for id in gone {
            open.destroyed.remove(id);
        }
        Ok(())
    }

    /// Reads every copy back from disk and compares it with what is acknowledged.
    pub fn verify(&self) -> Result<Report> {
        let open = self.lock();
        for copy in &open.copies {
            let bytes = copy.read()?;
            let mut count = 0;
            for (index, slot) in open::slots_of(&bytes).enumerate() {
                if slot.state().is_none() || open.slots.get(index).is_some_and(|known| *known != slot) {
                    return Err(open::damaged(&copy.path, Some(index)));
                }
                count += 1;
            }
            if count < open.slots.len() {
                return Err(open::damaged(&copy.path, None));
            }
        }
        Ok(Report {
            keys: open.keys.values().map(BTreeMap::len).sum(),
            aliases: open.aliases.len(),
            free: open.free.len(),
            copies: open.copies.iter().map(|copy| copy.path.clone()).collect(),
        })
    }

    /// Writes a complete copy into `directory`. It is not kept up to date unless the directory is also configured as a mirror.
    pub fn mirror(&self, directory: &Path) -> Result<PathBuf> {
        let open = self.lock();
        let path = directory.join(MIRROR);
        let new = path.with_extension("new");
        copy::write_whole(&new, &slot::header(open.id, &open.root, &*self.random), &open.slots)?;
        copy::put_in_place(&new, &path)?;
        Ok(path)
    }

    /// Wraps every key under another root key, in new files; overwrites the old files with zeros. From then on neither the old root
    /// key nor a copy of the keyring that was wrapped under it opens anything that was erased since. Interrupted, it is finished by
    /// the next opening with the new root key.
    pub fn rotate(&self, root: &RootKey) -> Result<()> {
        let mut open = self.lock();
        let sequence = open.sequence + 1;
        let mut slots = Vec::with_capacity(open.slots.len());
        for slot in &open.slots {
            slots.push(match slot.state() {
                Some(State::Key) => {
                    let key = slot.open_key(open.id, &open.root)?;
                    Slot::key(sequence, open.id, slot.id(), slot.generation(), &key, &root.0, &*self.random)
                }
                _ if *slot == Slot::NEVER_USED => Slot::NEVER_USED,
                _ => slot.again(sequence),
            });
        }
        let header = slot::header(open.id, &root.0, &*self.random);
        let paths: Vec<PathBuf> = open.copies.iter().map(|copy| copy.path.clone()).collect();
        for path in &paths {
            copy::write_whole(&path.with_extension("new"), &header, &slots)?;
        }
        fault::point("keyring.rotate.written");
        for path in &paths {
            copy::put_in_place(&path.with_extension("new"), path)?;
            fault::point("keyring.rotate.moved");
        }
        let new = paths.iter().map(|path| Copy::open(path)).collect::<Result<Vec<_>>>()?;
        for old in std::mem::replace(&mut open.copies, new) {
            old.wipe()?;
        }
        open.slots = slots;
        open.sequence = sequence;
        open.doubtful.clear();
        open.root = root.0.clone();
        Ok(())
    }
}

impl Open {
    /// Writes `count` new slots made by `make` from their number and the sequence; returns where they lie.
    fn write(&mut self, count: usize, make: impl Fn(usize, u64) -> Slot) -> Result<Vec<usize>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        while self.free.len() < count {
            let first = self.slots.len();
            self.slots.resize(first + GROWTH, Slot::NEVER_USED);
            self.free.extend((first..first + GROWTH).rev());
        }
        let at: Vec<usize> = self.free.split_off(self.free.len() - count);
        let sequence = self.sequence + 1;
        let slots = at.iter().enumerate().map(|(number, &index)| (index, make(number, sequence))).collect();
        if let Err(error) = self.commit(slots) {
            self.free.extend(at);
            return Err(error);
        }
        Ok(at)
    }

    /// Writes slots to every copy in turn, each flushed before the next. After a failure the slots keep their acknowledged content
    /// here, and get it again on disk with the next batch.
    fn commit(&mut self, mut slots: Vec<(usize, Slot)>) -> Result<()> {
        let sequence = self.sequence + 1;
        for &index in &self.doubtful {
            if !slots.iter().any(|(other, _)| *other == index) {
                let known = self.slots[index];
                slots.push((
                    index,
                    if known == Slot::NEVER_USED { Slot::free(sequence) } else { known.again(sequence) },
                ));
            }
        }
        self.sequence = sequence;
        let total = self.slots.len();
        for copy in &self.copies {
            if let Err(error) = copy.write(&slots, total) {
                self.doubtful.extend(slots.iter().map(|(index, _)| *index));
                return Err(error);
            }
            fault::point("keyring.copy_written");
        }
        for (index, slot) in slots {
            self.slots[index] = slot;
        }
        self.doubtful.clear();
        Ok(())
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(..)")
    }
}
