//! Metrics in the shape of 2018 (`RunMetricDto`), as `azureml-core` 0.1 logs and reads them and 1.61 still can (`/history/v1.0`).

use std::collections::BTreeSet;

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{LifecycleStage, Run, RunDoc, RunMetric, RunMetricDoc};
use habeas_core::metric::{MetricPoint, from_ordered, ordered};
use habeas_core::{AttrKey, Error, Id, Kind, Node, Result as CoreResult, Timestamp};
use habeas_store::{LatestMetric, Order, Page, Tx};
use serde_json::{Value, json};

use super::answers;
use super::call::{Call, Place};
use super::experiments::Which;
use super::filter::{Filter, Key, microseconds};
use super::listing::{Listing, METRICS, id_of, number_of, token};
use super::merging::{self, MOST_MERGED, Merging};
use super::metrics::log;
use super::run_lists::experiments;
use super::values::Logged;
use crate::data_services::Result;
use crate::runs::{find_run, run_name, shortened};
use crate::search::{Fact, Operand, Operator};

/// The most metrics of a batch.
const BATCH: usize = 10_000;
/// Points that are read at a time.
const CHUNK: u32 = 1_000;
/// Metrics that are no points, and can be long, that are read at a time.
const OTHERS: u64 = 100;

/// POST `runs/ID/metrics` (1.61) and `runs/ID/runmetrics` (2018).
pub(super) async fn post(call: Call) -> Result<Json<Value>> {
    let logged = Logged::read_cells(&call.body, call.app.store().ambient())?;
    log(&call, vec![logged]).await?;
    Ok(Json(json!({})))
}

/// POST `runs/ID/batch/metrics`: all of it or nothing.
pub(super) async fn batch(call: Call) -> Result<Json<Value>> {
    let sent = call.body.get("values").and_then(Value::as_array);
    let sent = sent.ok_or_else(|| Error::invalid("`values` is not a list of metrics"))?;
    if sent.len() > BATCH {
        return Err(Error::invalid(format!("a batch has at most {BATCH} metrics")).into());
    }
    let ambient = call.app.store().ambient();
    let logged =
        sent.iter().map(|metric| Logged::read_cells(metric, ambient)).collect::<CoreResult<Vec<_>>>()?;
    log(&call, logged).await?;
    Ok(Json(json!({})))
}

/// GET `runs/ID/metricsingest/wait`: what was acknowledged is there.
pub(super) async fn wait(call: Call) -> Result<Json<Value>> {
    let (place, which, id) = (call.place(), Which::of(&call), call.part("run_id").to_owned());
    call.app.store().read(move |tx| super::runs::find(tx, &place, &which, &id, Permission::Read)).await?;
    Ok(Json(json!({})))
}

/// GET `metrics/ID` (1.61) and `runmetrics/ID` (2018).
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (place, which, id) = (call.place(), Which::of(&call), call.part("metric_id").to_owned());
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let not_found = || Error::not_found(format!("there is no metric `{}`", shortened(&id)));
            let scope = place.find(tx, Permission::Read)?;
            let allowed = experiments(tx, &place, scope, &which)?;
            let is_shown = |run: &Node<RunDoc>| {
                run.doc.stage == LifecycleStage::Active
                    && run.parent.is_some_and(|experiment| allowed.contains(&experiment))
            };
            if let Some(metric) = tx.contained_by_text::<RunMetric>(scope, AttrKey::MetricId, &id)? {
                let run = tx.get::<Run>(metric.parent.unwrap_or(Id::NIL))?.filter(is_shown);
                let run = run.ok_or_else(not_found)?;
                return Ok(answers::metric(&run_name(&run), &metric.doc));
            }
            let (run, series, point) = place_of(&id).ok_or_else(not_found)?;
            let run = tx.get::<Run>(run)?.filter(is_shown).ok_or_else(not_found)?;
            let metrics = tx.latest_metrics(run.id)?;
            let metric = metrics.into_iter().find(|metric| metric.series == series).ok_or_else(not_found)?;
            let there = tx.metric_history(run.id, &metric.name, Some(before(point)), 1)?;
            let there = there.first().filter(|found| same(found, &point)).ok_or_else(not_found)?;
            Ok(answers::scalar(&run_name(&run), &id, &metric.name, there))
        })
        .await?;
    Ok(Json(answer))
}

/// Where a number stands, as [`answers::scalar_id`] says it.
fn place_of(id: &str) -> Option<(Id, i64, MetricPoint)> {
    let mut parts = id.split('-');
    let run = parts.next().and_then(crate::runs::parse)?;
    // Bits, since a negative number is written as its two's complement.
    let mut number =
        || parts.next().and_then(|text| u64::from_str_radix(text, 16).ok()).map(u64::cast_signed);
    let (series, time, step, value) = (number()?, number()?, number()?, number()?);
    Some((run, series, MetricPoint { time, step, value: from_ordered(value) }))
}

fn same(a: &MetricPoint, b: &MetricPoint) -> bool {
    a.recency() == b.recency()
}

/// A point that comes before this one and after all others.
fn before(point: MetricPoint) -> MetricPoint {
    MetricPoint { value: from_ordered(ordered(point.value).saturating_sub(1)), ..point }
}

/// What the runs are in the order of whose metrics are listed; those of a run are in the order in which they were logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunOrder {
    /// When they were made; as they come unless something is asked for.
    Made { newest_first: bool },
    /// How they are called. `azureml-core` 1.61 asks for this.
    Name { last_first: bool },
}

impl RunOrder {
    fn of(listing: &Listing) -> CoreResult<RunOrder> {
        match listing.order.as_slice() {
            [] => Ok(RunOrder::Made { newest_first: false }),
            [(key, descending)] if key.name == "CreatedUtc" => {
                Ok(RunOrder::Made { newest_first: *descending })
            }
            [(key, descending)] if key.name == "RunId" => Ok(RunOrder::Name { last_first: *descending }),
            _ => Err(Error::invalid("metrics are listed by run, in the order in which they were logged")
                .hint("order them by RunId or by CreatedUtc, or leave the order out")),
        }
    }

    fn sort(self, mut runs: Vec<Listed>) -> Vec<Id> {
        let is_reversed = match self {
            RunOrder::Made { newest_first } => {
                runs.sort_unstable_by_key(|run| (run.made, run.id));
                newest_first
            }
            RunOrder::Name { last_first } => {
                runs.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
                last_first
            }
        };
        if is_reversed {
            runs.reverse();
        }
        let mut ids: Vec<Id> = runs.into_iter().map(|run| run.id).collect();
        ids.dedup();
        ids
    }
}

/// A run whose metrics are listed.
struct Listed {
    made: Timestamp,
    id: Id,
    /// How it is called; empty where that is not asked for.
    name: String,
}

/// GET `metrics` (0.1.50), `runmetrics` (2018); POST `metrics:query` (1.61): by run.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (listing, merging) = (Listing::read(&call, &METRICS)?, Merging::read(&call)?);
    let order = RunOrder::of(&listing)?;
    let (place, which) = (call.place(), Which::of(&call));
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let allowed = experiments(tx, &place, scope, &which)?;
            let runs = order.sort(listed(tx, &place, scope, &allowed, &listing, order)?);
            let mut answer = Reader::new(&listing, merging).read(tx, &runs)?;
            if listing.count {
                let whole = Listing { token: None, ..listing.clone() };
                answer["count"] = json!(Reader::new(&whole, merging).count(tx, &runs)?);
            }
            Ok(answer)
        })
        .await?;
    Ok(Json(answer))
}

/// The runs that the filter can be about.
fn listed(
    tx: &mut Tx<'_>,
    place: &Place,
    scope: Id,
    allowed: &[Id],
    listing: &Listing,
    order: RunOrder,
) -> CoreResult<Vec<Listed>> {
    let mut runs = Vec::new();
    let of = |run: &Node<RunDoc>| Listed { made: run.created_at, id: run.id, name: run_name(run) };
    match only(&listing.filter, "RunId") {
        Some(names) => {
            for name in names {
                match find_run(tx, &place.actor, scope, name, Permission::Read) {
                    Ok(run) if run.parent.is_some_and(|id| allowed.contains(&id)) => runs.push(of(&run)),
                    Err(error) if error.kind != habeas_core::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        None => {
            for experiment in allowed {
                for (made, id) in tx.children_ids(*experiment, Kind::Run)? {
                    match order {
                        RunOrder::Made { .. } => runs.push(Listed { made, id, name: String::new() }),
                        RunOrder::Name { .. } => runs.extend(tx.get::<Run>(id)?.as_ref().map(of)),
                    }
                }
            }
        }
    }
    Ok(runs)
}

/// The values one of which an attribute must have, if the filter says so.
fn only<'a>(filter: &'a Filter, name: &str) -> Option<BTreeSet<&'a str>> {
    match filter {
        Filter::Is(comparison) if comparison.key.name == name && comparison.operator == Operator::Equal => {
            match &comparison.operand {
                Operand::Text(text) => Some(BTreeSet::from([text.as_str()])),
                _ => None,
            }
        }
        Filter::Is(_) => None,
        Filter::All(parts) => parts.iter().find_map(|part| only(part, name)),
        Filter::Any(parts) => {
            let parts = parts.iter().map(|part| only(part, name)).collect::<Option<Vec<_>>>()?;
            Some(parts.into_iter().flatten().collect())
        }
    }
}

/// Reads metrics of runs, until a page is full.
struct Reader<'a> {
    listing: &'a Listing,
    merging: Merging,
    found: Vec<Value>,
    /// How many values were found.
    values: usize,
    /// How many there were on the pages before, where all are counted; none where the first full page is the answer.
    counted: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(listing: &'a Listing, merging: Merging) -> Reader<'a> {
        Reader { listing, merging, found: Vec::new(), values: 0, counted: None }
    }

    /// How many there are on all pages together. Holds one of them at a time.
    fn count(mut self, tx: &mut Tx<'_>, runs: &[Id]) -> CoreResult<usize> {
        self.counted = Some(0);
        for id in runs {
            if let Some(run) = tx.get::<Run>(*id)?.filter(|run| run.doc.stage == LifecycleStage::Active) {
                self.run(tx, &run, None)?;
            }
        }
        Ok(self.counted.unwrap_or_default() + self.found.len())
    }

    fn read(mut self, tx: &mut Tx<'_>, runs: &[Id]) -> CoreResult<Value> {
        let resume = match &self.listing.token {
            Some(token) => Some((id_of(token, "run")?, token.clone())),
            None => None,
        };
        let start = match &resume {
            Some((run, _)) => runs.iter().position(|id| id == run).unwrap_or(runs.len()),
            None => 0,
        };
        for id in &runs[start..] {
            let Some(run) = tx.get::<Run>(*id)? else { continue };
            if run.doc.stage != LifecycleStage::Active {
                continue;
            }
            let from = resume.as_ref().filter(|(resumed, _)| resumed == id).map(|(_, token)| token);
            if let Some(next) = self.run(tx, &run, from)? {
                return Ok(json!({ "value": self.found, "continuationToken": token(&next) }));
            }
        }
        Ok(json!({ "value": self.found, "continuationToken": null }))
    }

    /// The metrics of a run after the place of a token; where to go on when the page is full.
    fn run(
        &mut self,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        from: Option<&Value>,
    ) -> CoreResult<Option<Value>> {
        let name = run_name(run);
        let after_series = match from {
            Some(from) if from.get("series").is_some() => {
                let point = MetricPoint {
                    time: number_of(from, "time")?,
                    step: number_of(from, "step")?,
                    value: from_ordered(number_of(from, "value")?),
                };
                Some((number_of(from, "series")?, point))
            }
            _ => None,
        };
        if from.is_none() || after_series.is_some() {
            let mut metrics = tx.latest_metrics(run.id)?;
            metrics.sort_by_key(|metric| metric.series);
            for metric in metrics {
                let after = match after_series {
                    Some((series, _)) if metric.series < series => continue,
                    Some((series, point)) if metric.series == series => Some(point),
                    _ => None,
                };
                if let Some(next) = self.points(tx, run, &name, &metric, after)? {
                    return Ok(Some(next));
                }
            }
        }
        let (start, skip) = match from {
            Some(from) if after_series.is_none() => {
                let place = |name: &str| -> CoreResult<u64> {
                    Ok(u64::try_from(number_of(from, name)?).unwrap_or_default())
                };
                (place("others")?, if from.get("merged").is_some() { place("merged")? } else { 0 })
            }
            _ => (0, 0),
        };
        match self.merging {
            Merging::ToVector => self.others_merged(tx, run, &name, start, skip),
            Merging::Apart => self.others(tx, run, &name, start),
        }
    }

    /// The metrics that are no series of numbers, from a place in the order in which they were logged.
    fn others(
        &mut self,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        name: &str,
        mut start: u64,
    ) -> CoreResult<Option<Value>> {
        loop {
            let metrics = others_from(tx, run.id, start)?;
            let is_last = (metrics.len() as u64) < OTHERS;
            for metric in metrics {
                self.turns();
                if self.is_full() {
                    return Ok(Some(json!({ "run": run.id, "others": start })));
                }
                start += 1;
                let metric = answers::metric(name, &metric.doc);
                if self.holds(&metric) {
                    self.found.push(metric);
                }
            }
            if is_last {
                return Ok(None);
            }
        }
    }

    /// The same merged: of as many as fit in one answer (a stretch) at a time, so that a page reads no more than a stretch from its beginning.
    /// `skip` of the first stretch were on the page before. What is logged meanwhile comes after what is there: a place stays one.
    fn others_merged(
        &mut self,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        name: &str,
        mut start: u64,
        mut skip: u64,
    ) -> CoreResult<Option<Value>> {
        loop {
            let (metrics, next) = self.stretch(tx, run, name, start)?;
            let merged = merging::merged(metrics.into_iter());
            for (index, metric) in (0..).zip(merged).filter(|(index, _)| *index >= skip) {
                self.turns();
                if self.is_full() {
                    return Ok(Some(json!({ "run": run.id, "others": start, "merged": index })));
                }
                self.values += metric["cells"].as_array().map_or(0, Vec::len);
                self.found.push(metric);
            }
            match next {
                Some(next) => (start, skip) = (next, 0),
                None => return Ok(None),
            }
        }
    }

    /// The metrics from a place on until they have [`MOST_MERGED`] values together, and where those after them begin.
    fn stretch(
        &self,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        name: &str,
        mut start: u64,
    ) -> CoreResult<(Vec<Value>, Option<u64>)> {
        let (mut found, mut values) = (Vec::new(), 0);
        loop {
            let metrics = others_from(tx, run.id, start)?;
            let is_last = (metrics.len() as u64) < OTHERS;
            for metric in metrics {
                if values >= MOST_MERGED {
                    return Ok((found, Some(start)));
                }
                start += 1;
                let shown = answers::metric(name, &metric.doc);
                if self.holds(&shown) {
                    values += metric.doc.values.len();
                    found.push(shown);
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
    }

    fn points(
        &mut self,
        tx: &mut Tx<'_>,
        run: &Node<RunDoc>,
        name: &str,
        metric: &LatestMetric,
        mut after: Option<MetricPoint>,
    ) -> CoreResult<Option<Value>> {
        // Where the vector of the series is, once it has begun.
        let mut vector: Option<usize> = None;
        loop {
            let points = tx.metric_history(run.id, &metric.name, after, CHUNK)?;
            for point in &points {
                let goes_on = vector.is_some() && self.values < MOST_MERGED;
                if !goes_on && self.turns() {
                    vector = None;
                }
                if !goes_on && self.is_full() {
                    let at = after.unwrap_or(MetricPoint { time: i64::MIN, step: i64::MIN, value: 0.0 });
                    return Ok(Some(json!({
                        "run": run.id, "series": metric.series, "time": at.time, "step": at.step,
                        "value": ordered(at.value),
                    })));
                }
                let id = answers::scalar_id(run.id, metric.series, point);
                let scalar = answers::scalar(name, &id, &metric.name, point);
                if self.holds(&scalar) {
                    self.values += 1;
                    match vector {
                        Some(at) => merging::extend(&mut self.found[at], scalar),
                        None => {
                            vector = (self.merging == Merging::ToVector).then_some(self.found.len());
                            self.found.push(scalar);
                        }
                    }
                }
                after = Some(*point);
            }
            if points.len() < CHUNK as usize {
                return Ok(None);
            }
        }
    }

    fn holds(&self, metric: &Value) -> bool {
        self.listing.filter.holds(&|key: &Key| facts(metric, key))
    }

    /// Begins another page when the one before is full and all are counted; whether it did.
    fn turns(&mut self) -> bool {
        let is_full = self.is_full();
        let Some(counted) = self.counted.as_mut().filter(|_| is_full) else { return false };
        *counted += self.found.len();
        self.found.clear();
        self.values = 0;
        true
    }

    /// Whether nothing more than what goes on already has room on the page.
    fn is_full(&self) -> bool {
        self.found.len() >= self.listing.take || self.values >= MOST_MERGED
    }
}

/// Some of a run's metrics that are no series of numbers, in the order in which they were logged.
fn others_from(tx: &mut Tx<'_>, run: Id, skip: u64) -> CoreResult<Vec<Node<RunMetricDoc>>> {
    tx.children::<RunMetric>(run, Page { order: Order::Oldest, skip, take: OTHERS })
}

fn facts(metric: &Value, key: &Key) -> Vec<Fact> {
    let text = |name: &str| metric.get(name).and_then(Value::as_str);
    let found = match key.name {
        "RunId" => text("runId").map(|text| Fact::Text(text.to_owned())),
        "MetricId" => text("metricId").map(|text| Fact::Text(text.to_owned())),
        "MetricType" => text("metricType").map(|text| Fact::Text(text.to_owned())),
        "Label" => text("label").map(|text| Fact::Text(text.to_owned())),
        "CreatedUtc" => text("createdUtc")
            .and_then(|text| Timestamp::parse(text).ok())
            .map(|time| Fact::Number(microseconds(time))),
        _ => text("name").map(|text| Fact::Text(text.to_owned())),
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_number_says_where_it_stands() {
        for value in [0.5, -3.0, f64::NAN, f64::NEG_INFINITY] {
            let point = MetricPoint { time: -5, step: i64::MAX, value };
            let id = answers::scalar_id(Id::from_bytes([7; 16]), 42, &point);
            let (run, series, read) = place_of(&id).unwrap();
            assert_eq!((run, series), (Id::from_bytes([7; 16]), 42));
            assert!(same(&read, &point), "{id}");
        }
        assert_eq!(place_of("7713f081-e484-4b48-b932-8140f2252d8c").map(|_| ()), None);
    }

    #[test]
    fn a_filter_says_which_runs_it_is_about() {
        let only_of = |text: &str| {
            only(&METRICS.filter(text).unwrap(), "RunId")
                .map(|found| found.into_iter().collect::<Vec<_>>().join(","))
        };
        assert_eq!(only_of("RunId eq b or RunId eq a").as_deref(), Some("a,b"));
        assert_eq!(only_of("(RunId eq a) and MetricType eq x").as_deref(), Some("a"));
        assert_eq!(only_of("RunId eq a or name eq x"), None);
        assert_eq!(only_of(""), None);
    }
}
