use crate::made::{Example, clear_examples, examples, grid, threads};
use habeas_learn::detection::{
    AnchorGrid, CELLS, Detector, FeatureMaps, FoldSums, GridError, LabelledImage, MapsError, Object, Region,
    SumsError, TrainError, fit, performance, propose_regions,
};
use proptest::prelude::*;
use std::convert::Infallible;
use std::ops::ControlFlow;

fn overlap(a: &Region, b: &Region) -> f64 {
    let width = (a.left + a.width).min(b.left + b.width) - a.left.max(b.left);
    let height = (a.top + a.height).min(b.top + b.height) - a.top.max(b.top);
    let shared = width.max(0.0) * height.max(0.0);
    shared / (a.width * a.height + b.width * b.height - shared)
}

fn detector() -> Detector {
    let examples = clear_examples();
    let mut sums = FoldSums::new(grid());
    for example in &examples {
        sums.add(&example.image, &example.maps, threads(2)).expect("the image fits");
    }
    let images: Vec<LabelledImage> = examples.iter().map(|example| example.image.clone()).collect();
    let maps =
        |id| Ok::<_, Infallible>(examples.iter().find(|e| e.image.id == id).expect("it exists").maps.clone());
    let fit = fit(&sums, &images, maps, |_| ControlFlow::Continue(())).expect("there are objects");
    let quality = performance(&images, &fit.held_out, 0.5, 0.5);
    assert!(quality.average_precision.value > 0.8, "{quality:?}");
    assert_eq!(fit.held_out.len(), images.len());
    fit.detector
}

#[test]
fn rectangles_are_found_where_they_are() {
    let detector = detector();
    let found = |example: &Example| {
        let best = detector.predict(&example.maps)[0];
        let object = example.image.objects[0];
        best.tag == object.tag && overlap(&best.region, &object.region) > 0.5
    };
    let count = clear_examples().iter().filter(|example| found(example)).count();
    assert!(count >= 18, "{count} of 20");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn detections_are_ordered_bounded_and_apart(examples in examples(1..3)) {
        let detector = detector();
        for example in examples {
            let found = detector.predict(&example.maps);
            prop_assert!(found.len() <= 200);
            prop_assert!(found.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
            for (index, one) in found.iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(&one.probability));
                let Region { left, top, width, height } = one.region;
                prop_assert!(left >= 0.0 && top >= 0.0 && left + width <= 1.000_001 && top + height <= 1.000_001);
                prop_assert!(width >= 0.0 && height >= 0.0);
                for other in found[index + 1..].iter().filter(|other| other.tag == one.tag) {
                    prop_assert!(overlap(&one.region, &other.region) < 0.301, "{:?} {:?}", one, other);
                }
            }
        }
    }
}

#[test]
fn a_training_can_be_cancelled_at_any_step() {
    let examples = clear_examples();
    let mut sums = FoldSums::new(grid());
    for example in &examples {
        sums.add(&example.image, &example.maps, threads(1)).expect("the image fits");
    }
    let images: Vec<LabelledImage> = examples.iter().map(|example| example.image.clone()).collect();
    for stop_after in [0, 7, 19] {
        let mut steps = 0;
        let maps = |_| Ok::<_, Infallible>(examples[0].maps.clone());
        let result = fit(&sums, &images, maps, |share| {
            assert!((0.0..=1.0).contains(&share));
            steps += 1;
            if steps > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(TrainError::Cancelled)));
    }
}

#[test]
fn blank_images_and_images_without_objects_teach_nothing() {
    let blank = FeatureMaps::new(vec![0.5; 2 * CELLS * CELLS]).expect("two maps");
    let region = Region { left: 0.1, top: 0.1, width: 0.5, height: 0.5 };
    for objects in [vec![], vec![Object { tag: 1, region }]] {
        let image = LabelledImage { id: 1, objects };
        let mut sums = FoldSums::new(grid());
        sums.add(&image, &blank, threads(1)).expect("the image fits");
        let maps = |_| Ok::<_, Infallible>(blank.clone());
        let result = fit(&sums, &[image], maps, |_| ControlFlow::Continue(()));
        // Features of a blank image differ by rounding at most; a detector from them is useless, but no failure.
        assert!(matches!(result, Err(TrainError::NoObjects) | Ok(_)));
    }
}

#[test]
fn regions_that_cannot_be_are_objects_that_nothing_covers() {
    let mut example = clear_examples().remove(0);
    for region in [
        Region { left: f64::NAN, top: 0.0, width: 0.5, height: 0.5 },
        Region { left: 0.2, top: 0.2, width: 0.0, height: 0.5 },
        Region { left: 3.0, top: -9.0, width: 1.0, height: f64::INFINITY },
    ] {
        example.image.objects = vec![Object { tag: 1, region }];
        let mut sums = FoldSums::new(grid());
        sums.add(&example.image, &example.maps, threads(1)).expect("the image fits");
        assert_eq!(sums.image_count(), 1);
    }
}

#[test]
fn maps_are_checked() {
    assert_eq!(FeatureMaps::new(vec![]), Err(MapsError::Length(0)));
    assert_eq!(FeatureMaps::new(vec![0.0; 577]), Err(MapsError::Length(577)));
    assert_eq!(FeatureMaps::new(vec![f32::NAN; 576]), Err(MapsError::NotFinite));
    assert_eq!(FeatureMaps::from_bytes(&[0; 5]), Err(MapsError::Length(1)));
    let one = FeatureMaps::new(vec![0.25; 576]).expect("one map");
    assert_eq!(FeatureMaps::from_bytes(&one.to_bytes()), Ok(one.clone()));
    let error = FoldSums::new(grid()).add(&clear_examples()[0].image, &one, threads(1));
    assert_eq!(error, Err(SumsError::Channels { given: 1, expected: 2 }));
    assert_eq!(detector().predict(&one), []);
    assert_eq!(propose_regions(&one), []);
}

#[test]
fn grids_are_checked() {
    assert_eq!(AnchorGrid::new(&[], 20, 2, 1), Err(GridError));
    assert_eq!(AnchorGrid::new(&[4, 4], 20, 2, 1), Err(GridError));
    assert_eq!(AnchorGrid::new(&[25], 20, 2, 1), Err(GridError));
    assert_eq!(AnchorGrid::new(&[4], 9, 2, 1), Err(GridError));
    assert_eq!(AnchorGrid::new(&[4], 20, 0, 1), Err(GridError));
    assert_eq!(AnchorGrid::standard().anchor_count(), 4405);
    assert_eq!(AnchorGrid::small_objects().anchor_count(), 9339);
    assert_eq!(AnchorGrid::standard().dimension(), 2060);
}

#[test]
fn the_grid_follows_the_size_of_the_objects() {
    let image = |side: f64| {
        let region = Region { left: 0.3, top: 0.4, width: side, height: side };
        LabelledImage { id: 1, objects: vec![Object { tag: 1, region }] }
    };
    assert_eq!(AnchorGrid::for_images(&[image(0.5), image(0.3)]), AnchorGrid::standard());
    assert_eq!(AnchorGrid::for_images(&[image(0.1), image(0.09)]), AnchorGrid::small_objects());
    assert_eq!(AnchorGrid::for_images(&[]), AnchorGrid::standard());
}
