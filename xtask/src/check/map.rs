//! The README's map is the architecture document: what it names exists, and what exists it names.

use super::{Verdict, layers};
use crate::error::Error;
use crate::workspace::Workspace;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn check(workspace: &Workspace) -> Result<Verdict, Error> {
    let readme = workspace.read(Path::new("README.md"))?;
    let mut violations = Vec::new();
    for package in workspace.packages()? {
        let folder = package.manifest_path.parent();
        let folder = folder.and_then(|folder| folder.strip_prefix(&workspace.root).ok());
        if let Some(folder) = folder {
            violations.extend(row_against_law(&readme, folder.as_str(), &package.name));
        }
    }
    let named = paths(&readme);
    let missing = named
        .iter()
        .filter(|path| !workspace.root.join(path).exists());
    violations
        .extend(missing.map(|path| format!("README.md names `{path}`, which does not exist")));
    Ok(Verdict {
        remarks: vec![format!("{} paths named", named.len())],
        violations,
    })
}

/// What is wrong with the map's row of a crate: there is none, or what it may depend on is not what the law says.
fn row_against_law(readme: &str, folder: &str, package: &str) -> Option<String> {
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let Some(row) = rows
        .into_iter()
        .find(|row| row.split('`').next() == Some(folder))
    else {
        return Some(format!("`{folder}` has no row in the map of README.md"));
    };
    let told = row.split('|').nth(2).unwrap_or_default();
    let told_names: BTreeSet<&str> = quoted(told).collect();
    let law = layers::may_use(package)?;
    (told.trim() != "any" && told_names != law).then(|| {
        format!("README.md says that `{folder}` may depend on {told_names:?}, and the crate law says {law:?}")
    })
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What the text names between backticks that looks like a path of this tree. Fenced blocks are not prose and are left out.
fn paths(text: &str) -> BTreeSet<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose
        .flat_map(quoted)
        .filter(|word| is_path(word))
        .collect()
}

/// A slash, only the characters of our file names, and a first part that is no domain name, number, home or root.
fn is_path(word: &str) -> bool {
    let plain = word
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "._-/".contains(character));
    let Some((first, _)) = word.split_once('/') else {
        return false;
    };
    let hidden_folder = first.starts_with('.') && first.len() > 2;
    plain
        && !word.contains("//")
        && !first.is_empty()
        && !first.starts_with(|character: char| character.is_ascii_digit())
        && (hidden_folder || !first.contains('.'))
        && first != "target"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_tree_are_told_from_other_words_with_a_slash() {
        for (word, wanted) in [
            ("crates/api", true),
            ("xtask/src/check/map.rs", true),
            (".ci/run", true),
            ("charts/", true),
            ("cilium.io/v2", false),
            ("10.10.1.0/24", false),
            ("/etc/frr", false),
            ("~/.cache/tombolo", false),
            ("../shared", false),
            ("./x", false),
            ("https://go.dev/dl/", false),
            ("cargo xtask lab", false),
            ("target/image", false),
            ("README.md", false),
        ] {
            assert_eq!(is_path(word), wanted, "{word}");
        }
    }

    #[test]
    fn a_row_of_the_map_says_what_the_law_says() {
        let row = |dependencies| {
            format!(
                "| Path | One line | May depend on | Never |\n| `crates/plan` | x | {dependencies} | IO |\n"
            )
        };
        for (dependencies, right) in [
            ("`api`", true),
            ("any", true),
            ("–", false),
            ("`api`, `bgp`", false),
        ] {
            assert_eq!(
                row_against_law(&row(dependencies), "crates/plan", "plan").is_none(),
                right,
                "{dependencies}"
            );
        }
        assert!(row_against_law("", "crates/plan", "plan").is_some());
    }

    #[test]
    fn fenced_blocks_name_nothing() {
        assert_eq!(
            paths("see `a/b`\n```\n`c/d`\n```\nand `e/f`"),
            BTreeSet::from(["a/b", "e/f"])
        );
    }
}
