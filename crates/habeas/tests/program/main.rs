//! The program as its operator runs it: started, watched, stopped, backed up, restored; what its commands answer and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
mod keyring;
mod limits;
mod operation;
mod program;
mod requests;
mod restoring;
