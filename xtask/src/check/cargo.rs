//! The checks that cargo and its subcommands make.

use super::Verdict;
use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;
use std::process::Command;

pub(super) fn fmt(workspace: &Workspace) -> Result<Verdict, Error> {
    passes(&mut workspace.cargo(["fmt", "--all", "--check"]))
}

pub(super) fn clippy(workspace: &Workspace) -> Result<Verdict, Error> {
    passes(&mut workspace.cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

pub(super) fn docs(workspace: &Workspace) -> Result<Verdict, Error> {
    let mut cargo = workspace.cargo([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ]);
    passes(cargo.env(
        "RUSTDOCFLAGS",
        "-D warnings -A rustdoc::private_intra_doc_links",
    ))
}

/// The advisory database is a git repository on the internet: where it cannot be had, that part is left out, and said.
pub(super) fn deny(workspace: &Workspace) -> Result<Verdict, Error> {
    command::output(&mut workspace.cargo([
        "deny",
        "--offline",
        "--locked",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    let fetched =
        command::capture(&mut workspace.cargo(["deny", "--log-level", "error", "fetch", "db"]))?;
    if !fetched.status.success() {
        let remark = "bans, licences, sources checked; advisories not: their database cannot be fetched from this machine".to_owned();
        return Ok(Verdict {
            remarks: vec![remark],
            violations: Vec::new(),
        });
    }
    passes(&mut workspace.cargo([
        "deny",
        "--locked",
        "--log-level",
        "error",
        "check",
        "advisories",
    ]))
}

fn passes(command: &mut Command) -> Result<Verdict, Error> {
    command::output(command).map(|_| Verdict::default())
}
