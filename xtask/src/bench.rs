//! `cargo xtask bench`: every benchmark of the workspace, or those of one package.

use crate::command::{self, section};
use crate::error::Error;
use crate::workspace::Workspace;
use crate::{setup, test};
use cargo_metadata::TargetKind;

/// Runs the bench targets of the workspace one after the other. They run alone: numbers taken beside other work mean nothing.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<(), Error> {
    setup::run(workspace)?;
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
            command::run(&mut workspace.cargo([
                "bench",
                "--quiet",
                "--locked",
                "--package",
                name,
                "--bench",
                &target.name,
            ]))?;
        }
    }
    Ok(())
}
