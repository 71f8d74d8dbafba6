//! From scores to probabilities.

/// How often a tag's detections with a score are right: `1 / (1 + exp(-(slope * score + offset)))`.
///
/// Platt, "Probabilistic Outputs for Support Vector Machines" (1999), with its smoothed targets, fitted by Newton's
/// method with backtracking as in Lin, Lin and Weng, "A note on Platt's probabilistic outputs" (2007).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Calibration {
    /// Never negative: a higher score is never less probable.
    pub(super) slope: f32,
    pub(super) offset: f32,
}

const STEPS: usize = 100;
const SMALLEST_GRADIENT: f64 = 1e-9;
const SMALLEST_STEP: f64 = 1e-10;

impl Calibration {
    /// Fits to detections of images that the detector had not seen: (score, whether it was right).
    pub(super) fn fit(detections: &[(f32, bool)]) -> Self {
        let hits = detections.iter().filter(|(_, hit)| *hit).count() as f64;
        let misses = detections.len() as f64 - hits;
        // If the score says nothing, all that is known is how often detections are right.
        let even = ((hits + 1.0) / (misses + 1.0)).ln();
        let (target_hit, target_miss) = ((hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0));
        let points: Vec<(f64, f64)> = detections
            .iter()
            .map(|&(score, hit)| (f64::from(score), if hit { target_hit } else { target_miss }))
            .collect();
        let (slope, offset) = minimise(&points, even);
        if slope > 0.0 {
            Self { slope: slope as f32, offset: offset as f32 }
        } else {
            Self { slope: 0.0, offset: even as f32 }
        }
    }

    /// The probability of a score, 0 to 1.
    pub(super) fn probability(self, score: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * score + self.offset)).exp())
    }
}

/// Slope and offset with the least cross entropy to points (score, target).
fn minimise(points: &[(f64, f64)], start: f64) -> (f64, f64) {
    let (mut slope, mut offset) = (0.0, start);
    let mut loss = cross_entropy(points, slope, offset);
    for _ in 0..STEPS {
        let (mut by_slope, mut by_offset) = (0.0, 0.0);
        let (mut slope_slope, mut slope_offset, mut offset_offset) = (1e-12, 0.0, 1e-12);
        for &(score, target) in points {
            let probability = logistic(slope * score + offset);
            let (error, curvature) = (probability - target, probability * (1.0 - probability));
            by_slope += error * score;
            by_offset += error;
            slope_slope += curvature * score * score;
            slope_offset += curvature * score;
            offset_offset += curvature;
        }
        if by_slope.abs().max(by_offset.abs()) < SMALLEST_GRADIENT {
            break;
        }
        let determinant = slope_slope * offset_offset - slope_offset * slope_offset;
        let slope_step = (slope_offset * by_offset - offset_offset * by_slope) / determinant;
        let offset_step = (slope_offset * by_slope - slope_slope * by_offset) / determinant;
        let descent = by_slope * slope_step + by_offset * offset_step;
        let mut share = 1.0;
        loop {
            let (next_slope, next_offset) = (slope + share * slope_step, offset + share * offset_step);
            let next_loss = cross_entropy(points, next_slope, next_offset);
            if next_loss < loss + 1e-4 * share * descent {
                (slope, offset, loss) = (next_slope, next_offset, next_loss);
                break;
            }
            share /= 2.0;
            if share < SMALLEST_STEP {
                return (slope, offset);
            }
        }
    }
    (slope, offset)
}

fn cross_entropy(points: &[(f64, f64)], slope: f64, offset: f64) -> f64 {
    let of_point = |&(score, target): &(f64, f64)| {
        let value = slope * score + offset;
        // ln(1 + exp(value)) - target * value, without overflow.
        value.max(0.0) + (-value.abs()).exp().ln_1p() - target * value
    };
    points.iter().map(of_point).sum()
}

fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}
