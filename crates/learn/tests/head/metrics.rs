//! Metrics against their definitions, and the stored form of classifiers against itself.

use habeas_learn::detection::{FOLDS, fold_of};
use habeas_learn::head::{Calibration, Classifier, Fit, Head, Judged, performance};
use proptest::prelude::*;

const TAGS: [u128; 3] = [10, 20, 30];

/// Images with any number of tags and probabilities of few different values, so that some are equal.
fn judged() -> impl Strategy<Value = Vec<Judged>> {
    let image = (
        any::<u64>(),
        proptest::sample::subsequence(vec![0, 1, 2], 0..=3),
        proptest::collection::vec(0..=8_u8, 3),
    );
    proptest::collection::vec(image, 0..40).prop_map(|images| {
        let image = |(place, (id, tags, said)): (usize, (u64, Vec<usize>, Vec<u8>))| Judged {
            id: u128::from(id) << 64 | place as u128,
            tags,
            probabilities: said.into_iter().map(|eighths| f64::from(eighths) / 8.0).collect(),
        };
        images.into_iter().enumerate().map(image).collect()
    })
}

/// Precision and recall of some tags, counted one by one.
fn counted(images: &[&Judged], tags: &[usize], threshold: f64) -> (f64, f64) {
    let (mut right, mut predicted, mut there) = (0, 0, 0);
    for image in images {
        for tag in tags {
            let (said, is) = (image.probabilities[*tag] >= threshold, image.tags.contains(tag));
            predicted += usize::from(said);
            there += usize::from(is);
            right += usize::from(said && is);
        }
    }
    (right as f64 / predicted.max(1) as f64, right as f64 / there.max(1) as f64)
}

/// For each image with the tag: of the images ranked up to it, the share that have the tag.
fn averaged(images: &[&Judged], tag: usize) -> f64 {
    let before = |a: usize, b: usize| {
        let (said, other) = (images[a].probabilities[tag], images[b].probabilities[tag]);
        said.total_cmp(&other).then(b.cmp(&a)).is_ge()
    };
    let with: Vec<usize> = (0..images.len()).filter(|&place| images[place].tags.contains(&tag)).collect();
    let share = |place: usize| {
        let up_to: Vec<usize> = (0..images.len()).filter(|&other| before(other, place)).collect();
        up_to.iter().filter(|other| with.contains(other)).count() as f64 / up_to.len() as f64
    };
    with.iter().map(|&place| share(place)).sum::<f64>() / with.len().max(1) as f64
}

/// The standard deviation of a figure over the folds that have images.
fn varying(images: &[Judged], figure: impl Fn(&[&Judged]) -> f64) -> f64 {
    let folds =
        (0..FOLDS).map(|fold| images.iter().filter(|image| fold_of(image.id) == fold).collect::<Vec<_>>());
    let figures: Vec<f64> = folds.filter(|fold| !fold.is_empty()).map(|fold| figure(&fold)).collect();
    if figures.len() < 2 {
        return 0.0;
    }
    let mean = figures.iter().sum::<f64>() / figures.len() as f64;
    (figures.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>() / figures.len() as f64).sqrt()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

fn classifiers() -> impl Strategy<Value = Classifier> {
    let number = || proptest::num::f64::ANY;
    (0..5_usize, 1..4_usize, 0..20_usize).prop_flat_map(move |(tags, views, dimension)| {
        let dimension = if tags == 0 { 0 } else { dimension };
        let rows = proptest::collection::vec(proptest::collection::vec(number(), dimension), tags);
        let calibration = prop_oneof![
            number().prop_map(Calibration::Temperature),
            proptest::collection::vec((number(), number()), tags).prop_map(Calibration::Platt),
        ];
        (
            proptest::collection::vec(any::<u128>(), tags),
            proptest::collection::vec(any::<u8>(), views),
            rows,
            proptest::collection::vec(number(), tags),
            number(),
            number(),
            calibration,
        )
            .prop_map(|(tags, views, weights, bias, ratio, lambda, calibration)| {
                let fit = Fit { head: Head { weights, bias }, ratio, lambda, held_out: Vec::new() };
                Classifier::new(tags, views, &fit, calibration)
            })
    })
}

proptest! {
    #[test]
    fn performance_is_what_its_definition_says(images in judged(), eighths in 0..=8_u8) {
        let threshold = f64::from(eighths) / 8.0;
        let all: Vec<&Judged> = images.iter().collect();
        let found = performance(&images, &TAGS, threshold);
        let every = [0, 1, 2];
        let (precision, recall) = counted(&all, &every, threshold);
        prop_assert!(close(found.precision.value, precision) && close(found.recall.value, recall));
        let mean = |images: &[&Judged]| every.iter().map(|tag| averaged(images, *tag)).sum::<f64>() / 3.0;
        prop_assert!(close(found.average_precision.value, mean(&all)));
        prop_assert!(close(found.average_precision.deviation, varying(&images, mean)));
        prop_assert!(close(found.precision.deviation, varying(&images, |images| counted(images, &every, threshold).0)));
        prop_assert!(close(found.recall.deviation, varying(&images, |images| counted(images, &every, threshold).1)));
        for (tag, found) in found.per_tag.iter().enumerate() {
            let (precision, recall) = counted(&all, &[tag], threshold);
            prop_assert_eq!(found.tag, TAGS[tag]);
            prop_assert!(close(found.precision.value, precision) && close(found.recall.value, recall));
            prop_assert!(close(found.average_precision.value, averaged(&all, tag)));
            prop_assert!(close(found.precision.deviation, varying(&images, |images| counted(images, &[tag], threshold).0)));
            prop_assert!(close(found.recall.deviation, varying(&images, |images| counted(images, &[tag], threshold).1)));
            prop_assert!(close(found.average_precision.deviation, varying(&images, |images| averaged(images, tag))));
        }
    }

    /// Bit for bit, numbers that are none among them.
    #[test]
    fn classifiers_survive_their_bytes(classifier in classifiers(), cut in any::<proptest::sample::Index>()) {
        let bytes = classifier.to_bytes();
        let read = Classifier::from_bytes(&bytes).unwrap();
        prop_assert_eq!(read.to_bytes(), bytes.clone());
        prop_assert_eq!(read.digest(), classifier.digest());
        prop_assert!(Classifier::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(Classifier::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_a_classifier_panic(
        classifier in classifiers(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1..=u8::MAX), 1..6),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut changed = classifier.to_bytes();
        for (at, mask) in flips {
            let at = at.index(changed.len());
            changed[at] ^= mask;
        }
        let _ = Classifier::from_bytes(&changed);
        let _ = Classifier::from_bytes(&[b"HCL1", &bytes[..]].concat());
    }
}
