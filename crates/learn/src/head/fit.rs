//! Lambda, held-out scores and the head from exact sums.

use super::ridge::{centred_products, check, head, mean_targets, sides, trace};
use super::{Head, HeadError, Sums, TrainingImage, TrainingSet};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

/// Lambda is 10^(k/4) times the mean squared length of a centred row, for k from this on.
const FIRST_STEP: i32 = -14;
/// How many lambdas are tried.
const STEPS: usize = 17;

/// A solved head.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Weights and bias.
    pub head: Head,
    /// Lambda as a multiple of the mean squared length of a centred row.
    pub ratio: f64,
    /// The penalty, in squared units of quantised features.
    pub lambda: f64,
    /// For each row (in the order of the set) the score of each tag by a model that saw no row of the same image.
    pub held_out: Vec<Vec<f64>>,
}

/// A ridge problem, rotated so that one decomposition serves every lambda: the hat matrix is `Z diag(gain) Z^T + 1/n`, where Z
/// holds the rows in the rotated basis.
struct Rotated {
    values: Vec<f64>,
    vectors: Mat<f64>,
    /// Targets in the rotated basis, one column for each tag.
    targets: Mat<f64>,
    /// For each place of the basis the gain at each lambda.
    gains: Vec<[f64; STEPS]>,
    /// Targets times gains: for each lambda a column for each tag.
    scaled: Mat<f64>,
}

/// Held-out scores of a block: for each lambda those of its rows, each with a score for each tag.
type Scores = [Vec<f64>; STEPS];

/// Solves for the weights; of the grid it takes the lambda with the least squared error of held-out scores, and of equal
/// ones the least. `sums` are those over `set`. The number of threads does not show in the result, as each block of rows is worked on by
/// one, in one order of operations: the same input gives the same bits on the same kind of processor. `progress` is told shares of the
/// work and may stop it.
pub fn fit<E>(
    set: &TrainingSet,
    sums: &Sums,
    threads: NonZeroUsize,
    mut rows: impl FnMut(&[u128]) -> Result<Vec<i16>, E>,
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Fit, HeadError<E>> {
    check(set, sums)?;
    let mut report = |share| match progress(share) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HeadError::Cancelled),
    };
    let centred = centred_products(sums);
    let trace = trace(&centred, sums)?;
    report(0.1)?;
    let ratios: [f64; STEPS] =
        std::array::from_fn(|step| 10_f64.powf(f64::from(FIRST_STEP + step as i32) / 4.0));
    let rotated = rotate(set, sums, centred, ratios.map(|ratio| ratio * trace))?;
    report(0.5)?;
    let mut scores: Scores = std::array::from_fn(|_| Vec::with_capacity(set.row_count() * set.tags()));
    let blocks: Vec<&[TrainingImage]> = set.blocks().collect();
    let mut done = 0;
    for together in blocks.chunks(threads.get()) {
        let mut loaded = Vec::new();
        for block in together {
            let first = done;
            done += block.len() * set.views();
            loaded.push(if sums.is_primal() {
                Coordinates::Rows(set.load(block, &mut rows)?)
            } else {
                Coordinates::Place(first)
            });
        }
        let found: Vec<Result<Scores, HeadError<E>>> = std::thread::scope(|scope| {
            let work: Vec<_> = together
                .iter()
                .zip(loaded)
                .map(|(block, loaded)| {
                    let rotated = &rotated;
                    scope.spawn(move || held_out(set, sums, rotated, block, loaded).ok_or(()))
                })
                .collect();
            // A block that cannot be solved, or whose thread died of it.
            work.into_iter()
                .map(|work| work.join().unwrap_or(Err(())).map_err(|()| HeadError::Numerical))
                .collect()
        });
        for block in found {
            for (all, of_block) in scores.iter_mut().zip(block?) {
                all.extend(of_block);
            }
        }
        report(0.5 + 0.5 * done as f32 / set.row_count() as f32)?;
    }
    let mut best: Option<(f64, usize)> = None;
    for (step, scores) in scores.iter().enumerate() {
        let error: f64 = errors(set, scores);
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, step));
        }
    }
    let (_, step) = best.ok_or(HeadError::Numerical)?;
    let held_out = if set.tags() == 0 {
        vec![Vec::new(); set.row_count()]
    } else {
        scores[step].chunks_exact(set.tags()).map(<[f64]>::to_vec).collect()
    };
    let (ratio, lambda) = (ratios[step], ratios[step] * trace);
    let shrunk = Mat::from_fn(rotated.values.len(), set.tags(), |index, tag| {
        rotated.targets[(index, tag)] / (rotated.values[index] + lambda)
    });
    let mut solution = Mat::zeros(rotated.values.len(), set.tags());
    matmul(solution.as_mut(), Accum::Replace, rotated.vectors.as_ref(), shrunk.as_ref(), 1.0, Par::Seq);
    Ok(Fit { head: head(set, sums, &solution, rows)?, ratio, lambda, held_out })
}

/// The sum of squared errors, in the order of the set.
fn errors(set: &TrainingSet, scores: &[f64]) -> f64 {
    let targets = set.images().iter().flat_map(|image| {
        (0..set.views()).flat_map(move |_| (0..set.tags()).map(move |tag| TrainingSet::target(image, tag)))
    });
    scores.iter().zip(targets).map(|(score, target)| (score - target).powi(2)).sum()
}

fn rotate<E>(
    set: &TrainingSet,
    sums: &Sums,
    centred: Mat<f64>,
    lambdas: [f64; STEPS],
) -> Result<Rotated, HeadError<E>> {
    let size = centred.nrows();
    let mut values = Diag::<f64>::zeros(size);
    let mut vectors = Mat::<f64>::zeros(size, size);
    {
        let scratch = self_adjoint_evd_scratch::<f64>(
            size,
            ComputeEigenvectors::Yes,
            Par::Seq,
            faer::prelude::default(),
        );
        let mut memory = MemBuffer::new(scratch);
        self_adjoint_evd(
            centred.as_ref(),
            values.as_mut(),
            Some(vectors.as_mut()),
            Par::Seq,
            MemStack::new(&mut memory),
            faer::prelude::default(),
        )
        .map_err(|_| HeadError::Numerical)?;
    }
    drop(centred);
    // Rounding can leave an eigenvalue of zero a little below it.
    let values: Vec<f64> = values.column_vector().iter().map(|value| value.max(0.0)).collect();
    let sides = sides(set, sums);
    let mut targets = Mat::zeros(size, set.tags());
    matmul(targets.as_mut(), Accum::Replace, vectors.transpose(), sides.as_ref(), 1.0, Par::Seq);
    let gains: Vec<[f64; STEPS]> = values
        .iter()
        .map(|value| lambdas.map(|lambda| (if sums.is_primal() { 1.0 } else { *value }) / (value + lambda)))
        .collect();
    let scaled = Mat::from_fn(size, STEPS * set.tags(), |index, column| {
        gains[index][column / set.tags()] * targets[(index, column % set.tags())]
    });
    Ok(Rotated { values, vectors, targets, gains, scaled })
}

/// Where the rows of a block are found in the rotated basis.
enum Coordinates {
    /// The rows themselves, to be centred and rotated.
    Rows(Vec<i16>),
    /// Rows of the vectors, from this on.
    Place(usize),
}

impl Coordinates {
    /// One column for each row of the training set.
    fn rotated(self, sums: &Sums, vectors: &Mat<f64>, count: usize) -> Mat<f64> {
        let size = vectors.nrows();
        match self {
            Coordinates::Place(first) => {
                Mat::from_fn(size, count, |index, row| vectors[(first + row, index)])
            }
            Coordinates::Rows(rows) => {
                let means: Vec<f64> =
                    sums.features.iter().map(|&sum| sum as f64 / sums.rows as f64).collect();
                let centred = Mat::from_fn(size, count, |feature, row| {
                    f64::from(rows[row * size + feature]) - means[feature]
                });
                drop(rows);
                let mut rotated = Mat::zeros(size, count);
                matmul(
                    rotated.as_mut(),
                    Accum::Replace,
                    vectors.transpose(),
                    centred.as_ref(),
                    1.0,
                    Par::Seq,
                );
                rotated
            }
        }
    }
}

/// Held-out scores in closed form: for the rows I of an image `y_I - (I - H_II)^-1 (y_I - f_I)`. None when a system is singular.
fn held_out(
    set: &TrainingSet,
    sums: &Sums,
    rotated: &Rotated,
    block: &[TrainingImage],
    coordinates: Coordinates,
) -> Option<Scores> {
    let (views, tags) = (set.views(), set.tags());
    let count = block.len() * views;
    let coordinates = coordinates.rotated(sums, &rotated.vectors, count);
    let mut fitted = Mat::zeros(STEPS * tags, count);
    matmul(fitted.as_mut(), Accum::Replace, rotated.scaled.transpose(), coordinates.as_ref(), 1.0, Par::Seq);
    let means = mean_targets(sums);
    let share = 1.0 / sums.rows as f64;
    let mut scores: Scores = std::array::from_fn(|_| Vec::with_capacity(count * tags));
    for (first, image) in (0..).step_by(views).zip(block) {
        let mut hats = vec![[share; STEPS]; views * views];
        for a in 0..views {
            for b in 0..=a {
                let pairs = coordinates.col(first + a).iter().zip(coordinates.col(first + b).iter());
                let mut hat = [0.0; STEPS];
                for ((a, b), gains) in pairs.zip(&rotated.gains) {
                    let product = a * b;
                    hat.iter_mut().zip(gains).for_each(|(hat, gain)| *hat += product * gain);
                }
                for (step, hat) in hat.into_iter().enumerate() {
                    hats[a * views + b][step] += hat;
                    hats[b * views + a][step] = hats[a * views + b][step];
                }
            }
        }
        for (step, scores) in scores.iter_mut().enumerate() {
            let mut system: Vec<Vec<f64>> = (0..views)
                .map(|a| {
                    let entry = |b: usize| f64::from(u8::from(a == b)) - hats[a * views + b][step];
                    (0..views).map(entry).collect()
                })
                .collect();
            let mut errors: Vec<Vec<f64>> = (first..first + views)
                .map(|row| {
                    let error =
                        |tag| TrainingSet::target(image, tag) - means[tag] - fitted[(step * tags + tag, row)];
                    (0..tags).map(error).collect()
                })
                .collect();
            eliminate(&mut system, &mut errors)?;
            scores.extend(errors.iter().flat_map(|errors| {
                errors.iter().enumerate().map(|(tag, error)| TrainingSet::target(image, tag) - error)
            }));
        }
    }
    Some(scores)
}

/// Solves a small symmetric positive definite system in place of its right sides; none when it is singular.
fn eliminate(system: &mut [Vec<f64>], sides: &mut [Vec<f64>]) -> Option<()> {
    let size = system.len();
    for pivot in 0..size {
        let diagonal = system[pivot][pivot];
        if diagonal.is_nan() || diagonal <= 0.0 {
            return None;
        }
        let (pivot_row, pivot_side) = (system[pivot].clone(), sides[pivot].clone());
        for row in (0..size).filter(|&row| row != pivot) {
            let factor = system[row][pivot] / diagonal;
            system[row].iter_mut().zip(&pivot_row).for_each(|(value, above)| *value -= factor * above);
            sides[row].iter_mut().zip(&pivot_side).for_each(|(value, above)| *value -= factor * above);
        }
    }
    for (row, side) in sides.iter_mut().enumerate() {
        side.iter_mut().for_each(|value| *value /= system[row][row]);
    }
    Some(())
}
