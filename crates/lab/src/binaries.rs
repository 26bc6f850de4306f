//! The programs a lab runs that Debian does not package: which versions, and where they lie.
//!
//! They live in the machine cache, `${XDG_CACHE_HOME:-~/.cache}/tombolo/<tool>-<version>/`, where
//! `cargo xtask setup` puts them and every checkout finds them.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A Go module of which programs are built, at one pinned version.
#[derive(Debug)]
pub struct Tool {
    /// The folder under `xtask/tools/` that pins the module, and the first half of the cache folder's name.
    pub name: &'static str,
    /// The version, without a `v`.
    pub version: &'static str,
    /// What is built.
    pub binaries: &'static [Binary],
    /// Go build tags.
    pub tags: &'static [&'static str],
    /// Variables set by the linker (`-X name=value`).
    pub variables: &'static [(&'static str, &'static str)],
}

/// One program of a [`Tool`].
#[derive(Debug)]
pub struct Binary {
    /// The name of the file in the cache.
    pub file: &'static str,
    /// The Go package it is built from.
    pub package: &'static str,
}

const fn binary(file: &'static str, package: &'static str) -> Binary {
    Binary { file, package }
}

/// Kubernetes itself. Without its version variables the server calls itself `v0.0.0-master`, and clients that
/// look at versions (helm) misbehave.
pub const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    version: "1.36.3",
    binaries: &[
        binary("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        binary(
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        binary("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        binary("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        binary("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    tags: &[],
    variables: &[
        ("k8s.io/component-base/version.gitVersion", "v1.36.3"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "36"),
    ],
};

/// What balances Services where nothing replaces it: of the same module, lies beside the others, and is built only where it is measured.
pub const KUBE_PROXY: Tool = Tool {
    binaries: &[binary("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy")],
    ..KUBERNETES
};

/// The store behind the API server.
pub const ETCD: Tool = Tool {
    name: "etcd",
    version: "3.6.11",
    binaries: &[binary("etcd", "go.etcd.io/etcd/server/v3")],
    tags: &[],
    variables: &[],
};

/// What runs the pods of a node. Its programs call Debian's `runc`.
pub const CONTAINERD: Tool = Tool {
    name: "containerd",
    version: "2.4.2",
    binaries: &[
        binary(
            "containerd",
            "github.com/containerd/containerd/v2/cmd/containerd",
        ),
        binary(
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ),
        binary("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ],
    tags: &["no_btrfs", "no_devmapper", "no_zfs"],
    variables: &[],
};

/// What connects a pod to its node.
pub const CNI: Tool = Tool {
    name: "cni",
    version: "1.9.1",
    binaries: &[
        binary(
            "ptp",
            "github.com/containernetworking/plugins/plugins/main/ptp",
        ),
        binary(
            "loopback",
            "github.com/containernetworking/plugins/plugins/main/loopback",
        ),
        binary(
            "bridge",
            "github.com/containernetworking/plugins/plugins/main/bridge",
        ),
        binary(
            "host-local",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
        ),
    ],
    tags: &[],
    variables: &[],
};

/// What installs charts.
pub const HELM: Tool = Tool {
    name: "helm",
    version: "3.22.0",
    binaries: &[binary("helm", "helm.sh/helm/v3/cmd/helm")],
    tags: &[],
    variables: &[],
};

/// The registry, and what fills it.
pub const CRANE: Tool = Tool {
    name: "crane",
    version: "0.22.1",
    binaries: &[binary(
        "crane",
        "github.com/google/go-containerregistry/cmd/crane",
    )],
    tags: &[],
    variables: &[],
};

/// A BGP speaker to peer with.
pub const GOBGP: Tool = Tool {
    name: "gobgp",
    version: "4.8.0",
    binaries: &[
        binary("gobgp", "github.com/osrg/gobgp/v4/cmd/gobgp"),
        binary("gobgpd", "github.com/osrg/gobgp/v4/cmd/gobgpd"),
    ],
    tags: &[],
    variables: &[],
};

/// Those that every lab runs, cheapest to build first.
pub const TOOLS: &[Tool] = &[CRANE, CNI, HELM, GOBGP, ETCD, CONTAINERD, KUBERNETES];

impl Tool {
    /// Where the programs of this tool lie on this machine, whether they are there or not.
    pub fn folder(&self) -> PathBuf {
        cache().join(format!("{}-{}", self.name, self.version))
    }

    /// The path of one of its programs.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] when it is not there.
    pub fn binary(&self, file: &str) -> Result<PathBuf, Error> {
        let folder = self.folder();
        let path = folder.join(file);
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::NotSetUp {
            program: file.to_owned(),
            folder,
        })
    }
}

/// The machine cache of this project: `${XDG_CACHE_HOME:-~/.cache}/tombolo`.
pub fn cache() -> PathBuf {
    env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map_or_else(|| home().join(".cache"), PathBuf::from)
        .join("tombolo")
}

pub(crate) fn home() -> PathBuf {
    env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

/// The path of a program of this package (`lab-forward`, …), which cargo puts beside the running program, or
/// one folder above it when that is a test.
///
/// # Errors
/// [`Error::OwnProgramMissing`] when it has not been built.
pub fn own(program: &str) -> Result<PathBuf, Error> {
    let running = env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    let beside = running.parent().unwrap_or(Path::new("/"));
    let folder = match beside.file_name() {
        Some(name) if name == "deps" || name == "examples" => beside.parent().unwrap_or(beside),
        Some(_) | None => beside,
    };
    let path = folder.join(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::OwnProgramMissing {
        program: program.to_owned(),
        folder: folder.to_path_buf(),
    })
}
