//! Archives: asked for, watched, downloaded.

use askama::Template;
use habeas_core::Timestamp;
use habeas_core::kinds::ExportFormat;
use habeas_core::report::ExportReport;

use super::Shell;
use crate::format::{Bytes, Count, Moment};

/// `GET /me/exports`.
#[derive(Debug, Template)]
#[template(path = "exports.html")]
pub struct ExportsPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The archives, newest first.
    pub exports: Vec<ExportView>,
}

/// `GET /me/exports/{id}`.
#[derive(Debug, Template)]
#[template(path = "export.html")]
pub struct ExportPage {
    /// What surrounds it.
    pub shell: Shell,
    /// The archive.
    pub export: ExportView,
}

/// A format that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct FormatChoice {
    /// Which.
    pub format: ExportFormat,
    /// What it is, for somebody who has not heard of it.
    pub title: &'static str,
}

/// The formats that can be asked for.
pub const FORMATS: [FormatChoice; ExportFormat::ALL.len()] = [
    FormatChoice { format: ExportFormat::Csv, title: "Tables for spreadsheets (CSV)" },
    FormatChoice { format: ExportFormat::Jsonl, title: "Tables for programs (JSON Lines)" },
    FormatChoice { format: ExportFormat::Coco, title: "Labels of your images in COCO" },
    FormatChoice {
        format: ExportFormat::Yolo,
        title: "Images and labels in YOLO (your images a second time)",
    },
    FormatChoice { format: ExportFormat::Voc, title: "Labels of your images in Pascal VOC" },
    FormatChoice {
        format: ExportFormat::Folders,
        title: "Images in a folder for each tag (your images a second time)",
    },
];

impl FormatChoice {
    /// Whether it is one of these.
    pub fn is_in(&self, chosen: &[ExportFormat]) -> bool {
        chosen.contains(&self.format)
    }
}

/// No format but the archive's own.
pub const NO_FORMATS: &[ExportFormat] = &[];

/// How far an archive has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// It is being written.
    Running,
    /// It can be downloaded.
    Ready,
    /// It could not be written.
    Failed,
    /// It was deleted when its time was over.
    Expired,
}

/// An archive.
#[derive(Clone, Debug)]
pub struct ExportView {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub state: ExportState,
    /// Items written so far.
    pub done: Count,
    /// Items to write.
    pub total: Count,
    /// Its size, once it is ready.
    pub bytes: Option<Bytes>,
    /// SHA-256 in hexadecimal, once it is ready.
    pub sha256: Option<String>,
    /// The formats that were asked for.
    pub formats: Vec<ExportFormat>,
    /// The age public key for whose holder it is sealed.
    pub recipient: Option<String>,
    /// Whether it is sealed with a passphrase.
    pub with_passphrase: bool,
    /// When it was asked for: what it holds is as of then.
    pub created: Option<Moment>,
    /// Until when it can be downloaded.
    pub expires: Option<Moment>,
}

impl ExportView {
    /// Makes it of the engine's report.
    pub fn new(report: &ExportReport, now: Timestamp) -> ExportView {
        let expires = Moment::parse(&report.expires, now);
        let state = match report.status.as_str() {
            _ if expires.is_some_and(|expires| expires.is_past()) => ExportState::Expired,
            "ready" => ExportState::Ready,
            "failed" => ExportState::Failed,
            _ => ExportState::Running,
        };
        ExportView {
            id: report.id.clone(),
            state,
            done: Count(report.done),
            total: Count(report.total),
            bytes: report.bytes.map(Bytes),
            sha256: report.sha256.clone(),
            formats: report.formats.clone(),
            recipient: report.recipient.clone(),
            with_passphrase: report.with_passphrase,
            created: Moment::parse(&report.created, now),
            expires,
        }
    }

    /// Whether it is being written.
    pub fn is_running(&self) -> bool {
        self.state == ExportState::Running
    }

    /// Whether it can be downloaded.
    pub fn is_ready(&self) -> bool {
        self.state == ExportState::Ready
    }
}
