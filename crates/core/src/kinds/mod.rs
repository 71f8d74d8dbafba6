//! The kinds of data that the server keeps, a file for each service.

mod custom_vision;
mod identity;
mod installation;
mod rights;
mod telemetry;

pub use custom_vision::{
    Account, AccountDoc, Image, ImageDoc, KeyPair, Project, ProjectDoc, Region, Tag, TagDoc, TagType,
};
pub use identity::{
    AccountType, Credential, CredentialDoc, Organisation, OrganisationDoc, Person, PersonDoc, Token,
    TokenDoc, TokenPurpose,
};
pub use installation::{Installation, InstallationDoc, Task, TaskDoc};
pub use rights::{ARCHIVE_DAYS, ExportArchive, ExportArchiveDoc, ExportState, Receipt, ReceiptDoc};
pub use telemetry::{RETENTION_DAYS as TELEMETRY_DAYS, Telemetry, TelemetryDoc, TelemetryEntry};
