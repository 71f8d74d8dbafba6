//! Points of a metric.

use serde::{Deserialize, Serialize};

use crate::Result;

/// One value that a run logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricPoint {
    /// When, in milliseconds since 1970, as the client says.
    pub time: i64,
    /// At which step of the training, as the client counts.
    pub step: i64,
    /// The value; may be infinite or not a number.
    pub value: f64,
}

impl MetricPoint {
    /// What decides which of two points is the later: MLflow's order by step, time and value, in which any number comes after not-a-number.
    pub fn recency(&self) -> (i64, i64, i64) {
        let value = if self.value.is_nan() { i64::MIN } else { ordered(self.value) };
        (self.step, self.time, value)
    }
}

/// A number as an integer of the same order: negative infinity first, not-a-number last, and one zero. What is stored, so that a
/// database sorts and compares metrics by an ordinary index.
pub fn ordered(value: f64) -> i64 {
    let value = if value.is_nan() {
        f64::NAN.abs()
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    flipped(value.to_bits().cast_signed())
}

/// The number that [`ordered`] gave this integer for.
pub fn from_ordered(value: i64) -> f64 {
    f64::from_bits(flipped(value).cast_unsigned())
}

/// Negative floating point numbers grow towards zero, their bits the other way; its own inverse.
const fn flipped(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// A metric of a logged model. Several runs may log the same one, each on several datasets: each of these is a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetric {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// The run that logged it, by its name on the wire; none for the one that made the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The name of the dataset that it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    /// The digest of that dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_digest: Option<String>,
}

impl ModelMetric {
    /// The name of its series: its own, and as JSON what else tells it apart. No client's name of a metric has a brace in it.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn series(&self) -> Result<String> {
        let ModelMetric { name, run_id, dataset_name, dataset_digest } = self;
        if run_id.is_none() && dataset_name.is_none() && dataset_digest.is_none() {
            return Ok(name.clone());
        }
        Ok(format!("{name}{}", serde_json::to_string(self)?))
    }

    /// The metric whose series has this name.
    pub fn of_series(series: &str) -> ModelMetric {
        let (name, rest) = series.split_at(series.find('{').unwrap_or(series.len()));
        match serde_json::from_str::<ModelMetric>(rest) {
            Ok(metric) => ModelMetric { name: name.to_owned(), ..metric },
            Err(_) => ModelMetric {
                name: series.to_owned(),
                run_id: None,
                dataset_name: None,
                dataset_digest: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_integers_have_the_order_of_the_numbers(a in any::<f64>(), b in any::<f64>()) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(&b).unwrap(),
                (a, b) => a.cmp(&b),
            });
            let back = from_ordered(ordered(a)).partial_cmp(&a);
            prop_assert!(back == Some(std::cmp::Ordering::Equal) || a.is_nan());
        }
    }

    proptest! {
        #[test]
        fn a_series_of_a_model_reads_back(
            name in "[a-z/ ]{1,10}",
            run_id in proptest::option::of("\\PC{0,10}"),
            dataset_name in proptest::option::of("\\PC{0,10}"),
            dataset_digest in proptest::option::of("\\PC{0,10}"),
        ) {
            let metric = ModelMetric { name, run_id, dataset_name, dataset_digest };
            prop_assert_eq!(ModelMetric::of_series(&metric.series().unwrap()), metric);
        }
    }

    #[test]
    fn a_series_of_a_model_is_named_by_the_metric_alone_where_that_is_all() {
        let metric = ModelMetric::of_series("acc");
        assert_eq!((metric.name.as_str(), &metric.run_id, &metric.dataset_name), ("acc", &None, &None));
        assert_eq!(metric.series().unwrap(), "acc");
        let on = ModelMetric { dataset_name: Some("leaves".into()), ..metric };
        assert_eq!(on.series().unwrap(), r#"acc{"dataset_name":"leaves"}"#);
        assert_eq!(ModelMetric::of_series("acc{").name, "acc{");
    }

    #[test]
    fn of_a_number_and_none_at_the_same_time_the_number_is_the_later() {
        let point = |step: i64, time: i64, value: f64| MetricPoint { time, step, value }.recency();
        for value in [f64::NEG_INFINITY, -2.0, 0.0, f64::INFINITY] {
            assert!(point(1, 5, value) > point(1, 5, f64::NAN));
            assert!(point(1, 6, f64::NAN) > point(1, 5, value));
            assert!(point(2, 5, f64::NAN) > point(1, 5, value));
        }
    }

    #[test]
    fn what_is_no_number_comes_last_and_zero_is_one() {
        let values =
            [f64::NEG_INFINITY, f64::MIN, -1.0, 0.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NAN];
        assert!(values.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
        assert_eq!(ordered(-f64::NAN), ordered(f64::NAN));
        assert!(from_ordered(ordered(f64::NAN)).is_nan());
    }
}
