//! Metrics as `azureml-core` 1.61 has them (`/metric/v2.0`).

use std::collections::{BTreeMap, VecDeque};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use habeas_access::Permission;
use habeas_core::kinds::{RunMetric, RunMetricDoc};
use habeas_core::metric::MetricPoint;
use habeas_core::{AttrKey, Error, Id, Node, Timestamp};
use habeas_store::{Page, Store};
use serde_json::{Map, Value, json};

use super::answers::{self, SCALAR};
use super::call::{Call, read_time};
use super::experiments::Which;
use super::values::{self, Logged};
use super::{optional_text, runs};
use crate::data_services::{Result, envelope};
use crate::runs::{DATA_CONTAINER, milliseconds, number, run_name};

/// The most metrics of a batch.
const BATCH: usize = 10_000;
/// Points that are read at a time.
const CHUNK: u32 = 10_000;
/// The type of a metric that is a table.
const TABLE: &str = "azureml.v1.table";

/// POST `runs/ID/batch`: what of it cannot be read is told, and the rest is logged.
pub(super) async fn batch(call: Call) -> Result<Response> {
    let sent = call.body.get("values").and_then(Value::as_array);
    let sent = sent.ok_or_else(|| Error::invalid("`values` is not a list of metrics"))?;
    if sent.len() > BATCH {
        return Err(Error::invalid(format!("a batch has at most {BATCH} metrics")).into());
    }
    let ambient = call.app.store().ambient();
    let (mut logged, mut errors) = (Vec::new(), Vec::new());
    for metric in sent {
        match Logged::read(metric, ambient) {
            Ok(metric) => logged.push(metric),
            Err(error) => errors.push(json!({ "metric": metric, "errorResponse": envelope(&error) })),
        }
    }
    log(&call, logged).await?;
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(json!({ "errors": errors }))).into_response())
}

/// Logs to the run of the address.
pub(super) async fn log(call: &Call, logged: Vec<Logged>) -> Result<()> {
    let (place, which, id) = (call.place(), Which::of(call), call.part("run_id").to_owned());
    Ok(call
        .write(move |tx| {
            let (_, run) = runs::find(tx, &place, &which, &id, Permission::Write)?;
            values::store(tx, place.person, &run, &logged)
        })
        .await?)
}

/// POST `runs/ID/list`: the metrics of a run with their columns. All are in the namespace without a name: in any other there are none.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let is_elsewhere = optional_text(&call.body, "metricNamespace")?.is_some_and(|name| !name.is_empty());
    let (place, id) = (call.place(), call.part("run_id").to_owned());
    let found = call
        .app
        .store()
        .read(move |tx| {
            let (_, run) = runs::find(tx, &place, &Which::Default, &id, Permission::Read)?;
            let mut found: BTreeMap<String, Columns> = BTreeMap::new();
            if is_elsewhere {
                return Ok(found);
            }
            for metric in tx.latest_metrics(run.id)? {
                found.insert(metric.name.clone(), scalar_columns(&metric.name));
            }
            for metric in tx.children::<RunMetric>(run.id, Page::ALL)? {
                found.entry(metric.doc.name).or_default().extend(metric.doc.columns);
            }
            Ok(found)
        })
        .await?;
    let found: Vec<Value> = found
        .into_iter()
        .map(|(name, columns)| json!({ "metricKey": { "namespace": "", "name": name }, "columns": columns }))
        .collect();
    Ok(Json(json!({ "value": found, "continuationToken": null })))
}

fn scalar_columns(name: &str) -> Columns {
    BTreeMap::from([(name.to_owned(), "Double".to_owned())])
}

/// The times between which values are wanted, in microseconds, both ends included.
#[derive(Clone, Copy, Debug)]
struct Between(i64, i64);

impl Between {
    fn holds(self, time: i64) -> bool {
        (self.0..=self.1).contains(&time)
    }
}

/// POST `runs/ID/full`: all values of a metric. `maxPoints`, which Azure's clients do not send, asks for so many of a number's values, evenly
/// spread.
pub(super) async fn full(call: Call) -> Result<Response> {
    let name = optional_text(&call.body, "metricName")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::invalid("`metricName` is missing"))?;
    let time = |field: &str, otherwise: i64| match optional_text(&call.body, field)? {
        None => Ok(otherwise),
        Some(text) => read_time(&text)
            .map(|time| time.0)
            .ok_or_else(|| Error::invalid(format!("`{field}` is not a time"))),
    };
    let between = Between(time("startTime", i64::MIN)?, time("endTime", i64::MAX)?);
    let most = match call.body.get("maxPoints") {
        None | Some(Value::Null) => None,
        Some(most) => Some(
            most.as_u64()
                .filter(|most| (1..=100_000).contains(most))
                .and_then(|most| usize::try_from(most).ok())
                .ok_or_else(|| Error::invalid("`maxPoints` is not a number from 1 to 100000"))?,
        ),
    };
    let (place, id, wanted) = (call.place(), call.part("run_id").to_owned(), name.clone());
    let (run, numbers, others) = call
        .app
        .store()
        .read(move |tx| {
            let (_, run) = runs::find(tx, &place, &Which::Default, &id, Permission::Read)?;
            let series = tx.metric_series(run.id, &wanted)?;
            let points = tx.metric_history(run.id, &wanted, None, CHUNK)?;
            let others = tx.children_by_text::<RunMetric>(run.id, AttrKey::MetricName, &wanted)?;
            Ok((run, series.map(|series| (series, points)), others))
        })
        .await?;
    if numbers.is_none() && others.is_empty() {
        return Err(Error::not_found("the run has no such metric").into());
    }
    let mut columns = if numbers.is_some() { scalar_columns(&name) } else { BTreeMap::new() };
    for metric in &others {
        columns.extend(metric.doc.columns.clone());
    }
    // Numbers among other values of their name are cells of a column, or of a table.
    let sort = match others.first().map(|other| other.doc.metric_type.as_str()) {
        Some(sort) if numbers.is_none() || sort == TABLE => sort,
        _ => SCALAR,
    };
    let mut head = json!({
        "dataContainerId": format!("{DATA_CONTAINER}{}", run_name(&run)),
        "name": name,
        "columns": columns,
        "properties": { "uxMetricType": sort },
        "continuationToken": null,
    });
    let table = (sort == TABLE).then_some(columns);
    let mut values = values_of(&others, between, table.as_ref());
    let Some((number, points)) = numbers else {
        head["value"] = values.into_iter().map(|(_, value)| value).collect();
        return Ok(Json(head).into_response());
    };
    values.sort_by_key(|(time, _)| *time);
    let series = Series { store: call.app.store().clone(), run: run.id, number, name, between, table };
    match most {
        None => Ok(series.stream(&head, points, values.into())),
        Some(most) => Ok(Json(series.sample(head, points, values.into(), most).await?).into_response()),
    }
}

/// The columns of a metric with their types.
type Columns = BTreeMap<String, String>;

/// Values of a metric that are no points of a series, with their times in milliseconds.
type Others = VecDeque<(i64, Value)>;

/// What calls logged that are no numbers, in the order of the calls. Rows of a table get all its columns.
fn values_of(metrics: &[Node<RunMetricDoc>], between: Between, table: Option<&Columns>) -> Vec<(i64, Value)> {
    let values = metrics.iter().flat_map(|metric| &metric.doc.values);
    values
        .filter(|value| between.holds(value.time))
        .map(|value| {
            let mut value = value.clone();
            if let Some(columns) = table {
                fill(&mut value.data, columns);
            }
            (milliseconds(Timestamp(value.time)), answers::value(&value))
        })
        .collect()
}

/// Every row of a table gets every column: `azureml-core` refuses a table with a row that lacks one, and turns numbers' cells into floats.
fn fill(row: &mut Map<String, Value>, columns: &Columns) {
    for (column, sort) in columns {
        if row.get(column).is_none_or(Value::is_null) {
            let is_float = matches!(sort.to_lowercase().as_str(), "float" | "double");
            row.insert(column.clone(), if is_float { json!("NaN") } else { Value::Null });
        }
    }
}

/// A metric that is a number, at least at times.
#[derive(Clone)]
struct Series {
    store: Store,
    run: Id,
    /// The random number of the series.
    number: i64,
    name: String,
    between: Between,
    /// The columns of the table among whose rows the points are.
    table: Option<Columns>,
}

impl Series {
    fn holds(&self, point: &MetricPoint) -> bool {
        let Between(from, to) = self.between;
        (milliseconds(Timestamp(from))..=milliseconds(Timestamp(to))).contains(&point.time)
    }

    fn value(&self, point: &MetricPoint) -> Value {
        let mut data = Map::from_iter([(self.name.clone(), number(point.value))]);
        if let Some(columns) = &self.table {
            fill(&mut data, columns);
        }
        json!({
            "metricId": answers::scalar_id(self.run, self.number, point),
            "createdUtc": answers::time(point.time),
            "step": point.step,
            "data": data,
        })
    }

    /// The values of points, with those of the others before each that come before it.
    fn values(&self, points: &[MetricPoint], others: &mut Others) -> Vec<Value> {
        let mut values = Vec::with_capacity(points.len());
        for point in points {
            while let Some((_, other)) = others.pop_front_if(|(time, _)| *time < point.time) {
                values.push(other);
            }
            values.push(self.value(point));
        }
        values
    }

    /// The points after those that are read already, as many as are read at a time.
    async fn next(&self, points: &[MetricPoint]) -> habeas_core::Result<Vec<MetricPoint>> {
        if points.len() < CHUNK as usize {
            return Ok(Vec::new());
        }
        let (run, name, after) = (self.run, self.name.clone(), points.last().copied());
        self.store.read(move |tx| tx.metric_history(run, &name, after, CHUNK)).await
    }

    /// All points, of which `first` are read already, with the other values among them; further points are read while these are sent.
    fn stream(self, head: &Value, first: Vec<MetricPoint>, others: Others) -> Response {
        let mut text = head.to_string();
        text.truncate(text.len() - 1);
        text.push_str(",\"value\":[");
        let begun = (Some(first), others, text, true);
        let pieces = stream::try_unfold(begun, move |(points, mut others, mut text, mut is_first)| {
            let series = self.clone();
            async move {
                let Some(points) = points else { return Ok(None) };
                let next = series.next(&points).await?;
                let points: Vec<MetricPoint> =
                    points.into_iter().filter(|point| series.holds(point)).collect();
                let mut values = series.values(&points, &mut others);
                if next.is_empty() {
                    values.extend(others.drain(..).map(|(_, value)| value));
                }
                for value in values {
                    if !is_first {
                        text.push(',');
                    }
                    is_first = false;
                    text.push_str(&value.to_string());
                }
                let next = if next.is_empty() {
                    text.push_str("]}");
                    None
                } else {
                    Some(next)
                };
                Ok::<_, Error>(Some((Bytes::from(text), (next, others, String::new(), is_first))))
            }
        });
        ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
    }

    /// At most `most` points, evenly spread, with the first and the last, and all other values. Holds no more than twice as many points.
    async fn sample(
        &self,
        mut head: Value,
        first: Vec<MetricPoint>,
        mut others: Others,
        most: usize,
    ) -> habeas_core::Result<Value> {
        let (mut sample, mut points) = (Sample::new(most), first);
        while !points.is_empty() {
            points.iter().filter(|point| self.holds(point)).for_each(|point| sample.add(*point));
            points = self.next(&points).await?;
        }
        let mut values = self.values(&sample.finish(), &mut others);
        values.extend(others.into_iter().map(|(_, value)| value));
        head["value"] = Value::Array(values);
        Ok(head)
    }
}

/// Evenly spread points of a series whose length is not known before its end: every second one is dropped whenever there are twice as many as
/// are wanted.
struct Sample {
    most: usize,
    kept: Vec<MetricPoint>,
    /// One of so many points is kept.
    every: usize,
    seen: usize,
    last: Option<MetricPoint>,
}

impl Sample {
    fn new(most: usize) -> Sample {
        Sample { most, kept: Vec::new(), every: 1, seen: 0, last: None }
    }

    fn add(&mut self, point: MetricPoint) {
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(point);
            if self.kept.len() >= 2 * self.most.max(2) {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.every *= 2;
            }
        }
        self.seen += 1;
        self.last = Some(point);
    }

    fn finish(mut self) -> Vec<MetricPoint> {
        if self.kept.last() != self.last.as_ref() {
            self.kept.extend(self.last);
        }
        let count = self.kept.len();
        if count <= self.most {
            return self.kept;
        }
        if self.most == 1 {
            self.kept.truncate(1);
            return self.kept;
        }
        (0..self.most).map(|index| self.kept[index * (count - 1) / (self.most - 1)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_has_both_ends_and_no_more_than_asked_for(count in 1_i64..5_000, most in 1_usize..50) {
            let mut sample = Sample::new(most);
            (0..count).for_each(|step| sample.add(MetricPoint { time: 0, step, value: 0.0 }));
            let steps: Vec<i64> = sample.finish().iter().map(|point| point.step).collect();
            prop_assert!(steps.len() <= most && (steps.len() == most || steps.len() as i64 <= count));
            prop_assert_eq!(steps[0], 0);
            if most > 1 {
                prop_assert_eq!(*steps.last().unwrap(), count - 1);
            }
            prop_assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
            // Gaps differ by no more than a factor.
            if steps.len() > 2 {
                let gaps: Vec<i64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
                prop_assert!(*gaps.iter().max().unwrap() <= 4 * gaps.iter().min().unwrap().max(&1) + 4);
            }
        }
    }
}
