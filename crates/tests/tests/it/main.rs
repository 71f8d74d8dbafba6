//! Tests of the whole through its public interfaces, on both engines.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod archives;
mod arm;
mod artifacts;
mod backbone;
mod bad_input;
mod canary;
mod classroom;
mod coverage;
mod crash;
mod custom_vision;
mod dataset;
mod deployment;
mod disk;
mod exports;
mod fuzzing;
mod graph;
mod history;
mod history_coverage;
mod issuer;
mod iterations;
mod keeping;
mod learning;
mod learning_chains;
mod learning_crash;
mod learning_plans;
mod learning_races;
mod letters;
mod log;
mod mlflow;
mod notifying;
mod old_data;
mod opendsr;
mod portal;
mod portal_requests;
mod postgres_tls;
mod predictions;
mod proof;
mod races;
mod recipients;
mod requests;
mod rescue;
mod restore;
mod s3;
mod scan;
mod schema;
mod sign_in;
mod standards;
mod starting;
mod transfer;
mod unlearning;
mod versions;
mod worlds;

use habeas_tests::postgres;
