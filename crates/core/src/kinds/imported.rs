//! Custom Vision: what is known of a model that was trained elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Id;

/// A model of another service, whose weights stayed there: it answers no predictions here and cannot be unlearned. That of another Habeas is
/// computed again here, and is one of this server from then on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImportedModel {
    /// Images it learned from that are still held.
    pub images: u64,
    /// Images it learned from that were erased here. What was exported of it still knows them, and is revoked.
    pub tainted: u64,
    /// How well the other service found it to do, at each threshold that it was asked for.
    pub performance: Vec<ImportedPerformance>,
    /// Whether its weights will be here.
    #[serde(default)]
    pub weights: ImportedWeights,
}

/// Whether the weights of a model that was trained elsewhere will be here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportedWeights {
    /// No: they were not given away, and cannot be computed.
    #[default]
    Elsewhere,
    /// They are computed from the same images and labels once all that belongs to them is there.
    Awaited {
        /// Name of the feature extractor.
        extractor: String,
        /// Images unlearned since the training.
        unlearned: u64,
    },
    /// They could not be computed.
    Failed {
        /// Why, without personal data.
        why: String,
    },
}

/// How well a model did by the other service's own measure, all 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImportedPerformance {
    /// A tag counts as predicted from this probability on.
    pub threshold: f64,
    /// A box counts as found from this overlap on.
    pub overlap: f64,
    /// Over all tags together.
    pub precision: f64,
    /// Standard deviation of the precision.
    pub precision_deviation: f64,
    /// Over all tags together.
    pub recall: f64,
    /// Standard deviation of the recall.
    pub recall_deviation: f64,
    /// Mean over tags.
    pub average_precision: f64,
    /// By tag.
    pub tags: Vec<ImportedTagPerformance>,
}

/// How well one tag was recognised, all 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedTagPerformance {
    /// The tag.
    pub tag: Id,
    /// Its name in the iteration.
    pub name: String,
    /// Of what was predicted, how much is right.
    pub precision: f64,
    /// Standard deviation of the precision.
    pub precision_deviation: f64,
    /// Of what is there, how much was predicted.
    pub recall: f64,
    /// Standard deviation of the recall.
    pub recall_deviation: f64,
    /// Precision averaged over all thresholds.
    pub average_precision: f64,
}

impl ImportedModel {
    /// What was measured nearest to a threshold and an overlap.
    pub fn performance_at(&self, threshold: f64, overlap: f64) -> Option<&ImportedPerformance> {
        let distance = |measured: &ImportedPerformance| {
            (measured.threshold - threshold).abs() + (measured.overlap - overlap).abs()
        };
        self.performance.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// The extractor with which its weights are to be computed, if they are.
    pub fn awaited(&self) -> Option<&str> {
        match &self.weights {
            ImportedWeights::Awaited { extractor, .. } => Some(extractor),
            ImportedWeights::Elsewhere | ImportedWeights::Failed { .. } => None,
        }
    }

    /// What a view says of its weights.
    pub(super) fn weights_here(&self) -> String {
        match &self.weights {
            ImportedWeights::Elsewhere => "yes; its weights are not held".into(),
            ImportedWeights::Awaited { .. } => "yes; its weights are being computed again".into(),
            ImportedWeights::Failed { why } => format!("yes; its weights could not be computed again: {why}"),
        }
    }

    /// As it stands in an archive.
    pub(super) fn json(&self) -> Value {
        json!({
            "images": self.images,
            "imagesErasedSince": self.tainted,
            "performance": self.performance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_measure_is_answered() {
        let at = |threshold: f64| ImportedPerformance { threshold, overlap: 0.3, ..Default::default() };
        let model = ImportedModel { performance: vec![at(0.05), at(0.5), at(0.95)], ..Default::default() };
        assert_eq!(model.performance_at(0.6, 0.3).map(|found| found.threshold), Some(0.5));
        assert_eq!(model.performance_at(1.0, 0.9).map(|found| found.threshold), Some(0.95));
        assert_eq!(ImportedModel::default().performance_at(0.5, 0.3), None);
    }
}
