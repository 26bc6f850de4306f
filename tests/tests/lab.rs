//! Runs the scenarios in labs, one lab per topology. `cargo xtask test lab` prepares the image and calls it.

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::process::ExitCode;

fn main() -> ExitCode {
    ::scenarios::harness::main(scenarios::SUITES)
}
