//! The kinds of data that the server keeps, a file for each service.

mod azure_content;
mod compute;
mod custom_vision;
mod dataset_input;
mod experimentation;
mod holds;
mod identity;
mod images;
mod imported;
mod installation;
mod learning;
mod model_management;
mod model_registry;
mod notifications;
mod predictions;
mod recipients;
mod requests;
mod rights;
mod run_head;
mod run_history;
mod sign_in;
mod telemetry;
mod tracking;

pub use azure_content::{
    Asset, AssetDoc, AssetFile, AssetVersion, Datastore, DatastoreDoc, Snapshot, SnapshotDoc,
};
pub use compute::{
    Compute, ComputeDoc, HostingAccount, HostingAccountDoc, HostingSku, OperationalizationCluster,
    OperationalizationClusterDoc, ProvisioningState,
};
pub use custom_vision::{
    Account, AccountDoc, KeyPair, Project, ProjectDoc, ProjectStatus, Tag, TagDoc, TagType,
};
pub use dataset_input::{DatasetInput, DatasetInputDoc, take_login_name};
pub use experimentation::{
    ExperimentationAccount, ExperimentationAccountDoc, ExperimentationProject, ExperimentationProjectDoc,
    ExperimentationWorkspace, ExperimentationWorkspaceDoc,
};
pub use holds::{Hold, HoldDoc};
pub use identity::{
    AccountType, ClientName, ClientNameDoc, Credential, CredentialDoc, GUEST_HOURS, Organisation,
    OrganisationDoc, Person, PersonDoc, Token, TokenDoc, TokenPurpose,
};
pub use images::{Image, ImageDoc, KeptImage, Region, metadata_name, metadata_part, metadata_parts};
pub use imported::{ImportedModel, ImportedPerformance, ImportedTagPerformance, ImportedWeights};
pub use installation::{Installation, InstallationDoc, Task, TaskDoc};
pub use learning::{
    BaseModel, Iteration, IterationDoc, IterationStatus, IterationTag, ModelExport, ModelExportDoc,
    ModelExportState, ModelState, TrainedModel, TrainingType,
};
pub use model_management::{
    AssetArtifact, ContainerImage, ContainerImageDoc, Manifest, ManifestDoc, ModelAsset, ModelAssetDoc,
    Service, ServiceDoc, ServiceVersion, Settings,
};
pub use model_registry::{
    LoggedModel, LoggedModelDoc, LoggedModelStatus, ModelStage, ModelVersion, ModelVersionDoc,
    RegisteredModel, RegisteredModelDoc,
};
pub use notifications::{NOTIFICATION_DAYS, Notification, NotificationDoc};
pub use predictions::{
    PREDICTION_DAYS, ScoredTag, StoredPrediction, StoredPredictionDoc, Suggestion, SuggestionDoc,
    scored_json, uncertainty,
};
pub use recipients::{Recipient, RecipientDoc};
pub use requests::{
    ArchiveDelivery, CaseFile, CaseFileDoc, Decisions, DeliveryState, PlannedErasure, PlannedKind,
    REQUEST_DAYS, Request, RequestAddress, RequestComment, RequestDoc, RequestHistory, Successor,
};
pub use rights::{
    ARCHIVE_DAYS, ExportArchive, ExportArchiveDoc, ExportFormat, ExportState, Receipt, ReceiptDoc,
};
pub use run_head::{RunHead, Text, Texts};
pub use run_history::{
    RunDetails, RunEvent, RunEventDoc, RunMetric, RunMetricDoc, RunMetricValue, RunStatus,
};
pub use sign_in::{
    AuthorizationCode, AuthorizationCodeDoc, DeviceCode, DeviceCodeDoc, DeviceDecision, GRANT_DAYS,
    OAuthClient, OAuthClientDoc, OAuthGrant, OAuthGrantDoc,
};
pub use telemetry::{RETENTION_DAYS as TELEMETRY_DAYS, Telemetry, TelemetryDoc, TelemetryEntry};
pub use tracking::{
    Artifact, ArtifactDoc, AzureResource, Experiment, ExperimentDoc, LifecycleStage, ModelOutput, Run,
    RunDoc, SOURCE_SNAPSHOT, Workspace, WorkspaceDoc,
};
