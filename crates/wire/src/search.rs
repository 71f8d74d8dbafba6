//! What filters of every protocol are made of: comparisons, joined. Each protocol has a grammar of its own that reads into this.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use habeas_core::metric::ordered;

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    LikeInAnyCase,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

/// What it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Number(f64),
    Text(String),
    List(Vec<String>),
    Nothing,
}

/// One comparison of what `K` names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison<K> {
    pub(crate) key: K,
    pub(crate) operator: Operator,
    pub(crate) operand: Operand,
}

/// Comparisons, joined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression<K> {
    /// One comparison holds.
    Is(Comparison<K>),
    /// All of these hold; none of them is no condition.
    All(Vec<Expression<K>>),
    /// One of these holds.
    Any(Vec<Expression<K>>),
}

impl<K> Expression<K> {
    /// Whether it holds for a thing that has these values under each key.
    pub(crate) fn holds(&self, facts: &impl Fn(&K) -> Vec<Fact>) -> bool {
        match self {
            Expression::Is(comparison) => comparison.holds(&facts(&comparison.key)),
            Expression::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(facts)),
        }
    }

    /// All comparisons in it.
    pub(crate) fn comparisons(&self) -> Vec<&Comparison<K>> {
        match self {
            Expression::Is(comparison) => vec![comparison],
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().flat_map(Expression::comparisons).collect()
            }
        }
    }
}

/// A value of a thing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Number(f64),
    Text(String),
}

impl Fact {
    /// A whole number, such as a time in milliseconds: exact up to 2^53.
    #[expect(clippy::cast_precision_loss, reason = "times in milliseconds are exact for 285,000 years")]
    pub(crate) fn integer(number: i64) -> Fact {
        Fact::Number(number as f64)
    }
}

impl<K> Comparison<K> {
    /// The numbers for which it can hold, as [`ordered`] ones, both ends among them; none when it can hold for what has no number.
    pub(crate) fn range(&self) -> Option<RangeInclusive<i64>> {
        const ALL: RangeInclusive<i64> = i64::MIN..=i64::MAX;
        let Operand::Number(wanted) = &self.operand else {
            return (self.operator != Operator::IsNull).then_some(ALL);
        };
        let wanted = ordered(*wanted);
        Some(match self.operator {
            Operator::Equal => wanted..=wanted,
            Operator::Greater | Operator::GreaterOrEqual => wanted..=i64::MAX,
            Operator::Less | Operator::LessOrEqual => i64::MIN..=wanted,
            _ => ALL,
        })
    }

    /// Whether it holds for a thing that has these values under the key.
    pub(crate) fn holds(&self, facts: &[Fact]) -> bool {
        match self.operator {
            Operator::IsNull => facts.is_empty(),
            Operator::IsNotNull => !facts.is_empty(),
            _ => facts.iter().any(|fact| self.holds_for(fact)),
        }
    }

    fn holds_for(&self, fact: &Fact) -> bool {
        match (fact, &self.operand) {
            (Fact::Number(fact), Operand::Number(wanted)) => match self.operator {
                Operator::Equal => fact.partial_cmp(wanted) == Some(Ordering::Equal),
                Operator::NotEqual => fact.partial_cmp(wanted) != Some(Ordering::Equal),
                Operator::Greater => fact > wanted,
                Operator::GreaterOrEqual => fact >= wanted,
                Operator::Less => fact < wanted,
                Operator::LessOrEqual => fact <= wanted,
                _ => false,
            },
            (Fact::Text(fact), Operand::Text(wanted)) => match self.operator {
                Operator::Equal => fact == wanted,
                Operator::NotEqual => fact != wanted,
                Operator::Like => like(wanted, fact),
                Operator::LikeInAnyCase => like(&wanted.to_lowercase(), &fact.to_lowercase()),
                _ => false,
            },
            (Fact::Text(fact), Operand::List(wanted)) => match self.operator {
                Operator::In => wanted.contains(fact),
                Operator::NotIn => !wanted.contains(fact),
                _ => false,
            },
            _ => false,
        }
    }
}

/// SQL's LIKE: `%` stands for any run of characters, `_` for one.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where the last `%` was, and how much of the text it has taken.
    let mut any = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('%') => {
                any = Some((at, read));
                at += 1;
            }
            Some('_') => (at, read) = (at + 1, read + 1),
            Some(character) if *character == text[read] => (at, read) = (at + 1, read + 1),
            _ => match any {
                Some((percent, taken)) => {
                    any = Some((percent, taken + 1));
                    (at, read) = (percent + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '%')
}

/// What is absent comes last in either direction; not-a-number after the numbers.
pub(crate) fn compare(a: Option<&Fact>, b: Option<&Fact>, descending: bool) -> Ordering {
    let turned = |order: Ordering| if descending { order.reverse() } else { order };
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(Fact::Number(a)), Some(Fact::Number(b))) => match (a.is_nan(), b.is_nan()) {
            (false, false) => turned(ordered(*a).cmp(&ordered(*b))),
            (a, b) => a.cmp(&b),
        },
        (Some(Fact::Text(a)), Some(Fact::Text(b))) => turned(a.cmp(b)),
        (Some(Fact::Number(_)), Some(Fact::Text(_))) => Ordering::Less,
        (Some(Fact::Text(_)), Some(Fact::Number(_))) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, holds) in [
            ("%", "", true),
            ("a%", "abc", true),
            ("%c", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("%b%b%", "abab", true),
            ("%b%b%", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, text), holds, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_comparison_holds_for_is_in_its_range(value in any::<f64>(), wanted in any::<f64>(), which in 0..6_usize) {
            let operators = [
                Operator::Equal, Operator::NotEqual, Operator::Greater, Operator::GreaterOrEqual, Operator::Less, Operator::LessOrEqual,
            ];
            let comparison = Comparison { key: (), operator: operators[which], operand: Operand::Number(wanted) };
            for value in [value, wanted, -wanted, 0.0, -0.0] {
                let is_within = comparison.range().unwrap().contains(&ordered(value));
                prop_assert!(is_within || !comparison.holds(&[Fact::Number(value)]));
            }
        }

        #[test]
        fn a_pattern_of_its_own_text_matches(text in "[a-z]{0,12}") {
            prop_assert!(like(&text, &text));
            let all = format!("%{text}%");
            prop_assert!(like(&all, &text));
        }
    }
}
