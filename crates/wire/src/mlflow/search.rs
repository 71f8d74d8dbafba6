//! Searching: filters, orders and pages over experiments, runs and models.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_access::Permission;
use habeas_core::kinds::{DatasetInput, ExperimentDoc, LifecycleStage, Run, RunDoc};
use habeas_core::{Error, ErrorKind, Id, Kind, Node, Result as CoreResult};
use habeas_store::{Page, Tx};
use serde_json::{Value, json};

use super::answers::{self, RunParts, USER_TAG};
use super::arguments::{Arguments, wrong_type};
use super::call::Call;
use super::errors::Result;
pub(super) use super::filter::{Comparison, Entity, Fact, Key, Schema};
use super::workspace::find_experiment;
use crate::search::compare;

/// The most runs one search answers, and how many without being told.
const MOST: u32 = 50_000;
const USUAL: u32 = 1_000;

/// Runs.
pub(super) const RUNS: Schema = Schema {
    numbers: &["start_time", "end_time", "created"],
    texts: &["run_id", "run_name", "status", "user_id", "artifact_uri"],
    lists: &["run_id"],
    aliases: &[
        ("Created", "created"),
        ("run name", "run_name"),
        ("Run name", "run_name"),
        ("Run Name", "run_name"),
    ],
    entities: &[Entity::Metric, Entity::Param, Entity::Tag, Entity::Dataset],
    order: &[("start_time", true), ("run_id", false)],
};

/// Experiments.
pub(super) const EXPERIMENTS: Schema = Schema {
    numbers: &["creation_time", "last_update_time"],
    texts: &["name", "experiment_id"],
    lists: &["experiment_id"],
    aliases: &[],
    entities: &[Entity::Tag],
    order: &[("creation_time", true), ("experiment_id", false)],
};

/// Registered models.
pub(super) const REGISTERED_MODELS: Schema = Schema {
    numbers: &["creation_timestamp", "last_updated_timestamp"],
    texts: &["name"],
    lists: &["name"],
    aliases: &[("timestamp", "last_updated_timestamp")],
    entities: &[Entity::Tag],
    order: &[("name", false)],
};

/// Model versions.
pub(super) const MODEL_VERSIONS: Schema = Schema {
    numbers: &["version_number", "creation_timestamp", "last_updated_timestamp"],
    texts: &["name", "run_id", "source_path"],
    lists: &["name", "run_id"],
    aliases: &[],
    entities: &[Entity::Tag],
    order: &[("last_updated_timestamp", true), ("name", false), ("version_number", true)],
};

/// A tag of the registry that can be searched by. Clients ask for models that are no prompts, which most have never been tagged as.
pub(super) fn registry_tag(tags: &BTreeMap<String, String>, name: &str) -> Option<Fact> {
    const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
    let absent = (name == IS_PROMPT).then(|| "false".to_owned());
    tags.get(name).cloned().or(absent).map(Fact::Text)
}

/// Logged models.
pub(super) const LOGGED_MODELS: Schema = Schema {
    numbers: &["creation_timestamp", "last_updated_timestamp"],
    texts: &["name", "model_id", "model_type", "status", "source_run_id"],
    lists: &["name", "model_id", "source_run_id"],
    aliases: &[("creation_time", "creation_timestamp"), ("last_updated_time", "last_updated_timestamp")],
    entities: &[Entity::Metric, Entity::Param, Entity::Tag],
    order: &[("creation_timestamp", true), ("model_id", false)],
};

/// Which of what was put aside is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Active,
    Deleted,
    All,
}

impl View {
    pub(super) fn shows(self, stage: LifecycleStage) -> bool {
        match self {
            View::Active => stage == LifecycleStage::Active,
            View::Deleted => stage == LifecycleStage::Deleted,
            View::All => true,
        }
    }
}

/// A view by name, or by its number in the protocol's definition.
pub(super) fn view_type(arguments: &Arguments, name: &str) -> CoreResult<View> {
    match arguments.get(name) {
        None => Ok(View::Active),
        Some(value) => match (value.as_str(), value.as_i64()) {
            (Some("ACTIVE_ONLY"), _) | (_, Some(1)) => Ok(View::Active),
            (Some("DELETED_ONLY"), _) | (_, Some(2)) => Ok(View::Deleted),
            (Some("ALL"), _) | (_, Some(3)) => Ok(View::All),
            _ => Err(wrong_type(name, value)),
        },
    }
}

/// A page token: opaque to clients.
pub(super) fn token(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(super) fn bad_token() -> Error {
    Error::invalid("Invalid page token, it was not made by this server")
        .hint("send the token of the last page as it was")
}

pub(super) fn read_token(token: &str) -> CoreResult<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token())?;
    serde_json::from_slice(&bytes).map_err(|_| bad_token())
}

/// What a search asks for.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) filter: Vec<Comparison>,
    /// What to sort by, and whether the greatest comes first; then [`Schema::order`].
    pub(super) order: Vec<(Key, bool)>,
    skip: usize,
    take: usize,
}

impl Listing {
    pub(super) fn read(
        arguments: &Arguments,
        schema: &'static Schema,
        usual: u32,
        most: u32,
    ) -> CoreResult<Listing> {
        let order = arguments
            .texts("order_by")?
            .into_iter()
            .map(|text| schema.order_by(text))
            .collect::<CoreResult<Vec<_>>>()?;
        Listing::new(arguments, schema, order, usual, most)
    }

    /// The same with an order that was read elsewhere.
    pub(super) fn new(
        arguments: &Arguments,
        schema: &'static Schema,
        mut order: Vec<(Key, bool)>,
        usual: u32,
        most: u32,
    ) -> CoreResult<Listing> {
        for (index, (key, _)) in order.iter().enumerate() {
            if order[..index].iter().any(|(other, _)| other == key) {
                return Err(Error::invalid("`order_by` contains duplicate fields"));
            }
        }
        order.extend(schema.order.iter().map(|(name, descending)| {
            (Key { entity: Entity::Attribute, name: (*name).to_owned() }, *descending)
        }));
        let skip = match arguments.text("page_token")?.filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => {
                let offset = read_token(token)?.get("offset").and_then(Value::as_u64);
                usize::try_from(offset.ok_or_else(bad_token)?).map_err(|_| bad_token())?
            }
        };
        Ok(Listing {
            filter: schema.filter(arguments.text("filter")?.unwrap_or_default())?,
            order,
            skip,
            take: arguments.max_results(usual, most)? as usize,
        })
    }

    /// How many of the found are looked at to know this page, and whether there is another.
    fn enough(&self) -> usize {
        self.skip.saturating_add(self.take).saturating_add(1)
    }

    /// Filters and sorts; the page, and the token of the next one.
    pub(super) fn select<N>(
        &self,
        nodes: Vec<N>,
        fact: impl Fn(&N, &Key) -> Option<Fact>,
    ) -> CoreResult<(Vec<N>, Option<String>)> {
        let facts = |node: &N, key: &Key| fact(node, key).into_iter().collect::<Vec<_>>();
        Ok(self.page(self.sorted(nodes, facts)))
    }

    fn sorted<N>(&self, nodes: Vec<N>, facts: impl Fn(&N, &Key) -> Vec<Fact>) -> Vec<N> {
        let mut found: Vec<(Vec<Option<Fact>>, N)> = nodes
            .into_iter()
            .filter(|node| {
                self.filter.iter().all(|comparison| comparison.holds(&facts(node, &comparison.key)))
            })
            .map(|node| {
                let place = self.order.iter().map(|(key, _)| facts(&node, key).into_iter().next()).collect();
                (place, node)
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| {
            a.iter()
                .zip(b)
                .zip(&self.order)
                .map(|((a, b), (_, descending))| compare(a.as_ref(), b.as_ref(), *descending))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        found.into_iter().map(|(_, node)| node).collect()
    }

    fn page<N>(&self, mut found: Vec<N>) -> (Vec<N>, Option<String>) {
        let end = self.skip.saturating_add(self.take);
        let next = (found.len() > end).then(|| token(&json!({ "offset": end })));
        found.truncate(end);
        (found.split_off(self.skip.min(found.len())), next)
    }
}

/// `searchRuns`.
pub(super) async fn runs(call: Call) -> Result<Json<Value>> {
    let listing = Listing::read(&call.arguments, &RUNS, USUAL, MOST)?;
    let view = view_type(&call.arguments, "run_view_type")?;
    let experiments: Vec<String> =
        call.arguments.texts("experiment_ids")?.into_iter().map(str::to_owned).collect();
    let (actor, workspace, files) = (call.actor, call.workspace, call.files.clone());
    let (found, next) = call
        .app
        .store()
        .read(move |tx| {
            let mut search = RunSearch {
                workspace,
                listing: &listing,
                view,
                experiments: HashMap::new(),
                metrics: HashMap::new(),
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
    Ok(Json(answers::page("runs", found, next)))
}

/// A search over runs.
struct RunSearch<'a> {
    workspace: Id,
    listing: &'a Listing,
    view: View,
    experiments: HashMap<Id, Node<ExperimentDoc>>,
    /// The newest values of the metrics that the search names.
    metrics: HashMap<String, HashMap<Id, f64>>,
}

/// A run with what the search needs of it.
struct Found {
    node: Node<RunDoc>,
    user: Option<String>,
    user_tag: Option<String>,
    datasets: Vec<Node<habeas_core::kinds::DatasetInputDoc>>,
}

impl RunSearch<'_> {
    fn run(&mut self, tx: &mut Tx<'_>) -> CoreResult<(Vec<Value>, Option<String>)> {
        let keys = self.listing.filter.iter().map(|comparison| &comparison.key);
        let keys: Vec<Key> = keys.chain(self.listing.order.iter().map(|(key, _)| key)).cloned().collect();
        for key in keys.iter().filter(|key| key.entity == Entity::Metric) {
            // Of what the filter asks of it only one range is read.
            let asked = self.listing.filter.iter().filter(|comparison| comparison.key == *key);
            let (mut from, mut to) = (i64::MIN, i64::MAX);
            for range in asked.filter_map(Comparison::range) {
                (from, to) = (from.max(*range.start()), to.min(*range.end()));
            }
            let values = tx.metric_values(self.workspace, &key.name, from..=to)?;
            self.metrics.insert(key.name.clone(), values.into_iter().collect());
        }
        let mut found: Vec<Found> = Vec::new();
        if self.metrics.is_empty() {
            for experiment in self.experiments.keys() {
                for node in tx.children::<Run>(*experiment, Page::ALL)? {
                    found.extend(self.open(tx, node, &keys)?);
                }
            }
            found = self.listing.sorted(found, |run, key| self.facts(run, key));
        } else {
            // Runs are opened in the order asked for, and no more of them than the page needs.
            for group in self.groups(tx)? {
                let mut opened = Vec::with_capacity(group.len());
                for id in group {
                    if let Some(node) = tx.get::<Run>(id)? {
                        opened.extend(self.open(tx, node, &keys)?);
                    }
                }
                found.extend(self.listing.sorted(opened, |run, key| self.facts(run, key)));
                if found.len() >= self.listing.enough() {
                    break;
                }
            }
        }
        let (found, next) = self.listing.page(found);
        let mut answers = Vec::with_capacity(found.len());
        for run in found {
            let Some(experiment) = run.node.parent.and_then(|id| self.experiments.get(&id)) else { continue };
            let parts = RunParts::of(tx, &run.node)?;
            answers.push(answers::run(self.workspace, experiment, &run.node, &parts));
        }
        Ok((answers, next))
    }

    /// The runs that the metrics of the filter allow, in groups of which every earlier one comes first: by the first key of the order when
    /// that is a metric, otherwise all in one.
    fn groups(&self, tx: &mut Tx<'_>) -> CoreResult<Vec<Vec<Id>>> {
        let of_metrics =
            || self.listing.filter.iter().filter(|comparison| comparison.key.entity == Entity::Metric);
        let required = of_metrics().find(|comparison| comparison.range().is_some());
        let mut candidates = Vec::new();
        if let Some(values) = required.and_then(|comparison| self.metrics.get(&comparison.key.name)) {
            // Those of other experiments are left when they are opened.
            candidates.extend(values.keys().copied());
        } else {
            for experiment in self.experiments.keys() {
                candidates.extend(tx.children_ids(*experiment, Kind::Run)?.into_iter().map(|(_, id)| id));
            }
        }
        for comparison in of_metrics() {
            candidates.retain(|id| comparison.holds(&self.metric(*id, &comparison.key)));
        }
        let Some((key, descending)) =
            self.listing.order.first().filter(|(key, _)| key.entity == Entity::Metric)
        else {
            return Ok(vec![candidates]);
        };
        let mut placed: Vec<(Option<Fact>, Id)> =
            candidates.into_iter().map(|id| (self.metric(id, key).pop(), id)).collect();
        placed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref(), *descending));
        Ok(placed
            .chunk_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref(), *descending).is_eq())
            .map(|group| group.iter().map(|(_, id)| *id).collect())
            .collect())
    }

    fn metric(&self, run: Id, key: &Key) -> Vec<Fact> {
        let value = self.metrics.get(&key.name).and_then(|values| values.get(&run));
        value.copied().map(Fact::Number).into_iter().collect()
    }

    /// The run with what the search needs, if it is among those that are shown.
    fn open(&self, tx: &mut Tx<'_>, node: Node<RunDoc>, keys: &[Key]) -> CoreResult<Option<Found>> {
        let is_elsewhere = node.parent.is_none_or(|parent| !self.experiments.contains_key(&parent));
        if is_elsewhere || !self.view.shows(node.doc.stage) {
            return Ok(None);
        }
        let asks = |entity: Entity, name: Option<&str>| {
            keys.iter().any(|key| key.entity == entity && name.is_none_or(|name| key.name == name))
        };
        let user = if asks(Entity::Attribute, Some("user_id")) {
            answers::client_name(tx, node.doc.user)?
        } else {
            None
        };
        let user_tag = if asks(Entity::Tag, Some(USER_TAG)) {
            answers::client_name(tx, node.doc.user_tag)?
        } else {
            None
        };
        let datasets = if asks(Entity::Dataset, None) && node.doc.datasets > 0 {
            tx.children::<DatasetInput>(node.id, Page::ALL)?
        } else {
            Vec::new()
        };
        Ok(Some(Found { node, user, user_tag, datasets }))
    }

    fn facts(&self, run: &Found, key: &Key) -> Vec<Fact> {
        const CONTEXT: &str = "mlflow.data.context";
        let doc = &run.node.doc;
        let text = |text: Option<&String>| text.cloned().map(Fact::Text).into_iter().collect();
        match (key.entity, key.name.as_str()) {
            (Entity::Metric, _) => self.metric(run.node.id, key),
            (Entity::Param, name) => text(doc.params.get(name)),
            (Entity::Tag, USER_TAG) => text(run.user_tag.as_ref()),
            (Entity::Tag, name) => text(doc.tags.get(name)),
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
            (Entity::Attribute, "run_id") => vec![Fact::Text(answers::run_name(&run.node))],
            (Entity::Attribute, "run_name") => vec![Fact::Text(doc.name.clone())],
            (Entity::Attribute, "status") => vec![Fact::Text(doc.status.name().to_owned())],
            (Entity::Attribute, "user_id") => text(run.user.as_ref()),
            (Entity::Attribute, "artifact_uri") => run
                .node
                .parent
                .and_then(|id| self.experiments.get(&id))
                .map(|experiment| {
                    Fact::Text(answers::artifact_uri(
                        self.workspace,
                        experiment,
                        &answers::run_name(&run.node),
                    ))
                })
                .into_iter()
                .collect(),
            (Entity::Attribute, "end_time") => doc.end_time.map(Fact::integer).into_iter().collect(),
            (Entity::Attribute, _) => vec![Fact::integer(doc.start_time)],
        }
    }
}
