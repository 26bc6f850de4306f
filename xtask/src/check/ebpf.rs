//! The programs in the kernel, which are a workspace of their own.

use super::Verdict;
use crate::command;
use crate::ebpf::{Comparison, compare};
use crate::error::Error;
use crate::workspace::Workspace;

/// Formatting and lints need no toolchain but ours: the source is checked as if it were for this machine. Whether the committed object is
/// what the source says, only the toolchain tells that built it; where it is missing, that is left out, and said.
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
        Comparison::Impossible(why) => Verdict {
            remarks: vec![format!(
                "ebpf/prebuilt/lb.o NOT COMPARED with its source: {why}"
            )],
            violations: Vec::new(),
        },
    })
}
