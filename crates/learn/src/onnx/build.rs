//! Building a graph node by node.

use super::model::{Model, OnnxError};
use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::{IR_VERSION, OPSET};
use std::collections::BTreeMap;

/// A tensor in a graph that is being built: an input, a constant or the output of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// One number.
    Float(f32),
    /// A text, for example a mode.
    Text(&'static str),
}

/// One dimension of a declared input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A fixed extent.
    Fixed(usize),
    /// A dimension that is known only when the model runs; equal names mean equal extents.
    Named(&'static str),
}

/// Type of the elements of a tensor, with its number in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floating point.
    Float = 1,
    /// 64-bit signed integer.
    Int64 = 7,
}

const ATTRIBUTE_FLOAT: i32 = 1;
const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_STRING: i32 = 3;
const ATTRIBUTE_INTS: i32 = 7;

/// A graph under construction. Nodes must be added in the order in which they can be computed.
#[derive(Debug)]
pub struct Graph {
    proto: GraphProto,
    values: usize,
    opset: i64,
    ir_version: i64,
}

impl Graph {
    /// An empty graph. `name` is shown by viewers; it must not be empty.
    pub fn new(name: &str) -> Self {
        let proto = GraphProto { name: name.to_owned(), ..GraphProto::default() };
        Self { proto, values: 0, opset: OPSET, ir_version: IR_VERSION }
    }

    /// An empty graph of the operator set and the IR version of `model`, which is to be copied into it. The operators that are added
    /// beside it must mean the same in that set.
    pub fn around(name: &str, model: &Model) -> Self {
        let opset = model.opset().unwrap_or(OPSET);
        Self { opset, ir_version: model.proto.ir_version, ..Self::new(name) }
    }

    /// Declares an input of 32-bit floats.
    pub fn input(&mut self, name: &str, shape: &[Dimension]) -> Value {
        self.proto.input.push(value_info(name, ElementType::Float, shape));
        Value(name.to_owned())
    }

    /// A constant of 32-bit floats, row-major. `values.len()` must be the product of `shape`; an empty shape is a
    /// scalar.
    pub fn floats(&mut self, values: &[f32], shape: &[usize]) -> Value {
        debug_assert_eq!(values.len(), shape.iter().product::<usize>());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::Float, shape, bytes)
    }

    /// A constant of one 32-bit float in one dimension, which broadcasts to any shape.
    pub fn float(&mut self, value: f32) -> Value {
        self.floats(&[value], &[1])
    }

    /// A constant list of 64-bit integers: shapes, axes, positions.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::Int64, &[values.len()], bytes)
    }

    fn constant(&mut self, element: ElementType, shape: &[usize], raw_data: Vec<u8>) -> Value {
        let name = self.fresh_name("constant");
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&extent| extent as i64).collect(),
            data_type: element as i32,
            name: name.clone(),
            raw_data: Some(raw_data),
            ..TensorProto::default()
        });
        Value(name)
    }

    /// Appends a node with one output. `operator` and the attributes' names are those of the ONNX operator set.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let [output] = self.node_with_outputs(operator, inputs, attributes);
        output
    }

    /// Appends a node with several outputs.
    pub fn node_with_outputs<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> [Value; N] {
        let outputs = std::array::from_fn(|_| Value(self.fresh_name(&operator.to_lowercase())));
        self.push_node(operator, inputs, attributes, &outputs);
        outputs
    }

    fn push_node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        outputs: &[Value],
    ) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: outputs.first().map(|output| format!("node_{}", output.0)).unwrap_or_default(),
            output: outputs.iter().map(|output| output.0.clone()).collect(),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..NodeProto::default()
        });
    }

    /// Makes `value` an output of the model under the name `name`.
    pub fn output(&mut self, value: &Value, name: &str, element: ElementType, shape: &[Dimension]) {
        self.push_node("Identity", &[value], &[], &[Value(name.to_owned())]);
        self.proto.output.push(value_info(name, element, shape));
    }

    /// Copies all nodes and constants of `model` into this graph, each name preceded by `prefix`, with the model's
    /// inputs replaced by `inputs` (input name, value). Returns the values of the model's outputs, in order.
    ///
    /// Fails if `inputs` are not exactly the model's inputs, if the model needs an operator set other than this
    /// graph's, or if it holds what would be lost: subgraphs, functions, sparse constants, constants in files of
    /// their own.
    pub fn inline(
        &mut self,
        model: &Model,
        prefix: &str,
        inputs: &[(&str, &Value)],
    ) -> Result<Vec<Value>, OnnxError> {
        let graph = model.proto.graph.as_ref().ok_or(OnnxError::NoGraph)?;
        if let Some(set) = model.proto.opset_import.iter().find(|set| {
            !matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")) || set.version != self.opset
        }) {
            let domain = set.domain.as_deref().unwrap_or_default();
            return Err(OnnxError::Unsupported(format!("operator set '{domain}' version {}", set.version)));
        }
        if let Some(lost) = model.lost() {
            return Err(OnnxError::Unsupported(format!("it has {lost}")));
        }
        let expected = model.inputs();
        let bound: BTreeMap<&str, &Value> = inputs.iter().copied().collect();
        if bound.len() != expected.len() || expected.iter().any(|name| !bound.contains_key(name)) {
            let given: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
            return Err(OnnxError::Inputs { expected: expected.join(", "), given: given.join(", ") });
        }
        let rename = |name: &String| match bound.get(name.as_str()) {
            Some(value) => value.0.clone(),
            // An empty name stands for an optional input that is left out.
            None if name.is_empty() => String::new(),
            None => format!("{prefix}{name}"),
        };
        self.proto.initializer.extend(graph.initializer.iter().map(|tensor| {
            let mut tensor = tensor.clone();
            tensor.name = rename(&tensor.name);
            tensor
        }));
        self.proto.node.extend(graph.node.iter().map(|node| NodeProto {
            input: node.input.iter().map(rename).collect(),
            output: node.output.iter().map(rename).collect(),
            // Names of nodes are optional, but no two may be the same.
            name: if node.name.is_empty() { String::new() } else { format!("{prefix}{}", node.name) },
            ..node.clone()
        }));
        Ok(graph.output.iter().map(|output| Value(rename(&output.name))).collect())
    }

    /// The finished model, with metadata properties (key, value).
    pub fn into_model(self, metadata: &[(&str, &str)]) -> Model {
        let mut model = Model {
            proto: ModelProto {
                ir_version: self.ir_version,
                producer_name: "habeas".to_owned(),
                graph: Some(self.proto),
                opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: self.opset }],
                ..ModelProto::default()
            },
        };
        for (key, value) in metadata {
            model.set_metadata(key, value);
        }
        model
    }

    fn fresh_name(&mut self, stem: &str) -> String {
        self.values += 1;
        format!("{stem}_{}", self.values)
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Int(value) => (proto.r#type, proto.i) = (ATTRIBUTE_INT, Some(*value)),
        Attribute::Ints(values) => (proto.r#type, proto.ints) = (ATTRIBUTE_INTS, values.clone()),
        Attribute::Float(value) => (proto.r#type, proto.f) = (ATTRIBUTE_FLOAT, Some(*value)),
        Attribute::Text(value) => {
            (proto.r#type, proto.s) = (ATTRIBUTE_STRING, Some(value.as_bytes().to_vec()));
        }
    }
    proto
}

fn value_info(name: &str, element: ElementType, shape: &[Dimension]) -> ValueInfoProto {
    let dim = shape.iter().map(|dimension| DimensionProto {
        value: Some(match dimension {
            Dimension::Fixed(extent) => DimensionValue::Value(*extent as i64),
            Dimension::Named(name) => DimensionValue::Param((*name).to_owned()),
        }),
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor_type = TensorTypeProto { elem_type: element as i32, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
