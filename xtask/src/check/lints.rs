//! Every package opts into the agreement of the root manifest.

use super::Verdict;
use crate::error::Error;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let mut violations = Vec::new();
    for package in workspace.metadata()?.workspace_packages() {
        let manifest = workspace.read(package.manifest_path.as_std_path())?;
        if !opts_in(&manifest) {
            violations.push(format!(
                "{} does not opt in: its Cargo.toml lacks [lints] workspace = true",
                package.name
            ));
        }
    }
    Ok(Verdict::of_violations(violations))
}

fn opts_in(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.any(|line| line == "[lints]")
        && lines
            .next()
            .is_some_and(|line| line.replace(' ', "") == "workspace=true")
}

#[cfg(test)]
mod tests {
    use super::opts_in;

    #[test]
    fn only_a_lints_section_that_names_the_workspace_opts_in() {
        for (manifest, wanted) in [
            (
                "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n",
                true,
            ),
            ("[lints]\n# why\nworkspace=true", true),
            ("[lints.rust]\nunsafe_code = \"deny\"", false),
            ("[lints]\n[dependencies]\nworkspace = true", false),
            ("[dependencies]\napi = { workspace = true }", false),
        ] {
            assert_eq!(opts_in(manifest), wanted, "{manifest}");
        }
    }
}
