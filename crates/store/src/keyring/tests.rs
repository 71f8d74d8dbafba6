use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use habeas_core::{Error, ErrorKind, Id, Result, SeededRandom};

use super::{Destruction, Keyring};
use crate::root_key::RootKey;

/// Makes the n-th write or flush from now fail.
#[derive(Default)]
pub(super) struct Failures(AtomicI64);

impl Failures {
    pub(super) fn pass(&self) -> std::io::Result<()> {
        if self.0.load(Ordering::SeqCst) > 0 && self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

struct World {
    folder: tempfile::TempDir,
    root: RootKey,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::from_file(&folder.path().join("root.key"), true, &SeededRandom::new(9)).unwrap();
        World { folder, root }
    }

    fn mirrors(&self) -> Vec<PathBuf> {
        let mirror = self.folder.path().join("mirror");
        std::fs::create_dir_all(&mirror).unwrap();
        vec![mirror]
    }

    fn create(&self) -> Keyring {
        Keyring::create(self.folder.path(), &self.mirrors(), &self.root, Arc::new(SeededRandom::new(1)))
            .unwrap()
    }

    fn open(&self) -> Result<Keyring> {
        Keyring::open(self.folder.path(), &self.mirrors(), &self.root, Arc::new(SeededRandom::new(2)))
    }

    fn copies(&self) -> Vec<PathBuf> {
        vec![
            self.folder.path().join("keyring-a"),
            self.folder.path().join("keyring-b"),
            self.folder.path().join("mirror/keyring-mirror"),
        ]
    }
}

fn id(number: u8) -> Id {
    Id::from_bytes([number; 16])
}

fn containers(ids: &[Id]) -> Destruction {
    Destruction { containers: ids.to_vec(), aliases_of: ids.to_vec(), ..Destruction::default() }
}

#[test]
fn keys_and_aliases_survive_reopening_and_destroyed_ones_are_in_no_copy() {
    let world = World::new();
    let keyring = world.create();
    keyring.create_keys(&[(id(1), 0), (id(1), 1), (id(2), 0)]).unwrap();
    keyring.put_aliases(&[([7; 32], id(1)), ([8; 32], id(2))]).unwrap();
    let kept = keyring.key(id(2), 0).unwrap();
    drop(keyring);
    let keyring = world.open().unwrap();
    assert_eq!(keyring.generations(id(1)), [0, 1]);
    assert_eq!(keyring.lookup_alias(&[7; 32]), Some(id(1)));
    assert!(keyring.put_aliases(&[([7; 32], id(2))]).is_err());
    assert!(keyring.read_back(&[id(1)]).is_err());
    keyring.destroy(&containers(&[id(1)])).unwrap();
    keyring.destroy(&containers(&[id(1)])).unwrap();
    keyring.read_back(&[id(1)]).unwrap();
    for copy in world.copies() {
        let bytes = std::fs::read(copy).unwrap();
        assert!(!bytes.windows(16).any(|window| window == id(1).as_bytes()), "the id is still there");
        assert!(!bytes.windows(32).any(|window| window == [7; 32]), "the alias is still there");
        assert!(!bytes.windows(32).any(|window| window == kept.expose()), "a key lies there in plain");
    }
    drop(keyring);
    let keyring = world.open().unwrap();
    assert_eq!(keyring.key(id(1), 0), None);
    assert_eq!(keyring.lookup_alias(&[7; 32]), None);
    assert_eq!(keyring.key(id(2), 0), Some(kept));
    assert_eq!(keyring.verify().unwrap().keys, 1);
}

#[test]
fn ten_thousand_keys_grow_the_files_and_come_back() {
    let world = World::new();
    let keyring = world.create();
    let all: Vec<(Id, u32)> = (0..10_000_u32)
        .map(|number| {
            let mut bytes = [1; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            (Id::from_bytes(bytes), 0)
        })
        .collect();
    keyring.create_keys(&all).unwrap();
    drop(keyring);
    assert_eq!(world.open().unwrap().containers().len(), 10_000);
}

#[test]
fn a_write_interrupted_between_copies_is_carried_forward() {
    let world = World::new();
    let keyring = world.create();
    keyring.create_keys(&[(id(1), 0)]).unwrap();
    let before = std::fs::read(&world.copies()[1]).unwrap();
    keyring.create_keys(&[(id(2), 0)]).unwrap();
    drop(keyring);
    std::fs::write(&world.copies()[1], &before).unwrap();
    let keyring = world.open().unwrap();
    assert!(keyring.key(id(2), 0).is_some());
    keyring.verify().unwrap();
    let before = std::fs::read(&world.copies()[2]).unwrap();
    keyring.destroy(&containers(&[id(1)])).unwrap();
    drop(keyring);
    std::fs::write(&world.copies()[2], &before).unwrap();
    let keyring = world.open().unwrap();
    assert!(keyring.key(id(1), 0).is_none());
    keyring.read_back(&[id(1)]).unwrap();
}

#[test]
fn an_old_copy_is_refused() {
    let world = World::new();
    let keyring = world.create();
    keyring.create_keys(&[(id(1), 0)]).unwrap();
    let before = std::fs::read(&world.copies()[1]).unwrap();
    keyring.create_keys(&[(id(2), 0)]).unwrap();
    keyring.create_keys(&[(id(3), 0)]).unwrap();
    drop(keyring);
    std::fs::write(&world.copies()[1], &before).unwrap();
    assert_eq!(world.open().unwrap_err().kind, ErrorKind::Damaged);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn any_flipped_bit_is_refused_and_an_intact_copy_restores() {
    let world = World::new();
    let keyring = world.create();
    keyring.create_keys(&[(id(1), 0), (id(2), 0)]).unwrap();
    keyring.put_aliases(&[([7; 32], id(1))]).unwrap();
    drop(keyring);
    for copy in world.copies() {
        for at in (0..72).chain(4080..4096).chain(4096..4096 + 3 * 128) {
            flip(&copy, at);
            let error = world.open().unwrap_err();
            assert_ne!(error.kind, ErrorKind::Internal, "{at}: {error}");
            flip(&copy, at);
        }
    }
    flip(&world.copies()[0], 4100);
    Keyring::restore_from(&world.copies()[1], world.folder.path(), &world.mirrors(), &world.root).unwrap();
    world.open().unwrap().verify().unwrap();
    std::fs::remove_file(&world.copies()[1]).unwrap();
    assert!(world.open().unwrap_err().place.unwrap().contains("keyring-b"));
}

#[test]
fn another_root_key_is_refused_and_rotation_makes_the_old_one_useless() {
    let world = World::new();
    let keyring = world.create();
    keyring.create_keys(&[(id(1), 0)]).unwrap();
    let key = keyring.key(id(1), 0);
    let other =
        RootKey::from_file(&world.folder.path().join("other.key"), true, &SeededRandom::new(10)).unwrap();
    let open = |root: &RootKey| {
        Keyring::open(world.folder.path(), &world.mirrors(), root, Arc::new(SeededRandom::new(3)))
    };
    assert!(open(&other).unwrap_err().what.contains("root key"));
    keyring.rotate(&other).unwrap();
    keyring.create_keys(&[(id(2), 0)]).unwrap();
    drop(keyring);
    assert!(open(&world.root).is_err());
    assert_eq!(open(&other).unwrap().key(id(1), 0), key);
}

#[test]
fn a_failure_at_any_write_loses_no_acknowledged_key_and_revives_no_destroyed_one() {
    for nth in 1..=6 {
        let world = World::new();
        let keyring = world.create();
        keyring.create_keys(&[(id(1), 0), (id(2), 0)]).unwrap();
        let kept = keyring.key(id(2), 0);
        let fail = |keyring: &Keyring| {
            // One counter for all copies: each write and each flush passes it.
            let failures = Arc::new(Failures(AtomicI64::new(nth)));
            for copy in &mut keyring.lock().copies {
                copy.fail = Arc::clone(&failures);
            }
        };
        fail(&keyring);
        let error: Error = keyring.create_keys(&[(id(3), 0)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(keyring.key(id(3), 0).is_none());
        fail(&keyring);
        keyring.destroy(&containers(&[id(1)])).unwrap_err();
        keyring.destroy(&containers(&[id(1)])).unwrap();
        keyring.create_keys(&[(id(4), 0)]).unwrap();
        keyring.verify().unwrap();
        drop(keyring);
        let keyring = world.open().unwrap();
        assert_eq!(keyring.key(id(2), 0), kept);
        assert!(keyring.key(id(1), 0).is_none());
        assert!(keyring.key(id(4), 0).is_some());
        keyring.read_back(&[id(1)]).unwrap();
    }
}
