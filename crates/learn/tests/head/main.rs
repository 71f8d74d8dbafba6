//! The classifier's mathematics: closed forms against training anew, unlearning bit for bit.

mod metrics;

use habeas_learn::head::{Calibration, Fit, HeadError, Sums, TrainingImage, TrainingSet, calibrate, fit};
use habeas_learn::pixels;
use proptest::prelude::*;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("a thread")
}

/// Images whose features lean towards their tag, from a linear congruential generator.
fn made(images: usize, views: usize, dimension: usize, tags: usize) -> TrainingSet {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 48) as i32 - 32768) / 16
    };
    let image = |index: usize| {
        let tag = index % tags;
        let value = |place: usize| next() + if place % tags == tag { 700 } else { 0 };
        let rows = (0..views * dimension).map(value).map(|value| value as i16).collect();
        TrainingImage { id: (index as u128 * 7919) % 1009, rows, tags: vec![tag] }
    };
    TrainingSet::new(dimension, tags, (0..images).map(image).collect()).expect("a set in order")
}

fn solved(set: &TrainingSet) -> Fit {
    fit(set, &Sums::new(set, threads(1)), |_| ControlFlow::Continue(())).expect("images that differ")
}

fn score(fit: &Fit, row: &[i16], tag: usize) -> f64 {
    let sum: f64 =
        row.iter().zip(&fit.weights[tag]).map(|(&value, weight)| f64::from(value) / 16384.0 * weight).sum();
    sum + fit.bias[tag]
}

/// Ridge regression by gradient-free elimination on centred rows, for a fixed penalty.
fn brute_force(set: &TrainingSet, lambda: f64, tag: usize, asked: &[i16]) -> f64 {
    let d = set.dimension();
    let rows: Vec<(Vec<f64>, f64)> = set
        .images()
        .iter()
        .flat_map(|image| {
            let target = if image.tags.contains(&tag) { 1.0 } else { -1.0 };
            image.rows.chunks_exact(d).map(move |row| (row.iter().map(|&v| f64::from(v)).collect(), target))
        })
        .collect();
    let n = rows.len() as f64;
    let mean: Vec<f64> = (0..d).map(|j| rows.iter().map(|(row, _)| row[j]).sum::<f64>() / n).collect();
    let mean_target = rows.iter().map(|(_, target)| target).sum::<f64>() / n;
    let mut system: Vec<Vec<f64>> = (0..d)
        .map(|i| {
            let mut line: Vec<f64> =
                (0..d).map(|j| rows.iter().map(|(r, _)| (r[i] - mean[i]) * (r[j] - mean[j])).sum()).collect();
            line[i] += lambda;
            line.push(rows.iter().map(|(r, t)| (r[i] - mean[i]) * (t - mean_target)).sum());
            line
        })
        .collect();
    for pivot in 0..d {
        let above = system[pivot].clone();
        for row in (0..d).filter(|&row| row != pivot) {
            let factor = system[row][pivot] / above[pivot];
            system[row].iter_mut().zip(&above).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let weighted = (0..d).map(|j| (f64::from(asked[j]) - mean[j]) * system[j][d] / system[j][j]);
    mean_target + weighted.sum::<f64>()
}

#[test]
fn held_out_scores_are_those_of_training_without_the_image() {
    // Fewer rows than features, more rows than features, several rows an image in both.
    for (images, views, dimension) in [(12, 1, 20), (30, 1, 8), (6, 3, 20), (12, 3, 8)] {
        let set = made(images, views, dimension, 3);
        let fit = solved(&set);
        let mut row = 0;
        for image in set.images() {
            let without = set.without(&[image.id]);
            for asked in image.rows.chunks_exact(dimension) {
                for tag in 0..3 {
                    let expected = brute_force(&without, fit.lambda, tag, asked);
                    assert!((fit.held_out[row][tag] - expected).abs() < 1e-8);
                    let expected = brute_force(&set, fit.lambda, tag, asked);
                    assert!((score(&fit, asked, tag) - expected).abs() < 1e-8);
                }
                row += 1;
            }
        }
    }
}

proptest! {
    #[test]
    fn unlearning_is_retraining(gone in proptest::collection::vec(0_usize..24, 0..24), dimension in 3_usize..30, views in 1_usize..3) {
        let set = made(24, views, dimension, 3);
        let gone: Vec<u128> = gone.into_iter().map(|index| set.images()[index].id).collect();
        let remaining = set.without(&gone);
        let less = Sums::new(&set, threads(2)).without(&set, &gone, threads(2));
        let anew = Sums::new(&remaining, threads(1));
        prop_assert_eq!(&less, &anew);
        prop_assert_eq!(less.digest(), anew.digest());
        let solve = |sums| fit(&remaining, sums, |_| ControlFlow::Continue(()));
        prop_assert_eq!(solve(&less), solve(&anew));
    }
}

#[test]
fn what_cannot_be_learned_is_an_error() {
    let set = made(4, 1, 5, 2);
    let ids: Vec<u128> = set.images().iter().map(|image| image.id).collect();
    let sums = Sums::new(&set, threads(1));
    let nothing = set.without(&ids);
    let none = sums.without(&set, &ids, threads(1));
    assert_eq!(fit(&nothing, &none, |_| ControlFlow::Continue(())), Err(HeadError::NothingToLearn));
    assert_eq!(fit(&set, &sums, |_| ControlFlow::Break(())), Err(HeadError::Cancelled));
    let same = |id| TrainingImage { id, rows: vec![9; 5], tags: vec![0] };
    let equal = TrainingSet::new(5, 1, vec![same(1), same(2)]).unwrap();
    let sums = Sums::new(&equal, threads(1));
    assert_eq!(fit(&equal, &sums, |_| ControlFlow::Continue(())), Err(HeadError::NothingToLearn));
    assert_eq!(TrainingSet::new(5, 1, vec![same(1), same(1)]), Err(HeadError::Repeated));
}

#[test]
fn a_tag_without_images_gets_no_weight() {
    let set = made(8, 1, 12, 2);
    let gone: Vec<u128> =
        set.images().iter().filter(|image| image.tags == [1]).map(|image| image.id).collect();
    let fit = solved(&set.without(&gone));
    assert!(fit.weights[1].iter().all(|weight| weight.abs() < 1e-9));
    assert!((fit.bias[1] + 1.0).abs() < 1e-9);
}

#[test]
fn probabilities_of_one_tag_an_image_sum_to_one() {
    let scores = vec![vec![0.5, -0.5], vec![-0.4, 0.4], vec![0.1, -0.1], vec![0.2, -0.2]];
    let labels = vec![vec![0], vec![1], vec![1], vec![0]];
    let calibration = calibrate(&scores, &labels, false);
    assert!(matches!(calibration, Calibration::Temperature(_)));
    let probabilities = calibration.probabilities(&scores[0]);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12 && probabilities[0] > 0.5);
    assert!(matches!(calibrate(&scores, &labels, true), Calibration::Platt(lines) if lines.len() == 2));
}

#[test]
fn stretching_averages_and_keeps_what_has_the_size() {
    let pixels = [0, 0, 0, 100, 10, 50, 200, 20, 100, 100, 10, 50];
    assert_eq!(pixels::stretch(&pixels, 2, 2, 2), pixels);
    assert_eq!(pixels::stretch(&pixels, 2, 2, 1), [100, 10, 50]);
    assert_eq!(pixels::stretch(&[7; 5 * 3 * 3], 5, 3, 4), [7; 4 * 4 * 3]);
}

#[test]
fn rows_survive_their_bytes() {
    let row = pixels::quantise(&[1.0, -1.0, 0.5 / 16384.0, 1.5 / 16384.0]);
    assert_eq!(row, [16384, -16384, 0, 2]);
    assert_eq!(pixels::row_from_bytes(&pixels::row_to_bytes(&row)), Some(row));
    assert_eq!(pixels::row_from_bytes(&[1]), None);
}
