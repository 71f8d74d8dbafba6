//! Tests of the whole: one integration binary, in `tests/it`; and what tests of other rooms need of it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

pub mod postgres;
