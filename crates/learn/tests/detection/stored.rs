use crate::made::{clear_examples, grid, threads};
use habeas_learn::detection::{CodecError, Detector, FoldSums, LabelledImage, fit};
use std::convert::Infallible;
use std::ops::ControlFlow;

fn stored() -> (FoldSums, Detector) {
    let examples = clear_examples();
    let mut sums = FoldSums::new(grid());
    for example in &examples {
        sums.add(&example.image, &example.maps, threads(1)).expect("the image fits");
    }
    let images: Vec<LabelledImage> = examples.iter().map(|example| example.image.clone()).collect();
    let maps =
        |id| Ok::<_, Infallible>(examples.iter().find(|e| e.image.id == id).expect("it exists").maps.clone());
    let fit = fit(&sums, &images, maps, |_| ControlFlow::Continue(())).expect("there are objects");
    (sums, fit.detector)
}

#[test]
fn sums_and_detectors_survive_their_bytes() {
    let (sums, detector) = stored();
    let read = FoldSums::from_bytes(&sums.to_bytes()).expect("own bytes are readable");
    assert_eq!(read, sums);
    assert_eq!(read.digest(), sums.digest());
    let read = Detector::from_bytes(&detector.to_bytes()).expect("own bytes are readable");
    assert_eq!(read, detector);
    assert_eq!(read.predict(&clear_examples()[3].maps), detector.predict(&clear_examples()[3].maps));
}

#[test]
fn damaged_bytes_are_refused() {
    let (sums, detector) = stored();
    let (sums, detector) = (sums.to_bytes(), detector.to_bytes());
    assert_eq!(FoldSums::from_bytes(&detector), Err(CodecError::Kind));
    assert_eq!(Detector::from_bytes(&sums), Err(CodecError::Kind));
    assert_eq!(FoldSums::from_bytes(&[&sums[..], &[0]].concat()), Err(CodecError::Long(1)));
    assert_eq!(Detector::from_bytes(&[&detector[..], &[0; 2]].concat()), Err(CodecError::Long(2)));
    for length in (0..sums.len()).step_by(997) {
        assert_eq!(FoldSums::from_bytes(&sums[..length]), Err(CodecError::Short), "{length}");
    }
    for length in 0..detector.len() {
        assert_eq!(Detector::from_bytes(&detector[..length]), Err(CodecError::Short), "{length}");
    }
    // No size is twice in a grid: the first two sizes follow the kind and their number.
    let mut twice = detector.clone();
    twice[6] = twice[5];
    assert_eq!(Detector::from_bytes(&twice), Err(CodecError::Invalid));
    let mut infinite = detector;
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert_eq!(Detector::from_bytes(&infinite), Err(CodecError::Invalid));
}

/// The documented layout, read here by hand.
#[test]
fn the_first_fold_of_the_sums_is_where_the_format_says() {
    let example = clear_examples().remove(0);
    assert_eq!(habeas_learn::detection::fold_of(example.image.id), 0, "the id was chosen for fold 0");
    let mut sums = FoldSums::new(grid());
    sums.add(&example.image, &example.maps, threads(1)).expect("the image fits");
    let bytes = sums.to_bytes();
    assert_eq!(&bytes[..4], b"HDS1");
    assert_eq!(bytes[4..8], [3, 6, 10, 14]);
    assert_eq!(bytes[8..15], [25, 0, 0, 0, 2, 2, 0]);
    let integer = |at: usize| i64::from_le_bytes(bytes[15 + at * 8..][..8].try_into().expect("eight bytes"));
    assert_eq!(integer(0), 1, "images");
    assert_eq!(integer(1), grid().anchor_count() as i64, "anchors");
    let trace: i64 = (0..20).map(|index| integer(7 + index * (index + 1) / 2 + index)).sum();
    let mean = trace as f64 / integer(1) as f64;
    assert!((mean / f64::from(1 << 28) - 1.0).abs() < 1e-3, "a window's features have length 1: {mean}");
}
