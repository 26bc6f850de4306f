//! `cargo xtask ebpf`: builds the load balancer's programs in the kernel, and compares them with what is committed.
//!
//! The object lies in `ebpf/prebuilt`, so that a plain `cargo build` on stable Rust works everywhere. It is the same bytes wherever the
//! checkout and cargo's home are, and beside it stands which tools it was built with: others give other bytes, and cannot be compared.

use crate::command;
use crate::error::{Error, InFile};
use crate::setup::ebpf::{LINKER, Toolchain, linker_folder};
use crate::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The committed object.
const OBJECT: &str = "ebpf/prebuilt/lb.o";
/// What it was built with.
const BUILT_WITH: &str = "ebpf/prebuilt/built-with.txt";
/// The target: programs for a little-endian kernel.
const TARGET: &str = "bpfel-unknown-none";

/// How the committed object stands to its source.
pub(crate) enum Comparison {
    /// The same bytes.
    Same,
    /// Other bytes, from the same tools.
    Differs,
    /// Not built, or with other tools, and why.
    Impossible(String),
}

/// Builds the object and writes it, or compares only.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<(), Error> {
    crate::setup::run(workspace)?;
    if check {
        return match compare(workspace)? {
            Comparison::Same => {
                println!("{OBJECT} is what its source says");
                Ok(())
            }
            Comparison::Differs => Err(Error::StaleObject { path: OBJECT }),
            Comparison::Impossible(why) => Err(Error::NoEbpfToolchain { why }),
        };
    }
    let Some(toolchain) = Toolchain::find(workspace) else {
        return Err(Error::NoEbpfToolchain {
            why: missing(workspace),
        });
    };
    let start = Instant::now();
    let built = build(workspace, &toolchain)?;
    let size = write(workspace, OBJECT, &built)?;
    write(workspace, BUILT_WITH, toolchain.versions()?.as_bytes())?;
    println!(
        "{OBJECT}: {size} bytes ({})",
        command::seconds(start.elapsed())
    );
    record_instructions(workspace)
}

/// Builds the object and compares it with the committed one.
pub(crate) fn compare(workspace: &Workspace) -> Result<Comparison, Error> {
    let Some(toolchain) = Toolchain::find(workspace) else {
        return Ok(Comparison::Impossible(missing(workspace)));
    };
    let here = toolchain.versions()?;
    let there = workspace.read(Path::new(BUILT_WITH))?;
    if here != there {
        return Ok(Comparison::Impossible(format!(
            "it was built with {}, and here is {}",
            there.trim().replace('\n', ", "),
            here.trim().replace('\n', ", ")
        )));
    }
    let path = workspace.root.join(OBJECT);
    let committed = std::fs::read(&path).in_file(path)?;
    if build(workspace, &toolchain)? == committed {
        Ok(Comparison::Same)
    } else {
        Ok(Comparison::Differs)
    }
}

fn missing(workspace: &Workspace) -> String {
    let linker = linker_folder(workspace);
    format!(
        "the eBPF toolchain is not there (a Rust compiler with its library's source, LLVM's tools, {LINKER} in {}); \
         `cargo xtask setup` says why",
        linker.display()
    )
}

/// The object: without debug sections, with its BTF.
fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<u8>, Error> {
    let target = workspace.target()?.join("ebpf");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(workspace.root.join("ebpf"))
        .env("RUSTFLAGS", flags(workspace, toolchain)?)
        .env("PATH", path(workspace))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target);
    command::output(&mut cargo)?;
    let whole = target.join(TARGET).join("release/lb-prog");
    let stripped = target.join("lb.o");
    let mut objcopy = Command::new(toolchain.objcopy()?);
    command::output(objcopy.arg("--strip-debug").arg(&whole).arg(&stripped))?;
    std::fs::read(&stripped).in_file(stripped)
}

/// Compiler flags: BTF out of the debug information, instructions of every kernel that has TCX, and no path of this machine.
fn flags(workspace: &Workspace, toolchain: &Toolchain) -> Result<String, Error> {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    );
    let mut remapped = vec![
        (workspace.root.clone(), "."),
        (toolchain.library_source()?, "rust"),
        (home.clone(), "cargo"),
    ];
    // Of paths that match, the last one counts. A registry's folder is named after where it was reached.
    remapped.extend(registries(&home).map(|registry| (registry, "crates")));
    let mut flags =
        "-C linker=bpf-linker -C link-arg=--btf -C debuginfo=2 -C target-cpu=v3".to_owned();
    for (from, to) in remapped {
        flags.push_str(&format!(" --remap-path-prefix={}={to}", from.display()));
    }
    Ok(flags)
}

/// The folders of sources of each registry that cargo has used.
fn registries(home: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = std::fs::read_dir(home.join("registry/src"));
    let folders = folders.into_iter().flatten().flatten();
    folders.map(|folder| folder.path())
}

fn path(workspace: &Workspace) -> std::ffi::OsString {
    let theirs = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(linker_folder(workspace)).chain(std::env::split_paths(&theirs));
    std::env::join_paths(all).unwrap_or(theirs)
}

fn write(workspace: &Workspace, path: &str, content: &[u8]) -> Result<usize, Error> {
    let path = workspace.root.join(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).in_file(folder)?;
    }
    std::fs::write(&path, content).in_file(path)?;
    Ok(content.len())
}

/// Has the kernel verify every program and writes down what it cost (`ebpf/prebuilt/instructions.txt`), by the very test that compares it.
fn record_instructions(workspace: &Workspace) -> Result<(), Error> {
    let mut test = workspace.cargo([
        "test",
        "--quiet",
        "--locked",
        "--package",
        "lb",
        "--test",
        "verifier",
    ]);
    command::run(test.env("LB_RECORD_INSTRUCTIONS", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_names_no_folder_of_the_machine_that_built_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let object = std::fs::read(root.join(OBJECT)).expect("the committed object");
        let pieces = object.split(|byte| !byte.is_ascii_graphic());
        let sources = pieces.filter(|piece| piece.ends_with(b".rs"));
        let sources: Vec<_> = sources.map(String::from_utf8_lossy).collect();
        assert!(!sources.is_empty(), "its BTF names sources");
        let starts = ["./ebpf/", "crates/", "rust/"];
        for source in sources {
            let is_ours = starts.iter().any(|start| source.starts_with(start));
            assert!(is_ours, "{source}");
        }
    }
}
