//! The kinds of data that the server keeps, a file for each service.

mod custom_vision;
mod identity;
mod images;
mod imported;
mod installation;
mod learning;
mod model_registry;
mod rights;
mod telemetry;
mod tracking;

pub use custom_vision::{
    Account, AccountDoc, KeyPair, Project, ProjectDoc, ProjectStatus, Tag, TagDoc, TagType,
};
pub use identity::{
    AccountType, ClientName, ClientNameDoc, Credential, CredentialDoc, Organisation, OrganisationDoc, Person,
    PersonDoc, Token, TokenDoc, TokenPurpose,
};
pub use images::{Image, ImageDoc, KeptImage, Region};
pub use imported::{ImportedModel, ImportedPerformance, ImportedTagPerformance};
pub use installation::{Installation, InstallationDoc, Task, TaskDoc};
pub use learning::{
    BaseModel, Iteration, IterationDoc, IterationStatus, IterationTag, ModelExport, ModelExportDoc,
    ModelExportState, ModelState, PREDICTION_DAYS, ScoredTag, StoredPrediction, StoredPredictionDoc,
    Suggestion, SuggestionDoc, TrainedModel, TrainingType, scored_json,
};
pub use model_registry::{
    LoggedModel, LoggedModelDoc, LoggedModelStatus, ModelStage, ModelVersion, ModelVersionDoc,
    RegisteredModel, RegisteredModelDoc,
};
pub use rights::{ARCHIVE_DAYS, ExportArchive, ExportArchiveDoc, ExportState, Receipt, ReceiptDoc};
pub use telemetry::{RETENTION_DAYS as TELEMETRY_DAYS, Telemetry, TelemetryDoc, TelemetryEntry};
pub use tracking::{
    Artifact, ArtifactDoc, DatasetInput, DatasetInputDoc, Experiment, ExperimentDoc, LifecycleStage,
    ModelOutput, Run, RunDoc, RunStatus, Workspace, WorkspaceDoc,
};
