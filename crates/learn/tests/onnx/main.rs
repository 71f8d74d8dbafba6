//! ONNX models are written, read back and built upon without losing anything.

use habeas_learn::onnx::{Attribute, Dimension, ElementType, Graph, Model, OnnxError};

const IMAGES: [Dimension; 2] = [Dimension::Named("N"), Dimension::Fixed(3)];

/// y = x * 2 + 1.
fn affine() -> Model {
    let mut graph = Graph::new("affine");
    let x = graph.input("x", &IMAGES);
    let two = graph.float(2.0);
    let scaled = graph.node("Mul", &[&x, &two], &[]);
    let one = graph.float(1.0);
    let y = graph.node("Add", &[&scaled, &one], &[]);
    graph.output(&y, "y", ElementType::Float, &IMAGES);
    graph.into_model(&[("Image.BitmapPixelFormat", "Bgr8")])
}

#[test]
fn a_model_survives_its_bytes() {
    let model = affine();
    let read = Model::decode(&model.encode()).expect("own bytes are readable");
    assert_eq!(read, model);
    assert_eq!(read.inputs(), ["x"]);
    assert_eq!(read.outputs(), ["y"]);
    assert_eq!(read.metadata().collect::<Vec<_>>(), [("Image.BitmapPixelFormat", "Bgr8")]);
}

#[test]
fn the_bytes_are_those_of_the_wire_format() {
    let mut graph = Graph::new("g");
    let x = graph.input("x", &[Dimension::Fixed(1)]);
    graph.output(&x, "y", ElementType::Float, &[Dimension::Named("N")]);
    let expected: [&[u8]; 8] = [
        b"\x08\x08",                                                           // IR version 8
        b"\x12\x06habeas",                                                     // producer
        b"\x3a\x40",                                                           // graph, 64 bytes
        b"\x0a\x18\x0a\x01x\x12\x01y\x1a\x06node_y\x22\x08Identity", // node: input, output, name, operator
        b"\x12\x01g",                                                // name of the graph
        b"\x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01", // input x: float, 1
        b"\x62\x10\x0a\x01y\x12\x0b\x0a\x09\x08\x01\x12\x05\x0a\x03\x12\x01N", // output y: float, "N"
        b"\x42\x04\x0a\x00\x10\x0d",                                 // operator set "" version 13
    ];
    assert_eq!(graph.into_model(&[]).encode(), expected.concat());
}

#[test]
fn building_twice_gives_the_same_bytes() {
    assert_eq!(affine().encode(), affine().encode());
}

#[test]
fn setting_a_property_again_replaces_it() {
    let mut model = affine();
    model.set_metadata("Image.BitmapPixelFormat", "Rgb8");
    model.set_metadata("Image.NominalPixelRange", "NominalRange_0_255");
    let metadata: Vec<_> = model.metadata().collect();
    assert_eq!(
        metadata,
        [("Image.BitmapPixelFormat", "Rgb8"), ("Image.NominalPixelRange", "NominalRange_0_255")]
    );
}

#[test]
fn one_model_is_copied_twice_into_another() {
    let mut graph = Graph::new("twice");
    let x = graph.input("x", &IMAGES);
    let first = graph.inline(&affine(), "first_", &[("x", &x)]).expect("the input is bound");
    let second = graph.inline(&affine(), "second_", &[("x", &first[0])]).expect("the input is bound");
    let both = graph.node("Concat", &[&first[0], &second[0]], &[("axis", Attribute::Int(1))]);
    graph.output(&both, "both", ElementType::Float, &[Dimension::Named("N"), Dimension::Fixed(6)]);
    let model = graph.into_model(&[]);
    assert_eq!((model.inputs(), model.outputs()), (vec!["x"], vec!["both"]));
    assert_eq!(Model::decode(&model.encode()).expect("own bytes are readable"), model);
}

/// Nodes need no names, and those of phi-v1 have none; ONNX Runtime refuses two nodes of one name.
#[test]
fn nodes_without_names_stay_without_names() {
    let phi = Model::decode(include_bytes!("../../../onnx/models/phi_v1.onnx")).expect("it is a model");
    let mut graph = Graph::new("copy");
    let x = graph.input("x", &IMAGES);
    graph.inline(&phi, "phi_", &[("x", &x)]).expect("the input is bound");
    let bytes = graph.into_model(&[]).encode();
    // Field 3 of a node: a name that is the prefix alone.
    assert!(!bytes.windows(6).any(|window| window == b"\x1a\x04phi_"));
}

#[test]
fn a_model_is_not_copied_with_other_inputs_than_its_own() {
    let mut graph = Graph::new("wrong");
    let x = graph.input("x", &IMAGES);
    let error = graph.inline(&affine(), "", &[("data", &x)]).expect_err("there is no input 'data'");
    assert_eq!(error, OnnxError::Inputs { expected: "x".to_owned(), given: "data".to_owned() });
}

/// [`affine`] in another operator set.
fn affine_of(opset: u8) -> Model {
    let mut bytes = affine().encode();
    let at = bytes.windows(6).position(|window| window == b"\x42\x04\x0a\x00\x10\x0d").expect("set 13");
    bytes[at + 5] = opset;
    Model::decode(&bytes).expect("it is a model")
}

#[test]
fn a_model_of_another_operator_set_is_copied_into_a_graph_of_that_set_only() {
    let mut graph = Graph::new("thirteen");
    let x = graph.input("x", &IMAGES);
    let error = graph.inline(&affine_of(17), "", &[("x", &x)]).expect_err("it is of set 17");
    assert_eq!(error, OnnxError::Unsupported("operator set '' version 17".to_owned()));
    let mut graph = Graph::around("seventeen", &affine_of(17));
    let x = graph.input("x", &IMAGES);
    let y = graph.inline(&affine_of(17), "", &[("x", &x)]).expect("the input is bound");
    graph.output(&y[0], "z", ElementType::Float, &IMAGES);
    assert_eq!(graph.into_model(&[]).opset(), Some(17));
}

#[test]
fn a_model_with_something_that_would_be_lost_is_not_copied() {
    // Field 25 of the model: a function.
    let bytes = [affine().encode(), b"\xca\x01\x00".to_vec()].concat();
    let model = Model::decode(&bytes).expect("it is a model");
    let mut graph = Graph::new("g");
    let x = graph.input("x", &IMAGES);
    let error = graph.inline(&model, "", &[("x", &x)]).expect_err("it has a function");
    assert_eq!(error, OnnxError::Unsupported("it has functions".to_owned()));
}

#[test]
fn what_is_no_model_is_refused() {
    assert!(matches!(Model::decode(b"not a model"), Err(OnnxError::Malformed(_))));
    assert_eq!(Model::decode(b""), Err(OnnxError::NoGraph));
}
