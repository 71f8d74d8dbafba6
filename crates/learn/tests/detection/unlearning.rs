use crate::made::{Example, clear_examples, examples, grid, threads};
use habeas_learn::detection::{Fit, FoldSums, LabelledImage, SumsError, TrainError, fit, fold_of};
use proptest::prelude::*;
use std::convert::Infallible;
use std::ops::ControlFlow;

fn sums(examples: &[Example]) -> FoldSums {
    let mut sums = FoldSums::new(grid());
    for example in examples {
        sums.add(&example.image, &example.maps, threads(1)).expect("the image fits");
    }
    sums
}

fn remove(sums: &mut FoldSums, example: &Example) {
    sums.remove(&example.image, &example.maps, threads(1)).expect("the image is there");
}

fn trained(sums: &FoldSums, examples: &[Example]) -> Result<Fit, TrainError<Infallible>> {
    let images: Vec<LabelledImage> = examples.iter().map(|example| example.image.clone()).collect();
    let maps = |id| {
        let example = examples.iter().find(|example| example.image.id == id).expect("the image exists");
        Ok(example.maps.clone())
    };
    fit(sums, &images, maps, |_| ControlFlow::Continue(()))
}

/// Everything that a training leaves: the bytes of the sums and of the detector, and the held-out predictions.
#[derive(Clone, Debug, PartialEq)]
struct State {
    sums: Vec<u8>,
    fit: Option<(Vec<u8>, String)>,
}

fn state(sums: &FoldSums, examples: &[Example]) -> State {
    let fit = match trained(sums, examples) {
        Ok(fit) => Some(fit),
        Err(TrainError::NoObjects) => None,
        Err(error) => panic!("the training failed: {error}"),
    };
    let fit = fit.map(|fit| (fit.detector.to_bytes(), format!("{:?}", fit.held_out)));
    State { sums: sums.to_bytes(), fit }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Removing images gives, byte for byte, the sums, the detector and the held-out predictions of a training
    /// without them, in whatever order they come and go.
    #[test]
    fn unlearning_is_retraining(
        examples in examples(1..7),
        gone in prop::collection::vec(any::<bool>(), 7),
        order in any::<u64>(),
    ) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            examples.iter().cloned().zip(gone).partition(|(_, gone)| *gone);
        let [gone, mut kept] = [gone, kept].map(|some| some.into_iter().map(|(example, _)| example).collect::<Vec<_>>());
        let mut unlearned = sums(&examples);
        let rotation = order as usize % gone.len().max(1);
        gone[rotation..].iter().chain(&gone[..rotation]).for_each(|example| remove(&mut unlearned, example));
        let retrained = state(&sums(&kept), &kept);
        prop_assert_eq!(state(&unlearned, &kept), retrained.clone());
        kept.reverse();
        prop_assert_eq!(state(&sums(&kept), &kept), retrained);
    }

    #[test]
    fn threads_do_not_show(examples in examples(1..3), count in 2..5_usize) {
        let mut several = FoldSums::new(grid());
        for example in &examples {
            several.add(&example.image, &example.maps, threads(count)).expect("the image fits");
        }
        prop_assert_eq!(several.digest(), sums(&examples).digest());
    }
}

#[test]
fn nothing_is_left_when_all_images_are_removed() {
    let examples = clear_examples();
    let mut emptied = sums(&examples);
    examples.iter().for_each(|example| remove(&mut emptied, example));
    assert_eq!(emptied, FoldSums::new(grid()));
    assert!(matches!(trained(&emptied, &[]), Err(TrainError::NoObjects)));
}

#[test]
fn a_tag_is_forgotten_with_its_last_image() {
    let mut examples = clear_examples();
    let mut unlearned = sums(&examples);
    let is_second = |example: &Example| example.image.objects[0].tag == 2;
    examples.iter().filter(|example| is_second(example)).for_each(|example| remove(&mut unlearned, example));
    examples.retain(|example| !is_second(example));
    let fit = trained(&unlearned, &examples).expect("one tag is left");
    assert_eq!(fit.detector.tags().collect::<Vec<_>>(), [1]);
    assert_eq!(state(&unlearned, &examples), state(&sums(&examples), &examples));
}

#[test]
fn a_twin_stays_when_an_image_is_removed() {
    let examples = clear_examples();
    let mut twin = examples[0].clone();
    twin.image.id = u128::MAX;
    let mut with_twin = sums(&examples);
    with_twin.add(&twin.image, &twin.maps, threads(1)).expect("the image fits");
    remove(&mut with_twin, &twin);
    assert_eq!(with_twin, sums(&examples));
}

#[test]
fn an_image_that_was_never_added_cannot_be_removed() {
    let examples = clear_examples();
    let mut empty = FoldSums::new(grid());
    let error = empty.remove(&examples[0].image, &examples[0].maps, threads(1));
    assert_eq!(error, Err(SumsError::Absent));
}

#[test]
fn sums_of_other_images_are_not_trained_on() {
    let examples = clear_examples();
    let all = sums(&examples);
    assert!(matches!(trained(&all, &examples[1..]), Err(TrainError::OtherImages)));
}

#[test]
fn images_spread_over_the_folds() {
    let mut counts = [0; 5];
    (0..1000).for_each(|id: u128| counts[fold_of(id << 80 | id)] += 1);
    assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
}
