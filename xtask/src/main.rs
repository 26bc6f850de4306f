//! `cargo xtask`: everything that is not `cargo build` or `cargo test`.
//!
//! One door for people and for CI alike: `setup` prepares the machine, `check` is the gate, `test` runs every tier, `lab` and `demo` show
//! the real thing, `image`, `codegen` and `bench` make what their names say.
#![expect(clippy::print_stdout, reason = "a program that talks to a person")]

mod bench;
mod check;
mod codegen;
mod command;
mod demo;
mod ebpf;
mod error;
mod fuzz;
mod image;
mod lab;
mod setup;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use error::Error;
use std::process::ExitCode;
use std::time::Duration;
use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Everything that is not `cargo build` or `cargo test`",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what a bare Debian or Ubuntu machine with Rust and Go lacks; does nothing when all is there
    Setup,
    /// The gate: formatting, lints, crate law, sizes, README map, generated files, documentation, licences
    Check {
        /// Only this check
        name: Option<check::Name>,
    },
    /// Every tier of tests in order, or one tier (unit, control-plane, lab, scale, fuzz), or the tests whose name contains a word
    Test {
        /// A tier, or part of a test's name
        what: Option<String>,
    },
    /// Fuzz every target of `crates/bgp/fuzz`
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// A real cluster with a router, standing for a person to look around in
    #[command(subcommand)]
    Lab(lab::Task),
    /// Boot the lab, install Tombolo, and watch a router learn where the pods are
    Demo {
        /// Leave it standing
        #[arg(long)]
        keep: bool,
    },
    /// Run the benchmarks of the workspace, or of one package or target
    Bench {
        /// A package or a bench target
        only: Option<String>,
    },
    /// Write the container image to `target/image` as an OCI layout
    Image,
    /// Build the load balancer's programs in the kernel into `ebpf/prebuilt`
    Ebpf {
        /// Write nothing; fail when the object differs
        #[arg(long)]
        check: bool,
    },
    /// Write the CRD chart from the types in `crates/api`
    Codegen {
        /// Write nothing; fail when a file differs
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nxtask: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                println!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Error> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => setup::run(&workspace),
        Task::Check { name } => {
            command::section("check");
            check::run(&workspace, name)
        }
        Task::Test { what } => test::run(&workspace, what),
        Task::Fuzz { seconds } => fuzz::run(&workspace, Duration::from_secs(seconds)),
        Task::Lab(task) => lab::run(&workspace, task),
        Task::Demo { keep } => demo::run(&workspace, keep),
        Task::Bench { only } => bench::run(&workspace, only.as_deref()),
        Task::Image => image::run(&workspace),
        Task::Ebpf { check } => ebpf::run(&workspace, check),
        Task::Codegen { check } => codegen::run(&workspace, check),
    }
}
