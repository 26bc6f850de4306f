//! The fuzz targets of `crates/bgp/fuzz`, two at a time.

use crate::command::{self, seconds};
use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use cargo_metadata::MetadataCommand;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const FOLDER: &str = "crates/bgp/fuzz";

/// How long each target runs in CI.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// How many targets run at once.
const WORKERS: usize = 2;

/// Builds all targets, runs each for `time`, and fails when one found something. What was learned stays in the target folder, so that the
/// next run goes on from there.
pub(crate) fn run(workspace: &Workspace, time: Duration) -> Result<(), Error> {
    let target = workspace.target()?.join("fuzz");
    let names = targets(workspace)?;
    command::run(cargo_fuzz(workspace, "build", &target).args(["--fuzz-dir", FOLDER]))?;
    println!(
        "{} targets, {} each, {WORKERS} at a time",
        names.len(),
        seconds(time)
    );
    let waiting = Mutex::new(names.iter());
    let worker = || -> Result<(), Error> {
        loop {
            let next = waiting
                .lock()
                .expect("no worker panics holding the list")
                .next();
            let Some(name) = next else { return Ok(()) };
            run_one(workspace, &target, name, time)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

fn run_one(workspace: &Workspace, target: &Path, name: &str, time: Duration) -> Result<(), Error> {
    let learned = target.join("corpus").join(name);
    std::fs::create_dir_all(&learned).in_file(&learned)?;
    let mut fuzz = cargo_fuzz(workspace, "run", target);
    fuzz.args(["--fuzz-dir", FOLDER, name]).arg(&learned);
    let seeds = workspace.root.join(FOLDER).join("seeds").join(name);
    if seeds.is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.args([
        "--",
        "-print_final_stats=1",
        &format!("-max_total_time={}", time.as_secs()),
    ]);
    let start = Instant::now();
    let output = command::capture(&mut fuzz)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail = command::last_lines(&said, 60);
        return Err(Error::FailedSaying {
            command: command::words(&fuzz),
            status: output.status,
            tail,
        });
    }
    let count = |stat: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(stat))
            .map_or("?", str::trim)
    };
    let runs = count("stat::number_of_executed_units:");
    println!(
        "ok      {name:<22} {runs:>10} runs, {:>7} inputs kept, {}",
        count("stat::new_units_added:"),
        seconds(start.elapsed())
    );
    Ok(())
}

/// The sanitizer and the coverage need compiler options that only nightly accepts; `RUSTC_BOOTSTRAP` makes the stable compiler, which ships
/// the sanitizer's runtime, accept them, so that no second toolchain is needed.
fn cargo_fuzz(workspace: &Workspace, verb: &str, target: &Path) -> Command {
    let mut cargo = workspace.cargo(["fuzz", verb]);
    cargo
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("CARGO_TARGET_DIR");
    cargo
}

/// Names of the targets, as the manifest lists them.
fn targets(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let manifest = workspace.root.join(FOLDER).join("Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()?;
    let targets = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_bin());
    Ok(targets.map(|target| target.name.clone()).collect())
}
