//! Searching: filters, orders and pages over experiments, runs and models.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::kinds::LifecycleStage;
use habeas_core::{Error, Result as CoreResult};
use serde_json::{Value, json};

use super::arguments::{Arguments, wrong_type};
pub(super) use super::filter::{Comparison, Entity, Fact, Key, Measured, Schema};
use crate::search::compare;

/// Runs.
pub(super) const RUNS: Schema = Schema {
    numbers: &["start_time", "end_time", "created"],
    texts: &["run_id", "run_name", "status", "user_id", "artifact_uri"],
    lists: &["run_id"],
    listed: &[Entity::Dataset],
    quoted_numbers: false,
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
    listed: &[],
    quoted_numbers: false,
    aliases: &[],
    entities: &[Entity::Tag],
    order: &[("creation_time", true), ("experiment_id", false)],
};

/// Registered models.
pub(super) const REGISTERED_MODELS: Schema = Schema {
    numbers: &["creation_timestamp", "last_updated_timestamp"],
    texts: &["name"],
    lists: &["name"],
    listed: &[],
    quoted_numbers: false,
    aliases: &[("timestamp", "last_updated_timestamp")],
    entities: &[Entity::Tag],
    order: &[("name", false)],
};

/// Model versions.
pub(super) const MODEL_VERSIONS: Schema = Schema {
    numbers: &["version_number", "creation_timestamp", "last_updated_timestamp"],
    texts: &["name", "run_id", "source_path"],
    lists: &["name", "run_id"],
    listed: &[],
    quoted_numbers: true,
    aliases: &[],
    entities: &[Entity::Tag],
    order: &[("last_updated_timestamp", true), ("name", false), ("version_number", true)],
};

/// The tag of prompts, which are registered models.
pub(super) const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

/// A tag of the registry that can be searched by. Clients ask for models that are no prompts, which most have never been tagged as.
pub(super) fn registry_tag(tags: &BTreeMap<String, String>, name: &str) -> Option<Fact> {
    let absent = (name == IS_PROMPT).then(|| "false".to_owned());
    tags.get(name).cloned().or(absent).map(Fact::Text)
}

/// Logged models.
pub(super) const LOGGED_MODELS: Schema = Schema {
    numbers: &["creation_timestamp", "last_updated_timestamp"],
    texts: &["name", "model_id", "model_type", "status", "source_run_id"],
    lists: &["name", "model_id", "model_type", "status", "source_run_id"],
    listed: &[Entity::Param, Entity::Tag],
    quoted_numbers: false,
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
            (Key { entity: Entity::Attribute, name: (*name).to_owned(), dataset: None }, *descending)
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
    pub(super) fn enough(&self) -> usize {
        self.skip.saturating_add(self.take).saturating_add(1)
    }

    /// Filters and sorts; the page, and the token of the next one.
    pub(super) fn select<N>(
        &self,
        nodes: Vec<N>,
        fact: impl Fn(&N, &Key) -> Option<Fact>,
    ) -> CoreResult<(Vec<N>, Option<String>)> {
        let placed = nodes.into_iter().filter_map(|node| {
            let place = self.place(|key| fact(&node, key).into_iter().collect())?;
            Some((place, node))
        });
        let (page, next) = self.page(self.sorted(placed.collect()));
        Ok((page.into_iter().map(|(_, node)| node).collect(), next))
    }

    /// What is filtered and sorted by.
    pub(super) fn keys(&self) -> Vec<Key> {
        let filter = self.filter.iter().map(|comparison| &comparison.key);
        filter.chain(self.order.iter().map(|(key, _)| key)).cloned().collect()
    }

    /// The place in the order of a thing with these values, if the filter lets it through.
    pub(super) fn place(&self, facts: impl Fn(&Key) -> Vec<Fact>) -> Option<Vec<Option<Fact>>> {
        self.lets_through(&facts).then(|| self.in_order(|key| facts(key).into_iter().next()))
    }

    /// Whether the filter lets a thing with these values through.
    pub(super) fn lets_through(&self, facts: impl Fn(&Key) -> Vec<Fact>) -> bool {
        self.filter.iter().all(|comparison| comparison.holds(&facts(&comparison.key)))
    }

    /// The place in the order of a thing with these values.
    pub(super) fn in_order(&self, fact: impl Fn(&Key) -> Option<Fact>) -> Vec<Option<Fact>> {
        self.order.iter().map(|(key, _)| fact(key)).collect()
    }

    /// Sorts by place.
    pub(super) fn sorted<N>(&self, mut found: Vec<(Vec<Option<Fact>>, N)>) -> Vec<(Vec<Option<Fact>>, N)> {
        found.sort_by(|(a, _), (b, _)| {
            a.iter()
                .zip(b)
                .zip(&self.order)
                .map(|((a, b), (_, descending))| compare(a.as_ref(), b.as_ref(), *descending))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        found
    }

    /// The page of what was found, and the token of the next one.
    pub(super) fn page<N>(&self, mut found: Vec<N>) -> (Vec<N>, Option<String>) {
        let end = self.skip.saturating_add(self.take);
        let next = (found.len() > end).then(|| token(&json!({ "offset": end })));
        found.truncate(end);
        (found.split_off(self.skip.min(found.len())), next)
    }
}
