//! The toolchain of the programs in the kernel: a Rust compiler with its library's source, LLVM's tools, and a linker for eBPF.
//!
//! Debian has the first two (kept fresh for browsers); elsewhere rustup's nightly serves. Nobody needs it to build or test the rest, so that
//! a machine where it cannot be had is told so and works on.

use super::packages;
use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Package and program of the linker.
pub(crate) const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";

/// Debian's compiler, its cargo, the source of its library, and the LLVM it was built with.
const DEBIAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "llvm-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// Where the linker is, or would be.
pub(crate) fn linker_folder(workspace: &Workspace) -> PathBuf {
    workspace
        .cache
        .join(format!("{LINKER}-{LINKER_VERSION}"))
        .join("bin")
}

/// Which compiler there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Debian's packages.
    Debian,
    /// rustup's nightly with rust-src and llvm-tools.
    Nightly,
}

impl Toolchain {
    /// The toolchain of this machine; `None` where a part is missing.
    pub(crate) fn find(workspace: &Workspace) -> Option<Self> {
        let linker = linker_folder(workspace).join(LINKER);
        linker.is_file().then(Self::compiler)?
    }

    fn compiler() -> Option<Self> {
        let all = [Self::Debian, Self::Nightly];
        all.into_iter().find(|toolchain| {
            let core = |source: PathBuf| source.join("library/core/src/lib.rs").is_file();
            toolchain.library_source().is_ok_and(core)
                && toolchain.objcopy().is_ok_and(|path| path.is_file())
        })
    }

    /// Its cargo, told which compiler to use.
    pub(crate) fn cargo(self) -> Command {
        match self {
            Self::Debian => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                // Its compiler is a stable one; the library is built with features that are not.
                cargo
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
            Self::Nightly => {
                let mut cargo = Command::new("cargo");
                cargo.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
        }
    }

    /// What the object's bytes depend on, a line for each tool.
    pub(crate) fn versions(self) -> Result<String, Error> {
        let rustc = match self {
            Self::Debian => command::output(Command::new(DEBIAN_RUSTC).arg("--version"))?,
            Self::Nightly => command::output(nightly().arg("--version"))?,
        };
        Ok(format!("{}\n{LINKER} {LINKER_VERSION}\n", rustc.trim()))
    }

    /// The folder of the library's source, as the compiler names it in debug information.
    pub(crate) fn library_source(self) -> Result<PathBuf, Error> {
        match self {
            Self::Debian => Ok(PathBuf::from(DEBIAN_LIBRARY)),
            Self::Nightly => Ok(sysroot()?.join("lib/rustlib/src/rust")),
        }
    }

    /// `llvm-objcopy`.
    pub(crate) fn objcopy(self) -> Result<PathBuf, Error> {
        match self {
            Self::Debian => Ok(Path::new(DEBIAN_LLVM).join("bin/llvm-objcopy")),
            Self::Nightly => {
                let said = command::output(nightly().arg("-vV"))?;
                let host = said.lines().find_map(|line| line.strip_prefix("host: "));
                let host = host.unwrap_or_default();
                Ok(sysroot()?.join(format!("lib/rustlib/{host}/bin/llvm-objcopy")))
            }
        }
    }
}

fn nightly() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN");
    rustc
}

fn sysroot() -> Result<PathBuf, Error> {
    let said = command::output(nightly().args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(said.trim()))
}

/// Installs what is missing. What cannot be had is told, and stops nobody.
pub(crate) fn install(workspace: &Workspace) {
    if Toolchain::find(workspace).is_some() {
        return;
    }
    if let Err(error) = try_install(workspace) {
        println!(
            "setup: no eBPF toolchain, so that the programs in the kernel can be neither built nor compared: {error}"
        );
    }
}

fn try_install(workspace: &Workspace) -> Result<(), Error> {
    if Toolchain::compiler().is_none() {
        if debian_has_it() {
            packages::by_apt(DEBIAN_PACKAGES)?;
        } else {
            let mut rustup = Command::new("rustup");
            rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
            command::output(rustup.args(["--component", "rust-src", "--component", "llvm-tools"]))?;
        }
    }
    let linker = linker_folder(workspace).join(LINKER);
    match Toolchain::compiler() {
        Some(toolchain) if !linker.is_file() => build_linker(workspace, toolchain),
        _ => Ok(()),
    }
}

/// Whether apt knows the compiler's package; Ubuntu's does not.
fn debian_has_it() -> bool {
    command::output(Command::new("apt-cache").args(["show", DEBIAN_PACKAGES[0]])).is_ok()
}

/// Builds the linker against the compiler's own LLVM: it reads what that writes.
fn build_linker(workspace: &Workspace, toolchain: Toolchain) -> Result<(), Error> {
    println!("setup: building {LINKER} {LINKER_VERSION}");
    let start = Instant::now();
    let root = workspace.cache.join(format!("{LINKER}-{LINKER_VERSION}"));
    let target = workspace
        .cache
        .join(format!("{LINKER}-{LINKER_VERSION}.target"));
    let mut cargo = match toolchain {
        Toolchain::Debian => {
            let mut cargo = workspace.cargo(["install", "--quiet", "--locked", "--force"]);
            cargo.env("LLVM_PREFIX", DEBIAN_LLVM);
            cargo.args(["--no-default-features", "--features", "llvm-22"]);
            cargo
        }
        Toolchain::Nightly => {
            let mut cargo = toolchain.cargo();
            cargo.args(["install", "--quiet", "--locked", "--force"]);
            cargo
        }
    };
    cargo.args(["--version", LINKER_VERSION, LINKER, "--root"]);
    cargo.arg(&root).arg("--target-dir").arg(&target);
    command::output(&mut cargo)?;
    if let Err(error) = std::fs::remove_dir_all(&target) {
        println!("setup: {} can be removed: {error}", target.display());
    }
    println!(
        "setup: {LINKER} {LINKER_VERSION} built ({})",
        command::seconds(start.elapsed())
    );
    Ok(())
}
