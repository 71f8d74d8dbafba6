//! Runs graphs over one image.

use tract_onnx::prelude::*;

pub(crate) struct Runner {
    plan: std::sync::Arc<TypedRunnableModel>,
}

impl Runner {
    pub(crate) fn new(graph: &[u8]) -> Self {
        let plan = tract_onnx::onnx()
            .model_for_read(&mut std::io::Cursor::new(graph))
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable())
            .expect("the graph can be run");
        Self { plan }
    }

    /// The outputs for 3 x 192 x 192 numbers; whole numbers as floats.
    pub(crate) fn run(&self, image: &[f32]) -> Vec<Vec<f32>> {
        let side = habeas_learn::detection::SIDE;
        let input = Tensor::from_shape(&[1, 3, side, side], image).expect("an image of 192x192");
        let outputs = self.plan.run(tvec!(input.into())).expect("the graph runs");
        let floats = |output: &TValue| {
            let output = output.cast_to::<f32>().expect("the outputs are numbers");
            output.to_plain_array_view::<f32>().expect("they are floats").iter().copied().collect()
        };
        outputs.iter().map(floats).collect()
    }
}
