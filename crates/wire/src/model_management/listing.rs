//! Lists: filters, orders and pages.
//!
//! A page is as long as `count` says. The address of the next one stands in `nextLink`, which the last page leaves out: the command line
//! of 2017 follows it as long as it is there, whatever it holds. The address begins with the host, which `amlrealtimeai` insists on, and
//! carries `$skipToken`, which `azureml-core` 1 takes out of it.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::{Error, Id, Node, Result, Timestamp};
use serde_json::{Value, json};

use super::call::Call;

/// The longest page, and how long one is without being told.
const MOST: usize = 1_000;

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Made,
    Changed,
}

/// Where an entry stands in the order of its list: a time, the number of its version, and its identifier.
type Place = (i64, u32, Id);

/// What a list asks for.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    count: usize,
    offset: usize,
    by: By,
    newest_first: bool,
    after: Option<Place>,
    filters: HashMap<String, String>,
}

impl Listing {
    /// Reads the query of a list.
    pub(super) fn of(call: &Call) -> Result<Listing> {
        Listing::read(call.queries().clone())
    }

    /// Reads the body of a list that is asked for by POST, whose members are called like the parameters of the query.
    pub(super) fn of_body(call: &Call) -> Result<Listing> {
        let Value::Object(members) = &call.body else {
            return Err(Error::invalid("the body is not a JSON object"));
        };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let given = members.iter().filter(|(_, value)| !value.is_null());
        Listing::read(given.map(|(name, value)| (name.to_lowercase(), text(value))).collect())
    }

    fn read(filters: HashMap<String, String>) -> Result<Listing> {
        let get = |names: &[&str]| {
            names.iter().find_map(|name| filters.get(*name)).filter(|value| !value.is_empty())
        };
        let number = |name: &'static str| match get(&[name]) {
            None => Ok(None),
            Some(text) => text
                .parse::<usize>()
                .map(Some)
                .map_err(|_| Error::invalid(format!("`{name}` is not a number of entries"))),
        };
        let order = get(&["orderby", "$orderby"]).map(|order| order.to_lowercase()).unwrap_or_default();
        // Without being told, the newest comes first: azureml-core takes the first entry for the newest version.
        let (by, newest_first) = match order.as_str() {
            "" | "createdatdesc" | "createdtimedesc" => (By::Made, true),
            "createdatasc" | "createdtimeasc" => (By::Made, false),
            "updatedatdesc" => (By::Changed, true),
            "updatedatasc" => (By::Changed, false),
            _ => {
                return Err(Error::invalid("the list cannot be sorted like that")
                    .hint("orderBy is CreatedAtDesc, CreatedAtAsc, UpdatedAtDesc or UpdatedAtAsc"));
            }
        };
        let after = get(&["$skiptoken", "skiptoken"]).map(|token| read_token(token)).transpose()?;
        Ok(Listing {
            count: number("count")?.unwrap_or(MOST).clamp(1, MOST),
            offset: number("offset")?.unwrap_or(0),
            by,
            newest_first,
            after,
            filters,
        })
    }

    /// What a filter asks for.
    pub(super) fn filter(&self, name: &str) -> Option<&str> {
        self.filters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether nothing is asked for by this name, or just this.
    pub(super) fn is(&self, name: &str, value: Option<&str>) -> bool {
        self.filter(name).is_none_or(|wanted| value.is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
    }

    /// Whether nothing is asked for by this name, or one of these.
    pub(super) fn is_one_of(&self, name: &str, values: &[String]) -> bool {
        self.filter(name).is_none_or(|wanted| values.iter().any(|value| value.eq_ignore_ascii_case(wanted)))
    }

    /// Whether tags and properties are as asked for: `tag` names one, `tags`, `kvTags` and `properties` several, each `NAME` or `NAME=VALUE`.
    pub(super) fn has(&self, tags: &BTreeMap<String, String>, properties: &BTreeMap<String, String>) -> bool {
        let is_there = |one: &str, entries: &BTreeMap<String, String>| match one.split_once('=') {
            Some((name, value)) => entries.get(name).is_some_and(|there| there == value),
            None => entries.contains_key(one),
        };
        let all = |name: &str, entries: &BTreeMap<String, String>| {
            self.filter(name).is_none_or(|wanted| wanted.split(',').all(|one| is_there(one, entries)))
        };
        // The value of one tag may have commas.
        self.filter("tag").is_none_or(|one| is_there(one, tags))
            && all("tags", tags)
            // `azureml-core` 0.1.50 asks so for models and images.
            && all("kvtags", tags)
            && all("properties", properties)
    }

    /// One page of `found`, of which the function says the version; and the token of the next page.
    pub(super) fn page<T, D>(
        &self,
        found: Vec<T>,
        node: impl Fn(&T) -> (&Node<D>, u32),
    ) -> (Vec<T>, Option<String>) {
        let place = |entry: &T| -> Place {
            let (node, version) = node(entry);
            let Timestamp(time) = match self.by {
                By::Made => node.created_at,
                By::Changed => node.updated_at,
            };
            (time, version, node.id)
        };
        let mut placed: Vec<(Place, T)> = found.into_iter().map(|entry| (place(&entry), entry)).collect();
        placed.sort_by_key(|(place, _)| *place);
        if self.newest_first {
            placed.reverse();
        }
        let is_after = |place: &Place| match &self.after {
            None => true,
            Some(after) if self.newest_first => place < after,
            Some(after) => place > after,
        };
        let mut rest = placed.into_iter().filter(|(place, _)| is_after(place)).skip(self.offset).peekable();
        let mut page = Vec::new();
        let mut last = None;
        while page.len() < self.count
            && let Some((place, entry)) = rest.next()
        {
            last = Some(place);
            page.push(entry);
        }
        (page, rest.peek().and(last).map(|place| token(&place)))
    }
}

fn token((time, version, id): &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{time}.{version}.{id}"))
}

fn read_token(token: &str) -> Result<Place> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let mut parts = text.splitn(3, '.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    read().ok_or_else(|| {
        Error::invalid("`$skipToken` was not made by this server").hint("follow `nextLink` as it is")
    })
}

/// A page as an answer; the next page is asked for at the same address.
pub(super) fn answer(call: &Call, value: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = json!({ "value": value });
    if let Some(token) = next {
        let (path, query) = call.address.split_once('?').unwrap_or((&call.address, ""));
        let kept = query.split('&').filter(|pair| {
            let name = crate::percent::decode(pair.split('=').next().unwrap_or_default()).to_lowercase();
            !pair.is_empty() && name != "$skiptoken" && name != "offset"
        });
        let mut query: Vec<String> = kept.map(str::to_owned).collect();
        query.push(format!("$skipToken={token}"));
        answer["nextLink"] = json!(format!("{}{path}?{}", call.base, query.join("&")));
    }
    answer
}

/// A page of a list that was asked for by POST: the body that asks for the next one.
pub(super) fn answer_of_body(call: &Call, value: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = json!({ "value": value });
    if let Some(token) = next {
        let mut request = call.body.clone();
        if let Value::Object(members) = &mut request {
            members.remove("offset");
            members.insert("skipToken".into(), json!(token));
        }
        answer["nextRequest"] = request;
    }
    answer
}
