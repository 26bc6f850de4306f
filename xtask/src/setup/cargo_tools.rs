//! Cargo subcommands: taken from PATH where new enough, else installed into the machine cache.

use super::packages::find;
use super::tools::{CARGO_TOOLS, CargoTool};
use super::version::Version;
use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;
use std::process::Command;
use std::time::Instant;

/// Installs those that are missing or too old.
pub(crate) fn install(workspace: &Workspace) -> Result<(), Error> {
    for tool in CARGO_TOOLS {
        if tool
            .folder(&workspace.cache)
            .join("bin")
            .join(tool.name)
            .is_file()
            || on_path(tool)
        {
            continue;
        }
        build(workspace, tool)?;
    }
    Ok(())
}

/// Whether PATH has it, new enough.
fn on_path(tool: &CargoTool) -> bool {
    let Some(program) = find(tool.name) else {
        return false;
    };
    let subcommand = tool.name.trim_start_matches("cargo-");
    let Ok(said) = command::output(Command::new(program).args([subcommand, "--version"])) else {
        return false;
    };
    Version::first_in(&said) >= Version::first_in(tool.version)
}

/// `cargo install` puts the program in place as its last step. Its target folder is kept until then, so that an interrupted build goes on.
fn build(workspace: &Workspace, tool: &CargoTool) -> Result<(), Error> {
    println!("setup: building {} {}", tool.name, tool.version);
    let start = Instant::now();
    let partial = workspace
        .cache
        .join(format!("{}-{}.target", tool.name, tool.version));
    let mut cargo = workspace.cargo(["install", "--quiet", "--locked", "--force"]);
    cargo
        .args(["--version", tool.version, "--root"])
        .arg(tool.folder(&workspace.cache));
    cargo.arg("--target-dir").arg(&partial).arg(tool.name);
    // They wait for others more than they compute: half the optimisation is half the time until the first test runs.
    for (setting, value) in [
        ("OPT_LEVEL", "1"),
        ("LTO", "off"),
        ("CODEGEN_UNITS", "16"),
        ("DEBUG", "false"),
    ] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    command::output(&mut cargo)?;
    if let Err(error) = std::fs::remove_dir_all(&partial) {
        println!("setup: {} can be removed: {error}", partial.display());
    }
    println!(
        "setup: {} {} built ({})",
        tool.name,
        tool.version,
        command::seconds(start.elapsed())
    );
    Ok(())
}
