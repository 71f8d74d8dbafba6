//! Opening a deployment: lock, keyring, ledger, database, blobs, and what a crash left unfinished.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use habeas_core::kind::HolderKind;
use habeas_core::kinds::{Installation, InstallationDoc};
use habeas_core::{Ambient, Error, Id, Result};

use crate::engine::{self, Connection, Pool};
use crate::keyring::{Destruction, Keyring};
use crate::ledger::Ledger;
use crate::root_key::RootKey;
use crate::store::{Inner, blocking};
use crate::tree::{New, Shared};
use crate::{Blobs, Store};

/// Which engine keeps the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// SQLite, in `habeas.db` of the data directory.
    Embedded,
    /// PostgreSQL at this address.
    Postgres(String),
}

/// Where the root key comes from.
#[derive(Clone)]
pub enum RootKeySource {
    /// A file that only its owner may read; made on the first start. By default `root.key` beside the keyring.
    File(PathBuf),
    /// A passphrase.
    Passphrase(zeroize::Zeroizing<String>),
}

impl std::fmt::Debug for RootKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RootKeySource::File(path) => f.debug_tuple("File").field(path).finish(),
            RootKeySource::Passphrase(_) => f.write_str("Passphrase(..)"),
        }
    }
}

/// What a deployment consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory: the lock, the embedded database, and by default everything else.
    pub data: PathBuf,
    /// The database.
    pub database: Database,
    /// Address of the object store; `<data>/objects` when none is given.
    pub storage: Option<String>,
    /// Directory of keyring and ledger; `<data>/keyring` when none is given.
    pub keyring: Option<PathBuf>,
    /// Directories that get copies of keyring and ledger, and every destruction.
    pub mirrors: Vec<PathBuf>,
    /// Where the root key comes from; the file `root.key` in the data directory when none is given.
    pub root_key: Option<RootKeySource>,
    /// How long after an item's erasure its container gets a new key.
    pub reseal_after: Duration,
    /// Connections for reading, and on PostgreSQL as many for writing.
    pub connections: usize,
}

impl Options {
    /// Everything embedded in `data`.
    pub fn embedded(data: impl Into<PathBuf>) -> Options {
        Options {
            data: data.into(),
            database: Database::Embedded,
            storage: None,
            keyring: None,
            mirrors: Vec::new(),
            root_key: None,
            reseal_after: Duration::from_secs(24 * 60 * 60),
            connections: 4,
        }
    }

    /// Where keyring and ledger lie.
    pub fn keyring_directory(&self) -> PathBuf {
        self.keyring.clone().unwrap_or_else(|| self.data.join("keyring"))
    }

    /// Where the root key comes from.
    pub fn root_key_source(&self) -> RootKeySource {
        self.root_key.clone().unwrap_or_else(|| RootKeySource::File(self.data.join("root.key")))
    }

    /// The address of the object store.
    pub fn storage_address(&self) -> String {
        self.storage.clone().unwrap_or_else(|| self.data.join("objects").display().to_string())
    }
}

/// File in the data directory that says that a restore is under way.
pub(crate) const RESTORING: &str = "restoring";
/// Transactions that the embedded engine commits together at most.
const BATCH: usize = 256;

impl Store {
    /// Opens a deployment, making it on the first start, and finishes what a crash interrupted: keys without rows are
    /// collected, rows whose keys were destroyed are deleted, abandoned uploads are removed. Refuses when another process has
    /// it, when the schema is newer, and when keys are missing that nobody destroyed.
    pub async fn open(options: Options, ambient: Ambient) -> Result<Store> {
        if options.data.join(RESTORING).exists() {
            return Err(
                Error::conflict("a restore of this data was interrupted").hint("run `habeas restore` again")
            );
        }
        Store::open_restored(options, ambient).await
    }

    /// Opens a deployment of which a restore has brought everything back, but not yet deleted what was erased since.
    pub(crate) async fn open_restored(options: Options, ambient: Ambient) -> Result<Store> {
        // Before the directory of the blobs in it, whose error would tell less.
        make_directory(&options.data)?;
        let blobs = Blobs::open(&options.storage_address())?;
        blobs.reach().await?;
        let store = blocking(move || open(&options, ambient, blobs)).await?;
        store.write(|tx| tx.release_leases().map(|_| ())).await?;
        store.blobs().remove_unfinished().await?;
        store.ensure_installation().await?;
        store.reconcile().await?;
        Ok(store)
    }

    /// Opens a deployment that a backup is to be restored into: as it is, and empty unless a restore was interrupted.
    pub(crate) async fn open_for_restore(options: Options, ambient: Ambient, again: bool) -> Result<Store> {
        let blobs = Blobs::open(&options.storage_address())?;
        blobs.reach().await?;
        let store = blocking(move || open(&options, ambient, blobs)).await?;
        let holders = store
            .read(|tx| {
                tx.number("/* reads all */ SELECT COUNT(*) FROM holder WHERE state >= ?1", &[0_i64.into()])
            })
            .await?;
        if holders > 0 && !again {
            return Err(Error::conflict("there is data already")
                .hint("restore into an empty data directory and database"));
        }
        Ok(store)
    }

    async fn ensure_installation(&self) -> Result<()> {
        self.write(|tx| {
            if tx.holder(Id::NIL)?.is_none() {
                tx.create_holder(Id::NIL, HolderKind::Installation)?;
                let doc = InstallationDoc { created_by_version: env!("CARGO_PKG_VERSION").to_owned() };
                tx.create::<Installation>(New { id: Id::NIL, parent: None, expires_at: None, doc })?;
            }
            Ok(())
        })
        .await
    }

    /// Brings keyring, ledger, database and blobs to one state.
    async fn reconcile(&self) -> Result<()> {
        let rows = self.read(|tx| tx.containers()).await?;
        let erased = self
            .with_ledger({
                let rows = rows.clone();
                move |ledger| {
                    Ok(rows
                        .into_iter()
                        .filter(|(id, _)| ledger.is_erased(*id))
                        .map(|(id, _)| id)
                        .collect::<Vec<_>>())
                }
            })
            .await?;
        // A tombstone whose keys are still there: the destruction was interrupted.
        let interrupted = erased.clone();
        self.with_keyring(move |keyring| {
            keyring.destroy(&Destruction { containers: interrupted, ..Destruction::default() })
        })
        .await?;
        let missing = self
            .with_keyring({
                let rows = rows.clone();
                let erased = erased.clone();
                move |keyring| {
                    Ok(rows
                        .into_iter()
                        .filter(|(id, generation)| {
                            !erased.contains(id) && keyring.key(*id, *generation).is_none()
                        })
                        .map(|(id, _)| id)
                        .collect::<Vec<_>>())
                }
            })
            .await?;
        if let Some(first) = missing.first() {
            return Err(Error::damaged(format!(
                "the keyring lacks the keys of {} containers, {first} among them, and nobody erased them: it is damaged, or belongs to other data",
                missing.len()
            ))
            .hint("put the right keyring in its place: see docs/OPERATING.md, Keyring; `habeas keyring verify` shows details"));
        }
        for &container in &erased {
            let removed = self.write(move |tx| tx.remove_unreadable(container)).await?;
            self.finish(&removed).await;
        }
        // A hold that the ledger has and the rows have not: placed after the backup that was restored.
        let placed = self
            .with_ledger(|ledger| {
                let holds = ledger.holds();
                Ok(holds.into_iter().filter_map(|(hold, known)| known.map(|_| hold)).collect::<Vec<_>>())
            })
            .await?;
        let waiting = self.waiting_for_once_keys().await?;
        let known: std::collections::HashSet<Id> = rows
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !erased.contains(id))
            .chain(placed)
            .chain(waiting)
            .collect();
        self.with_keyring(move |keyring| {
            let orphans: Vec<Id> =
                keyring.containers().into_iter().map(|(id, _)| id).filter(|id| !known.contains(id)).collect();
            if orphans.is_empty() {
                return Ok(());
            }
            keyring.destroy(&Destruction {
                aliases_of: orphans.clone(),
                containers: orphans,
                ..Destruction::default()
            })
        })
        .await?;
        self.settle_holds().await?;
        let restricted: Vec<Id> =
            self.with_ledger(|ledger| Ok(ledger.restricted().into_iter().collect())).await?;
        self.write(move |tx| tx.settle_restrictions(&restricted)).await?;
        let now = self.ambient().now();
        self.write(move |tx| {
            // At boot no upload is under way: every announced blob was abandoned.
            let abandoned = tx.abandoned_blobs(now, 10_000)?;
            tx.abandon_blobs(&abandoned)
        })
        .await
    }
}

fn open(options: &Options, ambient: Ambient, blobs: Blobs) -> Result<Store> {
    make_directory(&options.data)?;
    let data_lock = lock(&options.data)?;
    let directory = options.keyring_directory();
    make_directory(&directory)?;
    let keyring_lock = lock(&directory)?;
    let first_start = !Keyring::exists(&directory);
    let mut writer = match &options.database {
        Database::Embedded => engine::connect_sqlite(&options.data.join("habeas.db"), true)?,
        Database::Postgres(url) => engine::connect_postgres(url, true, true)?,
    };
    let copy = matches!(options.database, Database::Embedded)
        .then(|| options.data.join("habeas.db.before-migration"));
    engine::migrate(&mut *writer, ambient.now(), copy.as_deref())?;
    if first_start && engine::holds_data(&mut *writer)? {
        return Err(Error::damaged("the database holds data, but there is no keyring")
            .hint("put the keyring in its place, or name its directory with --keyring: without it nothing can be read"));
    }
    let random = Arc::clone(&ambient.random);
    let root = match options.root_key_source() {
        RootKeySource::File(path) => RootKey::from_file(&path, first_start, &*random)?,
        RootKeySource::Passphrase(passphrase) => RootKey::from_passphrase(&directory, &passphrase, &*random)?,
    };
    let keyring = if first_start {
        let keyring = Keyring::create(&directory, &options.mirrors, &root, random)?;
        keyring.create_keys(&[(Id::NIL, 0)])?;
        keyring
    } else {
        Keyring::open(&directory, &options.mirrors, &root, random)?
    };
    if keyring.key(Id::NIL, 0).is_none() {
        // The very first start was interrupted between making the keyring and its first key.
        if engine::holds_data(&mut *writer)? {
            return Err(Error::damaged("the keyring lacks the installation's own key"));
        }
        keyring.create_keys(&[(Id::NIL, 0)])?;
    }
    let ledger = Ledger::open(&directory, &options.mirrors)?;
    let installation =
        keyring.key(Id::NIL, 0).ok_or_else(|| Error::internal("the installation's key was not made"))?;
    let shared = Arc::new(Shared {
        keyring: Arc::new(keyring),
        ambient,
        lookup: installation.derive(b"lookup"),
        reseal_after: i64::try_from(options.reseal_after.as_micros()).unwrap_or(i64::MAX),
    });
    let (writers, readers, batch) = connections(options, writer)?;
    Ok(Store {
        inner: Arc::new(Inner {
            writers: Pool::start("habeas-write", writers, batch)?,
            readers: Pool::start("habeas-read", readers, 1)?,
            shared,
            ledger: Arc::new(ledger),
            blobs,
            _locks: [data_lock, keyring_lock],
        }),
    })
}

type Connections = Vec<Box<dyn Connection>>;

fn connections(options: &Options, writer: Box<dyn Connection>) -> Result<(Connections, Connections, usize)> {
    let mut writers = vec![writer];
    let mut readers = Vec::new();
    let batch = match &options.database {
        Database::Embedded => {
            for _ in 0..options.connections {
                readers.push(engine::connect_sqlite(&options.data.join("habeas.db"), false)?);
            }
            BATCH
        }
        Database::Postgres(url) => {
            for _ in 0..options.connections {
                writers.push(engine::connect_postgres(url, true, false)?);
                readers.push(engine::connect_postgres(url, false, false)?);
            }
            1
        }
    };
    Ok((writers, readers, batch))
}

fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::unavailable(format!("the directory {} cannot be made: {}", path.display(), error.kind()))
            .hint("check the owner and permissions of the directory above it")
    })
}

fn lock(data: &Path) -> Result<File> {
    let path = data.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| {
        Error::unavailable(format!("the file {} cannot be opened: {}", path.display(), error.kind()))
            .hint("check that the data directory may be written")
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::conflict(format!("another habeas process works on {}", data.display()))
                .hint("stop it first, or give this one another directory with --data"))
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(Error::unavailable(format!("the file {} cannot be locked: {}", path.display(), error.kind())))
        }
    }
}
