//! Metrics of runs: a series for each name, and its points.
//!
//! A series' name is sealed like a document; its MAC is the same in all runs of a container, so that runs are compared by one index.
//! Points are plain numbers: docs/THREATS.md says what that tells.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use habeas_core::metric::{MetricPoint, from_ordered, ordered};
use habeas_core::node::RawNode;
use habeas_core::{Error, Id, Kind, Node, Result};

use super::Tx;
use super::holders::{HolderState, frozen};
use super::nodes::Place;
use super::rows::{FIRST_MORE, select_nodes};
use super::sealing::Opener;
use crate::engine::{Arg, Lock, Row};

/// Series re-sealed at a time.
const PAGE: i64 = 500;
/// Runs whose newest points one statement reads.
const TOGETHER: usize = 32;

/// A metric's newest point.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestMetric {
    /// The random number of its series.
    pub series: i64,
    /// Its name.
    pub name: String,
    /// The point with the greatest step, time and value, in the order of [`MetricPoint::recency`].
    pub point: MetricPoint,
}

/// A metric of a run, by the MAC of its name.
struct Series {
    mac: [u8; 32],
    known: Option<KnownSeries>,
}

/// A metric that is there.
struct KnownSeries {
    id: i64,
    /// The newest point.
    last: MetricPoint,
}

impl Tx<'_> {
    /// Adds points to the metrics of a run. A point that is there already is not added again, so that a client may repeat what it
    /// does not know the end of.
    pub fn log_metrics(&mut self, run: Id, points: &[(&str, MetricPoint)]) -> Result<()> {
        let place = self.writable(run)?;
        let mut by_name: BTreeMap<&str, Vec<MetricPoint>> = BTreeMap::new();
        for (name, point) in points {
            by_name.entry(name).or_default().push(*point);
        }
        for (name, points) in by_name {
            let series = self.series(run, &place, name)?;
            self.append(run, &place, name, series, &points)?;
        }
        Ok(())
    }

    /// Adds values, with their times in milliseconds, whose client did not count steps: each gets the step after the metric's last. A
    /// value that is there with its time already is not added again.
    pub fn log_uncounted(&mut self, run: Id, name: &str, values: &[(i64, f64)]) -> Result<()> {
        let place = self.writable(run)?;
        let series = self.series(run, &place, name)?;
        let times = values.iter().map(|(time, _)| *time);
        let mut there: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        if let (Some(series), Some(first), Some(last)) = (&series.known, times.clone().min(), times.max()) {
            let rows = self.query(
                "SELECT time, value FROM metric_point WHERE series = ?1 AND time >= ?2 AND time <= ?3",
                &[Arg::Int(series.id), Arg::Int(first), Arg::Int(last)],
            )?;
            for row in &rows {
                *there.entry((row.int(0)?, row.int(1)?)).or_default() += 1;
            }
        }
        let mut step = series.known.as_ref().map_or(-1, |series| series.last.step);
        let mut points = Vec::with_capacity(values.len());
        for &(time, value) in values {
            match there.get_mut(&(time, ordered(value))) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    step = step.saturating_add(1);
                    points.push(MetricPoint { time, step, value });
                }
            }
        }
        self.append(run, &place, name, series, &points)
    }

    fn writable(&mut self, run: Id) -> Result<Place> {
        let place =
            self.place_with(run, Lock::Presence)?.ok_or_else(|| Error::not_found("there is no such run"))?;
        if place.state == HolderState::Frozen { Err(frozen()) } else { Ok(place) }
    }

    fn series(&mut self, run: Id, place: &Place, name: &str) -> Result<Series> {
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        let found = self.query_one(
            "SELECT id, last_step, last_time, last_value FROM metric_series WHERE resource = ?1 AND name_mac = ?2",
            &[(&run).into(), (&mac[..]).into()],
        )?;
        let known = match found {
            Some(row) => {
                let (step, time, value) = (row.int(1)?, row.int(2)?, from_ordered(row.int(3)?));
                Some(KnownSeries { id: row.int(0)?, last: MetricPoint { time, step, value } })
            }
            None => None,
        };
        Ok(Series { mac, known })
    }

    fn append(
        &mut self,
        run: Id,
        place: &Place,
        name: &str,
        series: Series,
        points: &[MetricPoint],
    ) -> Result<()> {
        let Some(newest) = points.iter().copied().max_by_key(MetricPoint::recency) else { return Ok(()) };
        let last = [Arg::Int(newest.step), Arg::Int(newest.time), Arg::Int(ordered(newest.value))];
        let mac = series.mac;
        let series = match series.known {
            Some(series) => {
                if newest.recency() > series.last.recency() {
                    self.execute(
                        "UPDATE metric_series SET last_step = ?2, last_time = ?3, last_value = ?4 WHERE id = ?1",
                        &[Arg::Int(series.id), last[0], last[1], last[2]],
                    )?;
                }
                series.id
            }
            None => {
                // Positive, and too many to meet by chance.
                let series = i64::from_be_bytes(self.shared.ambient.bytes()) & i64::MAX;
                let sealed = self.shared.seal_metric(run, place.container, place.generation, series, name)?;
                // Where somebody else has just made it, this transaction has lost a race and runs again.
                self.execute(
                    "INSERT INTO metric_series (id, resource, name_mac, name, last_step, last_time, last_value)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (resource, name_mac) DO NOTHING",
                    &[
                        Arg::Int(series),
                        (&run).into(),
                        (&mac[..]).into(),
                        (&sealed[..]).into(),
                        last[0],
                        last[1],
                        last[2],
                    ],
                )?;
                series
            }
        };
        for point in points {
            self.execute(
                "INSERT INTO metric_point (series, time, step, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                &[Arg::Int(series), Arg::Int(point.time), Arg::Int(point.step), Arg::Int(ordered(point.value))],
            )?;
        }
        Ok(())
    }

    /// The newest point of each metric of a run, in the order of names.
    pub fn latest_metrics(&mut self, run: Id) -> Result<Vec<LatestMetric>> {
        let mut metrics = self.opened(
            "SELECT s.id, s.name, s.last_step, s.last_time, s.last_value, r.container
             FROM metric_series s JOIN resource r ON r.id = s.resource WHERE s.resource = ?1",
            &[(&run).into()],
            |opener, row| opener.latest_metric(run, row.id(5)?, row).map(Some),
        )?;
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(metrics)
    }

    /// The same of many runs, which this transaction has read: those of each, in the order of the runs.
    pub fn latest_metrics_of<D>(&mut self, runs: &[Node<D>]) -> Result<Vec<Vec<LatestMetric>>> {
        let mut found = Vec::with_capacity(runs.len());
        for runs in runs.chunks(TOGETHER) {
            let places: HashMap<Id, usize> =
                runs.iter().enumerate().map(|(place, run)| (run.id, place)).collect();
            // What is left of the statement's list says the last run again.
            let ids = runs.iter().chain(runs.last().into_iter().cycle()).map(|run| (&run.id).into());
            let metrics = self.opened(
                "SELECT s.id, s.name, s.last_step, s.last_time, s.last_value, s.resource
                 FROM metric_series s WHERE s.resource IN (
                     ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)",
                &ids.take(TOGETHER).collect::<Vec<_>>(),
                |opener, row| {
                    let Some(&place) = places.get(&row.id(5)?) else { return Ok(None) };
                    let run = &runs[place];
                    Ok(Some((place, opener.latest_metric(run.id, run.container, row)?)))
                },
            )?;
            let mut of_each = vec![Vec::new(); runs.len()];
            for (place, metric) in metrics {
                of_each[place].push(metric);
            }
            for metrics in &mut of_each {
                metrics.sort_by(|a, b| a.name.cmp(&b.name));
            }
            found.append(&mut of_each);
        }
        Ok(found)
    }

    /// The random number of the series that a metric of a run is; none when the run has no such metric.
    pub fn metric_series(&mut self, run: Id, name: &str) -> Result<Option<i64>> {
        let Some(place) = self.place_seen(run)? else { return Ok(None) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        let series = self.query_one(
            "SELECT id FROM metric_series WHERE resource = ?1 AND name_mac = ?2",
            &[(&run).into(), (&mac[..]).into()],
        )?;
        series.map(|series| series.int(0)).transpose()
    }

    /// Points of a metric in the order of time, step and value, after `after`.
    pub fn metric_history(
        &mut self,
        run: Id,
        name: &str,
        after: Option<MetricPoint>,
        limit: u32,
    ) -> Result<Vec<MetricPoint>> {
        let Some(series) = self.metric_series(run, name)? else { return Ok(Vec::new()) };
        let (time, step, value) = after
            .map_or((i64::MIN, i64::MIN, i64::MIN), |point| (point.time, point.step, ordered(point.value)));
        self.query(
            "SELECT time, step, value FROM metric_point WHERE series = ?1 AND (time, step, value) > (?2, ?3, ?4)
             ORDER BY time, step, value LIMIT ?5",
            &[
                Arg::Int(series),
                Arg::Int(time),
                Arg::Int(step),
                Arg::Int(value),
                Arg::Int(i64::from(limit)),
            ],
        )?
        .iter()
        .map(|row| Ok(MetricPoint { time: row.int(0)?, step: row.int(1)?, value: from_ordered(row.int(2)?) }))
        .collect()
    }

    /// The newest value of one metric in every run that has it and stands in the same workspace or project as `within`, where it lies
    /// in this range of [`ordered`] numbers. One range of an index, without a look at the runs.
    pub fn metric_values(
        &mut self,
        within: Id,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Vec<(Id, f64)>> {
        let Some(place) = self.place_seen(within)? else { return Ok(Vec::new()) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        self.query(
            "SELECT resource, last_value FROM metric_series
             WHERE name_mac = ?1 AND last_value >= ?2 AND last_value <= ?3",
            &[(&mac[..]).into(), Arg::Int(*range.start()), Arg::Int(*range.end())],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, from_ordered(row.int(1)?))))
        .collect()
    }

    /// What [`Tx::metric_values`] finds of one kind directly under `parent`, with the whole resources and in one go: those whose
    /// documents are wanted. The others are not kept in memory while the rest is read.
    pub fn raw_by_metric(
        &mut self,
        within: Id,
        name: &str,
        range: RangeInclusive<i64>,
        (parent, kind): (Id, Kind),
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<(f64, RawNode)>> {
        let Some(place) = self.place_seen(within)? else { return Ok(Vec::new()) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        self.opened(
            // By the metric, and not by all that stands under the parent: for which an expression has no index.
            select_nodes!(
                "s.last_value";
                "JOIN metric_series s ON s.resource = r.id
                 WHERE s.name_mac = ?1 AND s.last_value >= ?2 AND s.last_value <= ?3
                 AND COALESCE(r.parent, r.id) = ?4 AND r.kind = ?5"
            ),
            &[
                (&mac[..]).into(),
                Arg::Int(*range.start()),
                Arg::Int(*range.end()),
                (&parent).into(),
                kind.number().into(),
            ],
            |opener, row| {
                let value = from_ordered(row.int(FIRST_MORE)?);
                let node = opener.node(row)?;
                Ok(is_wanted(&node.doc).then_some((value, node)))
            },
        )
    }

    /// Seals the names of a run's metrics, which are under the key of `from`, under that of another container.
    pub(crate) fn move_metrics(&mut self, run: Id, from: Id, to: Id, generation: u32) -> Result<()> {
        let rows = self.query("SELECT id, name FROM metric_series WHERE resource = ?1", &[(&run).into()])?;
        let mut opener = self.shared.opener();
        for mut row in rows {
            let series = row.int(0)?;
            let name = opener.open_metric(run, from, series, row.take_bytes(1)?)?;
            let sealed = self.shared.seal_metric(run, to, generation, series, &name)?;
            let mac = self.shared.metric_mac(to, generation, &name)?;
            self.execute(
                "UPDATE metric_series SET name_mac = ?2, name = ?3 WHERE id = ?1",
                &[Arg::Int(series), (&mac[..]).into(), (&sealed[..]).into()],
            )?;
        }
        Ok(())
    }

    /// Seals the names of a container's metrics under the key of generation `next`.
    pub(crate) fn reseal_metrics(&mut self, container: Id, next: u32) -> Result<()> {
        let mut after = -1;
        loop {
            let rows = self.query(
                "SELECT s.id, s.resource, s.name FROM metric_series s JOIN resource r ON r.id = s.resource
                 WHERE r.container = ?1 AND s.id > ?2 ORDER BY s.id LIMIT ?3",
                &[(&container).into(), Arg::Int(after), Arg::Int(PAGE)],
            )?;
            let is_last = (rows.len() as i64) < PAGE;
            let mut opener = self.shared.opener();
            for mut row in rows {
                let (series, run) = (row.int(0)?, row.id(1)?);
                let name = opener.open_metric(run, container, series, row.take_bytes(2)?)?;
                let sealed = self.shared.seal_metric(run, container, next, series, &name)?;
                let mac = self.shared.metric_mac(container, next, &name)?;
                self.execute(
                    "UPDATE metric_series SET name_mac = ?2, name = ?3 WHERE id = ?1",
                    &[Arg::Int(series), (&mac[..]).into(), (&sealed[..]).into()],
                )?;
                after = series;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Opener<'_> {
    /// A metric's newest point, from a row of its series' number, name, step, time and value.
    fn latest_metric(&mut self, run: Id, container: Id, mut row: Row) -> Result<LatestMetric> {
        let series = row.int(0)?;
        Ok(LatestMetric {
            series,
            name: self.open_metric(run, container, series, row.take_bytes(1)?)?,
            point: MetricPoint { step: row.int(2)?, time: row.int(3)?, value: from_ordered(row.int(4)?) },
        })
    }
}
