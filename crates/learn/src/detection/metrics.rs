//! How good a detector is, from its predictions of images that it had not seen.

use super::LabelledImage;
use super::boxes::CellBox;
use super::fit::HeldOut;
use super::sums::{FOLDS, fold_of};
use std::collections::{BTreeMap, BTreeSet};

/// A figure and how much it varies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// Over all images, 0 to 1.
    pub value: f64,
    /// Standard deviation of the figure over the folds in which it is defined.
    pub deviation: f64,
}

/// How good the detections of one tag are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagPerformance {
    /// Id of the tag.
    pub tag: u128,
    /// Share of right detections among those at or above the threshold; 0 if there are none.
    pub precision: Measure,
    /// Share of objects that are found by a detection at or above the threshold.
    pub recall: Measure,
    /// Area under the curve of precision over recall, precision made monotone, over all thresholds.
    pub average_precision: Measure,
}

/// How good a detector is.
#[derive(Clone, Debug, PartialEq)]
pub struct Performance {
    /// Over the detections of all tags.
    pub precision: Measure,
    /// Over the objects of all tags.
    pub recall: Measure,
    /// Mean over the tags (mAP).
    pub average_precision: Measure,
    /// By tag, in ascending order of ids.
    pub per_tag: Vec<TagPerformance>,
}

/// A detection and whether it is right.
pub(super) struct Judged {
    pub(super) image: u128,
    pub(super) score: f32,
    pub(super) hit: bool,
}

/// Precision, recall and average precision of the tags that have objects.
///
/// A detection is right if the object of its tag that it overlaps most is overlapped by at least `overlap` (0 to 1,
/// intersection over union) and was not already found by a more probable detection. Precision and recall count
/// detections whose probability is at least `threshold` (0 to 1).
pub fn performance(
    images: &[LabelledImage],
    held_out: &[HeldOut],
    threshold: f32,
    overlap: f64,
) -> Performance {
    let found: BTreeMap<u128, &HeldOut> =
        held_out.iter().map(|held_out| (held_out.image, held_out)).collect();
    let mut images: Vec<&LabelledImage> = images.iter().collect();
    images.sort_by_key(|image| image.id);
    let tags: BTreeSet<u128> =
        images.iter().flat_map(|image| &image.objects).map(|object| object.tag).collect();
    let results: Vec<TagResult> = tags
        .into_iter()
        .map(|tag| {
            let judged = judge(&images, tag, overlap, |image| {
                let detections =
                    found.get(&image).map(|found| found.detections.as_slice()).unwrap_or_default();
                let of_tag = detections.iter().filter(|detection| detection.tag == tag);
                of_tag.map(|found| (found.probability, CellBox::of_region(&found.region))).collect()
            });
            TagResult::new(&images, tag, &judged, threshold)
        })
        .collect();
    Performance {
        precision: measure(&results, |counts| pool(counts).precision()),
        recall: measure(&results, |counts| pool(counts).recall()),
        average_precision: measure(&results, |counts| {
            mean(&counts.iter().filter_map(|counts| counts.average_precision()).collect::<Vec<_>>())
        }),
        per_tag: results
            .iter()
            .map(|result| {
                let result = std::slice::from_ref(result);
                TagPerformance {
                    tag: result[0].tag,
                    precision: measure(result, |counts| counts[0].precision()),
                    recall: measure(result, |counts| counts[0].recall()),
                    average_precision: measure(result, |counts| counts[0].average_precision()),
                }
            })
            .collect(),
    }
}

/// Judges the detections of a tag in all images, best first; equal scores in ascending order of the images.
pub(super) fn judge(
    images: &[&LabelledImage],
    tag: u128,
    overlap: f64,
    detections: impl Fn(u128) -> Vec<(f32, CellBox)>,
) -> Vec<Judged> {
    let mut truths: Vec<Vec<(CellBox, bool)>> = Vec::with_capacity(images.len());
    let mut candidates: Vec<(usize, f32, CellBox)> = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let of_tag = image.objects.iter().filter(|object| object.tag == tag);
        truths.push(of_tag.map(|object| (CellBox::of_region(&object.region), false)).collect());
        candidates.extend(detections(image.id).into_iter().map(|(score, place)| (index, score, place)));
    }
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    candidates
        .into_iter()
        .map(|(index, score, place)| {
            let best = truths[index]
                .iter_mut()
                .map(|truth| (place.overlap(truth.0), truth))
                .reduce(|best, next| if next.0 > best.0 { next } else { best });
            let hit = match best {
                Some((most, (_, taken))) if f64::from(most) >= overlap && !*taken => {
                    *taken = true;
                    true
                }
                _ => false,
            };
            Judged { image: images[index].id, score, hit }
        })
        .collect()
}

/// A tag's detections and objects, over all images and by fold.
struct TagResult {
    tag: u128,
    all: Counts,
    folds: Vec<Counts>,
}

/// Detections and objects of some images.
#[derive(Clone, Default)]
struct Counts {
    /// Whether each detection is right, best first.
    hits: Vec<bool>,
    /// How many of the detections reach the threshold.
    predicted: usize,
    objects: usize,
}

impl TagResult {
    fn new(images: &[&LabelledImage], tag: u128, judged: &[Judged], threshold: f32) -> Self {
        let mut result = Self { tag, all: Counts::default(), folds: vec![Counts::default(); FOLDS] };
        for image in images {
            let objects = image.objects.iter().filter(|object| object.tag == tag).count();
            result.all.objects += objects;
            result.folds[fold_of(image.id)].objects += objects;
        }
        for judged in judged {
            for counts in [&mut result.all, &mut result.folds[fold_of(judged.image)]] {
                counts.hits.push(judged.hit);
                counts.predicted += usize::from(judged.score >= threshold);
            }
        }
        result
    }
}

impl Counts {
    fn found(&self) -> usize {
        self.hits[..self.predicted].iter().filter(|hit| **hit).count()
    }

    fn precision(&self) -> Option<f64> {
        (self.predicted > 0).then(|| self.found() as f64 / self.predicted as f64)
    }

    fn recall(&self) -> Option<f64> {
        (self.objects > 0).then(|| self.found() as f64 / self.objects as f64)
    }

    fn average_precision(&self) -> Option<f64> {
        if self.objects == 0 {
            return None;
        }
        let mut found = self.hits.iter().filter(|hit| **hit).count();
        let (mut best, mut area) = (0.0_f64, 0.0);
        for (rank, hit) in self.hits.iter().enumerate().rev() {
            best = best.max(found as f64 / (rank + 1) as f64);
            if *hit {
                area += best;
                found -= 1;
            }
        }
        Some(area / self.objects as f64)
    }
}

/// The tags' counts together. Only the counts at the threshold are meaningful.
fn pool(counts: &[&Counts]) -> Counts {
    let mut pooled = Counts::default();
    for counts in counts {
        pooled.hits.extend_from_slice(&counts.hits[..counts.predicted]);
        pooled.predicted += counts.predicted;
        pooled.objects += counts.objects;
    }
    pooled
}

fn measure(results: &[TagResult], figure: impl Fn(&[&Counts]) -> Option<f64>) -> Measure {
    let value = figure(&results.iter().map(|result| &result.all).collect::<Vec<_>>()).unwrap_or(0.0);
    let of_folds: Vec<f64> = (0..FOLDS)
        .filter_map(|fold| figure(&results.iter().map(|result| &result.folds[fold]).collect::<Vec<_>>()))
        .collect();
    let centre = mean(&of_folds).unwrap_or(0.0);
    let squares: Vec<f64> = of_folds.iter().map(|value| (value - centre).powi(2)).collect();
    Measure { value, deviation: mean(&squares).unwrap_or(0.0).sqrt() }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
