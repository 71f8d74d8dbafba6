//! Points of a metric.

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
    /// What decides which of two points is the later: MLflow's order by step, time and value, in which not-a-number is the greatest.
    pub fn recency(&self) -> (i64, i64, i64) {
        (self.step, self.time, ordered(self.value))
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
