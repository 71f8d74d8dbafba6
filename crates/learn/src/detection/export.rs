//! A detector as one ONNX graph.

use super::anchors::{Axis, Interval, PARTS};
use super::boxes::CellBox;
use super::detector::{Detector, MOST, MOST_GROWTH, MOST_OF_TAG, SUPPRESSION};
use super::maps::{MAPS, append_maps};
use super::{CELLS, SIDE};
use crate::onnx::{Attribute, Dimension, ElementType, Graph, Model, Value};

impl Detector {
    /// The detector as one graph, from pixels to detections, with the same answers as [`Detector::predict`].
    ///
    /// Input `image_tensor` (1,3,192,192): blue, green, red in 0..255, the image stretched. Outputs, most probable
    /// first: `detected_boxes` (1,n,4), left, top, right, bottom as fractions of the image; `detected_classes` (1,n),
    /// positions in [`Detector::tags`]; `detected_scores` (1,n), probabilities. Names and shapes are those that
    /// Microsoft's sample programs for exported detectors read (`Azure-Samples/customvision-export-samples`,
    /// `object_detection_s1`).
    ///
    /// `None` for a detector whose maps are not those of [`super::maps_model`].
    pub fn to_onnx(&self) -> Option<Model> {
        if self.grid.channels() != MAPS {
            return None;
        }
        let mut graph = Graph::new("habeas_detector");
        let side = Dimension::Fixed(SIDE);
        let pixels = graph.input("image_tensor", &[Dimension::Fixed(1), Dimension::Fixed(3), side, side]);
        let rgb = append_rgb(&mut graph, &pixels);
        let maps = append_maps(&mut graph, &rgb);
        let features = self.append_features(&mut graph, &maps);
        let (scores, moves) = self.append_linear(&mut graph, &features);
        let places = self.append_places(&mut graph, &moves);
        self.append_detections(&mut graph, &scores, &places);
        Some(graph.into_model(&[
            ("Image.BitmapPixelFormat", "Bgr8"),
            ("Image.NominalPixelRange", "NominalRange_0_255"),
            ("Image.ColorSpaceGamma", "SRGB"),
        ]))
    }

    /// Features of all anchors (n, d).
    fn append_features(&self, graph: &mut Graph, maps: &Value) -> Value {
        let axes = self.grid.axes();
        let across: Vec<(Value, Value)> = axes
            .iter()
            .map(|axis| {
                let parts = append_pool_rows(graph, maps, &axis.parts);
                (parts, append_pool_rows(graph, maps, &axis.contexts))
            })
            .collect();
        let down: Vec<(Value, Value)> = axes
            .iter()
            .map(|axis| (interval_rows(graph, &axis.parts), interval_rows(graph, &axis.contexts)))
            .collect();
        let position =
            |axis: &Axis| axes.iter().position(|other| other.size == axis.size).unwrap_or_default();
        let shapes: Vec<(usize, usize)> =
            self.grid.shapes(&axes).map(|(wide, high)| (position(wide), position(high))).collect();
        let mut of_shapes = Vec::new();
        for (wide, high) in shapes {
            let (columns, rows) = (axes[wide].starts.len() as i64, axes[high].starts.len() as i64);
            let (channels, parts) = (MAPS as i64, PARTS as i64);
            let means = graph.node("MatMul", &[&down[high].0, &across[wide].0], &[]);
            let means = append_reshape(graph, &means, &[channels, rows, parts, columns, parts]);
            let means = append_transpose(graph, &means, &[1, 3, 2, 4, 0]);
            let means = append_reshape(graph, &means, &[rows * columns, parts * parts * channels]);
            let context = graph.node("MatMul", &[&down[high].1, &across[wide].1], &[]);
            let context = append_reshape(graph, &context, &[channels, rows * columns]);
            let context = append_transpose(graph, &context, &[1, 0]);
            of_shapes.push(append_concat(graph, &[&means, &context], 1));
        }
        let means = append_concat(graph, &of_shapes.iter().collect::<Vec<_>>(), 0);
        let sizes = graph.node("Abs", &[&means], &[]);
        let roots = graph.node("Sqrt", &[&sizes], &[]);
        let signs = graph.node("Sign", &[&means], &[]);
        let roots = graph.node("Mul", &[&roots, &signs], &[]);
        let axis = graph.ints(&[1]);
        let square = graph.node("ReduceSum", &[&sizes, &axis], &[]);
        let length = graph.node("Sqrt", &[&square], &[]);
        let floor = graph.float(1e-9);
        let length = graph.node("Add", &[&length, &floor], &[]);
        graph.node("Div", &[&roots, &length], &[])
    }

    /// Scores (n, tags) and moves (n, 4).
    fn append_linear(&self, graph: &mut Graph, features: &Value) -> (Value, Value) {
        let outputs: Vec<_> = self.tags.iter().map(|tag| &tag.score).chain(&self.moves).collect();
        let weights: Vec<f32> = outputs.iter().flat_map(|output| &output.weights).copied().collect();
        let biases: Vec<f32> = outputs.iter().map(|output| output.bias).collect();
        let weights = graph.floats(&weights, &[outputs.len(), self.grid.dimension()]);
        let biases = graph.floats(&biases, &[outputs.len()]);
        let linear = graph.node("Gemm", &[features, &weights, &biases], &[("transB", Attribute::Int(1))]);
        let tags = self.tags.len() as i64;
        (append_columns(graph, &linear, 0, tags), append_columns(graph, &linear, tags, tags + 4))
    }

    /// The moved anchors (n, 4): left, top, right, bottom in cells.
    fn append_places(&self, graph: &mut Graph, moves: &Value) -> Value {
        let anchors: Vec<[f32; 4]> = self.grid.boxes().into_iter().map(CellBox::centre_form).collect();
        let pairs = |first: usize| -> Vec<f32> {
            anchors.iter().flat_map(|anchor| [anchor[first], anchor[first + 1]]).collect()
        };
        let centres = graph.floats(&pairs(0), &[anchors.len(), 2]);
        let sizes = graph.floats(&pairs(2), &[anchors.len(), 2]);
        let shift = append_columns(graph, moves, 0, 2);
        let shift = graph.node("Mul", &[&shift, &sizes], &[]);
        let centres = graph.node("Add", &[&centres, &shift], &[]);
        let growth = append_columns(graph, moves, 2, 4);
        let growth = append_clip(graph, &growth, -MOST_GROWTH, MOST_GROWTH);
        let growth = graph.node("Exp", &[&growth], &[]);
        let sizes = graph.node("Mul", &[&sizes, &growth], &[]);
        let half = graph.float(0.5);
        let half = graph.node("Mul", &[&sizes, &half], &[]);
        let from = graph.node("Sub", &[&centres, &half], &[]);
        let to = graph.node("Add", &[&centres, &half], &[]);
        let edges = append_concat(graph, &[&from, &to], 1);
        append_clip(graph, &edges, 0.0, CELLS as f32)
    }

    /// Suppression, calibration and the outputs.
    fn append_detections(&self, graph: &mut Graph, scores: &Value, places: &Value) {
        let first_axis = graph.ints(&[0]);
        let by_tag = append_transpose(graph, scores, &[1, 0]);
        let by_tag = graph.node("Unsqueeze", &[&by_tag, &first_axis], &[]);
        let batch = graph.node("Unsqueeze", &[places, &first_axis], &[]);
        let most_of_tag = graph.ints(&[MOST_OF_TAG as i64]);
        let limit = graph.float(SUPPRESSION);
        let kept = graph.node("NonMaxSuppression", &[&batch, &by_tag, &most_of_tag, &limit], &[]);
        let kept_scores = graph.node("GatherND", &[&by_tag, &kept], &[]);
        let second_axis = graph.ints(&[1]);
        let column = |graph: &mut Graph, index: i64| {
            let column = append_columns(graph, &kept, index, index + 1);
            graph.node("Squeeze", &[&column, &second_axis], &[])
        };
        let classes = column(graph, 1);
        let anchors = column(graph, 2);

        let of_tags = |value: fn(&super::calibration::Calibration) -> f32| -> Vec<f32> {
            self.tags.iter().map(|tag| value(&tag.calibration)).collect()
        };
        let slopes = graph.floats(&of_tags(|calibration| calibration.slope), &[self.tags.len()]);
        let offsets = graph.floats(&of_tags(|calibration| calibration.offset), &[self.tags.len()]);
        let slopes = graph.node("Gather", &[&slopes, &classes], &[]);
        let offsets = graph.node("Gather", &[&offsets, &classes], &[]);
        let scaled = graph.node("Mul", &[&kept_scores, &slopes], &[]);
        let scaled = graph.node("Add", &[&scaled, &offsets], &[]);
        let probabilities = graph.node("Sigmoid", &[&scaled], &[]);

        let count = graph.node("Shape", &[&probabilities], &[]);
        let most = graph.ints(&[MOST as i64]);
        let count = graph.node("Min", &[&count, &most], &[]);
        let (probabilities, order) = append_top(graph, &probabilities, &count);
        let classes = graph.node("Gather", &[&classes, &order], &[]);
        let anchors = graph.node("Gather", &[&anchors, &order], &[]);
        let boxes = graph.node("Gather", &[places, &anchors], &[]);
        let cell = graph.float(1.0 / CELLS as f32);
        let boxes = graph.node("Mul", &[&boxes, &cell], &[]);

        let (one, detections) = (Dimension::Fixed(1), Dimension::Named("detections"));
        let mut output = |value: &Value, name: &str, element: ElementType, shape: &[Dimension]| {
            let batch = graph.node("Unsqueeze", &[value, &first_axis], &[]);
            graph.output(&batch, name, element, shape);
        };
        output(&boxes, "detected_boxes", ElementType::Float, &[one, detections, Dimension::Fixed(4)]);
        output(&classes, "detected_classes", ElementType::Int64, &[one, detections]);
        output(&probabilities, "detected_scores", ElementType::Float, &[one, detections]);
    }
}

/// From blue, green, red in 0..255 to red, green, blue in 0..1.
fn append_rgb(graph: &mut Graph, pixels: &Value) -> Value {
    let scale = 1.0 / 255.0;
    let swap = [0.0, 0.0, scale, 0.0, scale, 0.0, scale, 0.0, 0.0];
    let swap = graph.floats(&swap, &[3, 3, 1, 1]);
    graph.node("Conv", &[pixels, &swap], &[])
}

/// Averages along the rows of maps: (.., 24, 24) to (.., 24, intervals).
fn append_pool_rows(graph: &mut Graph, maps: &Value, intervals: &[Interval]) -> Value {
    let mut weights = vec![0.0; CELLS * intervals.len()];
    for (column, interval) in intervals.iter().enumerate() {
        for (offset, weight) in interval.weights.iter().enumerate() {
            weights[(interval.first + offset) * intervals.len() + column] = *weight;
        }
    }
    let weights = graph.floats(&weights, &[CELLS, intervals.len()]);
    graph.node("MatMul", &[maps, &weights], &[])
}

/// The matrix that averages along the columns of maps: (intervals, 24).
fn interval_rows(graph: &mut Graph, intervals: &[Interval]) -> Value {
    let mut weights = vec![0.0; CELLS * intervals.len()];
    for (row, interval) in weights.chunks_exact_mut(CELLS).zip(intervals) {
        row[interval.first..interval.first + interval.weights.len()].copy_from_slice(&interval.weights);
    }
    graph.floats(&weights, &[intervals.len(), CELLS])
}

fn append_reshape(graph: &mut Graph, value: &Value, shape: &[i64]) -> Value {
    let shape = graph.ints(shape);
    graph.node("Reshape", &[value, &shape], &[])
}

fn append_transpose(graph: &mut Graph, value: &Value, order: &[i64]) -> Value {
    graph.node("Transpose", &[value], &[("perm", Attribute::Ints(order.to_vec()))])
}

fn append_concat(graph: &mut Graph, values: &[&Value], axis: i64) -> Value {
    graph.node("Concat", values, &[("axis", Attribute::Int(axis))])
}

/// The columns `from..to` of a matrix.
fn append_columns(graph: &mut Graph, matrix: &Value, from: i64, to: i64) -> Value {
    let (from, to, axis) = (graph.ints(&[from]), graph.ints(&[to]), graph.ints(&[1]));
    graph.node("Slice", &[matrix, &from, &to, &axis], &[])
}

fn append_clip(graph: &mut Graph, value: &Value, least: f32, most: f32) -> Value {
    let (least, most) = (graph.floats(&[least], &[]), graph.floats(&[most], &[]));
    graph.node("Clip", &[value, &least, &most], &[])
}

/// The `count` largest values, largest first, and where they are.
fn append_top(graph: &mut Graph, values: &Value, count: &Value) -> (Value, Value) {
    let [top, order] = graph.node_with_outputs("TopK", &[values, count], &[]);
    (top, order)
}
