//! `cargo xtask setup`: from a bare Debian or Ubuntu machine with Rust and Go to one that runs every test.
//!
//! Four kinds of things are installed, each only when missing: system packages by apt, cargo subcommands by `cargo install`, the toolchain
//! of the programs in the kernel, and the programs of the lab, which are Go modules. What is built goes into the machine cache (`${XDG_CACHE_HOME:-~/.cache}/tombolo/<tool>-<version>/`), are
//! shared by every checkout, and appear there whole or not at all, so that an interrupted run is simply repeated.

mod cargo_tools;
pub(crate) mod ebpf;
mod go;
mod packages;
pub(crate) mod tools;
pub(crate) mod version;

use crate::command::seconds;
use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use ::lab::binaries::{KUBE_PROXY, TOOLS};
use std::fs::File;
use std::time::Instant;

/// Installs what is missing of everything. Takes well under a second when nothing is.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    install(workspace, &|| {
        for_lab(workspace)?;
        cargo_tools::install(workspace)?;
        ebpf::install(workspace);
        Ok(())
    })
}

/// Installs what is missing of what a lab needs. Whoever only looks at one does not wait for the tools of those who change the project.
pub(crate) fn lab(workspace: &Workspace) -> Result<(), Error> {
    install(workspace, &|| for_lab(workspace))
}

fn for_lab(workspace: &Workspace) -> Result<(), Error> {
    packages::install()?;
    go::install(workspace, TOOLS)
}

fn install(workspace: &Workspace, missing: &dyn Fn() -> Result<(), Error>) -> Result<(), Error> {
    let start = Instant::now();
    std::fs::create_dir_all(&workspace.cache).in_file(&workspace.cache)?;
    let _lock = lock(workspace)?;
    missing()?;
    println!("setup: everything is there ({})", seconds(start.elapsed()));
    Ok(())
}

/// Installs what only a comparison with kube-proxy needs.
pub(crate) fn kube_proxy(workspace: &Workspace) -> Result<(), Error> {
    let _lock = lock(workspace)?;
    go::install(workspace, &[KUBE_PROXY])
}

/// One set-up at a time on a machine; the lock ends with the process, however it ends.
fn lock(workspace: &Workspace) -> Result<File, Error> {
    let path = workspace.cache.join("setup.lock");
    let file = File::create(&path).in_file(&path)?;
    if file.try_lock().is_err() {
        println!("setup: another set-up runs on this machine; waiting for it");
        file.lock().in_file(&path)?;
    }
    Ok(file)
}
