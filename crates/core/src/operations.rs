//! What operations on a whole deployment report: backup, restore, doctor.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A backup that was made or verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// When it was made.
    pub created: String,
    /// Rows of all tables.
    pub rows: u64,
    /// Files of the object store.
    pub blobs: u64,
    /// Bytes of these files, sealed.
    pub bytes: u64,
    /// Where the ledger stood.
    pub ledger_position: u64,
}

/// A backup that was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// Rows that were brought back.
    pub rows: u64,
    /// Files that were brought back.
    pub blobs: u64,
    /// Resources that were erased after the backup was made, and so deleted again.
    pub erased: u64,
    /// Resources that cannot be read any more, because their container got a new key after the backup was made.
    pub unreadable: u64,
}

/// The state of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// What was checked.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// `ok`, `warn` or `fail`.
    pub status: String,
    /// What was found.
    pub detail: String,
}
