//! Graphs of any inputs and outputs, with bounds on what running them may take.
//!
//! A graph comes from anybody. Before anything of it is computed, each of its nodes is asked for the shape of what it gives; one that is
//! too large, or whose shape follows from numbers that are not known yet, is refused. So is what would take too many multiplications.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimensionValue;
use tract_onnx::pb::{ValueInfoProto, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Cost, bail};
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::DimLike as _;

use crate::OnnxError;

/// The most shapes of inputs for which a graph is kept prepared.
const PREPARED: usize = 4;

/// What running a graph may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of what one node gives.
    pub tensor_bytes: u64,
    /// Bytes of what all nodes give together.
    pub total_bytes: u64,
    /// Multiplications and divisions.
    pub operations: u64,
}

/// The type of an input's or output's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Numbers of 16, 32 or 64 bits.
    Float(u8),
    /// Integers of 8 to 64 bits.
    Integer(u8),
    /// Integers of 8 to 64 bits that are not negative.
    Unsigned(u8),
    /// True or false.
    Flag,
    /// Texts; of outputs only.
    Text,
}

impl Element {
    fn of(kind: DatumType) -> Option<Element> {
        Some(match kind {
            DatumType::F16 => Element::Float(16),
            DatumType::F32 => Element::Float(32),
            DatumType::F64 => Element::Float(64),
            DatumType::I8 => Element::Integer(8),
            DatumType::I16 => Element::Integer(16),
            DatumType::I32 => Element::Integer(32),
            DatumType::I64 | DatumType::TDim => Element::Integer(64),
            DatumType::U8 => Element::Unsigned(8),
            DatumType::U16 => Element::Unsigned(16),
            DatumType::U32 => Element::Unsigned(32),
            DatumType::U64 => Element::Unsigned(64),
            DatumType::Bool => Element::Flag,
            DatumType::String => Element::Text,
            _ => return None,
        })
    }

    /// The least and the greatest number of a type of integers; of 64 bits, what is exact as a number.
    pub fn range(self) -> (f64, f64) {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Element::Integer(bits @ ..=32) => {
                let half = 2_f64.powi(i32::from(bits) - 1);
                (-half, half - 1.0)
            }
            Element::Unsigned(bits @ ..=32) => (0.0, 2_f64.powi(i32::from(bits)) - 1.0),
            Element::Unsigned(_) => (0.0, EXACT),
            _ => (-EXACT, EXACT),
        }
    }

    /// The name, as ONNX's documentation writes it.
    pub fn name(self) -> String {
        match self {
            Element::Float(bits) => format!("float{bits}"),
            Element::Integer(bits) => format!("int{bits}"),
            Element::Unsigned(bits) => format!("uint{bits}"),
            Element::Flag => "bool".to_owned(),
            Element::Text => "string".to_owned(),
        }
    }
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// What it is made of; none when the graph does not say, or of a type that is not served.
    pub element: Option<Element>,
    /// Its extents, none where any will do; none at all when the graph leaves them open.
    pub shape: Option<Vec<Option<usize>>>,
}

/// The elements of a tensor, in the order of its last axis first.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers of up to 32 bits.
    Single(Vec<f32>),
    /// Numbers of 64 bits.
    Double(Vec<f64>),
    /// Integers.
    Integer(Vec<i64>),
    /// Flags.
    Flag(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements, as many as the extents multiply to.
    pub values: Values,
}

type Shapes = Vec<Vec<usize>>;

/// A graph of any inputs and outputs; shared by threads.
pub struct Graph {
    model: InferenceModel,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    limits: Limits,
    prepared: Mutex<Vec<(Shapes, Arc<TypedRunnableModel>)>>,
}

fn failed(error: TractError) -> OnnxError {
    OnnxError::Load(format!("{error:#}"))
}

impl Graph {
    /// Reads a graph. Nothing of it is computed; weights in files of their own are not found.
    pub fn load(bytes: &[u8], limits: Limits) -> Result<Graph, OnnxError> {
        let proto = tract_onnx::onnx().proto_model_for_read(&mut Cursor::new(bytes)).map_err(failed)?;
        // What the graph says of extents inside it may have names where the inputs' are numbers.
        let framework = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let model = framework.parse(&proto, None).map_err(failed)?.model;
        let inputs = ports(&model, &model.inputs)?;
        let declared: &[ValueInfoProto] = proto.graph.as_ref().map_or(&[], |graph| &graph.output);
        let outputs = ports(&model, &model.outputs)?
            .into_iter()
            .map(|port| declared.iter().find(|info| info.name == port.name).map_or(port, declared_port))
            .collect();
        if let Some(text) = inputs.iter().find(|port| matches!(port.element, None | Some(Element::Text))) {
            return Err(OnnxError::Load(format!(
                "its input `{}` is of a type that is not served",
                text.name
            )));
        }
        Ok(Graph { model, inputs, outputs, limits, prepared: Mutex::default() })
    }

    /// The inputs, in the order in which [`run`](Self::run) takes them.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the order in which [`run`](Self::run) gives them.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the graph over one tensor for each input. Errors: a tensor does not fit its input; a limit would be passed; an operator failed.
    pub fn run(&self, inputs: &[Array]) -> Result<Vec<Array>, OnnxError> {
        if inputs.len() != self.inputs.len() {
            return Err(OnnxError::Run(format!(
                "{} inputs where it has {}",
                inputs.len(),
                self.inputs.len()
            )));
        }
        let mut tensors = tvec!();
        for (port, array) in self.inputs.iter().zip(inputs) {
            check_shape(port, &array.shape)?;
            tensors.push(tensor(port, array)?.into_tvalue());
        }
        let shapes: Shapes = inputs.iter().map(|array| array.shape.clone()).collect();
        let plan = self.plan(&shapes)?;
        let run = |error: TractError| OnnxError::Run(format!("{error:#}"));
        plan.run(tensors).map_err(run)?.iter().map(|output| array(output).map_err(run)).collect()
    }

    fn plan(&self, shapes: &Shapes) -> Result<Arc<TypedRunnableModel>, OnnxError> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = prepared.iter().find(|(known, _)| known == shapes) {
            return Ok(Arc::clone(plan));
        }
        drop(prepared);
        let plan = self.prepare(shapes)?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.len() >= PREPARED {
            prepared.remove(0);
        }
        prepared.push((shapes.clone(), Arc::clone(&plan)));
        Ok(plan)
    }

    fn prepare(&self, shapes: &Shapes) -> Result<Arc<TypedRunnableModel>, OnnxError> {
        let mut model = self.model.clone();
        for (index, shape) in shapes.iter().enumerate() {
            let kind = model.input_fact(index).map_err(failed)?.datum_type;
            let kind =
                kind.concretize().ok_or_else(|| OnnxError::Load("an input without a type".to_owned()))?;
            model.set_input_fact(index, InferenceFact::dt_shape(kind, shape)).map_err(failed)?;
        }
        self.bound(&mut model)?;
        let model = model.into_typed().and_then(|model| model.into_decluttered()).map_err(failed)?;
        self.bound_operations(&model)?;
        model.into_optimized().and_then(|model| model.into_runnable()).map_err(failed)
    }

    /// Finds the shape of what every node gives before it is computed, and refuses what is too large.
    fn bound(&self, model: &mut InferenceModel) -> Result<(), OnnxError> {
        let mut total: u64 = 0;
        for id in model.eval_order().map_err(failed)? {
            let observed = model.node(id).op.observe_outlets(model, model.node(id)).map_err(failed)?;
            let (inputs, outputs) = model.node_facts(id).map_err(failed)?;
            let inputs: TVec<InferenceFact> = inputs.into_iter().cloned().collect();
            let outputs: TVec<InferenceFact> = outputs.into_iter().cloned().collect();
            let observed = observed
                .iter()
                .map(|outlet| model.outlet_fact(*outlet).cloned())
                .collect::<TractResult<TVec<InferenceFact>>>()
                .map_err(failed)?;
            let all = |facts: &'_ TVec<InferenceFact>| facts.clone();
            let (ins, outs, seen) = (all(&inputs), all(&outputs), all(&observed));
            let op = &mut model.node_mut(id).op;
            let (_, found, _) = op
                .infer_facts(ins.iter().collect(), outs.iter().collect(), seen.iter().collect())
                .map_err(failed)?;
            for fact in &found {
                total = total.saturating_add(self.size(fact, id)?);
            }
            if total > self.limits.total_bytes {
                return Err(OnnxError::Limit(format!(
                    "it would take more than {} bytes of memory",
                    self.limits.total_bytes
                )));
            }
            // Now that it is known to be small enough, constants may be computed.
            let (_, found, _) = op
                .infer(ins.iter().collect(), outs.iter().collect(), seen.iter().collect())
                .map_err(failed)?;
            for (slot, fact) in found.into_iter().enumerate() {
                let outlet = OutletId::new(id, slot);
                let known = model.outlet_fact(outlet).map_err(failed)?;
                let fact = known.unify(&fact).map_err(failed)?;
                model.set_outlet_fact(outlet, fact).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The bytes of what a node gives.
    fn size(&self, fact: &InferenceFact, node: usize) -> Result<u64, OnnxError> {
        let extents: Option<Vec<usize>> = fact
            .shape
            .concretize()
            .and_then(|dims| dims.iter().map(|dim| dim.to_usize().ok()).collect::<Option<Vec<_>>>());
        let Some(extents) = extents else {
            return Err(OnnxError::Limit(format!(
                "the size of what its node number {node} ({}) gives follows from numbers that are not known before",
                self.model.node(node).op.name()
            )));
        };
        let element = fact.datum_type.concretize().map_or(8, |kind| kind.size_of().max(1));
        let bytes = extents.iter().fold(element as u64, |bytes, extent| bytes.saturating_mul(*extent as u64));
        if bytes > self.limits.tensor_bytes {
            return Err(OnnxError::Limit(format!(
                "its node number {node} ({}) would give {bytes} bytes, more than {}",
                self.model.node(node).op.name(),
                self.limits.tensor_bytes
            )));
        }
        Ok(bytes)
    }

    fn bound_operations(&self, model: &TypedModel) -> Result<(), OnnxError> {
        let mut operations: u64 = 0;
        for node in model.nodes() {
            let inputs = model.node_input_facts(node.id).map_err(failed)?;
            for (cost, count) in node.op.cost(&inputs).map_err(failed)? {
                if matches!(cost, Cost::FMA(_) | Cost::Div(_)) {
                    operations = operations.saturating_add(count.to_usize().unwrap_or(usize::MAX) as u64);
                }
            }
        }
        if operations > self.limits.operations {
            return Err(OnnxError::Limit(format!(
                "it would take {operations} multiplications, more than {}",
                self.limits.operations
            )));
        }
        Ok(())
    }
}

/// What is known of inputs or outputs.
fn ports(model: &InferenceModel, outlets: &[OutletId]) -> Result<Vec<Port>, OnnxError> {
    let port = |outlet: &OutletId| {
        let fact = model.outlet_fact(*outlet).map_err(failed)?;
        let shape = fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok()));
        let name = model.outlet_label(*outlet);
        Ok(Port {
            name: name.map_or_else(|| model.node(outlet.node).name.clone(), str::to_owned),
            element: fact.datum_type.concretize().and_then(Element::of),
            shape: (!fact.shape.is_open()).then(|| shape.collect()),
        })
    };
    outlets.iter().map(port).collect()
}

/// What a graph declares of an output (onnx.proto, `ValueInfoProto`).
fn declared_port(info: &ValueInfoProto) -> Port {
    let kind = info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let tensor = kind.map(|type_proto::Value::TensorType(tensor)| tensor);
    let extent = |dimension: &Dimension| match dimension.value {
        Some(DimensionValue::DimValue(extent)) => usize::try_from(extent).ok(),
        Some(DimensionValue::DimParam(_)) | None => None,
    };
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    Port {
        name: info.name.clone(),
        element: tensor.and_then(|tensor| declared_element(tensor.elem_type)),
        shape: shape.map(|shape| shape.dim.iter().map(extent).collect()),
    }
}

/// The element type of a number of onnx.proto's `TensorProto.DataType`.
fn declared_element(number: i32) -> Option<Element> {
    Some(match number {
        1 => Element::Float(32),
        2 => Element::Unsigned(8),
        3 => Element::Integer(8),
        4 => Element::Unsigned(16),
        5 => Element::Integer(16),
        6 => Element::Integer(32),
        7 => Element::Integer(64),
        8 => Element::Text,
        9 => Element::Flag,
        10 => Element::Float(16),
        11 => Element::Float(64),
        12 => Element::Unsigned(32),
        13 => Element::Unsigned(64),
        _ => return None,
    })
}

fn check_shape(port: &Port, shape: &[usize]) -> Result<(), OnnxError> {
    let Some(expected) = &port.shape else { return Ok(()) };
    let fits = expected.len() == shape.len()
        && expected.iter().zip(shape).all(|(expected, extent)| expected.is_none_or(|one| one == *extent));
    if fits {
        return Ok(());
    }
    let shown: Vec<String> = expected
        .iter()
        .map(|extent| extent.map_or_else(|| "any".to_owned(), |one| one.to_string()))
        .collect();
    Err(OnnxError::Run(format!(
        "the input `{}` has the shape {shape:?}, where the graph takes [{}]",
        port.name,
        shown.join(", ")
    )))
}

fn tensor(port: &Port, array: &Array) -> Result<Tensor, OnnxError> {
    let wrong = |error: TractError| OnnxError::Run(format!("the input `{}`: {error:#}", port.name));
    let kind = match port.element {
        Some(Element::Float(16)) => DatumType::F16,
        Some(Element::Float(32)) => DatumType::F32,
        Some(Element::Float(_)) => DatumType::F64,
        Some(Element::Integer(8)) => DatumType::I8,
        Some(Element::Integer(16)) => DatumType::I16,
        Some(Element::Integer(32)) => DatumType::I32,
        Some(Element::Integer(_)) => DatumType::I64,
        Some(Element::Unsigned(8)) => DatumType::U8,
        Some(Element::Unsigned(16)) => DatumType::U16,
        Some(Element::Unsigned(32)) => DatumType::U32,
        Some(Element::Unsigned(_)) => DatumType::U64,
        Some(Element::Flag) => DatumType::Bool,
        Some(Element::Text) | None => {
            return Err(OnnxError::Run(format!("the input `{}` is of a type that is not served", port.name)));
        }
    };
    let tensor = match &array.values {
        Values::Single(values) => Tensor::from_shape(&array.shape, values),
        Values::Double(values) => Tensor::from_shape(&array.shape, values),
        Values::Integer(values) => Tensor::from_shape(&array.shape, values),
        Values::Flag(values) => Tensor::from_shape(&array.shape, values),
        Values::Text(_) => {
            return Err(OnnxError::Run(format!("the input `{}` takes no texts", port.name)));
        }
    };
    let tensor = tensor.map_err(wrong)?;
    Ok(tensor.cast_to_dt(kind).map_err(wrong)?.into_owned())
}

fn array(tensor: &Tensor) -> TractResult<Array> {
    fn all<T: Datum + Clone>(tensor: &Tensor) -> TractResult<Vec<T>> {
        Ok(tensor.to_plain_array_view::<T>()?.iter().cloned().collect())
    }
    let values = match Element::of(tensor.datum_type()) {
        Some(Element::Float(64)) => Values::Double(all(tensor)?),
        Some(Element::Float(_)) => Values::Single(all(&*tensor.cast_to::<f32>()?)?),
        Some(Element::Integer(_) | Element::Unsigned(_)) => Values::Integer(all(&*tensor.cast_to::<i64>()?)?),
        Some(Element::Flag) => Values::Flag(all(tensor)?),
        Some(Element::Text) => Values::Text(all(tensor)?),
        None => bail!("an output of a type that is not served"),
    };
    Ok(Array { shape: tensor.shape().to_vec(), values })
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}
