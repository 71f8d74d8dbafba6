//! Receipts of erasures and of archives.

use habeas_access::Actor;
use habeas_core::checkpoint::{Checkpoint, verifier_key};
use habeas_core::kind::MentionRole;
use habeas_core::kinds::{Receipt, ReceiptDoc};
use habeas_core::receipt::Logged;
use habeas_core::report::{ConsistencyReport, EntriesReport, KeyReport, ReceiptSummary};
use habeas_core::{Error, ErrorKind, Id, Result, Timestamp, fault, receipt};
use habeas_store::ledger::KeptByHold;
use habeas_store::{New, Tx};
use serde_json::{Value, json};

use crate::Rights;
use crate::erasure::ErasureTask;

impl Rights {
    /// A receipt as it is kept: without salt, but with the proof that it is in today's log.
    pub async fn receipt(&self, id: Id) -> Result<Value> {
        let node = self
            .store
            .read(move |tx| {
                tx.get::<Receipt>(id)?.ok_or_else(|| Error::not_found("there is no such receipt"))
            })
            .await?;
        let mut receipt: Value = serde_json::from_str(&node.doc.receipt)?;
        match self.logged(id).await {
            Ok(logged) => receipt["log"] = serde_json::to_value(logged)?,
            // Kept by a version that wrote the ledger last, and killed before it did.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(receipt)
    }

    /// The proof that a receipt is in today's log.
    pub async fn logged(&self, receipt: Id) -> Result<Logged> {
        // The checkpoint first: the log may grow before the proof is made, which is for the checkpoint's size.
        let checkpoint = self.store.checkpoint().await?;
        let size = Checkpoint::parse(&checkpoint)?.size;
        let proof = self.store.with_ledger(move |ledger| ledger.inclusion(receipt, Some(size))).await?;
        Ok(Logged {
            checkpoint,
            index: proof.index,
            hashes: proof.hashes.iter().map(hex::encode).collect(),
            keys: self.key_announcements()?,
        })
    }

    /// The proof that the log of `from` entries is the beginning of that of `to`, or of today's.
    pub async fn log_consistency(&self, from: u64, to: Option<u64>) -> Result<ConsistencyReport> {
        let today = self.store.checkpoint().await?;
        let size = Checkpoint::parse(&today)?.size;
        let to = to.unwrap_or(size);
        let hashes = self.store.with_ledger(move |ledger| ledger.consistency(from, to)).await?;
        let checkpoint = (to == size).then_some(today);
        let hashes = hashes.iter().map(hex::encode).collect();
        Ok(ConsistencyReport { from, to, hashes, checkpoint, keys: self.key_announcements()? })
    }

    /// Entries of the log from `from` on.
    pub async fn log_entries(&self, from: u64, count: usize) -> Result<EntriesReport> {
        self.store
            .with_ledger(move |ledger| {
                let entries = ledger.log_entries(from, count).iter().map(hex::encode).collect();
                Ok(EntriesReport { from, size: ledger.log_size(), entries })
            })
            .await
    }

    /// The keys that have signed receipts and checkpoints, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyReport>> {
        let announcements = self.key_announcements()?;
        let origin = self.store.log_origin()?;
        let keys = self.store.public_keys()?.into_iter().enumerate();
        Ok(keys
            .map(|(number, public)| KeyReport {
                algorithm: "Ed25519".to_owned(),
                key_id: receipt::key_id(&public),
                public_key: hex::encode(public),
                checkpoint_key: verifier_key(&origin, &public),
                announcement: number.checked_sub(1).and_then(|before| announcements.get(before).cloned()),
            })
            .collect())
    }

    /// Lets a new key sign receipts and checkpoints; the keys after that.
    pub async fn rotate_signing_key(&self) -> Result<Vec<KeyReport>> {
        self.store.rotate_signing_key().await?;
        self.keys()
    }

    /// The signatures of the announcements of all keys after the first.
    pub(crate) fn key_announcements(&self) -> Result<Vec<String>> {
        let signature = |receipt: String| -> Result<String> {
            let receipt: Value = serde_json::from_str(&receipt)?;
            Ok(receipt["signature"].as_str().unwrap_or_default().to_owned())
        };
        self.store.key_announcements().into_iter().map(signature).collect()
    }

    /// The receipts about a person, newest first.
    pub async fn receipts(&self, person: Id) -> Result<Vec<ReceiptSummary>> {
        self.store
            .read(move |tx| {
                let mut receipts = Vec::new();
                for mention in
                    tx.mentions_of(person)?.into_iter().filter(|mention| mention.role == MentionRole::Subject)
                {
                    if let Some(node) = tx.get::<Receipt>(mention.resource)? {
                        receipts.push(ReceiptSummary {
                            id: node.id.to_string(),
                            receipt_type: node.doc.receipt_type,
                            issued: node.created_at.rfc3339(),
                        });
                    }
                }
                receipts.reverse();
                Ok(receipts)
            })
            .await
    }

    /// Whether a receipt is about this person.
    pub async fn is_receipt_of(&self, receipt: Id, person: Id) -> Result<bool> {
        self.store.read(move |tx| is_about(tx, receipt, person)).await
    }

    /// Succeeds when `actor` may see a receipt: the person it is about, or the staff, which is recorded with that person.
    pub async fn authorise_receipt(&self, actor: &Actor, receipt: Id) -> Result<()> {
        let subjects = self.subjects_of_receipt(receipt).await?;
        if actor.person().is_some_and(|person| subjects.contains(&person)) {
            return Ok(());
        }
        self.require_staff(actor).await?;
        self.record_read(actor, &subjects, "GetReceipt").await
    }

    async fn subjects_of_receipt(&self, receipt: Id) -> Result<Vec<Id>> {
        self.store
            .read(move |tx| {
                let mentions = tx.mentioned_in(receipt)?.into_iter();
                Ok(mentions
                    .filter(|mention| mention.role == MentionRole::Subject)
                    .map(|mention| mention.person)
                    .collect())
            })
            .await
    }

    /// The public half of the key that signs receipts.
    pub fn public_key(&self) -> Result<[u8; 32]> {
        Ok(self.store.signing_key()?.public())
    }

    /// Signs a statement, appends the receipt to the ledger, whose log it enters, and keeps it. Giving the same id twice changes nothing.
    pub(crate) async fn issue(
        &self,
        id: Id,
        receipt_type: &str,
        statement: Value,
        subject: Option<Id>,
    ) -> Result<()> {
        let signed = receipt::sign(&statement, &self.store.signing_key()?).to_string();
        // The ledger first: whoever sees a receipt can have the proof that it is in the log.
        let kept = self.store.with_ledger(move |ledger| ledger.issue(id, signed)).await?;
        fault::point("receipt.logged");
        let doc = ReceiptDoc { receipt_type: receipt_type.to_owned(), receipt: kept };
        self.store
            .write(move |tx| {
                if tx.get::<Receipt>(id)?.is_none() {
                    tx.create::<Receipt>(New::under(Id::NIL, id, doc.clone()))?;
                    if let Some(person) = subject {
                        tx.mention(id, person, MentionRole::Subject)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Issues the receipt of an archive that was handed out.
    pub(crate) async fn issue_for_archive(
        &self,
        person: Id,
        sha256: &str,
        bytes: u64,
        resources: u64,
    ) -> Result<Id> {
        let salt: [u8; 16] = self.store.ambient().bytes();
        let statement = json!({
            "type": "access-receipt/1",
            "issuer": receipt::key_id(&self.public_key()?),
            // The salt is thrown away: the person has the archive itself, and its digest stands here.
            "subject": receipt::commitment(&salt, person),
            "legal": "GDPR Articles 15 and 20",
            "completed": self.store.ambient().now().rfc3339(),
            "archive": { "sha256": sha256, "bytes": bytes, "resources": resources },
        });
        let id = self.store.ambient().new_id();
        self.issue(id, "access-receipt/1", statement, Some(person)).await?;
        Ok(id)
    }
}

/// Whether a receipt is about this person.
pub(crate) fn is_about(tx: &mut Tx<'_>, receipt: Id, person: Id) -> Result<bool> {
    let mentions = tx.mentioned_in(receipt)?;
    Ok(mentions.iter().any(|mention| mention.person == person && mention.role == MentionRole::Subject))
}

fn held_part(part: &KeptByHold) -> Value {
    json!({ "hold": part.hold, "resources": part.resources, "until": part.until })
}

fn salt(task: &ErasureTask) -> Result<[u8; 16]> {
    hex::decode(&task.salt)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Error::damaged("the salt of an erasure cannot be read"))
}

/// The commitment of the last receipt: that of the first one where its salt was lost with the data before a restore.
async fn last_subject(rights: &Rights, task: &ErasureTask) -> Result<Value> {
    match task.receipt.filter(|_| task.salt.is_empty()) {
        Some(first) => Ok(rights.receipt(first).await?["statement"]["subject"].take()),
        None => Ok(Value::from(receipt::commitment(&salt(task)?, task.person))),
    }
}

/// The receipt that completes an erasure of which legal holds had kept a part.
pub(crate) async fn issue_for_release(rights: &Rights, task: &ErasureTask) -> Result<()> {
    let id = task
        .last_receipt
        .ok_or_else(|| Error::damaged("an erasure with holds has no id for its last receipt"))?;
    let held: Vec<Value> = task.held.iter().map(held_part).collect();
    let statement = json!({
        "type": "erasure-receipt/1",
        "issuer": receipt::key_id(&rights.public_key()?),
        "subject": last_subject(rights, task).await?,
        "legal": "GDPR Article 17",
        "planDigest": task.plan.digest,
        "completes": task.receipt,
        "completed": rights.store.ambient().now().rfc3339(),
        "released": held,
        "recipients": task.plan.recipients,
        "keysDestroyed": task.held.len(),
        "method": "cryptographic erasure (AES-256-GCM keys overwritten in every copy of the keyring), then deletion",
        "verified": { "keySlotsReadBack": task.held.len(), "rowsLeft": 0, "filesLeft": 0, "version": env!("CARGO_PKG_VERSION") },
    });
    rights.issue(id, "erasure-receipt/1", statement, None).await
}

/// The last step of an erasure: the receipt has the plan's own id, so that a repeated step issues no second one.
pub(crate) async fn issue_for_erasure(rights: &Rights, plan: Id, task: &mut ErasureTask) -> Result<()> {
    // By a run before a restore.
    if task.receipt.is_some() {
        return Ok(());
    }
    let salt = salt(task)?;
    let time = |moment: Option<Timestamp>| moment.unwrap_or(Timestamp(0)).rfc3339();
    let erased: Vec<Value> = task
        .plan
        .items
        .iter()
        .filter(|item| item.count > item.held)
        .map(|item| {
            let planned = item.count - item.held;
            json!({ "kind": item.kind, "planned": planned, "bytes": item.bytes, "action": item.action })
        })
        .collect();
    let held: Vec<Value> = task.held.iter().map(held_part).collect();
    let statement = json!({
        "type": "erasure-receipt/1",
        "issuer": receipt::key_id(&rights.public_key()?),
        "subject": receipt::commitment(&salt, task.person),
        "legal": "GDPR Article 17",
        "planDigest": task.plan.digest,
        "planned": task.plan.created,
        "frozen": time(task.frozen_at),
        "unreadableEverywhereSince": time(task.shredded_at),
        "completed": rights.store.ambient().now().rfc3339(),
        "erased": erased,
        "deletedRecords": task.deleted_rows,
        "deletedFiles": task.purged_blobs,
        "keysDestroyed": task.containers.len(),
        "kept": task.plan.kept,
        "held": held,
        "unlinked": task.plan.unlinked,
        "recipients": task.plan.recipients,
        "models": task.resolved,
        "method": "cryptographic erasure (AES-256-GCM keys overwritten in every copy of the keyring), then deletion",
        "storage": rights.store.describe_database().await?,
        "backups": "unreadable for what was erased since the time above",
        "limits": "copies that others downloaded before, and a stolen old copy of the keyring together with its root key, are outside this proof",
        "verified": { "keySlotsReadBack": task.containers.len() + 1, "rowsLeft": 0, "filesLeft": 0, "version": env!("CARGO_PKG_VERSION") },
    });
    fault::point("erase.before_receipt");
    let id = plan;
    rights.issue(id, "erasure-receipt/1", statement, None).await?;
    task.receipt = Some(id);
    Ok(())
}
