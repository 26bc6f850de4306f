//! The programs in the kernel, which are a workspace of their own.

use super::Verdict;
use crate::command;
use crate::ebpf::{Comparison, compare};
use crate::error::Error;
use crate::workspace::Workspace;

/// Formatting and lints need no toolchain but ours: the source is checked as if it were for this machine. Whether the committed object is
/// what the source says, only the toolchain tells that built it; where it is missing, that is left out, and said. In CI nothing is left out.
pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let manifest = ["--manifest-path", "ebpf/Cargo.toml"];
    command::output(
        workspace
            .cargo(["fmt", "--package", "lb-prog", "--check"])
            .args(manifest),
    )?;
    let target = workspace.target()?.join("ebpf-lints");
    let mut clippy = workspace.cargo(["clippy", "--quiet", "--locked"]);
    clippy.args(manifest).arg("--target-dir").arg(target);
    command::output(clippy.args(["--", "-D", "warnings"]))?;
    Ok(match compare(workspace)? {
        Comparison::Same => Verdict::default(),
        Comparison::Differs => Verdict::of_violations(vec![
            "ebpf/prebuilt/lb.o is not what its source says; run `cargo xtask ebpf`".to_owned(),
        ]),
        Comparison::Impossible(why) => not_compared(&why, is_ci(std::env::var("CI").ok())),
    })
}

fn not_compared(why: &str, ci: bool) -> Verdict {
    let text = format!("ebpf/prebuilt/lb.o NOT COMPARED with its source: {why}");
    if ci {
        return Verdict::of_violations(vec![text]);
    }
    Verdict {
        remarks: vec![text],
        violations: Vec::new(),
    }
}

/// As the harness of the scenarios takes the variable.
fn is_ci(variable: Option<String>) -> bool {
    variable.is_some_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_compared_fails_in_ci_only() {
        for (variable, violations) in [(Some("true"), 1), (Some("1"), 1), (Some(""), 0), (None, 0)]
        {
            let verdict = not_compared("no linker", is_ci(variable.map(str::to_owned)));
            assert_eq!(verdict.violations.len(), violations, "{variable:?}");
            assert_eq!(verdict.remarks.len(), 1 - violations, "{variable:?}");
        }
    }
}
