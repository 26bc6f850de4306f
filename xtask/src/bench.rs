//! `cargo xtask bench`: every benchmark of the workspace, or those of one package.

use crate::command::{self, section};
use crate::error::Error;
use crate::workspace::Workspace;
use crate::{image, setup, test};
use cargo_metadata::TargetKind;
use std::process::Command;

/// The bench that boots a lab and compares with kube-proxy.
const REQUESTS: &str = "requests";

/// Runs the bench targets of the workspace one after the other. They run alone: numbers taken beside other work mean nothing.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<(), Error> {
    setup::lab(workspace)?;
    test::build_lab_programs(workspace)?;
    for package in workspace.metadata()?.workspace_packages() {
        let name = package.name.as_str();
        for target in package
            .targets
            .iter()
            .filter(|target| target.kind.contains(&TargetKind::Bench))
        {
            if only.is_some_and(|only| only != name && only != target.name) {
                continue;
            }
            section(&format!("bench {name} {}", target.name));
            let mut bench = bench(workspace, name, &target.name);
            if target.name == REQUESTS {
                prepare_lab(workspace, &mut bench)?;
            }
            command::run(&mut bench)?;
        }
    }
    Ok(())
}

/// Runs the bench of 10,000 Services, which fails where a goal is missed by far, in its shorter form.
pub(crate) fn scale(workspace: &Workspace) -> Result<(), Error> {
    let mut services = bench(workspace, "agent", "services");
    services.args(["--", "--algorithm", "maglev", "--changes", "100"]);
    command::run(&mut services)
}

fn bench(workspace: &Workspace, package: &str, target: &str) -> Command {
    let words = ["bench", "--quiet", "--locked", "--package", package];
    let mut bench = workspace.cargo(words);
    bench.args(["--bench", target]);
    bench
}

/// What a bench in the lab needs beside its own program: the image under test, kube-proxy, and the lab's programs, which it looks for beside
/// itself.
fn prepare_lab(workspace: &Workspace, bench: &mut Command) -> Result<(), Error> {
    setup::kube_proxy(workspace)?;
    let programs = [
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "lab",
    ];
    command::run(workspace.cargo(programs).arg("--bins"))?;
    bench.env("TOMBOLO_IMAGE", image::for_lab(workspace)?);
    Ok(())
}
