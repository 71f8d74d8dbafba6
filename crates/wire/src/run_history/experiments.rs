//! Experiments.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::Response;
use habeas_access::{Actor, Permission, authorise};
use habeas_core::kinds::{Experiment, ExperimentDoc, LifecycleStage};
use habeas_core::{Error, Id, Kind, Node, Result as CoreResult};
use habeas_rights::Selection;
use habeas_store::{New, Order, Page, Tx};
use serde_json::{Value, json};

use super::answers;
use super::call::Call;
use super::filter::{Key, microseconds};
use super::listing::{Collector, EXPERIMENTS, Listing};
use super::{source_snapshots, text_map};
use crate::data_services::Result;
use crate::runs::{NOTE_TAG, shortened};
use crate::search::Fact;
use crate::workspaces::default_experiment;

/// The longest name, in characters.
const NAME: usize = 255;
/// Experiments that are read at a time.
const CHUNK: u64 = 1_000;

/// Which experiment an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// By its name; what is no name may be its id.
    Name(String),
    /// By its id.
    Id(String),
    /// That of runs whose address names none (2018).
    Default,
}

impl Which {
    /// The one in the path of a request.
    pub(super) fn of(call: &Call) -> Which {
        if call.has_part("experiment_name") {
            Which::Name(call.part("experiment_name").to_owned())
        } else if call.has_part("experiment_id") {
            Which::Id(call.part("experiment_id").to_owned())
        } else {
            Which::Default
        }
    }

    /// The experiment, if the actor may do this with it.
    pub(super) fn find(
        &self,
        tx: &mut Tx<'_>,
        actor: &Actor,
        scope: Id,
        permission: Permission,
    ) -> CoreResult<Node<ExperimentDoc>> {
        let by_id = |tx: &mut Tx<'_>, id: Option<Id>| -> CoreResult<Option<Node<ExperimentDoc>>> {
            let Some(id) = id else { return Ok(None) };
            Ok(tx.get::<Experiment>(id)?.filter(|node| node.parent == Some(scope)))
        };
        let found = match self {
            Which::Name(name) => match tx.child_by_name::<Experiment>(scope, name)? {
                Some(node) => Some(node),
                None => by_id(tx, name.parse().ok())?,
            },
            Which::Id(id) => by_id(tx, id.parse().ok())?,
            Which::Default => by_id(tx, Some(default_experiment(scope)))?,
        };
        let node = found.ok_or_else(|| match self {
            Which::Name(text) | Which::Id(text) => {
                Error::not_found(format!("there is no experiment `{}`", shortened(text)))
            }
            Which::Default => Error::not_found("the default experiment was deleted")
                .hint("name an experiment in the address: .../experiments/NAME/runs"),
        })?;
        authorise(tx, actor, node.id, permission)?;
        Ok(node)
    }
}

/// GET `experiments/NAME`, `experimentids/ID`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    let (place, which) = (call.place(), Which::of(&call));
    let node = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            which.find(tx, &place.actor, scope, Permission::Read)
        })
        .await?;
    Ok(Json(answers::experiment(&node)))
}

fn check_name(name: &str) -> CoreResult<()> {
    if (1..=NAME).contains(&name.chars().count()) && !name.chars().any(|c| c.is_control() || c == '/') {
        return Ok(());
    }
    Err(Error::invalid(format!("an experiment's name has 1 to {NAME} characters, no slash among them")))
}

/// POST `experiments/NAME`: makes it, or finds it where somebody else was faster.
pub(super) async fn create(call: Call) -> Result<Json<Value>> {
    let name = call.part("experiment_name").to_owned();
    check_name(&name)?;
    let place = call.place();
    let id = call.app.store().ambient().new_id();
    let node = call
        .write(move |tx| {
            let scope = place.find(tx, Permission::Write)?;
            match tx.child_by_name::<Experiment>(scope, &name)? {
                Some(node) => Ok(node),
                None => {
                    let doc = ExperimentDoc::new(name.clone(), place.person);
                    tx.create::<Experiment>(New::under(scope, id, doc))
                }
            }
        })
        .await?;
    Ok(Json(answers::experiment(&node)))
}

/// PATCH `experimentids/ID`: name, description, tags, and whether it is archived.
pub(super) async fn update(call: Call) -> Result<Json<Value>> {
    let text = |name: &str| match call.body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::invalid(format!("`{name}` is not a text"))),
    };
    let archive = match call.body.get("archive") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(archive)) => Some(*archive),
        Some(_) => return Err(Error::invalid("`archive` is neither true nor false").into()),
    };
    let (name, description, tags) = (text("name")?, text("description")?, text_map(&call.body, "tags")?);
    if let Some(name) = &name {
        check_name(name)?;
    }
    let node = change(&call, move |tx, node| {
        if let Some(name) = &name {
            let scope = node.parent.unwrap_or(Id::NIL);
            if tx.child_by_name::<Experiment>(scope, name)?.is_some_and(|other| other.id != node.id) {
                return Err(Error::conflict("there is an experiment of that name already"));
            }
            node.doc.name.clone_from(name);
        }
        if let Some(description) = &description {
            node.doc.tags.insert(NOTE_TAG.to_owned(), description.clone());
        }
        node.doc.tags.extend(tags.clone());
        if let Some(archive) = archive {
            let stage = if archive { LifecycleStage::Deleted } else { LifecycleStage::Active };
            node.doc.set_stage(stage, tx.now());
        }
        Ok(())
    })
    .await?;
    Ok(Json(answers::experiment(&node)))
}

async fn change(
    call: &Call,
    change: impl Fn(&mut Tx<'_>, &mut Node<ExperimentDoc>) -> CoreResult<()> + Clone + Send + 'static,
) -> Result<Node<ExperimentDoc>> {
    let (place, which) = (call.place(), Which::of(call));
    Ok(call
        .write(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let mut node = which.find(tx, &place.actor, scope, Permission::Write)?;
            change(tx, &mut node)?;
            tx.update_by::<Experiment>(&node, place.person)
        })
        .await?)
}

/// POST `experimentids/ID/tags:delete`: those that were not there are told.
pub(super) async fn delete_tags(call: Call) -> Result<Json<Value>> {
    let names = text_list(call.body.get("tags"))?;
    let wanted = names.clone();
    let (place, which) = (call.place(), Which::of(&call));
    let missing: Vec<String> = call
        .write(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let mut node = which.find(tx, &place.actor, scope, Permission::Write)?;
            let missing =
                wanted.iter().filter(|name| node.doc.tags.remove(*name).is_none()).cloned().collect();
            tx.update::<Experiment>(&node)?;
            Ok(missing)
        })
        .await?;
    let error = crate::data_services::envelope(&Error::not_found("the experiment has no such tag"));
    let errors: BTreeMap<&String, &Value> = missing.iter().map(|name| (name, &error)).collect();
    Ok(Json(json!({ "errors": errors })))
}

/// A list of texts.
pub(super) fn text_list(value: Option<&Value>) -> CoreResult<Vec<String>> {
    let invalid = || Error::invalid("the names are not a list of texts");
    let list = value.and_then(Value::as_array).ok_or_else(invalid)?;
    list.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(invalid)).collect()
}

/// DELETE `experimentids/ID`: with its runs, their files and the snapshots that only they were made with, for good. The clients take 200, or
/// 202 with an address to ask again; 204 and 404 they call errors, which what is not there is.
pub(super) async fn delete(call: Call) -> Result<Response> {
    source_snapshots::index(&call).await?;
    let (place, which) = (call.place(), Which::of(&call));
    call.delete(move |tx| {
        let scope = place.find(tx, Permission::Read)?;
        let id = which.find(tx, &place.actor, scope, Permission::Write)?.id;
        let runs: Vec<Id> = tx.children_ids(id, Kind::Run)?.into_iter().map(|(_, run)| run).collect();
        let also = source_snapshots::of_runs(tx, scope, &runs)?;
        Ok(Selection { within: id, resources: vec![id], also })
    })
    .await
}

/// Which experiments a list shows.
#[derive(Clone, Copy, Debug)]
enum View {
    Active,
    Archived,
    All,
}

fn view(call: &Call) -> CoreResult<View> {
    let named = match call.body.get("viewType") {
        None | Some(Value::Null) => call.query("viewtype").map(str::to_lowercase),
        Some(value) => Some(value.as_str().unwrap_or("?").to_lowercase()),
    };
    match named.as_deref() {
        None | Some("default" | "activeonly") => Ok(View::Active),
        Some("archivedonly") => Ok(View::Archived),
        Some("all") => Ok(View::All),
        Some(_) => Err(Error::invalid("there is no such `viewType`")
            .hint("send Default, ActiveOnly, ArchivedOnly or All")),
    }
}

/// GET `experiments`, POST `experiments:query`.
pub(super) async fn list(call: Call) -> Result<Json<Value>> {
    let (listing, view) = (Listing::read(&call, &EXPERIMENTS)?, view(&call)?);
    let place = call.place();
    let found = call
        .app
        .store()
        .read(move |tx| {
            let scope = place.find(tx, Permission::Read)?;
            let mut collector = Collector::new(&listing, true)?;
            let mut page = Page { order: Order::Newest, skip: 0, take: CHUNK };
            loop {
                let nodes = tx.children::<Experiment>(scope, page)?;
                let last = (nodes.len() as u64) < CHUNK;
                for node in nodes {
                    let shown = match view {
                        View::Active => node.doc.stage == LifecycleStage::Active,
                        View::Archived => node.doc.stage == LifecycleStage::Deleted,
                        View::All => true,
                    };
                    if shown {
                        collector.look_at((node.created_at, node.id), node, facts);
                    }
                }
                if last || collector.is_full() {
                    return Ok(collector.finish());
                }
                page.skip += CHUNK;
            }
        })
        .await?;
    Ok(Json(found.answer(|node| Ok(answers::experiment(&node)))?))
}

fn facts(node: &Node<ExperimentDoc>, key: &Key) -> Vec<Fact> {
    let text = |text: Option<&String>| text.cloned().map(Fact::Text);
    let found = match (key.name, key.below.as_deref()) {
        ("Tags", Some(name)) => text(node.doc.tags.get(name)),
        ("ExperimentId", _) => Some(Fact::Text(node.id.to_string())),
        ("Description", _) => text(node.doc.tags.get(NOTE_TAG)),
        ("CreatedUtc", _) => Some(Fact::Number(microseconds(node.created_at))),
        ("ArchivedTime", _) => answers::archived(node).map(|time| Fact::Number(microseconds(time))),
        _ => Some(Fact::Text(node.doc.name.clone())),
    };
    found.into_iter().collect()
}
