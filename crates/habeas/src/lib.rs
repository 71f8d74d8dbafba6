//! The binary's parts, as a library so that tests can start a server in their own process.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

pub mod archive;
mod backbones;
pub mod cli;
pub mod demo;
mod listen;
mod logs;
mod observe;
pub mod rescue;
mod sample_images;
pub mod server;
pub mod settings;
mod tls;
