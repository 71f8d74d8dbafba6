//! The kinds of data that the server keeps, a file for each service.

mod custom_vision;
mod holds;
mod identity;
mod images;
mod imported;
mod installation;
mod learning;
mod rights;
mod telemetry;

pub use custom_vision::{
    Account, AccountDoc, KeyPair, Project, ProjectDoc, ProjectStatus, Tag, TagDoc, TagType,
};
pub use holds::{Hold, HoldDoc};
pub use identity::{
    AccountType, Credential, CredentialDoc, GUEST_HOURS, Organisation, OrganisationDoc, Person, PersonDoc,
    Token, TokenDoc, TokenPurpose,
};
pub use images::{Image, ImageDoc, KeptImage, Region};
pub use imported::{ImportedModel, ImportedPerformance, ImportedTagPerformance};
pub use installation::{Installation, InstallationDoc, Task, TaskDoc};
pub use learning::{
    BaseModel, Iteration, IterationDoc, IterationStatus, IterationTag, ModelExport, ModelExportDoc,
    ModelExportState, ModelState, PREDICTION_DAYS, ScoredTag, StoredPrediction, StoredPredictionDoc,
    Suggestion, SuggestionDoc, TrainedModel, TrainingType, scored_json,
};
pub use rights::{ARCHIVE_DAYS, ExportArchive, ExportArchiveDoc, ExportState, Receipt, ReceiptDoc};
pub use telemetry::{RETENTION_DAYS as TELEMETRY_DAYS, Telemetry, TelemetryDoc, TelemetryEntry};
