//! `$filter` over metadata: `metadata=key1 eq 'value1' and key2 ne 'value2'`.
//!
//! The grammar (the prefix `metadata=` may be missing; `and` binds closer than `or`):
//!
//! ```text
//! filter     = all *( "or" all )
//! all        = part *( "and" part )
//! part       = "(" filter ")" | key ( "eq" | "ne" ) "'" value "'"
//! ```
//!
//! A quote in a value is written twice. A key is a run of characters other than spaces, quotes and parentheses.

use std::collections::BTreeMap;

use habeas_core::Error;
use winnow::ascii::{multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, opt, preceded, repeat, separated, terminated};
use winnow::prelude::*;
use winnow::token::{none_of, take_while};

/// The longest filter, in bytes, and the deepest nesting of parentheses.
const LENGTH: usize = 4096;
const DEPTH: usize = 16;

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The key has this value.
    Is(String, String),
    /// The key is absent or has another value.
    IsNot(String, String),
    /// Every one holds.
    All(Vec<Filter>),
    /// At least one holds.
    AnyOf(Vec<Filter>),
}

impl Filter {
    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Filter, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!("`$filter` {what}"))
                .hint("write it like metadata=key1 eq 'value1' and key2 ne 'value2'")
                .code("BadRequestImageMetadataKey")
        };
        if text.len() > LENGTH {
            return Err(wrong(&format!("is longer than {LENGTH} bytes")));
        }
        let deepest = text.bytes().scan(0_usize, |depth, byte| {
            match byte {
                b'(' => *depth += 1,
                b')' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            Some(*depth)
        });
        if deepest.max().unwrap_or(0) > DEPTH {
            return Err(wrong(&format!("nests parentheses deeper than {DEPTH}")));
        }
        preceded(
            (multispace0, opt(("metadata", multispace0, "=")), multispace0),
            terminated(any_of, multispace0),
        )
        .parse(text)
        .map_err(|error| wrong(&format!("cannot be read from character {} on", error.offset() + 1)))
    }

    /// Whether an image with this metadata passes.
    pub fn matches(&self, metadata: &BTreeMap<String, String>) -> bool {
        match self {
            Filter::Is(key, value) => metadata.get(key) == Some(value),
            Filter::IsNot(key, value) => metadata.get(key) != Some(value),
            Filter::All(parts) => parts.iter().all(|part| part.matches(metadata)),
            Filter::AnyOf(parts) => parts.iter().any(|part| part.matches(metadata)),
        }
    }
}

fn any_of(input: &mut &str) -> ModalResult<Filter> {
    let parts: Vec<Filter> = separated(1.., all, (multispace1, "or", multispace1)).parse_next(input)?;
    Ok(single(parts, Filter::AnyOf))
}

fn all(input: &mut &str) -> ModalResult<Filter> {
    let parts: Vec<Filter> = separated(1.., part, (multispace1, "and", multispace1)).parse_next(input)?;
    Ok(single(parts, Filter::All))
}

fn single(mut parts: Vec<Filter>, many: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    if parts.len() == 1 { parts.swap_remove(0) } else { many(parts) }
}

fn part(input: &mut &str) -> ModalResult<Filter> {
    alt((delimited(("(", multispace0), any_of, (multispace0, ")")), comparison)).parse_next(input)
}

fn comparison(input: &mut &str) -> ModalResult<Filter> {
    let key: &str = take_while(1.., |letter: char| !letter.is_whitespace() && !"'()".contains(letter))
        .parse_next(input)?;
    let equal = preceded(multispace1, alt(("eq".value(true), "ne".value(false)))).parse_next(input)?;
    let value = preceded(multispace1, cut_err(quoted)).parse_next(input)?;
    let key = key.to_owned();
    Ok(if equal { Filter::Is(key, value) } else { Filter::IsNot(key, value) })
}

fn quoted(input: &mut &str) -> ModalResult<String> {
    let letter = alt(("''".value('\''), none_of('\'')));
    delimited('\'', repeat(0.., letter), '\'').parse_next(input)
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let join = |f: &mut std::fmt::Formatter<'_>, parts: &[Filter], word: &str| {
            f.write_str("(")?;
            for (number, part) in parts.iter().enumerate() {
                if number > 0 {
                    write!(f, " {word} ")?;
                }
                write!(f, "{part}")?;
            }
            f.write_str(")")
        };
        match self {
            Filter::Is(key, value) => write!(f, "{key} eq '{}'", value.replace('\'', "''")),
            Filter::IsNot(key, value) => write!(f, "{key} ne '{}'", value.replace('\'', "''")),
            Filter::All(parts) => join(f, parts, "and"),
            Filter::AnyOf(parts) => join(f, parts, "or"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_as_the_clients_document_them() {
        let filter = Filter::parse("metadata=place eq 'park' and kind ne 'it''s' or (a eq 'b')").unwrap();
        let metadata =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(filter.matches(&metadata(&[("place", "park")])));
        assert!(!filter.matches(&metadata(&[("place", "park"), ("kind", "it's")])));
        assert!(filter.matches(&metadata(&[("a", "b")])));
        assert!(Filter::parse("place eq park").unwrap_err().what.contains("character"));
        assert!(Filter::parse(&"(".repeat(100)).is_err());
        assert!(Filter::parse("").is_err());
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let leaf = ("[a-z][a-z0-9_]{0,8}", "[ -~]{0,12}", any::<bool>()).prop_map(|(key, value, equal)| {
            if equal { Filter::Is(key, value) } else { Filter::IsNot(key, value) }
        });
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::All),
                prop::collection::vec(inner, 2..4).prop_map(Filter::AnyOf),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(filter in filters()) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }

        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = Filter::parse(&text);
        }
    }
}
