//! Tests of the whole: one integration binary, in `tests/it`.
