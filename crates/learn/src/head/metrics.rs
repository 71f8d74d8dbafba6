//! How well a classifier does, from probabilities that it gave to images it was not shown.

use crate::detection::{FOLDS, Measure, Performance, TagPerformance, fold_of};

/// An image with what it shows and what was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its id.
    pub id: u128,
    /// The places of its tags.
    pub tags: Vec<usize>,
    /// The probability of each tag.
    pub probabilities: Vec<f64>,
}

/// Counts of one tag, or of all.
#[derive(Clone, Copy, Default)]
struct Counts {
    right: f64,
    predicted: f64,
    there: f64,
}

impl Counts {
    fn of(judged: &[&Judged], tag: usize, threshold: f64) -> Counts {
        let mut counts = Counts::default();
        for image in judged {
            let predicted = image.probabilities[tag] >= threshold;
            let there = image.tags.contains(&tag);
            counts.right += f64::from(u8::from(predicted && there));
            counts.predicted += f64::from(u8::from(predicted));
            counts.there += f64::from(u8::from(there));
        }
        counts
    }

    fn plus(self, other: Counts) -> Counts {
        Counts {
            right: self.right + other.right,
            predicted: self.predicted + other.predicted,
            there: self.there + other.there,
        }
    }

    fn precision(self) -> f64 {
        self.right / self.predicted.max(1.0)
    }

    fn recall(self) -> f64 {
        self.right / self.there.max(1.0)
    }
}

/// Precision and recall at a threshold (0 to 1, predicted is what reaches it) and average precision, by tag and overall; overall
/// precision and recall are over all predictions together, average precision is the mean over tags. Deviations are those over five
/// folds by a hash of the image's id. `tags` are the ids of the tags; every image has as many probabilities.
pub fn performance(images: &[Judged], tags: &[u128], threshold: f64) -> Performance {
    let all: Vec<&Judged> = images.iter().collect();
    let folds: Vec<Vec<&Judged>> = (0..FOLDS)
        .map(|fold| images.iter().filter(|image| fold_of(image.id) == fold).collect::<Vec<_>>())
        .filter(|fold| !fold.is_empty())
        .collect();
    let places = 0..tags.len();
    let measure = |of: &dyn Fn(&[&Judged]) -> f64| {
        let parts: Vec<f64> = folds.iter().map(|fold| of(fold)).collect();
        Measure { value: of(&all), deviation: deviation(&parts) }
    };
    let total = |judged: &[&Judged]| {
        places.clone().fold(Counts::default(), |sum, tag| sum.plus(Counts::of(judged, tag, threshold)))
    };
    let mean_precision = |judged: &[&Judged]| {
        places.clone().map(|tag| average_precision(judged, tag)).sum::<f64>() / (tags.len() as f64).max(1.0)
    };
    Performance {
        precision: measure(&|judged| total(judged).precision()),
        recall: measure(&|judged| total(judged).recall()),
        average_precision: measure(&mean_precision),
        per_tag: places
            .clone()
            .map(|tag| TagPerformance {
                tag: tags[tag],
                precision: measure(&|judged| Counts::of(judged, tag, threshold).precision()),
                recall: measure(&|judged| Counts::of(judged, tag, threshold).recall()),
                average_precision: measure(&|judged| average_precision(judged, tag)),
            })
            .collect(),
    }
}

/// Images ranked by probability, of equal ones in the order given: the mean of the precision at each one that has the tag.
fn average_precision(images: &[&Judged], tag: usize) -> f64 {
    let mut ranked: Vec<&&Judged> = images.iter().collect();
    ranked.sort_by(|a, b| b.probabilities[tag].total_cmp(&a.probabilities[tag]));
    let (mut hits, mut sum) = (0.0, 0.0);
    for (rank, image) in ranked.iter().enumerate() {
        if image.tags.contains(&tag) {
            hits += 1.0;
            sum += hits / (rank + 1) as f64;
        }
    }
    sum / f64::max(hits, 1.0)
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}
