//! `cargo xtask test`: every tier in order, or one tier, or whatever tests a name matches.

use crate::command::{self, seconds, section};
use crate::error::Error;
use crate::workspace::Workspace;
use crate::{check, fuzz, image, setup};
use cargo_metadata::TargetKind;
use clap::ValueEnum;
use std::time::{Duration, Instant};

/// The package of the scenarios, and the one of its test targets that boots the lab.
const SCENARIOS: &str = "scenarios";
const LAB: &str = "lab";

/// The tiers, each needing more of the machine than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Needs nothing: tests of the crates, and of their documentation
    Unit,
    /// Needs an API server: objects, conditions, leader election
    ControlPlane,
    /// Needs root: the real cluster with its routers
    Lab,
    /// Needs a minute for each target: the decoders and the state machine against a fuzzer
    Fuzz,
}

impl Tier {
    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit tests",
            Self::ControlPlane => "control plane tests",
            Self::Lab => "lab scenarios",
            Self::Fuzz => "fuzzing",
        }
    }
}

/// What to run.
enum Wanted {
    Everything,
    Tier(Tier),
    /// Tests whose name contains this.
    Named(String),
}

impl Wanted {
    fn parse(what: Option<String>) -> Self {
        match what {
            None => Self::Everything,
            Some(word) => Tier::from_str(&word, true).map_or(Self::Named(word), Self::Tier),
        }
    }

    fn tiers(&self) -> Vec<Tier> {
        match self {
            Self::Everything => Tier::value_variants().to_vec(),
            Self::Tier(tier) => vec![*tier],
            Self::Named(_) => vec![Tier::Unit, Tier::ControlPlane, Tier::Lab],
        }
    }

    fn filter(&self) -> Option<&str> {
        match self {
            Self::Everything | Self::Tier(_) => None,
            Self::Named(name) => Some(name),
        }
    }
}

/// Sets the machine up, then runs what is wanted. Where `CI` is set, everything includes the gate. Each tier runs to its end; the first that
/// fails is the last.
pub(crate) fn run(workspace: &Workspace, what: Option<String>) -> Result<(), Error> {
    let start = Instant::now();
    let wanted = Wanted::parse(what);
    section("setup");
    setup::run(workspace)?;
    let mut times = vec![("setup", start.elapsed())];
    if matches!(wanted, Wanted::Everything) && std::env::var_os("CI").is_some() {
        let start = Instant::now();
        check::run(workspace, None)?;
        times.push(("check", start.elapsed()));
    }
    for tier in wanted.tiers() {
        section(tier.title());
        let start = Instant::now();
        match tier {
            Tier::Unit => unit(workspace, wanted.filter())?,
            Tier::ControlPlane => control_plane(workspace, wanted.filter())?,
            Tier::Lab => lab(workspace, wanted.filter())?,
            Tier::Fuzz => fuzz::run(workspace, fuzz::MINUTE)?,
        }
        times.push((tier.title(), start.elapsed()));
    }
    summary(&times, start.elapsed());
    Ok(())
}

fn summary(times: &[(&str, Duration)], whole: Duration) {
    section("times");
    for (title, time) in times {
        println!("{title:<22} {:>12}", seconds(*time));
    }
    println!("{:<22} {:>12}", "all", seconds(whole));
}

fn unit(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    build_lab_programs(workspace)?;
    let mut nextest = workspace.cargo([
        "nextest",
        "run",
        "--workspace",
        "--exclude",
        SCENARIOS,
        "--locked",
        "--cargo-quiet",
    ]);
    if let Some(filter) = filter {
        nextest.args(["--no-tests", "pass", filter]);
        return command::run(&mut nextest);
    }
    command::run(&mut nextest)?;
    command::run(&mut workspace.cargo([
        "test",
        "--quiet",
        "--workspace",
        "--exclude",
        SCENARIOS,
        "--doc",
        "--locked",
    ]))
}

fn control_plane(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    build_lab_programs(workspace)?;
    // The tests start it as a process, from beside their own program.
    command::run(&mut workspace.cargo(["build", "--package", "operator", "--locked"]))?;
    let mut cargo = workspace.cargo(["test", "--package", SCENARIOS, "--no-fail-fast", "--locked"]);
    for target in scenario_targets(workspace)?
        .iter()
        .filter(|name| *name != LAB)
    {
        cargo.args(["--test", target]);
    }
    command::run(cargo.arg("--").args(filter))
}

fn lab(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    build_lab_programs(workspace)?;
    let scenarios = || {
        workspace.cargo([
            "test",
            "--package",
            SCENARIOS,
            "--test",
            LAB,
            "--locked",
            "--",
        ])
    };
    if let Some(filter) = filter {
        let listed = command::output(scenarios().arg("--list"))?;
        if !listed.lines().any(|line| line.contains(filter)) {
            println!("no scenario is named like {filter}");
            return Ok(());
        }
    }
    let image = image::for_lab(workspace)?;
    command::run(scenarios().args(filter).env("TOMBOLO_IMAGE", image))
}

/// The lab's own programs, which it looks for beside the program that runs.
pub(crate) fn build_lab_programs(workspace: &Workspace) -> Result<(), Error> {
    command::run(&mut workspace.cargo([
        "build",
        "--quiet",
        "--package",
        "lab",
        "--bins",
        "--locked",
    ]))
}

/// Names of the test targets of the scenarios.
fn scenario_targets(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let metadata = workspace.metadata()?;
    let packages = metadata.workspace_packages();
    let targets = packages
        .iter()
        .filter(|package| package.name.as_str() == SCENARIOS)
        .flat_map(|package| &package.targets);
    Ok(targets
        .filter(|target| target.kind.contains(&TargetKind::Test))
        .map(|target| target.name.clone())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_tier_or_a_name() {
        assert_eq!(Wanted::parse(Some("unit".to_owned())).tiers(), [Tier::Unit]);
        assert_eq!(
            Wanted::parse(Some("control-plane".to_owned())).tiers(),
            [Tier::ControlPlane]
        );
        assert_eq!(
            Wanted::parse(Some("label_off".to_owned())).filter(),
            Some("label_off")
        );
        assert_eq!(
            Wanted::parse(None).tiers(),
            [Tier::Unit, Tier::ControlPlane, Tier::Lab, Tier::Fuzz]
        );
    }
}
