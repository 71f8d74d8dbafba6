//! What operators watch: health, readiness, version, metrics; and the layers that every request passes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use habeas_core::Error;
use habeas_wire::App;
use habeas_wire::caller::RequestId;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::json;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name under which Azure's clients look for the id of a request.
const MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// What is counted. Labels are route templates and status classes: nothing of a person.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    disk: DiskReserve,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    route: String,
    class: u16,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> std::fmt::Result {
        use prometheus_client::encoding::EncodeLabel as _;
        ("route", self.route.as_str()).encode(encoder.encode_label())?;
        ("status", format!("{}xx", self.class).as_str()).encode(encoder.encode_label())
    }
}

fn buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
}

impl Metrics {
    pub(crate) fn new(disk: DiskReserve) -> Metrics {
        let mut registry = Registry::with_prefix("habeas");
        let requests = Family::<Labels, Counter>::default();
        registry.register("requests", "Requests answered", requests.clone());
        let seconds = Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(buckets);
        registry.register("request_seconds", "Seconds until the head of the answer", seconds.clone());
        Metrics { registry: Arc::new(registry), requests, seconds, disk }
    }
}

/// The disk that uploads must leave free.
#[derive(Clone, Debug)]
pub(crate) struct DiskReserve {
    pub(crate) folder: Arc<std::path::Path>,
    pub(crate) bytes: u64,
}

impl DiskReserve {
    fn is_reached(&self) -> bool {
        // When the file system cannot be asked, writing itself will tell.
        rustix::fs::statvfs(&*self.folder)
            .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < self.bytes)
    }
}

/// Health, readiness, version and metrics.
pub(crate) fn routes(app: App, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(app))
        .route(
            // `/version` is MLflow's.
            "/versionz",
            get(|| async { axum::Json(json!({ "name": "habeas", "version": env!("CARGO_PKG_VERSION") })) }),
        )
        .route("/metrics", get(show).with_state(metrics))
}

async fn ready(State(app): State<App>) -> Response {
    let database = app.store().read(|tx| tx.next_due().map(|_| ())).await;
    let storage = app.store().blobs().exists(habeas_core::Id::NIL).await;
    match database.and(storage.map(|_| ())) {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", error.what)).into_response()
        }
    }
}

async fn show(State(metrics): State<Metrics>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether a route is part of erasing something: that is what a full disk needs, and what nobody may be kept from.
fn frees_space(route: &str) -> bool {
    ["/erasure", "/erase", "/sign-in", "/sign-out"].iter().any(|part| route.contains(part))
}

/// What is asked by POST and only reads, since its arguments come in a body or its answer has secrets: how a route begins, and how it ends.
const READS: [(&str, &str); 25] = [
    ("/history/", ":query"),
    ("/metric/", "/list"),
    ("/metric/", "/full"),
    ("/content/", "/snapshots/diff"),
    ("/content/", "/zip"),
    ("/subscriptions/", "/listkeys"),
    ("/subscriptions/", "/listnodes"),
    ("/subscriptions/", "/diagnose"),
    ("/subscriptions/", "/checknameavailability"),
    ("/subscriptions/", "/checkupdate"),
    ("/subscriptions/", "/checksystemservicesupdatesavailable"),
    ("/api/subscriptions/", "/models/list"),
    ("/api/subscriptions/", "/services/list"),
    ("/api/subscriptions/", "/listkeys"),
    ("/api/subscriptions/", "/token"),
    ("/modelmanagement/", "/models/list"),
    ("/modelmanagement/", "/services/list"),
    ("/modelmanagement/", "/listkeys"),
    ("/modelmanagement/", "/token"),
    ("/api/v1/service/", "/score"),
    ("/customvision/", "/predictions/query"),
    ("/customvision/", "/images/suggested"),
    ("/customvision/", "/images/suggested/count"),
    ("/customvision/", "/regionproposals"),
    ("/customvision/", "/nostore"),
];

/// Whether a route only reads, whatever its method: searches, scores, keys that are shown.
fn only_reads(route: &str) -> bool {
    // MLflow's lie below several prefixes.
    let searches = ["/search", "/get-latest-versions"].iter().any(|search| route.ends_with(search));
    route.contains("/mlflow") && searches
        || READS.iter().any(|(service, operation)| route.starts_with(service) && route.ends_with(operation))
}

fn nearly_full(route: &str, disk: &DiskReserve) -> Response {
    let error = Error::unavailable("the server's disk is nearly full")
        .hint(format!("free some space, or lower disk-reserve-mb, now {}", disk.bytes / 1_000_000));
    if route.starts_with("/customvision/") {
        habeas_wire::custom_vision::errors::Failure(error).into_response()
    } else if route.contains("/mlflow") {
        habeas_wire::mlflow::Failure(error).into_response()
    } else if route.starts_with("/subscriptions") {
        habeas_wire::arm::Failure(error).into_response()
    } else if MODEL_MANAGEMENT.iter().any(|service| route.starts_with(service)) {
        habeas_wire::model_management::Failure::from(error).into_response()
    } else if DATA_SERVICES.iter().any(|service| route.starts_with(service)) {
        habeas_wire::data_services::Failure(error).into_response()
    } else if route.starts_with(habeas_wire::blob_host::PREFIX) {
        habeas_wire::artifacts::StorageFailure(error).into_response()
    } else if route.starts_with("/opendsr/") {
        habeas_wire::opendsr::Failure::from(error).into_response()
    } else if route.starts_with("/v1.0/") {
        habeas_wire::graph::Failure(error).into_response()
    } else {
        habeas_wire::privacy::Problem(error).into_response()
    }
}

/// Azure ML's services beside its control plane, which share an envelope of errors.
const DATA_SERVICES: [&str; 6] =
    ["/artifact/", "/content/", "/datastore/", "/history/", "/metric/", "/notification/"];

/// Model management in its three forms, and the services that answer from its models.
const MODEL_MANAGEMENT: [&str; 3] = ["/api/subscriptions/", "/modelmanagement/", "/api/v1/service/"];

/// Gives every request an id, counts it, and logs it by its route template.
pub(crate) async fn observe(
    State((metrics, app)): State<(Metrics, App)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = app.store().ambient().new_id();
    request.extensions_mut().insert(RequestId(id));
    let id = id.to_string();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let writes =
        matches!(method.as_str(), "POST" | "PUT" | "PATCH") && !frees_space(&route) && !only_reads(&route);
    let begun = app.store().ambient().now();
    let mut response = if writes && metrics.disk.is_reached() {
        nearly_full(&route, &metrics.disk)
    } else {
        next.run(request).await
    };
    let microseconds = app.store().ambient().now().0 - begun.0;
    let status = response.status().as_u16();
    let labels = Labels { route: route.clone(), class: status / 100 };
    metrics.requests.get_or_create(&labels).inc();
    metrics.seconds.get_or_create(&labels).observe(microseconds as f64 / 1e6);
    tracing::debug!(request = %id, %method, route, status, microseconds, "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(MS_REQUEST_ID, value);
    }
    response
}

/// How often telemetry is written.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);
