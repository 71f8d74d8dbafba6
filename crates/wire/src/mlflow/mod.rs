//! MLflow's tracking and registry API, as MLflow 3.17 speaks it and its older clients do.
//!
//! Source: MLflow's own service definition and server (`mlflow/protos`, `mlflow/server/handlers.py`, Apache-2.0). Every operation is
//! registered with the name MLflow gives it; that name stands in the caller's telemetry. What is not served answers 404
//! `ENDPOINT_NOT_FOUND`, as an older MLflow server would: clients fall back on it.

mod answers;
mod arguments;
mod artifacts;
mod call;
mod errors;
mod experiments;
mod filter;
mod history;
mod logged_models;
mod logging;
mod model_versions;
mod origins;
mod registered_models;
mod run_answers;
mod run_search;
mod runs;
mod search;
mod validation;
mod workspace;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use habeas_core::Error;

use crate::App;
use crate::caller::refuse_method;
use crate::scope::SCOPES;
use call::named;
pub use errors::Failure;
use errors::NO_OPERATION;

/// The largest request with a JSON body: a run's datasets with schema and profile.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// The prefixes below which MLflow serves its API: the documented one, and the one its web pages use.
const PREFIXES: [&str; 2] = ["/api", "/ajax-api"];

/// The version of MLflow whose API this is.
pub const VERSION: &str = "3.17.2";

/// The routes.
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/health", get(|| async { "OK" }))
        // As text, for MLflow's client and pages.
        .route("/version", get(|| async { VERSION }))
        .route("/api/3.0/mlflow/server-info", get(server_info))
        .merge(downloads(&app));
    for prefix in PREFIXES {
        for version in ["2.0", "3.0"] {
            router = router.nest(&format!("{prefix}/{version}/mlflow"), tracking(&app));
        }
        router = router.nest(&format!("{prefix}/2.0/mlflow-artifacts"), stored(&app));
    }
    for version in ["v1.0", "v2.0"] {
        for scope in SCOPES {
            let workspace = format!("/mlflow/{version}{scope}/api");
            for version in ["2.0", "3.0"] {
                router = router.nest(&format!("{workspace}/{version}/mlflow"), tracking(&app));
            }
            router = router.nest(&format!("{workspace}/2.0/mlflow-artifacts"), stored(&app));
        }
    }
    router
        .method_not_allowed_fallback(refuse_method::<Failure>)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(app)
}

/// What the server can do; asked without signing in.
async fn server_info() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
    }))
}

async fn unknown() -> axum::response::Response {
    Failure(Error::not_found("there is no such operation").code(NO_OPERATION)).into_response()
}

/// Where upstream's pages fetch files, below no prefix.
fn downloads(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named(app, name, route);
    Router::new().route("/get-artifact", on("getArtifact", get(artifacts::download_of_run))).route(
        "/model-versions/get-artifact",
        on("getModelVersionArtifact", get(artifacts::download_of_version)),
    )
}

fn tracking(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named(app, name, route);
    Router::new()
        .route("/experiments/create", on("createExperiment", post(experiments::create)))
        .route("/experiments/get", on("getExperiment", get(experiments::show)))
        .route("/experiments/get-by-name", on("getExperimentByName", get(experiments::by_name)))
        .route(
            "/experiments/search",
            on("searchExperiments", get(experiments::search).post(experiments::search)),
        )
        .route("/experiments/update", on("updateExperiment", post(experiments::update)))
        .route("/experiments/delete", on("deleteExperiment", post(experiments::delete)))
        .route("/experiments/restore", on("restoreExperiment", post(experiments::restore)))
        .route("/experiments/set-experiment-tag", on("setExperimentTag", post(experiments::set_tag)))
        .route("/experiments/delete-experiment-tag", on("deleteExperimentTag", post(experiments::delete_tag)))
        .route("/runs/create", on("createRun", post(runs::create)))
        .route("/runs/get", on("getRun", get(runs::show)))
        .route("/runs/update", on("updateRun", post(runs::update)))
        .route("/runs/delete", on("deleteRun", post(runs::delete)))
        .route("/runs/restore", on("restoreRun", post(runs::restore)))
        .route("/runs/set-tag", on("setTag", post(logging::set_tag)))
        .route("/runs/delete-tag", on("deleteTag", post(logging::delete_tag)))
        .route("/runs/log-metric", on("logMetric", post(logging::metric)))
        .route("/runs/log-parameter", on("logParam", post(logging::param)))
        .route("/runs/log-batch", on("logBatch", post(logging::batch)))
        .route("/runs/log-inputs", on("logInputs", post(logging::inputs)))
        .route("/runs/outputs", on("logOutputs", post(logging::outputs)))
        .route("/runs/log-model", on("logModel", post(logging::model)))
        .route("/runs/search", on("searchRuns", post(run_search::runs)))
        .route("/metrics/get-history", on("getMetricHistory", get(history::history)))
        .route(
            "/metrics/get-history-bulk-interval",
            on("getMetricHistoryBulkInterval", get(history::sampled_history)),
        )
        .route("/metrics/get-history-bulk", on("getMetricHistoryBulk", get(history::bulk_history)))
        .route("/artifacts/list", on("listArtifacts", get(artifacts::of_run)))
        .route("/logged-models", on("createLoggedModel", post(logged_models::create)))
        .route("/logged-models/search", on("searchLoggedModels", post(logged_models::search)))
        .route(
            "/logged-models/{model_id}",
            on("getLoggedModel", get(logged_models::show))
                .merge(on("finalizeLoggedModel", patch(logged_models::finalise)))
                .merge(on("deleteLoggedModel", delete(logged_models::delete))),
        )
        .route("/logged-models/{model_id}/params", on("logLoggedModelParams", post(logged_models::params)))
        .route("/logged-models/{model_id}/tags", on("setLoggedModelTags", patch(logged_models::set_tags)))
        .route(
            "/logged-models/{model_id}/tags/{tag_key}",
            on("deleteLoggedModelTag", delete(logged_models::delete_tag)),
        )
        .route(
            "/logged-models/{model_id}/artifacts/directories",
            on("listLoggedModelArtifacts", get(artifacts::of_model)),
        )
        .route(
            "/logged-models/{model_id}/artifacts/files",
            on("getLoggedModelArtifact", get(artifacts::download_of_model)),
        )
        .merge(registry(app))
        .fallback(unknown)
}

fn registry(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named(app, name, route);
    Router::new()
        .route("/registered-models/create", on("createRegisteredModel", post(registered_models::create)))
        .route("/registered-models/get", on("getRegisteredModel", get(registered_models::show)))
        .route("/registered-models/search", on("searchRegisteredModels", get(registered_models::search)))
        .route("/registered-models/rename", on("renameRegisteredModel", post(registered_models::rename)))
        .route("/registered-models/update", on("updateRegisteredModel", patch(registered_models::update)))
        .route("/registered-models/delete", on("deleteRegisteredModel", delete(registered_models::delete)))
        .route(
            "/registered-models/get-latest-versions",
            on("getLatestVersions", get(model_versions::latest).post(model_versions::latest)),
        )
        .route("/registered-models/set-tag", on("setRegisteredModelTag", post(registered_models::set_tag)))
        .route(
            "/registered-models/delete-tag",
            on("deleteRegisteredModelTag", delete(registered_models::delete_tag)),
        )
        .route(
            "/registered-models/alias",
            on("setRegisteredModelAlias", post(registered_models::set_alias))
                .merge(on("getModelVersionByAlias", get(registered_models::by_alias)))
                .merge(on("deleteRegisteredModelAlias", delete(registered_models::delete_alias))),
        )
        .route("/model-versions/create", on("createModelVersion", post(model_versions::create)))
        .route("/model-versions/get", on("getModelVersion", get(model_versions::show)))
        .route("/model-versions/search", on("searchModelVersions", get(model_versions::search)))
        .route("/model-versions/update", on("updateModelVersion", patch(model_versions::update)))
        .route(
            "/model-versions/transition-stage",
            on("transitionModelVersionStage", post(model_versions::transition)),
        )
        .route("/model-versions/delete", on("deleteModelVersion", delete(model_versions::delete)))
        .route(
            "/model-versions/get-download-uri",
            on("getModelVersionDownloadUri", get(model_versions::download_uri)),
        )
        .route("/model-versions/set-tag", on("setModelVersionTag", post(model_versions::set_tag)))
        .route("/model-versions/delete-tag", on("deleteModelVersionTag", delete(model_versions::delete_tag)))
}

fn stored(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named(app, name, route);
    Router::new()
        .route("/artifacts", on("listStoredArtifacts", get(artifacts::list)))
        .route(
            "/artifacts/{*path}",
            on("downloadArtifact", get(artifacts::download))
                // Artifacts are streamed to disk, whatever their size.
                .merge(on("uploadArtifact", put(artifacts::upload)).layer(DefaultBodyLimit::disable()))
                .merge(on("deleteArtifact", delete(artifacts::delete))),
        )
        .route("/mpu/{*path}", on("createMultipartUpload", post(artifacts::multipart)))
        .fallback(unknown)
}
