//! From scores to probabilities.

/// How often a tag's detections with a score are right: `1 / (1 + exp(-(slope * score + offset)))`.
///
/// Platt, "Probabilistic Outputs for Support Vector Machines" (1999), with its smoothed targets, fitted by Newton's
/// method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Calibration {
    /// Never negative: a higher score is never less probable.
    pub(super) slope: f32,
    pub(super) offset: f32,
}

const STEPS: usize = 50;
const SMALLEST_STEP: f64 = 1e-10;

impl Calibration {
    /// Fits to detections of images that the detector had not seen: (score, whether it was right).
    pub(super) fn fit(detections: &[(f32, bool)]) -> Self {
        let hits = detections.iter().filter(|(_, hit)| *hit).count() as f64;
        let misses = detections.len() as f64 - hits;
        let (target_hit, target_miss) = ((hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0));
        let (mut slope, mut offset) = (1.0, ((hits + 1.0) / (misses + 1.0)).ln());
        for _ in 0..STEPS {
            let (mut by_slope, mut by_offset) = (0.0, 0.0);
            let (mut slope_slope, mut slope_offset, mut offset_offset) = (1e-9, 0.0, 1e-9);
            for &(score, hit) in detections {
                let score = f64::from(score);
                let probability = logistic(slope * score + offset);
                let error = probability - if hit { target_hit } else { target_miss };
                let curvature = probability * (1.0 - probability) + 1e-12;
                by_slope += error * score;
                by_offset += error;
                slope_slope += curvature * score * score;
                slope_offset += curvature * score;
                offset_offset += curvature;
            }
            let determinant = slope_slope * offset_offset - slope_offset * slope_offset;
            let slope_step = (offset_offset * by_slope - slope_offset * by_offset) / determinant;
            let offset_step = (slope_slope * by_offset - slope_offset * by_slope) / determinant;
            slope -= slope_step;
            offset -= offset_step;
            if !(slope.is_finite() && offset.is_finite()) {
                break;
            }
            if slope_step.abs().max(offset_step.abs()) < SMALLEST_STEP {
                break;
            }
        }
        if slope > 0.0 && slope.is_finite() && offset.is_finite() {
            Self { slope: slope as f32, offset: offset as f32 }
        } else {
            // The score says nothing about being right: all that is known is how often detections are.
            Self { slope: 0.0, offset: ((hits + 1.0) / (misses + 1.0)).ln() as f32 }
        }
    }

    /// The probability of a score, 0 to 1.
    pub(super) fn probability(self, score: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * score + self.offset)).exp())
    }
}

fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}
