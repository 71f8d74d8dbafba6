//! Azure ML's services beside run history, as `azureml-core` 0.1.50 to 1.61 and `azureml-mlflow` call them: artifacts with the blob endpoint
//! they are sent to, assets, snapshots, datastores, and notifications.
//!
//! Sources: the clients' generated layers, the requests that they were seen to send, and Azure Storage's REST reference for the blob
//! endpoint. Artifacts are MLflow's: what is sent by one protocol is listed and fetched by the other.

mod appending;
mod assets;
mod blobs;
mod blocks;
mod call;
mod container;
mod datastores;
mod files;
mod flat_snapshots;
mod forms;
mod ingest;
mod notices;
mod places;
mod snapshots;
mod spelling;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use axum::{Json, Router};
use serde_json::json;

use crate::App;
use crate::blob_host::PREFIX;
use crate::caller::named;
use crate::data_services::{Failure, correlate, refused, unknown};
use crate::file_address::{ARCHIVES, CONTAINER};
use crate::scope::SCOPES;
pub use blobs::Failure as StorageFailure;
pub use blocks::Blocks;
pub use spelling::normalise;

/// The largest request with a JSON body: the tree of a snapshot.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// The routes, whose literals are in lower case: mind [`normalise`], [`crate::scope::normalise`] and [`crate::blob_host::route`].
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .route(
            "/artifact/v1.0/workspaces/{workspace}",
            named::<Failure>(&app, "Artifact_DeleteAllInWorkspace", delete(files::delete_workspace)),
        )
        .merge(about("/content/v1.0/meta"))
        .merge(about("/datastore/v1.0/meta"));
    for scope in SCOPES {
        for version in ["v1.0", "v2.0"] {
            router = router
                .nest(&format!("/artifact/{version}{scope}"), artifacts(&app).merge(assets(&app)))
                .nest(&format!("/content/{version}{scope}"), snapshots(&app));
        }
        router = router
            .nest(&format!("/history/v1.0{scope}"), run_artifacts(&app))
            .nest(&format!("/datastore/v1.0{scope}"), datastores(&app))
            .nest(&format!("/notification/v1.0{scope}"), notifications(&app));
    }
    for service in ["artifact", "content", "datastore", "notification"] {
        router = router.route(&format!("/{service}/{{*rest}}"), any(unknown));
    }
    router
        .method_not_allowed_fallback(refused)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .merge(stored())
        .layer(from_fn_with_state(app.clone(), correlate))
        .with_state(app)
}

/// What clients ask to see whether a service is there.
fn about(prefix: &str) -> Router<App> {
    Router::new()
        .route(&format!("{prefix}/ping"), get(|| async { Json(json!({})) }))
        .route(&format!("{prefix}/alive"), get(|| async { Json(json!({})) }))
        .route(
            &format!("{prefix}/version"),
            get(|| async {
                Json(json!({ "name": "habeas", "version": env!("CARGO_PKG_VERSION"), "properties": {} }))
            }),
        )
}

fn artifacts(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let list = || on("Artifact_ListInContainer", get(files::list));
    let list_in_path = || on("Artifact_ListInPath", get(files::list));
    let prefix = || on("Artifact_ListSasByPrefix", get(files::contents));
    Router::new()
        .route("/artifacts/metadata", on("Artifact_Create", post(files::create)))
        .route(
            "/artifacts/metadata/{origin}/{container}/{*path}",
            on("Artifact_Get", get(files::show)).merge(on("Artifact_DeleteMetaData", delete(files::delete))),
        )
        .route("/artifacts/origins/{origin}/containers/{container}", list())
        .route("/artifacts/origins/{origin}/containers/{container}/{*path}", list_in_path())
        // As 1.61 has them.
        .route("/artifacts/{origin}/{container}", list())
        .route("/artifacts/{origin}/{container}/{*path}", list_in_path())
        .route(
            "/artifacts/content/{origin}/{container}/{*path}",
            on("Artifact_Download", get(files::download)).merge(
                // Streamed to disk, whatever its size.
                on("Artifact_Upload", post(files::upload)).layer(DefaultBodyLimit::disable()),
            ),
        )
        .route(
            "/artifacts/contentinfo/{origin}/{container}/{*path}",
            on("Artifact_GetContentInformation", get(files::content)),
        )
        // As `azureml-mlflow` has them, with the path in the query.
        .route(
            "/artifacts/{origin}/{container}/contentinfo",
            on("Artifact_GetContentInformation", get(files::content)),
        )
        .route(
            "/artifacts/{origin}/{container}/batch/metadata",
            on("Artifact_BatchCreateEmptyArtifacts", post(files::announce)),
        )
        .route(
            "/artifacts/write/{origin}/{container}/{*path}",
            on("Artifact_GetWriteSas", get(files::write_address)),
        )
        .route("/artifacts/prefix/contentinfo/{origin}/{container}", prefix())
        .route("/artifacts/prefix/contentinfo/{origin}/{container}/{*path}", prefix())
        .route(
            "/artifacts/batch/metadata/{origin}/{container}",
            on("Artifact_BatchCreateEmptyArtifacts", post(files::announce)),
        )
        .route(
            "/artifacts/batch/ingest/containersas/{origin}/{container}",
            on("Artifact_BatchIngestFromSas", post(ingest::ingest)),
        )
        .route(
            "/artifacts/batch/{origin}/{container}",
            on("Artifact_DeleteMetaDataInContainer", delete(files::delete_container)),
        )
}

fn assets(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new()
        .route(
            "/artifacts/asset/{origin}/{container}/{*path}",
            on("Artifact_UpsertAsset", put(assets::upsert))
                .merge(on("Artifact_CreateNewAsset", post(assets::create))),
        )
        .route("/assets", on("Artifact_GetAssets", get(assets::list)))
        .route("/assets/name/{name}", on("Artifact_GetAssetByName", get(assets::show)))
        .route("/assets/id/{id}", on("Artifact_GetAssetById", get(assets::show)))
        .route(
            "/assets/name/{name}/versions",
            on("Artifact_GetAssetVersionsByAssetName", get(assets::versions)),
        )
        .route("/assets/id/{id}/versions", on("Artifact_GetAssetVersionsByAssetId", get(assets::versions)))
        .route(
            "/assets/name/{name}/versions/{version}",
            on("Artifact_GetSingleAssetVersionByAssetName", get(assets::version)),
        )
        .route(
            "/assets/id/{id}/versions/{version}",
            on("Artifact_GetSingleAssetVersionByAssetId", get(assets::version)),
        )
}

/// A run's files at its own address: directly, and below its experiment, which says nothing more.
fn run_artifacts(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let mut router = Router::new();
    for run in
        ["/runs/{run}", "/experiments/{experiment}/runs/{run}", "/experimentids/{experiment}/runs/{run}"]
    {
        let at = |rest: &str| format!("{run}/{rest}");
        router = router
            .route(&at("artifacts"), on("RunArtifact_ListInContainer", get(files::list)))
            .route(&at("artifacturi"), on("RunArtifact_GetSasUri", get(files::address)))
            .route(
                &at("artifacts/batch/metadata"),
                on("RunArtifact_BatchCreateEmptyArtifacts", post(files::announce)),
            );
        // `azureml-core` has paths in the address, `azureml-mlflow` in the query.
        for path in ["", "/{*path}"] {
            let at = |rest: &str| format!("{run}/artifacts/{rest}{path}");
            router = router
                .route(&at("path"), on("RunArtifact_ListInPath", get(files::list)))
                .route(&at("metadata"), on("RunArtifact_GetById", get(files::show)))
                .route(&at("artifacturi"), on("RunArtifact_GetSasUri", get(files::address)))
                .route(&at("contentinfo"), on("RunArtifact_GetContentInformation", get(files::content)))
                .route(&at("prefix/contentinfo"), on("RunArtifact_ListSasByPrefix", get(files::contents)));
        }
    }
    router
}

fn snapshots(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new()
        .route("/snapshots/latest/metadata", on("Snapshot_GetLatestSnapshot", get(snapshots::latest)))
        .route("/snapshots/getblob", on("Snapshot_GetBlob", post(snapshots::announce)))
        .route(
            "/snapshots/diff",
            on("Snapshot_GetSnapshotDiff", get(snapshots::difference))
                .merge(on("Snapshot_SnapshotDiffConstruction", post(flat_snapshots::difference))),
        )
        .route(
            "/snapshots/uri/{snapshot}",
            on("Snapshot_CreateFromUri", post(snapshots::create_from_repository)),
        )
        .route(
            "/snapshots/{snapshot}",
            on("Snapshot_GetSnapshotFilesZipSas", get(snapshots::archive))
                // A form is streamed to disk, whatever its size.
                .merge(
                    on("Snapshot_CreateSnapshot", post(snapshots::create)).layer(DefaultBodyLimit::disable()),
                )
                .merge(on("Snapshot_DeleteSnapshot", delete(snapshots::delete))),
        )
        .route("/snapshots/{snapshot}/metadata", on("Snapshot_GetSnapshotMetadata", get(snapshots::metadata)))
        .route(
            "/snapshots/{snapshot}/fileslocation",
            on("Snapshot_GetSnapshotFilesZipLocation", get(snapshots::archive)),
        )
        .route("/snapshots/{snapshot}/zip", on("Snapshot_BuildZip", post(snapshots::build_archive)))
        .route("/snapshots/{snapshot}/sas", on("Snapshot_GetSasUrls", get(snapshots::addresses)))
        .route("/snapshots/{snapshot}/storageurls", on("Snapshot_GetStorageUrls", get(snapshots::addresses)))
}

fn datastores(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new()
        .route(
            "/datastores",
            on("DataStore_List", get(datastores::list))
                .merge(on("DataStore_Create", post(datastores::create)))
                .merge(on("DataStore_DeleteAll", delete(datastores::delete_all))),
        )
        .route(
            "/datastores/{name}",
            on("DataStore_Get", get(datastores::get))
                .merge(on("DataStore_Update", put(datastores::update)))
                .merge(on("DataStore_Delete", delete(datastores::delete))),
        )
        .route("/default", on("DataStore_GetDefault", get(datastores::get_default)))
        .route("/default/{name}", on("DataStore_SetDefault", put(datastores::set_default)))
}

fn notifications(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let mut router = Router::new();
    for list in ["/users/{user}/jobs", "/tasks"] {
        router = router.route(
            list,
            on("Notification_List", get(notices::list))
                .merge(on("Notification_DeleteAll", delete(notices::delete))),
        );
    }
    router.route("/users/{user}/jobs/{job}", on("Notification_Delete", delete(notices::delete))).route(
        "/tasks/{job}",
        on("Notification_Get", get(notices::show)).merge(on("Notification_Delete", delete(notices::delete))),
    )
}

/// The blob endpoint.
fn stored() -> Router<App> {
    Router::new()
        .route(&format!("{PREFIX}/{CONTAINER}/{ARCHIVES}/{{snapshot}}"), get(snapshots::download))
        .route(&format!("{PREFIX}/{CONTAINER}/{{owner}}/{{*path}}"), get(blobs::get).put(blobs::put))
}
