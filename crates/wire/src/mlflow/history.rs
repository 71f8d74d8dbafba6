//! The history of a run's metrics.

use std::fmt::Write as _;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use habeas_access::Permission;
use habeas_core::metric::MetricPoint;
use habeas_core::{Error, Id, Result as CoreResult};
use habeas_store::Store;
use serde_json::{Value, json};

use super::answers;
use super::arguments::missing;
use super::call::Call;
use super::errors::Result;
use super::search;
use super::workspace::find_run;

/// The most points of a metric on a page, and how many are read at a time.
const HISTORY: u32 = 25_000;
/// The most points of each run that a sampled history has, and the most runs.
const SAMPLED: u32 = 2_500;
const SAMPLED_RUNS: usize = 100;

/// `getMetricHistory`, in the order of time, step and value: a page, or all of it when no `max_results` is sent.
pub(super) async fn history(call: Call) -> Result<Response> {
    let text = call.arguments.run_id()?.to_owned();
    let name = call.arguments.required("metric_key")?.to_owned();
    let is_whole = call.arguments.get("max_results").is_none();
    let limit = call.arguments.max_results(HISTORY, HISTORY)?;
    let after = call.arguments.text("page_token")?.filter(|token| !token.is_empty());
    let after = after.map(point_of_token).transpose()?;
    let (actor, workspace, key) = (call.actor, call.workspace, name.clone());
    let (run, mut points) = call
        .app
        .store()
        .read(move |tx| {
            let node = find_run(tx, &actor, workspace, &text, Permission::Read)?;
            Ok((node.id, tx.metric_history(node.id, &key, after, limit + 1)?))
        })
        .await?;
    let more = points.len() > limit as usize;
    points.truncate(limit as usize);
    if is_whole && more {
        return Ok(whole(call.app.store().clone(), run, name, points));
    }
    let next = points.last().filter(|_| more).map(token_of_point);
    let points = points.iter().map(|point| answers::metric(&name, point)).collect();
    Ok(Json(answers::page("metrics", points, next)).into_response())
}

/// All points, of which `first` are read already; the others are read while these are sent.
fn whole(store: Store, run: Id, name: String, first: Vec<MetricPoint>) -> Response {
    let begun = (Some(first), String::from("{\"metrics\":["));
    let pieces = stream::try_unfold(begun, move |(points, mut text)| {
        let (store, name) = (store.clone(), name.clone());
        async move {
            let Some(points) = points else { return Ok(None) };
            let key = json!(name);
            for point in &points {
                let value = answers::number(point.value);
                // Writing to a string does not fail.
                let _ = write!(
                    text,
                    "{{\"key\":{key},\"value\":{value},\"timestamp\":{},\"step\":{}}},",
                    point.time, point.step
                );
            }
            let after = points.last().copied();
            let next = if points.len() < HISTORY as usize {
                Vec::new()
            } else {
                store.read(move |tx| tx.metric_history(run, &name, after, HISTORY)).await?
            };
            if next.is_empty() {
                // Without the comma after the last point.
                text.truncate(text.trim_end_matches(',').len());
                text.push_str("]}");
                return Ok::<_, Error>(Some((Bytes::from(text), (None, String::new()))));
            }
            Ok(Some((Bytes::from(text), (Some(next), String::new()))))
        }
    });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

fn token_of_point(point: &MetricPoint) -> String {
    search::token(&json!([point.time, point.step, habeas_core::metric::ordered(point.value)]))
}

fn point_of_token(token: &str) -> CoreResult<MetricPoint> {
    let value = search::read_token(token)?;
    let part = |index: usize| value.get(index).and_then(Value::as_i64).ok_or_else(search::bad_token);
    Ok(MetricPoint { time: part(0)?, step: part(1)?, value: habeas_core::metric::from_ordered(part(2)?) })
}

/// `getMetricHistoryBulkInterval`: of each run at most so many points, evenly spread over the steps, the first and last among them.
pub(super) async fn sampled_history(call: Call) -> Result<Json<Value>> {
    let runs: Vec<String> = call.arguments.texts("run_ids")?.into_iter().map(str::to_owned).collect();
    if runs.is_empty() {
        return Err(missing("run_ids").into());
    }
    if runs.len() > SAMPLED_RUNS {
        return Err(Error::invalid(format!(
            "GetMetricHistoryBulkInterval request must specify at most {SAMPLED_RUNS} run_ids. Received {} run_ids.",
            runs.len()
        ))
        .into());
    }
    let name = call.arguments.required("metric_key")?.to_owned();
    let most = call.arguments.max_results(SAMPLED, SAMPLED)? as usize;
    let steps = match (call.arguments.integer("start_step")?, call.arguments.integer("end_step")?) {
        (None, None) => None,
        (Some(start), Some(end)) if start <= end => Some(start..=end),
        (Some(start), Some(end)) => {
            return Err(Error::invalid(format!(
                "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
            ))
            .into());
        }
        _ => {
            return Err(Error::invalid(
                "If either start step or end step are specified, both start step and end step must be specified.",
            )
            .into());
        }
    };
    let (actor, workspace) = (call.actor, call.workspace);
    let mut found = Vec::new();
    for text in runs {
        let (key, wanted) = (name.clone(), text.clone());
        let mut points = call
            .app
            .store()
            .read(move |tx| {
                let node = find_run(tx, &actor, workspace, &wanted, Permission::Read)?;
                tx.metric_history(node.id, &key, None, u32::MAX)
            })
            .await?;
        if let Some(steps) = &steps {
            points.retain(|point| steps.contains(&point.step));
        }
        points.sort_by_key(|point| (point.step, point.time));
        found.extend(sampled(&points, most).into_iter().map(|point| {
            let mut value = answers::metric(&name, &point);
            value["run_id"] = json!(text);
            value
        }));
    }
    Ok(Json(answers::page("metrics", found, None)))
}

/// `metrics/get-history-bulk`, which upstream's pages ask: the first points of several runs, these in the order of their ids.
pub(super) async fn bulk_history(call: Call) -> Result<Json<Value>> {
    let mut runs: Vec<String> = call.arguments.texts("run_id")?.into_iter().map(str::to_owned).collect();
    if runs.is_empty() {
        return Err(Error::invalid("GetMetricHistoryBulk request must specify at least one run_id.").into());
    }
    if runs.len() > SAMPLED_RUNS {
        return Err(Error::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {SAMPLED_RUNS} run_ids. Received {} run_ids.",
            runs.len()
        ))
        .into());
    }
    let Some(name) = call.arguments.text("metric_key")?.map(str::to_owned) else {
        return Err(Error::invalid("GetMetricHistoryBulk request must specify a metric_key.").into());
    };
    let most = call.arguments.integer("max_results")?.unwrap_or(HISTORY.into()).clamp(0, HISTORY.into());
    let most = usize::try_from(most).unwrap_or_default();
    let (actor, workspace) = (call.actor, call.workspace);
    runs.sort_unstable();
    let found = call.app.store().read(move |tx| {
        let mut found: Vec<Value> = Vec::new();
        for text in &runs {
            let node = find_run(tx, &actor, workspace, text, Permission::Read)?;
            let left = u32::try_from(most - found.len()).unwrap_or(HISTORY);
            found.extend(tx.metric_history(node.id, &name, None, left)?.iter().map(|point| {
                let mut value = answers::metric(&name, point);
                value["run_id"] = json!(text);
                value
            }));
        }
        Ok(found)
    });
    Ok(Json(json!({ "metrics": found.await? })))
}

/// At most `most` points, evenly spread, with the first and the last.
fn sampled(points: &[MetricPoint], most: usize) -> Vec<MetricPoint> {
    if points.len() <= most {
        return points.to_vec();
    }
    if most == 1 {
        return points[..1].to_vec();
    }
    (0..most).map(|index| points[index * (points.len() - 1) / (most - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_both_ends() {
        let points: Vec<MetricPoint> =
            (0..100).map(|step| MetricPoint { time: 0, step, value: 0.0 }).collect();
        let steps: Vec<i64> = sampled(&points, 4).iter().map(|point| point.step).collect();
        assert_eq!(steps, [0, 33, 66, 99]);
        assert_eq!(sampled(&points, 1).len(), 1);
        assert_eq!(sampled(&points, 200).len(), 100);
    }
}
