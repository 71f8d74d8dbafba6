//! Searching runs.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use axum::Json;
use habeas_access::Permission;
use habeas_core::kinds::{DatasetInput, DatasetInputDoc, ExperimentDoc, Run, RunDoc, RunHead, Text};
use habeas_core::node::RawNode;
use habeas_core::{DataKind as _, ErrorKind, Id, Kind, Node, Result as CoreResult};
use habeas_store::{Page, Tx};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answers::{self, ClientNames, RunParts, USER_TAG};
use super::call::Call;
use super::errors::Result;
use super::run_answers;
use super::search::{Comparison, Entity, Fact, Key, Listing, RUNS, View, view_type};
use super::workspace::find_experiment;
use crate::search::{Operand, Operator, compare};

/// The most runs one search answers, and how many without being told.
const MOST: u32 = 50_000;
const USUAL: u32 = 1_000;

/// A page of runs, of which an empty one has no list.
#[derive(Debug, Serialize)]
pub(super) struct RunPage {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// `searchRuns`.
pub(super) async fn runs(call: Call) -> Result<Json<RunPage>> {
    let listing = Listing::read(&call.arguments, &RUNS, USUAL, MOST)?;
    let view = view_type(&call.arguments, "run_view_type")?;
    let experiments: Vec<String> =
        call.arguments.texts("experiment_ids")?.into_iter().map(str::to_owned).collect();
    let (actor, workspace, files) = (call.actor, call.workspace, call.files.clone());
    let page = call
        .app
        .store()
        .read(move |tx| {
            let mut search = RunSearch {
                workspace,
                listing: &listing,
                view,
                experiments: HashMap::new(),
                metrics: HashMap::new(),
                keys: listing.keys(),
            };
            for text in &experiments {
                match find_experiment(tx, &actor, workspace, text, Permission::Read) {
                    Ok(node) => {
                        search.experiments.insert(node.id, files.place(workspace, node));
                    }
                    // As upstream: what is not there has no runs.
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            search.run(tx)
        })
        .await?;
    Ok(Json(page))
}

fn is_metric(key: &Key) -> bool {
    key.entity == Entity::Metric
}

/// A search over runs.
struct RunSearch<'a> {
    workspace: Id,
    listing: &'a Listing,
    view: View,
    experiments: HashMap<Id, Node<ExperimentDoc>>,
    /// The newest values of the metrics that the search names.
    metrics: HashMap<String, HashMap<Id, f64>>,
    /// What is filtered and sorted by.
    keys: Vec<Key>,
}

/// A run that was found, with its place in the order. Its document is read as a whole only when it is on the page.
type Found = (Vec<Option<Fact>>, RawNode);

/// What the search needs of a run.
struct Seen<'a> {
    id: Id,
    experiment: &'a Node<ExperimentDoc>,
    head: RunHead<'a>,
    user: Option<String>,
    user_tag: Option<String>,
    datasets: Vec<Node<DatasetInputDoc>>,
}

impl RunSearch<'_> {
    fn run(&mut self, tx: &mut Tx<'_>) -> CoreResult<RunPage> {
        let first = self.listing.order.first().filter(|(key, _)| is_metric(key));
        // A metric by which alone runs are read is read with them.
        let with_runs = if first.is_none() { self.only_required().cloned() } else { None };
        for key in self.keys.iter().filter(|key| is_metric(key) && with_runs.as_ref() != Some(key)) {
            let values = tx.metric_values(self.workspace, &key.name, self.range(key))?;
            self.metrics.insert(key.name.clone(), values.into_iter().collect());
        }
        let mut names = ClientNames::default();
        let mut found: Vec<Found> = Vec::new();
        if let Some((key, descending)) = first {
            // Runs are opened in the order asked for, and no more of them than the page needs.
            for group in self.groups(tx, key, *descending)? {
                let mut opened = Vec::new();
                for id in group {
                    let node = tx.raw(id)?.filter(|node| node.kind == Kind::Run);
                    if let Some(node) = node.filter(|node| self.may_be_found(&node.doc)) {
                        opened.extend(self.look_at(tx, node, &mut names)?);
                    }
                }
                found.extend(self.listing.sorted(opened));
                if found.len() >= self.listing.enough() {
                    break;
                }
            }
        } else {
            let narrowest = self.narrowest().cloned();
            let experiments: Vec<Id> = self.experiments.keys().copied().collect();
            for experiment in experiments {
                let may_be_found = |doc: &[u8]| self.may_be_found(doc);
                let nodes = match &narrowest {
                    Some(key) => {
                        let of = (experiment, Kind::Run);
                        let range = self.range(key);
                        let found = tx.raw_by_metric(self.workspace, &key.name, range, of, may_be_found)?;
                        let values = self.metrics.entry(key.name.clone()).or_default();
                        values.extend(found.iter().map(|(value, node)| (node.id, *value)));
                        found.into_iter().map(|(_, node)| node).collect()
                    }
                    None => tx.raw_children_where(experiment, Kind::Run, Page::ALL, may_be_found)?,
                };
                for node in nodes {
                    found.extend(self.look_at(tx, node, &mut names)?);
                }
            }
            found = self.listing.sorted(found);
        }
        let (found, next_page_token) = self.listing.page(found);
        let found: Vec<RawNode> = found.into_iter().map(|(_, node)| node).collect();
        let metrics = tx.latest_metrics_of(&found)?;
        let mut runs = Vec::with_capacity(found.len());
        for (node, metrics) in found.into_iter().zip(metrics) {
            let node = node.with_doc(serde_json::from_slice::<RunDoc>(&node.doc)?);
            let Some(experiment) = node.parent.and_then(|id| self.experiments.get(&id)) else { continue };
            let parts = RunParts::with(metrics, tx, &node, &mut names)?;
            runs.push(run_answers::run(self.workspace, experiment, &node, &parts)?);
        }
        Ok(RunPage { runs, next_page_token })
    }

    /// What the filter asks of a metric: of its values only this range is read.
    fn range(&self, key: &Key) -> RangeInclusive<i64> {
        let asked = self.listing.filter.iter().filter(|comparison| comparison.key == *key);
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        for range in asked.filter_map(Comparison::range) {
            (from, to) = (from.max(*range.start()), to.min(*range.end()));
        }
        from..=to
    }

    /// The metrics that the filter asks for: runs without one of them are not found.
    fn required(&self) -> impl Iterator<Item = &Comparison> {
        self.listing
            .filter
            .iter()
            .filter(|comparison| is_metric(&comparison.key) && comparison.range().is_some())
    }

    /// The metric that the filter asks for, when it is a single one.
    fn only_required(&self) -> Option<&Key> {
        let mut keys = self.required().map(|comparison| &comparison.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }

    /// Of these the one that the fewest runs have.
    fn narrowest(&self) -> Option<&Key> {
        let runs = |key: &Key| self.metrics.get(&key.name).map_or(0, HashMap::len);
        self.required().map(|comparison| &comparison.key).min_by_key(|key| runs(key))
    }

    /// The runs that the metrics of the filter allow, in groups of which every earlier one comes first by this metric.
    fn groups(&self, tx: &mut Tx<'_>, key: &Key, descending: bool) -> CoreResult<Vec<Vec<Id>>> {
        let mut candidates = Vec::new();
        if let Some(values) = self.narrowest().and_then(|key| self.metrics.get(&key.name)) {
            // Those of other experiments are left when they are looked at.
            candidates.extend(values.keys().copied());
        } else {
            for experiment in self.experiments.keys() {
                candidates.extend(tx.children_ids(*experiment, Run::KIND)?.into_iter().map(|(_, id)| id));
            }
        }
        for comparison in self.required() {
            candidates.retain(|id| comparison.holds(&self.metric(*id, &comparison.key)));
        }
        let mut placed: Vec<(Option<Fact>, Id)> =
            candidates.into_iter().map(|id| (self.metric(id, key).pop(), id)).collect();
        placed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref(), descending));
        Ok(placed
            .chunk_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref(), descending).is_eq())
            .map(|group| group.iter().map(|(_, id)| *id).collect())
            .collect())
    }

    fn metric(&self, run: Id, key: &Key) -> Vec<Fact> {
        let value = self.metrics.get(&key.name).and_then(|values| values.get(&run));
        value.copied().map(Fact::Number).into_iter().collect()
    }

    /// False for a document that cannot be of a run that is found: one without a text that the filter wants a param or tag to be. Most are left
    /// so without being read.
    fn may_be_found(&self, doc: &[u8]) -> bool {
        let Ok(doc) = std::str::from_utf8(doc) else { return true };
        self.listing.filter.iter().all(|comparison| match (&comparison.operator, &comparison.operand) {
            (Operator::Equal, Operand::Text(text))
                // A login name stands elsewhere, and these characters are written otherwise.
                if matches!(comparison.key.entity, Entity::Param | Entity::Tag)
                    && comparison.key.name != USER_TAG
                    && !text.contains(|character: char| character.is_control() || "\"\\".contains(character)) =>
            {
                doc.contains(text.as_str())
            }
            _ => true,
        })
    }

    /// A run that [may be found](Self::may_be_found), with its place in the order, if it is among those that are shown and the filter lets it
    /// through.
    fn look_at(&self, tx: &mut Tx<'_>, node: RawNode, names: &mut ClientNames) -> CoreResult<Option<Found>> {
        let Some(experiment) = node.parent.and_then(|parent| self.experiments.get(&parent)) else {
            return Ok(None);
        };
        let head = RunHead::read(&node.doc)?;
        if !self.view.shows(head.stage) {
            return Ok(None);
        }
        let asks = |entity: Entity, name: Option<&str>| {
            self.keys.iter().any(|key| key.entity == entity && name.is_none_or(|name| key.name == name))
        };
        let user = if asks(Entity::Attribute, Some("user_id")) { names.get(tx, head.user)? } else { None };
        let user_tag = if asks(Entity::Tag, Some(USER_TAG)) { names.get(tx, head.user_tag)? } else { None };
        let datasets = if asks(Entity::Dataset, None) && head.datasets > 0 {
            tx.children::<DatasetInput>(node.id, Page::ALL)?
        } else {
            Vec::new()
        };
        let seen = Seen { id: node.id, experiment, head, user, user_tag, datasets };
        let place = self.listing.place(|key| self.facts(&seen, key));
        Ok(place.map(|place| (place, node)))
    }

    fn facts(&self, run: &Seen<'_>, key: &Key) -> Vec<Fact> {
        const CONTEXT: &str = "mlflow.data.context";
        let head = &run.head;
        let text = |text: Option<&str>| text.map(|text| Fact::Text(text.to_owned())).into_iter().collect();
        let name = || head.client_id().map_or_else(|| run.id.to_hex(), str::to_owned);
        match (key.entity, key.name.as_str()) {
            (Entity::Metric, _) => self.metric(run.id, key),
            (Entity::Param, name) => text(head.params.get(name).map(Text::as_str)),
            (Entity::Tag, USER_TAG) => text(run.user_tag.as_deref()),
            (Entity::Tag, name) => text(head.tags.get(name).map(Text::as_str)),
            (Entity::Dataset, name) => run
                .datasets
                .iter()
                .filter_map(|node| match name {
                    "name" => Some(node.doc.name.clone()),
                    "digest" => Some(node.doc.digest.clone()),
                    _ => node.doc.tags.get(CONTEXT).cloned(),
                })
                .map(Fact::Text)
                .collect(),
            (Entity::Attribute, "run_id") => vec![Fact::Text(name())],
            (Entity::Attribute, "run_name") => text(Some(head.name.as_str())),
            (Entity::Attribute, "status") => text(Some(head.status.name())),
            (Entity::Attribute, "user_id") => text(run.user.as_deref()),
            (Entity::Attribute, "artifact_uri") => {
                text(Some(&answers::artifact_uri(self.workspace, run.experiment, &name())))
            }
            (Entity::Attribute, "end_time") => head.end_time.map(Fact::integer).into_iter().collect(),
            (Entity::Attribute, _) => vec![Fact::integer(head.start_time)],
        }
    }
}
