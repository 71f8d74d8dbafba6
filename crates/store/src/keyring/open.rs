//! Making, opening and recovering the keyring.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use habeas_core::{Error, Id, Random, Result};

use super::copy::{self, Copy};
use super::slot::{self, HEADER, Header, SLOT, Slot, State};
use super::{COPIES, GROWTH, Keyring, MIRROR, Open};
use crate::root_key::RootKey;

impl Keyring {
    /// Makes an empty keyring.
    pub fn create(
        directory: &Path,
        mirrors: &[PathBuf],
        root: &RootKey,
        random: Arc<dyn Random>,
    ) -> Result<Keyring> {
        let header = slot::header(Id::random(&*random), &root.0, &*random);
        // The second copy first: a keyring without its first copy is recognised as never finished.
        for path in paths(directory, mirrors).iter().rev() {
            let new = path.with_extension("new");
            copy::write_whole(&new, &header, &[Slot::NEVER_USED; GROWTH])?;
            copy::put_in_place(&new, path)?;
        }
        Keyring::open(directory, mirrors, root, random)
    }

    /// Opens a keyring; finishes what a crash interrupted, and refuses whatever is damaged.
    pub fn open(
        directory: &Path,
        mirrors: &[PathBuf],
        root: &RootKey,
        random: Arc<dyn Random>,
    ) -> Result<Keyring> {
        let paths = paths(directory, mirrors);
        let mut copies = Vec::new();
        let mut contents = Vec::new();
        let mut id = None;
        for path in &paths {
            let (copy, bytes, found) = read_copy(path, root)?;
            if id.is_some_and(|id| id != found) {
                return Err(Error::damaged("a copy of the keyring belongs to another keyring")
                    .at(path)
                    .hint("put the copy that belongs to this one in its place, or make it anew with `habeas keyring mirror`"));
            }
            id = Some(found);
            copies.push(copy);
            contents.push(slots_of(&bytes).collect::<Vec<_>>());
        }
        let id = id.ok_or_else(|| Error::internal("a keyring has at least one copy"))?;
        let slots = reconcile(&paths, &copies, &contents)?;
        Ok(Keyring { state: Mutex::new(index(id, root, copies, slots)?), random })
    }

    /// Looks at every copy by itself: its path, and what is wrong with it.
    pub fn examine(directory: &Path, mirrors: &[PathBuf], root: &RootKey) -> Vec<(PathBuf, Result<()>)> {
        let look = |path: PathBuf| {
            let found = whole(&path, root).map(|_| ());
            (path, found)
        };
        paths(directory, mirrors).into_iter().map(look).collect()
    }

    /// Writes both copies, and the mirrors, anew from one intact copy: an operator's decision after damage.
    pub fn restore_from(intact: &Path, directory: &Path, mirrors: &[PathBuf], root: &RootKey) -> Result<()> {
        let (bytes, slots) = whole(intact, root)?;
        for path in paths(directory, mirrors) {
            let new = path.with_extension("new");
            copy::write_whole(&new, &bytes[..HEADER], &slots)?;
            copy::put_in_place(&new, &path)?;
        }
        Ok(())
    }
}

fn paths(directory: &Path, mirrors: &[PathBuf]) -> Vec<PathBuf> {
    COPIES
        .iter()
        .map(|name| directory.join(name))
        .chain(mirrors.iter().map(|mirror| mirror.join(MIRROR)))
        .collect()
}

/// A copy and the id of its keyring. Finishes an interrupted rotation when the root key is the new one.
fn read_copy(path: &Path, root: &RootKey) -> Result<(Copy, Vec<u8>, Id)> {
    let copy = Copy::open(path)?;
    let bytes = copy.read()?;
    match slot::read_header(&bytes, &root.0) {
        Header::Ours(id) => Ok((copy, bytes, id)),
        Header::Damaged => Err(damaged(path, None)),
        Header::Newer => Err(Error::damaged("the keyring was written by a newer habeas").at(path)),
        Header::OtherRoot => {
            let new = path.with_extension("new");
            let rotated =
                Copy::open(&new).and_then(|copy| copy.read()).map(|bytes| slot::read_header(&bytes, &root.0));
            if matches!(rotated, Ok(Header::Ours(_))) {
                copy::put_in_place(&new, path)?;
                copy.wipe()?;
                return read_copy(path, root);
            }
            Err(Error::invalid("the root key does not open the keyring")
                .at(path)
                .hint("name the right one with --root-key-file or HABEAS_PASSPHRASE; after an interrupted `keyring rotate` it is the new one"))
        }
    }
}

/// The content and the slots of a copy in which nothing is damaged.
fn whole(path: &Path, root: &RootKey) -> Result<(Vec<u8>, Vec<Slot>)> {
    let (_, bytes, _) = read_copy(path, root)?;
    let slots: Vec<Slot> = slots_of(&bytes).collect();
    match slots.iter().position(|slot| slot.state().is_none()) {
        Some(index) => Err(damaged(path, Some(index))),
        None => Ok((bytes, slots)),
    }
}

/// The one state that the copies agree on, after carrying forward what the newest write left in some of them only.
fn reconcile(paths: &[PathBuf], copies: &[Copy], contents: &[Vec<Slot>]) -> Result<Vec<Slot>> {
    for (path, slots) in paths.iter().zip(contents) {
        if let Some(index) = slots.iter().position(|slot| slot.state().is_none()) {
            return Err(damaged(path, Some(index)));
        }
    }
    let total = contents.iter().map(Vec::len).max().unwrap_or_default();
    let newest = contents.iter().flatten().map(Slot::sequence).max().unwrap_or_default();
    let mut slots = Vec::with_capacity(total);
    let mut behind = Vec::new();
    for index in 0..total {
        let of = |slots: &Vec<Slot>| slots.get(index).copied().unwrap_or(Slot::NEVER_USED);
        let latest = contents.iter().map(of).max_by_key(Slot::sequence).unwrap_or(Slot::NEVER_USED);
        for (number, slots) in contents.iter().enumerate() {
            let found = of(slots);
            if found == latest {
                continue;
            }
            if latest.sequence() != newest || found.sequence() == newest {
                return Err(damaged(&paths[number], Some(index)));
            }
            behind.push((number, index, latest));
        }
        slots.push(latest);
    }
    for (number, copy) in copies.iter().enumerate() {
        let missed: Vec<(usize, Slot)> = behind
            .iter()
            .filter(|(other, _, _)| *other == number)
            .map(|(_, index, slot)| (*index, *slot))
            .collect();
        if !missed.is_empty() || contents[number].len() < total {
            copy.write(&missed, total)?;
        }
    }
    Ok(slots)
}

fn index(id: Id, root: &RootKey, copies: Vec<Copy>, slots: Vec<Slot>) -> Result<Open> {
    let mut open = Open {
        id,
        root: root.0.clone(),
        copies,
        sequence: slots.iter().map(Slot::sequence).max().unwrap_or_default(),
        doubtful: std::collections::BTreeSet::new(),
        free: Vec::new(),
        keys: std::collections::HashMap::new(),
        aliases: std::collections::HashMap::new(),
        persons: std::collections::HashMap::new(),
        destroyed: std::collections::HashMap::new(),
        slots: Vec::new(),
    };
    for (number, slot) in slots.iter().enumerate().rev() {
        match slot.state() {
            Some(State::Key) => {
                let key = slot.open_key(id, &root.0)?;
                open.keys.entry(slot.id()).or_default().insert(slot.generation(), (number, key));
            }
            Some(State::Alias) => {
                open.aliases.insert(slot.mac(), (number, slot.id()));
                open.persons.entry(slot.id()).or_default().push(slot.mac());
            }
            Some(State::Free) => open.free.push(number),
            None => return Err(Error::internal("a damaged slot passed the check")),
        }
    }
    open.slots = slots;
    Ok(open)
}

pub(super) fn slots_of(bytes: &[u8]) -> impl Iterator<Item = Slot> + '_ {
    bytes.get(HEADER..).unwrap_or_default().chunks_exact(SLOT).map(|chunk| {
        let mut slot = Slot::NEVER_USED;
        slot.0.copy_from_slice(chunk);
        slot
    })
}

pub(super) fn damaged(path: &Path, slot: Option<usize>) -> Error {
    let place = slot.map_or_else(|| "its header or length".to_owned(), |slot| format!("slot {slot}"));
    Error::damaged(format!("a copy of the keyring is damaged: {place} is not what was written")).at(path).hint(
        "nothing was changed; `habeas keyring verify` shows which copies are intact, and `habeas keyring mirror --restore COPY` writes the \
         others anew from an intact one",
    )
}
