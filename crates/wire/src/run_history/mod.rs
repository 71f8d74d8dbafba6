//! Run history, experiments and metrics (`/history/v1.0`, `/metric/v2.0`): as `azureml-core` 0.1 of 2018 has them, below projects, and as
//! 1.61 has them, below workspaces. Runs and experiments are MLflow's.
//!
//! Source: the operations and models in the generated layers of both releases, and what their clients send. Literals are matched in any
//! case: mind [`normalise`].

mod answers;
mod call;
mod datasets;
mod events;
mod experiments;
mod filter;
mod listing;
mod log_files;
mod merging;
mod metrics;
mod run_lists;
mod run_metrics;
mod runs;
mod source_snapshots;
mod values;

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use habeas_core::{Error, Result};
use serde_json::Value;

use crate::App;
use crate::caller::named;
use crate::data_services::{Failure, correlate, refused, unknown};
use crate::scope::SCOPES;

/// The largest request: a batch of metrics, or a run definition.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// The routes.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for scope in SCOPES {
        router = router
            .nest(&format!("/history/v1.0{scope}"), history(&app))
            .nest(&format!("/metric/v2.0{scope}"), numbers(&app));
    }
    router
        .route("/history/{*rest}", any(unknown))
        .route("/metric/{*rest}", any(unknown))
        .method_not_allowed_fallback(refused)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(app.clone(), correlate))
        .with_state(app)
}

fn numbers(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new()
        .route("/runs/{run_id}/batch", on("Metric_PostRunMetrics", post(metrics::batch)))
        .route("/runs/{run_id}/list", on("Metric_ListMetrics", post(metrics::list)))
        .route("/runs/{run_id}/full", on("Metric_GetFullFidelity", post(metrics::full)))
}

fn history(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    let mut router = Router::new()
        .route("/experiments", on("Experiment_List", get(experiments::list)))
        .route("/experiments:query", on("Experiment_GetByQuery", post(experiments::list)))
        .route(
            "/experiments/{experiment_name}",
            on("Experiment_Get", get(experiments::show))
                .merge(on("Experiment_Create", post(experiments::create))),
        )
        .route(
            "/experimentids/{experiment_id}",
            on("Experiment_GetById", get(experiments::show))
                .merge(on("Experiment_Update", patch(experiments::update)))
                .merge(on("Experiment_Delete", delete(experiments::delete))),
        )
        .route(
            "/experimentids/{experiment_id}/tags:delete",
            on("Experiment_DeleteTags", post(experiments::delete_tags)),
        )
        .route("/computes/{compute_name}/runs", on("Run_ListByCompute", get(run_lists::list)))
        // The shapes of 2018, without an experiment.
        .route(
            "/runs",
            on("LegacyRun_List", get(run_lists::list))
                .merge(on("LegacyRun_Create", post(runs::create_or_modify)))
                .merge(on("LegacyRun_AddOrModify", patch(runs::create_or_modify))),
        )
        .route("/runs:runcounts", on("LegacyRun_GetCounts", get(run_lists::counts)))
        .route(
            "/runs/{run_id}",
            on("Run_GetWorkspaceRun", get(runs::show))
                .merge(on("LegacyRun_Update", put(runs::modify)))
                .merge(on("LegacyRun_Patch", patch(runs::modify)))
                .merge(on("Run_Delete", delete(runs::delete))),
        )
        .route(
            "/runs/{run_id}/childruns",
            on("LegacyRun_GetChild", get(run_lists::list))
                .merge(on("LegacyRun_CreateChild", post(runs::create_child))),
        )
        .route("/runs/{run_id}/token", on("LegacyRun_GetToken", get(runs::token)))
        .route("/runs/{run_id}/runstatus", on("LegacyRun_GetStatus", get(runs::details)))
        .route("/runmetrics", on("LegacyRunmetric_List", get(run_metrics::list)))
        .route("/runmetrics/{metric_id}", on("LegacyRunmetric_Get", get(run_metrics::show)))
        .route("/runs/{run_id}/runmetrics", on("LegacyRunmetric_Post", post(run_metrics::post)))
        .route(
            "/runs/{run_id}/events",
            on("LegacyEvents_List", get(events::list)).merge(on("LegacyEvents_Post", post(events::post))),
        );
    for experiment in ["/experiments/{experiment_name}", "/experimentids/{experiment_id}"] {
        router = router.nest(experiment, of_experiment(app));
    }
    router
}

fn of_experiment(app: &App) -> Router<App> {
    let on = |name: &'static str, route: MethodRouter<App>| named::<Failure>(app, name, route);
    Router::new()
        .route(
            "/runs",
            on("Run_List", get(run_lists::list)).merge(on("Run_DeleteByFilter", delete(run_lists::delete))),
        )
        .route("/runs:query", on("Run_GetByQuery", post(run_lists::list)))
        .route("/runcounts", on("Run_GetCounts", get(run_lists::counts)))
        .route("/batch/runs", on("Run_BatchAddOrModify", patch(runs::batch)))
        .route("/batch/events", on("Events_BatchPost", post(events::batch)))
        .route("/metrics", on("RunMetric_List", get(run_metrics::list)))
        .route("/metrics:query", on("RunMetric_GetByQuery", post(run_metrics::list)))
        .route("/metrics/{metric_id}", on("RunMetric_Get", get(run_metrics::show)))
        .route(
            "/runs/{run_id}",
            on("Run_Get", get(runs::show))
                .merge(on("Run_Patch", patch(runs::patch)))
                .merge(on("Run_Update", put(runs::modify)))
                .merge(on("Run_Delete", delete(runs::delete))),
        )
        .route("/runs/{run_id}/children", on("Run_GetChild", get(run_lists::list)))
        .route("/runs/{run_id}/details", on("Run_GetDetails", get(runs::details)))
        .route("/runs/{run_id}/token", on("Run_GetToken", get(runs::token)))
        .route("/runs/{run_id}/tags", on("Run_DeleteTags", delete(runs::delete_tags)))
        .route("/runs/{run_id}/metrics", on("RunMetric_Post", post(run_metrics::post)))
        .route("/runs/{run_id}/batch/metrics", on("RunMetric_PostBatch", post(run_metrics::batch)))
        .route("/runs/{run_id}/metricsingest/wait", on("RunMetric_WaitOnIngest", get(run_metrics::wait)))
        .route(
            "/runs/{run_id}/events",
            on("Events_List", get(events::list)).merge(on("Events_Post", post(events::post))),
        )
}

/// A text of a JSON object that may be absent.
fn optional_text(body: &Value, name: &str) -> Result<Option<String>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::invalid(format!("`{name}` is not a text"))),
    }
}

/// Texts by their names. `run.tag(name)` sends null for a tag without a value.
fn text_map(body: &Value, name: &str) -> Result<BTreeMap<String, String>> {
    let invalid = || Error::invalid(format!("`{name}` is not an object of texts"));
    let map = match body.get(name) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(invalid()),
    };
    map.iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            Value::Null => Ok((key.clone(), String::new())),
            Value::Bool(_) | Value::Number(_) => Ok((key.clone(), value.to_string())),
            Value::Array(_) | Value::Object(_) => Err(invalid()),
        })
        .collect()
}

/// Brings the literals after the scope of an address of run history or metrics into lower case, and leaves names as they are. The scope is
/// in its spelling already.
pub fn normalise<B>(mut request: Request<B>) -> Request<B> {
    if let Some(path) = spelled(request.uri().path()) {
        let uri = match request.uri().query() {
            Some(query) => format!("{path}?{query}").parse::<Uri>(),
            None => path.parse(),
        };
        // What was a valid address is one still.
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn spelled(path: &str) -> Option<String> {
    if !path.starts_with("/history/") && !path.starts_with("/metric/") {
        return None;
    }
    let segments: Vec<&str> = path.split('/').collect();
    // An empty one, the service, its version, then the scope: `subscriptions/ID/resourcegroups/GROUP/providers/NAMESPACE`, and its rest.
    let mut at = 9;
    while matches!(segments.get(at), Some(&("accounts" | "workspaces" | "projects"))) {
        at += 2;
    }
    let (scope, rest) = segments.split_at_checked(at)?;
    let mut out: Vec<String> = scope.iter().map(|segment| (*segment).to_owned()).collect();
    let (mut is_name, mut in_batch) = (false, false);
    for (index, segment) in rest.iter().enumerate() {
        if is_name {
            out.push((*segment).to_owned());
            is_name = false;
            continue;
        }
        let literal = segment.to_lowercase();
        // `batch/runs` is a list, `runs/NAME` a run.
        is_name = !in_batch
            && matches!(
                literal.as_str(),
                "experiments" | "experimentids" | "runs" | "runmetrics" | "metrics" | "computes"
            );
        in_batch = literal == "batch";
        let is_files = literal == "artifacts";
        out.push(literal);
        if is_files {
            out.extend(rest[index + 1..].iter().map(|segment| (*segment).to_owned()));
            break;
        }
    }
    Some(out.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str =
        "/subscriptions/A1/resourcegroups/G/providers/microsoft.machinelearningservices/workspaces/Ws";

    #[test]
    fn literals_are_matched_in_any_case_and_names_keep_theirs() {
        for (sent, routed) in [
            ("/Experiments/Runs/runs:Query", "/experiments/Runs/runs:query"),
            ("/experimentIds/A/Runs/R1/Events", "/experimentids/A/runs/R1/events"),
            ("/Experiments/X/Batch/Runs", "/experiments/X/batch/runs"),
            ("/experiments/X/runs/R/Batch/Metrics", "/experiments/X/runs/R/batch/metrics"),
            ("/experiments/X/runs/R/MetricsIngest/Wait", "/experiments/X/runs/R/metricsingest/wait"),
            ("/Runs/R/ArtifactUri", "/runs/R/artifacturi"),
            ("/runs/R/Artifacts/Path/Outputs/A", "/runs/R/artifacts/Path/Outputs/A"),
            ("/Projects", "/projects"),
        ] {
            let path = |rest: &str| format!("/history/v1.0{SCOPE}{rest}");
            assert_eq!(spelled(&path(sent)), Some(path(routed)));
        }
        assert_eq!(
            spelled(&format!("/history/v1.0{SCOPE}/projects/P1/Runs/R1")),
            Some(format!("/history/v1.0{SCOPE}/projects/P1/runs/R1"))
        );
        assert_eq!(spelled("/History/x"), None);
        assert_eq!(spelled("/history/v1.0/x"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics(text in "(/[a-zA-Z:.]{0,8}|/runs|/batch|/artifacts){0,16}") {
            let _ = spelled(&format!("/history{text}"));
            let _ = spelled(&format!("/metric/v2.0{SCOPE}{text}"));
        }
    }
}
