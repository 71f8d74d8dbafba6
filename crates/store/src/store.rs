//! The store: transactions, keys and blobs together.

use std::sync::{Arc, Mutex};

use habeas_core::crypto::SecretKey;
use habeas_core::{Ambient, Error, Id, Result};

use crate::Blobs;
use crate::engine::{Engine, Job, Pool};
use crate::keyring::{Destruction, Keyring};
use crate::ledger::Ledger;
use crate::tree::{KEY_GONE, Shared, Tx};

/// An open deployment. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) writers: Pool,
    pub(crate) readers: Pool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) blobs: Blobs,
    /// Say to other processes that this one works on the data directory and the keyring.
    pub(crate) _locks: [std::fs::File; 2],
}

/// How often a reader that met a document whose key was replaced in the meantime looks again.
const READ_ATTEMPTS: usize = 3;

impl Store {
    /// Runs a transaction and returns when it is durable. The closure may be run more than once: its only effects must be
    /// those on the transaction. An error of the closure leaves nothing behind.
    pub async fn write<T: Send + 'static>(
        &self,
        transaction: impl Fn(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, result) = self.job(transaction);
        self.inner.writers.run(job).await?;
        take(&result)
    }

    /// Runs a transaction that only reads, on one consistent state.
    pub async fn read<T: Send + 'static>(
        &self,
        transaction: impl Fn(&mut Tx<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let transaction = Arc::new(transaction);
        for _ in 1..READ_ATTEMPTS {
            match self.read_once(Arc::clone(&transaction)).await {
                Err(error) if error.code == Some(KEY_GONE) => {}
                result => return result,
            }
        }
        self.read_once(transaction).await
    }

    async fn read_once<T: Send + 'static>(
        &self,
        transaction: Arc<impl Fn(&mut Tx<'_>) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<T> {
        let (job, result) = self.job(move |tx| transaction(tx));
        self.inner.readers.run(job).await?;
        take(&result)
    }

    fn job<T: Send + 'static>(
        &self,
        transaction: impl Fn(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> (Job, Arc<Mutex<Option<T>>>) {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let shared = Arc::clone(&self.inner.shared);
        let job = Box::new(move |engine: &mut dyn Engine| {
            let now = shared.ambient.now();
            let value = transaction(&mut Tx { engine, shared: &shared, now })?;
            *slot.lock().map_err(|_| Error::internal("a transaction's result was lost"))? = Some(value);
            Ok(())
        });
        (job, result)
    }

    /// Runs a transaction that creates containers, whose keys are made and flushed first; destroys them again if it fails.
    /// `aliases` are MACs made by [`Store::alias`], each with the person it stands for.
    pub async fn write_with_keys<T: Send + 'static>(
        &self,
        containers: Vec<Id>,
        aliases: Vec<([u8; 32], Id)>,
        transaction: impl Fn(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let new: Vec<(Id, u32)> = containers.iter().map(|&container| (container, 0)).collect();
        let put = aliases.clone();
        self.with_keyring(move |keyring| {
            keyring.put_aliases(&put)?;
            keyring.create_keys(&new)
        })
        .await?;
        habeas_core::fault::point("keys.created");
        let result = self.write(transaction).await;
        if result.is_err() {
            let destruction = Destruction {
                containers,
                aliases: aliases.into_iter().map(|(mac, _)| mac).collect(),
                ..Destruction::default()
            };
            // If this fails too, the keys are collected at the next start: they have no rows.
            if let Err(error) = self.with_keyring(move |keyring| keyring.destroy(&destruction)).await {
                tracing::warn!(
                    error = format_args!("{error:#}"),
                    "keys of a failed transaction are left for the next start"
                );
            }
        }
        result
    }

    /// Runs a blocking piece of work on the keyring away from the async threads.
    pub async fn with_keyring<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keyring) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let keyring = Arc::clone(&self.inner.shared.keyring);
        blocking(move || work(&keyring)).await
    }

    /// Runs a blocking piece of work on the ledger away from the async threads.
    pub async fn with_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let ledger = Arc::clone(&self.inner.ledger);
        blocking(move || work(&ledger)).await
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Clock and randomness.
    pub fn ambient(&self) -> &Ambient {
        &self.inner.shared.ambient
    }

    /// The MAC under which the keyring finds a person by `text` of a scheme such as `email`. Never stored in the database.
    pub fn alias(&self, scheme: &str, text: &str) -> Result<[u8; 32]> {
        self.inner.shared.alias(scheme, text)
    }

    /// The person that an alias stands for.
    pub fn find_alias(&self, alias: &[u8; 32]) -> Option<Id> {
        self.inner.shared.keyring.lookup_alias(alias)
    }

    /// A key of the installation for one purpose: signing, addresses. It lives as long as the installation.
    pub fn installation_key(&self, purpose: &[u8]) -> Result<SecretKey> {
        Ok(self.inner.shared.key(Id::NIL, 0)?.derive(purpose))
    }

    /// The database engine, its version and what makes it durable.
    pub async fn describe_database(&self) -> Result<String> {
        self.inner.writers.errand(|connection| connection.describe()).await
    }

    /// Rewrites the database file or tables without what was deleted: maintenance, which takes its time and blocks writers. Not
    /// part of any erasure: keys are.
    pub async fn vacuum(&self) -> Result<()> {
        self.inner.writers.errand(|connection| connection.vacuum()).await
    }

    /// Tables and columns as they are in the database.
    pub async fn columns(&self) -> Result<Vec<(String, String)>> {
        self.inner.writers.errand(|connection| connection.columns()).await
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn take<T>(result: &Mutex<Option<T>>) -> Result<T> {
    result
        .lock()
        .ok()
        .and_then(|mut slot| slot.take())
        .ok_or_else(|| Error::internal("a transaction's result was lost"))
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("a piece of blocking work panicked")))
}
