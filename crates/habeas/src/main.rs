//! `habeas`: the server and its command line in one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything that speaks TLS: the libraries look for a process-wide provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    habeas::cli::main()
}
