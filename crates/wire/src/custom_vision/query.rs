//! Query strings as the clients write them.
//!
//! Lists are separated by commas (Python and JavaScript clients), which may be percent-encoded, or repeat their name (curl);
//! booleans come in either case; `+` is a space.

use habeas_core::{Error, Id, Result};
use habeas_store::{Order, Page};

use super::limits::Limits;
use crate::percent::decode;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Query {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name).to_lowercase(), decode(value))
            })
            .collect();
        Query { pairs }
    }

    /// The value of a parameter; an empty one counts as absent. Names are matched in either case.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        self.pairs
            .iter()
            .find(|(other, value)| *other == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| {
            Error::invalid(format!("the query parameter `{name}` is missing"))
                .code("BadRequestRequiredParamIsNull")
        })
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name).map(str::to_lowercase).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Error::invalid(format!("`{name}` is `true` or `false`"))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        self.text(name)
            .map(|value| {
                value.parse().map_err(|_| Error::invalid(format!("`{name}` is a whole number, 0 or more")))
            })
            .transpose()
    }

    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let name = name.to_lowercase();
        self.pairs
            .iter()
            .filter(|(other, _)| *other == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A list of ids, at most `most`, each once.
    pub(super) fn ids(&self, name: &str, most: usize) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        for text in self.list(name) {
            let id = guid(text, name)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        require_at_most(ids.len(), most, name)?;
        Ok(ids)
    }

    pub(super) fn id(&self, name: &str) -> Result<Option<Id>> {
        self.text(name).map(|text| guid(text, name)).transpose()
    }

    /// `take`, `skip` and `orderBy`; 50 from the beginning, newest first, when they are absent.
    pub(super) fn page(&self, limits: &Limits) -> Result<Page> {
        let take = self.number("take")?.unwrap_or(50);
        if take > limits.page {
            return Err(Error::limit(format!("`take` is {take}, at most {} can be taken", limits.page))
                .code("BadRequestImageExceededCount"));
        }
        let order = match self.text("orderBy").map(str::to_lowercase).as_deref() {
            None | Some("newest" | "suggested") => Order::Newest,
            Some("oldest") => Order::Oldest,
            Some(_) => return Err(Error::invalid("`orderBy` is `Newest` or `Oldest`")),
        };
        Ok(Page { order, skip: self.number("skip")?.unwrap_or(0), take })
    }
}

/// An id in a parameter or body.
pub(super) fn guid(text: &str, name: &str) -> Result<Id> {
    text.parse().map_err(|_| {
        Error::invalid(format!("`{name}` holds something that is not a GUID"))
            .hint("a GUID looks like 0190b3a4-5c6d-7e8f-9012-3456789abcde")
            .code("BadRequestInvalidIds")
    })
}

/// Refuses more of something than the limit, naming it.
pub(super) fn require_at_most(count: usize, most: usize, name: &str) -> Result<()> {
    if count > most {
        let code = if name.contains("image") {
            "BadRequestImageExceededCount"
        } else {
            "BadRequestExceededBatchSize"
        };
        return Err(
            Error::limit(format!("`{name}` has {count} entries, at most {most} are allowed")).code(code)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_flags_and_spaces_as_clients_send_them() {
        let query =
            Query::parse(Some("tagIds=a,b&tagIds=c%2Cd&forceTrain=True&name=two%20words+more&empty="));
        assert_eq!(query.list("tagIds"), ["a", "b", "c", "d"]);
        assert!(query.flag("forceTrain").unwrap());
        assert_eq!(query.text("name"), Some("two words more"));
        assert_eq!(query.text("empty"), None);
        assert!(query.required("other").unwrap_err().what.contains("`other`"));
        assert!(query.ids("tagIds", 20).is_err());
    }

    #[test]
    fn pages_have_a_limit_that_the_error_names() {
        let limits = Limits::default();
        let error = Query::parse(Some("take=257")).page(&limits).unwrap_err();
        assert!(error.what.contains("256"), "{error}");
        assert_eq!(Query::parse(None).page(&limits).unwrap().take, 50);
        assert_eq!(Query::parse(Some("orderBy=Oldest")).page(&limits).unwrap().order, Order::Oldest);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let query = Query::parse(Some(&text));
            let _ = query.page(&Limits::default());
            let _ = query.ids("a", 1);
        }
    }
}
