//! Why a task stopped.

use std::io;
use std::path::PathBuf;

/// Why a task stopped. Each message says what to do, where that is not obvious.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot start `{program}`")]
    Start { program: String, source: io::Error },

    #[error("`{command}` ended with {status}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
    },

    #[error("`{command}` ended with {status}:\n{tail}")]
    FailedSaying {
        command: String,
        status: std::process::ExitStatus,
        tail: String,
    },

    #[error("cannot read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },

    #[error("cannot read the workspace by `cargo metadata`")]
    Metadata(#[from] cargo_metadata::Error),

    #[error("{} is not Rust that syn can read", path.display())]
    Rust { path: PathBuf, source: syn::Error },

    #[error("{name} cannot be read or written as YAML")]
    Yaml {
        name: String,
        source: serde_norway::Error,
    },

    #[error(transparent)]
    Lab(#[from] ::lab::error::Error),

    #[error("no lab is standing; `cargo xtask lab up` boots one")]
    NoLab,

    #[error("several labs stand, say which by --lab: {}", names.join(", "))]
    WhichLab { names: Vec<String> },

    #[error("failed: {}", names.join(", "))]
    Checks { names: Vec<&'static str> },

    #[error("stale: {}; run `cargo xtask codegen`", paths.join(", "))]
    Stale { paths: Vec<String> },

    #[error(
        "{path} is not what its source says; run `cargo xtask ebpf` and look at the difference"
    )]
    StaleObject { path: &'static str },

    #[error("the programs in the kernel cannot be built here: {why}")]
    NoEbpfToolchain { why: String },

    #[error(
        "Go is missing: install Go {wanted} or newer (https://go.dev/dl/) so that `go` is on PATH, then run `cargo xtask setup` again"
    )]
    GoMissing { wanted: &'static str },

    #[error(
        "Go is {found}, too old: install Go {wanted} or newer (https://go.dev/dl/) so that `go` is on PATH, then run `cargo xtask setup` again"
    )]
    GoTooOld { found: String, wanted: &'static str },

    #[error("this machine lacks {} and has no apt-get: install what provides them, then run `cargo xtask setup` again", programs.join(", "))]
    NoApt { programs: Vec<&'static str> },

    #[error("not root, so nothing can be installed; run: apt-get install --no-install-recommends {}", packages.join(" "))]
    NotRootToInstall { packages: Vec<&'static str> },
}

/// Names the file in an [`io::Error`].
pub(crate) trait InFile<T> {
    /// The same result; a failure names `path`.
    fn in_file(self, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> InFile<T> for io::Result<T> {
    fn in_file(self, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File {
            path: path.into(),
            source,
        })
    }
}
