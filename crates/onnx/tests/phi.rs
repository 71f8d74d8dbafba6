//! phi-v1 against its reference vectors, which another implementation made.

use habeas_onnx::{PHI_V1, Runner};

const PIXELS: usize = 224 * 224;

#[test]
fn phi_gives_its_reference_vectors() {
    let images = include_bytes!("phi_v1_images.rgb");
    let expected = include_bytes!("phi_v1_features.f32").as_chunks::<4>().0;
    let runner = Runner::load(PHI_V1).unwrap();
    assert_eq!(runner.size(), (224, 224));
    for (image, expected) in images.chunks_exact(PIXELS * 3).zip(expected.chunks_exact(5424)) {
        let planes: Vec<f32> = (0..3)
            .flat_map(|channel| image.iter().skip(channel).step_by(3).map(|&value| f32::from(value) / 255.0))
            .collect();
        let features = runner.run(&planes).unwrap().remove(0);
        assert_eq!(features.len(), expected.len());
        for (feature, expected) in features.iter().zip(expected) {
            assert!((feature - f32::from_le_bytes(*expected)).abs() < 1e-4);
        }
    }
}
