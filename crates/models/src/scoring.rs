//! Asking registered models: ONNX graphs of anybody's making, within bounds of size, memory, work, time and number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use habeas_core::{BlobRef, Error, Id, Result};
pub use habeas_onnx::{Array, Element, Graph, Port, Values};
use habeas_onnx::{Limits, OnnxError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Models;

/// The largest graph, in bytes.
pub const GRAPH_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes of the graphs that are kept in memory, as they are stored. In memory each takes up to five times as much.
const HELD_BYTES: u64 = 256 * 1024 * 1024;
/// What one answer may take.
const LIMITS: Limits =
    Limits { tensor_bytes: 256 * 1024 * 1024, total_bytes: 1024 * 1024 * 1024, operations: 50_000_000_000 };
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that are answered or wait at a time; more are sent away.
const QUEUE: usize = 64;

/// Graphs in memory, the one used last at the end, and the turns in which they are asked.
pub(crate) struct Scoring {
    held: Mutex<Vec<(Id, u64, Arc<Graph>)>>,
    places: Semaphore,
    turns: Semaphore,
}

impl Scoring {
    pub(crate) fn new(threads: usize) -> Scoring {
        Scoring {
            held: Mutex::default(),
            places: Semaphore::new(QUEUE),
            turns: Semaphore::new(threads.max(1)),
        }
    }

    fn find(&self, id: Id) -> Option<Arc<Graph>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.iter().position(|(known, ..)| *known == id)?;
        let found = held.remove(at);
        let graph = Arc::clone(&found.2);
        held.push(found);
        Some(graph)
    }

    fn keep(&self, id: Id, size: u64, graph: &Arc<Graph>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(known, ..)| *known != id);
        held.push((id, size, Arc::clone(graph)));
        while held.len() > 1 && held.iter().map(|(_, size, _)| size).sum::<u64>() > HELD_BYTES {
            held.remove(0);
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        self.turns.acquire().await.map_err(|_| Error::internal("the turns of scoring were closed"))
    }
}

fn told(error: OnnxError) -> Error {
    match error {
        OnnxError::Load(_) => Error::not_implemented(error.to_string())
            .hint(
                "the model is kept as a record; what runs here is ONNX without operators of other libraries",
            )
            .code("NotServed"),
        OnnxError::Limit(_) => Error::limit(error.to_string()),
        OnnxError::Input(_) | OnnxError::Run(_) => Error::invalid(error.to_string()),
    }
}

impl Models {
    /// The graph in a stored file, from memory where it is there.
    pub async fn graph(&self, blob: &BlobRef) -> Result<Arc<Graph>> {
        let scoring = &self.inner.scoring;
        if let Some(graph) = scoring.find(blob.id) {
            return Ok(graph);
        }
        if blob.size > GRAPH_BYTES {
            return Err(Error::limit(format!("the model has {} bytes, more than {GRAPH_BYTES}", blob.size)));
        }
        let _turn = scoring.turn().await?;
        if let Some(graph) = scoring.find(blob.id) {
            return Ok(graph);
        }
        let bytes = self.store().blobs().get(blob).await?;
        let graph = tokio::task::spawn_blocking(move || Graph::load(&bytes, LIMITS))
            .await
            .map_err(|_| Error::not_implemented("the model could not be read").code("NotServed"))?
            .map_err(told)?;
        let graph = Arc::new(graph);
        scoring.keep(blob.id, blob.size, &graph);
        Ok(graph)
    }

    /// What a graph makes of these inputs.
    pub async fn score(&self, graph: &Arc<Graph>, inputs: Vec<Array>) -> Result<Vec<Array>> {
        let scoring = &self.inner.scoring;
        let Ok(_place) = scoring.places.try_acquire() else {
            return Err(Error::new(
                habeas_core::ErrorKind::Busy,
                format!("{QUEUE} requests wait for an answer already"),
            )
            .hint("try again in a moment"));
        };
        let inner = Arc::clone(&self.inner);
        let graph = Arc::clone(graph);
        // What takes too long goes on and keeps its turn, so that there are never more at work than there are turns.
        let work = tokio::spawn(async move {
            let _turn = inner.scoring.turn().await?;
            tokio::task::spawn_blocking(move || graph.run(&inputs))
                .await
                .map_err(|_| Error::invalid("the model failed on these inputs"))?
                .map_err(told)
        });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|_| Error::internal("an answer was lost"))?,
            Err(_) => {
                Err(Error::limit(format!("the answer took longer than {} seconds", PATIENCE.as_secs())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use habeas_learn::onnx::{Attribute, Dimension, ElementType, Graph as Writer, Value};

    use super::*;

    /// The bytes of a graph with one input `x` of any number of rows of `width` numbers, and the output `y`.
    fn written(width: usize, build: impl FnOnce(&mut Writer, &Value) -> Value) -> Vec<u8> {
        let mut graph = Writer::new("test");
        let shape = [Dimension::Named("rows"), Dimension::Fixed(width)];
        let x = graph.input("x", &shape);
        let y = build(&mut graph, &x);
        graph.output(&y, "y", ElementType::Float, &[Dimension::Named("rows"), Dimension::Named("columns")]);
        graph.into_model(&[]).encode()
    }

    fn single(shape: &[usize], values: &[f32]) -> Array {
        Array { shape: shape.to_vec(), values: Values::Single(values.to_vec()) }
    }

    fn ask(bytes: &[u8], inputs: &[Array]) -> Result<Vec<Array>> {
        Graph::load(bytes, LIMITS).map_err(told)?.run(inputs).map_err(told)
    }

    #[test]
    fn a_graph_answers_any_number_of_rows() {
        let bytes = written(2, |graph, x| {
            let weights = graph.floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
            let bias = graph.floats(&[0.5, 0.0, -0.5], &[3]);
            let product = graph.node("MatMul", &[x, &weights], &[]);
            graph.node("Add", &[&product, &bias], &[])
        });
        let graph = Graph::load(&bytes, LIMITS).unwrap();
        let port = &graph.inputs()[0];
        assert_eq!(
            (port.name.as_str(), port.element, &port.shape),
            ("x", Some(Element::Float(32)), &Some(vec![None, Some(2)]))
        );
        assert_eq!(graph.outputs()[0].name, "y");
        for rows in [1, 2, 3] {
            let answer = graph.run(&[single(&[rows, 2], &[1.0, 10.0].repeat(rows))]).unwrap();
            assert_eq!(answer, [single(&[rows, 3], &[41.5, 52.0, 62.5].repeat(rows))]);
        }
        // Integers are numbers too.
        let whole = Array { shape: vec![1, 2], values: Values::Integer(vec![1, 10]) };
        assert_eq!(graph.run(&[whole]).unwrap(), [single(&[1, 3], &[41.5, 52.0, 62.5])]);
        for wrong in [single(&[2], &[1.0, 2.0]), single(&[1, 3], &[1.0; 3]), single(&[1, 2], &[1.0; 3])] {
            assert_eq!(graph.run(&[wrong]).map_err(told).unwrap_err().kind, habeas_core::ErrorKind::Invalid);
        }
        assert!(graph.run(&[]).is_err());
    }

    #[test]
    fn what_would_take_too_much_is_refused_before_it_is_computed() {
        // Of constants, whose product would be computed while the graph is prepared.
        let product = written(1, |graph, x| {
            let tall = graph.floats(&[1.0; 100_000], &[100_000, 1]);
            let wide = graph.floats(&[1.0; 100_000], &[1, 100_000]);
            let huge = graph.node("MatMul", &[&tall, &wide], &[]);
            graph.node("Add", &[x, &huge], &[])
        });
        let filled = written(1, |graph, x| {
            let extents = graph.ints(&[1_000_000, 1_000_000]);
            let huge = graph.node("ConstantOfShape", &[&extents], &[]);
            graph.node("Add", &[x, &huge], &[])
        });
        let doubled = written(1, |graph, x| {
            let mut value = graph.floats(&[1.0], &[1, 1]);
            for _ in 0..40 {
                value = graph.node("Concat", &[&value, &value], &[("axis", Attribute::Int(0))]);
            }
            graph.node("Add", &[x, &value], &[])
        });
        let expanded = written(1, |graph, x| {
            let extents = graph.ints(&[1_000_000_000, 1_000]);
            graph.node("Expand", &[x, &extents], &[])
        });
        for bytes in [product, filled, doubled, expanded] {
            let error = ask(&bytes, &[single(&[1, 1], &[1.0])]).unwrap_err();
            assert_eq!(error.kind, habeas_core::ErrorKind::LimitExceeded, "{error}");
        }
        // Each product is small, all of them are not.
        let long = written(2_000, |graph, x| {
            let weights = graph.floats(&vec![0.001; 4_000_000], &[2_000, 2_000]);
            let mut value = x.clone();
            for _ in 0..20 {
                value = graph.node("MatMul", &[&value, &weights], &[]);
            }
            value
        });
        let error = ask(&long, &[single(&[2_000, 2_000], &vec![0.0; 4_000_000])]).unwrap_err();
        assert_eq!(error.kind, habeas_core::ErrorKind::LimitExceeded, "{error}");
    }

    #[test]
    fn what_is_no_graph_is_told() {
        for bytes in [&b""[..], b"no graph", &[0xff; 100]] {
            let error = ask(bytes, &[]).unwrap_err();
            assert_eq!(error.code, Some("NotServed"), "{error}");
        }
        let unknown = written(1, |graph, x| graph.node("Spoil", &[x], &[]));
        assert!(ask(&unknown, &[single(&[1, 1], &[1.0])]).is_err());
    }
}
