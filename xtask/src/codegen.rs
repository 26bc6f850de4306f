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
            format!("{HEADER}{}", in_template(&yaml)),
        );
    }
    Ok(files)
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
