//! What the rights engine itself keeps: archives for download, and receipts.

use serde::{Deserialize, Serialize};

use crate::{
    About, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Fate, FieldClass, Kind, Node, Result,
    Retention, Timestamp, View,
};

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportState {
    /// Being written.
    Running,
    /// Ready for download.
    Ready,
    /// Could not be written.
    Failed,
}

/// How far an archive has come on its way to another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// To be sent once it is written, or being sent.
    Waiting,
    /// It has arrived.
    Done,
    /// Given up.
    Failed,
}

/// Where an archive is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveDelivery {
    /// The address of a blob, with its permission until it has arrived, or of a folder.
    pub location: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// When it had arrived or was given up.
    pub ended_at: Option<Timestamp>,
}

/// An archive of everything held on a person. It is personal data itself: it expires, and an erasure erases it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportArchiveDoc {
    /// How far it has come.
    pub state: ExportState,
    /// The archive, once it is ready.
    pub archive: Option<BlobRef>,
    /// Resources written so far.
    pub done: u64,
    /// Resources to write.
    pub total: u64,
    /// SHA-256 of the archive, in hexadecimal, once it is ready.
    pub sha256: Option<String>,
    /// Where it is to be sent, if it is not to be fetched.
    #[serde(default)]
    pub delivery: Option<ArchiveDelivery>,
}

/// [`Kind::ExportArchive`].
#[derive(Debug)]
pub struct ExportArchive;

/// How long an archive can be downloaded, in days.
pub const ARCHIVE_DAYS: u32 = 7;

impl DataKind for ExportArchive {
    const KIND: Kind = Kind::ExportArchive;
    const PARENTS: &'static [Kind] = &[Kind::Person];
    const ABOUT: About = About {
        service: "Your rights",
        title: "Export archives",
        purpose: "to hand the person a copy of what is held on them (GDPR Articles 15 and 20)",
        legal_basis: "legal obligation (GDPR Article 6(1)(c))",
        retention: Retention::Days(ARCHIVE_DAYS, "the request"),
        recipients: "the person",
    };
    type Doc = ExportArchiveDoc;

    fn example() -> ExportArchiveDoc {
        ExportArchiveDoc {
            state: ExportState::Ready,
            archive: Some(BlobRef {
                id: crate::Id::NIL,
                key: crate::crypto::SecretKey::from_bytes([0; 32]),
                size: 1,
                media_type: "application/zip".into(),
            }),
            done: 1,
            total: 1,
            sha256: Some("00".repeat(32)),
            delivery: Some(ArchiveDelivery {
                location: "https://account.blob.example.org/container/archive.zip".into(),
                state: DeliveryState::Done,
                ended_at: Some(Timestamp(0)),
            }),
        }
    }

    fn unique_name(_doc: &ExportArchiveDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &ExportArchiveDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExportArchiveDoc, map: &mut DataMap) {
        let ExportArchiveDoc { state, archive, done, total, sha256, delivery } = doc;
        map.field(state, "state", FieldClass::Technical, "to show how far the export has come");
        map.field(archive, "archive", FieldClass::Personal, "the copy of everything held on the person");
        map.field(done, "done", FieldClass::Technical, "to show how far the export has come");
        map.field(total, "total", FieldClass::Technical, "to show how far the export has come");
        map.field(sha256, "sha256", FieldClass::Technical, "so that a download can be checked");
        map.field(delivery, "delivery", FieldClass::Content, "where the archive is to be sent, if anywhere");
    }

    fn view(node: &Node<ExportArchiveDoc>) -> View {
        View::new(format!("Archive of {}", node.created_at))
            .optional("Bytes", node.doc.archive.as_ref().map(|archive| archive.size))
            .optional("Expires", node.expires_at)
    }

    fn export(node: &Node<ExportArchiveDoc>, out: &mut dyn Bundle) -> Result<()> {
        // An archive does not contain earlier archives: they hold the same data.
        out.row(
            "rights/exports.csv",
            &["id", "requested", "bytes", "sha256", "expires"],
            &[
                node.id.to_string(),
                node.created_at.rfc3339(),
                node.doc.archive.as_ref().map(|archive| archive.size.to_string()).unwrap_or_default(),
                node.doc.sha256.clone().unwrap_or_default(),
                node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
            ],
        )
    }

    fn erase(_node: &Node<ExportArchiveDoc>, _why: Erasure) -> Fate<ExportArchiveDoc> {
        Fate::Delete
    }
}

/// A signed proof of what was done. Holds random ids, counts and times, and no personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptDoc {
    /// What it proves: `erasure-receipt/1` or `access-receipt/1`.
    pub receipt_type: String,
    /// The receipt as handed out: a JSON object with the signed statement and the signature.
    pub receipt: String,
}

/// [`Kind::Receipt`].
#[derive(Debug)]
pub struct Receipt;

impl DataKind for Receipt {
    const KIND: Kind = Kind::Receipt;
    const PARENTS: &'static [Kind] = &[Kind::Installation];
    const ABOUT: About = About {
        service: "Your rights",
        title: "Receipts",
        purpose: "to prove that a request was answered (GDPR Article 5(2))",
        legal_basis: "legal obligation (GDPR Article 6(1)(c))",
        retention: Retention::Installation,
        recipients: "whoever the person shows the receipt to",
    };
    type Doc = ReceiptDoc;

    fn example() -> ReceiptDoc {
        ReceiptDoc { receipt_type: "erasure-receipt/1".into(), receipt: "{}".into() }
    }

    fn unique_name(_doc: &ReceiptDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &ReceiptDoc, _out: &mut Attrs) {}

    fn classify(doc: &ReceiptDoc, map: &mut DataMap) {
        let ReceiptDoc { receipt_type, receipt } = doc;
        map.field(receipt_type, "receipt_type", FieldClass::Technical, "what it proves");
        map.field(
            receipt,
            "receipt",
            FieldClass::Technical,
            "the signed statement: random ids, counts, times",
        );
    }

    fn view(node: &Node<ReceiptDoc>) -> View {
        View::new(&node.doc.receipt_type).fact("Issued", node.created_at)
    }

    fn export(node: &Node<ReceiptDoc>, out: &mut dyn Bundle) -> Result<()> {
        out.json(&format!("rights/receipts/{}.json", node.id), &serde_json::from_str(&node.doc.receipt)?)
    }

    fn erase(_node: &Node<ReceiptDoc>, _why: Erasure) -> Fate<ReceiptDoc> {
        Fate::Keep {
            legal_basis: "proof that the request was answered; it holds no personal data",
            until: None,
        }
    }
}
