//! What the rights engine itself keeps: archives for download, and receipts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::age::Prepared;
use crate::{
    About, Attrs, BlobRef, Bundle, DataKind, DataMap, Erasure, Error, Fate, FieldClass, Kind, Node, Result,
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

/// A form in which an archive can have its data once more, for other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A table for each kind of data, as CSV (RFC 4180).
    Csv,
    /// A table for each kind of data, as JSON Lines.
    Jsonl,
    /// Labelled images: COCO.
    Coco,
    /// Labelled images: YOLO.
    Yolo,
    /// Labelled images: Pascal VOC.
    Voc,
    /// Labelled images: a folder for each tag.
    Folders,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [ExportFormat; 6] = [
        ExportFormat::Csv,
        ExportFormat::Jsonl,
        ExportFormat::Coco,
        ExportFormat::Yolo,
        ExportFormat::Voc,
        ExportFormat::Folders,
    ];

    /// Its name on the wire, and of its folder in the archive.
    pub const fn name(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Jsonl => "jsonl",
            ExportFormat::Coco => "coco",
            ExportFormat::Yolo => "yolo",
            ExportFormat::Voc => "voc",
            ExportFormat::Folders => "folders",
        }
    }

    /// Names of formats, as a person reads them: with commas between.
    pub fn list(formats: &[ExportFormat]) -> String {
        formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
    }

    /// The formats that were named, each once, in a fixed order. An error for a name that is none.
    pub fn parse_all<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<ExportFormat>> {
        let mut wanted = [false; ExportFormat::ALL.len()];
        for name in names {
            let place = ExportFormat::ALL.iter().position(|format| format.name() == name);
            let place = place.ok_or_else(|| {
                let names = ExportFormat::ALL.map(ExportFormat::name).join(", ");
                Error::invalid("an archive has no such format").hint(format!("formats are {names}"))
            })?;
            wanted[place] = true;
        }
        Ok(ExportFormat::ALL
            .into_iter()
            .zip(wanted)
            .filter_map(|(format, wanted)| wanted.then_some(format))
            .collect())
    }
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
    /// The formats that it has its data in once more.
    #[serde(default)]
    pub formats: Vec<ExportFormat>,
    /// The age public key, `age1…`, for whose holder the archive is sealed before it is stored; none for one that is not.
    #[serde(default)]
    pub recipient: Option<String>,
    /// Whether it is sealed with a passphrase before it is stored. The passphrase itself is kept nowhere.
    #[serde(default)]
    pub with_passphrase: bool,
    /// What seals it with its passphrase while it is written; gone when it is ready or has failed.
    #[serde(default)]
    pub seal: Option<Prepared>,
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
            formats: vec![ExportFormat::Csv, ExportFormat::Coco],
            recipient: Some("age1zwlyl6h27gzv0lfntr7fcqrjrzqazap8sy5zylkxwneh7llf0dksu37mwt".into()),
            with_passphrase: true,
            seal: Some(Prepared { header: "age-encryption.org/v1\n".into(), file_key: [0; 16].into() }),
        }
    }

    fn unique_name(_doc: &ExportArchiveDoc) -> Option<&str> {
        None
    }

    fn attrs(_doc: &ExportArchiveDoc, _out: &mut Attrs) {}

    fn classify(doc: &ExportArchiveDoc, map: &mut DataMap) {
        let ExportArchiveDoc {
            state,
            archive,
            done,
            total,
            sha256,
            formats,
            recipient,
            with_passphrase,
            seal,
        } = doc;
        map.field(state, "state", FieldClass::Technical, "to show how far the export has come");
        map.field(archive, "archive", FieldClass::Personal, "the copy of everything held on the person");
        map.field(done, "done", FieldClass::Technical, "to show how far the export has come");
        map.field(total, "total", FieldClass::Technical, "to show how far the export has come");
        map.field(sha256, "sha256", FieldClass::Technical, "so that a download can be checked");
        map.field(formats, "formats", FieldClass::Technical, "which formats were asked for");
        map.field(
            recipient,
            "recipient",
            FieldClass::Personal,
            "the public key for whose holder it is sealed",
        );
        map.field(
            with_passphrase,
            "with_passphrase",
            FieldClass::Technical,
            "whether it is sealed with a passphrase",
        );
        map.field(
            seal,
            "seal",
            FieldClass::Secret,
            "seals it in place of the passphrase, which is not kept; gone when it is written",
        );
    }

    fn view(node: &Node<ExportArchiveDoc>) -> View {
        View::new(format!("Archive of {}", node.created_at))
            .optional("Bytes", node.doc.archive.as_ref().map(|archive| archive.size))
            .optional("Sealed for", node.doc.recipient.as_ref())
            .optional("Sealed with", node.doc.with_passphrase.then_some("a passphrase"))
            .optional("Expires", node.expires_at)
    }

    fn export(node: &Node<ExportArchiveDoc>, out: &mut dyn Bundle) -> Result<()> {
        let sealed_for = match &node.doc.recipient {
            Some(key) => key.as_str(),
            None if node.doc.with_passphrase => "passphrase",
            None => "",
        };
        // An archive does not contain earlier archives: they hold the same data.
        out.row(
            "rights/exports.csv",
            &["id", "requested", "bytes", "sha256", "expires", "sealed_for"],
            &[
                node.id.to_string(),
                node.created_at.rfc3339(),
                node.doc.archive.as_ref().map(|archive| archive.size.to_string()).unwrap_or_default(),
                node.doc.sha256.clone().unwrap_or_default(),
                node.expires_at.map(Timestamp::rfc3339).unwrap_or_default(),
                sealed_for.to_owned(),
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
