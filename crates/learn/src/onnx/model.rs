//! An ONNX model as bytes and as messages.

use super::proto::{DimensionValue, ModelProto, StringStringEntryProto};
use prost::Message;

/// Why a model cannot be read or built upon.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OnnxError {
    /// The bytes are not an ONNX model.
    #[error("the file is not an ONNX model: {0}")]
    Malformed(String),
    /// The model lacks its graph.
    #[error("the ONNX model holds no graph")]
    NoGraph,
    /// The model uses something that cannot be copied into another graph.
    #[error("the ONNX model cannot be extended: {0}")]
    Unsupported(String),
    /// An input of the model was not bound to a value, or a bound name is not an input of it.
    #[error("the ONNX model's inputs are {expected}, but {given} were given")]
    Inputs {
        /// The names that the model declares, joined by commas.
        expected: String,
        /// The names that the caller bound, joined by commas.
        given: String,
    },
}

/// An ONNX model: one graph, the operator sets it imports and its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub(super) proto: ModelProto,
}

impl Model {
    /// Reads a model from the bytes of an `.onnx` file.
    pub fn decode(bytes: &[u8]) -> Result<Self, OnnxError> {
        let proto = ModelProto::decode(bytes).map_err(|error| OnnxError::Malformed(error.to_string()))?;
        if proto.graph.is_none() {
            return Err(OnnxError::NoGraph);
        }
        Ok(Self { proto })
    }

    /// The bytes of the `.onnx` file.
    pub fn encode(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// Names of the graph's inputs that are not initializers, in order.
    pub fn inputs(&self) -> Vec<&str> {
        let Some(graph) = &self.proto.graph else { return Vec::new() };
        let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        graph.input.iter().map(|value| value.name.as_str()).filter(|name| !is_constant(name)).collect()
    }

    /// Names of the graph's outputs, in order.
    pub fn outputs(&self) -> Vec<&str> {
        let graph = self.proto.graph.as_ref();
        graph.map_or_else(Vec::new, |graph| graph.output.iter().map(|value| value.name.as_str()).collect())
    }

    /// Version of the default operator set that it needs.
    pub fn opset(&self) -> Option<i64> {
        let is_default = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
        self.proto.opset_import.iter().find(|set| is_default(set.domain.as_deref())).map(|set| set.version)
    }

    /// How many images its first input takes at a time, where that is fixed.
    pub fn batch(&self) -> Option<usize> {
        let input = self.inputs().first().copied()?.to_owned();
        let graph = self.proto.graph.as_ref()?;
        let shape = graph.input.iter().find(|value| value.name == input)?.r#type.as_ref()?;
        match shape.tensor_type.as_ref()?.shape.as_ref()?.dim.first()?.value.as_ref()? {
            DimensionValue::Value(extent) => usize::try_from(*extent).ok().filter(|extent| *extent > 0),
            DimensionValue::Param(_) => None,
        }
    }

    /// What of it would be lost when it is written again; none if nothing.
    pub(super) fn lost(&self) -> Option<&'static str> {
        let graph = self.proto.graph.as_ref()?;
        let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
        let constants =
            graph.initializer.iter().chain(attributes().filter_map(|attribute| attribute.t.as_ref()));
        if attributes().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty()) {
            Some("subgraphs")
        } else if !self.proto.functions.is_empty() {
            Some("functions")
        } else if !graph.sparse_initializer.is_empty()
            || attributes().any(|attribute| attribute.sparse_tensor.is_some())
        {
            Some("sparse constants")
        } else if constants.into_iter().any(|tensor| tensor.data_location != 0) {
            Some("constants in files of their own")
        } else {
            None
        }
    }

    /// The metadata properties (key, value), in order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// Adds a metadata property, or replaces the one with this key.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        let entries = &mut self.proto.metadata_props;
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => value.clone_into(&mut entry.value),
            None => entries.push(StringStringEntryProto { key: key.to_owned(), value: value.to_owned() }),
        }
    }
}
