//! The protocols: one module each, thin over the rights engine and the tree. They never import each other.

pub mod app;
pub mod archive;
pub mod arm;
mod artifact_files;
pub mod artifacts;
pub mod blob_host;
pub mod caller;
pub mod custom_vision;
pub mod data_services;
mod deletion;
pub mod delivery;
pub mod discovery;
mod file_address;
pub mod graph;
mod image_bytes;
pub mod import;
pub mod mlflow;
pub mod model_management;
mod notifications;
pub mod oauth;
pub mod opendsr;
mod percent;
pub mod privacy;
mod provenance;
pub mod run_history;
mod runs;
pub mod scope;
mod search;
pub mod stream;
mod workspaces;

pub use app::App;
