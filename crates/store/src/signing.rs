//! Keys that sign receipts and checkpoints, and the checkpoints.
//!
//! The first key is derived from the installation's own; each later one from a random key of its own in the keyring, which is destroyed
//! when another one takes its place: what was signed then, nobody can sign again.

use habeas_core::checkpoint::{Checkpoint, verifier_key};
use habeas_core::crypto::{SecretKey, SigningKey};
use habeas_core::{Error, Id, Result, fault, receipt};

use crate::Store;
use crate::keyring::Destruction;
use crate::ledger::{Record, Rotation};

const PURPOSE: &[u8] = b"receipt-signing";
/// Generations of the installation's key from here on are the keys that sign.
const FIRST: u32 = 1 << 31;

impl Store {
    /// The key that signs receipts now.
    pub fn signing_key(&self) -> Result<SigningKey> {
        self.signing_key_number(self.inner.ledger.rotations().last().map_or(0, |rotation| rotation.number))
    }

    fn signing_key_number(&self, number: u32) -> Result<SigningKey> {
        let seed = match number {
            0 => self.first_seed()?,
            _ => self
                .inner
                .shared
                .keyring
                .key(Id::NIL, FIRST + number)
                .ok_or_else(|| Error::damaged("the keyring lacks the key that signs receipts"))?
                .derive(PURPOSE),
        };
        Ok(SigningKey::from_seed(&seed))
    }

    fn first_seed(&self) -> Result<SecretKey> {
        self.installation_key(PURPOSE)
    }

    /// Every public key that has signed receipts, oldest first; the last one signs now.
    pub fn public_keys(&self) -> Result<Vec<[u8; 32]>> {
        let mut keys = vec![SigningKey::from_seed(&self.first_seed()?).public()];
        for Rotation { public, .. } in self.inner.ledger.rotations() {
            let key = hex::decode(&public).ok().and_then(|bytes| bytes.try_into().ok());
            keys.push(key.ok_or_else(|| Error::damaged("the ledger holds a public key that is none"))?);
        }
        Ok(keys)
    }

    /// The announcements of all keys after the first: receipts, oldest first.
    pub fn key_announcements(&self) -> Vec<String> {
        self.inner.ledger.rotations().into_iter().map(|rotation| rotation.receipt).collect()
    }

    /// The name of the receipts' log: it stays when the key that signs changes.
    pub fn log_origin(&self) -> Result<String> {
        let first = SigningKey::from_seed(&self.first_seed()?).public();
        Ok(format!("habeas-log/{}", receipt::key_id(&first)))
    }

    /// The key that signs checkpoints now, as other tools of signed notes take it.
    pub fn checkpoint_key(&self) -> Result<String> {
        Ok(verifier_key(&self.log_origin()?, &self.signing_key()?.public()))
    }

    /// The log's state, signed.
    pub async fn checkpoint(&self) -> Result<String> {
        let (origin, key) = (self.log_origin()?, self.signing_key()?);
        self.with_ledger(move |ledger| {
            ledger.checkpoint(|size, root| Checkpoint { origin, size, root }.sign(&key))
        })
        .await
    }

    /// Lets a new key sign from now on. The old one signs its announcement, and is then destroyed, unless it was the first. Interrupted, it
    /// has happened or not.
    pub async fn rotate_signing_key(&self) -> Result<()> {
        let last = self.inner.ledger.rotations().last().map_or(0, |rotation| rotation.number);
        let number = last + 1;
        self.with_keyring(move |keyring| keyring.create_keys(&[(Id::NIL, FIRST + number)])).await?;
        fault::point("signing.key_created");
        let (old, new) = (self.signing_key_number(last)?, self.signing_key_number(number)?);
        let statement = receipt::announcement(&old.public(), &new.public(), self.ambient().now());
        let body = receipt::sign(&statement, &old).to_string();
        let public = hex::encode(new.public());
        self.with_ledger(move |ledger| {
            ledger.append(&[Record::SigningKeyRotated { number, public, body }]).map(|_| ())
        })
        .await?;
        fault::point("signing.announced");
        self.with_keyring(move |keyring| {
            let older = (1..number).map(|older| (Id::NIL, FIRST + older)).collect();
            keyring.destroy(&Destruction { keys: older, ..Destruction::default() })
        })
        .await
    }
}
