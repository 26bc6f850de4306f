//! `cargo xtask check`: the one gate, the same for people and for CI.

mod cargo;
mod charts;
mod ebpf;
mod layers;
mod lints;
mod map;
mod sizes;
mod words;

use crate::codegen;
use crate::command::seconds;
use crate::error::Error;
use crate::setup;
use crate::workspace::Workspace;
use clap::ValueEnum;
use std::time::Instant;

/// What one check found: remarks worth reading, and what breaks a rule. No violation means it passed.
#[derive(Default)]
struct Verdict {
    remarks: Vec<String>,
    violations: Vec<String>,
}

impl Verdict {
    fn of_violations(violations: Vec<String>) -> Self {
        Self {
            remarks: Vec::new(),
            violations,
        }
    }
}

/// The checks, quick ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Who may depend on whom, and what the pure crates cannot reach
    Layers,
    /// Every package opts into the workspace's lints
    Lints,
    /// Budgets for files and functions
    Sizes,
    /// Words that do not belong in the tree, and unsafe code outside its list
    Words,
    /// The README's map against the tree
    Map,
    /// Generated files are fresh
    Generated,
    /// The charts render, with no more rights than they may have
    Charts,
    /// The programs in the kernel: formatting, lints, and the committed object against its source
    Ebpf,
    /// Formatting
    Fmt,
    /// Licences, sources, duplicate bans, advisories where their database can be had
    Deny,
    /// clippy, warnings denied
    Clippy,
    /// rustdoc, warnings denied
    Docs,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Lints => "lints",
            Self::Sizes => "sizes",
            Self::Words => "words",
            Self::Map => "map",
            Self::Generated => "generated",
            Self::Charts => "charts",
            Self::Ebpf => "ebpf",
            Self::Fmt => "fmt",
            Self::Deny => "deny",
            Self::Clippy => "clippy",
            Self::Docs => "docs",
        }
    }

    fn check(self, workspace: &Workspace) -> Result<Verdict, Error> {
        match self {
            Self::Layers => layers::check(workspace),
            Self::Lints => lints::check(workspace),
            Self::Sizes => sizes::check(workspace),
            Self::Words => words::check(workspace),
            Self::Map => map::check(workspace),
            Self::Generated => codegen::stale(workspace).map(|paths| {
                Verdict::of_violations(
                    paths
                        .into_iter()
                        .map(|path| format!("{path} is stale; run `cargo xtask codegen`"))
                        .collect(),
                )
            }),
            Self::Charts => charts::check(workspace),
            Self::Ebpf => ebpf::check(workspace),
            Self::Fmt => cargo::fmt(workspace),
            Self::Deny => cargo::deny(workspace),
            Self::Clippy => cargo::clippy(workspace),
            Self::Docs => cargo::docs(workspace),
        }
    }
}

/// Runs all checks, or the one named, to the end and names those that failed.
pub(crate) fn run(workspace: &Workspace, only: Option<Name>) -> Result<(), Error> {
    // Only some checks need what set-up brings; a person who asks for another shall not wait for it.
    if matches!(only, None | Some(Name::Charts | Name::Deny | Name::Ebpf)) {
        setup::run(workspace)?;
    }
    let wanted = Name::value_variants()
        .iter()
        .copied()
        .filter(|name| only.is_none_or(|only| only == *name));
    let mut failed = Vec::new();
    for name in wanted {
        let start = Instant::now();
        let verdict = match name.check(workspace) {
            Ok(verdict) => verdict,
            Err(Error::FailedSaying { tail, .. }) => Verdict::of_violations(vec![tail]),
            Err(error) => return Err(error),
        };
        let word = if verdict.violations.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "{word:<7} {:<10} {:>9}",
            name.as_str(),
            seconds(start.elapsed())
        );
        for line in verdict.remarks.iter().chain(&verdict.violations) {
            println!("        {}", line.replace('\n', "\n        "));
        }
        if !verdict.violations.is_empty() {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Checks { names: failed })
    }
}
