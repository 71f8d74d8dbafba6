//! The loose filters and orders of run history, as its clients make them (`azureml/_restclient/_odata` of `azureml-core`):
//!
//! ```text
//! expression = term *( "or" term )
//! term       = factor *( "and" factor )
//! factor     = "(" expression ")" | "(" key "ne null)" "or" "(" key "eq null)" | key operator value
//! key        = attribute | map "/" text
//! operator   = "eq" | "ne" | "gt" | "ge" | "lt" | "le"
//! value      = "null" | '"' text '"' | "'" text "'" | bare
//! order      = key [ "asc" | "desc" ] *( "," key [ "asc" | "desc" ] )
//! ```
//!
//! Words and names of attributes are matched in any case. A bare value ends before `and`, `or` or `)`, and may have spaces in it, as a time
//! has. `(k ne null or k eq null)` is how the clients say that a key is there; it is read so. Of traits they write
//! `(k ne null) or (k eq null)`, without parentheses round it, beside other conditions too: it is one condition wherever it stands.

use habeas_core::{Error, Result, Timestamp};
use winnow::ascii::{Caseless, multispace0, multispace1};
use winnow::combinator::{alt, delimited, eof, fail, peek, preceded, repeat_till, separated};
use winnow::prelude::*;
use winnow::token::any;

use super::call::read_time;
use crate::runs::shortened;
use crate::search::{self, Operand, Operator};

/// The longest filter, in bytes, and the most parentheses within each other.
const LENGTH: usize = 65_536;
const DEPTH: usize = 64;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The attribute, or the map.
    pub(super) name: &'static str,
    /// What is looked up in a map.
    pub(super) below: Option<String>,
}

/// A filter.
pub(super) type Filter = search::Expression<Key>;

/// What of one sort of thing can be searched and sorted by.
#[derive(Debug)]
pub(super) struct Schema {
    /// Attributes that are texts.
    pub(super) texts: &'static [&'static str],
    /// Attributes that are times.
    pub(super) times: &'static [&'static str],
    /// Attributes that are numbers.
    pub(super) numbers: &'static [&'static str],
    /// Maps of texts.
    pub(super) maps: &'static [&'static str],
    /// Maps of numbers.
    pub(super) number_maps: &'static [&'static str],
}

impl Schema {
    /// Reads a filter; none is no condition.
    pub(super) fn filter(&self, text: &str) -> Result<Filter> {
        self.read(text, false)
    }

    /// Reads the filter of a deletion, where a slip must not find more than was meant: what is read as one key or one value, and could have
    /// been meant as more, is refused.
    pub(super) fn plain_filter(&self, text: &str) -> Result<Filter> {
        self.read(text, true)
    }

    fn read(&self, text: &str, plain: bool) -> Result<Filter> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Ok(Filter::All(Vec::new()));
        }
        if rest.len() > LENGTH {
            return Err(Error::invalid(format!("the filter is longer than {LENGTH} bytes")));
        }
        let whole = rest;
        let unread = match expression(&mut rest, 0) {
            Ok(raw) if rest.trim().is_empty() => return self.checked(raw, plain),
            Ok(_) => rest.trim(),
            Err(_) => whole,
        };
        Err(Error::invalid(format!("the filter cannot be read from `{}` on", shortened(unread)))
            .hint("write it like (Status eq Completed) and (Tags/kind eq \"oak\")"))
    }

    /// Reads orders: the keys, and whether the greatest comes first. `descending` holds for those that do not say.
    pub(super) fn order_by(&self, text: &str, descending: bool) -> Result<Vec<(Key, bool)>> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| match part.rsplit_once(char::is_whitespace) {
                Some((key, direction)) if direction.eq_ignore_ascii_case("asc") => {
                    Ok((self.key(key)?, false))
                }
                Some((key, direction)) if direction.eq_ignore_ascii_case("desc") => {
                    Ok((self.key(key)?, true))
                }
                _ => Ok((self.key(part)?, descending)),
            })
            .collect()
    }

    fn key(&self, text: &str) -> Result<Key> {
        let text = text.trim();
        let attributes = [self.texts, self.times, self.numbers].into_iter().flatten();
        if let Some(name) = attributes.copied().find(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(Key { name, below: None });
        }
        for name in self.maps.iter().chain(self.number_maps) {
            let split = text.split_at_checked(name.len());
            if let Some((_, below)) = split.filter(|(map, _)| map.eq_ignore_ascii_case(name))
                && let Some(below) = below.strip_prefix('/').filter(|below| !below.is_empty())
            {
                return Ok(Key { name, below: Some(below.to_owned()) });
            }
        }
        let known: Vec<&str> = [self.texts, self.times, self.numbers].concat();
        let maps = [self.maps, self.number_maps].concat().join("/NAME, ");
        Err(Error::invalid(format!("there is nothing called `{}` to filter or sort by", shortened(text)))
            .hint(format!("there are {} and {maps}/NAME", known.join(", "))))
    }

    fn checked(&self, raw: Raw, plain: bool) -> Result<Filter> {
        let all = |parts: Vec<Raw>| {
            parts.into_iter().map(|part| self.checked(part, plain)).collect::<Result<Vec<_>>>()
        };
        match raw {
            search::Expression::All(parts) => Ok(Filter::All(all(parts)?)),
            search::Expression::Any(parts) => Ok(either(all(parts)?)),
            search::Expression::Is(comparison) => self.comparison(comparison, plain),
        }
    }

    fn comparison(&self, raw: search::Comparison<Written>, plain: bool) -> Result<Filter> {
        let key = self.key(&raw.key.key)?;
        if plain && has_joint(&raw.key.key) {
            return Err(Error::invalid(format!("`{}` is read as one name", shortened(&raw.key.key)))
                .hint("write each condition with its own eq or ne, in parentheses"));
        }
        let is = |operator, operand| Filter::Is(search::Comparison { key: key.clone(), operator, operand });
        let Operand::Text(text) = raw.operand else {
            return match raw.operator {
                Operator::Equal => Ok(is(Operator::IsNull, Operand::Nothing)),
                Operator::NotEqual => Ok(is(Operator::IsNotNull, Operand::Nothing)),
                _ => Err(Error::invalid(format!("`{}` cannot be greater or less than null", key.name))),
            };
        };
        let operand = if self.times.contains(&key.name) {
            let time = read_time(&text).ok_or_else(|| {
                Error::invalid(format!("`{}` is compared with a time", key.name))
                    .hint("write it like 2026-11-24T08:30:00Z")
            })?;
            Operand::Number(microseconds(time))
        } else if self.numbers.contains(&key.name) || self.number_maps.contains(&key.name) {
            Operand::Number(
                text.parse()
                    .map_err(|_| Error::invalid(format!("`{}` is compared with a number", key.name)))?,
            )
        } else if plain && raw.key.is_bare && !is_one_word(&text) {
            return Err(Error::invalid(format!("`{}` is read as one value", shortened(&text)))
                .hint("put a value that has spaces or is `and` or `or` into quotes, and a condition after and before each `and` and `or`"));
        } else if matches!(raw.operator, Operator::Equal | Operator::NotEqual) {
            Operand::Text(text)
        } else {
            return Err(Error::invalid(format!("`{}` is a text, which has no order here", key.name))
                .hint("compare it by eq or ne"));
        };
        let found = is(raw.operator, operand);
        // As in OData: what is not there is not equal to anything.
        Ok(match raw.operator {
            Operator::NotEqual => Filter::Any(vec![is(Operator::IsNull, Operand::Nothing), found]),
            _ => found,
        })
    }
}

/// A time as the number that it is compared by.
#[expect(clippy::cast_precision_loss, reason = "times in microseconds are exact for 285 years")]
pub(super) fn microseconds(time: Timestamp) -> f64 {
    time.0 as f64
}

/// One of these, where `(k ne null or k eq null)` says that `k` is there.
fn either(mut parts: Vec<Filter>) -> Filter {
    let with = |operator: Operator, key: &Key, parts: &[Filter]| {
        parts
            .iter()
            .any(|part| matches!(part, Filter::Is(other) if other.operator == operator && other.key == *key))
    };
    let whole = parts.clone();
    parts.retain(|part| match part {
        Filter::Is(comparison) if comparison.operator == Operator::IsNull => {
            !with(Operator::IsNotNull, &comparison.key, &whole)
        }
        _ => true,
    });
    if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) }
}

/// What a comparison names, before it is known whether there is such a thing.
#[derive(Debug)]
struct Written {
    key: String,
    /// Whether its value stands there without quotes.
    is_bare: bool,
}

type Raw = search::Expression<Written>;

/// Whether `and` or `or` is one of the words.
fn has_joint(text: &str) -> bool {
    text.split_whitespace().any(|word| word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or"))
}

/// Whether a value without quotes can be nothing else.
fn is_one_word(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '(' | ')'))
        && !has_joint(text)
}

fn word<'a>(text: &'static str) -> impl ModalParser<&'a str, (), winnow::error::ContextError> {
    (multispace1, Caseless(text), peek(alt((multispace1.void(), "(".void())))).void()
}

fn expression(input: &mut &str, depth: usize) -> ModalResult<Raw> {
    let terms: Vec<Raw> =
        separated(1.., |input: &mut &str| term(input, depth), (word("or"), multispace0)).parse_next(input)?;
    Ok(one_or(terms, Raw::Any))
}

fn term(input: &mut &str, depth: usize) -> ModalResult<Raw> {
    let factors: Vec<Raw> =
        separated(1.., |input: &mut &str| factor(input, depth), (word("and"), multispace0))
            .parse_next(input)?;
    Ok(one_or(factors, Raw::All))
}

fn one_or(mut parts: Vec<Raw>, join: impl Fn(Vec<Raw>) -> Raw) -> Raw {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

fn factor(input: &mut &str, depth: usize) -> ModalResult<Raw> {
    if depth > DEPTH {
        return fail.parse_next(input);
    }
    preceded(
        multispace0,
        alt((
            presence,
            delimited('(', |input: &mut &str| expression(input, depth + 1), (multispace0, ')')),
            comparison.map(Raw::Is),
        )),
    )
    .parse_next(input)
}

/// `(k ne null) or (k eq null)`, which an `and` before or after it would tear apart.
fn presence(input: &mut &str) -> ModalResult<Raw> {
    let with_null = |operator: Operator| {
        delimited(('(', multispace0), comparison, (multispace0, ')')).verify(
            move |found: &search::Comparison<Written>| {
                found.operator == operator
                    && matches!(found.operand, Operand::Nothing)
                    && !found.key.key.starts_with('(')
            },
        )
    };
    let joint = (word("or"), multispace0);
    let (there, _, absent) =
        (with_null(Operator::NotEqual), joint, with_null(Operator::Equal)).parse_next(input)?;
    if there.key.key != absent.key.key {
        return fail.parse_next(input);
    }
    Ok(Raw::Any(vec![Raw::Is(there), Raw::Is(absent)]))
}

fn comparison(input: &mut &str) -> ModalResult<search::Comparison<Written>> {
    let end = (multispace1, operator, multispace1);
    let (key, (_, operator, _)): (String, _) = repeat_till(1.., any, end).parse_next(input)?;
    let (operand, is_bare) = operand.parse_next(input)?;
    Ok(search::Comparison { key: Written { key, is_bare }, operator, operand })
}

fn operator(input: &mut &str) -> ModalResult<Operator> {
    alt((
        Caseless("eq").value(Operator::Equal),
        Caseless("ne").value(Operator::NotEqual),
        Caseless("gt").value(Operator::Greater),
        Caseless("ge").value(Operator::GreaterOrEqual),
        Caseless("lt").value(Operator::Less),
        Caseless("le").value(Operator::LessOrEqual),
    ))
    .parse_next(input)
}

/// What comes after a value.
fn end_of_value(input: &mut &str) -> ModalResult<()> {
    alt((word("and"), word("or"), (multispace0, alt((")".void(), eof.void()))).void())).parse_next(input)
}

/// A value, and whether it stands there without quotes.
fn operand(input: &mut &str) -> ModalResult<(Operand, bool)> {
    alt((
        |input: &mut &str| quoted('"', input),
        |input: &mut &str| quoted('\'', input),
        repeat_till(1.., any, peek(end_of_value)).map(|(text, ()): (String, ())| {
            let null = text.eq_ignore_ascii_case("null");
            (if null { Operand::Nothing } else { Operand::Text(text) }, true)
        }),
    ))
    .parse_next(input)
}

/// A text in quotes. Clients leave quotes in it as they are, OData writes them twice: it ends where a value can end.
fn quoted(quote: char, input: &mut &str) -> ModalResult<(Operand, bool)> {
    let twice = [quote, quote].iter().collect::<String>();
    let (text, _): (String, _) =
        preceded(quote, repeat_till(0.., any, (quote, peek(end_of_value)))).parse_next(input)?;
    Ok((Operand::Text(text.replace(&twice, &quote.to_string())), false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::listing::RUNS;
    use super::*;
    use crate::search::Fact;

    /// What a run would have to be, in short.
    fn read(text: &str) -> String {
        fn shown(filter: &Filter) -> String {
            let joined = |parts: &[Filter], by: &str| {
                format!("({})", parts.iter().map(shown).collect::<Vec<_>>().join(by))
            };
            match filter {
                Filter::All(parts) => joined(parts, " & "),
                Filter::Any(parts) => joined(parts, " | "),
                Filter::Is(comparison) => {
                    let below = comparison.key.below.as_deref().map(|below| format!("/{below}"));
                    let operand = match &comparison.operand {
                        Operand::Text(text) => format!(" `{text}`"),
                        Operand::Number(number) => format!(" {number}"),
                        Operand::List(_) | Operand::Nothing => String::new(),
                    };
                    let name = comparison.key.name;
                    format!("{name}{} {:?}{operand}", below.unwrap_or_default(), comparison.operator)
                }
            }
        }
        RUNS.filter(text).map_or_else(|error| format!("refused: {error}"), |filter| shown(&filter))
    }

    #[test]
    fn filters_that_clients_make() {
        insta::assert_snapshot!(read(""), @"()");
        insta::assert_snapshot!(read("(ParentRunId eq null)"), @"ParentRunId IsNull");
        insta::assert_snapshot!(read("RunId eq a-b_1 or RunId eq c"), @"(RunId Equal `a-b_1` | RunId Equal `c`)");
        insta::assert_snapshot!(read("(RunType eq x or Properties/azureml.runsource eq x)"), @"(RunType Equal `x` | Properties/azureml.runsource Equal `x`)");
        insta::assert_snapshot!(read("(Tags/k eq \"v w\" )"), @"Tags/k Equal `v w`");
        insta::assert_snapshot!(read("((Tags/k ne null or Tags/k eq null) and (Status eq Completed))"), @"(Tags/k IsNotNull & Status Equal `Completed`)");
        insta::assert_snapshot!(read("(RunTypeV2/Traits/x ne null) or (RunTypeV2/Traits/x eq null)"), @"RunTypeV2/Traits/x IsNotNull");
        insta::assert_snapshot!(read("(Status eq Failed) and (RunTypeV2/Traits/x ne null) or (RunTypeV2/Traits/x eq null)"), @"(Status Equal `Failed` & RunTypeV2/Traits/x IsNotNull)");
        insta::assert_snapshot!(read("((RunTypeV2/Traits/x ne null) or (RunTypeV2/Traits/x eq null) and (Status eq Failed))"), @"(RunTypeV2/Traits/x IsNotNull & Status Equal `Failed`)");
        insta::assert_snapshot!(read("((Tags/k ne null) or ((Tags/k eq null)))"), @"Tags/k IsNotNull");
        insta::assert_snapshot!(read("(Status eq Failed) and (Tags/a ne null) or (Tags/b eq null)"), @"((Status Equal `Failed` & Tags/a IsNotNull) | Tags/b IsNull)");
        insta::assert_snapshot!(read("(CreatedUtc ge 2026-01-01 00:00:00)"), @"CreatedUtc GreaterOrEqual 1767225600000000");
        insta::assert_snapshot!(read("RootRunId eq r and RunId ne r"), @"(RootRunId Equal `r` & (RunId IsNull | RunId NotEqual `r`))");
        insta::assert_snapshot!(read("status EQ 'it''s'"), @"Status Equal `it's`");
        insta::assert_snapshot!(read("Tags/k eq \"a \"b\" c\""), @"Tags/k Equal `a \"b\" c`");
        insta::assert_snapshot!(read("Tags/a and b eq null"), @"Tags/a and b IsNull");
        insta::assert_snapshot!(read("RunNumber gt 3 AND (Status eq Failed OR Target eq my machine)"), @"(RunNumber Greater 3 & (Status Equal `Failed` | Target Equal `my machine`))");
    }

    #[test]
    fn refusals_say_where_and_what_to_do() {
        for (filter, said) in [
            ("Status like x", "the filter cannot be read from `Status like x` on (write it like"),
            ("(Status eq x) Target eq y", "the filter cannot be read from `Target eq y` on"),
            ("(Status eq x", "there is nothing called `(Status` to filter or sort by (there are RunId, "),
            ("Colour eq x", "there is nothing called `Colour` to filter or sort by"),
            ("Tags/ eq x", "there is nothing called `Tags/`"),
            ("CreatedUtc ge soon", "`CreatedUtc` is compared with a time (write it like 2026-"),
            ("RunNumber eq many", "`RunNumber` is compared with a number"),
            ("Name gt x", "`Name` is a text, which has no order here (compare it by eq or ne)"),
            ("RunNumber gt null", "`RunNumber` cannot be greater or less than null"),
        ] {
            let found = read(filter);
            assert!(found.starts_with(&format!("refused: {said}")), "{filter}: {found}");
        }
        assert!(read(&"(".repeat(10_000)).starts_with("refused"));
        assert!(read(&format!("{}Status eq x{}", "(".repeat(60), ")".repeat(60))).starts_with("Status"));
    }

    #[test]
    fn the_filter_of_a_deletion_can_be_read_in_one_way_only() {
        for good in [
            "Status eq Failed",
            "(Status ne Failed) and (Tags/keep ne \"yes and no\")",
            "(Tags/a b eq x or Tags/a eq null) and CreatedUtc lt 2026-01-01 00:00:00",
        ] {
            assert_eq!(RUNS.plain_filter(good).unwrap(), RUNS.filter(good).unwrap(), "{good}");
        }
        for (bad, said) in [
            ("Status ne Failed or", "`Failed or` is read as one value"),
            ("Tags/keep ne yes and ", "`yes and` is read as one value"),
            ("Tags/keep ne my tree", "`my tree` is read as one value"),
            ("Tags/keep ne or", "`or` is read as one value"),
            ("Tags/keep ne \"yes", "`\"yes` is read as one value"),
            ("Tags/keep and Status ne Failed", "`Tags/keep and Status` is read as one name"),
        ] {
            let error = RUNS.plain_filter(bad).unwrap_err().to_string();
            assert!(error.starts_with(said), "{bad}: {error}");
            assert!(RUNS.filter(bad).is_ok(), "{bad}");
        }
    }

    #[test]
    fn what_is_absent_is_not_equal_to_anything() {
        let holds = |text: &str, facts: &[Fact]| RUNS.filter(text).unwrap().holds(&|_: &Key| facts.to_vec());
        assert!(holds("Target ne a", &[]));
        assert!(!holds("Target eq a", &[]));
        assert!(holds("Target ne a", &[Fact::Text("b".into())]));
        assert!(!holds("Target ne a", &[Fact::Text("a".into())]));
    }

    #[test]
    fn orders() {
        let order = |text: &str, descending| {
            let order = RUNS.order_by(text, descending).unwrap();
            order
                .iter()
                .map(|(key, descending)| format!("{} {descending}", key.name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(order("StartTimeUtc desc, RunId", false), "StartTimeUtc true, RunId false");
        assert_eq!(order("createdutc", true), "CreatedUtc true");
        assert_eq!(order("", false), "");
        assert!(RUNS.order_by("CreatedUtc downwards", false).is_err());
    }

    proptest! {
        #[test]
        fn no_filter_panics(text in "\\PC{0,60}") {
            let _ = RUNS.filter(&text);
            let _ = RUNS.order_by(&text, false);
        }

        #[test]
        fn nothing_that_looks_like_a_filter_panics(text in "(\\(| |Status|Tags/a|eq|ne|null|and|or|\"|'|x|\\)){0,20}") {
            let _ = RUNS.filter(&text);
        }
    }
}
