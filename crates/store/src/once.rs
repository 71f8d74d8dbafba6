//! What is kept only until it has served: sealed under a key of its own, which is destroyed then.
//!
//! The key lies in the keyring under the id of the request that it serves, in a generation of its own. It outlives the person's keys, and is
//! outlived by the request's record. **Invariant:** at a start, such a key whose request does not say that it waits for it is destroyed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use habeas_core::kinds::Request;
use habeas_core::{Error, Id, Result, crypto};

use crate::Store;
use crate::keyring::Destruction;

/// The generation under which such keys lie: no container ever comes so far.
const GENERATION: u32 = u32::MAX;

impl Store {
    /// Makes the key for what a request waits for, durably; one that is there stays. A transaction has to say in the request that it waits.
    pub async fn make_once_key(&self, request: Id) -> Result<()> {
        self.with_keyring(move |keyring| keyring.create_keys(&[(request, GENERATION)])).await
    }

    /// Seals something under the key that was made for a request; in base64.
    pub fn seal_once(&self, request: Id, plain: &[u8]) -> Result<String> {
        let shared = &self.inner.shared;
        let key = shared.keyring.key(request, GENERATION);
        let key = key.ok_or_else(|| Error::internal("a key for one use was not made"))?;
        Ok(STANDARD.encode(crypto::seal(&key, request.as_bytes(), plain, &*shared.ambient.random)))
    }

    /// What [`Store::seal_once`] sealed; none when its key is destroyed.
    pub fn open_once(&self, request: Id, sealed: &str) -> Result<Option<Vec<u8>>> {
        let Some(key) = self.inner.shared.keyring.key(request, GENERATION) else { return Ok(None) };
        let sealed = STANDARD.decode(sealed).map_err(|_| Error::damaged("what is sealed is not base64"))?;
        crypto::open(&key, request.as_bytes(), &sealed).map(Some)
    }

    /// Destroys the key that was made for a request, and reads its slot back. May be repeated.
    pub async fn destroy_once_key(&self, request: Id) -> Result<()> {
        self.with_keyring(move |keyring| {
            if keyring.key(request, GENERATION).is_none() {
                return Ok(());
            }
            keyring.destroy(&Destruction { keys: vec![(request, GENERATION)], ..Destruction::default() })?;
            keyring.read_back(&[request])
        })
        .await
    }

    /// The requests that wait for what is sealed under a key for one use.
    pub(crate) async fn waiting_for_once_keys(&self) -> Result<Vec<Id>> {
        let all = self.with_keyring(|keyring| Ok(keyring.containers())).await?;
        let once: Vec<Id> =
            all.into_iter().filter(|(_, generation)| *generation == GENERATION).map(|(id, _)| id).collect();
        self.read(move |tx| {
            let mut waiting = Vec::new();
            for &id in &once {
                let request = tx.get::<Request>(id)?;
                waiting.extend(request.filter(|node| node.doc.address.is_some()).map(|_| id));
            }
            Ok(waiting)
        })
        .await
    }
}
