//! System packages: looked for by the program each provides, installed by apt when missing.

use crate::command;
use crate::error::{Error, InFile};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A Debian package and a program by which its presence is known.
struct Package {
    name: &'static str,
    program: &'static str,
}

const fn package(name: &'static str, program: &'static str) -> Package {
    Package { name, program }
}

/// What the lab and the builds run. The routing daemons are only installed: the lab starts its own, in its own namespaces.
const PACKAGES: &[Package] = &[
    package("g++", "g++"),
    package("git", "git"),
    package("util-linux", "nsenter"),
    package("iproute2", "ip"),
    package("iputils-ping", "ping"),
    package("nftables", "nft"),
    package("conntrack", "conntrack"),
    package("ethtool", "ethtool"),
    package("runc", "runc"),
    package("busybox-static", "busybox"),
    package("curl", "curl"),
    package("tcpdump", "tcpdump"),
    package("tshark", "tshark"),
    package("frr", "/usr/lib/frr/bgpd"),
    package("bird2", "bird"),
    package("exabgp", "exabgp"),
];

/// Installs the packages whose program is missing.
pub(crate) fn install() -> Result<(), Error> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| find(package.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        return Err(Error::NoApt {
            programs: missing.iter().map(|package| package.program).collect(),
        });
    }
    let names: Vec<&'static str> = missing.iter().map(|package| package.name).collect();
    by_apt(&names)
}

/// Installs packages, without starting their daemons.
pub(super) fn by_apt(names: &[&'static str]) -> Result<(), Error> {
    if !is_root() {
        return Err(Error::NotRootToInstall {
            packages: names.to_vec(),
        });
    }
    let start = Instant::now();
    println!("setup: installing {} by apt-get", names.join(" "));
    let _no_daemons = NoDaemons::install()?;
    command::output(apt_get().arg("update"))?;
    command::output(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(names),
    )?;
    println!(
        "setup: packages installed ({})",
        command::seconds(start.elapsed())
    );
    Ok(())
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--quiet", "-o", "Dpkg::Use-Pty=0"]);
    apt
}

/// While it lives, packages that are installed start no daemon (`policy-rc.d`, exit status 101: action forbidden).
struct NoDaemons {
    ours: Option<PathBuf>,
}

impl NoDaemons {
    fn install() -> Result<Self, Error> {
        use std::os::unix::fs::PermissionsExt;
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(Self { ours: None });
        }
        std::fs::write(&path, "#!/bin/sh\nexit 101\n").in_file(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).in_file(&path)?;
        Ok(Self { ours: Some(path) })
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(error) = std::fs::remove_file(path)
        {
            println!("setup: remove {} by hand: {error}", path.display());
        }
    }
}

/// Where a program is: on PATH, or in the folders for administrators that PATH often lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether this process may install packages and make namespaces.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
}
