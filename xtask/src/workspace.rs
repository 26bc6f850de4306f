//! Where things are: the checkout, cargo's target folder, the machine cache.

use crate::command;
use crate::error::{Error, InFile};
use crate::setup::tools;
use cargo_metadata::{Metadata, MetadataCommand, Package};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout this task works in, and the folders outside it that belong to the machine.
pub(crate) struct Workspace {
    /// Root of the checkout.
    pub(crate) root: PathBuf,
    /// The machine cache, shared by every checkout: programs that `setup` built or found.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    /// The checkout whose `cargo xtask` this is.
    pub(crate) fn find() -> Result<Self, Error> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let root = Path::new(&manifest).join("..");
        let root = root.canonicalize().in_file(root)?;
        Ok(Self {
            root,
            cache: ::lab::binaries::cache(),
        })
    }

    /// `cargo` in the root of the checkout, with the cargo subcommands of the machine cache on its PATH.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&self.root)
            .args(arguments)
            .env("PATH", self.path());
        // Set for this process by the `cargo run` that started it; other cargo processes must not take them for their own.
        for name in [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION",
        ] {
            cargo.env_remove(name);
        }
        cargo
    }

    /// PATH with the cargo subcommands that `setup` installed in front.
    pub(crate) fn path(&self) -> OsString {
        let ours = tools::CARGO_TOOLS
            .iter()
            .map(|tool| tool.folder(&self.cache).join("bin"))
            .filter(|folder| folder.is_dir());
        let theirs = std::env::var_os("PATH").unwrap_or_default();
        let all: Vec<PathBuf> = ours.chain(std::env::split_paths(&theirs)).collect();
        std::env::join_paths(all).unwrap_or(theirs)
    }

    /// What cargo knows about the packages, with their resolved dependencies.
    pub(crate) fn metadata(&self) -> Result<Metadata, Error> {
        Ok(MetadataCommand::new()
            .manifest_path(self.root.join("Cargo.toml"))
            .exec()?)
    }

    /// The packages of this workspace and of the one for the kernel.
    pub(crate) fn packages(&self) -> Result<Vec<Package>, Error> {
        let mut packages = Vec::new();
        for manifest in ["Cargo.toml", "ebpf/Cargo.toml"] {
            let metadata = MetadataCommand::new()
                .manifest_path(self.root.join(manifest))
                .no_deps()
                .exec()?;
            packages.extend(metadata.workspace_packages().into_iter().cloned());
        }
        Ok(packages)
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> Result<PathBuf, Error> {
        let metadata = MetadataCommand::new()
            .manifest_path(self.root.join("Cargo.toml"))
            .no_deps()
            .exec()?;
        Ok(metadata.target_directory.into_std_path_buf())
    }

    /// Every file of the project, tracked or new, by its path below the root; ignored ones left out.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = command::output(&mut git)?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The text of a file below the root.
    pub(crate) fn read(&self, path: &Path) -> Result<String, Error> {
        std::fs::read_to_string(self.root.join(path)).in_file(path)
    }
}
