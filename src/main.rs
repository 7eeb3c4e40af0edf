//! The `waypost` program: see `waypost --help`.
//!
//! The allocator is the system's, by measurement (`.github/CONTRIBUTING.md` has the figures).
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match waypost::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waypost: {error:#}");
            ExitCode::FAILURE
        }
    }
}
