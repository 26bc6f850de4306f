//! `cargo xtask test`: every tier in order, or one tier, or whatever tests a name matches.

use crate::command::{self, seconds, section};
use crate::error::Error;
use crate::workspace::Workspace;
use crate::{bench, check, fuzz, image, setup};
use cargo_metadata::TargetKind;
use clap::ValueEnum;
use std::process::Command;
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
    /// Needs minutes of the machine for itself: the goals with 10,000 Services of ten endpoints
    Scale,
    /// Needs a minute for each target: the decoders and the state machine against a fuzzer
    Fuzz,
}

impl Tier {
    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit tests",
            Self::ControlPlane => "control plane tests",
            Self::Lab => "lab scenarios",
            Self::Scale => "scale",
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

/// Sets the machine up, then runs what is wanted. Everything includes the gate. Each tier runs to
/// its end; the first that fails is the last.
pub(crate) fn run(workspace: &Workspace, what: Option<String>) -> Result<(), Error> {
    let start = Instant::now();
    let wanted = Wanted::parse(what);
    let filter = wanted.filter();
    let mut times = Vec::new();
    let mut stage = |title, run: &dyn Fn() -> Result<(), Error>| {
        section(title);
        let start = Instant::now();
        let result = run();
        times.push((title, start.elapsed()));
        result
    };
    stage("setup", &|| setup::run(workspace))?;
    if matches!(wanted, Wanted::Everything) {
        stage("check", &|| check::run(workspace, None))?;
    }
    if !matches!(wanted, Wanted::Tier(Tier::Fuzz | Tier::Scale)) {
        stage("build", &|| build(workspace))?;
    }
    for tier in wanted.tiers() {
        stage(tier.title(), &|| match tier {
            Tier::Unit => unit(workspace, filter),
            Tier::ControlPlane => control_plane(workspace, filter),
            Tier::Lab => lab(workspace, filter),
            Tier::Scale => bench::scale(workspace),
            Tier::Fuzz => fuzz::run(workspace, fuzz::MINUTE),
        })?;
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
    let mut nextest = workspace.cargo([
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--cargo-quiet",
        "--filterset",
        &format!("not package({SCENARIOS}) or kind(lib)"),
    ]);
    if let Some(filter) = filter {
        nextest.args(["--no-tests", "pass", filter]);
        return command::run(&mut nextest);
    }
    command::run(&mut nextest)?;
    let documentation = ["test", "--quiet", "--workspace", "--doc", "--locked"];
    command::run(&mut workspace.cargo(documentation))
}

fn control_plane(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    let targets = scenario_targets(workspace)?;
    let targets = targets.iter().filter(|name| *name != LAB);
    let mut tests = scenarios(workspace, targets.map(String::as_str));
    command::run(tests.args(filter))
}

fn lab(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    if let Some(filter) = filter {
        let listed = command::output(scenarios(workspace, [LAB]).arg("--list"))?;
        if !listed.lines().any(|line| line.contains(filter)) {
            println!("no scenario is named like {filter}");
            return Ok(());
        }
    }
    let image = image::for_lab(workspace)?;
    command::run(
        scenarios(workspace, [LAB])
            .args(filter)
            .env("TOMBOLO_IMAGE", image),
    )
}

/// The test targets of these names. Of the whole workspace, as what [`build`] builds.
fn scenarios<'a>(workspace: &Workspace, targets: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = workspace.cargo(["test", "--workspace", "--no-fail-fast", "--locked"]);
    for target in targets {
        cargo.args(["--test", target]);
    }
    cargo.arg("--");
    cargo
}

/// Builds all programs and tests at once. Cargo chooses the features of the libraries by what is built together: built
/// one package after the other, the same libraries would be built several times. The tests look for the programs that
/// they start beside their own.
fn build(workspace: &Workspace) -> Result<(), Error> {
    let everything = [
        "build",
        "--quiet",
        "--workspace",
        "--bins",
        "--tests",
        "--locked",
    ];
    command::run(&mut workspace.cargo(everything))
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
            [
                Tier::Unit,
                Tier::ControlPlane,
                Tier::Lab,
                Tier::Scale,
                Tier::Fuzz
            ]
        );
    }
}
