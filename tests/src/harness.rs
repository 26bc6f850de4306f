//! Runs scenarios: one lab per topology, booted when its first scenario runs, shared by all of them in the
//! order of the table, reset after each that holds, gone after one that does not and before the next topology's boots.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::lab::cluster::Cluster;
use ::lab::topology::Topology;
use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};

use crate::{Failure, Lab};

/// A claim and the function that shows it.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The claim, as a name.
    pub name: &'static str,
    /// Shows it; the lab is as [`Lab::reset`] leaves it.
    pub run: fn(&mut Lab) -> Result<(), Failure>,
}

/// Scenarios that share a lab.
pub struct Suite {
    /// What the lab looks like. No two suites have one of the same name.
    pub topology: fn() -> Topology,
    /// Values of the chart beside those of every lab (`key=value`).
    pub values: &'static [&'static str],
    /// In the order in which they run.
    pub scenarios: &'static [Scenario],
}

/// The environment variable that names the folder of the image under test, an OCI layout.
pub const IMAGE: &str = "TOMBOLO_IMAGE";

/// What a suite's lab is made from: its topology and the values of its chart.
type Stage = (fn() -> Topology, &'static [&'static str]);

/// The lab that stands, if one does.
type Standing = Arc<Mutex<Option<Lab>>>;

/// Runs the scenarios that the command line selects, as `cargo test` does.
#[must_use]
pub fn main(suites: &[Suite]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One lab at a time, and a line for each scenario even where cargo asks for quiet.
    arguments.test_threads = Some(1);
    arguments.quiet = false;
    arguments.format.get_or_insert(FormatSetting::Pretty);
    if !arguments.list
        && let Err(error) = ::lab::sweep::on_interrupt()
    {
        return refuse(&error);
    }
    let standing = Standing::default();
    let trials = suites
        .iter()
        .flat_map(|suite| trials(suite, &standing))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    take(&standing); // before the exit code ends the program
    conclusion.exit_code()
}

#[expect(clippy::print_stderr, reason = "a person must read why nothing runs")]
fn refuse(error: &::lab::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn trials(suite: &Suite, standing: &Standing) -> Vec<Trial> {
    let stage = (suite.topology, suite.values);
    let lab = (suite.topology)().name;
    let trial = |scenario: &Scenario| {
        let (scenario, standing) = (*scenario, Arc::clone(standing));
        Trial::ignorable_test(format!("{lab}::{}", scenario.name), move || {
            run(scenario, stage, &standing)
        })
    };
    suite.scenarios.iter().map(trial).collect()
}

fn take(standing: &Standing) -> Option<Lab> {
    standing
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

#[expect(
    clippy::print_stdout,
    reason = "a person reads how long each scenario took"
)]
fn run(
    scenario: Scenario,
    (topology, values): Stage,
    standing: &Standing,
) -> Result<Completion, Failed> {
    let mut lab = match ready(topology(), values, take(standing)) {
        Ok(lab) => lab,
        Err(Failure::CannotRun(reason)) => return cannot_run(scenario, reason),
        Err(failure) => return Err(failure.to_string().into()),
    };
    let start = Instant::now();
    let result = (scenario.run)(&mut lab);
    print!("({}) ", seconds(start.elapsed()));
    match result {
        Ok(()) => {
            // A lab that cannot be reset serves nobody: it goes, and the next scenario boots another.
            if let Err(failure) = lab.reset() {
                let place = diagnose(&lab, scenario.name);
                return Err(format!(
                    "the scenario holds, but the lab cannot be reset: {failure}\n{place}"
                )
                .into());
            }
            *standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(lab);
            Ok(Completion::Completed)
        }
        Err(Failure::CannotRun(reason)) => cannot_run(scenario, reason),
        Err(failure) => {
            // Nobody knows what it has left behind: the next scenario boots another lab.
            let place = diagnose(&lab, scenario.name);
            Err(format!("{failure}\n{place}").into())
        }
    }
}

/// The lab of that topology: the one that stands, or a new one in the place of another.
#[expect(clippy::print_stdout, reason = "a person reads how long the boot took")]
fn ready(
    topology: Topology,
    values: &'static [&'static str],
    standing: Option<Lab>,
) -> Result<Lab, Failure> {
    if let Some(lab) = standing
        && lab.cluster.topology().name == topology.name
    {
        return Ok(lab);
    }
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else {
        return Err(Failure::CannotRun(
            "TOMBOLO_IMAGE names no image: use `cargo xtask test lab`",
        ));
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::CannotRun("a lab needs root"));
    }
    let start = Instant::now();
    let name = topology.name.clone();
    let cluster = Cluster::up(topology)?;
    let booted = start.elapsed();
    let lab = Lab::new(cluster, &image, values)?;
    let installed = start.elapsed().saturating_sub(booted);
    print!(
        "[lab {name} up in {}, Tombolo in {}] ",
        seconds(booted),
        seconds(installed)
    );
    Ok(lab)
}

/// Loud, and a failure where nobody watches.
#[expect(
    clippy::print_stderr,
    reason = "a person must see that something was not shown"
)]
fn cannot_run(scenario: Scenario, reason: &str) -> Result<Completion, Failed> {
    eprintln!("\n  SKIPPED {}: {reason}", scenario.name);
    if std::env::var("CI").is_ok_and(|value| value == "true" || value == "1") {
        return Err(format!("cannot run here: {reason}").into());
    }
    Ok(Completion::ignored_with(reason))
}

/// Collects what the lab can tell about a failure and says where it is.
fn diagnose(lab: &Lab, scenario: &str) -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = package
        .parent()
        .unwrap_or(package)
        .join("target/diagnostics")
        .join(scenario);
    // What an earlier run left there would be taken for this one's.
    let _ = std::fs::remove_dir_all(&folder);
    match lab.cluster.collect(&folder) {
        Ok(()) => format!("logs, objects, routes and packets: {}", folder.display()),
        Err(error) => format!("nor could diagnostics be collected: {error}"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
