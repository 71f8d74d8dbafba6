//! Pages of a query whose token the client sends back.
//!
//! `session` says what was there when the query began: later things are left out, so that pages do not shift. `continuation` is the place
//! of the last result; results deleted in between are missing and nothing else. Both are opaque to clients.

use habeas_core::{Error, Id, Result, Timestamp};
use serde_json::Value;

/// Where a result stands: by rank, and by id where ranks are equal.
pub(super) type Place = (i64, Id);

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Nothing newer belongs to the query.
    pub(super) session: Timestamp,
    /// The place of the last result that the client has.
    pub(super) after: Option<Place>,
    /// Results on the page.
    pub(super) count: usize,
}

impl Asked {
    /// Reads a token. A missing count is 50, as for lists.
    pub(super) fn of(token: &Value, now: Timestamp, most: u64) -> Result<Asked> {
        let wrong = |what: &str| {
            Error::invalid(what)
                .hint("send back the token of the last answer as it is, or none to begin")
                .code("BadRequestPredictionInvalidQueryParameters")
        };
        let text = |name: &str| token[name].as_str().filter(|text| !text.is_empty());
        let session = match text("session") {
            None => now,
            Some(text) => Timestamp(text.parse().map_err(|_| wrong("`session` was not made here"))?),
        };
        let after = text("continuation")
            .map(|text| {
                let (rank, id) = text.split_once(':')?;
                Some((rank.parse().ok()?, id.parse().ok()?))
            })
            .map(|place| place.ok_or_else(|| wrong("`continuation` was not made here")))
            .transpose()?;
        let count = match &token["maxCount"] {
            Value::Null => 50,
            value => value.as_u64().ok_or_else(|| wrong("`maxCount` is a whole number, 0 or more"))?,
        };
        let count = if count == 0 { 50 } else { count };
        if count > most {
            return Err(Error::limit(format!("`maxCount` is {count}, at most {most} can be taken"))
                .code("BadRequestPredictionResultsExceededCount"));
        }
        Ok(Asked { session, after, count: usize::try_from(count).unwrap_or(usize::MAX) })
    }

    /// Passes over what the client has, in the order of the places.
    pub(super) fn remaining(&self, mut places: Vec<Place>) -> Vec<Place> {
        places.sort_unstable();
        if let Some(after) = self.after {
            places.retain(|place| *place > after);
        }
        places
    }

    /// The token for the next page; its continuation is empty at the end.
    pub(super) fn next(&self, token: &Value, last: Option<Place>) -> Value {
        let mut token = token.clone();
        token["session"] = self.session.0.to_string().into();
        token["continuation"] = last.map(|(rank, id)| format!("{rank}:{id}")).unwrap_or_default().into();
        token["maxCount"] = self.count.into();
        token
    }
}

/// A fraction as a rank: ranks are whole so that they can be compared exactly.
pub(super) fn rank(fraction: f64) -> i64 {
    (fraction.clamp(0.0, 1.0) * 1e12) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_made_here_is_refused() {
        let now = Timestamp(5);
        assert_eq!(Asked::of(&json!({}), now, 256).unwrap(), Asked { session: now, after: None, count: 50 });
        for token in [
            json!({ "session": "1:286613" }),
            json!({ "continuation": "x" }),
            json!({ "maxCount": -1 }),
            json!({ "maxCount": 257 }),
        ] {
            assert!(Asked::of(&token, now, 256).is_err(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn pages_put_together_are_everything(ranks in prop::collection::vec(any::<i64>(), 0..40), count in 1..7_u64) {
            let places: Vec<Place> =
                ranks.iter().enumerate().map(|(at, rank)| (*rank, Id::from_bytes([at as u8; 16]))).collect();
            let mut token = json!({ "maxCount": count });
            let mut seen: Vec<Place> = Vec::new();
            loop {
                let asked = Asked::of(&token, Timestamp(1), 256).unwrap();
                let left = asked.remaining(places.clone());
                let page: Vec<Place> = left.iter().copied().take(asked.count).collect();
                seen.extend(&page);
                token = asked.next(&token, page.last().copied().filter(|_| left.len() > page.len()));
                if token["continuation"] == "" {
                    break;
                }
            }
            let mut all = places;
            all.sort_unstable();
            prop_assert_eq!(seen, all);
        }
    }
}
