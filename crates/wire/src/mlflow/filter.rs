//! MLflow's filters and orders (`mlflow/utils/search_utils.py`):
//!
//! ```text
//! filter     = [ "AND" ] comparison *( "AND" comparison ) [ "AND" ]
//! comparison = identifier ( operator value | [ "NOT" ] "IN" "(" text *( "," text ) ")" | "IS" [ "NOT" ] "NULL" )
//! identifier = [ entity "." ] key
//! operator   = "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE"
//! value      = text | number
//! text       = "'" characters "'" | '"' characters '"'
//! order      = identifier [ "ASC" | "DESC" ]
//! ```
//!
//! Words are matched in any case. A key may stand in double quotes or backticks. After a quote or a list, AND needs no space before it. There
//! is no OR.

use habeas_core::{Error, Result};
use winnow::ascii::{Caseless, float, multispace0, multispace1};
use winnow::combinator::{alt, delimited, eof, not, opt, peek, preceded, repeat, separated, terminated};
use winnow::prelude::*;
use winnow::token::{none_of, one_of, take_while};

use super::workspace::shortened;
pub(super) use crate::search::Fact;
use crate::search::{self, Operand, Operator};

/// The longest filter, in bytes.
const LENGTH: usize = 16_384;

/// What a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    /// The newest value of a metric.
    Metric,
    /// A parameter.
    Param,
    /// A tag.
    Tag,
    /// The thing itself.
    Attribute,
    /// A dataset that a run learned from.
    Dataset,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) entity: Entity,
    /// The canonical name of an attribute, the name as written of anything else.
    pub(super) name: String,
    /// Of a logged model's metric: on which datasets it was measured, where that matters.
    pub(super) dataset: Option<Measured>,
}

/// The dataset on which a logged model was measured: what of it is said here has to be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) name: Option<String>,
    pub(super) digest: Option<String>,
}

/// One comparison.
pub(super) type Comparison = search::Comparison<Key>;

/// What of one sort of thing can be searched and sorted by.
#[derive(Debug)]
pub(super) struct Schema {
    /// Attributes that are numbers.
    pub(super) numbers: &'static [&'static str],
    /// Attributes that are texts.
    pub(super) texts: &'static [&'static str],
    /// Text attributes that are compared with lists.
    pub(super) lists: &'static [&'static str],
    /// Entities other than attributes that are.
    pub(super) listed: &'static [Entity],
    /// Whether whole numbers may stand in quotes.
    pub(super) quoted_numbers: bool,
    /// Other names of attributes.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// Entities other than attributes.
    pub(super) entities: &'static [Entity],
    /// The order of what is equal in the order asked for: attribute, and whether the greatest comes first.
    pub(super) order: &'static [(&'static str, bool)],
}

impl Schema {
    /// Reads a filter: every comparison has to hold.
    pub(super) fn filter(&self, text: &str) -> Result<Vec<Comparison>> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        if text.len() > LENGTH {
            return Err(Error::invalid(format!("the filter is longer than {LENGTH} bytes")));
        }
        let mut rest = text;
        let raw = filter.parse_next(&mut rest).map_err(|_| invalid_clause(rest))?;
        if !rest.trim().is_empty() {
            return Err(invalid_clause(rest));
        }
        raw.into_iter().map(|comparison| self.checked(comparison)).collect()
    }

    /// Reads one entry of `order_by`: the key, and whether the greatest comes first.
    pub(super) fn order_by(&self, text: &str) -> Result<(Key, bool)> {
        let invalid = || {
            Error::invalid(format!("Invalid order_by clause '{}'", shortened(text)))
                .hint("write it like `metrics.accuracy DESC`")
        };
        let mut input = text.trim();
        let written = identifier.parse_next(&mut input).map_err(|_| invalid())?;
        let direction = input.trim();
        let descending = if direction.is_empty() || direction.eq_ignore_ascii_case("asc") {
            false
        } else if direction.eq_ignore_ascii_case("desc") {
            true
        } else {
            return Err(invalid());
        };
        Ok((self.key(written)?, descending))
    }

    fn key(&self, (entity, name): (Option<String>, String)) -> Result<Key> {
        let entity = match entity.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("attribute" | "attributes" | "attr" | "run") => Entity::Attribute,
            Some("metric" | "metrics") => Entity::Metric,
            Some("param" | "params" | "parameter" | "parameters") => Entity::Param,
            Some("tag" | "tags") => Entity::Tag,
            Some("dataset" | "datasets") => Entity::Dataset,
            Some(other) => {
                return Err(Error::invalid(format!("Invalid entity type '{}'", shortened(other)))
                    .hint("Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"));
            }
        };
        if entity == Entity::Attribute {
            return self.attribute(&name).map(|name| Key { entity, name: name.to_owned(), dataset: None });
        }
        if !self.entities.contains(&entity) {
            return Err(Error::invalid(format!("'{}' cannot be searched by here", shortened(&name))));
        }
        if entity == Entity::Dataset && !["name", "digest", "context"].contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "Invalid dataset key '{}' specified. Valid keys are '{{'name', 'digest', 'context'}}'",
                shortened(&name)
            )));
        }
        Ok(Key { entity, name, dataset: None })
    }

    fn attribute(&self, name: &str) -> Result<&'static str> {
        let canonical =
            self.aliases.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical);
        self.numbers.iter().chain(self.texts).copied().find(|known| *known == canonical).ok_or_else(|| {
            let mut known: Vec<&str> = self.numbers.iter().chain(self.texts).copied().collect();
            known.sort_unstable();
            Error::invalid(format!(
                "Invalid attribute key '{}' specified. Valid keys are '{{'{}'}}'",
                shortened(name),
                known.join("', '")
            ))
        })
    }

    fn checked(&self, raw: Raw) -> Result<Comparison> {
        let Raw { identifier, operator, operand } = raw;
        let key = self.key(identifier)?;
        let name = shortened(&key.name);
        let numeric = key.entity == Entity::Metric
            || (key.entity == Entity::Attribute && self.numbers.contains(&key.name.as_str()));
        let what = match key.entity {
            Entity::Metric => "metric".to_owned(),
            Entity::Param => "param".to_owned(),
            Entity::Tag => "tag".to_owned(),
            Entity::Dataset => "dataset".to_owned(),
            Entity::Attribute if numeric => format!("numeric attribute: {name}"),
            Entity::Attribute => format!("attribute: {name}"),
        };
        let unsupported = || {
            Err(Error::invalid(format!("Invalid comparator for {what}: it cannot be compared in this way"))
                .hint("numbers take = != > >= < <=, texts take = != LIKE ILIKE"))
        };
        let ordering = matches!(
            operator,
            Operator::Greater | Operator::GreaterOrEqual | Operator::Less | Operator::LessOrEqual
        );
        let is_number = numeric && (ordering || matches!(operator, Operator::Equal | Operator::NotEqual));
        let operand = match operand {
            Operand::Text(text) if is_number && self.quoted_numbers => match text.trim().parse() {
                Ok(number) => whole(number),
                Err(_) => Operand::Text(text),
            },
            operand => operand,
        };
        match (&operand, operator) {
            (Operand::Number(_), _) if numeric => {}
            (_, Operator::IsNull | Operator::IsNotNull)
                if matches!(key.entity, Entity::Param | Entity::Tag) => {}
            (Operand::Text(text), _) if numeric => {
                return Err(Error::invalid(format!(
                    "Expected numeric value type for {what}. Found '{}'",
                    shortened(text)
                )));
            }
            (Operand::Text(_), _) if !ordering => {}
            (Operand::List(_), _) if self.listed.contains(&key.entity) => {}
            (Operand::List(_), _)
                if key.entity == Entity::Attribute && self.lists.contains(&key.name.as_str()) => {}
            (Operand::List(_), _) => {
                return Err(Error::invalid(format!(
                    "Only ['{}'] attributes support comparison with a list of quoted string values.",
                    self.lists.join("', '")
                )));
            }
            (Operand::Number(number), _) => {
                return Err(Error::invalid(format!(
                    "Expected a quoted string value for {what} (e.g. 'my-value'). Got value {number}"
                )));
            }
            _ => return unsupported(),
        }
        Ok(Comparison { key, operator, operand })
    }
}

/// A whole number, as [`Fact::integer`] has it.
#[expect(clippy::cast_precision_loss, reason = "versions and times in milliseconds are exact")]
fn whole(number: i64) -> Operand {
    Operand::Number(number as f64)
}

/// A comparison as it was written.
struct Raw {
    identifier: (Option<String>, String),
    operator: Operator,
    operand: Operand,
}

fn invalid_clause(rest: &str) -> Error {
    let word = rest.split_whitespace().next().unwrap_or_default();
    Error::invalid(format!("Invalid clause(s) in filter string: '{}'", shortened(word))).hint(
        "a filter is comparisons joined by AND, such as metrics.accuracy > 0.9 and params.model = 'tree'",
    )
}

fn filter(input: &mut &str) -> ModalResult<Vec<Raw>> {
    let and = || Caseless("and");
    delimited(
        (multispace0, opt((and(), multispace1))),
        // Where no space is before it, a quote or a parenthesis is: a number or a word would go on.
        separated(1.., comparison, (multispace0, and(), multispace1)),
        (opt((multispace0, and(), peek(alt((eof.void(), multispace1.void()))))), multispace0),
    )
    .parse_next(input)
}

fn word<'a>(
    text: &'static str,
) -> impl Parser<&'a str, (), winnow::error::ErrMode<winnow::error::ContextError>> {
    (Caseless(text), peek(alt((eof.void(), not(one_of(is_plain)).void())))).void()
}

fn comparison(input: &mut &str) -> ModalResult<Raw> {
    let identifier = identifier.parse_next(input)?;
    multispace0.parse_next(input)?;
    let (operator, operand) = alt((
        (word("is"), multispace1, word("not"), multispace1, word("null"))
            .value((Operator::IsNotNull, Operand::Nothing)),
        (word("is"), multispace1, word("null")).value((Operator::IsNull, Operand::Nothing)),
        preceded((word("not"), multispace1, word("in"), multispace0), list)
            .map(|list| (Operator::NotIn, Operand::List(list))),
        preceded((word("in"), multispace0), list).map(|list| (Operator::In, Operand::List(list))),
        (operator, preceded(multispace0, operand)),
    ))
    .parse_next(input)?;
    Ok(Raw { identifier, operator, operand })
}

fn operator(input: &mut &str) -> ModalResult<Operator> {
    alt((
        "!=".value(Operator::NotEqual),
        ">=".value(Operator::GreaterOrEqual),
        "<=".value(Operator::LessOrEqual),
        "=".value(Operator::Equal),
        ">".value(Operator::Greater),
        "<".value(Operator::Less),
        word("like").value(Operator::Like),
        word("ilike").value(Operator::LikeInAnyCase),
    ))
    .parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Operand> {
    alt((
        text.map(Operand::Text),
        terminated(float, peek(alt((eof.void(), one_of([' ', '\t', '\n', '\r', ')']).void()))))
            .map(Operand::Number),
    ))
    .parse_next(input)
}

/// A text in single or double quotes; that quote in it is written twice.
fn text(input: &mut &str) -> ModalResult<String> {
    let single = alt(("''".value('\''), none_of('\'')));
    let double = alt(("\"\"".value('"'), none_of('"')));
    alt((
        delimited('\'', repeat(0.., single).fold(String::new, pushed), '\''),
        delimited('"', repeat(0.., double).fold(String::new, pushed), '"'),
    ))
    .parse_next(input)
}

fn pushed(mut text: String, character: char) -> String {
    text.push(character);
    text
}

fn list(input: &mut &str) -> ModalResult<Vec<String>> {
    let entry = delimited(multispace0, text, multispace0);
    delimited('(', terminated(separated(1.., entry, ','), opt(',')), (multispace0, ')')).parse_next(input)
}

fn is_plain(character: char) -> bool {
    !character.is_whitespace() && !"=!<>'\"`(),".contains(character)
}

fn quoted(input: &mut &str) -> ModalResult<String> {
    alt((
        delimited('"', repeat(1.., none_of('"')).fold(String::new, pushed), '"'),
        delimited('`', repeat(1.., none_of('`')).fold(String::new, pushed), '`'),
    ))
    .parse_next(input)
}

/// An entity, if one is written, and a key.
fn identifier(input: &mut &str) -> ModalResult<(Option<String>, String)> {
    let plain = take_while(1.., is_plain);
    let entity = terminated(take_while(1.., |character| is_plain(character) && character != '.'), '.');
    alt((
        (entity, alt((quoted, plain.map(str::to_owned))))
            .map(|(entity, key): (&str, String)| (Some(entity.to_owned()), key)),
        alt((quoted, take_while(1.., is_plain).map(str::to_owned))).map(|key| (None, key)),
    ))
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::search::{EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS};
    use super::*;

    fn key(entity: Entity, name: &str) -> Key {
        Key { entity, name: name.to_owned(), dataset: None }
    }

    fn read(text: &str) -> Vec<Comparison> {
        RUNS.filter(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn filters_that_scripts_write() {
        let found = read("metrics.acc > 0.9 and params.lr = '0.1' AND tags.\"mlflow.user\" LIKE 'a%'");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].key, key(Entity::Metric, "acc"));
        assert_eq!(found[0].operand, Operand::Number(0.9));
        assert_eq!(found[2].key.name, "mlflow.user");
        assert_eq!(
            read("attributes.run_id IN ('a', 'b')")[0].operand,
            Operand::List(vec!["a".into(), "b".into()])
        );
        assert_eq!(read("status != 'FAILED'")[0].key.entity, Entity::Attribute);
        assert_eq!(read("metrics.`val loss`<=1e-3")[0].key.name, "val loss");
        assert_eq!(read("tags.a IS NOT NULL")[0].operator, Operator::IsNotNull);
        assert_eq!(read("tags.a is null")[0].operator, Operator::IsNull);
        assert_eq!(read("run_name ilike '%it''s%'")[0].operand, Operand::Text("%it's%".into()));
        assert_eq!(read("attributes.`Run Name` = 'x'")[0].key.name, "run_name");
        assert!(read("  ").is_empty());
    }

    #[test]
    fn values_in_double_quotes() {
        // As MLflow's documentation writes them.
        let found = read("params.model = \"LogisticRegression\" and attributes.status=\"FAILED\"");
        assert_eq!(found[0].operand, Operand::Text("LogisticRegression".into()));
        assert_eq!(found[1].operand, Operand::Text("FAILED".into()));
        assert_eq!(
            read("run_id NOT IN (\"a\", 'b')")[0].operand,
            Operand::List(vec!["a".into(), "b".into()])
        );
        assert_eq!(read("tags.\"a b\" like \"it's\"")[0].operand, Operand::Text("it's".into()));
        assert_eq!(read("tags.a = \"\"")[0].operand, Operand::Text(String::new()));
        for bad in ["tags.a = \"x", "tags.a = \"x'", "tags.a = \"x\" \"y\"", "metrics.a > \"1\""] {
            assert!(RUNS.filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_and_too_many_and_none_too_few_spaces() {
        let two = read("tags.a = 'A' and metrics.b > 1");
        for text in [
            "tags.a = 'A' and metrics.b > 1 AND",
            "AND tags.a = 'A' and metrics.b > 1",
            " and\ttags.a = 'A'and metrics.b > 1 and ",
            "tags.a = \"A\"AND\nmetrics.b > 1",
        ] {
            assert_eq!(read(text), two, "{text}");
        }
        assert_eq!(read("run_id IN ('a')and tags.b IS NULL").len(), 2);
        for bad in [
            "AND",
            "tags.a = 'A'andmetrics.b > 1",
            "ANDtags.a = 'A'",
            "metrics.b > 1and tags.a = 'A'",
            "metrics.b > 1AND",
            "tags.a = 'A' ANDy",
            "tags.a = 'A' AND or",
            "tags.a = 'A' tags.b = 'B'",
        ] {
            assert!(RUNS.filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_in_quotes_and_lists_where_upstream_takes_them() {
        let operand = |schema: &Schema, text: &str| schema.filter(text).map(|found| found[0].operand.clone());
        assert_eq!(operand(&MODEL_VERSIONS, "version_number = '2'").unwrap(), Operand::Number(2.0));
        assert_eq!(operand(&MODEL_VERSIONS, "version_number >= \"2\"").unwrap(), Operand::Number(2.0));
        assert_eq!(operand(&MODEL_VERSIONS, "run_id = ''").unwrap(), Operand::Text(String::new()));
        let list = Operand::List(vec!["1".into()]);
        assert_eq!(operand(&LOGGED_MODELS, "params.p IN ('1')").unwrap(), list);
        assert_eq!(operand(&LOGGED_MODELS, "tags.t not in ('1')").unwrap(), list);
        assert_eq!(operand(&LOGGED_MODELS, "model_type IN ('1')").unwrap(), list);
        for (schema, bad) in [
            (&MODEL_VERSIONS, "version_number = 'x'"),
            (&MODEL_VERSIONS, "version_number = '1.5'"),
            (&MODEL_VERSIONS, "version_number LIKE '2'"),
            (&MODEL_VERSIONS, "tags.t IN ('1')"),
            (&LOGGED_MODELS, "metrics.m > '1'"),
            (&RUNS, "start_time > '1'"),
            (&RUNS, "params.p IN ('1')"),
        ] {
            assert!(schema.filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_in_upstreams_words() {
        let said = |text: &str| RUNS.filter(text).unwrap_err().what;
        insta::assert_snapshot!(said("metrics.a > 1 or metrics.b > 1"), @"Invalid clause(s) in filter string: 'or'");
        insta::assert_snapshot!(said("metrics.a > 'x'"), @"Expected numeric value type for metric. Found 'x'");
        insta::assert_snapshot!(said("status in ('a')"), @"Only ['run_id'] attributes support comparison with a list of quoted string values.");
        insta::assert_snapshot!(said("foo = 'x'"), @"Invalid attribute key 'foo' specified. Valid keys are '{'artifact_uri', 'created', 'end_time', 'run_id', 'run_name', 'start_time', 'status', 'user_id'}'");
        insta::assert_snapshot!(said("params.a > 'x'"), @"Invalid comparator for param: it cannot be compared in this way");
        insta::assert_snapshot!(said("params.a = 1"), @"Expected a quoted string value for param (e.g. 'my-value'). Got value 1");
    }

    #[test]
    fn orders() {
        let order = |text: &str| RUNS.order_by(text).unwrap();
        assert_eq!(order("metrics.acc DESC"), (key(Entity::Metric, "acc"), true));
        assert_eq!(order("start_time"), (key(Entity::Attribute, "start_time"), false));
        assert_eq!(order("params.`a b` asc").0.name, "a b");
        assert!(RUNS.order_by("metrics.acc downwards").is_err());
    }

    proptest! {
        #[test]
        fn a_value_reads_back_from_either_quotes_in_every_search(value in "\\PC{0,40}") {
            for schema in [&RUNS, &EXPERIMENTS, &REGISTERED_MODELS, &MODEL_VERSIONS, &LOGGED_MODELS] {
                for quote in ["'", "\""] {
                    let written = value.replace(quote, &quote.repeat(2));
                    let found = schema.filter(&format!("tags.t = {quote}{written}{quote} AND tags.u != {quote}{quote}"));
                    let operands: Vec<Operand> = found.unwrap().into_iter().map(|one| one.operand).collect();
                    prop_assert_eq!(operands, [Operand::Text(value.clone()), Operand::Text(String::new())]);
                }
            }
        }

        #[test]
        fn an_and_at_either_end_and_no_space_after_a_quote_change_nothing(value in "\\PC{0,40}") {
            let value = value.replace('\'', "''");
            let plain = RUNS.filter(&format!("tags.t = '{value}' and tags.u = '{value}'")).unwrap();
            for text in [
                format!("AND tags.t = '{value}'and tags.u = '{value}'"),
                format!("tags.t = '{value}'AND tags.u = '{value}'and"),
            ] {
                prop_assert_eq!(&RUNS.filter(&text).unwrap(), &plain);
            }
        }

        #[test]
        fn no_filter_panics(text in "\\PC{0,60}") {
            let _ = RUNS.filter(&text);
            let _ = RUNS.order_by(&text);
        }
    }
}
