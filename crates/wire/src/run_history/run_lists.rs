//! Lists of runs: of a workspace, an experiment, a run, a machine; and how many there are in each state.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::response::Response;
use habeas_access::Permission;
use habeas_core::kinds::{LifecycleStage, Run, RunDoc, RunStatus};
use habeas_core::{Error, Id, Kind, Node, Result as CoreResult, Timestamp};
use habeas_rights::Selection;
use habeas_store::{Order, Page, Tx};
use serde_json::{Value, json};

use super::answers::Answers;
use super::call::{Call, Place};
use super::experiments::Which;
use super::filter::{Filter, Key, microseconds};
use super::listing::{Collector, Found, Listing, RUNS};
use super::{runs, source_snapshots};
use crate::data_services::Result;
use crate::runs::{NOTE_TAG, PARENT_TAG, SCRIPT_TAG, USER_TAG, client_name, run_name, shortened};
use crate::search::{Comparison, Fact, Operand, Operator};

/// Runs that are read at a time.
const CHUNK: u64 = 1_000;
/// The most runs that one request deletes: one transaction, which holds the only writer.
const MOST_DELETED: usize = 1_000;

/// A run with what a search needs of it.
pub(super) struct Seen {
    pub(super) node: Node<RunDoc>,
    root: Option<String>,
    user_tag: Option<String>,
}

/// Which runs a list is of, beyond what its filter says.
fn of_path(call: &Call) -> Option<Comparison<Key>> {
    let is = |name: &'static str, value: &str| Comparison {
        key: Key { name, below: None },
        operator: Operator::Equal,
        operand: Operand::Text(value.to_owned()),
    };
    if call.has_part("run_id") {
        Some(is("ParentRunId", call.part("run_id")))
    } else if call.has_part("compute_name") {
        Some(is("Target", call.part("compute_name")))
    } else {
        None
    }
}

/// The lists.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let mut listing = Listing::read(&call, &RUNS)?;
    let parent = call.has_part("run_id").then(|| call.part("run_id").to_owned());
    if let Some(condition) = of_path(&call) {
        listing.filter = Filter::All(vec![Filter::Is(condition), listing.filter]);
    }
    let (place, which) = (call.place(), Which::of(&call));
    let answer = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            if let Some(parent) = &parent {
                runs::find(tx, &place, &which, parent, Permission::Read)?;
            }
            let mut answers = Answers::new(scope);
            let found = search(tx, &place, scope, &which, &listing, &mut answers)?;
            found.answer(|seen| answers.run(tx, &seen.node))
        })
        .await?;
    Ok(Json(answer))
}

/// GET `runcounts` (1.61) and `runs:runcounts` (2018).
pub(super) async fn counts(call: Call) -> Result<Json<Value>> {
    let listing = Listing { order: Vec::new(), token: None, ..Listing::read(&call, &RUNS)? };
    let (place, which) = (call.place(), Which::of(&call));
    let counts = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
            let mut answers = Answers::new(scope);
            let needs = Needs::of(tx, scope, &listing)?;
            for experiment in experiments(tx, &place, scope, &which)? {
                each(tx, experiment, |tx, node| {
                    let seen = needs.open(tx, &mut answers, node)?;
                    if listing.filter.holds(&|key: &Key| needs.facts(&seen, key)) {
                        *counts.entry(seen.node.doc.status.history_name()).or_default() += 1;
                    }
                    Ok(true)
                })?;
            }
            Ok(counts)
        })
        .await?;
    let shown = [
        ("provisioning", RunStatus::Provisioning),
        ("queued", RunStatus::Scheduled),
        ("notStarted", RunStatus::NotStarted),
        ("starting", RunStatus::Starting),
        ("preparing", RunStatus::Preparing),
        ("running", RunStatus::Running),
        ("completed", RunStatus::Finished),
        ("failed", RunStatus::Failed),
        ("canceled", RunStatus::Killed),
        ("notResponding", RunStatus::NotResponding),
    ];
    let shown: serde_json::Map<String, Value> = shown
        .into_iter()
        .map(|(name, status)| {
            (name.to_owned(), json!(counts.get(status.history_name()).copied().unwrap_or_default()))
        })
        .collect();
    Ok(Json(Value::Object(shown)))
}

/// DELETE `runs` of an experiment, which Azure does not have: every run that the filter finds, at once and for good; with `dryRun=true` only
/// counts them. A run that MLflow put aside is not found.
pub(super) async fn delete(call: Call) -> Result<Response> {
    for name in ["top", "orderby", "continuationtoken"] {
        if call.query(name).is_some() {
            return Err(Error::invalid(format!("`{name}` means nothing to a deletion"))
                .hint("leave it out: every run that `$filter` finds is deleted")
                .into());
        }
    }
    let filter = RUNS.plain_filter(call.query("filter").unwrap_or_default())?;
    check_states(&filter)?;
    if filter.comparisons().is_empty() {
        return Err(Error::invalid("which runs are to be deleted is not said")
            .hint("send `$filter`, such as Status eq Failed; DELETE .../experimentids/ID deletes the experiment with all its runs")
            .into());
    }
    let listing = Listing { filter, order: Vec::new(), token: None, take: 0, count: false };
    source_snapshots::index(&call).await?;
    let (place, which) = (call.place(), Which::of(&call));
    call.delete(move |tx| {
        let scope = place.find(tx, Permission::Read)?;
        let experiment = which.find(tx, &place.actor, scope, Permission::Write)?.id;
        let (needs, mut answers) = (Needs::of(tx, scope, &listing)?, Answers::new(scope));
        let mut runs = Vec::new();
        each(tx, experiment, |tx, node| {
            let seen = needs.open(tx, &mut answers, node)?;
            if listing.filter.holds(&|key: &Key| needs.facts(&seen, key)) {
                runs.push(seen.node.id);
            }
            Ok(runs.len() <= MOST_DELETED)
        })?;
        if runs.len() > MOST_DELETED {
            return Err(Error::limit(format!("the filter finds more than {MOST_DELETED} runs"))
                .hint("narrow it, such as by RunNumber le NUMBER, and repeat until nothing is selected"));
        }
        let also = source_snapshots::of_runs(tx, scope, &runs)?;
        Ok(Selection { within: experiment, resources: runs, also })
    })
    .await
}

/// Refuses a filter that compares `Status` with what no run can be: `ne` would find every run.
fn check_states(filter: &Filter) -> CoreResult<()> {
    let known = RunStatus::ALL.map(RunStatus::history_name);
    for comparison in filter.comparisons().into_iter().filter(|comparison| comparison.key.name == "Status") {
        if let Operand::Text(text) = &comparison.operand
            && !known.contains(&text.as_str())
        {
            return Err(Error::invalid(format!("there is no `Status` called `{}`", shortened(text)))
                .hint(format!("write one of {}", known.join(", "))));
        }
    }
    Ok(())
}

/// The experiments that a list is of.
pub(super) fn experiments(tx: &mut Tx<'_>, place: &Place, scope: Id, which: &Which) -> CoreResult<Vec<Id>> {
    match which {
        Which::Default => {
            Ok(tx.children_ids(scope, Kind::Experiment)?.into_iter().map(|(_, id)| id).collect())
        }
        which => Ok(vec![which.find(tx, &place.actor, scope, Permission::Read)?.id]),
    }
}

/// Every shown run of an experiment, newest first, until `work` says no.
fn each(
    tx: &mut Tx<'_>,
    experiment: Id,
    mut work: impl FnMut(&mut Tx<'_>, Node<RunDoc>) -> CoreResult<bool>,
) -> CoreResult<()> {
    let mut page = Page { order: Order::Newest, skip: 0, take: CHUNK };
    loop {
        let nodes = tx.children::<Run>(experiment, page)?;
        let last = (nodes.len() as u64) < CHUNK;
        for node in nodes.into_iter().filter(|node| node.doc.stage == LifecycleStage::Active) {
            if !work(tx, node)? {
                return Ok(());
            }
        }
        if last {
            return Ok(());
        }
        page.skip += CHUNK;
    }
}

fn search(
    tx: &mut Tx<'_>,
    place: &Place,
    scope: Id,
    which: &Which,
    listing: &Listing,
    answers: &mut Answers,
) -> CoreResult<Found<Seen>> {
    let needs = Needs::of(tx, scope, listing)?;
    let experiments = experiments(tx, place, scope, which)?;
    let mut collector = Collector::new(listing, experiments.len() == 1)?;
    for experiment in experiments {
        each(tx, experiment, |tx, node| {
            let seen = needs.open(tx, answers, node)?;
            collector.look_at(made(&seen.node), seen, |seen, key| needs.facts(seen, key));
            Ok(!collector.is_full())
        })?;
    }
    Ok(collector.finish())
}

/// What the order of creation goes by.
fn made(node: &Node<RunDoc>) -> (Timestamp, Id) {
    (node.created_at, node.id)
}

/// What a search needs beyond the runs' documents.
struct Needs {
    root: bool,
    user: bool,
    /// The newest values of the metrics that are named.
    metrics: HashMap<String, HashMap<Id, f64>>,
}

impl Needs {
    fn of(tx: &mut Tx<'_>, scope: Id, listing: &Listing) -> CoreResult<Needs> {
        let comparisons = listing.filter.comparisons();
        let keys: Vec<&Key> = comparisons
            .into_iter()
            .map(|comparison| &comparison.key)
            .chain(listing.order.iter().map(|(key, _)| key))
            .collect();
        let mut metrics = HashMap::new();
        for key in keys.iter().filter(|key| key.name == "Metrics") {
            let Some(name) = &key.below else { continue };
            let values = tx.metric_values(scope, name, i64::MIN..=i64::MAX)?;
            metrics.insert(name.clone(), values.into_iter().collect());
        }
        Ok(Needs {
            root: keys.iter().any(|key| key.name == "RootRunId"),
            user: keys.iter().any(|key| key.below.as_deref() == Some(USER_TAG)),
            metrics,
        })
    }

    fn open(&self, tx: &mut Tx<'_>, answers: &mut Answers, node: Node<RunDoc>) -> CoreResult<Seen> {
        let root = if self.root { Some(answers.root(tx, &node)?.name) } else { None };
        let user_tag = if self.user { client_name(tx, node.doc.user_tag)? } else { None };
        Ok(Seen { node, root, user_tag })
    }

    fn facts(&self, seen: &Seen, key: &Key) -> Vec<Fact> {
        let (node, doc) = (&seen.node, &seen.node.doc);
        let text = |text: Option<&String>| text.cloned().map(Fact::Text);
        let time =
            |milliseconds: i64| Fact::Number(microseconds(Timestamp(milliseconds.saturating_mul(1_000))));
        let field = |name: &str| doc.details.fields.get(name);
        let field_text =
            |name: &str| field(name).and_then(Value::as_str).map(|text| Fact::Text(text.to_owned()));
        let kind = field("runTypeV2");
        let below = key.below.as_deref().unwrap_or_default();
        let found = match key.name {
            "RunId" => Some(Fact::Text(run_name(node))),
            "RootRunId" => text(seen.root.as_ref()),
            "ParentRunId" => text(doc.tags.get(PARENT_TAG)),
            "ExperimentId" => node.parent.map(|id| Fact::Text(id.to_string())),
            "Status" => Some(Fact::Text(doc.status.history_name().to_owned())),
            "Target" => field_text("target"),
            "RunType" => field_text("runType"),
            "PrimaryMetricName" => field_text("primaryMetricName"),
            "RunTypeV2/Orchestrator" => kind
                .and_then(|kind| kind.get("orchestrator")?.as_str())
                .map(|text| Fact::Text(text.to_owned())),
            "RunTypeV2/Traits" => kind
                .and_then(|kind| kind.get("traits")?.as_array())
                .filter(|traits| traits.iter().any(|one| one.as_str() == Some(below)))
                .map(|_| Fact::Text(below.to_owned())),
            "Name" => text(Some(doc.details.name.as_ref().unwrap_or(&doc.name))),
            "DisplayName" => text(Some(&doc.name)),
            "ScriptName" => text(doc.tags.get(SCRIPT_TAG)),
            "Description" => text(doc.tags.get(NOTE_TAG)),
            "UserId" => doc.created_by.map(|id| Fact::Text(id.to_string())),
            "Hidden" => {
                let hidden = field("hidden").and_then(Value::as_bool).unwrap_or(false);
                Some(Fact::Text(hidden.to_string()))
            }
            "CreatedUtc" => Some(Fact::Number(microseconds(node.created_at))),
            "StartTimeUtc" => doc.status.has_begun().then(|| time(doc.start_time)),
            "EndTimeUtc" => doc.end_time.map(time),
            "RunNumber" => {
                doc.details.number.and_then(|number| i64::try_from(number).ok()).map(Fact::integer)
            }
            "Tags" if below == USER_TAG => text(seen.user_tag.as_ref()),
            "Tags" => text(doc.tags.get(below)),
            "Properties" => text(doc.params.get(below)),
            _ => self.metrics.get(below).and_then(|values| values.get(&node.id)).copied().map(Fact::Number),
        };
        found.into_iter().collect()
    }
}
