//! Reading what a service is asked: nested lists of numbers, straight into the tensors, so that a request takes little more memory than it
//! has bytes.

use std::fmt;

use habeas_core::{Error, Result};
use habeas_models::scoring::{Array, Element, Port, Values};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// What is said of texts; the parser's own words would quote them.
const TEXTS: &str = "a text where a number is expected";
/// The member that may stand around the inputs.
const AROUND: &str = "data";

/// The tensors of a request, one for each input, in the order of the inputs.
pub(super) fn read(body: &[u8], inputs: &[Port]) -> Result<Vec<Array>> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let given = Whole
        .deserialize(&mut reader)
        .and_then(|given| reader.end().map(|()| given))
        // The parser's own words on syntax; ours on the rest. Neither quotes what was sent.
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Error::invalid(error.to_string()),
            _ => Error::invalid(format!(
                "the body is not JSON: line {}, column {}",
                error.line(),
                error.column()
            )),
        })?;
    let mut named = match given {
        Item::Lists(lists) => {
            let [only] = inputs else { return Err(by_name(inputs)) };
            return Ok(vec![array(only, lists)?]);
        }
        Item::Named(named) => named,
    };
    let is_around = named.len() == 1 && named[0].0 == AROUND && inputs.iter().all(|port| port.name != AROUND);
    if is_around {
        match (named.remove(0).1, inputs) {
            (Item::Named(inner), _) => named = inner,
            (Item::Lists(lists), [only]) => return Ok(vec![array(only, lists)?]),
            (Item::Lists(_), _) => return Err(by_name(inputs)),
        }
    }
    let mut arrays = Vec::new();
    for port in inputs {
        let at = named.iter().position(|(name, _)| *name == port.name).ok_or_else(|| by_name(inputs))?;
        match named.swap_remove(at).1 {
            Item::Lists(lists) => arrays.push(array(port, lists)?),
            Item::Named(_) => return Err(by_name(inputs)),
        }
    }
    if named.is_empty() { Ok(arrays) } else { Err(by_name(inputs)) }
}

fn by_name(inputs: &[Port]) -> Error {
    let names: Vec<String> = inputs.iter().map(|port| format!("`{}`", port.name)).collect();
    Error::invalid("the body does not give each input of the model by its name, and nothing else").hint(
        format!("it is an object with nested lists of numbers for {}; see swagger.json", names.join(", ")),
    )
}

fn array(port: &Port, lists: Lists) -> Result<Array> {
    let Lists { shape, numbers, leaf } = lists;
    let wrong = |what: &str| Err(Error::invalid(format!("the input `{}` {what}", port.name)));
    let mut extents = Vec::new();
    for extent in &shape {
        extents.push(extent.unwrap_or(0));
    }
    if leaf.is_some_and(|leaf| leaf != extents.len()) {
        return wrong("mixes numbers and lists");
    }
    let values = match port.element {
        Some(Element::Float(64)) => Values::Double(numbers),
        Some(Element::Float(_)) => Values::Single(numbers.iter().map(|number| *number as f32).collect()),
        Some(Element::Flag) => {
            if !numbers.iter().all(|number| number.fract() == 0.0 && (0.0..=1.0).contains(number)) {
                return wrong("takes true and false");
            }
            Values::Flag(numbers.iter().map(|number| *number > 0.5).collect())
        }
        Some(element @ (Element::Integer(_) | Element::Unsigned(_))) => {
            let (least, most) = element.range();
            let fits = |number: &f64| number.fract() == 0.0 && (least..=most).contains(number);
            if !numbers.iter().all(fits) {
                return wrong(&format!("takes integers of the type {}", element.name()));
            }
            Values::Integer(numbers.iter().map(|number| *number as i64).collect())
        }
        Some(Element::Text) | None => return wrong("is of a type that is not served"),
    };
    Ok(Array { shape: extents, values })
}

/// Nested lists, flattened.
#[derive(Debug, Default, PartialEq)]
struct Lists {
    /// The extent at each depth, once a list of that depth has ended.
    shape: Vec<Option<usize>>,
    numbers: Vec<f64>,
    /// At what depth numbers stand.
    leaf: Option<usize>,
}

#[derive(Debug, PartialEq)]
enum Item {
    Lists(Lists),
    Named(Vec<(String, Item)>),
}

/// The whole body, or a member of it.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Item;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! numbers {
    ($add:ident: $($visit:ident($kind:ty) => $number:expr),*) => {
        $(fn $visit<E: serde::de::Error>(self, value: $kind) -> Result<Self::Value, E> {
            self.$add(($number)(value))
        })*
    };
}

impl<'de> Visitor<'de> for Whole {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of inputs, or lists of numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut named = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if named.len() > 1_000 {
                return Err(A::Error::custom("the body has more than 1000 members"));
            }
            named.push((name, map.next_value_seed(Whole)?));
        }
        Ok(Item::Named(named))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Item, A::Error> {
        let mut lists = Lists::default();
        Level { lists: &mut lists, depth: 0 }.visit_seq(seq)?;
        Ok(Item::Lists(lists))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Item, E> {
        Err(E::custom(TEXTS))
    }

    numbers!(single: visit_f64(f64) => |value| value, visit_i64(i64) => |value| value as f64,
        visit_u64(u64) => |value| value as f64, visit_bool(bool) => |value| f64::from(u8::from(value)));
}

impl Whole {
    fn single<E>(self, number: f64) -> Result<Item, E> {
        Ok(Item::Lists(Lists { shape: Vec::new(), numbers: vec![number], leaf: Some(0) }))
    }
}

/// One level of nested lists.
struct Level<'a> {
    lists: &'a mut Lists,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or lists of equal length")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Level { lists, depth } = self;
        if lists.shape.len() <= depth {
            lists.shape.push(None);
        }
        let mut count = 0;
        while seq.next_element_seed(Level { lists, depth: depth + 1 })?.is_some() {
            count += 1;
        }
        match lists.shape.get_mut(depth) {
            Some(extent @ None) => *extent = Some(count),
            Some(Some(extent)) if *extent == count => {}
            _ => return Err(A::Error::custom("lists of unequal length where a tensor has equal ones")),
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(TEXTS))
    }

    numbers!(add: visit_f64(f64) => |value| value, visit_i64(i64) => |value| value as f64,
        visit_u64(u64) => |value| value as f64, visit_bool(bool) => |value| f64::from(u8::from(value)));
}

impl Level<'_> {
    fn add<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        if *self.lists.leaf.get_or_insert(self.depth) != self.depth {
            return Err(E::custom("numbers and lists are mixed where a tensor has only one of them"));
        }
        self.lists.numbers.push(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, element: Element) -> Port {
        Port { name: name.into(), element: Some(element), shape: None }
    }

    #[test]
    fn inputs_are_given_by_name_or_alone() {
        let one = [port("x", Element::Float(32))];
        let expected = vec![Array { shape: vec![2, 2], values: Values::Single(vec![1.0, 2.5, -3.0, 4.0]) }];
        for body in [
            "[[1, 2.5], [-3, 4]]",
            r#"{"x": [[1, 2.5], [-3, 4]]}"#,
            r#"{"data": [[1, 2.5], [-3, 4]]}"#,
            r#"{"data": {"x": [[1, 2.5], [-3, 4]]}}"#,
        ] {
            assert_eq!(read(body.as_bytes(), &one).unwrap(), expected, "{body}");
        }
        let two = [port("a", Element::Integer(64)), port("data", Element::Flag)];
        let read_two = read(br#"{"data": [true, 0], "a": 7}"#, &two).unwrap();
        assert_eq!(read_two[0], Array { shape: vec![], values: Values::Integer(vec![7]) });
        assert_eq!(read_two[1], Array { shape: vec![2], values: Values::Flag(vec![true, false]) });
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_quoted() {
        let one = [port("x", Element::Integer(8))];
        for body in [
            "",
            "{",
            "[[1, 2], [3]]",
            "[1, [2]]",
            "[[1], 2]",
            r#"["secret"]"#,
            r#"{"y": [1]}"#,
            r#"{"x": [1], "y": [2]}"#,
            r#"{"x": {"z": [1]}}"#,
            "[1.5]",
            "[200]",
            "null",
            r#""secret""#,
            "[1] x",
        ] {
            let error = read(body.as_bytes(), &one).unwrap_err();
            assert_eq!(error.kind, habeas_core::ErrorKind::Invalid, "{body}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let two = [port("a", Element::Float(32)), port("b", Element::Float(32))];
        assert!(read(b"[1]", &two).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in "[\\[\\]{}\",:0-9.a-z -]{0,40}") {
            let _ = read(body.as_bytes(), &[port("x", Element::Float(32))]);
        }
    }
}
