//! Tests of the whole through its public interfaces, on both engines.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod bad_input;
mod canary;
mod coverage;
mod crash;
mod custom_vision;
mod dataset;
mod deployment;
mod disk;
mod exports;
mod iterations;
mod keeping;
mod learning;
mod log;
mod notifying;
mod old_data;
mod portal;
mod postgres_tls;
mod predictions;
mod races;
mod rescue;
mod restore;
mod s3;
mod scan;
mod schema;
mod starting;
mod transfer;
mod worlds;

use habeas_tests::postgres;
