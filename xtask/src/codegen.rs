//! `cargo xtask codegen`: the CRD chart's templates from the types in `crates/api`.

use crate::error::{Error, InFile};
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the templates go, below the root.
const FOLDER: &str = "charts/tombolo-crds/templates";

const HEADER: &str =
    "# Generated from crates/api by `cargo xtask codegen`; edit the types there.\n";

/// Writes the files, or with `check` only fails when one differs.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<(), Error> {
    let stale_paths = stale(workspace)?;
    if check {
        return if stale_paths.is_empty() {
            Ok(())
        } else {
            Err(Error::Stale { paths: stale_paths })
        };
    }
    let wanted = generate()?;
    for path in &stale_paths {
        let file = workspace.root.join(path);
        match wanted.get(Path::new(path)) {
            Some(text) => {
                std::fs::create_dir_all(workspace.root.join(FOLDER)).in_file(FOLDER)?;
                std::fs::write(&file, text).in_file(path)?;
            }
            None => std::fs::remove_file(&file).in_file(path)?,
        }
        println!("codegen: {path}");
    }
    println!(
        "codegen: {} files, {} changed",
        wanted.len(),
        stale_paths.len()
    );
    Ok(())
}

/// Paths of the files that are missing, differ, or should not be there.
pub(crate) fn stale(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let wanted = generate()?;
    let present = present(workspace)?;
    let differs = wanted.iter().filter(|(path, text)| {
        std::fs::read_to_string(workspace.root.join(path))
            .ok()
            .as_ref()
            != Some(text)
    });
    let surplus = present.iter().filter(|path| !wanted.contains_key(*path));
    Ok(differs
        .map(|(path, _)| path)
        .chain(surplus)
        .map(|path| path.display().to_string())
        .collect())
}

/// The generated files, by path below the root.
fn generate() -> Result<BTreeMap<PathBuf, String>, Error> {
    let mut files = BTreeMap::new();
    for mut crd in api::crd::custom_resource_definitions() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        // Helm must never take the CRDs, and with them every object in them, away.
        crd.metadata
            .annotations
            .get_or_insert_default()
            .insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
        let yaml = serde_norway::to_string(&crd).map_err(|source| Error::Yaml {
            name: name.clone(),
            source,
        })?;
        files.insert(
            Path::new(FOLDER).join(format!("{}.yaml", crd.spec.names.plural)),
            format!("{HEADER}{}", in_template(&as_yaml_1_1(&yaml))),
        );
    }
    Ok(files)
}

/// Helm and kubectl read YAML 1.1, in which a bare `Yes` or `off` is a boolean; our writer knows YAML 1.2, in which it is
/// text.
fn as_yaml_1_1(yaml: &str) -> String {
    let quoted = |line: &str| {
        let start = line.rfind(' ').map_or(0, |blank| blank + 1);
        let (before, word) = line.split_at(start);
        let is_value = before.ends_with("- ") || before.ends_with(": ");
        let is_boolean = matches!(
            word.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off"
        );
        if is_value && is_boolean {
            format!("{before}\"{word}\"\n")
        } else {
            format!("{line}\n")
        }
    };
    yaml.lines().map(quoted).collect()
}

/// Helm reads the file as a template: braces that are text must be told from braces that are not.
fn in_template(yaml: &str) -> String {
    yaml.replace("{{", "{{ \"{{\" }}")
}

/// YAML files in the folder now.
fn present(workspace: &Workspace) -> Result<Vec<PathBuf>, Error> {
    let folder = workspace.root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&folder).in_file(FOLDER)?;
    let names = entries
        .filter_map(Result::ok)
        .map(|entry| Path::new(FOLDER).join(entry.file_name()));
    Ok(names
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_yaml_1_1_takes_for_booleans_are_quoted_where_they_are_values() {
        let rows = [
            ("  - Yes", "  - \"Yes\""),
            ("default: off", "default: \"off\""),
            ("- \"No\"", "- \"No\""),
            ("preserve: true", "preserve: true"),
            (
                "description: Whether it says No",
                "description: Whether it says No",
            ),
            ("no: thing", "no: thing"),
        ];
        for (line, expected) in rows {
            assert_eq!(as_yaml_1_1(line), format!("{expected}\n"));
        }
    }
}
