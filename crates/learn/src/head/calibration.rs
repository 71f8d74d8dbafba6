//! From scores to probabilities.

/// How scores become probabilities.
#[derive(Clone, Debug, PartialEq)]
pub enum Calibration {
    /// One tag an image: softmax of the scores times this.
    Temperature(f64),
    /// Any number of tags: for each tag (a, b), the sigmoid of a times the score plus b.
    Platt(Vec<(f64, f64)>),
}

impl Calibration {
    /// The probability of each tag, 0 to 1, from its score.
    pub fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        match self {
            Calibration::Temperature(factor) => softmax(scores, *factor),
            Calibration::Platt(lines) => {
                scores.iter().zip(lines).map(|(score, (a, b))| sigmoid(a * score + b)).collect()
            }
        }
    }
}

/// Fits probabilities to held-out scores; `labels` are the places of each row's tags. With one tag an image, targets are
/// smoothed by the number of rows of a tag, so that small sets do not become overconfident.
pub fn calibrate(scores: &[Vec<f64>], labels: &[Vec<usize>], multilabel: bool) -> Calibration {
    let tags = scores.first().map_or(0, Vec::len);
    // With one tag, softmax is always 1: it is calibrated as one of several that may apply.
    if multilabel || tags < 2 || labels.iter().any(|labels| labels.len() != 1) {
        return Calibration::Platt((0..tags).map(|tag| platt(scores, labels, tag)).collect());
    }
    Calibration::Temperature(temperature(scores, labels))
}

fn softmax(scores: &[f64], factor: f64) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| ((score - largest) * factor).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

/// Golden-section search for the logarithm of the factor, -2 to 5.
fn temperature(scores: &[Vec<f64>], labels: &[Vec<usize>]) -> f64 {
    let tags = scores[0].len();
    let mut counts = vec![0.0; tags];
    labels.iter().flatten().for_each(|&tag| counts[tag] += 1.0);
    let loss = |logarithm: f64| -> f64 {
        let row = |(scores, labels): (&Vec<f64>, &Vec<usize>)| -> f64 {
            let count = counts[labels[0]];
            let high = (count + 1.0) / (count + 2.0);
            let low = (1.0 - high) / (tags - 1) as f64;
            let probabilities = softmax(scores, logarithm.exp());
            let terms = probabilities.iter().enumerate().map(|(tag, probability)| {
                let target = if tag == labels[0] { high } else { low };
                target * (probability + 1e-300).ln()
            });
            -terms.sum::<f64>()
        };
        scores.iter().zip(labels).map(row).sum()
    };
    let golden = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-2.0, 5.0);
    while high - low > 1e-8 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if loss(left) <= loss(right) { high = right } else { low = left }
    }
    f64::midpoint(low, high).exp()
}

/// Newton's method with smoothed targets.
fn platt(scores: &[Vec<f64>], labels: &[Vec<usize>], tag: usize) -> (f64, f64) {
    let positives = labels.iter().filter(|labels| labels.contains(&tag)).count() as f64;
    let negatives = labels.len() as f64 - positives;
    let (mut a, mut b) = (1.0, ((positives + 1.0) / (negatives + 1.0)).ln());
    for _ in 0..50 {
        let (mut slope, mut offset) = (0.0, 0.0);
        let (mut saa, mut sab, mut sbb) = (1e-9, 0.0, 1e-9);
        for (scores, labels) in scores.iter().zip(labels) {
            let score = scores[tag];
            let target = if labels.contains(&tag) {
                (positives + 1.0) / (positives + 2.0)
            } else {
                1.0 / (negatives + 2.0)
            };
            let probability = sigmoid(a * score + b);
            let (error, variance) = (probability - target, probability * (1.0 - probability) + 1e-12);
            slope += error * score;
            offset += error;
            saa += variance * score * score;
            sab += variance * score;
            sbb += variance;
        }
        let determinant = saa * sbb - sab * sab;
        let step = ((sbb * slope - sab * offset) / determinant, (saa * offset - sab * slope) / determinant);
        a -= step.0;
        b -= step.1;
        if step.0.abs().max(step.1.abs()) < 1e-10 {
            break;
        }
    }
    (a, b)
}
