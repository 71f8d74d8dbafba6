//! Receipts: what was done, signed.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::report::ReceiptSummary;
use serde_json::Value;

use super::Shell;
use crate::format::{Bytes, Count, Moment};

/// `GET /me/receipts`.
#[derive(Debug, Template)]
#[template(path = "receipts.html")]
pub struct ReceiptsPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The receipts, newest first.
    pub receipts: Vec<ReceiptRow>,
}

/// `GET /me/receipts/{id}`.
#[derive(Debug, Template)]
#[template(path = "receipt.html")]
pub struct ReceiptPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The receipt.
    pub receipt: ReceiptView,
}

/// What a receipt proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptType {
    /// That an archive was made.
    Access,
    /// That everything was erased.
    Erasure,
    /// Something that this version does not know.
    Other,
}

impl ReceiptType {
    fn new(name: &str) -> ReceiptType {
        match name.split('/').next() {
            Some("access-receipt") => ReceiptType::Access,
            Some("erasure-receipt") => ReceiptType::Erasure,
            _ => ReceiptType::Other,
        }
    }

    /// Its name for a person.
    pub fn title(&self) -> &'static str {
        match self {
            ReceiptType::Access => "Receipt of an export",
            ReceiptType::Erasure => "Receipt of an erasure",
            ReceiptType::Other => "Receipt",
        }
    }
}

/// A receipt in the list.
#[derive(Clone, Debug)]
pub struct ReceiptRow {
    /// Its id.
    pub id: String,
    /// What it proves.
    pub receipt_type: ReceiptType,
    /// When it was issued.
    pub issued: Option<Moment>,
}

/// A label and a value.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is.
    pub label: String,
    /// What it says.
    pub value: String,
}

/// What was erased of one kind.
#[derive(Clone, Debug)]
pub struct ErasedRow {
    /// The kind, as the data map names it.
    pub kind: String,
    /// How many.
    pub count: Count,
    /// How large together.
    pub bytes: Bytes,
}

/// A receipt as a person reads it.
#[derive(Clone, Debug)]
pub struct ReceiptView {
    /// Where the signed JSON is downloaded.
    pub json_address: String,
    /// What it proves.
    pub receipt_type: ReceiptType,
    /// The law it answers.
    pub legal: String,
    /// When it was completed.
    pub completed: Option<Moment>,
    /// Since when what was erased can be read by nobody.
    pub unreadable_since: Option<Moment>,
    /// What was erased, by kind.
    pub erased: Vec<ErasedRow>,
    /// What was kept, and why.
    pub kept: Vec<Fact>,
    /// Everything else that is stated, in words and exact numbers.
    pub facts: Vec<Fact>,
    /// What the receipt does not prove.
    pub limits: String,
    /// Whose key signed it: the first 16 hexadecimal digits of the key's SHA-256.
    pub issuer: String,
    /// The server's public key, in hexadecimal, to verify it with.
    pub public_key: String,
}

impl ReceiptView {
    /// Makes it of a receipt as it is stored, and the server's public key in hexadecimal.
    pub fn new(receipt: &Value, json_address: String, public_key: String, now: Timestamp) -> ReceiptView {
        let statement = &receipt["statement"];
        let text = |name: &str| statement[name].as_str().unwrap_or_default().to_owned();
        let moment = |name: &str| statement[name].as_str().and_then(|text| Moment::parse(text, now));
        let list = |name: &str| statement[name].as_array().map(Vec::as_slice).unwrap_or_default();
        ReceiptView {
            json_address,
            receipt_type: ReceiptType::new(&text("type")),
            legal: text("legal"),
            completed: moment("completed"),
            unreadable_since: moment("unreadableEverywhereSince"),
            erased: list("erased")
                .iter()
                .map(|row| ErasedRow {
                    kind: row["kind"].as_str().unwrap_or_default().to_owned(),
                    count: Count(row["planned"].as_u64().unwrap_or_default()),
                    bytes: Bytes(row["bytes"].as_u64().unwrap_or_default()),
                })
                .collect(),
            kept: list("kept")
                .iter()
                .map(|row| Fact {
                    label: row["what"].as_str().unwrap_or_default().to_owned(),
                    value: row["why"].as_str().unwrap_or_default().to_owned(),
                })
                .collect(),
            facts: facts(statement),
            limits: text("limits"),
            issuer: text("issuer"),
            public_key,
        }
    }
}

impl ReceiptView {
    /// What checks the downloaded file, without this server.
    pub fn verify_command(&self) -> String {
        format!("habeas receipt verify habeas-receipt.json --key {}", self.public_key)
    }
}

/// The rest of a statement, in the order in which a person would ask.
fn facts(statement: &Value) -> Vec<Fact> {
    let archive = &statement["archive"];
    let number = |value: &Value| value.as_u64().map(|number| Count(number).to_string());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    [
        ("Records deleted", number(&statement["deletedRecords"])),
        ("Files deleted", number(&statement["deletedFiles"])),
        ("Keys destroyed", number(&statement["keysDestroyed"])),
        ("Connections to others' resources ended", number(&statement["unlinked"])),
        ("Records left, counted afterwards", number(&statement["verified"]["rowsLeft"])),
        ("Files left, counted afterwards", number(&statement["verified"]["filesLeft"])),
        ("Items in the archive", number(&archive["resources"])),
        ("Size of the archive", archive["bytes"].as_u64().map(|bytes| Bytes(bytes).to_string())),
        ("SHA-256 of the archive", text(&archive["sha256"])),
        ("Method", text(&statement["method"])),
        ("Backups", text(&statement["backups"])),
        ("Storage", text(&statement["storage"])),
        ("SHA-256 of the plan", text(&statement["planDigest"])),
    ]
    .into_iter()
    .filter_map(|(label, value)| value.map(|value| Fact { label: label.to_owned(), value }))
    .collect()
}

impl ReceiptsPage {
    /// Makes the page of the engine's list.
    pub fn new(shell: Shell, receipts: &[ReceiptSummary], now: Timestamp) -> ReceiptsPage {
        let receipts = receipts.iter().map(|receipt| ReceiptRow {
            id: receipt.id.clone(),
            receipt_type: ReceiptType::new(&receipt.receipt_type),
            issued: Moment::parse(&receipt.issued, now),
        });
        ReceiptsPage { shell, receipts: receipts.collect() }
    }
}
