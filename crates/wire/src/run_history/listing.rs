//! Pages of what a filter finds, in the order asked for.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use habeas_core::{Error, Id, Result, Timestamp};
use serde_json::{Value, json};

use super::call::Call;
use super::filter::{Filter, Key, Schema};
use crate::search::{Fact, compare};

/// The most entries of a page, and how many without being told.
const MOST: usize = 10_000;
const USUAL: usize = 100;
/// How many more are kept than a page needs, so that the last of the page before is found though others were added before it.
const SLACK: usize = 1_000;

/// Runs.
pub(super) const RUNS: Schema = Schema {
    texts: &[
        "RunId",
        "RootRunId",
        "ParentRunId",
        "ExperimentId",
        "Status",
        "Target",
        "RunType",
        "RunTypeV2/Orchestrator",
        "Name",
        "DisplayName",
        "ScriptName",
        "Description",
        "UserId",
        "Hidden",
        "PrimaryMetricName",
    ],
    times: &["CreatedUtc", "StartTimeUtc", "EndTimeUtc"],
    numbers: &["RunNumber"],
    maps: &["Tags", "Properties", "RunTypeV2/Traits"],
    number_maps: &["Metrics"],
};

/// Experiments.
pub(super) const EXPERIMENTS: Schema = Schema {
    texts: &["ExperimentId", "Name", "Description"],
    times: &["CreatedUtc", "ArchivedTime"],
    numbers: &[],
    maps: &["Tags"],
    number_maps: &[],
};

/// Events of a run.
pub(super) const EVENTS: Schema =
    Schema { texts: &["Name"], times: &["Timestamp"], numbers: &[], maps: &[], number_maps: &[] };

/// Metrics, in the shape of 2018.
pub(super) const METRICS: Schema = Schema {
    texts: &["RunId", "MetricId", "MetricType", "Name", "Label"],
    times: &["CreatedUtc"],
    numbers: &[],
    maps: &[],
    number_maps: &[],
};

/// What a list asks for, in the query (2018) or in the body (`runs:query`).
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) filter: Filter,
    /// What to sort by, and whether the greatest comes first; then the newest first.
    pub(super) order: Vec<(Key, bool)>,
    pub(super) token: Option<Value>,
    pub(super) take: usize,
    /// Whether all that is found is to be counted.
    pub(super) count: bool,
}

impl Listing {
    pub(super) fn read(call: &Call, schema: &Schema) -> Result<Listing> {
        let text = |name: &str, in_body: &str| -> Result<Option<String>> {
            match call.body.get(in_body) {
                None | Some(Value::Null) => Ok(call.query(name).map(str::to_owned)),
                Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
                Some(_) => Err(Error::invalid(format!("`{in_body}` is not a text"))),
            }
        };
        let take = match call.body.get("top") {
            None | Some(Value::Null) => {
                call.query("top").map(str::parse).transpose().map_err(|_| wrong_top())?
            }
            Some(value) => {
                Some(value.as_u64().and_then(|top| usize::try_from(top).ok()).ok_or_else(wrong_top)?)
            }
        };
        if take == Some(0) {
            return Err(wrong_top());
        }
        let descending =
            call.query("sortorder").is_some_and(|order| order.to_lowercase().starts_with("desc"));
        Ok(Listing {
            filter: schema.filter(&text("filter", "filter")?.unwrap_or_default())?,
            order: schema.order_by(&text("orderby", "orderby")?.unwrap_or_default(), descending)?,
            token: text("continuationtoken", "continuationToken")?
                .map(|token| read_token(&token))
                .transpose()?,
            take: take.unwrap_or(USUAL).min(MOST),
            count: call.query("count") == Some("true"),
        })
    }

    /// Whether the newest is to come first, which is the order in which they are read.
    fn is_newest_first(&self) -> bool {
        match self.order.first() {
            None => true,
            Some((key, descending)) => key.name == "CreatedUtc" && *descending,
        }
    }
}

fn wrong_top() -> Error {
    Error::invalid("`top` is not a number of entries").hint(format!("send 1 to {MOST}"))
}

fn bad_token() -> Error {
    Error::invalid("the continuation token was not made by this server")
        .hint("send the token of the last page as it was")
}

/// A continuation token: opaque to clients, and without anything that a client wrote, since it may stand in an address.
pub(super) fn token(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn read_token(token: &str) -> Result<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token())?;
    serde_json::from_slice(&bytes).map_err(|_| bad_token())
}

/// A whole number of a token.
pub(super) fn number_of(token: &Value, name: &str) -> Result<i64> {
    token.get(name).and_then(Value::as_i64).ok_or_else(bad_token)
}

/// An identifier of a token.
pub(super) fn id_of(token: &Value, name: &str) -> Result<Id> {
    token.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok()).ok_or_else(bad_token)
}

/// A page, and where the next one begins.
#[derive(Debug)]
pub(super) struct Found<N> {
    pub(super) page: Vec<N>,
    pub(super) token: Option<String>,
    /// How many there are in all, if that was asked for.
    pub(super) count: Option<usize>,
}

impl<N> Found<N> {
    /// The answer.
    pub(super) fn answer(self, shape: impl FnMut(N) -> Result<Value>) -> Result<Value> {
        let value = self.page.into_iter().map(shape).collect::<Result<Vec<_>>>()?;
        let mut answer = json!({ "value": value, "continuationToken": self.token });
        if let Some(count) = self.count {
            answer["count"] = json!(count);
        }
        Ok(answer)
    }
}

/// Collects what a list finds. Holds no more than the page needs, however many are looked at.
pub(super) struct Collector<'a, N> {
    listing: &'a Listing,
    /// The last entry of the page before, and how many there were to the end of that page.
    after: Option<(Id, usize)>,
    kept: Vec<Entry<N>>,
    count: usize,
    /// Whether entries come in the order asked for.
    in_order: bool,
}

struct Entry<N> {
    place: Vec<Option<Fact>>,
    made: (Timestamp, Id),
    thing: N,
}

impl<'a, N> Collector<'a, N> {
    /// `one_source` says that entries come newest first.
    pub(super) fn new(listing: &'a Listing, one_source: bool) -> Result<Collector<'a, N>> {
        let after = match &listing.token {
            None => None,
            Some(token) => {
                let at = usize::try_from(number_of(token, "at")?).map_err(|_| bad_token())?;
                Some((id_of(token, "id")?, at))
            }
        };
        let in_order = one_source && listing.is_newest_first();
        Ok(Collector { listing, after, kept: Vec::new(), count: 0, in_order })
    }

    /// Looks at an entry.
    pub(super) fn look_at(&mut self, made: (Timestamp, Id), thing: N, facts: impl Fn(&N, &Key) -> Vec<Fact>) {
        if !self.listing.filter.holds(&|key: &Key| facts(&thing, key)) {
            return;
        }
        self.count += 1;
        let place = self.listing.order.iter().map(|(key, _)| facts(&thing, key).into_iter().next()).collect();
        self.kept.push(Entry { place, made, thing });
        if !self.in_order && self.kept.len() > 2 * self.enough() {
            self.sort();
            self.kept.truncate(self.enough());
        }
    }

    /// Whether no entry that is still to come can be on the page.
    pub(super) fn is_full(&self) -> bool {
        self.in_order && !self.listing.count && self.kept.len() >= self.enough()
    }

    fn enough(&self) -> usize {
        let before = self.after.map_or(0, |(_, at)| at.saturating_add(SLACK));
        before.saturating_add(self.listing.take).saturating_add(1)
    }

    fn sort(&mut self) {
        let order = &self.listing.order;
        self.kept.sort_by(|a, b| {
            a.place
                .iter()
                .zip(&b.place)
                .zip(order)
                .map(|((a, b), (_, descending))| compare(a.as_ref(), b.as_ref(), *descending))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
                .then(b.made.cmp(&a.made))
        });
    }

    /// The page.
    pub(super) fn finish(mut self) -> Found<N> {
        if !self.in_order {
            self.sort();
        }
        let start = self.after.map_or(0, |(id, at)| {
            let last = self.kept.iter().position(|entry| entry.made.1 == id);
            last.map_or(at, |index| index + 1).min(self.kept.len())
        });
        let end = start.saturating_add(self.listing.take);
        let more = self.kept.len() > end;
        self.kept.truncate(end);
        let last = self.kept.last().map(|entry| entry.made.1);
        let token = last.filter(|_| more).map(|id| token(&json!({ "id": id, "at": end })));
        Found {
            page: self.kept.split_off(start).into_iter().map(|entry| entry.thing).collect(),
            token,
            count: self.listing.count.then_some(self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listing(order: &str, take: usize, token: Option<String>) -> Listing {
        Listing {
            filter: RUNS.filter("").unwrap(),
            order: RUNS.order_by(order, false).unwrap(),
            token: token.map(|token| read_token(&token).unwrap()),
            take,
            count: false,
        }
    }

    /// All pages of runs with these numbers, newest first.
    fn pages(numbers: &[i64], order: &str, take: usize) -> Vec<Vec<i64>> {
        let (mut pages, mut token) = (Vec::new(), None);
        loop {
            let listing = listing(order, take, token);
            let mut collector = Collector::new(&listing, true).unwrap();
            for (index, number) in numbers.iter().enumerate().rev() {
                let made = (Timestamp(index as i64), Id::from_bytes([index as u8; 16]));
                collector.look_at(made, *number, |number, _| vec![Fact::integer(*number)]);
                if collector.is_full() {
                    break;
                }
            }
            let found = collector.finish();
            pages.push(found.page);
            token = found.token;
            if token.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_join_without_gaps() {
        assert_eq!(pages(&[1, 2, 3, 4, 5], "", 2), [vec![5, 4], vec![3, 2], vec![1]]);
        assert_eq!(pages(&[3, 1, 2], "RunNumber", 2), [vec![1, 2], vec![3]]);
        assert_eq!(pages(&[], "", 2), [Vec::<i64>::new()]);
        assert!(read_token("nonsense").is_err());
    }

    proptest! {
        #[test]
        fn the_pages_are_the_whole_in_order(numbers in proptest::collection::vec(0_i64..9, 0..40), take in 1_usize..9) {
            let whole: Vec<i64> = pages(&numbers, "RunNumber desc", take).concat();
            let mut sorted = numbers.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            prop_assert_eq!(whole, sorted);
        }
    }
}
