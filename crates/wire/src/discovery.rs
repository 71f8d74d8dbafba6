//! Where services are: what `azureml-core` asks before it signs in (`ARM_CLOUD_METADATA_URL`), and what it asks of a workspace.

use axum::extract::{Request, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::App;
use crate::blob_host::BlobHost;
use crate::caller::base_address;

/// The name of this cloud, which `AZUREML_CURRENT_CLOUD` repeats.
pub const CLOUD: &str = "Habeas";

/// The routes, which anybody may call.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/metadata/endpoints", get(endpoints))
        .route("/discovery", get(services))
        .with_state(app)
}

fn base(app: &App, request: &Request) -> String {
    base_address(request.headers(), app.public_address.as_deref(), app.tls)
}

/// The clouds there are: this one. `azureml-core` fails where one of these names is missing, though most of what they name is not here.
async fn endpoints(State(app): State<App>, request: Request) -> Json<Value> {
    let base = base(&app, &request);
    let host = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    Json(json!([{
        "name": CLOUD,
        "portal": base,
        "authentication": {
            "loginEndpoint": format!("{base}/"),
            "audiences": [format!("{base}/")],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "media": base,
        "graphAudience": format!("{base}/"),
        "graph": format!("{base}/"),
        // The client joins paths to it without a slash of its own.
        "resourceManager": format!("{base}/"),
        "sqlManagement": base,
        "batch": base,
        "gallery": base,
        "vmImageAliasDoc": base,
        "activeDirectoryDataLake": base,
        "suffixes": {
            // By which `azureml-mlflow` knows the addresses of files.
            "storage": BlobHost::of(&app, request.headers()).suffix(),
            "keyVaultDns": host,
            "sqlServerHostname": host,
            "acrLoginServer": host,
            "azureDataLakeStoreFileSystem": host,
            "azureDataLakeAnalyticsCatalogAndJob": host,
        },
    }]))
}

/// The services of a workspace: all of them are here.
async fn services(State(app): State<App>, request: Request) -> Json<Value> {
    const SERVICES: [&str; 11] = [
        "api",
        "catalog",
        "experimentation",
        "gallery",
        "history",
        "hyperdrive",
        "labeling",
        "modelmanagement",
        "pipelines",
        "studio",
        "studiocoreservices",
    ];
    let base = base(&app, &request);
    Json(SERVICES.iter().map(|service| ((*service).to_owned(), json!(base))).collect())
}
