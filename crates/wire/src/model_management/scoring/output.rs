//! Writing what a service answers: each output by its name, as nested lists.

use habeas_core::{Error, Result};
use habeas_models::scoring::{Array, Port, Values};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// The most elements of an answer.
const ELEMENTS: usize = 1_000_000;

/// The answer. Numbers that JSON has none for (not a number, infinite) are null.
pub(super) fn write(ports: &[Port], outputs: &[Array]) -> Result<Vec<u8>> {
    let elements: usize = outputs.iter().map(|output| output.shape.iter().product::<usize>()).sum();
    if elements > ELEMENTS {
        return Err(Error::limit(format!("the answer has {elements} numbers, more than {ELEMENTS}"))
            .hint("ask about fewer rows at a time"));
    }
    serde_json::to_vec(&Named { ports, outputs }).map_err(Error::from)
}

struct Named<'a> {
    ports: &'a [Port],
    outputs: &'a [Array],
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.outputs.len()))?;
        for (port, output) in self.ports.iter().zip(self.outputs) {
            map.serialize_entry(&port.name, &Part { shape: &output.shape, values: &output.values, from: 0 })?;
        }
        map.end()
    }
}

/// What of a tensor stands under one place of its first axes.
struct Part<'a> {
    shape: &'a [usize],
    values: &'a Values,
    from: usize,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((extent, inner)) = self.shape.split_first() else {
            return match self.values {
                Values::Single(values) => values.get(self.from).serialize(serializer),
                Values::Double(values) => values.get(self.from).serialize(serializer),
                Values::Integer(values) => values.get(self.from).serialize(serializer),
                Values::Flag(values) => values.get(self.from).serialize(serializer),
                Values::Text(values) => values.get(self.from).serialize(serializer),
            };
        };
        let step: usize = inner.iter().product();
        let mut list = serializer.serialize_seq(Some(*extent))?;
        for index in 0..*extent {
            let part = Part { shape: inner, values: self.values, from: self.from + index * step };
            list.serialize_element(&part)?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_nested_lists_under_their_names() {
        let port = |name: &str| Port { name: name.into(), element: None, shape: None };
        let outputs = [
            Array { shape: vec![2, 2], values: Values::Single(vec![0.1, f32::NAN, 1.0, -2.5]) },
            Array { shape: vec![], values: Values::Integer(vec![7]) },
            Array { shape: vec![0], values: Values::Flag(vec![]) },
        ];
        let written = write(&[port("p"), port("n"), port("f")], &outputs).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), r#"{"p":[[0.1,null],[1.0,-2.5]],"n":7,"f":[]}"#);
        let large = Array { shape: vec![1_000, 1_001], values: Values::Single(vec![]) };
        assert_eq!(write(&[port("p")], &[large]).unwrap_err().kind, habeas_core::ErrorKind::LimitExceeded);
    }
}
