//! The crate law: who may depend on whom in this workspace, and what the pure crates cannot reach.

use super::Verdict;
use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;
use cargo_metadata::{DependencyKind, Package};
use std::collections::BTreeSet;

/// What one crate may use.
struct Law {
    /// The package.
    name: &'static str,
    /// Packages of this workspace it may depend on.
    may_use: &'static [&'static str],
    /// Packages that its dependencies, however deep, may not include.
    cannot_reach: &'static [&'static str],
}

/// Async runtimes and their kind, logging, clocks of others, randomness: what makes a decision depend on more than its arguments.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "hyper",
    "kube-client",
    "kube-runtime",
    "tracing",
    "log",
    "rand",
    "getrandom",
    "socket2",
    "nix",
];

/// Everything that talks to an API server.
const CLIENT: &[&str] = &["tokio", "hyper", "kube-client", "kube-runtime"];

const LAWS: &[Law] = &[
    Law {
        name: "api",
        may_use: &[],
        cannot_reach: CLIENT,
    },
    Law {
        name: "plan",
        may_use: &["api"],
        cannot_reach: CLIENT,
    },
    Law {
        name: "cluster",
        may_use: &["api", "plan"],
        cannot_reach: &[],
    },
    Law {
        name: "bgp",
        may_use: &[],
        cannot_reach: IMPURE,
    },
    Law {
        name: "fib",
        may_use: &[],
        cannot_reach: &["tokio", "hyper", "kube-client", "kube-runtime", "tracing"],
    },
    Law {
        name: "lb-abi",
        may_use: &[],
        cannot_reach: IMPURE,
    },
    Law {
        name: "lb-prog",
        may_use: &["lb-abi"],
        cannot_reach: &[],
    },
    Law {
        name: "lb",
        may_use: &["lb-abi"],
        cannot_reach: CLIENT,
    },
    Law {
        name: "agent",
        may_use: &["api", "plan", "cluster", "bgp", "fib", "lb"],
        cannot_reach: &["lab"],
    },
    Law {
        name: "operator",
        may_use: &["api", "plan", "cluster"],
        cannot_reach: &["lab", "bgp"],
    },
    Law {
        name: "lab",
        may_use: &[],
        cannot_reach: &[],
    },
    Law {
        name: "xtask",
        may_use: &["api", "lab"],
        cannot_reach: &[],
    },
    Law {
        name: "scenarios",
        may_use: &["api", "plan", "cluster", "bgp", "agent", "operator", "lab"],
        cannot_reach: &[],
    },
];

/// Packages that are used by tests only; any crate may have them as a dev-dependency.
const FOR_TESTS: &[&str] = &["lab"];

/// What the law says a package of this workspace may use; `None` where it says nothing.
pub(super) fn may_use(package: &str) -> Option<BTreeSet<&'static str>> {
    let law = LAWS.iter().find(|law| law.name == package)?;
    Some(law.may_use.iter().copied().collect())
}

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let packages = workspace.packages()?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut violations = Vec::new();
    for package in &packages {
        match LAWS.iter().find(|law| law.name == package.name.as_str()) {
            Some(law) => violations.extend(direct(law, package, &ours)),
            None => violations.push(format!(
                "{} has no row in the crate law (xtask/src/check/layers.rs)",
                package.name
            )),
        }
    }
    for law in LAWS.iter().filter(|law| !law.cannot_reach.is_empty()) {
        let reached = reachable(workspace, law.name)?;
        violations.extend(
            law.cannot_reach.iter().filter(|name| reached.contains(**name)).map(|name| {
                format!("{} reaches {name}, which it never may; see `cargo tree -p {} -e normal,build -i {name}`", law.name, law.name)
            }),
        );
    }
    let remark = format!(
        "{} crates, {} of them proven free of what they never may reach",
        LAWS.len(),
        LAWS.iter()
            .filter(|law| !law.cannot_reach.is_empty())
            .count()
    );
    Ok(Verdict {
        remarks: vec![remark],
        violations,
    })
}

/// Dependencies within the workspace that the law does not grant.
fn direct(law: &Law, package: &Package, ours: &BTreeSet<&str>) -> Vec<String> {
    let granted = |name: &str, kind| {
        law.may_use.contains(&name)
            || (kind == DependencyKind::Development && FOR_TESTS.contains(&name))
    };
    let used = package
        .dependencies
        .iter()
        .filter(|dependency| ours.contains(dependency.name.as_str()));
    used.filter(|dependency| !granted(&dependency.name, dependency.kind))
        .map(|dependency| format!("{} may not depend on {}", law.name, dependency.name))
        .collect()
}

/// Names of all packages in the normal and build dependencies of `package`.
///
/// Asked of `cargo tree`: the graph of `cargo metadata` unites the features that all members ask of a package, so that there `api` would
/// reach the kube client which only others turn on.
fn reachable(workspace: &Workspace, package: &str) -> Result<BTreeSet<String>, Error> {
    let mut tree = workspace.cargo([
        "tree",
        "--quiet",
        "--locked",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let listed = command::output(tree.args(["--package", package]))?;
    Ok(listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}
