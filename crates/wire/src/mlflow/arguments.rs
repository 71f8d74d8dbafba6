//! Arguments of a request: from its path, its query or its JSON body, with the errors in MLflow's words.

use habeas_core::{Error, Result};
use serde_json::{Map, Value};

use crate::percent::decode;

/// The arguments of one operation.
#[derive(Debug, Default)]
pub(super) struct Arguments(Map<String, Value>);

/// The end of upstream's messages about arguments.
const SEE: &str = "See the API docs for more information about request parameters.";

/// What a parameter that must be there says when it is not.
pub(super) fn missing(name: &str) -> Error {
    Error::invalid(format!("Missing value for required parameter '{name}'. {SEE}"))
}

/// What a parameter of the wrong type says. `value` is what the client itself sent, shown to nobody else.
pub(super) fn wrong_type(name: &str, value: &Value) -> Error {
    let sort = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    let mut text = value.to_string();
    if text.len() > 100 {
        text = text.chars().take(100).chain("...".chars()).collect();
    }
    Error::invalid(format!(
        "Invalid value {text} for parameter '{name}' supplied:  Hint: Value was of type '{sort}'. {SEE}"
    ))
}

impl Arguments {
    /// From a query string: repeated names are lists.
    pub(super) fn of_query(query: Option<&str>) -> Arguments {
        let mut arguments = Arguments::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name), Value::String(decode(value)));
            match arguments.0.get_mut(&name) {
                None => {
                    arguments.0.insert(name, value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        arguments
    }

    pub(super) fn insert(&mut self, name: String, value: String) {
        self.0.insert(name, Value::String(value));
    }

    /// Adds what a JSON body says; an empty body says nothing. Very old clients send a JSON string that holds the object.
    pub(super) fn read_body(&mut self, body: &[u8]) -> Result<()> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let bad =
            |what: &str| Error::invalid(format!("the body is not a JSON object: {what}")).code("BAD_REQUEST");
        let mut value: Value = serde_json::from_slice(body)
            .map_err(|error| bad(&format!("line {}, column {}", error.line(), error.column())))?;
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).map_err(|_| bad("it is a string"))?;
        }
        match value {
            Value::Object(fields) => {
                self.0.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
                Ok(())
            }
            _ => Err(bad("it is a list or a single value")),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
    }

    /// The run that is meant: `run_id`, or `run_uuid` as clients before 1.0 call it.
    pub(super) fn run_id(&self) -> Result<&str> {
        match self.text("run_id")?.filter(|text| !text.is_empty()) {
            Some(text) => Ok(text),
            None => self.text("run_uuid")?.filter(|text| !text.is_empty()).ok_or_else(|| missing("run_id")),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.get(name).map(|value| as_integer(value).ok_or_else(|| wrong_type(name, value))).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of texts; one value counts as a list of it, as a query string cannot tell them apart.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_str().ok_or_else(|| wrong_type(name, value))).collect()
            }
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of objects.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Fields<'_>>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(index, value)| match value {
                    Value::Object(fields) => Ok(Fields { fields, place: format!("{name}[{index}].") }),
                    _ => Err(wrong_type(name, value)),
                })
                .collect(),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// The arguments as the fields of one object.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { fields: &self.0, place: String::new() }
    }

    /// How many results are asked for: `default` when nothing is said, `most` at most.
    pub(super) fn max_results(&self, default: u32, most: u32) -> Result<u32> {
        let Some(value) = self.integer("max_results")? else { return Ok(default) };
        let said = |what: &str| {
            Error::invalid(format!(
                "Invalid value {value} for parameter 'max_results' supplied. It must be {what}"
            ))
        };
        match u32::try_from(value) {
            Ok(0) | Err(_) if value <= 0 => Err(said("a positive integer")),
            Ok(value) if value <= most => Ok(value),
            _ => Err(said(&format!("at most {most}"))),
        }
    }
}

/// An object within the arguments, which knows where it stands.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    fields: &'a Map<String, Value>,
    place: String,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.name(name), other)),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name)?.ok_or_else(|| missing(&self.name(name)))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.get(name)
            .map(|value| as_integer(value).ok_or_else(|| wrong_type(&self.name(name), value)))
            .transpose()
    }

    /// A number, or one of the words for what JSON has no number for.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        let wrong = |value: &Value| wrong_type(&self.name(name), value);
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(value @ Value::String(text)) => match text.as_str() {
                "NaN" => Ok(Some(f64::NAN)),
                "Infinity" => Ok(Some(f64::INFINITY)),
                "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
                other => other.trim().parse().map(Some).map_err(|_| wrong(value)),
            },
            Some(other) => Err(wrong(other)),
        }
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(wrong_type(&self.name(name), other)),
        }
    }

    /// An object in it.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                Ok(Some(Fields { fields, place: format!("{}.", self.name(name)) }))
            }
            Some(other) => Err(wrong_type(&self.name(name), other)),
        }
    }

    /// A list of objects in it.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Fields<'a>>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(index, value)| match value {
                    Value::Object(fields) => {
                        Ok(Fields { fields, place: format!("{}[{index}].", self.name(name)) })
                    }
                    _ => Err(wrong_type(&self.name(name), value)),
                })
                .collect(),
            Some(other) => Err(wrong_type(&self.name(name), other)),
        }
    }
}

/// 64-bit integers come as numbers, or as text from clients that follow Protocol Buffers' JSON.
fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
