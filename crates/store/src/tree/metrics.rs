//! Metrics of runs: a series for each name, and its points.
//!
//! A series' name is sealed like a document; its MAC is the same in all runs of a container, so that runs are compared by one index.
//! Points are plain numbers: docs/THREATS.md says what that tells.

use std::collections::BTreeMap;

use habeas_core::metric::{MetricPoint, from_ordered, ordered};
use habeas_core::{Error, Id, Result};

use super::Tx;
use super::holders::{HolderState, frozen};
use super::nodes::Place;
use crate::engine::{Arg, Lock};

/// Series re-sealed at a time.
const PAGE: i64 = 500;

/// A metric's newest point.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestMetric {
    /// Its name.
    pub name: String,
    /// The point with the greatest step, time and value.
    pub point: MetricPoint,
}

impl Tx<'_> {
    /// Adds points to the metrics of a run. A point that is there already is not added again, so that a client may repeat what it
    /// does not know the end of.
    pub fn log_metrics(&mut self, run: Id, points: &[(&str, MetricPoint)]) -> Result<()> {
        let place =
            self.place_with(run, Lock::Presence)?.ok_or_else(|| Error::not_found("there is no such run"))?;
        if place.state == HolderState::Frozen {
            return Err(frozen());
        }
        let mut by_name: BTreeMap<&str, Vec<MetricPoint>> = BTreeMap::new();
        for (name, point) in points {
            by_name.entry(name).or_default().push(*point);
        }
        for (name, points) in by_name {
            self.append(run, &place, name, &points)?;
        }
        Ok(())
    }

    fn append(&mut self, run: Id, place: &Place, name: &str, points: &[MetricPoint]) -> Result<()> {
        let Some(newest) = points.iter().copied().max_by_key(MetricPoint::recency) else { return Ok(()) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        let found = self.query_one(
            "SELECT id, last_step, last_time, last_value FROM metric_series WHERE resource = ?1 AND name_mac = ?2",
            &[(&run).into(), (&mac[..]).into()],
        )?;
        let (step, time, value) = newest.recency();
        let last = [Arg::Int(step), Arg::Int(time), Arg::Int(value)];
        let series = match found {
            Some(row) => {
                let series = row.int(0)?;
                if (step, time, value) > (row.int(1)?, row.int(2)?, row.int(3)?) {
                    self.execute(
                        "UPDATE metric_series SET last_step = ?2, last_time = ?3, last_value = ?4 WHERE id = ?1",
                        &[Arg::Int(series), last[0], last[1], last[2]],
                    )?;
                }
                series
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
        let Some(place) = self.place(run)? else { return Ok(Vec::new()) };
        let rows = self.query(
            "SELECT id, name, last_step, last_time, last_value FROM metric_series WHERE resource = ?1",
            &[(&run).into()],
        )?;
        let mut metrics = rows
            .iter()
            .map(|row| {
                Ok(LatestMetric {
                    name: self.shared.open_metric(run, place.container, row.int(0)?, row.bytes(1)?)?,
                    point: MetricPoint {
                        step: row.int(2)?,
                        time: row.int(3)?,
                        value: from_ordered(row.int(4)?),
                    },
                })
            })
            .collect::<Result<Vec<_>>>()?;
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(metrics)
    }

    /// Points of a metric in the order of time, step and value, after `after`.
    pub fn metric_history(
        &mut self,
        run: Id,
        name: &str,
        after: Option<MetricPoint>,
        limit: u32,
    ) -> Result<Vec<MetricPoint>> {
        let Some(place) = self.place(run)? else { return Ok(Vec::new()) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        let series = self.query_one(
            "SELECT id FROM metric_series WHERE resource = ?1 AND name_mac = ?2",
            &[(&run).into(), (&mac[..]).into()],
        )?;
        let Some(series) = series else { return Ok(Vec::new()) };
        let (time, step, value) = after
            .map_or((i64::MIN, i64::MIN, i64::MIN), |point| (point.time, point.step, ordered(point.value)));
        self.query(
            "SELECT time, step, value FROM metric_point WHERE series = ?1 AND (time, step, value) > (?2, ?3, ?4)
             ORDER BY time, step, value LIMIT ?5",
            &[
                Arg::Int(series.int(0)?),
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

    /// The newest value of one metric in every run that stands directly under `parent` and has it.
    pub fn metric_values(&mut self, parent: Id, name: &str) -> Result<Vec<(Id, f64)>> {
        let Some(place) = self.place(parent)? else { return Ok(Vec::new()) };
        let mac = self.shared.metric_mac(place.container, place.generation, name)?;
        self.query(
            "SELECT s.resource, s.last_value FROM metric_series s JOIN resource r ON r.id = s.resource
             WHERE s.name_mac = ?1 AND r.parent = ?2",
            &[(&mac[..]).into(), (&parent).into()],
        )?
        .iter()
        .map(|row| Ok((row.id(0)?, from_ordered(row.int(1)?))))
        .collect()
    }

    /// Seals the names of a run's metrics, which are under the key of `from`, under that of another container.
    pub(crate) fn move_metrics(&mut self, run: Id, from: Id, to: Id, generation: u32) -> Result<()> {
        let rows = self.query("SELECT id, name FROM metric_series WHERE resource = ?1", &[(&run).into()])?;
        for row in &rows {
            let series = row.int(0)?;
            let name = self.shared.open_metric(run, from, series, row.bytes(1)?)?;
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
            for row in &rows {
                let (series, run) = (row.int(0)?, row.id(1)?);
                let name = self.shared.open_metric(run, container, series, row.bytes(2)?)?;
                let sealed = self.shared.seal_metric(run, container, next, series, &name)?;
                let mac = self.shared.metric_mac(container, next, &name)?;
                self.execute(
                    "UPDATE metric_series SET name_mac = ?2, name = ?3 WHERE id = ?1",
                    &[Arg::Int(series), (&mac[..]).into(), (&sealed[..]).into()],
                )?;
                after = series;
            }
            if (rows.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }
}
