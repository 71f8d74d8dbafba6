//! The classifier's mathematics: closed forms against training anew, unlearning bit for bit.

mod metrics;

use habeas_learn::head::{
    Calibration, Fit, HeadError, Sums, TrainingImage, TrainingSet, calibrate, fit, solve,
};
use habeas_learn::pixels;
use proptest::prelude::*;
use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("a thread")
}

/// Labelled images with their rows.
#[derive(Clone)]
struct Made {
    set: TrainingSet,
    rows: HashMap<u128, Vec<i16>>,
}

impl Made {
    fn new(dimension: usize, views: usize, tags: usize, images: Vec<(u128, Vec<usize>, Vec<i16>)>) -> Made {
        let labels =
            images.iter().map(|(id, tags, _)| TrainingImage { id: *id, tags: tags.clone() }).collect();
        let set = TrainingSet::new::<Infallible>(dimension, views, tags, labels).expect("a set in order");
        Made { set, rows: images.into_iter().map(|(id, _, rows)| (id, rows)).collect() }
    }

    fn without(&self, gone: &[u128]) -> Made {
        Made { set: self.set.without(gone), rows: self.rows.clone() }
    }

    fn load(&self) -> impl FnMut(&[u128]) -> Result<Vec<i16>, Infallible> {
        |ids| Ok(ids.iter().flat_map(|id| self.rows[id].clone()).collect())
    }

    fn sums(&self, count: usize) -> Sums {
        Sums::new(&self.set, threads(count), self.load(), go_on).expect("rows that fit")
    }

    fn fit(&self, sums: &Sums, count: usize) -> Result<Fit, HeadError<Infallible>> {
        fit(&self.set, sums, threads(count), self.load(), go_on)
    }

    fn solved(&self) -> Fit {
        self.fit(&self.sums(1), 1).expect("images that differ")
    }

    fn ids(&self) -> Vec<u128> {
        self.set.images().iter().map(|image| image.id).collect()
    }
}

fn go_on(_: f32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Images whose features lean towards their tag, from a linear congruential generator.
fn made(images: usize, views: usize, dimension: usize, tags: usize) -> Made {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 48) as i32 - 32768) / 16
    };
    let image = |index: usize| {
        let tag = index % tags;
        let value = |place: usize| next() + if place % tags == tag { 700 } else { 0 };
        let rows = (0..views * dimension).map(value).map(|value| value as i16).collect();
        ((index as u128 * 7919) % 1009, vec![tag], rows)
    };
    Made::new(dimension, views, tags, (0..images).map(image).collect())
}

fn score(fit: &Fit, row: &[i16], tag: usize) -> f64 {
    let weights = &fit.head.weights[tag];
    let sum: f64 = row.iter().zip(weights).map(|(&value, weight)| f64::from(value) / 16384.0 * weight).sum();
    sum + fit.head.bias[tag]
}

/// Ridge regression by gradient-free elimination on centred rows, for a fixed penalty.
fn brute_force(made: &Made, lambda: f64, tag: usize, asked: &[i16]) -> f64 {
    let d = made.set.dimension();
    let rows: Vec<(Vec<f64>, f64)> = made
        .set
        .images()
        .iter()
        .flat_map(|image| {
            let target = if image.tags.contains(&tag) { 1.0 } else { -1.0 };
            made.rows[&image.id]
                .chunks_exact(d)
                .map(move |row| (row.iter().map(|&v| f64::from(v)).collect(), target))
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
        let made = made(images, views, dimension, 3);
        let fit = made.solved();
        let mut row = 0;
        for image in made.set.images() {
            let without = made.without(&[image.id]);
            for asked in made.rows[&image.id].chunks_exact(dimension) {
                for tag in 0..3 {
                    let expected = brute_force(&without, fit.lambda, tag, asked);
                    assert!((fit.held_out[row][tag] - expected).abs() < 1e-8);
                    let expected = brute_force(&made, fit.lambda, tag, asked);
                    assert!((score(&fit, asked, tag) - expected).abs() < 1e-8);
                }
                row += 1;
            }
        }
    }
}

#[test]
fn one_factorisation_gives_the_same_head_for_the_same_penalty() {
    for (images, views, dimension) in [(12, 1, 20), (30, 1, 8), (6, 3, 20), (12, 3, 8)] {
        let made = made(images, views, dimension, 3);
        let fit = made.solved();
        let head = solve(&made.set, &made.sums(1), fit.lambda, made.load()).expect("a head");
        let pairs = head.weights.iter().flatten().zip(fit.head.weights.iter().flatten());
        let scale = fit.head.weights.iter().flatten().fold(0.0, |most: f64, weight| most.max(weight.abs()));
        assert!(pairs.chain(head.bias.iter().zip(&fit.head.bias)).all(|(a, b)| (a - b).abs() < 1e-9 * scale));
    }
}

proptest! {
    /// Any subset, in any order and number of steps, through stored sums: the bits are those of a training that never saw it.
    #[test]
    fn unlearning_is_retraining(
        gone in proptest::collection::vec((0_usize..24, 1_usize..4), 0..24),
        dimension in 3_usize..30,
        views in 1_usize..3,
    ) {
        let made = made(24, views, dimension, 3);
        let ids = made.ids();
        let mut kept = made.clone();
        let mut sums = made.sums(2);
        let mut left = &gone[..];
        while let Some((_, together)) = left.first() {
            let (now, later) = left.split_at((*together).min(left.len()));
            left = later;
            let leaving: Vec<u128> = now.iter().map(|(index, _)| ids[*index]).collect();
            let leaving = kept.set.only(&leaving);
            let leaving_ids: Vec<u128> = leaving.images().iter().map(|image| image.id).collect();
            kept = kept.without(&leaving_ids);
            let stored = sums.pieces().collect::<Vec<_>>().concat();
            prop_assert_eq!(stored.len() as u64, sums.stored_len());
            sums = Sums::from_bytes(&stored).expect("what was stored");
            let had = sums.is_primal() && kept.set.is_primal();
            prop_assert_eq!(sums.remove(&leaving, threads(2), made.load()).unwrap(), had);
            if !had {
                sums = kept.sums(2);
            }
        }
        let anew = kept.sums(1);
        prop_assert_eq!(&sums, &anew);
        prop_assert_eq!(sums.digest(), anew.digest());
        let (less, fresh) = (kept.fit(&sums, 2), kept.fit(&anew, 1));
        prop_assert_eq!(&less, &fresh);
        if let Ok(fit) = fresh {
            let head = |sums| solve(&kept.set, sums, fit.lambda, kept.load());
            prop_assert_eq!(head(&sums), head(&anew));
        }
    }
}

#[test]
fn duplicates_and_what_was_added_leave_no_trace() {
    let made = made(40, 1, 9, 3);
    let ids = made.ids();
    let mut images: Vec<(u128, Vec<usize>, Vec<i16>)> = made
        .set
        .images()
        .iter()
        .map(|image| (image.id, image.tags.clone(), made.rows[&image.id].clone()))
        .collect();
    // Twins of some, with the same rows and with other labels.
    images.extend(ids[..5].iter().map(|id| (id + 5000, vec![0, 2], made.rows[id].clone())));
    images.reverse();
    let more = Made::new(9, 1, 3, images);
    let twins: Vec<u128> = ids[..5].iter().map(|id| id + 5000).collect();
    let mut sums = more.sums(3);
    assert_ne!(sums.digest(), made.sums(1).digest());
    assert_eq!(sums.remove(&more.set.only(&twins), threads(1), more.load()), Ok(true));
    assert_eq!(sums, made.sums(2));
    assert_eq!(made.fit(&sums, 2), made.fit(&made.sums(1), 1));
}

#[test]
fn many_blocks_give_the_same_bits_on_any_number_of_threads() {
    // More rows than a block holds, in both forms, with one row an image and with several.
    for (images, views, dimension) in [(1300, 1, 24), (450, 3, 24), (600, 1, 700)] {
        let made = made_many(images, views, dimension);
        let one = made.fit(&made.sums(1), 1);
        assert!(one.is_ok());
        for count in [2, 3, 5] {
            let sums = made.sums(count);
            assert_eq!(sums.digest(), made.sums(1).digest());
            assert_eq!(made.fit(&sums, count), one);
        }
    }
}

/// Like [`made`], with as many ids as it takes.
fn made_many(images: usize, views: usize, dimension: usize) -> Made {
    let few = made(images.min(1009), views, dimension, 3);
    let rows: Vec<&Vec<i16>> = few.set.images().iter().map(|image| &few.rows[&image.id]).collect();
    let image = |index: usize| {
        let mut row = rows[index % rows.len()].clone();
        row[index % dimension] += (index / rows.len()) as i16;
        (index as u128 + 1, vec![index % 3], row)
    };
    Made::new(dimension, views, 3, (0..images).map(image).collect())
}

#[test]
fn what_cannot_be_learned_is_an_error() {
    let made = made(4, 1, 5, 2);
    let sums = made.sums(1);
    let nothing = made.without(&made.ids());
    assert_eq!(nothing.fit(&nothing.sums(1), 1), Err(HeadError::NothingToLearn));
    let stop = |_| ControlFlow::Break(());
    assert_eq!(fit(&made.set, &sums, threads(1), made.load(), stop), Err(HeadError::Cancelled));
    assert_eq!(Sums::new(&made.set, threads(1), made.load(), stop), Err(HeadError::Cancelled));
    let less = made.without(&made.ids()[..1]);
    assert_eq!(less.fit(&sums, 1), Err(HeadError::OtherImages));
    let equal = Made::new(5, 1, 1, vec![(1, vec![0], vec![9; 5]), (2, vec![0], vec![9; 5])]);
    assert_eq!(equal.fit(&equal.sums(1), 1), Err(HeadError::NothingToLearn));
    let twice = ["a"; 2].map(|_| TrainingImage { id: 1, tags: vec![0] }).to_vec();
    assert_eq!(TrainingSet::new::<Infallible>(5, 1, 1, twice), Err(HeadError::Repeated));
    let none = |_: &[u128]| Err("gone");
    assert_eq!(Sums::new(&made.set, threads(1), none, go_on), Err(HeadError::Rows("gone")));
    let short = |_: &[u128]| Ok::<_, Infallible>(vec![0; 3]);
    assert_eq!(Sums::new(&made.set, threads(1), short, go_on), Err(HeadError::Shape));
    let stored = sums.pieces().collect::<Vec<_>>().concat();
    assert!((0..stored.len()).all(|length| Sums::from_bytes(&stored[..length]).is_none()));
}

/// Prints digests when it is told to by the test after it, which runs it in processes of its own.
#[test]
fn digests_of_a_made_set() {
    if std::env::var_os("HABEAS_TEST_DIGESTS").is_some() {
        println!("digests {}", digests(2));
    }
}

fn digests(count: usize) -> String {
    [(40, 1, 9), (9, 2, 40)]
        .map(|(images, views, dimension)| {
            let made = made(images, views, dimension, 3);
            let sums = made.sums(count);
            let fit = made.fit(&sums, count).expect("images that differ");
            format!(
                "{:x?} {:x?}",
                sums.digest(),
                fit.head.weights.iter().flatten().map(|w| w.to_bits()).collect::<Vec<_>>()
            )
        })
        .concat()
}

#[test]
fn another_process_computes_the_same_bits() {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["digests_of_a_made_set", "--exact", "--nocapture", "--test-threads", "1"])
        .env("HABEAS_TEST_DIGESTS", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&format!("digests {}", digests(1))), "{printed}");
}

#[test]
fn a_tag_without_images_gets_no_weight() {
    // Fewer rows than features, and more.
    for (images, dimension) in [(8, 12), (40, 6)] {
        let made = made(images, 1, dimension, 2);
        let images = made.set.images();
        let gone: Vec<u128> = images.iter().filter(|image| image.tags == [1]).map(|image| image.id).collect();
        let fit = made.without(&gone).solved();
        assert!(fit.head.weights[1].iter().all(|weight| weight.abs() < 1e-9));
        assert!((fit.head.bias[1] + 1.0).abs() < 1e-9);
    }
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

/// Digests of what another implementation of the same resize gives. Pillow 13.0.0's `BILINEAR` gives the same bytes, but for the tall
/// image, of which it resizes the columns first.
#[test]
fn stretching_gives_the_bytes_of_another_implementation() {
    use sha2::{Digest as _, Sha256};
    for (width, height, expected) in [
        (500, 300, "b94e1cbc309bd7e5b753bc34a57d1c87b94856bdcd06778d32c4e3db59f6db22"),
        (300, 500, "40b321272a05e9cfe8aac35079ce2f2d13a81496815702b79ec208df1efdc83e"),
        (70, 50, "dabb1751bbb721fda8b4d2c4339dc18b3a73fe75cc43e21997c91df21fa4ef48"),
        (300, 224, "d5a07379cce61ee6103384b2a0444abbc4de9ad071d63ccfe3fbdd597e288678"),
        (224, 333, "fe0bd72af5d2439b1548add1fccd3a078b14d1ec8304e055a934cd01b2ae520a"),
        (1, 1, "c87142bd69f6d6985334a4a67d2f473d93beea17f4c19db3fdcc233196d605d7"),
        (640, 640, "38228c57939e2e37465e344f95bb38b9faeb59144173547768440a98f8d31e86"),
    ] {
        let value = |place: usize| {
            let (row, column, channel) = (place / 3 / width, place / 3 % width, place % 3);
            ((row * 7 + column * 13 + channel * 29 + row * column) % 256) as u8
        };
        let pixels: Vec<u8> = (0..width * height * 3).map(value).collect();
        let digest = Sha256::digest(pixels::stretch(&pixels, width, height, pixels::PHI_SIDE));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected, "{width} x {height}");
    }
}

/// Figures of another implementation, in NumPy.
#[test]
fn calibrations_are_those_of_another_implementation() {
    let score = |image: usize, tag: usize| {
        let noise = ((image * 37 + tag * 59 + image * tag * 11) % 101) as f64 / 101.0 - 0.5;
        noise + if image % 3 == tag { 0.4 } else { -0.2 }
    };
    let scores: Vec<Vec<f64>> = (0..30).map(|image| (0..3).map(|tag| score(image, tag)).collect()).collect();
    let labels: Vec<Vec<usize>> = (0..30).map(|image| vec![image % 3]).collect();
    let Calibration::Temperature(factor) = calibrate(&scores, &labels, false) else {
        panic!("one tag an image")
    };
    assert!((factor - 4.099_258_310_4).abs() < 1e-6, "{factor}");
    let Calibration::Platt(lines) = calibrate(&scores, &labels, true) else { panic!("any number of tags") };
    let expected = [
        (4.588_516_428_3, -0.944_167_547_3),
        (4.327_173_277_4, -1.031_968_728_4),
        (4.653_478_021_4, -0.911_850_752_1),
    ];
    for ((slope, offset), (expected_slope, expected_offset)) in lines.iter().zip(expected) {
        assert!((slope - expected_slope).abs() < 1e-8 && (offset - expected_offset).abs() < 1e-8);
    }
}

#[test]
fn rows_survive_their_bytes() {
    let row = pixels::quantise(&[1.0, -1.0, 0.5 / 16384.0, 1.5 / 16384.0]);
    assert_eq!(row, [16384, -16384, 0, 2]);
    assert_eq!(pixels::row_from_bytes(&pixels::row_to_bytes(&row)), Some(row));
    assert_eq!(pixels::row_from_bytes(&[1]), None);
}
