use habeas_learn::detection::{Detection, HeldOut, LabelledImage, Object, Region, fold_of, performance};
use proptest::prelude::*;

fn region(left: f64, width: f64) -> Region {
    Region { left, top: 0.25, width, height: 0.5 }
}

fn object(tag: u128, left: f64) -> Object {
    Object { tag, region: region(left, 0.25) }
}

fn detection(tag: u128, left: f64, probability: f32) -> Detection {
    Detection { tag, probability, region: region(left, 0.25) }
}

#[test]
fn an_object_is_found_once() {
    let images = [LabelledImage { id: 1, objects: vec![object(1, 0.0), object(1, 0.5)] }];
    let detections = vec![detection(1, 0.0, 0.9), detection(1, 0.0, 0.8), detection(1, 0.5, 0.7)];
    let found = [HeldOut { image: 1, detections }];
    let quality = performance(&images, &found, 0.0, 0.5);
    assert!((quality.precision.value - 2.0 / 3.0).abs() < 1e-12);
    assert!((quality.recall.value - 1.0).abs() < 1e-12);
    // Precision 1 up to half of the objects, 2/3 for the rest.
    assert!((quality.average_precision.value - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
    let quality = performance(&images, &found, 0.85, 0.5);
    assert_eq!((quality.precision.value, quality.recall.value), (1.0, 0.5));
    assert!(
        (quality.average_precision.value - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12,
        "it knows no threshold"
    );
}

#[test]
fn without_detections_nothing_is_right() {
    let images = [LabelledImage { id: 1, objects: vec![object(1, 0.0)] }];
    let quality = performance(&images, &[], 0.5, 0.5);
    assert_eq!(
        (quality.precision.value, quality.recall.value, quality.average_precision.value),
        (0.0, 0.0, 0.0)
    );
    let quality = performance(&[], &[], 0.5, 0.5);
    assert_eq!(quality.per_tag, []);
}

#[test]
fn tags_count_alike_in_the_mean_average_precision() {
    let images = [LabelledImage { id: 1, objects: vec![object(1, 0.0), object(1, 0.5), object(2, 0.0)] }];
    let found = [HeldOut { image: 1, detections: vec![detection(1, 0.0, 0.9), detection(1, 0.5, 0.8)] }];
    let quality = performance(&images, &found, 0.5, 0.5);
    assert_eq!(quality.per_tag.iter().map(|tag| tag.average_precision.value).collect::<Vec<_>>(), [1.0, 0.0]);
    assert!((quality.average_precision.value - 0.5).abs() < 1e-12);
    assert!((quality.recall.value - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn the_deviation_is_that_between_folds() {
    let ids: Vec<u128> =
        (0..5).map(|fold| (0..99).find(|&id| fold_of(id) == fold).expect("folds are used")).collect();
    let images: Vec<_> = ids.iter().map(|&id| LabelledImage { id, objects: vec![object(1, 0.0)] }).collect();
    let found: Vec<_> =
        ids[..3].iter().map(|&image| HeldOut { image, detections: vec![detection(1, 0.0, 0.9)] }).collect();
    let recall = performance(&images, &found, 0.5, 0.5).recall;
    assert!((recall.value - 0.6).abs() < 1e-12);
    assert!((recall.deviation - 0.24_f64.sqrt()).abs() < 1e-12);
}

/// Area under the monotone precision-recall curve, straight from the definition: for each rank that finds an object,
/// the best precision at that recall or above.
fn area(hits: &[bool], objects: usize) -> f64 {
    let precision = |rank: usize| hits[..=rank].iter().filter(|hit| **hit).count() as f64 / (rank + 1) as f64;
    let of_rank = |rank: usize| (rank..hits.len()).map(precision).fold(0.0, f64::max);
    (0..hits.len()).filter(|&rank| hits[rank]).map(of_rank).sum::<f64>() / objects as f64
}

proptest! {
    /// Each image has one object at the left; a detection is there or elsewhere, all with different probabilities.
    #[test]
    fn average_precision_is_the_area_under_the_curve(
        hits in prop::collection::vec(any::<bool>(), 1..40),
        more in 0..5_usize,
        threshold in 0.0_f32..1.0,
    ) {
        let count = hits.len() + more;
        let images: Vec<_> =
            (0..count).map(|id| LabelledImage { id: id as u128, objects: vec![object(1, 0.0)] }).collect();
        let probability = |rank: usize| 1.0 - (rank + 1) as f32 / (hits.len() + 1) as f32;
        let found: Vec<_> = hits
            .iter()
            .enumerate()
            .map(|(rank, hit)| {
                let left = if *hit { 0.0 } else { 0.6 };
                HeldOut { image: rank as u128, detections: vec![detection(1, left, probability(rank))] }
            })
            .collect();
        let quality = performance(&images, &found, threshold, 0.5);
        prop_assert!((quality.average_precision.value - area(&hits, count)).abs() < 1e-12);
        let predicted = (0..hits.len()).filter(|&rank| probability(rank) >= threshold).count();
        let right = hits[..predicted].iter().filter(|hit| **hit).count() as f64;
        prop_assert!((quality.precision.value - right / predicted.max(1) as f64).abs() < 1e-12);
        prop_assert!((quality.recall.value - right / count as f64).abs() < 1e-12);
    }
}
