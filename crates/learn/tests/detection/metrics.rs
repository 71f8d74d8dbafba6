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

/// Places in an image that overlap each other not at all or by a known share: 1 and 1/3.
fn place(eighths: u8) -> Region {
    region(f64::from(eighths) / 8.0, 0.25)
}

/// What an image shows and what was said of it: tags and places.
type Shown = (Vec<(u128, u8)>, Vec<(u128, u8, u8)>);

/// Images by id.
type Images<'a> = [(u128, &'a Shown)];

fn shown() -> impl Strategy<Value = Vec<Shown>> {
    let objects = prop::collection::vec((1..=2_u128, 0..7_u8), 0..4);
    let detections = prop::collection::vec((1..=2_u128, 0..7_u8, 0..8_u8), 0..6);
    prop::collection::vec((objects, detections), 1..12)
}

/// A tag's detections of some images, best first, and its objects: judged straight from the definition.
fn judged(shown: &Images<'_>, tag: u128, overlap: f64) -> (Vec<(f32, bool)>, usize) {
    let mut taken = std::collections::HashSet::new();
    let mut said: Vec<(f32, usize, u8)> = Vec::new();
    let mut objects = 0;
    for (image, (_, (there, found))) in shown.iter().enumerate() {
        objects += there.iter().filter(|(of, _)| *of == tag).count();
        let of_tag = found.iter().filter(|(of, ..)| *of == tag);
        said.extend(of_tag.map(|(_, at, eighths)| (f32::from(*eighths) / 8.0, image, *at)));
    }
    // Stable: of equal ones the earlier image, and in it the earlier detection.
    said.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hits = said
        .into_iter()
        .map(|(score, image, at)| {
            let there = shown[image].1.0.iter().enumerate().filter(|(_, (of, _))| *of == tag);
            // A box two eighths wide, moved by 0, 1, 2 or more eighths.
            let shares = there.map(|(number, (_, other))| {
                let share = match at.abs_diff(*other) {
                    0 => 1.0,
                    1 => 1.0 / 3.0,
                    _ => 0.0,
                };
                (share, number)
            });
            let best = shares.fold((-1.0, 0), |best, next| if next.0 > best.0 { next } else { best });
            (score, best.0 >= overlap && taken.insert((image, best.1)))
        })
        .collect();
    (hits, objects)
}

proptest! {
    /// Several objects and detections of two tags in an image, duplicates and equal scores among them.
    #[test]
    fn detectors_are_judged_as_the_definition_says(shown in shown(), eighths in 0..8_u8, tenths in 4..9_u8) {
        let (threshold, overlap) = (f32::from(eighths) / 8.0, f64::from(tenths) / 10.0);
        let images: Vec<LabelledImage> = shown
            .iter()
            .enumerate()
            .map(|(id, (objects, _))| LabelledImage {
                id: id as u128,
                objects: objects.iter().map(|(tag, at)| Object { tag: *tag, region: place(*at) }).collect(),
            })
            .collect();
        let found: Vec<HeldOut> = shown
            .iter()
            .enumerate()
            .map(|(id, (_, detections))| HeldOut {
                image: id as u128,
                detections: detections
                    .iter()
                    .map(|(tag, at, eighths)| Detection {
                        tag: *tag,
                        probability: f32::from(*eighths) / 8.0,
                        region: place(*at),
                    })
                    .collect(),
            })
            .collect();
        let quality = performance(&images, &found, threshold, overlap);
        let numbered: Vec<(u128, &Shown)> = shown.iter().enumerate().map(|(id, shown)| (id as u128, shown)).collect();
        // Precision, recall and average precision where they are defined.
        let of_tag = |images: &Images<'_>, tag: u128| {
            let (hits, objects) = judged(images, tag, overlap);
            let predicted: Vec<bool> =
                hits.iter().filter(|(score, _)| *score >= threshold).map(|(_, hit)| *hit).collect();
            let right = predicted.iter().filter(|hit| **hit).count();
            let all: Vec<bool> = hits.iter().map(|(_, hit)| *hit).collect();
            let average = (objects > 0).then(|| area(&all, objects));
            (right, predicted.len(), objects, average)
        };
        let tags: Vec<u128> = [1, 2].into_iter().filter(|tag| of_tag(&numbered, *tag).2 > 0).collect();
        prop_assert_eq!(quality.per_tag.iter().map(|tag| tag.tag).collect::<Vec<_>>(), tags.clone());
        let folds: Vec<Vec<(u128, &Shown)>> = (0..habeas_learn::detection::FOLDS)
            .map(|fold| numbered.iter().copied().filter(|(id, _)| fold_of(*id) == fold).collect())
            .collect();
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let measured = |figure: &dyn Fn(&Images<'_>) -> Option<f64>| {
            let figures: Vec<f64> = folds.iter().filter_map(|fold| figure(fold)).collect();
            let centre = mean(&figures).unwrap_or(0.0);
            let squares: Vec<f64> = figures.iter().map(|figure| (figure - centre).powi(2)).collect();
            (figure(&numbered).unwrap_or(0.0), mean(&squares).unwrap_or(0.0).sqrt())
        };
        let close = |found: habeas_learn::detection::Measure, (value, deviation): (f64, f64)| {
            (found.value - value).abs() < 1e-9 && (found.deviation - deviation).abs() < 1e-9
        };
        for of in &quality.per_tag {
            let tag = of.tag;
            let precision = measured(&|images| {
                let (right, predicted, ..) = of_tag(images, tag);
                share(right, predicted)
            });
            let recall = measured(&|images| {
                let (right, _, objects, _) = of_tag(images, tag);
                share(right, objects)
            });
            let average = measured(&|images| of_tag(images, tag).3);
            prop_assert!(close(of.precision, precision), "{:?} {precision:?}", of.precision);
            prop_assert!(close(of.recall, recall), "{:?} {recall:?}", of.recall);
            prop_assert!(close(of.average_precision, average), "{:?} {average:?}", of.average_precision);
        }
        let sum = |images: &Images<'_>| {
            tags.iter().map(|tag| of_tag(images, *tag)).fold((0, 0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1, sum.2 + next.2))
        };
        let precision = measured(&|images| share(sum(images).0, sum(images).1));
        let recall = measured(&|images| share(sum(images).0, sum(images).2));
        let average =
            measured(&|images| mean(&tags.iter().filter_map(|tag| of_tag(images, *tag).3).collect::<Vec<_>>()));
        prop_assert!(close(quality.precision, precision), "{:?} {precision:?}", quality.precision);
        prop_assert!(close(quality.recall, recall), "{:?} {recall:?}", quality.recall);
        prop_assert!(close(quality.average_precision, average), "{:?} {average:?}", quality.average_precision);
    }
}
